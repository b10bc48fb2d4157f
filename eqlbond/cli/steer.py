"""The commands that steer a bond that runs: enslave, emancipate, set, show, status, events, reload."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import re
import sys
import time
import tomllib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from eqlbond.cli import report
from eqlbond.control.client import ControlClient
from eqlbond.exceptions import ConfigurationError

_USUAL = (
    1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 500000, 576000, 921600, 1000000, 1152000,
    1500000, 2000000, 2500000, 3000000, 3500000, 4000000,
)  # fmt: skip
"""Speeds of ports that termios has a name for, bit/s."""

Steer = Callable[[ControlClient, argparse.Namespace], Awaitable[int | None]]


def configure(parser: argparse.ArgumentParser) -> None:
    """Give the parser of one of the commands its description and options."""
    name = parser.prog.split()[-1]
    steer, add_options = _STEERED[name]
    parser.add_argument(
        "--socket",
        metavar="PATH",
        help="control socket of the bond; default: $EQLBOND_SOCKET, then /run/eqlbond.sock for root and"
        " $XDG_RUNTIME_DIR/eqlbond.sock for others",
    )
    if add_options is not None:
        add_options(parser)
    parser.set_defaults(run=lambda args: asyncio.run(_run(steer, args)))


def _enslave_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Add a line to a bond that runs, as eql_enslave did. SPEED is the rate that the line carries, in bit/s; behind"
        " a modem that is the speed of the modems' connection, and --baudrate the speed of the port."
    )
    parser.add_argument(
        "device",
        metavar="DEVICE",
        type=_port,
        help="the port, such as /dev/ttyS0; or socket://HOST:PORT or rfc2217://HOST:PORT of a terminal server",
    )
    parser.add_argument("speed", metavar="SPEED", type=_speed, help="bit/s that the line carries")
    parser.add_argument(
        "--baudrate", type=int, help="speed of the port; default: SPEED, or the next speed above it that ports have"
    )
    parser.add_argument("--priority", type=float, help="weight for schedulers that use weights; default: SPEED")
    parser.add_argument("--latency", type=float, help="seconds to the far end, beyond the sending time")
    parser.add_argument("--bits-per-byte", type=float, help="10 on an 8N1 cable, 8 behind error-correcting modems")
    parser.add_argument("--framing", help="slip, ppp, kiss, hdlc, or package.module:Class; default: slip")
    parser.add_argument("--name", help="default: DEVICE")
    parser.add_argument(
        "-o", "--option", action="append", default=[], metavar="KEY=VALUE",
        help="anything else that a [[slave]] of the configuration file has, in TOML, such as rtscts=true",
    )  # fmt: skip


def _emancipate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("slave", metavar="SLAVE", help="name, device or URL of the slave")
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds for its last frame; default 2")


def _set_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "With SLAVE: change its rate, priority or latency. Without: the bond's min_slaves and max_slaves."
    )
    parser.add_argument("slave", metavar="SLAVE", nargs="?")
    parser.add_argument("--rate", type=_or_none("unpaced"), help='bit/s, or "unpaced"', default=argparse.SUPPRESS)
    parser.add_argument("--priority", type=_or_none("rate"), help='a weight, or "rate"', default=argparse.SUPPRESS)
    parser.add_argument("--latency", type=float, help="seconds", default=argparse.SUPPRESS)
    parser.add_argument("--min-slaves", type=int, help="lines that have to be up", default=argparse.SUPPRESS)
    parser.add_argument(
        "--max-slaves", type=_or_none("any", int), help='slaves that are let in, or "any"', default=argparse.SUPPRESS
    )


def _show_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("slave", metavar="SLAVE", nargs="?")
    parser.add_argument("--json", action="store_true")


def _status_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON; with --watch, one line each time")
    parser.add_argument(
        "--watch", nargs="?", type=float, const=1.0, metavar="SECONDS", help="again and again, each SECONDS (1)"
    )


def _events_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="a line of JSON each")


def _port(text: str) -> str:
    """A path or a URL; whether they are good ones the bond has to say."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path of a port, such as /dev/ttyS0, not an empty text")
    if re.fullmatch(r"[^/]+:\d+", text):
        raise argparse.ArgumentTypeError(f"a port on another machine is socket://{text} or rfc2217://{text}")
    return text


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise argparse.ArgumentTypeError(f"bit/s above 0, such as 28800, not {text!r}")
    return speed


def _or_none(word: str, kind: Callable[[str], Any] = float) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        return None if text == word else kind(text)

    convert.__name__ = f"number or {word!r}"
    return convert


async def _run(steer: Steer, args: argparse.Namespace) -> int:
    async with ControlClient(args.socket) as client:
        return await steer(client, args) or 0


def _options(texts: list[str]) -> dict[str, Any]:
    """``KEY=VALUE`` as TOML; a word that is none is taken for a text."""
    options: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise ConfigurationError("option", f"KEY=VALUE, not {text!r}")
        try:
            options[key.strip()] = tomllib.loads(f"x = {value}")["x"]
        except tomllib.TOMLDecodeError:
            options[key.strip()] = value
    return options


async def _enslave(client: ControlClient, args: argparse.Namespace) -> None:
    given = {
        "name": args.name,
        "priority": args.priority,
        "latency": args.latency,
        "bits_per_byte": args.bits_per_byte,
        "framing": args.framing,
    }
    baudrate = args.baudrate
    if baudrate is None:
        baudrate = next((speed for speed in _USUAL if speed >= args.speed), math.ceil(args.speed))
    slave = {
        "url" if "://" in args.device else "device": args.device,
        "rate": args.speed,
        "baudrate": baudrate,
        **{key: value for key, value in given.items() if value is not None},
        **_options(args.option),
    }
    shown = await client.enslave(slave)
    print(f"{shown['name']} is enslaved, {report.rate(shown['rate'])}")


async def _emancipate(client: ControlClient, args: argparse.Namespace) -> None:
    await client.emancipate(args.slave, args.timeout)
    print(f"{args.slave} is emancipated")


async def _set(client: ControlClient, args: argparse.Namespace) -> None:
    keys = ("rate", "priority", "latency", "min_slaves", "max_slaves")
    shown = await client.set(args.slave, **{key: getattr(args, key) for key in keys if hasattr(args, key)})
    print(report.settings(shown))


async def _show(client: ControlClient, args: argparse.Namespace) -> None:
    shown = await client.show(args.slave)
    print(json.dumps(shown) if args.json else report.settings(shown))


async def _status(client: ControlClient, args: argparse.Namespace) -> None:
    before: Mapping[str, Any] | None = None
    taken = 0.0
    while True:
        asked = time.monotonic()
        status = await client.status()
        if args.json:
            print(json.dumps(status), flush=True)
        else:
            clear = "\033[H\033[J" if args.watch is not None and sys.stdout.isatty() else ""
            print(clear + report.status(status, before, asked - taken), flush=True)
        if args.watch is None:
            return
        before, taken = status, asked
        await asyncio.sleep(max(0.05, args.watch))


async def _events(client: ControlClient, args: argparse.Namespace) -> None:
    async with contextlib.aclosing(client.events()) as events:  # type: ignore[type-var]  # an async generator
        async for event in events:
            print(json.dumps(event) if args.json else report.event(event), flush=True)


async def _reload(client: ControlClient, args: argparse.Namespace) -> None:
    print(report.changes(await client.reload()))


_STEERED: dict[str, tuple[Steer, Callable[[argparse.ArgumentParser], None] | None]] = {
    "enslave": (_enslave, _enslave_options),
    "emancipate": (_emancipate, _emancipate_options),
    "set": (_set, _set_options),
    "show": (_show, _show_options),
    "status": (_status, _status_options),
    "events": (_events, _events_options),
    "reload": (_reload, None),
}
