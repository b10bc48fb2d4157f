"""Giving every port its bytes in time: the one place where a bond's engine meets the loop."""

from __future__ import annotations

import asyncio
from typing import Any

from eqlbond.aio.backpressure import Backpressure
from eqlbond.aio.connection import Connection
from eqlbond.aio.event_log import EventLog
from eqlbond.aio.event_stream import EventHub
from eqlbond.aio.inbox import Inbox
from eqlbond.aio.life import Life
from eqlbond.core.bundle import Bundle
from eqlbond.core.member import Member
from eqlbond.events import PhaseChanged, SlaveDown

_LATE = 0.005  # seconds: a timer that would go off so much too early is left as it is


class PortService:
    """Serves the ports whenever the engine wants it: at once after `wake`, and by one timer for all lines."""

    __slots__ = ("_armed", "_backpressure", "_bundle", "_hub", "_inbox", "_life", "_log", "timer", "woken")

    def __init__(self, bundle: Bundle, life: Life, inbox: Inbox, backpressure: Backpressure, hub: EventHub) -> None:
        self._bundle = bundle
        self._life = life
        self._inbox = inbox
        self._backpressure = backpressure
        self._hub = hub
        self._log = EventLog()
        self._armed = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self.woken = False
        """Whether `serve` is called in this turn of the loop anyway."""

    def wake(self) -> None:
        """Serve the ports in the loop's next turn."""
        loop = self._life.loop
        if not self.woken and loop is not None:
            self.woken = True
            loop.call_soon(self.serve)

    def serve(self) -> None:
        """Give every port what it should have now, and arm the one timer."""
        self.woken = False
        loop = self._life.loop
        if loop is None or loop.is_closed():
            return
        bundle = self._bundle
        now = loop.time()
        packets = bundle.tick(now, _unsent)
        if packets:
            self._inbox.deliver(packets)
        for member in bundle.ready(now):
            connection = _connection_of(member)
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
                self.fail(connection, failure)
        if bundle.has_news:
            self.publish()
        if self._backpressure.senders:
            self._backpressure.wake_sender()
        if self._backpressure.callbacks and not bundle.full:
            self._backpressure.call_back()
        deadline = bundle.next_deadline()
        if deadline is None:
            self.stop()
        elif self.timer is None or deadline < self._armed or deadline > self._armed + _LATE:
            if self.timer is not None:
                self.timer.cancel()
            self._armed = deadline
            self.timer = loop.call_at(deadline, self._timer_fired)

    def _timer_fired(self) -> None:
        self.timer = None
        self.serve()

    def stop(self) -> None:
        """Disarm the timer."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def fail(self, connection: Connection, error: BaseException) -> None:
        """The port, its transport or its framing has failed, and the transport has not said so."""
        reason = str(error) if isinstance(error, OSError) else repr(error)
        self._bundle.disconnected(connection.member, self._life.now(), reason, error)
        connection.begin_shut(0.0)
        self.wake()

    def publish(self) -> None:
        """Tell what has happened, and close ports whose connections have ended."""
        events = self._bundle.take_events()
        if not events:
            return
        for event in events:
            self._log.log(event, closing=self._life.closed)
            # A peer that says goodbye takes the line down at once, and the connection ends some seconds later.
            if isinstance(event, SlaveDown) or (isinstance(event, PhaseChanged) and event.phase == "dead"):
                _close_ended(event.slave.connection)
        self._hub.publish(events)


def _connection_of(member: Member) -> Connection | None:
    slave: Any = member.owner
    connection: Connection | None = slave.connection
    return connection


def _unsent(member: Member) -> int | None:
    """What the member's port still holds, in bytes; None where it does not tell."""
    connection = _connection_of(member)
    if connection is None or connection.lost or connection.transport is None:
        return None
    try:
        return connection.unsent()
    except Exception:  # a transport is somebody's code; the line fails when it is written to
        return None


def _close_ended(connection: Connection | None) -> None:
    """A connection that has ended by itself, as PPP does, leaves its port open: close it."""
    if connection is None or connection.transport is None:  # None: the next one, which is being opened already
        return
    if connection.slave.member.link is None and not connection.lost and not connection.closing:
        connection.begin_shut(1.0)
