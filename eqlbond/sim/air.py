"""The channel of a half-duplex line: what reaches an end while it talks itself is damaged."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eqlbond.sim.way import Way

_ROUNDING = 1e-9  # seconds
_OF_A_BYTE = 1e-6


class Air:
    """One direction of a half-duplex line, as the opposite one sees it.

    Without latency a collision damages both ends' frames; with it, each end loses what arrives while it talks.

    Args:
        way: the direction.
        other: the opposite one.
    """

    __slots__ = ("_other", "_talks", "_way")

    def __init__(self, way: Way, other: Way) -> None:
        self._way = way
        self._other = other
        self._talks: deque[tuple[float, float]] = deque()  # from and to, as far back as the other's bytes need it

    def talk(self, start: float, end: float, now: float) -> None:
        """The sender of this direction talks."""
        talks = self._talks
        if talks and start <= talks[-1][1] + _ROUNDING:
            talks[-1] = (talks[-1][0], end)
        else:
            talks.append((start, end))
        flying = self._other.flying
        oldest = flying[0][1] if flying else now
        while talks and talks[0][1] < oldest:
            talks.popleft()

    def damage(self, data: bytes, arrival: float) -> bytes:
        """What comes out of the other direction, its last byte at `arrival`: what was talked over has its bits turned.

        By then all that this end has said in that time is known.
        """
        byte_time = self._other.model.spec.byte_time
        begin = arrival - len(data) * byte_time
        damaged: bytearray | None = None
        for start, end in self._talks:
            if start < arrival - _ROUNDING and end > begin + _ROUNDING:
                first = max(0, math.floor((start - begin) / byte_time + _OF_A_BYTE))
                last = min(len(data), math.ceil((end - begin) / byte_time - _OF_A_BYTE))
                damaged = bytearray(data) if damaged is None else damaged
                damaged[first:last] = bytes(byte ^ 0xFF for byte in damaged[first:last])
        return data if damaged is None else bytes(damaged)
