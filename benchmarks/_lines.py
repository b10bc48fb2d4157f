"""Lines for measuring what the bond itself costs: in memory, and one end of a pty. None of them has a pace."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections import deque
from collections.abc import Callable
from typing import Any

_READ = 65536


class MemoryTransport(asyncio.Transport):
    """What is written stands in the other end's queue until that end's turn in the loop."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.other = self
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._arrived: deque[bytes] = deque()
        self._held = 0
        self._closed = False

    def write(self, data: Any) -> None:
        """The bytes are the other end's."""
        other = self.other
        if not other._arrived:
            self._loop.call_soon(other._deliver)
        other._arrived.append(data)
        other._held += len(data)

    def _deliver(self) -> None:
        data = b"".join(self._arrived)
        self._arrived.clear()
        self._held = 0
        if not self._closed:
            self._protocol.data_received(data)
            self.other._protocol.resume_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing: whoever writes asks how much is held."""

    def get_write_buffer_size(self) -> int:
        """What the other end has not read."""
        return self.other._held

    def close(self) -> None:
        """Both ends are closed."""
        for end in (self, self.other):
            if not end._closed:
                end._closed = True
                self._loop.call_soon(end._protocol.connection_lost, None)

    abort = close


class MemoryLine:
    """A line in memory; `a` and `b` are functions that open its ends, for `Slave`."""

    def __init__(self) -> None:
        self._ends: list[MemoryTransport] = []

    async def open(self, factory: Callable[[], asyncio.Protocol]) -> tuple[MemoryTransport, asyncio.Protocol]:
        """Open one end; the first one carries when the second one is there."""
        protocol = factory()
        transport = MemoryTransport(protocol)
        self._ends.append(transport)
        if len(self._ends) == 2:
            first, second = self._ends
            first.other, second.other = second, first
        asyncio.get_running_loop().call_soon(protocol.connection_made, transport)
        return transport, protocol


class DescriptorTransport(asyncio.Transport):
    """A transport over a descriptor that is read and written by the loop, such as the other end of a pty."""

    def __init__(self, descriptor: int, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._waiting = bytearray()
        self._closed = False
        self._loop.call_soon(protocol.connection_made, self)
        self._loop.add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _READ)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._protocol.data_received(data)

    def write(self, data: Any) -> None:
        """Write what the descriptor takes and keep the rest."""
        if not self._waiting:
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(self._descriptor, data) :]
            if data:
                self._loop.add_writer(self._descriptor, self._write)
        self._waiting += data

    def _write(self) -> None:
        try:
            del self._waiting[: os.write(self._descriptor, self._waiting)]
        except BlockingIOError:
            return
        if not self._waiting:
            self._loop.remove_writer(self._descriptor)
            self._protocol.resume_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing: whoever writes asks how much is held."""

    def get_write_buffer_size(self) -> int:
        """What the descriptor has not taken."""
        return len(self._waiting)

    def close(self) -> None:
        """Stop; the descriptor stays its owner's."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._descriptor)
            self._loop.remove_writer(self._descriptor)
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close


class Pty:
    """A pty: `path` is the end that looks like a serial port, `descriptor` the other one, which does not block."""

    def __init__(self) -> None:
        self.descriptor, self.slave = os.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self.slave, False)
        self.path = os.ttyname(self.slave)

    async def open(self, factory: Callable[[], asyncio.Protocol]) -> tuple[DescriptorTransport, asyncio.Protocol]:
        """Open the end that is no serial port, for `Slave`."""
        protocol = factory()
        return DescriptorTransport(self.descriptor, protocol), protocol

    def close(self) -> None:
        """Both ends."""
        os.close(self.descriptor)
        os.close(self.slave)
