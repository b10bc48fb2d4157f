"""Explicit congestion notification in IP headers (RFC 3168): telling a sender to slow down without a loss."""

from __future__ import annotations

from typing import Final

from eqlbond.codec.ip import V4_CHECKSUM, V4_HEADER, V6_HEADER, header_checksum

NOT_ECT: Final = 0
"""The sender does not take notice: it has to be told by a loss."""
CE: Final = 3
"""Congestion experienced; 1 and 2 (ECT) are senders that take notice."""


def ecn_of(payload: bytes) -> int:
    """The two bits of the packet (RFC 3168 section 5); `NOT_ECT` where it is no IP packet."""
    if len(payload) >= V4_HEADER:
        version = payload[0] >> 4
        if version == 4:
            return payload[1] & 3
        if version == 6 and len(payload) >= V6_HEADER:
            return payload[1] >> 4 & 3
    return NOT_ECT


def congestion_experienced(payload: bytes) -> bytes | None:
    """The packet with its ECN bits at CE, the header checksum (IPv4) set right; None: its sender takes no notice.

    A packet that says CE already comes back as it is.
    """
    bits = ecn_of(payload)
    if bits == NOT_ECT:
        return None
    if bits == CE:
        return payload
    marked = bytearray(payload)
    if payload[0] >> 4 == 6:
        marked[1] |= CE << 4
        return bytes(marked)
    header = (payload[0] & 15) * 4
    if header < V4_HEADER or header > len(payload) or header_checksum(payload[:header]):
        return None  # to mend a checksum that is wrong would make a damaged header pass
    marked[1] |= CE
    marked[V4_CHECKSUM] = b"\x00\x00"
    marked[V4_CHECKSUM] = header_checksum(marked[:header]).to_bytes(2, "big")
    return bytes(marked)
