"""MSS clamping: which packets are changed, how, and that their checksums stay right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqlbond.codec.ip import header_checksum
from eqlbond.codec.mss import clamp_mss

from .test_ip import v4, v6

MSS = b"\x02\x04"
SYN, SYN_ACK, ACK, RST = 0x02, 0x12, 0x10, 0x04


def tcp(options: bytes, flags: int = SYN, data: bytes = b"") -> bytes:
    options = options.ljust(-(-len(options) // 4) * 4, b"\0")
    header = bytearray(20)
    header[:4] = b"\x30\x39\x00\x50"
    header[12] = (20 + len(options)) // 4 << 4
    header[13] = flags
    return bytes(header) + options + data


def pseudo(packet: bytes) -> tuple[bytes, int]:
    if packet[0] >> 4 == 4:
        start = (packet[0] & 15) * 4
        return packet[12:20] + bytes((0, 6)) + (len(packet) - start).to_bytes(2, "big"), start
    start = len(packet) - 20 if packet[6] != 6 else 40
    return packet[8:40] + (len(packet) - start).to_bytes(4, "big") + bytes((0, 0, 0, 6)), start


def summed(packet: bytes) -> bytes:
    """With its TCP checksum."""
    header, start = pseudo(packet)
    made = bytearray(packet)
    body = bytes(made[start:]) + bytes((len(made) - start) % 2)
    made[start + 16 : start + 18] = header_checksum(header + body).to_bytes(2, "big")
    return bytes(made)


def is_right(packet: bytes) -> bool:
    header, start = pseudo(packet)
    return header_checksum(header + packet[start:] + bytes((len(packet) - start) % 2)) == 0


def mss_of(packet: bytes) -> int:
    _, start = pseudo(packet)
    at = packet.index(MSS, start + 20) + 2
    return int.from_bytes(packet[at : at + 2], "big")


@pytest.mark.parametrize(
    "make", [lambda body: v4(6, body), lambda body: v4(6, body, options=bytes(8)), lambda body: v6(6, body)]
)
@pytest.mark.parametrize("flags", [SYN, SYN_ACK])
@pytest.mark.parametrize(
    "before", [b"", b"\x01", b"\x01\x01\x01", b"\x03\x03\x07", b"\x08\x0a" + bytes(8), b"\x04\x02\x01"]
)
@pytest.mark.parametrize("offered", [1460, 65535, 600])
def test_an_offer_is_made_to_fit(make, flags, before, offered) -> None:
    packet = summed(make(tcp(before + MSS + offered.to_bytes(2, "big") + b"\x04\x02", flags)))
    made = clamp_mss(packet, 576)
    headers = 40 if packet[0] >> 4 == 4 else 60
    assert mss_of(made) == 576 - headers
    assert is_right(made)
    assert len(made) == len(packet)
    assert sum(a != b for a, b in zip(packet, made, strict=True)) <= 4


@pytest.mark.parametrize(
    "packet",
    [
        v4(6, tcp(MSS + (536).to_bytes(2, "big"))),  # it fits
        v4(6, tcp(MSS + b"\x05\xb4", ACK)),
        v4(6, tcp(MSS + b"\x05\xb4", RST)),
        v4(17, tcp(MSS + b"\x05\xb4")),
        v4(6, tcp(MSS + b"\x05\xb4"), fragment=1),
        v4(6, tcp(b"\x01\x01")),
        v4(6, tcp(b"\x00" + MSS + b"\x05\xb4")),  # behind the end of the options
        v4(6, tcp(b"\x08\x00" + MSS + b"\x05\xb4")),  # an option of no length
        v4(6, tcp(b"\x08\x28" + MSS + b"\x05\xb4")),  # one that is longer than the header
        v4(6, tcp(MSS + b"\x05\xb4"))[:43],  # cut within the option
        v6(17, tcp(MSS + b"\x05\xb4")),
        b"",
        b"\x45",
        bytes(60),
    ],
)
def test_everything_else_is_left_alone(packet: bytes) -> None:
    assert clamp_mss(packet, 576) is packet


def test_behind_extension_headers() -> None:
    hop_by_hop = bytes((6, 0, 1, 4, 0, 0, 0, 0))
    packet = v6(0, hop_by_hop + tcp(MSS + b"\xff\xff"))
    made = clamp_mss(packet, 1280)
    assert int.from_bytes(made[-2:], "big") == 1220


@given(st.binary(max_size=120), st.integers(68, 1500))
def test_anything_at_all(packet: bytes, mtu: int) -> None:
    assert len(clamp_mss(packet, mtu)) == len(packet)


@given(st.binary(max_size=40), st.sampled_from([0x45, 0x46, 0x60]), st.integers(0, 255))
def test_broken_options(options: bytes, first: int, offset: int) -> None:
    packet = bytearray((v6 if first == 0x60 else v4)(6, tcp(options[:40])))
    packet[0] = first
    packet[(packet[0] & 15) * 4 + 12 if first != 0x60 else 52] = offset
    assert len(clamp_mss(bytes(packet), 100)) == len(packet)
