"""The slaves of a bond: how they join and leave, and what their connections tell."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from eqlbond.aio.connection import Connection
from eqlbond.aio.inbox import Inbox
from eqlbond.aio.life import Life
from eqlbond.aio.port_service import PortService
from eqlbond.aio.slave import Slave
from eqlbond.core.bundle import Bundle
from eqlbond.exceptions import AlreadyEnslaved, BondFailed, LineError, NotEnslaved

if TYPE_CHECKING:
    from eqlbond.aio.master import Master


class Lines:
    """The slaves of one bond and their connections. `Connection` calls `opened`, `received`, `lost` and `has_room`."""

    __slots__ = ("_bundle", "_inbox", "_life", "_service", "master", "shutting", "slaves")

    def __init__(self, master: Master, bundle: Bundle, life: Life, inbox: Inbox, service: PortService) -> None:
        self.master = master
        self._bundle = bundle
        self._life = life
        self._inbox = inbox
        self._service = service
        self.slaves: list[Slave] = []
        """In the order in which they were enslaved."""
        self.shutting: set[asyncio.Task[None]] = set()
        """Ports that are being closed."""

    # -- joining and leaving

    def attach(self, slave: Slave) -> None:
        """Let a slave join; its line is not opened.

        Raises:
            AlreadyEnslaved: it serves a bond already.
            TooManySlaves: the bond has `max_slaves` already.
            ConfigurationError: it cannot carry packets of the bond's MTU.
        """
        if slave.lines is not None and slave.lines._life.gone:
            slave.lines = slave.connection = slave.last_connection = None
        if slave.lines is not None:
            whose = "this bond" if slave.lines is self else "another bond"
            raise AlreadyEnslaved(f"{slave.name} serves {whose} already")
        if slave.member.counters.connections:
            slave.member = slave.make_member()
        self._bundle.add(slave.member, self._life.now())
        slave.open_error = None
        slave.lines = self
        self.slaves.append(slave)

    def detach(self, slave: Slave, reason: str) -> None:
        """Let a slave go and begin to close its port."""
        if slave.lines is not self:
            return
        if slave.connection is not None:
            slave.connection.begin_shut(0.0)
        self._bundle.remove(slave.member, self._life.now(), reason)
        self.slaves.remove(slave)
        slave.lines = slave.connection = None
        slave.will_reopen = False

    def check(self, slave: Slave) -> None:
        """See that the slave serves this bond. Raises `NotEnslaved`."""
        if slave not in self.slaves:
            raise NotEnslaved(f"{slave!r} does not serve this bond")

    async def open(self, slave: Slave) -> None:
        """Open the line of a slave, once its last connection is closed.

        Raises:
            LineError: it cannot be opened.
        """
        connection = Connection(self, slave)
        before = slave.last_connection
        slave.connection = connection
        slave.open_error = None
        try:
            if before is not None:
                await before.shut(0.0)
            if connection.closing:
                raise LineError(slave.name, "closed while it was opened")
            slave.last_connection = connection  # not sooner: until now the port is that of the one before
            await connection.open()
        except BaseException as error:
            if isinstance(error, Exception):
                slave.open_error = error
            if slave.connection is connection:
                slave.connection = None
                self._bundle.disconnected(slave.member, self._life.now(), "not opened")
            # Cancelled half-way it may still produce a transport, which is closed as it comes.
            await connection.shut(0.0)
            raise

    def check_hope(self) -> None:
        """See that the bond may still come up by itself, or by slaves that are yet to be enslaved.

        Raises:
            BondFailed: so many lines are down for good that it cannot.
        """
        failed = [slave for slave in self.slaves if slave.failure is not None]
        needed = min(self._bundle.min_slaves, len(self.slaves))
        if len(self.slaves) - len(failed) < needed:
            error = next((error for slave in failed if (error := slave.error) is not None), None)
            raise BondFailed({slave.name: str(slave.failure) for slave in failed}) from error

    def abort(self, reason: str) -> None:
        """Nothing can be waited for any more, and no port may stay open."""
        for slave in list(self.slaves):
            transport = slave.connection.transport if slave.connection is not None else None
            if transport is not None and not transport.is_closing():  # a second teardown would fail, and stop this one
                transport.abort()
            self.detach(slave, reason)

    # -- what is on its way

    def busy(self) -> bool:
        """Whether packets wait, or bytes have not left the ports."""
        return bool(self._bundle.backlog) or any(self._line_busy(slave) for slave in self.slaves if slave.up)

    def parting(self, slave: Slave) -> bool:
        """Whether the line still has its last frame, or its goodbye, to say."""
        link = slave.member.link
        return self._line_busy(slave) or (link is not None and not link.finished and not link.leaving)

    def _line_busy(self, slave: Slave) -> bool:
        """Whether bytes of the line have not left, by its byte clock and its transport."""
        member, connection = slave.member, slave.connection
        if connection is None or connection.lost or connection.transport is None:
            return False
        if member.wants_to_send() or (member.line.byte_time and member.port_bytes(self._life.now()) > 0):
            return True
        return bool(connection.buffered() if member.line.byte_time else connection.unsent())

    # -- what the connections tell

    def opened(self, connection: Connection) -> None:
        """The line is open."""
        slave = connection.slave
        if slave.connection is connection and slave.lines is self:
            rate, bits_per_byte = slave.learn(connection.info)
            line = slave.member.line
            if rate != slave.member.configured_rate or bits_per_byte != line.bits_per_byte:
                self._bundle.set_rate(slave.member, rate, self._life.now(), bits_per_byte=bits_per_byte)
            self._bundle.connected(slave.member, self._life.now())
            self._service.wake()

    def received(self, connection: Connection, data: bytes) -> None:
        """The line has delivered bytes."""
        slave = connection.slave
        if slave.connection is not connection or slave.lines is not self:
            return
        try:
            packets = self._bundle.receive(slave.member, data, self._life.now())
        except Exception as error:
            self._service.fail(connection, error)
            return
        if packets:
            self._inbox.deliver(packets)
        if self._bundle.has_news:
            self._service.wake()

    def lost(self, connection: Connection, error: BaseException | None) -> None:
        """The line is gone."""
        slave = connection.slave
        if slave.connection is connection and slave.lines is self:
            if connection.closing:
                self._bundle.disconnected(slave.member, self._life.now(), "closed")
            else:
                reason = str(error) if error is not None else "the line was closed by the far side"
                self._bundle.disconnected(slave.member, self._life.now(), reason, error)
            self._service.wake()

    def has_room(self, connection: Connection) -> None:
        """The transport takes bytes again."""
        slave = connection.slave
        if slave.connection is connection and slave.lines is self:
            self._bundle.has_room(slave.member)
            self._service.wake()
