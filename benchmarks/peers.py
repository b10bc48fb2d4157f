"""The kernel's eql and PPP Multilink, and eqlbond, side by side on the same paced lines, in one run.

Two guests with Debian's kernel in QEMU, or `eqlbond run` in network namespaces of this machine, at the ends of the same
lines: a transfer of the 289284 bytes of the 1995 report by TCP with cubic, floods of UDP, pings on idle lines and under
a transfer, and what it costs when one of two lines is hung up, or goes silent. One thing at a time, in real time.
Needs root, and the packages of tests/interop/apt-packages.txt.

`results` has one row for each `system`, `lines`, `mtu` and `cut`, measured with the queues that both come with. All
measurements, each by itself, those with another queue among them, are under `cases`, told apart by `case` and `qdisc`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import attrs

from benchmarks import _peer_measures as measure
from benchmarks._harness import Column, Table, finish, parse_options
from benchmarks._peer_machines import Machines
from benchmarks._peer_rows import FAIR, NAMED, OURS, Row, summary
from benchmarks._peer_targets import judge
from benchmarks._peers import FIFO, SYSTEMS, System

PLAIN = ("kernel-eql", "eqlbond-plain", "eqlbond-to-kernel-eql")
MULTILINK = ("kernel-multilink", "eqlbond-multilink")
EQUAL2, EQUAL4 = (57600,) * 2, (57600,) * 4
UNEQUAL, SLOW = (57600, 14400), (28800, 14400)
GIVE_UP = 2.0
"""A transfer is given up after so many times what it would take at best; its figures count what has arrived."""
FLOODS: dict[tuple[tuple[int, ...], int], float] = {
    # (lines, MTU): seconds of each flood
    (EQUAL2, 900): 6,
    (EQUAL4, 900): 8,
    (UNEQUAL, 900): 12,
    (SLOW, 900): 10,
    (UNEQUAL, 1500): 8,
}


@attrs.frozen
class Setting:
    """What a system is made with."""

    system: str
    lines: tuple[int, ...]
    mtu: int
    qdisc: str
    echo: bool = False
    ecn: bool = True


@attrs.frozen
class Case:
    """One measurement, one row."""

    name: str
    setting: Setting
    measure: Callable[[System], dict[str, Any]] = attrs.field(eq=False)
    cut: str | None = None
    """How a line is cut, ``hangup`` or ``silence``: the next case needs a new system."""

    def __str__(self) -> str:
        setting = self.setting
        name = f"{self.name}, {self.cut}" if self.cut else self.name
        lines = "+".join(map(str, setting.lines))
        return f"{name}: {setting.system}, {lines}, MTU {setting.mtu}, {setting.qdisc}" + (
            "" if setting.ecn else ", no ECN"
        )

    def row(self) -> Row:
        """The members that every row has."""
        setting = self.setting
        # eqlbond's queue is its own; behind it the system's is empty.
        ours = OURS if setting.ecn else f"{OURS}, no ECN"
        qdisc = ours if setting.system.startswith("eqlbond") else setting.qdisc
        given = {"system": setting.system, "lines": list(setting.lines), "mtu": setting.mtu, "cut": self.cut}
        return {**NAMED, **given, "case": self.name, "qdisc": qdisc}


def tcp(
    lines: tuple[int, ...], mtu: int, systems: Iterable[str], most: float, qdisc: str = FAIR, ecn: bool = True
) -> Iterator[Case]:
    """A transfer, of `most` seconds at most."""

    def transfer(system: System) -> dict[str, Any]:
        file = system.machines.image.files["/data"]
        return measure.tcp(system, min(most, GIVE_UP * measure.ideal(system, file)))

    for system in systems:
        yield Case("tcp", Setting(system, lines, mtu, qdisc, ecn=ecn), transfer)


def udp(lines: tuple[int, ...], mtu: int, system: str, load: float, seconds: float) -> Case:
    """A flood."""
    setting = Setting(system, lines, mtu, FAIR)
    return Case(f"udp {load:.0%}", setting, lambda system: measure.flood(system, load, seconds))


def idle(lines: tuple[int, ...], systems: Iterable[str], count: int) -> Iterator[Case]:
    """Pings on idle lines."""
    for system in systems:
        setting = Setting(system, lines, 1500, FAIR)
        yield Case("ping, idle", setting, lambda system: measure.idle_ping(system, count))


def busy(systems: Iterable[str], seconds: float, qdisc: str = FAIR) -> Iterator[Case]:
    """Pings under a transfer."""
    for system in systems:
        setting = Setting(system, EQUAL2, 1500, qdisc)
        yield Case("ping, busy", setting, lambda system: measure.ping_under_load(system, seconds))


def cuts(systems: Iterable[str], quick: bool) -> Iterator[Case]:
    """What becomes of packets when one of two lines is gone."""
    for system in systems:
        setting = Setting(system, EQUAL2, 1500, FAIR, echo=True)
        yield Case("stream", setting, lambda system: measure.cut_stream(system, "hangup", 12), "hangup")
        yield Case("burst", setting, lambda system: measure.cut_burst(system, "hangup"), "hangup")
        # How long it takes to be noticed depends on when the last question was answered.
        for _ in range(3 if system == "eqlbond-multilink" and not quick else 1):
            yield Case("stream", setting, lambda system: measure.cut_stream(system, "silence", 18), "silence")
        if not quick:
            yield Case("burst", setting, lambda system: measure.cut_burst(system, "silence"), "silence")


def whole() -> Iterator[Case]:
    """All cases, within the hour.

    TCP over all lines, with both MTUs. Floods with an MTU of 900 over all lines, and with 1500 over those where packets
    overtake the most: the others with 1500 do not fit into the hour. Pings on idle lines of 28800; under a transfer,
    and cuts, over two equal lines with an MTU of 1500. Cuts are not made where only one end is eqlbond. Another queue
    where the kernel's figure moves with it, and eqlbond without ECN, in a few cases.
    """
    for lines in (EQUAL2, EQUAL4, UNEQUAL, SLOW):
        for mtu in (900, 1500):
            for system in (*PLAIN, *MULTILINK):
                if (lines, mtu) in FLOODS:
                    yield udp(lines, mtu, system, 0.5, FLOODS[lines, mtu])
                    yield udp(lines, mtu, system, 0.9, FLOODS[lines, mtu])
                yield from tcp(lines, mtu, [system], 600)
    yield from tcp(EQUAL4, 900, ["kernel-eql"], 600, FIFO)
    yield from tcp(EQUAL4, 900, ["eqlbond-plain"], 600, ecn=False)
    yield from tcp(UNEQUAL, 900, ["kernel-eql"], 600, FIFO)
    yield from tcp(UNEQUAL, 1500, ["kernel-multilink"], 600, FIFO)
    for count in (1, 2, 3, 4):
        yield from idle((28800,) * count, MULTILINK, 9 if count == 4 else 5)
    yield from idle((28800,) * 4, ["kernel-eql", "eqlbond-plain"], 5)
    yield from busy((*PLAIN, *MULTILINK), 14)
    yield from busy(("kernel-eql", "kernel-multilink"), 14, FIFO)
    yield from cuts((*PLAIN[:2], *MULTILINK), False)


def quick() -> Iterator[Case]:
    """What the targets need but for 28800+14400, whose transfers take four minutes; under ten minutes.

    Transfers by the kernel's eql over unequal lines are shorter. There are no floods, and cuts with Multilink only.
    """
    yield from tcp(UNEQUAL, 900, PLAIN[:1], 30)
    yield from tcp(UNEQUAL, 900, PLAIN[1:], 50)
    yield from tcp(EQUAL4, 900, PLAIN[:2], 30)
    yield from tcp(EQUAL4, 900, PLAIN[1:2], 30, ecn=False)
    yield from tcp(UNEQUAL, 1500, MULTILINK, 50)
    yield from idle((28800,) * 4, MULTILINK, 7)
    yield from busy((*PLAIN[:2], *MULTILINK), 9)
    yield from cuts(MULTILINK, True)


def short() -> Iterator[Case]:
    """One case: whether all of it works."""
    yield Case(
        "tcp",
        Setting("eqlbond-to-kernel-eql", EQUAL2, 900, FAIR),
        lambda system: measure.tcp(system, 40, "/sample"),
    )


def run(machines: Machines, cases: Sequence[Case]) -> list[Row]:
    """The results, a row for each case. One that fails says why, under `failed`, and the others go on."""
    results: list[Row] = []
    for setting, group in groupby(cases, lambda case: case.setting):
        waiting = list(group)
        while waiting:
            try:
                made = SYSTEMS[setting.system](
                    machines, setting.lines, setting.mtu, setting.qdisc, setting.echo, setting.ecn
                )
                with made as system:
                    while waiting:
                        case = waiting.pop(0)
                        try:
                            results.append(_measure(case, system))
                        except Exception as error:
                            _raise_interruption(error)
                            results.append(_failed(case, error))
                            break
                        if case.cut:
                            break
                        if waiting:
                            system.settle()
            except Exception as error:  # it cannot be made, so none of its cases
                _raise_interruption(error)
                results += [_failed(case, error) for case in waiting]
                break
    return results


def _raise_interruption(error: BaseException) -> None:
    """Ctrl-C ends the guests, too, so that cleaning up may have failed because of it: then that is what it was."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt | SystemExit):
            raise cause
        cause = cause.__context__


def _measure(case: Case, system: System) -> Row:
    began = time.monotonic()
    row = {**case.row(), **case.measure(system)}
    figures = {key: value for key, value in row.items() if isinstance(value, float | int) and key != "mtu"}
    told = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
    print(f"{case}: {told}  [{time.monotonic() - began:.0f} s]", file=sys.stderr, flush=True)
    return row


def _failed(case: Case, error: Exception) -> Row:
    print(f"{case}: failed", file=sys.stderr)
    traceback.print_exception(error)
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return {**case.row(), "failed": reason}


def table(rows: Sequence[Row]) -> Table:
    """The cases, for people."""
    shown = Table(
        "Side by side on paced lines: 289284 bytes by TCP with cubic, UDP, pings, cuts",
        [
            Column("case"),
            Column("lines"),
            Column("MTU"),
            Column("system"),
            Column("queue"),
            Column("% of framing", ".1f"),
            Column("% of bits/10", ".1f"),
            Column("out of order", ".1%"),
            Column("overtaken", ".1%"),
            Column("retr."),
            Column("ping ms", ".0f"),
            Column("busy ms", ".0f"),
            Column("cut"),
            Column("outage s", ".2f"),
            Column("losing s", ".2f"),
            Column("lost"),
            Column("packets"),
            Column("remark"),
        ],
    )
    for row in rows:
        remark = row.get("failed") or (f"given up after {row['seconds']:.0f} s" if row.get("given_up") else "")
        keys = ("percent_of_framing", "percent_of_bits", "out_of_order", "overtaken", "retransmits", "ping_ms")
        keys_of_cuts = ("cut", "outage_seconds", "losing_seconds", "lost")
        figures = [row.get(key) for key in (*keys, "ping_under_load_ms", *keys_of_cuts)]
        lines = "+".join(map(str, row["lines"]))
        packets = row.get("packets", row.get("segments"))
        shown.add(row["case"], lines, row["mtu"], row["system"], row["qdisc"], *figures, packets, remark)
    shown.note(
        "% of framing: the least time in which the lines carry the segments (52 bytes of headers each, with time "
        "stamps; escapes as in the data; two ENDs a packet by SLIP, 9 bytes of headers by PPP Multilink), over "
        "the time from accept to the last byte"
    )
    shown.note("% of bits/10: the file's bytes alone, against a byte for ten bits of the sum of the rates")
    shown.note("given up: the shares count the bytes that had arrived by then")
    shown.note(
        "out of order: of the segments, those that had to wait for one before them (TCPOFOQueue), because that was "
        "overtaken, or because it was dropped and sent again; of the datagrams, those that were overtaken"
    )
    shown.note("overtaken: of the segments, those that one that was sent later came before (by IPv4's identification)")
    shown.note("ping: round trip, median; 1400 bytes on idle lines, 64 bytes while a transfer runs")
    shown.note(
        "stream: 100 bytes every 50 ms; outage: the longest gap at the far end beyond that; losing: from the first "
        "that was lost to the last; burst: 20 of 1000 bytes"
    )
    shown.note("the second line is cut, or the first where a stream goes by that alone, as by eqlbond-plain")
    shown.note("cuts: PPP asks every second, and gives up after 3 without an answer; SLIP: outfill 1 s, keepalive 3 s")
    shown.note("ECN: TCP asks for it where eqlbond sends, and does not where the kernel's bonds do, each by default")
    return shown


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="one short case, within 90 s")
    parser.add_argument(
        "--only", metavar="TEXT", action="append", help="only cases with this in their name; again: both"
    )
    options = parse_options(__doc__, argv, parser, quick="what most targets need, within 10 minutes; all: within 60")
    cases = list(short() if options.extra.short else quick() if options.quick else whole())
    for text in options.extra.only or ():
        cases = [case for case in cases if text in str(case)]
    if os.geteuid():
        sys.exit("it needs root, for network namespaces and TUN interfaces")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    began = time.monotonic()
    with Machines() as machines:
        rows = run(machines, cases)
        release = machines.image.release if cases else None
    table(rows).print()
    print("\n" + judge(rows).render())
    print(f"\n{time.monotonic() - began:.0f} s", flush=True)
    finish(options, summary(rows), also={"cases": rows}, guest_kernel=release)
    failed = sum("failed" in row for row in rows)
    if failed:
        sys.exit(f"{failed} of {len(rows)} cases failed")


if __name__ == "__main__":
    main()
