# mypy: disable-error-code="arg-type, list-item, comparison-overlap"
"""The simulator against hand-computed cases, itself, and its own counters."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqlbond.codec.slip import Slip
from eqlbond.core.line_model import LineSpec
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet
from eqlbond.schedulers import ActiveBackup, EarliestDelivery, Eql, Placement, Redundant, RoundRobin
from eqlbond.sim import (
    Bulk,
    Bursts,
    ConstantBitRate,
    Poisson,
    RequestResponse,
    SimLine,
    SimulationStalled,
    Tcp,
    Trace,
    simulate,
)
from eqlbond.sim.frames import Payloads
from tests.examples import examples


def balanced(result):
    """Every packet that was sent arrived once, or is counted as lost."""
    return result.sent == result.delivered + sum(result.lost.values())


class TestByHand:
    def test_one_packet_takes_its_bits_by_the_rate_and_the_latency(self):
        result = simulate([SimLine(9600, latency=0.25)], Trace([(0.0, 100)]), content="text", mtu=100)
        # Payload 100, an END at either end; the number and the header of packet 0 have nothing to escape.
        assert result.delays == [pytest.approx(102 * 10 / 9600 + 0.25, abs=1e-12)]
        assert result.goodput == pytest.approx(800 / result.duration)
        assert result.lines[0].wire_bytes == 102

    def test_bits_per_byte_belong_to_the_line(self):
        result = simulate([SimLine(9600, bits_per_byte=8)], Trace([(0.0, 100)]), content="text", mtu=100)
        assert result.duration == pytest.approx(102 * 8 / 9600, abs=1e-12)
        assert result.efficiency == pytest.approx(1.0)

    def test_the_second_packet_waits_for_the_first(self):
        result = simulate([9600], Trace([(0.0, 100), (0.01, 100)]), content="text", mtu=100)
        frame = 102 * 10 / 9600
        assert result.delays == [pytest.approx(frame), pytest.approx(2 * frame - 0.01)]

    def test_earliest_delivery_leaves_the_slow_line_idle_until_it_is_worth_it(self):
        # 902 wire bytes: 0.1566 s on the fast line, 0.6264 s on the slow one. Four go fast, the fifth slow.
        fast = 902 * 10 / 57600
        result = simulate([57600, 14400], Trace([(0.0, 900)] * 5), content="text", mtu=900)
        assert [round(delay / fast, 6) for delay in result.delays[:4]] == [1, 2, 3, 4]
        assert result.delays[4] == pytest.approx(4 * fast, abs=0.01)  # held for a moment, so that it comes last
        assert result.lines[1].frames == 1

    def test_efficiency_is_busy_time_by_time(self):
        # Two packets by turns: the fast line is done when the slow one has a quarter of its frame.
        result = simulate([40000, 10000], Trace([(0.0, 998)] * 2), RoundRobin(), content="text", mtu=998)
        assert result.duration == pytest.approx(1.0)
        assert result.efficiency == pytest.approx(2 * 10000 / 50000)

    @pytest.mark.parametrize("change", [{"cut_at": 25.0}, {"rate_changes": ((25.0, 1200),)}])
    def test_efficiency_counts_what_the_lines_could_carry_until_the_last_delivery(self, change):
        # One packet of 1000 wire bytes a second arrives; what the other line could do ends with that.
        class Lags:
            def start(self, run):
                run.send(0, 998)
                run.at(30.0, lambda _: setattr(run, "done", True))

        result = simulate([10000, SimLine(30000, **change)], Lags(), ActiveBackup(), content="text", mtu=998)
        assert result.duration == pytest.approx(1 / 3)
        assert result.efficiency == pytest.approx(0.75)

    def test_efficiency_over_changes_of_the_rate(self):
        line = SimLine(10000, rate_changes=((1.0, 40000), (1.5, 10000)), cut_at=(2.0,), revive_at=(3.0,), cut="silence")
        result = simulate([line], Trace([(0.0, 998), (1.0, 998), (3.0, 998)]), content="text", mtu=998)
        assert result.duration == pytest.approx(4.0)
        assert result.efficiency == pytest.approx(30000 / (10000 + 20000 + 5000 + 10000), rel=1e-3)

    def test_busy_is_the_time_in_which_bits_left(self):
        # 1000 wire bytes, 501 of the first at 10000 bit/s and 499 at 2500; the others at 40000.
        line = SimLine(
            10000,
            nominal_rate=40000,
            rate_changes=((0.5, 2500), (3.0, 40000)),
            cut_at=3.625,
            revive_at=3.9,
            cut="silence",
        )
        packets = Trace([(0.0, 998), (3.0, 998), (3.5, 998), (4.0, 998)])
        result = simulate([line], packets, content="text", mtu=998, trace=True)
        assert [(round(p.start, 6), round(p.leave, 6), p.lost) for p in result.placed] == [
            (0.0, 2.497, ""),
            (3.0, 3.25, ""),
            (3.5, 3.625, "cut"),
            (4.0, 4.25, ""),
        ]
        assert result.lines[0].busy == pytest.approx((2.497 + 0.25 + 0.125 + 0.25) / 4.25)

    def test_lines_without_a_rate_have_no_efficiency(self):
        for line in (SimLine(None), SimLine(None, latency=0.1), SimLine(None, cut_at=5.0)):
            result = simulate([line], Bulk(10_000))
            assert result.efficiency == 0.0
            json.dumps(result.to_dict(), allow_nan=False)

    def test_reordering_as_in_rfc_4737(self):
        # By turns: the fast line takes 0.25 s for a full packet and the slow one 1 s.
        result = simulate([40000, 10000], Trace([(0.0, 998)] * 2), RoundRobin(), content="text", mtu=998)
        assert result.reordered == 0  # arrivals 0 1
        result = simulate([40000, 10000], Trace([(0.0, 998)] * 4), RoundRobin(), content="text", mtu=998)
        assert (result.reordered, result.reordering_extent_max) == (1, 1)  # 0 2 1 3
        sizes = (98, 998, 98, 40, 98)
        packets = [(0.0, size) for size in sizes]
        result = simulate([40000, 10000], Trace(packets), RoundRobin(), content="text", mtu=998)
        # 0 2 4 1 3: packet 1 is two places behind 2, and packet 3 two behind 4.
        assert (result.reordered, result.reordering_extent_max, result.reordering_extent_mean) == (2, 2, 2.0)

    def test_what_a_directions_own_values_do(self):
        line = SimLine(9600, back=LineSpec(1200, latency=0.5))
        result = simulate(
            [line], RequestResponse(requests=1, request_size=98, response_size=98), content="text", mtu=98
        )
        assert result.extra["transactions"] == [pytest.approx(100 * 10 / 9600 + 100 * 10 / 1200 + 0.5)]

    def test_jitter_stays_in_its_bounds_and_within_one_line_order(self):
        result = simulate(
            [SimLine(9600, jitter=0.2)], Poisson(load=0.3, sizes=98, duration=100), content="text", mtu=98
        )
        frame = 100 * 10 / 9600
        assert min(result.delays) > frame
        assert max(result.delays) - frame > 0.19
        assert result.reordered == 0

    def test_constant_bit_rate_is_even(self):
        result = simulate([9600], ConstantBitRate(rate=1600, size=100, duration=2.0), content="text", mtu=100)
        assert result.sent == 4
        assert all(delay == pytest.approx(102 * 10 / 9600) for delay in result.delays)

    def test_a_line_without_a_rate_takes_no_time(self):
        result = simulate([SimLine(None, latency=0.125)], Trace([(0.0, 100)] * 3))
        assert list(result.delays) == [0.125] * 3


class TestRepeatable:
    LINES = (SimLine(57600, jitter=0.01, loss=0.01), SimLine(14400, byte_error_rate=1e-5, latency=0.1))

    @pytest.mark.parametrize("frames", ["codec", "size"])
    def test_same_seed_same_result_to_the_bit(self, frames):
        runs = [
            simulate(self.LINES, Poisson(load=0.7, sizes=(40, 576, 1500), duration=60), seed=7, frames=frames)
            for _ in range(2)
        ]
        assert runs[0].to_dict() == runs[1].to_dict()
        assert runs[0].delays == runs[1].delays

    def test_another_seed_differs(self):
        runs = [simulate(self.LINES, Poisson(load=0.7, sizes=900, duration=60), seed=seed) for seed in (1, 2)]
        assert runs[0].delays != runs[1].delays

    def test_a_scheduler_object_is_not_touched(self):
        scheduler = Eql()
        first = simulate([57600, 14400], Bulk(50_000), scheduler)
        assert scheduler == Eql()
        assert simulate([57600, 14400], Bulk(50_000), scheduler).to_dict() == first.to_dict()

    def test_pacing_by_pieces_comes_to_the_same(self):
        whole = simulate([57600, 14400], Bulk(200_000, 900), mtu=900)
        pieces = simulate([57600, 14400], Bulk(200_000, 900), mtu=900, pacing="pieces")
        assert pieces.duration == pytest.approx(whole.duration, rel=0.005)
        assert pieces.efficiency == pytest.approx(whole.efficiency, rel=0.005)

    def test_by_size_comes_to_the_same(self):
        codec = simulate([57600, 14400], Bulk(200_000, 900), mtu=900, content="text")
        size = simulate([57600, 14400], Bulk(200_000, 900), mtu=900, content="text", frames="size")
        assert size.duration == pytest.approx(codec.duration, rel=1e-3)
        assert size.efficiency == pytest.approx(codec.efficiency, rel=1e-3)

    def test_copies_by_size_count_as_those_of_bytes(self):
        """Of two copies one may arrive after the end; the packet is there all the same."""
        for until in (9.0, 10.5, 12.0, None):
            codec, size = (
                simulate(
                    [9600, SimLine(57600, latency=10)],
                    Bulk(20_000, 900),
                    Redundant(),
                    frames=frames,
                    until=until,
                    mtu=900,
                    content="text",
                )
                for frames in ("codec", "size")
            )
            assert (size.delivered, size.lost, size.duplicates) == (codec.delivered, codec.lost, codec.duplicates)
            assert size.delays == pytest.approx(codec.delays)
        assert size.duplicates == size.sent == 23

    @pytest.mark.parametrize("change", [{"cut_at": 1000.0}, {"rate_changes": ((1000.0, 9600),)}])
    def test_by_size_the_order_is_that_of_bytes_where_one_line_changes(self, change):
        lines = [57600, SimLine(14400, **change)]
        codec, size = (
            simulate(lines, Bulk(100_000, 900), RoundRobin(), mtu=900, content="text", frames=frames)
            for frames in ("codec", "size")
        )
        assert (size.reordered, size.reordering_extent_max) == (codec.reordered, codec.reordering_extent_max)

    @pytest.mark.parametrize("line", [SimLine(9600, buffer=100), SimLine(9600, back=LineSpec(1200))])
    def test_by_size_frames_go_whole_whatever_the_buffer(self, line):
        result = simulate([line], RequestResponse(requests=3), frames="size")
        assert len(result.extra["transactions"]) == 3

    def test_foreseen_arrivals_are_those_of_events(self):
        """Without a trace, arrivals by size alone need no events; with one, they have them."""
        for lines in ([57600, 14400], [9600] * 3):
            plain = simulate(lines, Bulk(60_000, (40, 576, 1500)), frames="size", seed=3)
            traced = simulate(lines, Bulk(60_000, (40, 576, 1500)), frames="size", seed=3, trace=True)
            assert plain.to_dict() == traced.to_dict()
            assert plain.delays == traced.delays


class TestConservation:
    @settings(max_examples=examples(8))
    @given(
        rates=st.lists(st.sampled_from([9600, 14400, 57600, 115200]), min_size=1, max_size=4),
        loss=st.sampled_from([0.0, 0.05]),
        errors=st.sampled_from([0.0, 1e-4]),
        latency=st.sampled_from([0.0, 0.2]),
        cut=st.sampled_from([(), (3.0,), (1.0, 4.0)]),
        silent=st.booleans(),
        carried=st.sampled_from([("codec", "frames"), ("codec", "pieces"), ("size", "frames")]),
        scheduler=st.sampled_from([EarliestDelivery(), Eql(), RoundRobin()]),
        seed=st.integers(0, 1000),
    )
    def test_every_packet_is_delivered_or_counted(
        self, rates, loss, errors, latency, cut, silent, carried, scheduler, seed
    ):
        lines = [SimLine(rate, loss=loss, latency=latency, name=f"l{n}") for n, rate in enumerate(rates)]
        lines.append(
            SimLine(
                19200,
                byte_error_rate=errors,
                cut_at=cut,
                revive_at=tuple(time + 1.5 for time in cut),
                cut="silence" if silent else "hangup",
            )
        )
        frames, pacing = carried
        result = simulate(lines, Bulk(40_000, (40, 576, 1500)), scheduler, frames=frames, pacing=pacing, seed=seed)
        assert balanced(result)
        assert "waiting" not in result.lost
        assert sum(result.lost.values()) <= sum(result.drops.values()) + result.damaged
        if not loss and not errors and not cut:
            assert not result.lost
            assert not result.drops
            assert not result.duplicates

    def test_what_is_on_the_way_at_the_end_is_said_to_wait(self):
        result = simulate([9600], Bulk(100_000), until=10.0)
        assert balanced(result)
        assert result.lost == {"waiting": result.sent - result.delivered}
        assert result.duration <= 10.0

    def test_frames_by_size_stop_at_the_end_too(self):
        codec = simulate([9600], Bulk(100_000), until=10.0, content="text")
        size = simulate([9600], Bulk(100_000), until=10.0, content="text", frames="size")
        assert size.delivered == codec.delivered
        assert balanced(size)


def test_whole_numbers_are_shown_as_such():
    rows = dict(simulate([115200], Bulk(1_234_567)).rows())
    assert rows["queue peak"].endswith(" bytes")
    assert "file_bytes" in rows
    assert rows["file_bytes"] == "1234567"


class TestCuts:
    def test_a_hung_up_line_loses_nothing_without_latency(self):
        lines = [SimLine(57600), SimLine(57600, name="cut", cut_at=2.0, revive_at=6.0)]
        result = simulate(lines, Bulk(150_000, 900), mtu=900)
        assert result.lost == {}
        assert result.delivered == result.sent
        assert result.drops == {"cut": 1}  # the frame under way, which went again by the other line
        assert result.lines[1].reclaimed >= 1
        assert result.efficiency == pytest.approx(1.0, abs=0.03)  # while it is cut it could carry nothing
        assert {type(event).__name__ for end, event in result.events if end == "a"} >= {"SlaveDown", "SlaveUp"}

    def test_with_latency_what_had_left_is_lost(self):
        lines = [SimLine(57600), SimLine(57600, name="cut", latency=0.5, cut_at=2.0)]
        result = simulate(lines, Bulk(150_000, 900), mtu=900)
        # 0.5 s of frames had left by the byte clock and not arrived: 3 of 157 ms; nobody can know that they were lost.
        assert result.lost == {"cut": 3}
        assert result.drops["cut"] == 4
        assert balanced(result)

    def test_a_silent_cut_loses_all_that_goes_there(self):
        lines = [SimLine(57600), SimLine(57600, name="cut", cut_at=2.0, revive_at=4.0, cut="silence")]
        result = simulate(lines, Bulk(150_000, 900), mtu=900)
        # 2 s of frames of 157 ms; the frame that the cut broke, and the END that comes later, damage one more at most.
        assert 12 <= result.lost["cut"] <= 14
        assert result.damaged <= 1
        assert balanced(result)

    def test_the_second_cut_after_a_revival_counts_too(self):
        lines = [SimLine(57600), SimLine(57600, name="cut", cut_at=(1.0, 3.0), revive_at=(2.0, 4.0))]
        result = simulate(lines, Bulk(100_000, 900), mtu=900)
        assert result.lost == {}
        assert result.drops == {"cut": 2}

    @pytest.mark.parametrize("frames", ["codec", "size"])
    def test_a_rate_that_changes_amid_a_frame(self, frames):
        # 1000 wire bytes at 10000 bit/s; after 0.5 s the other half goes at 2500: 0.5 + 2.0 s.
        line = SimLine(10000, rate_changes=((0.5, 2500),))
        result = simulate([line], Trace([(0.0, 998)]), content="text", frames=frames)
        assert result.duration == pytest.approx(2.5, abs=0.01)
        assert result.lost == {}

    def test_ports_that_tell_their_queue_let_the_bond_learn(self):
        lines = [
            SimLine(57600),
            SimLine(57600, name="slows", rate_changes=((5.0, 9600),), tells_queue=True),
        ]
        told = simulate(lines, Bulk(300_000, 900), mtu=900)
        blind = simulate(
            [lines[0], SimLine(57600, name="slows", rate_changes=((5.0, 9600),))], Bulk(300_000, 900), mtu=900
        )
        assert told.duration < blind.duration / 1.5
        assert any(type(event).__name__ == "RateChanged" for _, event in told.events)

    @pytest.mark.parametrize("changes", [(), ((5.0, 28800),)])
    def test_by_size_a_frame_that_a_byte_error_hits_is_lost_to_it(self, changes):
        line = SimLine(57600, byte_error_rate=1e-4, loss=0.05, rate_changes=changes)
        result = simulate([line], Bulk(200_000, 900), mtu=900, frames="size")
        assert balanced(result)
        assert result.lost["byte errors"] == pytest.approx(223 * 0.95 * (1 - (1 - 1e-4) ** 910), rel=0.6)
        assert result.lost["loss"] == pytest.approx(223 * 0.05, rel=0.6)
        assert result.drops == result.lost

    def test_corrupted_slip_is_passed_on_and_counted(self):
        result = simulate([SimLine(57600, byte_error_rate=2e-4)], Bulk(300_000, 900), mtu=900)
        assert result.damaged > 20
        assert balanced(result)


class Waits:
    def place(self, packet, lines, now):
        return None


class Raises:
    def place(self, packet, lines, now):
        raise RuntimeError("no idea")


class Stops:
    """Places three packets, then waits for ever."""

    def __init__(self):
        self.placed = 0

    def place(self, packet, lines, now):
        self.placed += 1
        return Placement(lines[0]) if self.placed <= 3 else None


class TestStandstill:
    @pytest.mark.parametrize("scheduler", [Waits(), Raises(), Stops()])
    def test_a_scheduler_that_fails_ends_the_run_with_a_report(self, scheduler):
        with pytest.raises(SimulationStalled) as caught:
            simulate([9600, 19200], Bulk(50_000), scheduler)
        report = caught.value.report
        assert "end a:" in report
        assert "line 0: 9600: up" in report
        assert "workload Bulk" in report

    def test_the_cause_is_kept(self):
        with pytest.raises(SimulationStalled, match="no idea") as caught:
            simulate([9600], Bulk(50_000), Raises())
        assert caught.value.__cause__ is not None

    def test_packets_with_no_line_left(self):
        with pytest.raises(SimulationStalled, match="nothing is left that could happen") as caught:
            simulate([SimLine(9600, cut_at=5.0)], Bulk(50_000))
        assert "down" in caught.value.report

    def test_a_workload_that_goes_round_in_a_circle(self):
        class Circle:
            def start(self, run):
                def again(_):
                    run.at(run.now, again)

                again(None)

        with pytest.raises(SimulationStalled, match="at one moment"):
            simulate([9600], Circle())

    def test_tcp_gives_up_on_a_dead_line(self):
        with pytest.raises(SimulationStalled, match="gives up"):
            simulate([SimLine(9600, loss=1.0)], Tcp(10_000))


class TestErrors:
    @pytest.mark.parametrize(
        ("make", "field"),
        [
            (lambda: SimLine(0), "rate"),
            (lambda: SimLine(-9600), "rate"),
            (lambda: SimLine(math.nan), "rate"),
            (lambda: SimLine(9600, latency=-1), "latency"),
            (lambda: SimLine(9600, jitter=-0.1), "jitter"),
            (lambda: SimLine(9600, loss=1.2), "loss"),
            (lambda: SimLine(9600, byte_error_rate=-0.1), "byte_error_rate"),
            (lambda: SimLine(9600, bits_per_byte=0), "bits_per_byte"),
            (lambda: SimLine(9600, buffer=0), "buffer"),
            (lambda: SimLine(9600, cut_at=-1), "cut_at"),
            (lambda: SimLine(9600, cut_at=(3, 2)), "cut_at"),
            (lambda: SimLine(9600, cut_at="soon"), "cut_at"),
            (lambda: SimLine(9600, revive_at=3), "revive_at"),
            (lambda: SimLine(9600, cut_at=3, revive_at=2), "revive_at"),
            (lambda: SimLine(9600, cut_at=(3, 5), revive_at=6), "revive_at"),
            (lambda: SimLine(9600, cut="softly"), "cut"),
            (lambda: SimLine(9600, rate_changes=((1, 0),)), "rate_changes"),
            (lambda: SimLine(9600, rate_changes=(5,)), "rate_changes"),
            (lambda: SimLine(9600, nominal_rate=0), "rate"),
            (lambda: SimLine(9600, framing="slip"), "framing"),
            (lambda: SimLine(9600, back=9600), "back"),
            (lambda: simulate([]), "lines"),
            (lambda: simulate(["fast"]), "lines"),
            (lambda: simulate(None), "lines"),
            (lambda: simulate([SimLine(9600, name="x"), SimLine(9600, name="x")]), "lines"),
            (lambda: simulate([9600], Bulk(0)), "size"),
            (lambda: simulate([9600], Bulk(100, 3)), "packet_size"),
            (lambda: simulate([9600], Bulk(100, 2000)), "packet_size"),
            (lambda: simulate([9600], Bulk(100, [])), "packet_size"),
            (lambda: simulate([9600], Bulk(100, {40: 0})), "packet_size weight"),
            (lambda: simulate([9600], Bulk(100, 40, headers=40)), "headers"),
            (lambda: simulate([9600], Poisson(duration=5)), "load"),
            (lambda: simulate([9600], Poisson(load=0.5, rate=5)), "load"),
            (lambda: simulate([9600], Poisson(load=-0.5)), "load"),
            (lambda: simulate([SimLine(None)], Poisson(load=0.5)), "load"),
            (lambda: simulate([9600], Poisson(load=0.5, duration=-1)), "duration"),
            (lambda: simulate([9600], Poisson(load=0.5, duration=1e-9)), "workload"),
            (lambda: simulate([9600], Bursts(packets_each=0)), "packets_each"),
            (lambda: simulate([9600], Trace([(2.0, 100), (1.0, 100)])), "trace"),
            (lambda: simulate([9600], Trace([(2.0,)])), "trace"),
            (lambda: simulate([9600], Trace([])), "workload"),
            (lambda: simulate([9600], RequestResponse(requests=0)), "requests"),
            (lambda: simulate([9600], Tcp(100, mss=2000)), "mss"),
            (lambda: simulate([9600], Tcp(100, window=10)), "window"),
            (lambda: simulate([9600], Tcp(100, congestion="bbr")), "congestion"),
            (lambda: simulate([9600], "bulk"), "workload"),
            (lambda: simulate([9600], Bulk(100), "eql"), "scheduler"),
            (lambda: simulate([9600], Bulk(100), mtu=0), "mtu"),
            (lambda: simulate([9600], Bulk(100), seed=1.5), "seed"),
            (lambda: simulate([9600], Bulk(100), until=0), "until"),
            (lambda: simulate([9600], Bulk(100), frames="bits"), "frames"),
            (lambda: simulate([9600], Bulk(100), pacing="slow"), "pacing"),
            (lambda: simulate([9600], Bulk(100), pacing="pieces", frames="size"), "pacing"),
            (lambda: simulate([9600], Bulk(100), content="noise"), "content"),
            (lambda: simulate([SimLine(9600, mtu=500)], Bulk(100)), "mtu"),
        ],
    )
    def test_impossible_values_are_named(self, make, field):
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert caught.value.field == field


class TestWorkloads:
    def test_poisson_brings_the_load_that_it_says(self):
        result = simulate([57600], Poisson(load=0.5, sizes=500, duration=2000), frames="size")
        assert result.payload_bytes * 10 / 57600 / 2000 == pytest.approx(0.5, rel=0.05)

    def test_sizes_may_be_weighted(self):
        result = simulate([57600], Bulk(200_000, {40: 3, 1500: 1}), frames="size")
        mean = (3 * 40 + 1500) / 4
        assert result.sent == pytest.approx(200_000 / mean, rel=0.1)

    def test_what_comes_while_the_bond_is_full_waits_outside_or_is_dropped(self):
        overload = {"load": 1.5, "sizes": 900, "duration": 60}
        waits = simulate([57600], Poisson(**overload))
        drops = simulate([57600], Poisson(**overload, drop_when_full=True))
        assert waits.lost == {}
        assert waits.extra["dropped when full"] == 0
        assert waits.delay_max > 20
        assert drops.extra["dropped when full"] > 50
        assert drops.delay_max < 2

    def test_a_burst_on_an_idle_bond(self):
        result = simulate(
            [57600] * 2, Bursts(packets_each=4, interval=10, bursts=3, sizes=900), content="text", mtu=900
        )
        assert result.sent == 12
        assert result.duration == pytest.approx(20 + 2 * 902 * 10 / 57600, abs=0.021)  # a hold

    def test_headers_are_not_the_files(self):
        result = simulate([57600], Bulk(8600, 900, headers=40), mtu=900)
        assert result.sent == 10
        assert result.payload_bytes == 9000

    def test_request_and_response(self):
        result = simulate([57600, 14400], RequestResponse(requests=5, response_size=4000), mtu=900)
        assert len(result.extra["transactions"]) == 5
        assert result.back["payload_bytes"] == 5 * 4000
        assert result.back["sent"] == 5 * 5

    def test_urgent_packets_of_a_trace_pass_the_rest(self):
        packets = [(0.0, 900)] * 10 + [(0.01, 60, 1, 1)]
        result = simulate([9600], Trace(packets), mtu=900)
        # Three packets had entered; the urgent one is the fourth, and goes right behind the first.
        assert result.delays[3] == pytest.approx(1.0, abs=0.1)
        assert result.delays[1] > 1.9

    def test_packets_look_as_ip_and_carry_their_number(self):
        from random import Random

        from eqlbond.codec.ip import is_ip_packet

        payloads = Payloads("random", Random(1), 1500)
        for number, size in ((0, 28), (7, 40), (70000, 1500), (2**31, 576)):
            payload = payloads.make(number, size, 3)
            assert len(payload) == size
            assert is_ip_packet(payload)
            assert payloads.number(payload) == number
        assert payloads.number(payloads.make(5, 4, 0)) == 5
        assert payloads.make(1, 900, 0)[28:] != payloads.make(2, 900, 0)[28:]


class TestTrace:
    def test_frames_of_one_line_follow_one_another(self):
        result = simulate([57600, 14400], Bulk(30_000, 900), mtu=900, trace=True)
        for line in (0, 1):
            frames = [p for p in result.placed if p.end == "a" and p.line == line]
            assert frames
            for before, after in pairwise(frames):
                assert after.start >= before.leave - 1e-9
        assert {p.number for p in result.placed} == set(range(result.sent))

    def test_lost_frames_say_why(self):
        result = simulate([SimLine(57600, loss=0.2)], Bulk(30_000, 900), mtu=900, trace=True)
        lost = [p for p in result.placed if p.arrival is None]
        assert len(lost) == result.lost["loss"] == result.drops["loss"]
        assert {p.lost for p in lost} == {"loss"}


def test_a_framing_that_checks_nothing_keeps_its_counters():
    result = simulate([SimLine(57600, framing=Slip(ip_only=True), byte_error_rate=1e-4)], Bulk(200_000, 900), mtu=900)
    assert result.sent > result.delivered
    assert balanced(result)


def test_packet_is_what_the_engine_knows():
    """The simulator sends the engine's own packets."""
    seen = []

    class Spy(RoundRobin):
        def place(self, packet, lines, now):
            seen.append(type(packet))
            return super().place(packet, lines, now)

    simulate([57600], Bulk(5000), Spy())
    assert set(seen) == {Packet}
