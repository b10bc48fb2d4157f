"""TCP's largest segment, made to fit a link (the MSS option, RFC 9293 section 3.7.1; RFC 6691)."""

from __future__ import annotations

from typing import Final

from eqlbond.codec.ip import TCP, V4_HEADER, V6_HEADER, upper_layer

_TCP_HEADER: Final = 20
_FLAGS: Final = 13
_SYN: Final = 2
_OFFSET: Final = 12
_CHECKSUM: Final = slice(16, 18)
_END: Final = 0
_NOP: Final = 1
_MSS: Final = 2
_MSS_SIZE: Final = 4


def clamp_mss(packet: bytes, mtu: int) -> bytes:
    """The packet, with a smaller MSS where it opens a TCP connection and offers a larger one than the MTU allows.

    Everything else comes back as it is, also what is no IP packet. `mtu` is in bytes, IP header included.
    """
    if len(packet) < V4_HEADER + _TCP_HEADER:
        return packet
    first = packet[0]
    if first >> 4 == 4:  # nearly all packets leave here or at the flags: this is done for each
        if packet[9] != TCP or packet[7] or packet[6] & 0x1F:
            return packet
        start = (first & 15) * 4
        largest = mtu - V4_HEADER - _TCP_HEADER
    elif first >> 4 == 6:
        protocol, start = (TCP, V6_HEADER) if packet[6] == TCP else upper_layer(packet)
        if protocol != TCP or not start:
            return packet
        largest = mtu - V6_HEADER - _TCP_HEADER
    else:
        return packet
    if len(packet) < start + _TCP_HEADER or not packet[start + _FLAGS] & _SYN:
        return packet
    return _clamped(packet, start, max(1, largest))


def _clamped(packet: bytes, start: int, largest: int) -> bytes:
    end = min(len(packet), start + (packet[start + _OFFSET] >> 4) * 4)
    at = start + _TCP_HEADER
    while at < end:
        kind = packet[at]
        if kind == _END:
            break
        if kind == _NOP:
            at += 1
            continue
        size = packet[at + 1] if at + 1 < end else 0
        if size < 2 or at + size > end:
            break
        if kind == _MSS and size == _MSS_SIZE:
            if int.from_bytes(packet[at + 2 : at + 4], "big") <= largest:
                break
            return _rewritten(packet, start, at + 2, largest)
        at += size
    return packet


def _rewritten(packet: bytes, start: int, at: int, value: int) -> bytes:
    made = bytearray(packet)
    made[at : at + 2] = value.to_bytes(2, "big")
    # RFC 1624: HC' = ~(~HC + ~m + m'), over the aligned words that have changed; an option may stand on an odd byte.
    low = start + (at - start) // 2 * 2
    words = slice(low, low + 4)
    total = 0xFFFF - int.from_bytes(made[start + _CHECKSUM.start : start + _CHECKSUM.stop], "big")
    total += 0xFFFFFFFF - int.from_bytes(packet[words].ljust(4, b"\0"), "big")
    total += int.from_bytes(made[words].ljust(4, b"\0"), "big")
    checksum = 0xFFFF - (total % 0xFFFF or 0xFFFF)
    made[start + _CHECKSUM.start : start + _CHECKSUM.stop] = checksum.to_bytes(2, "big")
    return bytes(made)
