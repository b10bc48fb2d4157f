"""One line of a bond, for as long as it is enslaved: its byte clock, and the way from its plan to the port.

A connection (`Link`) comes and goes inside it. What waits to go is in its `LinePlan`, what the line is set to in its
`settings`, what it has carried in its `counters`; what the port shows of itself is watched by a `PortWatch`.

The byte clock: `wire_free` is when the bytes handed to the port so far will have left it, at the line's rate. The
port is never given more than `HIGH` seconds of bytes, and gets more when `LOW` seconds are left, so a
frame goes in pieces, and what has not begun can still be planned again. Where the port tells how much it
still holds, that corrects the clock.

The plan is reckoned by the clock: `free`, `soonest` and `planned` of the line say what the two come to, and every
method here that moves one of them moves the others.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from eqlbond.codec.base import Framing
from eqlbond.codec.slip import Slip
from eqlbond.core.fragments import Fragment
from eqlbond.core.line_counters import LineCounters
from eqlbond.core.line_plan import EXPRESS_QUANTUM as EXPRESS_QUANTUM
from eqlbond.core.line_plan import LinePlan, set_free, set_planned, set_soonest
from eqlbond.core.line_settings import LineSettings
from eqlbond.core.line_settings import put as _put
from eqlbond.core.link import Link
from eqlbond.core.port_watch import RATE_WINDOW, PortWatch
from eqlbond.core.port_watch import RETRY as RETRY
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet
from eqlbond.ppp.config import Ppp
from eqlbond.schedulers.base import Line
from eqlbond.stats import LineStats

LOW = 0.020
HIGH = 0.040
"""Seconds of bytes that the port holds: between these (a single byte may be longer)."""
_EXCHANGE = 400  # bytes: a Configure-Request with all options has about 130 with all its escapes; three and a margin
MOST_CONTROL = 8192
"""Bytes of control frames that may wait for a port: where a peer asks without end, what comes then is dropped."""


def _payload_size(packet: Packet) -> int:
    """What a packet takes on a line without a connection, as far as anybody can know."""
    return len(packet.payload)


class Member:
    """A member line of a bundle.

    Args:
        name: for people.
        framing: makes the framer of each connection.
        rate: what the line carries, bit/s; None: not known, not paced.
        bits_per_byte: bits on the wire for a byte (8N1: 10).
        latency: seconds from here to there, beyond the sending time.
        priority: weight for schedulers that use weights; None: the rate.
        mtu: the largest packet this line may carry; None: whatever the bond's is.
        owner: what events and packets name as their slave; None: the member itself.
        whole_frames: hand over one whole frame a call, once the port holds little, in place of `LOW` to `HIGH`
            seconds of bytes. For drivers whose port is a model: one event a frame.

    Raises:
        ConfigurationError: a value cannot work.
    """

    takes_turns = False
    """Whether what is heard on the line tells when this end may send (`HalfDuplexMember`)."""

    __slots__ = (
        "_asked",
        "_bulk",
        "_express",
        "_frames_by_size",
        "_low",
        "_offset",
        "_partial",
        "_plan",
        "_reasons",
        "_rest",
        "_sent",
        "_skipped",
        "_watch",
        "control",
        "counters",
        "departed",
        "down_error",
        "down_reason",
        "first_number",
        "framing",
        "framing_error",
        "gone_number",
        "handed",
        "last_number",
        "line",
        "link",
        "mtu_limit",
        "name",
        "owner",
        "planned_payload",
        "retired",
        "settings",
        "stamp",
        "told_down",
        "unsent",
        "whole_frames",
        "wire_free",
    )

    def __init__(
        self,
        name: str,
        framing: Framing,
        *,
        rate: float | None,
        bits_per_byte: float = 10,
        latency: float = 0.0,
        priority: float | None = None,
        mtu: int | None = None,
        owner: Any = None,
        whole_frames: bool = False,
    ) -> None:
        if isinstance(framing, type) or not isinstance(framing, Framing):
            raise ConfigurationError("framing", f"a Framing such as Slip(), not {framing!r}")
        if mtu is not None and (isinstance(mtu, bool) or not isinstance(mtu, int) or mtu < 1):
            raise ConfigurationError("mtu", f"bytes from 1, or None, not {mtu!r}")
        self.name = name
        self.owner = self if owner is None else owner
        self.framing = framing
        self.mtu_limit = mtu
        self.whole_frames = whole_frames
        self.link: Link | None = None
        self.line = Line(name, _payload_size)
        self.settings = LineSettings(self.line)
        self.counters = LineCounters()
        self._watch = PortWatch(HIGH)
        self.set_bits_per_byte(bits_per_byte)
        self.set_latency(latency)
        self.set_rate(rate)
        self.set_priority(priority)

        self._plan = LinePlan(self.line)
        self._bulk, self._express = self._plan.bulk, self._plan.express  # at hand, for what is asked most often
        self.planned_payload = 0
        """Payload that is planned and has not begun to go, bytes."""
        self.control: deque[bytes] = deque()
        """Control frames, which go ahead of packets; `queue_control` adds them."""
        self._asked = 0  # how many bytes will have been sent, since ever, when the link's last question has
        self._frames_by_size = self._skipped = False
        self.framing_error: Exception | None = None  # for the bundle to tell, once a connection
        self._rest = b""
        self._offset = 0
        self._partial: Packet | None = None  # the packet whose frame is being handed over
        self._sent: deque[tuple[float, Packet]] = deque()  # when its last byte leaves; only while in the port
        self.wire_free = 0.0
        self.unsent = 0
        self._reasons: set[str] = set()  # for dropping frames, that `new_troubles` has seen on this connection
        self.handed: Packet | None = None  # with whole_frames: whose frame went last; None: a control frame
        self.departed: list[Packet] = []  # packets of flows that have begun to go; the bundle empties it
        self.retired = self.told_down = False
        self.down_reason = "not opened yet"
        """Why the line is not up, for people; from the last time that it went down."""
        self.down_error: BaseException | None = None
        self.stamp: Callable[[Fragment], None] | None = None  # numbers a Multilink fragment that begins to go
        self.first_number = 0  # of the fragments that may go here: what is older is not for a new connection
        self.last_number = -1
        self.gone_number = -1  # of the last fragment that has left whole

    def __repr__(self) -> str:
        return f"<Member {self.name} {'up' if self.line.up else 'down'} rate={self.line.rate}>"

    # -- settings

    @property
    def configured_rate(self) -> float | None:
        """What the line was said to carry, bit/s; the clock may go by a lower rate that its port has shown."""
        return self.settings.rate

    def set_rate(self, rate: float | None) -> None:
        """Set what the line carries, bit/s. Raises `ConfigurationError`."""
        self.settings.set_rate(rate)
        self._pace()
        self._watch.forget_lag()

    def set_bits_per_byte(self, bits_per_byte: float) -> None:
        """Set what a byte costs on the line, bits; `set_rate` goes with it. Raises `ConfigurationError`."""
        self.settings.set_bits_per_byte(bits_per_byte)

    def set_priority(self, priority: float | None) -> None:
        """Set the weight; None: the rate. Raises `ConfigurationError`."""
        self.settings.set_priority(priority)

    def set_latency(self, latency: float) -> None:
        """Set the latency, seconds. Raises `ConfigurationError`."""
        self.settings.set_latency(latency)

    def _pace(self) -> None:
        # Below 500 bit/s two bytes are more than the port may hold; the next one goes as late as it fits.
        self._low = max(0.0, min(LOW, HIGH - self.line.byte_time))

    def retime(self, before: float, now: float) -> None:
        """Bring clock and plan to a changed byte time; `before`: what it was, seconds.

        What the port holds takes longer, or shorter, from now on.
        """
        line = self.line
        byte_time = line.byte_time
        if not byte_time or self.link is None:
            return
        if not before:  # there was no clock; what the port holds was part of `planned`
            self.wire_free = now + self.unsent * byte_time
            set_planned(line, line.planned - self.unsent)
            self.unsent = 0
        elif self.wire_free > now:
            scale = byte_time / before
            self.wire_free = now + (self.wire_free - now) * scale
            self._sent = deque((now + (left - now) * scale, packet) for left, packet in self._sent)
        ahead = len(self._rest) - self._offset + self._plan.express_size()
        free = max(self.wire_free, now) + ahead * byte_time
        set_soonest(line, free)
        self._plan.retime(free)

    # -- connections

    def connect(self, link: Link, now: float) -> None:
        """The port is open, and `link` is its connection."""
        self.link = link
        self.counters.connections += 1
        self._asked = 0
        self.retired = self.told_down = False
        self._reasons.clear()
        self.wire_free = now
        self._watch.begin()
        self.unsent = 0
        self.settings.plan_with(self.settings.rate)
        self._pace()
        _put(self.line, "_size", link.wire_size)
        set_free(self.line, now)
        set_soonest(self.line, now)
        set_planned(self.line, 0)
        self.link.start(now)

    def go_up(self, mtu: int, framing: object) -> None:
        """The connection carries packets now."""
        _put(self.line, "mtu", mtu)
        _put(self.line, "framing", framing)
        _put(self.line, "up", True)
        # Only of our own SLIP is it known that the frame that gave a packet's size is the one to send.
        self._frames_by_size = type(self.framing) is Slip

    def retire(self) -> None:
        """Carry no further packet; the frame that is on its way is finished."""
        self.retired = True
        _put(self.line, "up", False)

    def pause(self) -> None:
        """Carry no packet until `go_up`; the connection stays."""
        _put(self.line, "up", False)

    @property
    def exchange_time(self) -> float:
        """Seconds that a request and its answer may take on the line, with what both ends have in front of them."""
        return _EXCHANGE * self.line.byte_time + 2 * self.line.latency

    def queue_control(self, frames: Sequence[bytes]) -> None:
        """Control frames of the link, to go ahead of packets. Beyond `MOST_CONTROL` they are dropped, and counted."""
        waiting = sum(map(len, self.control))
        for frame in frames:
            if waiting > MOST_CONTROL:
                self.counters.has_lost("too many control frames")
                continue
            self.control.append(frame)
            waiting += len(frame)

    def asks(self) -> None:
        """The frame that `control` ends with may be a question: `asked` tells when it has left."""
        self._asked = self.counters.bytes_sent + self._ahead()

    def asked(self, now: float, unsent: int | None) -> tuple[int, float | None]:
        """How many bytes have left the port, since ever; in how many seconds the last question will have, None: it has.

        `unsent`: bytes that the port holds; None: as the byte clock says.
        """
        byte_time = self.line.byte_time
        if unsent is None:
            unsent = int(max(0.0, self.wire_free - now) / byte_time) if byte_time else 0
        gone = self.counters.bytes_sent - unsent
        return gone, (self._asked - gone) * byte_time if self._asked > gone else None

    def queue_delay(self, now: float) -> float:
        """Seconds until a control frame made now will have left the port, by the byte clock."""
        return max(0.0, self.wire_free - now) + self._ahead() * self.line.byte_time

    def _ahead(self) -> int:
        """Bytes that go to the port before a control frame made now."""
        return len(self._rest) - self._offset + sum(map(len, self.control))

    def disconnect(self, now: float, reason: str) -> None:
        """The connection is gone. Reclaim what it held first."""
        _put(self.line, "up", False)
        if self.link is not None:
            self.link.hang_up(now, reason)
            self.counters.ended(self.link)
        self.link = None
        _put(self.line, "_size", _payload_size)
        self.control.clear()
        self.unsent = 0
        self.wire_free = min(self.wire_free, now)
        set_planned(self.line, 0)

    # -- planning

    def plan(self, packet: Packet, now: float, not_before: float) -> None:
        """Put the packet behind all that is planned; it does not start before `not_before`."""
        line = self.line
        size = len(packet.payload)
        if line.byte_time or not_before:
            self._plan.add(packet, now, not_before)
        else:  # nothing is timed, and it need not be framed yet: what the frame is longer is counted with it
            self._bulk.append((packet, size, 0.0, now - self._plan.shift))
            set_planned(line, line.planned + size)
            if line.free < now:
                set_free(line, now)
        self.planned_payload += size

    def plan_express(self, packet: Packet, now: float) -> None:
        """Put the packet ahead of all that is planned, at the next frame boundary."""
        self._plan.add_express(packet, now)
        self.planned_payload += len(packet.payload)

    @property
    def express_packets(self) -> int:
        """Packets that pass what is planned and have not begun to go."""
        return len(self._plan.express)

    def take_back(self, *, also_express: bool = True) -> list[Packet]:
        """Empty the plan; what has begun to go to the port stays."""
        packets = self._plan.take_back(also_express=also_express)
        self.planned_payload = sum([len(packet.payload) for packet, _ in self._express])
        line = self.line
        stays = len(self._rest) - self._offset + self._plan.express_size()
        free = self.wire_free + stays * line.byte_time
        set_free(line, free)
        set_soonest(line, free)
        set_planned(line, stays + self.unsent)
        return packets

    def take_back_unsent(self, now: float) -> list[Packet]:
        """For a line that is cut: the packets whose frames cannot have left whole, by the byte clock."""
        sent = self._sent
        if not self._watch.stalls:  # nothing leaves a port that stands still
            self._forget_left(now)
        packets = [packet for _, packet in sent]
        sent.clear()
        if self._partial is not None:
            packets.append(self._partial)
            self._partial = None
        self._rest = b""
        self._offset = 0
        self.control.clear()
        return packets

    # -- the port

    def wants_to_send(self) -> bool:
        """Whether anything is planned for the port."""
        return bool(self._offset < len(self._rest) or self._bulk or self._express or self.control)

    def send_time(self, now: float) -> float | None:
        """When the port should be served next; now or earlier: at once; None: nothing to send."""
        if self._offset < len(self._rest) or self._express or self.control:
            start = -math.inf
        elif self._bulk:
            start = self._bulk[0][2]
        else:
            return None
        if self.line.byte_time == 0.0:
            return start
        refill = self.wire_free - self._low
        if self._watch.poll:
            refill = self._watch.poll
        if start > refill and start > self.wire_free:
            return start
        return refill

    def data_to_send(self, now: float, room: int, unsent: int | None) -> bytes:
        """The bytes that the port gets now.

        Args:
            room: the most that the port takes.
            unsent: bytes that it still holds, where it tells; None where it does not.
        """
        line = self.line
        byte_time = line.byte_time
        if byte_time:
            if unsent is not None:
                self._hear(now, unsent)
            elif self._watch.stalls and room > 0:
                self._watch.take_heart()
            backlog = self.wire_free - now
            if backlog <= 0.0:
                self.wire_free = now
                backlog = 0.0
            allowed = int((HIGH - backlog) / byte_time)
            if allowed < 1 and backlog <= self._low + 1e-9:
                allowed = 1
            if allowed < room:
                room = allowed
            self._forget_left(now)
        else:
            unsent = unsent or 0
            if unsent != self.unsent:
                set_planned(line, line.planned + unsent - self.unsent)
                self.unsent = unsent
        if room <= 0:
            return b""
        if not byte_time and self._offset == len(self._rest) and not (self._express or self.control or self._plan.held):
            return self._frames_to_send(room)
        pieces: list[bytes] = []
        total = 0
        while total < room:
            rest = self._rest
            left = len(rest) - self._offset
            if left == 0:
                rest = self._next_frame(now, total * byte_time)
                if not rest:
                    if self._skipped:
                        self._skipped = False
                        continue
                    break
                left = len(rest)
            if left <= room - total:
                if self._offset:
                    rest = rest[self._offset :]
                pieces.append(rest)
                total += left
                self._rest = b""
                self._offset = 0
                packet = self._partial
                if packet is not None:
                    self._partial = None
                    self.counters.packets_sent += 1
                    self.counters.payload_sent += len(packet.payload)
                    if byte_time:
                        self._sent.append((self.wire_free + total * byte_time, packet))
                    elif packet.__class__ is Fragment:
                        self.gone_number = self.last_number
            else:
                end = self._offset + room - total
                pieces.append(rest[self._offset : end])
                total = room
                self._rest = rest
                self._offset = end
        if not total:
            return b""
        self.counters.bytes_sent += total
        if byte_time:
            self._watch.standing += total
            self.wire_free += total * byte_time
            if not self._bulk and not self._express:
                set_free(line, self.wire_free + (len(self._rest) - self._offset) * byte_time)
        else:
            self.unsent += total
        set_planned(line, line.planned - total if byte_time else line.planned)
        ahead = len(self._rest) - self._offset
        if self._express:
            ahead += self._plan.express_size()
        set_soonest(line, self.wire_free + ahead * byte_time)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _frames_to_send(self, room: int) -> bytes:
        """`data_to_send` for a port without a clock, where nothing waits but packets that may go at once."""
        link = self.link
        plan = self._bulk
        if link is None or not self.line.up or not plan:
            return b""
        line = self.line
        pieces: list[bytes] = []
        total = expected = payload = 0
        frame = b""
        gone = self.gone_number
        while plan and total < room:
            packet, size, _, _ = plan.popleft()
            if packet.__class__ is Fragment:
                gone = self.last_number
                self._stamp(packet)
            frame = self._encode(link, packet)
            if not frame:
                expected += size
                continue
            pieces.append(frame)
            total += len(frame)
            expected += size
            payload += len(packet.payload)
            if packet.flow is not None:
                self.departed.append(packet)
        self._plan.took_bulk()
        self.planned_payload -= payload
        set_planned(line, line.planned + total - expected)
        if not pieces:
            return b""
        self.counters.packets_sent += len(pieces)
        self.counters.payload_sent += payload
        over = total - room
        if packet.__class__ is Fragment:
            self.gone_number = max(self.gone_number, gone if over > 0 else self.last_number)
        if over > 0:  # the last one is finished another time
            self.counters.packets_sent -= 1
            self.counters.payload_sent -= len(packet.payload)
            self._partial = packet
            self._rest, self._offset = frame, len(frame) - over
            pieces[-1] = frame[: self._offset]
            total = room
        self.counters.bytes_sent += total
        self.unsent += total
        set_soonest(line, self.wire_free)
        return b"".join(pieces)

    def frame_to_send(self, now: float, unsent: int | None) -> bytes:
        """`data_to_send` for a port that takes whole frames: the next one, or nothing while it holds enough."""
        line = self.line
        byte_time = line.byte_time
        if byte_time:
            if unsent is not None:
                self._hear(now, unsent)
            backlog = self.wire_free - now
            if backlog <= 0.0:
                self.wire_free = now
            elif backlog > HIGH:
                return b""
            self._forget_left(now)
        frame = self._next_frame(now, 0.0)
        while not frame and self._skipped:
            self._skipped = False
            frame = self._next_frame(now, 0.0)
        size = len(frame)
        if not size:
            return b""
        self._rest = b""
        counters = self.counters
        packet = self.handed = self._partial
        counters.bytes_sent += size
        if packet is not None:
            self._partial = None
            counters.packets_sent += 1
            counters.payload_sent += len(packet.payload)
        if byte_time:
            self.wire_free += size * byte_time
            if packet is not None:
                self._sent.append((self.wire_free, packet))
            if not self._bulk and not self._express:
                set_free(line, self.wire_free)
        set_planned(line, line.planned - size)
        ahead = self.wire_free
        if self._express:
            ahead += self._plan.express_size() * byte_time
        set_soonest(line, ahead)
        return frame

    def _next_frame(self, now: float, ahead: float) -> bytes:
        """Begin the next frame, if one may start now. `ahead`: seconds of bytes taken in this round already."""
        link = self.link
        if self.control:
            frame = self.control.popleft()
            set_planned(self.line, self.line.planned + len(frame))
            self._partial = None
            self._rest, self._offset = frame, 0
            return frame
        if link is None or not self.line.up:
            return b""
        taken = self._plan.take(now, self.wire_free + ahead)
        if taken is None:
            return b""
        packet, size = taken
        if packet.__class__ is Fragment:
            self._stamp(packet)
        frame = self._encode(link, packet)
        if not frame:
            self._skipped = True
            set_planned(self.line, self.line.planned - size)
            return b""
        if len(frame) != size:
            set_planned(self.line, self.line.planned + len(frame) - size)
            set_free(self.line, self.line.free + (len(frame) - size) * self.line.byte_time)
        self.planned_payload -= len(packet.payload)
        if packet.flow is not None:
            self.departed.append(packet)
        self._partial = packet
        self._rest, self._offset = frame, 0
        return frame

    def _forget_left(self, now: float) -> None:
        """What has left the port, by the byte clock, cannot be taken back any more."""
        sent = self._sent
        while sent and sent[0][0] <= now:
            packet = sent.popleft()[1]
            if packet.__class__ is Fragment:
                assert isinstance(packet, Fragment)
                self.gone_number = max(self.gone_number, packet.number or 0)

    def _encode(self, link: Link, packet: Packet) -> bytes:
        """The packet's frame; b"" where the framing, which may be somebody's code, raised: it is lost and counted."""
        frame = packet.frame
        if frame is not None and self._frames_by_size and packet.sized_for is self.line.framing:
            return frame
        try:
            frame = link.encode(packet)
            if type(frame) is not bytes or not frame:
                raise TypeError(f"encode() answered {frame!r}, no bytes")
        except Exception as error:
            self.framing_error = error
            self.planned_payload -= len(packet.payload)
            if packet.flow is not None:
                self.departed.append(packet)
            self.counters.has_lost("the framing raised")
            return b""
        return frame

    def _stamp(self, packet: Packet) -> None:
        """A Multilink fragment begins to go: it has its number from now on."""
        assert isinstance(packet, Fragment)
        if packet.number is None and self.stamp is not None:
            self.stamp(packet)
        self.last_number = max(self.last_number, packet.number or 0)
        self.counters.fragments_sent += 1

    def _hear(self, now: float, unsent: int) -> None:
        """Correct the byte clock by what the port still holds."""
        line = self.line
        moved = self._watch.hear(now, unsent, self.wire_free, line.byte_time)
        if moved == 0.0:
            return
        clock = now + unsent * line.byte_time
        if moved > 0.0:
            behind = clock - self.wire_free
            self._sent = deque((left + behind, packet) for left, packet in self._sent)
        self.wire_free = clock
        self._plan.shift += moved
        set_free(line, line.free + moved)

    def refused(self, now: float) -> float:
        """The port had no room though its clock was due; returns when to ask it again."""
        return self._watch.refused(now)

    def learn_rate(self, now: float) -> bool:
        """Judge the last second of the port's draining; True when the rate to plan with has changed."""
        since = self._watch.since
        if since is None or now - since < RATE_WINDOW:
            return False
        line, configured = self.line, self.settings.rate
        if line.rate is None or configured is None:
            return False
        rate = self._watch.judge(now, line.rate, configured, busy=self.wants_to_send())
        if rate is None:
            return False
        before = line.byte_time
        self.settings.plan_with(rate)
        self._pace()
        self.retime(before, now)
        return True

    # -- receiving

    def receive(self, data: bytes, now: float) -> list[Packet]:
        """Unframe what the port read."""
        link = self.link
        if link is None:
            return []
        self.counters.bytes_received += len(data)
        packets = link.receive(data, now)
        if packets:
            owner = self.owner
            payload = 0
            for packet in packets:
                packet.slave = owner
                payload += len(packet.payload)
            self.counters.received(len(packets), payload)
        return packets

    def new_troubles(self) -> list[tuple[str, str]]:
        """Reasons for dropped frames that are new on this connection and that a person can mend."""
        link = self.link
        if link is None or len(link.dropped) == len(self._reasons):
            return []
        fresh = [reason for reason in link.dropped if reason not in self._reasons]
        self._reasons.update(fresh)
        return [(reason, link.remedies[reason]) for reason in fresh if reason in link.remedies]

    def port_bytes(self, now: float) -> float:
        """Bytes handed to the port and not on the wire yet, by the byte clock."""
        if self.line.byte_time:
            return max(0.0, self.wire_free - now) / self.line.byte_time
        return float(self.unsent)

    def stats(self, now: float) -> LineStats:
        """A snapshot."""
        line, link, counters = self.line, self.link, self.counters
        received, duplicate, lost = counters.fragments(link)
        phase = str(getattr(link, "phase", "dead")) if isinstance(self.framing, Ppp) else None
        return LineStats(
            name=self.name,
            up=line.up,
            state="up" if line.up else "down" if link is None else phase or "opening",
            phase=phase,
            rate=line.rate,
            configured_rate=self.settings.rate,
            priority=line.priority,
            latency=line.latency,
            packets_sent=counters.packets_sent,
            payload_sent=counters.payload_sent,
            bytes_sent=counters.bytes_sent,
            packets_received=counters.packets_received,
            payload_received=counters.payload_received,
            bytes_received=counters.bytes_received,
            planned_packets=len(self._plan.bulk) + len(self._plan.express),
            planned_bytes=line.planned - (0 if line.byte_time else self.unsent),
            port_bytes=self.port_bytes(now),
            reclaimed=counters.reclaimed,
            dropped=counters.dropped(link),
            lost=dict(counters.lost),
            connections=counters.connections,
            fragments_sent=counters.fragments_sent,
            fragments_received=received,
            fragments_duplicate=duplicate,
            fragments_lost=lost,
        )
