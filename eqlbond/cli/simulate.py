"""`eqlbond simulate`: a bond simulated from the command line, with a table, JSON and a plot."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from typing import Any

import attrs

from eqlbond.cli.options import SCHEDULERS, half_duplex, line_option, switch
from eqlbond.codec.base import Framing
from eqlbond.core.multilink import Multilink
from eqlbond.exceptions import ConfigurationError
from eqlbond.ppp.config import Ppp
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

_SIZE = 289284
_DURATION = 60.0
_LOAD = 0.8
_READ = {
    "bulk": ("size", "packet_size"),
    "tcp": ("size",),
    "poisson": ("packet_size", "load", "rate", "duration"),
    "cbr": ("packet_size", "load", "rate", "duration"),
    "bursts": ("packet_size",),
    "requests": ("size",),
    "trace": ("trace",),
}
"""The workloads, and the options that each reads."""


def _times(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split("/"))


def _changes(text: str) -> tuple[tuple[float, float], ...]:
    pairs = [part.split(":") for part in text.split("/")]
    return tuple((float(time), float(rate)) for time, rate in pairs)


def _cut(text: str) -> str:
    if text not in ("hangup", "silence"):
        raise ValueError
    return text


def _back(text: str) -> dict[str, Any]:
    """What is not the same in the other direction: ``1200``, ``1200/loss:0.1``, ``latency:0.5``."""
    options: dict[str, Any] = {}
    for number, part in enumerate(text.split("/")):
        key, separator, value = part.partition(":")
        if not separator and number == 0:
            key, value = "rate", part
        if key not in _SPEC:
            raise ConfigurationError("back", f"no option {key!r}; there are: {', '.join(_SPEC)}")
        options[key] = _SPEC[key](value)
    return options


def _framing(text: str) -> Framing:
    """``slip``, ``kiss``, ``hdlc``, ``ppp``, or another by entry point or ``package.module:Class``."""
    from eqlbond.config.parts import FRAMING, Part

    if text == "ppp":
        return Ppp()
    try:
        made: Framing = Part(FRAMING, text).make()
    except ConfigurationError:
        raise
    except Exception as error:  # somebody else's class may raise anything
        raise ConfigurationError("framing", f"{text} cannot be made: {type(error).__name__}: {error}") from error
    return made


_SPEC: dict[str, Callable[[str], Any]] = {
    "rate": float,
    "bits_per_byte": float,
    "latency": float,
    "jitter": float,
    "byte_error_rate": float,
    "loss": float,
    "buffer": int,
}
_LINE_OPTIONS: dict[str, Callable[[str], Any]] = {
    **{key: kind for key, kind in _SPEC.items() if key != "rate"},
    "back": _back,
    "cut_at": _times,
    "revive_at": _times,
    "cut": _cut,
    "rate_changes": _changes,
    "nominal_rate": float,
    "nominal_latency": float,
    "tells_queue": switch,
    "half_duplex": switch,
    "turns": half_duplex,
    "framing": _framing,
    "priority": float,
    "mtu": int,
    "name": str,
}
_WANTED: dict[Callable[[str], Any], str] = {
    _times: "seconds, one time or several such as 20/60",
    _changes: "times and rates such as 10:9600/20:57600",
    _cut: "hangup or silence",
    _back: "a rate in bit/s, and numbers such as 1200/latency:0.5/loss:0.1",
}


def sim_line(text: str) -> SimLine:
    """A line from ``RATE[,option=value...]``; what has several parts, such as `cut_at` or `back`, has them by ``/``.

    Raises:
        ConfigurationError: an option is misspelt or a value cannot work.
    """
    first, *parts = text.split(",")
    try:
        rate = float(first)
    except ValueError:
        raise ConfigurationError(f"line {text}", f"begins with the rate in bit/s, not {first!r}") from None
    options = dict(line_option(text, part, _LINE_OPTIONS, _WANTED) for part in parts)
    back = options.pop("back", None)
    line = SimLine(rate, **options)
    return line if back is None else attrs.evolve(line, back=attrs.evolve(line.forth(), **back))


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
            for row in csv.reader(line for line in file if line.strip() and not line.startswith("#")):
                if not 2 <= len(row) <= 4:
                    raise ValueError(f"not {','.join(row)!r}")
                packets.append((float(row[0]), *(int(cell) for cell in row[1:])))
    except OSError as error:
        raise ConfigurationError("trace", f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, csv.Error) as error:
        raise ConfigurationError("trace", f"{path}: rows of seconds,bytes[,flow[,priority]]: {error}") from error
    return Trace(packets)  # type: ignore[arg-type]


def _check_read(args: argparse.Namespace) -> None:
    """Refuse options that the workload would not read."""
    for option in dict.fromkeys(option for read in _READ.values() for option in read):
        if getattr(args, option) is not None and option not in _READ[args.workload]:
            readers = [workload for workload, read in _READ.items() if option in read]
            raise ConfigurationError(
                f"--{option.replace('_', '-')}",
                f"not read by the workload {args.workload}, but by {', '.join(readers)}",
            )


def _workload(args: argparse.Namespace) -> Workload:
    _check_read(args)
    sizes = args.packet_size
    size = _SIZE if args.size is None else args.size
    if args.workload == "trace":
        if args.trace is None:
            raise ConfigurationError("trace", "--workload trace needs --trace FILE")
        return _trace(args.trace)
    if args.workload == "cbr" and not isinstance(sizes, int | None):
        raise ConfigurationError("--packet-size", f"cbr sends packets of one size, not of {len(sizes)}")
    load = {
        "load": _LOAD if args.load is None and args.rate is None else args.load,
        "rate": args.rate,
        "duration": _DURATION if args.duration is None else args.duration,
    }
    several = args.mtu if sizes is None else sizes
    made: dict[str, Callable[[], Workload]] = {
        "bulk": lambda: Bulk(size, sizes),
        "tcp": lambda: Tcp(size),
        "poisson": lambda: Poisson(sizes=several, **load),
        "cbr": lambda: ConstantBitRate(size=200 if sizes is None else sizes, **load),
        "bursts": lambda: Bursts(sizes=several),
        "requests": lambda: RequestResponse(response_size=size),
    }
    return made[args.workload]()


def run(args: argparse.Namespace) -> int:
    """Simulate, and print what came out."""
    lines = [sim_line(text) for text in args.line]
    names = args.scheduler or ["earliest"]
    if args.runs < 1:
        raise ConfigurationError("--runs", f"a number of seeds from 1, not {args.runs}")
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
        help=f"a line: its rate in bit/s, and any of {', '.join(_LINE_OPTIONS)}; once for each line. What has several"
        " parts has them by /: cut_at=20/60, rate_changes=10:9600/20:57600, turns=burst:5, back=1200/latency:0.5",
    )
    add(
        "--scheduler", action="append", choices=sorted(SCHEDULERS), help="may be given several times; default: earliest"
    )
    add("--workload", choices=tuple(_READ), default="bulk", help="what is sent; default: bulk")
    add(
        "--size",
        type=int,
        metavar="BYTES",
        help=f"bulk, tcp: of the file; requests: of each answer; default: {_SIZE}",
    )
    add(
        "--packet-size",
        type=_sizes,
        metavar="BYTES",
        help="bulk, poisson, bursts: one, several (40,576,1500), or weighted (40:7,1500:1); default: the MTU;"
        " cbr: one; default: 200",
    )
    add("--load", type=float, help=f"poisson, cbr: a share of what the lines carry together; default: {_LOAD}")
    add("--rate", type=float, metavar="BIT/S", help="poisson, cbr: payload in bit/s, in place of --load")
    add("--duration", type=float, metavar="SECONDS", help=f"poisson, cbr; default: {_DURATION:g}")
    add("--trace", metavar="FILE", help="trace: rows of seconds,bytes[,flow[,priority]]")
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
