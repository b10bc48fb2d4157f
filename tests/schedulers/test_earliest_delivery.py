"""`EarliestDelivery`: the plain rule, the window, and what holds gain and cost."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqlbond.exceptions import ConfigurationError
from eqlbond.schedulers import EarliestDelivery, Line, check_scheduler, testing
from tests.examples import examples

from .planning import UNEQUAL, Run, bulk, lines_of, mixed, poisson

HOLDS = ("never", "balanced", "strict")
rates = st.lists(st.sampled_from([300, 2400, 9600, 14400, 28800, 57600, 115200, 4_000_000]), min_size=1, max_size=6)


# -- the plain rule


@given(
    rates,
    st.lists(st.sampled_from([0.0, 0.001, 0.08, 0.9]), min_size=6, max_size=6),
    st.lists(st.tuples(st.integers(1, 1500), st.sampled_from([0.0, 0.0, 0.003, 0.2, 5.0])), max_size=100),
)
def test_never_hold_is_the_plain_rule(rates: list[int], latencies: list[float], steps: list[tuple[int, float]]) -> None:
    lines = tuple(testing.line(f"{n}", rate=rate, latency=latencies[n], overhead=n % 2) for n, rate in enumerate(rates))
    policy, now = EarliestDelivery("never"), 100.0
    free = dict.fromkeys(lines, 0.0)
    for size, pause in steps:
        now += pause
        packet = testing.packet(size)
        placement = policy.place(packet, lines, now)

        def arrival(line: Line, size: int = size, now: float = now) -> float:
            seconds = (size + lines.index(line) % 2) * 10 / (line.rate or math.inf)
            return max(now, free[line]) + seconds + line.latency

        if placement is None:
            assert all(free[line] > now for line in lines)
            now = max(free.values())
            continue
        assert placement.not_before == 0.0
        assert arrival(placement.line) == pytest.approx(min(map(arrival, lines)), abs=1e-9)
        free[placement.line] = arrival(placement.line) - placement.line.latency
        testing.take(placement.line, packet, now)


# -- the window


def test_the_window_follows_from_the_lines() -> None:
    policy = EarliestDelivery()
    fast, slow = testing.line("fast", rate=57600), testing.line("slow", rate=14400)
    needed = 900 * 10 * (1 / 14400 - 1 / 57600)
    assert needed == pytest.approx(0.469, abs=0.001)
    assert 1.0 < (policy.window((fast, slow), 900) - 0.05) / needed <= 1.5
    assert policy.window((fast,), 900) >= 900 * 10 / 57600
    assert policy.window((testing.line(rate=None),), 900) == 0.0
    far = testing.line("far", rate=57600, latency=0.9)
    assert policy.window((fast, far), 900) > 0.9


@settings(max_examples=examples(15))
@given(st.lists(st.sampled_from([9600, 14400, 28800, 57600, 115200]), min_size=1, max_size=4), st.integers(200, 1500))
def test_the_slowest_line_is_used_before_the_scheduler_waits(rates: list[int], size: int) -> None:
    policy, lines = EarliestDelivery("never"), lines_of(rates)
    for n in range(2000):
        packet = testing.packet(size, sequence=n)
        placement = policy.place(packet, lines, 0.0)
        if placement is None:
            break
        testing.take(placement.line, packet, 0.0)
    else:
        pytest.fail("the plan has no end")
    assert all(line.planned for line in lines)


@pytest.mark.parametrize("hold", HOLDS)
@given(rates, st.lists(st.integers(1, 1500), max_size=300), st.data())
def test_none_means_that_every_plan_is_beyond_the_window(
    hold: str, rates: list[int], sizes: list[int], data: st.DataObject
) -> None:
    policy, lines, now = EarliestDelivery(hold), lines_of(rates), 50.0  # type: ignore[arg-type]
    largest = 0
    for size in sizes:
        now += data.draw(st.sampled_from([0.0, 0.0, 0.01, 1.0]))
        largest = max(largest, size + 2)
        packet = testing.packet(size)
        placement = policy.place(packet, lines, now)
        # The line of the earliest arrival is the one that counts.
        first = min(lines, key=lambda line: line.eta(size + 2, now))
        beyond = first.free - now > policy.window(lines, largest)
        assert (placement is None) == beyond
        if placement is None:
            now = max(now, first.free)
        else:
            assert placement.line in lines
            assert placement.not_before < now + 60 + max(0.0, placement.line.free - now)
            testing.take(placement.line, packet, now, placement.not_before)


# -- holds


@pytest.mark.parametrize("rates", [(57600,) * 4, (57600, 14400), UNEQUAL, (115200, 9600), (9600, 9600)])
@pytest.mark.parametrize("hold", ["balanced", "strict"])
def test_equal_sizes_stay_in_order(hold: str, rates: tuple[int, ...]) -> None:
    rng = random.Random(5)
    for escapes in (0, 12):  # what is equal before framing is a few escapes apart on the wire
        run = bulk(EarliestDelivery(hold), rates, 800, lambda n=escapes: 900 + rng.randrange(n + 1))  # type: ignore[arg-type,misc]
        assert run.reordered < 0.001
        assert run.efficiency > 0.995


@cache
def in_bulk(hold: str) -> tuple[float, float]:
    runs = [bulk(EarliestDelivery(hold), UNEQUAL, 1500, mixed(seed)) for seed in (1, 2)]  # type: ignore[arg-type]
    return sum(run.reordered for run in runs) / 2, sum(run.efficiency for run in runs) / 2


def test_mixed_sizes_in_bulk() -> None:
    reordered, efficiency = in_bulk("never")
    assert reordered > 0.45
    assert efficiency > 0.99
    reordered, efficiency = in_bulk("balanced")
    assert reordered <= 0.15
    assert efficiency >= 0.98
    reordered, efficiency = in_bulk("strict")
    assert reordered == 0.0
    assert efficiency >= 0.94


def test_mixed_sizes_at_eighty_percent() -> None:
    def runs(hold: str) -> list[Run]:
        return [poisson(EarliestDelivery(hold), UNEQUAL, 0.8, 2500, seed) for seed in (1, 3, 4)]  # type: ignore[arg-type]

    plain, balanced = runs("never"), runs("balanced")
    assert sum(r.reordered for r in balanced) <= 0.6 * sum(r.reordered for r in plain)
    assert sum(r.p95_delay for r in balanced) <= 1.1 * sum(r.p95_delay for r in plain)


def test_a_dearer_late_packet_means_fewer_of_them() -> None:
    shares = [bulk(EarliestDelivery(hold), UNEQUAL, 600, mixed(1)).reordered for hold in (0, 100, 250, 1000)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 10 * shares[-1]


@given(rates, st.lists(st.integers(1, 1500), max_size=200), st.integers(0, 3))
def test_strict_never_overtakes(rates: list[int], sizes: list[int], pause: int) -> None:
    policy, lines, now, front = EarliestDelivery("strict"), lines_of(rates), 9.0, 0.0
    for size in sizes:
        now += pause / 100
        packet = testing.packet(size)
        while (placement := policy.place(packet, lines, now)) is None:
            now += 0.1
        arrival = testing.take(placement.line, packet, now, placement.not_before)
        assert arrival >= front - 1e-6
        front = max(front, arrival)


def test_a_hold_ends_the_packet_at_the_front() -> None:
    lines = fast, slow = testing.line("fast", rate=57600), testing.line("slow", rate=9600)
    testing.take(fast, testing.packet(1500), 0.0)
    policy = EarliestDelivery("strict")
    first = policy.place(testing.packet(1200), lines, 0.0)
    assert first is not None
    front = testing.take(first.line, testing.packet(1200), 0.0)
    assert first.line is fast
    second = policy.place(testing.packet(40), lines, 0.0)
    assert second is not None
    arrival = testing.take(second.line, testing.packet(40), 0.0, second.not_before)
    assert arrival >= front - 1e-9
    assert slow.planned + fast.planned == 1500 + 1200 + 40


def test_when_the_lines_change_the_past_does_not_hold() -> None:
    lines = testing.line("fast", rate=57600), testing.line("slow", rate=300)
    policy = EarliestDelivery("strict")
    testing.take(lines[0], testing.packet(1000), 0.0)
    slow_first = policy.place(testing.packet(1), lines[1:], 0.0)
    assert slow_first is not None
    testing.take(lines[1], testing.packet(1400), 0.0)
    policy.place(testing.packet(1), lines[1:], 0.0)  # arrives after 46 s
    assert policy.lines_changed(lines, 0.0)
    held = policy.place(testing.packet(100), lines[:1], 0.2)
    assert held is not None
    assert held.not_before == 0.0


# -- lines without a rate, express packets


def test_lines_without_a_rate_share_by_what_they_hold() -> None:
    lines = lines_of([None, None, None])
    policy = EarliestDelivery()
    for n in range(90):
        packet = testing.packet(1000, sequence=n)
        placement = policy.place(packet, lines, 7.0)
        assert placement is not None
        assert placement.not_before <= 7.0
        testing.take(placement.line, packet, 7.0)
    # One line is kept to as long as it takes packets, which keeps their order.
    assert max(line.planned for line in lines) - min(line.planned for line in lines) <= 65536 + 1002


def test_a_line_without_a_rate_that_does_not_drain_is_left_alone() -> None:
    for rates in ([None], [None, None], [None, 9600]):
        lines = lines_of(rates)
        policy = EarliestDelivery()
        placed = 0
        while placed < 10_000:
            packet = testing.packet(1500)
            placement = policy.place(packet, lines, 0.0)
            if placement is None:
                break
            testing.take(placement.line, packet, 0.0, placement.not_before)
            placed += 1
        assert placed < 10_000
        assert all(65536 < line.planned < 65536 + 1502 + 1 for line in lines if not line.rate)


def test_an_unpaced_line_beats_a_paced_one() -> None:
    lines = lines_of([9600, None])
    placement = EarliestDelivery().place(testing.packet(1500), lines, 0.0)
    assert placement is not None
    assert placement.line is lines[1]


def test_express_packets_pass_the_plan_and_are_never_held() -> None:
    lines = fast, slow = testing.line("fast", rate=57600), testing.line("slow", rate=9600)
    policy = EarliestDelivery("strict")
    while (placement := policy.place(packet := testing.packet(1500), lines, 0.0)) is not None:
        testing.take(placement.line, packet, 0.0, placement.not_before)
    urgent = testing.packet(40, priority=1)
    placement = policy.place(urgent, lines, 0.0)
    assert placement is not None
    assert placement.line is fast
    assert placement.not_before == 0.0
    object.__setattr__(fast, "soonest", 0.5)  # a long frame stands in the fast line's port
    placement = policy.place(urgent, lines, 0.0)
    assert placement is not None
    assert placement.line is slow


# -- options, contract


@pytest.mark.parametrize("hold", [*HOLDS, 0, 110, 0.5, math.inf])
def test_keeps_the_contract(hold: object) -> None:
    check_scheduler(EarliestDelivery(hold))  # type: ignore[arg-type]


@pytest.mark.parametrize("hold", ["sometimes", -1, math.nan, None, True, [1]])
def test_a_wrong_hold_is_named(hold: object) -> None:
    with pytest.raises(ConfigurationError, match=r"hold: .*balanced") as caught:
        EarliestDelivery(hold)  # type: ignore[arg-type]
    assert caught.value.field == "hold"


class TestLinesWithoutARate:
    """There is no time to plan with; a line is kept to, for the order, as long as it takes packets."""

    def lines(self, *latencies: float) -> tuple[Line, ...]:
        return tuple(testing.line(f"line{n}", rate=None, latency=value) for n, value in enumerate(latencies))

    def names(self, scheduler: EarliestDelivery, lines: tuple[Line, ...], count: int) -> list[str]:
        names = []
        for _ in range(count):
            packet = testing.packet(1000)
            placement = scheduler.place(packet, lines, 0.0)
            if placement is None:
                break
            names.append(placement.line.name)
            testing.take(placement.line, packet, 0.0, placement.not_before)
        return names

    def test_runs_of_packets_keep_to_a_line(self) -> None:
        names = self.names(EarliestDelivery(), self.lines(0.0, 0.0), 100)
        assert len(set(names[:60])) == 1
        assert sum(a != b for a, b in itertools.pairwise(names)) == 1

    def test_each_takes_so_much_and_then_packets_wait(self) -> None:
        names = self.names(EarliestDelivery(), self.lines(0.0, 0.0, 0.0), 1000)
        counts = Counter(names)
        assert set(counts.values()) <= {65, 66}
        assert len(counts) == 3

    def test_a_nearer_line_is_filled_first(self) -> None:
        names = self.names(EarliestDelivery(), self.lines(0.5, 0.0), 100)
        assert set(names[:60]) == {"line1"}
        assert names[-1] == "line0"

    def test_the_line_that_is_kept_to_need_not_be_offered(self) -> None:
        scheduler, lines = EarliestDelivery(), self.lines(0.0, 0.0)
        [first] = self.names(scheduler, lines, 1)
        others = tuple(line for line in lines if line.name != first)
        assert self.names(scheduler, others, 1) == [others[0].name]
