"""ICMP errors for packets that are too big, and IPv4 fragments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqlbond.codec.ip import header_checksum, is_ip_packet
from eqlbond.codec.path_mtu import fragment, too_big

from .test_ip import v4, v6

DF = 0x4000


def udp(size: int) -> bytes:
    return bytes(n % 251 for n in range(size))


def changed(packet: bytes, at: int, value: bytes) -> bytes:
    made = bytearray(packet)
    made[at : at + len(value)] = value
    if made[0] >> 4 == 4:
        made[10:12] = b"\0\0"
        made[10:12] = header_checksum(made[: (made[0] & 15) * 4]).to_bytes(2, "big")
    return bytes(made)


def test_ipv4_fragmentation_needed() -> None:
    packet = v4(17, udp(1400), fragment=DF)
    error = too_big(packet, 576)
    assert error is not None
    assert is_ip_packet(error)
    assert (error[9], error[20:22]) == (1, b"\x03\x04")
    assert (error[12:16], error[16:20]) == (packet[16:20], packet[12:16])
    assert int.from_bytes(error[26:28], "big") == 576
    assert header_checksum(error[20:]) == 0
    assert packet.startswith(error[28:])
    assert len(error) == 576  # RFC 1812 section 4.3.2.3


def test_ipv6_packet_too_big() -> None:
    packet = v6(17, udp(1400))
    error = too_big(packet, 1280)
    assert error is not None
    assert is_ip_packet(error)
    assert (error[6], error[40:42]) == (58, b"\x02\x00")
    assert int.from_bytes(error[44:48], "big") == 1280
    assert (error[8:24], error[24:40]) == (packet[24:40], packet[8:24])
    assert len(error) == 1280
    assert packet.startswith(error[48:])
    assert header_checksum(error[8:40] + (len(error) - 40).to_bytes(4, "big") + b"\0\0\0\x3a" + error[40:]) == 0


@pytest.mark.parametrize(
    "packet",
    [
        v4(17, udp(1400)),  # it may be fragmented
        v4(17, udp(1400), fragment=DF | 5),  # not the first fragment
        v4(1, b"\x03\x01" + udp(1400), fragment=DF),  # an error
        v4(1, b"\x0b\x00" + udp(1400), fragment=DF),
        changed(v4(17, udp(1400), fragment=DF), 16, b"\xe0\0\0\1"),  # to a group
        changed(v4(17, udp(1400), fragment=DF), 16, b"\xff\xff\xff\xff"),
        changed(v4(17, udp(1400), fragment=DF), 12, b"\0\0\0\0"),  # from nobody
        changed(v4(17, udp(1400), fragment=DF), 12, b"\x7f\0\0\1"),
        v6(58, b"\x01\x00" + udp(1400)),  # an error
        v6(58, b"\x89\x00" + udp(1400)),  # a redirect
        changed(v6(17, udp(1400)), 24, b"\xff\x02"),
        changed(v6(17, udp(1400)), 8, bytes(16)),
        v6(44, b"\x11\0\0\x08" + udp(1400)),  # not the first fragment
        b"",
        bytes(1400),
    ],
)
def test_where_no_error_may_be_sent(packet: bytes) -> None:
    assert too_big(packet, 1280) is None


@pytest.mark.parametrize("kind", [8, 0, 13])
def test_an_icmp_query_gets_one(kind: int) -> None:
    assert too_big(v4(1, bytes((kind, 0)) + udp(1400), fragment=DF), 576) is not None


def put_together(fragments: list[bytes]) -> bytes:
    body = bytearray()
    for piece in sorted(fragments, key=lambda piece: int.from_bytes(piece[6:8], "big") & 0x1FFF):
        assert is_ip_packet(piece)
        at = (int.from_bytes(piece[6:8], "big") & 0x1FFF) * 8
        assert at == len(body)
        body += piece[(piece[0] & 15) * 4 :]
    return bytes(body)


@given(st.integers(1, 3000), st.integers(68, 1500))
def test_fragments_put_together_are_the_packet(size: int, mtu: int) -> None:
    packet = v4(17, udp(size))
    fragments = fragment(packet, mtu)
    assert put_together(fragments) == udp(size)
    assert max(map(len, fragments)) <= mtu
    assert [bool(piece[6] & 0x20) for piece in fragments] == [True] * (len(fragments) - 1) + [False]
    assert {piece[4:6] for piece in fragments} == {packet[4:6]}


def test_options_that_are_copied() -> None:
    router_alert, record_route = b"\x94\x04\0\0", b"\x07\x07\x04\0\0\0\0\x01"
    first, *rest = fragment(v4(17, udp(1000), options=record_route + router_alert), 300)
    assert first[20:32] == record_route + router_alert
    assert {piece[20:24] for piece in rest} == {router_alert}
    assert {piece[0] for piece in rest} == {0x46}
    assert put_together([first, *rest]) == udp(1000)


def test_a_fragment_is_cut_further() -> None:
    middle = v4(17, udp(800), fragment=0x2000 | 100)
    fragments = fragment(middle, 300)
    assert all(piece[6] & 0x20 for piece in fragments)
    assert [int.from_bytes(piece[6:8], "big") & 0x1FFF for piece in fragments] == [100, 135, 170]


@pytest.mark.parametrize("packet", [v4(17, udp(100), fragment=DF), v6(17, udp(100)), b"", v4(17, udp(100))[:50]])
def test_what_is_not_cut(packet: bytes) -> None:
    assert fragment(packet, 68) == []


def test_a_damaged_header_is_not_cut() -> None:
    packet = bytearray(v4(17, udp(100)))
    packet[8] ^= 1
    assert fragment(bytes(packet), 68) == []


@given(st.binary(max_size=1500), st.integers(0, 1500))
def test_anything_at_all(packet: bytes, mtu: int) -> None:
    too_big(packet, mtu)
    assert all(len(piece) <= max(mtu, 0) for piece in fragment(packet, mtu))
