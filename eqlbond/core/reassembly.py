"""The receiving end of Multilink: fragments of all links back into packets, in order (RFC 1990 section 4).

A fragment is lost for sure when every link has delivered one with a higher number (the RFC's M rule). A link that is
idle or silent would stall that rule for ever, so there is a timer as well: what waits behind a gap waits no longer
than `patience` seconds from its own arrival, or from the last fragment that came in its turn: a link that brings those
is working off a queue of its own, and the missing one may stand in it. (A kernel's serial port holds 4096 bytes and
more, which is more than 4 s at 9600 bit/s.) Nothing is delivered out of order, twice, or with a piece missing.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heappop, heappush
from math import inf

import attrs

from eqlbond.codec.multilink import BEGIN, END, decode_header, header_size, sequence_space
from eqlbond.exceptions import ConfigurationError

MOST_FRAGMENTS = 4096
GRACE = 0.1
"""Seconds. A deadline that is noticed later than that was overslept, on a busy machine: what came meanwhile may still
stand in the ports, so it gets as much time to be read before it is taken for lost."""
_FAR = 16384
"""Fragments ahead that nobody has on the way, and a number whose error the check has not found may be."""
_WHOLE = BEGIN | END


@attrs.define
class LinkCounts:
    """What one link has brought."""

    received: int = 0
    """Fragments."""
    duplicates: int = 0
    """Of these: came again, or after they had been given up."""
    lost: int = 0
    """Fragments that never came and that only this link can have lost: all others were past them."""


class Reassembler:
    """Puts the fragments of a bundle in order and together.

    Args:
        mrru: the largest packet, bytes, its protocol field not counted.
        short: short sequence numbers (12 bits) instead of long ones (24).
        patience: seconds that what has arrived may wait for what is missing in front of it, with nothing in its turn.
        most_bytes: the most that may wait, bytes; beyond it the oldest gap is given up.

    Counters, in `counters`, by reason:

    - ``lost``: fragments that never came. ``given up``: gaps closed by the timer. ``overflow``: gaps closed for room.
    - ``late``: fragments that came after they had been given up. ``duplicate``: came twice.
    - ``incomplete``: packets of which a fragment is missing. ``orphan``: fragments of such packets, dropped.
    - ``too long``: packets over the MRRU. ``malformed``: no header.
    - ``out of window``: half the space or more ahead; or very far ahead, and its link has not gone on from there yet.
    - ``restarted``: the peer began its numbers anew: a link that has just joined brought one from before it joined.
    - ``null``: fragments without data, which only move the sequence on.
    """

    def __init__(self, mrru: int, *, short: bool = False, patience: float = 1.0, most_bytes: int = 1 << 18) -> None:
        if mrru < 1:
            raise ConfigurationError("mrru", f"bytes from 1, not {mrru!r}")
        self.patience = patience
        self.counters: dict[str, int] = {}
        self._mrru = mrru + 2  # a protocol field may have two bytes
        self._short = short
        self._header = header_size(short)
        self._space = sequence_space(short)
        self._half = self._space // 2
        self._most_bytes = most_bytes
        self._most_fragments = min(MOST_FRAGMENTS, self._half)
        self._next = 0  # numbers are counted on without wrapping
        self._last: dict[Hashable, int] = {}
        self._counts: dict[Hashable, LinkCounts] = {}
        self._fresh: dict[Hashable, int] = {}  # links that have delivered nothing yet: what was next as they joined
        self._doubted: dict[Hashable, int] = {}  # links whose latest fragment was very far ahead: its number
        self._gone: list[tuple[float, int]] = []  # links that have left: until when and from what number on they count
        self._waiting: dict[int, tuple[int, bytes, float]] = {}  # number: flags, data, arrival
        self._numbers: list[int] = []  # a heap of the keys of _waiting
        self._held = 0
        self._progress = -inf  # when a fragment last came in its turn, while others waited behind it
        self._overslept = -inf  # when that was noticed last; what has come since may have another GRACE
        self._parts: list[bytes] | None = None
        self._size = 0

    @property
    def held(self) -> int:
        """Bytes that wait for something in front of them."""
        return self._held

    @property
    def expected(self) -> int:
        """The number, not wrapped, of the fragment that is delivered next."""
        return self._next

    def add_link(self, link: Hashable, counts: LinkCounts | None = None) -> None:
        """A link joins the bundle; what it brings is counted in `counts`."""
        # It has delivered nothing: until it does, only the timer tells losses (section 4.1 leaves this open).
        self._last[link] = self._next - 1
        self._counts[link] = LinkCounts() if counts is None else counts
        self._fresh[link] = self._next

    def remove_link(self, link: Hashable, now: float) -> list[bytes]:
        """A link leaves the bundle; with the last one, returns what still waited.

        For as long as the patience lasts the others cannot tell by their numbers what is lost: what the link had not
        delivered may be on its way again by one of them.
        """
        last = self._last.pop(link, None)
        self._counts.pop(link, None)
        self._fresh.pop(link, None)
        self._doubted.pop(link, None)
        if last is not None:
            self._gone.append((now + self.patience, last))
        packets: list[bytes] = []
        if self._waiting:
            self._close_gaps(now, packets)
        return packets

    def receive(self, link: Hashable, payload: bytes, now: float) -> list[bytes]:
        """Take a fragment, MP header included; returns the packets that it completes, protocol field included."""
        header = decode_header(payload, self._short)
        if header is None:
            self._count("malformed")
            return []
        flags, number = header
        counts = self._counts[link]
        counts.received += 1
        expected = self._next
        ahead = (number - expected) % self._space
        if ahead == 0 and flags == _WHOLE and not self._waiting and self._parts is None:
            self._last[link] = expected
            self._next = expected + 1
            return self._whole(payload[self._header :])
        new = False
        if self._fresh and link in self._fresh:
            joined = self._fresh.pop(link)
            new = self._last[link] < joined
            # What is sent on a new connection is not older than it: the peer has lost the bundle and begun another.
            if ahead >= self._half and self._space - ahead > expected - joined:
                self._restart()
                expected, ahead = 0, number
        if ahead >= self._half:
            counts.duplicates += 1
            if ahead - self._space + expected >= 0:
                self._count("late")
            else:
                self._count("out of window")
            return []
        if ahead > _FAR and not new and not self._goes_on(link, number):
            self._count("out of window")
            return []
        number = expected + ahead
        self._last[link] = number
        if number in self._waiting:
            counts.duplicates += 1
            self._count("duplicate")
            return []
        data = payload[self._header :]
        packets: list[bytes] = []
        if ahead == 0:
            self._next += 1
            self._append(flags, data, packets)
            if self._numbers:
                self._progress = now
                self._run(packets)
        else:
            self._waiting[number] = flags, data, now
            heappush(self._numbers, number)
            self._held += len(data)
        if self._waiting:
            self._close_gaps(now, packets)
        return packets

    def _goes_on(self, link: Hashable, number: int) -> bool:
        """Whether the link was as far ahead before: one wrong number would have all good ones come too late."""
        doubted = self._doubted.pop(link, None)
        if doubted is not None and 0 < (number - doubted) % self._space <= _FAR:
            return True
        self._doubted[link] = number
        return False

    def next_deadline(self) -> float | None:
        """When `tick` wants to be called; None: nothing waits."""
        return self._due(self._numbers[0]) if self._numbers else None

    def _due(self, first: int) -> float:
        """When what `first` waits for is given up."""
        patience = self.patience
        return max(self._waiting[first][2], self._progress, self._overslept + GRACE - patience) + patience

    def tick(self, now: float) -> list[bytes]:
        """Give up gaps that what is behind them has waited long enough for; returns the packets set free."""
        packets: list[bytes] = []
        self._close_gaps(now, packets)
        return packets

    def _restart(self) -> None:
        """The peer counts from 0 again (RFC 1990 section 3); which of its fragments arrived first says nothing."""
        self._count("restarted")
        self._waiting.clear()
        self._numbers.clear()
        self._held = 0
        if self._parts is not None:
            self._count("incomplete")
            self._parts = None
        self._next = 0
        self._last = dict.fromkeys(self._last, -1)
        self._fresh = dict.fromkeys(self._fresh, 0)
        self._gone.clear()

    def _whole(self, data: bytes) -> list[bytes]:
        if not data:
            self._count("null")
            return []
        if len(data) > self._mrru:
            self._count("too long")
            return []
        return [data]

    def _append(self, flags: int, data: bytes, packets: list[bytes]) -> None:
        """The fragment is next in order."""
        if flags & BEGIN:
            if self._parts is not None:
                self._count("incomplete")
            self._parts = []
            self._size = 0
        elif self._parts is None:
            self._count("orphan")
            return
        self._size += len(data)
        if self._size > self._mrru:
            self._count("too long")
            self._parts = None
            return
        if data:
            self._parts.append(data)
        if flags & END:
            if self._size:
                packets.append(b"".join(self._parts))
            else:
                self._count("null")
            self._parts = None

    def _run(self, packets: list[bytes]) -> None:
        """Go on with what waits and is next now."""
        numbers = self._numbers
        waiting = self._waiting
        while numbers and numbers[0] == self._next:
            flags, data, _ = waiting.pop(heappop(numbers))
            size = len(data)
            self._held -= size
            self._next += 1
            if flags == _WHOLE and self._parts is None and 0 < size <= self._mrru:
                packets.append(data)
            else:
                self._append(flags, data, packets)

    def _close_gaps(self, now: float, packets: list[bytes]) -> None:
        if self._gone:
            self._gone = [each for each in self._gone if each[0] > now]
        while self._numbers:
            first = self._numbers[0]
            if first - 1 <= self._everyone_has(first):
                self._skip(first, "lost by rule")
            elif (due := self._due(first)) <= now:
                if now > due + GRACE and self._waiting[first][2] > self._overslept:
                    self._overslept = now
                    return
                self._skip(first, "given up")
            elif self._held > self._most_bytes or len(self._waiting) > self._most_fragments:
                self._skip(first, "overflow")
            else:
                return
            self._run(packets)

    def _everyone_has(self, number: int) -> int:
        """M: what every link has delivered or passed; `number` where there is no link left."""
        if not self._last:
            return number
        least = min(self._last.values())
        for _, last in self._gone:
            least = min(least, last)
        return least

    def _skip(self, number: int, reason: str) -> None:
        """Whatever is missing before `number` will not be waited for."""
        self._count("lost", number - self._next)
        if self._last:
            behind = [link for link, last in self._last.items() if last < number - 1]
            if len(behind) == 1 and not self._gone:
                self._counts[behind[0]].lost += number - self._next
        if reason != "lost by rule":
            self._count(reason)
        if self._parts is not None:
            self._count("incomplete")
            self._parts = None
        self._next = number

    def _count(self, reason: str, n: int = 1) -> None:
        self.counters[reason] = self.counters.get(reason, 0) + n
