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

    def hold_echo(self, now: float, until: float, gone: int) -> None:
        """What the last `tick` has sent has not left the port, and will not before `until`: nobody can answer it.

        `gone`: bytes that have left the port, since ever.
        """
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


@runtime_checkable
class WatchedFraming(Framing, Protocol):
    """A framing without negotiation whose idle lines can be kept alive and watched, as those of Linux's SLIP can."""

    @property
    def outfill(self) -> float | None:
        """Seconds without sending after which an `idle_frame` goes; None: never."""
        ...

    @property
    def keepalive(self) -> float | None:
        """Seconds without receiving after which the line is taken for dead; None: never."""
        ...

    @property
    def idle_frame(self) -> bytes:
        """What keeps an idle line alive: bytes that the far end receives and drops; none where it cannot stand any."""
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

    def hold_echo(self, now: float, until: float, gone: int) -> None:
        """No questions."""

    def terminate(self, now: float) -> None:
        """Nothing to say to the peer."""
        self.finished = True

    def hang_up(self, now: float, reason: str) -> None:
        """Nothing to do."""

    def take_events(self, owner: Any) -> list[Event]:
        """Nothing happens."""
        return []


class WatchedLink(PlainLink):
    """A plain connection with the two timers of Linux's SLIP line discipline (drivers/net/slip): outfill, keepalive.

    As there, an outfill period in which anything was sent is not idle, so up to two periods may pass between
    the last frame and the first filler; a peer's `keepalive` has to be longer than that.

    Args:
        silent: the line fell silent and was opened again. It carries no packets before something was heard on it; a
            filler asks for that, so that two ends that wait for each other find together.
    """

    __slots__ = ("_encode", "_fill_at", "_heard", "_idle_frame", "_keepalive", "_outfill", "_output", "_quiet")

    def __init__(
        self,
        framer: Framer,
        mtu: int,
        outfill: float | None,
        keepalive: float | None,
        idle_frame: bytes,
        *,
        silent: bool = False,
    ) -> None:
        super().__init__(framer, mtu)
        self.up = not silent
        self._outfill = outfill
        self._keepalive = keepalive
        self._idle_frame = idle_frame
        self._encode = framer.encode
        self.encode = self._encode_and_note
        self._quiet = True
        self._fill_at = self._heard = 0.0
        self._output: list[bytes] = []

    def _encode_and_note(self, packet: Packet) -> bytes:
        self._quiet = False
        return self._encode(packet)

    def start(self, now: float) -> None:
        """Both timers begin."""
        self._heard = now
        self._fill_at = now + (self._outfill or 0.0)
        if not self.up and self._idle_frame:
            self._output.append(self._idle_frame)

    def receive(self, data: bytes, now: float) -> list[Packet]:
        """Unframe; whatever arrives shows that the line lives."""
        self._heard = now
        if not self.up:
            self.up = self.stirred = True
        return self.receive_frames(data)

    def take_output(self) -> list[bytes]:
        """The filler, where one is due."""
        self.stirred = False
        output, self._output = self._output, []
        return output

    def next_deadline(self) -> float | None:
        """The earlier of the two timers."""
        dead_at = None if self._keepalive is None else self._heard + self._keepalive
        if self._outfill is None:
            return dead_at
        return self._fill_at if dead_at is None else min(self._fill_at, dead_at)

    def tick(self, now: float, queue_delay: float = 0.0) -> None:
        """A timer has run out, or would have, had nothing been received."""
        if self._keepalive is not None and now >= self._heard + self._keepalive:
            self.failure = f"nothing was received for {self._keepalive:g} s"
            return
        if self._outfill is not None and now >= self._fill_at:
            if self._quiet:
                self._output.append(self._idle_frame)
            self._quiet = True
            self._fill_at = now + self._outfill
