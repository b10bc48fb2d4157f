"""PPP Multilink: latency on idle lines, throughput on full ones, and order through everything that can go wrong.

Simulated, and on pty lines in real time. Latency is from `send` to delivery, the mean over the packets. Efficiency is
the bits that had to go on the wires, PPP's and Multilink's headers included, over the sum of the rates times the
seconds; where frames are lost it counts what arrived. What is not simulated has "on ptys" in its `load`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import struct
from collections.abc import Sequence
from typing import Any

from benchmarks._harness import Column, Table, finish, parse_options
from eqlbond import Line, Master, Multilink, Packet, Placement, Ppp, Scheduler, SerialSlave
from eqlbond.aio.ptywire import PtyWire
from eqlbond.aio.wireprocess import WireProcess
from eqlbond.core.line_model import LineSpec
from eqlbond.sim import Bulk, SimLine, Trace, simulate

EQUAL = (28800, 28800, 28800, 28800)
UNEQUAL = (57600, 28800, 14400, 9600)
LATENCY_RATE = 28800
LATENCY_SIZE = 1400
FILE = 289284
_NUMBER = struct.Struct("!I")
_QUICK_ECHO = Ppp(echo_interval=1.0, echo_failure=3)

FAULTS: dict[str, dict[str, Any]] = {
    "loss 1 %": {"loss": 0.01},
    "jitter 100 ms": {"jitter": 0.1},
    "byte errors 2e-5": {"byte_error_rate": 2e-5},
    "hang-ups": {"cut_at": (8.0, 20.0), "revive_at": (14.0, 23.0)},
    "silent cuts": {"cut": "silence", "cut_at": (8.0,), "revive_at": (16.0,), "framing": _QUICK_ECHO},
    "every packet twice": {},
    "all of them": {"loss": 0.01, "jitter": 0.1, "byte_error_rate": 2e-5, "cut_at": (8.0,), "revive_at": (14.0,)},
}

REAL: dict[str, tuple[dict[str, Any], bool]] = {
    "jitter, byte errors, a hang-up": ({"jitter": 0.1, "byte_error_rate": 2e-5}, False),
    "the same, every packet twice": ({"jitter": 0.1, "byte_error_rate": 2e-5}, True),
}
"""On ptys: what the lines do, and whether each packet goes twice."""


class Twice:
    """Sends each packet by the line that is free first, and again by the next one."""

    def place(self, packet: Packet, lines: Sequence[Line], now: float) -> Placement:
        """Where, and where again."""
        first, *others = sorted(lines, key=lambda line: line.free)
        return Placement(first, copies=tuple(others[:1]))


def _row(
    lines: Sequence[int],
    size: int,
    load: str,
    *,
    real_time: bool,
    latency: float,
    efficiency: float | None = None,
    one_line: float | None = None,
    out_of_order: int = 0,
    damaged: int = 0,
    lost: int = 0,
) -> dict[str, Any]:
    return {
        "lines": list(lines),
        "packet_size": size,
        "load": f"{load}, on ptys" if real_time else load,
        "latency_ms": 1000 * latency,
        "ratio_to_one_line": None if one_line is None else latency / one_line,
        "efficiency": efficiency,
        "out_of_order": out_of_order,
        "damaged": damaged,
        "lost": lost,
        "real_time": real_time,
    }


def _simulated(quick: bool) -> list[dict[str, Any]]:
    rows = []
    one_line = None
    for count in (1, 2, 3, 4):
        lines = [LATENCY_RATE] * count
        result = simulate(lines, Trace([(3.0 * n, LATENCY_SIZE) for n in range(10)]), multilink=Multilink())
        one_line = result.delay_mean if one_line is None else one_line
        rows.append(
            _row(
                lines,
                LATENCY_SIZE,
                "idle",
                real_time=False,
                latency=result.delay_mean,
                one_line=one_line,
                out_of_order=result.reordered,
                damaged=result.damaged,
                lost=sum(result.lost.values()),
            )
        )
    for rates in (EQUAL, UNEQUAL):
        rows += [_bulk(rates, size, "bulk", [SimLine(rate) for rate in rates]) for size in (900, 1500)]
    seeds = range(1, 3 if quick else 9)
    for name, options in FAULTS.items():
        scheduler = Twice() if name in ("every packet twice", "all of them") else None
        for seed in seeds:
            faulty = [
                # Not all of the lines at once: a bundle that loses its last line begins anew.
                SimLine(rate, **{k: v for k, v in options.items() if number % 2 or not k.startswith(("cut", "revive"))})
                for number, rate in enumerate(UNEQUAL)
            ]
            rows.append(_bulk(UNEQUAL, 900, f"bulk, {name}, seed {seed}", faulty, scheduler, seed))
    return rows


def _bulk(
    rates: Sequence[int],
    size: int,
    load: str,
    lines: Sequence[SimLine],
    scheduler: Scheduler | None = None,
    seed: int = 1,
) -> dict[str, Any]:
    result = simulate(lines, Bulk(FILE, size), scheduler, mtu=size, seed=seed, multilink=Multilink())
    return _row(
        rates,
        size,
        load,
        real_time=False,
        latency=result.delay_mean,
        efficiency=result.efficiency,
        out_of_order=result.reordered,
        damaged=result.damaged,
        lost=sum(result.lost.values()),
    )


class _Receiver:
    """Checks what arrives against what was sent, by the number in front of each packet."""

    def __init__(self, sent: dict[int, tuple[bytes, float]]) -> None:
        self._sent = sent
        self._highest = -1
        self.latencies: list[float] = []
        self.out_of_order = 0
        self.damaged = 0
        self.last = 0.0
        self.arrived = asyncio.Event()

    def take(self, packets: list[Packet]) -> None:
        now = asyncio.get_running_loop().time()
        for packet in packets:
            (number,) = _NUMBER.unpack_from(packet.payload)
            payload, since = self._sent.get(number, (b"", 0.0))
            if payload != packet.payload:
                self.damaged += 1
                continue
            if number < self._highest:
                self.out_of_order += 1
            self._highest = max(self._highest, number)
            self.latencies.append(now - since)
        self.last = now
        self.arrived.set()


def _sides(wire: PtyWire | WireProcess, rates: Sequence[int]) -> list[list[SerialSlave]]:
    """PPP slaves at both ends of a wire's lines."""
    return [
        [
            SerialSlave(getattr(line, end), 115200, rate=rate, framing=Ppp(), name=f"{end}{number}: {rate}")
            for number, (line, rate) in enumerate(zip(wire.lines, rates, strict=True))
        ]
        for end in ("a", "b")
    ]


async def _all_up(sides: Sequence[Sequence[SerialSlave]]) -> None:
    async with asyncio.timeout(20):
        while not all(slave.up for side in sides for slave in side):
            await asyncio.sleep(0.05)


async def _on_ptys(rates: Sequence[int], size: int, load: str, total: int) -> dict[str, Any]:
    """`total` packets over ptys: one at a time (``idle``), or as fast as the bond takes them."""
    loop = asyncio.get_running_loop()
    rng = random.Random(1995)
    mtu = max(size, 128)
    async with WireProcess([LineSpec(rate) for rate in rates]) as wire:
        sides = _sides(wire, rates)
        sent: dict[int, tuple[bytes, float]] = {}
        receiver = _Receiver(sent)
        async with (
            Master(sides[0], mtu=mtu, multilink=Multilink()) as sender,
            Master(sides[1], mtu=mtu, multilink=Multilink(), on_packets=receiver.take),
        ):
            await _all_up(sides)
            await asyncio.sleep(0.5)
            before = [slave.member.counters.bytes_sent for slave in sides[0]]
            start = loop.time()
            for number in range(total):
                payload = _NUMBER.pack(number) + rng.randbytes(size - _NUMBER.size)
                receiver.arrived.clear()
                sent[number] = payload, loop.time()
                await sender.send(payload, protocol=0x21)
                if load == "idle":
                    async with asyncio.timeout(20):
                        await receiver.arrived.wait()
                    await asyncio.sleep(0.15 + 0.1 * rng.random())
            async with asyncio.timeout(60):
                while len(receiver.latencies) + receiver.damaged < total:
                    receiver.arrived.clear()
                    await receiver.arrived.wait()
            seconds = receiver.last - start
            bits = 10 * (sum(slave.member.counters.bytes_sent for slave in sides[0]) - sum(before))
    return _row(
        rates,
        size,
        load,
        real_time=True,
        latency=sum(receiver.latencies) / len(receiver.latencies),
        efficiency=None if load == "idle" else bits / (sum(rates) * seconds),
        out_of_order=receiver.out_of_order,
        damaged=receiver.damaged,
        lost=total - len(receiver.latencies) - receiver.damaged,
    )


async def _through_faults(name: str, spec: dict[str, Any], twice: bool, total: int) -> dict[str, Any]:
    """Packets of 900 bytes over ptys with jitter and byte errors, one of which is hung up and comes back meanwhile."""
    loop = asyncio.get_running_loop()
    rng = random.Random(1995)
    async with PtyWire([LineSpec(rate, **spec) for rate in UNEQUAL], seed=1995) as wire:
        sides = _sides(wire, UNEQUAL)
        sent: dict[int, tuple[bytes, float]] = {}
        receiver = _Receiver(sent)
        scheduler = Twice() if twice else None
        async with (
            Master(sides[0], scheduler=scheduler, mtu=900, multilink=Multilink()) as sender,
            Master(sides[1], mtu=900, multilink=Multilink(), on_packets=receiver.take) as far,
        ):
            await _all_up(sides)

            async def cut() -> None:
                wire.lines[1].cut()
                await asyncio.sleep(1.5)
                wire.lines[1].revive()
                for master, side in ((sender, sides[0]), (far, sides[1])):
                    await master.reopen(side[1])

            cutting: asyncio.Task[None] | None = None
            for number in range(total):
                payload = _NUMBER.pack(number) + rng.randbytes(900 - _NUMBER.size)
                sent[number] = payload, loop.time()
                await sender.send(payload, protocol=0x21)
                if number == total // 3:
                    cutting = asyncio.ensure_future(cut())
            await sender.drain()
            assert cutting is not None
            await cutting
            while loop.time() < receiver.last + 3.0:  # longer than the patience with what is missing
                await asyncio.sleep(0.1)
    return _row(
        UNEQUAL,
        900,
        name,
        real_time=True,
        latency=sum(receiver.latencies) / len(receiver.latencies),
        out_of_order=receiver.out_of_order,
        damaged=receiver.damaged,
        lost=total - len(receiver.latencies) - receiver.damaged,
    )


async def _real(quick: bool) -> list[dict[str, Any]]:
    gate = asyncio.Semaphore(6)  # the lines are slow; the machine must not be busy

    async def one(rates: Sequence[int], size: int, load: str, total: int) -> dict[str, Any]:
        async with gate:
            return await _on_ptys(rates, size, load, total)

    async def faulty(name: str, spec: dict[str, Any], twice: bool, total: int) -> dict[str, Any]:
        async with gate:
            return await _through_faults(name, spec, twice, total)

    size, faults = (150_000, 100) if quick else (FILE, 320)
    rows = await asyncio.gather(
        *(one([LATENCY_RATE] * count, LATENCY_SIZE, "idle", 6 if quick else 15) for count in (1, 2, 3, 4)),
        *(one(rates, mtu, "bulk", size // mtu) for rates in (EQUAL, UNEQUAL) for mtu in (900, 1500)),
        *(faulty(f"bulk, {name}", *options, faults // (2 if options[1] else 1)) for name, options in REAL.items()),
    )
    one_line = rows[0]["latency_ms"]
    for row in rows[:4]:
        row["ratio_to_one_line"] = row["latency_ms"] / one_line
    return list(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse_options(__doc__, argv)
    logging.getLogger("eqlbond").setLevel(logging.ERROR)  # that lines close is no news here
    results = _simulated(options.quick) + asyncio.run(_real(options.quick))
    table = Table(
        "PPP Multilink",
        [
            Column("lines"),
            Column("packet"),
            Column("load"),
            Column("latency ms", ".1f"),
            Column("of one line", ".3f"),
            Column("efficiency", ".3f"),
            Column("out of order"),
            Column("damaged"),
            Column("lost"),
        ],
    )
    for row in results:
        table.add(
            "+".join(map(str, row["lines"])),
            row["packet_size"],
            row["load"],
            row["latency_ms"],
            row["ratio_to_one_line"],
            row["efficiency"],
            row["out_of_order"],
            row["damaged"],
            row["lost"],
        )
    table.note("simulated, but for those on ptys")
    table.note("latency under bulk is the queue's: the bond is kept full")
    table.note("where lines are cut, efficiency is over the time that each was whole; twice: half of it is the copies")
    table.print()
    finish(options, results)


if __name__ == "__main__":
    main()
