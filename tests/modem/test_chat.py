"""Scripts of chat(8)."""

from __future__ import annotations

import asyncio

import pytest

from eqlbond.exceptions import ConfigurationError
from eqlbond.modem import Modem, errors
from eqlbond.modem.chat import ChatScript
from eqlbond.modem.dialogue import Break, Dialogue, Send
from eqlbond.modem.testing import Exchange, FakeHost, FakeModem
from eqlbond.modem.transcript import Scribe, Transcript
from tests.aio.memory import virtual


class Talk:
    """A script that is running."""

    def __init__(self, script, **options):
        self.now = 0.0
        self.transcript = Transcript()
        scribe = Scribe("tty", (self.transcript,))
        self.dialogue = Dialogue(ChatScript(script, **options).program("tty", scribe.said), scribe)
        self.dialogue.start(0.0)

    def sent(self):
        return b"".join(
            action.data if isinstance(action, Send) else b"<break>" if isinstance(action, Break) else b"?"
            for action in self.dialogue.take_actions()
        )

    def hear(self, data):
        self.dialogue.feed(data, self.now)
        return self.sent()

    def wait(self, seconds):
        until = self.now + seconds
        while (deadline := self.dialogue.next_deadline()) is not None and deadline <= until:
            self.now = deadline
            self.dialogue.tick(self.now)
        self.now = until
        return self.sent()


SCRIPT = """\
# Dial the provider.
ABORT BUSY  ABORT 'NO CARRIER'
TIMEOUT 60
''      ATZ
OK      ATDT\\T
SAY "Dialling\\n"
CONNECT ''
ogin:--ogin: ppp
TIMEOUT 5 ssword: \\qhello2u2
"""


def test_a_usual_script():
    talk = Talk(SCRIPT, phone="5551212")
    assert talk.sent() == b"ATZ\r"
    assert talk.hear(b"ATZ\r\r\nOK\r\n") == b"ATDT5551212\r"
    assert talk.dialogue.next_deadline() == 60.0
    assert talk.hear(b"CARRIER 14400\r\n\r\nCONNECT") == b""
    assert talk.hear(b" 57600/ARQ\r\n") == b"\r"
    assert talk.wait(60) == b"\r"  # the first ogin: did not come
    assert talk.hear(b"login: ") == b"ppp\r"
    assert talk.hear(b"Password: ") == b"hello2u2\r"
    report = talk.dialogue.result()
    assert (report.rate, report.error_correction, report.text) == (14400, True, "CONNECT 57600/ARQ")
    assert "hello2u2" not in str(talk.transcript)
    assert "Dialling" in str(talk.transcript)


def test_connect_at_the_end_leaves_the_packets_only():
    talk = Talk(["", "ATD1", "CONNECT", r"\c"])
    talk.hear(b"\r\nCONNECT\r\n\xc0\x0a\x0d\xc0")
    assert talk.dialogue.done
    assert talk.dialogue.rest() == b"\xc0\x0a\x0d\xc0"


@pytest.mark.parametrize(
    ("text", "error"),
    [(b"\r\nBUSY\r\n", errors.Busy), (b"NO CARRIER", errors.NoCarrier), (b"go away", errors.ScriptAborted)],
)
def test_abort(text, error):
    talk = Talk("ABORT BUSY ABORT 'NO CARRIER' ABORT 'go away' CLR_ABORT OK ABORT x CLR_ABORT x '' ATD1 CONNECT ''")
    talk.hear(b"xyz" + text)
    with pytest.raises(error) as raised:
        talk.dialogue.result()
    assert type(raised.value) is error


def test_what_does_not_come_is_named():
    talk = Talk("TIMEOUT 3 ogin: ppp")
    talk.hear(b"Welcome\r\n")
    talk.wait(2.9)
    assert not talk.dialogue.done
    talk.wait(0.2)
    with pytest.raises(errors.ScriptTimeout, match=r"'ogin:' did not come within 3 s; received: Welcome") as raised:
        talk.dialogue.result()
    assert raised.value.expected == "ogin:"


def test_break_in_a_retry():
    talk = Talk("TIMEOUT 1 ogin:-BREAK-ogin:--ogin: ppp")
    assert talk.wait(1) == b"<break>"
    assert talk.wait(1.25) == b"\r"
    assert talk.hear(b"login:") == b"ppp\r"


@pytest.mark.parametrize(
    ("word", "data"),
    [
        (r"hello", b"hello\r"),
        (r"hello\c", b"hello"),
        (r"\c", b""),
        (r"a\cb", b"acb\r"),
        (r"a\sb\tc\nd\be", b"a b\tc\nd\x08e\r"),
        (r"\\x", b"\\x\r"),
        (r"a\-b", b"a-b\r"),
        (r"\N\0\101\7", b"\0\0A\x07\r"),
        (r"^C^[", b"\x03\x1b\r"),
        (r"x^", b"x^\r"),
        (r"EOT", b"\x04"),
        (r"BREAK", b"<break>"),
        (r"a\Kb", b"a<break>b\r"),
        (r"$HOME", b"$HOME\r"),
        ("'two words'", b"two words\r"),
        ('"it\'s"', b"it's\r"),
        ("''", b"\r"),
        (r"\T/\U", b"111/222\r"),
    ],
)
def test_words_to_send(word, data):
    talk = Talk(f"'' {word}", phone="111", phone2="222")
    assert talk.sent() + talk.wait(1.0) == data


def test_delays():
    talk = Talk(r"'' a\d\db\pc")
    assert talk.sent() == b"a"
    assert talk.wait(1.99) == b""
    assert talk.wait(0.02) == b"b"
    assert talk.wait(0.1) == b"c\r"


def test_environment_and_words_to_expect():
    talk = Talk(r"'>\s^G\041\-' $NAME-$NONE", environment={"NAME": "ppp"})
    assert talk.hear(b"> \x07") == b""
    assert talk.hear(b"!-") == b"ppp-\r"


def test_a_file(tmp_path):
    (tmp_path / "pw").write_text("hunter2\n")
    talk = Talk(f"prompt @{tmp_path}/pw")
    assert talk.hear(b"prompt") == b"hunter2\r"
    assert "hunter2" not in str(talk.transcript)
    talk = Talk(f"prompt @{tmp_path}/none")
    talk.hear(b"prompt")
    with pytest.raises(errors.DialError, match="No such file"):
        talk.dialogue.result()


def test_report_is_noted():
    talk = Talk(r"REPORT CONNECT '' ATD1 CONNECT \c")
    talk.hear(b"CONNECT 33600\r\n")
    assert "report: CONNECT 33600" in str(talk.transcript)


def test_a_password_is_masked_without_being_asked_to():
    talk = Talk("ssword: hunter2")
    talk.hear(b"Password:")
    assert "hunter2" not in str(talk.transcript)


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("OK 'ATZ", r"line 1: the quotation \('\) does not end"),
        ("'' ATZ\nABORT", "line 2: ABORT wants a word"),
        ("TIMEOUT soon", "TIMEOUT wants seconds, not 'soon'"),
        ("ECHO maybe", "ECHO wants ON or OFF"),
        ("HANGUP no", "HANGUP wants ON or OFF"),
        ("ABORT ''", "ABORT wants a text"),
        (r"'' ATDT\T", r"phone: the script dials \\T"),
    ],
)
def test_bad_scripts(script, problem):
    with pytest.raises(ConfigurationError, match=problem):
        ChatScript(script)


def test_reading_files(tmp_path):
    path = tmp_path / "chat"
    path.write_bytes(b"'' hall\xf6chen\xff\\c\n")
    talk = Talk("")
    script = ChatScript.read(path, timeout=3)
    talk.dialogue = Dialogue(script.program("tty", str), Scribe("tty"))
    talk.dialogue.start(0.0)
    assert talk.sent() == b"hall\xf6chen\xff"
    with pytest.raises(ConfigurationError, match="No such file"):
        ChatScript.read(tmp_path / "none")


@pytest.mark.parametrize(
    ("heard", "error"),
    [
        (b"ERROR\r\n", errors.CommandRefused),
        (b"CONNECT 33600\r\n\r\nBUSY\r\n", errors.ScriptAborted),
        (b"CONNECT 33600\r\nlast ERROR: none\r\n", errors.ScriptAborted),
        (b"CONNECT 33600\r\nlogin:NO CARRIER\r\n", errors.NoCarrier),
    ],
)
@pytest.mark.parametrize("wanted", ["CONNECT \\c ogin: x word: y", "word: y"], ids=["CONNECT expected", "not expected"])
def test_an_abort_text_after_connect_is_the_hosts(heard, error, wanted):
    talk = Talk(f"ABORT BUSY ABORT ERROR ABORT 'NO CARRIER' '' ATD1 {wanted}")
    for byte in heard:
        talk.hear(bytes([byte]))
    with pytest.raises(error) as raised:
        talk.dialogue.result()
    assert type(raised.value) is error


@pytest.mark.parametrize("dtr", [False, True])
@pytest.mark.parametrize("said", [b"\r\nBUSY today, be patient\r\n", b"\r\n0 ERROR\r\n"])
@virtual
async def test_a_call_that_a_script_gives_up_is_ended(said, dtr):
    host = FakeHost(garbage=said)
    line = FakeModem(Exchange(hosts={"1": host}), "me", dtr=dtr)
    script = ChatScript(r"ABORT BUSY ABORT ERROR '' ATZ OK ATD1 CONNECT \c ogin: Pname")
    with pytest.raises(errors.ScriptAborted):
        await Modem(script=script).connect(line.connect)(asyncio.Protocol)
    assert line.state == "command"
    assert not any("ATH" in answer for answer in host.asked)
