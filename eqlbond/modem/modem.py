"""Modems as a slave's option: what to say before packets flow, and how to end a call."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

from eqlbond.aio.slave import Connect
from eqlbond.exceptions import ConfigurationError
from eqlbond.modem import errors
from eqlbond.modem.call import Call, closing_time, give_up
from eqlbond.modem.chat import ChatScript
from eqlbond.modem.dialogue import Phase, Program
from eqlbond.modem.hayes import DEFAULT_INIT, Manners, answer, dial, hang_up, prepare
from eqlbond.modem.login import Ask, Login, LoginPrompt
from eqlbond.modem.report import CallReport
from eqlbond.modem.transcript import Scribe, Watcher

__all__ = ["AnsweringModem", "Modem"]

_log = logging.getLogger("eqlbond.modem")

_NOBODY_THERE = (errors.CommandRefused, errors.ModemSilent, errors.HungUp)


def _seconds(field: str, value: float, *, least: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < float("inf"):
        raise ConfigurationError(field, f"seconds from {least:g} on, not {value!r}")
    return float(value)


class _AnyModem(ABC):
    """What dialling and answering have in common. See `Modem`."""

    def __init__(
        self,
        init: str | Sequence[str],
        login: Login | LoginPrompt | Sequence[Ask] | None,
        command_timeout: float,
        guard_time: float,
        pace: float,
        hangup_timeout: float,
        watch_carrier: bool,
        transcript: Watcher | Iterable[Watcher] | None,
    ) -> None:
        self.init = (init,) if isinstance(init, str) else tuple(init)
        for text in self.init:
            if not isinstance(text, str) or not text.isascii() or not text.isprintable() or text[:2].upper() != "AT":
                raise ConfigurationError("init", f"a command such as 'ATZ', not {text!r}")
        if login is not None and not isinstance(login, Login | LoginPrompt):
            if not isinstance(login, list | tuple) or not all(isinstance(step, Ask) for step in login):
                raise ConfigurationError("login", "a Login, a LoginPrompt, or a list of Ask")
            login = tuple(login)
        self.login = login
        self.manners = Manners(
            command_timeout=_seconds("command_timeout", command_timeout, least=0.01),
            guard_time=_seconds("guard_time", guard_time),
            pace=_seconds("pace", pace),
        )
        self.hangup_timeout = _seconds("hangup_timeout", hangup_timeout)
        self.watch_carrier = watch_carrier
        watchers = () if transcript is None else (transcript,) if callable(transcript) else tuple(transcript)
        for watcher in watchers:
            if not callable(watcher):
                raise ConfigurationError("transcript", f"a function that takes an Entry, not {watcher!r}")
        self._watchers: tuple[Watcher, ...] = watchers

    @abstractmethod
    def _call(self, device: str, has_dtr: bool, said: Callable[[], str]) -> Program[CallReport]:
        """The program up to CONNECT."""

    def _hang_up(self, device: str, phase: str, has_dtr: bool) -> Program[None]:
        return hang_up(device, self.manners, has_dtr, phase)

    def _program(self, device: str, has_dtr: bool, scribe: Scribe) -> Program[CallReport]:
        report = yield from self._call(device, has_dtr, scribe.said)
        yield Phase("online")
        if isinstance(self.login, Login | LoginPrompt):
            yield from self.login.program(device, scribe.said, self.manners.pace)
        elif self.login is not None:
            for step in self.login:
                yield from step.program(device, (), scribe.said, self.manners.pace)
        return report

    def connect(self, base: Connect, name: str = "modem") -> Connect:
        """A connect function for a slave: opens the port by `base`, has the dialogue, hands the line over.

        `SerialSlave(..., modem=...)` does this; with another transport, ``Slave(modem.connect(base, "line 1"))``.
        Where it is cancelled or fails after the call was made, it hangs up, within `hangup_timeout`, before it ends.

        Args:
            base: opens the port, as asyncio's ``create_connection`` does.
            name: the port, for errors and transcripts.

        The function raises `DialError` of the kind that says what went wrong, and what `base` raises. Its attribute
        `closing_time` tells the slave how long hanging up may take.
        """

        async def connect(
            protocol_factory: Callable[[], asyncio.Protocol],
        ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
            scribe = Scribe(name, self._watchers)
            call = Call(
                name,
                scribe,
                lambda phase, has_dtr: self._hang_up(name, phase, has_dtr),
                self.hangup_timeout,
                self.watch_carrier,
            )
            await call.opened(base)
            try:
                report = await call.converse(self._program(name, call.has_dtr, scribe))
                info = report.line_info(call.baudrate, closing_time(self.hangup_timeout))
                _log.info("%s: %s", name, report.text or "connected")
                return call.hand_over(protocol_factory, info)
            except BaseException as error:
                if isinstance(error, errors.CallFailed):  # there is no call to end
                    call.phase = "command"
                await give_up(call, "idle" if isinstance(error, _NOBODY_THERE) else call.phase)
                raise

        connect.closing_time = closing_time(self.hangup_timeout)  # type: ignore[attr-defined]
        return connect


class Modem(_AnyModem):
    """A Hayes-compatible modem that makes calls.

    ::

        SerialSlave("/dev/ttyS0", 115200, modem=Modem(dial="555-1212", login=Login("Pname", "password")))

    When the slave's line is opened, the modem is set up, the number dialled, the login made, and then the line is
    the slave's. The speed and the error correction that CONNECT reports become the slave's rate and bits per byte,
    where it was not given these. When it is closed, or reopened, the modem hangs up.

    Args:
        dial: the number, with the modem's dial modifiers (``,`` pauses).
        prefix: ``ATDT`` for tones, ``ATDP`` for pulses.
        init: commands before dialling, each answered by OK; by default `DEFAULT_INIT`.
        script: a chat(8) script instead of `init` and `dial`.
        login: what is said after CONNECT, and after `script`: a `Login`, or a list of `Ask`.
        dial_timeout: seconds from dialling to a result, default 90.
        command_timeout: seconds for the answer to a command, default 5.
        guard_time: seconds of silence around ``+++``, default 1 (the modem's register S12).
        pace: seconds between characters that are typed, default 0.
        hangup_timeout: seconds that hanging up may take, default 8; then the port is closed all the same.
        watch_carrier: take ``NO CARRIER`` and then silence for the end of the call; default True. For ports that do
            not tell about DCD.
        transcript: is called with each `Entry` of the dialogue, secrets masked; a `Transcript`, or several.

    Raises:
        ConfigurationError: a value cannot work; `field` names it.
    """

    def __init__(
        self,
        *,
        dial: str | None = None,
        prefix: str = "ATDT",
        init: str | Sequence[str] = DEFAULT_INIT,
        script: ChatScript | None = None,
        login: Login | Sequence[Ask] | None = None,
        dial_timeout: float = 90.0,
        command_timeout: float = 5.0,
        guard_time: float = 1.0,
        pace: float = 0.0,
        hangup_timeout: float = 8.0,
        watch_carrier: bool = True,
        transcript: Watcher | Iterable[Watcher] | None = None,
    ) -> None:
        super().__init__(init, login, command_timeout, guard_time, pace, hangup_timeout, watch_carrier, transcript)
        if (dial is None) == (script is None):
            raise ConfigurationError("dial", "a number, or else a script")
        if dial is not None and (not dial.strip() or not dial.isascii() or not dial.isprintable()):
            raise ConfigurationError("dial", f"a telephone number, not {dial!r}")
        if script is not None and not isinstance(script, ChatScript):
            raise ConfigurationError("script", f"a ChatScript, not {script!r}")
        if prefix[:3].upper() != "ATD" or not prefix.isascii() or not prefix.isprintable():
            raise ConfigurationError("prefix", f"'ATDT', 'ATDP', or another that begins with ATD, not {prefix!r}")
        self.dial = dial
        self.prefix = prefix
        self.script = script
        self.dial_timeout = _seconds("dial_timeout", dial_timeout, least=0.01)

    def __repr__(self) -> str:
        return f"Modem(dial={self.dial!r})" if self.script is None else f"Modem(script={self.script!r})"

    def _call(self, device: str, has_dtr: bool, said: Callable[[], str]) -> Program[CallReport]:
        if self.script is not None:
            return (yield from self.script.program(device, said, self.manners.pace))
        assert self.dial is not None
        yield from prepare(device, self.init, self.manners, has_dtr)
        return (yield from dial(device, self.prefix, self.dial, self.dial_timeout, self.manners))


class AnsweringModem(_AnyModem):
    """A Hayes-compatible modem that waits for calls.

    Opening the slave's line takes until a call has come and its login is made.

    Args:
        rings: after how many rings to answer, default 1.
        auto: let the modem answer by itself (register S0), instead of ATA; default False.
        wait: seconds to wait for a call; None, the default: for ever.
        answer_timeout: seconds from answering to CONNECT, default 60.
        init: as for `Modem`.
        login: what callers are asked: a `LoginPrompt`, or a list of `Ask`.
        command_timeout, guard_time, pace, hangup_timeout, watch_carrier, transcript: as for `Modem`.

    Raises:
        ConfigurationError: a value cannot work; `field` names it.
    """

    def __init__(
        self,
        *,
        rings: int = 1,
        auto: bool = False,
        wait: float | None = None,
        answer_timeout: float = 60.0,
        init: str | Sequence[str] = DEFAULT_INIT,
        login: LoginPrompt | Sequence[Ask] | None = None,
        command_timeout: float = 5.0,
        guard_time: float = 1.0,
        pace: float = 0.0,
        hangup_timeout: float = 8.0,
        watch_carrier: bool = True,
        transcript: Watcher | Iterable[Watcher] | None = None,
    ) -> None:
        super().__init__(init, login, command_timeout, guard_time, pace, hangup_timeout, watch_carrier, transcript)
        if isinstance(rings, bool) or not isinstance(rings, int) or not 1 <= rings <= 255:
            raise ConfigurationError("rings", f"from 1 to 255, not {rings!r}")
        self.rings = rings
        self.auto = auto
        self.wait = None if wait is None else _seconds("wait", wait, least=0.01)
        self.answer_timeout = _seconds("answer_timeout", answer_timeout, least=0.01)

    def __repr__(self) -> str:
        return f"AnsweringModem(rings={self.rings}{', auto=True' if self.auto else ''})"

    def _call(self, device: str, has_dtr: bool, said: Callable[[], str]) -> Program[CallReport]:
        yield from prepare(device, self.init, self.manners, has_dtr)
        return (yield from answer(device, self.rings, self.auto, self.wait, self.answer_timeout, self.manners))

    def _hang_up(self, device: str, phase: str, has_dtr: bool) -> Program[None]:
        return hang_up(device, self.manners, has_dtr, phase, auto=self.auto)
