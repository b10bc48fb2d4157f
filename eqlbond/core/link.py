"""One connection of a line: made when the port opens, gone when it closes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from eqlbond.codec.base import Framer, Framing
from eqlbond.packet import Packet


class Link(Protocol):
    """What the engine asks of a connection.

    A plain framing is wrapped by `PlainLink`; a framing that negotiates (PPP) makes links of its own.
    """

    up: bool
    """Whether data packets may go."""
    failure: str | None
    """Why the connection is to be given up, once it is."""
    mtu: int
    """The largest packet that the peer takes."""

    @property
    def dropped(self) -> Mapping[str, int]: ...

    @property
    def remedies(self) -> Mapping[str, str]: ...

    def start(self, now: float) -> None:
        """The port is open."""
        ...

    def receive(self, data: bytes, now: float) -> list[Packet]:
        """Take what the port read; return the data packets in it."""
        ...

    def encode(self, packet: Packet) -> bytes: ...

    def wire_size(self, packet: Packet) -> int: ...

    def take_output(self) -> list[bytes]:
        """Control frames that wait to be sent, ready for the wire."""
        ...

    def next_deadline(self) -> float | None: ...

    def tick(self, now: float) -> None:
        """A deadline has come."""
        ...


@runtime_checkable
class NegotiatedFraming(Framing, Protocol):
    """A framing whose connections have a life of their own before they carry packets."""

    def link(self, mtu: int) -> Link:
        """A fresh connection."""
        ...


class PlainLink:
    """A connection that needs no negotiation: up from the start, a framer and nothing else."""

    __slots__ = ("_framer", "encode", "failure", "mtu", "receive_frames", "up", "wire_size")

    def __init__(self, framer: Framer, mtu: int) -> None:
        self.up = True
        self.failure: str | None = None
        self.mtu = mtu
        self._framer = framer
        self.encode = framer.encode
        self.wire_size = framer.wire_size
        self.receive_frames = framer.feed

    @property
    def dropped(self) -> Mapping[str, int]:
        """The framer's counters, asked anew: they may be a property that makes a fresh mapping."""
        return self._framer.dropped

    @property
    def remedies(self) -> Mapping[str, str]:
        """The framer's."""
        return self._framer.remedies

    def start(self, now: float) -> None:
        """Nothing to negotiate."""

    def receive(self, data: bytes, now: float) -> list[Packet]:
        """Unframe."""
        return self.receive_frames(data)

    def take_output(self) -> list[bytes]:
        """No control frames."""
        return []

    def next_deadline(self) -> float | None:
        """No timers."""
        return None

    def tick(self, now: float) -> None:
        """No timers."""


def make_link(framing: Framing, mtu: int) -> Link:
    """A fresh connection for a line with this framing.

    Raises:
        ConfigurationError: the framing cannot carry packets of `mtu` bytes.
    """
    if isinstance(framing, NegotiatedFraming):
        return framing.link(mtu)
    return PlainLink(framing.framer(mtu), mtu)
