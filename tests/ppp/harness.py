"""What the PPP tests share: a plain framer, an endpoint, a bad line, and two endpoints joined in virtual time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from eqlbond.codec.control import ControlPacket, parse_control
from eqlbond.packet import Packet
from eqlbond.ppp.config import Ppp
from eqlbond.ppp.link import LinkFramer, PppLink
from eqlbond.ppp.network import Network
from eqlbond.ppp.phases import LinkEvent, LinkPhaseChanged, Phase, ProtocolRejected

LCP = 0xC021
IPCP = 0x8021


def _table(polynomial: int) -> list[int]:
    rows = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        rows.append(value)
    return rows


_TABLES = {16: _table(0x8408), 32: _table(0xEDB88320)}


def fcs(data: bytes, bits: int) -> bytes:
    """The frame check octet by octet, as RFC 1662 appendix C has it (independent of the library's)."""
    table, crc = _TABLES[bits], (1 << bits) - 1
    for octet in data:
        crc = crc >> 8 ^ table[(crc ^ octet) & 0xFF]
    return (crc ^ (1 << bits) - 1).to_bytes(bits // 8, "little")


class PlainFramer:
    """RFC 1662 octet by octet, slow and simple: a framer to test links with, and an independent peer."""

    def __init__(self, accm: int = 0xFFFFFFFF, fcs: int = 16) -> None:
        self.dropped: dict[str, int] = {}
        self.remedies: dict[str, str] = {}
        self.set_transmit(accm=0xFFFFFFFF, pfc=False, acfc=False, fcs=16)
        self.set_receive(accm=accm, fcs=fcs)
        self._frame = bytearray()
        self._escaped = False

    def set_transmit(self, *, accm: int, pfc: bool, acfc: bool, fcs: int) -> None:
        self.transmit = accm, pfc, acfc, fcs

    def set_receive(self, *, accm: int, fcs: int) -> None:
        self.receive = accm, fcs

    def encode(self, packet: Packet) -> bytes:
        accm, pfc, acfc, bits = self.transmit
        assert packet.protocol is not None
        if packet.protocol == LCP:
            accm, pfc, acfc = 0xFFFFFFFF, False, False
        body = b"" if acfc else b"\xff\x03"
        body += packet.protocol.to_bytes(1 if pfc and packet.protocol < 256 else 2, "big") + packet.payload
        out = bytearray(b"~")
        for octet in body + fcs(body, bits):
            if octet in (0x7D, 0x7E) or (octet < 32 and accm >> octet & 1):
                out += bytes((0x7D, octet ^ 0x20))
            else:
                out.append(octet)
        return bytes(out + b"~")

    def wire_size(self, packet: Packet) -> int:
        return len(self.encode(packet))

    def feed(self, data: bytes) -> list[Packet]:
        packets = []
        for octet in data:
            if octet == 0x7E:
                if self._frame and not self._escaped:
                    packet = self._read(bytes(self._frame))
                    if packet is not None:
                        packets.append(packet)
                self._frame.clear()
                self._escaped = False
            elif octet == 0x7D:
                self._escaped = True
            elif octet < 32 and self.receive[0] >> octet & 1 and not self._escaped:
                pass
            elif len(self._frame) < 4000:
                self._frame.append(octet ^ 0x20 if self._escaped else octet)
                self._escaped = False
        return packets

    def _read(self, frame: bytes) -> Packet | None:
        for bits in (self.receive[1], 16):
            size = bits // 8
            if len(frame) > size + 1 and fcs(frame[:-size], bits) == frame[-size:]:
                body = frame[:-size]
                if body[:2] == b"\xff\x03":
                    body = body[2:]
                size = 1 if body[0] & 1 else 2
                packet = Packet(body[size:], int.from_bytes(body[:size], "big"))
                if bits == self.receive[1] or packet.protocol == LCP:
                    return packet
        self.dropped["fcs"] = self.dropped.get("fcs", 0) + 1
        return None


class Endpoint:
    """A link with a network of its own: a plain PPP line's end, as an application has it."""

    def __init__(self, config: Ppp, seed: int = 1, framer: LinkFramer | None = None) -> None:
        source = random.Random(seed)
        self.config = config
        self.link = PppLink(config, source, framer)
        self.network = Network(config, source)
        self.delivered: list[Packet] = []
        self.events: list[LinkEvent] = []
        self.out: list[bytes] = []

    def start(self, now: float) -> None:
        self.link.start(now)
        self.settle(now)

    def receive(self, data: bytes, now: float) -> None:
        packets = self.link.receive(data, now)
        self.settle(now)
        for packet in packets:
            if packet.protocol in self.network.protocols:
                self.network.receive(packet, now)
            elif self.network.permits(packet.protocol):
                self.delivered.append(packet)
        self.settle(now)

    def tick(self, now: float) -> None:
        self.link.tick(now)
        self.settle(now)
        self.network.tick(now)
        self.settle(now)

    def settle(self, now: float) -> None:
        """Tie the network to the link's phase, and take the output of both."""
        for event in self.link.take_events():
            self.events.append(event)
            if isinstance(event, LinkPhaseChanged):
                if event.phase is Phase.NETWORK:
                    self.network.up(now, self.link.mtu)
                else:
                    self.network.down(now)
            elif isinstance(event, ProtocolRejected):
                self.network.protocol_rejected(event.protocol, now)
        self.out += self.link.take_output()
        for packet in self.network.take_output():
            if self.link.phase is Phase.NETWORK:
                self.out.append(self.link.encode(packet))
        self.events += self.network.take_events()
        if self.network.failure is not None and self.link.phase is Phase.NETWORK:
            self.link.terminate(now, self.network.failure)
            self.settle(now)

    def send(self, payload: bytes) -> None:
        packet = Packet(payload, 0x21 if self.network.permits(0x21) else 0x57)
        assert self.network.permits(packet.protocol)
        self.out.append(self.link.encode(packet))

    def take_output(self) -> list[bytes]:
        out, self.out = self.out, []
        return out

    @property
    def next_deadline(self) -> float | None:
        times = (self.link.next_deadline, self.network.next_deadline)
        return min((t for t in times if t is not None), default=None)

    @property
    def up(self) -> bool:
        return self.link.phase is Phase.NETWORK and self.network.opened

    @property
    def phases(self) -> list[Phase]:
        return [e.phase for e in self.events if isinstance(e, LinkPhaseChanged)]


Line = Callable[[bytes, float], list[tuple[float, bytes]]]


def perfect(frame: bytes, now: float) -> list[tuple[float, bytes]]:
    """A line that delivers every frame after 10 ms."""
    return [(now + 0.01, frame)]


class BadLine:
    """Loses, doubles, delays (and so reorders) and corrupts frames until `good_after`."""

    def __init__(self, source: random.Random, good_after: float, badness: float) -> None:
        self._random = source
        self._good_after = good_after
        self._badness = badness
        self._latest = 0.0

    def __call__(self, frame: bytes, now: float) -> list[tuple[float, bytes]]:
        source = self._random
        latency = 0.02
        if now >= self._good_after:
            self._latest = max(self._latest, now + latency)
            return [(self._latest, frame)]
        arrivals = []
        if source.random() >= self._badness:
            copies = 2 if source.random() < self._badness else 1
            for _ in range(copies):
                data = bytearray(frame)
                if source.random() < self._badness:
                    for _ in range(source.randint(1, 4)):
                        data[source.randrange(len(data))] = source.randrange(256)
                if source.random() < self._badness / 2:
                    del data[source.randrange(len(data)) :]
                late = source.random() * 4 if source.random() < self._badness else 0.0
                arrivals.append((now + latency + late, bytes(data)))
        return arrivals


class Pair:
    """Two endpoints, a line each way, and a virtual clock."""

    def __init__(self, a: Endpoint, b: Endpoint, ab: Line = perfect, ba: Line = perfect) -> None:
        self.ends = (a, b)
        self.lines = (ab, ba)
        self.now = 0.0
        self.steps = 0
        self._arrivals: list[tuple[float, int, int, bytes]] = []
        self._count = 0

    def start(self) -> Pair:
        for end in self.ends:
            end.start(self.now)
        return self

    def _ship(self) -> None:
        for which, end in enumerate(self.ends):
            for frame in end.take_output():
                for when, data in self.lines[which](frame, self.now):
                    self._count += 1
                    heapq.heappush(self._arrivals, (when, self._count, 1 - which, data))

    def run(self, until: float, stop: Callable[[], bool] = lambda: False) -> None:
        """Go on until a time, or until `stop()` holds, or nothing can happen any more."""
        while not stop():
            self._ship()
            times = [t for end in self.ends if (t := end.next_deadline) is not None]
            if self._arrivals:
                times.append(self._arrivals[0][0])
            if not times or min(times) > until:
                self.now = until
                return
            self.now = max(self.now, min(times))
            self.steps += 1
            assert self.steps < 20000, "the endpoints keep each other busy for ever"
            if self._arrivals and self._arrivals[0][0] <= self.now:
                _, _, which, data = heapq.heappop(self._arrivals)
                self.ends[which].receive(data, self.now)
            for end in self.ends:
                deadline = end.next_deadline
                if deadline is not None and deadline <= self.now:
                    end.tick(self.now)


def joined(a: Ppp, b: Ppp, **lines: Line) -> Pair:
    """Two endpoints on a line, started."""
    return Pair(Endpoint(a, 1), Endpoint(b, 2), **lines).start()


def packets_of(frames: list[bytes], framer: PlainFramer | None = None) -> list[tuple[int, ControlPacket]]:
    """The control packets in frames, with their protocols."""
    framer = framer or PlainFramer()
    found = []
    for packet in framer.feed(b"".join(frames)):
        control = parse_control(packet.payload)
        assert control is not None
        assert packet.protocol is not None
        found.append((packet.protocol, control))
    return found
