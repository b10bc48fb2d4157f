"""The engine of a bond: queue, scheduler, members, delivery. Sans-IO.

The driver (the asyncio shell, the simulator) calls in with `now`, then serves the ports:

1. any input: `send`, `receive`, `connected`, `disconnected`, `tick` at `next_deadline()`;
2. ``for member in bundle.ready(now)``: give the port ``bundle.data_to_send(member, now, room, unsent)``;
3. arm one timer for `next_deadline()`;
4. take `take_events()`.

A packet is planned onto a line as it enters, by the scheduler; what is planned and has not begun to go to a port is
planned again when a line dies, comes, slows or is emancipated.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any

from eqlbond.core.fragments import Fragment, protocol_of
from eqlbond.core.link import Link, NegotiatedFraming, PlainLink
from eqlbond.core.member import RETRY, Member
from eqlbond.core.multilink import Multilink, Mux
from eqlbond.core.ppp_connection import PppConnection, as_event
from eqlbond.core.timers import Deadlines
from eqlbond.events import (
    BondDown,
    BondUp,
    Emancipated,
    Enslaved,
    Event,
    LineTrouble,
    RateChanged,
    SchedulerFailed,
    SlaveDown,
    SlaveUp,
)
from eqlbond.exceptions import AlreadyEnslaved, ConfigurationError, NotEnslaved, PacketTooBig, SchedulerError
from eqlbond.packet import Packet
from eqlbond.ppp.config import Ppp
from eqlbond.ppp.negotiation import RandomSource
from eqlbond.ppp.network import Addresses
from eqlbond.schedulers.base import Line, Placement, Scheduler
from eqlbond.stats import BondStats

_MOST_EVENTS = 10000
_LONGEST_HOLD = 60.0
_COALESCE = 0.005  # ports that are due within this many seconds are served in one wake-up


def check_mtu(mtu: int) -> int:
    """A usable MTU. Raises `ConfigurationError`."""
    if isinstance(mtu, bool) or not isinstance(mtu, int) or not 1 <= mtu <= 65535:
        raise ConfigurationError("mtu", f"bytes from 1 to 65535, not {mtu!r}")
    return mtu


class Bundle:
    """The bond, without I/O and without a clock.

    Args:
        scheduler: the policy; the bundle works on a copy of it.
        mtu: the largest packet, bytes.
        queue_bytes: payload that may wait, bytes; beyond it the bond is `full`.
        queue_time: the same in seconds of the bond's rate; raised to what the scheduler needs to keep every
            line busy. The lower of the two limits holds.
        flow_of: tells a packet's flow where the sender gave none; None: no flows.
        multilink: bundle the lines by PPP Multilink; all members have `Ppp` framing then.
        random: for PPP; `random.SystemRandom()` on real links. Needed where a member has `Ppp` framing.

    Raises:
        ConfigurationError: a value cannot work.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        mtu: int = 1500,
        queue_bytes: int = 262144,
        queue_time: float = 0.5,
        flow_of: Callable[[bytes], Hashable] | None = None,
        multilink: Multilink | None = None,
        random: RandomSource | None = None,
    ) -> None:
        if isinstance(scheduler, type) or not isinstance(scheduler, Scheduler):
            raise ConfigurationError("scheduler", f"an object with place(packet, lines, now), not {scheduler!r}")
        self.mtu = check_mtu(mtu)
        if isinstance(queue_bytes, bool) or not isinstance(queue_bytes, int) or queue_bytes < mtu:
            raise ConfigurationError("queue_bytes", f"bytes from the MTU ({mtu}) on, not {queue_bytes!r}")
        if isinstance(queue_time, bool) or not isinstance(queue_time, int | float) or not queue_time > 0:
            raise ConfigurationError("queue_time", f"seconds above 0, not {queue_time!r}")
        try:
            self.scheduler = copy.deepcopy(scheduler)
        except Exception as error:
            raise ConfigurationError("scheduler", f"cannot be copied (copy.deepcopy): {error!r}") from error
        self.queue_bytes = queue_bytes
        self.queue_time = queue_time
        self.members: list[Member] = []
        self.limit = queue_bytes
        self.backlog = 0  # payload that is queued or planned, bytes
        self._flow_of = flow_of
        self._random = random
        self._mux: Mux | None = None
        if multilink is not None:
            if not isinstance(multilink, Multilink):
                raise ConfigurationError("multilink", f"a Multilink, or None, not {multilink!r}")
            if random is None:
                raise ConfigurationError("random", "Multilink needs a source of random bytes")
            if multilink.mrru < mtu:
                raise ConfigurationError("mrru", f"bytes from the bond's MTU ({mtu}) on, not {multilink.mrru}")
            self._mux = Mux(multilink, random)
            resequenced = getattr(self.scheduler, "resequenced", None)
            if resequenced is not None:
                resequenced()
        self._ppp = False
        self._told: float | None = None
        self._rearm = False
        self._freed: list[Packet] = []
        self._waiting_pieces: list[tuple[deque[Packet], list[Fragment]]] = []
        self._place = self.scheduler.place
        self._split = getattr(self.scheduler, "split", None)
        self._lines_changed = getattr(self.scheduler, "lines_changed", None)
        self._withdrawn = getattr(self.scheduler, "withdrawn", None)
        self._up: tuple[Line, ...] = ()  # in the order in which they came up
        self._smallest_mtu = 0
        self._largest_mtu = 0
        self._by_line: dict[Line, Member] = {}
        self._framings: dict[object, object] = {}
        self._queue: deque[Packet] = deque()
        self._urgent: deque[Packet] = deque()
        self._flows: dict[Hashable, int] = {}
        self._sequence = 0
        self._ready: dict[Member, None] = {}
        self._deadlines: Deadlines[Member] = Deadlines()
        self._links: Deadlines[Member] = Deadlines()
        self._events: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self._scheduler_failures = 0
        self.packets_accepted = self.payload_accepted = 0
        self.packets_delivered = self.payload_delivered = 0
        self.dropped: dict[str, int] = {}

    # -- members

    def add(self, member: Member, now: float) -> None:
        """Enslave: the member belongs to the bond; it carries packets once it is connected.

        Raises:
            AlreadyEnslaved: it belongs to the bond already.
            ConfigurationError: it cannot carry packets of the bond's MTU.
        """
        if member in self.members:
            raise AlreadyEnslaved(f"{member.name} serves this bond already")
        if member.mtu_limit is not None and member.mtu_limit < self.mtu:
            problem = f"{member.name} carries {member.mtu_limit} bytes, the bond's MTU is {self.mtu}"
            raise ConfigurationError("mtu", problem)
        member.framing.framer(self.mtu)
        if isinstance(member.framing, Ppp):
            if self._random is None:
                raise ConfigurationError("random", "PPP needs a source of random bytes")
            self._ppp = True
        elif self._mux is not None:
            raise ConfigurationError(
                "framing", f"Multilink needs Ppp() on every line; {member.name} has {member.framing}"
            )
        self.members.append(member)
        self._events.append(Enslaved(now, member.owner))

    def remove(self, member: Member, now: float, reason: str = "emancipated") -> None:
        """Emancipate: what was planned for the member goes by others.

        Raises:
            NotEnslaved: it does not belong to the bond.
        """
        if member not in self.members:
            raise NotEnslaved(f"{member.name} does not serve this bond")
        self.disconnected(member, now, reason)
        self.members.remove(member)
        self._events.append(Emancipated(now, member.owner))

    def connected(self, member: Member, now: float) -> None:
        """The member's port is open.

        Raises:
            NotEnslaved: it does not belong to the bond, perhaps no longer.
            ConfigurationError: its framing cannot carry packets of the bond's MTU.
        """
        if member not in self.members:
            raise NotEnslaved(f"{member.name} does not serve this bond")
        member.connect(self._make_link(member), now)
        self._after_link(member, now)

    def _make_link(self, member: Member) -> Link:
        framing = member.framing
        if isinstance(framing, Ppp):
            assert self._random is not None
            if self._mux is None:
                return PppConnection(framing, self._random, None)
            member.stamp = self._number
            return PppConnection(self._mux.line_config(framing), self._random, self._mux)
        if isinstance(framing, NegotiatedFraming):
            return framing.link(self.mtu)
        return PlainLink(framing.framer(self.mtu), self.mtu)

    def _number(self, fragment: Fragment) -> None:
        assert self._mux is not None
        self._mux.fragmenter.number(fragment)

    def disconnected(
        self, member: Member, now: float, reason: str, error: BaseException | None = None, *, unsent: bool = True
    ) -> None:
        """The member's port is closed or useless; its packets go by others.

        With `unsent`, also those whose frames, by the byte clock, cannot have left whole.
        """
        if member.link is None:
            return
        was_up = member.line.up
        packets = member.take_back()
        for packet in packets:
            self.backlog -= len(packet.payload)
        begun = member.take_back_unsent(now)
        if begun and not unsent:
            member.lost["in the port"] = member.lost.get("in the port", 0) + len(begun)
            begun = []
        link = member.link
        member.disconnect(now, reason)
        self._events.extend(link.take_events(member.owner))
        self._ready.pop(member, None)
        self._deadlines.clear(member)
        self._links.clear(member)
        reclaimed = self._requeue(packets, member, now, planned=True) + self._requeue(begun, member, now, planned=False)
        member.reclaimed += reclaimed
        self._tell_down(member, now, reason, error, reclaimed)
        if was_up:
            self._line_left(member, now, reason)
        if self._mux is not None:
            self._after_mux(now)
        self._place_waiting(now)

    def retire(self, member: Member, now: float, reason: str = "emancipated") -> None:
        """Let a line finish the frame that it is at and take no other; what was planned for it goes by others.

        `remove` it when it `wants_to_send` no more.
        """
        link = member.link
        if link is None or member.retired:
            return
        was_up = member.line.up
        packets = member.take_back()
        for packet in packets:
            self.backlog -= len(packet.payload)
        member.retire()
        reclaimed = self._requeue(packets, member, now, planned=True)
        member.reclaimed += reclaimed
        self._tell_down(member, now, reason, None, reclaimed)
        link.terminate(now)
        if was_up:
            self._line_left(member, now, reason)
        self._after_link(member, now)
        self._place_waiting(now)

    @property
    def addresses(self) -> Addresses:
        """What IPCP and IPV6CP have agreed on; of the first line that is up where each has its own."""
        if self._mux is not None:
            return self._mux.network.addresses
        for member in self.members:
            network = getattr(member.link, "network", None)
            if network is not None and network.opened:
                found: Addresses = network.addresses
                return found
        return Addresses()

    def failed(self, member: Member, now: float, reason: str, error: BaseException | None = None) -> None:
        """The member's port could not be opened."""
        self._events.append(SlaveDown(now, member.owner, reason, error))

    def _line_left(self, member: Member, now: float, reason: str) -> None:
        self._lines_are(tuple(line for line in self._up if line is not member.line), now)
        if not self._up:
            self._events.append(BondDown(now, f"{member.name}: {reason}"))

    def set_rate(self, member: Member, rate: float | None, now: float) -> None:
        """Change what the line carries, bit/s. Raises `ConfigurationError`."""
        before = member.line.byte_time
        member.set_rate(rate)
        member.retime(before, now)
        self._events.append(RateChanged(now, member.owner, rate))
        self._line_moved(member, now)

    def set_priority(self, member: Member, priority: float | None, now: float) -> None:
        """Change the weight; None: the rate. Raises `ConfigurationError`."""
        member.set_priority(priority)
        self._line_moved(member, now)

    def set_latency(self, member: Member, latency: float, now: float) -> None:
        """Change the latency, seconds. Raises `ConfigurationError`."""
        member.set_latency(latency)
        self._line_moved(member, now)

    def _line_moved(self, member: Member, now: float) -> None:
        if member.link is not None and member.wants_to_send():
            self._ready[member] = None
        if member.line.up:
            self._lines_are(self._up, now)
            self._place_waiting(now)

    # -- sending

    @property
    def full(self) -> bool:
        """Whether a sender should wait."""
        return self.backlog >= self.limit

    @property
    def up(self) -> bool:
        """Whether any line is up."""
        return bool(self._up)

    @property
    def queued_packets(self) -> int:
        """Packets that wait for a place on a line."""
        return len(self._queue) + len(self._urgent)

    def send(self, packet: Packet, now: float) -> None:
        """Take a packet. The caller has seen that the bond is not `full`, or does not care.

        Raises:
            PacketTooBig: it exceeds the MTU.
        """
        size = len(packet.payload)
        if size > self.mtu:
            self.dropped["too big"] = self.dropped.get("too big", 0) + 1
            raise PacketTooBig(size, self.mtu)
        if self._ppp and self._up and not self._permitted(packet):
            self.dropped["network protocol not open"] = self.dropped.get("network protocol not open", 0) + 1
            return
        flow = packet.flow
        if flow is None and self._flow_of is not None:
            flow = packet.flow = self._flow_of(packet.payload)
        if flow is not None:  # nothing is counted before what may raise: a flow_of of one's own, an unhashable flow
            waiting = self._flows.get(flow, 0)
            self._flows[flow] = waiting + 1
            # With nothing else planned there is nothing to pass, and the ordinary placement keeps order better.
            packet.express = packet.priority > 0 or (waiting == 0 and self.backlog > 0)
        else:
            packet.express = packet.priority > 0
        packet.copies = 1
        packet.sequence = self._sequence
        packet.entered = now
        self._sequence += 1
        self.packets_accepted += 1
        self.payload_accepted += size
        self.backlog += size
        if packet.express:
            self._urgent.append(packet)
            self._place_waiting(now)
        elif self._queue or not self._up or not self._try_place(packet, now):
            self._queue.append(packet)
        elif self._waiting_pieces:
            self._put_pieces_back()

    def _permitted(self, packet: Packet) -> bool:
        """Whether PPP lets the packet pass: the NCP of its protocol is open (RFC 1661 section 3.6)."""
        protocol = protocol_of(packet)
        if self._mux is not None:
            return self._mux.network.permits(protocol)
        for member in self.members:
            network = getattr(member.link, "network", None)
            if member.line.up and (network is None or network.permits(protocol)):
                return True
        return False

    def _try_place(self, packet: Packet, now: float) -> bool:
        """Plan the packet onto a line; False: the scheduler wants to wait."""
        mux = self._mux
        if mux is not None:
            if packet.__class__ is not Fragment:
                if packet.priority <= 0:
                    return self._place_in_bundle(mux, packet, now)
                # An urgent packet goes beside the bundle, as RFC 1990 section 2 lets it: it waits for no sequence.
            elif isinstance(packet, Fragment) and packet.number is not None:
                return self._place_numbered(packet, packet.number, now)
        lines = self._up
        if len(packet.payload) > self._smallest_mtu:
            lines = self._lines_for(len(packet.payload))
            if not lines:
                self._drop(packet, "too big for any line that is up")
                return True
        placement = self._choose(packet, lines, now)
        if placement is None:
            return False
        self._plan(packet, placement, now)
        return True

    def _lines_for(self, size: int) -> tuple[Line, ...]:
        return tuple(line for line in self._up if line.mtu >= size)

    def _choose(self, packet: Packet, lines: tuple[Line, ...], now: float) -> Placement | None:
        try:
            placement = self._place(packet, lines, now)
            if placement is None:
                if self._will_offer_again(now):
                    return None
                raise SchedulerError("the scheduler waits while every line is idle: nothing would wake it")
            self._by_line[placement.line]  # raises where it is not one of ours
            if placement.copies != () or placement.not_before != 0.0 or lines is not self._up:
                self._check(placement, lines, now)
        except Exception as error:
            # The scheduler is somebody's code; the bond goes on by the simplest rule.
            self._scheduler_failed(error, now)
            placement = Placement(min(lines, key=lambda line: line.eta(line.wire_size(packet), now)))
        return placement

    def _plan(self, packet: Packet, placement: Placement, now: float) -> None:
        member = self._by_line[placement.line]
        if packet.express:
            member.plan_express(packet, now)
        else:
            # A bundle's far end puts packets in order: nothing is gained by holding.
            member.plan(packet, now, 0.0 if self._mux is not None else placement.not_before)
        self._ready[member] = None
        if placement.copies:
            self._plan_copies(packet, placement.copies, now)

    # -- Multilink

    def _place_in_bundle(self, mux: Mux, packet: Packet, now: float) -> bool:
        """Cut the packet into fragments for several lines, or into one, and plan them."""
        size = len(packet.payload)
        if size > mux.peer_mrru:
            self._drop(packet, "over the peer's MRRU")
            return True
        lines = self._up
        overhead = mux.fragmenter.overhead + 2
        pieces = None
        if self._split is not None and mux.config.fragment and len(lines) > 1:
            pieces = self._guard(now, self._split, packet, lines, now)
            if pieces is not None and len(pieces) > 1 and not self._check_split(pieces, packet, overhead, now):
                pieces = None
        if pieces is not None and len(pieces) > 1:
            for fragment, (line, _) in zip(self._cut(mux, packet, [n for _, n in pieces]), pieces, strict=True):
                self._plan(fragment, Placement(line), now)
            return True
        if size + overhead > self._smallest_mtu:
            lines = self._lines_for(size + overhead)
        if lines:
            placement = self._choose(packet, lines, now)
            if placement is None:
                return False
            self._plan(self._cut(mux, packet, ())[0], placement, now)
            return True
        # No line takes it whole (RFC 1990 section 2: what the bundle carries may exceed any link's MRU).
        most = self._largest_mtu - overhead
        if most < 1:
            self._drop(packet, "too big for any line that is up")
            return True
        count = -(-size // most)
        sizes = [size * (n + 1) // count - size * n // count for n in range(count)]
        rest = [fragment for fragment in self._cut(mux, packet, sizes) if not self._try_place(fragment, now)]
        if rest:
            queue = self._urgent if packet.express else self._queue
            self._waiting_pieces.append((queue, rest))
        return True

    def _cut(self, mux: Mux, packet: Packet, sizes: Sequence[int]) -> list[Fragment]:
        fragments = mux.fragmenter.cut(packet, sizes)
        self.backlog += sum([len(fragment.payload) for fragment in fragments]) - len(packet.payload)
        if packet.flow is not None:
            self._flows[packet.flow] = self._flows.get(packet.flow, 0) + len(fragments) - 1
        return fragments

    def _check_split(self, pieces: Any, packet: Packet, overhead: int, now: float) -> bool:
        try:
            good = sum(n for _, n in pieces) == len(packet.payload) and all(
                n > 0 and line in self._up and n + overhead <= line.mtu for line, n in pieces
            )
            if not good:
                raise SchedulerError(f"split() answered {pieces!r} for a packet of {len(packet.payload)} bytes")
        except Exception as error:
            self._scheduler_failed(error, now)
            return False
        return True

    def _place_numbered(self, fragment: Fragment, number: int, now: float) -> bool:
        """A fragment that has its number and lost its line: by a line where numbers go on rising, if there is one."""
        size = len(fragment.payload)
        lines = self._lines_for(size)
        if not lines:
            self._drop(fragment, "too big for any line that is up")
            return True
        rising = tuple(line for line in lines if self._by_line[line].last_number < number)
        placement = self._choose(fragment, rising or lines, now)
        if placement is None:
            return False
        self._plan(fragment, placement, now)
        return True

    def _begin_anew(self) -> None:
        """The bundle has ended, and its sequence with it: what waits in fragments waits as whole packets again."""
        for queue in (self._urgent, self._queue):
            wholes: dict[Packet, None] = {}
            for packet in queue:
                if isinstance(packet, Fragment):
                    assert packet.whole is not None
                    self.backlog -= len(packet.payload)
                    self._flow_left(packet)
                    packet = packet.whole
                    if packet not in wholes:
                        self.backlog += len(packet.payload)
                        if packet.flow is not None:
                            self._flows[packet.flow] = self._flows.get(packet.flow, 0) + 1
                wholes[packet] = None
            queue.clear()
            queue.extend(wholes)

    def _plan_copies(self, packet: Packet, lines: tuple[Line, ...], now: float) -> None:
        for line in lines:
            member = self._by_line[line]
            packet.copies += 1
            self.backlog += len(packet.payload)
            if packet.flow is not None:  # each copy leaves its flow when it begins to go
                self._flows[packet.flow] = self._flows.get(packet.flow, 0) + 1
            if packet.express:
                member.plan_express(packet, now)
            else:
                member.plan(packet, now, 0.0)
            self._ready[member] = None

    def _will_offer_again(self, now: float) -> bool:
        """See to it that something wakes the bond while packets wait; False when every line is idle."""
        if self._ready or self._deadlines.next() is not None:
            return True
        for line in self._up:
            member = self._by_line[line]
            if member.wants_to_send():
                return True
            if self._offer_again(member, now):
                return True
        return False

    def _offer_again(self, member: Member, now: float, *, soon: bool = False) -> bool:
        """Nothing is planned for the member, but packets wait: serve it again once its port has moved.

        False: it is idle, so that nothing will move.
        """
        if member.line.free > now:
            self._deadlines.set(member, member.line.free)
        elif not member.unsent:
            return False
        elif soon:
            self._ready[member] = None
        else:
            self._deadlines.set(member, now + RETRY)
        return True

    def _check(self, placement: Placement, lines: tuple[Line, ...], now: float) -> None:
        chosen = (placement.line, *placement.copies)
        for line in chosen:
            if line not in lines:
                raise SchedulerError(f"the scheduler chose {line!r}, which was not offered")
        if len(set(chosen)) != len(chosen):
            raise SchedulerError("the scheduler chose one line twice")
        # What is not below the limit includes NaN.
        if not placement.not_before < max(now, placement.line.free) + _LONGEST_HOLD:
            raise SchedulerError(f"the scheduler holds a packet until {placement.not_before}, now is {now}")

    def _scheduler_failed(self, error: Exception, now: float) -> None:
        if not isinstance(error, SchedulerError):
            if isinstance(error, KeyError | AttributeError | TypeError):
                message = f"the scheduler raised, or answered with no placement on an offered line: {error!r}"
            else:
                message = f"the scheduler raised {error!r}"
            wrapped = SchedulerError(message)
            wrapped.__cause__ = error
            error = wrapped
        self._scheduler_failures += 1
        # One event for each power of two, so that a scheduler that always fails does not flood.
        if self._scheduler_failures & (self._scheduler_failures - 1) == 0:
            self._events.append(SchedulerFailed(now, error))

    def _place_waiting(self, now: float) -> None:
        for queue in (self._urgent, self._queue):
            while queue and self._up and self._try_place(queue[0], now):
                queue.popleft()
                if self._waiting_pieces:
                    self._put_pieces_back()

    def _put_pieces_back(self) -> None:
        for queue, pieces in self._waiting_pieces:
            queue.extendleft(reversed(pieces))
        self._waiting_pieces.clear()

    def _requeue(self, packets: Iterable[Packet], member: Member, now: float, *, planned: bool) -> int:
        """Put packets that a line gives back at the head of the queue, oldest first."""
        back = []
        for packet in packets:
            if packet.copies > 1:
                packet.copies -= 1
                if planned:
                    self._flow_left(packet)
                continue
            if self._withdrawn is not None:
                self._guard(now, self._withdrawn, packet, member.line, now)
            self.backlog += len(packet.payload)
            if packet.flow is not None and not planned:
                self._flows[packet.flow] = self._flows.get(packet.flow, 0) + 1
            back.append(packet)
        urgent = [packet for packet in back if packet.express]
        plain = [packet for packet in back if not packet.express]
        for queue, some in ((self._urgent, urgent), (self._queue, plain)):
            if some:
                merged = sorted([*some, *queue], key=lambda packet: packet.sequence)
                queue.clear()
                queue.extend(merged)
        return len(back)

    def _drop(self, packet: Packet, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        self.backlog -= len(packet.payload)
        self._flow_left(packet)

    def drop_all(self, reason: str) -> None:
        """Drop and count everything that is queued or planned."""
        packets = [*self._urgent, *self._queue]
        self._urgent.clear()
        self._queue.clear()
        for member in self.members:
            packets += member.take_back()
        for packet in packets:
            self._drop(packet, reason)

    def count_undelivered(self, packet: Packet, reason: str) -> None:
        """A received packet that the application did not take."""
        self.packets_delivered -= 1
        self.payload_delivered -= len(packet.payload)
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def _flow_left(self, packet: Packet) -> None:
        flow = packet.flow
        if flow is not None:
            waiting = self._flows.get(flow, 0) - 1
            if waiting > 0:
                self._flows[flow] = waiting
            else:
                self._flows.pop(flow, None)

    # -- lines

    def _lines_are(self, up: tuple[Line, ...], now: float) -> None:
        """The set of lines, or what one of them carries, has changed."""
        self._up = (*up,)  # a new object: schedulers may tell by identity that something changed
        self._by_line = {member.line: member for member in self.members if member.line.up}
        mtus = [line.mtu for line in up]
        self._smallest_mtu = min(mtus, default=0)
        self._largest_mtu = max(mtus, default=0)
        self._set_limit(now)
        if self._mux is not None:
            # 1.15: a peer may escape control characters, about one byte in eight.
            size = 1.15 * (self._mux.config.mrru + 16)
            self._mux.set_patience(max((size * line.byte_time + line.latency for line in up), default=0.0))
        if self._lines_changed is not None and self._guard(now, self._lines_changed, self._up, now):
            for member in self.members:
                if member.line.up:
                    packets = member.take_back(also_express=False)
                    for packet in packets:
                        self.backlog -= len(packet.payload)
                    self._requeue(packets, member, now, planned=True)

    def _set_limit(self, now: float) -> None:
        rates = [line.rate / line.bits_per_byte for line in self._up if line.rate is not None]
        self.limit = self.queue_bytes
        if rates and len(rates) == len(self._up):
            seconds = self.queue_time
            window = getattr(self.scheduler, "window", None)
            if window is not None:
                needed = self._guard(now, self._window, window, self.mtu + self.mtu // 8) or 0.0
                seconds = max(seconds, needed + 0.1)
            self.limit = max(2 * self.mtu, min(self.queue_bytes, int(seconds * sum(rates))))

    def _window(self, window: Callable[..., Any], size: int) -> float:
        seconds = window(self._up, size)
        if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise SchedulerError(f"the scheduler's window is no number of seconds: {seconds!r}")
        return seconds

    def _guard(self, now: float, hook: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return hook(*arguments)
        except Exception as error:
            self._scheduler_failed(error, now)
            return None

    def _after_link(self, member: Member, now: float) -> None:
        """The member's connection has moved: it came up, went down, failed, or has control frames to send."""
        if self._mux is None:
            self._follow(member, now)
        else:
            self._after_mux(now)

    def _after_mux(self, now: float) -> None:
        """Something of the bundle has moved: its links, its network protocols, or both."""
        mux = self._mux
        assert mux is not None
        mux.flush()
        for news in mux.network.take_events():
            event = as_event(news, None)
            if event is not None:
                self._events.append(event)
        for member in list(self.members):
            self._follow(member, now)
        self._freed += mux.take_free(now)
        if not mux.links:
            self._begin_anew()

    def _follow(self, member: Member, now: float) -> None:
        link = member.link
        if link is None:
            return
        output = link.take_output()
        if output:
            member.control.extend(output)
        self._events.extend(link.take_events(member.owner))
        if link.failure is not None:
            self.disconnected(member, now, link.failure)
            return
        if link.finished and not member.retired:
            self.disconnected(member, now, "the peer closed the connection")
            return
        deadline = link.next_deadline()
        if deadline is None:
            self._links.clear(member)
        else:
            self._links.set(member, deadline)
        if link.up != member.line.up and not member.retired:
            if link.up:
                first = not self._up
                mtu = min(link.mtu, self.mtu if member.mtu_limit is None else member.mtu_limit)
                if self._mux is not None:
                    mtu = link.mtu
                    member.last_number = self._mux.fragmenter.next_number - 1
                member.told_down = False
                member.go_up(mtu, self._framing_of(member))
                self._events.append(SlaveUp(now, member.owner))
                self._lines_are((*self._up, member.line), now)
                if first:
                    self._events.append(BondUp(now))
                self._place_waiting(now)
            else:
                goodbye = "the peer ended the connection"
                again = "the connection is being negotiated again"
                self._paused(member, now, goodbye if link.leaving else again)
        if member.wants_to_send():
            self._ready[member] = None

    def _paused(self, member: Member, now: float, reason: str) -> None:
        """The connection is there and carries no packets for the moment."""
        packets = member.take_back()
        for packet in packets:
            self.backlog -= len(packet.payload)
        member.pause()
        reclaimed = self._requeue(packets, member, now, planned=True)
        member.reclaimed += reclaimed
        self._tell_down(member, now, reason, None, reclaimed)
        self._line_left(member, now, reason)
        self._place_waiting(now)

    def _tell_down(self, member: Member, now: float, reason: str, error: BaseException | None, reclaimed: int) -> None:
        """Once for each time that the line was up, or was to come up."""
        if not member.told_down:
            member.told_down = True
            self._events.append(SlaveDown(now, member.owner, reason, error, reclaimed))

    def _framing_of(self, member: Member) -> object:
        framing = getattr(member.link, "size_key", member.framing)
        try:
            return self._framings.setdefault(framing, framing)
        except TypeError:  # not hashable: a size of its own
            return member

    # -- ports

    def ready(self, now: float) -> Iterator[Member]:
        """The members whose port is to be served now. Serve each with `data_to_send` as it comes."""
        waiting = self._ready
        while waiting:
            member = next(iter(waiting))
            del waiting[member]
            when = member.send_time(now)
            if when is None:
                self._deadlines.clear(member)
                if self._queue or self._urgent:  # packets wait: they may fit now
                    yield member
            elif when > now + _COALESCE:
                self._deadlines.set(member, when)
            else:
                yield member

    def data_to_send(self, member: Member, now: float, room: int, unsent: int | None = None) -> bytes:
        """The bytes to write to the member's port now; never more than `room`. With `whole_frames`: one frame.

        `unsent` is what the port still holds of earlier bytes, where it tells.
        """
        planned = member.planned_payload
        data = member.frame_to_send(now, unsent) if member.whole_frames else member.data_to_send(now, room, unsent)
        begun = planned - member.planned_payload
        if begun:
            self.backlog -= begun
            self._place_waiting(now)
        if member.departed:
            for packet in member.departed:
                self._flow_left(packet)
            member.departed.clear()
        if member.line.rate is not None and member.learn_rate(now):
            self._events.append(RateChanged(now, member.owner, member.line.rate, measured=True))
            self._line_moved(member, now)
        when = member.send_time(now)
        if when is None:
            self._deadlines.clear(member)
            if self._queue or self._urgent:
                self._offer_again(member, now, soon=bool(data))
                self._place_waiting(now)
        elif member.line.byte_time:
            self._deadlines.set(member, when if data or when > now else member.refused(now))
        elif when > now:
            self._deadlines.set(member, when)
        return data

    def has_room(self, member: Member) -> None:
        """A port without a byte clock takes bytes again."""
        if member.wants_to_send():
            self._ready[member] = None

    # -- receiving

    def receive(self, member: Member, data: bytes, now: float) -> list[Packet]:
        """Take what the member's port has read; return the packets for the application, in order of arrival."""
        packets = member.receive(data, now)
        link = member.link
        if link is not None:
            if link.stirred:
                self._after_link(member, now)
            for reason, remedy in member.new_troubles():
                self._events.append(LineTrouble(now, member.owner, reason, remedy))
        if self._mux is not None:
            if self._freed:
                packets = self._take_freed() + packets
            waiting = self._mux.reassembler.next_deadline()
            if waiting is not None and (self._told is None or waiting < self._told):
                self._rearm = True
        return self._count_delivered(packets)

    def _take_freed(self) -> list[Packet]:
        freed, self._freed = self._freed, []
        return freed

    def _count_delivered(self, packets: list[Packet]) -> list[Packet]:
        if packets:
            self.packets_delivered += len(packets)
            self.payload_delivered += sum([len(packet.payload) for packet in packets])
        return packets

    # -- time and what happened

    def next_deadline(self) -> float | None:
        """When `tick` wants to be called, absolute; None: not before something else happens."""
        first = self._deadlines.next()
        others = [self._links.next()]
        if self._mux is not None:
            others.append(self._mux.next_deadline())
        for other in others:
            if other is not None and (first is None or other < first):
                first = other
        self._told = first
        self._rearm = False
        return first

    def tick(self, now: float) -> list[Packet]:
        """Deadlines have come. Returns packets for the application that need not wait any longer for others."""
        for member in self._links.pop_due(now):
            if member.link is not None:
                member.link.tick(now, member.queue_delay(now))
                self._after_link(member, now)
        # Ports that are due a little later are served in the same wake-up.
        for member in self._deadlines.pop_due(now + _COALESCE):
            self._ready[member] = None
        if self._mux is None:
            return []
        due = self._mux.next_deadline()
        if due is not None and due <= now:
            self._freed += self._mux.tick(now)
            self._after_mux(now)
        return self._count_delivered(self._take_freed()) if self._freed else []

    @property
    def reassembling(self) -> bool:
        """Whether received fragments wait for others, or for the time after which those count as lost."""
        return self._mux is not None and self._mux.reassembler.next_deadline() is not None

    @property
    def has_news(self) -> bool:
        """Whether there are events to take or ports to serve."""
        return bool(self._ready or self._events or self._rearm)

    def take_events(self) -> list[Event]:
        """What has happened since the last call."""
        events = list(self._events)
        self._events.clear()
        return events

    def stats(self, now: float) -> BondStats:
        """A snapshot."""
        return BondStats(
            lines=tuple(member.stats(now) for member in self.members),
            packets_accepted=self.packets_accepted,
            payload_accepted=self.payload_accepted,
            packets_delivered=self.packets_delivered,
            payload_delivered=self.payload_delivered,
            queued_packets=self.queued_packets,
            queued_bytes=self.backlog,
            dropped=dict(self.dropped),
        )
