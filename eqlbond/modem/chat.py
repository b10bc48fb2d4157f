r"""Scripts of chat(8), the dialler that comes with pppd: read, checked and run. Sans-IO.

A script is a list of words, by turns what to expect and what to send::

    ABORT BUSY  ABORT 'NO CARRIER'  TIMEOUT 60
    ''      ATZ
    OK      ATDT\T
    CONNECT ''
    ogin:--ogin: ppp
    ssword: \qhello2u2

Read as chat(8) does: quotes, comments (``#`` in the first column), ``expect-send-expect`` with ``-``, the directives
ABORT, CLR_ABORT, REPORT, CLR_REPORT, TIMEOUT, ECHO, HANGUP and SAY, EOT and BREAK, ``@file``, and the escapes
``\b \c \d \K \n \N \p \q \r \s \t \T \U \\ \ddd ^C``.

Where it differs: ECHO and HANGUP change nothing (the transcript is always there, and a line that is gone is gone);
what is sent after ``\q``, from a file, or to a prompt for a password is never shown; the line that CONNECT begins is
read to its end, for the speed in it and so that its rest is not taken for packets.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import attrs

from eqlbond.exceptions import ConfigurationError
from eqlbond.modem import errors
from eqlbond.modem.dialogue import Break, Expect, Forget, Match, Note, Pause, Phase, Program, Send, Within
from eqlbond.modem.report import CallReport, failure, result_code
from eqlbond.modem.transcript import printable

__all__ = ["ChatScript"]

DEFAULT_TIMEOUT = 45
_DIRECTIVES = ("ABORT", "CLR_ABORT", "REPORT", "CLR_REPORT", "TIMEOUT", "ECHO", "HANGUP", "SAY")
_ESCAPES = {"b": b"\b", "n": b"\n", "r": b"\r", "s": b" ", "t": b"\t"}
_LONGEST_FILE = 1024
_REST_OF_LINE = re.compile(rb"\A[^\r\n]*[\r\n]")

Piece = bytes | Literal["delay", "pause", "break"]


@attrs.frozen
class _Out:
    """A text to send: bytes, and what to do between them."""

    pieces: tuple[Piece, ...]
    secret: bool = False
    file: str | None = None


@attrs.frozen
class _Line:
    """An expectation with its retries, and what is sent then."""

    wait: tuple[bytes, ...]
    """Texts to wait for, one after the other, each after the retry before it."""
    retries: tuple[_Out, ...]
    send: _Out | None


@attrs.frozen
class _Directive:
    name: str
    value: bytes


class _Reader:
    """Turns the words of a script into what they mean."""

    def __init__(self, phone: str | None, phone2: str | None, environment: Mapping[str, str] | None) -> None:
        self.numbers = {"T": phone, "U": phone2}
        self.environment = environment

    def text(self, word: str, *, sending: bool) -> tuple[list[Piece], bool]:
        """A word without its escapes; the other value: whether it is to be kept quiet."""
        pieces: list[Piece] = []
        literal = bytearray()
        quiet = False
        end = b"\r" if sending else b""

        def special(piece: Literal["delay", "pause", "break"]) -> None:
            if literal:
                pieces.append(bytes(literal))
                literal.clear()
            pieces.append(piece)

        at = 0
        while at < len(word):
            c = word[at]
            at += 1
            if c == "^":
                if at == len(word):
                    literal += b"^"
                    break
                code = ord(word[at]) & 0x1F
                at += 1
                if code:
                    literal.append(code)
            elif c == "$" and self.environment is not None:
                stop = at
                while stop < len(word) and (word[stop].isalnum() or word[stop] == "_"):
                    stop += 1
                literal += self.environment.get(word[at:stop], "").encode("utf-8", "surrogateescape")
                at = stop
            elif c != "\\":
                literal += c.encode("utf-8", "surrogateescape")
            elif at == len(word):
                if sending:
                    literal += b"\\"
            else:
                c = word[at]
                at += 1
                if c in _ESCAPES:
                    literal += _ESCAPES[c]
                elif c == "c" and sending and at == len(word):
                    end = b""
                elif c == "d" and sending:
                    special("delay")
                elif c == "p" and sending:
                    special("pause")
                elif c == "K" and sending:
                    special("break")
                elif c == "N" and sending:
                    literal += b"\0"
                elif c == "q":
                    quiet = True
                elif c in self.numbers and sending:
                    number = self.numbers[c]
                    if number is None:
                        field = "phone" if c == "T" else "phone2"
                        raise ConfigurationError(field, f"the script dials \\{c}: say what number that is")
                    literal += number.encode()
                elif c in "01234567":
                    stop = at
                    while stop < len(word) and stop < at + 2 and word[stop] in "01234567":
                        stop += 1
                    code = int(word[at - 1 : stop], 8) & 0xFF
                    at = stop
                    if code or sending:
                        literal.append(code)
                else:
                    literal += c.encode("utf-8", "surrogateescape")
        literal += end
        if literal:
            pieces.append(bytes(literal))
        return pieces, quiet

    def expected(self, word: str) -> bytes:
        """A text to wait for."""
        pieces, _ = self.text(word, sending=False)
        return b"".join(piece for piece in pieces if isinstance(piece, bytes))

    def sent(self, word: str, prompt: bytes) -> _Out:
        """A text to send."""
        if word.startswith("@") and word[1:].strip():
            return _Out((), True, word[1:].lstrip(" \t"))
        if word == "EOT":
            return _Out((b"\x04",))
        if word == "BREAK":
            return _Out(("break",))
        pieces, quiet = self.text(word, sending=True)
        asked = prompt.lower()
        return _Out(tuple(pieces), quiet or b"assw" in asked or b"ssword" in asked or b"ssphrase" in asked)


def _words(text: str) -> Iterator[tuple[int, str]]:
    """The words of a script, with their line numbers."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            continue
        at = 0
        while at < len(line):
            if line[at] in " \t":
                at += 1
            elif line[at] in "\"'":
                quote = line[at]
                begin = at = at + 1
                while at < len(line) and line[at] != quote:
                    at += 2 if line[at] == "\\" else 1
                if at >= len(line):
                    raise ConfigurationError("script", f"line {number}: the quotation ({quote}) does not end")
                yield number, line[begin:at]
                at += 1
            else:
                begin = at
                while at < len(line) and line[at] not in " \t":
                    at += 1
                yield number, line[begin:at]


def _split_dashes(word: str) -> list[str]:
    """The parts of ``expect-send-expect``; a dash after a backslash is none."""
    parts = [""]
    at = 0
    while at < len(word):
        if word[at] == "\\" and at + 1 < len(word):
            parts[-1] += word[at : at + 2]
            at += 2
            continue
        if word[at] == "-":
            parts.append("")
        else:
            parts[-1] += word[at]
        at += 1
    return parts


class ChatScript:
    r"""A script of chat(8).

    Args:
        text: the script, as in a file for ``chat -f``, or a list of words, as on its command line.
        phone: what ``\T`` stands for (``chat -T``).
        phone2: what ``\U`` stands for (``chat -U``).
        environment: where ``$NAME`` is looked up (``chat -E``); None: a ``$`` is a ``$``.
        timeout: seconds, until the script says TIMEOUT (``chat -t``); default 45.

    Raises:
        ConfigurationError: the script cannot be run; it says which line.
    """

    def __init__(
        self,
        text: str | Sequence[str],
        *,
        phone: str | None = None,
        phone2: str | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        if not timeout > 0:
            raise ConfigurationError("timeout", f"seconds above 0, not {timeout!r}")
        self.timeout = timeout
        reader = _Reader(phone, phone2, environment)
        words = list(_words(text)) if isinstance(text, str) else [(n, str(word)) for n, word in enumerate(text, 1)]
        self._steps: list[_Line | _Directive] = []
        at = 0
        while at < len(words):
            number, word = words[at]
            follower = words[at + 1][1] if at + 1 < len(words) else None
            at += 2
            if word in _DIRECTIVES:
                if follower is None:
                    raise ConfigurationError("script", f"line {number}: {word} wants a word after it")
                self._steps.append(self._directive(reader, number, word, follower))
                continue
            parts = _split_dashes(word)
            wait = tuple(reader.expected(part) for part in parts[::2])
            retries = tuple(reader.sent(part, b"") for part in parts[1::2])
            send = None if follower is None else reader.sent(follower, wait[-1])
            self._steps.append(_Line(wait, retries, send))

    @classmethod
    def read(cls, path: str | os.PathLike[str], **options: object) -> ChatScript:
        """Read a script from a file; options as for the class.

        Raises:
            ConfigurationError: it cannot be read, or not be run.
        """
        try:
            text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise ConfigurationError("script", f"{os.fspath(path)}: {error.strerror}") from error
        return cls(text, **options)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"<ChatScript of {len(self._steps)} steps>"

    @staticmethod
    def _directive(reader: _Reader, number: int, name: str, value: str) -> _Directive:
        if name == "SAY":
            pieces, _ = reader.text(value, sending=True)
            said = b"".join(piece for piece in pieces if isinstance(piece, bytes))
            return _Directive(name, said)
        text = reader.expected(value)
        if name == "TIMEOUT" and not text.strip().isdigit():
            raise ConfigurationError("script", f"line {number}: TIMEOUT wants seconds, not {value!r}")
        if name in ("ECHO", "HANGUP") and value not in ("ON", "OFF"):
            raise ConfigurationError("script", f"line {number}: {name} wants ON or OFF, not {value!r}")
        if name.endswith(("ABORT", "REPORT")) and not text:
            raise ConfigurationError("script", f"line {number}: {name} wants a text that is not empty")
        return _Directive(name, text)

    def program(self, device: str, said: Callable[[], str], pace: float = 0.0) -> Program[CallReport]:
        """The script as a program.

        Raises:
            ScriptTimeout: an expected text did not come.
            ScriptAborted: an ABORT text came, where it is no result of the modem's: after CONNECT only NO CARRIER is.
            CallFailed: an ABORT text came that is a result, such as BUSY: of its kind.
            CommandRefused: that text is ERROR.
        """
        aborts: list[bytes] = []
        reports: list[bytes] = []
        report = CallReport()
        timeout: float = self.timeout
        connected = False
        # A script may end, or fail, anywhere; only a hang-up that fits a call in progress is always right.
        yield Phase("online")
        for step in self._steps:
            if isinstance(step, _Directive):
                value = step.value
                if step.name == "TIMEOUT":
                    timeout = float(value) or DEFAULT_TIMEOUT
                elif step.name == "SAY":
                    yield Note(printable(value.rstrip(b"\r\n")))
                elif step.name == "ABORT":
                    aborts.append(value)
                elif step.name == "CLR_ABORT":
                    aborts = [text for text in aborts if text != value]
                elif step.name == "REPORT":
                    reports.append(value)
                elif step.name == "CLR_REPORT":
                    reports = [text for text in reports if text != value]
                continue
            for attempt, wanted in enumerate(step.wait):
                match = yield from self._expect(device, wanted, aborts, timeout, connected)
                if match is not None:
                    yield from self._read_report(report, wanted, match.before, reports)
                    connected = connected or bool(report.text) or b"CONNECT" in wanted
                    break
                if attempt >= len(step.retries):
                    heard = said()
                    problem = f"{printable(wanted)!r} did not come within {timeout:g} s"
                    problem += f"; received: {heard}" if heard else ""
                    raise errors.ScriptTimeout(device, problem, printable(wanted))
                yield from self._send(device, step.retries[attempt], pace)
            if step.send is not None:
                if step is self._steps[-1] and step.wait[-1] and b"CONNECT" not in step.wait[-1]:
                    yield Forget()  # the rest of the last prompt is no packet
                yield from self._send(device, step.send, pace)
        return report

    @staticmethod
    def _expect(
        device: str, wanted: bytes, aborts: list[bytes], timeout: float, connected: bool
    ) -> Program[Match | None]:
        if not wanted:
            return Match(0, b"", b"")
        match = yield Expect((wanted, *aborts), (yield Within(timeout)))
        if match is None:
            return None
        assert isinstance(match, Match)
        if match.index:
            text = printable(match.text).strip()
            result = result_code(text) or ""
            connected = connected or any(
                result_code(printable(line)) == "CONNECT" for line in match.before.splitlines()
            )
            if connected and result != "NO CARRIER":  # a host says that, and its call is there to be ended
                result = ""
            error = failure(device, result, text)
            raise error or errors.ScriptAborted(device, f"the script ends at {text!r}", text)
        return match

    @staticmethod
    def _read_report(report: CallReport, wanted: bytes, before: bytes, reports: list[bytes]) -> Program[None]:
        """Look for what the modem tells about the call; of a line that CONNECT begins, wait for the rest."""
        if report.text:
            return
        for line in before.splitlines():
            report.line(printable(line))
        _, found, last = wanted.rpartition(b"CONNECT")
        if not found or b"\r" in last or b"\n" in last:
            return
        match = yield Expect((_REST_OF_LINE,), (yield Within(1.0)))
        text = "CONNECT" + printable(last + (match.text.rstrip(b"\r\n") if match is not None else b""))
        report.line(text)
        if any(text.startswith(printable(wish)) for wish in reports):
            yield Note(f"report: {text}")

    @staticmethod
    def _send(device: str, out: _Out, pace: float) -> Program[None]:
        pieces: tuple[Piece, ...] = out.pieces
        if out.file is not None:
            try:
                if not stat.S_ISREG(os.stat(out.file).st_mode):
                    raise ConfigurationError("script", f"@{out.file}: not a file")
                with open(out.file, "rb") as file:
                    pieces = (file.read(_LONGEST_FILE).removesuffix(b"\n") + b"\r",)
            except OSError as error:
                raise errors.DialError(device, f"@{out.file}: {error.strerror}") from error
        for piece in pieces:
            if piece == "delay":
                yield Pause(1.0)
            elif piece == "pause":
                yield Pause(0.1)
            elif piece == "break":
                yield Break()
            elif isinstance(piece, bytes):
                yield Send(piece, secret=out.secret, pace=pace)
