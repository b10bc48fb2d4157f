"""What the codecs' tests share: IP packets, and the ways in which a stream can arrive."""

from __future__ import annotations

import random

from eqlbond.codec.ip import header_checksum


def ipv4(body: bytes = b"", protocol: int = 17, first: int = 0x45) -> bytes:
    header = bytearray(20)
    header[0] = first
    header[2:4] = (20 + len(body)).to_bytes(2, "big")
    header[8] = 64
    header[9] = protocol
    header[12:20] = bytes((10, 0, 2, 15, 10, 0, 2, 2))
    header[10:12] = header_checksum(header).to_bytes(2, "big")
    return bytes(header) + body


def ipv6(body: bytes = b"") -> bytes:
    return b"\x60\x00\x00\x00" + len(body).to_bytes(2, "big") + b"\x11\x40" + bytes(32) + body


def uncompressed_tcp(body: bytes = bytes(20)) -> bytes:
    packet = bytearray(ipv4(body, protocol=6))
    packet[0] |= 0x30  # the type 7
    packet[9] = 3  # the number of the connection
    return bytes(packet)


def cuts(stream: bytes, seed: int = 0) -> list[list[bytes]]:
    """The stream whole, a byte at a time, and in pieces of random sizes."""
    chance = random.Random(seed)
    ways = [[stream], [stream[i : i + 1] for i in range(len(stream))]]
    for most in (3, 50, 700):
        pieces = []
        at = 0
        while at < len(stream):
            size = chance.randint(1, most)
            pieces.append(stream[at : at + size])
            at += size
        ways.append(pieces)
    return ways
