"""What a configuration file says, as values. Two slaves that are equal need not be opened anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from eqlbond.aio.netline import NetworkSlave
from eqlbond.aio.slave import BAUDRATE, SerialSlave, Slave
from eqlbond.codec.base import Framing
from eqlbond.config.parts import FRAMING, SCHEDULER, Part
from eqlbond.core.fq_codel import FqCoDel
from eqlbond.core.multilink import Multilink
from eqlbond.modem import AnsweringModem, Ask, ChatScript, Login, LoginPrompt, Modem, Secret
from eqlbond.ppp.config import Ppp
from eqlbond.supervise import Redial, Watch
from eqlbond.tun import Route, TunInterface

DEFAULT_RATE = "baudrate"


@attrs.frozen(kw_only=True)
class QueueConfig:
    """The bond's queue."""

    queue_bytes: int = 262144
    """Payload that may wait to go by the plan of a line, bytes."""
    queue_time: float = 0.5
    """The same, in seconds of the bond's rate."""
    fair: FqCoDel | None = attrs.field(factory=FqCoDel)
    """Before the plan: each flow in its turn, with CoDel (RFC 8290); None: first in, first out."""


@attrs.frozen(kw_only=True)
class BondConfig:
    """The bond."""

    mtu: int = 1500
    scheduler: Part = attrs.field(factory=lambda: Part(SCHEDULER, "earliest"))
    multilink: Multilink | None = None
    queue: QueueConfig = attrs.field(factory=QueueConfig)
    min_slaves: int = 1
    max_slaves: int | None = None
    close_timeout: float = 5.0


@attrs.frozen(kw_only=True)
class ModemConfig:
    """What is said to a modem. `make` makes a `Modem` or an `AnsweringModem`."""

    answer: bool = False
    options: Mapping[str, Any] = attrs.field(factory=dict)
    script: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    """Arguments of a `ChatScript`."""
    login: Mapping[str, Any] | tuple[Mapping[str, Any], ...] | None = attrs.field(default=None, repr=False)
    """Arguments of a `Login` or `LoginPrompt`, or of several `Ask`."""

    def make(self) -> Modem | AnsweringModem:
        """Make the modem.

        Raises:
            ConfigurationError: a value cannot work.
        """
        options = dict(self.options)
        if isinstance(self.login, tuple):
            options["login"] = [_ask(step) for step in self.login]
        elif self.login is not None:
            options["login"] = LoginPrompt(**self.login) if self.answer else Login(**self.login)
        if self.answer:
            return AnsweringModem(**options)
        if self.script is not None:
            options["script"] = ChatScript(**self.script)
        return Modem(**options)


@attrs.frozen(kw_only=True)
class SupervisionConfig:
    """How a line that is down is brought back, and how a dead one is found out."""

    redial: Redial = attrs.field(factory=Redial)
    watch: Watch = attrs.field(factory=Watch)


@attrs.frozen(kw_only=True)
class SlaveConfig:
    """One line. `make` makes its `Slave`."""

    name: str
    device: str | None = None
    url: str | None = None
    baudrate: int = 57600
    rate: float | str | None = DEFAULT_RATE
    """bit/s; None: not paced; "baudrate": what the modem tells, otherwise the baud rate."""
    framing: Part | Ppp = attrs.field(factory=lambda: Part(FRAMING, "slip"))
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    """Further arguments of the slave, as given."""
    modem: ModemConfig | None = None
    supervision: SupervisionConfig = attrs.field(factory=SupervisionConfig)

    def make(self) -> Slave:
        """Make the slave.

        Raises:
            ConfigurationError: a value cannot work.
        """
        framing: Framing = self.framing if isinstance(self.framing, Ppp) else self.framing.make()
        options: dict[str, Any] = {
            "rate": BAUDRATE if isinstance(self.rate, str) else self.rate,
            "framing": framing,
            "name": self.name,
            "modem": None if self.modem is None else self.modem.make(),
            **self.settings,
        }
        if self.url is not None:
            return NetworkSlave(self.url, self.baudrate, **options)
        assert self.device is not None
        return SerialSlave(self.device, self.baudrate, **options)


@attrs.frozen(kw_only=True)
class TunConfig:
    """The Linux interface. `make` makes it."""

    name: str = "eql%d"
    addresses: tuple[str, ...] = ()
    peer: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    mtu: int | None = None
    mss_clamp: bool = False
    ecn: bool = True
    namespace: str | None = None

    def make(self) -> TunInterface:
        """Make the interface; it is opened by itself. Raises `ConfigurationError`."""
        return TunInterface(
            self.name,
            addresses=self.addresses,
            peers=self.peer,
            routes=self.routes,
            mtu=self.mtu,
            clamp_mss=self.mss_clamp,
            ecn=self.ecn,
            namespace=self.namespace,
        )


@attrs.frozen(kw_only=True)
class ControlConfig:
    """The control socket."""

    socket: str | None = None
    """Its path; None: the default (`eqlbond.control.default_socket`)."""


@attrs.frozen(kw_only=True)
class LogConfig:
    """What is logged, and where."""

    level: str = "info"
    file: str | None = None
    """None: standard error."""


def _ask(step: Mapping[str, Any]) -> Ask:
    options = dict(step)
    if "secret" in options:
        options["send"] = Secret(options.pop("secret"))
    return Ask(**options)
