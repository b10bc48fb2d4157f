"""Serial ports for asyncio. The only module that imports pyserial and pyserial-asyncio.

pyserial-asyncio is used through `connection_for_serial` with a port of our own making, which answers what it asks of a
`serial.Serial` without blocking: reads take all that is there, a failed write is kept as the cause, and
closing never waits for a peer that does not read.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import fcntl
import os
import re
import select
import stat
import termios
from collections.abc import Callable
from typing import Any

import serial
import serial_asyncio
from serial import serialposix

from eqlbond.exceptions import (
    ConfigurationError,
    DeviceBusy,
    DeviceNotFound,
    DevicePermission,
    LineError,
    NotATty,
    SettingRefused,
)

_READ_SIZE = 65536
_RATE_TOLERANCE = 0.03  # UARTs stand about 3 % between the two ends (start bit to stop bit, half a bit)


class Port(serial.Serial):
    """A serial port whose calls never block the event loop."""

    failure: BaseException | None = None
    """The first error that reading or writing met; pyserial-asyncio does not always pass it on."""

    on_closed: Callable[[], object] | None = None
    """Called when the port has been closed."""

    fd: int

    def read(self, size: int = 1) -> bytes:
        """All that is there. pyserial's own goes through select(), which fails for descriptors from 1024 on."""
        try:
            data = os.read(self.fd, _READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError as error:
            raise self._failed(error) from error
        if not data and self._hung_up():
            raise self._failed(None)
        return data

    def _hung_up(self) -> bool:
        """What an empty read means: pyserial sets VMIN 0, so that a tty without data reads as empty, too."""
        poll = select.poll()
        poll.register(self.fd, 0)
        return bool(poll.poll(0))

    def write(self, data: Any) -> int | None:
        """What the port takes at once. An error is reported by `failure`, and the data count as gone."""
        try:
            return os.write(self.fd, data)
        except (BlockingIOError, InterruptedError):
            raise
        except OSError as error:
            self._failed(error)
            return len(data)

    def _failed(self, error: OSError | None) -> serial.SerialException:
        text = "the device hung up" if error is None else f"the device is gone ({error.strerror})"
        failure = serial.SerialException(text)
        failure.__cause__ = error
        if self.failure is None:
            self.failure = failure
        return failure

    def flush(self) -> None:
        """Nothing: tcdrain() would block the loop, for ever where the peer holds the line."""

    def close(self) -> None:
        """Close; what the driver still holds is discarded first, since close() itself would wait for it.

        A pty says that it holds nothing: there the bytes are on their way to the far side, and close() does not wait.
        """
        if self.is_open and self.fd is not None:
            with contextlib.suppress(OSError, termios.error):
                if self.out_waiting:
                    termios.tcflush(self.fd, termios.TCOFLUSH)
        super().close()
        if self.on_closed is not None:
            self.on_closed()


def open_port(device: str, baudrate: int, **settings: Any) -> Port:
    """Open and set a serial port.

    Args:
        device: path of the device.
        baudrate: bit/s on the wire.
        settings: `bytesize`, `parity`, `stopbits`, `rtscts`, `xonxoff`, `exclusive` as in pyserial; `low_latency`;
            `dtr` and `rts`, the state of these lines while the port is open (None: on); `hupcl`, whether the
            kernel drops them when it is closed (None: as it was).

    Raises:
        LineError: of the kind that says why it cannot be opened.
    """
    low_latency = settings.pop("low_latency", False)
    dtr, rts, hupcl = (settings.pop(name, None) for name in ("dtr", "rts", "hupcl"))
    if "://" in device:
        raise ConfigurationError("device", f"the path of a serial port; {device!r} is a URL, as NetworkSlave takes it")
    try:
        mode = os.stat(device).st_mode
    except FileNotFoundError:
        raise DeviceNotFound(device, "no such device") from None
    except PermissionError:
        raise DevicePermission(device, "no permission to look at it") from None
    except OSError as error:
        raise LineError(device, str(error.strerror)) from error
    if not stat.S_ISCHR(mode):
        raise NotATty(device, "not a serial port (no character device)")
    port = Port(None, timeout=0, write_timeout=0)
    try:
        port.baudrate = baudrate
        for name, value in settings.items():
            setattr(port, name, value)
        # Known before it opens, pyserial sets the lines at once; the driver itself raises both as it opens.
        port.dtr = dtr is not False
        if rts is not None or not settings.get("rtscts"):
            port.rts = rts is not False
        port.port = device
        port.open()
    except (ValueError, OverflowError) as error:
        raise SettingRefused(device, f"baudrate={baudrate} or another setting is refused: {error}") from error
    except (OSError, termios.error) as error:
        raise _explain(device, baudrate, error) from error
    try:
        _check_settings(port, device, baudrate)
        if hupcl is not None:
            _set_hupcl(port, device, hupcl)
        if low_latency:
            try:
                port.set_low_latency_mode(True)
            except (OSError, ValueError, NotImplementedError) as error:
                raise SettingRefused(device, f"low_latency: {error}") from error
    except BaseException:
        port.close()
        raise
    return port


def _explain(device: str, baudrate: int, error: Exception) -> LineError:
    text = str(error)
    code = getattr(error, "errno", None)
    if code is None and error.args and isinstance(error.args[0], int):
        code = error.args[0]
    if code is None and (inner := re.search(r"\((\d+), ", text)):  # pyserial writes some causes into its text alone
        code = int(inner[1])
    if code in (errno.EACCES, errno.EPERM):
        return DevicePermission(
            device, "no permission to open it (is the user in the group that owns it, often dialout?)"
        )
    if code in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK) or "exclusively lock" in text:
        return DeviceBusy(device, "another program has it open exclusively")
    if code == errno.ENOTTY:
        return NotATty(device, "not a serial port")
    if code in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return DeviceNotFound(device, "no device behind that name")
    if code == errno.EIO:
        return DeviceNotFound(device, "the port is there and the hardware does not answer (EIO)")
    if code == errno.EINVAL:
        return SettingRefused(device, f"baudrate={baudrate} or another setting is refused")
    return LineError(device, text)


def _check_settings(port: Port, device: str, baudrate: int) -> None:
    """A driver may take a setting that it cannot make, and make another one or none."""
    try:
        attributes = termios.tcgetattr(port.fd)
    except termios.error as error:
        raise NotATty(device, str(error)) from error
    # tcsetattr succeeds when it could make any of the changes (POSIX), so what it made is looked at.
    if port.parity != serial.PARITY_NONE and not attributes[2] & termios.PARENB:
        raise SettingRefused(device, f"parity={port.parity!r}: the port does not do it")
    if port.rtscts and not attributes[2] & termios.CRTSCTS:
        raise SettingRefused(device, "rtscts: the port does not do it")
    wanted = getattr(termios, f"B{baudrate}", None)
    speed = attributes[5]
    if speed == wanted:
        return
    actual: int | None
    if wanted is None:
        actual = _custom_rate(port) or baudrate
    else:
        actual = next((rate for rate, code in port.BAUDRATE_CONSTANTS.items() if code == speed), None)
    if actual is None or abs(actual - baudrate) > _RATE_TOLERANCE * baudrate:
        raise SettingRefused(device, f"baudrate={baudrate}: the port set {actual or 'another rate'} instead")


def _set_hupcl(port: Port, device: str, on: bool) -> None:
    """Whether the last close drops DTR and RTS (termios(3), HUPCL), so that a modem hangs up."""
    try:
        attributes = termios.tcgetattr(port.fd)
        attributes[2] = attributes[2] | termios.HUPCL if on else attributes[2] & ~termios.HUPCL
        termios.tcsetattr(port.fd, termios.TCSANOW, attributes)
    except termios.error as error:
        raise SettingRefused(device, f"hupcl={on}: {error}") from error


def _custom_rate(port: Port) -> int | None:
    """The output speed in bit/s, where the system tells it as a number (Linux: struct termios2)."""
    request = getattr(serialposix, "TCGETS2", None)
    if request is None:
        return None
    termios2 = array.array("I", [0] * 64)
    try:
        fcntl.ioctl(port.fd, request, termios2)
    except OSError:
        return None
    return termios2[10]


async def connect(
    protocol_factory: Callable[[], asyncio.Protocol],
    device: str,
    baudrate: int,
    on_closed: Callable[[], object] | None = None,
    **settings: Any,
) -> tuple[asyncio.Transport, asyncio.Protocol]:
    """Open a serial port as an asyncio transport. See `open_port` for arguments and errors.

    Args:
        on_closed: called when the port, once open, has been closed.
    """
    port = open_port(device, baudrate, **settings)
    port.on_closed = on_closed
    loop = asyncio.get_running_loop()
    try:
        transport, protocol = await serial_asyncio.connection_for_serial(loop, protocol_factory, port)
    except termios.error as error:
        port.close()
        raise _explain(device, baudrate, error) from error
    except BaseException:
        port.close()
        raise
    return transport, protocol


__all__ = ["Port", "connect", "open_port", "serialposix"]
