"""FCS-16 and FCS-32 against published check values and against a reference that shifts bits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqlbond.codec.fcs import fcs16, fcs16_good, fcs16_trailer, fcs32, fcs32_good, fcs32_trailer


def bitwise(data: bytes, polynomial: int, bits: int) -> int:
    register = ones = (1 << bits) - 1
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (polynomial if register & 1 else 0)
    return register ^ ones


@pytest.mark.parametrize(
    ("data", "check16", "check32"),
    [
        (b"123456789", 0x906E, 0xCBF43926),  # the check values of CRC-16/X-25 and CRC-32
        (b"", 0x0000, 0x00000000),
        (b"a", 0x82F7, 0xE8B7BE43),
        (b"The quick brown fox jumps over the lazy dog", None, 0x414FA339),
    ],
)
def test_published(data: bytes, check16: int | None, check32: int) -> None:
    assert check16 is None or fcs16(data) == check16
    assert fcs32(data) == check32


@given(st.binary(max_size=200))
def test_against_bits(data: bytes) -> None:
    assert fcs16(data) == bitwise(data, 0x8408, 16)
    assert fcs32(data) == bitwise(data, 0xEDB88320, 32)
    assert fcs16_trailer(data) == fcs16(data).to_bytes(2, "little")
    assert fcs32_trailer(data) == fcs32(data).to_bytes(4, "little")


@given(st.binary(max_size=60), st.data())
def test_one_bad_bit_is_seen(data: bytes, draw: st.DataObject) -> None:
    for trailer, good in ((fcs16_trailer, fcs16_good), (fcs32_trailer, fcs32_good)):
        frame = bytearray(data + trailer(data))
        assert good(bytes(frame))
        bit = draw.draw(st.integers(0, len(frame) * 8 - 1))
        frame[bit // 8] ^= 1 << bit % 8
        assert not good(bytes(frame))
