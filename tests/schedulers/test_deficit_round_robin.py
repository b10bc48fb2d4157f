"""`DeficitRoundRobin`: shares of the bytes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqlbond.schedulers import DeficitRoundRobin, Line, check_scheduler, testing

rates = st.lists(st.integers(300, 3_000_000), min_size=1, max_size=8)
sizes = st.lists(st.integers(1, 1500), min_size=1, max_size=300)


@given(rates, sizes)
def test_no_line_is_further_from_its_share_than_a_round(given_rates: list[int], given_sizes: list[int]) -> None:
    lines = tuple(testing.line(f"{n}", rate=rate) for n, rate in enumerate(given_rates))
    policy = DeficitRoundRobin()
    carried: dict[Line, int] = dict.fromkeys(lines, 0)
    for size in [1500, *given_sizes]:  # the largest first, so that the quantum stays
        carried[policy.place(testing.packet(size), lines, 0.0).line] += size
    # In terms of full rounds: each line is within one quantum and one packet of the same number of rounds.
    most = max(given_rates)
    for line in lines:
        assert line.rate is not None
        for other in lines:
            assert other.rate is not None
            ahead = carried[line] * most / line.rate - carried[other] * most / other.rate
            assert ahead <= 1500 + 1500 * most / other.rate + 1e-3


def test_counts_bytes_not_packets() -> None:
    lines = testing.line("a"), testing.line("b")
    policy = DeficitRoundRobin()
    carried = {"a": 0, "b": 0}
    for n in range(1000):
        size = 40 if n % 2 else 1500  # round robin would give one line all of the large ones
        carried[policy.place(testing.packet(size), lines, 0.0).line.name] += size
    assert abs(carried["a"] - carried["b"]) <= 2 * 1500


def test_counts_what_stands_on_the_wire() -> None:
    lines = testing.line("plain"), testing.line("fat", overhead=100)
    policy = DeficitRoundRobin()
    carried = {"plain": 0, "fat": 0}
    for _ in range(1000):
        carried[policy.place(testing.packet(100), lines, 0.0).line.name] += 1
    assert carried["plain"] / carried["fat"] == pytest.approx(2, rel=0.02)


def test_priorities_are_the_weights() -> None:
    lines = testing.line("a", rate=9600, priority=3), testing.line("b", rate=57600, priority=1)
    policy = DeficitRoundRobin()
    chosen = "".join(policy.place(testing.packet(500), lines, 0.0).line.name for _ in range(400))
    assert chosen.count("a") == 300


def test_a_priority_of_0_carries_nothing_while_others_are_up() -> None:
    none, some = testing.line("none", priority=0), testing.line("some")
    policy = DeficitRoundRobin()
    assert {policy.place(testing.packet(99), (none, some), 0.0).line.name for _ in range(50)} == {"some"}
    policy.lines_changed((none,), 0.0)
    assert policy.place(testing.packet(99), (none,), 0.0).line is none


def test_a_line_without_a_rate_counts_as_the_mean_of_the_others() -> None:
    lines = testing.line("a", rate=1000), testing.line("b", rate=3000), testing.line("x", rate=None)
    policy = DeficitRoundRobin()
    chosen = "".join(policy.place(testing.packet(500), lines, 0.0).line.name for _ in range(600))
    assert chosen.count("x") == pytest.approx(200, abs=2)


def test_what_is_withdrawn_is_not_counted() -> None:
    lines = testing.line("a"), testing.line("b")
    policy = DeficitRoundRobin()
    carried = {"a": 0, "b": 0}
    rng = random.Random(3)
    for _ in range(2000):
        packet = testing.packet(rng.choice((40, 576, 1500)))
        line = policy.place(packet, lines, 0.0).line
        if line.name == "a" and rng.random() < 0.3:
            policy.withdrawn(packet, line, 0.0)
        else:
            carried[line.name] += len(packet.payload)
    assert abs(carried["a"] - carried["b"]) <= 4 * 1500


def test_a_line_that_returns_claims_nothing_for_its_absence() -> None:
    a, b = testing.line("a"), testing.line("b")
    policy = DeficitRoundRobin()
    for up, n in (((a, b), 10), ((a,), 100), ((a, b), 0)):
        policy.lines_changed(up, 0.0)
        for _ in range(n):
            policy.place(testing.packet(500), up, 0.0)
    chosen = "".join(policy.place(testing.packet(500), (a, b), 0.0).line.name for _ in range(20))
    assert abs(chosen.count("a") - 10) <= 1


def test_a_packet_that_a_line_cannot_take_costs_it_nothing() -> None:
    small, large = testing.line("small"), testing.line("large")
    policy = DeficitRoundRobin()
    carried = {"small": 0, "large": 0}
    for n in range(900):
        size, offered = (1500, (large,)) if n % 3 == 0 else (500, (small, large))
        carried[policy.place(testing.packet(size), offered, 0.0).line.name] += size
    assert carried["small"] > 0.35 * sum(carried.values())


def test_keeps_the_contract() -> None:
    check_scheduler(DeficitRoundRobin())
