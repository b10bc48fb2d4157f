"""Every cell of the automaton: the table against rules written down anew, and the engine at work in each cell."""

from __future__ import annotations

import random

import pytest

from eqlbond.codec.control import ControlPacket, parse_control
from eqlbond.codec.options import Option, encode_options
from eqlbond.ppp.automaton import TIMED, TRANSITIONS, FsmEvent, State
from eqlbond.ppp.negotiation import ACCEPT, Answer, ControlProtocol, Reject, Signal, Timing

I, S, C, O, CG, SG, RS, AR, AS, OP = State  # noqa: E741
E = FsmEvent
NOTHING: tuple[str, ...] = ()


def expected(event: FsmEvent, state: State) -> tuple[tuple[str, ...], State] | None:
    """RFC 1661 section 4.1 told by rules instead of cells; None: cannot happen."""
    lower_down = state in (I, S)
    if event is E.UP:
        return {I: (NOTHING, C), S: (("irc", "scr"), RS)}.get(state)
    if event is E.DOWN:
        if lower_down:
            return None
        if state in (C, CG):
            return NOTHING, I
        if state is O:
            return ("tls",), S
        return (("tld",) if state is OP else NOTHING), S
    if event is E.OPEN:
        if state is I:
            return ("tls",), S
        if state is C:
            return ("irc", "scr"), RS
        return NOTHING, SG if state is CG else state
    if event is E.CLOSE:
        if state is S:
            return ("tlf",), I
        if state in (O, SG):
            return NOTHING, {O: C, SG: CG}[state]
        if state in (RS, AR, AS):
            return ("irc", "str"), CG
        return (("tld", "irc", "str"), CG) if state is OP else (NOTHING, state)
    if event is E.TIMEOUT:
        if state not in TIMED:
            return None
        return (("str",), state) if state in (CG, SG) else (("scr",), AS if state is AS else RS)
    if event is E.TIMEOUT_LAST:
        return (("tlf",), C if state is CG else O) if state in TIMED else None
    if lower_down:
        return None  # No packet can come while the layer below is down.
    if event in (E.REQUEST_GOOD, E.REQUEST_BAD):
        answer = "sca" if event is E.REQUEST_GOOD else "scn"
        if state is C:
            return ("sta",), C
        if state in (CG, SG):
            return NOTHING, state
        ahead = {O: ("irc", "scr"), OP: ("tld", "scr")}.get(state, NOTHING)
        if state is AR:
            return (("sca", "tlu"), OP) if answer == "sca" else (("scn",), AR)
        return (*ahead, answer), AS if answer == "sca" else RS
    if event in (E.ACK, E.NAK):
        if state in (C, O):
            return ("sta",), state
        if state in (CG, SG):
            return NOTHING, state
        if state is AR:
            return ("scr",), RS
        if state is OP:
            return ("tld", "scr"), RS
        if event is E.ACK:
            return (("irc",), AR) if state is RS else (("irc", "tlu"), OP)
        return ("irc", "scr"), state
    if event is E.TERMINATE:
        if state is OP:
            return ("tld", "zrc", "sta"), SG
        return ("sta",), RS if state in (AR, AS) else state
    if event is E.TERMINATE_ACK:
        if state in (CG, SG):
            return ("tlf",), C if state is CG else O
        return (("tld", "scr"), RS) if state is OP else (NOTHING, RS if state is AR else state)
    if event is E.UNKNOWN_CODE:
        return ("scj",), state
    if event is E.REJECT_MILD:
        return NOTHING, RS if state is AR else state
    if event is E.REJECT_FATAL:
        if state is OP:
            return ("tld", "irc", "str"), SG
        return ("tlf",), C if state in (C, CG) else O
    assert event is E.ECHO
    return (("ser",) if state is OP else NOTHING), state


CELLS = [(event, state) for event in FsmEvent for state in State]


@pytest.mark.parametrize(("event", "state"), CELLS, ids=lambda v: v.name)
def test_table(event: FsmEvent, state: State) -> None:
    cell = TRANSITIONS.get((event, state))
    want = expected(event, state)
    if want is None:
        assert cell is None
    else:
        assert cell is not None
        assert (tuple(a.value for a in cell.actions), cell.next) == want


def test_table_size() -> None:
    assert len(CELLS) == 160
    assert len(TRANSITIONS) == 120


def test_marks() -> None:
    marks = {key: cell.mark for key, cell in TRANSITIONS.items() if cell.mark}
    assert {(e, s) for (e, s), m in marks.items() if m == "p"} == {(E.TIMEOUT_LAST, s) for s in (RS, AR, AS)}
    assert {(e, s) for (e, s), m in marks.items() if m == "r"} == {(E.OPEN, s) for s in (O, CG, SG, OP)}
    assert {(e, s) for (e, s), m in marks.items() if m == "x"} == {(e, s) for e in (E.ACK, E.NAK) for s in (AR, OP)}


WISH = Option(1, b"wish")


class Toy(ControlProtocol):
    """A protocol with one option; its value "no" is Nakked, other types are rejected."""

    protocol = 0x8099
    name = "TOY"
    layer = "the toy"

    def reset(self) -> None:
        self.wish: list[Option] = [WISH]
        self.resets = getattr(self, "resets", 0) + 1

    def wanted(self) -> list[Option]:
        return self.wish

    def judge(self, option: Option) -> Answer:
        if option.type != 1:
            return Reject("unknown")
        return Option(1, b"yes") if option.data == b"no" else ACCEPT

    def naked(self, option: Option, drop: bool) -> None:
        self.wish = [] if drop else [option]

    def rejected(self, option: Option) -> None:
        self.wish = [o for o in self.wish if o.type != option.type]

    def extension(self, packet: ControlPacket, now: float) -> FsmEvent:
        return FsmEvent.ECHO if packet.code in (9, 10, 11) else FsmEvent.UNKNOWN_CODE

    def echo_reply(self, packet: ControlPacket) -> None:
        self.send(10, packet.identifier, packet.data)


def toy(*, passive: bool = False, timing: Timing | None = None) -> Toy:
    return Toy(random.Random(3), timing or Timing(), passive=passive)


def codes(steps: list[bytes | Signal]) -> list[object]:
    found: list[object] = []
    for step in steps:
        if isinstance(step, bytes):
            packet = parse_control(step)
            assert packet is not None
            found.append(packet.code)
        else:
            found.append(step)
    return found


def in_state(state: State) -> Toy:
    """A protocol led into a state by what leads there in life."""
    p = toy()
    if state is State.INITIAL:
        return p
    if state is State.CLOSED:
        p.up(0)
        return p
    p.open(0)
    if state is State.STARTING:
        p.take_steps()
        return p
    p.up(0)
    request = next(s for s in p.take_steps() if isinstance(s, bytes))
    sent = parse_control(request)
    assert sent is not None
    if state in (State.CLOSING,):
        p.close(0)
    elif state is State.STOPPED:
        p.receive(ControlPacket(7, 1, bytes((1, 0, 0, 4))).encode(), 0)
    elif state is not State.REQ_SENT:
        if state is not State.ACK_SENT:
            p.receive(ControlPacket(2, sent.identifier, sent.data).encode(), 0)
        if state is not State.ACK_RCVD:
            p.receive(ControlPacket(1, 77, encode_options([Option(1, b"yes")])).encode(), 0)
        if state is State.STOPPING:
            p.receive(ControlPacket(5, 78).encode(), 0)
    p.take_steps()
    p.failure = None
    assert p.state is state
    return p


NUMBERS = {"scr": 1, "sca": 2, "scn": 3, "str": 5, "sta": 6, "scj": 7, "ser": 10}
SIGNALS = {"tlu": Signal.UP, "tld": Signal.DOWN, "tls": Signal.STARTED, "tlf": Signal.FINISHED}


def cause(p: Toy, event: FsmEvent) -> None:
    """Make the event happen by a call or a packet."""
    good, bad = encode_options([Option(1, b"yes")]), encode_options([Option(1, b"no")])
    if event in (E.UP, E.DOWN, E.OPEN, E.CLOSE):
        getattr(p, event.name.lower())(1.0)
        return
    if event in (E.TIMEOUT, E.TIMEOUT_LAST):
        p._count = 1 if event is E.TIMEOUT else 0
        p.tick(1e6)
        return
    request, data = p._request_id % 256, p._request_data
    p._request_id = request
    packet = {
        E.REQUEST_GOOD: ControlPacket(1, 9, good),
        E.REQUEST_BAD: ControlPacket(1, 9, bad),
        E.ACK: ControlPacket(2, request, data),
        # In the answered states the crossed case: another answer than the one that came.
        E.NAK: ControlPacket(3, request, encode_options([Option(1, b"x")])),
        E.TERMINATE: ControlPacket(5, 9),
        E.TERMINATE_ACK: ControlPacket(6, 9),
        E.UNKNOWN_CODE: ControlPacket(200, 9),
        E.REJECT_MILD: ControlPacket(7, 9, bytes((11, 0, 0, 4))),
        E.REJECT_FATAL: ControlPacket(7, 9, bytes((1, 0, 0, 4))),
        E.ECHO: ControlPacket(9, 9, b"1234"),
    }[event]
    if event is E.ACK and p.state in (State.ACK_RCVD, State.OPENED):
        p._answered_by = None
    p.receive(packet.encode(), 1.0)


@pytest.mark.parametrize(("event", "state"), CELLS, ids=lambda v: v.name)
def test_engine_walks_every_cell(event: FsmEvent, state: State) -> None:
    p = in_state(state)
    cause(p, event)
    want = expected(event, state)
    if want is None:
        assert (p.take_steps(), p.state) == ([], state)
        return
    actions, after = want
    assert codes(p.take_steps()) == [NUMBERS.get(a) or SIGNALS[a] for a in actions if a not in ("irc", "zrc")]
    assert p.state is after
    assert (p.next_deadline is not None) == (after in TIMED)
    if "irc" in actions:
        sent = ("scr" in actions) + ("str" in actions)
        assert p._count == (2 if "str" in actions else 10) - sent
    if "zrc" in actions:
        assert p._count == 0


def started(**kwargs: object) -> tuple[Toy, ControlPacket]:
    p = toy(**kwargs)  # type: ignore[arg-type]
    p.open(0)
    p.up(0)
    return p, last(p)


def last(p: Toy) -> ControlPacket:
    sent = [s for s in p.take_steps() if isinstance(s, bytes)]
    packet = parse_control(sent[-1])
    assert packet is not None
    return packet


class TestRequests:
    def test_ten_requests_then_the_end(self) -> None:
        p, first = started()
        times = []
        while p.next_deadline is not None:
            times.append(p.next_deadline)
            p.tick(p.next_deadline)
        steps = p.take_steps()
        assert times == [0.5, 1.5, 3.5, *(3.5 + 3.0 * n for n in range(1, 8))]  # the timer doubles up to 3 s
        assert codes(steps) == [1] * 9 + [Signal.FINISHED]
        assert all(s == first.encode() for s in steps[:-1]), "a retransmission keeps its identifier"
        assert p.state is State.STOPPED
        assert p.failure == "TOY: no answer to 10 Configure-Requests"

    def test_passive_waits_and_answers(self) -> None:
        p, _ = started(passive=True)
        while p.next_deadline is not None:
            p.tick(p.next_deadline)
        assert codes(p.take_steps()) == [1] * 9
        assert (p.state, p.failure) == (State.STOPPED, None)
        p.receive(ControlPacket(1, 5).encode(), 100)
        assert codes(p.take_steps()) == [1, 2]
        assert p.state is State.ACK_SENT

    def test_answer_to_the_first_copy_counts_after_a_retransmission(self) -> None:
        p, first = started()
        p.tick(3.0)
        p.receive(ControlPacket(2, first.identifier, first.data).encode(), 4)
        assert p.state is State.ACK_RCVD

    def test_new_identifier_after_an_answer(self) -> None:
        p, first = started()
        p.receive(ControlPacket(3, first.identifier, encode_options([Option(1, b"b")])).encode(), 1)
        second = last(p)
        assert second.identifier != first.identifier
        assert second.data == encode_options([Option(1, b"b")])
        p.receive(ControlPacket(2, first.identifier, first.data).encode(), 1)
        assert p.state is State.REQ_SENT
        assert p.discarded == {"identifier": 1}

    def test_ack_must_repeat_the_options(self) -> None:
        p, first = started()
        p.receive(ControlPacket(2, first.identifier, first.data + b"\x02\x02").encode(), 1)
        assert p.state is State.REQ_SENT
        assert p.discarded == {"options": 1}

    @pytest.mark.parametrize("listed", [[Option(2, b"")], [Option(1, b"other")], [WISH, WISH], []])
    def test_reject_must_list_what_was_sent(self, listed: list[Option]) -> None:
        p, first = started()
        p.receive(ControlPacket(4, first.identifier, encode_options(listed)).encode(), 1)
        assert p.take_steps() == []
        assert p.discarded == {"options": 1}

    def test_reject_drops_the_option(self) -> None:
        p, first = started()
        p.receive(ControlPacket(4, first.identifier, encode_options([WISH])).encode(), 1)
        assert last(p).data == b""

    def test_same_answer_twice_is_a_copy(self) -> None:
        p, first = started()
        ack = ControlPacket(2, first.identifier, first.data).encode()
        p.receive(ack, 1)
        p.receive(ControlPacket(1, 1).encode(), 1)
        p.take_steps()
        p.receive(ack, 1)
        assert (p.state, p.take_steps(), p.discarded) == (State.OPENED, [], {"duplicate": 1})

    def test_another_answer_is_a_crossed_connection(self) -> None:
        p, first = started()
        p.receive(ControlPacket(2, first.identifier, first.data).encode(), 1)
        p.receive(ControlPacket(1, 1).encode(), 1)
        p.take_steps()
        p.receive(ControlPacket(3, first.identifier, encode_options([Option(1, b"b")])).encode(), 1)
        assert codes(p.take_steps()) == [Signal.DOWN, 1]
        assert p.state is State.REQ_SENT

    def test_renegotiation_starts_from_the_configured_wishes(self) -> None:
        p, first = started()
        p.receive(ControlPacket(4, first.identifier, encode_options([WISH])).encode(), 1)
        second = last(p)
        p.receive(ControlPacket(2, second.identifier, second.data).encode(), 1)
        p.receive(ControlPacket(1, 1).encode(), 1)
        assert p.opened
        p.take_steps()
        p.receive(ControlPacket(1, 2).encode(), 2)
        steps = p.take_steps()
        assert codes(steps) == [Signal.DOWN, 1, 2]
        assert isinstance(steps[1], bytes)
        assert steps[1][4:] == encode_options([WISH])


class TestVerdicts:
    def answer(self, p: Toy, *options: Option) -> ControlPacket:
        p.receive(ControlPacket(1, 42, encode_options(options)).encode(), 1)
        return last(p)

    def test_ack_repeats_everything(self) -> None:
        p, _ = started()
        assert self.answer(p, Option(1, b"yes")) == ControlPacket(2, 42, encode_options([Option(1, b"yes")]))

    def test_reject_goes_before_nak_and_lists_only_the_rejected(self) -> None:
        p, _ = started()
        answer = self.answer(p, Option(1, b"no"), Option(7, b"a"), Option(8))
        assert answer == ControlPacket(4, 42, encode_options([Option(7, b"a"), Option(8)]))
        assert p.refused == {"option 7": "unknown", "option 8": "unknown"}

    def test_option_listed_twice_is_rejected(self) -> None:
        p, _ = started()
        assert self.answer(p, Option(1, b"a"), Option(1, b"b")).data == encode_options([Option(1, b"b")])

    def test_max_failure_turns_naks_into_rejects(self) -> None:
        p, _ = started()
        answers = [self.answer(p, Option(1, b"no")) for _ in range(7)]
        assert [a.code for a in answers] == [3] * 5 + [4] * 2
        assert answers[-1].data == encode_options([Option(1, b"no")])

    def test_refusing_for_ever_ends(self) -> None:
        p, _ = started()
        for _ in range(200):
            p.receive(ControlPacket(1, 42, encode_options([Option(1, b"no")])).encode(), 1)
        assert p.state is State.CLOSING
        assert p.failure is not None
        assert "insists" in p.failure

    def test_nakked_for_ever_ends(self) -> None:
        p, request = started()
        for n in range(200):
            if p.state is not State.REQ_SENT:
                break
            p.receive(ControlPacket(3, request.identifier, encode_options([Option(1, bytes((n,)))])).encode(), 1)
            request = last(p)
        assert p.state is State.CLOSING
        assert p.failure == "TOY: the peer refuses every request"

    def test_acked_for_ever_ends(self) -> None:
        p, request = started()
        now = 0.0
        for _ in range(200):
            p.receive(ControlPacket(2, request.identifier, request.data).encode(), now)
            if p.state is State.CLOSING:
                break
            assert p.next_deadline is not None
            now = p.next_deadline
            p.tick(now)
            request = last(p)
        assert p.state is State.CLOSING
        assert p.failure is not None
        assert "never sends" in p.failure


class TestTermination:
    def test_two_requests_then_finished(self) -> None:
        p = in_state(State.OPENED)
        p.fail("enough", 0)
        first = [s for s in p.take_steps() if isinstance(s, bytes)]
        assert first[0][4:] == b"enough"
        p.tick(3.0)
        assert p.take_steps() == first, "the identifier stays"
        p.tick(6.0)
        assert p.take_steps() == [Signal.FINISHED]
        assert (p.state, p.failure) == (State.CLOSED, "enough")

    def test_peer_closes(self) -> None:
        p = in_state(State.OPENED)
        p.receive(ControlPacket(5, 3, b"good night").encode(), 0)
        assert codes(p.take_steps()) == [Signal.DOWN, 6]
        assert p.next_deadline == 3.0
        p.tick(3.0)
        assert p.take_steps() == [Signal.FINISHED]
        assert p.failure == "the peer closed the toy: good night"

    def test_stale_terminate_ack_asks_anew(self) -> None:
        p = in_state(State.OPENED)
        p.receive(ControlPacket(6, 200).encode(), 0)
        assert codes(p.take_steps()) == [Signal.DOWN, 1]


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", "length"),
        (b"\x01\x01\x00", "length"),
        (b"\x01\x01\x00\x03", "length"),
        (b"\x01\x01\x00\x09\x01\x02", "length"),
        (b"\x01\x01\x00\x05\x01", "options"),
        (b"\x01\x01\x00\x06\x01\x01", "options"),
        (b"\x01\x01\x00\x06\x01\x03", "options"),
        (b"\x07\x01\x00\x04", "length"),
    ],
)
def test_lengths_that_lie_are_discarded(packet: bytes, reason: str) -> None:
    for state in (State.CLOSED, State.STOPPED, State.REQ_SENT, State.ACK_RCVD, State.ACK_SENT, State.OPENED):
        p = in_state(state)
        p.receive(packet, 1)
        assert (p.take_steps(), p.state, p.discarded) == ([], state, {reason: 1})


def test_padding_is_ignored() -> None:
    p, _ = started()
    p.receive(ControlPacket(1, 1).encode() + b"\0" * 20, 1)
    assert last(p) == ControlPacket(2, 1)


def test_code_reject_is_cut_to_the_mru() -> None:
    p = in_state(State.OPENED)
    p.peer_mru = 128
    p.receive(ControlPacket(99, 1, bytes(1000)).encode(), 1)
    packet = last(p)
    assert packet.code == 7
    assert len(packet.encode()) == 128
    assert packet.data[:2] == b"\x63\x01"


def test_protocol_reject_ends_it() -> None:
    p, _ = started()
    p.reject(1)
    assert p.take_steps() == [Signal.FINISHED]
    assert p.failure == "the peer does not speak TOY (Protocol-Reject)"
