"""What a router does with a packet that is larger than the link: tell its sender, or cut it.

ICMP "fragmentation needed" (RFC 792, RFC 1191), ICMPv6 "packet too big" (RFC 4443), fragments of IPv4 (RFC 791).
"""

from __future__ import annotations

from typing import Final

from eqlbond.codec.ip import ICMP, ICMPV6, V4_CHECKSUM, V4_HEADER, V6_HEADER, header_checksum, ip_version, upper_layer

_DF: Final = 0x4000
_MF: Final = 0x2000
_OFFSET: Final = 0x1FFF
_V4_QUOTE: Final = 576 - V4_HEADER - 8
"""How much of the packet an ICMP error may carry (RFC 1812 section 4.3.2.3)."""
_V6_QUOTE: Final = 1280 - V6_HEADER - 8
_V4_ERRORS: Final = (3, 4, 5, 11, 12)
_V6_INFORMATIONAL: Final = 128
_V6_REDIRECT: Final = 137
_HOP_LIMIT: Final = 64
_COPIED: Final = 0x80  # an option that each fragment has


def too_big(packet: bytes, mtu: int) -> bytes | None:
    """The error that tells the sender of an IP packet what fits; None where none may be sent.

    Its source is the packet's destination: the error comes from the far side of the link. An IPv4 packet that may be
    fragmented gets none, nor does an error, a fragment that is not the first, or a packet to or from a group.
    """
    version = ip_version(packet)
    if version == 4:
        return _fragmentation_needed(packet, mtu)
    if version == 6:
        return _packet_too_big(packet, mtu)
    return None


def _fragmentation_needed(packet: bytes, mtu: int) -> bytes | None:
    flags = int.from_bytes(packet[6:8], "big")
    source, destination = packet[12:16], packet[16:20]
    if not flags & _DF or flags & _OFFSET:
        return None
    if destination[0] >= 224 or source[0] >= 224 or source[0] in (0, 127):
        return None
    header = (packet[0] & 15) * 4
    if header < V4_HEADER or (packet[9] == ICMP and len(packet) > header and packet[header] in _V4_ERRORS):
        return None
    quoted = packet[:_V4_QUOTE]
    body = bytearray(b"\x03\x04\0\0\0\0" + min(mtu, 0xFFFF).to_bytes(2, "big") + quoted)
    body[2:4] = header_checksum(bytes(body) + bytes(len(body) % 2)).to_bytes(2, "big")
    made = bytearray(V4_HEADER)
    made[0], made[1], made[8], made[9] = 0x45, 0xC0, _HOP_LIMIT, ICMP  # internetwork control, RFC 1812 4.3.2.5
    made[2:4] = (V4_HEADER + len(body)).to_bytes(2, "big")
    made[12:20] = destination + source
    made[V4_CHECKSUM] = header_checksum(made).to_bytes(2, "big")
    return bytes(made + body)


def _packet_too_big(packet: bytes, mtu: int) -> bytes | None:
    source, destination = packet[8:24], packet[24:40]
    if source[0] == 0xFF or destination[0] == 0xFF or not any(source):
        return None
    protocol, start = upper_layer(packet)
    if not start:
        return None
    if protocol == ICMPV6 and (
        len(packet) <= start or packet[start] < _V6_INFORMATIONAL or packet[start] == _V6_REDIRECT
    ):
        return None
    body = bytearray(b"\x02\0\0\0" + mtu.to_bytes(4, "big") + packet[:_V6_QUOTE])
    pseudo = destination + source + len(body).to_bytes(4, "big") + bytes((0, 0, 0, ICMPV6))
    body[2:4] = header_checksum(pseudo + bytes(body) + bytes(len(body) % 2)).to_bytes(2, "big")
    header = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes((ICMPV6, _HOP_LIMIT)) + destination + source
    return header + bytes(body)


def fragment(packet: bytes, mtu: int) -> list[bytes]:
    """An IPv4 packet as fragments that fit (RFC 791 section 3.2); none where it may not, or cannot, be cut."""
    if ip_version(packet) != 4:
        return []
    header_size = (packet[0] & 15) * 4
    total = int.from_bytes(packet[2:4], "big")
    flags = int.from_bytes(packet[6:8], "big")
    if flags & _DF or not V4_HEADER <= header_size <= total <= len(packet) or header_checksum(packet[:header_size]):
        return []
    later = packet[:V4_HEADER] + _copied_options(packet[V4_HEADER:header_size])
    if mtu < header_size + 8:
        return []
    fragments: list[bytes] = []
    data = packet[header_size:total]
    at = 0
    while at < len(data):
        header = bytearray(later if at else packet[:header_size])
        room = mtu - len(header)
        take = len(data) - at if len(data) - at <= room else room // 8 * 8
        more = flags & _MF or at + take < len(data)
        header[0] = 0x40 | len(header) // 4
        header[2:4] = (len(header) + take).to_bytes(2, "big")
        header[6:8] = ((_MF if more else 0) | (flags & _OFFSET) + at // 8).to_bytes(2, "big")
        header[V4_CHECKSUM] = b"\0\0"
        header[V4_CHECKSUM] = header_checksum(header).to_bytes(2, "big")
        fragments.append(bytes(header) + data[at : at + take])
        at += take
    return fragments


def _copied_options(options: bytes) -> bytes:
    """Those that go into every fragment, padded."""
    kept = b""
    at = 0
    while at < len(options) and options[at]:
        kind = options[at]
        size = 1 if kind == 1 else options[at + 1] if at + 1 < len(options) else 0
        if size < 1 or (kind != 1 and size < 2) or at + size > len(options):
            break
        if kind & _COPIED:
            kept += options[at : at + size]
        at += size
    return kept.ljust(-(-len(kept) // 4) * 4, b"\0")
