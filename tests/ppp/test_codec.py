"""Control packets and options: bytes to values and back."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqlbond.codec import options
from eqlbond.codec.control import ControlPacket, parse_control
from eqlbond.codec.options import (
    USE_CHAP_MD5,
    USE_PAP,
    EndpointDiscriminator,
    Option,
    OptionKind,
    encode_options,
    parse_options,
)
from eqlbond.exceptions import ConfigurationError

octet = st.integers(0, 255)


@given(octet, octet, st.binary(max_size=300), st.binary(max_size=9))
def test_control_round_trip(code: int, identifier: int, data: bytes, padding: bytes) -> None:
    packet = ControlPacket(code, identifier, data)
    assert parse_control(packet.encode() + padding) == packet


@given(st.binary(max_size=12))
def test_control_takes_no_lie(raw: bytes) -> None:
    packet = parse_control(raw)
    length = int.from_bytes(raw[2:4], "big")
    assert (packet is not None) == (len(raw) >= 4 and 4 <= length <= len(raw))


@given(st.lists(st.tuples(octet, st.binary(max_size=253)), max_size=5))
def test_options_round_trip(listed: list[tuple[int, bytes]]) -> None:
    given_options = tuple(Option(*pair) for pair in listed)
    assert parse_options(encode_options(given_options)) == given_options


@pytest.mark.parametrize("raw", [b"\x01", b"\x01\x00", b"\x01\x01", b"\x01\x03", b"\x01\x04\x05", b"\x01\x02\x09"])
def test_options_that_do_not_add_up(raw: bytes) -> None:
    assert parse_options(raw) is None


@given(st.binary(max_size=600))
def test_options_never_raise(raw: bytes) -> None:
    parsed = parse_options(raw)
    assert parsed is None or encode_options(parsed) == raw


IP = ipaddress.IPv4Address


@pytest.mark.parametrize(
    ("kind", "value", "wire"),
    [
        (options.MRU, 1500, "0104 05dc"),
        (options.ACCM, 0xA0000, "0206 000a0000"),
        (options.AUTHENTICATION, USE_PAP, "0304 c023"),
        (options.AUTHENTICATION, USE_CHAP_MD5, "0305 c223 05"),
        (options.MAGIC, 0xDEADBEEF, "0506 deadbeef"),
        (options.PFC, True, "0702"),
        (options.ACFC, True, "0802"),
        (options.FCS, 4, "0903 04"),
        (options.MRRU, 1500, "1104 05dc"),
        (options.SHORT_SEQUENCE, True, "1202"),
        (options.ENDPOINT, EndpointDiscriminator.null(), "1303 00"),
        (options.ENDPOINT, EndpointDiscriminator.local("site7"), "1308 01 7369746537"),
        (options.ENDPOINT, EndpointDiscriminator.ipv4("10.0.0.1"), "1307 02 0a000001"),
        (options.ENDPOINT, EndpointDiscriminator.mac("02:00:5e:10:00:01"), "1309 03 02005e100001"),
        (options.ENDPOINT, EndpointDiscriminator.magic(b"abcdefgh"), "130b 04 6162636465666768"),
        (options.ENDPOINT, EndpointDiscriminator.phone("4930123456"), "130d 05 34393330313233343536"),
        (options.IP_COMPRESSION, 0x2D, "0204 002d"),
        (options.IP_ADDRESS, IP("10.0.0.2"), "0306 0a000002"),
        (options.PRIMARY_DNS, IP("1.2.3.4"), "8106 01020304"),
        (options.SECONDARY_DNS, IP("1.2.3.4"), "8306 01020304"),
        (options.INTERFACE_IDENTIFIER, 1, "010a 0000000000000001"),
    ],
    ids=lambda v: v.name if isinstance(v, OptionKind) else None,
)
def test_named_options(kind: OptionKind[object], value: object, wire: str) -> None:
    option = kind.make(value)
    assert option.encode() == bytes.fromhex(wire)
    assert kind.read(option) == value


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (options.MRU, b"\x05"),
        (options.MRU, b"\0\0\0"),
        (options.ACCM, b""),
        (options.AUTHENTICATION, b"\xc0"),
        (options.MAGIC, b"12345"),
        (options.PFC, b"\0"),
        (options.FCS, b""),
        (options.ENDPOINT, b""),
        (options.ENDPOINT, b"\x00x"),
        (options.ENDPOINT, b"\x01"),
        (options.ENDPOINT, b"\x01" + bytes(21)),
        (options.ENDPOINT, b"\x02abc"),
        (options.ENDPOINT, b"\x03abcde"),
        (options.ENDPOINT, b"\x04abcde"),
        (options.ENDPOINT, b"\x04" + bytes(24)),
        (options.ENDPOINT, b"\x05" + bytes(16)),
        (options.ENDPOINT, b"\x09" + bytes(21)),
        (options.IP_ADDRESS, b"123"),
        (options.INTERFACE_IDENTIFIER, b"1234567"),
    ],
)
def test_wrong_sizes_have_no_value(kind: OptionKind[object], data: bytes) -> None:
    assert kind.read(Option(kind.type, data)) is None


def test_class_of_the_future_is_read() -> None:
    assert options.ENDPOINT.read(Option(19, b"\x09ab")) == EndpointDiscriminator(9, b"ab")


@pytest.mark.parametrize(
    "make",
    [
        lambda: EndpointDiscriminator.local(""),
        lambda: EndpointDiscriminator.local("x" * 21),
        lambda: EndpointDiscriminator.ipv4("10.0.0"),
        lambda: EndpointDiscriminator.mac("02:00"),
        lambda: EndpointDiscriminator.mac("zz:00:5e:10:00:01"),
        lambda: EndpointDiscriminator.magic(b"abc"),
        lambda: EndpointDiscriminator.phone("1" * 16),
        lambda: EndpointDiscriminator(256, b""),
    ],
)
def test_bad_endpoints_are_named(make: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()  # type: ignore[operator]
    assert caught.value.field == "endpoint"


def test_endpoints_compare_and_show() -> None:
    assert EndpointDiscriminator.local("a") == EndpointDiscriminator.local(b"a")
    assert EndpointDiscriminator.local("a") != EndpointDiscriminator.phone("a")
    shown = {
        str(EndpointDiscriminator.null()): "null:",
        str(EndpointDiscriminator.local("site7")): "local:site7",
        str(EndpointDiscriminator.local(b"\x00\xff")): "local:00ff",
        str(EndpointDiscriminator.ipv4("10.0.0.1")): "IPv4:10.0.0.1",
        str(EndpointDiscriminator.mac("02-00-5e-10-00-01")): "MAC:02:00:5e:10:00:01",
        str(EndpointDiscriminator(7, b"\x01")): "7:01",
    }
    assert all(key == value for key, value in shown.items())
