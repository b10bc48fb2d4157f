"""What the four roles of PAP and CHAP have in common: packets to send, when to send again, and how it ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from eqlbond.codec.control import ControlPacket
from eqlbond.ppp.basics import Timing


class Role(ABC):
    """One side of an authentication protocol: it runs by packets and time until it is `done` or has a `failure`.

    Times are seconds of the caller's clock.
    """

    protocol: int
    """The PPP protocol number of its packets; both roles of a protocol get all of them."""

    def __init__(self, timing: Timing) -> None:
        self.done = False
        self.failure: str | None = None
        """Why it has failed, for people."""
        self._timing = timing
        self._sent = 0  # how often the packet that is to be answered
        self._output: list[bytes] = []
        self._deadline: float | None = None

    @property
    def next_deadline(self) -> float | None:
        """When `tick` is due, or None."""
        return self._deadline

    @abstractmethod
    def start(self, now: float) -> None:
        """The link is in the Authenticate phase."""

    def tick(self, now: float) -> None:
        """Do what is due at `now`."""
        if self._deadline is not None and now >= self._deadline:
            self._time_out(now)

    @abstractmethod
    def receive(self, information: bytes, now: float) -> None:
        """Take one packet. Never raises."""

    def take_output(self) -> list[bytes]:
        """The packets to send."""
        output, self._output = self._output, []
        return output

    @abstractmethod
    def _time_out(self, now: float) -> None:
        """The deadline has come."""

    def _await_peer(self, now: float) -> None:
        """Wait for the peer to begin, for as long as it may take to say all that it has to."""
        self._deadline = now + self._timing.restart * self._timing.max_configure

    def _send(self, packet: ControlPacket, now: float) -> None:
        """Send a packet that is to be answered."""
        self._output.append(packet.encode())
        self._sent += 1
        self._deadline = now + self._timing.restart

    def _send_again(self, again: Callable[[float], None], now: float, what: str) -> None:
        """There was no answer: send again, unless that was done often enough."""
        if self._sent >= self._timing.max_configure:
            self._fail(f"the peer did not answer {self._sent} {what}")
        else:
            again(now)

    def _fail(self, reason: str) -> None:
        self._deadline = None
        self.done = False
        self.failure = reason


def refusal(name: str, protocol: str, said: str) -> str:
    """That the peer has refused us, and what it said."""
    return f"the peer refused our name {name!r} or its secret ({protocol})" + (f": {said}" if said else "")
