"""Lines that are paced in pieces: which frame each piece belongs to, so that loss takes frames, as on other lines."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from heapq import heappush
from typing import TYPE_CHECKING, Any

import attrs

from eqlbond.core.line_model import UNLIMITED, LineSpec
from eqlbond.packet import Packet
from eqlbond.sim.end import End
from eqlbond.sim.line import SimLine
from eqlbond.sim.piece_member import TellsFrames
from eqlbond.sim.way import Way, number_of

if TYPE_CHECKING:
    from eqlbond.sim.engine import Run


class _Frame:
    """A frame that goes in pieces."""

    __slots__ = ("lost", "packet")

    def __init__(self, packet: Packet | None) -> None:
        self.packet = packet
        self.lost = ""  # what took it, or a piece of it


class _Piece:
    """The part of one write that belongs to one frame."""

    __slots__ = ("ends", "frame", "leave", "size", "start")

    def __init__(self, frame: _Frame, size: int, ends: bool) -> None:
        self.frame = frame
        self.size = size
        self.ends = ends  # whether the frame ends with it
        self.start = self.leave = 0.0


_WHOLE: list[_Piece] = []
"""In place of the pieces of a write of which nobody will ask."""


class PieceWay(Way):
    """One direction of a line that is paced in pieces; what is written together arrives together."""

    __slots__ = ("_frame", "_loses", "_loss", "_plain", "_rng", "_teller", "pieces")

    def __init__(
        self, run: Run, index: int, line: SimLine, end: End, to: End, spec: LineSpec, rng: random.Random
    ) -> None:
        super().__init__(run, index, line, end, to, attrs.evolve(spec, loss=0.0), rng)
        self._rng = rng
        self._loss = spec.loss
        self._loses = attrs.evolve(spec, loss=1.0)
        assert isinstance(self.member, TellsFrames)
        self._teller = self.member
        self._frame = _Frame(None)  # that began last
        self.pieces: deque[list[_Piece]] = deque()  # of each entry of `flying`
        self.checks = run.settings.multilink is None and bool(spec.byte_error_rate or line.half_duplex)
        # Nothing happens to single frames, and nobody wants to see them.
        self._plain = not (spec.loss or spec.byte_error_rate or line.cut_at or self.checks or run.placed is not None)

    def carries_packets(self) -> bool:
        """Whether anything but control frames is on its way, or in the middle of going."""
        if self._teller.rest and self._frame.packet is not None:
            return True
        return any(
            pieces is _WHOLE or any(piece.frame.packet is not None for piece in pieces) for pieces in self.pieces
        )

    def serve(self, now: float) -> None:
        """The port takes what the bundle has for it now."""
        model, teller, run = self.model, self._teller, self.run
        teller.begun.clear()
        left = teller.rest
        room = UNLIMITED if model.spec.buffer is None else model.room(now)
        data = self.end.bundle.data_to_send(teller, now, room, model.waiting(now) if self.tells else None)
        if not data:
            return
        start = model.free if model.free > now else now
        if self._plain and self._all_packets(left):
            pieces, arriving = _WHOLE, len(data)
            model.push(data, now)
        else:
            pieces, place, arriving = list(self._pieces(len(data), left)), 0, 0
            for piece in pieces:
                arriving += self._push(piece, data[place : place + piece.size], now)
                place += piece.size
        self.busy += model.free - start
        if self.air is not None:
            self.air.talk(start, model.free, now)
        if model.free - now > self.queue_peak:
            self.queue_peak = model.free - now
        arrival = model.last_arrival()
        if arriving and arrival is not None:
            self.flying.append((arriving, start, model.free, None))
            self.pieces.append(pieces)
            run.count += 1
            heappush(run.heap, (arrival, run.count, self.arrive, self.epoch))
        else:
            self._place_pieces(pieces, None)
        if teller.line.byte_time == 0.0:
            self.end.bundle.has_room(teller)

    def _all_packets(self, left: int) -> bool:
        """Whether no control frame is in this write; then the frame that began last is known."""
        begun = self._teller.begun
        if left and self._frame.packet is None:
            return False
        for packet, _ in begun:
            if packet is None:
                return False
        if begun:
            self._frame = _Frame(begun[-1][0])
        return True

    def _pieces(self, size: int, left: int) -> Iterator[_Piece]:
        """The pieces that a write of `size` bytes is of; `left`: what was left of the last frame."""
        if left:
            yield _Piece(self._frame, min(size, left), left <= size)
            size -= left
        for packet, length in self._teller.begun:
            self._frame = _Frame(packet)
            if self._loss and not self.model.is_cut and self._rng.random() < self._loss:
                self._spoil(self._frame, "loss")
            yield _Piece(self._frame, min(size, length), length <= size)
            size -= length

    def _push(self, piece: _Piece, data: bytes, now: float) -> int:
        """Put a piece on the wire. Returns how many bytes of it will arrive."""
        model, frame = self.model, piece.frame
        piece.start = model.free if model.free > now else now
        lost, hit, spec = model.lost_bytes, model.corrupted_bytes, model.spec
        if model.is_cut:
            self._spoil(frame, "cut")
        elif frame.lost == "loss":
            model.spec = self._loses
        model.push(data, now)
        model.spec = spec
        piece.leave = model.free
        if frame.packet is None:
            self.control += piece.size
        elif model.corrupted_bytes > hit:
            self.traffic.lost[number_of(frame.packet)] = "byte errors"
        return piece.size - (model.lost_bytes - lost)

    def _spoil(self, frame: _Frame, why: str) -> None:
        """The frame will not arrive whole; it is counted once."""
        if frame.lost:
            return
        frame.lost = why
        self.end.frames_lost[why] = self.end.frames_lost.get(why, 0) + 1
        if frame.packet is not None:
            self.traffic.lost[number_of(frame.packet)] = why

    def _arrive(self, epoch: Any) -> None:
        if epoch != self.epoch:
            return
        super()._arrive(epoch)
        pieces = self.pieces.popleft()
        if not pieces:
            return
        if self.checks:
            why = "byte errors" if self.air is None else "collision"
            for piece in pieces:
                packet = piece.frame.packet
                if piece.ends and packet is not None and self.traffic.arrived[packet.sequence] < 0.0:
                    self.traffic.lost.setdefault(packet.sequence, why)
        self._place_pieces(pieces, self.run.clock)

    def _place(
        self, packet: Packet | None, size: int, start: float, end: float, arrival: float | None, lost: str = ""
    ) -> None:
        """Pieces are placed one by one, by `_place_pieces`."""

    def _place_pieces(self, pieces: list[_Piece], arrival: float | None) -> None:
        if self.run.placed is None:
            return
        for piece in pieces:
            lost = piece.frame.lost
            there = None if lost else arrival
            super()._place(piece.frame.packet, piece.size, piece.start, piece.leave, there, lost)

    def _cut_flying(self, now: float) -> None:
        if self._teller.rest:
            self._spoil(self._frame, "cut")
        for pieces in self.pieces:
            for piece in pieces:
                self._spoil(piece.frame, "cut")
                piece.leave = max(piece.start, min(piece.leave, now))
            self._place_pieces(pieces, None)
        self.pieces.clear()

    def _retime(self, behind: float, change: float) -> None:
        super()._retime(behind, change)
        for pieces in self.pieces:
            for piece in pieces:
                piece.start += max(0.0, piece.start - behind) * change
                piece.leave += max(0.0, piece.leave - behind) * change
