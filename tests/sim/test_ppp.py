"""PPP lines and Multilink in the simulator."""

from __future__ import annotations

import attrs
import pytest

from eqlbond import Chap, IpOptions, Multilink, PeerAuthenticated, SlaveDown
from eqlbond.codec.hdlc import Hdlc
from eqlbond.codec.slip import Slip
from eqlbond.core.line_model import LineSpec
from eqlbond.exceptions import ConfigurationError
from eqlbond.ppp.config import Ppp
from eqlbond.schedulers import EarliestDelivery, RoundRobin
from eqlbond.sim import Bulk, RequestResponse, SimLine, SimulationStalled, Tcp, Trace, simulate


def ppp(*rates, **options):
    return [SimLine(rate, framing=Ppp(), name=f"line{n}", **options) for n, rate in enumerate(rates)]


def test_links_are_up_when_the_workload_begins():
    result = simulate(ppp(57600), Trace([(0.0, 900)]), mtu=900)
    # Flag, protocol, 32-bit check sequence, flag: 7 bytes, and what is escaped of 900 random ones.
    assert result.delays[0] == pytest.approx(910 * 10 / 57600, rel=0.02)
    assert result.duration == pytest.approx(result.delays[0])
    assert result.efficiency == pytest.approx(1.0)
    assert all(event.time < 0 for _, event in result.events if type(event).__name__ == "SlaveUp")


@pytest.mark.parametrize("multilink", [None, Multilink()])
def test_one_end_calls_and_the_other_answers(multilink):
    ours = Ppp(auth=Chap("site7", "a secret"), ip=IpOptions(local="0.0.0.0"))
    theirs = Ppp(
        role="answerer", name="hub", require="chap", secrets={"site7": "a secret"},
        ip=IpOptions(local="10.0.0.1", peer="10.0.0.7"),
    )  # fmt: skip
    lines = [SimLine(rate, framing=ours, far_framing=theirs) for rate in (57600, 14400)]
    result = simulate(lines, Bulk(20_000, 900), mtu=900, multilink=multilink)
    assert result.lost == {}
    here, there = result.addresses
    assert (str(here.local), str(here.peer)) == ("10.0.0.7", "10.0.0.1")
    assert (there.local, there.peer) == (here.peer, here.local)
    names = {(end, event.name) for end, event in result.events if isinstance(event, PeerAuthenticated)}
    assert names == {("b", "site7")}
    assert result.to_dict()["delivered"] == result.delivered


def test_a_wrong_secret_at_the_far_end():
    lines = [SimLine(57600, framing=Ppp(auth=Chap("site7", "wrong")), far_framing=Ppp(require="chap", secrets={}))]
    result = simulate(lines, Bulk(10_000, 900), mtu=900, until=60)
    assert result.delivered == 0
    reasons = {end: event.reason for end, event in result.events if isinstance(event, SlaveDown)}
    assert "CHAP" in reasons["a"]
    assert "site7" in reasons["b"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"far_framing": "slip"}, "far_framing: a Framing such as Slip"),
        ({"far_framing": Hdlc(), "framing": Hdlc(fcs=32)}, "frames: where the two ends frame differently"),
    ],
)
def test_wrong_far_framings(options, says):
    with pytest.raises(ConfigurationError, match=says):
        simulate([SimLine(57600, **options)], Bulk(10_000), frames="size")


def test_plain_balancing_over_ppp():
    result = simulate(ppp(57600, 14400), Bulk(100_000, 900), mtu=900)
    assert result.efficiency > 0.99
    assert result.lost == {}
    assert sum(line.wire_bytes for line in result.lines) > result.payload_bytes


def test_fragments_share_the_time_of_a_packet():
    times = [simulate(ppp(*[28800] * n), Trace([(1.0, 1400)]), multilink=Multilink()).delays[0] for n in (1, 2, 4)]
    assert times[1] / times[0] <= 0.52
    assert times[2] / times[0] <= 0.275


@pytest.mark.parametrize("scheduler", [EarliestDelivery(), EarliestDelivery(hold="never")])
def test_multilink_keeps_order_whatever_the_lines_do(scheduler):
    lines = [
        SimLine(57600, framing=Ppp(), loss=0.02, jitter=0.02),
        SimLine(28800, framing=Ppp(), byte_error_rate=1e-4),
        SimLine(14400, framing=Ppp(), cut_at=5, revive_at=20),
    ]
    result = simulate(lines, Bulk(200_000, (40, 576, 1500)), scheduler, multilink=Multilink())
    assert result.reordered == result.damaged == 0
    assert result.sent == result.delivered + sum(result.lost.values())
    assert "waiting" not in result.lost
    assert sum(result.lost.values()) < 0.1 * result.sent


def test_a_slow_line_that_works_off_its_queue_is_waited_for():
    """Taking turns, its fragments come seconds behind, one after the other."""
    result = simulate(ppp(57600, 14400, 9600), Bulk(100_000), RoundRobin(), multilink=Multilink())
    assert result.lost == {}
    assert result.reordered == 0


def test_fragments_that_come_too_late_are_said_to_be_lost_in_reassembly():
    """A line whose delay varies by far more than the patience: the far end does not wait for ever."""
    lines = [SimLine(57600, framing=Ppp()), SimLine(57600, framing=Ppp(), jitter=3.0)]
    trace = Trace([(10.0 + 0.2 * n, 400) for n in range(40)])
    result = simulate(lines, trace, RoundRobin(), multilink=Multilink())
    assert set(result.lost) == {"reassembly"}
    assert result.sent == result.delivered + result.lost["reassembly"]
    assert result.reordered == 0


def test_tcp_over_multilink():
    result = simulate(ppp(57600, 14400), Tcp(100_000), mtu=900, multilink=Multilink())
    assert result.efficiency > 0.95
    assert result.extra["retransmits"] == 0


def test_same_seed_same_result():
    runs = [simulate(ppp(57600, 9600, jitter=0.01), Bulk(50_000), multilink=Multilink(), seed=5) for _ in range(2)]
    assert runs[0].to_dict() == runs[1].to_dict()


@pytest.mark.parametrize(
    "line",
    [
        SimLine(57600, framing=Ppp(), loss=1.0),
        SimLine(57600, framing=Ppp(), latency=5, back=LineSpec(57600, loss=1.0)),
        SimLine(57600, framing=Ppp(), far_framing=Ppp(require="chap", secrets={})),
    ],
    ids=["silent", "one way", "refuses"],
)
@pytest.mark.parametrize("multilink", [None, Multilink()])
def test_ppp_that_never_comes_up_ends_the_run(line, multilink):
    with pytest.raises(SimulationStalled, match="after 600 s: PPP does not come up"):
        simulate([line], Bulk(10_000), multilink=multilink)


def test_lines_of_which_one_never_comes_up():
    lines = [
        SimLine(57600, framing=Ppp()),
        SimLine(57600, framing=Ppp(), latency=5, back=LineSpec(57600, loss=1.0), name="one way"),
    ]
    result = simulate(lines, Trace([(0.0, 900)]), mtu=900)
    assert result.delays[0] == pytest.approx(910 * 10 / 57600, rel=0.02)


@pytest.mark.parametrize(("framing", "multilink"), [(Ppp(), None), (Ppp(), Multilink()), (Slip(outfill=5.0), None)])
def test_a_workload_that_waits_for_a_lost_packet_ends_the_run(framing, multilink):
    """The links go on asking one another whether they are there; that is no progress."""
    line = SimLine(57600, framing=framing, loss=0.2)
    with pytest.raises(SimulationStalled, match="the workload waits for one"):
        simulate([line], RequestResponse(requests=5, response_size=500), multilink=multilink)


def test_time_begins_when_a_line_is_open():
    result = simulate(ppp(57600, latency=10.0), Trace([(0.0, 900)]), mtu=900)
    assert result.delays[0] == pytest.approx(10 + 910 * 10 / 57600, rel=0.01)
    assert result.duration == pytest.approx(result.delays[0])
    assert result.efficiency == pytest.approx(910 * 10 / 57600 / result.duration, rel=0.02)
    assert max(event.time for _, event in result.events if type(event).__name__ == "SlaveUp") <= 0


def test_what_ppp_says_is_counted_for_neither_direction():
    result = simulate(ppp(57600), RequestResponse(requests=1, request_size=900, response_size=900), mtu=900)
    assert result.lines[0].wire_bytes == pytest.approx(910, abs=15)
    assert result.back["wire_bytes"] == pytest.approx(910, abs=15)


def test_a_workload_may_pause_for_long():
    result = simulate(ppp(57600), Trace([(0.0, 900), (20_000.0, 900)]), mtu=900)
    assert result.delivered == 2


def test_a_line_may_be_mended_late():
    result = simulate(ppp(9600, cut_at=5, revive_at=8000), Bulk(50_000))
    assert result.lost == {}
    assert result.duration > 8000


def test_a_run_is_over_with_its_packets_whatever_the_links_say():
    lines = ppp(57600, latency=3.0)
    lines[0] = attrs.evolve(lines[0], framing=Ppp(echo_interval=1, echo_failure=10))
    assert simulate(lines, Bulk(10_000)).lost == {}


def test_impossible_combinations():
    with pytest.raises(ConfigurationError, match="negotiates"):
        simulate(ppp(57600), Bulk(1000), frames="size")
    with pytest.raises(ConfigurationError, match="Multilink needs Ppp"):
        simulate([SimLine(57600, framing=Hdlc())], Bulk(1000), multilink=Multilink())
