"""The unit that a bond carries."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import attrs

IPV4 = 0x0021
"""PPP protocol number of IPv4 (RFC 1332)."""
IPV6 = 0x0057
"""PPP protocol number of IPv6 (RFC 5072)."""


@attrs.define(eq=False)
class Packet:
    """One datagram on its way through a bond.

    Applications get packets from a `Master`; to send, they hand over the payload. One object is made
    for each datagram, so the class is neither validated nor frozen: treat a received packet as read-only.
    """

    payload: bytes
    """The datagram itself, without any framing."""
    protocol: int | None = None
    """PPP protocol number (RFC 1661 section 2), or None where the framing carries none (SLIP, KISS)."""
    slave: Any = None
    """The slave that a received packet came in by; None on a packet that is to be sent."""
    priority: int = 0
    """0 for ordinary traffic; above 0 the packet is urgent and goes ahead at the next frame boundary."""
    flow: Hashable = None
    """What keeps its order among itself; a flow with nothing queued passes bulk. None: no particular flow."""
    sequence: int = 0
    """The place in the bond's order of arrival; set by the bond."""
    entered: float = 0.0
    """When the bond took the packet, in seconds of the caller's clock; set by the bond."""
    express: bool = attrs.field(default=False, init=False)
    """Whether it passes what is planned: it is urgent, or its flow has nothing else waiting; set by the bond."""
    copies: int = attrs.field(default=1, init=False, repr=False)
    sized_for: Any = attrs.field(default=None, init=False, repr=False)
    sized: int = attrs.field(default=0, init=False, repr=False)
    frame: bytes | None = attrs.field(default=None, init=False, repr=False)
    """The whole frame, where a framer found its size by making it; it holds for `sized_for`."""
