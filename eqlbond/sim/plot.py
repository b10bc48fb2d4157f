"""Plots of simulated runs. Needs matplotlib, the extra ``plot``; it is imported only here and only when asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqlbond.exceptions import ConfigurationError, EqlbondError
from eqlbond.sim.record import Placed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from eqlbond.sim.result import Result

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#000000")
_LATE = "#c1121f"
_PACKETS_SHOWN = 60


class PlotUnavailable(EqlbondError, ImportError):
    """Matplotlib is not installed."""


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotUnavailable("plots need matplotlib: pip install 'eqlbond[plot]'") from error

    class Shown(Figure):
        """A figure that notebooks show without pyplot."""

        def _repr_png_(self) -> bytes:
            buffer = BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

    return Shown(figsize=(width, height), layout="constrained", dpi=110)


def _save(figure: Figure, file: str | PathLike[str] | None) -> Figure:
    if file is not None:
        figure.savefig(file)
    return figure


def check_file(file: str | PathLike[str]) -> None:
    """See that a plot can be saved there, before the work that it is to show.

    Raises:
        ConfigurationError: it cannot.
        PlotUnavailable: matplotlib is not installed.
    """
    path = Path(file)
    if path.is_dir():
        raise ConfigurationError("plot", f"{path} is a directory")
    if not path.parent.is_dir():
        raise ConfigurationError("plot", f"there is no directory {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigurationError("plot", f"{path} may not be written")
    known = _figure(1, 1).canvas.get_supported_filetypes()
    kind = path.suffix.removeprefix(".").lower()
    if kind and kind not in known:  # without an ending matplotlib adds .png
        raise ConfigurationError("plot", f"a file that ends in .png, .svg or .pdf, not {path.name}")


def delays(samples: Mapping[str, Sequence[float]], title: str, file: str | PathLike[str] | None) -> Figure:
    """The empirical distribution of delays, a curve for each name."""
    figure = _figure(10, 4.2)
    axes = figure.subplots()
    _draw_delays(axes, samples)
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    return _save(figure, file)


def timeline(
    results: Mapping[str, Result], title: str, file: str | PathLike[str] | None, start: float, seconds: float | None
) -> Figure:
    """A lane for each line, a panel for each name."""
    lanes = len(next(iter(results.values())).lines)
    figure = _figure(10, 0.9 + len(results) * (0.55 + 0.34 * lanes))
    panels = figure.subplots(len(results), 1, sharex=True, squeeze=False)[:, 0]
    _draw_timelines(panels, results, start, seconds)
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    return _save(figure, file)


def both(
    results: Mapping[str, Result],
    samples: Mapping[str, Sequence[float]],
    title: str,
    file: str | PathLike[str] | None,
) -> Figure:
    """Timelines above, delays below."""
    lanes = len(next(iter(results.values())).lines)
    above = 0.4 + len(results) * (0.55 + 0.34 * lanes)
    figure = _figure(10, above + 4.2)
    parts: Any = figure.subfigures(2, 1, height_ratios=[above, 4.2])
    upper, lower = parts
    panels = upper.subplots(len(results), 1, sharex=True, squeeze=False)[:, 0]
    _draw_timelines(panels, results, 0.0, None)
    upper.suptitle(title, fontsize=9, x=0.01, ha="left")
    _draw_delays(lower.subplots(), samples)
    return _save(figure, file)


def _draw_delays(axes: Axes, samples: Mapping[str, Sequence[float]]) -> None:
    longest: list[float] = []
    for n, (name, values) in enumerate(samples.items()):
        ordered = sorted(values)
        if not ordered:
            continue
        shares = [(k + 1) / len(ordered) for k in range(len(ordered))]
        axes.step(
            ordered,
            shares,
            where="post",
            label=name,
            color=_COLOURS[n % len(_COLOURS)],
            ls=("-", "--", "-.", ":")[n % 4],
            lw=1.6,
        )
        longest.append(ordered[-1])
    # One scheduler that lets its queue grow would press all others against the left edge.
    if longest and max(longest) > 12 * min(longest):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        axes.set_xlim(left=0)
    axes.set_ylim(0, 1.01)
    axes.set_xlabel("delay, s")
    axes.set_ylabel("share of packets")
    axes.axhline(0.95, color="#999999", lw=0.7, ls=":")
    axes.text(
        0.995, 0.945, "95 %", transform=axes.get_yaxis_transform(), fontsize=7, color="#666666", ha="right", va="top"
    )
    axes.grid(alpha=0.25, lw=0.5)
    columns = max(1, min(len(samples), 150 // (8 + max(map(len, samples)))))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, handlelength=2.6)


def _late(placed: Sequence[Placed]) -> set[int]:
    """Numbers that arrived after a later one."""
    late, highest = set(), -1
    for frame in sorted((p for p in placed if p.arrival is not None), key=lambda p: p.arrival or 0.0):
        if frame.number < highest:
            late.add(frame.number)
        highest = max(highest, frame.number)
    return late


def _draw_timelines(panels: Any, results: Mapping[str, Result], start: float, seconds: float | None) -> None:
    if seconds is None:
        spans = [r.duration * _PACKETS_SHOWN / max(r.delivered, 1) for r in results.values()]
        seconds = max(min(spans), 1e-9)
    end = start + seconds
    for axes, (name, result) in zip(panels, results.items(), strict=True):
        _draw_lanes(axes, result, start, end)
        axes.set_title(name, fontsize=9, loc="left", pad=3)
    panels[-1].set_xlabel("seconds")
    from matplotlib.patches import Patch

    panels[0].legend(
        handles=[
            Patch(facecolor="#8fb8d8", edgecolor="white", label="in order"),
            Patch(facecolor=_LATE, edgecolor="white", label="arrives after a later one"),
            Patch(facecolor="white", edgecolor="#666666", hatch="////", label="lost"),
        ],
        fontsize=7,
        frameon=False,
        ncols=3,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.1,
    )


def _draw_lanes(axes: Axes, result: Result, start: float, end: float) -> None:
    forth = [p for p in result.placed if p.end == "a" and p.number >= 0]
    late = _late(forth)
    # Neighbours in sending order differ a little in shade, so a frame's edges can be seen.
    shades = ("#8fb8d8", "#b7d1e6")
    width = end - start
    for frame in forth:
        if frame.leave < start or frame.start > end:
            continue
        lost = frame.arrival is None
        axes.broken_barh(
            [(frame.start, frame.leave - frame.start)],
            (frame.line - 0.4, 0.8),
            facecolor="white" if lost else _LATE if frame.number in late else shades[frame.number % 2],
            edgecolor="#666666" if lost else "white",
            hatch="////" if lost else None,
            lw=0.5,
        )
        left, right = max(frame.start, start), min(frame.leave, end)
        if right - left > 0.012 * width * max(2, len(str(frame.number))) / 2:
            axes.text(
                (left + right) / 2,
                frame.line,
                str(frame.number),
                fontsize=6,
                ha="center",
                va="center",
                color="white" if frame.number in late and not lost else "#222222",
            )
    axes.set_xlim(start, end)
    axes.set_ylim(len(result.lines) - 0.45, -0.55)
    axes.set_yticks(range(len(result.lines)), [line.name for line in result.lines], fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right", "left"]].set_visible(False)
