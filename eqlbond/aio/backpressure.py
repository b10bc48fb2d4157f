"""What waits while a bond is full, to go on when it has room."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from eqlbond.aio.life import Life
from eqlbond.core.bundle import Bundle
from eqlbond.exceptions import BondClosed


class Backpressure:
    """Tasks that wait to send, in the order in which they came, and functions that are called once there is room."""

    __slots__ = ("_bundle", "_life", "callbacks", "senders")

    def __init__(self, bundle: Bundle, life: Life) -> None:
        self._bundle = bundle
        self._life = life
        self.senders: deque[asyncio.Future[None]] = deque()
        self.callbacks: list[Callable[[], object]] = []

    async def wait_for_room(self) -> None:
        """Wait for one's turn. Raises `BondClosed`."""
        # A sender keeps its place until it goes, also while it is woken and has not run: nobody overtakes it.
        loop = asyncio.get_running_loop()
        senders = self.senders
        waiter = loop.create_future()
        senders.append(waiter)
        while True:
            try:
                await waiter
            except BaseException:
                waiter.cancel()
                if waiter in senders:
                    senders.remove(waiter)
                    self.wake_sender()  # the room may have been ours; the next one gets it
                raise
            self._life.check_open()
            if not self._bundle.full:
                senders.popleft()
                return
            senders[0] = waiter = loop.create_future()

    def wake_sender(self) -> None:
        """Wake the sender that has waited longest, if there is room for its packet."""
        if self.senders and not self._bundle.full and not self.senders[0].done():
            self.senders[0].set_result(None)

    def call_back(self) -> None:
        """There is room: call those who wanted to know."""
        loop = self._life.loop
        assert loop is not None
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            loop.call_soon(callback)

    def fail(self) -> None:
        """The bond closes: nobody has to wait any more."""
        self.call_back()
        while self.senders:
            waiter = self.senders.popleft()
            if not waiter.done():
                waiter.set_exception(BondClosed("the bond was closed while a packet waited to be sent"))
