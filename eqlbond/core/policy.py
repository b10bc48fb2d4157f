"""The user's scheduler, guarded: it is somebody's code, and the bond goes on whatever it does."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

from eqlbond.events import Event, SchedulerFailed
from eqlbond.exceptions import ConfigurationError, SchedulerError
from eqlbond.packet import Packet
from eqlbond.schedulers.base import Line, Placement, Scheduler

_LONGEST_HOLD = 60.0


class Policy:
    """A bond's own copy of a scheduler. What it answers is checked; where it fails the simplest rule stands in.

    Args:
        scheduler: the user's.
        events: where `SchedulerFailed` goes.

    Raises:
        ConfigurationError: it is no scheduler, or cannot be copied.
    """

    def __init__(self, scheduler: Scheduler, events: Callable[[Event], None]) -> None:
        if isinstance(scheduler, type) or not isinstance(scheduler, Scheduler):
            raise ConfigurationError("scheduler", f"an object with place(packet, lines, now), not {scheduler!r}")
        try:
            self.scheduler = copy.deepcopy(scheduler)
        except Exception as error:
            raise ConfigurationError("scheduler", f"cannot be copied (copy.deepcopy): {error!r}") from error
        self._events = events
        self._failures = 0
        self._place = self.scheduler.place
        self._split = getattr(self.scheduler, "split", None)
        self._lines_changed = getattr(self.scheduler, "lines_changed", None)
        self._withdrawn = getattr(self.scheduler, "withdrawn", None)
        self._window = getattr(self.scheduler, "window", None)

    def place(
        self,
        packet: Packet,
        lines: tuple[Line, ...],
        now: float,
        known: Mapping[Line, object],
        will_offer_again: Callable[[float], bool],
    ) -> Placement | None:
        """Where the packet goes, or None for later.

        `known` are the lines that are up, of which `lines` are offered; `will_offer_again` tells whether something
        will wake the bond when the scheduler wants to wait.
        """
        try:
            placement = self._place(packet, lines, now)
            if placement is None:
                if will_offer_again(now):
                    return None
                raise SchedulerError("the scheduler waits while every line is idle: nothing would wake it")
            # The checks that cost are made only where something is out of the ordinary.
            plain = placement.copies == () and placement.not_before == 0.0 and len(lines) == len(known)
            if not plain or placement.line not in known:
                self._check(placement, lines, now)
        except Exception as error:
            self.failed(error, now)
            # Without asking for the packet's size on the wire: it may be the framing that raised.
            return Placement(min(lines, key=lambda line: line.eta(len(packet.payload), now)))
        return placement

    def _check(self, placement: Placement, lines: tuple[Line, ...], now: float) -> None:
        chosen = (placement.line, *placement.copies)
        for line in chosen:
            if line not in lines:
                raise SchedulerError(f"the scheduler chose {line!r}, which was not offered")
        if len(set(chosen)) != len(chosen):
            raise SchedulerError("the scheduler chose one line twice")
        # What is not below the limit includes NaN.
        if not placement.not_before < max(now, placement.line.free) + _LONGEST_HOLD:
            raise SchedulerError(f"the scheduler holds a packet until {placement.not_before}, now is {now}")

    def split(
        self, packet: Packet, lines: tuple[Line, ...], now: float, overhead: int
    ) -> list[tuple[Line, int]] | None:
        """Shares of the packet for several lines; None: it stays whole.

        `overhead`: bytes of a fragment that are not the packet's, and count against a line's MTU.
        """
        if self._split is None:
            return None
        try:
            shares: list[tuple[Line, int]] | None = self._split(packet, lines, now)
            if shares is None or len(shares) < 2:
                return None
            good = sum(n for _, n in shares) == len(packet.payload) and all(
                type(n) is int and n > 0 and line in lines and n + overhead <= line.mtu for line, n in shares
            )
            if not good:
                raise SchedulerError(f"split() answered {shares!r} for a packet of {len(packet.payload)} bytes")
        except Exception as error:
            self.failed(error, now)
            return None
        return shares

    def lines_changed(self, lines: tuple[Line, ...], now: float) -> bool:
        """Tell it; True: it wants what is planned to be placed again."""
        return self._lines_changed is not None and bool(self._guard(now, self._lines_changed, lines, now))

    def withdrawn(self, packet: Packet, line: Line, now: float) -> None:
        """Tell it that a packet was taken back."""
        if self._withdrawn is not None:
            self._guard(now, self._withdrawn, packet, line, now)

    def window(self, lines: tuple[Line, ...], size: int, now: float) -> float:
        """Seconds of plan that it needs to keep every line busy; 0.0 where it does not say."""
        if self._window is None:
            return 0.0
        seconds = self._guard(now, self._window, lines, size)
        if seconds is None:
            return 0.0
        if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            self.failed(SchedulerError(f"the scheduler's window is no number of seconds: {seconds!r}"), now)
            return 0.0
        return seconds

    def resequenced(self) -> None:
        """The far end puts packets in order."""
        hook = getattr(self.scheduler, "resequenced", None)
        if hook is not None:
            self._guard(0.0, hook)

    def _guard(self, now: float, hook: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return hook(*arguments)
        except Exception as error:
            self.failed(error, now)
            return None

    def failed(self, error: Exception, now: float) -> None:
        """Report it, once for each power of two, so that a scheduler that always fails does not flood."""
        if not isinstance(error, SchedulerError):
            if isinstance(error, KeyError | AttributeError | TypeError):
                message = f"the scheduler raised, or answered with no placement on an offered line: {error!r}"
            else:
                message = f"the scheduler raised {error!r}"
            wrapped = SchedulerError(message)
            wrapped.__cause__ = error
            error = wrapped
        self._failures += 1
        if self._failures & (self._failures - 1) == 0:
            self._events(SchedulerFailed(now, error))
