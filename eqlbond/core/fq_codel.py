"""FQ-CoDel (RFC 8290): a queue for each flow, served in turn, and each kept short by CoDel (RFC 8289).

Flows are served by deficit round robin with a list of flows that have just come and one of the others (RFC 8290
section 4.2), so that a ping or a key stroke does not wait behind a download. CoDel drops, or marks, when packets of a
flow have waited longer than a target for a whole interval.

A bond is slow and plans ahead, so both times follow from it, where they would be too short: the target is at least the
time of one and a half packets at the bond's rate, and the interval, which stands for a round trip, grows by
what the target grew and by twice the time that is planned.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from heapq import nlargest

import attrs

from eqlbond.codec.ecn import congestion_experienced
from eqlbond.codec.ip import flow_key
from eqlbond.core.fragments import queue_order
from eqlbond.core.queues import Drop
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet

_PACKET_MEMORY = 512
"""Counted for each packet beside its payload: objects that Python keeps for it and for a flow of its own."""
_SHED_PACKETS = 64
_SHED_FLOWS = 64
_NEW_RUN = 3000
"""Bytes of new flows, in a row, after which one of the others has its turn: flows that never come twice, as in a scan,
must not have the line for themselves."""
_TARGET_PACKETS = 1.5
_RESTART = 16  # intervals after which a new episode of dropping forgets the last one (RFC 8289 section 5.4)
_SPARE_FLOWS = 1024


def _seconds(field: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    raise ConfigurationError(field, f"seconds above 0, not {value!r}")


def _bytes(field: str, value: object, least: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise ConfigurationError(field, f"bytes from {least} on, not {value!r}")


@attrs.frozen
class FqCoDel:
    """Fair queueing with CoDel, for ``Master(..., queue=FqCoDel())``.

    The bond is then never `full` for long: what is too much is dropped here, from the flow that has most, and counted
    as "queue limit"; what CoDel drops is counted as "CoDel".

    Args:
        target: seconds that a packet may wait, when a queue stands; default 5 ms, raised to the time of one and a half
            packets at the bond's rate.
        interval: seconds that a queue may stand above the target, default 100 ms: the longest usual round trip beyond
            the bond. What the bond itself takes is added.
        ecn: mark packets of flows that understand it (RFC 3168) instead of dropping them; default True.
        limit: memory that waiting packets may take, bytes: their payload and 512 for each; default 512 KiB.
        quantum: bytes that a flow sends in its turn; default 300, which lets small packets of one flow pass large ones
            of others (RFC 8290 section 5.2.4, for slow lines).

    Raises:
        ConfigurationError: a value cannot work.
    """

    target: float = attrs.field(default=0.005, kw_only=True)
    interval: float = attrs.field(default=0.1, kw_only=True)
    ecn: bool = attrs.field(default=True, kw_only=True)
    limit: int = attrs.field(default=524288, kw_only=True)
    quantum: int = attrs.field(default=300, kw_only=True)

    def __attrs_post_init__(self) -> None:
        target, interval = _seconds("target", self.target), _seconds("interval", self.interval)
        if target >= interval:
            raise ConfigurationError("target", f"less than the interval ({interval:g} s), not {target:g}")
        if not isinstance(self.ecn, bool):
            raise ConfigurationError("ecn", f"True or False, not {self.ecn!r}")
        _bytes("limit", self.limit, 1)
        _bytes("quantum", self.quantum, 1)

    def queue(self, mtu: int, drop: Drop) -> FairQueue:
        """The queue of one bond. Raises `ConfigurationError` where it could not hold two packets of the MTU."""
        _bytes("limit", self.limit, 2 * (mtu + _PACKET_MEMORY))
        return FairQueue(self, mtu, drop)

    def flow_of(self, payload: bytes) -> Hashable:
        """By protocol, addresses and ports (`eqlbond.codec.ip.flow_key`)."""
        return flow_key(payload)


class _Flow:
    """A flow's queue, its credit, and what CoDel knows about it (the variables of RFC 8289 section 5)."""

    __slots__ = (
        "count",
        "credit",
        "drop_next",
        "dropping",
        "first_above",
        "judged",
        "key",
        "last_count",
        "packets",
        "size",
        "sparse",
    )

    def __init__(self, key: Hashable, credit: int) -> None:
        self.key = key
        self.credit = credit
        self.packets: deque[tuple[Packet, float]] = deque()  # and when it came into this queue
        self.size = 0
        self.judged = False  # CoDel has let the first packet pass
        self.sparse = False  # it stands among those that may pass the plan
        self.first_above = 0.0
        self.drop_next = 0.0
        self.dropping = False
        self.count = self.last_count = 0


def _memory_of(flow: _Flow) -> int:
    return flow.size + _PACKET_MEMORY * len(flow.packets)


class FairQueue:
    """A bond's `Queue` by FQ-CoDel. Made by `FqCoDel.queue`."""

    def __init__(self, options: FqCoDel, mtu: int, drop: Drop) -> None:
        self._options = options
        self._mtu = mtu
        self._drop = drop
        self.limit: int | None = options.limit
        self.size = 0
        self.marked = 0
        self.target = options.target
        """Seconds, as the bond's rate makes it."""
        self.interval = options.interval
        self._memory = 0
        self._count = 0
        self._flows: dict[Hashable, _Flow] = {}
        self._new: deque[_Flow] = deque()
        self._old: deque[_Flow] = deque()
        self._back: deque[Packet] = deque()  # put back: they have had their turn, and CoDel has seen them
        self._sparse: deque[_Flow] = deque()
        self._offered: _Flow | None = None
        self._passing = False  # what is offered came from `sparse`
        self._run = 0  # bytes of new flows since the last packet of another one

    def __len__(self) -> int:
        return self._count + len(self._back)

    def __iter__(self) -> Iterator[Packet]:
        yield from self._back
        for flow in self._flows.values():
            for packet, _ in flow.packets:
                yield packet

    # -- in

    def push(self, packet: Packet, now: float) -> bool:
        """Put it behind its flow. True: the flow was empty, and is not in debt."""
        key = packet.flow
        flow = self._flows.get(key)
        if flow is None:
            if max(len(self._flows), len(self._sparse)) > 2 * self._count + _SPARE_FLOWS:
                self._forget_empty_flows()
            flow = self._flows[key] = _Flow(key, self._options.quantum)
            self._new.append(flow)
        elif not self._count and flow.credit <= 0:
            # Nobody waits, so that no turn of its would come: what the others sent is planned already.
            flow.credit += self._options.quantum
        passes = not flow.packets and flow.credit > 0
        if passes and not flow.sparse:
            flow.sparse = True
            self._sparse.append(flow)
        size = len(packet.payload)
        flow.packets.append((packet, now))
        flow.size += size
        self.size += size
        self._count += 1
        self._memory += size + _PACKET_MEMORY
        if self._memory > self._options.limit:
            self._shed()
        return passes

    def put_back(self, packets: Iterable[Packet]) -> None:
        """Before all flows, in the order in which they had been taken, as far as that matters (Multilink)."""
        back = list(packets)
        self.size += sum([len(packet.payload) for packet in back])
        merged = sorted([*back, *self._back], key=queue_order)
        self._back.clear()
        self._back.extend(merged)

    # -- out

    def head(self, now: float) -> Packet | None:
        """What was put back, then new flows, then the others in turn. CoDel may drop on the way."""
        self._passing = False
        if self._back:
            self._offered = None
            return self._back[0]
        return self._next(now)

    def sparse(self, waiting: Mapping[Hashable, int]) -> Packet | None:
        """The first packet of a flow that was empty when it came, is not in debt, and has nothing planned.

        What RFC 8290 gives to new flows alone: behind a plan that is as long as many packets, a flow would lose it by
        coming back before its turn. It pays with its credit.
        """
        candidates = self._sparse
        if self._run >= _NEW_RUN and self._old:
            return None
        while candidates:
            flow = candidates[0]
            count = len(flow.packets)
            if count and flow.credit > 0 and waiting.get(flow.key) == count:
                self._offered, self._passing = flow, True
                return flow.packets[0][0]
            flow.sparse = False
            candidates.popleft()
        return None

    def take(self) -> Packet:
        """Remove what was offered last; its flow pays for it."""
        flow = self._offered
        if flow is None:
            packet = self._back.popleft()
            self.size -= len(packet.payload)
            return packet
        packet = self._remove_first(flow)
        size = len(packet.payload)
        flow.credit -= size
        self._run = self._run + size if self._passing or (self._new and flow is self._new[0]) else 0
        return packet

    def _next(self, now: float) -> Packet | None:
        """Deficit round robin over the two lists (RFC 8290 section 4.2)."""
        new, old = self._new, self._old
        quantum = self._options.quantum
        while True:
            if new and (self._run < _NEW_RUN or not old):
                flows = new
            elif old:
                flows = old
            else:
                return None
            flow = flows[0]
            if flow.credit <= 0:
                if flows is old and len(old) == 1:
                    flow.credit = quantum  # nobody to wait for
                else:
                    flow.credit += quantum
                    flows.popleft()
                    old.append(flow)
                    continue
            packet = self._judge(flow, now)
            if packet is not None:
                self._offered = flow
                return packet
            flows.popleft()
            if flows is new and old:
                old.append(flow)  # so that a flow cannot be new again in each round
            else:
                del self._flows[flow.key]

    # -- CoDel

    def _judge(self, flow: _Flow, now: float) -> Packet | None:
        """The flow's next packet that CoDel lets pass; None: it has none left (RFC 8289 section 5.5)."""
        packets = flow.packets
        if packets and flow.judged:
            return packets[0][0]
        above = self._stands(flow, now)
        if flow.dropping:
            if not above:
                flow.dropping = False
            while flow.dropping and now >= flow.drop_next:
                flow.count += 1
                flow.drop_next += self.interval / math.sqrt(flow.count)
                if self._mark(flow):
                    break
                self._discard(flow, "CoDel")
                if not self._stands(flow, now):
                    flow.dropping = False
        elif above:
            if not self._mark(flow):
                self._discard(flow, "CoDel")
                self._stands(flow, now)
            flow.dropping = True
            # When the queue stands again soon, begin with the rate of dropping that had mastered it.
            again = flow.count - flow.last_count
            flow.count = again if again > 1 and now - flow.drop_next < _RESTART * self.interval else 1
            flow.last_count = flow.count
            flow.drop_next = now + self.interval / math.sqrt(flow.count)
        if not packets:
            return None
        flow.judged = True
        return packets[0][0]

    def _stands(self, flow: _Flow, now: float) -> bool:
        """Whether the flow's packets have waited above the target for an interval (RFC 8289 section 5.6)."""
        packets = flow.packets
        if (
            not packets
            or now - packets[0][1] < self.target
            or flow.size - len(packets[0][0].payload) <= self._mtu  # the line would run dry
        ):
            flow.first_above = 0.0
            return False
        if not flow.first_above:
            flow.first_above = now + self.interval
            return False
        return now >= flow.first_above

    def _mark(self, flow: _Flow) -> bool:
        """Mark the flow's first packet, if its sender takes notice."""
        if not self._options.ecn:
            return False
        packet = flow.packets[0][0]
        marked = congestion_experienced(packet.payload)
        if marked is None:
            return False
        packet.payload = marked
        packet.sized_for = None  # other bytes may be escaped
        self.marked += 1
        return True

    # -- bounds

    def _remove_first(self, flow: _Flow) -> Packet:
        packet, _ = flow.packets.popleft()
        size = len(packet.payload)
        flow.size -= size
        flow.judged = False
        self.size -= size
        self._count -= 1
        self._memory -= size + _PACKET_MEMORY
        return packet

    def _discard(self, flow: _Flow, reason: str) -> None:
        self._drop(self._remove_first(flow), reason)

    def _shed(self) -> None:
        """Halve the flows that take most memory, 64 packets each at most (RFC 8290 section 4.1).

        Some room is made at once, so that the search is not for a single packet.
        """
        enough = self._options.limit - self._options.limit // 32
        for flow in nlargest(_SHED_FLOWS, self._flows.values(), key=_memory_of):
            half = _memory_of(flow) // 2
            for _ in range(min(_SHED_PACKETS, len(flow.packets))):
                self._discard(flow, "queue limit")
                if _memory_of(flow) <= half:
                    break
            if self._memory <= enough:
                break

    def _forget_empty_flows(self) -> None:
        """Flows that are only waiting for their turn to be forgotten must not pile up."""
        for flows in (self._new, self._old, self._sparse):
            kept = [flow for flow in flows if flow.packets]
            flows.clear()
            flows.extend(kept)
        self._flows = {flow.key: flow for flow in (*self._new, *self._old)}

    # -- the bond

    def clear_put_back(self) -> list[Packet]:
        """What was put back."""
        packets = list(self._back)
        self._back.clear()
        self.size -= sum([len(packet.payload) for packet in packets])
        return packets

    def clear(self) -> None:
        """Forget all packets and flows."""
        self._back.clear()
        self._flows.clear()
        self._new.clear()
        self._old.clear()
        self._sparse.clear()
        self._offered = None
        self.size = self._memory = self._count = 0

    def pace(self, byte_time: float, window: float) -> None:
        """Fit target and interval to the bond.

        The interval has the window twice: what is dropped is missed by the far end when what is planned has
        arrived, and what the sender holds back since is missing here a round trip later.
        """
        options = self._options
        self.target = max(options.target, _TARGET_PACKETS * self._mtu * byte_time)
        self.interval = max(options.interval + self.target - options.target, 2 * self.target) + 2 * window

    def resume(self) -> None:
        """What stood still was no congestion: CoDel begins anew."""
        for flow in self._flows.values():
            flow.dropping = flow.judged = False
            flow.first_above = 0.0
            flow.count = flow.last_count = 0
