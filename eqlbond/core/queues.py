"""What waits in a bond before it is planned onto a line: the `Queue` protocol, and the plain queue.

A `Master` is given a `QueueDiscipline`, such as `eqlbond.core.fq_codel.FqCoDel`, and makes a queue of its own from it.
Packets that are urgent do not come here: they pass all that waits and all that is planned.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Protocol, runtime_checkable

from eqlbond.core.fragments import queue_order
from eqlbond.packet import Packet

Drop = Callable[[Packet, str], None]
"""Told of each packet that a queue drops, and why."""


class Queue(Protocol):
    """Packets that wait for a place on a line.

    The bond asks for `head`, offers it to the scheduler, and calls `take` when the scheduler has placed it.
    """

    limit: int | None
    """Bytes that the queue keeps itself under, by dropping; None: it does not, and the bond's `full` has to do it."""
    size: int
    """Payload that waits, bytes; kept where there is a `limit`."""
    marked: int
    """Packets that were marked with congestion experienced instead of being dropped."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Packet]: ...

    def push(self, packet: Packet, now: float) -> bool:
        """Take a packet. True: it may be the next one now, although others have waited longer."""
        ...

    def head(self, now: float) -> Packet | None:
        """The next packet; None: there is none. Until it is taken another one may become the next."""
        ...

    def sparse(self, waiting: Mapping[Hashable, int]) -> Packet | None:
        """A packet that may pass the plan, where others of its flow would not come late by that; None: there is none.

        `waiting`: for each flow how many packets are in this queue or planned.
        """
        ...

    def take(self) -> Packet:
        """Remove what `head` or `sparse` has given last."""
        ...

    def put_back(self, packets: Iterable[Packet]) -> None:
        """Packets that had been taken and are to be planned again: before all others, oldest first."""
        ...

    def clear_put_back(self) -> list[Packet]:
        """Remove, in order, what was put back and possibly more: everything, where that is not kept apart."""
        ...

    def clear(self) -> None:
        """Remove everything."""
        ...

    def pace(self, byte_time: float, window: float) -> None:
        """What the bond carries: seconds a byte (0.0: not known), and seconds for which it plans ahead."""
        ...

    def resume(self) -> None:
        """Nothing could leave for a while, and it can again."""
        ...


@runtime_checkable
class QueueDiscipline(Protocol):
    """How a bond queues; one such object may serve several bonds."""

    def queue(self, mtu: int, drop: Drop) -> Queue:
        """A queue for one bond. Raises `ConfigurationError`."""
        ...

    def flow_of(self, payload: bytes) -> Hashable:
        """The flow of a packet where the application named none."""
        ...


class Fifo(deque[Packet]):
    """First in, first out, without a bound of its own: what a bond has when it is given no discipline."""

    limit: int | None = None
    size = 0
    marked = 0

    def push(self, packet: Packet, now: float) -> bool:
        """Put it behind all others."""
        self.append(packet)
        return False

    def head(self, now: float) -> Packet | None:
        """The one that has waited longest."""
        return self[0] if self else None

    def sparse(self, waiting: Mapping[Hashable, int]) -> Packet | None:
        """Flows are all the same here."""
        return None

    def take(self) -> Packet:
        """Remove the head."""
        return self.popleft()

    def put_back(self, packets: Iterable[Packet]) -> None:
        """Where they were, by the order of entry."""
        merged = sorted([*packets, *self], key=queue_order)
        self.clear()
        self.extend(merged)

    def clear_put_back(self) -> list[Packet]:
        """Everything."""
        packets = list(self)
        self.clear()
        return packets

    def pace(self, byte_time: float, window: float) -> None:
        """A plain queue does not mind."""

    def resume(self) -> None:
        """A plain queue does not mind."""
