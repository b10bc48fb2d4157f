"""The expect/send engine: a dialogue is a generator that says what to do next. Sans-IO.

A program yields steps and is sent what came of each::

    def greet(device: str) -> Program[str]:
        deadline = yield Within(20.0)
        match = yield Expect((b"ogin:",), deadline)
        if match is None:
            raise ScriptTimeout(device, "no login prompt", "ogin:")
        yield Send(b"guest\\r")
        return "guest"

`Dialogue` runs it: bytes and the time go in by `feed` and `tick`, what is to be done with the port comes out of
`take_actions`, and `next_deadline` tells when to tick next. What was received and no step took is `rest`: when the
dialogue is `done`, those bytes belong to whoever has the line next, so not one is lost.

Texts are compared without their eighth bit, since some systems send a parity bit there until packets flow.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Generator
from typing import Any, Generic, TypeVar

import attrs

from eqlbond.modem.transcript import Scribe

__all__ = [
    "Break",
    "Dialogue",
    "Dtr",
    "Expect",
    "Forget",
    "Match",
    "Note",
    "Pattern",
    "Pause",
    "Phase",
    "Program",
    "ReadLine",
    "Send",
    "Within",
]

KEPT = 4096
"""Bytes received that a step may look back on."""
BREAK_TIME = 0.25
"""Seconds that a break lasts."""

_STRIP = bytes(c & 0x7F for c in range(256))

Pattern = bytes | re.Pattern[bytes]
"""What to expect: a text as it stands, or a regular expression."""


@attrs.frozen
class Send:
    """Send bytes."""

    data: bytes
    secret: bool = False
    """Never to be shown, nor its echo."""
    pace: float = 0.0
    """Seconds between bytes, for ends that lose what is typed too fast."""


@attrs.frozen
class Expect:
    """Wait for one of several texts. The answer is a `Match` for the one that ends first, or None: it is too late."""

    patterns: tuple[Pattern, ...]
    deadline: float | None


@attrs.frozen
class Match:
    """What was expected and came."""

    index: int
    """Which of the patterns."""
    text: bytes
    before: bytes
    """What was received before it and not taken by a step, as far as it is kept."""


@attrs.frozen
class ReadLine:
    """Wait for a line that is not empty. The answer is the line without its end, or None: it is too late."""

    deadline: float | None
    secret: bool = False


@attrs.frozen
class Within:
    """The answer is the time so many seconds from now, for the `deadline` of other steps."""

    seconds: float


@attrs.frozen
class Pause:
    """Wait."""

    seconds: float


@attrs.frozen
class Dtr:
    """Raise or drop the line that tells the modem that there is a terminal."""

    on: bool


@attrs.frozen
class Break:
    """Send a break."""


@attrs.frozen
class Forget:
    """Drop what has been received."""


@attrs.frozen
class Note:
    """Say something in the transcript."""

    text: str


@attrs.frozen
class Phase:
    """Tell where the call stands: ``command``, ``dialling`` or ``online``. It decides how to hang up."""

    name: str


Step = Send | Expect | ReadLine | Within | Pause | Dtr | Break | Forget | Note | Phase
Action = Send | Dtr | Break
"""What the driver has to do with the port."""

T = TypeVar("T")
Program = Generator[Step, Any, T]


def plain(data: bytes) -> bytes:
    """The bytes without their eighth bits."""
    return data.translate(_STRIP)


class Dialogue(Generic[T]):
    """Runs a program over what is received and the time.

    The driver calls `start`, then `feed`, `tick` at `next_deadline()`, or `lost`; after each, it takes
    `take_actions()` and asks whether the dialogue is `done`.

    Args:
        program: what to do.
        scribe: writes it down.
        rest: bytes that were received before.
    """

    def __init__(self, program: Program[T], scribe: Scribe, rest: bytes = b"") -> None:
        self._program = program
        self._scribe = scribe
        self._buffer = bytearray(rest)
        self._after_return = False
        self._step: Step | None = None
        self._deadline: float | None = None
        self._typing: deque[int] = deque()
        self._actions: list[Action] = []
        self._result: T | None = None
        self.phase = "command"
        self.error: BaseException | None = None
        self.done = False

    # -- the driver's side

    def start(self, now: float) -> None:
        """Begin."""
        self._resume(None, now)
        self._run(now)

    def feed(self, data: bytes, now: float) -> None:
        """Bytes were received."""
        self._buffer += data
        if self.done:
            return
        self._scribe.received(data, now)
        self._run(now)

    def tick(self, now: float) -> None:
        """The deadline has come."""
        if self._deadline is None or now < self._deadline or self.done:
            return
        if self._typing and isinstance(self._step, Send):
            self._type(self._step)
            if self._typing:
                self._deadline = now + self._step.pace
                return
        self._resume(None, now)
        self._run(now)

    def lost(self, error: BaseException, now: float) -> None:
        """The line is gone; the program is told by this exception."""
        if not self.done:
            self._resume(error, now)
            self._run(now)

    def next_deadline(self) -> float | None:
        """When to tick; None: only bytes bring it on."""
        return None if self.done else self._deadline

    def take_actions(self) -> list[Action]:
        """What to do with the port, in this order."""
        actions, self._actions = self._actions, []
        return actions

    def result(self) -> T:
        """What the program returned, or raises what it raised."""
        if self.error is not None:
            raise self.error
        assert self.done
        return self._result  # type: ignore[return-value]

    def rest(self) -> bytes:
        """What was received and not taken by a step."""
        self._skip_line_feed()
        return bytes(self._buffer)

    @property
    def after_return(self) -> bool:
        """Whether the last byte taken ended a line with a carriage return, so that a line feed may belong to it."""
        return self._after_return and not self._buffer

    # -- running

    def _resume(self, answer: Any, now: float) -> None:
        self._step, self._deadline = None, None
        try:
            step = self._program.throw(answer) if isinstance(answer, BaseException) else self._program.send(answer)
            while not self._begin(step, now):
                step = self._program.send(now + step.seconds if isinstance(step, Within) else None)
        except StopIteration as stop:
            self._result = stop.value
            self._end(now)
        except Exception as error:
            self.error = error
            self._end(now)

    def _end(self, now: float) -> None:
        self.done = True
        self._scribe.flush(now)

    def _begin(self, step: Step, now: float) -> bool:
        """Begin a step; whether it takes time."""
        match step:
            case Send():
                if not step.data:
                    return False
                self._scribe.sent(step.data, now, secret=step.secret)
                if step.pace and len(step.data) > 1:
                    self._typing.extend(step.data)
                    self._type(step)
                    self._step, self._deadline = step, now + step.pace
                    return True
                self._actions.append(step)
            case Expect() | ReadLine():
                self._step, self._deadline = step, step.deadline
                if isinstance(step, ReadLine):
                    self._scribe.blind(step.secret)
                return True
            case Pause():
                self._step, self._deadline = step, now + step.seconds
                return True
            case Break():
                self._actions.append(step)
                self._step, self._deadline = step, now + BREAK_TIME
                return True
            case Dtr():
                self._scribe.note(f"DTR {'on' if step.on else 'off'}", now)
                self._actions.append(step)
            case Forget():
                self._buffer.clear()
                self._after_return = False
            case Note():
                self._scribe.note(step.text, now)
            case Phase():
                self.phase = step.name
            case Within():
                pass
        return False

    def _type(self, step: Send) -> None:
        self._actions.append(attrs.evolve(step, data=bytes((self._typing.popleft(),))))

    def _run(self, now: float) -> None:
        """Go on as far as what was received allows."""
        while not self.done:
            answer: bytes | Match | None = None
            if isinstance(self._step, ReadLine):
                answer = self._line()
                if answer is not None:
                    self._scribe.blind(False)
            elif isinstance(self._step, Expect):
                answer = self._match(self._step.patterns)
            if answer is None:
                if len(self._buffer) > 2 * KEPT:
                    del self._buffer[:-KEPT]
                return
            self._resume(answer, now)

    def _skip_line_feed(self) -> None:
        if self._after_return and self._buffer:
            if self._buffer[0] == 0x0A:
                del self._buffer[0]
            self._after_return = False

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._after_return = taken.endswith(b"\r")
        return taken

    def _line(self) -> bytes | None:
        while True:
            self._skip_line_feed()
            ends = [end for end in (self._buffer.find(b"\r"), self._buffer.find(b"\n")) if end >= 0]
            if not ends:
                return None
            line = plain(self._take(min(ends) + 1))[:-1]
            if line.strip():
                return line

    def _match(self, patterns: tuple[Pattern, ...]) -> Match | None:
        text = plain(bytes(self._buffer))
        best: tuple[int, int, int] | None = None  # end, which, start
        for index, pattern in enumerate(patterns):
            if isinstance(pattern, bytes):
                start = text.find(pattern)
                end = start + len(pattern)
            else:
                found = pattern.search(text)
                start, end = found.span() if found is not None else (-1, -1)
            if start >= 0 and (best is None or end < best[0]):
                best = end, index, start
        if best is None:
            return None
        end, index, start = best
        self._take(end)
        return Match(index, text[start:end], text[:start])
