"""When a run comes to a standstill: the error, and its report of who waits for what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from eqlbond.exceptions import EqlbondError

if TYPE_CHECKING:
    from eqlbond.sim.engine import Run


class SimulationStalled(EqlbondError):
    """Nothing can happen any more and packets still wait, or the scheduler failed.

    Attributes:
        report: who waits for what, a line each.
    """

    def __init__(self, problem: str, report: str) -> None:
        super().__init__(f"{problem}\n{report}")
        self.report = report


def report(run: Run) -> Iterable[str]:
    """Who waits for what, a line each."""
    for end in run.ends:
        bundle, traffic = end.bundle, end.traffic
        waiting = traffic.missing().get("waiting", 0)
        yield (
            f"end {end.name}: {bundle.queued_packets} packets wait for a place on a line, {waiting} in all are not "
            f"delivered; {bundle.backlog} bytes of {bundle.limit} queued; scheduler {bundle.scheduler!r}"
        )
        for member in end.members:
            stats = member.stats(run.clock)
            way = end.ways[member]
            state = stats.state + (" (cut silently)" if way.model.is_cut and member.line.up else "")
            yield (
                f"  line {member.name}: {state}, {stats.planned_packets} packets planned, "
                f"{len(way.flying)} on their way"
            )
    told = getattr(run.workload, "waits_for", None)
    yield f"workload {run.workload!r}" + (f": waits for {told}" if told else "")
