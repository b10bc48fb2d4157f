"""The events of a bond as messages of the logger ``eqlbond``."""

from __future__ import annotations

import logging

from eqlbond.events import (
    BondDown,
    BondUp,
    Emancipated,
    Event,
    GaveUp,
    HookFailed,
    LineTrouble,
    PhaseChanged,
    RateChanged,
    Retrying,
    SchedulerFailed,
    SlaveDown,
    SlaveUp,
)

_log = logging.getLogger("eqlbond")


class EventLog:
    """Logs what happens, each event at the level that it deserves."""

    def __init__(self) -> None:
        self._told: dict[object, str] = {}  # slaves that are down: the reason that was told last

    def _level(self, slave: object, reason: str) -> int:
        """A reason is told aloud when it is new: a line may fail for days."""
        level = logging.DEBUG if self._told.get(slave) == reason else logging.WARNING
        self._told[slave] = reason
        return level

    def log(self, event: Event, *, closing: bool) -> None:
        """Log it.

        Args:
            event: what happened.
            closing: the bond is being closed, so that its going down is no news.
        """
        match event:
            case SlaveUp(slave=slave):
                self._told.pop(slave, None)
                _log.info("%s is up", slave.name)
            case PhaseChanged(slave=slave, phase=phase, reason=reason):
                _log.debug("%s: phase %s%s", slave.name, phase, f" ({reason})" if reason else "")
            case SlaveDown(slave=slave, reason="closed" | "emancipated" as reason):
                _log.info("%s is down: %s", slave.name, reason)
            case SlaveDown(slave=slave, reason=reason, reclaimed=reclaimed):
                level = self._level(slave, reason)
                _log.log(level, "%s is down: %s (%d packets taken back)", slave.name, reason, reclaimed)
            case LineTrouble(slave=slave, reason=reason, remedy=remedy):
                _log.warning("%s drops frames (%s): %s", slave.name, reason, remedy)
            case RateChanged(slave=slave, rate=rate, measured=measured):
                _log.info("%s: rate is now %s bit/s%s", slave.name, rate, " by measurement" if measured else "")
            case SchedulerFailed(error=error):
                _log.error("%s", error, exc_info=error.__cause__)
            case Retrying(slave=slave, delay=delay, attempt=0, reason=reason):
                _log.info("%s: opened again in %.1f s: %s", slave.name, delay, reason)
            case Retrying(slave=slave, delay=delay, attempt=attempt, reason=reason):
                level = self._level(slave, reason)
                _log.log(level, "%s: %s; tried again in %.1f s, failed %d times", slave.name, reason, delay, attempt)
            case GaveUp(slave=slave, reason=reason):
                _log.error("%s: given up: %s", slave.name, reason)
            case HookFailed(hook=hook, command=command, problem=problem):
                _log.error("%s: %s: %s", hook, command, problem)
            case Emancipated(slave=slave):
                self._told.pop(slave, None)
                _log.debug("%s", event)
            case BondUp():
                _log.info("the bond is up")
            case BondDown(reason=reason):
                _log.log(logging.INFO if closing else logging.WARNING, "the bond is down: %s", reason)
            case _:
                _log.debug("%s", event)
