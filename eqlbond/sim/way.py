"""One direction of one line of a run: port, wire, and the frames that are on their way."""

from __future__ import annotations

import random
from collections import deque
from heapq import heappush
from typing import TYPE_CHECKING, Any

import attrs

from eqlbond.core.fragments import Fragment
from eqlbond.core.line_model import UNLIMITED, LineModel, LineSpec
from eqlbond.packet import Packet
from eqlbond.sim.end import End
from eqlbond.sim.frames import SizedFraming, negotiates, sized_payload
from eqlbond.sim.line import SimLine
from eqlbond.sim.record import Placed

if TYPE_CHECKING:
    from eqlbond.sim.air import Air
    from eqlbond.sim.engine import Run


def number_of(packet: Packet) -> int:
    """The number of a packet, or of the one that a Multilink fragment is a piece of."""
    return packet.whole.sequence if isinstance(packet, Fragment) and packet.whole is not None else packet.sequence


_Flying = tuple[int, float, float, Packet | None]
"""Size, when its first and its last bit leave, packet; None: a control frame, or one by size that is not whole."""


class Way:
    """One direction of one line, whose frames go whole; `PieceWay` is one on which they go in pieces."""

    __slots__ = (
        "air",
        "arrive",
        "busy",
        "certain",
        "checks",
        "control",
        "done",
        "end",
        "epoch",
        "flying",
        "index",
        "keep",
        "member",
        "model",
        "pulled",
        "queue_peak",
        "run",
        "sized",
        "tells",
        "to",
        "to_member",
        "touches",
        "traffic",
    )

    def __init__(
        self, run: Run, index: int, line: SimLine, end: End, to: End, spec: LineSpec, rng: random.Random
    ) -> None:
        self.run = run
        self.index = index
        self.end = end
        self.to = to
        self.traffic = end.traffic
        self.member = end.members[index]
        self.to_member = to.members[index]
        self.sized = isinstance(self.member.framing, SizedFraming)
        if self.sized:  # frames go whole
            spec = attrs.evolve(spec, buffer=None)
        self.model = LineModel(spec, rng)
        # Frames that cannot change their times any more need not be kept as bytes.
        self.keep = not self.sized or bool(line.rate_changes)
        # All lines or none: what is foreseen is put in order among itself alone.
        changes = any(any_line.rate_changes or any_line.cut_at for any_line in run.lines)
        self.certain = self.sized and not changes and run.placed is None
        self.tells = line.tells_queue
        # A whole packet that was hit shows at once that it does not come out; a fragment may have to wait for others.
        self.checks = bool(spec.byte_error_rate) and run.settings.multilink is None
        self.touches = any(map(negotiates, line.framings())) or line.turns is not None
        self.flying: deque[_Flying] = deque()
        self.epoch = 0
        self.done = self.pulled = 0
        self.control = 0  # bytes of frames that carried no packet
        self.queue_peak = 0.0
        self.busy = 0.0  # seconds in which it has sent since time 0, and will have sent with what the port has
        self.arrive = self._arrive
        self.air: Air | None = None  # of a half-duplex line; the opposite way has its own

    def carries_packets(self) -> bool:
        """Whether anything but control frames is on its way."""
        return any(packet is not None for _, _, _, packet in self.flying)

    def serve(self, now: float) -> None:
        """The port takes what the bundle has for it now."""
        model, member, bundle = self.model, self.member, self.end.bundle
        data = bundle.data_to_send(member, now, UNLIMITED, model.waiting(now) if self.tells else None)
        if not data:
            return
        start = model.free if model.free > now else now
        packet = member.handed
        size = len(data)
        if packet is None:
            self.control += size
        if self.keep:
            lost, hit = model.lost_bytes, model.corrupted_bytes
            model.push(data, now)
            if model.corrupted_bytes > hit and packet is not None:
                self.traffic.lost[number_of(packet)] = "byte errors"
            arrival = None if model.lost_bytes > lost else model.last_arrival()
        else:
            hit = model.corrupted_bytes
            arrival = model.transit(size, now)
        leave = model.free
        self.busy += leave - start
        if self.air is not None:
            self.air.talk(start, leave, now)
        if leave - now > self.queue_peak:
            self.queue_peak = leave - now
        if arrival is None:
            why = "cut" if model.is_cut else "byte errors" if model.corrupted_bytes > hit else "loss"
            self._lost(packet, size, start, leave, why)
        elif self.certain and self.traffic.on_delivery is None and packet is not None:
            # Nothing can change the arrival and nobody waits for it: no event.
            self.run.count = count = self.run.count + 1
            self.traffic.foresee(packet, arrival, count, self.index)
        else:
            if self.sized and model.corrupted_bytes > hit:
                self._lost(packet, size, start, leave, "byte errors")
                packet = None
            self.flying.append((size, start, leave, packet))
            self.run.count = count = self.run.count + 1
            heappush(self.run.heap, (arrival, count, self.arrive, self.epoch))
        if member.line.byte_time == 0.0:
            bundle.has_room(member)

    def _arrive(self, epoch: Any) -> None:
        if epoch != self.epoch:
            return
        size, start, leave, packet = self.flying.popleft()
        run, to = self.run, self.to
        now = run.clock
        member = self.to_member
        if self.sized:
            if self.keep:
                self.pulled += len(self.model.pull(now))
                self.done += size
            if packet is None:
                return
            member.framing.made[0].arrived = [packet]  # type: ignore[attr-defined]
            packets = to.bundle.receive(member, sized_payload(size), now)
        else:
            data = self._pull(now)
            self.pulled += len(data)
            self.done += size
            packets = to.bundle.receive(member, data, now) if data else []
        if packets:
            self.traffic.deliver(packets, now, self.index)
        if self.checks and packet is not None and self.traffic.arrived[packet.sequence] < 0.0:
            self.traffic.lost.setdefault(packet.sequence, "byte errors")
        if self.touches:
            run.touched[to] = None
        if run.placed is not None:
            self._place(packet, size, start, leave, now)

    def _pull(self, now: float) -> bytes:
        """What has arrived; of a half-duplex line, as it comes out there."""
        data = self.model.pull(now)
        if self.air is not None and data:
            there = self.to.ways[self.to_member].air
            if there is not None:
                return there.damage(data, now)
        return data

    def _place(
        self, packet: Packet | None, size: int, start: float, end: float, arrival: float | None, lost: str = ""
    ) -> None:
        placed = self.run.placed
        if placed is not None:
            number = -1 if packet is None else number_of(packet)
            placed.append(Placed(self.end.name, self.index, start, end, arrival, number, size, lost))

    def _lost(self, packet: Packet | None, size: int, start: float, end: float, why: str) -> None:
        self.end.frames_lost[why] = self.end.frames_lost.get(why, 0) + 1
        if packet is not None:
            self.traffic.lost[number_of(packet)] = why
        self._place(packet, size, start, end, None, why)

    def cut(self, now: float) -> None:
        """What is waiting and what is on its way is lost; the part of a frame that is there already, has been read."""
        if not self.sized:
            data = self._pull(now)
            packets = self.to.bundle.receive(self.to_member, data, now) if data else []
            if packets:
                self.traffic.deliver(packets, now, self.index)
        if self.model.free > now:
            self.busy -= self.model.free - now
        self.model.cut(now)
        self.epoch += 1
        self._cut_flying(now)
        self.flying.clear()
        self.done = self.pulled = 0

    def _cut_flying(self, now: float) -> None:
        for size, start, leave, packet in self.flying:
            if packet is not None or not self.sized:
                self._lost(packet, size, start, max(start, min(leave, now)), "cut")

    def set_rate(self, now: float, rate: float) -> None:
        """Frames that are on their way arrive at other times now."""
        model, flying = self.model, self.flying
        before, old = model.free, model.spec.byte_time
        begun = before - (model.waiting(now) - 1) * old  # the byte that is being sent ends as it began
        model.set_rate(now, rate)
        if before > now:
            self.busy += model.free - before
            self._retime(begun, model.spec.byte_time / old - 1.0)
        self.epoch += 1
        ends = self.done - self.pulled
        for size, _, _, _ in flying:
            ends += size
            arrival = model.arrival_of(ends) if ends > 0 else now
            self.run.count += 1
            heappush(self.run.heap, (now if arrival is None else arrival, self.run.count, self.arrive, self.epoch))

    def _retime(self, behind: float, change: float) -> None:
        """What leaves after the time `behind` takes longer by so much, as a share."""
        for n, (size, start, leave, packet) in enumerate(self.flying):
            start += max(0.0, start - behind) * change
            leave += max(0.0, leave - behind) * change
            self.flying[n] = (size, start, leave, packet)
