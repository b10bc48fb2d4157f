"""The discrete-event driver: two bundles, the very ones that run on wires, with modelled lines between them.

Time jumps from event to event; what happens at one moment happens in a fixed order; every random choice comes from
seeded generators. So a run can be repeated to the bit. `Run` has the loop, and what workloads call; its ends are made
in `end`, its lines in `cable` and `way`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable
from heapq import heappop, heappush
from typing import Any, NoReturn

import attrs

from eqlbond.codec.slip import Slip
from eqlbond.core.multilink import Multilink
from eqlbond.events import PhaseChanged, SchedulerFailed, SlaveUp
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet
from eqlbond.ppp.config import Ppp
from eqlbond.schedulers.base import Scheduler
from eqlbond.schedulers.earliest_delivery import EarliestDelivery
from eqlbond.sim.cable import Cable
from eqlbond.sim.end import End, make_ends
from eqlbond.sim.frames import SMALLEST, Content, Payloads, describe, negotiates, sized_payload
from eqlbond.sim.line import SimLine, as_lines
from eqlbond.sim.record import Placed
from eqlbond.sim.result import Result, build_result
from eqlbond.sim.settings import Frames, Pacing, Settings
from eqlbond.sim.stalled import SimulationStalled, report
from eqlbond.sim.way import Way
from eqlbond.sim.workload import Bulk, Workload

_STANDSTILL = 100_000  # events in a row at one moment: something goes round in a circle
_BEFORE = 30.0  # seconds before time 0 in which PPP links negotiate
_REOPEN = 1.0  # seconds until a line on which PPP has ended is opened again, as a supervisor does
_NOT_UP = 600.0  # seconds after time 0 in which PPP has to come up
_NO_PROGRESS = 3600.0  # seconds of a period in which a packet should be sent or delivered


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
        self.origin = _BEFORE if any(negotiates(framing) for line in lines for framing in line.framings()) else 0.0
        self.rng = random.Random(f"workload {settings.seed}")
        """Where the workload's random choices come from."""
        self.heap: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self.count = 0
        self.touched: dict[End, None] = {}
        self.placed: list[Placed] | None = [] if settings.trace else None
        self._begun = False  # whether time 0 has come, and the workload is under way
        self._seen: tuple[int, ...] = ()  # packets sent and delivered, when `_watch` last looked
        self._idle_periods = 0
        self.done = False
        """Set by the workload when it will send nothing more and waits for nothing."""
        self.extra: dict[str, Any] = {}
        """What the workload has measured itself, for the result."""
        self.payloads = Payloads(settings.content, random.Random(f"content {settings.seed}"), settings.mtu)
        self.sized = settings.frames == "size"
        self.workload = workload
        self._said = describe(schedulers[0])
        self.ends = make_ends(lines, schedulers, settings, self.payloads)
        self._cables = [Cable(self, number, line, settings.seed) for number, line in enumerate(lines)]

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
        self._begun = True
        framings = [framing for line in self.lines for framing in line.framings()]
        if self.origin or any(isinstance(framing, Slip) and framing.outfill is not None for framing in framings):
            self._watch(None)
        self.workload.start(self)
        for cable in self._cables:
            cable.schedule()
        self._loop()
        for end in self.ends:
            self._take_events(end)
        return build_result(self, self.settings, self._said, describe(self.workload))

    def _negotiate(self) -> None:
        """Let the links come up; what they say until then is not the workload's."""
        self.at(0.0, self._begin)
        self.at(_NOT_UP, self._see_that_ppp_is_up)
        self._loop()
        if self.idle():
            self.origin = self.clock  # later where no line was open and some still talked
        self.done = False
        for end in self.ends:
            for way in end.ways.values():
                way.busy = max(0.0, way.model.free - self.clock)

    def _begin(self, _: Any) -> None:
        self.done = True

    def _see_that_ppp_is_up(self, _: Any) -> None:
        """Peers that never agree may talk for ever; a run that has an end, or a line that is cut, may be meant so."""
        if self.settings.until < math.inf:
            return
        cut = any(line.cut_at for line in self.lines)
        never = not any(isinstance(event, SlaveUp) for end in self.ends for event in end.events)
        if not self._begun or (never and not cut):
            self.stalled(f"PPP does not come up: no line is open {_NOT_UP:g} s after the workload was to begin")

    def _watch(self, _: Any) -> None:
        """Links that keep talking hide that nothing goes on."""
        seen = tuple(len(end.traffic.entered) + len(end.traffic.order) for end in self.ends)
        self._idle_periods = self._idle_periods + 1 if seen == self._seen else 0
        self._seen = seen
        if self._idle_periods:
            due = [getattr(entry[2], "__self__", None) for entry in self.heap]
            if any(isinstance(owner, Cable) for owner in due):
                pass  # a line is mended, or cut, or changes its rate
            elif any(end.bundle.backlog for end in self.ends):
                self.stalled(f"no packet has come or gone for {_NO_PROGRESS:g} s, and some wait")
            elif self._idle_periods >= 2 and all(isinstance(owner, Run | Way) for owner in due):
                self.stalled(f"no packet has come or gone for {2 * _NO_PROGRESS:g} s, and the workload waits for one")
        self.at(self.now + _NO_PROGRESS, self._watch)

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
                self.deliver_free(due is second)
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
        """Whether no packet is queued or on its way; before time 0: whether a line is open, or none has more to say."""
        if any(end.bundle.backlog or end.bundle.reassembling for end in self.ends):
            return False
        if self._begun:
            return not any(way.carries_packets() for cable in self._cables for way in cable.ways)
        here, there = self.ends
        return any(a.line.up and b.line.up for a, b in zip(here.members, there.members, strict=True)) or not any(
            way.flying for cable in self._cables for way in cable.ways
        )

    def _other(self, end: End) -> End:
        return self.ends[1] if end is self.ends[0] else self.ends[0]

    def _take_events(self, end: End) -> None:
        for event in end.bundle.take_events():
            end.events.append(event)
            if isinstance(event, SchedulerFailed):
                self.stalled(f"end {end.name}: {event.error}", event.error)
            elif isinstance(event, PhaseChanged) and event.phase == "dead":
                number = next(n for n, member in enumerate(end.members) if member.owner == event.slave)
                self.at(self.now + _REOPEN, self.reopen, (self.ends.index(end), number))

    def reopen(self, line: tuple[int, int]) -> None:
        """Connect a line, (end, number), unless it is connected or cut."""
        side, number = line
        end = self.ends[side]
        member = end.members[number]
        if member.link is None and not end.ways[member].model.is_cut:
            end.bundle.connected(member, self.clock)
            self.touched[end] = None

    def deliver_free(self, side: int) -> None:
        """Take what the bundle at that end has set free, as for a line that has left it."""
        end = self.ends[side]
        packets = end.bundle.tick(self.clock)
        if packets:
            self._other(end).traffic.deliver(packets, self.clock, -1)

    def capacity(self, until: float) -> float:
        """Bits that the lines could have carried by then, towards end 1; infinite where one has no rate."""
        return sum(cable.capacity(until) for cable in self._cables)

    # -- when it goes wrong

    def stalled(self, problem: str, cause: BaseException | None = None) -> NoReturn:
        """End the run with a report of who waits for what. Raises `SimulationStalled`."""
        raise SimulationStalled(f"after {self.now:g} s: {problem}", "\n".join(report(self))) from cause


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
        multilink: bundle the lines by PPP Multilink; lines with the default framing have ``Ppp()`` then. PPP links
            negotiate before time 0: for 30 seconds, or until one is open where they still talk then.
        trace: record where each frame went, for timelines.

    Raises:
        ConfigurationError: a value cannot work.
        SimulationStalled: the scheduler failed; or packets wait, or the workload waits for one, and nothing can happen
            any more; or PPP does not come up within 600 s.

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
    given = as_lines(lines)
    if multilink is not None:
        given = tuple(
            attrs.evolve(line, framing=Ppp()) if line.framing == Slip() and line.far_framing is None else line
            for line in given
        )
    return Run(given, workload, (scheduler, scheduler if back_scheduler is None else back_scheduler), settings).run()
