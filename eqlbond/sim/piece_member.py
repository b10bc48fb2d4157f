"""Members of lines that are paced in pieces: they tell which frames are in what the port gets."""

from __future__ import annotations

from typing import Any

from eqlbond.core.half_duplex import HalfDuplexMember
from eqlbond.core.link import Link
from eqlbond.core.member import Member
from eqlbond.packet import Packet


class TellsFrames(Member):
    """Writes down which frames begin in what the port gets."""

    __slots__ = ()

    begun: list[tuple[Packet | None, int]]
    """The packet of each, None for a control frame, and the frame's size; whoever drives the member empties it."""

    @property
    def rest(self) -> int:
        """Bytes that are left of the frame that has begun."""
        return len(self._rest) - self._offset

    def _next_frame(self, now: float, ahead: float) -> bytes:
        frame = super()._next_frame(now, ahead)
        if frame and self._partial is None:
            self.begun.append((None, len(frame)))
        return frame

    def _encode(self, link: Link, packet: Packet) -> bytes:
        frame = super()._encode(link, packet)
        if frame:
            self.begun.append((packet, len(frame)))
        return frame


class PieceMember(TellsFrames):
    """A member that tells which frames it has begun."""

    __slots__ = ("begun",)

    def __init__(self, *args: Any, **options: Any) -> None:
        self.begun = []
        super().__init__(*args, **options)


class HalfDuplexPieceMember(TellsFrames, HalfDuplexMember):
    """A member that takes turns, and tells which frames it has begun."""

    __slots__ = ("begun",)

    def __init__(self, *args: Any, **options: Any) -> None:
        self.begun = []
        super().__init__(*args, **options)
