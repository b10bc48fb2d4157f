"""What a dialogue with a modem, or through one, can end with.

::

    LineError
    `-- DialError                     `device` names the port, `result` is what the modem said
        |-- ModemSilent               the modem answers no command
        |-- CommandRefused            ERROR
        |-- CallFailed                there is no connection
        |   |-- Busy                  BUSY
        |   |-- Voice                 VOICE: a person answered, or a machine that is no modem
        |   |-- NoCarrier             NO CARRIER, while dialling or in the middle of the login
        |   |-- NoAnswer              NO ANSWER
        |   |-- NoDialtone            NO DIALTONE, NO DIAL TONE
        |   |-- CallBarred            DELAYED, BLACKLISTED: the modem will not dial this number now
        |   `-- DialTimeout           no result within `dial_timeout`
        |-- ScriptTimeout             an expected text did not come; `expected` names it
        |-- ScriptAborted             a text came that ends the script
        |   `-- LoginRefused          the far end does not take name or password
        `-- HungUp                    the line went away in the middle of a dialogue, or the call ended

Texts of these exceptions never hold a secret.
"""

from __future__ import annotations

from eqlbond.exceptions import LineError


class DialError(LineError):
    """The root of what a dialogue can fail with.

    Attributes:
        result: what was received that ended it, or "".
    """

    def __init__(self, device: str, problem: str, result: str = "") -> None:
        super().__init__(device, problem)
        self.result = result


class ModemSilent(DialError):
    """The modem answers no command: is it on, at this speed, on this port?"""


class CommandRefused(DialError):
    """The modem answered ERROR."""


class CallFailed(DialError):
    """The call was not made, or not connected."""


class Busy(CallFailed):
    """The number is engaged."""


class Voice(CallFailed):
    """A voice answered."""


class NoCarrier(CallFailed):
    """No modem at the far end, or it hung up."""


class NoAnswer(CallFailed):
    """Nobody picked up."""


class NoDialtone(CallFailed):
    """The telephone line is dead, or not plugged in."""


class CallBarred(CallFailed):
    """The modem will not dial this number now; some countries ask that of modems after failed calls."""


class DialTimeout(CallFailed):
    """The modem reported no result in time."""


class ScriptTimeout(DialError):
    """An expected text did not come in time.

    Attributes:
        expected: the text.
    """

    def __init__(self, device: str, problem: str, expected: str) -> None:
        super().__init__(device, problem)
        self.expected = expected


class ScriptAborted(DialError):
    """A text came that ends the script."""


class LoginRefused(ScriptAborted):
    """The far end does not take name or password, or, when answering, the caller gave wrong ones."""


class HungUp(DialError):
    """The line went away."""
