"""Paced serial lines between an emulated UART's socket and a pty, or between two of a kind, in a process of their own.

An emulated UART does not keep time, so the rate of the line comes from here: each direction is read no faster than it
may go, and what stands in between is as little as the sockets allow. What a program writes and the line has not taken
stays in its own kernel's port, where a real one would keep it.

``python -m tests.interop.linux.pacer LINE...``; a LINE is ``RATE,END,END``, RATE in bit/s at 10 bits a byte, an END
``fd=N`` (a socket that the process inherited) or ``pty=PATH`` (a new pty, by that name). On standard input:
``cut N`` (nothing arrives, nobody is told), ``hangup N`` (the same, and the line's ptys go), ``mend N``,
``rate N RATE``, ``stats``; each is answered by a line of JSON. It ends when its input does.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
import tty
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.cli.commands import environment

TICK = 0.002
"""Seconds between two looks at a line that is busy."""
CREDIT = 0.05
"""A line catches up on so many seconds for which this process itself was late, as long as its writer has more."""
UNREAD = 65536
"""Bytes that arrived and were not taken; more is lost, as at a real port without handshake."""
SOCKET_BUFFER = 24576
"""SO_SNDBUF of the UART's end of its socket: about 64 bytes, as the kernel doubles it and counts some 768 for each
byte, which the UART writes one by one."""


class _End:
    """One end of a line."""

    def __init__(self, text: str) -> None:
        kind, _, where = text.partition("=")
        self.path = Path(where) if kind == "pty" else None
        self.fd = -1 if self.path else int(where)
        self._held = -1
        self.backlog = b""
        self.overrun = 0
        if self.path:
            self.open()
        else:
            os.set_blocking(self.fd, False)

    def open(self) -> None:
        """A new pty. Its far side is held open here, so that a program may come and go."""
        if self.path is None or self.fd >= 0:
            return
        self.fd, self._held = os.openpty()
        tty.setraw(self._held)
        os.set_blocking(self.fd, False)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(self._held))

    def close(self) -> None:
        """The pty goes; who has it open is hung up."""
        if self.path is None or self.fd < 0:
            return
        self.path.unlink(missing_ok=True)
        os.close(self._held)
        os.close(self.fd)
        self.fd = -1

    def read(self, size: int) -> bytes:
        with contextlib.suppress(OSError):
            return os.read(self.fd, size)
        return b""

    def write(self, data: bytes) -> None:
        data = self.backlog + data
        sent = 0
        with contextlib.suppress(OSError):
            sent = os.write(self.fd, data)
        kept = data[sent : sent + UNREAD]
        self.overrun += len(data) - sent - len(kept)
        self.backlog = kept


class _Way:
    """One direction."""

    def __init__(self, source: _End, target: _End, rate: float) -> None:
        self.source, self.target = source, target
        self.byte_time = 10 / rate
        self.whole = True
        self.busy = False
        self.clock = 0.0
        """Until when the line has carried what was read."""
        self.passed = self.lost = 0

    def step(self, now: float) -> None:
        """Carry what the time allows."""
        self.clock = max(self.clock, now - CREDIT)
        allowed = int((now - self.clock) / self.byte_time)
        if self.target.backlog:
            self.target.write(b"")
        if allowed < 1:
            return
        data = self.source.read(allowed)
        self.clock += len(data) * self.byte_time
        self.busy = bool(data)
        if data and self.whole:
            self.passed += len(data)
            self.target.write(data)
        else:
            self.lost += len(data)


class _Line:
    def __init__(self, text: str) -> None:
        rate, a, b = text.split(",")
        self.ends = (_End(a), _End(b))
        self.ways = (_Way(*self.ends, float(rate)), _Way(*self.ends[::-1], float(rate)))

    def stats(self) -> list[dict[str, int]]:
        return [{"passed": w.passed, "lost": w.lost, "overrun": w.target.overrun} for w in self.ways]


class _Process:
    """The loop: it sleeps while nothing is on its way."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = [_Line(text) for text in lines]
        self.poll = select.epoll()
        self.poll.register(0, select.EPOLLIN)
        self.waiting: dict[int, _Way] = {}

    def watch(self, way: _Way) -> None:
        """Wait for its source to have something."""
        fd = way.source.fd
        if fd >= 0 and fd not in self.waiting:
            self.waiting[fd] = way
            self.poll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        if self.waiting.pop(fd, None):
            self.poll.unregister(fd)

    def command(self, words: list[str]) -> Any:
        if words == ["stats"]:
            return [line.stats() for line in self.lines]
        line = self.lines[int(words[1])]
        for way in line.ways:
            if words[0] == "rate":
                way.byte_time = 10 / float(words[2])
            else:
                way.whole = words[0] == "mend"
        for end in line.ends:
            if words[0] == "hangup":
                self.unwatch(end.fd)
                end.close()
            elif words[0] == "mend":
                end.open()
        return words

    def run(self) -> None:
        print(json.dumps("ready"), flush=True)
        ways = [way for line in self.lines for way in line.ways]
        while True:
            for way in ways:
                if not way.busy:
                    self.watch(way)
            active = any(way.busy or way.target.backlog for way in ways)
            now = time.monotonic()
            for fd, _ in self.poll.poll((TICK - now % TICK) if active else None):
                if fd == 0:
                    line = sys.stdin.readline()
                    if not line:
                        return
                    print(json.dumps(self.command(line.split())), flush=True)
                elif way_ := self.waiting.get(fd):
                    self.unwatch(fd)
                    way_.busy, way_.clock = True, max(way_.clock, time.monotonic())
            now = time.monotonic()
            for way in ways:
                if way.busy or way.target.backlog:
                    way.step(now)


class Pacer:
    """That process.

    Args:
        rates: of the lines, bit/s.
        a: their ends: paths for new ptys, or sockets of emulated UARTs.
        b: their other ends.
    """

    def __init__(
        self, rates: Sequence[float], a: Sequence[str | socket.socket], b: Sequence[str | socket.socket]
    ) -> None:
        ends = [*a, *b]
        fds = [end.fileno() for end in ends if isinstance(end, socket.socket)]
        names = [f"pty={end}" if isinstance(end, str) else f"fd={end.fileno()}" for end in ends]
        lines = [f"{rate!r},{one},{other}" for rate, one, other in zip(rates, names, names[len(a) :], strict=False)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.interop.linux.pacer", *lines],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=fds,
            env=environment(),
            cwd=Path(__file__).parents[3],
        )
        self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the pacer has ended"
        return json.loads(line)

    def say(self, text: str) -> Any:
        """Give it a command; its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()
        return self._answer()

    def passed(self) -> list[tuple[int, int]]:
        """Bytes that each line has carried, from a to b and from b to a."""
        return [(ways[0]["passed"], ways[1]["passed"]) for ways in self.say("stats")]

    def close(self) -> None:
        self._process.communicate(timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


if __name__ == "__main__":
    _Process(sys.argv[1:]).run()
