"""Lines and packets by hand, to try a scheduler without a bond."""

from __future__ import annotations

from eqlbond.packet import Packet
from eqlbond.schedulers.base import Line

_put = object.__setattr__


def packet(size: int, *, priority: int = 0, sequence: int = 0) -> Packet:
    """A packet of `size` bytes of payload."""
    made = Packet(bytes(size), priority=priority, sequence=sequence)
    made.express = priority > 0
    return made


def line(
    name: str = "line",
    *,
    rate: float | None = 9600,
    bits_per_byte: float = 10,
    latency: float = 0.0,
    priority: float | None = None,
    mtu: int = 1500,
    overhead: int = 0,
) -> Line:
    """An idle line that is up; a packet takes its payload plus `overhead` bytes on it."""
    made = Line(name, lambda p: len(p.payload) + overhead)
    values: dict[str, object] = {
        "rate": rate,
        "bits_per_byte": float(bits_per_byte),
        "byte_time": bits_per_byte / rate if rate else 0.0,
        "latency": latency,
        "priority": float(priority if priority is not None else rate or 0.0),
        "mtu": mtu,
        "up": True,
    }
    for field, value in values.items():
        _put(made, field, value)
    return made


def take(line: Line, packet: Packet, now: float, not_before: float = 0.0) -> float:
    """Plan the packet onto the line, as a bond would; returns when it will have arrived."""
    size = line.wire_size(packet)
    start = max(line.free, now, not_before)
    _put(line, "free", start + size * line.byte_time)
    _put(line, "planned", line.planned + size)
    return line.free + line.latency
