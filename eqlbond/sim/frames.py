"""What goes over a simulated line: packets with a number in them, and framings that carry sizes alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal

import attrs

from eqlbond.codec.base import Framing
from eqlbond.codec.hdlc import HdlcFramer
from eqlbond.core.link import NegotiatedFraming
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet
from eqlbond.ppp.config import Ppp

Content = Literal["random", "text", "escapes"]
SMALLEST = 4
"""Bytes of the smallest packet: it has to hold its number."""

_HEADER = 28  # IPv4, two ports, and the packet's number where TCP has its sequence number
_BODIES = 127  # different contents; a prime, so that no pattern of sizes or lines falls in step with it


@lru_cache(maxsize=1024)
def _ip_header(size: int, flow: int) -> bytes:
    """An IPv4 header (RFC 791) and the ports of a TCP segment of flow number `flow`."""
    flow &= 0xFFFF
    ends = bytes((10, 0, 0, 1, 10, 0, 0, 2))
    start = b"\x45\x00" + size.to_bytes(2, "big") + b"\x00\x00\x40\x00\x40\x06"
    total = sum(int.from_bytes((start + ends)[n : n + 2], "big") for n in range(0, 18, 2))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    ports = (1024 + flow % 60000).to_bytes(2, "big") + (20).to_bytes(2, "big")
    return start + (total ^ 0xFFFF).to_bytes(2, "big") + ends + ports


class Payloads:
    """Makes packets that look as IPv4 with TCP and can be told apart: each has its number inside.

    Args:
        content: ``random``; ``text``, which nothing escapes; or ``escapes``, which SLIP doubles.
        rng: where random contents come from.
        mtu: the largest packet.
    """

    def __init__(self, content: Content, rng: random.Random, mtu: int) -> None:
        if content not in ("random", "text", "escapes"):
            raise ConfigurationError("content", f"'random', 'text' or 'escapes', not {content!r}")
        self._content = content
        self._rng = rng
        self._mtu = mtu
        self._bodies: list[bytes] = []
        self._cut: dict[tuple[int, int], bytes] = {}

    def make(self, number: int, size: int, flow: int) -> bytes:
        """The payload of packet `number`."""
        name = number.to_bytes(4, "big")
        if size < _HEADER:
            return name + bytes(size - SMALLEST)
        which = number % _BODIES
        body = self._cut.get((which, size))
        if body is None:
            body = self._body(which, size)
        return _ip_header(size, flow) + name + body

    def _body(self, which: int, size: int) -> bytes:
        while len(self._bodies) <= which:
            n = max(0, self._mtu - _HEADER)
            if self._content == "random":
                self._bodies.append(self._rng.randbytes(n))
            else:
                self._bodies.append((b"eqlbond " if self._content == "text" else b"\xc0\xdb") * (n // 2 + 1))
        if len(self._cut) > 4096:
            self._cut.clear()
        body = self._cut[which, size] = self._bodies[which][: size - _HEADER]
        return body

    @staticmethod
    def number(payload: bytes) -> int:
        """The number of a packet, if its payload is whole."""
        start = 0 if len(payload) < _HEADER else 24
        return int.from_bytes(payload[start : start + 4], "big")


_zeros = lru_cache(maxsize=4096)(bytes)


def negotiates(framing: Framing) -> bool:
    """Whether connections with this framing talk to their peer before they carry packets."""
    return isinstance(framing, Ppp | NegotiatedFraming)


class SizedFramer:
    """A framer for frames of which only the size goes over the line; `feed` gives what the driver has laid in."""

    __slots__ = ("arrived", "dropped", "remedies", "wire_size")

    def __init__(self, wire_size: Callable[[Packet], int]) -> None:
        self.wire_size = wire_size
        self.dropped: dict[str, int] = {}
        self.remedies: dict[str, str] = {}
        self.arrived: list[Packet] = []

    def encode(self, packet: Packet) -> bytes:
        """Bytes as many as the frame has."""
        return _zeros(self.wire_size(packet))

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that the driver says are in `data`."""
        return self.arrived


def frame_size(framing: Framing, mtu: int) -> Callable[[Packet], int]:
    """How large a packet's frame is, on an open connection; for PPP as both ends ask for it."""
    framer = framing.framer(mtu)
    if isinstance(framing, Ppp) and isinstance(framer, HdlcFramer):
        framer.set_transmit(accm=framing.accm, pfc=framing.pfc, acfc=framing.acfc, fcs=32 if framing.fcs32 else 16)
    return framer.wire_size


@attrs.frozen
class SizedFraming:
    """Stands in for a real framing, with the sizes of its frames and without their bytes.

    A frame is as long as the real framing makes it on average for the contents that the run has.
    """

    framing: Framing
    payloads: Payloads
    made: list[SizedFramer] = attrs.field(factory=list, init=False, eq=False)
    """The framer of the connection that is open."""
    _sizes: dict[int, int] = attrs.field(factory=dict, init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        if negotiates(self.framing):
            raise ConfigurationError("frames", f"{self.framing!r} negotiates, which needs frames='codec'")

    def framer(self, mtu: int) -> SizedFramer:
        """A framer of one connection. Raises `ConfigurationError` where the real framing cannot carry `mtu`."""
        real = self.framing.framer(mtu)
        sizes = self._sizes

        def wire_size(packet: Packet) -> int:
            size = len(packet.payload)
            known = sizes.get(size)
            if known is None:
                probes = [real.wire_size(Packet(self.payloads.make(n, size, 0))) for n in range(_BODIES)]
                known = sizes[size] = round(sum(probes) / _BODIES)
            return known

        self.made[:] = [SizedFramer(wire_size)]
        return self.made[0]


def sized_payload(size: int) -> bytes:
    """A payload of which only the size matters."""
    return _zeros(size)


def merge(counts: Mapping[str, int], into: dict[str, int]) -> None:
    """Add counts by reason."""
    for reason, n in counts.items():
        if n:
            into[reason] = into.get(reason, 0) + n


def describe(value: Any) -> str:
    """A scheduler or a workload, for tables: how it would be written, without what is as by default."""
    kind = type(value)
    if not attrs.has(kind):
        return f"{kind.__name__}()"
    said: list[str] = []
    for field in attrs.fields(kind):
        if not field.init:
            continue
        now = getattr(value, field.name)
        if now != field.default:
            shown = field.repr(now) if callable(field.repr) else repr(now)
            said.append(f"{field.alias}={shown}" if field.kw_only or said or field.name != "size" else shown)
    return f"{kind.__name__}({', '.join(said)})"
