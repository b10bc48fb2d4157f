"""Packets a second and CPU a packet through `Master`, unpaced: 4 ptys beside a codec-less floor, and lines in memory.

Two bonds in one process, one sends and one receives; all that happens to a packet happens here. The floor moves bytes
through 4 ptys as fast as one event loop can, with no framing, no packets and no bond; its "packets" are as many bytes
as the case's payloads have. On ptys one end is a serial port (pyserial-asyncio), the other the pty's controlling end.
`ratio_to_floor` compares packets a second, `cpu_ratio_to_floor` CPU a packet, which other programs disturb less.
For PPP Multilink in memory `ratio_to_slip` compares with plain SLIP in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from benchmarks._harness import Column, Table, finish, parse_options
from benchmarks._lines import MemoryLine, Pty
from eqlbond import Framing, Master, Multilink, Packet, Ppp, SerialSlave, Slave, Slip

LINES = 4
PAYLOADS = 64
_CHUNK = 65536


@attrs.frozen
class Case:
    """One way through a bond."""

    path: str
    """``pty, serial sends``, ``pty, serial receives`` or ``memory``."""
    framing: str
    size: int
    content: str


@attrs.define
class Took:
    """What so many packets took."""

    packets: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Packets a second."""
        return self.packets / self.seconds

    @property
    def cpu_packet(self) -> float:
        """CPU seconds for a packet."""
        return self.cpu / self.packets


FRAMINGS: dict[str, Callable[[], Framing]] = {
    "slip": Slip,
    "ppp multilink fcs-16": lambda: Ppp(fcs32=False, echo_interval=0),
    "ppp multilink fcs-32": lambda: Ppp(fcs32=True, echo_interval=0),
}
_PTY_PATHS = ("pty, serial sends", "pty, serial receives")


def cases() -> list[Case]:
    """All that is measured."""
    slip = [
        Case(path, "slip", size, content)
        for path in (*_PTY_PATHS, "memory")
        for size, content in ((1500, "text"), (1500, "random"), (40, "random"))
    ]
    return slip + [Case("memory", framing, 1500, "random") for framing in FRAMINGS if framing != "slip"]


def payloads(size: int, content: str) -> list[bytes]:
    """Different payloads of the size, whose first byte is that of an IPv4 header."""
    rng = random.Random(1995)
    if content == "random":
        return [b"\x45" + rng.randbytes(size - 1) for _ in range(PAYLOADS)]
    letters = b"etaoin shrdlu cmfwyp vbgkjq xz ETAOIN.\n"
    return [b"\x45" + bytes(rng.choices(letters, k=size - 1)) for _ in range(PAYLOADS)]


class _Sink:
    """Counts what arrives and tells when it is all."""

    def __init__(self, expected: int) -> None:
        self._left = expected
        self.done = asyncio.get_running_loop().create_future()

    def take(self, packets: list[Packet]) -> None:
        self._left -= len(packets)
        if self._left <= 0 and not self.done.done():
            self.done.set_result(None)


async def _send(master: Master, data: list[bytes], packets: int) -> None:
    for n in range(packets):
        if master.full:
            await master.send(data[n % PAYLOADS])
        else:
            master.send_nowait(data[n % PAYLOADS])


async def through_master(case: Case, packets: int) -> Took:
    """Send packets from one bond to another."""
    ptys: list[Pty] = []
    ends: list[tuple[Slave, Slave]] = []
    for _ in range(LINES):
        framing = FRAMINGS[case.framing]()
        if case.path == "memory":
            line = MemoryLine()
            ends.append((Slave(line.open, framing=framing), Slave(line.open, framing=framing)))
            continue
        pty = Pty()
        ptys.append(pty)
        serial = SerialSlave(pty.path, 115200, rate=None, framing=framing)
        other = Slave(pty.open, framing=framing)
        ends.append((serial, other) if case.path == "pty, serial sends" else (other, serial))
    multilink = Multilink() if case.framing != "slip" else None
    data = payloads(case.size, case.content)
    sink = _Sink(packets)
    try:
        async with (
            Master([a for a, _ in ends], multilink=multilink, close_timeout=1) as near,
            Master([b for _, b in ends], multilink=multilink, close_timeout=1, on_packets=sink.take) as far,
        ):
            await asyncio.gather(near.wait_open(10), far.wait_open(10))
            while not all(slave.up for pair in ends for slave in pair):
                await asyncio.sleep(0.01)
            start, cpu = time.perf_counter(), time.process_time()
            await _send(near, data, packets)
            async with asyncio.timeout(60):
                await sink.done
            return Took(packets, time.perf_counter() - start, time.process_time() - cpu)
    finally:
        for pty in ptys:
            pty.close()


async def floor(size: int, packets: int) -> Took:
    """Bytes through 4 ptys, with nothing done to them."""
    loop = asyncio.get_running_loop()
    ptys = [Pty() for _ in range(LINES)]
    data = random.Random(1995).randbytes(_CHUNK)
    left = dict.fromkeys(range(LINES), size * packets // LINES)
    expected = sum(left.values())
    done = loop.create_future()

    def write(index: int, pty: Pty) -> None:
        if left[index] <= 0:
            loop.remove_writer(pty.slave)
            return
        with contextlib.suppress(BlockingIOError):
            left[index] -= os.write(pty.slave, data[: left[index]])

    def read(pty: Pty) -> None:
        nonlocal expected
        try:
            expected -= len(os.read(pty.descriptor, _CHUNK))
        except BlockingIOError:
            return
        if expected <= 0 and not done.done():
            done.set_result(None)

    start, cpu = time.perf_counter(), time.process_time()
    for index, pty in enumerate(ptys):
        loop.add_writer(pty.slave, write, index, pty)
        loop.add_reader(pty.descriptor, read, pty)
    try:
        async with asyncio.timeout(60):
            await done
        return Took(packets, time.perf_counter() - start, time.process_time() - cpu)
    finally:
        for pty in ptys:
            loop.remove_reader(pty.descriptor)
            loop.remove_writer(pty.slave)
            pty.close()


def _median(runs: list[Took]) -> Took:
    """Medians of time and of CPU, each by itself."""
    packets = runs[0].packets
    middle = len(runs) // 2
    return Took(packets, sorted(run.seconds for run in runs)[middle], sorted(run.cpu for run in runs)[middle])


def measure(chosen: Sequence[Case], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Every case and the floor, one after the other in each round, so that what disturbs one disturbs the others."""
    sizes = sorted({case.size for case in chosen})
    keys: list[Case | int] = [*sizes, *chosen]

    def run(key: Case | int, packets: int) -> Took:
        gc.collect()
        if isinstance(key, int):
            return asyncio.run(floor(key, packets))
        return asyncio.run(through_master(key, packets))

    counts = {key: 4000 if isinstance(key, Case) else 20_000 for key in keys}
    for key in keys:  # how many packets make a run of the wanted length
        counts[key] = max(2000, int(counts[key] * seconds / run(key, counts[key]).seconds))
    runs: dict[Case | int, list[Took]] = {key: [] for key in keys}
    for _ in range(rounds):
        for key in keys:
            runs[key].append(run(key, counts[key]))
    found = {key: _median(took) for key, took in runs.items()}
    results = []
    for case in chosen:
        took = found[case]
        bare = found[case.size]
        slip = found.get(Case("memory", "slip", case.size, case.content))
        compare = slip is not None and case.path == "memory" and case.framing != "slip"
        results.append(
            {
                "path": case.path,
                "framing": case.framing,
                "size": case.size,
                "content": case.content,
                "lines": LINES,
                "packets_per_second": took.rate,
                "cpu_us_per_packet": took.cpu_packet * 1e6,
                "floor_packets_per_second": bare.rate,
                "ratio_to_floor": took.rate / bare.rate,
                "cpu_ratio_to_floor": bare.cpu_packet / took.cpu_packet,
                "ratio_to_slip": took.rate / slip.rate if compare and slip is not None else None,
            }
        )
    return results


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse_options(__doc__, argv)
    logging.getLogger("eqlbond").setLevel(logging.ERROR)  # lines go down at the end of each run
    rounds, seconds = (3, 0.4) if options.quick else (7, 1.0)
    results = measure(cases(), rounds, seconds)
    table = Table(
        f"Through two bonds of {LINES} lines without a pace; medians of {rounds} rounds",
        [
            Column("path"),
            Column("framing"),
            Column("size"),
            Column("content"),
            Column("packets/s", ".0f"),
            Column("CPU us/packet", ".2f"),
            Column("of the floor", ".2f"),
            Column("by CPU", ".2f"),
            Column("of SLIP", ".2f"),
        ],
    )
    for r in results:
        table.add(
            r["path"],
            r["framing"],
            r["size"],
            r["content"],
            r["packets_per_second"],
            r["cpu_us_per_packet"],
            r["ratio_to_floor"],
            r["cpu_ratio_to_floor"],
            r["ratio_to_slip"],
        )
    floors = {r["size"]: r["floor_packets_per_second"] for r in results}
    for size, rate in sorted(floors.items()):
        table.note(f"floor at {size} B: {rate:.0f} packets/s, {rate * size / 1e6:.0f} MB/s through {LINES} ptys")
    table.note("of the floor: packets/s; by CPU: the floor's CPU a packet over ours; of SLIP: packets/s, in memory")
    table.print()
    finish(options, results, rounds=rounds)


if __name__ == "__main__":
    main()
