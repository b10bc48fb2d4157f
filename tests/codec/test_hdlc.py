"""PPP framing: tables, a byte-by-byte reference, any cut of the stream, every kind of bad frame, and bounds."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eqlbond.codec.accm import DEFAULT_ACCM, accm_tables, unescape
from eqlbond.codec.base import Framer, Framing
from eqlbond.codec.fcs import fcs16_trailer, fcs32_trailer
from eqlbond.codec.hdlc import DEFAULTS, LCP, Hdlc, HdlcFramer, HdlcOptions, default_protocol, hdlc_encode
from eqlbond.codec.slip import slip_encode
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import IPV4, IPV6, Packet
from tests.codec.streams import cuts, ipv4, ipv6

FLAG = b"\x7e"
PLAIN = HdlcOptions(accm=0)

payloads = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.lists(st.sampled_from([0x7E, 0x7D, 0x5E, 0x5D, 0x00, 0x11, 0x20, 0xC0]), min_size=1, max_size=300).map(bytes),
    st.binary(min_size=1, max_size=20).map(lambda part: (part * 100)[:1500]),
)
options = st.builds(
    HdlcOptions,
    accm=st.sampled_from([0, 0xA0000, DEFAULT_ACCM, 1, 0xFFFF]) | st.integers(0, 0xFFFFFFFF),
    fcs=st.sampled_from([16, 32]),
    acfc=st.booleans(),
    pfc=st.booleans(),
)
protocols = st.sampled_from([IPV4, IPV6, LCP, 0x003D, 0x8021, 0x00FD, 0xC223])


def reference_escape(body: bytes, accm: int) -> bytes:
    out = bytearray()
    for byte in body:
        if byte in (0x7D, 0x7E) or (byte < 32 and accm >> byte & 1):
            out += bytes((0x7D, byte ^ 0x20))
        else:
            out.append(byte)
    return bytes(out)


def reference_unescape(body: bytes) -> bytes | None:
    out = bytearray()
    escaped = False
    for byte in body:
        if escaped:
            out.append(byte ^ 0x20)
            escaped = False
        elif byte == 0x7D:
            escaped = True
        else:
            out.append(byte)
    return None if escaped else bytes(out)


def frame(body: bytes, accm: int = 0, trailer: Callable[[bytes], bytes] = fcs16_trailer) -> bytes:
    return FLAG + reference_escape(body + trailer(body), accm) + FLAG


def all_ways(
    stream: bytes, receive: HdlcOptions = PLAIN, max_frame: int = 1500
) -> tuple[list[tuple[int | None, bytes]], dict[str, int]]:
    """What the framer makes of the stream, the same for every cut."""
    results = []
    for pieces in cuts(stream):
        framer = HdlcFramer(max_frame, receive=receive)
        packets = [packet for piece in pieces for packet in framer.feed(piece)]
        results.append(([(packet.protocol, packet.payload) for packet in packets], framer.dropped))
    for result in results[1:]:
        assert result == results[0]
    return results[0]


class TestTransparency:
    @given(payloads, st.sampled_from([0, 1, 0xA0000, 0xFF, 0x7FF, DEFAULT_ACCM]))
    @example(b"\x7e" * 1000, 0)
    @example(b"\x7d\x7e\x00" * 500, 0xA0000)
    def test_against_reference(self, body: bytes, accm: int) -> None:
        tables = accm_tables(accm)
        escaped = reference_escape(body, accm)
        assert tables.escape(body) == escaped
        assert tables.size(body) == len(escaped)
        assert unescape(escaped) == body

    # Also what no peer needs to send: 7D 7D, escapes of anything, escapes without end.
    @given(st.lists(st.sampled_from([0x7D, 0x5D, 0x5E, 0x02, 0x22, 0x20, 0x00]), max_size=200).map(bytes))
    @example(b"\x7d" * 100)
    @example(b"\x7d" * 101)
    @example(b"\x7d\x5d" * 100 + b"\x7d\x7d")
    @example(b"\x7d\x5d" * 100 + b"\x7d")
    @example(b"\x7d\x7d\x7d")
    @example(b"")
    def test_unescape_anything(self, body: bytes) -> None:
        assert unescape(body) == reference_unescape(body)


class TestEncode:
    def test_before_lcp(self) -> None:
        # A Configure-Request: everything below 0x20 escaped, address, control and both octets of the protocol.
        body = bytes.fromhex("ff03 c021 01 01 0004")
        assert hdlc_encode(LCP, b"\x01\x01\x00\x04") == frame(body, DEFAULT_ACCM)
        assert hdlc_encode(LCP, b"\x01\x01\x00\x04").startswith(bytes.fromhex("7e ff 7d23 c021 7d21 7d21 7d20 7d24"))

    @pytest.mark.parametrize(
        ("acfc", "pfc", "protocol", "header"),
        [
            (False, False, IPV4, "ff03 0021"),
            (True, False, IPV4, "0021"),
            (False, True, IPV4, "ff03 21"),
            (True, True, IPV4, "21"),
            (True, True, 0x8021, "8021"),
        ],
    )
    def test_header(self, acfc: bool, pfc: bool, protocol: int, header: str) -> None:
        made = hdlc_encode(protocol, b"data", HdlcOptions(accm=0, acfc=acfc, pfc=pfc))
        assert made == frame(bytes.fromhex(header) + b"data")

    def test_fcs32(self) -> None:
        made = hdlc_encode(IPV4, b"data", HdlcOptions(accm=0, fcs=32), leading_flag=False)
        assert made == frame(b"\xff\x03\x00\x21data", trailer=fcs32_trailer)[1:]

    @given(payloads, options, protocols, st.booleans())
    def test_wire_size(self, payload: bytes, send: HdlcOptions, protocol: int, leading_flag: bool) -> None:
        framer = HdlcFramer(1500, send, leading_flag=leading_flag)
        packet = Packet(payload, protocol)
        assert 0 <= len(framer.encode(packet)) - framer.wire_size(packet) <= send.fcs // 8

    def test_wire_size_is_exact_without_escapes_in_the_fcs(self) -> None:
        framer = HdlcFramer(1500, PLAIN)
        exact = 0
        for number in range(1000):
            packet = Packet(number.to_bytes(2, "big"), IPV4)
            exact += framer.wire_size(packet) == len(framer.encode(packet))
        assert exact > 970


class TestDecode:
    @given(st.lists(st.tuples(protocols, payloads), min_size=1, max_size=6), options, st.booleans())
    def test_round_trip_in_any_cut(self, sent: list[tuple[int, bytes]], send: HdlcOptions, leading_flag: bool) -> None:
        stream = FLAG + b"".join(hdlc_encode(*packet, send, leading_flag) for packet in sent)
        assert all_ways(stream, HdlcOptions(accm=send.accm, fcs=send.fcs)) == (sent, {})

    def test_first_frame_without_leading_flag(self) -> None:
        assert all_ways(hdlc_encode(IPV4, b"data", PLAIN, leading_flag=False)) == ([(IPV4, b"data")], {})

    def test_empty_frames_are_ignored(self) -> None:
        assert all_ways(FLAG * 5 + hdlc_encode(IPV4, b"data", PLAIN) + FLAG * 5) == ([(IPV4, b"data")], {})

    def test_escapes_that_nobody_needs(self) -> None:
        body = b"\xff\x03\x00\x21\x5d\x5d]]data"
        escaped = b"".join(b"\x7d" + bytes((byte ^ 0x20,)) for byte in body + fcs16_trailer(body))
        assert b"\x7d\x7d" in escaped
        assert b"\x7e" not in escaped
        assert all_ways(FLAG + escaped + FLAG) == ([(IPV4, body[4:])], {})

    @pytest.mark.parametrize("accm", [0, 0xA0000, DEFAULT_ACCM])
    def test_control_characters_put_in_on_the_way(self, accm: int) -> None:
        made = hdlc_encode(IPV4, bytes(range(256)) * 4, HdlcOptions(accm=accm))
        noisy = b"".join(bytes((byte, 0x11)) for byte in made) + FLAG
        packets, dropped = all_ways(noisy, HdlcOptions(accm=accm))
        if accm:
            assert (packets, dropped) == ([(IPV4, bytes(range(256)) * 4)], {})
        else:
            assert packets == []
            assert dropped

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (frame(b"\xff\x03\x00\x21data")[1:-2] + b"x", "bad_fcs"),
            (b"\xff\x03\x00\x21data\x7d", "aborted"),
            (b"\x7d", "aborted"),
            (b"\xff\x03\x00\x21" + b"\x7d\x5e" * 90 + b"\x7d", "aborted"),
            (b"\x21", "too_short"),
            (b"abc", "too_short"),
            (frame(b"\xff\x03\x00\x21")[1:-1], "too_short"),
            (frame(b"\x00\x21")[1:-1], "too_short"),
            (frame(b"\xff\x04\x00\x21data")[1:-1], "bad_address"),
            (frame(b"\xff\x03\x00\x20data")[1:-1], "bad_protocol"),
            (frame(b"\xff\x03\x00\x21" + bytes(101))[1:-1], "too_long"),
            (b"\x00" * 10_000, "too_long"),
        ],
    )
    def test_bad_frames(self, bad: bytes, reason: str) -> None:
        good = frame(b"\xff\x03\x00\x21ok")
        expected = [(IPV4, b"ok"), (IPV4, b"ok")]
        assert all_ways(good + bad + good, max_frame=100) == (expected, {reason: 1})

    def test_preamble(self) -> None:
        stream = b"login: ppp\r\nEntering PPP mode\r\n" + frame(b"\xff\x03\x00\x21ok")
        assert all_ways(stream) == ([(IPV4, b"ok")], {"preamble": 1})
        assert all_ways(b"x" * 10_000 + frame(b"\xff\x03\x00\x21ok")) == ([(IPV4, b"ok")], {"preamble": 1})

    @pytest.mark.parametrize("content", [b"\x7e", b"\x7d", b"\x00", b"x"])
    def test_largest_frame(self, content: bytes) -> None:
        for fcs in (16, 32):
            wanted = HdlcOptions(fcs=fcs)
            stream = b"".join(hdlc_encode(IPV4, content * size, wanted) for size in (1500, 1501, 1500))
            assert all_ways(stream, wanted) == ([(IPV4, content * 1500)] * 2, {"too_long": 1})

    def test_every_bad_bit_is_dropped(self) -> None:
        made = hdlc_encode(IPV4, b"payload", PLAIN)
        for bit in range(8, (len(made) - 1) * 8):
            bad = bytearray(made)
            bad[bit // 8] ^= 1 << bit % 8
            framer = HdlcFramer(1500, receive=PLAIN)
            assert framer.feed(bytes(bad)) == []
            assert [packet.payload for packet in framer.feed(made)] == [b"payload"]


class TestNegotiated:
    def test_switching(self) -> None:
        ours, peers = HdlcFramer(1500), HdlcFramer(1500)
        assert (ours.send, ours.receive) == (DEFAULTS, DEFAULTS)
        raw = Packet(bytes(range(32)), IPV4)
        long = ours.encode(raw)
        ours.set_transmit(accm=0, fcs=32, acfc=True, pfc=True)
        assert ours.send == HdlcOptions(0, 32, True, True)
        short = ours.encode(raw)
        assert len(short) == 1 + 1 + 32 + 4 + 1 < len(long)
        assert peers.feed(long + short)[0].payload == raw.payload
        assert peers.dropped.popitem()[1] == 1
        peers.set_receive(accm=0, fcs=32)
        assert peers.feed(short)[0].payload == raw.payload

    def test_lcp_always_goes_with_the_defaults(self) -> None:
        framer = HdlcFramer(1500)
        packet = Packet(b"\x09\x01\x00\x08\x00\x00\x00\x00", LCP)
        before = framer.encode(packet)
        framer.set_transmit(accm=0, acfc=True, pfc=True)
        assert framer.encode(packet) == before
        framer.set_transmit(accm=0, fcs=32, acfc=True, pfc=True)
        assert framer.encode(packet) == hdlc_encode(LCP, packet.payload, HdlcOptions(fcs=32))
        assert framer.encode(packet, defaults=True) == before
        assert framer.wire_size(packet) <= len(framer.encode(packet)) <= framer.wire_size(packet) + 4

    def test_lcp_with_fcs16_is_read_always(self) -> None:
        framer = HdlcFramer(1500, receive=HdlcOptions(accm=0, fcs=32))
        request = hdlc_encode(LCP, b"\x01\x01\x00\x04")
        other = hdlc_encode(IPV4, b"data")
        assert [packet.payload for packet in framer.feed(request + other)] == [b"\x01\x01\x00\x04"]
        assert framer.dropped == {"bad_fcs": 1}

    def test_bad_values(self) -> None:
        framer = HdlcFramer(1500)
        with pytest.raises(ConfigurationError, match="fcs: there is no FCS-8"):
            framer.set_transmit(fcs=8)
        with pytest.raises(ConfigurationError, match="accm"):
            framer.set_receive(accm=1 << 32)
        with pytest.raises(ConfigurationError, match="max_frame"):
            HdlcFramer(0)


class TestSlipPeer:
    def test_recognised(self) -> None:
        for leading_end in (True, False):
            stream = b"".join(slip_encode(ipv4(bytes(range(n, n + 30))))[not leading_end :] for n in range(20))
            packets, dropped = all_ways(stream)
            assert packets == []
            assert dropped["looks_like_slip"] == 20
        assert "SLIP" in HdlcFramer(1500).remedies["looks_like_slip"]

    def test_not_after_a_good_frame(self) -> None:
        inner = slip_encode(ipv4(b"inside"))
        stream = frame(b"\xff\x03\x00\x21ok") + frame(b"\xff\x03\x00\x21" + inner) + FLAG + inner + FLAG
        assert all_ways(stream) == ([(IPV4, b"ok"), (IPV4, inner)], {"bad_fcs": 1})


class TestBounds:
    @pytest.mark.parametrize("seed", range(4))
    def test_garbage(self, seed: int) -> None:
        chance = random.Random(seed)
        framers = [
            HdlcFramer(1500),
            HdlcFramer(1500, receive=PLAIN),
            HdlcFramer(100, receive=HdlcOptions(accm=0, fcs=32)),
        ]
        for _ in range(60):
            noise = chance.choice(
                [
                    chance.randbytes(chance.randint(1, 5000)),
                    bytes(chance.choices(b"\x7e\x7d\x5e\x5d\xff\x03\xc0\x21\x00", k=chance.randint(1, 3000))),
                    b"\x7d" * chance.randint(1, 3000),
                ]
            )
            for framer, limit in zip(framers, (1500, 1500, 100), strict=True):
                for packet in framer.feed(noise):
                    assert 1 <= len(packet.payload) <= limit
                assert framer.held <= 4 * limit + 16

    @pytest.mark.parametrize("size", [1, 64, 1 << 16])
    @pytest.mark.parametrize("leading", [b"", FLAG])
    def test_no_flag_at_all(self, size: int, leading: bytes) -> None:
        framer = HdlcFramer(1500)
        framer.feed(leading)
        for start in range(0, 1 << 16, size):
            framer.feed(b"x" * min(size, (1 << 16) - start))
            assert framer.held <= 6016
        assert sum(framer.dropped.values()) == 1
        assert [packet.payload for packet in framer.feed(hdlc_encode(IPV4, b"ok"))] == [b"ok"]


class TestFraming:
    def test_is_a_framing(self) -> None:
        framer: Framer = Hdlc().framer(1500)
        assert isinstance(Hdlc(), Framing)
        assert Hdlc(fcs=32) == Hdlc(fcs=32) != Hdlc()
        for payload, protocol in ((ipv4(b"x"), IPV4), (ipv6(b"x"), IPV6), (b"text", IPV6), (b"\xff", IPV4)):
            if payload != b"text":
                assert default_protocol(payload) == protocol
            [packet] = framer.feed(framer.encode(Packet(payload)))
            assert packet.payload == payload
            assert packet.protocol == default_protocol(payload)
            assert packet.slave is None

    @pytest.mark.parametrize("framing", [Hdlc(), Hdlc(fcs=32, acfc=True, pfc=True), Hdlc(accm=DEFAULT_ACCM)])
    def test_round_trip(self, framing: Hdlc) -> None:
        framer = framing.framer(1500)
        payload = bytes(range(256)) * 4
        [packet] = framer.feed(framer.encode(Packet(payload, 0x0057)))
        assert (packet.payload, packet.protocol) == (payload, 0x0057)

    def test_bad_options(self) -> None:
        with pytest.raises(ConfigurationError, match="fcs"):
            Hdlc(fcs=24)
        with pytest.raises(ConfigurationError, match="accm"):
            Hdlc(accm=-1)
        with pytest.raises(ConfigurationError, match="max_frame"):
            Hdlc(max_frame=0)
        with pytest.raises(ConfigurationError, match="max_frame"):
            Hdlc(max_frame=576).framer(1500)
