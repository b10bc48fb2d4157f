"""How the events of a bond reach those who want to know: streams, and tasks that wait for a change."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterable

from eqlbond.aio.life import Life
from eqlbond.events import Event

_EVENTS_KEPT = 1000


class EventStream:
    """The events of a bond from the moment of `Master.events()` on; an async iterator.

    It ends when the bond closes. A reader that falls 1000 events behind loses the oldest; `missed` counts them.
    One task reads from a stream; several tasks take a stream each.
    """

    def __init__(self, hub: EventHub) -> None:
        self._hub = hub
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
            self._hub.awaited.add(self)
            try:
                await self._waiter
            finally:
                self._waiter = None
                self._hub.awaited.discard(self)
        return self._events.popleft()

    def close(self) -> None:
        """Stop listening."""
        self._hub.streams.discard(self)
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


class EventHub:
    """Hands each event of a bond to all its streams, and wakes the tasks that wait for a change."""

    def __init__(self, life: Life) -> None:
        self._life = life
        # A stream that nobody holds any more goes by itself; one that is waited for is held here.
        self.streams: weakref.WeakSet[EventStream] = weakref.WeakSet()
        self.awaited: set[EventStream] = set()
        self.watchers: set[asyncio.Future[None]] = set()

    def stream(self) -> EventStream:
        """A new stream; it has ended already where the bond is closed."""
        stream = EventStream(self)
        if self._life.closed:
            stream._end()
        else:
            self.streams.add(stream)
        return stream

    def publish(self, events: list[Event]) -> None:
        """These have happened."""
        for stream in list(self.streams):
            stream._put(events)
        self.wake_watchers()

    async def changed(self) -> None:
        """Wait until something has happened, or the bond has ended."""
        waiter = asyncio.get_running_loop().create_future()
        self.watchers.add(waiter)
        try:
            await waiter
        finally:
            self.watchers.discard(waiter)

    def wake_watchers(self) -> None:
        """Let those that wait for a change look again."""
        for waiter in self.watchers:
            if not waiter.done():
                waiter.set_result(None)

    def end(self) -> None:
        """End the streams: nothing more will happen."""
        for stream in list(self.streams):
            stream._end()
        self.streams.clear()
        self.wake_watchers()
