"""SLIP: tables, any cut of the stream, every kind of bad frame, and bounds."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eqlbond.codec.base import Framer, Framing
from eqlbond.codec.slip import Slip, SlipDecoder, SlipFramer, slip_encode, slip_size
from eqlbond.codec.stuffing import escape, escape_dense, escaped_size, unescape
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet
from tests.codec.streams import cuts, ipv4, ipv6, uncompressed_tcp

END = b"\xc0"
ESC = b"\xdb"
LCP = bytes.fromhex("7eff7d23c0217d217d217d207d347d227d267d207d207d207d207d257d26a1b2c3d47d277d227d287d22e1567e")

# Payloads that are rich in the bytes that matter.
payloads = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.lists(st.sampled_from([0xC0, 0xDB, 0xDC, 0xDD, 0x00, 0x7E]), min_size=1, max_size=300).map(bytes),
    st.binary(min_size=1, max_size=20).map(lambda part: (part * 100)[:1500]),
)


def decode_all_ways(stream: bytes, max_frame: int = 1500) -> tuple[list[bytes], dict[str, int]]:
    """What the decoder makes of the stream, the same for every cut."""
    results = []
    for pieces in cuts(stream):
        decoder = SlipDecoder(max_frame)
        results.append(([frame for piece in pieces for frame in decoder.feed(piece)], decoder.dropped))
    for result in results[1:]:
        assert result == results[0]
    return results[0]


def frame_all_ways(stream: bytes, framing: Slip, mtu: int = 1500) -> tuple[list[bytes], dict[str, int]]:
    results = []
    for pieces in cuts(stream):
        framer = framing.framer(mtu)
        results.append(([packet.payload for piece in pieces for packet in framer.feed(piece)], dict(framer.dropped)))
    for result in results[1:]:
        assert result == results[0]
    return results[0]


class TestEncode:
    @pytest.mark.parametrize(
        ("payload", "frame"),
        [
            ("", "c0 c0"),
            ("00", "c0 00 c0"),
            ("c0", "c0 db dc c0"),
            ("db", "c0 db dd c0"),
            ("dc dd", "c0 dc dd c0"),
            ("db dc", "c0 db dd dc c0"),
            ("db dd", "c0 db dd dd c0"),
            ("db c0 db", "c0 db dd db dc db dd c0"),
            ("45 00 c0 ff db 7e", "c0 45 00 db dc ff db dd 7e c0"),
        ],
    )
    def test_table(self, payload: str, frame: str) -> None:
        assert slip_encode(bytes.fromhex(payload)) == bytes.fromhex(frame)

    @given(payloads)
    @example(b"\xc0" * 1500)
    @example(b"\xdb" * 1500)
    @example(b"\xc0\xdb\xdc\xdd" * 40)
    def test_every_way_agrees(self, payload: bytes) -> None:
        expected = b"".join({0xC0: b"\xdb\xdc", 0xDB: b"\xdb\xdd"}.get(b, bytes((b,))) for b in payload)
        assert escape(payload) == expected
        assert escape_dense(payload) == expected
        assert escaped_size(payload) == len(expected)
        assert slip_encode(payload) == END + expected + END
        assert slip_size(payload) == len(expected) + 2
        assert unescape(expected) == payload


class TestDecode:
    @given(st.lists(payloads, min_size=1, max_size=8), st.booleans())
    def test_round_trip_in_any_cut(self, sent: list[bytes], leading_end: bool) -> None:
        stream = END + b"".join(slip_encode(payload)[not leading_end :] for payload in sent)
        assert decode_all_ways(stream) == (sent, {})

    def test_empty_frames_are_ignored(self) -> None:
        assert decode_all_ways(END * 9 + b"a" + END * 5 + b"b" + END) == ([b"a", b"b"], {})

    def test_nothing_before_the_end(self) -> None:
        decoder = SlipDecoder(1500)
        assert decoder.feed(slip_encode(b"abc")[:-1]) == []
        assert decoder.held == 3
        assert decoder.feed(END) == [b"abc"]
        assert decoder.held == 0

    @pytest.mark.parametrize("data", [bytearray(b"\xc0ab\xc0"), memoryview(b"\xc0ab\xc0")])
    def test_other_buffers(self, data: bytes) -> None:
        frames = SlipDecoder(1500).feed(data)
        assert frames == [b"ab"]
        assert type(frames[0]) is bytes

    @pytest.mark.parametrize(
        "bad",
        [
            b"a\xdb",  # ESC at the end of the frame
            b"\xdb",
            b"a\xdbbc",
            b"\xdb\xdb\xdc",
            b"\xdb\xdd\xdb\xdb\xdd",
            b"\xdb\xdc" * 400 + b"\xdb",
            b"\xdb\xdc" * 400 + b"\xdb\x00" + b"\xdb\xdd" * 400,
            b"\xdb" * 100,
        ],
    )
    def test_bad_escape(self, bad: bytes) -> None:
        stream = END + b"before" + END + bad + END + b"behind" + END
        assert decode_all_ways(stream) == ([b"before", b"behind"], {"bad_escape": 1})

    def test_too_long(self) -> None:
        stream = END + b"x" * 101 + END + b"y" * 100 + END + b"z" * 5000 + END + b"\xc0" + escape(b"\xdb" * 100) + END
        assert decode_all_ways(stream, max_frame=100) == ([b"y" * 100, b"\xdb" * 100], {"too_long": 2})

    def test_largest_frame_with_every_byte_escaped(self) -> None:
        sent = [b"\xc0" * 1500, b"\xdb" * 1500]
        assert decode_all_ways(b"".join(map(slip_encode, sent))) == (sent, {})

    def test_too_long_is_counted_before_it_ends(self) -> None:
        decoder = SlipDecoder(100)
        decoder.feed(END)
        for _ in range(10):
            assert decoder.feed(b"x" * 100) == []
        assert decoder.dropped == {"too_long": 1}
        assert decoder.feed(b"xxx\xc0ok\xc0") == [b"ok"]
        assert decoder.dropped == {"too_long": 1}


class TestPreamble:
    BANNER = b"Welcome to ttyS4, line 7\r\nStarting SLIP. Your address is 10.0.2.15. MTU 1500\r\nEXEC `line`\r\n"

    def test_banner(self) -> None:
        stream = self.BANNER + slip_encode(b"one") + slip_encode(b"two")
        assert decode_all_ways(stream) == ([b"one", b"two"], {"preamble": 1})

    @pytest.mark.parametrize("packet", [ipv4(b"payload"), ipv6(b"payload"), ipv4(b"\xc0\xdb" * 50)])
    def test_peer_without_leading_end(self, packet: bytes) -> None:
        stream = slip_encode(packet)[1:] * 2
        assert decode_all_ways(stream) == ([packet, packet], {})

    @pytest.mark.parametrize("packet", [ipv4(b"payload"), ipv6(b"payload"), ipv4(b"\xc0\xdb" * 50)])
    def test_banner_glued_to_the_first_packet(self, packet: bytes) -> None:
        stream = self.BANNER + slip_encode(packet)[1:] + slip_encode(b"two")
        assert decode_all_ways(stream) == ([packet, b"two"], {"preamble": 1})

    def test_damaged_packet_is_no_packet(self) -> None:
        packet = bytearray(ipv4(b"payload"))
        packet[15] ^= 1
        assert decode_all_ways(bytes(packet) + END) == ([], {"preamble": 1})
        assert decode_all_ways(ipv4(b"payload")[:-1] + END) == ([], {"preamble": 1})

    def test_endless_banner(self) -> None:
        stream = b"login: " * 3000 + END + b"one" + END
        assert decode_all_ways(stream) == ([b"one"], {"preamble": 1})

    def test_leading_packet_that_is_too_long(self) -> None:
        stream = ipv4(bytes(200)) + END + b"one" + END
        assert decode_all_ways(stream, max_frame=100) == ([b"one"], {"preamble": 1})

    def test_other_payloads_after_a_preamble(self) -> None:
        sent = [bytes((i,)) * 30 for i in range(1, 40)]
        assert decode_all_ways(b"noise" + b"".join(map(slip_encode, sent))) == (sent, {"preamble": 1})


class TestPpp:
    def test_lcp_is_recognised(self) -> None:
        frames, dropped = decode_all_ways(LCP * 10)
        assert frames == []
        assert set(dropped) == {"looks_like_ppp"}

    def test_in_the_middle_of_a_stream(self) -> None:
        frames, dropped = decode_all_ways(LCP[20:] + LCP * 5)
        assert dropped["looks_like_ppp"] >= 4
        assert len(frames) <= 1

    def test_lcp_with_ends_inside(self) -> None:
        frames, dropped = decode_all_ways((LCP[:30] + b"\xc0\x23" + LCP[30:]) * 10)
        assert frames == []
        assert dropped["looks_like_ppp"] >= 10

    def test_then_slip_after_all(self) -> None:
        packets = [ipv4(bytes((i,))) for i in range(20)]
        frames, _ = decode_all_ways(LCP * 3 + b"".join(map(slip_encode, packets)))
        assert frames == packets
        texts = [bytes((i,)) * 3 for i in range(20)]
        frames, _ = decode_all_ways(LCP * 3 + b"".join(map(slip_encode, texts)))
        assert frames == texts[-len(frames) :]
        assert len(frames) >= 10

    def test_never_in_a_clean_stream(self) -> None:
        sent = [b"a\x7e\xff\x7d\x23b", LCP, ipv4(LCP), b"\x7e\xff\x7d\x23"]
        assert decode_all_ways(b"".join(map(slip_encode, sent))) == (sent, {})

    def test_without_end(self) -> None:
        stream = END + b"\x7e\xff\x7d\x23\x80\x21" + bytes(300) + END
        assert decode_all_ways(stream, max_frame=100) == ([], {"looks_like_ppp": 1})


class TestCompressed:
    COMPRESSED = b"\x80\x0b\x12\x34data"

    def test_sure_sign(self) -> None:
        sent = [ipv4(b"a"), uncompressed_tcp(), self.COMPRESSED, ipv4(b"b"), self.COMPRESSED]
        stream = b"".join(map(slip_encode, sent))
        assert frame_all_ways(stream, Slip()) == ([ipv4(b"a"), ipv4(b"b")], {"compressed": 3})

    def test_without_leading_end(self) -> None:
        stream = slip_encode(uncompressed_tcp())[1:] + slip_encode(self.COMPRESSED)
        assert frame_all_ways(stream, Slip()) == ([], {"compressed": 2})

    def test_other_payloads_pass(self) -> None:
        almost = bytearray(uncompressed_tcp())
        almost[12] ^= 1
        sent = [bytes(almost), uncompressed_tcp()[:-1], b"text", b"u" * 60, self.COMPRESSED, b"\xff" * 40, b"\x75"]
        assert frame_all_ways(b"".join(map(slip_encode, sent)), Slip()) == (sent, {})

    def test_ip_only(self) -> None:
        sent = [self.COMPRESSED, b"\x75" * 50, b"text", b"\x45", ipv4(b"a"), ipv6(b"b"), bytes(60)]
        stream = b"".join(map(slip_encode, sent))
        expected = {"compressed": 3, "not_ip": 2}
        assert frame_all_ways(stream, Slip(ip_only=True)) == ([ipv4(b"a"), ipv6(b"b")], expected)


class TestBounds:
    @pytest.mark.parametrize("seed", range(4))
    def test_garbage(self, seed: int) -> None:
        chance = random.Random(seed)
        framers = [Slip().framer(1500), Slip(ip_only=True).framer(576), Slip(max_frame=100).framer(50)]
        for _ in range(60):
            noise = chance.choice(
                [
                    chance.randbytes(chance.randint(1, 5000)),
                    bytes(chance.choices(b"\xc0\xdb\xdc\xdd\x7e\xff\x7d\x23\x45\x75\x80a", k=chance.randint(1, 3000))),
                    LCP,
                ]
            )
            for framer, limit in zip(framers, (1500, 1500, 100), strict=True):
                for packet in framer.feed(noise):
                    assert 1 <= len(packet.payload) <= limit
                assert framer.held <= 2 * limit

    @pytest.mark.parametrize("size", [1, 64, 4096, 1 << 16])
    @pytest.mark.parametrize("leading", [b"", END])
    def test_no_end_at_all(self, size: int, leading: bytes) -> None:
        decoder = SlipDecoder(1500)
        decoder.feed(leading)
        for start in range(0, 1 << 16, size):
            decoder.feed(b"x" * min(size, (1 << 16) - start))
            assert decoder.held <= 3000
        assert sum(decoder.dropped.values()) == 1
        assert decoder.feed(END + b"ok" + END) == [b"ok"]

    def test_copies_are_linear(self) -> None:
        # Count the bytes that joining copies: each byte of the stream at most a few times.
        from eqlbond.codec.stuffing import Splitter

        splitter = Splitter(0xC0, 1 << 20)
        copied = 0
        for _ in range(1 << 14):
            before = len(splitter._tail)
            splitter.feed(b"ab")
            if len(splitter._tail) < before:
                copied += splitter.held
            assert len(splitter._tail) <= 65
        # One join of everything every 64 feeds, of a frame that is bounded.
        assert copied <= (1 << 15) * (1 << 14) // 64

    def test_many_frames_in_one_chunk(self) -> None:
        decoder = SlipDecoder(1500)
        assert decoder.feed(END + b"a\xc0" * 200_000) == [b"a"] * 200_000
        assert decoder.feed(b"\xdb\xdc\xc0" * 50_000) == [END] * 50_000


class TestFraming:
    def test_is_a_framing(self) -> None:
        framer: Framer = Slip().framer(1500)
        assert isinstance(Slip(), Framing)
        assert Slip() == Slip()
        assert hash(Slip(ip_only=True)) != hash(Slip())
        assert framer.encode(Packet(b"a\xc0")) == b"\xc0a\xdb\xdc\xc0"
        assert Slip(leading_end=False).framer(1500).encode(Packet(b"a\xc0")) == b"a\xdb\xdc\xc0"
        [packet] = framer.feed(b"\xc0a\xc0")
        assert (packet.payload, packet.protocol, packet.slave) == (b"a", None, None)

    @given(payloads, st.booleans())
    def test_wire_size(self, payload: bytes, leading_end: bool) -> None:
        framer = Slip(leading_end=leading_end).framer(1500)
        assert framer.wire_size(Packet(payload)) == len(framer.encode(Packet(payload)))

    @pytest.mark.parametrize(("max_frame", "mtu", "limit"), [(None, 576, 1500), (None, 4000, 4000), (600, 576, 600)])
    def test_limit(self, max_frame: int | None, mtu: int, limit: int) -> None:
        framer = Slip(max_frame=max_frame).framer(mtu)
        assert [len(p.payload) for p in framer.feed(END + bytes(limit) + END + bytes(limit + 1) + END)] == [limit]
        assert framer.dropped == {"too_long": 1}

    def test_bad_options(self) -> None:
        with pytest.raises(ConfigurationError, match="max_frame: 0 bytes"):
            Slip(max_frame=0)
        with pytest.raises(ConfigurationError, match="max_frame: 500 bytes, below the MTU of 576"):
            Slip(max_frame=500).framer(576)
        with pytest.raises(ConfigurationError, match="mtu: 0"):
            Slip().framer(0)
        with pytest.raises(ConfigurationError, match="max_frame"):
            SlipDecoder(0)

    def test_remedies_are_for_reasons_that_exist(self) -> None:
        framer = Slip().framer(1500)
        assert isinstance(framer, SlipFramer)
        assert set(framer.remedies) == {"compressed", "looks_like_ppp", "too_long"}
        assert "cslip" in framer.remedies["compressed"]


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 25), st.booleans())
def test_no_frame_over_the_limit_gets_through(sizes: list[int], most: int, in_step: bool) -> None:
    decoder = SlipDecoder(most)
    decoder.feed(END)
    stream = (END if in_step else b"") + b"".join(b"x" * size + END for size in sizes)
    assert [len(frame) for frame in decoder.feed(stream)] == [size for size in sizes if size <= most]
    assert sum(decoder.dropped.values()) == sum(size > most for size in sizes)
