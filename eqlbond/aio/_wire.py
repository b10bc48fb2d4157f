"""The parts of a pty wire that hold its state: what a line is, its ends, its directions, its counters."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterable
from pathlib import Path

import attrs

from eqlbond.core.line_model import LineModel, LineSpec
from eqlbond.exceptions import ConfigurationError

if sys.platform == "linux":
    import fcntl
    import termios

UNSHAPED_WINDOW = 1 << 20
"""Bytes on their way over a line without a rate, at most; then its writer is held back."""


@attrs.frozen
class WireSpec:
    """A line with its two directions."""

    ab: LineSpec
    """What is written at end a, on its way to end b."""
    ba: LineSpec = attrs.field(default=attrs.Factory(lambda self: self.ab, takes_self=True))
    """The other way; by default the same."""
    name: str | None = None
    """Names the devices: NAME.a and NAME.b. By default line0, line1, ..."""

    def __attrs_post_init__(self) -> None:
        if self.name is not None and (not self.name or "/" in self.name or self.name.startswith(".")):
            raise ConfigurationError("name", f"{self.name!r} cannot name a file")


def wire_specs(lines: WireSpec | LineSpec | Iterable[WireSpec | LineSpec]) -> list[WireSpec]:
    """One or several lines, as they may be given, as a list.

    Raises:
        ConfigurationError: there is none, or something else among them.
    """
    given = [lines] if isinstance(lines, WireSpec | LineSpec) else list(lines)
    if not given:
        raise ConfigurationError("lines", "there is none; give one LineSpec or WireSpec for each line")
    for spec in given:
        if not isinstance(spec, WireSpec | LineSpec):
            raise ConfigurationError("lines", f"{spec!r} is neither a LineSpec nor a WireSpec")
    return [spec if isinstance(spec, WireSpec) else WireSpec(spec) for spec in given]


@attrs.frozen
class DirectionStats:
    """One direction of a line, in bytes since the wire was opened.

    ``bytes_in == delivered + lost + overrun + unheard`` once nothing is on its way.
    """

    bytes_in: int
    """Taken from the writer's tty."""
    delivered: int
    """Given to the reader's tty."""
    corrupted: int
    """Changed by byte errors."""
    lost: int
    """By the line's loss, or because it was cut."""
    overrun: int
    """Arrived faster than the program read."""
    unheard: int
    """Arrived while no program had the device open."""
    waiting: int
    """Written and not yet sent by the wire."""
    peak_waiting: int
    """The most that was ever waiting. Exact as long as the line's buffer was not full; then at least what is told
    here stood (the kernel tells of the first 4095 bytes behind the buffer)."""
    peak_seconds: float
    """The same as seconds that the wire needs for it, at the rate of the moment."""


@attrs.frozen
class WireLineStats:
    """Both directions of a line."""

    name: str
    state: str
    ab: DirectionStats
    ba: DirectionStats


class End:
    """One tty of the wire, from its master side."""

    __slots__ = ("backlog", "device", "fd", "is_open", "link", "receives", "sends")
    sends: Way
    receives: Way

    def __init__(self, link: Path) -> None:
        self.link = link
        self.device = ""
        self.fd = -1
        self.is_open = False
        """Whether a program has the tty open, as far as was noticed: an opening by itself tells nothing."""
        self.backlog = bytearray()
        """Arrived, and not yet taken by the tty."""


class Way:
    """One direction of a line."""

    __slots__ = (
        "deadline",
        "delivered",
        "lost",
        "model",
        "overrun",
        "peak_seconds",
        "peak_waiting",
        "resume",
        "source",
        "stopped",
        "target",
        "unheard",
    )

    def __init__(self, spec: LineSpec, rng: random.Random, source: End, target: End) -> None:
        self.model = LineModel(spec, rng)
        self.source = source
        self.target = target
        self.deadline = math.inf
        self.stopped = False
        """Whether reading stopped with something left, of which an edge-triggered poll does not tell again."""
        self.resume = math.inf
        """When to go on reading."""
        self.delivered = self.overrun = self.unheard = self.lost = 0
        self.peak_waiting = 0
        self.peak_seconds = 0.0
        source.sends = self
        target.receives = self

    def room(self, now: float) -> int:
        room = self.model.room(now)
        if self.model.spec.rate is None:
            room = min(room, UNSHAPED_WINDOW - self.model.in_flight - len(self.target.backlog))
        return room

    def waiting(self, now: float) -> int:
        """Bytes written and not yet sent, those included that still stand in the tty."""
        return self.model.waiting(now) + (readable(self.source.fd) if self.stopped else 0)

    def note_peak(self, now: float) -> None:
        waiting = self.waiting(now)
        if waiting > self.peak_waiting:
            self.peak_waiting = waiting
        self.peak_seconds = max(self.peak_seconds, waiting * self.model.spec.byte_time)

    def plan(self, now: float, tick: float) -> None:
        """Set when to look at this direction again."""
        model = self.model
        deadline = math.inf
        due = model.next_arrival()
        if due is not None:
            last = model.last_arrival()
            assert last is not None
            # One grid for all lines, so that they share their wake-ups; a frame's end does not wait for it.
            deadline = min(last, (due // tick + 1) * tick)
        if self.stopped:
            rate, buffer = model.spec.rate, model.spec.buffer
            if rate is not None and buffer is not None:
                # Refilled when half empty: the wire does not run dry while this process is late.
                self.resume = model.time_waiting(buffer // 2)
            else:
                self.resume = now if self.room(now) > 0 else math.inf
            deadline = min(deadline, self.resume)
        self.deadline = deadline

    def stats(self, now: float) -> DirectionStats:
        model = self.model
        return DirectionStats(
            bytes_in=model.accepted_bytes,
            delivered=self.delivered,
            corrupted=model.corrupted_bytes,
            lost=model.lost_bytes + self.lost,
            overrun=self.overrun,
            unheard=self.unheard,
            waiting=self.waiting(now),
            peak_waiting=self.peak_waiting,
            peak_seconds=self.peak_seconds,
        )


def readable(fd: int) -> int:
    """Bytes that stand in the tty's own buffer, as far as the kernel tells."""
    if fd < 0:
        return 0
    count = fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0")
    return int.from_bytes(count, sys.byteorder)
