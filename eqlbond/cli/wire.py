"""`eqlbond wire`: serial lines without hardware, until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from eqlbond.aio.ptywire import PtyWire, WireLine, WireSpec
from eqlbond.core.line_model import LineSpec
from eqlbond.exceptions import ConfigurationError, EqlbondError

DEFAULT_LINE = "115200"

COMMANDS = """\
cut LINE [hangup|silence]   cut a line; the programs see their ports go, or nothing at all
revive LINE                 mend it
rate LINE RATE [ab|ba]      change its rate, bit/s, or none
stats                       counters
reset                       let the peaks of the counters start anew
help, quit
LINE is a number from 0, a name, or all"""

EXAMPLES = """\
examples:
  eqlbond wire --line 57600,14400                       two unequal lines
  eqlbond wire --count 4 --line 115200                  four of one kind
  eqlbond wire --line 1000000/128000 --latency 0.04     faster one way, 40 ms late
  eqlbond wire --line 9600 --error-rate 1e-4 --link-dir /tmp/ports

commands on standard input while it runs:
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Give a parser the description and the options of this command."""
    parser.description = "Join pairs of pseudo-terminals by lines of a given rate, latency and quality, until stopped."
    parser.epilog = EXAMPLES + "".join(f"  {line}\n" for line in COMMANDS.splitlines())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add(
        "--line",
        metavar="RATE[/RATE][:BITS]",
        action="extend",
        type=parse_lines,
        default=[],
        help="bit/s from a to b, and from b to a where it differs ('none': not shaped), and bits a byte (10: 8N1; 8: "
        f"behind a modem); several with commas or by repeating the option (default: {DEFAULT_LINE})",
    )
    add("--count", type=int, default=1, metavar="N", help="make the given lines N times (default: 1)")
    add("--latency", type=float, default=0.0, metavar="SECONDS", help="each way (default: 0)")
    add("--jitter", type=float, default=0.0, metavar="SECONDS", help="at most this much more (default: 0)")
    add("--error-rate", type=float, default=0.0, metavar="P", help="probability of a wrong byte (default: 0)")
    add("--buffer", type=int, default=4096, metavar="BYTES", help="of the sending port (default: 4096)")
    add("--seed", type=int, metavar="N", help="make errors and jitter repeatable")
    add("--tick", type=float, default=0.002, metavar="SECONDS", help="between deliveries (default: 0.002)")
    add("--link-dir", metavar="DIR", help="where line0.a, line0.b, ... go (default: a temporary directory)")
    add("--json", action="store_true", help="for programs: one JSON object a line, the first with the paths")
    add("--exit-on-eof", action="store_true", help="end when standard input ends")
    add("--spec", metavar="JSON", help=argparse.SUPPRESS)  # lines as WireProcess gives them; instead of --line
    parser.set_defaults(run=run)


def parse_rate(text: str) -> float | None:
    """A rate in bit/s; None for ``none``.

    Raises:
        ConfigurationError: it is no rate.
    """
    if text.strip().lower() == "none":
        return None
    try:
        rate = float(text)
    except ValueError:
        raise ConfigurationError("rate", f"{text!r} is no number; give bit/s, such as 57600, or none") from None
    return LineSpec(int(rate) if rate == rate // 1 else rate).rate


def parse_lines(text: str) -> list[WireSpec]:
    """Lines from ``RATE[/RATE][:BITS]``, with commas between them."""
    specs = []
    try:
        for item in text.split(","):
            rates, colon, bits_text = item.partition(":")
            there, slash, back = rates.partition("/")
            try:
                bits = float(bits_text) if colon else 10.0
            except ValueError:
                raise ConfigurationError("bits_per_byte", f"{bits_text!r} is no number; give 10 for 8N1") from None
            ab = LineSpec(parse_rate(there), bits_per_byte=bits)
            specs.append(WireSpec(ab, LineSpec(parse_rate(back), bits_per_byte=bits) if slash else ab))
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return specs


def lines_of(args: argparse.Namespace) -> list[WireSpec]:
    """What the options ask for.

    Raises:
        ConfigurationError: they cannot be.
    """
    if args.spec is not None:
        try:
            return [
                WireSpec(LineSpec(**line["ab"]), LineSpec(**line["ba"]), name=line["name"])
                for line in json.loads(args.spec)
            ]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ConfigurationError("spec", f"is not a list of lines in JSON: {error!r}") from error
    if args.count < 1:
        raise ConfigurationError("count", f"{args.count} cannot be; give 1 or more")
    options = {
        "latency": args.latency,
        "jitter": args.jitter,
        "byte_error_rate": args.error_rate,
        "buffer": args.buffer,
    }
    given = (args.line or parse_lines(DEFAULT_LINE)) * args.count
    return [WireSpec(attrs.evolve(spec.ab, **options), attrs.evolve(spec.ba, **options)) for spec in given]


def rate_text(rate: float | None) -> str:
    return "not shaped" if rate is None else f"{rate:g} bit/s" if rate % 1 else f"{int(rate)} bit/s"


def describe(wire: PtyWire, specs: Sequence[WireSpec]) -> str:
    """The lines of a wire and their devices, for people."""
    rows = []
    for line, spec in zip(wire.lines, specs, strict=True):
        rates = rate_text(spec.ab.rate)
        if spec.ba.rate != spec.ab.rate:
            rates += f", back {rate_text(spec.ba.rate)}"
        rows.append(f"{line.name}  {line.a}  {line.b}  {rates}")
    return "\n".join(rows)


def table(wire: PtyWire) -> str:
    """The counters of a wire, for people."""
    head = ("line", "state", "in", "delivered", "corrupted", "lost", "overrun", "unheard", "waiting", "peak", "peak ms")
    rows: list[tuple[str, ...]] = [head]
    for line in wire.stats():
        for label, way in (("a>b", line.ab), ("b>a", line.ba)):
            counts = (way.bytes_in, way.delivered, way.corrupted, way.lost, way.overrun, way.unheard, way.waiting)
            peaks = (str(way.peak_waiting), f"{way.peak_seconds * 1000:.1f}")
            rows.append((f"{line.name} {label}", line.state, *map(str, counts), *peaks))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) if place < 2 else cell.rjust(width) for place, (cell, width) in enumerate(cells))
        for cells in (zip(row, widths, strict=True) for row in rows)
    )


class Console:
    """Carries out the commands that come while the wire runs."""

    def __init__(self, wire: PtyWire, *, as_json: bool, stop: Callable[[], None]) -> None:
        self.wire = wire
        self.as_json = as_json
        self.stop = stop

    def stats(self) -> str:
        if self.as_json:
            return json.dumps({"stats": [attrs.asdict(line) for line in self.wire.stats()]})
        return table(self.wire)

    def answer(self, text: str) -> str | None:
        """Do what a line of input says; one line of output for it, or None for an empty one."""
        words = text.split()
        if not words:
            return None
        try:
            said = self._do(words[0], words[1:])
        except EqlbondError as error:
            return json.dumps({"error": str(error)}) if self.as_json else f"error: {error}"
        if words[0] == "stats":
            return said
        return json.dumps({"done": said}) if self.as_json else said

    def _do(self, verb: str, words: list[str]) -> str:
        if verb == "stats" and not words:
            return self.stats()
        if verb == "reset" and not words:
            for line in self.wire.lines:
                line.reset_peaks()
        elif verb == "cut" and 1 <= len(words) <= 2:
            for line in self._lines(words[0]):
                line.cut(words[1] if len(words) > 1 else "hangup")  # type: ignore[arg-type]  # cut checks it
        elif verb == "revive" and len(words) == 1:
            for line in self._lines(words[0]):
                line.revive()
        elif verb == "rate" and 2 <= len(words) <= 3:
            rate = parse_rate(words[1])
            for line in self._lines(words[0]):
                line.set_rate(rate, words[2] if len(words) > 2 else "both")  # type: ignore[arg-type]  # set_rate too
        elif verb == "quit" and not words:
            self.stop()
        elif verb == "help":
            return COMMANDS
        else:
            raise ConfigurationError("command", f"{' '.join([verb, *words])!r} is none; try: help")
        return " ".join([verb, *words])

    def _lines(self, which: str) -> Sequence[WireLine]:
        lines = self.wire.lines
        if which == "all":
            return lines
        for index, line in enumerate(lines):
            if which in (line.name, str(index)):
                return (line,)
        raise ConfigurationError("line", f"there is no {which!r}; there are {', '.join(line.name for line in lines)}")


def _read_lines(call: Callable[[str], None], at_end: Callable[[], None]) -> None:
    """Read standard input in a thread of its own: it may be a file, which no event loop can watch."""
    # Past sys.stdin: a daemon thread that holds its lock would spoil the interpreter's exit.
    rest = b""
    while True:
        try:
            data = os.read(0, 4096)
        except OSError:
            data = b""
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            call(line.decode(errors="replace"))
        rest = rest[-4096:]
    at_end()


def _in_background() -> bool:
    """Whether reading the terminal would stop this process (SIGTTIN)."""
    try:
        return os.isatty(0) and os.tcgetpgrp(0) != os.getpgrp()
    except OSError:
        return True


def ending_signals() -> list[signal.Signals]:
    """Those that end a command that owns a wire; a closed terminal (SIGHUP) is none where nohup had it ignored."""
    hangup = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hangup]


async def serve(args: argparse.Namespace, specs: list[WireSpec]) -> None:
    """Run the wire until a signal, `quit`, or (where asked for) the end of input."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in ending_signals():
        loop.add_signal_handler(number, stopped.set)

    def say(text: str) -> None:
        try:
            print(text, flush=True)
        except OSError:  # whoever read it is gone; what is left in the buffer must not trouble the exit
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 1)
            stopped.set()

    async with PtyWire(specs, link_dir=args.link_dir, seed=args.seed, tick=args.tick) as wire:
        console = Console(wire, as_json=args.json, stop=stopped.set)
        if args.json:
            say(json.dumps({"lines": [{"name": line.name, "a": line.a, "b": line.b} for line in wire.lines]}))
        else:
            say(describe(wire, specs))

        def obey(text: str) -> None:
            said = None if stopped.is_set() else console.answer(text)
            if said is not None:
                say(said)

        def from_thread(function: Callable[..., None], *arguments: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the command is ending
                loop.call_soon_threadsafe(function, *arguments)

        def at_end() -> None:
            if args.exit_on_eof:
                from_thread(stopped.set)

        if args.exit_on_eof or not _in_background():
            reader = threading.Thread(
                target=_read_lines, args=(lambda text: from_thread(obey, text), at_end), daemon=True
            )
            reader.start()
        await stopped.wait()
        say(console.stats())


def run(args: argparse.Namespace) -> int:
    """Carry out the command; 0 when it was stopped, 1 when the system gave no pty, 2 for impossible options."""
    try:
        asyncio.run(serve(args, lines_of(args)))
    except ConfigurationError as error:
        print(f"eqlbond wire: {error}", file=sys.stderr)
        return 2
    except EqlbondError as error:
        print(f"eqlbond wire: {error}", file=sys.stderr)
        return 1
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command by itself, as ``python -m eqlbond.cli.wire``."""
    parser = argparse.ArgumentParser(prog="eqlbond wire")
    configure(parser)
    args = parser.parse_args(arguments)
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
