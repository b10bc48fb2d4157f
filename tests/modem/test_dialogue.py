"""The expect/send engine: steps, times, cuts of the input, and what is left over."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqlbond.modem import AnsweringModem, ChatScript, DialError, Login, LoginPrompt, Modem
from eqlbond.modem.dialogue import (
    Break,
    Dialogue,
    Dtr,
    Expect,
    Forget,
    Note,
    Pause,
    Phase,
    ReadLine,
    Send,
    Within,
)
from eqlbond.modem.transcript import MASK, Entry, Scribe, Transcript


def run(program, chunks=(), *, now=0.0, watcher=None):
    dialogue = Dialogue(program, Scribe("tty", () if watcher is None else (watcher,)))
    dialogue.start(now)
    for chunk in chunks:
        dialogue.feed(chunk, now)
    return dialogue


def sent(dialogue):
    return b"".join(action.data for action in dialogue.take_actions() if isinstance(action, Send))


def greet():
    deadline = yield Within(10.0)
    match = yield Expect((b"ogin:", b"BUSY"), deadline)
    if match is None:
        return "late"
    if match.index:
        return "busy"
    yield Send(b"ppp\r")
    match = yield Expect((b"ssword:",), deadline)
    yield Send(b"hello2u2\r", secret=True)
    return "in"


TALK = b"noise\xffLogin: ppp\r\nPassword: \xc0E packets \xc0"


def test_expect_and_send():
    dialogue = run(greet(), [TALK])
    assert dialogue.done
    assert dialogue.result() == "in"
    assert sent(dialogue) == b"ppp\rhello2u2\r"
    assert dialogue.rest() == b" \xc0E packets \xc0"


@given(st.lists(st.integers(0, len(TALK)), max_size=8))
def test_any_cut_of_the_input_gives_the_same(cuts):
    edges = sorted({0, len(TALK), *cuts})
    dialogue = run(greet(), [TALK[a:b] for a, b in itertools.pairwise(edges)])
    assert (dialogue.result(), sent(dialogue), dialogue.rest()) == ("in", b"ppp\rhello2u2\r", b" \xc0E packets \xc0")


def test_byte_by_byte():
    dialogue = run(greet(), [bytes((byte,)) for byte in TALK])
    assert dialogue.rest() == b" \xc0E packets \xc0"


def test_the_earliest_text_wins_whatever_its_place_in_the_list():
    assert run(greet(), [b"BUSY login:"]).result() == "busy"


def test_a_deadline_passes():
    dialogue = run(greet(), [b"garbage"])
    assert dialogue.next_deadline() == 10.0
    dialogue.tick(9.99)
    assert not dialogue.done
    dialogue.tick(10.0)
    assert dialogue.result() == "late"


def test_parity_bits_do_not_hide_a_prompt_and_stay_in_the_rest():
    dialogue = run(greet(), [bytes(c | 0x80 for c in b"login:") + b"Password:\xdb\xdc"])
    assert dialogue.rest() == b"\xdb\xdc"


def test_a_regular_expression():
    def program():
        match = yield Expect((re.compile(rb"address is ([\d.]+)\r\n"),), None)
        return match.text

    dialogue = run(program(), [b"Your address is 10.0.0.1\r", b"\n\xc0"])
    assert dialogue.result() == b"address is 10.0.0.1\r\n"
    assert dialogue.rest() == b"\xc0"


@pytest.mark.parametrize(
    ("chunks", "line", "rest", "after"),
    [
        ([b"\r\nCONNECT\r\n\xc0x"], b"CONNECT", b"\xc0x", False),
        ([b"\r\nCONNECT\r", b"\n\xc0x"], b"CONNECT", b"\xc0x", False),
        ([b"CONNECT\r"], b"CONNECT", b"", True),
        ([b"CONNECT\n\nx"], b"CONNECT", b"\nx", False),
        ([b"1\r~\x7e"], b"1", b"~\x7e", False),
    ],
)
def test_a_line_ends_with_return_line_feed_or_both(chunks, line, rest, after):
    def program():
        return (yield ReadLine(None))

    dialogue = run(program(), chunks)
    assert dialogue.result() == line
    assert dialogue.after_return is after
    assert dialogue.rest() == rest


def test_pauses_and_slow_typing_follow_the_clock():
    def program():
        yield Send(b"AT\r", pace=0.05)
        yield Pause(1.0)
        return "done"

    dialogue = run(program(), now=100.0)
    times = []
    while not dialogue.done:
        now = dialogue.next_deadline()
        times.append((now, sent(dialogue)))
        dialogue.tick(now)
    assert [data for _, data in times] == [b"A", b"T", b"\r"]
    assert [now for now, _ in times] == pytest.approx([100.05, 100.1, 101.1])


def test_port_actions_come_in_order():
    def program():
        yield Dtr(False)
        yield Break()
        yield Phase("online")
        yield Dtr(True)

    dialogue = run(program())
    assert dialogue.take_actions() == [Dtr(False), Break()]
    dialogue.tick(dialogue.next_deadline())
    assert dialogue.take_actions() == [Dtr(True)]
    assert dialogue.phase == "online"


def test_a_lost_line_is_raised_in_the_program():
    dialogue = run(greet())
    dialogue.lost(ConnectionError("gone"), 1.0)
    with pytest.raises(ConnectionError):
        dialogue.result()


def test_forget_drops_what_came_before():
    def program():
        yield Pause(1.0)
        yield Forget()
        return (yield Expect((b"OK",), None)).text

    dialogue = run(program(), [b"OK"])
    dialogue.tick(1.0)
    assert not dialogue.done
    dialogue.feed(b"OK", 2.0)
    assert dialogue.done


def test_garbage_without_end_is_bounded_and_many_lines_do_not_recurse():
    def program():
        while (line := (yield ReadLine(None))) != b"end":
            assert line
        return "end"

    dialogue = run(program(), [b"x" * 1000] * 1000)
    assert len(dialogue._buffer) <= 9000
    dialogue.feed(b"\r\n" + b"a\r\n" * 20000 + b"end\r\n", 0.0)
    assert dialogue.result() == "end"


# -- the transcript


def texts(transcript):
    return [(entry.kind, entry.text) for entry in transcript.entries]


def test_the_transcript_is_by_lines_and_masked():
    transcript = Transcript()
    run(greet(), [b"Wel", b"come\r\nlogin: ", b"ppp\r\nPassword:"], watcher=transcript)
    assert texts(transcript) == [
        ("received", "Welcome"),
        ("received", "login: "),
        ("sent", "ppp"),
        ("received", "ppp"),
        ("received", "Password:"),
        ("sent", MASK),
    ]


@given(st.lists(st.integers(0, 40), max_size=6), st.booleans())
def test_an_echo_of_a_secret_is_masked_however_it_is_cut(cuts, talk):
    def program():
        yield Send(b"hunter2\r", secret=True)
        yield Pause(1.0)
        yield Note("still here")
        yield Expect((b"done",), None)

    shown: list[Entry] = []
    dialogue = Dialogue(program(), Scribe("tty", (shown.append,)))
    dialogue.start(0.0)
    text = b"you typed hunter2, hunhunter2\r\nok done"
    edges = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    for a, b in itertools.pairwise(edges):
        dialogue.feed(text[a:b], 0.0)
        if talk and a:
            dialogue.tick(1.0)  # the note is written in the middle of the echo
    everything = "".join(entry.text for entry in shown if entry.kind == "received")
    assert "hunter2" not in everything
    assert "unter2" not in everything
    assert "you typed" in everything


def test_what_a_caller_types_blind_is_not_shown():
    def program():
        name = yield ReadLine(None, secret=True)
        yield Send(b"Password: ")
        password = yield ReadLine(None, secret=True)
        yield Note("thanks")
        return name, password

    transcript = Transcript()
    dialogue = run(program(), [b"ppp\r", b"hun", b"ter2\r"], watcher=transcript)
    assert dialogue.result() == (b"ppp", b"hunter2")
    assert "hunter2" not in str(transcript)
    assert "ter2" not in str(transcript)


def test_a_line_without_end_is_shown_in_pieces():
    transcript = Transcript()
    run(greet(), [b"y" * 700] * 3, watcher=transcript)
    assert [len(entry.text) for entry in transcript.entries] == [1400]


def test_a_watcher_that_fails_does_not_disturb(caplog):
    def fail(entry: Entry) -> None:
        raise RuntimeError("broken")

    assert run(greet(), [TALK], watcher=fail).done
    assert "watcher" in caplog.text


# -- whole programs against anything that a line may say

WORDS = [b"OK", b"CONNECT", b"CONNECT 33600/ARQ", b"RING", b"NO CARRIER", b"BUSY", b"login: ", b"Password: ", b"\r\n"]


def programs():
    scribe = Scribe("tty")
    modem = Modem(dial="1", login=Login("ppp", "hunter2"))
    answering = AnsweringModem(wait=60, login=LoginPrompt({"ppp": "hunter2"}))
    chat = Modem(script=ChatScript(r"ABORT BUSY '' ATZ OK ATD1 CONNECT \c ogin:--ogin: ppp ssword: \qhunter2"))
    return [any_modem._program("tty", False, scribe) for any_modem in (modem, answering, chat)]


@given(st.integers(0, 2), st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=12), st.just(None))))
def test_whatever_the_line_says_a_program_ends_by_its_result_or_a_dial_error(which, talk):
    dialogue = Dialogue(programs()[which], Scribe("tty"))
    now = 0.0
    dialogue.start(now)
    for chunk in talk:
        if chunk is not None:
            dialogue.feed(chunk, now)
        elif (deadline := dialogue.next_deadline()) is not None:
            now = max(now, deadline)
            dialogue.tick(now)
        dialogue.take_actions()
    for _ in range(200):
        if (deadline := dialogue.next_deadline()) is None:
            break
        now = max(now, deadline)
        dialogue.tick(now)
    assert dialogue.done
    assert dialogue.error is None or isinstance(dialogue.error, DialError)
    assert "hunter2" not in str(dialogue.error)
