"""KISS: frames, ports and commands, any cut of the stream, and bounds."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqlbond.codec import kiss
from eqlbond.codec.base import Framer, Framing
from eqlbond.codec.kiss import Kiss, KissCommand, KissFramer, kiss_encode
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet
from tests.codec.streams import cuts

FEND = b"\xc0"

payloads = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.lists(st.sampled_from([0xC0, 0xDB, 0xDC, 0xDD, 0x00]), min_size=1, max_size=300).map(bytes),
)


def all_ways(stream: bytes, port: int = 0, max_frame: int = 1500) -> tuple[list[bytes], dict[str, int]]:
    results = []
    for pieces in cuts(stream):
        framer = KissFramer(max_frame, port)
        results.append(([packet.payload for piece in pieces for packet in framer.feed(piece)], dict(framer.dropped)))
    for result in results[1:]:
        assert result == results[0]
    return results[0]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (kiss_encode(b"TEST"), "c0 00 54 45 53 54 c0"),
        (kiss_encode(b"Hello", port=5), "c0 50 48 65 6c 6c 6f c0"),
        (kiss_encode(b"\xc0\xdb"), "c0 00 db dc db dd c0"),
        (kiss_encode(b"", port=12), "c0 db dc c0"),  # the type byte is a FEND
        (kiss.tx_delay(0.5), "c0 01 32 c0"),
        (kiss.tx_delay(2.55, port=1), "c0 11 ff c0"),
        (kiss.tx_delay(1.92), "c0 01 db dc c0"),
        (kiss.persistence(0.25), "c0 02 3f c0"),
        (kiss.persistence(1.0), "c0 02 ff c0"),
        (kiss.persistence(0.0001), "c0 02 00 c0"),
        (kiss.slot_time(0.1), "c0 03 0a c0"),
        (kiss.tx_tail(0.0), "c0 04 00 c0"),
        (kiss.full_duplex(True, port=15), "c0 f5 01 c0"),
        (kiss.full_duplex(False), "c0 05 00 c0"),
        (kiss.set_hardware(b"\x01\x02"), "c0 06 01 02 c0"),
        (kiss.leave_kiss(), "c0 ff c0"),
    ],
)
def test_frames(frame: bytes, expected: str) -> None:
    assert frame == bytes.fromhex(expected)


@given(st.lists(payloads, min_size=1, max_size=6), st.integers(0, 15))
def test_round_trip_in_any_cut(sent: list[bytes], port: int) -> None:
    framer = KissFramer(1500, port)
    for payload in sent:
        frame = framer.encode(Packet(payload))
        assert frame == kiss_encode(payload, port)
        assert framer.wire_size(Packet(payload)) == len(frame)
    assert all_ways(b"".join(kiss_encode(payload, port) for payload in sent), port) == (sent, {})


def test_other_ports_and_commands_are_counted() -> None:
    stream = (
        kiss_encode(b"mine", 3)
        + kiss_encode(b"other", 4)
        + kiss_encode(b"zero")
        + kiss.tx_delay(0.3, port=3)
        + kiss.leave_kiss()
        + kiss_encode(b"", 3)
        + kiss_encode(b"mine", 3, KissCommand.DATA)
    )
    expected = {"other_port": 2, "other_command": 2, "empty": 1}
    assert all_ways(stream, port=3) == ([b"mine", b"mine"], expected)


def test_bad_frames() -> None:
    good = kiss_encode(b"ok")
    stream = (
        b"TNC2 ready\r\n" + good + b"\x00a\xdbb" + good + b"\x00" + b"x" * 101 + good + b"\x00" + b"x" * 9999 + good
    )
    expected = {"preamble": 1, "bad_escape": 1, "too_long": 2}
    assert all_ways(stream, max_frame=100) == ([b"ok"] * 4, expected)
    assert all_ways(good[1:] + good) == ([b"ok"], {"preamble": 1})


def test_largest_frame() -> None:
    for port in (0, 12):
        sent = [b"\xc0" * 1500, b"x" * 1500]
        assert all_ways(b"".join(kiss_encode(payload, port) for payload in sent), port) == (sent, {})


def test_garbage() -> None:
    chance = random.Random(1)
    framer = KissFramer(1500)
    for _ in range(200):
        noise = bytes(chance.choices(b"\xc0\xdb\xdc\xdd\x00a", k=chance.randint(1, 3000)))
        for packet in framer.feed(chance.choice([noise, chance.randbytes(4000)])):
            assert 1 <= len(packet.payload) <= 1500
        assert framer.held <= 3002


def test_is_a_framing() -> None:
    framer: Framer = Kiss(port=2).framer(576)
    assert isinstance(Kiss(), Framing)
    assert Kiss(2) == Kiss(port=2) != Kiss()
    [packet] = framer.feed(framer.encode(Packet(b"frame")))
    assert (packet.payload, packet.protocol) == (b"frame", None)
    assert "port" in framer.remedies["other_port"]


def test_bad_options() -> None:
    for make in (lambda: Kiss(port=16), lambda: kiss_encode(b"", -1), lambda: KissFramer(1500, 16)):
        with pytest.raises(ConfigurationError, match="port: a TNC has no port"):
            make()
    for make in (lambda: kiss.tx_delay(2.56), lambda: kiss.slot_time(float("nan")), lambda: kiss.tx_tail(9)):
        with pytest.raises(ConfigurationError, match=r"0 to 2\.55 s"):
            make()
    with pytest.raises(ConfigurationError, match="command"):
        kiss_encode(b"", 0, 16)
    with pytest.raises(ConfigurationError, match="persistence"):
        kiss.persistence(1.2)
    with pytest.raises(ConfigurationError, match="max_frame"):
        Kiss(max_frame=100).framer(576)
