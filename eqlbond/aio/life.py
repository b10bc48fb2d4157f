"""Where a bond stands between being made and being closed, and its clock."""

from __future__ import annotations

import asyncio

from eqlbond.exceptions import BondClosed


class Life:
    """What all parts of a `Master` have to know of each other: whether the bond is open, and what time it is."""

    __slots__ = ("closed", "ended", "loop")

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        """The loop that the bond was opened in; None: it was not opened yet."""
        self.closed = False
        """From the beginning of closing on."""
        self.ended = False
        """All ports are closed."""

    @property
    def gone(self) -> bool:
        """Whether the bond's loop was closed under it."""
        return self.loop is not None and self.loop.is_closed()

    def now(self) -> float:
        """Seconds of the loop's clock; 0 while there is none."""
        return 0.0 if self.loop is None else self.loop.time()

    def check_open(self) -> None:
        """See that the bond is open. Raises `BondClosed`."""
        if self.closed:
            raise BondClosed("the bond is closed")
        if self.loop is None:
            raise BondClosed("the bond is not open yet: use 'async with' or await open()")
