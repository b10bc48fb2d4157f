"""The discrete-event driver: two bundles, the very ones that run on wires, with modelled lines between them.

Time jumps from event to event; what happens at one moment happens in a fixed order; every random choice comes from
seeded generators. So a run can be repeated to the bit.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from heapq import heappop, heappush
from typing import Any, Literal, NoReturn

import attrs

from eqlbond.core.bundle import Bundle
from eqlbond.core.fragments import Fragment
from eqlbond.core.line_model import UNLIMITED, LineModel, LineSpec
from eqlbond.core.member import Member
from eqlbond.core.multilink import Multilink
from eqlbond.events import Event, SchedulerFailed
from eqlbond.exceptions import ConfigurationError, EqlbondError
from eqlbond.packet import Packet
from eqlbond.schedulers.base import Scheduler
from eqlbond.schedulers.earliest_delivery import EarliestDelivery
from eqlbond.sim.frames import SMALLEST, Content, Payloads, SizedFraming, describe, negotiates, sized_payload
from eqlbond.sim.line import SimLine, as_lines
from eqlbond.sim.record import Placed, Traffic
from eqlbond.sim.result import Result, build_result
from eqlbond.sim.workload import Bulk, Workload

Frames = Literal["codec", "size"]
Pacing = Literal["frames", "pieces"]

_STANDSTILL = 100_000  # events in a row at one moment: something goes round in a circle
_BEFORE = 30.0  # seconds before time 0 in which PPP links negotiate
_NO_PROGRESS = 3600.0  # seconds without a packet sent or delivered while some wait


class SimulationStalled(EqlbondError):
    """Nothing can happen any more and packets still wait, or the scheduler failed.

    Attributes:
        report: who waits for what, a line each.
    """

    def __init__(self, problem: str, report: str) -> None:
        super().__init__(f"{problem}\n{report}")
        self.report = report


def _number(packet: Packet) -> int:
    """The number of a packet, or of the one that a Multilink fragment is a piece of."""
    return packet.whole.sequence if isinstance(packet, Fragment) and packet.whole is not None else packet.sequence


class _Way:
    """One direction of one line."""

    __slots__ = (
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
        self.touches = negotiates(line.framing)
        self.flying: deque[tuple[int, float, Packet | None]] = deque()  # size, start, packet; None: control
        self.epoch = 0
        self.done = self.pulled = 0
        self.control = 0  # bytes of frames that carried no packet
        self.queue_peak = 0.0
        self.arrive = self._arrive

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
                self.traffic.lost[_number(packet)] = "byte errors"
            arrival = None if model.lost_bytes > lost else model.last_arrival()
        else:
            arrival = model.transit(size, now)
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
            data = self.model.pull(now)
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

    def _place(
        self, packet: Packet | None, size: int, start: float, end: float, arrival: float | None, lost: str = ""
    ) -> None:
        placed = self.run.placed
        if placed is not None:
            number = -1 if packet is None else _number(packet)
            placed.append(Placed(self.end.name, self.index, start, end, arrival, number, size, lost))

    def _lost(self, packet: Packet | None, size: int, start: float, end: float, why: str) -> None:
        self.end.frames_lost[why] = self.end.frames_lost.get(why, 0) + 1
        if packet is not None:
            self.traffic.lost[_number(packet)] = why
        self._place(packet, size, start, end, None, why)

    def cut(self, now: float) -> None:
        """What is waiting and what is on its way is lost; the part of a frame that is there already, has been read."""
        if not self.sized:
            data = self.model.pull(now)
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


class End:
    """One end of the bond: a bundle, and what its sender and its receiver have seen."""

    __slots__ = (
        "before",
        "bundle",
        "deadline",
        "events",
        "fill",
        "frames_lost",
        "members",
        "name",
        "peak",
        "traffic",
        "ways",
    )

    def __init__(self, name: str, bundle: Bundle, members: list[Member], traffic: Traffic) -> None:
        self.name = name
        self.bundle = bundle
        self.members = members
        self.traffic = traffic
        self.ways: dict[Member, _Way] = {}
        self.deadline = math.inf
        self.before = [0] * len(members)  # bytes that each line had sent by time 0
        self.fill: Callable[[], None] | None = None
        self.events: list[Event] = []
        self.frames_lost: dict[str, int] = {}  # on the lines, by reason
        self.peak = 0


@attrs.frozen
class Settings:
    """How a run is made; see `simulate`."""

    mtu: int
    seed: int
    frames: Frames
    pacing: Pacing
    content: Content
    until: float
    queue_bytes: int
    queue_time: float
    flow_of: Callable[[bytes], Hashable] | None
    multilink: Multilink | None
    trace: bool


class Run:
    """A run under way: what workloads see. Ends are 0, where a workload's traffic begins, and 1."""

    def __init__(
        self,
        lines: tuple[SimLine, ...],
        workload: Workload,
        schedulers: tuple[Scheduler, Scheduler],
        settings: Settings,
    ) -> None:
        self.lines = lines
        self.settings = settings
        self.mtu = settings.mtu
        self.clock = 0.0  # the engine's time; the workload's begins at `origin`
        self.origin = _BEFORE if any(negotiates(line.framing) for line in lines) else 0.0
        self.rng = random.Random(f"workload {settings.seed}")
        """Where the workload's random choices come from."""
        self.heap: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self.count = 0
        self.touched: dict[End, None] = {}
        self.placed: list[Placed] | None = [] if settings.trace else None
        self.done = False
        """Set by the workload when it will send nothing more and waits for nothing."""
        self.extra: dict[str, Any] = {}
        """What the workload has measured itself, for the result."""
        self.payloads = Payloads(settings.content, random.Random(f"content {settings.seed}"), settings.mtu)
        self.sized = settings.frames == "size"
        self.capacity = 0.0
        self._workload = workload
        self._said = describe(schedulers[0])
        self._up_since: list[float | None] = [self.origin] * len(lines)
        self._rates = [line.rate for line in lines]
        self.ends = self._make_ends(schedulers)
        self._ways = self._make_ways()

    def _make_ends(self, schedulers: tuple[Scheduler, Scheduler]) -> tuple[End, End]:
        settings = self.settings
        framings = [SizedFraming(line.framing, self.payloads) if self.sized else line.framing for line in self.lines]
        ends = []
        for side, scheduler in enumerate(schedulers):
            bundle = Bundle(
                scheduler,
                mtu=self.mtu,
                queue_bytes=settings.queue_bytes,
                queue_time=settings.queue_time,
                flow_of=settings.flow_of,
                multilink=settings.multilink,
                random=random.Random(f"ppp {side} {settings.seed}"),
            )
            members = []
            for number, (line, framing) in enumerate(zip(self.lines, framings, strict=True)):
                spec = line.back_spec() if side else line.forth()
                rate = spec.rate if line.nominal_rate is None else line.nominal_rate
                member = Member(
                    line.label(number),
                    attrs.evolve(framing) if isinstance(framing, SizedFraming) else framing,
                    rate=rate,
                    bits_per_byte=spec.bits_per_byte,
                    latency=spec.latency if line.nominal_latency is None else line.nominal_latency,
                    priority=line.priority,
                    mtu=line.mtu,
                    owner=line.label(number),
                    whole_frames=settings.pacing == "frames" and spec.buffer is None,
                )
                bundle.add(member, self.clock)
                members.append(member)
            ends.append(End("ab"[side], bundle, members, Traffic(self.sized)))
        return ends[0], ends[1]

    def _make_ways(self) -> list[tuple[_Way, _Way]]:
        seed = self.settings.seed
        pairs = []
        for n, line in enumerate(self.lines):
            pair = []
            for side in (0, 1):
                end, to = self.ends[side], self.ends[1 - side]
                spec = line.back_spec() if side else line.forth()
                way = _Way(self, n, line, end, to, spec, random.Random(f"line {n} {side} {seed}"))
                end.ways[way.member] = way
                pair.append(way)
            pairs.append((pair[0], pair[1]))
        return pairs

    # -- for workloads

    @property
    def now(self) -> float:
        """Seconds since the workload began."""
        return self.clock - self.origin

    def at(self, when: float, call: Callable[[Any], None], argument: Any = None) -> None:
        """Have `call(argument)` called at a time, seconds since the workload began."""
        self.count += 1
        heappush(self.heap, (max(when + self.origin, self.clock), self.count, call, argument))

    def fill(self, end: int, call: Callable[[], None] | None) -> None:
        """Have `call()` called whenever the bond at `end` takes packets, until None is given."""
        self.ends[end].fill = call
        self.touched[self.ends[end]] = None

    def full(self, end: int) -> bool:
        """Whether a sender at `end` should wait."""
        return self.ends[end].bundle.full

    def on_delivery(self, to: int, call: Callable[[int, Any], None]) -> None:
        """Have `call(number, data)` called for each packet that arrives whole at `to` and was not there before."""
        self.ends[1 - to].traffic.on_delivery = call

    def send(
        self, end: int, size: int, data: Any = None, *, flow: int = 0, priority: int = 0, since: float | None = None
    ) -> int:
        """Send a packet of `size` bytes into the bond at `end`.

        Args:
            data: given back to `on_delivery`.
            flow: the number of its flow, seen in its addresses and by `flow_of`.
            priority: above 0: urgent.
            since: when its delay began to count; by default now.

        Returns:
            The packet's number.
        """
        here = self.ends[end]
        traffic = here.traffic
        number = len(traffic.entered)
        payload = sized_payload(size) if self.sized else self.payloads.make(number, size, flow)
        packet = Packet(payload, None, None, priority)
        if self.sized and self.settings.flow_of is not None:
            packet.flow = flow
        traffic.enter(packet, number, self.clock if since is None else since + self.origin, data)
        here.bundle.send(packet, self.clock)
        if here.bundle.backlog > here.peak:
            here.peak = here.bundle.backlog
        self.touched[here] = None
        return number

    def useless(self, number: int) -> None:
        """Packet `number` of end 0 brought what was there already: it did not have to go."""
        self.ends[0].traffic.useless.add(number)

    def check_size(self, field: str, size: Any) -> None:
        """See that packets of `size` bytes can be sent. Raises `ConfigurationError`."""
        if isinstance(size, bool) or not isinstance(size, int) or not SMALLEST <= size <= self.mtu:
            raise ConfigurationError(
                field, f"bytes from {SMALLEST} (a packet's number) to the MTU ({self.mtu}), not {size!r}"
            )

    # -- the loop

    def run(self) -> Result:
        """Run to the end. Raises `SimulationStalled`."""
        for number in range(len(self.lines)):
            for end in self.ends:
                end.bundle.connected(end.members[number], 0.0)
        for end in self.ends:
            self.touched[end] = None
        if self.origin:
            self._negotiate()
        self._workload.start(self)
        for number, line in enumerate(self.lines):
            for time in line.cut_at:
                self.at(time, self._cut, number)
            for time in line.revive_at:
                self.at(time, self._revive, number)
            for change in line.rate_changes:
                self.at(change[0], self._set_rate, (number, change[1]))
        self._loop()
        for end in self.ends:
            self._take_events(end)
        return build_result(self, self.settings, self._said, describe(self._workload))

    def _negotiate(self) -> None:
        """Let the links come up; what they say until then is not the workload's."""
        self.at(0.0, self._begin)
        self._loop()
        self.done = False
        self._watch(())
        for end in self.ends:
            end.before = [member.bytes_sent for member in end.members]

    def _begin(self, _: Any) -> None:
        self.done = True

    def _watch(self, before: tuple[int, ...]) -> None:
        """Links that keep talking hide that nothing goes on."""
        now = tuple(len(end.traffic.entered) + len(end.traffic.order) for end in self.ends)
        if now == before and any(end.bundle.backlog for end in self.ends):
            self.stalled(f"no packet has come or gone for {_NO_PROGRESS:g} s, and some wait")
        self.at(self.now + _NO_PROGRESS, self._watch, now)

    def _loop(self) -> None:
        heap, touched = self.heap, self.touched
        first, second = self.ends
        until = self.settings.until + self.origin
        still = 0
        while True:
            while touched:
                self._serve(touched.popitem()[0])
            if self.done and self.idle():
                return
            when = heap[0][0] if heap else math.inf
            due = None
            if first.deadline < when:
                due, when = first, first.deadline
            if second.deadline < when:
                due, when = second, second.deadline
            if when > until:
                self.clock = until
                return
            if when == math.inf:
                self.stalled("nothing is left that could happen, and the workload is not at its end")
            if when > self.clock:
                self.clock = when
                still = 0
            else:
                still += 1
                if still > _STANDSTILL:
                    self.stalled(f"{_STANDSTILL} events in a row happened at one moment")
            if due is None:
                entry = heappop(heap)
                entry[2](entry[3])
            else:
                late = due.bundle.tick(self.clock)
                if late:
                    self._other(due).traffic.deliver(late, self.clock, -1)
                touched[due] = None

    def _serve(self, end: End) -> None:
        bundle, ways = end.bundle, end.ways
        now = self.clock
        while True:
            if end.fill is not None and not bundle.full:
                end.fill()
            if not bundle.has_news:
                break
            for member in bundle.ready(now):
                ways[member].serve(now)
            if end.fill is None or bundle.full:
                break
        self.touched.pop(end, None)
        if bundle.has_news:
            self._take_events(end)
        deadline = bundle.next_deadline()
        end.deadline = math.inf if deadline is None else deadline

    def idle(self) -> bool:
        """Whether nothing is queued or on its way."""
        return not any(end.bundle.backlog or end.bundle.reassembling for end in self.ends) and not any(
            way.flying for pair in self._ways for way in pair
        )

    def _other(self, end: End) -> End:
        return self.ends[1] if end is self.ends[0] else self.ends[0]

    def _take_events(self, end: End) -> None:
        for event in end.bundle.take_events():
            end.events.append(event)
            if isinstance(event, SchedulerFailed):
                self.stalled(f"end {end.name}: {event.error}", event.error)

    # -- what happens to lines

    def _cut(self, number: int) -> None:
        now = self.clock
        self._count_capacity(number)
        self._up_since[number] = None
        for way in self._ways[number]:
            way.cut(now)
        if self.lines[number].cut == "hangup":
            for end in self.ends:
                end.bundle.disconnected(end.members[number], now, "hangup")
                self.touched[end] = None

    def _revive(self, number: int) -> None:
        now = self.clock
        self._up_since[number] = now
        for way in self._ways[number]:
            way.model.revive(now)
        if self.lines[number].cut == "hangup":
            for end in self.ends:
                end.bundle.connected(end.members[number], now)
                self.touched[end] = None

    def _set_rate(self, change: tuple[int, float]) -> None:
        number, rate = change
        self._count_capacity(number)
        self._rates[number] = rate
        for way in self._ways[number]:
            way.set_rate(self.clock, rate)

    def _count_capacity(self, number: int, now: float | None = None) -> None:
        since = self._up_since[number]
        now = self.clock if now is None else now
        if since is not None:
            self.capacity += max(0.0, now - since) * (self._rates[number] or math.inf)
            self._up_since[number] = now

    def count_capacity(self, until: float) -> float:
        """Bits that the lines could have carried by then, towards end 1."""
        for number in range(len(self.lines)):
            self._count_capacity(number, until)
        return self.capacity

    # -- when it goes wrong

    def stalled(self, problem: str, cause: BaseException | None = None) -> NoReturn:
        """End the run with a report of who waits for what. Raises `SimulationStalled`."""
        raise SimulationStalled(f"after {self.now:g} s: {problem}", "\n".join(self._report())) from cause

    def _report(self) -> Iterable[str]:
        for end in self.ends:
            bundle, traffic = end.bundle, end.traffic
            waiting = traffic.missing().get("waiting", 0)
            yield (
                f"end {end.name}: {bundle.queued_packets} packets wait for a place on a line, {waiting} in all are not "
                f"delivered; {bundle.backlog} bytes of {bundle.limit} queued; scheduler {bundle.scheduler!r}"
            )
            for member in end.members:
                stats = member.stats(self.clock)
                way = end.ways[member]
                state = stats.state + (" (cut silently)" if way.model.is_cut and member.line.up else "")
                yield (
                    f"  line {member.name}: {state}, {stats.planned_packets} packets planned, "
                    f"{len(way.flying)} on their way"
                )
        told = getattr(self._workload, "waits_for", None)
        yield f"workload {self._workload!r}" + (f": waits for {told}" if told else "")


def simulate(
    lines: Any,
    workload: Workload | None = None,
    scheduler: Scheduler | None = None,
    *,
    back_scheduler: Scheduler | None = None,
    mtu: int = 1500,
    seed: int = 1,
    frames: Frames = "codec",
    pacing: Pacing = "frames",
    content: Content = "random",
    until: float | None = None,
    queue_bytes: int = 262144,
    queue_time: float = 0.5,
    flow_of: Callable[[bytes], Hashable] | None = None,
    multilink: Multilink | None = None,
    trace: bool = False,
) -> Result:
    """Simulate a bond and tell how it went.

    Args:
        lines: `SimLine` objects, or rates in bit/s alone.
        workload: what is sent; by default 289284 bytes in bulk.
        scheduler: the policy, by default `EarliestDelivery()`.
        back_scheduler: the policy of the other end; by default the same.
        mtu: the largest packet, bytes.
        seed: of everything random. The same seed gives the same result.
        frames: ``codec`` sends every byte through the lines' framings, both ways; ``size`` only sizes, which is
            faster; contents then mean nothing, and a frame that a byte error hits is lost.
        pacing: ``frames`` hands a port one frame at a time, so each event is a frame; ``pieces`` hands it what it can
            send in the next 40 ms, as on real ports. Arrivals are then seen at the ends of pieces.
        content: of the packets: ``random``, ``text`` (nothing to escape) or ``escapes`` (SLIP doubles it).
        until: end after so many seconds, whatever is under way.
        queue_bytes, queue_time: the bond's limits on what waits, as of `Bundle`.
        flow_of: tells a packet's flow, as of `Bundle`.
        multilink: bundle the lines by PPP Multilink; each line has ``framing=Ppp()`` then. PPP links negotiate
            in the 30 seconds before time 0.
        trace: record where each frame went, for timelines.

    Raises:
        ConfigurationError: a value cannot work.
        SimulationStalled: the scheduler failed, or packets wait and nothing can happen any more.

    >>> result = simulate([57600, 14400], Bulk(100_000, 900))
    >>> round(result.efficiency, 2), result.lost
    (1.0, {})
    """
    if frames not in ("codec", "size"):
        raise ConfigurationError("frames", f"'codec' or 'size', not {frames!r}")
    if pacing not in ("frames", "pieces"):
        raise ConfigurationError("pacing", f"'frames' or 'pieces', not {pacing!r}")
    if pacing == "pieces" and frames == "size":
        raise ConfigurationError("pacing", "frames by size only go whole: pacing='frames', or frames='codec'")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigurationError("seed", f"a whole number, not {seed!r}")
    if until is not None and not 0 < until < math.inf:
        raise ConfigurationError("until", f"seconds above 0, or None, not {until!r}")
    scheduler = EarliestDelivery() if scheduler is None else scheduler
    settings = Settings(
        mtu=mtu,
        seed=seed,
        frames=frames,
        pacing=pacing,
        content=content,
        until=math.inf if until is None else until,
        queue_bytes=max(queue_bytes, mtu) if isinstance(mtu, int) else queue_bytes,
        queue_time=queue_time,
        flow_of=flow_of,
        multilink=multilink,
        trace=trace,
    )
    workload = Bulk() if workload is None else workload
    if not isinstance(workload, Workload):
        raise ConfigurationError("workload", f"a workload such as Bulk(289284), not {workload!r}")
    return Run(
        as_lines(lines), workload, (scheduler, scheduler if back_scheduler is None else back_scheduler), settings
    ).run()
