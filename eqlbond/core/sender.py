"""The sending half of a bond: queue, scheduler, plans of the members, ports. Sans-IO."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

from eqlbond.core.fragments import Fragment, queue_order
from eqlbond.core.member import EXPRESS_QUANTUM, RETRY, Member
from eqlbond.core.multilink import Mux
from eqlbond.core.policy import Policy
from eqlbond.core.queues import Fifo, Queue, QueueDiscipline
from eqlbond.core.timers import Deadlines
from eqlbond.exceptions import ConfigurationError, PacketTooBig, SendError
from eqlbond.packet import Packet
from eqlbond.schedulers.base import Line, Placement

_MOST_EXPRESS = 2
_UNPACED_PLAN = 65536  # bytes that may be planned for each line without a rate
_COALESCE = 0.005  # ports that are due within this many seconds are served in one wake-up


def check_mtu(mtu: int) -> int:
    """A usable MTU. Raises `ConfigurationError`."""
    if isinstance(mtu, bool) or not isinstance(mtu, int) or not 1 <= mtu <= 65535:
        raise ConfigurationError("mtu", f"bytes from 1 to 65535, not {mtu!r}")
    return mtu


class Sender:
    """Takes packets in, plans them onto lines, and gives the ports their bytes.

    A packet is planned as it enters, by the policy; what is planned and has not begun to go to a port is planned again
    when a line dies, comes, slows or is emancipated. Packets that the policy lets wait are in `_queue`, and those that
    pass what is planned in `_urgent`, in order of entry.

    A plain queue lets the policy plan as much as it likes, and the bond is `full` at `limit`. A queue with a limit of
    its own gets what does not fit into `_plan_limit`, and decides what comes next.
    """

    def __init__(
        self,
        policy: Policy,
        mux: Mux | None,
        *,
        mtu: int,
        queue_bytes: int,
        queue_time: float,
        flow_of: Callable[[bytes], Hashable] | None,
        queue: QueueDiscipline | None = None,
    ) -> None:
        self.mtu = check_mtu(mtu)
        if isinstance(queue_bytes, bool) or not isinstance(queue_bytes, int) or queue_bytes < mtu:
            raise ConfigurationError("queue_bytes", f"bytes from the MTU ({mtu}) on, not {queue_bytes!r}")
        if isinstance(queue_time, bool) or not isinstance(queue_time, int | float) or not queue_time > 0:
            raise ConfigurationError("queue_time", f"seconds above 0, not {queue_time!r}")
        if queue is not None and (isinstance(queue, type) or not isinstance(queue, QueueDiscipline)):
            raise ConfigurationError("queue", f"a discipline such as FqCoDel(), or None, not {queue!r}")
        self.queue_bytes = queue_bytes
        self.queue_time = queue_time
        self.limit = queue_bytes
        self.backlog = 0
        """Payload that is queued or planned, bytes."""
        self.permitted: Callable[[Packet], bool] | None = None
        """Tells whether PPP lets a packet pass; None: there is no PPP."""
        self.dropped: dict[str, int] = {}
        self.packets_accepted = self.payload_accepted = self.copies = 0
        self.deadlines: Deadlines[Member] = Deadlines()
        self._policy = policy
        self._mux = mux
        self._flow_of = flow_of if flow_of is not None or queue is None else queue.flow_of
        self._up: tuple[Line, ...] = ()
        self._by_line: dict[Line, Member] = {}
        self._smallest_mtu = 0
        self._largest_mtu = 0
        self._queue: Queue = Fifo() if queue is None else queue.queue(mtu, self._drop)
        self._fair = self._queue.limit is not None
        self._plan_limit: float = math.inf
        self._urgent: deque[Packet] = deque()
        self._waiting_pieces: list[Fragment] = []
        self._flows: dict[Hashable, int] = {}
        self._sequence = 0
        self._unasked = 0  # packets before this one came while no line was up, and nobody knew what PPP would permit
        self._ready: dict[Member, None] = {}

    @property
    def full(self) -> bool:
        """Whether a sender should wait."""
        return self.backlog >= self.limit

    @property
    def queued_packets(self) -> int:
        """Packets that wait for a place on a line."""
        return len(self._queue) + len(self._urgent)

    @property
    def marked(self) -> int:
        """Packets that the queue marked with congestion experienced."""
        return self._queue.marked

    def send(self, packet: Packet, now: float) -> None:
        """Take a packet. The caller has seen that the bond is not `full`, or does not care.

        Raises:
            PacketTooBig: it exceeds the MTU.
            SendError: it is empty.
        """
        size = len(packet.payload)
        if not size:
            raise SendError("an empty packet cannot be sent: framings do not carry it")
        if size > self.mtu:
            self.dropped["too big"] = self.dropped.get("too big", 0) + 1
            raise PacketTooBig(size, self.mtu)
        if self.permitted is not None:
            if not self._up:
                self._unasked = self._sequence + 1
            elif not self.permitted(packet):
                self.dropped["network protocol not open"] = self.dropped.get("network protocol not open", 0) + 1
                return
        flow = packet.flow
        if flow is None and self._flow_of is not None:
            flow = packet.flow = self._flow_of(packet.payload)
        if flow is not None:  # nothing is counted before what may raise: a flow_of of one's own, an unhashable flow
            # With nothing else planned there is nothing to pass, and the ordinary placement keeps order better.
            passes = self.backlog > 0 and not self._flows.get(flow)
            packet.express = packet.priority > 0 or (passes and not self._fair and self._may_pass())
            self._flow_grows(packet)
        else:
            passes = False
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
            self.place_waiting(now)
        elif (
            self._queue
            or not self._up
            or (passes and self._fair)  # it is the queue that tells who may pass
            or self.backlog > self._plan_limit
            or not self._try_place(packet, now)
        ):
            first = not self._queue
            if self._queue.push(packet, now) or first:
                self.place_waiting(now)
        elif self._waiting_pieces:
            self._put_pieces_back()

    def send_batch(self, payloads: Iterable[bytes], now: float) -> None:
        """`send` for each, with less work where they all go the plainest way: no flows, no bundle, nothing that waits.

        Raises:
            PacketTooBig: one exceeds the MTU; those before it are taken.
        """
        plain = self._mux is None and self.permitted is None and self._flow_of is None and not self._urgent
        largest = min(self._smallest_mtu, self.mtu) if plain else -1
        up, known, again, place, queue = (
            self._up,
            self._by_line,
            self._will_offer_again,
            self._policy.place,
            self._queue,
        )
        for payload in payloads:
            size = len(payload)
            if size > largest or queue or not size:
                self.send(Packet(payload), now)
                continue
            packet = Packet(payload, None, None, 0, None, self._sequence, now)
            self._sequence += 1
            self.packets_accepted += 1
            self.payload_accepted += size
            self.backlog += size
            placement = place(packet, up, now, known, again)
            if placement is None:
                queue.push(packet, now)
            elif placement.copies or placement.not_before or placement.line.byte_time:
                self._plan(packet, placement, now)
            else:
                member = known[placement.line]
                member.plan(packet, now, placement.not_before)
                self._ready[member] = None

    def place_waiting(self, now: float) -> None:
        """Offer what is queued to the scheduler, until it wants to wait."""
        urgent, queue = self._urgent, self._queue
        while urgent and self._up and self._try_place(urgent[0], now):
            urgent.popleft()
            if self._waiting_pieces:
                self._put_pieces_back()
        if self._fair and queue and self._up:
            self._place_sparse(now)
        while queue and self._up and self.backlog - queue.size < self._plan_limit:
            packet = queue.head(now)
            if packet is None or not self._try_place(packet, now):
                break
            queue.take()
            if self._waiting_pieces:
                self._put_pieces_back()

    def _place_sparse(self, now: float) -> None:
        """Packets of sparse flows pass the plan, in which their flows have nothing."""
        queue = self._queue
        while self._may_pass() and (packet := queue.sparse(self._flows)) is not None:
            self._flow_left(packet)
            packet.express = True
            if not self._try_place(packet, now):
                packet.express = False
                self._flow_grows(packet)
                break
            queue.take()
            if self._waiting_pieces:
                self._put_pieces_back()

    def _may_pass(self) -> bool:
        """Whether small flows may pass bulk: not for ever in a bundle, where all lines share one order.

        Behind a fair queue a flood of new flows waits there, and few pass a line's plan at a time.
        """
        if self._mux is not None and self._mux.fragmenter.express_run >= EXPRESS_QUANTUM:
            return False
        return not self._fair or any(member.express_packets < _MOST_EXPRESS for member in self._by_line.values())

    def _try_place(self, packet: Packet, now: float) -> bool:
        """Plan the packet onto a line; False: the scheduler wants to wait."""
        if packet.sequence < self._unasked and packet.__class__ is not Fragment and self._forbidden(packet):
            self._drop(packet, "network protocol not open")
            return True
        mux = self._mux
        if mux is not None:
            if packet.__class__ is not Fragment:
                if packet.priority <= 0 or len(packet.payload) > self._largest_mtu:
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
        placement = self._policy.place(packet, lines, now, self._by_line, self._will_offer_again)
        if placement is None:
            return False
        if packet.express or placement.copies or mux is not None:
            self._plan(packet, placement, now)
        else:
            member = self._by_line[placement.line]
            try:
                member.plan(packet, now, placement.not_before)
            except Exception as error:
                self._cannot_be_framed(member, packet, error)
            self._ready[member] = None
        return True

    def _forbidden(self, packet: Packet) -> bool:
        return self.permitted is not None and not self.permitted(packet)

    def _lines_for(self, size: int) -> tuple[Line, ...]:
        return tuple(line for line in self._up if line.mtu >= size)

    def _plan(self, packet: Packet, placement: Placement, now: float) -> None:
        # A bundle's far end puts packets in order: nothing is gained by holding.
        not_before = 0.0 if self._mux is not None else placement.not_before
        if self._plan_on(placement.line, packet, now, not_before) and placement.copies:
            self._plan_copies(packet, placement.copies, now)

    def _plan_copies(self, packet: Packet, lines: tuple[Line, ...], now: float) -> None:
        for line in lines:
            packet.copies += 1
            self.copies += 1
            self.backlog += len(packet.payload)
            self._flow_grows(packet)  # each copy leaves its flow when it begins to go
            if not self._plan_on(line, packet, now, 0.0):
                packet.copies -= 1
                self.copies -= 1

    def _plan_on(self, line: Line, packet: Packet, now: float, not_before: float) -> bool:
        """Plan the packet, or its copy, onto the line; False: it cannot be framed there, and is dropped."""
        member = self._by_line[line]
        self._ready[member] = None
        try:
            if packet.express:
                member.plan_express(packet, now)
            else:
                member.plan(packet, now, not_before)
        except Exception as error:
            self._cannot_be_framed(member, packet, error)
            return False
        return True

    def _cannot_be_framed(self, member: Member, packet: Packet, error: Exception) -> None:
        """A line's framing, which may be somebody's code, raised when it was asked for the packet's size."""
        member.framing_error = error
        self._drop(packet, "cannot be framed")

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
        if mux.config.fragment and len(lines) > 1:
            pieces = self._policy.split(packet, lines, now, overhead)
        if pieces is not None:
            for fragment, (line, _) in zip(self._cut(mux, packet, [n for _, n in pieces]), pieces, strict=True):
                self._plan(fragment, Placement(line), now)
            return True
        if size + overhead > self._smallest_mtu:
            lines = self._lines_for(size + overhead)
        if lines:
            placement = self._policy.place(packet, lines, now, self._by_line, self._will_offer_again)
            if placement is None:
                return False
            (fragment,) = mux.fragmenter.cut(packet)
            self.backlog += len(fragment.payload) - size
            self._plan(fragment, placement, now)
            return True
        # No line takes it whole (RFC 1990 section 2: what the bundle carries may exceed any link's MRU).
        most = self._largest_mtu - overhead
        if most < 1:
            self._drop(packet, "too big for any line that is up")
            return True
        count = -(-size // most)
        sizes = [size * (n + 1) // count - size * n // count for n in range(count)]
        rest: list[Fragment] = []
        for fragment in self._cut(mux, packet, sizes):
            if rest or not self._try_place(fragment, now):  # none before the one in front of it
                rest.append(fragment)
        self._waiting_pieces += rest
        return True

    def _cut(self, mux: Mux, packet: Packet, sizes: Sequence[int]) -> list[Fragment]:
        fragments = mux.fragmenter.cut(packet, sizes)
        self.backlog += sum([len(fragment.payload) for fragment in fragments]) - len(packet.payload)
        if len(fragments) > 1:
            self._flow_grows(packet, len(fragments) - 1)
        return fragments

    def _put_pieces_back(self) -> None:
        pieces = self._waiting_pieces
        if pieces[0].express:
            self._urgent.extendleft(reversed(pieces))
        else:
            self._queue.put_back(pieces)
        self._waiting_pieces = []

    def _place_numbered(self, fragment: Fragment, number: int, now: float) -> bool:
        """A fragment that has its number and lost its line: by a line where numbers go on rising, if there is one."""
        size = len(fragment.payload)
        # What is older than a connection does not go on it: to the peer that would look like a bundle begun anew.
        lines = tuple(line for line in self._lines_for(size) if self._by_line[line].first_number <= number)
        if not lines or (self._mux is not None and fragment.maker is not self._mux.fragmenter):
            self._drop(fragment, "its line was cut")
            return True
        rising = tuple(line for line in lines if self._by_line[line].last_number < number)
        placement = self._policy.place(fragment, rising or lines, now, self._by_line, self._will_offer_again)
        if placement is None:
            return False
        self._plan(fragment, placement, now)
        return True

    def begin_anew(self, members: Iterable[Member]) -> None:
        """The bundle has ended, and its sequence with it: what waits in fragments waits as whole packets again.

        But not what is older than something that has left: the peer may have taken that, and would get this after it.
        """
        if self._mux is None:
            return
        gone = max((member.gone_number for member in members), default=-1)
        gone = max(gone, self._mux.fragmenter.gone)
        urgent, back = self._take_out()
        kept: tuple[list[Packet], list[Packet]] = ([], [])
        for packets, keep in zip((urgent, back), kept, strict=True):
            for packet in packets:
                if isinstance(packet, Fragment) and packet.number is not None and packet.last < gone:
                    self._drop(packet, "its line was cut")
                else:
                    keep.append(packet)
        # What has come back may be of a flow that has passed it since.
        for packet in self._uncut(kept[0], numbered=True):
            if packet.priority > 0:
                self._urgent.append(packet)
            else:
                self._flow_left(packet)
                packet.express = False
                self._flow_grows(packet)
                kept[1].append(packet)
        self._queue.put_back(self._uncut(kept[1], numbered=True))
        self._mux.fragmenter.withdraw()

    def _take_out(self) -> tuple[list[Packet], list[Packet]]:
        """Everything that may be a fragment, out of the queues."""
        urgent = list(self._urgent)
        self._urgent.clear()
        return urgent, self._queue.clear_put_back()

    def _uncut(self, packets: Iterable[Packet], *, numbered: bool) -> list[Packet]:
        """Fragments become whole packets again; those with a number only with `numbered`."""
        wholes: dict[Packet, None] = {}
        for packet in packets:
            if isinstance(packet, Fragment) and (numbered or packet.number is None):
                assert packet.whole is not None
                self.backlog -= len(packet.payload)
                self._flow_left(packet)
                packet = packet.whole
                if packet not in wholes:
                    self.backlog += len(packet.payload)
                    self._flow_grows(packet)
            wholes[packet] = None
        return list(wholes)

    # -- taking back and dropping

    def requeue(self, packets: Iterable[Packet], member: Member, now: float, *, planned: bool) -> int:
        """Put packets that a line gives back at the head of the queue, oldest first."""
        back = []
        for packet in packets:
            if packet.copies > 1:
                packet.copies -= 1
                self.copies -= 1
                if planned:
                    self._flow_left(packet)
                continue
            self._policy.withdrawn(packet, member.line, now)
            self.backlog += len(packet.payload)
            if not planned:
                self._flow_grows(packet)
            back.append(packet)
        urgent = [packet for packet in back if packet.express]
        if urgent:
            merged = sorted([*urgent, *self._urgent], key=queue_order)
            self._urgent.clear()
            self._urgent.extend(merged)
        if len(urgent) < len(back):
            self._queue.put_back([packet for packet in back if not packet.express])
        return len(back)

    def _drop(self, packet: Packet, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        self.backlog -= len(packet.payload)
        self._flow_left(packet)

    def drop_all(self, members: Iterable[Member], reason: str) -> None:
        """Drop and count everything that is queued or planned."""
        packets: list[Packet] = [*self._urgent, *self._queue]
        self._urgent.clear()
        self._queue.clear()
        for member in members:
            packets += member.take_back()
        for packet in packets:
            self._drop(packet, reason)

    def _flow_grows(self, packet: Packet, by: int = 1) -> None:
        """Count what waits of a flow. Behind a fair queue, not what passes: the next packet of the flow may, too.

        Otherwise a flow would lose that by sending again before its last packet has found the end of a frame.
        """
        flow = packet.flow
        if flow is not None and not (self._fair and packet.express):
            self._flows[flow] = self._flows.get(flow, 0) + by

    def _flow_left(self, packet: Packet) -> None:
        flow = packet.flow
        if flow is not None and not (self._fair and packet.express):
            waiting = self._flows.get(flow, 0) - 1
            if waiting > 0:
                self._flows[flow] = waiting
            else:
                self._flows.pop(flow, None)

    # -- lines

    def lines_are(self, up: tuple[Line, ...], members: Iterable[Member], now: float) -> None:
        """The lines that are up, in the order in which they came up, or what one of them carries, have changed."""
        if up and not self._up:
            self._queue.resume()
        self._up = (*up,)  # a new object: schedulers may tell by identity that something changed
        self._by_line = {member.line: member for member in members if member.line.up}
        mtus = [line.mtu for line in up]
        self._smallest_mtu = min(mtus, default=0)
        self._largest_mtu = max(mtus, default=0)
        self._set_limit(now)
        again = self._policy.lines_changed(self._up, now)
        if self._mux is not None:
            # All of it, so that what has no number is cut anew, for these lines, and keeps its order.
            for member in self._by_line.values():
                self.take_back(member, now)
            urgent, back = self._take_out()
            self._urgent.extend(self._uncut(urgent, numbered=False))
            self._queue.put_back(self._uncut(back, numbered=False))
            self._mux.fragmenter.withdraw()
        elif again:
            for member in self._by_line.values():
                self.take_back(member, now, also_express=False)

    def take_back(self, member: Member, now: float, *, also_express: bool = True) -> int:
        """Queue again what is planned for the member and has not begun to go; returns how many packets."""
        packets = member.take_back(also_express=also_express)
        for packet in packets:
            self.backlog -= len(packet.payload)
        return self.requeue(packets, member, now, planned=True)

    def _set_limit(self, now: float) -> None:
        rates = [line.rate / line.bits_per_byte for line in self._up if line.rate is not None]
        self.limit = self.queue_bytes
        needed = self._policy.window(self._up, self.mtu + self.mtu // 8, now) if rates else 0.0
        if rates and len(rates) == len(self._up):
            seconds = max(self.queue_time, needed + 0.1 if needed else 0.0)
            self.limit = max(2 * self.mtu, min(self.queue_bytes, int(seconds * sum(rates))))
            self._queue.pace(1.0 / sum(rates), needed)
        else:
            self._queue.pace(0.0, 0.0)
        if self._queue.limit is not None:
            # A scheduler that does not say what it needs gets two packets' time of the slowest line.
            longest = (
                needed + 0.1 if needed else max([2.25 * self.mtu * line.byte_time for line in self._up], default=0)
            )
            unpaced = len(self._up) - len(rates)
            self._plan_limit = max(2 * self.mtu, longest * sum(rates)) + unpaced * _UNPACED_PLAN
            self.limit = int(self._plan_limit) + self._queue.limit

    # -- ports

    @property
    def busy(self) -> bool:
        """Whether ports wait to be served."""
        return bool(self._ready)

    def serve(self, member: Member) -> None:
        """The member's port may have something to send."""
        if member.wants_to_send():
            self._ready[member] = None

    def forget(self, member: Member) -> None:
        """The member's port is closed."""
        self._ready.pop(member, None)
        self.deadlines.clear(member)

    def tick(self, now: float) -> None:
        """Deadlines of ports have come; those that are due a little later are served in the same wake-up."""
        for member in self.deadlines.pop_due(now + _COALESCE):
            self._ready[member] = None

    def ready(self, now: float) -> Iterator[Member]:
        """The members whose port is to be served now. Serve each with `data_to_send` as it comes."""
        waiting = self._ready
        while waiting:
            member = next(iter(waiting))
            del waiting[member]
            when = member.send_time(now)
            if when is None:
                self.deadlines.clear(member)
                if self._queue or self._urgent:  # packets wait: they may fit now
                    yield member
            elif when > now + _COALESCE:
                self.deadlines.set(member, when)
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
            self.place_waiting(now)
        if member.departed:
            for packet in member.departed:
                self._flow_left(packet)
            member.departed.clear()
        when = member.send_time(now)
        if when is None:
            self.deadlines.clear(member)
            if self._queue or self._urgent:
                self._offer_again(member, now, soon=bool(data))
                self.place_waiting(now)
        elif member.line.byte_time:
            self.deadlines.set(member, when if data or when > now else member.refused(now))
        elif when > now:
            self.deadlines.set(member, when)
        return data

    def _will_offer_again(self, now: float) -> bool:
        """See to it that something wakes the bond while packets wait; False when every line is idle."""
        if self._ready or self.deadlines.next() is not None:
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
            self.deadlines.set(member, member.line.free)
        elif not member.unsent:
            return False
        elif soon:
            self._ready[member] = None
        else:
            self.deadlines.set(member, now + RETRY)
        return True
