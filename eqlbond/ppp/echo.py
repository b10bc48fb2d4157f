"""Whether the peer is still there: Echo-Requests counted (RFC 1661 section 5.8)."""

from __future__ import annotations


class Liveness:
    """Asks every `interval` seconds, and gives the peer up after `failure` requests without a sign of life.

    An unanswered request counts in full when nothing else arrived either, and a third when other frames did: then the
    reply may stand in the peer's queue, but our own direction may be dead as well. The count of a request begins
    when it has left our port (`sent`, `hold`), so that no line is given up for what our own queue explains. A port from
    which nothing leaves at all is believed for `failure` intervals.

    When all before it met with silence, the last request is waited for half an interval where the round trip is known
    to be a small part of that: so a line that is cut is found within `failure` intervals, wherever in an interval
    it was cut.
    """

    _SILENT = 3
    _LAST_WAIT = 0.5  # intervals
    _SMALL = 0.125  # intervals
    _UNANSWERED = 1

    def __init__(self, interval: float, failure: int) -> None:
        self.interval = interval
        """Seconds between requests; 0: never ask."""
        self.failure = failure
        self.round_trip: float | None = None
        """Seconds between the latest answered request's leaving and its reply."""
        self._due: float | None = None
        self._left: float | None = None
        self._identifier: int | None = None
        self._heard = True
        self._score = 0
        self._stuck = 0  # how often in a row nothing had left the port
        self._gone = -1

    @property
    def next_deadline(self) -> float | None:
        """When `tick` is due, or None."""
        return self._due

    @property
    def unanswered(self) -> int:
        """How many requests in a row the silence has lasted."""
        return self._score // self._SILENT

    def start(self, now: float) -> None:
        """The link is open."""
        self.stop()
        if self.interval > 0:
            self._due = now + self.interval

    def stop(self) -> None:
        """The link is open no longer."""
        self._due = self._left = self._identifier = None
        self._score = self._stuck = 0

    def tick(self, now: float) -> bool | None:
        """Do what is due: True to send a request, False when the peer is given up, None when nothing is due."""
        if self._due is None or now < self._due:
            return None
        if self._left is not None:
            if self._heard and now < self._left + self.interval:
                self._due = self._left + self.interval
                return None
            self._score += self._UNANSWERED if self._heard else self._SILENT
            if self._score >= self.failure * self._SILENT:
                self._due = None
                return False
        return True

    def sent(self, identifier: int, now: float, queue_delay: float) -> None:
        """A request goes out and leaves the port in `queue_delay` seconds."""
        self._identifier = identifier
        self._left = now + max(0.0, queue_delay)
        self._heard = False
        self._due = self._left + self._wait()

    def hold(self, now: float, until: float, gone: int) -> None:
        """The request that is out has not left the port yet and will not before `until`; `gone`: bytes that have."""
        if self._left is None or self._due is None or now < self._due:
            return
        self._stuck = self._stuck + 1 if gone == self._gone else 0
        self._gone = gone
        if self._stuck <= self.failure:
            self._left = max(now, until)
            self._due = self._left + self._wait()

    def _wait(self) -> float:
        """How long the request that is out is waited for, seconds."""
        last = self._score and self._score == (self.failure - 1) * self._SILENT
        near = self.round_trip is not None and self.round_trip <= self._SMALL * self.interval
        return self.interval * (self._LAST_WAIT if last and near else 1.0)

    def heard(self) -> None:
        """Some good frame of the peer's arrived."""
        self._heard = True

    def replied(self, identifier: int, now: float) -> None:
        """An Echo-Reply arrived."""
        self._score = self._stuck = 0
        if identifier == self._identifier and self._left is not None:
            self.round_trip = max(0.0, now - self._left)
            self._left = None
