"""Delay and reordering of all schedulers, simulated on stated lines and loads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks._harness import Column, Table, finish, parse_options
from eqlbond.schedulers.catalogue import SCHEDULERS
from eqlbond.sim import Bulk, Poisson, Tcp, Workload, compare

FOUR = (57600, 28800, 14400, 9600)
MIX = (40, 576, 1500)

PLAIN = "earliest-never-hold"  # what reordering and delays are measured by


def cases(quick: bool) -> list[tuple[str, Sequence[int], Workload, int]]:
    """(name, lines, workload, MTU) of every case."""
    size, seconds = (300_000, 120.0) if quick else (3_000_000, 1200.0)
    return [
        ("bulk, 1500 B", FOUR, Bulk(size, 1500), 1500),
        ("bulk, 40/576/1500 B", FOUR, Bulk(size, MIX), 1500),
        ("Poisson 80 %, 40/576/1500 B", FOUR, Poisson(load=0.8, sizes=MIX, duration=seconds), 1500),
        ("Poisson 80 %, 900 B", (57600, 14400), Poisson(load=0.8, sizes=900, duration=seconds), 900),
        ("Poisson 40 %, mixed, 32 flows", FOUR, Poisson(load=0.4, sizes=MIX, duration=seconds, flows=32), 1500),
        ("Poisson 50 %, 900 B", (57600, 57600), Poisson(load=0.5, sizes=900, duration=seconds), 900),
        ("bulk, 900 B", (57600, 14400), Bulk(size // 2, 900), 900),
        ("TCP-like, CUBIC", (57600, 14400), Tcp(289284), 900),
        ("TCP-like, Reno", (57600, 14400), Tcp(289284, congestion="reno"), 900),
        ("TCP-like, CUBIC, adapting", (57600, 14400), Tcp(289284, adapts=True), 900),
        ("TCP-like, CUBIC", (57600,) * 4, Tcp(289284), 900),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse_options(__doc__, argv)
    seeds = (1,) if options.quick else (1, 2, 3)
    results: list[dict[str, Any]] = []
    for name, lines, workload, mtu in cases(options.quick):
        found = compare(lines, {key: make() for key, make in SCHEDULERS.items()}, workload, seeds, mtu=mtu)
        rows = {row["scheduler"]: row for row in found.rows()}
        plain = rows[PLAIN]
        for key, row in rows.items():
            results.append(
                {
                    "workload": name,
                    "lines": list(lines),
                    "mtu": mtu,
                    "scheduler": key,
                    "efficiency": row["efficiency"],
                    "goodput": row["goodput"] * 1000,
                    "delay_p50": row["p50"],
                    "delay_p95": row["p95"],
                    "delay_p99": row["p99"],
                    "reordered": row["reordered"],
                    "reordering_extent_max": row["by up to"],
                    "reordered_to_plain": row["reordered"] / plain["reordered"] if plain["reordered"] else None,
                    "p95_to_plain": row["p95"] / plain["p95"],
                }
            )
    table = Table(
        f"Schedulers, simulated; means of {len(seeds)} seeds",
        [
            Column("workload"),
            Column("lines"),
            Column("scheduler"),
            Column("efficiency", ".4f"),
            Column("p50 s", ".3f"),
            Column("p95 s", ".3f"),
            Column("p99 s", ".3f"),
            Column("reordered", ".2%"),
            Column("by up to"),
            Column("reordered / plain", ".2f"),
            Column("p95 / plain", ".3f"),
        ],
    )
    for r in results:
        table.add(
            r["workload"],
            "+".join(map(str, r["lines"])),
            r["scheduler"],
            r["efficiency"],
            r["delay_p50"],
            r["delay_p95"],
            r["delay_p99"],
            r["reordered"],
            r["reordering_extent_max"],
            r["reordered_to_plain"],
            r["p95_to_plain"],
        )
    table.note("plain: earliest-never-hold, earliest delivery that never holds a packet back (EDPF)")
    table.note("redundant sends each packet by two lines, and the copy that comes first counts")
    table.note("reordering is counted across flows: that flow-hash keeps each flow in order does not show")
    table.note("TCP-like: efficiency is the share of what is possible after headers and framing")
    table.print()
    finish(options, results, seeds=list(seeds))


if __name__ == "__main__":
    main()
