"""A fake modem's port in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eqlbond.modem.testing import FakeModem


class MemoryPort:
    """What a `serial.Serial` would tell; only there where the modem has a DTR line."""

    failure: BaseException | None = None
    out_waiting = 0
    is_open = True
    break_condition = False

    def __init__(self, modem: FakeModem, baudrate: int) -> None:
        self._modem = modem
        self._dtr = True
        self.baudrate = baudrate

    @property
    def dtr(self) -> bool:
        """Data terminal ready."""
        return self._dtr

    @dtr.setter
    def dtr(self, on: bool) -> None:
        changed, self._dtr = on != self._dtr, on
        if changed:
            self._modem.dtr_changed(on)


class MemoryTransport(asyncio.Transport):
    """A modem's port without a pty."""

    def __init__(self, modem: FakeModem, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._modem = modem
        self._protocol = protocol
        self._serial = MemoryPort(modem, 115200) if modem.has_dtr else None
        self._closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._serial if name == "serial" and self._serial is not None else default

    def deliver(self, data: bytes) -> None:
        if not self._closing and data:
            asyncio.get_running_loop().call_soon(self._deliver, bytes(data))

    def _deliver(self, data: bytes) -> None:
        if not self._closing:
            self._protocol.data_received(data)

    def write(self, data: Any) -> None:
        if not self._closing:
            asyncio.get_running_loop().call_soon(self._modem.receive, bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._modem._port = None
            if self._serial is not None:
                self._serial.is_open = False
                self._modem.dtr_changed(False)
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()
