"""One opening of a slave's line."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from eqlbond.aio.line_info import LINE_INFO, NOTHING_TOLD, LineInfo
from eqlbond.exceptions import LineError

if TYPE_CHECKING:
    from eqlbond.aio.lines import Lines
    from eqlbond.aio.slave import Slave

# A paced line is given bytes by its byte clock, so its transport's buffer is empty but for a port that stalls.
_ROOM = 65536
_HIGH_WATER = 32768
_MADE_WITHIN = 5.0  # seconds from the return of a connect function to its connection_made
_GIVING_UP = 5.0
"""Seconds that an opening may take to end once it is cancelled, beyond what it says itself (`Slave.closing_time`)."""

_log = logging.getLogger("eqlbond")


class Connection(asyncio.Protocol):
    """One opening of a slave's line: the asyncio protocol between the transport and the lines of the bond."""

    def __init__(self, lines: Lines, slave: Slave) -> None:
        self.lines = lines
        self.slave = slave
        self.member = slave.member
        self.transport: Any = None
        self.lost = False
        self.abandoned = False
        self.info = NOTHING_TOLD
        self._port: Any = None
        loop = asyncio.get_running_loop()
        self.made: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self._opening: asyncio.Task[None] | None = None
        self._shutting: asyncio.Task[None] | None = None
        self._deadline = 0.0  # of closing

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The line is open."""
        self.transport = transport
        self._port = transport.get_extra_info("serial")
        info = transport.get_extra_info(LINE_INFO)
        if isinstance(info, LineInfo):
            self.info = info
        if self.abandoned:
            self.transport.abort()  # _shut waits for the rest
            return
        set_limits = getattr(transport, "set_write_buffer_limits", None)
        if set_limits is not None:
            set_limits(high=_HIGH_WATER, low=_HIGH_WATER // 4)
        try:
            self.lines.opened(self)
        except Exception as error:
            if not self.made.done():
                self.made.set_exception(LineError(self.slave.name, f"its framing raised {error!r}"))
            return
        if not self.made.done():
            self.made.set_result(None)

    def data_received(self, data: bytes) -> None:
        """The line has delivered bytes."""
        self.lines.received(self, data)

    def eof_received(self) -> bool:
        """The peer closed its side: so do we."""
        return False

    def resume_writing(self) -> None:
        """The transport's buffer has drained."""
        self.lines.has_room(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The line is gone."""
        self.lost = True
        if not self.made.done():
            self.made.set_exception(
                LineError(self.slave.name, f"closed while it was opened: {exc or 'no reason given'}")
            )
            self.made.exception()
        if exc is None and self._port is not None:
            exc = getattr(self._port, "failure", None)
        self.lines.lost(self, exc)
        if not self.gone.done():
            self.gone.set_result(None)

    # -- the bond's side

    async def open(self) -> None:
        """Open the line. When `begin_shut` is called meanwhile, the attempt is given up; call it after an error, too.

        Raises:
            LineError: it cannot be opened, or is not to be any more.
        """
        self._opening = asyncio.ensure_future(self.slave.open(lambda: self))
        me = asyncio.current_task()
        try:
            # Only `_shut` cancels it, and once: a second time would break off a modem's hang-up.
            await asyncio.shield(self._opening)
            async with asyncio.timeout(_MADE_WITHIN):
                await self.made
        except TimeoutError:
            raise LineError(self.slave.name, "its connect function returned and made no connection") from None
        except asyncio.CancelledError:
            if self.abandoned and (me is None or not me.cancelling()):
                raise LineError(self.slave.name, "closed while it was opened") from None
            raise

    def failed(self) -> BaseException | None:
        """An error that the port has met and its transport has not reported yet."""
        failure: BaseException | None = getattr(self._port, "failure", None)
        return failure

    def buffered(self) -> int:
        """Bytes written that the transport has not handed to the port."""
        return int(self.transport.get_write_buffer_size())

    def room(self) -> int:
        """Bytes that the transport should take now."""
        return _ROOM - self.buffered()

    def unsent(self) -> int | None:
        """Bytes written that have not left, as far as the transport and the port tell."""
        unsent = self.buffered()
        if self._port is not None:
            try:
                unsent += self._port.out_waiting
            except (OSError, TypeError):  # a driver without TIOCOUTQ, or a port that is closing
                return unsent or None
        return unsent

    def carrier(self) -> bool | None:
        """Whether the port's DCD is on; None where the port has none, as a pty."""
        try:
            return bool(self._port.cd)
        except (OSError, AttributeError, TypeError):  # no port, no such line, or a port that is closing
            return None

    @property
    def closing(self) -> bool:
        """Whether this side closes the line."""
        return self._shutting is not None

    def begin_shut(self, seconds: float) -> asyncio.Task[None]:
        """Close once, whoever asks and however often; the task ends when the port is closed.

        Args:
            seconds: how long written bytes may take to leave; a later call can only shorten it.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        if self._shutting is not None:
            self._deadline = min(self._deadline, deadline)
        else:
            self._deadline = deadline
            self._shutting = asyncio.ensure_future(self._shut())
            self.lines.shutting.add(self._shutting)
            self._shutting.add_done_callback(self.lines.shutting.discard)
        return self._shutting

    async def shut(self, seconds: float) -> None:
        """Close, as `begin_shut` does, and wait until the port is closed."""
        await asyncio.shield(self.begin_shut(seconds))

    async def _shut(self) -> None:
        loop = asyncio.get_running_loop()
        if self.transport is None:
            self.abandoned = True
            if not await self._give_up_opening():
                return
        try:
            while not self.lost and self.unsent() and loop.time() < self._deadline:
                await asyncio.sleep(0.01)
            stuck = not self.lost and self.buffered() > 0
        except Exception as error:  # a transport is somebody's code; closing goes on
            _log.warning("%s: its transport failed at closing: %r", self.slave.name, error)
            stuck = True
        if not self.lost:
            # Exactly one of the two: pyserial-asyncio tears down twice when both are called.
            if stuck:
                self.transport.abort()
            else:
                self.transport.close()
        try:
            patience = max(1.0, self._deadline - loop.time()) + self.info.closing_time
            await asyncio.wait_for(asyncio.shield(self.gone), patience)
        except TimeoutError:
            _log.warning("%s: the transport did not close in time", self.slave.name)
        # connection_lost comes while the port is still open; it may be opened again only when it is closed.
        until = max(loop.time(), self._deadline) + 1.0
        while self._port is not None and self._port.is_open and loop.time() < until:
            await asyncio.sleep(0.005)

    async def _give_up_opening(self) -> bool:
        """Cancel the attempt to open; whether there is a transport all the same."""
        opening = self._opening
        if opening is None:
            return False
        opening.cancel()
        _, hanging = await asyncio.wait([opening], timeout=_GIVING_UP + self.slave.closing_time)
        if hanging:
            _log.warning("%s: its connect function goes on after it was cancelled", self.slave.name)
        if self.transport is None and opening.done() and not opening.cancelled() and opening.exception() is None:
            await asyncio.wait([self.made, self.gone], timeout=1.0)  # connection_made comes soon, and aborts
        return self.transport is not None
