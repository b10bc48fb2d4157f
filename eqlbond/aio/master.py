"""The bond as an application sees it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from types import TracebackType
from typing import Self

from eqlbond.aio.backpressure import Backpressure
from eqlbond.aio.event_stream import EventHub
from eqlbond.aio.event_stream import EventStream as EventStream
from eqlbond.aio.inbox import Inbox, OnPackets
from eqlbond.aio.life import Life
from eqlbond.aio.lines import Lines
from eqlbond.aio.port_service import PortService
from eqlbond.aio.slave import Slave
from eqlbond.core.bundle import Bundle
from eqlbond.core.multilink import Multilink
from eqlbond.core.queues import QueueDiscipline
from eqlbond.events import Event
from eqlbond.exceptions import AlreadyEnslaved, BondClosed, ConfigurationError, LineError, QueueFull
from eqlbond.packet import Packet
from eqlbond.ppp.network import Addresses
from eqlbond.schedulers.base import Scheduler
from eqlbond.schedulers.earliest_delivery import EarliestDelivery
from eqlbond.stats import BondStats

_log = logging.getLogger("eqlbond")


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
        on_packets: OnPackets | None = None,
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
        self._life = Life()
        self._hub = EventHub(self._life)
        self._inbox = Inbox(self._bundle, self._life, receive_bytes, on_packets)
        self._backpressure = Backpressure(self._bundle, self._life)
        self._service = PortService(self._bundle, self._life, self._inbox, self._backpressure, self._hub)
        self._lines = Lines(self, self._bundle, self._life, self._inbox, self._service)
        self._closing: asyncio.Task[None] | None = None

    @property
    def multilink(self) -> Multilink | None:
        """The bundle's settings, with the endpoint that was drawn where none was given; None: there is no bundle."""
        return self._bundle.multilink

    @property
    def queue(self) -> QueueDiscipline | None:
        """How packets wait, as it was given."""
        return self._bundle.queue

    @property
    def queue_limits(self) -> tuple[int, float]:
        """`queue_bytes` and `queue_time`, as they were given."""
        return self._bundle.queue_bytes, self._bundle.queue_time

    def __repr__(self) -> str:
        life, slaves = self._life, self._lines.slaves
        up = sum(slave.up for slave in slaves)
        state = "closed" if life.closed else "not open" if life.loop is None else f"{up} of {len(slaves)} up"
        return f"<Master {state}>"

    # -- opening and closing

    async def open(self) -> None:
        """Open the slaves. `async with` does it.

        Raises:
            LineError: none of the slaves could be opened; the first one's error, the others as notes.
            AlreadyEnslaved: a slave serves another bond.
            BondClosed: the bond was closed; make another one.
        """
        life = self._life
        if life.closed:
            raise BondClosed("this bond is closed; make another one")
        if life.loop is not None:
            return
        life.loop = asyncio.get_running_loop()
        try:
            for slave in self._first:
                self._lines.attach(slave)
            opened = self._first if self._open_lines else []
            results = await asyncio.gather(*(self._lines.open(slave) for slave in opened), return_exceptions=True)
            life.check_open()
            failures = []
            for slave, result in zip(opened, results, strict=True):
                if isinstance(result, LineError):
                    failures.append(result)
                    problem = str(result).removeprefix(f"{slave.name}: ")
                    self._bundle.failed(slave.member, life.now(), f"cannot be opened: {problem}", result)
                elif isinstance(result, BaseException):
                    raise result
            if failures and len(failures) == len(self._first):
                for other in failures[1:]:
                    failures[0].add_note(str(other))
                raise failures[0]
        except BaseException:
            await self.close(0.0)
            raise
        self._service.serve()

    async def close(self, timeout: float | None = None) -> None:
        """Send what is queued, within `timeout` seconds (None: `close_timeout`), and close all ports.

        May be called again.
        """
        if self._life.loop is None:
            self._life.closed = self._life.ended = True
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
            self._lines.abort("closed")
            raise

    async def _close_lines(self, seconds: float) -> None:
        life, bundle, lines = self._life, self._bundle, self._lines
        life.closed = True
        self._backpressure.fail()
        deadline = life.now() + seconds
        while life.now() < deadline and bundle.up and lines.busy():
            await asyncio.sleep(0.01)
        for slave in lines.slaves:
            if seconds > 0:
                bundle.retire(slave.member, life.now(), "closed")
        self._service.serve()
        while life.now() < deadline and any(lines.parting(slave) for slave in lines.slaves):
            await asyncio.sleep(0.01)
        # All lines go before anything is dropped, so that what a port did not send is counted, too.
        for slave in lines.slaves:
            bundle.disconnected(slave.member, life.now(), "closed")
        bundle.drop_all("closed")
        left = max(0.0, deadline - life.now())
        for slave in lines.slaves:
            if slave.connection is not None:
                slave.connection.begin_shut(left)
        for result in await asyncio.gather(*lines.shutting, return_exceptions=True):
            if isinstance(result, BaseException):
                _log.error("a line could not be closed: %r", result, exc_info=result)
        for slave in list(lines.slaves):
            lines.detach(slave, "closed")
        self._service.publish()
        self._service.stop()
        life.ended = True
        self._hub.end()
        self._inbox.wake_reader()

    # -- slaves

    @property
    def slaves(self) -> tuple[Slave, ...]:
        """The slaves, up or not, in the order in which they were enslaved."""
        return tuple(self._lines.slaves)

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
        self._life.check_open()
        if not isinstance(slave, Slave):
            raise ConfigurationError("slave", f"a Slave, not {slave!r}")
        self._lines.attach(slave)
        if not open_line:
            self._service.serve()
            return slave
        try:
            await self._lines.open(slave)
        except BaseException as error:
            self._lines.detach(slave, "cannot be opened")
            self._service.serve()
            if isinstance(error, LineError):
                self._life.check_open()  # closed meanwhile: that is the reason
            raise
        self._service.serve()
        return slave

    async def emancipate(self, slave: Slave, timeout: float = 2.0) -> None:
        """Take a line out while the bond runs; what was planned for it goes by the others.

        The frame that is on the line is finished, within `timeout` seconds; then the port is closed. Cancelled, it
        closes the port without waiting for that.

        Raises:
            NotEnslaved: it does not serve this bond.
        """
        self._lines.check(slave)
        connection = slave.connection
        try:
            if connection is not None:
                self._bundle.retire(slave.member, self._life.now())
                self._service.serve()
                deadline = self._life.now() + timeout
                while self._lines.parting(slave) and not connection.lost and self._life.now() < deadline:
                    await asyncio.sleep(0.005)
                await connection.shut(max(0.0, deadline - self._life.now()))
        finally:
            self._lines.detach(slave, "emancipated")
            self._service.serve()

    async def reopen(self, slave: Slave) -> None:
        """Open the line of a slave that is down.

        Raises:
            LineError: it cannot be opened.
            NotEnslaved: it does not serve this bond.
            AlreadyEnslaved: its line is open.
        """
        self._life.check_open()
        self._lines.check(slave)
        connection = slave.connection
        if connection is not None and not connection.lost and not connection.closing:
            raise AlreadyEnslaved(f"{slave.name}: its line is open")
        try:
            await self._lines.open(slave)
        except LineError:
            self._hub.wake_watchers()  # no event tells it
            raise
        self._service.serve()

    def will_reopen(self, slave: Slave, will: bool = True) -> None:
        """Say whether the slave's line is opened again when it is down: `wait_open` waits for such lines alone.

        A `Supervisor` says it of the lines that it looks after. False, as it is for each new slave: nobody does.

        Raises:
            NotEnslaved: it does not serve this bond.
        """
        self._lines.check(slave)
        slave.will_reopen = will
        self._hub.wake_watchers()

    def hang_up(self, slave: Slave, reason: str = "hung up") -> None:
        """Take a slave's line down and begin to close its port; it stays enslaved. What was planned goes by others.

        Raises:
            NotEnslaved: it does not serve this bond.
        """
        self._lines.check(slave)
        connection = slave.connection
        if connection is not None:
            self._bundle.disconnected(slave.member, self._life.now(), reason)
            connection.begin_shut(0.0)
            self._service.wake()

    @property
    def min_slaves(self) -> int:
        """How many lines have to be up for packets to go."""
        return self._bundle.min_slaves

    def set_min_slaves(self, number: int) -> None:
        """Change how many lines have to be up for packets to go. Raises `ConfigurationError`."""
        self._bundle.set_min_slaves(number, self._life.now())
        self._service.wake()

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
        self._lines.check(slave)
        self._bundle.set_rate(slave.member, rate, self._life.now())
        slave.rate_learnt = False
        self._service.wake()

    def set_priority(self, slave: Slave, priority: float | None) -> None:
        """Change the weight; None: the rate. Raises `ConfigurationError`, `NotEnslaved`."""
        self._lines.check(slave)
        self._bundle.set_priority(slave.member, priority, self._life.now())
        self._service.wake()

    def set_latency(self, slave: Slave, latency: float) -> None:
        """Change the latency, seconds. Raises `ConfigurationError`, `NotEnslaved`."""
        self._lines.check(slave)
        self._bundle.set_latency(slave.member, latency, self._life.now())
        self._service.wake()

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
        self._life.check_open()
        if type(payload) is not bytes:
            payload = _as_bytes(payload)
        if protocol is not None or priority != 0:
            _check_packet(protocol, priority)
        bundle = self._bundle
        waiting = self._backpressure
        if (bundle.full or waiting.senders) and len(payload) <= bundle.mtu:
            await waiting.wait_for_room()
        try:
            bundle.send(Packet(payload, protocol, None, priority, flow), self._life.now())
        finally:
            if waiting.senders:
                waiting.wake_sender()
        if not self._service.woken:
            self._service.wake()

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
        life = self._life
        loop = life.loop
        if life.closed or loop is None:
            life.check_open()
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
        if not self._service.woken:
            self._service.wake()

    def send_batch(self, payloads: Iterable[bytes]) -> None:
        """Send packets at once, whether the bond is `full` or not: for callers that read in batches and look at `room`.

        Raises:
            PacketTooBig: one exceeds the MTU; those before it are sent.
            BondClosed: the bond is not open.
        """
        self._life.check_open()
        if not self._service.woken:
            self._service.wake()
        self._bundle.send_batch(payloads, self._life.now())

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
        self._life.check_open()
        self._backpressure.callbacks.append(callback)
        self._service.wake()

    async def drain(self) -> None:
        """Wait until everything that was sent has left the ports, by the byte clock. Raises `BondClosed`."""
        while self._lines.busy():
            self._life.check_open()
            await asyncio.sleep(0.01)

    # -- receiving

    def __aiter__(self) -> AsyncIterator[Packet]:
        return self

    async def __anext__(self) -> Packet:
        try:
            return await self.receive()
        except BondClosed:
            raise StopAsyncIteration from None

    def deliver_to(self, on_packets: OnPackets | None) -> None:
        """Have packets handed to a function from now on, as `on_packets` does; None: iterate, or call `receive`.

        What has arrived and was not read goes to the function at once.

        Raises:
            RuntimeError: another function takes the packets of this bond, or a task waits for one.
        """
        self._inbox.deliver_to(on_packets)

    async def receive(self) -> Packet:
        """The next packet. One reader at a time.

        Raises:
            BondClosed: the bond is closed and all packets are read.
            RuntimeError: another task is reading, or `on_packets` takes the packets.
        """
        return await self._inbox.receive()

    # -- watching

    def events(self) -> EventStream:
        """An async iterator of the bond's events from now on."""
        return self._hub.stream()

    def tell(self, event: Event) -> None:
        """Put an event of one's own among the bond's; its time is `asyncio`'s clock. For what watches over a bond."""
        self._bundle.tell(event)
        if not self._life.ended:
            self._service.wake()

    def stats(self) -> BondStats:
        """A snapshot of the bond and its lines."""
        return self._bundle.stats(self._life.now())

    @property
    def up(self) -> bool:
        """Whether packets go: `min_slaves` lines are up."""
        return self._bundle.up

    async def wait_open(self, timeout: float | None = None) -> None:
        """Wait until the bond carries packets.

        A bond without slaves waits for its first one, and slaves that nobody has tried to open yet are waited for,
        too. A line that is down is waited for where a `Supervisor` looks after it, or `will_reopen` was said.

        Args:
            timeout: seconds; None: for ever.

        Raises:
            TimeoutError: it does not within `timeout`.
            BondClosed: the bond is closed.
            BondFailed: it will not: lines are down that nobody opens again, so that fewer than `min_slaves` of those
                that are enslaved can be up.
        """
        self._life.check_open()
        async with asyncio.timeout(timeout):
            while not self._bundle.up:
                self._lines.check_hope()
                await self._hub.changed()
                self._life.check_open()
