"""One direction of one line of a run: port, wire, and the frames that are on their way."""

from __future__ import annotations

import random
from collections import deque
from heapq import heappush
from typing import TYPE_CHECKING, Any

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


class Way:
    """One direction of one line."""

    __slots__ = (
        "air",
        "arrive",
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
        self.model = LineModel(spec, rng)
        self.sized = isinstance(self.member.framing, SizedFraming)
        # Frames that cannot change their times any more need not be kept as bytes.
        self.keep = not self.sized or bool(line.rate_changes)
        self.certain = self.sized and not line.rate_changes and not line.cut_at and run.placed is None
        self.tells = line.tells_queue
        # A whole packet that was hit shows at once that it does not come out; a fragment may have to wait for others.
        self.checks = bool(spec.byte_error_rate) and run.settings.multilink is None
        self.touches = any(map(negotiates, line.framings())) or line.turns is not None
        self.flying: deque[tuple[int, float, Packet | None]] = deque()  # size, start, packet; None: control
        self.epoch = 0
        self.done = self.pulled = 0
        self.control = 0  # bytes of frames that carried no packet
        self.queue_peak = 0.0
        self.arrive = self._arrive
        self.air: Air | None = None  # of a half-duplex line; the opposite way has its own

    def serve(self, now: float) -> None:
        """The port takes what the bundle has for it now."""
        model, member, bundle = self.model, self.member, self.end.bundle
        spec = model.spec
        room = UNLIMITED if spec.buffer is None else model.room(now)
        data = bundle.data_to_send(member, now, room, model.waiting(now) if self.tells else None)
        if not data:
            return
        start = model.free if model.free > now else now
        packet = member.handed
        size = len(data)
        if packet is None and member.whole_frames:
            self.control += size
        if self.keep:
            lost, hit = model.lost_bytes, model.corrupted_bytes
            model.push(data, now)
            if model.corrupted_bytes > hit and packet is not None:
                self.traffic.lost[number_of(packet)] = "byte errors"
            arrival = None if model.lost_bytes > lost else model.last_arrival()
        else:
            arrival = model.transit(size, now)
        if self.air is not None:
            self.air.talk(start, model.free, now)
        if model.free - now > self.queue_peak:
            self.queue_peak = model.free - now
        if arrival is None:
            why = "cut" if model.is_cut else "loss" if spec.loss else "byte errors"
            self._lost(packet, size, start, model.free, why)
        elif self.certain and self.traffic.on_delivery is None and packet is not None:
            # Nothing can change the arrival and nobody waits for it: no event.
            self.run.count = count = self.run.count + 1
            self.traffic.foresee(packet, arrival, count, self.index)
        else:
            self.flying.append((size, start, packet))
            self.run.count = count = self.run.count + 1
            heappush(self.run.heap, (arrival, count, self.arrive, self.epoch))
        if member.line.byte_time == 0.0:
            bundle.has_room(member)

    def _arrive(self, epoch: Any) -> None:
        if epoch != self.epoch:
            return
        size, start, packet = self.flying.popleft()
        run, to = self.run, self.to
        now = run.clock
        member = self.to_member
        if self.sized:
            if self.keep:
                self.pulled += len(self.model.pull(now))
                self.done += size
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
            self._place(packet, size, start, start + size * self.model.spec.byte_time, now)

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
        self.model.cut(now)
        self.epoch += 1
        for size, start, packet in self.flying:
            self._lost(packet, size, start, max(start, now), "cut")
        self.flying.clear()
        self.done = self.pulled = 0

    def set_rate(self, now: float, rate: float) -> None:
        """Frames that are on their way arrive at other times now."""
        model = self.model
        model.set_rate(now, rate)
        self.epoch += 1
        ends = self.done - self.pulled
        for size, _, _ in self.flying:
            ends += size
            arrival = model.arrival_of(ends) if ends > 0 else now
            self.run.count += 1
            heappush(self.run.heap, (now if arrival is None else arrival, self.run.count, self.arrive, self.epoch))
