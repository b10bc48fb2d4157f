"""Slaves: the lines of a bond, as asyncio transports."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from eqlbond.aio import serial as port
from eqlbond.aio.connection import Connection as Connection
from eqlbond.aio.line_info import LINE_INFO as LINE_INFO
from eqlbond.aio.line_info import LineInfo as LineInfo
from eqlbond.codec.base import Framing
from eqlbond.codec.slip import Slip
from eqlbond.core.half_duplex import HalfDuplex, HalfDuplexMember, check_half_duplex
from eqlbond.core.member import Member
from eqlbond.exceptions import ConfigurationError, LineError
from eqlbond.lock import LOCK_DIRECTORY, UucpLock

if TYPE_CHECKING:
    from eqlbond.aio.lines import Lines
    from eqlbond.aio.master import Master

Connect = Callable[[Callable[[], asyncio.Protocol]], Awaitable[tuple[asyncio.BaseTransport, asyncio.BaseProtocol]]]
"""Takes a protocol factory, opens the line, returns ``(transport, protocol)``, as asyncio's ``create_connection``.

One that takes long to end when it is cancelled, since a modem hangs up first, has an attribute `closing_time`: so many
seconds, at most.
"""


@runtime_checkable
class Dialler(Protocol):
    """What has a dialogue on a port before packets flow, such as `eqlbond.modem.Modem`."""

    def connect(self, base: Connect, name: str) -> Connect:
        """A function that opens the line by `base`, has the dialogue, and hands the line over to the slave.

        Args:
            base: opens the port.
            name: the port, for errors and logs.
        """
        ...


class _BaudRate:
    def __repr__(self) -> str:
        return "BAUDRATE"


BAUDRATE: Final = _BaudRate()
"""Default of a `SerialSlave`'s `rate`: what the line carries is the baud rate."""


class Slave:
    """A line of a bond over any asyncio transport: TCP, a UNIX socket, a pipe.

    Args:
        connect: opens the line; called with a protocol factory, returns ``(transport, protocol)``, as asyncio's
            ``loop.create_connection`` does. Called again when the slave is reopened.
        rate: what the line carries, bit/s; None: what the line tells itself (`LineInfo`), and otherwise not known:
            the transport's own flow control paces it.
        framing: how packets are framed, by default `Slip`.
        bits_per_byte: bits on the wire for each byte; None: what the line tells, otherwise 10.
        latency: seconds from here to the far end, beyond the sending time.
        priority: weight for schedulers that use weights; None: the rate.
        mtu: the largest packet that this line may carry; None: whatever the bond's is.
        half_duplex: how the ends take turns on a line where only one can talk at a time; it needs a rate. None: both
            talk at once.
        name: for people; None: a number.

    Raises:
        ConfigurationError: a value cannot work; `field` names it.
    """

    _numbers = itertools.count()

    def __init__(
        self,
        connect: Connect,
        *,
        rate: float | None = None,
        framing: Framing | None = None,
        bits_per_byte: float | None = None,
        latency: float = 0.0,
        priority: float | None = None,
        mtu: int | None = None,
        half_duplex: HalfDuplex | None = None,
        name: str | None = None,
    ) -> None:
        if not callable(connect):
            raise ConfigurationError("connect", f"a function that opens the line, not {connect!r}")
        check_half_duplex(half_duplex, rate)
        self._connect = connect
        self.closing_time: float = getattr(connect, "closing_time", 0.0)
        """Seconds that opening the line may take to end once it is cancelled."""
        self._half_duplex = half_duplex
        self.name = name if name is not None else f"slave{next(self._numbers)}"
        self._options: dict[str, Any] = {
            "framing": Slip() if framing is None else framing,
            "rate": rate,
            "bits_per_byte": 10 if bits_per_byte is None else bits_per_byte,
            "latency": latency,
            "priority": priority,
            "mtu": mtu,
        }
        self.rate_learnt = rate is None
        """Whether the rate that a line tells (`LineInfo`) is used; no longer, once `Master.set_rate` has set one."""
        self.bits_learnt = bits_per_byte is None
        self.member = self.make_member()
        self.connection: Connection | None = None
        self.last_connection: Connection | None = None
        """The latest one, whose port may not be closed yet; the next one waits for that."""
        self.open_error: Exception | None = None
        """Why the last attempt to open the line has failed; None: it has not, or there was none."""
        self.will_reopen = False
        """Whether somebody opens the line again when it is down (`Master.will_reopen`)."""
        self.lines: Lines | None = None
        """The lines of the bond that it serves; None: it serves none."""

    def make_member(self) -> Member:
        """A fresh member, with the options that the slave was given and no past.

        :meta private:
        """
        if self._half_duplex is None:
            return Member(self.name, owner=self, **self._options)
        return HalfDuplexMember(
            self.name, half_duplex=self._half_duplex, random=random.SystemRandom(), owner=self, **self._options
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {'up' if self.up else 'down'}>"

    @property
    def master(self) -> Master | None:
        """The bond that it serves."""
        return None if self.lines is None else self.lines.master

    @property
    def up(self) -> bool:
        """Whether the line carries packets."""
        return self.member.line.up

    @property
    def failure(self) -> str | None:
        """Why the line is down for good, for people; None: it is up, is being opened, or may be opened yet."""
        connection = self.connection
        if self.up or self.will_reopen or (connection is not None and not connection.lost and not connection.closing):
            return None
        if (problem := self.open_problem) is not None:
            return f"cannot be opened: {problem}"
        return self.member.down_reason if self.member.told_down else None

    @property
    def open_problem(self) -> str | None:
        """Why the line could not be opened last, without its name; None: it could, or was not tried."""
        error = self.open_error
        return None if error is None else str(error).removeprefix(f"{self.name}: ") or repr(error)

    @property
    def error(self) -> BaseException | None:
        """What was raised when the line went down, or could not be opened."""
        return self.open_error if self.open_error is not None else self.member.down_error

    @property
    def rate(self) -> float | None:
        """What the line carries, bit/s, as configured. Change it by `Master.set_rate`."""
        return self.member.configured_rate

    @property
    def priority(self) -> float:
        """The weight. Change it by `Master.set_priority`."""
        return self.member.line.priority

    def learn(self, info: LineInfo) -> tuple[float | None, float]:
        """Rate, bit/s, and bits of a byte for a connection that tells this about itself. Called by the master."""
        rate = self.member.configured_rate
        if self.rate_learnt:
            rate = self._options["rate"] if info.rate is None else info.rate
        bits_per_byte: float = self._options["bits_per_byte"]
        if self.bits_learnt and info.bits_per_byte is not None:
            bits_per_byte = info.bits_per_byte
        return rate, bits_per_byte

    async def open(self, protocol_factory: Callable[[], asyncio.Protocol]) -> None:
        """Open the line. Called by the master.

        Raises:
            LineError: it cannot be opened.
        """
        try:
            await self._connect(protocol_factory)
        except LineError:
            raise
        except OSError as error:
            raise LineError(self.name, str(error)) from error
        except ConfigurationError:
            raise
        except Exception as error:  # the connect function may be anybody's
            raise LineError(self.name, f"its connect function raised {error!r}") from error


def check_flow_control(
    framing: Framing | None, *, rtscts: bool, xonxoff: bool, rts: bool | None, who: str = "the driver"
) -> None:
    """See that the port's flow control goes with the framing, and with what is asked of RTS.

    Raises:
        ConfigurationError: it does not.
    """
    if xonxoff and not getattr(framing, "escapes_xonxoff", False):
        raise ConfigurationError("xonxoff", "this framing does not escape XON and XOFF; use rtscts")
    if rtscts and rts is not None:
        raise ConfigurationError("rts", f"with rtscts {who} moves this line: leave it None")


class PortSlave(Slave):
    """A line of a bond over a serial port, wherever that is: what `SerialSlave` and `NetworkSlave` have in common.

    Args:
        connect: opens the port.
        baudrate: speed of the port, bit/s.
        port_bits: bits of a byte on the port, start and stop bits included.
        rate: what the line carries, bit/s; `BAUDRATE`: what the modem tells, and otherwise the baud rate.
        bits_per_byte: None: what the modem tells, and otherwise `port_bits`.
        modem: what has a dialogue on the port before packets flow.
        port_name: for errors and logs.
        framing, latency, priority, mtu, half_duplex, name: as for `Slave`; the name is by default that of the port.

    Raises:
        ConfigurationError: a value cannot work; `field` names it.
    """

    def __init__(
        self,
        connect: Connect,
        baudrate: int,
        port_bits: float,
        *,
        rate: float | _BaudRate | None,
        framing: Framing | None,
        bits_per_byte: float | None,
        latency: float,
        priority: float | None,
        mtu: int | None,
        half_duplex: HalfDuplex | None,
        modem: Dialler | None,
        port_name: str,
        name: str | None,
    ) -> None:
        if isinstance(baudrate, bool) or not isinstance(baudrate, int) or baudrate <= 0:
            raise ConfigurationError("baudrate", f"bit/s above 0, not {baudrate!r}")
        if modem is not None and (isinstance(modem, type) or not isinstance(modem, Dialler)):
            raise ConfigurationError("modem", f"a Modem, or None, not {modem!r}")
        self.baudrate = baudrate
        self.modem = modem
        self._port_bits = port_bits
        super().__init__(
            connect if modem is None else modem.connect(connect, port_name),
            rate=float(baudrate) if isinstance(rate, _BaudRate) else rate,
            framing=framing,
            bits_per_byte=port_bits if bits_per_byte is None else bits_per_byte,
            latency=latency,
            priority=priority,
            mtu=mtu,
            half_duplex=half_duplex,
            name=name if name is not None else port_name,
        )
        self.rate_learnt = isinstance(rate, _BaudRate)
        self.bits_learnt = bits_per_byte is None

    def learn(self, info: LineInfo) -> tuple[float | None, float]:
        """As `Slave.learn`; a line that is faster than its port carries what the port does."""
        rate, bits_per_byte = super().learn(info)
        if rate is not None and self.rate_learnt:
            rate = min(rate, self.baudrate * bits_per_byte / self._port_bits)
        return rate, bits_per_byte


class SerialSlave(PortSlave):
    """A line of a bond over a serial port.

    Three numbers are three things: `baudrate` sets the port; `rate` is what the line carries, by default the baud
    rate (behind a modem, the speed of the modem connection); `priority` is a weight for schedulers that use weights.

    Args:
        device: path of the port, such as ``/dev/ttyUSB0`` or, better, a name under ``/dev/serial/by-id``.
        baudrate: speed of the port, bit/s; default 57600.
        rate: what the line carries, bit/s; default: what the modem tells, and otherwise the baud rate; None: not
            paced.
        framing: how packets are framed, by default `Slip`.
        bits_per_byte: bits on the wire for each byte; None: what the modem tells, and otherwise start, data, parity
            and stop bits of the port; behind a modem with error correction (V.42), 8.
        bytesize, parity, stopbits: character format, default 8N1.
        rtscts: hardware flow control.
        xonxoff: software flow control; only with a framing that escapes XON and XOFF.
        exclusive: refuse to share the port (flock, TIOCEXCL); default True.
        low_latency: ask the driver for low latency (FTDI adapters wait 16 ms otherwise).
        dtr, rts: the state of these lines while the port is open; None: on, or with `rtscts` the driver's.
        hupcl: drop DTR and RTS when the port is closed, so that a modem hangs up; None, the default: as it was set.
        modem: what has a dialogue on the port before packets flow, such as `eqlbond.modem.Modem`.
        lock: hold the port's UUCP lock file (`eqlbond.lock`) while it is open; True: in ``/var/lock``, or the
            directory of the lock files.
        latency, priority, mtu, half_duplex, name: as for `Slave`; the name is by default the device.

    Raises:
        ConfigurationError: a value cannot work; `field` names it.
    """

    def __init__(
        self,
        device: str,
        baudrate: int = 57600,
        *,
        rate: float | _BaudRate | None = BAUDRATE,
        framing: Framing | None = None,
        bits_per_byte: float | None = None,
        latency: float = 0.0,
        priority: float | None = None,
        mtu: int | None = None,
        half_duplex: HalfDuplex | None = None,
        name: str | None = None,
        bytesize: int = 8,
        parity: str = "N",
        stopbits: float = 1,
        rtscts: bool = False,
        xonxoff: bool = False,
        exclusive: bool = True,
        low_latency: bool = False,
        dtr: bool | None = None,
        rts: bool | None = None,
        hupcl: bool | None = None,
        modem: Dialler | None = None,
        lock: bool | str | os.PathLike[str] = False,
    ) -> None:
        device = str(device)
        if not device:
            raise ConfigurationError("device", "the path of a serial port, not an empty string")
        if "://" in device:
            problem = f"the path of a serial port; {device!r} is a url, of a NetworkSlave"
            raise ConfigurationError("device", problem)
        if bytesize not in (5, 6, 7, 8):
            raise ConfigurationError("bytesize", f"5, 6, 7 or 8 bits, not {bytesize!r}")
        if bytesize != 8:
            raise ConfigurationError("bytesize", "framings need all 8 bits of a byte")
        if parity not in ("N", "E", "O", "M", "S"):
            raise ConfigurationError("parity", f"'N', 'E', 'O', 'M' or 'S', not {parity!r}")
        if stopbits not in (1, 1.5, 2):
            raise ConfigurationError("stopbits", f"1, 1.5 or 2, not {stopbits!r}")
        check_flow_control(framing, rtscts=rtscts, xonxoff=xonxoff, rts=rts)
        if not isinstance(lock, bool | str | os.PathLike) or lock == "":
            raise ConfigurationError("lock", f"True, False, or the directory of the lock files, not {lock!r}")
        self.device = device
        lock_directory = LOCK_DIRECTORY if lock is True else lock
        settings: dict[str, Any] = {
            "bytesize": bytesize,
            "parity": parity,
            "stopbits": stopbits,
            "rtscts": rtscts,
            "xonxoff": xonxoff,
            "exclusive": exclusive,
            "low_latency": low_latency,
            "dtr": dtr,
            "rts": rts,
            "hupcl": hupcl,
        }

        async def connect(
            factory: Callable[[], asyncio.Protocol],
        ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
            if not lock_directory:
                return await port.connect(factory, device, baudrate, **settings)
            held = UucpLock(device, lock_directory).acquire()
            try:
                return await port.connect(factory, device, baudrate, held.release, **settings)
            except BaseException:
                held.release()
                raise

        super().__init__(
            connect,
            baudrate,
            1 + bytesize + (parity != "N") + stopbits,
            rate=rate,
            framing=framing,
            bits_per_byte=bits_per_byte,
            latency=latency,
            priority=priority,
            mtu=mtu,
            half_duplex=half_duplex,
            modem=modem,
            port_name=device,
            name=name,
        )
