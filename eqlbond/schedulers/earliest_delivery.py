"""Earliest delivery, in order of arrival.

The base is EDPF, earliest delivery path first (Chebrolu and Rao, "Bandwidth aggregation for real-time
applications in heterogeneous wireless networks", IEEE Trans. Mobile Computing 5(4), 2006): a packet
goes where it arrives first. That a line may better wait, so that packets do not overtake, is the thought
of ECF (Lim et al., CoNEXT 2017) and STMS (Shi et al., USENIX ATC 2018); here it is made a price.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal

import attrs

from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet
from eqlbond.schedulers.base import FRAGMENT_HEADERS, Line, Placement

# Prices in bytes of line capacity, for a bond with a full plan and for an idle one; found with the
# simulator on 57600+28800+14400+9600 with packets of 40, 576 and 1500 bytes, in bulk and at 80 % load.
_LATE = (115.0, 500.0)
_DELAY = (0.04, 0.3)
_GRAIN_SHARE = 0.125  # the grain is at most this share of a packet's time on the line
_MIXED_GRAIN = 0.25  # of the grain, between packets of unlike sizes: there a hold leaves capacity idle
_LIKE = 0.125  # sizes that differ by no more than this share are alike
_FRAME_OVERHEAD = 11  # flags, protocol, FCS-32 and the long Multilink header of a fragment
_SMALLEST = 32  # bytes; a smaller fragment is not worth its frame
_UNPACED_LIMIT = 65536
_UNPACED_RUN = _UNPACED_LIMIT
_UNPACED_BYTE_TIME = 1e-9


def _price(value: object) -> float:
    if value == "never":
        return 0.0
    if value == "strict":
        return math.inf
    if value == "balanced":
        return _LATE[0]
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    raise ConfigurationError("hold", f"'never', 'balanced', 'strict' or a number of bytes from 0, not {value!r}")


@attrs.define
class EarliestDelivery:
    """Each packet goes where it arrives first; where it would overtake, holding is weighed against it.

    Packets are planned on wire bytes, the line's byte time and latency, and what is planned already. A packet
    that would arrive before one sent earlier can be held on its line until it does not. Three things cost, in bytes of
    line capacity, and the cheapest line wins: capacity left idle by a hold (as far as a packet of
    the largest size seen could have used it), each packet that becomes late, and a share of the packet's own delay.

    Args:
        hold: ``"never"`` lets packets overtake (plain EDPF); ``"balanced"``, the default, holds where it
            is cheap; ``"strict"`` never overtakes, at a few percent of throughput with mixed sizes. A number is
            the price of one late packet in bytes (balanced: 115 with a full plan, up to 500 in an idle bond).
        grain: seconds within which packets that come in by different lines may be read in either order; where it is
            cheap a hold keeps them so far apart. Timers, UARTs and USB adapters have some milliseconds, some adapters
            16, and a small packet that passes the plan shifts its line by as much; default 20 ms. Packets of unlike
            sizes, and those of an idle bond, are kept 0.3 of it apart; none more than an eighth of its time on a line.

    Raises:
        ConfigurationError: `hold` is none of these, or `grain` is below 0.

    >>> from eqlbond.schedulers import testing
    >>> lines = testing.line("fast", rate=57600), testing.line("slow", rate=14400)
    >>> scheduler = EarliestDelivery()
    >>> order = []
    >>> for _ in range(5):
    ...     packet = testing.packet(900)
    ...     placement = scheduler.place(packet, lines, 0.0)
    ...     order.append(placement.line.name)
    ...     arrival = testing.take(placement.line, packet, 0.0, placement.not_before)
    >>> order
    ['fast', 'fast', 'fast', 'fast', 'slow']
    """

    hold: float | Literal["never", "balanced", "strict"] = "balanced"
    grain: float = 0.02
    _late: float = attrs.field(init=False, repr=False)
    _ordered: list[float] = attrs.field(factory=list, init=False, repr=False)
    _front_line: Line | None = attrs.field(default=None, init=False, repr=False)
    _largest: int = attrs.field(default=0, init=False, repr=False)
    _lines: Sequence[Line] = attrs.field(default=(), init=False, repr=False)
    _window: float = attrs.field(default=0.0, init=False, repr=False)
    _all_paced: bool = attrs.field(default=False, init=False, repr=False)
    _none_paced: bool = attrs.field(default=False, init=False, repr=False)
    _level: bool = attrs.field(default=False, init=False, repr=False)  # no line is nearer than another
    _kept: Placement | None = attrs.field(default=None, init=False, repr=False)  # what was last said without rates
    _capacity: float = attrs.field(default=0.0, init=False, repr=False)
    _fastest: float = attrs.field(default=0.0, init=False, repr=False)  # byte time
    _last: int = attrs.field(default=0, init=False, repr=False)  # size of the packet placed last

    def __attrs_post_init__(self) -> None:
        self._late = _price(self.hold)
        if isinstance(self.grain, bool) or not isinstance(self.grain, int | float) or not 0 <= self.grain < 10:
            raise ConfigurationError("grain", f"seconds from 0 to 10, not {self.grain!r}")

    def place(self, packet: Packet, lines: Sequence[Line], now: float) -> Placement | None:
        """The cheapest line, and how long the packet is held there; None while every plan is full."""
        if packet.express:
            return self._place_express(packet, lines, now)
        if self._none_paced and lines is self._lines:
            return self._place_unpaced(lines)
        framing = lines[0].framing
        size = lines[0].wire_size(packet)
        if lines is not self._lines or size > self._largest:
            self._largest = max(size, self._largest)
            self._survey(lines)
            if self._none_paced:
                return self._place_unpaced(lines)
        largest = self._largest
        if self._all_paced:
            full = now + self._window
            for line in lines:
                if line.free <= full:
                    break
            else:
                return None  # as below, and soon seen: a busy bond asks once in vain for each packet
        earliest = fits = math.inf
        begins = now
        chosen = None
        for line in lines:
            if line.framing is not framing:
                framing = line.framing
                size = line.wire_size(packet)
            free = line.free
            start = free if free > now else now
            byte_time = line.byte_time
            if byte_time == 0.0:
                if line.planned > _UNPACED_LIMIT:
                    continue
                start = now + line.planned * _UNPACED_BYTE_TIME
            arrival = start + size * byte_time + line.latency
            if arrival < earliest:
                earliest = arrival
                chosen = line
                begins = start
            if size != largest:
                arrival = start + largest * byte_time + line.latency
            if arrival < fits:
                fits = arrival
        # What a line without a rate may hold is bounded in bytes, above; the window is for clocks.
        if chosen is None or (begins - now > self._window and chosen.byte_time):
            return None
        if chosen.byte_time == 0.0:  # nothing tells when the packet arrives there, so it is not held for others
            return Placement(chosen)
        ordered = self._ordered
        front = ordered[-1] if ordered else now
        apart = self._apart(size, begins - now)
        self._last = size
        # No other line can be cheaper when the earliest arrival is in order and opens no hole that no packet fills.
        if self._late == 0.0 or (
            earliest <= fits
            and earliest
            >= (
                front if chosen is self._front_line or not ordered else front + max(apart, self._grain(chosen, largest))
            )
        ):
            self._arrives(chosen, earliest, now)
            return Placement(chosen)
        return self._weigh(packet, lines, now, front, begins, apart)

    def lines_changed(self, lines: Sequence[Line], now: float) -> bool:
        """All is planned anew, in order."""
        self._ordered.clear()
        self._front_line = None
        self._lines = ()
        return True

    def resequenced(self) -> None:
        """The far end puts packets in order: none needs to be held."""
        self._late = 0.0

    def split(self, packet: Packet, lines: Sequence[Line], now: float) -> list[tuple[Line, int]] | None:
        """Shares of the packet for lines that can begin soon, so that all arrive together; None: leave it whole.

        With ``l`` a line's backlog and latency and ``b`` its bytes a second, line i takes ``b_i * (t - l_i)`` bytes,
        where t is such that the shares add up; lines with l above t take none (the rule of FreeBSD's ng_ppp). When
        every line has a packet's time of plan before it the packet stays whole, which costs the least overhead.
        """
        if lines is not self._lines:
            self._survey(lines)
        if not self._all_paced:
            return None
        size = len(packet.payload)
        wire = lines[0].wire_size(packet) - _FRAME_OVERHEAD
        fastest = min(line.byte_time for line in lines)
        if size < 2 * _SMALLEST or min(line.free for line in lines) - now > wire * fastest:
            return None
        ways = sorted(((max(line.free - now, 0.0) + line.latency, index) for index, line in enumerate(lines)))
        whole = min(begins + (wire + _FRAME_OVERHEAD) * lines[index].byte_time for begins, index in ways)
        chosen: list[tuple[float, Line]] = []
        capacity = backlog = together = 0.0
        for begins, index in ways:
            if chosen and begins >= together:
                break
            line = lines[index]
            rate = 1.0 / line.byte_time
            finish = (wire + _FRAME_OVERHEAD * (len(chosen) + 1) + backlog + begins * rate) / (capacity + rate)
            if chosen and ((finish - begins) * rate - _FRAME_OVERHEAD < _SMALLEST or finish >= together):
                continue
            capacity += rate
            backlog += begins * rate
            together = finish
            chosen.append((begins, line))
        if len(chosen) < 2 or together >= whole:
            return None
        scale = size / wire
        shares = [
            max(
                1,
                min(int(((together - begins) / line.byte_time - _FRAME_OVERHEAD) * scale), line.mtu - FRAGMENT_HEADERS),
            )
            for begins, line in chosen
        ]
        for n, (_, line) in enumerate(chosen):  # what rounding and MTUs have left over
            shares[n] = min(shares[n] + size - sum(shares), line.mtu - FRAGMENT_HEADERS)
        if sum(shares) != size or min(shares) < 1:
            return None
        return [(line, share) for share, (_, line) in zip(shares, chosen, strict=True)]

    def window(self, lines: Sequence[Line], size: int) -> float:
        """The plan after which the slowest line is worth using, seconds.

        Earliest delivery takes a slow line for a packet once the fast line's plan exceeds
        ``size * (byte_time_slow - byte_time_fast)`` plus the difference in latency.
        """
        paced = [line for line in lines if line.byte_time]
        if not paced:
            return 0.0
        fast = min(line.byte_time for line in paced)
        spread = max(line.byte_time for line in paced) - fast
        latency = max(line.latency for line in lines) - min(line.latency for line in lines)
        return 1.25 * max(size * spread + latency, size * fast) + 0.05

    def _survey(self, lines: Sequence[Line]) -> None:
        self._lines = lines
        self._window = self.window(lines, self._largest)
        self._all_paced = all(line.byte_time for line in lines)
        self._none_paced = not any(line.byte_time for line in lines)
        self._level = len({line.latency for line in lines}) == 1
        self._kept = None
        self._capacity = sum(1.0 / line.byte_time for line in lines if line.byte_time)
        self._fastest = min([line.byte_time for line in lines if line.byte_time], default=0.0)

    def _grain(self, line: Line, size: int) -> float:
        return min(_MIXED_GRAIN * self.grain, _GRAIN_SHARE * size * line.byte_time)

    def _apart(self, size: int, planned: float) -> float:
        """How far a packet is kept from the one before where that costs next to nothing: in bulk, of like sizes.

        TCP takes what comes some milliseconds early for a loss of what it overtook, and while it recovers from one
        it gives reordering no time at all (RFC 8985 section 6.2): each packet so overtaken is sent twice.
        """
        if abs(size - self._last) > _LIKE * size or not self._window:
            return 0.0
        return min(self.grain, _GRAIN_SHARE * size * self._fastest) * min(1.0, 4.0 * planned / self._window)

    def _arrives(self, line: Line, arrival: float, now: float) -> None:
        # The arrivals of packets that are in order, rising; a packet that this one overtakes is late
        # already and holds nobody back any more.
        ordered = self._ordered
        while ordered and ordered[-1] > arrival:
            ordered.pop()
        ordered.append(arrival)
        self._front_line = line
        if len(ordered) > 256:
            del ordered[: bisect_right(ordered, now, 0, len(ordered) - 1)]

    def _place_unpaced(self, lines: Sequence[Line]) -> Placement | None:
        """Without any rate there is no time to plan with: the line that has least, and is nearest.

        One line is kept to as long as it takes packets: it keeps their order.
        """
        kept = self._kept
        if kept is not None and self._level and kept.line.planned <= _UNPACED_RUN:
            return kept  # no other line can have so much less, or is nearer
        chosen = None
        earliest = math.inf
        for line in lines:
            planned = line.planned
            if planned <= _UNPACED_LIMIT:
                if kept is not None and line is kept.line:
                    planned -= _UNPACED_RUN
                arrival = planned * _UNPACED_BYTE_TIME + line.latency
                if arrival < earliest:
                    earliest = arrival
                    chosen = line
        self._kept = None if chosen is None else Placement(chosen)
        return self._kept

    def _place_express(self, packet: Packet, lines: Sequence[Line], now: float) -> Placement:
        best = math.inf
        chosen = lines[0]
        for line in lines:
            start = line.soonest if line.soonest > now else now
            if line.byte_time == 0.0:
                start = now + line.planned * _UNPACED_BYTE_TIME
            arrival = start + line.wire_size(packet) * line.byte_time + line.latency
            if arrival < best:
                best = arrival
                chosen = line
        return Placement(chosen)

    def _weigh(
        self, packet: Packet, lines: Sequence[Line], now: float, front: float, begins: float, least: float
    ) -> Placement:
        largest = self._largest
        filled = min(1.0, 2.0 * (begins - now) / self._window) if self._window else 1.0
        late = self._late if self.hold != "balanced" else _LATE[1] + filled * (_LATE[0] - _LATE[1])
        delay = (_DELAY[1] + filled * (_DELAY[0] - _DELAY[1])) * self._capacity
        starts = [line.free if line.free > now else now for line in lines]
        best_cost = math.inf
        best_line = lines[0]
        best_arrival = best_hold = 0.0
        in_order: list[tuple[float, int, float]] = []  # cost so far, index of the line, arrival
        front_line, grain, share = self._front_line, _MIXED_GRAIN * self.grain, _GRAIN_SHARE * largest
        framing: object = None
        size = 0
        for index, line in enumerate(lines):  # a bond may have many: what `_grain` and the like do is written out here
            byte_time = line.byte_time
            apart = share * byte_time
            if apart > grain:
                apart = grain
            due = front if line is front_line else front + (apart if apart > least else least)
            if not byte_time:
                if line.planned > _UNPACED_LIMIT:
                    continue
                byte_time = _UNPACED_BYTE_TIME
            if line.framing is not framing:
                framing = line.framing
                size = line.wire_size(packet)
            start = starts[index]
            latency = line.latency
            arrival = start + size * byte_time + latency
            if arrival >= due:
                in_order.append((delay * (arrival - now), index, arrival))
                continue
            gap = (due - latency - start) / byte_time  # bytes that the line could carry until then
            cost = (gap if gap < largest else largest) - size + delay * (due - now)
            if cost < best_cost:
                best_cost, best_line, best_arrival = cost, line, due
                best_hold = due - size * byte_time - latency
            cost = late + delay * (arrival - now)
            if cost < best_cost:
                overtaken = len(self._ordered) - bisect_right(self._ordered, arrival)
                cost += late * max(0, overtaken - 1)
                if cost < best_cost:
                    best_cost, best_line, best_arrival, best_hold = cost, line, arrival, 0.0
        # To look for holes takes long with many lines; the later lines seldom need it.
        in_order.sort()
        for cost, index, arrival in in_order:
            if cost >= best_cost:
                break
            cost += self._holes(lines, starts, lines[index], front, arrival)
            if cost < best_cost:
                best_cost, best_line, best_arrival, best_hold = cost, lines[index], arrival, 0.0
        self._arrives(best_line, best_arrival, now)
        return Placement(best_line, best_hold)

    def _holes(self, lines: Sequence[Line], starts: list[float], but: Line, front: float, arrival: float) -> float:
        """Bytes of the other lines' time that no packet can fill in order any more, once the front is at `arrival`."""
        lost = 0.0
        for line, start in zip(lines, starts, strict=True):
            if line is not but and line.byte_time:
                reach = start + self._largest * line.byte_time + line.latency
                if arrival > reach:
                    lost += (arrival - max(front, reach)) / line.byte_time
        return lost
