"""The same transfers simulated and on ptys in real time: how far the simulator is to be believed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks._harness import Column, Table, finish, parse_options
from benchmarks.realtime import measure
from eqlbond.schedulers import EarliestDelivery, Eql, RoundRobin, Scheduler
from eqlbond.sim import Bulk, simulate

Case = tuple[tuple[int, ...], int, Callable[[], Scheduler], int]

CASES: tuple[Case, ...] = (
    # lines, MTU, scheduler, bytes
    ((57600, 57600), 900, EarliestDelivery, 120_000),
    ((57600, 14400), 900, EarliestDelivery, 80_000),
    ((57600, 14400), 900, Eql, 40_000),
    ((115200,) * 4, 1500, EarliestDelivery, 500_000),
    ((57600, 28800, 14400, 9600), 576, EarliestDelivery, 160_000),
    ((57600, 28800, 14400, 9600), 576, RoundRobin, 60_000),
    ((115200, 9600), 900, EarliestDelivery, 200_000),
    ((9600,), 400, EarliestDelivery, 15_000),
    ((38400,) * 3, 600, RoundRobin, 200_000),
)
_HEADERS = 4


async def _measure(case: Case, gate: asyncio.Semaphore) -> dict[str, Any]:
    lines, mtu, scheduler, size = case
    simulated = simulate(lines, Bulk(size, mtu, headers=_HEADERS), scheduler(), mtu=mtu).duration
    async with gate:
        real = (await measure(lines, scheduler(), size, mtu, headers=_HEADERS))["seconds"]
    return {
        "lines": list(lines),
        "mtu": mtu,
        "scheduler": scheduler.__name__,
        "simulated_seconds": simulated,
        "pty_seconds": real,
        "difference_percent": 100 * (real - simulated) / simulated,
    }


async def _measure_all(cases: Sequence[Case]) -> list[dict[str, Any]]:
    gate = asyncio.Semaphore(3)
    return list(await asyncio.gather(*(_measure(case, gate) for case in cases)))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse_options(__doc__, argv)
    results = asyncio.run(_measure_all(CASES[:4] if options.quick else CASES))
    table = Table(
        "Bulk transfers, simulated and on ptys",
        [
            Column("lines"),
            Column("mtu"),
            Column("scheduler"),
            Column("simulated s", ".2f"),
            Column("ptys s", ".2f"),
            Column("difference %", "+.2f"),
        ],
    )
    for result in results:
        table.add("+".join(map(str, result["lines"])), *list(result.values())[1:])
    table.note(
        "three transfers run at a time, each with a wire process of its own; contents are random, and not the same"
    )
    table.print()
    finish(options, results)


if __name__ == "__main__":
    main()
