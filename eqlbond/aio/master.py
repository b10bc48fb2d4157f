"""The bond as an application sees it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from types import TracebackType
from typing import Any, Self

from eqlbond.aio.slave import Connection, Slave
from eqlbond.core.bundle import Bundle
from eqlbond.core.member import Member
from eqlbond.core.multilink import Multilink
from eqlbond.core.queues import QueueDiscipline
from eqlbond.events import (
    BondDown,
    BondUp,
    Event,
    GaveUp,
    HookFailed,
    LineTrouble,
    PhaseChanged,
    RateChanged,
    Retrying,
    SchedulerFailed,
    SlaveDown,
    SlaveUp,
)
from eqlbond.exceptions import AlreadyEnslaved, BondClosed, ConfigurationError, LineError, NotEnslaved, QueueFull
from eqlbond.packet import Packet
from eqlbond.ppp.network import Addresses
from eqlbond.schedulers.base import Scheduler
from eqlbond.schedulers.earliest_delivery import EarliestDelivery
from eqlbond.stats import BondStats

_EVENTS_KEPT = 1000


def _check_packet(protocol: int | None, priority: int) -> None:
    if protocol is not None and (type(protocol) is not int or not 0 < protocol <= 0xFFFF):
        raise ConfigurationError("protocol", f"a PPP protocol number from 1 to 0xFFFF, or None, not {protocol!r}")
    if type(priority) is not int:
        raise ConfigurationError("priority", f"a whole number, not {priority!r}")


def _as_bytes(payload: object) -> bytes:
    """A buffer as bytes of its own, since the packet may wait and the buffer may change."""
    if isinstance(payload, bytes | bytearray | memoryview):
        return bytes(payload)
    raise TypeError(f"a payload is bytes, not {type(payload).__name__}")


class EventStream:
    """The events of a bond from the moment of `Master.events()` on; an async iterator.

    It ends when the bond closes. A reader that falls 1000 events behind loses the oldest; `missed` counts them.
    One task reads from a stream; several tasks take a stream each.
    """

    def __init__(self, master: Master) -> None:
        self._master = master
        self._events: deque[Event] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self.missed = 0

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            if self._waiter is not None:
                raise RuntimeError("another task is reading from this stream of events")
            self._waiter = asyncio.get_running_loop().create_future()
            self._master._awaited.add(self)
            try:
                await self._waiter
            finally:
                self._waiter = None
                self._master._awaited.discard(self)
        return self._events.popleft()

    def close(self) -> None:
        """Stop listening."""
        self._master._streams.discard(self)
        self._end()

    def _put(self, events: Iterable[Event]) -> None:
        self._events.extend(events)
        while len(self._events) > _EVENTS_KEPT:
            self._events.popleft()
            self.missed += 1
        self._wake()

    def _end(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Master:
    """A bond of serial lines: many slow lines, one link.

    ::

        async with Master([SerialSlave("/dev/ttyUSB0"), SerialSlave("/dev/ttyUSB1", 14400)]) as master:
            await master.send(datagram)
            async for packet in master:
                ...

    Entering opens the slaves. Those that cannot be opened are reported by `SlaveDown` events and in the log, and stay
    enslaved, to be opened by `reopen`; if none can be opened the first error is raised. A line that goes down stays
    down until it is reopened; a `Supervisor` does that by itself.
    Leaving sends what is queued, within `close_timeout`, and closes all ports.

    Args:
        slaves: the lines to begin with.
        scheduler: decides where each packet goes; by default `EarliestDelivery`. The bond works on a copy of it.
        mtu: the largest packet, bytes; default 1500.
        queue_bytes: payload that may wait to be sent, bytes; default 256 KiB.
        queue_time: the same, in seconds of the bond's rate; default 0.5 s, and never less than the scheduler needs
            to keep every line busy.
        receive_bytes: payload that may wait for the application, bytes, default 1 MiB; beyond it packets are
            dropped and counted.
        on_packets: called with a list of packets as they arrive, instead of iterating; for high rates.
        flow_of: tells the flow of a payload where `send` was given none, such as `eqlbond.codec.ip.flow_key`; packets
            of a flow that has nothing waiting pass bulk.
        queue: how packets wait for a line: `FqCoDel()` serves flows fairly and keeps their queues short, by dropping,
            so that `send` hardly ever waits; for IP traffic of many, as a router has. None: first in, first out.
        multilink: bundle the slaves by PPP Multilink (RFC 1990): packets arrive in order and are cut into fragments
            over idle lines. All slaves have `Ppp` framing then. None: packets are balanced whole.
        close_timeout: seconds that closing may take, default 5.
        min_slaves: how many lines have to be up for packets to go; with fewer the bond is down, and packets wait.
        max_slaves: how many slaves the bond may have; None, the default: any number.
        open_lines: open the slaves with the bond; False: leave that to `reopen`, or to a `Supervisor`.

    Raises:
        ConfigurationError: a value cannot work; `field` names it.
    """

    def __init__(
        self,
        slaves: Iterable[Slave] = (),
        *,
        scheduler: Scheduler | None = None,
        mtu: int = 1500,
        queue_bytes: int = 262144,
        queue_time: float = 0.5,
        receive_bytes: int = 1048576,
        on_packets: Callable[[list[Packet]], object] | None = None,
        flow_of: Callable[[bytes], Hashable] | None = None,
        queue: QueueDiscipline | None = None,
        multilink: Multilink | None = None,
        close_timeout: float = 5.0,
        min_slaves: int = 1,
        max_slaves: int | None = None,
        open_lines: bool = True,
    ) -> None:
        if on_packets is not None and (not callable(on_packets) or inspect.iscoroutinefunction(on_packets)):
            raise ConfigurationError(
                "on_packets", f"an ordinary function that takes a list of packets, not {on_packets!r}"
            )
        if not isinstance(close_timeout, int | float) or not 0 <= close_timeout < float("inf"):
            raise ConfigurationError("close_timeout", f"seconds from 0, not {close_timeout!r}")
        self._bundle = Bundle(
            EarliestDelivery() if scheduler is None else scheduler,
            mtu=mtu,
            queue_bytes=queue_bytes,
            queue_time=queue_time,
            flow_of=flow_of,
            queue=queue,
            multilink=multilink,
            random=random.SystemRandom(),
            min_slaves=min_slaves,
            max_slaves=max_slaves,
        )
        if isinstance(receive_bytes, bool) or not isinstance(receive_bytes, int) or receive_bytes < mtu:
            raise ConfigurationError("receive_bytes", f"bytes from the MTU ({mtu}) on, not {receive_bytes!r}")
        if isinstance(slaves, Slave) or not isinstance(slaves, Iterable):
            raise ConfigurationError("slaves", f"a list of Slave objects, not {slaves!r}")
        self._first = list(slaves)
        for slave in self._first:
            if not isinstance(slave, Slave):
                raise ConfigurationError("slaves", f"a list of Slave objects; {slave!r} is none")
        if len(set(self._first)) != len(self._first):
            raise ConfigurationError("slaves", "one slave stands there twice")
        if max_slaves is not None and len(self._first) > max_slaves:
            raise ConfigurationError("slaves", f"at most {max_slaves} (max_slaves), not {len(self._first)}")
        self.close_timeout = close_timeout
        self._open_lines = open_lines
        self._receive_bytes = receive_bytes
        self._on_packets = on_packets
        self._slaves: list[Slave] = []
        self._received: deque[Packet] = deque()
        self._received_bytes = 0
        self._reader: asyncio.Future[None] | None = None
        self._senders: deque[asyncio.Future[None]] = deque()
        self._for_room: list[Callable[[], object]] = []
        self._watchers: set[asyncio.Future[None]] = set()
        self._shutting: set[asyncio.Task[None]] = set()  # ports that are being closed
        # A stream that nobody holds any more goes by itself; one that is waited for is held here.
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()
        self._awaited: set[EventStream] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0.0
        self._woken = False
        self._closing: asyncio.Task[None] | None = None
        self._closed = False  # from the beginning of closing on
        self._ended = False  # all ports are closed
        self._log = logging.getLogger("eqlbond")

    def __repr__(self) -> str:
        up = sum(slave.up for slave in self._slaves)
        state = "closed" if self._closed else "not open" if self._loop is None else f"{up} of {len(self._slaves)} up"
        return f"<Master {state}>"

    # -- opening and closing

    async def open(self) -> None:
        """Open the slaves. `async with` does it.

        Raises:
            LineError: none of the slaves could be opened; the first one's error, the others as notes.
            AlreadyEnslaved: a slave serves another bond.
            BondClosed: the bond was closed; make another one.
        """
        if self._closed:
            raise BondClosed("this bond is closed; make another one")
        if self._loop is not None:
            return
        self._loop = asyncio.get_running_loop()
        try:
            for slave in self._first:
                self._attach(slave)
            opened = self._first if self._open_lines else []
            results = await asyncio.gather(*(self._open_line(slave) for slave in opened), return_exceptions=True)
            self._check_open()
            failures = []
            for slave, result in zip(opened, results, strict=True):
                if isinstance(result, LineError):
                    failures.append(result)
                    problem = str(result).removeprefix(f"{slave.name}: ")
                    self._bundle.failed(slave.member, self._loop.time(), f"cannot be opened: {problem}", result)
                elif isinstance(result, BaseException):
                    raise result
            if failures and len(failures) == len(self._first):
                for other in failures[1:]:
                    failures[0].add_note(str(other))
                raise failures[0]
        except BaseException:
            await self.close(0.0)
            raise
        self._serve()

    async def close(self, timeout: float | None = None) -> None:
        """Send what is queued, within `timeout` seconds (None: `close_timeout`), and close all ports.

        May be called again.
        """
        if self._loop is None:
            self._closed = self._ended = True
            return
        if self._closing is None:
            seconds = self.close_timeout if timeout is None else timeout
            self._closing = asyncio.ensure_future(self._tear_down(seconds))
        await asyncio.shield(self._closing)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(None if kind is None else 0.0)

    async def _tear_down(self, seconds: float) -> None:
        try:
            await self._close_lines(seconds)
        except asyncio.CancelledError:
            # The loop is going down: nothing can be waited for, and nothing may stay open.
            for slave in list(self._slaves):
                transport = slave.connection.transport if slave.connection is not None else None
                if (
                    transport is not None and not transport.is_closing()
                ):  # a second teardown would fail, and stop this one
                    transport.abort()
                self._detach(slave, "closed")
            raise

    async def _close_lines(self, seconds: float) -> None:
        assert self._loop is not None
        self._closed = True
        self._fail_senders()
        deadline = self._loop.time() + seconds
        while self._loop.time() < deadline and self._bundle.up and self._busy():
            await asyncio.sleep(0.01)
        for slave in self._slaves:
            if seconds > 0:
                self._bundle.retire(slave.member, self._loop.time(), "closed")
        self._serve()
        while self._loop.time() < deadline and any(self._parting(slave) for slave in self._slaves):
            await asyncio.sleep(0.01)
        # All lines go before anything is dropped, so that what a port did not send is counted, too.
        for slave in self._slaves:
            self._bundle.disconnected(slave.member, self._loop.time(), "closed")
        self._bundle.drop_all("closed")
        left = max(0.0, deadline - self._loop.time())
        for slave in self._slaves:
            if slave.connection is not None:
                slave.connection.begin_shut(left)
        for result in await asyncio.gather(*self._shutting, return_exceptions=True):
            if isinstance(result, BaseException):
                self._log.error("a line could not be closed: %r", result, exc_info=result)
        for slave in list(self._slaves):
            self._detach(slave, "closed")
        self._dispatch()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._ended = True
        for stream in list(self._streams):
            stream._end()
        self._streams.clear()
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
        self._wake_watchers()

    def _busy(self) -> bool:
        return bool(self._bundle.backlog) or any(self._line_busy(slave) for slave in self._slaves if slave.up)

    def _parting(self, slave: Slave) -> bool:
        """Whether the line still has its last frame, or its goodbye, to say."""
        link = slave.member.link
        return self._line_busy(slave) or (link is not None and not link.finished and not link.leaving)

    def _line_busy(self, slave: Slave) -> bool:
        """Whether bytes of the line have not left, by its byte clock and its transport."""
        member, connection = slave.member, slave.connection
        if connection is None or connection.lost or connection.transport is None:
            return False
        if member.wants_to_send() or (member.line.byte_time and member.port_bytes(self._now()) > 0):
            return True
        return bool(connection.buffered() if member.line.byte_time else connection.unsent())

    # -- slaves

    @property
    def slaves(self) -> tuple[Slave, ...]:
        """The slaves, up or not, in the order in which they were enslaved."""
        return tuple(self._slaves)

    @property
    def mtu(self) -> int:
        """The largest packet, bytes."""
        return self._bundle.mtu

    @property
    def addresses(self) -> Addresses:
        """The addresses that PPP has agreed on; empty without PPP, and before."""
        return self._bundle.addresses

    @property
    def scheduler(self) -> Scheduler:
        """The bond's own copy of the scheduler."""
        return self._bundle.scheduler

    async def enslave(self, slave: Slave, *, open_line: bool = True) -> Slave:
        """Add a line while the bond runs. Returns the slave.

        Args:
            slave: the line.
            open_line: open it; False: leave that to `reopen`, or to a `Supervisor`.

        Raises:
            LineError: it cannot be opened; it is not enslaved then.
            AlreadyEnslaved: it serves a bond already.
            TooManySlaves: the bond has `max_slaves` already.
            BondClosed: the bond is not open.
        """
        self._check_open()
        if not isinstance(slave, Slave):
            raise ConfigurationError("slave", f"a Slave, not {slave!r}")
        self._attach(slave)
        if not open_line:
            self._serve()
            return slave
        try:
            await self._open_line(slave)
        except BaseException as error:
            self._detach(slave, "cannot be opened")
            self._serve()
            if isinstance(error, LineError):
                self._check_open()  # closed meanwhile: that is the reason
            raise
        self._serve()
        return slave

    async def emancipate(self, slave: Slave, timeout: float = 2.0) -> None:
        """Take a line out while the bond runs; what was planned for it goes by the others.

        The frame that is on the line is finished, within `timeout` seconds; then the port is closed. Cancelled, it
        closes the port without waiting for that.

        Raises:
            NotEnslaved: it does not serve this bond.
        """
        self._check_slave(slave)
        connection = slave.connection
        try:
            if connection is not None:
                self._bundle.retire(slave.member, self._now())
                self._serve()
                deadline = self._now() + timeout
                while self._parting(slave) and not connection.lost and self._now() < deadline:
                    await asyncio.sleep(0.005)
                await connection.shut(max(0.0, deadline - self._now()))
        finally:
            self._detach(slave, "emancipated")
            self._serve()

    async def reopen(self, slave: Slave) -> None:
        """Open the line of a slave that is down.

        Raises:
            LineError: it cannot be opened.
            NotEnslaved: it does not serve this bond.
            AlreadyEnslaved: its line is open.
        """
        self._check_open()
        self._check_slave(slave)
        connection = slave.connection
        if connection is not None and not connection.lost and not connection.closing:
            raise AlreadyEnslaved(f"{slave.name}: its line is open")
        await self._open_line(slave)
        self._serve()

    def hang_up(self, slave: Slave, reason: str = "hung up") -> None:
        """Take a slave's line down and begin to close its port; it stays enslaved. What was planned goes by others.

        Raises:
            NotEnslaved: it does not serve this bond.
        """
        self._check_slave(slave)
        connection = slave.connection
        if connection is not None:
            self._bundle.disconnected(slave.member, self._now(), reason)
            connection.begin_shut(0.0)
            self._wake()

    @property
    def min_slaves(self) -> int:
        """How many lines have to be up for packets to go."""
        return self._bundle.min_slaves

    def set_min_slaves(self, number: int) -> None:
        """Change how many lines have to be up for packets to go. Raises `ConfigurationError`."""
        self._bundle.set_min_slaves(number, self._now())
        self._wake()

    @property
    def max_slaves(self) -> int | None:
        """How many slaves the bond may have; None: any number."""
        return self._bundle.max_slaves

    def set_max_slaves(self, number: int | None) -> None:
        """Change how many slaves the bond may have; None: any number. Those that are there stay.

        Raises:
            ConfigurationError: it is no number from `min_slaves` on.
        """
        self._bundle.set_max_slaves(number)

    def set_rate(self, slave: Slave, rate: float | None) -> None:
        """Change what the line carries, bit/s. Raises `ConfigurationError`, `NotEnslaved`."""
        self._check_slave(slave)
        self._bundle.set_rate(slave.member, rate, self._now())
        slave.rate_learnt = False
        self._wake()

    def set_priority(self, slave: Slave, priority: float | None) -> None:
        """Change the weight; None: the rate. Raises `ConfigurationError`, `NotEnslaved`."""
        self._check_slave(slave)
        self._bundle.set_priority(slave.member, priority, self._now())
        self._wake()

    def set_latency(self, slave: Slave, latency: float) -> None:
        """Change the latency, seconds. Raises `ConfigurationError`, `NotEnslaved`."""
        self._check_slave(slave)
        self._bundle.set_latency(slave.member, latency, self._now())
        self._wake()

    def _gone(self) -> bool:
        """Whether the bond's loop was closed under it."""
        return self._loop is not None and self._loop.is_closed()

    def _attach(self, slave: Slave) -> None:
        if slave.master is not None and slave.master._gone():
            slave.master = slave.connection = slave.last_connection = None
        if slave.master is not None:
            whose = "this bond" if slave.master is self else "another bond"
            raise AlreadyEnslaved(f"{slave.name} serves {whose} already")
        if slave.member.connections:
            slave.member = slave._make_member()
        self._bundle.add(slave.member, self._now())
        slave.master = self
        self._slaves.append(slave)

    def _detach(self, slave: Slave, reason: str) -> None:
        if slave.master is not self:
            return
        if slave.connection is not None:
            slave.connection.begin_shut(0.0)
        self._bundle.remove(slave.member, self._now(), reason)
        self._slaves.remove(slave)
        slave.master = None
        slave.connection = None

    def _check_slave(self, slave: Slave) -> None:
        if slave not in self._slaves:
            raise NotEnslaved(f"{slave!r} does not serve this bond")

    async def _open_line(self, slave: Slave) -> None:
        connection = Connection(self, slave)
        before, slave.last_connection = slave.last_connection, connection
        slave.connection = connection
        try:
            if before is not None:
                await before.shut(0.0)
            if connection.abandoned:
                raise LineError(slave.name, "closed while it was opened")
            await connection.open()
        except BaseException:
            if slave.connection is connection:
                slave.connection = None
                self._bundle.disconnected(slave.member, self._now(), "not opened")
            # Cancelled half-way it may still produce a transport, which is closed as it comes.
            await connection.shut(0.0)
            raise

    # -- what the connections tell

    def _line_opened(self, connection: Connection) -> None:
        slave = connection.slave
        if slave.connection is connection and slave.master is self:
            rate, bits_per_byte = slave.learn(connection.info)
            line = slave.member.line
            if rate != slave.member.configured_rate or bits_per_byte != line.bits_per_byte:
                self._bundle.set_rate(slave.member, rate, self._now(), bits_per_byte=bits_per_byte)
            self._bundle.connected(slave.member, self._now())
            self._wake()

    def _line_received(self, connection: Connection, data: bytes) -> None:
        slave = connection.slave
        if slave.connection is not connection or slave.master is not self:
            return
        try:
            packets = self._bundle.receive(slave.member, data, self._now())
        except Exception as error:
            self._line_failed(connection, error)
            return
        if packets:
            self._deliver(packets)
        if self._bundle.has_news:
            self._wake()

    def _line_lost(self, connection: Connection, error: BaseException | None) -> None:
        slave = connection.slave
        if slave.connection is connection and slave.master is self:
            if connection.closing:
                self._bundle.disconnected(slave.member, self._now(), "closed")
            else:
                reason = str(error) if error is not None else "the line was closed by the far side"
                self._bundle.disconnected(slave.member, self._now(), reason, error)
            self._wake()

    def _line_failed(self, connection: Connection, error: BaseException) -> None:
        """The port, its transport or its framing has failed, and the transport has not said so."""
        reason = str(error) if isinstance(error, OSError) else repr(error)
        self._bundle.disconnected(connection.member, self._now(), reason, error)
        connection.begin_shut(0.0)
        self._wake()

    def _line_has_room(self, connection: Connection) -> None:
        slave = connection.slave
        if slave.connection is connection and slave.master is self:
            self._bundle.has_room(slave.member)
            self._wake()

    def _deliver(self, packets: list[Packet]) -> None:
        if self._on_packets is not None:
            try:
                self._on_packets(packets)
            except Exception as error:
                assert self._loop is not None
                self._loop.call_exception_handler({"message": "eqlbond: on_packets failed", "exception": error})
            return
        for packet in packets:
            if self._received_bytes >= self._receive_bytes:
                self._bundle.count_undelivered(packet, "the application does not read")
                continue
            self._received_bytes += len(packet.payload)
            self._received.append(packet)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # -- sending

    async def send(
        self, payload: bytes, *, protocol: int | None = None, priority: int = 0, flow: Hashable = None
    ) -> None:
        """Send a packet; waits while the queues are full. Cancelling leaves no trace of the packet.

        Args:
            payload: the datagram.
            protocol: PPP protocol number, where the framing carries one; None: by the IP version.
            priority: above 0 the packet goes ahead of all that is planned.
            flow: what keeps its order among itself.

        Raises:
            PacketTooBig: it exceeds the MTU.
            BondClosed: the bond is not open, or was closed meanwhile.
            SendError: it is empty.
            ConfigurationError: `protocol` or `priority` cannot be such a number.
            TypeError: the payload is no bytes.
        """
        self._check_open()
        if type(payload) is not bytes:
            payload = _as_bytes(payload)
        if protocol is not None or priority != 0:
            _check_packet(protocol, priority)
        bundle = self._bundle
        if (bundle.full or self._senders) and len(payload) <= bundle.mtu:
            await self._wait_for_room()
        try:
            bundle.send(Packet(payload, protocol, None, priority, flow), self._now())
        finally:
            if self._senders:
                self._wake_sender()
        if not self._woken:
            self._wake()

    def send_nowait(
        self, payload: bytes, *, protocol: int | None = None, priority: int = 0, flow: Hashable = None
    ) -> None:
        """Send a packet, or raise. Arguments as for `send`.

        Raises:
            QueueFull: the queues are full; the packet is counted as dropped.
            PacketTooBig: it exceeds the MTU.
            BondClosed: the bond is not open.
            SendError: it is empty.
            ConfigurationError: `protocol` or `priority` cannot be such a number.
            TypeError: the payload is no bytes.
        """
        loop = self._loop
        if self._closed or loop is None:
            self._check_open()
        assert loop is not None
        if type(payload) is not bytes:
            payload = _as_bytes(payload)
        if protocol is not None or priority != 0:
            _check_packet(protocol, priority)
        bundle = self._bundle
        if bundle.full:
            bundle.dropped["queue full"] = bundle.dropped.get("queue full", 0) + 1
            raise QueueFull(f"{bundle.backlog} bytes wait to be sent, the limit is {bundle.limit}")
        bundle.send(Packet(payload, protocol, None, priority, flow), loop.time())
        if not self._woken:
            self._wake()

    def send_batch(self, payloads: Iterable[bytes]) -> None:
        """Send packets at once, whether the bond is `full` or not: for callers that read in batches and look at `room`.

        Raises:
            PacketTooBig: one exceeds the MTU; those before it are sent.
            BondClosed: the bond is not open.
        """
        if self._closed or self._loop is None:
            self._check_open()
        if not self._woken:
            self._wake()
        self._bundle.send_batch(payloads, self._now())

    @property
    def full(self) -> bool:
        """Whether `send` would wait and `send_nowait` would raise."""
        return self._bundle.full

    @property
    def room(self) -> int:
        """Bytes that the bond takes until it is `full`; 0 or less when it is."""
        return self._bundle.limit - self._bundle.backlog

    def when_room(self, callback: Callable[[], object]) -> None:
        """Have the function called, once, when the bond is not `full` any more, or is closed."""
        self._check_open()
        self._for_room.append(callback)
        self._wake()

    async def drain(self) -> None:
        """Wait until everything that was sent has left the ports, by the byte clock. Raises `BondClosed`."""
        while self._busy():
            self._check_open()
            await asyncio.sleep(0.01)

    async def _wait_for_room(self) -> None:
        # A sender keeps its place until it goes, also while it is woken and has not run: nobody overtakes it.
        assert self._loop is not None
        senders = self._senders
        waiter = self._loop.create_future()
        senders.append(waiter)
        while True:
            try:
                await waiter
            except BaseException:
                waiter.cancel()
                if waiter in senders:
                    senders.remove(waiter)
                    self._wake_sender()  # the room may have been ours; the next one gets it
                raise
            self._check_open()
            if not self._bundle.full:
                senders.popleft()
                return
            senders[0] = waiter = self._loop.create_future()

    def _wake_sender(self) -> None:
        """Wake the sender that has waited longest, if there is room for its packet."""
        if self._senders and not self._bundle.full and not self._senders[0].done():
            self._senders[0].set_result(None)

    def _tell_room(self) -> None:
        assert self._loop is not None
        callbacks, self._for_room = self._for_room, []
        for callback in callbacks:
            self._loop.call_soon(callback)

    def _fail_senders(self) -> None:
        self._tell_room()
        while self._senders:
            waiter = self._senders.popleft()
            if not waiter.done():
                waiter.set_exception(BondClosed("the bond was closed while a packet waited to be sent"))

    # -- receiving

    def __aiter__(self) -> AsyncIterator[Packet]:
        return self

    async def __anext__(self) -> Packet:
        try:
            return await self.receive()
        except BondClosed:
            raise StopAsyncIteration from None

    def deliver_to(self, on_packets: Callable[[list[Packet]], object] | None) -> None:
        """Have packets handed to a function from now on, as `on_packets` does; None: iterate, or call `receive`.

        What has arrived and was not read goes to the function at once.

        Raises:
            RuntimeError: another function takes the packets of this bond, or a task waits for one.
        """
        if on_packets is not None:
            if self._on_packets is not None:
                raise RuntimeError("on_packets takes the packets of this bond")
            if self._reader is not None:
                raise RuntimeError("another task is reading from this bond")
        self._on_packets = on_packets
        if on_packets is not None and self._received:
            packets = list(self._received)
            self._received.clear()
            self._received_bytes = 0
            self._deliver(packets)

    async def receive(self) -> Packet:
        """The next packet. One reader at a time.

        Raises:
            BondClosed: the bond is closed and all packets are read.
            RuntimeError: another task is reading, or `on_packets` takes the packets.
        """
        while not self._received:
            if self._ended:
                raise BondClosed("the bond is closed")
            if self._on_packets is not None:
                raise RuntimeError("on_packets takes the packets of this bond")
            if self._loop is None:
                self._check_open()
            if self._reader is not None:
                raise RuntimeError("another task is reading from this bond")
            assert self._loop is not None
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        packet = self._received.popleft()
        self._received_bytes -= len(packet.payload)
        return packet

    # -- watching

    def events(self) -> EventStream:
        """An async iterator of the bond's events from now on."""
        stream = EventStream(self)
        if self._closed:
            stream._end()
        else:
            self._streams.add(stream)
        return stream

    def tell(self, event: Event) -> None:
        """Put an event of one's own among the bond's; its time is `asyncio`'s clock. For what watches over a bond."""
        self._bundle.tell(event)
        if not self._ended:
            self._wake()

    def stats(self) -> BondStats:
        """A snapshot of the bond and its lines."""
        return self._bundle.stats(self._now())

    @property
    def up(self) -> bool:
        """Whether packets go: `min_slaves` lines are up."""
        return self._bundle.up

    async def wait_open(self, timeout: float | None = None) -> None:
        """Wait until the bond carries packets.

        Args:
            timeout: seconds; None: for ever.

        Raises:
            TimeoutError: it does not within `timeout`.
            BondClosed: the bond is closed.
        """
        self._check_open()
        async with asyncio.timeout(timeout):
            while not self._bundle.up:
                assert self._loop is not None
                waiter = self._loop.create_future()
                self._watchers.add(waiter)
                try:
                    await waiter
                finally:
                    self._watchers.discard(waiter)
                self._check_open()

    def _wake_watchers(self) -> None:
        for waiter in self._watchers:
            if not waiter.done():
                waiter.set_result(None)

    # -- the loop

    def _now(self) -> float:
        return 0.0 if self._loop is None else self._loop.time()

    def _check_open(self) -> None:
        if self._closed:
            raise BondClosed("the bond is closed")
        if self._loop is None:
            raise BondClosed("the bond is not open yet: use 'async with' or await open()")

    @staticmethod
    def _connection_of(member: Member) -> Connection | None:
        slave: Any = member.owner
        connection: Connection | None = slave.connection
        return connection

    def _wake(self) -> None:
        if not self._woken and self._loop is not None:
            self._woken = True
            self._loop.call_soon(self._serve)

    def _timer_fired(self) -> None:
        self._timer = None
        self._serve()

    def _serve(self) -> None:
        """Give every port what it should have now, and arm the one timer."""
        self._woken = False
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        bundle = self._bundle
        now = loop.time()
        packets = bundle.tick(now)
        if packets:
            self._deliver(packets)
        for member in bundle.ready(now):
            connection = self._connection_of(member)
            if connection is None or connection.lost or connection.transport is None:
                continue
            try:
                while True:
                    data = bundle.data_to_send(member, now, connection.room(), connection.unsent())
                    if not data:
                        break
                    connection.transport.write(data)
                    if member.line.byte_time:
                        break
                failure = connection.failed()
            except Exception as error:  # a transport or a framing is somebody's code; the other lines go on
                failure = error
            if failure is not None and not connection.lost:
                self._line_failed(connection, failure)
        if bundle.has_news:
            self._dispatch()
        if self._senders:
            self._wake_sender()
        if self._for_room and not bundle.full:
            self._tell_room()
        deadline = bundle.next_deadline()
        if deadline is None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None or deadline < self._armed or deadline > self._armed + 0.005:
            if self._timer is not None:
                self._timer.cancel()
            self._armed = deadline
            self._timer = loop.call_at(deadline, self._timer_fired)

    def _dispatch(self) -> None:
        events = self._bundle.take_events()
        if not events:
            return
        for event in events:
            self._log_event(event)
            # A peer that says goodbye takes the line down at once, and the connection ends some seconds later.
            if isinstance(event, SlaveDown) or (isinstance(event, PhaseChanged) and event.phase == "dead"):
                self._close_after(event.slave)
        for stream in list(self._streams):
            stream._put(events)
        self._wake_watchers()

    @staticmethod
    def _close_after(slave: Slave) -> None:
        """A connection that has ended by itself, as PPP does, leaves its port open: close it."""
        connection = slave.connection
        if connection is None or connection.transport is None:  # None: the next one, which is being opened already
            return
        if slave.member.link is None and not connection.lost and not connection.closing:
            connection.begin_shut(1.0)

    def _log_event(self, event: Event) -> None:
        match event:
            case SlaveUp(slave=slave):
                self._log.info("%s is up", slave.name)
            case PhaseChanged(slave=slave, phase=phase, reason=reason):
                self._log.debug("%s: phase %s%s", slave.name, phase, f" ({reason})" if reason else "")
            case SlaveDown(slave=slave, reason="closed" | "emancipated" as reason):
                self._log.info("%s is down: %s", slave.name, reason)
            case SlaveDown(slave=slave, reason=reason, reclaimed=reclaimed):
                self._log.warning("%s is down: %s (%d packets taken back)", slave.name, reason, reclaimed)
            case LineTrouble(slave=slave, reason=reason, remedy=remedy):
                self._log.warning("%s drops frames (%s): %s", slave.name, reason, remedy)
            case RateChanged(slave=slave, rate=rate, measured=measured):
                self._log.info("%s: rate is now %s bit/s%s", slave.name, rate, " by measurement" if measured else "")
            case SchedulerFailed(error=error):
                self._log.error("%s", error, exc_info=error.__cause__)
            case Retrying(slave=slave, delay=delay, attempt=attempt, reason=reason):
                level = logging.DEBUG if attempt else logging.INFO
                self._log.log(
                    level, "%s: opened again in %.1f s, failed %d times: %s", slave.name, delay, attempt, reason
                )
            case GaveUp(slave=slave, reason=reason):
                self._log.error("%s: given up: %s", slave.name, reason)
            case HookFailed(hook=hook, command=command, problem=problem):
                self._log.error("%s: %s: %s", hook, command, problem)
            case BondUp():
                self._log.info("the bond is up")
            case BondDown(reason=reason):
                self._log.log(logging.INFO if self._closed else logging.WARNING, "the bond is down: %s", reason)
            case _:
                self._log.debug("%s", event)
