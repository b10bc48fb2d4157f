"""Multilink in the simulator: what is promised of it, on simulated lines."""

from __future__ import annotations

import pytest

from eqlbond.core.multilink import Multilink
from eqlbond.exceptions import ConfigurationError
from eqlbond.ppp.config import Ppp
from eqlbond.sim import Bulk, Poisson, RequestResponse, SimLine, Tcp, Trace, compare, simulate
from tests.examples import examples

UNEQUAL = (57600, 28800, 14400, 9600)
SETS = pytest.mark.parametrize("rates", [(28800,) * 4, UNEQUAL], ids=["equal", "unequal"])


def test_latency_of_a_packet_on_idle_lines():
    seconds = {
        count: simulate([28800] * count, Trace([(1.0 * n, 1400) for n in range(5)]), multilink=Multilink()).delay_mean
        for count in (1, 2, 4)
    }
    assert seconds[2] / seconds[1] <= 0.52
    assert seconds[4] / seconds[1] <= 0.275


@SETS
@pytest.mark.parametrize("mtu", [900, 1500])
def test_throughput_of_full_lines(rates, mtu):
    result = simulate(rates, Bulk(289284, mtu), mtu=mtu, multilink=Multilink())
    assert result.efficiency >= 0.97
    assert (result.reordered, result.damaged, result.lost) == (0, 0, {})
    for line in result.lines:
        assert line.share == pytest.approx(line.rate / sum(rates), abs=0.02)


@pytest.mark.examples
@SETS
@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("cut", ["hangup", "silence"])
@pytest.mark.parametrize("seed", range(examples(1)))
def test_nothing_is_ever_out_of_order_or_damaged(rates, short, cut, seed):
    lines = [
        SimLine(
            rate,
            loss=0.01,
            jitter=0.1,
            byte_error_rate=3e-5,
            latency=0.02,
            cut_at=(3.0 + number, 12.0),
            revive_at=(6.0 + number, 13.0 + number),
            cut=cut,
            framing=Ppp(echo_interval=1, echo_failure=2),
        )
        for number, rate in enumerate(rates)
    ]
    result = simulate(lines, Bulk(120_000, (40, 576, 900)), multilink=Multilink(short=short), seed=seed, until=200)
    assert (result.reordered, result.damaged, result.duplicates) == (0, 0, 0)
    # All lines fall silent, twice: what goes by them until the echoes tell is lost.
    assert result.delivered > (0.8 if cut == "hangup" else 0.5) * result.sent
    assert "waiting" not in result.lost


def test_the_same_seed_gives_the_same_run():
    def once(seed):
        lines = [SimLine(rate, loss=0.02, jitter=0.05) for rate in UNEQUAL]
        return simulate(lines, Bulk(50_000, 900), multilink=Multilink(), seed=seed)

    assert once(5).to_dict() == once(5).to_dict()
    assert once(5).delays == once(5).delays
    assert once(5).delays != once(6).delays


def test_lines_are_open_when_time_begins():
    result = simulate([9600], Trace([(0.0, 100)]), multilink=Multilink())
    assert result.duration < 0.2
    assert result.lines[0].wire_bytes < 130, "what PPP said before is not counted"


def test_plain_ppp_lines_carry_whole_packets():
    result = simulate([SimLine(rate, framing=Ppp()) for rate in (57600, 14400)], Bulk(100_000, 900), mtu=900)
    assert result.efficiency > 0.97
    assert result.lost == {}


@pytest.mark.parametrize("workload", [Tcp(60_000), RequestResponse(requests=4), Poisson(load=0.8, duration=20)])
def test_every_workload(workload):
    result = simulate([57600, 14400], workload, multilink=Multilink())
    assert (result.reordered, result.lost) == (0, {})


def test_pacing_by_pieces_comes_to_the_same():
    frames = simulate(UNEQUAL, Bulk(100_000, 900), mtu=900, multilink=Multilink())
    pieces = simulate(UNEQUAL, Bulk(100_000, 900), mtu=900, multilink=Multilink(), pacing="pieces")
    assert pieces.reordered == 0
    assert pieces.efficiency == pytest.approx(frames.efficiency, abs=0.02)


def test_the_load_counts_the_frames_of_ppp():
    lines = [SimLine(57600, framing=Ppp())]
    result = simulate(lines, Poisson(load=0.5, sizes=900, duration=60), mtu=900)
    assert result.lines[0].busy == pytest.approx(0.5, abs=0.06)


def test_a_comparison_takes_it():
    table = compare([28800, 28800], workload=Bulk(20_000, 900), mtu=900, multilink=Multilink())
    assert all(row["reordered"] == 0 for row in table.rows())


def test_what_cannot_be():
    with pytest.raises(ConfigurationError, match="frames"):
        simulate([28800], Bulk(1000), multilink=Multilink(), frames="size")
    with pytest.raises(ConfigurationError, match="mrru"):
        simulate([28800], Bulk(1000), mtu=2000, multilink=Multilink())
    with pytest.raises(ConfigurationError, match="multilink"):
        simulate([28800], Bulk(1000), multilink=True)  # type: ignore[arg-type]
