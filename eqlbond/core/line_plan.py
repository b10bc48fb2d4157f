"""What is planned for a line and has not begun to go to its port.

Bulk goes in the order in which it was planned, each packet not before its time. Express packets pass it, at the next
frame boundary. The line's `free`, `soonest` and `planned`, which schedulers read, follow what is planned here.
"""

from __future__ import annotations

from collections import deque

from eqlbond.core.fragments import Fragment
from eqlbond.packet import Packet
from eqlbond.schedulers.base import Line

# Sparse flows may not keep bulk from a line for ever: after so many of their bytes one planned frame goes.
EXPRESS_QUANTUM = 3000

set_free = Line.free.__set__  # type: ignore[attr-defined,misc]
set_soonest = Line.soonest.__set__  # type: ignore[attr-defined,misc]
set_planned = Line.planned.__set__  # type: ignore[attr-defined,misc]


class LinePlan:
    """The plan of one line.

    Args:
        line: the view that shows it.
    """

    __slots__ = ("_express_run", "_line", "bulk", "express", "held", "shift")

    def __init__(self, line: Line) -> None:
        self._line = line
        self.bulk: deque[tuple[Packet, int, float, float]] = deque()
        """Packet, wire size, the time that it is held until (0: it is not), and its start without `shift`."""
        self.express: deque[tuple[Packet, int]] = deque()
        """Packet and wire size."""
        self.held = 0
        """How many of `bulk` are held."""
        self.shift = 0.0
        """Seconds by which all that is planned starts later than it was reckoned."""
        self._express_run = 0

    def add(self, packet: Packet, now: float, not_before: float) -> None:
        """Put the packet behind all that is planned; it does not start before `not_before`."""
        line = self._line
        size = line.wire_size(packet)
        start = line.free
        if start < now:
            start = now
        if start < not_before:
            start = not_before
            self.held += 1
        else:
            not_before = 0.0
        self.bulk.append((packet, size, not_before, start - self.shift))
        set_planned(line, line.planned + size)
        set_free(line, start + size * line.byte_time)

    def add_express(self, packet: Packet, now: float) -> None:
        """Put the packet ahead of all that is planned, at the next frame boundary."""
        line = self._line
        size = line.wire_size(packet)
        self.express.append((packet, size))
        set_planned(line, line.planned + size)
        time = size * line.byte_time
        set_soonest(line, (line.soonest if line.soonest > now else now) + time)
        set_free(line, (line.free if line.free > now else now) + time)
        self.shift += time

    def express_size(self) -> int:
        """Wire bytes of the express packets."""
        return sum([size for _, size in self.express])

    def take(self, now: float, begins: float) -> tuple[Packet, int] | None:
        """The next packet, and the wire size that it was planned with; None: none may start yet.

        Args:
            now: the time.
            begins: when its first bit would leave, by the byte clock.
        """
        bulk, express = self.bulk, self.express
        if express and (not bulk or self._express_goes(now, begins)):
            self._express_run += express[0][1]
            return express.popleft()
        if not bulk:
            return None
        packet, size, not_before, start = bulk[0]
        if not_before:
            if not_before > begins and not_before > now:
                return None
            self.held -= 1
        bulk.popleft()
        self._express_run = 0
        line = self._line
        if line.byte_time:
            slip = begins - start - self.shift
            if slip > 0.0 or not self.held:
                self.shift += slip
                set_free(line, line.free + slip)
        return packet, size

    def _express_goes(self, now: float, begins: float) -> bool:
        """Whether the first express packet goes ahead of the first planned one."""
        packet, first = self.express[0][0], self.bulk[0][0]
        if packet.__class__ is Fragment:
            # Numbers rise on each link: what has one goes before what has none, and the lower one first.
            assert isinstance(packet, Fragment)
            number = first.number if isinstance(first, Fragment) else None
            return number is None or (packet.number is not None and packet.number < number)
        return packet.priority > 0 or self._express_run < EXPRESS_QUANTUM or now < self.bulk[0][2] > begins

    def took_bulk(self) -> None:
        """Bulk was taken that was not timed."""
        self._express_run = 0

    def take_back(self, *, also_express: bool) -> list[Packet]:
        """Empty the plan, but for the express packets where these are to stay. The line's times are the caller's."""
        packets = [entry[0] for entry in self.bulk]
        self.bulk.clear()
        self.held = 0
        if also_express:
            packets += [entry[0] for entry in self.express]
            self.express.clear()
        return packets

    def retime(self, free: float) -> None:
        """Reckon anew, after the byte time has changed: what is planned starts at `free`."""
        byte_time = self._line.byte_time
        bulk = list(self.bulk)
        self.bulk.clear()
        self.held = 0
        for packet, size, not_before, _ in bulk:
            if free < not_before:
                free = not_before
                self.held += 1
            else:
                not_before = 0.0
            self.bulk.append((packet, size, not_before, free - self.shift))
            free += size * byte_time
        set_free(self._line, free)
