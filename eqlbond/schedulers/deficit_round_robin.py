"""Shares of the bytes, by weight.

Source: Shreedhar and Varghese, "Efficient Fair Queuing using Deficit Round Robin", IEEE/ACM Trans. Networking 4(3),
1996. There one line serves many queues; here one queue is served by many lines, with the same counters
(striping, as Adiseshu, Parulkar and Varghese proposed at SIGCOMM 1996).
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from eqlbond.packet import Packet
from eqlbond.schedulers.base import Line, Placement
from eqlbond.schedulers.weights import weights


@attrs.define
class DeficitRoundRobin:
    """Each line in its turn, until it has had its share of the bytes on the wire.

    A line's share goes by its `priority`, which is its rate unless you say otherwise. In each round a line may carry
    its quantum; what it does not use, because the next packet is larger, it keeps for the next round. The quantum of
    the line with the highest priority is the largest packet seen, so that a round is as short as it can be and
    each packet finds its line within one round. It neither waits nor holds, and knows nothing of what lines have
    queued: right for lines whose rates are steady, and for shares that are not to follow the rates.

    >>> from eqlbond.schedulers import testing
    >>> lines = testing.line("fast", rate=57600), testing.line("slow", rate=14400)
    >>> policy = DeficitRoundRobin()
    >>> [policy.place(testing.packet(900), lines, 0.0).line.name for _ in range(6)]
    ['fast', 'fast', 'fast', 'fast', 'slow', 'fast']
    """

    _deficit: dict[Line, float] = attrs.field(factory=dict, init=False, repr=False)
    _weights: dict[Line, float] = attrs.field(factory=dict, init=False, repr=False)
    _lines: Sequence[Line] = attrs.field(default=(), init=False, repr=False)
    _turn: int = attrs.field(default=0, init=False, repr=False)
    _current: Line | None = attrs.field(default=None, init=False, repr=False)
    _largest: int = attrs.field(default=0, init=False, repr=False)

    def place(self, packet: Packet, lines: Sequence[Line], now: float) -> Placement:
        """The line whose turn it is, or the next one that has enough left."""
        if lines is not self._lines:
            self._survey(lines)
        deficit = self._deficit
        while True:
            line = lines[self._turn]
            size = line.wire_size(packet)
            if deficit[line] >= size:
                deficit[line] -= size
                return Placement(line)
            self._largest = max(self._largest, size)
            self._turn = (self._turn + 1) % len(lines)
            self._current = line = lines[self._turn]
            deficit[line] += self._weights[line] * self._largest

    def withdrawn(self, packet: Packet, line: Line, now: float) -> None:
        """The line did not carry it: it has that much left again."""
        if line in self._deficit:
            self._deficit[line] += line.wire_size(packet)

    def _survey(self, lines: Sequence[Line]) -> None:
        # A line that is not offered now, such as for a packet over its MTU, keeps what it has left.
        self._lines = lines
        current = self._current
        self._turn = lines.index(current) if current is not None and current in lines else len(lines) - 1
        shares = weights(lines)
        most = max(shares)
        self._weights = {line: share / most for line, share in zip(lines, shares, strict=True)}
        for line in lines:
            self._deficit.setdefault(line, 0.0)

    def lines_changed(self, lines: Sequence[Line], now: float) -> bool:
        """Forget the lines that are gone."""
        self._deficit = {line: left for line, left in self._deficit.items() if line in lines}
        self._lines = ()
        return False
