"""What the figures of `benchmarks.peers` have to reach, and whether they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks._harness import Column, Table
from benchmarks._peer_rows import Row, is_default


def judge(results: Sequence[Row]) -> Table:
    """The targets, each with the kernel's figure of the same run and eqlbond's; `results` has a row for each case."""
    judged = _Judge(results)
    two, four, unequal, slow = [57600] * 2, [57600] * 4, [57600, 14400], [28800, 14400]
    judged.share("TCP, plain, 57600+14400, MTU 900: % of framing", unequal, 900, "eqlbond-plain", 95)
    judged.share("TCP, plain, 28800+14400, MTU 900: % of framing", slow, 900, "eqlbond-plain", 92)
    judged.share("TCP, plain, 4 x 57600, MTU 900: % of framing", four, 900, "eqlbond-plain", 97)
    judged.order("TCP, plain, 4 x 57600, MTU 900: out of order, %", four, 10)
    judged.share("TCP to a kernel's eql, 57600+14400, MTU 900: % of framing", unequal, 900, "eqlbond-to-kernel-eql", 92)
    judged.not_below(
        "TCP, multilink, 57600+14400, MTU 1500: % of bits/10, the kernel's less 1", "percent_of_bits", unequal, 1
    )
    judged.at_most(
        "ping of 1400 B, multilink, 4 x 28800, idle: ms, 1.03 of the kernel's",
        "ping_ms",
        [28800] * 4,
        1.03,
        "multilink",
    )
    for kind, system in (("plain", "eql"), ("multilink", "multilink")):
        judged.at_most(
            f"ping under TCP, {kind}, 2 x 57600: ms, half of the kernel's", "ping_under_load_ms", two, 0.5, system
        )
    judged.cut("hang-up of one of two lines, multilink: s of outage", "hangup", "stream", "outage_seconds", 0.2)
    judged.cut("hang-up under a burst of 20: lost; a port holds parts of two", "hangup", "burst", "lost", 2)
    judged.cut("silent cut, echo 1 s x 3, multilink: s of outage", "silence", "stream", "outage_seconds", 4.0)
    judged.cut("silent cut: lost of the stream", "silence", "stream", "lost", None)
    return judged.table


class _Judge:
    def __init__(self, results: Sequence[Row]) -> None:
        self._results = results
        columns = [Column("target"), Column("kernel", ".4g"), Column("to reach"), Column("eqlbond", ".4g"), Column("")]
        self.table = Table("Targets", columns)

    def share(self, what: str, lines: list[int], mtu: int, system: str, least: float) -> None:
        kernel = self._find("kernel-eql", "percent_of_framing", lines=lines, mtu=mtu)
        ours = self._find(system, "percent_of_framing", lines=lines, mtu=mtu)
        self._say(what, kernel, f">= {least:g}", ours, None if ours is None else ours >= least)

    def order(self, what: str, lines: list[int], most: float) -> None:
        kernel, ours = (
            None if found is None else 100 * found
            for found in (
                self._find(system, "out_of_order", lines=lines, mtu=900, case="tcp")
                for system in ("kernel-eql", "eqlbond-plain")
            )
        )
        self._say(what, kernel, f"< {most:g}", ours, None if ours is None else ours < most)

    def not_below(self, what: str, key: str, lines: list[int], margin: float) -> None:
        kernel, ours = (self._find(f"{end}-multilink", key, lines=lines, mtu=1500) for end in ("kernel", "eqlbond"))
        reached = None if kernel is None or ours is None else ours >= kernel - margin
        self._say(what, kernel, "" if kernel is None else f">= {kernel - margin:.1f}", ours, reached)

    def at_most(self, what: str, key: str, lines: list[int], factor: float, system: str) -> None:
        kernel = self._find(f"kernel-{system}", key, lines=lines)
        ours = self._find("eqlbond-plain" if system == "eql" else f"eqlbond-{system}", key, lines=lines)
        reached = None if kernel is None or ours is None else ours <= factor * kernel
        self._say(what, kernel, "" if kernel is None else f"<= {factor * kernel:.0f}", ours, reached)

    def cut(self, what: str, kind: str, case: str, key: str, most: float | None) -> None:
        kernel, ours = (
            max(self._all(f"{end}-multilink", key, cut=kind, case=case), default=None) for end in ("kernel", "eqlbond")
        )
        reached = None if most is None or ours is None else ours <= most
        self._say(what, kernel, "to be stated" if most is None else f"<= {most:g}", ours, reached)

    def _find(self, system: str, key: str, **wanted: Any) -> float | None:
        """The first such figure."""
        return next(iter(self._all(system, key, **wanted)), None)

    def _all(self, system: str, key: str, **wanted: Any) -> list[float]:
        """Such figures; the kernel's with Debian's qdisc, not those of the extra rows."""
        return [
            float(row[key])
            for row in self._results
            if row["system"] == system and row.get(key) is not None and is_default(row)
            if all(row[name] == value for name, value in wanted.items())
        ]

    def _say(self, what: str, kernel: float | None, bound: str, ours: float | None, reached: bool | None) -> None:
        verdict = "not measured" if ours is None else "" if reached is None else "reached" if reached else "SHORT"
        self.table.add(what, kernel, bound, ours, verdict)
