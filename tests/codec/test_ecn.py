"""Marking packets with congestion experienced."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqlbond.codec.ecn import congestion_experienced, ecn_of
from eqlbond.codec.ip import header_checksum, is_ip_packet

from .test_ip import v4, v6


def with_bits(packet: bytes, bits: int) -> bytes:
    made = bytearray(packet)
    if packet[0] >> 4 == 6:
        made[1] |= bits << 4
        return bytes(made)
    made[1] |= bits
    header = (made[0] & 15) * 4
    made[10:12] = b"\0\0"
    made[10:12] = header_checksum(made[:header]).to_bytes(2, "big")
    return bytes(made)


@pytest.mark.parametrize("packet", [v4(6, b"body"), v4(17, b"body", options=bytes(8)), v6(6, b"body")])
@pytest.mark.parametrize(("bits", "notices"), [(0, False), (1, True), (2, True), (3, True)])
def test_each_pair_of_bits(packet: bytes, bits: int, notices: bool) -> None:
    before = with_bits(packet, bits)
    assert ecn_of(before) == bits
    marked = congestion_experienced(before)
    assert (marked is not None) == notices
    if marked is not None:
        assert ecn_of(marked) == 3
        assert is_ip_packet(marked)
        changed = [n for n, (a, b) in enumerate(zip(before, marked, strict=True)) if a != b]
        assert set(changed) <= {1, 10, 11}


def test_the_rest_of_the_traffic_class_stays() -> None:
    packet = bytearray(v6(6, b"body"))
    packet[0] |= 0x0B
    packet[1] = 0x8F | 2 << 4
    marked = congestion_experienced(bytes(packet))
    assert marked is not None
    assert marked[:2] == bytes((0x6B, 0xBF))


def test_a_damaged_header_is_not_mended() -> None:
    packet = bytearray(with_bits(v4(6, b"body"), 2))
    packet[8] ^= 1
    assert congestion_experienced(bytes(packet)) is None


@given(st.binary(max_size=80))
def test_anything_at_all(payload: bytes) -> None:
    marked = congestion_experienced(payload)
    assert marked is None or (len(marked) == len(payload) and ecn_of(marked) == 3)
