"""IP headers: flow keys, checksums, and what is surely an IP packet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqlbond.codec.ip import (
    flow_key,
    header_checksum,
    ip_packet_at_end,
    ip_version,
    is_ip_packet,
    is_uncompressed_tcp,
)

PORTS = bytes.fromhex("0050 d431")
# A published example: the IPv4 header of en.wikipedia.org/wiki/Internet_checksum, checksum B861.
EXAMPLE = bytes.fromhex("45000073000040004011b861c0a80001c0a800c7")


def v4(protocol: int, body: bytes, *, fragment: int = 0, options: bytes = b"", source: int = 1) -> bytes:
    header = bytearray(20) + options
    header[0] = 0x40 | len(header) // 4
    header[2:4] = (len(header) + len(body)).to_bytes(2, "big")
    header[6:8] = fragment.to_bytes(2, "big")
    header[9] = protocol
    header[12:20] = bytes((10, 0, 0, source, 10, 0, 0, 2))
    header[10:12] = header_checksum(header).to_bytes(2, "big")
    return bytes(header) + body


def v6(next_header: int, body: bytes, source: int = 1) -> bytes:
    addresses = bytes(15) + bytes((source,)) + bytes(15) + b"\x02"
    return b"\x60\x00\x00\x00" + len(body).to_bytes(2, "big") + bytes((next_header, 64)) + addresses + body


class TestChecksum:
    def test_published_example(self) -> None:
        assert header_checksum(EXAMPLE[:10] + b"\0\0" + EXAMPLE[12:]) == 0xB861
        assert header_checksum(EXAMPLE) == 0

    @given(st.binary(min_size=20, max_size=60).map(lambda b: b[: len(b) & ~1]))
    def test_against_adding_words(self, header: bytes) -> None:
        total = sum(int.from_bytes(header[i : i + 2], "big") for i in range(0, len(header), 2))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        assert header_checksum(header) == 0xFFFF - total

    def test_zeros(self) -> None:
        assert header_checksum(bytes(20)) == 0xFFFF


class TestIsIp:
    def test_good(self) -> None:
        assert is_ip_packet(v4(6, b"body"))
        assert is_ip_packet(v4(6, b"body", options=bytes(8)))
        assert is_ip_packet(v6(6, b"body"))
        assert is_ip_packet(EXAMPLE + bytes(0x73 - 20))

    @pytest.mark.parametrize("packet", [v4(6, b"body"), v4(6, b"body", options=bytes(8))])
    def test_any_bad_bit_in_the_header(self, packet: bytes) -> None:
        for bit in range((packet[0] & 15) * 4 * 8):
            bad = bytearray(packet)
            bad[bit // 8] ^= 1 << bit % 8
            assert not is_ip_packet(bytes(bad))

    @pytest.mark.parametrize("packet", [v4(6, b"body"), v6(6, b"body")])
    def test_any_other_length(self, packet: bytes) -> None:
        for size in range(len(packet)):
            assert not is_ip_packet(packet[:size])
        assert not is_ip_packet(packet + b"\0")

    def test_version(self) -> None:
        assert ip_version(v4(6, b"")) == 4
        assert ip_version(v6(6, b"")) == 6
        for bad in (b"", b"\x45", b"\x60" * 39, b"\x75" * 60, bytes(60)):
            assert ip_version(bad) is None

    def test_uncompressed_tcp(self) -> None:
        packet = bytearray(v4(6, bytes(20)))
        assert not is_uncompressed_tcp(bytes(packet))
        packet[0] = 0x75
        packet[9] = 200
        assert is_uncompressed_tcp(bytes(packet))
        assert not is_uncompressed_tcp(bytes(packet[:-1]))
        for bit in range(16, 160):
            if not 72 <= bit < 80:
                bad = bytearray(packet)
                bad[bit // 8] ^= 1 << bit % 8
                assert not is_uncompressed_tcp(bytes(bad))

    @pytest.mark.parametrize("packet", [v4(17, b"EEE"), v6(17, b"```")])
    def test_at_end(self, packet: bytes) -> None:
        assert ip_packet_at_end(b"EEE ``` Welcome\r\n" + packet) == packet
        assert ip_packet_at_end(b"EEE ``` Welcome\r\n" + packet + b"E") is None
        assert ip_packet_at_end(b"") is None


class TestFlowKey:
    @pytest.mark.parametrize("protocol", [6, 17, 132])
    def test_ports_tell_flows_apart(self, protocol: int) -> None:
        one = flow_key(v4(protocol, PORTS + b"first"))
        assert one is not None
        assert flow_key(v4(protocol, PORTS + b"another")) == one
        assert flow_key(v4(protocol, PORTS + b"x", options=bytes(4))) == one
        assert flow_key(v4(protocol, PORTS, fragment=0x4000)) == one  # Don't Fragment
        assert flow_key(v4(protocol, PORTS[::-1])) != one
        assert flow_key(v4(protocol, PORTS, source=3)) != one
        assert flow_key(v6(protocol, PORTS)) not in (one, None)
        assert flow_key(v6(protocol, PORTS)) == flow_key(v6(protocol, PORTS + b"more"))
        assert flow_key(v6(protocol, PORTS)) != flow_key(v6(protocol, PORTS[::-1]))

    def test_protocols_differ(self) -> None:
        assert len({flow_key(v4(protocol, PORTS)) for protocol in (6, 17, 132, 47, 50)}) == 5

    def test_all_fragments_go_together(self) -> None:
        first = flow_key(v4(17, PORTS + bytes(20), fragment=0x2000))
        assert first is not None
        assert flow_key(v4(17, bytes(24), fragment=0x2003)) == first
        assert flow_key(v4(17, bytes(24), fragment=0x0006)) == first
        assert flow_key(v4(6, bytes(24), fragment=0x0006)) != first

        def v6_fragment(offset: int, more: int, body: bytes) -> bytes:
            return v6(44, bytes((17, 0)) + (offset << 3 | more).to_bytes(2, "big") + bytes(4) + body)

        first = flow_key(v6_fragment(0, 1, PORTS))
        assert first == flow_key(v6_fragment(3, 1, b"other data")) == flow_key(v6_fragment(9, 0, b""))
        assert flow_key(v6_fragment(0, 0, PORTS)) == flow_key(v6(17, PORTS))  # an atomic fragment is none

    def test_ping(self) -> None:
        def echo(kind: int, identifier: int, number: int) -> bytes:
            return bytes((kind, 0, 0, 0)) + identifier.to_bytes(2, "big") + number.to_bytes(2, "big")

        for ip, protocol, request, reply in ((v4, 1, 8, 0), (v6, 58, 128, 129)):
            assert flow_key(ip(protocol, echo(request, 7, 1))) == flow_key(ip(protocol, echo(request, 7, 2)))
            assert flow_key(ip(protocol, echo(request, 7, 1))) == flow_key(ip(protocol, echo(reply, 7, 1)))
            assert flow_key(ip(protocol, echo(request, 7, 1))) != flow_key(ip(protocol, echo(request, 8, 1)))
            # In other messages these bytes are no identifier.
            assert flow_key(ip(protocol, echo(3, 7, 1))) == flow_key(ip(protocol, echo(3, 8, 1)))

    def test_extension_headers(self) -> None:
        plain = flow_key(v6(17, PORTS))
        hop_by_hop = bytes((60, 0)) + bytes(6)
        destination = bytes((17, 1)) + bytes(14)
        assert flow_key(v6(0, hop_by_hop + destination + PORTS)) == plain
        authentication = bytes((17, 4)) + bytes(22)
        assert flow_key(v6(51, authentication + PORTS)) == plain
        endless = (bytes((60, 0)) + bytes(6)) * 100
        assert flow_key(v6(60, endless)) is not None

    def test_truncated(self) -> None:
        for packet in (v4(6, PORTS), v6(0, bytes((44, 0)) + bytes(6) + bytes((17, 0, 0, 0)) + bytes(4) + PORTS)):
            header = 20 if packet[0] == 0x45 else 40
            for size in range(len(packet)):
                assert (flow_key(packet[:size]) is None) == (size < header)

    def test_no_ip(self) -> None:
        for payload in (b"", b"text" * 20, bytes(40), b"\x41" + bytes(40), b"\x75" * 40):
            assert flow_key(payload) is None

    @given(st.binary(max_size=120), st.sampled_from([b"", b"\x45", b"\x4f", b"\x60"]))
    def test_never_raises(self, data: bytes, first: bytes) -> None:
        hash(flow_key(first + data))
        is_ip_packet(first + data)
        is_uncompressed_tcp(first + data)
        ip_version(first + data)
