"""The 1995 rule, to the letter.

Source: the Linux EQL driver, ``drivers/net/eql.c`` (Simon Janes, 1995).
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from eqlbond.packet import Packet
from eqlbond.schedulers.base import Line, Placement

_WORD = 32  # bits of an unsigned long on the machines of 1995
_TICK = 1.0


@attrs.define
class Eql:
    """Least load first, where load is a model that never looks at the line.

    ``load = 2**31 - priority_Bps + 8 * bytes_queued``, with ``priority_Bps = priority // 8``. The smallest load
    takes the packet and `bytes_queued` grows by its length; once a second every line's counter falls by
    its `priority_Bps`. A tie goes to the newest slave. It neither waits nor holds: a line that is behind
    goes on getting packets, which is how the rule fails on unequal lines.

    >>> from eqlbond.schedulers import testing
    >>> fast, slow = testing.line("fast", rate=57600), testing.line("slow", rate=14400)
    >>> eql = Eql()
    >>> [eql.place(testing.packet(900), (fast, slow), 0.0).line.name for _ in range(6)]
    ['fast', 'slow', 'fast', 'slow', 'fast', 'slow']
    """

    _queued: dict[Line, int] = attrs.field(factory=dict, init=False)
    _ticked: float | None = attrs.field(default=None, init=False)

    def place(self, packet: Packet, lines: Sequence[Line], now: float) -> Placement:
        """The line with the least load."""
        self._tick(now)
        queued = self._queued
        best: Line | None = None
        best_load = 0
        for line in reversed(lines):  # a new slave goes to the head of the driver's list
            load = (1 << (_WORD - 1)) - int(line.priority) // 8 + 8 * queued.get(line, 0)
            if best is None or load < best_load:
                best, best_load = line, load
        assert best is not None
        queued[best] = queued.get(best, 0) + len(packet.payload)
        return Placement(best)

    def lines_changed(self, lines: Sequence[Line], now: float) -> bool:
        """Forget the counters of lines that are gone: the driver buries a dead slave with its counter."""
        self._queued = {line: n for line, n in self._queued.items() if line in lines}
        return False

    def withdrawn(self, packet: Packet, line: Line, now: float) -> None:
        """What will be placed again must not be counted twice."""
        if line in self._queued:
            self._queued[line] = max(0, self._queued[line] - len(packet.payload))

    def _tick(self, now: float) -> None:
        if self._ticked is None:
            self._ticked = now
        ticks = int((now - self._ticked) / _TICK)
        if ticks > 0:
            self._ticked += ticks * _TICK
            for line, n in self._queued.items():
                self._queued[line] = max(0, n - ticks * (int(line.priority) // 8))
