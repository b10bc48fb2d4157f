"""Packets that have arrived, until the application takes them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from eqlbond.aio.life import Life
from eqlbond.core.bundle import Bundle
from eqlbond.exceptions import BondClosed
from eqlbond.packet import Packet

OnPackets = Callable[[list[Packet]], object]


class Inbox:
    """Where packets wait for `receive`; or they are handed to a function of the application's as they come.

    Args:
        bundle: counts what is dropped.
        life: the bond's.
        limit: payload that may wait, bytes; beyond it packets are dropped.
        on_packets: the function; None: they wait.
    """

    __slots__ = ("_bundle", "_life", "_limit", "_on_packets", "_reader", "packets", "size")

    def __init__(self, bundle: Bundle, life: Life, limit: int, on_packets: OnPackets | None) -> None:
        self._bundle = bundle
        self._life = life
        self._limit = limit
        self._on_packets = on_packets
        self._reader: asyncio.Future[None] | None = None
        self.packets: deque[Packet] = deque()
        self.size = 0
        """Payload that waits, bytes."""

    def deliver(self, packets: list[Packet]) -> None:
        """Packets have arrived."""
        if self._on_packets is not None:
            try:
                self._on_packets(packets)
            except Exception as error:
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "eqlbond: on_packets failed", "exception": error}
                )
            return
        for packet in packets:
            if self.size >= self._limit:
                self._bundle.count_undelivered(packet, "the application does not read")
                continue
            self.size += len(packet.payload)
            self.packets.append(packet)
        self.wake_reader()

    def wake_reader(self) -> None:
        """Let the task that waits for a packet look again."""
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def deliver_to(self, on_packets: OnPackets | None) -> None:
        """As `Master.deliver_to`."""
        if on_packets is not None:
            if self._on_packets is not None:
                raise RuntimeError("on_packets takes the packets of this bond")
            if self._reader is not None:
                raise RuntimeError("another task is reading from this bond")
        self._on_packets = on_packets
        if on_packets is not None and self.packets:
            packets = list(self.packets)
            self.packets.clear()
            self.size = 0
            self.deliver(packets)

    async def receive(self) -> Packet:
        """As `Master.receive`."""
        while not self.packets:
            if self._life.ended:
                raise BondClosed("the bond is closed")
            if self._on_packets is not None:
                raise RuntimeError("on_packets takes the packets of this bond")
            if self._life.loop is None:
                self._life.check_open()
            if self._reader is not None:
                raise RuntimeError("another task is reading from this bond")
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        packet = self.packets.popleft()
        self.size -= len(packet.payload)
        return packet
