"""What a port shows of itself: how far it lags behind the byte clock, and whether it takes anything at all."""

from __future__ import annotations

RETRY = 0.005
"""Seconds until a port that took nothing is asked again, at the earliest."""
RATE_WINDOW = 1.0
"""Seconds of draining by which a port's rate is judged."""

_SLOWEST = 1 / 64  # of the configured rate
_NOTICEABLE = 0.004  # seconds; a UART's FIFO and a USB adapter's buffer come and go in steps
_STALLS_ALLOWED = 3


class PortWatch:
    """Watches the port of one line. Its owner has the byte clock, and moves it as `hear` tells.

    Times are seconds of the caller's clock.

    Args:
        tolerance: seconds that the clock may be ahead of what the port holds before it is put back.
    """

    __slots__ = ("_lag", "_tolerance", "poll", "since", "stalls", "standing")

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self.begin()

    def begin(self) -> None:
        """A port has been opened: nothing is known of it."""
        self.standing = 0
        """Bytes that the port held when it was served last, where it tells."""
        self.take_heart()
        self.forget_lag()

    def take_heart(self) -> None:
        """The port has taken bytes."""
        self.stalls = 0
        """How often in a row it took nothing."""
        self.poll = 0.0
        """A port that stands still is not asked before; 0: ask as its clock says."""

    def forget_lag(self) -> None:
        """The rate that the clock goes by is another: judge anew."""
        self._lag = 0.0
        self.since: float | None = None
        """When the window began by which the rate is judged; None: the port has told nothing in it."""

    def hear(self, now: float, unsent: int, clock: float, byte_time: float) -> float:
        """The port tells what it still holds.

        Args:
            now: the time.
            unsent: bytes that it holds.
            clock: when the bytes handed to it will have left, by the byte clock.
            byte_time: seconds of a byte.

        Returns:
            How much later than `clock`, or than now where that has passed, they will really have left; below 0:
            earlier; 0: no difference that says anything.
        """
        late = now + unsent * byte_time - max(clock, now)
        moved = 0.0
        if unsent and late > max(_NOTICEABLE, 32 * byte_time):
            moved = late
            self._lag += late
        elif clock - now > self._tolerance + (unsent + 1) * byte_time:
            # The clock was put far ahead by a port that stood still, and it moves again.
            moved = now + unsent * byte_time - clock
        if not unsent or unsent < self.standing:
            self.take_heart()
        elif late > _NOTICEABLE:
            self._stalled(now)
        self.standing = unsent
        if self.since is None:
            self.since = now
        return moved

    def refused(self, now: float) -> float:
        """The port had no room though its clock was due; returns when to ask it again."""
        self._stalled(now)
        return max(self.poll, now + RETRY)

    def _stalled(self, now: float) -> None:
        # A port that takes nothing is asked less and less often. The time is fixed here and not when it is
        # asked for: new packets ask, too, and would put it off again and again.
        self.stalls += 1
        if self.stalls > _STALLS_ALLOWED:
            self.poll = now + min(0.25, 0.01 * self.stalls)

    def judge(self, now: float, rate: float, configured_rate: float, *, busy: bool) -> float | None:
        """What the line carries by the window that has passed, bit/s; None: what the clock goes by is right.

        Args:
            now: the time, at least `RATE_WINDOW` after `since`.
            rate: what the clock goes by, bit/s.
            configured_rate: what the line was said to carry, bit/s.
            busy: there was something to send all the time, so that a port that kept pace proves something.
        """
        assert self.since is not None
        share = self._lag / (now - self.since)
        self.forget_lag()
        if share > 0.1:
            slower = max(rate * max(1.0 - share, 0.25), configured_rate * _SLOWEST)
            return slower if slower < rate else None
        if share < 0.02 and busy and rate < configured_rate:
            return min(configured_rate, rate * 1.1)
        return None
