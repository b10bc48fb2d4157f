"""A pure planning loop: packets offered to a scheduler, lines that carry what they are given at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import attrs

from eqlbond.schedulers import Line, Scheduler, testing

UNEQUAL = (57600, 28800, 14400, 9600)
MIX = (40, 576, 1500)


@attrs.define
class Run:
    """What a scheduler made of the packets that it was offered."""

    lines: tuple[Line, ...]
    sizes: list[int] = attrs.field(factory=list)
    offered: list[float] = attrs.field(factory=list)
    arrivals: list[float] = attrs.field(factory=list)
    bytes: dict[str, int] = attrs.field(factory=dict)

    @property
    def reordered(self) -> float:
        """The share of packets that arrive after one sent later (RFC 4737 section 3.3), to the microsecond."""
        order = sorted(range(len(self.arrivals)), key=lambda n: (round(self.arrivals[n], 6), n))
        front, late = -1, 0
        for n in order:
            late += n < front
            front = max(front, n)
        return late / len(order)

    @property
    def efficiency(self) -> float:
        """Bits carried over what the lines could have carried until the last arrival."""
        seconds = max(self.arrivals) - min(self.offered)
        rates = sum(line.rate / line.bits_per_byte for line in self.lines if line.rate)
        return sum(self.bytes.values()) / (rates * seconds)

    @property
    def p95_delay(self) -> float:
        delays = sorted(a - o for a, o in zip(self.arrivals, self.offered, strict=True))
        return delays[int(len(delays) * 0.95)]


def lines_of(rates: Sequence[float | None], *, overhead: int = 2) -> tuple[Line, ...]:
    return tuple(testing.line(f"{rate}", rate=rate, overhead=overhead) for rate in rates)


def _offer(run: Run, policy: Scheduler, size: int, now: float, since: float) -> bool:
    packet = testing.packet(size, sequence=len(run.sizes))
    placement = policy.place(packet, run.lines, now)
    if placement is None:
        return False
    line = placement.line
    run.arrivals.append(testing.take(line, packet, now, placement.not_before))
    run.offered.append(since)
    run.sizes.append(size)
    run.bytes[line.name] = run.bytes.get(line.name, 0) + line.wire_size(packet)
    return True


def bulk(policy: Scheduler, rates: Sequence[float], packets: int, size: Callable[[], int]) -> Run:
    """A sender that always has a packet; where the policy waits, it is asked again 5 ms later."""
    run = Run(lines_of(rates))
    now = 0.0
    for _ in range(packets):
        one = size()
        while not _offer(run, policy, one, now, now):
            now += 0.005
    return run


def poisson(policy: Scheduler, rates: Sequence[float], load: float, packets: int, seed: int) -> Run:
    """Packets of mixed sizes at random times, `load` of what the lines carry; those that must wait do so in order."""
    run = Run(lines_of(rates))
    rng = random.Random(seed)
    mean = (sum(MIX) / len(MIX) + 2) * 10 / (load * sum(rates))
    now = since = 0.0
    for _ in range(packets):
        since += rng.expovariate(1 / mean)
        now = max(now, since)
        one = rng.choice(MIX)
        while not _offer(run, policy, one, now, since):
            now += 0.005
    return run


def mixed(seed: int) -> Callable[[], int]:
    rng = random.Random(seed)
    return lambda: rng.choice(MIX)
