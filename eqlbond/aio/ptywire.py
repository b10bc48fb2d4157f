"""The pty wire: real ttys, joined pairwise by lines that are shaped in real time.

It stands in for hardware. Each line has two ends, ``a`` and ``b``; each end is a tty device that any serial program
can open, and what is written into one comes out of the other as late, as slowly and as damaged as
`eqlbond.core.line_model.LineModel` says::

    async with PtyWire([LineSpec(57600), LineSpec(14400)]) as wire:
        print(wire.lines[0].a, wire.lines[0].b)
        wire.lines[1].cut("hangup")
        wire.lines[1].revive()

An end behaves as a serial port does: it is raw and does not echo; its writer is held back once the sender's buffer
and then the tty's are full; bytes that arrive while no program has it open are dropped; so are those beyond
`RECEIVE_LIMIT` that a program does not fetch in time (there is no handshake), except on a line without a rate, which
holds the writer back instead.

All deadlines are absolute, from one timer for all lines. Bytes are handed over at the ticks of a grid (2 ms; an
adapter's latency timer has 1 to 16) and at the end of what is on its way, so a frame's end is never held for a tick;
asyncio's own timers add about a millisecond. When nothing is on its way there are no wake-ups at all.
Linux only: it rests on edge-triggered epoll, which tells when the last program closes a tty, without polling.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import select
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Literal

from eqlbond.aio._wire import DirectionStats, End, Way, WireLineStats, WireSpec, wire_specs
from eqlbond.core.line_model import LineSpec
from eqlbond.exceptions import ConfigurationError, LineError

if sys.platform == "linux":
    import termios
    import tty

__all__ = ["CutMode", "DirectionName", "DirectionStats", "PtyWire", "WireLine", "WireLineStats", "WireSpec"]

RECEIVE_LIMIT = 65536
"""Bytes that arrived and that the tty did not take: beyond it a shaped line loses them, as an overrun."""
READS_AT_ONCE = 16
"""Reads from one end before the others have their turn; a tty gives 4095 bytes a read."""

CutMode = Literal["hangup", "silence"]
DirectionName = Literal["ab", "ba", "both"]


class WireLine:
    """One line of a wire that is open. Made by `PtyWire`."""

    def __init__(self, wire: PtyWire, name: str, a: End, b: End, spec: WireSpec, rng: random.Random) -> None:
        self.name = name
        self._wire = wire
        self._ends = (a, b)
        self._ways = (Way(spec.ab, rng, a, b), Way(spec.ba, rng, b, a))
        self._state = "up"

    @property
    def a(self) -> str:
        """Path of the one end's device. It stays the same for as long as the wire is open; while the line is hung
        up there is nothing at it."""
        return str(self._ends[0].link)

    @property
    def b(self) -> str:
        """Path of the other end's device."""
        return str(self._ends[1].link)

    @property
    def state(self) -> str:
        """``up``, ``hangup`` or ``silence``."""
        return self._state

    def cut(self, mode: CutMode = "hangup") -> None:
        """Cut the line in both directions. What is on its way or waiting is lost.

        Args:
            mode: ``hangup``: the programs see their ports go, as when an adapter is unplugged, and the devices
                are gone until `revive`. ``silence``: nothing arrives any more, and nobody is told. A line that hangs
                already stays so.

        Raises:
            ConfigurationError: another mode.
        """
        if mode not in ("hangup", "silence"):
            raise ConfigurationError("mode", f"{mode!r} is neither 'hangup' nor 'silence'")
        if self._state == "hangup":
            return
        self._wire._cut(self, hangup=mode == "hangup")
        self._state = mode

    def revive(self) -> None:
        """Mend a cut line. After a hang-up there are new ttys behind the same paths. No effect on a whole line.

        Raises:
            LineError: the system gives no pty.
        """
        if self._state != "up":
            self._wire._revive(self, hangup=self._state == "hangup")
            self._state = "up"

    def set_rate(self, rate: float | None, direction: DirectionName = "both") -> None:
        """Change the rate, bit/s; None: no longer shaped.

        Raises:
            ConfigurationError: the rate is not above 0, or there is no such direction.
        """
        if direction not in ("ab", "ba", "both"):
            raise ConfigurationError("direction", f"{direction!r} is none of 'ab', 'ba', 'both'")
        for way, name in zip(self._ways, ("ab", "ba"), strict=True):
            if direction in (name, "both"):
                self._wire._set_rate(way, rate)

    def stats(self) -> WireLineStats:
        """Counters of both directions."""
        now = self._wire._now()
        return WireLineStats(self.name, self._state, self._ways[0].stats(now), self._ways[1].stats(now))

    def reset_peaks(self) -> None:
        """Let `DirectionStats.peak_waiting` and `peak_seconds` start anew."""
        for way in self._ways:
            way.peak_waiting = 0
            way.peak_seconds = 0.0


class PtyWire:
    """Serial lines without hardware; an asynchronous context manager, open inside ``async with``.

    Args:
        lines: one or several of `WireSpec`, or of `LineSpec` for a line that is the same both ways.
        link_dir: where the devices' names go, made if need be. By default a directory of its own under the
            system's temporary one, which is removed at the end.
        seed: of byte errors, jitter and loss; by default a different one each time.
        tick: seconds between the moments at which bytes are handed over amid a long transfer.

    Raises:
        ConfigurationError: no line, two of one name, a bad tick, a file in the way of a device's name.
        LineError: on entering: this is not Linux, or the system gives no pty.
    """

    lines: tuple[WireLine, ...]
    """The lines, in the order given. Empty until the wire is open."""

    def __init__(
        self,
        lines: WireSpec | LineSpec | Iterable[WireSpec | LineSpec],
        *,
        link_dir: str | os.PathLike[str] | None = None,
        seed: int | None = None,
        tick: float = 0.002,
    ) -> None:
        self._specs = wire_specs(lines)
        if not 0.0002 <= tick <= 1.0:
            raise ConfigurationError("tick", f"{tick!r} cannot be; give seconds from 0.0002 to 1")
        self._names = [spec.name or f"line{index}" for index, spec in enumerate(self._specs)]
        if len(set(self._names)) < len(self._names):
            raise ConfigurationError("lines", f"two lines have one name: {', '.join(self._names)}")
        self._link_dir = link_dir
        self._rng = random.Random(seed)
        self._tick = tick
        self._dir: Path | None = None
        self._poll: select.epoll | None = None
        self._by_fd: dict[int, End] = {}
        self._ways: list[Way] = []
        self._timer: asyncio.TimerHandle | None = None
        self.lines = ()

    async def __aenter__(self) -> PtyWire:
        if sys.platform != "linux":
            raise LineError("pty wire", "needs Linux (edge-triggered epoll)")
        if self._poll is not None:
            raise LineError("pty wire", "is open already")
        self._loop = asyncio.get_running_loop()
        self._poll = select.epoll()
        try:
            self._loop.add_reader(self._poll.fileno(), self._on_events)
            self._open_lines()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up all lines and remove their devices. Counters stay readable. May be called again."""
        for line in self.lines:
            if line._state != "hangup":
                self._cut(line, hangup=True)
                line._state = "hangup"
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._poll is not None:
            self._loop.remove_reader(self._poll.fileno())
            self._poll.close()
            self._poll = None
        if self._dir is not None and self._link_dir is None:
            shutil.rmtree(self._dir, ignore_errors=True)
        self._dir = None

    def stats(self) -> list[WireLineStats]:
        """Counters of all lines."""
        return [line.stats() for line in self.lines]

    def _now(self) -> float:
        return self._loop.time()

    # ---- ttys

    def _open_lines(self) -> None:
        if self._link_dir is None:
            directory = Path(tempfile.mkdtemp(prefix="eqlbond-wire-"))
        else:
            directory = Path(self._link_dir).absolute()
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigurationError("link_dir", f"{directory} cannot be made: {error.strerror}") from error
        self._dir = directory
        self.lines = ()
        self._ways = []
        for name, spec in zip(self._names, self._specs, strict=True):
            a, b = (End(directory / f"{name}.{side}") for side in "ab")
            line = WireLine(self, name, a, b, spec, self._rng)
            self.lines += (line,)
            self._ways += line._ways
            self._open_end(a)
            self._open_end(b)

    def _open_end(self, end: End) -> None:
        assert self._poll is not None
        if end.link.exists() and not end.link.is_symlink():
            raise ConfigurationError("link_dir", f"{end.link} is there, and it is no symbolic link: it is left alone")
        try:
            master, slave = os.openpty()
        except OSError as error:
            raise LineError(str(end.link), f"the system gives no pty: {error.strerror}") from error
        try:
            tty.setraw(slave)  # before anyone can open it: a fresh pty echoes
            os.set_blocking(master, False)
            device = os.ttyname(slave)
            new = end.link.with_name(f".{end.link.name}.new")
            new.unlink(missing_ok=True)
            new.symlink_to(device)
            new.replace(end.link)
        except OSError as error:
            os.close(master)
            raise LineError(str(end.link), f"no tty could be put there: {error.strerror}") from error
        finally:
            # Not kept: only a closed slave side tells, by EPOLLHUP, that no program has the tty open.
            os.close(slave)
        end.fd, end.device, end.is_open = master, device, False
        self._by_fd[master] = end
        self._poll.register(master, select.EPOLLIN | select.EPOLLET)

    def _close_end(self, end: End) -> None:
        if end.fd < 0:
            return
        # The kernel may give the number of a closed pty to anyone, so the link must not outlive it.
        with contextlib.suppress(OSError):
            if os.readlink(end.link) == end.device:
                end.link.unlink()
        del self._by_fd[end.fd]
        assert self._poll is not None
        self._poll.unregister(end.fd)
        os.close(end.fd)
        end.fd, end.is_open = -1, False
        end.receives.lost += len(end.backlog)
        end.backlog.clear()

    def _closed_by_program(self, end: End) -> None:
        """The last program has closed the tty: what it left unread must not greet the next one."""
        end.is_open = False
        if end.backlog:
            end.receives.unheard += len(end.backlog)
            end.backlog.clear()
            self._resume(end.receives)
        with contextlib.suppress(OSError, termios.error):
            slave = os.open(end.device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                termios.tcflush(slave, termios.TCIFLUSH)
            finally:
                os.close(slave)  # which makes one more EPOLLHUP, of an end that is known to be closed

    # ---- traffic

    def _on_events(self) -> None:
        assert self._poll is not None
        for fd, events in self._poll.poll(0):
            end = self._by_fd.get(fd)
            if end is None:
                continue
            hung = bool(events & select.EPOLLHUP)
            if events & select.EPOLLIN or not hung:
                end.is_open = True
            if events & (select.EPOLLIN | select.EPOLLHUP):
                self._read(end)
            if hung and end.is_open:
                self._closed_by_program(end)
            elif events & select.EPOLLOUT:
                self._write_backlog(end)
        self._arm()

    def _read(self, end: End) -> None:
        way = end.sends
        now = self._loop.time()
        if way.stopped and now < way.resume:
            way.note_peak(now)  # the writer goes on filling the tty, which is as it should be
            return
        way.stopped = False
        for _ in range(READS_AT_ONCE):
            room = way.room(now)
            if room <= 0:
                way.stopped = True
                break
            try:
                data = os.read(end.fd, min(room, RECEIVE_LIMIT))
            except BlockingIOError:
                break
            except OSError:  # EIO: no program has the tty open
                if end.is_open:
                    self._closed_by_program(end)
                break
            now = self._loop.time()
            way.model.push(data, now)
            way.note_peak(now)
        else:
            way.stopped = True
        if way.stopped:
            way.note_peak(now)
        self._deliver(way, now)

    def _deliver(self, way: Way, now: float) -> None:
        """Hand over what has arrived, and set when to look again."""
        data = way.model.pull(now)
        if data:
            self._write(way, data)
        way.plan(now, self._tick)

    def _write(self, way: Way, data: bytes) -> None:
        end = way.target
        if not end.is_open and (end.fd < 0 or not self._is_open(end)):
            way.unheard += len(data)
            return
        if end.backlog:
            self._keep(way, data)
            return
        try:
            sent = os.write(end.fd, data)
        except OSError:
            sent = 0
        way.delivered += sent
        if sent < len(data):
            self._keep(way, data[sent:])
            assert self._poll is not None
            self._poll.modify(end.fd, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)

    def _is_open(self, end: End) -> bool:
        poll = select.poll()
        poll.register(end.fd, 0)
        end.is_open = not poll.poll(0)
        return end.is_open

    def _keep(self, way: Way, data: bytes) -> None:
        backlog = way.target.backlog
        if way.model.spec.rate is not None:
            kept = data[: max(0, RECEIVE_LIMIT - len(backlog))]
            way.overrun += len(data) - len(kept)
            data = kept
        backlog += data

    def _write_backlog(self, end: End) -> None:
        way = end.receives
        try:
            sent = os.write(end.fd, end.backlog) if end.backlog else 0
        except OSError:
            sent = 0
        way.delivered += sent
        del end.backlog[:sent]
        if end.backlog:
            return
        assert self._poll is not None
        self._poll.modify(end.fd, select.EPOLLIN | select.EPOLLET)
        self._resume(way)

    def _resume(self, way: Way) -> None:
        """Whatever held the writer back is over."""
        if way.stopped and way.source.fd >= 0:
            way.resume = way.deadline = self._loop.time()

    def _arm(self) -> None:
        deadline = min((way.deadline for way in self._ways), default=math.inf)
        if self._timer is not None:
            if self._timer.when() <= deadline < math.inf:
                return  # it comes early enough, and then looks again
            self._timer.cancel()
            self._timer = None
        if deadline < math.inf:
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        for way in self._ways:
            if way.deadline <= now:
                if way.stopped and way.resume <= now:
                    self._read(way.source)
                else:
                    self._deliver(way, now)
        self._arm()

    # ---- what happens to lines

    def _cut(self, line: WireLine, *, hangup: bool) -> None:
        now = self._now()
        for way in line._ways:
            if way.source.fd >= 0 and way.target.fd >= 0:
                self._deliver(way, now)
            way.model.cut(now)
            way.deadline = math.inf
        for end in line._ends:
            if hangup:
                end.sends.stopped = False
                self._close_end(end)
            else:
                self._resume(end.sends)
        self._arm()

    def _revive(self, line: WireLine, *, hangup: bool) -> None:
        if self._poll is None:
            raise LineError(line.name, "the wire is closed")
        if hangup:
            try:
                for end in line._ends:
                    self._open_end(end)
            except BaseException:
                for end in line._ends:
                    self._close_end(end)
                raise
        now = self._now()
        for way in line._ways:
            way.model.revive(now)
            self._resume(way)
        self._arm()

    def _set_rate(self, way: Way, rate: float | None) -> None:
        now = self._now()
        way.model.set_rate(now, rate)
        if way.target.fd >= 0:
            self._deliver(way, now)
            self._arm()
