"""The command `eqlbond`."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence

import eqlbond
from eqlbond.cli import bond, check, demo, run, simulate, steer, wire
from eqlbond.exceptions import EqlbondError

_COMMANDS = (demo, bond, run, check, steer, simulate, wire)


def make_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    parser = argparse.ArgumentParser(prog="eqlbond", description="Bond serial lines into one link.")
    parser.add_argument("--version", action="version", version=f"eqlbond {eqlbond.__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Errors of the user's making are one line, not a traceback."""
    args = make_parser().parse_args(arguments)
    try:
        status: int = args.run(args)
    except EqlbondError as error:
        print(f"eqlbond: {error}", file=sys.stderr)
        for note in getattr(error, "__notes__", []):
            print(f"eqlbond: {note}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Nobody reads any more. What is left to print goes nowhere, or Python would complain at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    return status
