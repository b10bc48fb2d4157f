"""How fast the simulator is: simulated seconds a second on four lines of 115200 bit/s, packets of 1500 bytes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from benchmarks._harness import Column, Table, finish, parse_options
from eqlbond.sim import Bulk, simulate

LINES = (115200,) * 4
_CASES: tuple[dict[str, Any], ...] = ({"frames": "codec"}, {"frames": "size"}, {"frames": "codec", "pacing": "pieces"})


def measure(seconds: float, rounds: int, **options: Any) -> dict[str, Any]:
    """The best of `rounds` runs of about `seconds` simulated seconds."""
    best = 0.0
    packets = 0
    for _ in range(rounds):
        begin = time.process_time()
        result = simulate(LINES, Bulk(int(46080 * seconds), 1500), **options)
        took = time.process_time() - begin
        best = max(best, result.duration / took)
        packets = result.sent
    a_second = packets / result.duration * best
    return {
        "frames": options["frames"],
        "pacing": options.get("pacing", "frames"),
        "simulated_seconds_a_second": best,
        "packets_a_second": a_second,
        "us_per_packet": 1e6 / a_second,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse_options(__doc__, argv)
    seconds, rounds = (200.0, 2) if options.quick else (1200.0, 5)
    results = [measure(seconds, rounds, **case) for case in _CASES]
    table = Table(
        "Simulator, 4 x 115200 bit/s in bulk, 1500 B",
        [
            Column("frames"),
            Column("pacing"),
            Column("simulated s / s", ",.0f"),
            Column("packets / s", ",.0f"),
            Column("us / packet", ".1f"),
        ],
    )
    for result in results:
        table.add(*result.values())
    table.note("CPU time, the best run")
    table.print()
    finish(options, results)


if __name__ == "__main__":
    main()
