"""Small values that the control protocols and the authentication protocols share."""

from __future__ import annotations

import enum
from typing import Protocol

import attrs

from eqlbond.codec.options import Option


class RandomSource(Protocol):
    """Where random bytes come from: `random.SystemRandom()` for real links, `random.Random(seed)` in a simulation.

    CHAP challenges are drawn from it, so on a real link it must be unpredictable.
    """

    def randbytes(self, n: int, /) -> bytes:
        """`n` random bytes."""
        ...


class Signal(enum.Enum):
    """What a protocol tells the layer above (RFC 1661 section 4.4)."""

    UP = "This-Layer-Up"
    DOWN = "This-Layer-Down"
    STARTED = "This-Layer-Started"
    FINISHED = "This-Layer-Finished"


@attrs.frozen
class Timing:
    """The counters and the timer of RFC 1661 section 4.6."""

    restart: float = 3.0
    """Seconds between transmissions of a request without an answer."""
    max_configure: int = 10
    """Configure-Requests without an answer before the peer is given up."""
    max_terminate: int = 2
    """Terminate-Requests without an answer before the end is taken as agreed."""
    max_failure: int = 5
    """Configure-Naks in a row, sent or received, before the option in question is rejected or given up."""


@attrs.frozen
class Reject:
    """The answer to an option that is not negotiable, and why."""

    why: str


class Accept(enum.Enum):
    """The answer to an option that can be had as the peer put it."""

    ACCEPT = 0


ACCEPT = Accept.ACCEPT
Answer = Accept | Reject | Option
"""An `Option` is the value to propose instead (Configure-Nak)."""
