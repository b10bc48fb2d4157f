"""One call: the asyncio protocol that stands between a port's transport and a slave's protocol.

First it has the dialogue; then it hands the line over, with whatever has been received and not taken by the dialogue;
when the slave closes its transport it hangs up, within a deadline, and closes the port.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from eqlbond.aio.line_info import LINE_INFO, LineInfo
from eqlbond.aio.slave import Connect
from eqlbond.modem import errors
from eqlbond.modem.dialogue import Break, Dialogue, Dtr, Program, Send
from eqlbond.modem.transcript import Scribe

__all__ = ["Call", "LineTransport"]

T = TypeVar("T")

_log = logging.getLogger("eqlbond.modem")

_HUNG_UP = b"\r\nNO CARRIER\r\n"
_QUIET = 1.0  # seconds after which these bytes at the end are the modem's, and no part of a packet
_PORT_TIME = 2.0  # seconds that a port may take to close

_closings: set[asyncio.Task[None]] = set()


class LineTransport(asyncio.Transport):
    """What a slave writes to while a call lasts: the port's transport, with a hang-up in its `close`."""

    def __init__(self, call: Call, base: Any, info: LineInfo) -> None:
        super().__init__()
        self._call = call
        self._base = base
        self._info = info

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the port's transport; `LINE_INFO` is what the modem told."""
        return self._info if name == LINE_INFO else self._base.get_extra_info(name, default)

    def write(self, data: Any) -> None:
        """Write, unless the line is being hung up."""
        if not self._call.closing:
            self._base.write(data)

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be written."""
        size: int = self._base.get_write_buffer_size()
        return size

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As the port's transport."""
        self._base.set_write_buffer_limits(high, low)

    def pause_reading(self) -> None:
        """As the port's transport."""
        self._base.pause_reading()

    def resume_reading(self) -> None:
        """As the port's transport."""
        self._base.resume_reading()

    def can_write_eof(self) -> bool:
        """No."""
        return False

    def is_closing(self) -> bool:
        """Whether the line is being hung up, or gone."""
        return self._call.closing or bool(self._base.is_closing())

    def close(self) -> None:
        """Hang up, then close the port."""
        self._call.begin_close()

    def abort(self) -> None:
        """As `close`, and drop what waits; once more: close the port now."""
        self._call.begin_close(abort=True)


class Call(asyncio.Protocol):
    """A port, a dialogue on it, and the protocol that gets the line afterwards.

    Args:
        name: the port, for people.
        scribe: writes the dialogue down.
        hang_up: makes the program that ends a call, from the phase that it is in and whether the port has DTR.
        hangup_timeout: seconds that hanging up may take.
        watch: whether a lone ``NO CARRIER`` at the end of what is received counts as the end of the call.
    """

    def __init__(
        self,
        name: str,
        scribe: Scribe,
        hang_up: Callable[[str, bool], Program[None]],
        hangup_timeout: float,
        watch: bool,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.name = name
        self._scribe = scribe
        self._hang_up_program = hang_up
        self._hangup_timeout = hangup_timeout
        self._watch = watch
        self._base: Any = None
        self._port: Any = None
        self._abandoned = False
        self._lost = False
        self._made: asyncio.Future[None] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._dialogue: Dialogue[Any] | None = None
        self._finished: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._inner: asyncio.Protocol | None = None
        self._swallow_line_feed = False
        self._tail = b""
        self._quiet: asyncio.TimerHandle | None = None
        self._reason: BaseException | None = None
        self._closing: asyncio.Task[None] | None = None
        self._port_closed = False
        self.phase = "command"

    # -- the port's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The port is open."""
        self._base = transport
        self._port = transport.get_extra_info("serial")
        if self._abandoned:
            self._close_port(abort=True)
        if not self._made.done():
            self._made.set_result(None)

    def data_received(self, data: bytes) -> None:
        """The port has delivered bytes."""
        if self._inner is not None and self._closing is None:
            if self._swallow_line_feed:
                self._swallow_line_feed = False
                data = data.removeprefix(b"\n")
                if not data:
                    return
            self._inner.data_received(data)
            if self._watch:
                self._look_for_end(data)
        elif self._dialogue is not None:
            self._dialogue.feed(data, self._loop.time())
            self._serve()

    def eof_received(self) -> bool | None:
        """The port's far side was closed."""
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:
        """The port is full."""
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The port has room."""
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The port is gone."""
        self._lost = self._port_closed = True
        if self._quiet is not None:
            self._quiet.cancel()
        cause = exc if exc is not None else getattr(self._port, "failure", None)
        if not self._made.done():
            self._made.set_result(None)
        if not self._gone.done():
            self._gone.set_result(None)
        if self._dialogue is not None:
            why = f"the line went away in the middle of the dialogue ({cause or 'no reason given'})"
            self._dialogue.lost(errors.HungUp(self.name, why), self._loop.time())
            self._serve()
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.connection_lost(self._reason or exc)  # type: ignore[arg-type]

    def _look_for_end(self, data: bytes) -> None:
        """A modem whose call has ended says so and is quiet; a packet with these bytes in it goes on."""
        if self._quiet is not None:
            if data.strip() == b"RING":  # the next call is there already: that is no packet going on
                return
            self._quiet.cancel()
            self._quiet = None
        self._tail = (self._tail + data[-len(_HUNG_UP) :])[-len(_HUNG_UP) :]
        if self._tail == _HUNG_UP:
            self._quiet = self._loop.call_later(_QUIET, self._ended)

    def _ended(self) -> None:
        self._quiet = None
        if self._closing is None and self._inner is not None:
            self._reason = errors.HungUp(self.name, "the call has ended (NO CARRIER)", "NO CARRIER")
            self.phase = "command"
            self.begin_close()

    # -- dialogues

    async def opened(self, base: Connect) -> None:
        """Open the port."""
        try:
            await base(lambda: self)
            await self._made
        except BaseException:
            # An open that is cancelled half-way may still produce a transport; it is closed as it comes.
            self._abandoned = True
            if self._base is not None:
                self._close_port(abort=True)
            raise
        if self._lost:
            raise errors.HungUp(self.name, "closed while it was opened")

    @property
    def has_dtr(self) -> bool:
        """Whether the port has a DTR line to hang up with. A pty has none."""
        if self._port is None or not hasattr(self._port, "dtr"):
            return False
        try:
            self._port.dtr = True
        except (OSError, ValueError):
            return False
        return True

    @property
    def baudrate(self) -> int | None:
        """The port's speed, bit/s, where it has one."""
        return getattr(self._port, "baudrate", None)

    @property
    def closing(self) -> bool:
        """Whether the line is being hung up."""
        return self._closing is not None

    async def converse(self, program: Program[T]) -> T:
        """Run a program on the port; returns what it returns, raises what it raises."""
        dialogue = Dialogue(program, self._scribe, b"" if self._dialogue is None else self._dialogue.rest())
        self._dialogue = dialogue
        self._finished = self._loop.create_future()
        dialogue.phase = self.phase
        dialogue.start(self._loop.time())
        self._serve()
        try:
            await self._finished
        finally:
            self.phase = dialogue.phase
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        return dialogue.result()

    def _serve(self) -> None:
        """Do what the dialogue wants, and see that it is woken."""
        dialogue = self._dialogue
        if dialogue is None:
            return
        for action in dialogue.take_actions():
            self._act(action)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if dialogue.done:
            if self._finished is not None and not self._finished.done():
                self._finished.set_result(None)
            return
        deadline = dialogue.next_deadline()
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._dialogue is not None:
            deadline = self._dialogue.next_deadline()
            # The loop's clock may be a grain early.
            self._dialogue.tick(max(self._loop.time(), deadline or 0.0))
            self._serve()

    def _act(self, action: Send | Dtr | Break) -> None:
        if self._lost:
            return
        if isinstance(action, Send):
            self._base.write(action.data)
            return
        with contextlib.suppress(OSError, ValueError, AttributeError):  # a port without these lines
            if isinstance(action, Dtr):
                self._port.dtr = action.on
            else:
                self._port.break_condition = True
                self._loop.call_later(0.25, self._end_break)

    def _end_break(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            self._port.break_condition = False

    # -- handing over

    def hand_over(
        self, protocol_factory: Callable[[], asyncio.Protocol], info: LineInfo
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """Give the line, and the bytes that the dialogue left, to the slave's protocol."""
        assert self._dialogue is not None
        if self._lost:
            raise errors.HungUp(self.name, "the line went away")
        inner = protocol_factory()
        rest = self._dialogue.rest()
        self._swallow_line_feed = self._dialogue.after_return
        self._dialogue = None
        self._inner = inner
        transport = LineTransport(self, self._base, info)
        inner.connection_made(transport)
        if rest and self._inner is not None:
            self.data_received(rest)
        return transport, inner

    # -- hanging up

    def begin_close(self, *, abort: bool = False) -> asyncio.Task[None]:
        """Hang up and close the port, once; with `abort`, once more means now."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(abort))
            _closings.add(self._closing)
            self._closing.add_done_callback(_closings.discard)
        elif abort:
            self._close_port(abort=True)
        return self._closing

    async def _close(self, abort: bool) -> None:
        if self._base is None:
            return
        try:
            if not self._lost and self.phase != "idle":
                async with asyncio.timeout(self._hangup_timeout):
                    await self.converse(self._hang_up_program(self.phase, self.has_dtr))
        except TimeoutError:
            _log.warning("%s: not hung up within %g s", self.name, self._hangup_timeout)
        except errors.DialError as error:
            _log.debug("%s: while hanging up: %s", self.name, error)
        finally:
            self._dialogue = None
            self._scribe.flush(self._loop.time())
            self._close_port(abort=abort)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._gone), _PORT_TIME)

    def _close_port(self, *, abort: bool) -> None:
        # Exactly one of the two, once: pyserial-asyncio tears down twice otherwise.
        if self._port_closed:
            return
        self._port_closed = True
        if abort or self._base.get_write_buffer_size():
            self._base.abort()
        else:
            self._base.close()


def closing_time(hangup_timeout: float) -> float:
    """Seconds that closing a call may take."""
    return hangup_timeout + _PORT_TIME


async def give_up(call: Call, phase: str) -> None:
    """After a dialogue that failed or was cancelled: hang up as its phase needs, close the port, wait until it is."""
    call.phase = phase
    await asyncio.shield(call.begin_close())
