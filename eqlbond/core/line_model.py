"""What a serial line does to bytes in time: one direction of one line, without a clock of its own.

A line is a sender with a small buffer, a wire that carries one byte after another, and a delay. The model answers
when each byte has left and when it has arrived. Bytes are never timed one by one: a busy period has an origin, and
byte k of it leaves at ``origin + k * bits_per_byte / rate``. Nothing is added up, so a transfer of a day ends as
exactly as one of a second, and the work is proportional to the chunks and not to the bytes.

The simulator and the pty wire are both driven by it. Times are seconds of the caller's clock, rates bit/s, sizes bytes.
Time must not run backwards between calls.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

import attrs

from eqlbond.exceptions import ConfigurationError

UNLIMITED = 2**62
"""What `LineModel.room` answers for a line without a limit on its buffer."""


class RandomSource(Protocol):
    """The part of `random.Random` that a line needs."""

    def random(self) -> float:
        """A number from 0.0 (included) to 1.0 (excluded)."""


def _check(field: str, value: object, lowest: float, wanted: str, highest: float = math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(field, f"{value!r} is not a number; give {wanted}")
    if not (lowest <= value <= highest and math.isfinite(value)):
        raise ConfigurationError(field, f"{value!r} cannot be; give {wanted}")


def _check_rate(rate: object) -> None:
    if rate is not None:
        _check("rate", rate, math.ulp(0.0), "bit/s above 0, or None for a line that is not shaped")


@attrs.frozen(kw_only=True)
class LineSpec:
    """One direction of a line. All values are checked; a wrong one raises `ConfigurationError`."""

    rate: float | None = attrs.field(default=None, kw_only=False)
    """Bit/s on the wire; None: bytes leave as soon as they are pushed."""
    bits_per_byte: float = 10
    """Bits on the wire for each byte: 10 for 8N1, 11 with parity, 8 behind a modem with error correction."""
    latency: float = 0.0
    """Seconds from a byte's leaving to its arrival."""
    jitter: float = 0.0
    """At most this many seconds more, drawn uniformly for each chunk. Bytes never overtake one another."""
    byte_error_rate: float = 0.0
    """The probability that a byte arrives changed: one bit turned, or another byte in its place."""
    loss: float = 0.0
    """The probability that a pushed chunk, or a frame in transit, does not arrive at all. It takes its time all the
    same."""
    buffer: int | None = 4096
    """Bytes that the sender takes beyond what has left; None: no limit."""

    def __attrs_post_init__(self) -> None:
        _check_rate(self.rate)
        _check("bits_per_byte", self.bits_per_byte, math.ulp(0.0), "bits above 0, 10 for 8N1")
        _check("latency", self.latency, 0.0, "seconds, 0 or more")
        _check("jitter", self.jitter, 0.0, "seconds, 0 or more")
        _check("byte_error_rate", self.byte_error_rate, 0.0, "a probability from 0 to 1", 1.0)
        _check("loss", self.loss, 0.0, "a probability from 0 to 1", 1.0)
        if self.buffer is not None:
            _check("buffer", self.buffer, 1, "bytes, 1 or more, or None for no limit")
            if not isinstance(self.buffer, int):
                raise ConfigurationError("buffer", f"{self.buffer!r} is not a whole number of bytes")

    @property
    def byte_time(self) -> float:
        """Seconds for one byte; 0.0 without a rate."""
        return 0.0 if self.rate is None else self.bits_per_byte / self.rate


class _Run:
    """Bytes that were pushed together: byte j arrives at max(floor, origin + (first + j + 1) * bits / rate + delay)."""

    __slots__ = ("bits", "data", "delay", "first", "floor", "last", "origin", "rate", "taken")

    def __init__(
        self, data: bytes, origin: float, first: int, bits: float, rate: float, delay: float, floor: float
    ) -> None:
        self.data = data
        self.origin = origin
        self.first = first
        self.bits = bits
        self.rate = rate
        self.delay = delay
        self.floor = floor
        self.taken = 0
        self.last = self.arrival(len(data) - 1)

    def arrival(self, index: int) -> float:
        due = self.origin + (self.first + index + 1) * self.bits / self.rate + self.delay
        return due if due > self.floor else self.floor

    def arrived(self, now: float) -> int:
        """Bytes of the run that have arrived by `now`, those taken before included."""
        if self.last <= now:
            return len(self.data)
        count = _passed(self.origin, self.bits, self.rate, self.delay, now, self.first + len(self.data)) - self.first
        return count if count > self.taken else self.taken


def _passed(origin: float, bits: float, rate: float, delay: float, now: float, most: int) -> int:
    """The largest k up to `most` with origin + k * bits / rate + delay <= now; 0 when there is none.

    The estimate by division may be one off, so the very expression that tells a byte's time decides: a byte
    whose time has come is there.
    """
    if origin + most * bits / rate + delay <= now:
        return most
    if origin + bits / rate + delay > now:
        return 0
    k = min(most, max(1, int((now - delay - origin) * rate / bits)))
    while k < most and origin + (k + 1) * bits / rate + delay <= now:
        k += 1
    while k > 0 and origin + k * bits / rate + delay > now:
        k -= 1
    return k


class LineModel:
    """One direction of a line, as it is at a time.

    Either feed it bytes (`push`, `pull`), or sizes alone (`transit`); both move the same clock. Every accepted byte
    is in the end delivered or lost: ``accepted_bytes == delivered_bytes + lost_bytes + in_flight``.

    Args:
        spec: what the line is.
        rng: where jitter, byte errors and loss are drawn from, such as `random.Random(seed)`. It is not asked when the
            line has none of them. Places of byte errors do not depend on how the bytes were cut into chunks,
            unless there is jitter or loss as well.
    """

    __slots__ = (
        "_bits",
        "_count",
        "_gap",
        "_last",
        "_origin",
        "_rate",
        "_rng",
        "_runs",
        "accepted_bytes",
        "corrupted_bytes",
        "delivered_bytes",
        "free",
        "is_cut",
        "lost_bytes",
        "spec",
    )

    spec: LineSpec
    """What the line is; `set_rate` changes it."""
    free: float
    """When the wire is or was idle: all that was accepted has left by then."""
    is_cut: bool
    """Whether the line is cut."""
    accepted_bytes: int
    """Bytes that `push` and `transit` took."""
    delivered_bytes: int
    """Bytes that `pull` gave, and those of frames in transit that are not lost."""
    corrupted_bytes: int
    """Bytes that a byte error hit."""
    lost_bytes: int
    """Bytes that do not arrive, by loss or by a cut."""

    def __init__(self, spec: LineSpec, rng: RandomSource) -> None:
        self.spec = spec
        self.is_cut = False
        self.accepted_bytes = self.delivered_bytes = self.corrupted_bytes = self.lost_bytes = 0
        self._rng = rng
        self._bits = spec.bits_per_byte
        self._rate = math.inf if spec.rate is None else spec.rate
        self._origin = -math.inf
        self._count = 0
        self.free = -math.inf
        self._last = -math.inf
        self._runs: deque[_Run] = deque()
        self._gap = self._draw_gap() if spec.byte_error_rate else UNLIMITED

    @property
    def in_flight(self) -> int:
        """Bytes accepted, not lost, and not pulled yet."""
        return self.accepted_bytes - self.delivered_bytes - self.lost_bytes

    # ---- the clock

    def _enter(self, size: int, now: float) -> int:
        """Put `size` bytes behind what is waiting; the index of the first one in its busy period."""
        # Bytes that come at the very end of a busy period go on with it, so that its origin still tells their times.
        if now > self.free:
            self._origin = now
            self._count = 0
        first = self._count
        self._count = first + size
        self.free = self._origin + self._count * self._bits / self._rate
        return first

    def _idle(self, now: float) -> None:
        self._origin = self.free = now
        self._count = 0

    def _released(self, now: float) -> int:
        return _passed(self._origin, self._bits, self._rate, 0.0, now, self._count) if now < self.free else self._count

    def waiting(self, now: float) -> int:
        """Bytes accepted and not yet sent: the queue that stands in front of the wire."""
        return self._count - self._released(now)

    def room(self, now: float) -> int:
        """Bytes that `push` would take now; `UNLIMITED` when the buffer has no limit."""
        buffer = self.spec.buffer
        return UNLIMITED if buffer is None else max(0, buffer - self.waiting(now))

    def time_waiting(self, size: int) -> float:
        """The time at which no more than `size` bytes are waiting, unless more is pushed."""
        return self._origin + max(0, self._count - size) * self._bits / self._rate

    def _delay(self) -> float:
        spec = self.spec
        return spec.latency + spec.jitter * self._rng.random() if spec.jitter else spec.latency

    # ---- traffic

    def push(self, data: bytes | bytearray | memoryview, now: float) -> int:
        """Give bytes to the line.

        Returns:
            How many were taken; the rest has no room and must be offered again. A cut line takes bytes at its
            usual pace, as a port does that does not know, and loses them.
        """
        size = len(data)
        buffer = self.spec.buffer
        if buffer is not None and now <= self.free and size > buffer - self._count:
            size = min(size, self.room(now))
        elif buffer is not None and size > buffer:
            size = buffer
        if not size:
            return 0
        first = self._enter(size, now)
        self.accepted_bytes += size
        spec = self.spec
        if self.is_cut or (spec.loss and self._rng.random() < spec.loss):
            self.lost_bytes += size
            return size
        chunk = bytes(data) if size == len(data) else bytes(data[:size])
        if self._gap < size:
            chunk = self._damage(chunk)
        elif spec.byte_error_rate:
            self._gap -= size
        self._append(chunk, first, self._delay())
        return size

    def _append(self, chunk: bytes, first: int, delay: float) -> None:
        run = _Run(chunk, self._origin, first, self._bits, self._rate, delay, self._last)
        self._runs.append(run)
        self._last = run.last

    def pull(self, now: float) -> bytes:
        """All bytes that have arrived by `now` and were not pulled before."""
        data = self._arrived(now)
        self.delivered_bytes += len(data)
        return data

    def _arrived(self, now: float) -> bytes:
        runs = self._runs
        if not runs:
            return b""
        pieces = []
        while runs:
            run = runs[0]
            count = run.arrived(now)
            if count > run.taken:
                pieces.append(run.data[run.taken : count])
                run.taken = count
            if count < len(run.data):
                break
            runs.popleft()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def next_arrival(self) -> float | None:
        """When the next byte to pull arrives, or has arrived; None when none is on its way."""
        return self._runs[0].arrival(self._runs[0].taken) if self._runs else None

    def last_arrival(self) -> float | None:
        """When all bytes on their way will have arrived; None when none is on its way."""
        return self._last if self._runs else None

    def arrival_of(self, size: int) -> float | None:
        """When the first `size` of the bytes on their way will all have arrived; None when they are not so many."""
        for run in self._runs:
            left = len(run.data) - run.taken
            if size <= left:
                return run.arrival(run.taken + size - 1)
            size -= left
        return None

    def transit(self, size: int, now: float) -> float | None:
        """Send a whole frame of which only the size matters, whatever the room in the buffer.

        Returns:
            The arrival of its last byte; None when it is lost: by loss, by a byte error (as a frame with a check
            sequence is), or because the line is cut. A cut or a change of rate that comes later does not change the
            answer: it is for the caller to drop or to send again what had not arrived by then.
        """
        self._enter(size, now)
        self.accepted_bytes += size
        spec = self.spec
        lost = self.is_cut or bool(spec.loss and self._rng.random() < spec.loss)
        if spec.byte_error_rate and not lost:
            lost = bool(self._hits(size))
        if lost:
            self.lost_bytes += size
            return None
        self.delivered_bytes += size
        arrival = self.free + self._delay()
        if arrival < self._last:
            return self._last
        self._last = arrival
        return arrival

    # ---- byte errors

    def _draw_gap(self) -> int:
        """Good bytes before the next bad one: a geometric draw, so that good bytes cost nothing."""
        p = self.spec.byte_error_rate
        if p >= 1.0:
            return 0
        gap = math.log(1.0 - self._rng.random()) / math.log1p(-p)
        return int(gap) if gap < UNLIMITED else UNLIMITED

    def _hits(self, size: int) -> list[tuple[int, float]]:
        """The places that are hit among the next `size` bytes, with a number that says how."""
        hits = []
        place = self._gap
        while place < size:
            hits.append((place, self._rng.random()))
            place += 1 + self._draw_gap()
        self._gap = place - size
        self.corrupted_bytes += len(hits)
        return hits

    def _damage(self, chunk: bytes) -> bytes:
        damaged = bytearray(chunk)
        for place, how in self._hits(len(chunk)):
            # Half of the hits turn one bit, half put any other byte in the place; neither leaves the byte as it was.
            damaged[place] ^= 1 << int(how * 16) if how < 0.5 else 1 + int((how - 0.5) * 510)
        return bytes(damaged)

    # ---- what happens to lines

    def cut(self, now: float) -> int:
        """Cut the line: what is waiting and what is on its way is lost; what has arrived can still be pulled.

        Returns:
            How many bytes were lost.
        """
        before = self.in_flight
        arrived = self._arrived(now)
        lost = before - len(arrived)
        self.lost_bytes += lost
        self._runs.clear()
        self._idle(now)
        self._last = now
        if arrived:
            self._runs.append(_Run(arrived, now, 0, self._bits, math.inf, 0.0, -math.inf))
        self.is_cut = True
        return lost

    def revive(self, now: float) -> None:
        """Mend a cut line. It starts empty: what was pushed while it was cut is lost. No effect on a whole line."""
        if self.is_cut:
            self.is_cut = False
            self._idle(now)

    def set_rate(self, now: float, rate: float | None) -> None:
        """Change the rate. The byte that is being sent ends as it began; those behind it go at the new rate.

        Raises:
            ConfigurationError: the rate is not above 0.
        """
        _check_rate(rate)
        released = self._released(now)
        waiting = self._count - released
        behind: list[_Run] = []
        while waiting and self._runs:
            run = self._runs[-1]
            if run.origin != self._origin or run.first + len(run.data) <= released:
                break
            behind.append(self._runs.pop())
        old_origin, old_bits, old_rate = self._origin, self._bits, self._rate
        self.spec = attrs.evolve(self.spec, rate=rate)
        self._rate = math.inf if rate is None else rate
        if not waiting:
            self._origin, self._count = self.free, 0
            return
        self._origin = old_origin + (released + 1) * old_bits / old_rate - self._bits / self._rate
        self._count = waiting
        self.free = self._origin + waiting * self._bits / self._rate
        self._last = self._runs[-1].last if self._runs else -math.inf
        for run in reversed(behind):
            gone = max(0, released - run.first)
            if gone:
                head = _Run(run.data[:gone], run.origin, run.first, run.bits, run.rate, run.delay, run.floor)
                head.taken = run.taken
                if head.taken < gone:
                    self._runs.append(head)
            self._append(run.data[gone:], max(0, run.first - released), run.delay)
