"""The command `eqlbond`."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

import eqlbond
from eqlbond.exceptions import EqlbondError

_COMMANDS = {
    "demo": ("demo", "watch a bond of four unequal lines carry a file, without hardware"),
    "bond": ("bond", "a bond over given devices as a datagram pipe (UDP or stdin/stdout)"),
    "run": ("run", "run a bond from a configuration file, as a router does"),
    "check": ("check", "check a configuration file"),
    "enslave": ("steer", "add a line to a running bond"),
    "emancipate": ("steer", "take a line out of a running bond"),
    "set": ("steer", "change a slave, or the bond's limits, while it runs"),
    "show": ("steer", "show the configuration of the master, or of a slave"),
    "status": ("steer", "show how a running bond and its lines do"),
    "events": ("steer", "tell what happens to a running bond, as it happens"),
    "reload": ("steer", "have a running bond read its configuration file again"),
    "simulate": ("simulate", "simulate a bond and tell how it does"),
    "wire": ("wire", "serial lines without hardware, shaped in real time"),
}
"""The module of this package that has each command, imported when it is given; and what it does."""


def make_parser(command: str | None) -> argparse.ArgumentParser:
    """The parser, with the options of this command; of the others it knows that they are there."""
    parser = argparse.ArgumentParser(prog="eqlbond", description="Bond serial lines into one link.")
    parser.add_argument("--version", action="version", version=f"eqlbond {eqlbond.__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (module, what) in _COMMANDS.items():
        subparser = subparsers.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        if name == command:
            importlib.import_module(f"eqlbond.cli.{module}").configure(subparser)
    return parser


def _run(given: Sequence[str]) -> int:
    command = next((word for word in given if not word.startswith("-")), None)
    try:
        args = make_parser(command).parse_args(given)
        status: int = args.run(args)
    except EqlbondError as error:
        print(f"eqlbond: {error}", file=sys.stderr)
        for note in getattr(error, "__notes__", []):
            print(f"eqlbond: {note}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # nobody reads any more
        return 0
    return status


def _written(status: int) -> int:
    """Write what is still to be printed; returns the status, or 1 where that fails.

    At its exit Python would complain about a reader who has gone, and set a status of its own.
    """
    if sys.stdout is None:  # it was closed before we began
        return status
    try:
        sys.stdout.flush()
    except OSError as error:
        with contextlib.suppress(OSError):  # the rest goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            with contextlib.suppress(OSError):  # the terminal is gone, for standard error, too
                print(f"eqlbond: standard output: {error.strerror}", file=sys.stderr)
            return 1
    return status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Errors of the user's making are one line, not a traceback."""
    try:
        return _written(_run(sys.argv[1:] if arguments is None else arguments))
    except SystemExit:  # --help, or wrong options
        _written(0)
        raise
