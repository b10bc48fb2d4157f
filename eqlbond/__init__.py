"""eqlbond: serial lines bonded into one link."""

from eqlbond.aio.master import EventStream, Master
from eqlbond.aio.slave import BAUDRATE, SerialSlave, Slave
from eqlbond.codec.base import Framer, Framing
from eqlbond.codec.slip import Slip
from eqlbond.events import (
    BondDown,
    BondUp,
    Emancipated,
    Enslaved,
    Event,
    LineTrouble,
    RateChanged,
    SchedulerFailed,
    SlaveDown,
    SlaveEvent,
    SlaveUp,
)
from eqlbond.exceptions import (
    AlreadyEnslaved,
    BondClosed,
    ConfigurationError,
    DeviceBusy,
    DeviceNotFound,
    DevicePermission,
    EqlbondError,
    LineError,
    NotATty,
    NotEnslaved,
    PacketTooBig,
    QueueFull,
    SchedulerError,
    SendError,
    SettingRefused,
    SlaveError,
)
from eqlbond.packet import Packet
from eqlbond.schedulers import EarliestDelivery, Eql, Line, Placement, RoundRobin, Scheduler, check_scheduler
from eqlbond.stats import BondStats, LineStats

__version__ = "0.1.0"

__all__ = [
    "BAUDRATE",
    "AlreadyEnslaved",
    "BondClosed",
    "BondDown",
    "BondStats",
    "BondUp",
    "ConfigurationError",
    "DeviceBusy",
    "DeviceNotFound",
    "DevicePermission",
    "EarliestDelivery",
    "Emancipated",
    "Enslaved",
    "Eql",
    "EqlbondError",
    "Event",
    "EventStream",
    "Framer",
    "Framing",
    "Line",
    "LineError",
    "LineStats",
    "LineTrouble",
    "Master",
    "NotATty",
    "NotEnslaved",
    "Packet",
    "PacketTooBig",
    "Placement",
    "QueueFull",
    "RateChanged",
    "RoundRobin",
    "Scheduler",
    "SchedulerError",
    "SchedulerFailed",
    "SendError",
    "SerialSlave",
    "SettingRefused",
    "Slave",
    "SlaveDown",
    "SlaveError",
    "SlaveEvent",
    "SlaveUp",
    "Slip",
    "check_scheduler",
]
