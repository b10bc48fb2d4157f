"""Calls over modems: dialling, answering, logging in, hanging up, and scripts of chat(8).

`Modem` and `AnsweringModem` are options of a slave::

    slave = SerialSlave(
        "/dev/ttyS0", 115200, modem=Modem(dial="555-1212", login=Login("Pname", "password")), lock=True
    )

Their dialogues are programs for a sans-IO expect/send engine (`eqlbond.modem.dialogue`). What can go wrong is
drawn in `eqlbond.modem.errors`.
"""

from eqlbond.modem.chat import ChatScript
from eqlbond.modem.errors import (
    Busy,
    CallBarred,
    CallFailed,
    CommandRefused,
    DialError,
    DialTimeout,
    HungUp,
    LoginRefused,
    ModemSilent,
    NoAnswer,
    NoCarrier,
    NoDialtone,
    ScriptAborted,
    ScriptTimeout,
    Voice,
)
from eqlbond.modem.hayes import DEFAULT_INIT
from eqlbond.modem.login import Ask, Login, LoginPrompt, Secret
from eqlbond.modem.modem import AnsweringModem, Modem
from eqlbond.modem.transcript import Entry, Transcript, Watcher

__all__ = [
    "DEFAULT_INIT",
    "AnsweringModem",
    "Ask",
    "Busy",
    "CallBarred",
    "CallFailed",
    "ChatScript",
    "CommandRefused",
    "DialError",
    "DialTimeout",
    "Entry",
    "HungUp",
    "Login",
    "LoginPrompt",
    "LoginRefused",
    "Modem",
    "ModemSilent",
    "NoAnswer",
    "NoCarrier",
    "NoDialtone",
    "ScriptAborted",
    "ScriptTimeout",
    "Secret",
    "Transcript",
    "Voice",
    "Watcher",
]
