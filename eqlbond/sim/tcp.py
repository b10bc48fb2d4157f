"""A TCP-like transfer, so that reordering costs what it costs.

Sender: sliding window, slow start and congestion avoidance (RFC 5681), growth by Reno's rule or by CUBIC (RFC 9438),
fast retransmit and NewReno's fast recovery (RFC 6582), retransmission timer (RFC 6298). Receiver: cumulative and
delayed ACKs, at once for anything out of order. There is no SACK and no handshake. With `adapts` the sender learns from
duplicate reports (RFC 2883, 3708) that it was reordering and not loss, undoes its reduction, and waits for more
duplicate ACKs the next time, as Linux does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import attrs

from eqlbond.exceptions import ConfigurationError
from eqlbond.sim.workload import count, positive

if TYPE_CHECKING:
    from eqlbond.sim.engine import Run

_FIRST_RTO = 1.0
_LONGEST_RTO = 60.0
_MOST_TIMEOUTS = 15  # in a row; then the connection is given up, as Linux does
_DUPLICATES = 3
_MOST_DUPLICATES = 300


@attrs.frozen
class Tcp:
    """One file over one connection from end a to end b; ACKs go back through the other end's bond.

    `Result.extra` has ``file_bytes``, ``retransmits``, ``spurious`` (what came twice), ``fast_retransmits`` and
    ``timeouts``. `Result.efficiency` counts every segment once, so it is the share of what is possible after headers
    and framing.

    Args:
        size: bytes of the file.
        mss: bytes of the file in one segment; None: the MTU less the headers.
        headers: bytes of TCP and IP headers in each segment; an ACK is nothing else.
        window: what the receiver takes beyond what it has acknowledged, bytes.
        initial_window: segments.
        congestion: ``cubic`` or ``reno``.
        delayed_ack: seconds for which an ACK waits for a second segment; 0: every segment is acknowledged.
        min_rto: least retransmission time-out, seconds.
        adapts: whether the sender learns that packets are reordered.
    """

    size: int = 289284
    mss: int | None = attrs.field(default=None, kw_only=True)
    headers: int = attrs.field(default=40, kw_only=True)
    window: int = attrs.field(default=65535, kw_only=True)
    initial_window: int = attrs.field(default=10, kw_only=True)
    congestion: Literal["cubic", "reno"] = attrs.field(default="cubic", kw_only=True)
    delayed_ack: float = attrs.field(default=0.04, kw_only=True)
    min_rto: float = attrs.field(default=0.2, kw_only=True)
    adapts: bool = attrs.field(default=False, kw_only=True)

    def start(self, run: Run) -> None:
        """Begin."""
        count("size", self.size)
        count("headers", self.headers)
        count("initial_window", self.initial_window)
        run.check_size("headers", self.headers)
        mss = run.mtu - self.headers if self.mss is None else self.mss
        count("mss", mss)
        run.check_size("mss", mss + self.headers)
        positive("delayed_ack", self.delayed_ack, zero=True)
        positive("min_rto", self.min_rto)
        if self.congestion not in ("cubic", "reno"):
            raise ConfigurationError("congestion", f"'cubic' or 'reno', not {self.congestion!r}")
        if isinstance(self.window, bool) or not isinstance(self.window, int) or self.window < mss:
            raise ConfigurationError("window", f"bytes from one segment ({mss}) on, not {self.window!r}")
        receiver = _Receiver(run, self)
        sender = _Sender(run, self, mss)
        run.on_delivery(1, receiver.segment)
        run.on_delivery(0, sender.acknowledged)
        run.extra["file_bytes"] = self.size
        sender.pump()


class _Growth(Protocol):
    """How the window grows in congestion avoidance, and what is left of it after a loss."""

    def reduce(self, window: float) -> float: ...

    def grow(self, window: float, acked: int, now: float, rtt: float) -> float: ...


class _Reno:
    def __init__(self, mss: int) -> None:
        self._mss = mss

    def reduce(self, window: float) -> float:
        return max(window / 2, 2.0 * self._mss)

    def grow(self, window: float, acked: int, now: float, rtt: float) -> float:
        return window + self._mss * min(acked, self._mss) / window


class _Cubic:
    """RFC 9438, sections 4.1 to 4.7; windows in segments."""

    _C = 0.4
    _BETA = 0.7

    def __init__(self, mss: int) -> None:
        self._mss = mss
        self._highest = 0.0
        self._since: float | None = None
        self._k = 0.0
        self._friendly = 0.0

    def reduce(self, window: float) -> float:
        segments = window / self._mss
        self._highest = segments * (1 + self._BETA) / 2 if segments < self._highest else segments
        self._since = None
        return max(segments * self._BETA, 2.0) * self._mss

    def grow(self, window: float, acked: int, now: float, rtt: float) -> float:
        segments = window / self._mss
        if self._since is None:
            self._since = now
            self._friendly = segments
            self._k = (max(0.0, self._highest - segments) / self._C) ** (1 / 3)
            self._highest = max(self._highest, segments)
        time = now - self._since + rtt - self._k
        target = min(max(self._C * time**3 + self._highest, segments), 1.5 * segments)
        share = acked / self._mss
        self._friendly += 3 * (1 - self._BETA) / (1 + self._BETA) * share / segments
        grown = segments + (target - segments) / segments * share
        return max(grown, self._friendly) * self._mss


class _Receiver:
    def __init__(self, run: Run, tcp: Tcp) -> None:
        self._run = run
        self._headers = tcp.headers
        self._delay = tcp.delayed_ack
        self._next = 0
        self._held: dict[int, int] = {}  # first byte -> behind the last
        self._owed = 0
        self._timer = 0

    def segment(self, number: int, data: tuple[int, int]) -> None:
        first, behind = data
        if behind <= self._next or first in self._held:
            self._run.useless(number)
            self._acknowledge(duplicate=True)
        elif first == self._next:
            gap = bool(self._held)
            self._next = behind
            while self._next in self._held:
                self._next = self._held.pop(self._next)
            self._owed += 1
            if gap or self._owed >= 2 or not self._delay:
                self._acknowledge()
            else:
                self._timer += 1
                self._run.at(self._run.now + self._delay, self._late, self._timer)
        else:
            self._held[first] = behind
            self._acknowledge()

    def _late(self, timer: int) -> None:
        if timer == self._timer and self._owed:
            self._acknowledge()

    def _acknowledge(self, duplicate: bool = False) -> None:
        self._owed = 0
        self._timer += 1
        self._run.send(1, self._headers, (self._next, duplicate))


class _Sender:
    def __init__(self, run: Run, tcp: Tcp, mss: int) -> None:
        self._run = run
        self._tcp = tcp
        self._mss = mss
        self._una = self._next = self._highest = 0
        self._cwnd = float(tcp.initial_window * mss)
        self._ssthresh = float("inf")
        self._growth: _Growth = _Cubic(mss) if tcp.congestion == "cubic" else _Reno(mss)
        self._duplicates = 0
        self._enough = _DUPLICATES
        self._recover: int | None = None  # in fast recovery: up to here
        self._resend_below = 0  # after a time-out no fast retransmit below this
        self._before: tuple[float, float] | None = None  # the windows as they were before the last reduction
        self._patience = 0
        self._srtt = self._rttvar = 0.0
        self._rto = _FIRST_RTO
        self._timed: tuple[int, float] | None = None  # a segment's end and when it went
        self._timer = 0
        self._armed = False
        self._timeouts = 0
        self._waits = False
        for name in ("retransmits", "spurious", "fast_retransmits", "timeouts"):
            run.extra[name] = 0

    def pump(self) -> None:
        """Send what the windows and the bond allow."""
        run, size = self._run, self._tcp.size
        while self._next < size:
            behind = min(self._next + self._mss, size)
            if behind - self._una > min(self._cwnd, self._tcp.window) and self._next > self._una:
                break
            if run.full(0):
                self._wait(True)
                return
            self._send(self._next)
            self._next = behind
        self._wait(False)

    def _wait(self, waits: bool) -> None:
        if waits != self._waits:
            self._waits = waits
            self._run.fill(0, self.pump if waits else None)

    def _send(self, first: int) -> None:
        run = self._run
        behind = min(first + self._mss, self._tcp.size)
        if first < self._highest:
            run.extra["retransmits"] += 1
            self._timed = None  # Karn: what went twice tells nothing about the time
        elif self._timed is None:
            self._timed = (behind, run.now)
        self._highest = max(self._highest, behind)
        run.send(0, behind - first + self._tcp.headers, (first, behind))
        if not self._armed:
            self._restart_timer()

    # -- acknowledgements

    def acknowledged(self, number: int, data: tuple[int, bool]) -> None:
        """An ACK has come."""
        ack, duplicate = data
        if duplicate:
            self._came_twice()
        if ack > self._una:
            self._advance(ack)
        elif ack == self._una and self._next > self._una and not duplicate:
            self._duplicate()
        if self._una >= self._tcp.size:
            self._armed = False
            self._run.done = True
            return
        self.pump()

    def _advance(self, ack: int) -> None:
        now = self._run.now
        acked = ack - self._una
        self._una = ack
        self._next = max(self._next, ack)
        self._timeouts = 0
        if self._timed is not None and ack >= self._timed[0]:
            self._sample(now - self._timed[1])
            self._timed = None
        if self._recover is None:
            self._patience = max(self._patience, self._duplicates)
            self._duplicates = 0
            if self._cwnd < self._ssthresh:
                self._cwnd += min(acked, 2 * self._mss)
            else:
                self._cwnd = self._growth.grow(self._cwnd, acked, now, self._srtt)
            self._cwnd = min(self._cwnd, 2.0 * self._tcp.window)
        elif ack >= self._recover:
            self._patience = max(self._patience, self._duplicates)
            self._recover = None
            self._duplicates = 0
            self._cwnd = min(self._ssthresh, max(self._next - ack, self._mss) + self._mss)
        else:  # a partial ACK: the next hole is lost, too
            self._send(ack)
            self._cwnd = max(self._cwnd - acked + (self._mss if acked >= self._mss else 0), self._mss)
        self._restart_timer()

    def _duplicate(self) -> None:
        self._duplicates += 1
        if self._recover is not None:
            self._cwnd += self._mss
        elif self._duplicates >= self._enough and self._una >= self._resend_below:
            self._run.extra["fast_retransmits"] += 1
            self._before = (self._cwnd, self._ssthresh)
            self._ssthresh = self._growth.reduce(min(self._cwnd, float(self._next - self._una)))
            self._recover = self._next
            self._send(self._una)
            self._cwnd = self._ssthresh + self._enough * self._mss

    def _came_twice(self) -> None:
        self._run.extra["spurious"] += 1
        if self._tcp.adapts and self._before is not None:
            self._cwnd, self._ssthresh = max(self._cwnd, self._before[0]), max(self._ssthresh, self._before[1])
            self._before = None
            self._recover = None
            self._enough = min(max(self._enough + 1, self._patience + 1, self._duplicates + 1), _MOST_DUPLICATES)
            self._duplicates = 0

    # -- the timer (RFC 6298)

    def _sample(self, rtt: float) -> None:
        if self._srtt == 0.0:
            self._srtt, self._rttvar = rtt, rtt / 2
        else:
            self._rttvar += (abs(self._srtt - rtt) - self._rttvar) / 4
            self._srtt += (rtt - self._srtt) / 8
        self._rto = min(max(self._srtt + 4 * self._rttvar, self._tcp.min_rto), _LONGEST_RTO)

    def _restart_timer(self) -> None:
        self._timer += 1
        self._armed = True
        self._run.at(self._run.now + self._rto, self._expired, self._timer)

    def _expired(self, timer: int) -> None:
        if timer != self._timer or not self._armed:
            return
        if self._una == self._highest:
            self._armed = False
            return
        run = self._run
        run.extra["timeouts"] += 1
        self._timeouts += 1
        if self._timeouts > _MOST_TIMEOUTS:
            run.stalled(f"the TCP sender gives up: byte {self._una} was sent in vain {self._timeouts} times")
        self._ssthresh = self._growth.reduce(float(self._next - self._una))
        self._cwnd = float(self._mss)
        self._resend_below = self._highest
        self._before = self._recover = self._timed = None
        self._duplicates = 0
        self._next = self._una
        self._rto = min(2 * self._rto, _LONGEST_RTO)
        self._restart_timer()
        self.pump()
