"""What happens to a bond, as values. `slave` is the slave object; `time` is in seconds of the bond's clock."""

from __future__ import annotations

from typing import Any

import attrs


@attrs.frozen
class Event:
    """The root of all events."""

    time: float


@attrs.frozen
class BondUp(Event):
    """The bond can carry packets: `min_slaves` lines are up, by default one."""


@attrs.frozen
class BondDown(Event):
    """Fewer than `min_slaves` lines are up, by default none. Packets wait."""

    reason: str


@attrs.frozen
class SlaveEvent(Event):
    """The root of the events about one slave."""

    slave: Any


@attrs.frozen
class Enslaved(SlaveEvent):
    """The slave belongs to the bond now; its line is not up yet."""


@attrs.frozen
class Emancipated(SlaveEvent):
    """The slave left the bond."""


@attrs.frozen
class SlaveUp(SlaveEvent):
    """The slave's line carries packets."""


@attrs.frozen
class SlaveDown(SlaveEvent):
    """The slave's line carries packets no longer."""

    reason: str
    """For people."""
    error: BaseException | None = None
    """The cause, where there was an exception."""
    reclaimed: int = 0
    """Packets taken back from the line, to go by another."""


@attrs.frozen
class Retrying(SlaveEvent):
    """A supervised line is down and will be opened again (`eqlbond.supervise`)."""

    delay: float
    """Seconds until then. Where the device is gone, the line is opened as soon as it is back."""
    attempt: int
    """How many times in a row it has failed to come up and stay up; 0: it had been up for long."""
    reason: str
    """Why the line is down, for people."""
    error: BaseException | None = None
    """The cause, where there was an exception."""


@attrs.frozen
class GaveUp(SlaveEvent):
    """A supervised line is down and will not be opened again by itself. It stays enslaved."""

    reason: str


@attrs.frozen
class RateChanged(SlaveEvent):
    """The rate that the bond plans with has changed: it was set, or the line drains slower than its rate says."""

    rate: float | None
    """The new rate, bit/s."""
    measured: bool = False
    """True where the line's own draining told it."""


@attrs.frozen
class PhaseChanged(SlaveEvent):
    """A PPP connection is in another phase (RFC 1661 section 3.2)."""

    phase: str
    """"dead", "establish", "authenticate", "network" or "terminate"."""
    reason: str | None = None
    """Why the connection ends, on the way to "terminate" and "dead"."""


@attrs.frozen
class PeerAuthenticated(SlaveEvent):
    """The peer proved who it is."""

    name: str


@attrs.frozen
class OptionRefused(SlaveEvent):
    """We refused an option of the peer's; `slave` is None where it concerns the whole bundle."""

    protocol: str
    option: str
    why: str


@attrs.frozen
class PeerSaid(SlaveEvent):
    """The peer said what it is, or how much time remains (RFC 1570)."""

    text: str


@attrs.frozen
class NetworkUp(SlaveEvent):
    """A network protocol is open; `slave` is None where it is the bundle's."""

    protocol: int
    """PPP protocol number of its packets: 0x0021 IPv4, 0x0057 IPv6."""


@attrs.frozen
class NetworkDown(SlaveEvent):
    """A network protocol is closed; `slave` is None where it is the bundle's."""

    protocol: int
    reason: str | None = None


@attrs.frozen
class LineTrouble(SlaveEvent):
    """Frames from this line are dropped for a reason that a person can mend. Once a connection and reason."""

    reason: str
    remedy: str


@attrs.frozen
class HookFailed(Event):
    """A command that was to be run at an event failed, hung or could not be run (`eqlbond.hooks`)."""

    hook: str
    """Which: "bond_up", "bond_down", "slave_up" or "slave_down"."""
    command: str
    """The command, for people."""
    problem: str


@attrs.frozen
class SchedulerFailed(Event):
    """The scheduler raised or named a line that is not there. The packet went by the default rule instead."""

    error: BaseException
