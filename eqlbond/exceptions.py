"""Everything that eqlbond raises on purpose.

::

    EqlbondError
    |-- ConfigurationError (ValueError)   an option is wrong; `field` names it
    |-- LineError (OSError)               a line could not be opened or set; `device` names it
    |   |-- DeviceNotFound
    |   |-- DevicePermission
    |   |-- DeviceBusy
    |   |-- NotATty
    |   `-- SettingRefused                e.g. a baud rate that the port does not do
    |-- SendError                         a packet was not taken
    |   |-- PacketTooBig
    |   |-- QueueFull                     only from the sends that do not wait
    |   `-- BondClosed
    |-- BondFailed                        no line of the bond is up, and none will be; `reasons` says why
    |-- SlaveError
    |   |-- AlreadyEnslaved
    |   |-- NotEnslaved
    |   `-- TooManySlaves                 the bond has `max_slaves` already
    `-- SchedulerError                    a scheduler broke its contract
"""

from __future__ import annotations

from collections.abc import Mapping


class EqlbondError(Exception):
    """The root of the tree."""


class ConfigurationError(EqlbondError, ValueError):
    """An option has a value that cannot work.

    Attributes:
        field: the option's name.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class LineError(EqlbondError, OSError):
    """A line could not be opened, set or kept.

    Attributes:
        device: the name of the device or the line.
    """

    def __init__(self, device: str, problem: str) -> None:
        super().__init__(f"{device}: {problem}")
        self.device = device


class DeviceNotFound(LineError):
    """No such device."""


class DevicePermission(LineError):
    """The device is there, and this user may not open it."""


class DeviceBusy(LineError):
    """Another program holds the device."""


class NotATty(LineError):
    """The path is there, and it is no serial port."""


class SettingRefused(LineError):
    """The port refused a setting, such as a baud rate that it cannot make."""


class SendError(EqlbondError):
    """The bond did not take the packet."""


class PacketTooBig(SendError):
    """The packet is larger than the bond's MTU.

    Attributes:
        size: bytes in the packet.
        mtu: the most that the bond takes.
    """

    def __init__(self, size: int, mtu: int) -> None:
        super().__init__(f"packet of {size} bytes: the bond's MTU is {mtu}")
        self.size = size
        self.mtu = mtu


class QueueFull(SendError):
    """The queues are full and the caller did not want to wait."""


class BondClosed(SendError):
    """The bond is closed."""


class BondFailed(EqlbondError):
    """The bond carries no packets, and will not: too few of its lines are up, and nobody opens the others again.

    Attributes:
        reasons: why each of those others is down, by the name of its slave.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        lines = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        super().__init__(f"the bond cannot come up, for nobody opens these lines again: {lines}")
        self.reasons = dict(reasons)


class SlaveError(EqlbondError):
    """A slave is not in the state that the call needs."""


class AlreadyEnslaved(SlaveError):
    """The slave serves a bond already."""


class NotEnslaved(SlaveError):
    """The slave does not belong to this bond."""


class TooManySlaves(SlaveError):
    """The bond has as many slaves as it may have."""


class SchedulerError(EqlbondError):
    """A scheduler broke its contract: it raised, or it named a line that is not there."""
