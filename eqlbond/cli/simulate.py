"""`eqlbond simulate`: a bond simulated from the command line, with a table, JSON and a plot."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from typing import Any

from eqlbond.cli.options import SCHEDULERS
from eqlbond.core.half_duplex import HalfDuplex
from eqlbond.core.multilink import Multilink
from eqlbond.exceptions import ConfigurationError
from eqlbond.sim import (
    Bulk,
    Bursts,
    ConstantBitRate,
    Poisson,
    RequestResponse,
    SimLine,
    Tcp,
    Trace,
    Workload,
    compare,
)
from eqlbond.sim.plot import check_file


def _times(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split("/"))


def _changes(text: str) -> tuple[tuple[float, float], ...]:
    pairs = [part.split(":") for part in text.split("/")]
    return tuple((float(time), float(rate)) for time, rate in pairs)


def _switch(text: str) -> bool:
    return text in ("1", "yes", "on")


_LINE_OPTIONS: dict[str, Callable[[str], Any]] = {
    "bits_per_byte": float,
    "latency": float,
    "jitter": float,
    "byte_error_rate": float,
    "loss": float,
    "buffer": int,
    "cut_at": _times,
    "revive_at": _times,
    "cut": str,
    "rate_changes": _changes,
    "nominal_rate": float,
    "tells_queue": _switch,
    "half_duplex": _switch,
    "turns": lambda text: HalfDuplex() if _switch(text) else None,
    "priority": float,
    "mtu": int,
    "name": str,
}


def sim_line(text: str) -> SimLine:
    """A line from ``RATE[,option=value...]``; times of `cut_at` and `revive_at` are parted by ``/``.

    Raises:
        ConfigurationError: an option is misspelt or a value cannot work.
    """
    rate, *parts = text.split(",")
    options: dict[str, Any] = {}
    for part in parts:
        key, separator, value = part.partition("=")
        if not separator or key not in _LINE_OPTIONS:
            raise ConfigurationError(f"line {text}", f"no option {part!r}; there are: {', '.join(_LINE_OPTIONS)}")
        try:
            options[key] = _LINE_OPTIONS[key](value)
        except ValueError:
            raise ConfigurationError(key, f"a number, not {value!r}") from None
    try:
        return SimLine(float(rate), **options)
    except ValueError as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"line {text}", f"begins with the rate in bit/s, not {rate!r}") from None


def _sizes(text: str) -> int | dict[int, float] | tuple[int, ...]:
    parts = text.split(",")
    try:
        if any(":" in part for part in parts):
            return {int(size): float(weight or 1) for size, _, weight in (part.partition(":") for part in parts)}
        sizes = tuple(int(part) for part in parts)
    except ValueError:
        raise argparse.ArgumentTypeError(f"bytes such as 900, 40,576,1500 or 40:7,576:4,1500:1, not {text!r}") from None
    return sizes[0] if len(sizes) == 1 else sizes


def _trace(path: str) -> Trace:
    packets: list[tuple[float, ...]] = []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = csv.reader(line for line in file if line.strip() and not line.startswith("#"))
            packets.extend((float(row[0]), *(int(cell) for cell in row[1:4])) for row in rows)
    except OSError as error:
        raise ConfigurationError("trace", f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, IndexError) as error:
        raise ConfigurationError("trace", f"{path}: rows of seconds,bytes[,flow[,priority]]: {error}") from error
    return Trace(packets)  # type: ignore[arg-type]


def _workload(args: argparse.Namespace) -> Workload:
    sizes = args.packet_size
    size = sizes if isinstance(sizes, int) else None
    if args.workload == "trace":
        if args.trace is None:
            raise ConfigurationError("trace", "--workload trace needs --trace FILE")
        return _trace(args.trace)
    if args.workload in ("poisson", "cbr") and args.load is None and args.rate is None:
        args.load = 0.8
    load = {"load": args.load, "rate": args.rate, "duration": args.duration}
    made: dict[str, Callable[[], Workload]] = {
        "bulk": lambda: Bulk(args.size, sizes),
        "tcp": lambda: Tcp(args.size),
        "poisson": lambda: Poisson(sizes=sizes or args.mtu, **load),
        "cbr": lambda: ConstantBitRate(size=size or 200, **load),
        "bursts": lambda: Bursts(sizes=sizes or args.mtu),
        "requests": lambda: RequestResponse(response_size=min(args.size, 1_000_000)),
    }
    return made[args.workload]()


def run(args: argparse.Namespace) -> int:
    """Simulate, and print what came out."""
    lines = [sim_line(text) for text in args.line]
    names = args.scheduler or ["earliest"]
    if args.plot is not None:
        check_file(args.plot)
    table = compare(
        lines,
        {name: SCHEDULERS[name]() for name in names},
        _workload(args),
        range(args.seed, args.seed + args.runs),
        mtu=args.mtu,
        frames=args.frames,
        until=args.until,
        multilink=Multilink(mrru=max(1500, args.mtu)) if args.multilink else None,
    )
    if args.plot is not None:
        table.plot(args.plot)
    if args.json:
        print(json.dumps(table.to_dict(), indent=2))
    elif len(names) == 1 and args.runs == 1:
        print(next(iter(table.results.values()))[0])
    else:
        print(table)
    return 0


def configure(parser: argparse.ArgumentParser) -> None:
    """Give a parser the description and the options of this command."""
    parser.description = "Simulate a bond: the very engine that runs on real lines, driven by discrete events."
    parser.epilog = (
        "example: eqlbond simulate --line 57600 --line 14400,latency=0.05 --scheduler earliest --scheduler eql "
        "--workload bulk --size 289284 --mtu 900 --plot bond.png"
    )
    add = parser.add_argument
    add(
        "--line",
        action="append",
        required=True,
        metavar="RATE[,OPTION=VALUE...]",
        help=f"a line: its rate in bit/s, and any of {', '.join(_LINE_OPTIONS)}; once for each line",
    )
    add(
        "--scheduler", action="append", choices=sorted(SCHEDULERS), help="may be given several times; default: earliest"
    )
    kinds = ("bulk", "tcp", "poisson", "cbr", "bursts", "requests", "trace")
    add("--workload", choices=kinds, default="bulk", help="what is sent; default: bulk")
    add("--size", type=int, default=289284, metavar="BYTES", help="of the file (bulk, tcp) or an answer (requests)")
    add("--packet-size", type=_sizes, metavar="BYTES", help="one, several (40,576,1500), or weighted (40:7,1500:1)")
    add("--load", type=float, help="poisson, cbr: a share of what the lines carry together; default: 0.8")
    add("--rate", type=float, metavar="BIT/S", help="poisson, cbr: payload in bit/s, in place of --load")
    add("--duration", type=float, default=60.0, metavar="SECONDS", help="poisson, cbr; default: 60")
    add("--trace", metavar="FILE", help="rows of seconds,bytes[,flow[,priority]] for --workload trace")
    add("--mtu", type=int, default=1500, metavar="BYTES", help="default: 1500")
    add("--seed", type=int, default=1, help="of everything random; default: 1")
    add("--runs", type=int, default=1, help="seeds from --seed on, and the means of their figures; default: 1")
    add(
        "--frames", choices=("codec", "size"), default="codec", help="real frames, or only their sizes, which is faster"
    )
    add(
        "--multilink",
        action="store_true",
        help="bundle the lines by PPP Multilink (framing: PPP): in order, and in fragments",
    )
    add("--until", type=float, metavar="SECONDS", help="end then, whatever is under way")
    add("--plot", metavar="FILE", help="save a timeline and the delays as .png, .svg or .pdf (needs eqlbond[plot])")
    add("--json", action="store_true", help="print all figures as JSON")
    parser.set_defaults(run=run)
