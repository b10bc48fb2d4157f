"""Each line in its turn.

Source: the conventional striping that Adiseshu, Parulkar and Varghese start from ("A Reliable and Scalable Striping
Protocol", SIGCOMM 1996).
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from eqlbond.packet import Packet
from eqlbond.schedulers.base import Line, Placement


@attrs.define
class RoundRobin:
    """The next packet goes to the next line, whatever the lines carry.

    Right for equal lines and packets of one size; on unequal lines the slowest sets the pace.

    >>> from eqlbond.schedulers import testing
    >>> lines = testing.line("a", rate=9600), testing.line("b", rate=9600)
    >>> rr = RoundRobin()
    >>> [rr.place(testing.packet(100), lines, 0.0).line.name for _ in range(5)]
    ['a', 'b', 'a', 'b', 'a']
    """

    _last: Line | None = attrs.field(default=None, init=False)

    def place(self, packet: Packet, lines: Sequence[Line], now: float) -> Placement:
        """The line after the one that took the packet before."""
        try:
            turn = lines.index(self._last) + 1 if self._last is not None else 0
        except ValueError:
            turn = 0
        self._last = lines[turn % len(lines)]
        return Placement(self._last)
