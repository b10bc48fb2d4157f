"""What a packet costs with 1, 4, 16, 64 and 256 lines: placed, planned, framed and handed to the ports.

One bond in memory on a clock of its own: it is always full, and every port takes what its line carries, at the times
that the bond asks for. Only the sending half is there, which is the one whose work may grow with the number
of lines; nothing is received. The time is CPU time.

`results` has lines of one rate; the same with lines of mixed rates is under `mixed_rates`.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks._harness import Column, Table, finish, parse_options
from eqlbond import (
    ActiveBackup,
    DeficitRoundRobin,
    EarliestDelivery,
    Eql,
    FlowHash,
    Packet,
    Redundant,
    RoundRobin,
    Scheduler,
    Slip,
)
from eqlbond.core.bundle import Bundle
from eqlbond.core.member import Member

COUNTS = (1, 4, 16, 64, 256)
SIZE = 900
EQUAL = (57600,)
MIXED = (57600, 38400, 28800, 19200)
SCHEDULERS: dict[str, Callable[[], Scheduler]] = {
    "EarliestDelivery": EarliestDelivery,
    "EarliestDelivery, never hold": lambda: EarliestDelivery(hold="never"),
    "Eql": Eql,
    "RoundRobin": RoundRobin,
    "DeficitRoundRobin": DeficitRoundRobin,
    "FlowHash": FlowHash,
    "ActiveBackup": ActiveBackup,
    "Redundant": Redundant,
}


def payloads(flows: int) -> list[bytes]:
    """A datagram for each flow, IPv4 and UDP: as many flows as keep all lines busy where a flow has one line."""
    rng = random.Random(1995)
    head = b"\x45\x00" + SIZE.to_bytes(2, "big") + bytes(4) + b"\x40\x11" + bytes(2) + bytes((10, 0, 0, 1, 10, 0, 0, 2))
    return [head + bytes((4, 0)) + n.to_bytes(2, "big") + rng.randbytes(SIZE - 24) for n in range(flows)]


def run(scheduler: Scheduler, rates: Sequence[float], packets: int) -> float:
    """CPU seconds for a packet."""
    data = payloads(max(64, 4 * len(rates)))
    bundle = Bundle(scheduler, mtu=1500)
    for n, rate in enumerate(rates):
        member = Member(f"line{n}", Slip(), rate=rate)
        bundle.add(member, 0.0)
        bundle.connected(member, 0.0)
    now = 0.0
    offered = 0

    def fill() -> None:
        nonlocal offered
        while not bundle.full:
            bundle.send(Packet(data[offered % len(data)]), now)
            offered += 1

    fill()  # from here on a packet is taken for each one that goes
    first = offered
    started = time.process_time()
    while offered < first + packets:
        for member in bundle.ready(now):
            bundle.data_to_send(member, now, 65536)
        deadline = bundle.next_deadline()
        if deadline is None:
            raise RuntimeError("the bond is full and waits for nothing")
        now = max(now, deadline)
        bundle.tick(now)
        fill()
    return (time.process_time() - started) / (offered - first)


def measure(name: str, count: int, rates: Sequence[int], packets: int, rounds: int) -> dict[str, Any]:
    """The least of several runs: what disturbs a run only makes it longer."""
    several = [rates[n % len(rates)] for n in range(count)]
    costs = []
    for _ in range(rounds):
        gc.collect()
        costs.append(run(SCHEDULERS[name](), several, packets))
    return {"lines": count, "scheduler": name, "rates": list(rates), "us_per_packet": min(costs) * 1e6}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scheduler", choices=sorted(SCHEDULERS), help="only this one")
    options = parse_options(__doc__, argv, parser)
    packets, rounds = (400, 2) if options.quick else (3000, 5)
    names = [options.extra.scheduler] if options.extra.scheduler else list(SCHEDULERS)
    results: dict[Sequence[int], list[dict[str, Any]]] = {EQUAL: [], MIXED: []}
    for rates, found in results.items():
        for name in names:
            row = [measure(name, count, rates, packets, rounds) for count in COUNTS]
            four = next(result["us_per_packet"] for result in row if result["lines"] == 4)
            found += [{**result, "ratio_to_4": result["us_per_packet"] / four} for result in row]
    table = Table(
        f"CPU us a packet of {SIZE} bytes, by the number of lines",
        [Column("scheduler"), Column("rates"), *(Column(f"{n}", ".1f") for n in COUNTS), Column("64 / 4", ".2f")],
    )
    every = [*results[EQUAL], *results[MIXED]]
    for start in range(0, len(every), len(COUNTS)):
        row = every[start : start + len(COUNTS)]
        costs = [result["us_per_packet"] for result in row]
        ratio = row[COUNTS.index(64)]["ratio_to_4"]
        table.add(row[0]["scheduler"], "+".join(map(str, row[0]["rates"])), *costs, ratio)
    table.note("rates: those of the lines, in turn")
    table.note("Redundant makes two of each packet where there are two lines")
    table.print()
    finish(options, results[EQUAL], also={"mixed_rates": results[MIXED]}, size=SIZE, packets=packets)


if __name__ == "__main__":
    main()
