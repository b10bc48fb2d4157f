"""One connection of a line: made when the port opens, gone when it closes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from eqlbond.codec.base import Framer, Framing
from eqlbond.events import Event
from eqlbond.packet import Packet


class Link(Protocol):
    """What the engine asks of a connection.

    A plain framing is wrapped by `PlainLink`; a framing that negotiates (PPP) makes links of its own.
    """

    @property
    def up(self) -> bool:
        """Whether data packets may go."""
        ...

    @property
    def failure(self) -> str | None:
        """Why the connection is to be given up, once it is."""
        ...

    @property
    def mtu(self) -> int:
        """The largest packet that the peer takes."""
        ...

    @property
    def stirred(self) -> bool:
        """Whether it has something for its owner: control frames, events, a change of state."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the connection has come to its end, after `terminate` or because the peer ended it."""
        ...

    @property
    def dropped(self) -> Mapping[str, int]: ...

    @property
    def remedies(self) -> Mapping[str, str]: ...

    @property
    def leaving(self) -> bool:
        """Whether the peer has ended the connection: there is nothing to wait for but our last frame."""
        ...

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

    def tick(self, now: float, queue_delay: float = 0.0) -> None:
        """A deadline has come. `queue_delay`: seconds until a control frame made now will have left the port."""
        ...

    def terminate(self, now: float) -> None:
        """End the connection in good order; it is `finished` when the peer has agreed or has not answered."""
        ...

    def hang_up(self, now: float, reason: str) -> None:
        """The line is gone."""
        ...

    def take_events(self, owner: Any) -> list[Event]:
        """What has happened on the connection, as events about `owner`."""
        ...


@runtime_checkable
class NegotiatedFraming(Framing, Protocol):
    """A framing whose connections have a life of their own before they carry packets."""

    def link(self, mtu: int) -> Link:
        """A fresh connection."""
        ...


class PlainLink:
    """A connection that needs no negotiation: up from the start, a framer and nothing else."""

    __slots__ = (
        "_framer",
        "encode",
        "failure",
        "finished",
        "leaving",
        "mtu",
        "receive_frames",
        "stirred",
        "up",
        "wire_size",
    )

    def __init__(self, framer: Framer, mtu: int) -> None:
        self.up = True
        self.stirred = False
        self.finished = False
        self.leaving = False
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

    def tick(self, now: float, queue_delay: float = 0.0) -> None:
        """No timers."""

    def terminate(self, now: float) -> None:
        """Nothing to say to the peer."""
        self.finished = True

    def hang_up(self, now: float, reason: str) -> None:
        """Nothing to do."""

    def take_events(self, owner: Any) -> list[Event]:
        """Nothing happens."""
        return []
