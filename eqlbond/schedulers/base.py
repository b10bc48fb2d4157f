"""The `Scheduler` protocol: which line carries which packet, and from when.

A scheduler sees packets one at a time, in the order in which they entered the bond, and lines as read-only
`Line` views. It answers with a `Placement`. It has no clock and does no I/O; time comes in as `now`.

State belongs to one bond: a `Master` works on a copy (`copy.deepcopy`) of the scheduler that it is given, so
one object may be handed to several bonds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import attrs

from eqlbond.packet import Packet


class Line:
    """What a scheduler may know about one line of the bond. Read-only.

    Rates are bits per second, sizes bytes on the wire, times seconds of the clock that `now` is from.
    """

    __slots__ = (
        "_size",
        "bits_per_byte",
        "byte_time",
        "framing",
        "free",
        "latency",
        "mtu",
        "name",
        "planned",
        "priority",
        "rate",
        "soonest",
        "up",
    )

    _size: Callable[[Packet], int]
    name: str
    """The line's name, for people."""
    rate: float | None
    """What the line carries, in bit/s; None when it is not known and not paced."""
    bits_per_byte: float
    """Bits on the wire for each byte: 10 on an 8N1 cable, 8 behind a modem with error correction."""
    byte_time: float
    """Seconds for one byte: bits_per_byte / rate; 0.0 without a rate."""
    latency: float
    """Seconds from the last bit's leaving here to its arrival there."""
    priority: float
    """The weight given by the user, by default the rate; only weighted schedulers read it."""
    mtu: int
    """The largest packet that the line carries whole."""
    up: bool
    """Whether the line can carry packets now. `place` is given lines that are up."""
    free: float
    """When all that is planned and committed will have left; in the past when the line idles."""
    soonest: float
    """When a packet that passes everything planned could start: behind what the port already has."""
    planned: int
    """Bytes planned and not yet handed to the port; without a rate, with what the port has not taken."""
    framing: object
    """Lines whose `framing` is the same object frame a packet to the same `wire_size`."""

    def __init__(self, name: str, size: Callable[[Packet], int]) -> None:
        put = object.__setattr__
        put(self, "name", name)
        put(self, "_size", size)
        put(self, "rate", None)
        put(self, "bits_per_byte", 10.0)
        put(self, "byte_time", 0.0)
        put(self, "latency", 0.0)
        put(self, "priority", 0.0)
        put(self, "mtu", 0)
        put(self, "up", False)
        put(self, "free", 0.0)
        put(self, "soonest", 0.0)
        put(self, "planned", 0)
        put(self, "framing", self)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a scheduler sees lines read-only: {name} of {self.name!r} cannot be set")

    def __repr__(self) -> str:
        return f"<Line {self.name} rate={self.rate} planned={self.planned} up={self.up}>"

    # A copy of a scheduler may hold lines; they are identities, not data.
    def __deepcopy__(self, memo: dict[int, Any]) -> Line:
        return self

    def wire_size(self, packet: Packet) -> int:
        """Bytes that the packet takes on this line, framing and escapes included."""
        if packet.sized_for is self.framing:
            return packet.sized
        packet.frame = None
        size = self._size(packet)
        packet.sized_for = self.framing
        packet.sized = size
        return size

    def eta(self, size: int, now: float) -> float:
        """When `size` wire bytes that are planned now, behind all the rest, will be at the far end."""
        start = self.free if self.free > now else now
        return start + size * self.byte_time + self.latency


@attrs.define(eq=False)
class Placement:
    """A scheduler's answer: the line that takes the packet, or several for copies.

    `not_before` holds the packet back on that line until the given time (an absolute one, as `now` is), so
    that it does not overtake what was placed on a slower line. 0.0: no hold.
    """

    line: Line
    not_before: float = 0.0
    copies: tuple[Line, ...] = ()
    """Further lines that carry a copy each."""


FRAGMENT_HEADERS = 6
"""Bytes of a fragment's Multilink header and protocol field, at the most: they count against a line's MTU."""


@runtime_checkable
class Scheduler(Protocol):
    """Decides where each packet goes.

    Only `place` is required. The bond also calls these where they exist:

    ``split(packet, lines, now) -> list[tuple[Line, int]] | None``
        For Multilink: how many bytes of the packet each line takes, in order; None, or a single pair, leaves the
        packet whole. Each line stands once, and its share and `FRAGMENT_HEADERS` fit its MTU.
    ``resequenced()``
        Called once, before anything else, where the far end puts packets back in order: holding gains nothing.
    ``lines_changed(lines, now) -> bool | None``
        A line came, went, or changed its rate or latency. True asks for all that is planned and not
        committed to be placed again, oldest first.
    ``withdrawn(packet, line, now)``
        The packet was taken back from the line's plan and will be placed again.
    ``window(lines, size) -> float``
        Seconds of plan that the policy needs to keep every line busy with packets of `size` bytes; the bond's
        queue limit is kept above it.
    """

    def place(self, packet: Packet, lines: Sequence[Line], now: float) -> Placement | None:
        """Where the packet goes.

        `lines` are those that are up and can carry the packet, never empty, in the order in which they came
        up. None means: wait, and ask again when a line has taken something or has changed; never answer None
        while all lines are idle. The answer must name lines from `lines`.
        """
        ...
