"""The rows of `benchmarks.peers`: one for each measurement, and of those one for each system, lines, MTU and cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]

FAIR, OURS = "fq_codel", "fq (eqlbond's)"
"""Debian's default in front of the kernel's lines; eqlbond's own queue, as it comes."""

NAMED: dict[str, Any] = dict.fromkeys(
    (
        "system", "lines", "mtu", "percent_of_framing", "out_of_order", "retransmits", "ping_ms", "ping_under_load_ms",
        "cut", "outage_seconds", "lost",
    )
)  # fmt: skip
"""What every row has, null where it was not measured."""

_TAKEN: dict[str, Sequence[str]] = {
    "tcp": ("percent_of_framing", "percent_of_bits", "out_of_order", "overtaken", "retransmits", "given_up"),
    "ping, idle": ("ping_ms",),
    "ping, busy": ("ping_under_load_ms",),
    "stream": ("outage_seconds", "losing_seconds", "lost", "out_of_order"),
}
"""What a measurement gives to the row of its system, lines, MTU and cut, under the same names."""


def is_default(row: Row) -> bool:
    """Whether the queues were what both come with: other rows are for comparison."""
    return row["qdisc"] in (FAIR, OURS)


def summary(rows: Iterable[Row]) -> list[Row]:
    """What was measured with the default queues, in one row for each system, lines, MTU and cut.

    ``out_of_order`` and ``retransmits`` are TCP's where ``cut`` is null, and the stream's where a line was cut. Of
    several streams of the same cut the row has the one with the longest outage, and their number, ``streams``. Bursts
    are under ``burst_lost`` and ``burst_packets``, floods in a list, ``floods``; what failed is under ``failed``.
    """
    found: dict[tuple[Any, ...], Row] = {}
    for row in filter(is_default, rows):
        case, cut = row["case"], row["cut"]
        given = {"system": row["system"], "lines": row["lines"], "mtu": row["mtu"], "cut": cut}
        into = found.setdefault((row["system"], tuple(row["lines"]), row["mtu"], cut), {**NAMED, **given})
        if "failed" in row:
            into.setdefault("failed", {})[case] = row["failed"]
        elif "load" in row:
            flood = ("load", "out_of_order", "furthest_back", "lost", "packets")
            into.setdefault("floods", []).append({key: row[key] for key in flood})
        elif case == "burst":
            into.update(burst_lost=row["lost"], burst_packets=row["packets"])
        else:
            if case == "stream":
                into["streams"] = into.get("streams", 0) + 1
                if into["streams"] > 1 and row["outage_seconds"] <= into["outage_seconds"]:
                    continue
            into.update((key, row[key]) for key in _TAKEN[case])
    return list(found.values())
