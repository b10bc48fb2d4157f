"""What a line's frames look like: the two protocols that a framing of one's own implements.

A `Framing` is a value: it can be shared by any number of lines, compared, and printed. For each connection it
makes a `Framer`, which holds the half-received frame and dies with the connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from eqlbond.packet import Packet


class Framer(Protocol):
    """Frames and unframes the packets of one connection. No clock, no I/O.

    Nothing that arrives may raise: what is no good frame is dropped and counted in `dropped`.
    """

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many frames were dropped on receipt, by reason; only reasons that occurred are there."""
        ...

    @property
    def remedies(self) -> Mapping[str, str]:
        """For reasons that a person can mend: what to do about them. Reported once a connection."""
        ...

    def encode(self, packet: Packet) -> bytes:
        """The packet as one whole frame, as it goes on the wire."""
        ...

    def wire_size(self, packet: Packet) -> int:
        """How many bytes `encode(packet)` has, delimiters and escapes included."""
        ...

    def feed(self, data: bytes) -> list[Packet]:
        """Take what the line delivered, in any cut, and return the packets that it completes.

        Time is linear in the data and memory is bounded whatever arrives.
        """
        ...


@runtime_checkable
class Framing(Protocol):
    """A kind of framing with its options."""

    def framer(self, mtu: int) -> Framer:
        """A fresh framer for one connection of a bond that carries packets of up to `mtu` bytes.

        Raises `ConfigurationError` where the framing cannot carry packets of that size.
        """
        ...
