"""Lines whose serial port is on another machine: raw TCP and RFC 2217 terminal servers, over asyncio's TCP."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import socket
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from eqlbond.aio.slave import BAUDRATE, Connect, Dialler, PortSlave, _BaudRate, check_flow_control
from eqlbond.codec.base import Framing
from eqlbond.codec.rfc2217 import CARRIER, ComPortClient, PortSettings, escape
from eqlbond.core.half_duplex import HalfDuplex
from eqlbond.exceptions import ConfigurationError, DeviceNotFound, LineError, SettingRefused

__all__ = ["NetworkSlave", "connect_raw", "connect_rfc2217"]

SEND_BUFFER = 4096
"""Bytes that the kernel may hold for the terminal server (Linux doubles it for its own use)."""

_SIOCOUTQNSD = 0x894B  # linux/sockios.h: bytes in the send queue that have not been sent
_DEAD_AFTER = 20.0  # seconds after which a terminal server that acknowledges nothing is gone
_PROTOCOLS = ("socket", "rfc2217")


class RemotePort:
    """What the shell asks of a serial port, of one behind a raw TCP connection."""

    failure: BaseException | None = None
    baudrate: int | None = None

    def __init__(self, line: _TcpLine) -> None:
        self._line = line

    @property
    def is_open(self) -> bool:
        """Whether the connection stands."""
        return not self._line.lost

    @property
    def out_waiting(self) -> int:
        """Bytes in the kernel that have not been sent, because the server takes no more. Linux tells; elsewhere 0."""
        sock = None if self._line.tcp is None else self._line.tcp.get_extra_info("socket")
        if sock is None or not sys.platform.startswith("linux"):
            return 0
        waiting = array.array("i", [0])
        try:
            fcntl.ioctl(sock.fileno(), _SIOCOUTQNSD, waiting)
        except (OSError, ValueError):  # closed
            return 0
        return waiting[0]


class RemoteComPort(RemotePort):
    """A port behind RFC 2217: with DCD, DTR, RTS and break, as pyserial names them."""

    def __init__(self, line: _TcpLine, client: ComPortClient) -> None:
        super().__init__(line)
        self._client = client
        self.baudrate = client.settings.baudrate
        self._dtr, self._rts, self._break = client.settings.dtr, client.settings.rts, False

    @property
    def cd(self) -> bool | None:
        """The carrier, as the server told last; None: it has not."""
        state = self._client.modem_state
        if state is None:
            raise OSError("the server tells nothing about the carrier")
        return bool(state & CARRIER)

    @property
    def dtr(self) -> bool:
        """Data terminal ready, as it was set last."""
        return self._dtr

    @dtr.setter
    def dtr(self, on: bool) -> None:
        if on != self._dtr:
            self._dtr = on
            self._client.set_dtr(on)
            self._line.flush()

    @property
    def rts(self) -> bool:
        """Request to send, as it was set last."""
        return self._rts

    @rts.setter
    def rts(self, on: bool) -> None:
        if on != self._rts:
            self._rts = on
            self._client.set_rts(on)
            self._line.flush()

    @property
    def break_condition(self) -> bool:
        """Whether a break is being sent."""
        return self._break

    @break_condition.setter
    def break_condition(self, on: bool) -> None:
        self._break = on
        self._client.set_break(on)
        self._line.flush()


class NetworkTransport(asyncio.Transport):
    """What a slave writes to: the TCP connection, with Telnet's escapes and the server's flow control."""

    def __init__(self, line: _TcpLine, tcp: asyncio.Transport, port: RemotePort) -> None:
        super().__init__()
        self._line = line
        self._tcp = tcp
        self._port = port

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the TCP transport; "serial" is the port."""
        return self._port if name == "serial" else self._tcp.get_extra_info(name, default)

    def write(self, data: Any) -> None:
        """Write, or keep while the server wants nothing."""
        self._line.write(bytes(data))

    def get_write_buffer_size(self) -> int:
        """Bytes that have not gone to the kernel."""
        return self._tcp.get_write_buffer_size() + len(self._line.held)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As the TCP transport."""
        self._tcp.set_write_buffer_limits(high, low)

    def pause_reading(self) -> None:
        """As the TCP transport: the server's own buffer fills, and then its port's flow control works."""
        self._tcp.pause_reading()

    def resume_reading(self) -> None:
        """As the TCP transport."""
        self._tcp.resume_reading()

    def is_closing(self) -> bool:
        """Whether the connection is being closed, or gone."""
        return self._tcp.is_closing()

    def close(self) -> None:
        """Close the connection; what the server did not want is dropped."""
        self._line.held.clear()
        self._tcp.close()

    def abort(self) -> None:
        """Close the connection now."""
        self._line.held.clear()
        self._tcp.abort()


class _TcpLine(asyncio.Protocol):
    """The protocol between the TCP transport and the slave's protocol."""

    def __init__(self, client: ComPortClient | None) -> None:
        self.client = client
        self.tcp: Any = None
        self.lost = False
        self.held = bytearray()  # data that the server does not want yet
        self.inner: asyncio.Protocol | None = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._cause: BaseException | None = None

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.tcp = transport
        if self.client is None:
            self.opened.set_result(None)
        else:
            self.flush()

    def data_received(self, data: bytes) -> None:
        client = self.client
        if client is not None:
            data = client.receive(data)
            self.flush()
            if not client.suspended and self.held:
                data_held, self.held = bytes(self.held), bytearray()
                self.tcp.write(escape(data_held))
                if self.inner is not None:
                    self.inner.resume_writing()
            if self.inner is None:
                if client.open or client.failure is not None:
                    self._settle()
                return  # before the port is set, nothing that comes is ours
        if data and self.inner is not None:
            self.inner.data_received(data)

    def _settle(self) -> None:
        if not self.opened.done():
            self.opened.set_result(None)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        if self.inner is not None:
            self.inner.pause_writing()

    def resume_writing(self) -> None:
        if self.inner is not None:
            self.inner.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = True
        self._cause = exc
        self._settle()
        inner, self.inner = self.inner, None
        if inner is not None:
            inner.connection_lost(exc)  # type: ignore[arg-type]

    # -- the transport's side

    def flush(self) -> None:
        """Send what the com-port client has to say."""
        if self.client is not None and (output := self.client.take_output()) and not self.lost:
            self.tcp.write(output)

    def write(self, data: bytes) -> None:
        """Data of the line."""
        if self.client is None:
            self.tcp.write(data)
        elif self.client.suspended:
            self.held += data
        else:
            self.tcp.write(escape(data))

    # -- opening

    def problem(self, name: str) -> LineError | None:
        """Why the line is not open, once `opened` is settled."""
        if self.client is not None and self.client.failure is not None:
            return SettingRefused(name, self.client.failure)
        if self.lost:
            return LineError(name, f"the server closed the connection ({self._cause or 'is the port in use?'})")
        return None


async def _open(
    factory: Callable[[], asyncio.Protocol],
    host: str,
    port: int,
    client: ComPortClient | None,
    name: str,
    timeout: float,
) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
    loop = asyncio.get_running_loop()
    line = _TcpLine(client)
    what = "the connection"
    try:
        async with asyncio.timeout(timeout):
            try:
                await loop.create_connection(lambda: line, host, port)
            except ConnectionRefusedError as error:
                raise DeviceNotFound(name, f"nothing listens on {host} port {port}") from error
            except socket.gaierror as error:
                raise DeviceNotFound(name, f"no address for {host}: {error.strerror}") from error
            _set_options(line.tcp.get_extra_info("socket"))
            what = "com-port control (RFC 2217): is it a raw port? Then use socket://"
            await line.opened
        problem = line.problem(name)
        if problem is not None:
            raise problem
    except TimeoutError as error:
        if line.tcp is not None:
            line.tcp.abort()
        raise LineError(name, f"the server does not answer within {timeout:g} s: {what}") from error
    except BaseException:
        if line.tcp is not None:
            line.tcp.abort()
        raise
    remote = RemotePort(line) if client is None else RemoteComPort(line, client)
    transport = NetworkTransport(line, line.tcp, remote)
    inner = factory()
    line.inner = inner
    inner.connection_made(transport)
    return transport, inner


def _set_options(sock: Any) -> None:
    """Short queues, and a server that is gone is noticed."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 10),
        ("TCP_KEEPINTVL", 5),
        ("TCP_KEEPCNT", 2),
        ("TCP_USER_TIMEOUT", int(_DEAD_AFTER * 1000)),
    ):
        if hasattr(socket, option):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def connect_raw(host: str, port: int, *, name: str | None = None, timeout: float = 10.0) -> Connect:
    """A connect function for a `Slave`: a raw TCP connection to a terminal server.

    Args:
        host: name or address.
        port: TCP port.
        name: for errors; None: the URL.
        timeout: seconds to connect.

    The function raises `LineError`.
    """

    async def connect(
        factory: Callable[[], asyncio.Protocol],
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        return await _open(factory, host, port, None, name or f"socket://{host}:{port}", timeout)

    return connect


def connect_rfc2217(
    host: str, port: int, settings: PortSettings, *, name: str | None = None, timeout: float = 10.0
) -> Connect:
    """A connect function for a `Slave`: a port behind an RFC 2217 server.

    Args:
        host: name or address.
        port: TCP port.
        settings: how the far port is to be set.
        name: for errors; None: the URL.
        timeout: seconds to connect and to set the port.

    The function raises `LineError`; `SettingRefused` where the server or its port does not do what is asked.
    """

    async def connect(
        factory: Callable[[], asyncio.Protocol],
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        return await _open(factory, host, port, ComPortClient(settings), name or f"rfc2217://{host}:{port}", timeout)

    return connect


def _parse(url: str) -> tuple[str, str, int]:
    if not isinstance(url, str):
        raise ConfigurationError("url", f"socket://host:port or rfc2217://host:port, not {url!r}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError("url", f"{url!r}: {error}") from None
    if parts.scheme not in _PROTOCOLS or not parts.hostname or not port:
        raise ConfigurationError("url", f"socket://host:port or rfc2217://host:port, not {url!r}")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise ConfigurationError("url", f"host and port and nothing else, not {url!r}: settings are arguments")
    return parts.scheme, parts.hostname, port


class NetworkSlave(PortSlave):
    """A line of a bond over a serial port on another machine.

    ``socket://host:port`` is a terminal server's raw TCP port; ``rfc2217://host:port`` one with Telnet's com-port
    control, by which the far port is set.

    Args:
        url: where it is.
        baudrate: speed of the far port, bit/s. RFC 2217 sets it; of a raw port say how it is set there, since the
            line is paced by it.
        rate: what the line carries, bit/s; default: what the modem tells, and otherwise the baud rate; None: not
            paced.
        framing: how packets are framed, by default `Slip`.
        bits_per_byte: bits on the wire for each byte; None: what the modem tells, and otherwise those of the port.
        parity, stopbits: character format, default 8N1. With a raw port: how it is set there.
        rtscts: hardware flow control of the far port; RFC 2217 only.
        xonxoff: software flow control of the far port; RFC 2217 only; the framing has to escape XON and XOFF.
        dtr, rts: the state of these lines while the port is open; RFC 2217 only; None, the default: on.
        modem: what has a dialogue on the port before packets flow, such as `eqlbond.modem.Modem`.
        open_timeout: seconds to connect and set the port, default 10.
        latency, priority, mtu, half_duplex, name: as for `Slave`; the name is by default the URL.

    Raises:
        ConfigurationError: a value cannot work; `field` names it.
    """

    def __init__(
        self,
        url: str,
        baudrate: int,
        *,
        rate: float | _BaudRate | None = BAUDRATE,
        framing: Framing | None = None,
        bits_per_byte: float | None = None,
        latency: float = 0.0,
        priority: float | None = None,
        mtu: int | None = None,
        half_duplex: HalfDuplex | None = None,
        name: str | None = None,
        parity: str = "N",
        stopbits: float = 1,
        rtscts: bool = False,
        xonxoff: bool = False,
        dtr: bool | None = None,
        rts: bool | None = None,
        modem: Dialler | None = None,
        open_timeout: float = 10.0,
    ) -> None:
        scheme, host, port = _parse(url)
        if isinstance(open_timeout, bool) or not isinstance(open_timeout, int | float) or not 0 < open_timeout < 86400:
            raise ConfigurationError("open_timeout", f"seconds above 0, not {open_timeout!r}")
        settings = PortSettings(
            baudrate=baudrate,
            parity=parity,
            stopbits=stopbits,
            rtscts=rtscts,
            xonxoff=xonxoff,
            dtr=dtr is not False,
            rts=rts is not False,
        )
        if scheme == "socket":
            for field, value in (("rtscts", rtscts or None), ("xonxoff", xonxoff or None), ("dtr", dtr), ("rts", rts)):
                if value is not None:
                    raise ConfigurationError(field, "a raw TCP port cannot be set from here: use rfc2217://")
            connect = connect_raw(host, port, name=url, timeout=open_timeout)
        else:
            check_flow_control(framing, rtscts=rtscts, xonxoff=xonxoff, rts=rts, who="the far port")
            connect = connect_rfc2217(host, port, settings, name=url, timeout=open_timeout)
        self.url = url
        super().__init__(
            connect,
            baudrate,
            9 + (parity != "N") + stopbits,
            rate=rate,
            framing=framing,
            bits_per_byte=bits_per_byte,
            latency=latency,
            priority=priority,
            mtu=mtu,
            half_duplex=half_duplex,
            modem=modem,
            port_name=url,
            name=name,
        )
