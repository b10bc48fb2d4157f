"""Lines in memory on a virtual clock, for tests of the asyncio shell.

Time passes only where every task waits for it (async-solipsism), and a test in which nothing could happen any more
fails at once. After the test nothing may be left: no task, no timer, no error told to the loop's exception handler.
"""

from __future__ import annotations

import asyncio
import functools
import gc
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec

import async_solipsism

from eqlbond.aio.slave import Slave

P = ParamSpec("P")


def check_nothing_left(loop: asyncio.AbstractEventLoop, before: set[asyncio.Task[Any]]) -> None:
    """No task but those of `before`, and no timer that is still to come."""
    tasks = {task for task in asyncio.all_tasks(loop) if not task.done()} - before
    assert not tasks, f"tasks are left: {tasks}"
    timers = [handle for handle in getattr(loop, "_scheduled", ()) if not handle.cancelled()]
    assert not timers, f"timers are left: {timers}"


def drive(
    test: Callable[[], Awaitable[None]], loop_factory: Callable[[], asyncio.AbstractEventLoop], *, errors: bool = False
) -> list[dict[str, Any]]:
    """Run the test; what the loop's exception handler was told fails it, or with `errors` is returned."""
    told: list[dict[str, Any]] = []

    async def whole() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context))
        me = asyncio.current_task()
        assert me is not None
        await test()
        for _ in range(5):
            await asyncio.sleep(0)
        check_nothing_left(loop, {me})

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(whole())
    gc.collect()  # "exception was never retrieved" is told when the future goes
    if told and not errors:
        cause = next((context["exception"] for context in told if "exception" in context), None)
        raise AssertionError(f"the loop's exception handler was told: {told}") from cause
    return told


def virtual_loop() -> asyncio.AbstractEventLoop:
    """A loop on a virtual clock of whole microseconds, which goes on by at least one."""
    loop: asyncio.AbstractEventLoop = async_solipsism.EventLoop()
    clock = loop._selector.clock  # type: ignore[attr-defined]
    advance = clock.advance
    clock.advance = lambda seconds: advance(max(seconds, clock.resolution))
    return loop


def virtual(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an async test on a virtual clock."""

    @functools.wraps(test)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        drive(lambda: test(*arguments, **options), virtual_loop)

    return run


class MemoryTransport(asyncio.Transport):
    """One end of a line. What is written arrives at the other end after the line's delay.

    While the end is `held` the bytes stay in the transport's buffer, and pause and resume the protocol as asyncio says.
    """

    def __init__(self, end: End, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.end = end
        self.protocol = protocol
        self.loop = asyncio.get_running_loop()
        self.written: list[tuple[float, int]] = []
        self.closed_by: list[str] = []
        self.gone = False
        self._buffer = b""
        self._high, self._low = 65536, 16384
        self._paused = False
        self.pauses = 0
        self.on_write: Callable[[], object] | None = None  # called once, soon after the next write

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        assert low is not None
        self._high, self._low = high, low

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def is_closing(self) -> bool:
        return bool(self.closed_by)

    def write(self, data: Any) -> None:
        assert data, "an empty write breaks pyserial-asyncio"
        if self.closed_by:
            return
        self.written.append((self.loop.time(), len(data)))
        if self.on_write is not None:
            self.loop.call_soon(self.on_write)
            self.on_write = None
        self._buffer += data
        if not self.end.held:
            self.take()
        elif len(self._buffer) > self._high and not self._paused:
            self._paused = True
            self.pauses += 1
            self.protocol.pause_writing()

    def take(self, most: int | None = None) -> None:
        """Bytes leave the buffer, for the other end."""
        data = self._buffer if most is None else self._buffer[:most]
        self._buffer = self._buffer[len(data) :]
        if data:
            self.end.carry(data)
        if self._paused and len(self._buffer) <= self._low:
            self._paused = False
            self.protocol.resume_writing()
        if self.closed_by and not self._buffer:
            self._lose(None)

    def close(self) -> None:
        if not self.closed_by:
            self.closed_by.append("close")
            if not self._buffer:
                self._lose(None)

    def abort(self) -> None:
        self.closed_by.append("abort")
        self._buffer = b""
        self._lose(None)

    def fail(self, error: BaseException | None) -> None:
        """The line is gone."""
        self.closed_by.append("fail")
        self._lose(error)

    def _lose(self, error: BaseException | None) -> None:
        if not self.gone and not self.end.deaf:
            self.gone = True
            self.loop.call_soon(self._tell_lost, error)

    def _tell_lost(self, error: BaseException | None) -> None:
        if self.end.transport is self:
            self.end.transport = None
        self.protocol.connection_lost(error)  # type: ignore[arg-type]


class End:
    """One end of a line in memory: opens, fails to open, or hangs while it opens."""

    def __init__(self, delay: float) -> None:
        self.other: End = self
        self.delay = delay
        self.held = False
        self.deaf = False  # never tells that the connection is lost
        self.error: BaseException | None = None  # raised by the next openings
        self.open_time = 0.0
        self.closes_at_once = False
        self.opened = 0
        self.transport: MemoryTransport | None = None
        self.transports: list[MemoryTransport] = []
        self.on_the_way: deque[bytes] = deque()

    async def connect(self, factory: Callable[[], asyncio.Protocol]) -> tuple[asyncio.Transport, asyncio.Protocol]:
        if self.open_time:
            await asyncio.sleep(self.open_time)
        if self.error is not None:
            raise self.error
        assert self.transport is None, "opened twice"
        self.opened += 1
        protocol = factory()
        transport = self.transport = MemoryTransport(self, protocol)
        self.transports.append(transport)
        if self.closes_at_once:
            transport.fail(None)
        else:
            transport.loop.call_soon(protocol.connection_made, transport)
        return transport, protocol

    def slave(self, rate: float | None = 57600, **options: Any) -> Slave:
        return Slave(self.connect, rate=rate, **options)

    def carry(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.on_the_way.append(data)
        if self.delay:
            loop.call_later(self.delay, self.other.arrive)
        else:
            loop.call_soon(self.other.arrive)

    def arrive(self) -> None:
        data = self.other.on_the_way.popleft()  # in order, which timers that are due at one time do not keep
        if self.transport is not None and not self.transport.closed_by:
            self.transport.protocol.data_received(data)


class Cable:
    """A line in memory."""

    def __init__(self, delay: float = 0.0) -> None:
        self.a, self.b = End(delay), End(delay)
        self.a.other, self.b.other = self.b, self.a


def cables(count: int, delay: float = 0.0) -> list[Cable]:
    """Several lines."""
    return [Cable(delay) for _ in range(count)]
