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

from collections import deque
from collections.abc import Callable, Hashable

import attrs

from eqlbond.core.fragments import Fragment, protocol_of
from eqlbond.core.link import Link, NegotiatedFraming, PlainLink, WatchedFraming, WatchedLink
from eqlbond.core.member import Member
from eqlbond.core.multilink import Multilink, Mux
from eqlbond.core.policy import Policy
from eqlbond.core.ppp_connection import PppConnection, as_event
from eqlbond.core.queues import QueueDiscipline
from eqlbond.core.sender import Sender
from eqlbond.core.timers import Deadlines
from eqlbond.events import (
    BondDown,
    BondUp,
    Emancipated,
    Enslaved,
    Event,
    LineTrouble,
    RateChanged,
    SlaveDown,
    SlaveUp,
)
from eqlbond.exceptions import AlreadyEnslaved, ConfigurationError, NotEnslaved, TooManySlaves
from eqlbond.packet import Packet
from eqlbond.ppp.config import Ppp
from eqlbond.ppp.negotiation import RandomSource
from eqlbond.ppp.network import Addresses
from eqlbond.schedulers.base import Line, Scheduler
from eqlbond.stats import BondStats

_MOST_EVENTS = 10000


def _does_not_tell(member: Member) -> int | None:
    return None


def _check_count(field: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(field, f"a number of lines from 1, not {value!r}")
    return value


class Bundle:
    """The bond, without I/O and without a clock.

    Args:
        scheduler: the policy; the bundle works on a copy of it.
        mtu: the largest packet, bytes.
        queue_bytes: payload that may wait, bytes; beyond it the bond is `full`.
        queue_time: the same in seconds of the bond's rate; raised to what the scheduler needs to keep every
            line busy. The lower of the two limits holds.
        flow_of: tells a packet's flow where the sender gave none; None: as the `queue` does, or no flows.
        queue: how packets wait, such as `FqCoDel()`; None: first in, first out.
        multilink: bundle the lines by PPP Multilink; all members have `Ppp` framing then.
        random: for PPP; `random.SystemRandom()` on real links. Needed where a member has `Ppp` framing.
        min_slaves: how many lines have to be up for packets to go; with fewer they wait.
        max_slaves: how many members the bond may have; None: any number.

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
        queue: QueueDiscipline | None = None,
        multilink: Multilink | None = None,
        random: RandomSource | None = None,
        min_slaves: int = 1,
        max_slaves: int | None = None,
    ) -> None:
        self.min_slaves = _check_count("min_slaves", min_slaves)
        self.max_slaves: int | None = None
        self.set_max_slaves(max_slaves)
        self._events: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self._policy = Policy(scheduler, self._events.append)
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
            self._policy.resequenced()
        self._sender = Sender(
            self._policy,
            self._mux,
            mtu=mtu,
            queue_bytes=queue_bytes,
            queue_time=queue_time,
            flow_of=flow_of,
            queue=queue,
        )
        self.mtu = mtu
        self.queue, self.queue_bytes, self.queue_time = queue, queue_bytes, queue_time
        self.members: list[Member] = []
        self.send = self._sender.send
        self.send_batch = self._sender.send_batch
        self.ready = self._sender.ready
        self._up: tuple[Line, ...] = ()  # in the order in which they came up
        self._enough = False
        self._framings: dict[object, object] = {}
        self._links: Deadlines[Member] = Deadlines()
        self._silent: set[Member] = set()  # taken for dead by their keepalive, and not heard since
        self._freed: list[Packet] = []  # set free by Multilink, to be delivered
        self._told: float | None = None
        self._rearm = False
        self.packets_delivered = self.payload_delivered = 0

    # -- members

    def add(self, member: Member, now: float) -> None:
        """Enslave: the member belongs to the bond; it carries packets once it is connected.

        Raises:
            AlreadyEnslaved: it belongs to the bond already.
            TooManySlaves: the bond has `max_slaves` members.
            ConfigurationError: it cannot carry packets of the bond's MTU.
        """
        if member in self.members:
            raise AlreadyEnslaved(f"{member.name} serves this bond already")
        if self.max_slaves is not None and len(self.members) >= self.max_slaves:
            raise TooManySlaves(f"{member.name}: the bond may have {self.max_slaves} slaves (max_slaves)")
        if member.mtu_limit is not None and member.mtu_limit < self.mtu and self._mux is None:
            problem = f"{member.name} carries {member.mtu_limit} bytes, the bond's MTU is {self.mtu}"
            raise ConfigurationError("mtu", problem)
        member.framing.framer(self.mtu)
        if isinstance(member.framing, Ppp):
            if self._random is None:
                raise ConfigurationError("random", "PPP needs a source of random bytes")
            self._sender.permitted = self._permitted
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
        self._silent.discard(member)
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
                # The peer may send packets of the bond's size, whatever it was told when the value was made.
                config = attrs.evolve(framing, mru=max(framing.mru, self.mtu))
                return PppConnection(config, self._random, None, member.exchange_time)
            member.stamp = self._number
            return PppConnection(self._mux.line_config(framing), self._random, self._mux, member.exchange_time)
        if isinstance(framing, NegotiatedFraming):
            return framing.link(self.mtu)
        if isinstance(framing, WatchedFraming) and (framing.outfill is not None or framing.keepalive is not None):
            framer = framing.framer(self.mtu)
            timers = (framing.outfill, framing.keepalive, framing.idle_frame)
            return WatchedLink(framer, self.mtu, *timers, silent=member in self._silent)
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
        reclaimed = self._sender.take_back(member, now)
        begun = member.take_back_unsent(now)
        if begun and not unsent:
            member.counters.has_lost("in the port", len(begun))
            begun = []
        link = member.link
        self._note_gone(member, member.gone_number)
        member.disconnect(now, reason)
        self._events.extend(link.take_events(member.owner))
        self._sender.forget(member)
        self._links.clear(member)
        reclaimed += self._sender.requeue(begun, member, now, planned=False)
        member.counters.reclaimed += reclaimed
        self._tell_down(member, now, reason, error, reclaimed)
        if was_up:
            self._line_left(member, now, reason)
        if self._mux is not None:
            self._after_mux(now)
        self._sender.place_waiting(now)

    def retire(self, member: Member, now: float, reason: str = "emancipated") -> None:
        """Let a line finish the frame that it is at and take no other; what was planned for it goes by others.

        `remove` it when it `wants_to_send` no more.
        """
        link = member.link
        if link is None or member.retired:
            return
        was_up = member.line.up
        reclaimed = self._sender.take_back(member, now)
        member.retire()
        self._note_gone(member, member.last_number)
        member.counters.reclaimed += reclaimed
        self._tell_down(member, now, reason, None, reclaimed)
        link.terminate(now)
        if was_up:
            self._line_left(member, now, reason)
        self._after_link(member, now)
        self._sender.place_waiting(now)

    @property
    def multilink(self) -> Multilink | None:
        """The bundle's settings, with the endpoint that was drawn where none was given; None: there is no bundle."""
        return None if self._mux is None else self._mux.config

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

    def tell(self, event: Event) -> None:
        """Put an event of the driver's own among the bond's."""
        self._events.append(event)

    def _line_left(self, member: Member, now: float, reason: str) -> None:
        left = tuple(line for line in self._up if line is not member.line)
        self._lines_are(left, now, f"{member.name}: {reason}")

    def set_min_slaves(self, number: int, now: float) -> None:
        """Change how many lines have to be up for packets to go. Raises `ConfigurationError`."""
        if self.max_slaves is not None and _check_count("min_slaves", number) > self.max_slaves:
            raise ConfigurationError("min_slaves", f"{number} is above max_slaves, which is {self.max_slaves}")
        self.min_slaves = _check_count("min_slaves", number)
        self._lines_are(self._up, now, f"{len(self._up)} lines are up, min_slaves is {number} now")
        self._sender.place_waiting(now)

    def set_max_slaves(self, number: int | None) -> None:
        """Change how many members the bond may have; None: any number. Those that are there stay.

        Raises:
            ConfigurationError: it is no number from `min_slaves` on.
        """
        if number is not None and _check_count("max_slaves", number) < self.min_slaves:
            raise ConfigurationError("max_slaves", f"{number} is below min_slaves, which is {self.min_slaves}")
        self.max_slaves = number

    def set_rate(self, member: Member, rate: float | None, now: float, *, bits_per_byte: float | None = None) -> None:
        """Change what the line carries, bit/s, and, unless None, the bits of a byte. Raises `ConfigurationError`."""
        before = member.line.byte_time
        if bits_per_byte is not None:
            member.set_bits_per_byte(bits_per_byte)
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
        if member.link is not None:
            self._sender.serve(member)
        if member.line.up:
            self._lines_are(self._up, now)
            self._sender.place_waiting(now)

    # -- sending

    @property
    def scheduler(self) -> Scheduler:
        """The bond's own copy of the scheduler."""
        return self._policy.scheduler

    @property
    def full(self) -> bool:
        """Whether a sender should wait."""
        return self._sender.backlog >= self._sender.limit

    @property
    def backlog(self) -> int:
        """Payload that is queued or planned and has not begun to go to a port, bytes."""
        return self._sender.backlog

    @property
    def limit(self) -> int:
        """The backlog, in bytes, at which the bond is `full`."""
        return self._sender.limit

    @property
    def up(self) -> bool:
        """Whether packets go: `min_slaves` lines are up."""
        return self._enough

    @property
    def fragment_header(self) -> int:
        """Bytes that Multilink puts before each fragment; 0 without it."""
        return 0 if self._mux is None else self._mux.fragmenter.overhead

    @property
    def queued_packets(self) -> int:
        """Packets that wait for a place on a line."""
        return self._sender.queued_packets

    @property
    def dropped(self) -> dict[str, int]:
        """Packets that the bond dropped, by reason."""
        return self._sender.dropped

    def count_dropped(self, reason: str) -> None:
        """Count a packet that was dropped."""
        self._sender.dropped[reason] = self._sender.dropped.get(reason, 0) + 1

    def drop_all(self, reason: str) -> None:
        """Drop and count everything that is queued or planned."""
        self._sender.drop_all(self.members, reason)

    def _permitted(self, packet: Packet) -> bool:
        """Whether PPP lets the packet pass: the NCP of its protocol is open (RFC 1661 section 3.6)."""
        protocol = packet.protocol
        if protocol is None:
            protocol = protocol_of(packet)
        if self._mux is not None:
            return self._mux.network.permits(protocol)
        for member in self.members:
            network = getattr(member.link, "network", None)
            if member.line.up and (network is None or network.permits(protocol)):
                return True
        return False

    # -- Multilink

    def count_undelivered(self, packet: Packet, reason: str) -> None:
        """A received packet that the application did not take."""
        self.packets_delivered -= 1
        self.payload_delivered -= len(packet.payload)
        self.count_dropped(reason)

    # -- lines and connections

    def _lines_are(self, up: tuple[Line, ...], now: float, why: str = "") -> None:
        """The set of lines that are up, or what one of them carries, or how many there have to be, has changed."""
        self._up = up
        enough = len(up) >= self.min_slaves
        if self._mux is not None:
            # 1.15: a peer may escape control characters, about one byte in eight.
            size = 1.15 * (self._mux.config.mrru + 16)
            self._mux.set_patience(max((size * line.byte_time + line.latency for line in up), default=0.0))
        self._sender.lines_are(up if enough else (), self.members, now)
        if enough != self._enough:
            self._enough = enough
            if not enough:  # what the lines that stay have planned waits, too
                for member in self.members:
                    if member.line.up:
                        self._sender.take_back(member, now)
            self._events.append(BondUp(now) if enough else BondDown(now, why))

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
        mux.flush(now)
        for news in mux.network.take_events():
            event = as_event(news, None)
            if event is not None:
                self._events.append(event)
        for member in list(self.members):
            self._follow(member, now)
        self._freed += mux.take_free(now)
        if not mux.links:
            self._sender.begin_anew(self.members)
            for member in self.members:
                member.gone_number = -1

    def _follow(self, member: Member, now: float) -> None:
        link = member.link
        if link is None:
            return
        output = link.take_output()
        # A filler is for a line that has nothing to send; behind a stuck port they would gather without end.
        if output and not (isinstance(link, WatchedLink) and member.wants_to_send()):
            member.queue_control(output)
        self._events.extend(link.take_events(member.owner))
        if link.failure is not None:
            if isinstance(link, WatchedLink):
                self._silent.add(member)
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
                self._silent.discard(member)
                mtu = min(link.mtu, self.mtu if member.mtu_limit is None else member.mtu_limit)
                if self._mux is not None:
                    mtu = link.mtu if member.mtu_limit is None else min(link.mtu, member.mtu_limit)
                    member.first_number = self._mux.fragmenter.next_number
                    member.last_number = member.first_number - 1
                member.told_down = False
                if isinstance(link, PppConnection) and self._mux is None and link.mtu < self.mtu:
                    remedy = f"lower the bond's MTU ({self.mtu}) to it, or raise the peer's MRU"
                    self._events.append(LineTrouble(now, member.owner, f"the peer's MRU is {link.mtu}", remedy))
                member.go_up(mtu, self._framing_of(member))
                self._events.append(SlaveUp(now, member.owner))
                self._lines_are((*self._up, member.line), now)
                self._sender.place_waiting(now)
            else:
                reason = "the connection is being negotiated again"
                if link.leaving:
                    reason = getattr(link, "ending", None) or "the peer ended the connection"
                self._paused(member, now, reason)
        self._sender.serve(member)

    def _paused(self, member: Member, now: float, reason: str) -> None:
        """The connection is there and carries no packets for the moment."""
        reclaimed = self._sender.take_back(member, now)
        member.pause()
        self._note_gone(member, member.last_number)
        member.counters.reclaimed += reclaimed
        self._tell_down(member, now, reason, None, reclaimed)
        self._line_left(member, now, reason)
        self._sender.place_waiting(now)

    def _note_gone(self, member: Member, number: int) -> None:
        """A line leaves the bundle; the fragments that have gone by it, up to this number, are not sent again."""
        if self._mux is not None:
            fragmenter = self._mux.fragmenter
            fragmenter.gone = max(fragmenter.gone, number)
            member.gone_number = -1

    def _tell_down(self, member: Member, now: float, reason: str, error: BaseException | None, reclaimed: int) -> None:
        """Once for each time that the line was up, or was to come up."""
        member.down_reason, member.down_error = reason, error
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

    def data_to_send(self, member: Member, now: float, room: int, unsent: int | None = None) -> bytes:
        """The bytes to write to the member's port now; never more than `room`. With `whole_frames`: one frame.

        `unsent` is what the port still holds of earlier bytes, where it tells.
        """
        data = self._sender.data_to_send(member, now, room, unsent)
        if member.framing_error is not None:
            self._events.append(LineTrouble(now, member.owner, "the framing raised", repr(member.framing_error)))
            member.framing_error = None
        if member.line.rate is not None and member.learn_rate(now):
            self._events.append(RateChanged(now, member.owner, member.line.rate, measured=True))
            self._line_moved(member, now)
        return data

    def has_room(self, member: Member) -> None:
        """A port without a byte clock takes bytes again."""
        self._sender.serve(member)

    # -- receiving

    def receive(self, member: Member, data: bytes, now: float) -> list[Packet]:
        """Take what the member's port has read; return the packets for the application, in order of arrival."""
        packets = member.receive(data, now)
        if member.takes_turns:
            self._sender.serve(member)
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
        first = self._sender.deadlines.next()
        others = [self._links.next()]
        if self._mux is not None:
            others.append(self._mux.next_deadline())
        for other in others:
            if other is not None and (first is None or other < first):
                first = other
        self._told = first
        self._rearm = False
        return first

    def tick(self, now: float, unsent: Callable[[Member], int | None] = _does_not_tell) -> list[Packet]:
        """Deadlines have come. Returns packets for the application that need not wait any longer for others.

        `unsent`: what a member's port still holds, in bytes; None where it does not tell, and the byte clock has to.
        """
        for member in self._links.pop_due(now):
            link = member.link
            if link is not None:
                gone, waits = member.asked(now, unsent(member))
                if waits is not None:
                    link.hold_echo(now, now + waits, gone)
                before = len(member.control)
                link.tick(now, member.queue_delay(now))
                self._after_link(member, now)
                if len(member.control) > before:
                    member.asks()
        self._sender.tick(now)
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
        return self._sender.busy or bool(self._events) or self._rearm

    def take_events(self) -> list[Event]:
        """What has happened since the last call."""
        events = list(self._events)
        self._events.clear()
        return events

    def _dropped(self) -> dict[str, int]:
        dropped = dict(self._sender.dropped)
        if self._mux is not None:
            for counters in (self._mux.discarded, self._mux.reassembler.counters):
                for reason, n in counters.items():
                    dropped[reason] = dropped.get(reason, 0) + n
        return dropped

    def stats(self, now: float) -> BondStats:
        """A snapshot."""
        return BondStats(
            lines=tuple(member.stats(now) for member in self.members),
            packets_accepted=self._sender.packets_accepted,
            payload_accepted=self._sender.payload_accepted,
            packets_delivered=self.packets_delivered,
            payload_delivered=self.payload_delivered,
            queued_packets=self._sender.queued_packets,
            queued_bytes=self._sender.backlog,
            dropped=self._dropped(),
            marked=self._sender.marked,
            copies=self._sender.copies,
        )
