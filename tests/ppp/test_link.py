"""Whole links: phases, framing as negotiated, bad lines, bad peers, and ends."""

from __future__ import annotations

import random
from typing import Any

import pytest

from eqlbond.codec.control import ControlPacket
from eqlbond.codec.options import EndpointDiscriminator, Option, encode_options
from eqlbond.packet import Packet
from eqlbond.ppp.automaton import State
from eqlbond.ppp.chap import Chap
from eqlbond.ppp.config import Ppp
from eqlbond.ppp.link import PppLink
from eqlbond.ppp.pap import Pap
from eqlbond.ppp.phases import (
    LinkEvent,
    LinkOptionRefused,
    LinkPeerSaid,
    LinkPhaseChanged,
    PeerIdentity,
    Phase,
    ProtocolRejected,
)
from tests.ppp.harness import IPCP, LCP, Endpoint, Pair, PlainFramer, joined, packets_of, perfect

BANNER = b"Welcome to port 7\r\nPassword? ~ you are on!\r\nSLiRP Ready ...\r\n" * 10


def frame(protocol: int, packet: ControlPacket | bytes, framer: PlainFramer | None = None) -> bytes:
    payload = packet.encode() if isinstance(packet, ControlPacket) else packet
    return (framer or PlainFramer()).encode(Packet(payload, protocol))


class Peer:
    """The other end of a link, by hand: it answers LCP with Acks and asks for `wishes`."""

    def __init__(self, config: Ppp, *wishes: Option) -> None:
        self.link = PppLink(config, random.Random(4))
        self.link.start(0.0)
        self.wishes = encode_options(wishes)
        self.now = 0.0

    def take(self) -> list[tuple[int, ControlPacket]]:
        return packets_of(self.link.take_output())

    def give(self, data: bytes) -> list[Packet]:
        self.now += 0.01
        return self.link.receive(data, self.now)

    def open_as_far_as_it_goes(self) -> None:
        requests = [p for protocol, p in self.take() if protocol == LCP and p.code == 1]
        self.give(frame(LCP, ControlPacket(2, requests[-1].identifier, requests[-1].data)))
        self.give(frame(LCP, ControlPacket(1, 50, self.wishes)))

    def open(self) -> Peer:
        self.open_as_far_as_it_goes()
        assert self.link.lcp.opened
        return self


PLAIN: dict[str, Any] = {"accm": 0xFFFFFFFF, "magic": False, "pfc": False, "acfc": False, "fcs32": False}


def test_phases_and_events() -> None:
    link = PppLink(Ppp(), random.Random(1))
    assert (link.phase, link.dead, link.next_deadline) == (Phase.DEAD, True, None)
    peer = Peer(Ppp()).open()
    assert peer.link.take_events() == [LinkPhaseChanged(0.0, Phase.ESTABLISH), LinkPhaseChanged(0.02, Phase.NETWORK)]
    peer.link.terminate(1.0)
    assert peer.link.phase is Phase.TERMINATE
    terminate = peer.take()[-1][1]
    assert terminate.code == 5
    peer.give(frame(LCP, ControlPacket(6, terminate.identifier)))
    events = peer.link.take_events()
    assert [e.phase for e in events if isinstance(e, LinkPhaseChanged)] == [Phase.TERMINATE, Phase.DEAD]
    assert (peer.link.dead, peer.link.failure) == (True, None)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_banner_and_noise_first(size: int) -> None:
    """A terminal server's text and line noise before the first frame cost nothing but a repeated request at most."""
    source = random.Random(8)
    a, b = Endpoint(Ppp(), 1), Endpoint(Ppp(), 2)
    for end in (a, b):
        end.start(0.0)
        noise = BANNER + source.randbytes(3000)
        for place in range(0, len(noise), size):
            end.receive(noise[place : place + size], 0.0)
    pair = Pair(a, b)
    pair.run(10)
    assert a.up
    assert b.up


@pytest.mark.parametrize("size", [1, 7, 100000])
def test_any_cut_of_the_stream(size: int) -> None:
    """What one end sends in a whole life arrives in one piece or octet by octet: the framing switches in place."""
    config = Ppp(auth=Chap("a", "s"), require="chap", secrets={"a": "s"})

    def rechunked(end: Endpoint, chunk: bytes, now: float) -> None:
        for place in range(0, len(chunk), size):
            end.receive(chunk[place : place + size], now)

    a, b = Endpoint(config, 1), Endpoint(config, 2)
    a.start(0.0)
    b.start(0.0)
    for n in range(20):
        rechunked(b, b"".join(a.take_output()), n * 0.1)
        rechunked(a, b"".join(b.take_output()), n * 0.1)
    assert a.up
    assert b.up
    assert b.link.dropped == {}
    assert a.link.dropped == {}


def test_frames_in_one_chunk_change_how_the_next_is_read() -> None:
    """Ack, Ack, Success, IPCP and data, each framed by what the one before agreed, in one read."""
    a, b = Endpoint(Ppp(), 1), Endpoint(Ppp(), 2)
    a.start(0.0)
    b.start(0.0)
    b.receive(b"".join(a.take_output()), 0.0)
    a.receive(b"".join(b.take_output()), 0.0)
    b.receive(b"".join(a.take_output()), 0.0)
    assert b.link.phase is Phase.NETWORK
    chunk = b.take_output()
    assert len(chunk) >= 2
    assert a.link.phase is not Phase.DEAD
    a.receive(b"".join(chunk), 0.0)
    assert a.link.phase is Phase.NETWORK
    assert a.link.dropped == {}


class TestFraming:
    def test_agreed_framing_is_used_for_data_and_not_for_lcp(self) -> None:
        peer = Peer(Ppp(), Option(2, bytes(4)), Option(7), Option(8), Option(9, b"\4")).open()
        peer.link.take_output()
        data = peer.link.encode(Packet(b"\x45\x01data", 0x21))
        assert data[:5] == b"\x7e\x21\x45\x01d", "no address and control, one octet of protocol, no escapes"
        framer = PlainFramer()
        framer.set_receive(accm=0, fcs=32)
        assert framer.feed(data)[0].payload == b"\x45\x01data"
        peer.give(frame(LCP, ControlPacket(9, 1, bytes(4))))
        echo = peer.link.take_output()[0]
        assert echo.startswith(b"\x7e\xff\x7d\x23\xc0\x21\x7d\x2a")

    def test_default_framing_where_nothing_was_agreed(self) -> None:
        peer = Peer(Ppp(**PLAIN)).open()
        assert peer.link.encode(Packet(b"\x01", 0x21)).startswith(b"\x7e\xff\x7d\x23\x7d\x20\x21\x7d\x21")

    def test_fcs32_from_the_moment_of_opening(self) -> None:
        peer = Peer(Ppp(), Option(9, b"\4"))
        framer = PlainFramer()
        peer.open()
        framer.set_transmit(accm=0, pfc=False, acfc=False, fcs=32)
        assert len(peer.give(frame(IPCP, ControlPacket(1, 1), framer))) == 1
        assert peer.give(frame(IPCP, ControlPacket(1, 1))) == [], "the default check is for LCP only"
        assert peer.link.dropped == {"bad_fcs": 1}
        peer.link.take_output()
        peer.give(frame(LCP, ControlPacket(9, 1, bytes(4))))
        assert len(peer.link.take_output()) == 1, "LCP with the default check is read always"

    def test_terminate_request_comes_with_both_checks(self) -> None:
        """RFC 1570 section 2.1.1: the last one agreed, then the default."""
        peer = Peer(Ppp(), Option(9, b"\4")).open()
        peer.link.take_output()
        peer.link.terminate(1.0)
        first, second = peer.link.take_output()
        strict = PlainFramer()
        assert strict.feed(second)
        assert not strict.feed(first)
        strict.set_receive(accm=0, fcs=32)
        assert strict.feed(first)[0].payload == PlainFramer().feed(second)[0].payload

    def test_renegotiation_returns_to_the_defaults(self) -> None:
        peer = Peer(Ppp(), Option(2, bytes(4)), Option(7), Option(8), Option(9, b"\4")).open()
        peer.link.take_output()
        peer.give(frame(LCP, ControlPacket(1, 51)))
        sent = peer.take()
        assert [p.code for _, p in sent] == [1, 2], "once each, with the default check: the peer has returned to it too"
        assert peer.link.lcp.state is not State.OPENED
        peer.give(frame(LCP, ControlPacket(2, sent[0][1].identifier, sent[0][1].data)))
        assert peer.link.phase is Phase.NETWORK
        assert peer.link.encode(Packet(b"\x01", 0x21)).startswith(b"\x7e\xff\x7d\x23\x7d\x20\x21\x7d\x21")

    def test_wire_size_is_near(self) -> None:
        peer = Peer(Ppp(), Option(2, bytes(4)), Option(9, b"\4")).open()
        packet = Packet(bytes(range(256)) * 5, 0x21)
        assert 0 <= len(peer.link.encode(packet)) - peer.link.wire_size(packet) <= 4

    def test_our_mru_is_taken_in_full(self) -> None:
        peer = Peer(Ppp(**PLAIN, mru=3000)).open()
        assert peer.give(frame(0x21, bytes(3000)))[0].payload == bytes(3000)
        assert peer.link.mru == 3000


class TestWhatIsLetIn:
    def test_nothing_before_the_network_phase(self) -> None:
        peer = Peer(Ppp(**PLAIN))
        for protocol in (0x21, IPCP, 0x3D, 0xC023, 0x80FD):
            assert peer.give(frame(protocol, b"data")) == []
        assert peer.link.discarded == {"not open": 5}
        assert [p.code for _, p in peer.take()] == [1]

    def test_nothing_from_a_peer_that_has_not_passed(self) -> None:
        peer = Peer(Ppp(**PLAIN, require="chap", secrets={"a": "s"})).open()
        assert peer.link.phase is Phase.AUTHENTICATE
        peer.take()
        for protocol in (0x21, IPCP, 0x3D, 0xC023, 0x80FD):
            assert peer.give(frame(protocol, ControlPacket(1, 1))) == []
        assert peer.link.discarded == {"not authenticated": 5}
        assert peer.take() == []

    def test_nor_while_we_are_not_accepted(self) -> None:
        peer = Peer(Ppp(**PLAIN, auth=Pap("a", "s")), Option(3, b"\xc0\x23")).open()
        assert peer.link.phase is Phase.AUTHENTICATE
        assert peer.give(frame(IPCP, ControlPacket(1, 1))) == []

    def test_a_demand_that_got_lost_ends_the_link(self) -> None:
        """Whatever LCP has come to: without the agreement that the peer proves itself there is no Network phase."""
        peer = Peer(Ppp(**PLAIN, require="chap", secrets={"a": "s"}))
        peer.link.lcp.ours.auth = None
        peer.open_as_far_as_it_goes()
        assert peer.link.phase is Phase.TERMINATE
        assert peer.link.failure == "the peer was to authenticate itself and that was not agreed"

    def test_renegotiation_voids_the_proof(self) -> None:
        pair = joined(Ppp(auth=Pap("a", "s")), Ppp(require="pap", secrets={"a": "s"}))
        pair.run(5)
        b = pair.ends[1].link
        assert b.peer_identity.name == "a"
        b.receive(frame(LCP, ControlPacket(1, 99)), 6)
        assert b.phase is Phase.ESTABLISH
        assert b.peer_identity.name is None
        assert b.receive(frame(IPCP, ControlPacket(1, 1)), 6) == []

    def test_packets_come_out_tagged(self) -> None:
        peer = Peer(Ppp(**PLAIN, mrru=1500), Option(17, b"\5\xdc")).open()
        chunk = b"".join(frame(p, b"\x01\x01\x00\x04") for p in (0x21, IPCP, 0x3D))
        assert [p.protocol for p in peer.give(chunk)] == [0x21, IPCP, 0x3D]

    def test_terminate_lets_nothing_in(self) -> None:
        peer = Peer(Ppp(**PLAIN)).open()
        peer.link.terminate(1.0)
        assert peer.give(frame(0x21, b"data")) == []


class TestProtocolReject:
    def rejects(self, peer: Peer) -> list[bytes]:
        return [p.data for protocol, p in peer.take() if protocol == LCP and p.code == 8]

    @pytest.mark.parametrize("protocol", [0x57, 0x8057, 0x3D, 0xC023, 0xC223, 0x80FD, 0x4021, 0xC025])
    def test_unknown_protocols(self, protocol: int) -> None:
        peer = Peer(Ppp(**PLAIN)).open()
        peer.take()
        assert peer.give(frame(protocol, b"whatever")) == []
        assert self.rejects(peer) == [protocol.to_bytes(2, "big") + b"whatever"]

    def test_once_in_a_while_for_each(self) -> None:
        peer = Peer(Ppp(**PLAIN)).open()
        peer.take()
        peer.give(frame(0x80FD, b"x") * 100)
        assert len(self.rejects(peer)) == 1
        peer.now += 4
        peer.give(frame(0x80FD, b"x") * 100)
        assert len(self.rejects(peer)) == 1

    def test_a_new_peer_is_told_at_once(self) -> None:
        peer = Peer(Ppp(**PLAIN)).open()
        peer.take()
        peer.give(frame(0x80FD, b"x"))
        assert len(self.rejects(peer)) == 1
        peer.give(frame(LCP, ControlPacket(1, 77)))
        request = next(p for protocol, p in peer.take() if protocol == LCP and p.code == 1)
        peer.give(frame(LCP, ControlPacket(2, request.identifier, request.data)))
        peer.give(frame(0x80FD, b"x"))
        assert len(self.rejects(peer)) == 1

    def test_bounded_for_all(self) -> None:
        peer = Peer(Ppp(**PLAIN)).open()
        peer.take()
        for protocol in range(0x4001, 0x4801, 2):
            if not protocol >> 8 & 1:
                peer.give(frame(protocol, b"x"))
        assert len(self.rejects(peer)) <= 20 * 2
        assert len(peer.link._rejected_at) <= 16

    def test_from_a_layer_above(self) -> None:
        peer = Peer(Ppp(**PLAIN)).open()
        peer.take()
        peer.link.reject_protocol(Packet(b"inner", 0x4001), 1.0)
        assert self.rejects(peer) == [b"\x40\x01inner"]

    def test_received_is_told(self) -> None:
        peer = Peer(Ppp(**PLAIN)).open()
        peer.link.take_events()
        peer.give(frame(LCP, ControlPacket(8, 1, b"\x80\x21\x01")))
        assert peer.link.take_events() == [ProtocolRejected(pytest.approx(0.03), 0x8021)]  # type: ignore[arg-type]

    def test_of_the_authentication_that_was_agreed(self) -> None:
        peer = Peer(Ppp(**PLAIN, require="chap", secrets={"a": "s"})).open()
        peer.give(frame(LCP, ControlPacket(8, 1, b"\xc2\x23\x01")))
        assert peer.link.phase is Phase.TERMINATE
        assert peer.link.failure == "the peer rejects the authentication protocol that it agreed to"


class TestEnds:
    def silent(self, frame: bytes, now: float) -> list[tuple[float, bytes]]:
        return []

    def test_a_peer_that_never_answers(self) -> None:
        end = Endpoint(Ppp())
        pair = Pair(end, Endpoint(Ppp()), self.silent, self.silent)
        end.start(0.0)
        pair.run(1000, lambda: end.link.dead)
        assert pair.now == 24.5
        assert end.link.failure == "LCP: no answer to 10 Configure-Requests"
        assert end.next_deadline is None

    def test_an_answerer_waits_and_then_answers(self) -> None:
        a, b = Endpoint(Ppp(role="answerer"), 1), Endpoint(Ppp(), 2)
        pair = Pair(a, b)
        a.start(0.0)
        a.take_output()
        pair.run(500)
        assert (a.link.phase, a.next_deadline) == (Phase.ESTABLISH, None)
        b.start(500.0)
        pair.run(510)
        assert a.up
        assert b.up

    def test_an_answerer_at_rest_can_be_ended(self) -> None:
        a = Endpoint(Ppp(role="answerer"))
        a.start(0.0)
        while a.next_deadline is not None:
            a.tick(a.next_deadline)
        assert a.link.lcp.state is State.STOPPED
        a.link.terminate(100.0)
        assert a.link.dead

    def test_terminate_has_a_deadline(self) -> None:
        pair = joined(Ppp(), Ppp())
        pair.run(5)
        pair.lines = (self.silent, self.silent)
        a = pair.ends[0]
        a.link.terminate(5.0, "enough")
        a.settle(5.0)
        assert a.link.phase is Phase.TERMINATE
        pair.run(100, lambda: a.link.dead)
        assert pair.now == 11.0
        assert a.link.failure == "enough"

    def test_terminate_tells_the_peer_why(self) -> None:
        pair = joined(Ppp(), Ppp())
        pair.run(5)
        a, b = pair.ends
        a.link.terminate(5.0, "the operator is going home")
        a.settle(5.0)
        pair.run(20)
        assert a.link.dead
        assert b.link.failure == "the peer closed the link: the operator is going home"

    def test_who_closes_lets_the_peer_go_at_once(self) -> None:
        """Else pppd's kernel goes on sending Multilink fragments on the link for a restart time."""
        pair = joined(Ppp(), Ppp())
        pair.run(5)
        a, b = pair.ends
        a.link.terminate(5.0)
        a.settle(5.0)
        pair.run(5.5)
        assert a.link.dead
        assert b.link.dead

    def test_terminate_before_anything_came(self) -> None:
        link = PppLink(Ppp(), random.Random(1))
        link.terminate(0.0)
        assert link.dead
        link.start(0.0)
        link.terminate(1.0)
        for when in (4.0, 7.0):
            assert link.next_deadline == when
            link.tick(when)
        assert link.dead

    def test_hang_up(self) -> None:
        pair = joined(Ppp(), Ppp())
        pair.run(5)
        a = pair.ends[0]
        a.link.hang_up(5.0, "carrier lost")
        assert (a.link.phase, a.link.failure, a.link.next_deadline) == (Phase.DEAD, "carrier lost", None)
        assert a.link.receive(b"~~~", 6.0) == []
        a.link.hang_up(7.0, "again")
        assert a.link.failure == "carrier lost"

    def test_silent_cut_is_found_by_echo(self) -> None:
        pair = joined(Ppp(echo_interval=1, echo_failure=3), Ppp(echo_interval=1, echo_failure=3))
        pair.run(10)
        pair.lines = (self.silent, self.silent)
        pair.run(100, lambda: all(end.link.phase is not Phase.NETWORK for end in pair.ends))
        assert 12 < pair.now <= 14.1
        assert all("no sign of life" in (end.link.failure or "") for end in pair.ends)

    def test_quiet_line_stays_up(self) -> None:
        pair = joined(Ppp(), Ppp())
        pair.run(3600)
        assert all(end.up for end in pair.ends)
        assert pair.ends[0].link.round_trip == pytest.approx(0.02)

    def test_looped_back_line(self) -> None:
        end = Endpoint(Ppp())
        end.start(0.0)
        for n in range(100):
            for data in end.take_output():
                end.receive(data, n * 0.01)
        assert end.link.dead
        assert end.link.failure is not None
        assert "looped back" in end.link.failure
        assert Phase.NETWORK not in end.phases

    def test_looped_back_later(self) -> None:
        """A modem that falls into command mode echoes everything."""
        pair = joined(Ppp(echo_interval=1), Ppp())
        pair.run(5.5)
        a = pair.ends[0]
        pair.lines = (self.silent, self.silent)
        now = 5.5
        while not a.link.dead:
            assert a.next_deadline is not None
            now = max(now, a.next_deadline)
            a.tick(now)
            for data in a.take_output():
                a.receive(data, now)
        assert now < 15
        assert a.link.failure is not None
        assert "looped back" in a.link.failure

    @pytest.mark.parametrize("code", [3, 4])
    def test_a_peer_that_refuses_for_ever(self, code: int) -> None:
        peer = Peer(Ppp(mru=2000))
        for _ in range(2000):
            requests = [p for protocol, p in peer.take() if protocol == LCP and p.code == 1]
            if not requests or peer.link.dead:
                break
            data = encode_options([Option(1, b"\5\xdd")]) if code == 3 else requests[-1].data
            peer.give(frame(LCP, ControlPacket(code, requests[-1].identifier, data)))
        while not peer.link.dead:
            assert peer.link.next_deadline is not None
            peer.link.tick(peer.link.next_deadline)
            assert peer.link.next_deadline is None or peer.link.next_deadline < 200
        assert peer.link.failure

    def test_a_peer_that_starts_anew_for_ever(self) -> None:
        """Flapping below the Network phase ends by the establish timeout."""
        peer = Peer(Ppp(**PLAIN, require="pap", secrets={"a": "s"}))
        while not peer.link.dead:
            for protocol, packet in peer.take():
                if protocol == LCP and packet.code == 1:
                    peer.give(frame(LCP, ControlPacket(2, packet.identifier, packet.data)))
            peer.give(frame(LCP, ControlPacket(1, 1)))
            peer.now += 0.5
            peer.link.tick(peer.now)
            assert peer.now < 200
        assert peer.link.failure == "the Network phase was not reached in 120 s"

    def test_a_peer_that_draws_it_out(self) -> None:
        """Naks with an Ack now and then, each just before the timer, and never a request of its own."""
        peer = Peer(Ppp(mru=2000, echo_interval=0))
        count = 0
        while not peer.link.dead:
            requests = [p for protocol, p in peer.take() if protocol == LCP and p.code == 1]
            peer.now += 2.8
            if requests:
                count += 1
                last = requests[-1]
                nak = ControlPacket(3, last.identifier, encode_options([Option(1, b"\5\xdd")]))
                ack = ControlPacket(2, last.identifier, last.data)
                peer.give(frame(LCP, nak if count % 12 else ack))
            peer.link.tick(peer.now)
            assert peer.now < 200
        assert 120 < peer.now < 135
        assert peer.link.failure == "the Network phase was not reached in 120 s"

    def test_peer_leaves_during_authentication(self) -> None:
        peer = Peer(Ppp(**PLAIN, auth=Chap("a", "s")), Option(3, b"\xc2\x23\x05")).open()
        peer.give(frame(LCP, ControlPacket(5, 1)))
        assert peer.link.failure == "the peer closed the link (during authentication: a wrong name or secret?)"


class TestMultilink:
    def test_both_agree(self) -> None:
        ed = EndpointDiscriminator.local("site7")
        pair = joined(Ppp(mrru=1600, endpoint=ed), Ppp(mrru=4000, short_sequence=True))
        pair.run(5)
        a, b = (end.link for end in pair.ends)
        assert (a.multilink, b.multilink) == (True, True)
        assert (a.mrru, b.mrru) == (4000, 1600)
        assert (a.transmit_short, a.receive_short, b.transmit_short, b.receive_short) == (True, False, False, True)
        assert b.peer_identity == PeerIdentity(None, ed)
        assert a.peer_identity == PeerIdentity(None, None)

    def test_one_does_not_know_it(self) -> None:
        pair = joined(Ppp(mrru=1600), Ppp())
        pair.run(5)
        a, b = (end.link for end in pair.ends)
        assert (a.multilink, b.multilink, a.mrru, b.mrru) == (False, False, None, None)
        refused = [e for e in pair.ends[1].events if isinstance(e, LinkOptionRefused)]
        assert [(e.option, e.why) for e in refused] == [("Multilink-MRRU", "Multilink is not configured here")]

    def test_peer_insists_on_an_mrru_that_is_too_small(self) -> None:
        peer = Peer(Ppp(**PLAIN, mrru=1500), Option(17, b"\0\x40"))
        codes = []
        for _ in range(8):
            peer.give(frame(LCP, ControlPacket(1, 50, peer.wishes)))
            codes += [p.code for _, p in peer.take() if p.code != 1]
        assert codes == [3] * 5 + [4] * 3
        peer.give(frame(LCP, ControlPacket(1, 51)))
        assert not peer.link.multilink


def test_what_the_peer_says_is_told() -> None:
    pair = joined(Ppp(identification="eqlbond on a Monday"), Ppp())
    pair.run(5)
    said = [e for e in pair.ends[1].events if isinstance(e, LinkPeerSaid)]
    assert [e.text for e in said] == ["eqlbond on a Monday"]


def test_events_are_bounded() -> None:
    peer = Peer(Ppp(**PLAIN)).open()
    for n in range(2000):
        peer.give(frame(LCP, ControlPacket(12, 1, bytes(4) + str(n).encode())))
        peer.give(frame(LCP, ControlPacket(1, n & 255)))
    assert len(peer.link.events) <= 256


@pytest.mark.parametrize("config", [{}, {"fcs32": False}, {"accm": 0xFFFFFFFF}, {"pfc": False, "acfc": False}])
def test_against_other_code(config: dict[str, Any]) -> None:
    """One end frames by the tests' own octet loop."""
    a, b = Endpoint(Ppp(**config), 1), Endpoint(Ppp(), 2, PlainFramer())
    pair = Pair(a, b, perfect, perfect).start()
    pair.run(5)
    for end, other in ((a, b), (b, a)):
        payload = bytes(range(256)) * 5
        end.send(payload)
        pair.run(pair.now + 1)
        assert other.delivered[-1].payload == payload
    # A request that follows the Ack of FCS-32 comes with both checks, and only one of them can be good.
    assert a.link.dropped.get("bad_fcs", 0) <= 1
    assert set(a.link.dropped) <= {"bad_fcs"}


def test_events_have_times() -> None:
    assert all(isinstance(e, LinkEvent) and e.time >= 0 for e in joined(Ppp(), Ppp()).ends[0].events)
