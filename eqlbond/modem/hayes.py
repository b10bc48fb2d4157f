"""Talking to a Hayes-compatible modem: attention, settings, dialling, answering, hanging up. Sans-IO programs.

Commands and results are those of ITU-T V.250 (AT command set); the guarded escape is Hayes's: a second of silence,
``+++``, a second of silence.
"""

from __future__ import annotations

import attrs

from eqlbond.modem import errors
from eqlbond.modem.dialogue import Dtr, Forget, Note, Pause, Phase, Program, ReadLine, Send, Within
from eqlbond.modem.report import CallReport, failure, result_code
from eqlbond.modem.transcript import printable

__all__ = ["DEFAULT_INIT", "Manners", "answer", "dial", "hang_up", "prepare"]

DEFAULT_INIT = ("ATZ", "ATE0V1Q0X4&C1&D2S0=0")
"""Reset; no echo, results in words, all of them; DCD follows the carrier, dropping DTR hangs up, no auto-answer."""

_GRAIN = 0.05  # modems count the guard time in 50ths of a second
_RINGS_APART = 10.0  # a phone rings every 4 to 6 s; after so long without it the caller has given up


@attrs.frozen
class Manners:
    """How to talk to this modem."""

    command_timeout: float = 5.0
    """Seconds for the answer to a command."""
    guard_time: float = 1.0
    """Seconds of silence before and after ``+++`` (register S12, in 50ths there)."""
    dtr_time: float = 0.5
    """Seconds for which DTR is dropped."""
    pace: float = 0.0
    """Seconds between the characters of a command."""


def _text(line: bytes) -> str:
    return printable(line).strip()


def _result(deadline: float | None, results: tuple[str, ...]) -> Program[tuple[str, str] | None]:
    """Wait for one of these results, or for any where none is named; the result and the line, or None."""
    while True:
        line = yield ReadLine(deadline)
        if line is None:
            return None
        text = _text(line)
        result = result_code(text)
        if result is not None and (not results or result in results):
            return result, text


def command(device: str, text: str, manners: Manners) -> Program[None]:
    """Give a command and wait for its OK.

    Raises:
        ModemSilent: no answer.
        CommandRefused: ERROR.
    """
    yield Forget()
    yield Send(text.encode("latin-1", "replace") + b"\r", pace=manners.pace)
    deadline = yield Within(manners.command_timeout)
    found = yield from _result(deadline, ("OK", "ERROR"))
    if found is None:
        raise errors.ModemSilent(device, f"the modem does not answer {text!r} within {manners.command_timeout:g} s")
    if found[0] == "ERROR":
        raise errors.CommandRefused(device, f"the modem refused {text!r} ({found[1]})", found[0])


def prepare(device: str, init: tuple[str, ...], manners: Manners, has_dtr: bool) -> Program[None]:
    """Get the modem's attention, whatever state an earlier call left it in, and set it up.

    Raises:
        ModemSilent: it does not answer, not even after a hang-up.
        CommandRefused: it refuses one of the init strings.
    """
    yield Phase("command")
    try:
        yield from command(device, "AT", manners)
    except errors.DialError:
        yield Note("no answer: perhaps the modem is still online")
        yield from hang_up(device, manners, has_dtr)
        yield from command(device, "AT", manners)
    for text in init:
        yield from command(device, text, manners)


def dial(device: str, prefix: str, number: str, timeout: float, manners: Manners) -> Program[CallReport]:
    """Call a number.

    Raises:
        CallFailed: of the kind that says why.
        CommandRefused: ERROR.
    """
    yield Forget()
    yield Phase("dialling")
    yield Send(f"{prefix}{number}\r".encode("latin-1", "replace"), pace=manners.pace)
    deadline = yield Within(timeout)
    report = yield from _connection(device, deadline)
    if report is None:
        yield Send(b"\r")  # any character ends an attempt
        yield from _result((yield Within(2.0)), ())
        yield Phase("command")
        raise errors.DialTimeout(device, f"no result within {timeout:g} s of dialling")
    return report


def _connection(device: str, deadline: float | None) -> Program[CallReport | None]:
    """Wait for CONNECT. Raises what another result means; None when it is too late."""
    report = CallReport()
    while True:
        line = yield ReadLine(deadline)
        if line is None:
            return None
        text = _text(line)
        if report.line(text):
            yield Phase("online")
            return report
        result = result_code(text)
        error = failure(device, result, text) if result is not None else None
        if error is not None:
            yield Phase("command")
            raise error


def answer(
    device: str, rings: int, auto: bool, wait: float | None, timeout: float, manners: Manners
) -> Program[CallReport]:
    """Wait for a call and take it. A call that fails to connect is none: the wait goes on.

    Args:
        rings: how often it rings before.
        auto: let the modem answer by itself (register S0).
        wait: seconds to wait for a call; None: for ever.
        timeout: seconds from answering to CONNECT.

    Raises:
        DialTimeout: no call within `wait`.
        CommandRefused: the modem does not answer.
    """
    if auto:
        yield from command(device, f"ATS0={rings}", manners)
    latest = None if wait is None else (yield Within(wait))
    while True:
        yield Phase("command")
        try:
            if not auto:
                if not (yield from _rings(rings, latest)):
                    break
                yield Phase("dialling")
                yield Send(b"ATA\r", pace=manners.pace)
                report = yield from _connection(device, (yield Within(timeout)))
            else:
                report = yield from _connection(device, latest)
                if report is None:
                    break
        except errors.CallFailed as error:
            yield Note(f"a call was not connected: {error.result}")
            continue
        if report is not None:
            return report
        yield Note("a call was not connected in time")
        yield Send(b"\r")
        yield from _result((yield Within(2.0)), ())
    raise errors.DialTimeout(device, f"no call within {wait:g} s")


def _rings(rings: int, latest: float | None) -> Program[bool]:
    """Count RINGs of one call; False when it is too late."""
    count = 0
    while True:
        soon = yield Within(_RINGS_APART)
        deadline = soon if count and (latest is None or soon < latest) else latest
        found = yield from _result(deadline, ("RING",))
        if found is None:
            if deadline is latest:
                return False
            count = 0
            continue
        count += 1
        if count >= rings:
            return True


def hang_up(
    device: str, manners: Manners, has_dtr: bool, phase: str = "online", *, auto: bool = False
) -> Program[None]:
    """End the call: drop DTR where the port has it, otherwise escape and ATH. Never raises for what the modem does.

    Args:
        phase: where the call stands: ``online``, ``dialling``, ``command``.
        auto: the modem answers by itself; make it stop.
    """
    yield Forget()
    hung_up = False
    if phase == "dialling":
        yield Send(b"\r")
        hung_up = (yield from _result((yield Within(1.0)), ())) is not None
    if phase == "online":
        commands = False
        if has_dtr:
            yield Dtr(False)
            found = yield from _result((yield Within(manners.dtr_time)), ("OK", "NO CARRIER"))
            yield Pause(manners.dtr_time)
            yield Dtr(True)
            hung_up = found is not None
            if not hung_up:  # modems differ: some hang up without a word, some do not look at DTR
                yield Send(b"AT\r", pace=manners.pace)
                commands = (yield from _result((yield Within(1.0)), ("OK", "NO CARRIER"))) is not None
        if not hung_up and not commands:
            yield Pause(manners.guard_time + _GRAIN)
            yield Send(b"+++")
            found = yield from _result((yield Within(manners.guard_time + 1.0)), ("OK", "NO CARRIER"))
            hung_up = found is not None and found[0] == "NO CARRIER"
    if not hung_up or auto:
        text = "ATS0=0H" if auto else "ATH"
        yield Send(text.encode() + b"\r", pace=manners.pace)
        yield from _result((yield Within(min(2.0, manners.command_timeout))), ("OK", "NO CARRIER", "ERROR"))
