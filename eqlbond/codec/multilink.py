"""The header of a Multilink fragment (RFC 1990 section 3).

::

    long   |B|E|0 0 0 0 0 0|       sequence number, 24 bits      |
    short  |B|E|0 0| sequence number, 12 bits |

B marks the first fragment of a packet, E the last. The packet begins with its own protocol field, compressed
(section 2: a bundle has protocol field compression by definition).
"""

from __future__ import annotations

from typing import Final

MP: Final = 0x003D
"""PPP protocol number of Multilink."""
BEGIN: Final = 0x80
END: Final = 0x40
LONG: Final = 4
SHORT: Final = 2
"""Header sizes, bytes."""


def header_size(short: bool) -> int:
    """Bytes of the header."""
    return SHORT if short else LONG


def sequence_space(short: bool) -> int:
    """How many sequence numbers there are."""
    return 1 << (12 if short else 24)


def encode_header(number: int, begin: bool, end: bool, short: bool) -> bytes:
    """The header of a fragment. `number` is taken modulo the sequence space.

    >>> encode_header(1, True, True, short=False).hex()
    'c0000001'
    >>> encode_header(4097, False, True, short=True).hex()
    '4001'
    """
    flags = (BEGIN if begin else 0) | (END if end else 0)
    if short:
        return (flags << 8 | number & 0xFFF).to_bytes(2, "big")
    return (flags << 24 | number & 0xFFFFFF).to_bytes(4, "big")


def decode_header(payload: bytes, short: bool) -> tuple[int, int] | None:
    """(flags, sequence number) of a fragment; None where it is too short to have a header.

    The reserved bits are ignored, as the RFC asks of a receiver. The data begin behind `header_size(short)` bytes.
    """
    if short:
        if len(payload) < SHORT:
            return None
        return payload[0] & 0xC0, (payload[0] & 0x0F) << 8 | payload[1]
    if len(payload) < LONG:
        return None
    return payload[0] & 0xC0, int.from_bytes(payload[1:4], "big")


def encode_protocol(protocol: int) -> bytes:
    """A protocol field, in one byte where it can be (RFC 1661 section 6.5)."""
    return protocol.to_bytes(1 if protocol < 0x100 and protocol & 1 else 2, "big")


def decode_protocol(packet: bytes) -> tuple[int, int] | None:
    """(protocol, bytes of its field) at the head of a packet; None where it has no valid one (RFC 1661 section 2)."""
    if not packet:
        return None
    if packet[0] & 1:
        return packet[0], 1
    if len(packet) < 2 or not packet[1] & 1:
        return None
    return packet[0] << 8 | packet[1], 2
