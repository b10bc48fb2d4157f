"""IPv4, ICMP and TCP by hand: as much as a test needs to have a word with a network."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import attrs

ICMP, TCP = 1, 6
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source: str, target: str, protocol: int, payload: bytes, number: int = 1) -> bytes:
    """An IPv4 datagram (RFC 791)."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), number, 0, 64, protocol, 0)
    head += IPv4Address(source).packed + IPv4Address(target).packed
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def echo_request(source: str, target: str, identifier: int, number: int, data: bytes) -> bytes:
    """A ping (RFC 792)."""
    body = struct.pack("!BBHHH", 8, 0, 0, identifier, number) + data
    return ipv4(source, target, ICMP, body[:2] + struct.pack("!H", checksum(body)) + body[4:], number)


def _with_checksum(source: str, target: str, protocol: int, segment: bytes, at: int) -> bytes:
    pseudo = IPv4Address(source).packed + IPv4Address(target).packed + struct.pack("!BBH", 0, protocol, len(segment))
    return segment[:at] + struct.pack("!H", checksum(pseudo + segment)) + segment[at + 2 :]


def tcp(
    source: str,
    target: str,
    ports: tuple[int, int],
    sequence: int,
    acknowledgement: int,
    flags: int,
    data: bytes = b"",
) -> bytes:
    """A TCP segment without options (RFC 9293)."""
    segment = struct.pack("!HHIIBBHHH", *ports, sequence, acknowledgement, 5 << 4, flags, 4096, 0, 0) + data
    return ipv4(source, target, TCP, _with_checksum(source, target, TCP, segment, 16))


@attrs.frozen
class Datagram:
    """What is in an IPv4 datagram, checked."""

    source: str
    target: str
    protocol: int
    payload: bytes

    @classmethod
    def parse(cls, packet: bytes) -> Datagram:
        """Raises AssertionError where it is no good datagram."""
        assert len(packet) >= 20
        assert packet[0] >> 4 == 4
        size = (packet[0] & 15) * 4
        total = int.from_bytes(packet[2:4], "big")
        assert size <= total <= len(packet)
        assert checksum(packet[:size]) == 0, "the header's checksum is wrong"
        source, target = (str(IPv4Address(packet[n : n + 4])) for n in (12, 16))
        return cls(source, target, packet[9], packet[size:total])


@attrs.frozen
class Segment:
    """What is in a TCP segment."""

    ports: tuple[int, int]
    sequence: int
    acknowledgement: int
    flags: int
    data: bytes

    @classmethod
    def parse(cls, payload: bytes) -> Segment:
        """Of the payload of a datagram."""
        source, target, sequence, acknowledgement, offset, flags = struct.unpack_from("!HHIIBB", payload)
        return cls((source, target), sequence, acknowledgement, flags & 0x3F, payload[(offset >> 4) * 4 :])
