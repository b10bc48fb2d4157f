"""The option negotiation automaton as data: what each event does in each state (RFC 1661 section 4.1).

Every control protocol runs the same table; `negotiation.ControlProtocol` carries its actions out.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class State(enum.IntEnum):
    """RFC 1661 section 4.2."""

    INITIAL = 0
    STARTING = 1
    CLOSED = 2
    STOPPED = 3
    CLOSING = 4
    STOPPING = 5
    REQ_SENT = 6
    ACK_RCVD = 7
    ACK_SENT = 8
    OPENED = 9


class FsmEvent(enum.Enum):
    """RFC 1661 section 4.3."""

    UP = "Up"
    DOWN = "Down"
    OPEN = "Open"
    CLOSE = "Close"
    TIMEOUT = "TO+"
    """The restart timer ran out, with transmissions left."""
    TIMEOUT_LAST = "TO-"
    """The restart timer ran out, with none left."""
    REQUEST_GOOD = "RCR+"
    REQUEST_BAD = "RCR-"
    ACK = "RCA"
    NAK = "RCN"
    """A Configure-Nak or a Configure-Reject."""
    TERMINATE = "RTR"
    TERMINATE_ACK = "RTA"
    UNKNOWN_CODE = "RUC"
    REJECT_MILD = "RXJ+"
    """A Code-Reject or Protocol-Reject that one can live with."""
    REJECT_FATAL = "RXJ-"
    ECHO = "RXR"
    """An Echo-Request, Echo-Reply, or anything else that asks for no change of state."""


class Action(enum.Enum):
    """RFC 1661 section 4.4."""

    LAYER_UP = "tlu"
    LAYER_DOWN = "tld"
    LAYER_STARTED = "tls"
    LAYER_FINISHED = "tlf"
    INIT_COUNT = "irc"
    ZERO_COUNT = "zrc"
    SEND_REQUEST = "scr"
    SEND_ACK = "sca"
    SEND_NAK = "scn"
    """A Configure-Nak or a Configure-Reject."""
    SEND_TERMINATE = "str"
    SEND_TERMINATE_ACK = "sta"
    SEND_CODE_REJECT = "scj"
    SEND_ECHO_REPLY = "ser"


class Transition(NamedTuple):
    """One cell: the actions in their order, the next state, and the RFC's mark.

    The mark "p" is the passive option, "r" the restart option, "x" a crossed connection.
    """

    actions: tuple[Action, ...]
    next: State
    mark: str = ""


# One row an event, one column a state from Initial to Opened. "-" cannot happen: it is ignored.
_ROWS = {
    FsmEvent.UP: "2  irc,scr/6  -  -  -  -  -  -  -  -",
    FsmEvent.DOWN: "-  -  0  tls/1  0  1  1  1  1  tld/1",
    FsmEvent.OPEN: "tls/1  1  irc,scr/6  3r  5r  5r  6  7  8  9r",
    FsmEvent.CLOSE: "0  tlf/0  2  2  4  4  irc,str/4  irc,str/4  irc,str/4  tld,irc,str/4",
    FsmEvent.TIMEOUT: "-  -  -  -  str/4  str/5  scr/6  scr/6  scr/8  -",
    FsmEvent.TIMEOUT_LAST: "-  -  -  -  tlf/2  tlf/3  tlf/3p  tlf/3p  tlf/3p  -",
    FsmEvent.REQUEST_GOOD: "-  -  sta/2  irc,scr,sca/8  4  5  sca/8  sca,tlu/9  sca/8  tld,scr,sca/8",
    FsmEvent.REQUEST_BAD: "-  -  sta/2  irc,scr,scn/6  4  5  scn/6  scn/7  scn/6  tld,scr,scn/6",
    FsmEvent.ACK: "-  -  sta/2  sta/3  4  5  irc/7  scr/6x  irc,tlu/9  tld,scr/6x",
    FsmEvent.NAK: "-  -  sta/2  sta/3  4  5  irc,scr/6  scr/6x  irc,scr/8  tld,scr/6x",
    FsmEvent.TERMINATE: "-  -  sta/2  sta/3  sta/4  sta/5  sta/6  sta/6  sta/6  tld,zrc,sta/5",
    FsmEvent.TERMINATE_ACK: "-  -  2  3  tlf/2  tlf/3  6  6  8  tld,scr/6",
    FsmEvent.UNKNOWN_CODE: "-  -  scj/2  scj/3  scj/4  scj/5  scj/6  scj/7  scj/8  scj/9",
    FsmEvent.REJECT_MILD: "-  -  2  3  4  5  6  6  8  9",
    FsmEvent.REJECT_FATAL: "-  -  tlf/2  tlf/3  tlf/2  tlf/3  tlf/3  tlf/3  tlf/3  tld,irc,str/5",
    FsmEvent.ECHO: "-  -  2  3  4  5  6  7  8  ser/9",
}


def _cell(text: str) -> Transition:
    actions, _, target = text.rpartition("/")
    mark = target[1:]
    return Transition(
        tuple(Action(name) for name in actions.split(",") if name),
        State(int(target[0])),
        mark,
    )


TRANSITIONS: Mapping[tuple[FsmEvent, State], Transition] = MappingProxyType(
    {
        (event, state): _cell(text)
        for event, row in _ROWS.items()
        for state, text in zip(State, row.split(), strict=True)
        if text != "-"
    }
)
"""What to do on an event in a state; a pair that is not there cannot happen and is ignored."""

TIMED = frozenset({State.CLOSING, State.STOPPING, State.REQ_SENT, State.ACK_RCVD, State.ACK_SENT})
"""The states in which the restart timer runs."""
NEGOTIATING = frozenset({State.REQ_SENT, State.ACK_RCVD, State.ACK_SENT})
"""The states between the first Configure-Request and Opened."""
