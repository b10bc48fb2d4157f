"""The TCP-like loop: what a transfer costs, and that it is sane."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqlbond.schedulers import EarliestDelivery, Eql, RoundRobin
from eqlbond.sim import SimLine, Tcp, simulate
from eqlbond.sim.tcp import _Cubic, _Reno
from tests.examples import examples


class TestOneLine:
    def test_a_clean_line_is_filled_without_one_retransmission(self):
        result = simulate([57600], Tcp(100_000), mtu=900)
        assert result.efficiency > 0.995
        assert result.extra["retransmits"] == result.extra["timeouts"] == 0
        assert result.sent == -(-100_000 // 860)
        assert result.back["sent"] <= result.sent

    def test_delayed_acks_are_half_as_many(self):
        # At 115200 a segment takes 38 ms, so that a second one comes while the first ACK waits.
        late = simulate([115200], Tcp(86_000, delayed_ack=0.2), mtu=400)
        each = simulate([115200], Tcp(86_000, delayed_ack=0), mtu=400)
        assert each.back["sent"] == each.sent
        assert late.back["sent"] == pytest.approx(late.sent / 2, abs=3)

    def test_a_lost_segment_is_sent_again_fast(self):
        result = simulate([SimLine(57600, loss=0.01)], Tcp(200_000), mtu=900, seed=3)
        assert result.extra["fast_retransmits"] >= 1
        assert result.extra["retransmits"] < 0.1 * result.sent
        assert result.efficiency > 0.8

    def test_a_window_below_the_round_trip_limits_it(self):
        # Two segments of 0.157 s in each 0.157 + 0.007 (the ACK) + 2 x 0.3 s.
        line = SimLine(57600, latency=0.3)
        result = simulate([line], Tcp(86_000, window=2 * 860, delayed_ack=0), mtu=900)
        assert result.efficiency == pytest.approx(2 * 0.157 / 0.764, rel=0.02)
        assert simulate([line], Tcp(86_000), mtu=900).efficiency > 0.95

    def test_slow_start_doubles(self):
        line = SimLine(10_000_000, latency=0.3)
        result = simulate([line], Tcp(86_000, initial_window=1, window=200_000, delayed_ack=0), mtu=900)
        # 1 2 4 8 16 32 and the other 37 of 100 segments: 7 flights, each 0.6 s after the one before.
        assert result.duration == pytest.approx(6 * 0.6 + 0.3, abs=0.05)

    def test_a_silent_cut_is_overcome_by_the_timer(self):
        line = SimLine(57600, cut_at=3.0, revive_at=8.0, cut="silence")
        result = simulate([line], Tcp(60_000), mtu=900)
        assert result.extra["timeouts"] >= 1
        assert result.duration > 8
        assert result.extra["retransmits"] >= 1


class TestSeveralLines:
    def test_earliest_delivery_is_worth_its_lines(self):
        result = simulate([57600, 14400], Tcp(), EarliestDelivery(), mtu=900)
        assert result.efficiency >= 0.95
        assert result.extra["retransmits"] == 0

    def test_the_rule_of_1995_is_not(self):
        result = simulate([57600, 14400], Tcp(), Eql(), mtu=900)
        assert result.efficiency < 0.6
        assert result.extra["spurious"] > 0

    def test_reordering_costs_and_adapting_helps(self):
        lines = [57600] * 4
        in_order = simulate(lines, Tcp(), EarliestDelivery(), mtu=900)
        plain = simulate(lines, Tcp(), RoundRobin(), mtu=900, seed=2)
        adapts = simulate(lines, Tcp(adapts=True), RoundRobin(), mtu=900, seed=2)
        assert plain.duration > in_order.duration * 1.05
        assert adapts.duration < plain.duration
        assert adapts.extra["retransmits"] < plain.extra["retransmits"]

    def test_what_came_twice_does_not_count_as_efficiency(self):
        result = simulate([57600, 14400], Tcp(), Eql(), mtu=900)
        needed = (289284 + 337 * 42) * 10
        assert result.efficiency == pytest.approx(needed / 72000 / result.duration, rel=0.05)


@settings(max_examples=examples(6))
@given(
    loss=st.sampled_from([0.0, 0.02, 0.1]),
    latency=st.sampled_from([0.0, 0.3]),
    congestion=st.sampled_from(["cubic", "reno"]),
    adapts=st.booleans(),
    scheduler=st.sampled_from([EarliestDelivery(), Eql(), RoundRobin()]),
    frames=st.sampled_from(["codec", "size"]),
    seed=st.integers(0, 999),
)
def test_every_byte_arrives_whatever_the_lines_do(loss, latency, congestion, adapts, scheduler, frames, seed):
    lines = [SimLine(57600, loss=loss), SimLine(14400, latency=latency, loss=loss)]
    tcp = Tcp(60_000, congestion=congestion, adapts=adapts)
    result = simulate(lines, tcp, scheduler, mtu=900, seed=seed, frames=frames)
    segments = -(-60_000 // 860)
    assert result.delivered - result.extra["spurious"] >= segments
    assert result.sent == segments + result.extra["retransmits"]


class TestGrowth:
    def test_reno_adds_a_segment_a_round_trip(self):
        reno, window = _Reno(1000), 10_000.0
        for _ in range(10):
            window = reno.grow(window, 1000, 0.0, 0.1)
        assert window == pytest.approx(11_000, rel=0.01)
        assert reno.reduce(window) == pytest.approx(window / 2)
        assert reno.reduce(1000) == 2000

    def test_cubic_is_back_at_its_height_after_k(self):
        cubic = _Cubic(1000)
        window = cubic.reduce(100_000.0)
        assert window == 70_000
        k = (30 / 0.4) ** (1 / 3)  # 4.2 s
        now, rtt = 0.0, 0.2  # so long that the rule that is friendly to Reno does not come first
        while now < k:
            for _ in range(int(window / 1000)):
                window = cubic.grow(window, 1000, now, rtt)
            now += rtt
        assert window == pytest.approx(100_000, rel=0.05)
