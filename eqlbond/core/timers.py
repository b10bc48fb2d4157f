"""Tables of deadlines: the earliest of many is known at once."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heappop, heappush
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Deadlines(Generic[K]):
    """At most one deadline for each key; the earliest is known at once.

    A heap with lazy deletion: an entry that no longer matches the table is skipped when it comes up.
    """

    __slots__ = ("_count", "_heap", "_when")

    def __init__(self) -> None:
        self._when: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0

    def set(self, key: K, when: float) -> None:
        """Set or move the key's deadline."""
        if self._when.get(key) == when:
            return
        self._when[key] = when
        self._count += 1
        heappush(self._heap, (when, self._count, key))
        if len(self._heap) > 64 + 4 * len(self._when):
            self._heap = sorted((w, n, k) for n, (k, w) in enumerate(self._when.items()))
            self._count = len(self._heap)

    def clear(self, key: K) -> None:
        """The key has no deadline any more."""
        self._when.pop(key, None)

    def get(self, key: K) -> float | None:
        """The key's deadline."""
        return self._when.get(key)

    def next(self) -> float | None:
        """The earliest deadline, or None."""
        heap = self._heap
        while heap:
            when, _, key = heap[0]
            if self._when.get(key) == when:
                return when
            heappop(heap)
        return None

    def pop_due(self, now: float) -> list[K]:
        """Take out the keys whose deadline is `now` or earlier, earliest first."""
        due = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            when, _, key = heappop(heap)
            if self._when.get(key) == when:
                del self._when[key]
                due.append(key)
        return due
