"""What is said after the connection and before the packets: logging in, and being logged in to."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping, Sequence

import attrs

from eqlbond.exceptions import ConfigurationError
from eqlbond.modem import errors
from eqlbond.modem.dialogue import Expect, Forget, Match, Note, Pattern, Pause, Program, ReadLine, Send, Within
from eqlbond.modem.transcript import printable

__all__ = ["Ask", "Login", "LoginPrompt", "Secret"]

_NO_CARRIER = re.compile(rb"[\r\n]NO CARRIER[\r\n]")
_LONGEST_NAME = 255


class Secret:
    """A text that is sent and never shown: not in a transcript, a log, an exception or a `repr`."""

    __slots__ = ("value",)

    def __init__(self, value: str | bytes) -> None:
        if not isinstance(value, str | bytes):
            raise ConfigurationError("secret", f"must be text or bytes, not {type(value).__name__}")
        self.value = value.encode() if isinstance(value, str) else value

    def __repr__(self) -> str:
        return "Secret(****)"


def as_bytes(field: str, text: object) -> bytes:
    """Text or bytes as bytes. Raises `ConfigurationError` without showing the value."""
    if isinstance(text, str):
        return text.encode()
    if isinstance(text, bytes):
        return text
    raise ConfigurationError(field, f"text or bytes, not {type(text).__name__}")


def as_pattern(field: str, text: object) -> Pattern:
    """What to expect, as the engine takes it. Raises `ConfigurationError`."""
    if isinstance(text, re.Pattern):
        if isinstance(text.pattern, str):
            raise ConfigurationError(field, "a regular expression over bytes: re.compile(rb'...')")
        return text
    return as_bytes(field, text)


def shown(pattern: Pattern) -> str:
    """A pattern for people."""
    return printable(pattern.pattern if isinstance(pattern, re.Pattern) else pattern)


def expect(
    device: str, pattern: Pattern, timeout: float, refusals: Sequence[Pattern], said: Callable[[], str]
) -> Program[Match]:
    """Wait for a text while the call lasts.

    Raises:
        ScriptTimeout, LoginRefused, NoCarrier
    """
    deadline = yield Within(timeout)
    match = yield Expect((pattern, _NO_CARRIER, *refusals), deadline)
    if match is None:
        heard = said()
        text = f"{shown(pattern)!r} did not come within {timeout:g} s" + (f"; received: {heard}" if heard else "")
        raise errors.ScriptTimeout(device, text, shown(pattern))
    if match.index == 1:
        raise errors.NoCarrier(device, f"the far end hung up before {shown(pattern)!r} came", "NO CARRIER")
    if match.index > 1:
        text = printable(match.text)
        raise errors.LoginRefused(device, f"{text!r} came instead of {shown(pattern)!r}", text)
    assert isinstance(match, Match)
    return match


@attrs.frozen
class Ask:
    """A step of a login script: wait for a text, then send one.

    Args:
        expect: text, bytes, or a compiled regular expression over bytes; "" does not wait.
        send: text, bytes or a `Secret`; a carriage return is added; None: nothing is sent.
        timeout: seconds to wait.
        nudge: sent, with a carriage return, when half the time is over: "" wakes a host that lost its prompt; None:
            nothing.
        end: what follows `send`.
        settle: seconds from the text to the answer; what comes in between, the rest of the prompt, is dropped.
    """

    expect: str | bytes | re.Pattern[bytes] = ""
    send: str | bytes | Secret | None = None
    timeout: float = attrs.field(default=30.0, kw_only=True)
    nudge: str | bytes | None = attrs.field(default=None, kw_only=True)
    end: str | bytes = attrs.field(default="\r", kw_only=True)
    settle: float = attrs.field(default=0.1, kw_only=True)

    def __attrs_post_init__(self) -> None:
        as_pattern("expect", self.expect)
        if self.send is not None and not isinstance(self.send, Secret):
            as_bytes("send", self.send)
        if not self.timeout > 0:
            raise ConfigurationError("timeout", f"seconds above 0, not {self.timeout!r}")
        if not self.settle >= 0:
            raise ConfigurationError("settle", f"seconds from 0, not {self.settle!r}")

    def program(
        self, device: str, refusals: Sequence[Pattern], said: Callable[[], str], pace: float = 0.0
    ) -> Program[None]:
        """The step as a program."""
        pattern = as_pattern("expect", self.expect)
        if pattern != b"":
            nudge = None if self.nudge is None else as_bytes("nudge", self.nudge) + b"\r"
            try:
                yield from expect(device, pattern, self.timeout / (1 if nudge is None else 2), refusals, said)
            except errors.ScriptTimeout:
                if nudge is None:
                    raise
                yield Send(nudge, pace=pace)
                yield from expect(device, pattern, self.timeout / 2, refusals, said)
        if self.send is not None:
            if pattern != b"":
                yield Pause(self.settle)
                yield Forget()
            end = as_bytes("end", self.end)
            if isinstance(self.send, Secret):
                yield Send(self.send.value + end, secret=True, pace=pace)
            else:
                yield Send(as_bytes("send", self.send) + end, pace=pace)


class Login:
    """Log in to a host or terminal server, as the 1995 manual's script did.

    Waits for ``ogin`` and sends the name, waits for ``assword`` and sends the password; then, with `ready`, waits
    for what says that packets may flow. Free scripts are lists of `Ask`.

    Args:
        name: the login name.
        password: never shown anywhere.
        name_prompt, password_prompt: what to wait for: text, bytes, or a regular expression over bytes.
        ready: what to wait for at the end; None: nothing, the line is the slave's once the password is sent. A host
            that talks on before it starts SLIP is best waited for: without a checksum, text looks like a packet.
        refusals: texts that say that the login failed.
        timeout: seconds for each prompt, default 20.
    """

    def __init__(
        self,
        name: str | bytes,
        password: str | bytes | Secret,
        *,
        name_prompt: str | bytes | re.Pattern[bytes] = "ogin",
        password_prompt: str | bytes | re.Pattern[bytes] = "assword",
        ready: str | bytes | re.Pattern[bytes] | None = None,
        refusals: Sequence[str | bytes | re.Pattern[bytes]] = ("incorrect", "nvalid", "denied"),
        timeout: float = 20.0,
    ) -> None:
        self.name = printable(as_bytes("name", name))
        secret = password if isinstance(password, Secret) else Secret(password)
        self.steps = [
            Ask(name_prompt, name, timeout=timeout, nudge=""),
            Ask(password_prompt, secret, timeout=timeout),
        ]
        if ready is not None:
            self.steps.append(Ask(ready, timeout=timeout))
        self.refusals = tuple(as_pattern("refusals", text) for text in refusals)

    def __repr__(self) -> str:
        return f"Login({self.name!r}, ****)"

    def program(self, device: str, said: Callable[[], str], pace: float = 0.0) -> Program[None]:
        """The login as a program."""
        for index, step in enumerate(self.steps):
            # A banner that says "denied" before anybody asked is no refusal.
            yield from step.program(device, self.refusals if index else (), said, pace)


class LoginPrompt:
    """The other side of a login: asks a caller for name and password.

    After the password that fits, nothing is sent any more: the line is the slave's. What the caller types for a
    password is neither echoed nor shown in transcripts.

    Args:
        secrets: name to password, or a function that returns None for an unknown name.
        banner: sent first.
        attempts: how often a caller may try, default 3.
        timeout: seconds for each answer, default 60.
    """

    def __init__(
        self,
        secrets: Mapping[str, str | bytes] | Callable[[str], str | bytes | None],
        *,
        banner: str = "",
        attempts: int = 3,
        timeout: float = 60.0,
    ) -> None:
        if not callable(secrets) and not isinstance(secrets, Mapping):
            raise ConfigurationError("secrets", f"a mapping or a function, not {type(secrets).__name__}")
        if attempts < 1:
            raise ConfigurationError("attempts", f"1 or more, not {attempts!r}")
        self._look_up = secrets if callable(secrets) else secrets.get
        self.banner = banner
        self.attempts = attempts
        self.timeout = timeout

    def __repr__(self) -> str:
        return "LoginPrompt(****)"

    def _fits(self, name: str, password: bytes) -> bool:
        try:
            known = self._look_up(name)
        except Exception:  # somebody else's code; the caller is refused, the log of the look-up is its own
            known = None
        if known is None:
            return False
        return hmac.compare_digest(known.encode() if isinstance(known, str) else known, password)

    def program(self, device: str, said: Callable[[], str], pace: float = 0.0) -> Program[None]:
        """The prompt as a program.

        Raises:
            LoginRefused: too many wrong answers.
            ScriptTimeout: the caller says nothing.
            NoCarrier: the caller hung up.
        """
        yield Forget()
        if self.banner:
            yield Send(self.banner.replace("\n", "\r\n").encode() + b"\r\n")
        for _ in range(self.attempts):
            yield Send(b"\r\nlogin: ")
            name = printable((yield from self._answer(device, "name")).strip())[:_LONGEST_NAME]
            yield Send(name.encode() + b"\r\nPassword: ")
            password = yield from self._answer(device, "password")
            if self._fits(name, password):
                yield Note(f"{name} has logged in")
                return
            yield Note(f"wrong name or password from {name}")
            yield Send(b"\r\nLogin incorrect\r\n")
        raise errors.LoginRefused(device, f"the caller failed to log in {self.attempts} times")

    def _answer(self, device: str, what: str) -> Program[bytes]:
        # The name is read blind as well: a caller that does not wait for prompts sends both in one piece.
        line = yield ReadLine((yield Within(self.timeout)), secret=True)
        if line is None:
            raise errors.ScriptTimeout(device, f"the caller gave no {what} within {self.timeout:g} s", what)
        if line.strip() == b"NO CARRIER":
            raise errors.NoCarrier(device, f"the caller hung up before the {what}", "NO CARRIER")
        assert isinstance(line, bytes)
        return line
