"""Snapshots of what a bond and its lines have done. Counts are since the bond, or the slave, began."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class LineStats:
    """One line."""

    name: str
    up: bool
    state: str
    """For people: "up", "down", or the phase of a connection that negotiates."""
    phase: str | None
    """Of a PPP line (RFC 1661 section 3.2): dead, establish, authenticate, network or terminate; None for others."""
    rate: float | None
    """What the bond plans with, bit/s; below the configured rate where the line drains slower."""
    configured_rate: float | None
    priority: float
    latency: float
    packets_sent: int
    """Packets whose whole frame was handed to the port."""
    payload_sent: int
    bytes_sent: int
    """Bytes handed to the port, framing included."""
    packets_received: int
    payload_received: int
    bytes_received: int
    planned_packets: int
    planned_bytes: int
    """Planned for this line and not handed to its port yet, wire bytes."""
    port_bytes: float
    """Handed to the port and, by the byte clock, not on the wire yet."""
    reclaimed: int
    """Packets taken back from this line, to go by another."""
    dropped: Mapping[str, int]
    """Received frames that were dropped, by reason."""
    lost: Mapping[str, int]
    """Packets that this line cannot have carried and nothing could take back, and control frames dropped, by reason."""
    connections: int
    """How often the line came up."""
    fragments_sent: int = 0
    """Multilink fragments whose frame began to go to the port; `packets_sent` and `payload_sent` are of these, then."""
    fragments_received: int = 0
    """Multilink fragments that arrived whole; `packets_received` are of the packets that they completed."""
    fragments_duplicate: int = 0
    """Of these: came again, or after the bond had given them up."""
    fragments_lost: int = 0
    """Multilink fragments that never came, and that only this line can have lost."""


@attrs.frozen
class BondStats:
    """The bond."""

    lines: tuple[LineStats, ...]
    packets_accepted: int
    payload_accepted: int
    packets_delivered: int
    """Handed to the application."""
    payload_delivered: int
    queued_packets: int
    """Waiting for a place on a line."""
    queued_bytes: int
    """Payload that is queued or planned and has not begun to go to a port."""
    dropped: Mapping[str, int]
    """Packets that the bond itself dropped, by reason."""
    marked: int = 0
    """Packets that its queue marked with congestion experienced (RFC 3168) instead of dropping them."""
    copies: int = 0
    """Second and further copies of packets, by a scheduler such as `Redundant`; those taken back do not count."""

    @property
    def rate(self) -> float:
        """The sum of the rates of the lines that are up, bit/s."""
        return sum(line.rate or 0.0 for line in self.lines if line.up)
