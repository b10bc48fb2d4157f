"""The same traffic over the same lines by several schedulers, as a table and as plots."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import attrs

from eqlbond.exceptions import ConfigurationError, EqlbondError
from eqlbond.schedulers.base import Scheduler
from eqlbond.schedulers.earliest_delivery import EarliestDelivery
from eqlbond.schedulers.eql import Eql
from eqlbond.schedulers.round_robin import RoundRobin
from eqlbond.sim import plot
from eqlbond.sim.engine import simulate
from eqlbond.sim.frames import describe
from eqlbond.sim.result import Result
from eqlbond.sim.workload import Workload

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_COLUMNS = (
    ("scheduler", "", ""),
    ("goodput", "kbit/s", "{:.1f}"),
    ("efficiency", "", "{:.4f}"),
    ("p50", "s", "{:.3f}"),
    ("p95", "s", "{:.3f}"),
    ("p99", "s", "{:.3f}"),
    ("reordered", "", "{:.2%}"),
    ("by up to", "places", "{:.0f}"),
    ("lost", "", "{:.0f}"),
    ("duration", "s", "{:.1f}"),
)


@attrs.frozen
class Comparison:
    """What `compare` found: `results` by the scheduler's name, one for each seed.

    In a notebook it shows as a table; `str()` is the same as text. Figures are means over the seeds, "by up to" the
    most.
    """

    title: str
    results: Mapping[str, tuple[Result, ...]]

    def rows(self) -> list[dict[str, Any]]:
        """The table: a dict for each scheduler."""
        return [self._row(name, results) for name, results in self.results.items()]

    @staticmethod
    def _row(name: str, results: Sequence[Result]) -> dict[str, Any]:
        def mean(values: Iterable[float]) -> float:
            return sum(values) / len(results)

        return {
            "scheduler": name,
            "goodput": mean(r.goodput / 1000 for r in results),
            "efficiency": mean(r.efficiency for r in results),
            "p50": mean(r.delay_p50 for r in results),
            "p95": mean(r.delay_p95 for r in results),
            "p99": mean(r.delay_p99 for r in results),
            "reordered": mean(r.reordered_share for r in results),
            "by up to": max(r.reordering_extent_max for r in results),
            "lost": mean(sum(r.lost.values()) for r in results),
            "duration": mean(r.duration for r in results),
        }

    def to_dict(self) -> dict[str, Any]:
        """All results, as JSON takes them."""
        return {name: [result.to_dict() for result in results] for name, results in self.results.items()}

    def _cells(self) -> list[list[str]]:
        head = [f"{name}, {unit}" if unit else name for name, unit, _ in _COLUMNS]
        body = [
            [form.format(row[name]) if form else str(row[name]) for name, _, form in _COLUMNS] for row in self.rows()
        ]
        return [head, *body]

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(len(row[n]) for row in cells) for n in range(len(_COLUMNS))]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
            ).rstrip()
            for row in cells
        ]
        return "\n".join([self.title, "", lines[0], "  ".join("-" * w for w in widths), *lines[1:]])

    def _repr_html_(self) -> str:
        head, *body = self._cells()
        left = " style='text-align:left'"
        rows = [
            "<tr>" + "".join(f"<th{left if n == 0 else ''}>{html.escape(c)}</th>" for n, c in enumerate(head)) + "</tr>"
        ]
        rows += [
            "<tr>" + "".join(f"<td{left if n == 0 else ''}>{html.escape(c)}</td>" for n, c in enumerate(row)) + "</tr>"
            for row in body
        ]
        return f"<table><caption>{html.escape(self.title)}</caption>{''.join(rows)}</table>"

    def plot_delays(self, file: str | PathLike[str] | None = None) -> Figure:
        """The share of packets that arrived within a delay, a curve for each scheduler; all seeds together.

        Args:
            file: where to save it, too, as .png, .svg or .pdf.

        Raises:
            PlotUnavailable: matplotlib is not installed.
        """
        return plot.delays({n: [d for r in rs for d in r.delays] for n, rs in self.results.items()}, self.title, file)

    def plot_timeline(
        self, file: str | PathLike[str] | None = None, *, start: float = 0.0, seconds: float | None = None
    ) -> Figure:
        """Which line carried which packet when: a lane for each line, a panel for each scheduler; the first seed.

        Args:
            file: where to save it, too.
            start: the first moment that is shown, seconds.
            seconds: how long a time is shown; None: enough for some tens of packets.

        Raises:
            PlotUnavailable: matplotlib is not installed.
        """
        first = {name: results[0] for name, results in self.results.items()}
        return plot.timeline(first, self.title, file, start, seconds)

    def plot(self, file: str | PathLike[str] | None = None) -> Figure:
        """Both plots in one figure. Raises `PlotUnavailable` without matplotlib."""
        first = {name: results[0] for name, results in self.results.items()}
        every = {n: [d for r in rs for d in r.delays] for n, rs in self.results.items()}
        return plot.both(first, every, self.title, file)


def compare(
    lines: Any,
    schedulers: Iterable[Scheduler] | Mapping[str, Scheduler] | None = None,
    workload: Workload | None = None,
    seeds: Iterable[int] = (1,),
    **options: Any,
) -> Comparison:
    """Simulate the same with several schedulers.

    Args:
        lines: as for `simulate`.
        schedulers: the policies, or a mapping from names to them; by default `EarliestDelivery` with and without
            holding back, `Eql` and `RoundRobin`.
        workload: as for `simulate`.
        seeds: one run of each scheduler for each.
        options: further arguments of `simulate`, such as `mtu`.

    Raises:
        ConfigurationError: a value cannot work.
        SimulationStalled: a scheduler failed or came to a standstill; a note names it.

    >>> from eqlbond.sim import Bulk
    >>> table = compare([57600, 14400], workload=Bulk(50_000), mtu=900)
    >>> [row["scheduler"] for row in table.rows()]
    ['EarliestDelivery()', "EarliestDelivery(hold='never')", 'Eql()', 'RoundRobin()']
    """
    if schedulers is None:
        schedulers = [EarliestDelivery(), EarliestDelivery(hold="never"), Eql(), RoundRobin()]
    if isinstance(schedulers, Mapping):
        named = {str(name): scheduler for name, scheduler in schedulers.items()}
    else:
        named = {}
        for scheduler in schedulers:
            name = base = describe(scheduler)
            number = 2
            while name in named:
                name, number = f"{base} #{number}", number + 1
            named[name] = scheduler
    if not named:
        raise ConfigurationError("schedulers", "there is none")
    seeds = tuple(seeds)
    if not seeds:
        raise ConfigurationError("seeds", "there is none")
    options.pop("trace", None)
    results: dict[str, tuple[Result, ...]] = {}
    for name, scheduler in named.items():
        try:
            results[name] = tuple(
                simulate(lines, workload, scheduler, seed=seed, trace=seed == seeds[0], **options) for seed in seeds
            )
        except EqlbondError as error:
            error.add_note(f"with the scheduler {name}")
            raise
    some = next(iter(results.values()))[0]
    rates = " + ".join("no rate" if line.rate is None else f"{line.rate:g}" for line in some.lines)
    return Comparison(f"{rates} bit/s, {some.workload}, MTU {some.mtu}", results)
