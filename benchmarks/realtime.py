"""Bulk transfers over pty lines in real time: efficiency, shares, reordering and the standing queue.

Each case is a pty wire in a process of its own, two bonds here, one file of 289284 bytes (the 1995 report's) or a part
of it, one scheduler. `efficiency` is the bits that had to go on the wire, framing included, over the sum of the rates
times the seconds from the first byte sent to the last packet received; `payload_percent` counts the file's bytes only,
as the report did.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks._harness import Column, Table, finish, parse_options
from eqlbond import EarliestDelivery, Eql, Master, Packet, RoundRobin, Scheduler, SerialSlave
from eqlbond.aio.wireprocess import WireProcess
from eqlbond.core.line_model import LineSpec

SETS: tuple[tuple[int, ...], ...] = (
    (57600,),
    (57600, 57600),
    (57600, 57600, 57600, 57600),
    (57600, 14400),
    (115200, 9600),
)
SCHEDULERS: tuple[Callable[[], Scheduler], ...] = (EarliestDelivery, RoundRobin, Eql)
FILE = 289284
MTU = 900
_NUMBER = struct.Struct("!I")


class _Receiver:
    """Counts what arrives, by the number in front of each packet."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._highest = -1
        self.packets = 0
        self.payload = 0
        self.reordered = 0
        self.last = 0.0
        self.done = asyncio.get_running_loop().create_future()

    def take(self, packets: list[Packet]) -> None:
        self.last = asyncio.get_running_loop().time()
        for packet in packets:
            (number,) = _NUMBER.unpack_from(packet.payload)
            if number < self._highest:
                self.reordered += 1
            else:
                self._highest = number
            self.packets += 1
            self.payload += len(packet.payload)
        if self.packets >= self._expected and not self.done.done():
            self.done.set_result(None)


async def measure(
    rates: Sequence[int], scheduler: Scheduler, size: int, mtu: int = MTU, *, headers: int = _NUMBER.size
) -> dict[str, Any]:
    """One transfer of `size` bytes, in packets of the MTU with so many bytes of headers each."""
    loop = asyncio.get_running_loop()
    data = random.Random(1995).randbytes(size)
    pieces = [bytes(headers - _NUMBER.size) + data[n : n + mtu - headers] for n in range(0, size, mtu - headers)]
    async with WireProcess([LineSpec(rate) for rate in rates]) as wire:
        near = [SerialSlave(line.a, rate, name=f"a{rate}") for line, rate in zip(wire.lines, rates, strict=True)]
        far = [SerialSlave(line.b, rate, name=f"b{rate}") for line, rate in zip(wire.lines, rates, strict=True)]
        receiver = _Receiver(len(pieces))
        async with (
            Master(near, scheduler=scheduler, mtu=mtu) as sender,
            Master(far, mtu=mtu, on_packets=receiver.take),
        ):
            await wire.reset_peaks()
            start = loop.time()
            for number, piece in enumerate(pieces):
                await sender.send(_NUMBER.pack(number) + piece)
            async with asyncio.timeout(60 + 20 * size * 10 / sum(rates)):
                await receiver.done
            seconds = receiver.last - start
            peaks = [line.ab.peak_seconds for line in await wire.stats()]
            sent = [slave.member.counters.bytes_sent for slave in near]
    return {
        "lines": list(rates),
        "mtu": mtu,
        "scheduler": type(scheduler).__name__,
        "bytes": size,
        "seconds": seconds,
        "efficiency": sum(sent) * 10 / (sum(rates) * seconds),
        "payload_percent": 100
        * (receiver.payload - receiver.packets * (headers - _NUMBER.size))
        * 10
        / (sum(rates) * seconds),
        "reordered": receiver.reordered / receiver.packets,
        "shares": [count / sum(sent) for count in sent],
        "port_queue_ms": 1000 * max(peaks),
    }


async def _measure_all(cases: list[tuple[tuple[int, ...], Callable[[], Scheduler], int]]) -> list[dict[str, Any]]:
    # A few at a time: the lines are slow and the machine is mostly idle, but must not be busy.
    gate = asyncio.Semaphore(3)

    async def one(case: tuple[tuple[int, ...], Callable[[], Scheduler], int]) -> dict[str, Any]:
        async with gate:
            rates, scheduler, size = case
            return await measure(rates, scheduler(), size)

    return list(await asyncio.gather(*(one(case) for case in cases)))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse_options(__doc__, argv)
    size = 40000 if options.quick else FILE
    sets = ((57600, 57600), (57600, 57600, 57600, 57600), (57600, 14400)) if options.quick else SETS
    results = asyncio.run(_measure_all([(rates, scheduler, size) for rates in sets for scheduler in SCHEDULERS]))
    table = Table(
        f"{size} bytes in packets of {MTU} over pty lines, in real time",
        [
            Column("lines"),
            Column("scheduler"),
            Column("seconds", ".1f"),
            Column("efficiency", ".3f"),
            Column("payload %", ".1f"),
            Column("reordered", ".2%"),
            Column("shares (of the sum of rates)"),
            Column("port queue ms", ".1f"),
        ],
    )
    for result in results:
        rates = result["lines"]
        shares = ", ".join(
            f"{share:.1%} ({rate / sum(rates):.1%})" for share, rate in zip(result["shares"], rates, strict=True)
        )
        table.add(
            "+".join(map(str, rates)),
            result["scheduler"],
            result["seconds"],
            result["efficiency"],
            result["payload_percent"],
            result["reordered"],
            shares,
            result["port_queue_ms"],
        )
    table.note("port queue: the most that ever stood between the bond and the wire, written minus released")
    table.note("three transfers run at a time, each with its own wire process")
    table.print()
    finish(options, results, mtu=MTU, bytes=size)


if __name__ == "__main__":
    main()
