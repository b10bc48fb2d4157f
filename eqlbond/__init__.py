"""eqlbond: serial lines bonded into one link."""

from eqlbond.aio.event_stream import EventStream
from eqlbond.aio.master import Master
from eqlbond.aio.netline import NetworkSlave
from eqlbond.aio.slave import BAUDRATE, SerialSlave, Slave
from eqlbond.codec.base import Framer, Framing
from eqlbond.codec.hdlc import Hdlc
from eqlbond.codec.kiss import Kiss
from eqlbond.codec.slip import Slip
from eqlbond.core.fq_codel import FqCoDel
from eqlbond.core.half_duplex import HalfDuplex
from eqlbond.core.multilink import Multilink
from eqlbond.events import (
    BondDown,
    BondUp,
    Emancipated,
    Enslaved,
    Event,
    GaveUp,
    HookFailed,
    LineTrouble,
    NetworkDown,
    NetworkUp,
    OptionRefused,
    PeerAuthenticated,
    PeerSaid,
    PhaseChanged,
    RateChanged,
    Retrying,
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
    TooManySlaves,
)
from eqlbond.packet import Packet
from eqlbond.ppp.chap import Chap
from eqlbond.ppp.config import IpOptions, Ipv6Options, Ppp
from eqlbond.ppp.network import Addresses
from eqlbond.ppp.pap import Pap
from eqlbond.schedulers import (
    ActiveBackup,
    DeficitRoundRobin,
    EarliestDelivery,
    Eql,
    FlowHash,
    Line,
    Placement,
    Redundant,
    RoundRobin,
    Scheduler,
    check_scheduler,
)
from eqlbond.stats import BondStats, LineStats

__version__ = "0.1.0"

__all__ = [
    "BAUDRATE",
    "ActiveBackup",
    "Addresses",
    "AlreadyEnslaved",
    "BondClosed",
    "BondDown",
    "BondStats",
    "BondUp",
    "Chap",
    "ConfigurationError",
    "DeficitRoundRobin",
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
    "FlowHash",
    "FqCoDel",
    "Framer",
    "Framing",
    "GaveUp",
    "HalfDuplex",
    "Hdlc",
    "HookFailed",
    "IpOptions",
    "Ipv6Options",
    "Kiss",
    "Line",
    "LineError",
    "LineStats",
    "LineTrouble",
    "Master",
    "Multilink",
    "NetworkDown",
    "NetworkSlave",
    "NetworkUp",
    "NotATty",
    "NotEnslaved",
    "OptionRefused",
    "Packet",
    "PacketTooBig",
    "Pap",
    "PeerAuthenticated",
    "PeerSaid",
    "PhaseChanged",
    "Placement",
    "Ppp",
    "QueueFull",
    "RateChanged",
    "Redundant",
    "Retrying",
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
    "TooManySlaves",
    "check_scheduler",
]
