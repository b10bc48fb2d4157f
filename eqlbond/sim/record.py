"""What a run writes down while it goes: packets of one direction, and where frames went."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from eqlbond.packet import Packet
from eqlbond.sim.frames import Payloads


@attrs.frozen
class Placed:
    """One frame on one line; or one piece of it, where the line is paced in pieces."""

    end: str
    """The end that sent it: ``a`` or ``b``."""
    line: int
    start: float
    """When its first bit left."""
    leave: float
    """When its last bit left."""
    arrival: float | None
    """When its last bit arrived; None: it was lost."""
    number: int
    """The packet's number; -1 for a control frame."""
    size: int
    """Bytes on the wire."""
    lost: str = ""
    """Why it was lost."""


_NEVER = array("d", [-1.0]) * 1024
_NOWHERE = array("h", [-1]) * 1024


class Traffic:
    """The packets of one direction, by number."""

    __slots__ = (
        "arrived",
        "damaged",
        "data",
        "duplicates",
        "early",
        "entered",
        "flying",
        "line",
        "lost",
        "on_delivery",
        "order",
        "sized",
        "sizes",
        "useless",
    )

    def __init__(self, sized: bool) -> None:
        self.sized = sized
        self.entered = array("d")
        self.sizes = array("i")
        self.arrived = array("d")  # -1: not yet; grows in steps, ahead of the packets
        self.line = array("h")  # which line delivered it
        self.order = array("q")  # numbers in the order of arrival
        self.early: list[tuple[float, int, int]] = []  # (arrival, count, number) of arrivals that were known beforehand
        self.flying: dict[int, Packet] = {}  # what is to arrive byte by byte as it was sent
        self.data: dict[int, Any] = {}
        self.lost: dict[int, str] = {}  # what last took a packet, by number; it may have gone again by another line
        self.useless: set[int] = set()  # arrived, and brought nothing new
        self.duplicates = 0
        self.damaged = 0
        self.on_delivery: Callable[[int, Any], None] | None = None

    def enter(self, packet: Packet, number: int, since: float, data: Any) -> None:
        """A packet is about to be sent."""
        self.entered.append(since)
        self.sizes.append(len(packet.payload))
        if number >= len(self.arrived):
            self.arrived.extend(_NEVER)
            self.line.extend(_NOWHERE)
        if not self.sized:
            self.flying[number] = packet
        if data is not None:
            self.data[number] = data

    def foresee(self, packet: Packet, arrival: float, count: int, line: int) -> None:
        """A packet will arrive then, and nobody has to be told."""
        number = packet.sequence
        before = self.arrived[number]
        if before < 0.0 or arrival < before:
            self.arrived[number] = arrival
            self.line[number] = line
        self.early.append((arrival, count, number))

    def settle(self, until: float) -> None:
        """The run is over: put what was foreseen in order, as far as it arrived by then."""
        self.early.sort()
        seen = bytearray(len(self.entered))
        for arrival, _, number in self.early:
            if arrival > until:
                if not seen[number]:
                    self.arrived[number] = -1.0
                    self.line[number] = -1
            elif seen[number]:
                self.duplicates += 1
            else:
                seen[number] = 1
                self.order.append(number)
        self.early.clear()
        del self.arrived[len(self.entered) :]
        del self.line[len(self.entered) :]

    def deliver(self, packets: Iterable[Packet], now: float, line: int) -> None:
        """Packets have come out at the other end."""
        for packet in packets:
            number = packet.sequence if self.sized else Payloads.number(packet.payload)
            if number < len(self.entered) and self.arrived[number] >= 0.0:
                self.duplicates += 1
                continue
            if not self.sized:
                sent = self.flying.get(number)
                if sent is None or sent.payload != packet.payload:
                    self.damaged += 1
                    continue
                del self.flying[number]
            self.arrived[number] = now
            self.line[number] = line if line >= 0 else 0
            self.order.append(number)
            if self.on_delivery is not None:
                self.on_delivery(number, self.data.pop(number, None))

    def missing(self, otherwise: str = "waiting") -> dict[str, int]:
        """How many packets did not arrive, by what took them last; `otherwise`: nothing did."""
        counts: dict[str, int] = {}
        for number in range(len(self.entered)):
            if self.arrived[number] < 0.0:
                reason = self.lost.get(number, otherwise)
                counts[reason] = counts.get(reason, 0) + 1
        return counts

    def reordering(self) -> tuple[int, list[int]]:
        """How many packets came after one that was sent later, and by how many places each (RFC 4737).

        A packet is reordered if a later one was there before it (section 3.3); its extent is how many places back the
        earliest of those arrived (section 4.2.1).
        """
        highest: list[tuple[int, int]] = []  # (number, place) of each arrival that was the latest so far
        extents = []
        for place, number in enumerate(self.order):
            if not highest or number > highest[-1][0]:
                highest.append((number, place))
                continue
            low, high = 0, len(highest) - 1
            while low < high:  # the first arrival with a later number
                middle = (low + high) // 2
                if highest[middle][0] > number:
                    high = middle
                else:
                    low = middle + 1
            extents.append(place - highest[low][1])
        return len(extents), extents
