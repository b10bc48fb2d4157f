"""A driver for the engine on a virtual clock: ports with perfect wires behind them."""

from __future__ import annotations

from collections import deque

import attrs

from eqlbond.core.bundle import Bundle
from eqlbond.core.member import Member
from eqlbond.events import Event
from eqlbond.packet import Packet
from eqlbond.schedulers import EarliestDelivery

HEADER = 2


@attrs.define
class Counted:
    """A framer: two bytes of length, then the payload. What it encodes is kept in `encoded`."""

    encoded: list[bytes] = attrs.field(factory=list)
    dropped: dict[str, int] = attrs.field(factory=dict)
    remedies: dict[str, str] = attrs.field(factory=lambda: {"odd": "make it even"})
    tail: bytes = b""

    def encode(self, packet: Packet) -> bytes:
        frame = len(packet.payload).to_bytes(HEADER, "big") + packet.payload
        self.encoded.append(frame)
        return frame

    def wire_size(self, packet: Packet) -> int:
        return HEADER + len(packet.payload)

    def feed(self, data: bytes) -> list[Packet]:
        data = self.tail + data
        packets = []
        while len(data) >= HEADER and len(data) >= HEADER + (n := int.from_bytes(data[:HEADER], "big")):
            payload, data = data[HEADER : HEADER + n], data[HEADER + n :]
            if payload in (b"odd", b"strange"):
                self.dropped[payload.decode()] = self.dropped.get(payload.decode(), 0) + 1
            else:
                packets.append(Packet(payload))
        self.tail = data
        return packets


@attrs.frozen
class Length:
    """The framing of the tests, `HEADER` bytes a packet."""

    def framer(self, mtu: int) -> Counted:
        return Counted()


@attrs.define(eq=False)
class Port:
    """A port with a perfect wire at `rate` behind it; byte-exact, driven by `advance`."""

    rate: float  # bit/s; 0: takes nothing from its buffer; infinite: no wire
    bits_per_byte: float = 10
    latency: float = 0.0
    tells: bool = True  # whether it says how much it holds
    size: int = 1 << 30  # bytes that it holds at most
    held: int = 0
    written: bytearray = attrs.field(factory=bytearray)
    pieces: list[tuple[float, int]] = attrs.field(factory=list)  # when written, how long
    arrived: list[tuple[float, bytes]] = attrs.field(factory=list)  # when, payload
    most_seconds: float = 0.0
    _clock: float = 0.0  # when the first byte that is held began to leave
    _stream: bytearray = attrs.field(factory=bytearray)
    _queue: deque[bytes] = attrs.field(factory=deque)

    def advance(self, now: float) -> None:
        """Let the wire take what it can until `now`."""
        if not self.held or not self.rate:
            self._clock = max(self._clock, now)
            return
        byte_time = self.bits_per_byte / self.rate
        can = self.held if byte_time == 0.0 else min(self.held, int((now - self._clock) / byte_time + 1e-6))
        began = self._clock
        gone = 0
        while gone < can:
            piece = self._queue.popleft()
            if len(piece) > can - gone:
                self._queue.appendleft(piece[can - gone :])
                piece = piece[: can - gone]
            before = len(self._stream)
            self._stream += piece
            while len(self._stream) >= HEADER:
                size = HEADER + int.from_bytes(self._stream[:HEADER], "big")
                if len(self._stream) < size:
                    break
                left = began + (gone + size - before) * byte_time
                self.arrived.append((left + self.latency, bytes(self._stream[HEADER:size])))
                del self._stream[:size]
                before -= size
            gone += len(piece)
        self.held -= can
        self._clock = began + can * byte_time if self.held else now

    def write(self, data: bytes, now: float) -> None:
        assert data, "nothing is ever written empty"
        self.advance(now)
        assert self.held + len(data) <= self.size
        self._queue.append(data)
        self.held += len(data)
        self.written += data
        self.pieces.append((now, len(data)))
        if self.rate:
            self.most_seconds = max(self.most_seconds, self.seconds(now))

    def seconds(self, now: float) -> float:
        """How long until the last byte held has left."""
        return self.held * self.bits_per_byte / self.rate - (now - self._clock) if self.held else 0.0

    def change_rate(self, rate: float, now: float) -> None:
        self.advance(now)
        self.rate = rate
        self._clock = now

    def cut(self, now: float) -> None:
        """The line is gone, and what the port held with it."""
        self.advance(now)
        self._queue.clear()
        self._stream.clear()
        self.held = 0


class Driver:
    """Serves a bundle's ports as a shell does; `run` moves the clock from deadline to deadline."""

    def __init__(
        self,
        *rates: float | None,
        scheduler: object = None,
        now: float = 0.0,
        late: float = 0.0,
        **options: object,
    ) -> None:
        self.now = now
        self.late = late  # how late each wake-up is, seconds
        self.bundle = Bundle(EarliestDelivery() if scheduler is None else scheduler, **options)  # type: ignore[arg-type]
        self.ports: dict[Member, Port] = {}
        self.events: list[Event] = []
        self.wakes: list[float] = []
        self.accepted = 0
        self.members = [self.enslave(rate) for rate in rates]

    def enslave(
        self, rate: float | None, *, wire: float | None = None, tells: bool = True, **options: object
    ) -> Member:
        """A member that is connected; its wire has another rate than it says when `wire` is given."""
        member = Member(f"line{len(self.ports)}", Length(), rate=rate, **options)  # type: ignore[arg-type]
        self.bundle.add(member, self.now)
        self.connect(member, wire=wire, tells=tells)
        return member

    def connect(self, member: Member, *, wire: float | None = None, tells: bool = True) -> Port:
        rate = wire if wire is not None else member.configured_rate or float("inf")
        old = self.ports.get(member)
        port = Port(rate, member.line.bits_per_byte, member.line.latency, tells)
        port._clock = self.now
        if old is not None:
            port.arrived = old.arrived
        self.ports[member] = port
        self.bundle.connected(member, self.now)
        self.serve()
        return port

    def disconnect(self, member: Member, **options: object) -> None:
        self.ports[member].cut(self.now)
        self.bundle.disconnected(member, self.now, "cut", **options)  # type: ignore[arg-type]
        self.serve()

    def packet(self, size: int, **options: object) -> Packet:
        """A packet whose first bytes are its number."""
        payload = self.accepted.to_bytes(4, "big")[-min(size, 4) :].ljust(size, b".") if size else b""
        self.accepted += 1
        return Packet(payload, **options)  # type: ignore[arg-type]

    def send(self, size: int, **options: object) -> Packet:
        packet = self.packet(size, **options)
        self.bundle.send(packet, self.now)
        self.serve()
        return packet

    def bulk(self, until: float, *sizes: int) -> None:
        """Keep the bond full until then."""
        n = 0
        while self.now < until:
            while not self.bundle.full:
                self.send(sizes[n % len(sizes)])
                n += 1
            deadline = self.bundle.next_deadline()
            assert deadline is not None, "the bond is full and nothing will wake it"
            self.run(min(max(deadline, self.now) + self.late, until))

    def serve(self) -> None:
        for member in self.bundle.ready(self.now):
            port = self.ports[member]
            port.advance(self.now)
            room = port.size - port.held
            data = self.bundle.data_to_send(member, self.now, room, port.held if port.tells else None)
            assert len(data) <= room
            if data:
                port.write(data, self.now)
        self.events += self.bundle.take_events()

    def run(self, until: float) -> None:
        """Serve deadlines until then; `now` is `until` afterwards."""
        spins = 0
        while (deadline := self.bundle.next_deadline()) is not None and deadline + self.late <= until:
            spins = spins + 1 if deadline <= self.now else 0
            assert spins < 100, "deadlines that lead to nothing"
            self.now = max(self.now, deadline + self.late)
            self.wakes.append(self.now)
            self.bundle.tick(self.now)
            self.serve()
        self.now = max(self.now, until)
        for port in self.ports.values():
            port.advance(self.now)

    def finish(self, most: float = 3600.0) -> None:
        """Run until nothing is left to do and the wires are empty."""
        until = self.now + most
        while (deadline := self.bundle.next_deadline()) is not None:
            assert deadline < until, "it does not come to rest"
            self.run(max(deadline, self.now) + self.late)
        self.run(self.now + max((p.seconds(self.now) for p in self.ports.values() if p.rate), default=0.0) + 1e-6)

    def arrivals(self) -> list[tuple[float, bytes]]:
        """All that arrived by any line: when, and the payload; in order of arrival."""
        return sorted(entry for port in self.ports.values() for entry in port.arrived)

    def order(self) -> list[int]:
        """The numbers of the packets that arrived, in order of arrival (packets of 4 bytes or more)."""
        arrivals = sorted((round(when, 6), payload) for when, payload in self.arrivals())  # ties are no order
        return [int.from_bytes(payload[:4], "big") for _, payload in arrivals]

    def drained(self) -> bool:
        bundle = self.bundle
        return not bundle.backlog and not bundle.queued_packets and not any(m.wants_to_send() for m in bundle.members)


def reordered(order: list[int]) -> int:
    """Packets that came after one sent later (RFC 4737 section 3.3)."""
    front = -1
    late = 0
    for number in order:
        if number < front:
            late += 1
        else:
            front = number
    return late
