"""What the codecs need to know about IP headers (RFC 791, RFC 8200).

Offsets are named once, here. Nothing in this module raises on bad input: a payload that is no IP packet gives
None or False.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

V4_HEADER: Final = 20
"""Size of an IPv4 header without options, in bytes."""
V4_TOTAL_LENGTH: Final = slice(2, 4)
V4_FRAGMENT: Final = slice(6, 8)
V4_PROTOCOL: Final = 9
V4_CHECKSUM: Final = slice(10, 12)
V4_ADDRESSES: Final = slice(12, 20)

V6_HEADER: Final = 40
"""Size of the fixed IPv6 header, in bytes."""
V6_PAYLOAD_LENGTH: Final = slice(4, 6)
V6_NEXT_HEADER: Final = 6
V6_ADDRESSES: Final = slice(8, 40)

ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
ICMPV6: Final = 58
SCTP: Final = 132

_PORTS: Final = frozenset((TCP, UDP, SCTP))
_PORTS_SIZE: Final = 4  # source and destination port, the first four bytes of all three

# ICMP echo: 8 and 0 (RFC 792), 128 and 129 (RFC 4443). Their identifier tells one ping from another.
_ECHO: Final = {ICMP: frozenset((0, 8)), ICMPV6: frozenset((128, 129))}
_ECHO_IDENTIFIER: Final = slice(4, 6)

_V4_UNFRAGMENTED: Final = frozenset((b"\x00\x00", b"\x40\x00"))  # nothing, or Don't Fragment
_V4_FRAGMENT_MASK: Final = 0x3FFF  # More Fragments and the offset

_V6_FRAGMENT: Final = 44
_V6_AUTHENTICATION: Final = 51
# Hop-by-hop, routing, destination options, mobility, HIP, shim6: next header, then length in units of 8 bytes.
_V6_EXTENSIONS: Final = frozenset((0, 43, 60, 135, 139, 140))
_V6_MOST_EXTENSIONS: Final = 8


def ip_version(payload: bytes) -> int | None:
    """4 or 6 where the payload can be such a packet by its version field and its size; else None."""
    if len(payload) >= V4_HEADER:
        version = payload[0] >> 4
        if version == 4 or (version == 6 and len(payload) >= V6_HEADER):
            return version
    return None


def header_checksum(header: bytes | bytearray) -> int:
    """The Internet checksum (RFC 1071) of an IPv4 header: what belongs into its checksum field if that is zero now.

    Of a header that carries its right checksum already, it is 0.
    """
    value = int.from_bytes(header, "big")
    # The ones' complement sum of 16-bit words is the number modulo 2**16 - 1, with 0xFFFF in the place of 0.
    return 0xFFFF - (value % 0xFFFF or 0xFFFF) if value else 0xFFFF


def is_ip_packet(payload: bytes) -> bool:
    """Whether the payload is surely an IP packet: version, lengths and, in IPv4, the header checksum are right."""
    size = len(payload)
    if size < V4_HEADER:
        return False
    version = payload[0] >> 4
    if version == 4:
        header = (payload[0] & 15) * 4
        return (
            V4_HEADER <= header <= size
            and int.from_bytes(payload[V4_TOTAL_LENGTH], "big") == size
            and header_checksum(payload[:header]) == 0
        )
    return version == 6 and size >= V6_HEADER and int.from_bytes(payload[V6_PAYLOAD_LENGTH], "big") + V6_HEADER == size


def flow_key(payload: bytes) -> Hashable | None:
    """What all packets of one flow have in common, and packets of other flows hardly ever; None when it is no IP.

    TCP, UDP and SCTP flows are told apart by protocol, addresses and ports; pings by addresses and identifier;
    everything else by protocol and addresses. So are all fragments, because only the first one shows the ports.
    The two directions of a connection have different keys.
    """
    if len(payload) < V4_HEADER:
        return None
    first = payload[0]
    if first >> 4 == 4:
        protocol = payload[V4_PROTOCOL]
        addresses = payload[12:20]  # literal, like the next: a constant slice object is slower to use
        if payload[6:8] not in _V4_UNFRAGMENTED and (int.from_bytes(payload[V4_FRAGMENT], "big") & _V4_FRAGMENT_MASK):
            return protocol, addresses
        start = (first & 15) * 4
        if start < V4_HEADER:
            return None
    elif first >> 4 == 6 and len(payload) >= V6_HEADER:
        addresses = payload[V6_ADDRESSES]
        protocol, start = upper_layer(payload)
        if not start:
            return protocol, addresses
    else:
        return None
    if protocol in _PORTS:
        ports = payload[start : start + 4]
        return (protocol, addresses, ports) if len(ports) == _PORTS_SIZE else (protocol, addresses)
    if protocol in _ECHO:
        message = payload[start : start + 6]
        if len(message) == 6 and message[0] in _ECHO[protocol]:
            return protocol, addresses, message[_ECHO_IDENTIFIER]
    return protocol, addresses


def upper_layer(payload: bytes) -> tuple[int, int]:
    """The upper protocol of an IPv6 packet and where it starts; 0 as the start where it is not to be seen.

    That is so in a fragment, and behind a header that is cut or not known.
    """
    protocol = payload[V6_NEXT_HEADER]
    start = V6_HEADER
    for _ in range(_V6_MOST_EXTENSIONS):
        if protocol in _V6_EXTENSIONS or protocol in (_V6_FRAGMENT, _V6_AUTHENTICATION):
            header = payload[start : start + 4]
            if len(header) < 4:
                return protocol, 0
            if protocol == _V6_FRAGMENT:
                if header[2] or header[3] & 0xF9:  # 13 bits of offset, two reserved, More Fragments
                    return header[0], 0
                start += 8
            elif protocol == _V6_AUTHENTICATION:
                start += (header[1] + 2) * 4
            else:
                start += (header[1] + 1) * 8
            protocol = header[0]
        else:
            return protocol, start
    return protocol, 0


def is_uncompressed_tcp(payload: bytes) -> bool:
    """Whether the payload is surely an UNCOMPRESSED_TCP packet of Van Jacobson's header compression (RFC 1144).

    Such a packet is a whole TCP/IPv4 packet with the type 7 in place of the version and the number of the
    connection in place of the protocol. The header checksum is still that of the packet as it was.
    """
    size = len(payload)
    if size < 2 * V4_HEADER or payload[0] >> 4 != 7:
        return False
    header = (payload[0] & 15) * 4
    if header < V4_HEADER or int.from_bytes(payload[V4_TOTAL_LENGTH], "big") != size:
        return False
    restored = bytearray(payload[:header])
    restored[0] &= 0x4F
    restored[V4_PROTOCOL] = TCP
    return header_checksum(restored) == 0


def ip_packet_at_end(data: bytes) -> bytes | None:
    """The IP packet that fills `data` up to its end, where there is one behind something else; else None."""
    for first in (0x45, 0x60):  # IPv4 without options; IPv6 of traffic class 0, as nearly all are
        at = data.find(first, 1)
        while at >= 0:
            # The length is looked at before anything is copied: this must be linear on any data.
            length = int.from_bytes(data[at + 2 : at + 4] if first == 0x45 else data[at + 4 : at + 6], "big")
            if length + (V6_HEADER if first == 0x60 else 0) == len(data) - at and is_ip_packet(data[at:]):
                return data[at:]
            at = data.find(first, at + 1)
    return None
