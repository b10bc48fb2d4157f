"""``eqlbond run``: a bond from a configuration file, as a service."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys

from eqlbond.config import Config, LogConfig
from eqlbond.exceptions import EqlbondError
from eqlbond.router import Router

_log = logging.getLogger("eqlbond")
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_EPILOG = """\
signals:
  SIGTERM, SIGINT  end: what waits is sent within bond.close_timeout; a second one ends at once
  SIGHUP           read the file again, as `eqlbond reload` does; lines that have not changed go on

A systemd unit is in the documentation (docs/router.md): Type=notify, and the watchdog is served.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Give a parser the description and the options of this command."""
    parser.description = (
        "Bring up a bond as a configuration file says, keep it up, and let it be steered while it runs."
    )
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("file", metavar="FILE", help="the configuration, such as bond.toml")
    parser.add_argument("--verbose", action="store_true", help="log everything, whatever the file says")
    parser.set_defaults(run=run)


class _Formatter(logging.Formatter):
    """Lines with the time; for the journal, which has its own, with the priority (sd-daemon(3))."""

    def __init__(self, journal: bool) -> None:
        super().__init__("%(message)s" if journal else "%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._journal:
            return text
        return "\n".join(f"<{_PRIORITIES.get(record.levelno, 6)}>{line}" for line in text.splitlines())


def _set_up_log(config: LogConfig, verbose: bool) -> None:
    journal = config.file is None and "JOURNAL_STREAM" in os.environ
    handler = logging.StreamHandler(sys.stderr) if config.file is None else logging.FileHandler(config.file)
    handler.setFormatter(_Formatter(journal))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("eqlbond").setLevel(logging.DEBUG if verbose else config.level.upper())


async def _reload(router: Router) -> None:
    try:
        await router.reload()
    except EqlbondError as error:
        # What is wrong with the file is in the log already.
        _log.debug("not reloaded: %s", error)


async def _serve(config: Config, file: str, verbose: bool) -> None:
    loop = asyncio.get_running_loop()
    router = Router(config, file, set_up_log=lambda log: _set_up_log(log, verbose))
    tasks: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.ensure_future(_reload(router))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, router.stop)
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        await router.run()
    finally:
        # The loop would give a signal its default back, and one that comes while Python exits would spoil the status.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    config = Config.load(args.file)
    try:
        _set_up_log(config.log, args.verbose)
    except OSError as error:
        print(f"eqlbond: log.file: {config.log.file}: {error.strerror}", file=sys.stderr)
        return 1
    asyncio.run(_serve(config, args.file, args.verbose))
    return 0
