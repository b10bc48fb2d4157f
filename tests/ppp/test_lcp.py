"""LCP: every option both ways, magic numbers, echo, and the codes beyond the automaton's."""

from __future__ import annotations

import random
from typing import Any

import pytest

from eqlbond.codec import control, options
from eqlbond.codec.control import ControlPacket, parse_control
from eqlbond.codec.options import (
    USE_CHAP_MD5,
    USE_PAP,
    AuthenticationProtocol,
    EndpointDiscriminator,
    Option,
    encode_options,
    parse_options,
)
from eqlbond.ppp.automaton import State
from eqlbond.ppp.chap import Chap
from eqlbond.ppp.config import Ppp
from eqlbond.ppp.lcp import Lcp, LcpValues
from eqlbond.ppp.negotiation import Signal
from eqlbond.ppp.pap import Pap

ENDPOINT = EndpointDiscriminator.local("site7")


class Harness:
    """An LCP that has sent its first request."""

    def __init__(self, **config: Any) -> None:
        self.lcp = Lcp(Ppp(**config), random.Random(5))
        self.lcp.open(0)
        self.lcp.up(0)
        self.request = self.sent()[-1]

    def sent(self) -> list[ControlPacket]:
        packets = [parse_control(step) for step in self.lcp.take_steps() if isinstance(step, bytes)]
        return [p for p in packets if p is not None]

    def options(self) -> tuple[Option, ...]:
        listed = parse_options(self.request.data)
        assert listed is not None
        return listed

    def receive(self, code: int, data: bytes = b"", identifier: int = 33, now: float = 1.0) -> list[ControlPacket]:
        self.lcp.receive(ControlPacket(code, identifier, data).encode(), now)
        sent = self.sent()
        for packet in sent:
            if packet.code == control.CONFIGURE_REQUEST:
                self.request = packet
        return sent

    def ask(self, *wishes: Option) -> tuple[int, tuple[Option, ...]]:
        """The peer's Configure-Request, and what we say to it."""
        answer = self.receive(control.CONFIGURE_REQUEST, encode_options(wishes))[-1]
        listed = parse_options(answer.data)
        assert listed is not None
        return answer.code, listed

    def answer(self, code: int, *listed: Option) -> tuple[Option, ...]:
        """The peer's answer to our request, and our next request's options."""
        self.receive(code, encode_options(listed), self.request.identifier)
        return self.options()

    def open(self, *wishes: Option) -> Harness:
        assert self.ask(*wishes)[0] == control.CONFIGURE_ACK
        self.receive(control.CONFIGURE_ACK, self.request.data, self.request.identifier)
        assert self.lcp.opened
        return self


ACK, NAK, REJECT = control.CONFIGURE_ACK, control.CONFIGURE_NAK, control.CONFIGURE_REJECT
PLAIN: dict[str, Any] = {"accm": 0xFFFFFFFF, "magic": False, "pfc": False, "acfc": False, "fcs32": False}
MP: dict[str, Any] = {"mrru": 1600, "endpoint": ENDPOINT}
mru, accm, auth = options.MRU.make, options.ACCM.make, options.AUTHENTICATION.make
magic, fcs, mrru = options.MAGIC.make, options.FCS.make, options.MRRU.make
PFC, ACFC = options.PFC.make(True), options.ACFC.make(True)
SHORT, ED = options.SHORT_SEQUENCE.make(True), options.ENDPOINT.make(ENDPOINT)
MS_CHAP = AuthenticationProtocol(0xC223, b"\x81")
EAP = AuthenticationProtocol(0xC227)


def test_defaults_ask_for_nothing_superfluous() -> None:
    assert Harness(**PLAIN).options() == ()
    types = [o.type for o in Harness().options()]
    assert types == [2, 5, 7, 8, 9]


def test_all_wishes_in_the_request() -> None:
    h = Harness(mru=576, require="chap", secrets={}, short_sequence=True, **MP)
    assert [o.type for o in h.options()] == [1, 2, 3, 5, 7, 8, 9, 17, 18, 19]
    assert options.AUTHENTICATION.read(h.options()[2]) == USE_CHAP_MD5
    assert h.options()[7:] == (mrru(1600), SHORT, ED)


@pytest.mark.parametrize(
    ("config", "wish", "code", "reply", "field", "value"),
    [
        ({}, mru(576), ACK, mru(576), "mru", 576),
        ({}, mru(9000), ACK, mru(9000), "mru", 9000),
        ({}, mru(64), NAK, mru(1500), None, None),
        ({"min_mtu": 2000}, mru(1500), NAK, mru(2000), None, None),
        ({}, Option(1, b"\1"), NAK, mru(1500), None, None),
        ({}, accm(0xA0000), ACK, accm(0xA0000), "accm", 0xA0000),
        ({}, Option(2), NAK, accm(0), None, None),
        ({}, auth(USE_PAP), REJECT, auth(USE_PAP), None, None),
        ({"auth": Pap("a", "b")}, auth(USE_PAP), ACK, auth(USE_PAP), "auth", USE_PAP),
        ({"auth": Pap("a", "b")}, auth(USE_CHAP_MD5), NAK, auth(USE_PAP), None, None),
        ({"auth": Chap("a", "b")}, auth(USE_CHAP_MD5), ACK, auth(USE_CHAP_MD5), "auth", USE_CHAP_MD5),
        ({"auth": Chap("a", "b")}, auth(USE_PAP), NAK, auth(USE_CHAP_MD5), None, None),
        ({"auth": Chap("a", "b")}, auth(MS_CHAP), NAK, auth(USE_CHAP_MD5), None, None),
        ({"auth": Chap("a", "b")}, auth(EAP), NAK, auth(USE_CHAP_MD5), None, None),
        ({"auth": Chap("a", "b")}, Option(3, b"\xc0"), NAK, auth(USE_CHAP_MD5), None, None),
        ({}, Option(4, b"\xc0\x25\0\0\0\1"), REJECT, Option(4, b"\xc0\x25\0\0\0\1"), None, None),
        ({}, magic(77), ACK, magic(77), "magic", 77),
        ({}, PFC, ACK, PFC, "pfc", True),
        ({"pfc": False}, PFC, REJECT, PFC, None, None),
        ({}, Option(7, b"x"), NAK, PFC, None, None),
        ({}, ACFC, ACK, ACFC, "acfc", True),
        ({"acfc": False}, ACFC, REJECT, ACFC, None, None),
        ({}, fcs(4), ACK, fcs(4), "fcs", 32),
        ({}, fcs(2), ACK, fcs(2), "fcs", 16),
        ({}, fcs(1), NAK, fcs(4), None, None),
        ({}, fcs(0), NAK, fcs(4), None, None),
        ({}, fcs(6), NAK, fcs(4), None, None),
        ({}, fcs(7), NAK, fcs(4), None, None),
        ({}, fcs(3), NAK, fcs(2), None, None),
        ({}, Option(9), NAK, fcs(4), None, None),
        ({"fcs32": False}, fcs(4), REJECT, fcs(4), None, None),
        ({}, mrru(1500), REJECT, mrru(1500), None, None),
        (MP, mrru(1500), ACK, mrru(1500), "mrru", 1500),
        (MP, mrru(60), NAK, mrru(1600), None, None),
        (MP, Option(17, b"1"), NAK, mrru(1600), None, None),
        ({}, SHORT, REJECT, SHORT, None, None),
        (MP, SHORT, ACK, SHORT, "short_sequence", True),
        ({}, ED, ACK, ED, "endpoint", ENDPOINT),
        ({}, Option(19, b"\x02abc"), REJECT, Option(19, b"\x02abc"), None, None),
        ({}, Option(13, b"\0"), REJECT, Option(13, b"\0"), None, None),
        ({}, Option(23, b"\0\1"), REJECT, Option(23, b"\0\1"), None, None),
        ({}, Option(27, b"\2\4"), REJECT, Option(27, b"\2\4"), None, None),
        ({}, Option(200, b"?"), REJECT, Option(200, b"?"), None, None),
    ],
)
def test_what_we_say_to_an_option(
    config: dict[str, Any], wish: Option, code: int, reply: Option, field: str | None, value: object
) -> None:
    h = Harness(**config)
    assert h.ask(wish) == (code, (reply,))
    expected = LcpValues()
    if field is not None:
        setattr(expected, field, value)
    assert h.lcp.peers == expected


def test_zero_magic_is_nakked_with_a_number() -> None:
    code, listed = Harness().ask(magic(0))
    assert code == NAK
    assert (options.MAGIC.read(listed[0]) or 0) > 0


@pytest.mark.parametrize(
    ("config", "code", "listed", "after"),
    [
        ({"mru": 3000}, NAK, [mru(1500)], {}),
        ({"mru": 3000}, NAK, [mru(2000)], {"mru": 2000}),
        ({"mru": 3000}, NAK, [mru(9000)], {"mru": 3000}),
        ({"mru": 3000}, NAK, [mru(10)], {"mru": 3000}),
        ({"mru": 3000}, REJECT, [mru(3000)], {}),
        ({"accm": 0}, NAK, [accm(0xA0000)], {"accm": 0xA0000}),
        ({"accm": 1}, NAK, [accm(0xA0000)], {"accm": 0xA0001}),
        ({"accm": 0}, REJECT, [accm(0)], {}),
        ({"pfc": True}, REJECT, [PFC], {}),
        ({"acfc": True}, NAK, [ACFC], {}),
        ({"fcs32": True}, REJECT, [fcs(4)], {}),
        ({"fcs32": True}, NAK, [fcs(2)], {}),
        ({"fcs32": True}, NAK, [fcs(6)], {"fcs": 32}),
        (MP, NAK, [mrru(1500)], {"mrru": 1500, "endpoint": ENDPOINT}),
        (MP, NAK, [mrru(9000)], {"mrru": 1600, "endpoint": ENDPOINT}),
        (MP, REJECT, [ED], {"mrru": 1600}),
        (MP | {"short_sequence": True}, REJECT, [mrru(1600)], {"endpoint": ENDPOINT}),
        (MP | {"short_sequence": True}, REJECT, [SHORT], {"mrru": 1600, "endpoint": ENDPOINT}),
        ({}, NAK, [mrru(1500), ED, auth(USE_PAP), Option(99)], {}),
        ({"require": ("chap", "pap"), "secrets": {}}, NAK, [auth(USE_PAP)], {"auth": USE_PAP}),
    ],
)
def test_how_we_follow_the_peer(
    config: dict[str, Any], code: int, listed: list[Option], after: dict[str, object]
) -> None:
    h = Harness(**{**PLAIN, **config})
    h.answer(code, *listed)
    assert h.lcp.ours == LcpValues(**after)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ours", "asked", "escaped"),
    [(0, 0, 0), (0xA0000, 0, 0xA0000), (0xA0000, 0x5, 0xA0005), (0x20000, 0, 0), (0xFFFFFFFF, 0, 0xA0000)],
)
def test_a_line_with_software_flow_control_escapes_it_in_both_directions(ours: int, asked: int, escaped: int) -> None:
    h = Harness(**{**PLAIN, "accm": ours}).open(accm(asked))
    assert h.lcp.peers.accm == escaped


@pytest.mark.parametrize(
    ("code", "listed", "reason"),
    [
        (REJECT, [auth(USE_CHAP_MD5)], "the peer refuses to authenticate itself"),
        (NAK, [auth(USE_PAP)], "the peer does not authenticate itself by chap"),
        (NAK, [Option(3, b"\xc0")], "the peer does not authenticate itself by chap"),
    ],
)
def test_a_peer_that_will_not_prove_itself_is_left(code: int, listed: list[Option], reason: str) -> None:
    h = Harness(**PLAIN, require="chap", secrets={})
    h.answer(code, *listed)
    assert h.lcp.state is State.CLOSING
    assert h.lcp.failure == reason


def test_no_number_of_naks_drops_what_we_demand() -> None:
    h = Harness(**PLAIN, require=("chap", "pap"), secrets={})
    for n in range(60):
        h.answer(NAK, auth((USE_PAP, USE_CHAP_MD5)[n % 2]))
        assert h.lcp.ours.auth is not None
        if h.lcp.state is State.CLOSING:
            break
    assert h.lcp.state is State.CLOSING


def test_naks_for_ever_give_the_option_up() -> None:
    h = Harness(**PLAIN | {"pfc": True, "accm": 0}, mru=2000)
    for n in range(7):
        h.answer(NAK, mru(1900 - n))
    assert h.lcp.ours.mru == 1500


class TestMagic:
    def test_collision_is_resolved(self) -> None:
        h = Harness()
        mine = h.lcp.ours.magic
        code, listed = h.ask(magic(mine))
        assert code == NAK
        assert options.MAGIC.read(listed[0]) not in (None, 0, mine)
        assert not h.lcp.looped_back

    def test_nak_draws_another(self) -> None:
        h = Harness()
        mine = h.lcp.ours.magic
        h.answer(NAK, magic(5))
        assert h.lcp.ours.magic not in (0, mine)

    def test_loop_is_found_and_named(self) -> None:
        h = Harness()
        inbox = [h.request.encode()]
        requests = 1
        while not h.lcp.failure:
            h.lcp.receive(inbox.pop(0), 1)
            sent = h.sent()
            requests += sum(p.code == control.CONFIGURE_REQUEST for p in sent)
            inbox += [p.encode() for p in sent]
        assert h.lcp.looped_back
        assert requests == 3, "both the request and the Nak that come back are signs"
        assert h.lcp.failure is not None
        assert "looped back" in h.lcp.failure
        while inbox:  # The Terminate-Request comes back as well, and ends it.
            h.lcp.receive(inbox.pop(0), 1)
            inbox += [p.encode() for p in h.sent()]
        assert h.lcp.state in (State.CLOSED, State.CLOSING)

    @pytest.mark.parametrize("code", [9, 10, 11, 12])
    def test_loop_on_an_open_link(self, code: int) -> None:
        h = Harness().open(magic(77))
        own = h.lcp.ours.magic.to_bytes(4, "big")
        sent = h.receive(code, own + b"x")
        assert [p.code for p in sent] == [control.TERMINATE_REQUEST]
        assert h.lcp.looped_back

    def test_without_magic_zero_is_no_loop(self) -> None:
        h = Harness(**PLAIN).open()
        assert h.receive(9, bytes(4) + b"x")[0] == ControlPacket(10, 33, bytes(4) + b"x")
        assert not h.lcp.looped_back


class TestCodes:
    def test_echo_reply_carries_our_magic_and_the_data(self) -> None:
        h = Harness().open(magic(77))
        mine = h.lcp.ours.magic.to_bytes(4, "big")
        assert h.receive(9, (77).to_bytes(4, "big") + b"hello") == [ControlPacket(10, 33, mine + b"hello")]

    @pytest.mark.parametrize("code", [9, 10, 11, 12])
    def test_too_short_for_a_magic_number(self, code: int) -> None:
        h = Harness().open()
        assert h.receive(code, b"123") == []
        assert h.lcp.discarded == {"length": 1}

    def test_no_echo_before_opened(self) -> None:
        h = Harness()
        assert h.receive(9, bytes(4)) == []

    def test_discard_is_discarded(self) -> None:
        h = Harness().open()
        assert h.receive(11, bytes(100)) == []

    def test_identification_both_ways(self) -> None:
        h = Harness(identification="eqlbond 1")
        assert h.receive(12, bytes(4) + b"pppd\x07") == []
        assert h.lcp.identifications == ["pppd?"]
        h.receive(control.CONFIGURE_REQUEST)
        sent = h.receive(control.CONFIGURE_ACK, h.request.data, h.request.identifier)
        assert [(p.code, p.data[4:]) for p in sent] == [(12, b"eqlbond 1")]
        assert sent[0].data[:4] == h.lcp.ours.magic.to_bytes(4, "big")

    def test_time_remaining_is_told(self) -> None:
        h = Harness().open()
        h.receive(13, bytes(4) + (600).to_bytes(4, "big") + b"soon")
        h.receive(13, bytes(4) + b"\xff" * 4)
        h.receive(13, bytes(7))
        assert h.lcp.identifications == ["600 seconds remain: soon", "the session ends"]

    def test_notes_are_bounded(self) -> None:
        h = Harness().open()
        for _ in range(1000):
            h.receive(12, bytes(4) + b"x" * 1000)
        assert len(h.lcp.identifications) == 8
        assert all(len(text) <= 255 for text in h.lcp.identifications)

    @pytest.mark.parametrize("code", [0, 14, 15, 42, 255])
    def test_unknown_codes_are_rejected(self, code: int) -> None:
        h = Harness().open()
        sent = h.receive(code, b"data")
        assert [(p.code, p.data) for p in sent] == [(7, ControlPacket(code, 33, b"data").encode())]

    def test_protocol_reject_of_another_protocol(self) -> None:
        h = Harness().open()
        h.receive(8, b"\x80\x21rest")
        h.receive(8, b"\x80\x21rest")
        assert h.lcp.rejected_protocols == [0x8021]
        assert h.lcp.opened

    def test_protocol_reject_of_lcp(self) -> None:
        h = Harness().open()
        h.receive(8, b"\xc0\x21rest")
        assert h.lcp.state is State.STOPPING

    @pytest.mark.parametrize("data", [b"", b"\x80"])
    def test_protocol_reject_too_short(self, data: bytes) -> None:
        h = Harness().open()
        assert h.receive(8, data) == []
        assert h.lcp.discarded == {"length": 1}

    def test_protocol_reject_counts_in_opened_only(self) -> None:
        h = Harness()
        h.receive(8, b"\x80\x21")
        assert h.lcp.rejected_protocols == []

    def test_our_protocol_reject_is_cut_to_the_peers_mru(self) -> None:
        h = Harness().open(mru(200))
        h.lcp.protocol_reject(0x80FD, bytes(1000))
        packet = h.sent()[0]
        assert (packet.code, packet.data[:2], len(packet.encode())) == (8, b"\x80\xfd", 200)

    @pytest.mark.parametrize("code", range(1, 8))
    def test_code_reject_of_what_one_cannot_do_without(self, code: int) -> None:
        h = Harness().open()
        h.receive(7, bytes((code, 1, 0, 4)))
        assert h.lcp.state is State.STOPPING
        assert h.lcp.failure is not None
        assert "Code-Reject" in h.lcp.failure

    def test_code_reject_of_echo_ends_the_asking(self) -> None:
        h = Harness().open()
        assert h.lcp.next_deadline is not None
        h.receive(7, bytes((9, 1, 0, 4)))
        assert h.lcp.opened
        assert h.lcp.next_deadline is None


class TestLiveness:
    def opened(self, **config: Any) -> Harness:
        return Harness(echo_interval=10, echo_failure=6, **config).open(magic(77))

    def tick(self, h: Harness, delay: float = 0.0) -> tuple[float, list[ControlPacket]]:
        when = h.lcp.next_deadline
        assert when is not None
        h.lcp.tick(when, delay)
        return when, h.sent()

    def test_six_unanswered_requests_are_the_end(self) -> None:
        h = self.opened()
        times = []
        while h.lcp.opened:
            when, sent = self.tick(h)
            times.append(when)
        assert times == [11.0, 21.0, 31.0, 41.0, 51.0, 61.0, 71.0]
        assert [p.code for p in sent] == [control.TERMINATE_REQUEST]
        assert h.lcp.failure == "no sign of life from the peer for 6 Echo-Requests"

    def test_replies_keep_it_up_and_tell_the_round_trip(self) -> None:
        h = self.opened()
        for _ in range(50):
            when, sent = self.tick(h, delay=0.5)
            h.receive(10, (77).to_bytes(4, "big"), sent[0].identifier, now=when + 0.75)
        assert h.lcp.opened
        assert h.lcp.liveness.round_trip == pytest.approx(0.25)

    def test_requests_have_our_magic_and_fresh_identifiers(self) -> None:
        h = self.opened()
        packets = [self.tick(h)[1][0] for _ in range(3)]
        assert {p.data for p in packets} == {h.lcp.ours.magic.to_bytes(4, "big")}
        assert len({p.identifier for p in packets}) == 3

    def test_own_queue_explains_silence(self) -> None:
        """With 25 s of our own queue before each request, the count of each begins 25 s later."""
        h = self.opened()
        times = []
        while h.lcp.opened:
            when, _ = self.tick(h, delay=25.0)
            times.append(when)
        assert times == [11.0 + 35.0 * n for n in range(7)]

    def test_a_slow_port_holds_the_count(self) -> None:
        """For as long as bytes leave it."""
        h = self.opened()
        when, _ = self.tick(h)
        liveness = h.lcp.liveness
        liveness.hold(when + 9.0, when + 90.0, 1)  # nothing is due yet
        assert liveness.next_deadline == when + 10.0
        for gone in range(50):
            now = liveness.next_deadline
            assert now is not None
            liveness.hold(now, now + 5.0, gone)
            assert liveness.tick(now) is None
            assert liveness.next_deadline == now + 15.0
        assert liveness.unanswered == 0

    def test_a_stuck_port_holds_the_count_for_so_many_intervals(self) -> None:
        h = self.opened()
        times = []
        while h.lcp.opened:
            now = h.lcp.next_deadline
            assert now is not None
            h.lcp.liveness.hold(now, now, 77)
            h.lcp.tick(now)
            times.append(now)
        # The first is sent, then told that bytes left once, and believed 6 times more before the count begins.
        assert times == [11.0 + 10.0 * n for n in range(1 + 7 + 6)]

    @pytest.mark.parametrize(("round_trip", "last"), [(0.75, 66.0), (2.0, 71.0)])
    def test_the_last_request_is_waited_for_half_where_the_peer_is_near(self, round_trip: float, last: float) -> None:
        h = self.opened()
        when, sent = self.tick(h)
        h.receive(10, (77).to_bytes(4, "big"), sent[0].identifier, now=when + round_trip)
        times = []
        while h.lcp.opened:
            times.append(self.tick(h)[0])
        assert times == [21.0, 31.0, 41.0, 51.0, 61.0, 71.0, last + 10.0]

    def test_a_sign_of_life_gives_the_last_request_its_whole_interval(self) -> None:
        h = self.opened()
        when, sent = self.tick(h)
        h.receive(10, (77).to_bytes(4, "big"), sent[0].identifier, now=when + 0.5)
        for _ in range(6):
            when, _ = self.tick(h)
        assert h.lcp.liveness.unanswered == 5
        h.lcp.liveness.heard()
        assert self.tick(h) == (when + 5.0, [])
        assert h.lcp.next_deadline == when + 10.0
        assert [p.code for p in self.tick(h)[1]] == [control.ECHO_REQUEST]
        assert h.lcp.opened

    def test_other_frames_count_for_two_thirds(self) -> None:
        """The reply may stand in the peer's queue; but a link that only hears is given up as well, later."""
        h = self.opened()
        rounds = 0
        while h.lcp.opened:
            self.tick(h)
            h.lcp.liveness.heard()
            rounds += 1
        assert rounds == 1 + 18

    def test_reply_after_silence_starts_the_count_anew(self) -> None:
        h = self.opened()
        for _ in range(5):
            when, sent = self.tick(h)
        assert h.lcp.liveness.unanswered == 4
        h.receive(10, (77).to_bytes(4, "big"), sent[0].identifier, now=when + 1)
        assert h.lcp.liveness.unanswered == 0

    def test_no_interval_no_requests(self) -> None:
        h = Harness(echo_interval=0).open()
        assert h.lcp.next_deadline is None

    def test_renegotiation_stops_it(self) -> None:
        h = self.opened()
        h.receive(control.CONFIGURE_REQUEST)
        assert h.lcp.liveness.next_deadline is None


def test_signals_of_a_life() -> None:
    lcp = Lcp(Ppp(), random.Random(1))
    lcp.open(0)
    assert lcp.take_steps() == [Signal.STARTED]
    lcp.up(0)
    steps = lcp.take_steps()
    request = parse_control(steps[0])  # type: ignore[arg-type]
    assert request is not None
    lcp.receive(ControlPacket(2, request.identifier, request.data).encode(), 1)
    lcp.receive(ControlPacket(1, 9).encode(), 1)
    steps = lcp.take_steps()
    assert steps == [ControlPacket(2, 9).encode(), Signal.UP], "the Ack goes out before the layer is up"
    lcp.close(2)
    steps = lcp.take_steps()
    assert steps[0] is Signal.DOWN
    lcp.receive(ControlPacket(6, 1).encode(), 3)
    steps = lcp.take_steps()
    assert steps == [ControlPacket(6, 1).encode(), Signal.FINISHED], "so that the peer waits no longer, either"
    lcp.down(4)
    assert lcp.state is State.INITIAL
