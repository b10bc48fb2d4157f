"""Goodput and delay on a half-duplex line of 1200 bit/s with traffic both ways, with and without taking turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from benchmarks._harness import Column, Table, finish, parse_options
from eqlbond.codec.hdlc import Hdlc
from eqlbond.core.half_duplex import HalfDuplex
from eqlbond.sim import Run, SimLine, simulate

RATE = 1200
MTU = 256


@attrs.frozen
class BothWays:
    """Packets at random times from both ends, or as many as the line takes.

    Args:
        load: payload of each end, a share of the line's rate; None: as much as goes.
        seconds: how long.
        size: of packets, bytes.
        ends: which send.
    """

    load: float | None
    seconds: float
    size: int = MTU
    ends: tuple[int, ...] = (0, 1)

    def start(self, run: Run) -> None:
        """Begin."""
        for end in self.ends:
            if self.load is None:
                self._saturate(run, end)
            else:
                self._arrivals(run, end, self.size * 10 / RATE / self.load)

    def _saturate(self, run: Run, end: int) -> None:
        def fill() -> None:
            while not run.full(end):
                run.send(end, self.size)

        run.fill(end, fill)

    def _arrivals(self, run: Run, end: int, interval: float) -> None:
        def arrives(_: Any) -> None:
            if not run.full(end):
                run.send(end, self.size)
            run.at(run.now + run.rng.expovariate(1.0) * interval, arrives)

        run.at(run.rng.expovariate(1.0) * interval, arrives)


def measure(
    load: float | None,
    turns: HalfDuplex | None,
    seconds: float,
    seed: int,
    *,
    ends: tuple[int, ...] = (0, 1),
    half_duplex: bool = True,
    latency: float = 0.0,
) -> dict[str, float]:
    """Payload of both directions by what the line carries, the delay of packets, and damaged frames."""
    line = SimLine(RATE, half_duplex=half_duplex, turns=turns, framing=Hdlc(), latency=latency)
    result = simulate([line], BothWays(load, seconds, ends=ends), mtu=MTU, until=seconds, seed=seed)
    capacity = RATE / 10 * seconds
    there, back = sum(line.payload_bytes for line in result.lines), result.back["payload_bytes"]
    return {
        "goodput": (there + back) / capacity,
        "there": there / capacity,
        "back": back / capacity,
        "delay_p50": result.delay_p50,
        "delay_p95": result.delay_p95,
        "bad_fcs": float(result.drops.get("bad_fcs", 0)),
        "sent": float(result.sent + result.back["sent"]),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse_options(__doc__, argv)
    seconds, seeds = (300.0, (1,)) if options.quick else (1800.0, (1, 2, 3))
    table = Table(
        f"A half-duplex line of {RATE} bit/s, packets of {MTU} B, HDLC framing, simulated; means of {len(seeds)} seeds",
        [
            Column("traffic"),
            Column("turns"),
            Column("goodput", ".1%"),
            Column("there", ".1%"),
            Column("back", ".1%"),
            Column("p50 s", ".1f"),
            Column("p95 s", ".1f"),
            Column("damaged frames", ".1%"),
        ],
    )
    both, one = (0, 1), (0,)
    cases: list[tuple[str, float | None, tuple[int, ...]]] = [
        ("10 % each way", 0.1, both),
        ("20 % each way", 0.2, both),
        ("30 % each way", 0.3, both),
        ("all it takes, both ways", None, both),
        ("all it takes, one way", None, one),
    ]
    results: list[dict[str, Any]] = []
    for name, load, ends in cases:
        for said, turns in (("none", None), ("HalfDuplex()", HalfDuplex()), ("burst=10", HalfDuplex(burst=10))):
            found = [measure(load, turns, seconds, seed, ends=ends) for seed in seeds]
            mean = {key: sum(run[key] for run in found) / len(found) for key in found[0]}
            mean["damaged"] = mean["bad_fcs"] / max(1.0, mean["sent"])
            results.append({"traffic": name, "turns": said, **mean})
            keys = ("goodput", "there", "back", "delay_p50", "delay_p95", "damaged")
            table.add(name, said, *(mean[key] for key in keys))
    table.note("goodput: payload that arrived, both ways, by what the line carries in one; delays of what arrived")
    table.print()
    finish(options, results, seeds=list(seeds))


if __name__ == "__main__":
    main()
