"""A pty wire that runs in a thread, for tests that block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

from eqlbond.aio.ptywire import PtyWire
from eqlbond.core.line_model import LineSpec


class BackgroundWire:
    """A context manager; `lines` has the devices of each line by the name of the end."""

    def __init__(self, specs: Sequence[LineSpec]) -> None:
        self._specs = list(specs)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wire: PtyWire | None = None
        self.lines: list[dict[str, str]] = []

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        async with PtyWire(self._specs) as wire:
            self._wire = wire
            self.lines = [{"a": line.a, "b": line.b} for line in wire.lines]
            self._ready.set()
            await self._done.wait()

    def call(self, function: Callable[[PtyWire], object]) -> None:
        """Call the function with the wire, in its thread, and wait for that."""
        done = threading.Event()

        def there() -> None:
            assert self._wire is not None
            function(self._wire)
            done.set()

        assert self._loop is not None
        self._loop.call_soon_threadsafe(there)
        assert done.wait(10)

    def __enter__(self) -> BackgroundWire:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)
        assert not self._thread.is_alive()
