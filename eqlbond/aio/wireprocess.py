"""The pty wire in a process of its own, so that it keeps time whatever the event loop of this one does."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import attrs

import eqlbond
from eqlbond.aio._wire import wire_specs
from eqlbond.aio.ptywire import CutMode, DirectionStats, PtyWire, WireLineStats, WireSpec
from eqlbond.core.line_model import LineSpec
from eqlbond.exceptions import ConfigurationError, LineError

START_LIMIT = 30.0
"""Seconds that the process may take to start."""


@attrs.frozen
class WireDevices:
    """One line of a wire in another process: its name and the paths of its two ends."""

    name: str
    a: str
    b: str


class WireProcess:
    """`PtyWire` in a child process; an asynchronous context manager with the same arguments.

    For benchmarks, and for tests of programs that block: what they do does not make the wire late. The child ends when
    the block does, and also when this process dies.

    Raises:
        ConfigurationError: as `PtyWire` does.
        LineError: on entering: the wire could not be opened; the child has told why on standard error.
    """

    lines: tuple[WireDevices, ...]
    """The devices; empty until the wire is open."""

    def __init__(
        self,
        lines: WireSpec | LineSpec | Iterable[WireSpec | LineSpec],
        *,
        link_dir: str | os.PathLike[str] | None = None,
        seed: int | None = None,
        tick: float = 0.002,
    ) -> None:
        specs = wire_specs(lines)
        PtyWire(specs, link_dir=link_dir, seed=seed, tick=tick)  # for its checks; nothing is opened
        self._arguments = [
            *("--json", "--exit-on-eof", "--tick", repr(tick)),
            *("--spec", json.dumps([attrs.asdict(spec) for spec in specs])),
            *(() if link_dir is None else ("--link-dir", os.fspath(link_dir))),
            *(() if seed is None else ("--seed", str(seed))),
        ]
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._owed = 0
        self.lines = ()

    async def __aenter__(self) -> WireProcess:
        path = [str(Path(eqlbond.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "eqlbond.cli.wire", *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
            limit=1 << 20,
            start_new_session=True,  # Ctrl-C is for this process, which then ends the child
        )
        self._owed = 1
        try:
            async with asyncio.timeout(START_LIMIT):
                ready = await self._answer()
        except TimeoutError:
            await self._end()
            raise LineError("pty wire", f"its process did not start within {START_LIMIT:g} s") from None
        except BaseException:
            await self._end()
            raise
        self.lines = tuple(WireDevices(**line) for line in ready["lines"])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = b""
        while self._owed:  # answers to commands that were cancelled come first
            line = await self._process.stdout.readline()
            if not line:
                raise LineError("pty wire", "its process has ended")
            self._owed -= 1
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def command(self, text: str) -> dict[str, Any]:
        """Give the wire a command of `eqlbond wire`, such as ``rate 0 9600``.

        Returns:
            Its answer: ``{"done": ...}`` or ``{"stats": ...}``.

        Raises:
            ConfigurationError: there is nothing in it.
            LineError: it refused, or it is not there any more.
        """
        if self._process is None:
            raise LineError("pty wire", "is not open")
        assert self._process.stdin is not None
        words = " ".join(text.split())
        if not words:
            raise ConfigurationError("command", "it is empty")
        async with self._turn:
            self._process.stdin.write(words.encode() + b"\n")
            self._owed += 1
            answer = await self._answer()
        if "error" in answer:
            raise LineError("pty wire", answer["error"])
        return answer

    async def cut(self, line: int, mode: CutMode = "hangup") -> None:
        """Cut a line, as `WireLine.cut` does."""
        await self.command(f"cut {line} {mode}")

    async def revive(self, line: int) -> None:
        """Mend a cut line, as `WireLine.revive` does."""
        await self.command(f"revive {line}")

    async def set_rate(self, line: int, rate: float | None) -> None:
        """Change the rate of a line, both ways; bit/s, or None."""
        await self.command(f"rate {line} {'none' if rate is None else repr(rate)}")

    async def reset_peaks(self) -> None:
        """Let the peaks of the counters start anew."""
        await self.command("reset")

    async def stats(self) -> list[WireLineStats]:
        """Counters of all lines."""
        answer = await self.command("stats")
        return [
            WireLineStats(line["name"], line["state"], DirectionStats(**line["ab"]), DirectionStats(**line["ba"]))
            for line in answer["stats"]
        ]
