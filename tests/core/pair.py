"""Two bundles on a virtual clock, joined by lines that lose, damage, double and delay frames, and that can be cut."""

from __future__ import annotations

import random
from heapq import heappop, heappush

import attrs

from eqlbond.core.bundle import Bundle
from eqlbond.core.member import Member
from eqlbond.core.multilink import Multilink
from eqlbond.events import Event, SlaveDown
from eqlbond.packet import Packet
from eqlbond.ppp.config import Ppp
from eqlbond.schedulers import EarliestDelivery

FLAG = 0x7E
MULTILINK = Multilink()
PPP = Ppp()


@attrs.define
class Faults:
    """What a line does to frames: probabilities, for each frame."""

    loss: float = 0.0
    damage: float = 0.0
    double: float = 0.0
    jitter: float = 0.0  # seconds; frames of one line keep their order


@attrs.define(eq=False)
class Way:
    """One direction of a line: what is written leaves at its rate, and arrives a frame at a time."""

    rate: float | None
    latency: float
    faults: Faults
    rng: random.Random
    cut: bool = False
    stuck: bool = False
    free: float = 0.0
    last: float = 0.0
    epoch: int = 0
    _frame: bytearray = attrs.field(factory=bytearray)

    def write(self, data: bytes, now: float) -> list[tuple[float, bytes]]:
        """What arrives of it, and when."""
        arrivals = []
        byte_time = 10 / self.rate if self.rate else 0.0
        at = max(self.free, now)
        for byte in data:
            at += byte_time
            self._frame.append(byte)
            if byte == FLAG and len(self._frame) > 1:
                arrivals += self._carry(bytes(self._frame), at)
                self._frame.clear()
        self.free = at
        return [] if self.cut else arrivals

    def _carry(self, frame: bytes, at: float) -> list[tuple[float, bytes]]:
        faults, rng = self.faults, self.rng
        self.last = max(self.last, at + self.latency + faults.jitter * rng.random())
        if rng.random() < faults.loss:
            return []
        if rng.random() < faults.damage:
            changed = bytearray(frame)
            changed[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
            frame = bytes(changed)
        return [(self.last, frame)] * (2 if rng.random() < faults.double else 1)

    def held(self, now: float) -> int:
        """Bytes written that have not left."""
        return round(max(0.0, self.free - now) * (self.rate or 0.0) / 10)

    def hang_up(self, now: float) -> None:
        self._frame.clear()
        self.free = now
        self.epoch += 1


class End:
    """One of the two bundles, with what came out of it."""

    def __init__(self, multilink: Multilink | None, seed: str, **options: object) -> None:
        options.setdefault("scheduler", EarliestDelivery())
        self.bundle = Bundle(multilink=multilink, random=random.Random(seed), **options)  # type: ignore[arg-type]
        self.members: list[Member] = []
        self.received: list[tuple[float, Packet]] = []
        self.events: list[Event] = []

    def downs(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, SlaveDown)]

    def payloads(self) -> list[bytes]:
        return [packet.payload for _, packet in self.received]


class Joined:
    """Both ends and the lines between them; time goes on by `run`."""

    def __init__(
        self,
        *rates: float | None,
        multilink: Multilink | None = MULTILINK,
        far_multilink: Multilink | None = None,
        ppp: Ppp | list[Ppp] = PPP,
        far_ppp: Ppp | list[Ppp] | None = None,
        latency: float = 0.0,
        faults: Faults | None = None,
        seed: int = 1,
        mtus: list[int | None] | None = None,
        connect: bool = True,
        **options: object,
    ) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, int, int, int, bytes]] = []
        self._count = 0
        far = multilink if far_multilink is None else far_multilink
        self.a, self.b = End(multilink, f"a {seed}", **options), End(far, f"b {seed}", **options)
        self.ends = (self.a, self.b)
        self.ways: list[tuple[Way, Way]] = []
        self.up: list[bool] = []
        far_ppp = ppp if far_ppp is None else far_ppp
        for n, rate in enumerate(rates):
            for end, config in zip(self.ends, (ppp, far_ppp), strict=True):
                framing = config[n] if isinstance(config, list) else config
                mtu = mtus[n] if mtus else None
                member = Member(f"line{n}", framing, rate=rate, latency=latency, mtu=mtu)
                end.bundle.add(member, 0.0)
                end.members.append(member)
            rng = random.Random(f"line {n} {seed}")
            way = Way(rate, latency, faults or Faults(), rng), Way(rate, latency, faults or Faults(), rng)
            self.ways.append(way)
            self.up.append(False)
            if connect:
                self.connect(n)

    # -- lines

    def connect(self, n: int, *, only: int | None = None) -> None:
        """Both ends, or the one, open the port of line `n`."""
        for side, end in enumerate(self.ends):
            self.ways[n][side].cut = False
            if only in (None, side):
                end.bundle.connected(end.members[n], self.now)
                self.serve(side)

    def hang_up(self, n: int, *, only: int | None = None) -> None:
        """The line is gone with what was on it, and both ends, or the one, hear of it."""
        for way in self.ways[n]:
            way.hang_up(self.now)
        for side, end in enumerate(self.ends):
            if only in (None, side):
                end.bundle.disconnected(end.members[n], self.now, "hang-up")
                self.serve(side)

    def silence(self, n: int, silent: bool = True) -> None:
        """Nothing arrives any more, and nobody is told; or it does again."""
        for way in self.ways[n]:
            way.cut = silent

    # -- traffic and time

    def send(self, data: bytes, side: int = 0, **options: object) -> None:
        self.ends[side].bundle.send(Packet(data, **options), self.now)  # type: ignore[arg-type]
        self.serve(side)

    def serve(self, side: int) -> None:
        end = self.ends[side]
        bundle = end.bundle
        for member in bundle.ready(self.now):
            n = end.members.index(member)
            way = self.ways[n][side]
            data = bundle.data_to_send(member, self.now, 0 if way.stuck else 65536, self.unsent(member))
            if data:
                for when, frame in way.write(data, self.now):
                    self.put(n, side, when, frame)
            if data and not member.line.byte_time:
                bundle.has_room(member)
        end.events += bundle.take_events()

    def unsent(self, member: Member) -> int | None:
        """What the port of a line without a rate tells; the others' do not tell."""
        if member.line.byte_time:
            return None
        side = 0 if member in self.a.members else 1
        return self.ways[self.ends[side].members.index(member)][side].held(self.now)

    def stick(self, n: int, side: int = 0, stuck: bool = True) -> None:
        """The port takes nothing any more, or does again."""
        self.ways[n][side].stuck = stuck
        if not stuck:
            self.ends[side].bundle.has_room(self.ends[side].members[n])
            self.serve(side)

    def put(self, n: int, side: int, when: float, data: bytes) -> None:
        """Have bytes arrive from `side` by line `n`."""
        self._count += 1
        heappush(self._heap, (when, self._count, n, side, self.ways[n][side].epoch, data))

    def run(self, until: float) -> None:
        still = 0
        while True:
            when, side = self._heap[0][0] if self._heap else float("inf"), None
            for number, end in enumerate(self.ends):
                due = end.bundle.next_deadline()
                if due is not None and due < when:
                    when, side = due, number
            if when > until:
                break
            still = still + 1 if when <= self.now else 0
            assert still < 10000, "it goes round in a circle"
            self.now = max(self.now, when)
            if side is None:
                _, _, n, sender, epoch, data = heappop(self._heap)
                side = 1 - sender
                end = self.ends[side]
                if epoch != self.ways[n][sender].epoch:
                    continue
                packets = end.bundle.receive(end.members[n], data, self.now)
            else:
                packets = self.ends[side].bundle.tick(self.now, self.unsent)
            self.ends[side].received += [(self.now, packet) for packet in packets]
            self.serve(side)
        self.now = until

    def open(self, most: float = 60.0) -> Joined:
        """Until all lines are up at both ends."""
        end = self.now + most
        while not all(member.line.up for each in self.ends for member in each.members):
            assert self.now < end, "the lines do not come up"
            self.run(self.now + 0.1)
        return self

    def order(self, side: int = 1) -> list[int]:
        """The numbers in the first four bytes of what was received."""
        return [int.from_bytes(payload[:4], "big") for payload in self.ends[side].payloads()]
