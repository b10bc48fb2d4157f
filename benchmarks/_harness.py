"""The front end that all benchmarks share: options, tables for people, JSON for programs.

A benchmark is a module with a docstring and a ``main`` of this shape::

    def main(argv: Sequence[str] | None = None) -> None:
        options = parse_options(__doc__, argv)
        results = [measure(case) for case in (CASES[:2] if options.quick else CASES)]
        table = Table("What was measured", [Column("lines"), Column("efficiency", ".3f")])
        ...
        table.print()
        finish(options, results, mtu=900)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import attrs


@attrs.frozen
class Options:
    """What the command line of a benchmark said."""

    quick: bool
    """Fewer or shorter cases, for CI: under 40 s where the benchmark says nothing else."""
    json: Path | None
    """Where the results go as JSON; None: nowhere."""
    extra: argparse.Namespace
    """All that was parsed, for the options of one benchmark alone."""


def parse_options(
    description: str | None,
    argv: Sequence[str] | None = None,
    parser: argparse.ArgumentParser | None = None,
    *,
    quick: str = "fewer or shorter cases; under 40 s",
) -> Options:
    """Parse `--quick` and `--json FILE`, and what `parser` has beside them.

    The first line of `description`, a benchmark's docstring, is the help text, and `quick` is that of `--quick`.
    `argv` is by default the command line of the process. A wrong option ends the process with status 2, as argparse
    does.
    """
    if parser is None:
        parser = argparse.ArgumentParser()
    if parser.description is None and description:
        parser.description = description.strip().splitlines()[0]
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results to FILE as JSON, too")
    extra = parser.parse_args(argv)
    return Options(quick=extra.quick, json=extra.json, extra=extra)


@attrs.frozen
class Column:
    """A column of a `Table`: its heading and how its values are shown."""

    heading: str
    format: str = ""
    """A format specification for numbers, such as ``.3f`` or ``.1%``. Text is shown as it is, None as ``-``."""

    def show(self, value: object) -> str:
        """The value as text."""
        if value is None:
            return "-"
        if self.format and isinstance(value, int | float) and not isinstance(value, bool):
            return format(value, self.format)
        return str(value)


@attrs.define
class Table:
    """Rows under headings, aligned: numbers to the right, text to the left."""

    title: str
    columns: Sequence[Column]
    footnotes: list[str] = attrs.Factory(list)
    _rows: list[list[str]] = attrs.field(factory=list, init=False)
    _numeric: list[bool] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._numeric = [True] * len(self.columns)

    def add(self, *values: object) -> None:
        """Add a row, one value for each column. Raises ValueError on another number of values."""
        if len(values) != len(self.columns):
            raise ValueError(f"a row of {len(values)} values for {len(self.columns)} columns: {values!r}")
        self._rows.append([column.show(value) for column, value in zip(self.columns, values, strict=True)])
        for index, value in enumerate(values):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                self._numeric[index] = False

    def note(self, text: str) -> None:
        """Add a footnote."""
        self.footnotes.append(text)

    def render(self) -> str:
        """The table as text, without a newline at its end."""
        headings = [column.heading for column in self.columns]
        widths = [max(map(len, cells)) for cells in zip(headings, *self._rows, strict=True)]

        def line(cells: Sequence[str]) -> str:
            aligned = (
                cell.rjust(width) if numeric else cell.ljust(width)
                for cell, width, numeric in zip(cells, widths, self._numeric, strict=True)
            )
            return "  ".join(aligned).rstrip()

        rule = "  ".join("-" * width for width in widths)
        notes = [f"* {text}" for text in self.footnotes]
        return "\n".join([self.title, "", line(headings), rule, *map(line, self._rows), *notes])

    def print(self, file: TextIO | None = None) -> None:
        """Print the table, with the machine below it, to `file` (standard output unless given)."""
        print(f"\n{self.render()}\n{describe_machine()}", file=file, flush=True)


def machine() -> dict[str, Any]:
    """What the figures were measured on: processor, cores, Python, kernel, and the load at this moment."""
    try:
        load: list[float] | None = [round(value, 2) for value in os.getloadavg()]
    except OSError:
        load = None
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "kernel": f"{platform.system()} {platform.release()}",
        "load": load,
    }


def _cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    for row in text.splitlines():
        name, _, value = row.partition(":")
        if name.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def describe_machine(facts: Mapping[str, Any] | None = None) -> str:
    """`machine()` as one line of text."""
    facts = machine() if facts is None else facts
    load = "unknown" if facts["load"] is None else f"{facts['load'][0]:.2f}"
    return f"[{facts['cpu']}, {facts['cores']} cores, {facts['python']}, {facts['kernel']}, load {load}]"


def write_json(path: Path, results: Sequence[Mapping[str, Any]], **meta: Any) -> None:
    """Write ``{"results": [...], "machine": {...}, "date": "...", ...}``; `meta` are the further members.

    Raises ValueError where a result is not a number (NaN, infinity) and TypeError where JSON has no such value:
    such a figure is a fault of the benchmark. The file is left as it was, then.
    """
    clash = {"results", "machine", "date"} & meta.keys()
    if clash:
        raise ValueError(f"{', '.join(sorted(clash))}: written anyway, cannot be given")
    document = {
        "results": list(results),
        "machine": machine(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **meta,
    }
    text = json.dumps(document, indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def finish(
    options: Options,
    results: Sequence[Mapping[str, Any]],
    also: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    **meta: Any,
) -> None:
    """Write the results where `--json` asked for them. Exits with an error where there are none.

    Args:
        options: the command line's.
        results: rows that the members which name their case tell apart.
        also: further rows, which those members would not tell from the results; each a member of its own, by its name.
        meta: further members.
    """
    also = also or {}
    if not results and not any(also.values()):
        sys.exit("the benchmark has no results")
    if options.json is not None:
        write_json(options.json, results, quick=options.quick, **also, **meta)
