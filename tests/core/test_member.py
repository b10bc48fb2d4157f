"""`Member`: byte clock, pieces, holds, the express lane, what a slow or silent port does."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqlbond.core.member import HIGH, LOW, Member
from eqlbond.events import RateChanged
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet
from eqlbond.schedulers import Eql, Line, Placement, RoundRobin
from tests.examples import examples

from .driver import HEADER, Driver, Length

RATES = (300, 600, 2400, 9600, 57600, 115200, 1_000_000, 4_000_000)


def most(rate: float) -> float:
    """What may stand in the port: 40 ms, or one byte."""
    return max(HIGH, 10 / rate)


# -- pacing


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("size", [1, 40, 1500])
@pytest.mark.parametrize("tells", [True, False])
def test_the_port_holds_little_and_never_runs_dry(rate: float, size: int, tells: bool) -> None:
    if size == 1 and rate > 500_000:
        size = 10  # a byte at a time would only take long
    driver = Driver(scheduler=RoundRobin())
    member = driver.enslave(rate, tells=tells)
    port = driver.ports[member]
    seconds = max(min(0.5, 8_000 * (size + 2) / rate), 400 / rate)
    driver.bulk(seconds, size)
    assert port.most_seconds <= most(rate) + 1e-6
    assert max(n for _, n in port.pieces) * 10 / rate <= most(rate) + 1e-6
    carried = (len(port.written) - port.held) * 10 / rate
    assert carried >= (driver.now - 10 / rate) * 0.995 - 1e-6


@pytest.mark.parametrize("rate", RATES)
def test_late_wake_ups_leave_no_gap(rate: float) -> None:
    driver = Driver(scheduler=RoundRobin(), late=0.002)
    port = driver.ports[driver.enslave(rate, tells=False)]
    driver.bulk(max(0.5, 400 / rate), 900)
    assert port.most_seconds <= most(rate) + 1e-6
    carried = (len(port.written) - port.held) * 10 / rate
    # Below 250 bit/s a byte is longer than what the port may hold, so a gap is the price; not from 300 on.
    assert carried >= (driver.now - 10 / rate) * 0.98


@settings(max_examples=examples(15), deadline=None)
@given(
    st.sampled_from(RATES[2:]),
    st.lists(st.tuples(st.integers(1, 700), st.sampled_from([0.0, 0.001, 0.05])), min_size=1, max_size=8),
    st.booleans(),
    st.sampled_from([0.0, 0.0015]),
    st.sampled_from([1, 7, 1 << 20]),
)
def test_bytes_come_out_once_and_in_order(
    rate: float, packets: list[tuple[int, float]], tells: bool, late: float, room: int
) -> None:
    driver = Driver(scheduler=RoundRobin(), late=late)
    member = driver.enslave(rate, tells=tells)
    port = driver.ports[member]
    port.size = max(room, int(rate / 10 * 0.01))
    sent = []
    for size, pause in packets:
        sent.append(driver.send(size).payload)
        driver.run(driver.now + pause)
    driver.finish(36000)
    assert [payload for _, payload in port.arrived] == sent
    assert port.written == b"".join(len(p).to_bytes(2, "big") + p for p in sent)
    assert port.most_seconds <= most(rate) + 1e-6
    assert driver.drained()
    assert member.bytes_sent == len(port.written)
    assert member.packets_sent == len(sent)
    assert member.payload_sent == sum(map(len, sent))
    assert member.line.planned == 0
    assert member.line.free <= driver.now + 1e-6


def test_a_frame_goes_in_pieces_and_no_wake_up_does_nothing() -> None:
    driver = Driver(9600)
    driver.send(1500)
    driver.finish()
    port = driver.ports[driver.members[0]]
    assert len(port.pieces) > 50
    assert max(n for _, n in port.pieces) <= HIGH * 960 + 1
    assert len(driver.wakes) <= len(port.pieces) + 2
    gaps = [b - a for (a, _), (b, _) in zip(port.pieces, port.pieces[1:], strict=False)]
    assert max(gaps) <= HIGH
    assert min(gaps[1:-1]) >= LOW * 0.9  # as few wake-ups as the horizon allows
    assert port.arrived[0][0] == pytest.approx(1502 / 960, abs=0.001)


def test_an_idle_line_has_no_deadline() -> None:
    driver = Driver(9600, 57600)
    assert driver.bundle.next_deadline() is None
    driver.send(1000)
    assert driver.bundle.next_deadline() is not None
    driver.finish()
    assert driver.bundle.next_deadline() is None
    wakes = len(driver.wakes)
    driver.run(driver.now + 1000)
    assert len(driver.wakes) == wakes


def test_the_estimate_is_what_happens() -> None:
    driver = Driver(scheduler=RoundRobin())
    member = driver.enslave(14400, latency=0.05)
    expected = []
    for size in (900, 40, 1500, 1, 576):
        driver.send(size)
        expected.append(member.line.free + member.line.latency)
        driver.run(driver.now + 0.03)
    driver.finish()
    assert [when for when, _ in driver.arrivals()] == pytest.approx(expected, abs=1e-6)
    assert member.line.eta(144, driver.now) == pytest.approx(driver.now + 0.15)


def test_an_unpaced_line_takes_all_that_there_is_room_for() -> None:
    driver = Driver(None)
    port = driver.ports[driver.members[0]]
    port.size = 4000
    port.rate = 8000
    for _ in range(20):
        driver.send(500)
    assert port.held == 4000
    assert driver.members[0].stats(0.0).port_bytes == 4000
    while driver.members[0].wants_to_send():
        driver.run(driver.now + 0.1)
        driver.bundle.has_room(driver.members[0])
        driver.serve()
    driver.run(driver.now + 30)
    assert len(port.arrived) == 20
    assert driver.order() == list(range(20))


# -- holds


class Holds:
    """Everything to the first line, held until the time that the test says."""

    until = 0.0

    def place(self, packet: Packet, lines: tuple[Line, ...], now: float) -> Placement:
        return Placement(lines[0], Holds.until if packet.payload[-1:] == b"." and len(packet.payload) > 100 else 0.0)


@pytest.mark.parametrize("until", [0.0, 0.003, 0.0301, 0.2, 1.7])
@pytest.mark.parametrize("late", [0.0, 0.001])
def test_a_held_frame_begins_when_its_hold_ends(until: float, late: float) -> None:
    Holds.until = until
    driver = Driver(9600, scheduler=Holds(), late=late)
    driver.send(90)  # not held
    free = 92 / 960
    driver.send(200)
    member = driver.members[0]
    assert member.line.free == pytest.approx(max(until, free) + 202 / 960)
    driver.send(50)  # behind the held one
    driver.finish()
    begins = max(until, free)
    arrivals = [when for when, _ in driver.arrivals()]
    assert arrivals[1] == pytest.approx(begins + 202 / 960, abs=1e-6 + 2 * late)
    assert arrivals[1] >= begins + 202 / 960 - 1e-6
    assert driver.order() == [0, 1, 2]
    assert len(driver.wakes) < 60


def test_a_hold_that_wakes_with_another_port_is_not_late() -> None:
    # A port's deadline a few milliseconds earlier wakes both; the held frame goes at its own time all the same.
    Holds.until = 0.0417
    driver = Driver(9600, 9600, scheduler=Holds())
    driver.send(200)
    other = driver.members[1]
    other.plan(driver.packet(300), driver.now, 0.0)
    driver.bundle.has_room(other)
    driver.serve()
    driver.run(1.0)
    first = driver.ports[driver.members[0]].arrived
    assert first[0][0] == pytest.approx(0.0417 + 202 / 960, abs=1e-6)


def test_a_hold_on_a_line_without_a_rate() -> None:
    Holds.until = 0.5
    driver = Driver(None, scheduler=Holds())
    driver.send(200)
    driver.run(0.49)
    assert not driver.arrivals()
    driver.run(0.6)
    assert driver.arrivals()[0][0] == pytest.approx(0.5, abs=0.006)


# -- the express lane


def test_urgent_packets_go_at_the_next_frame_boundary() -> None:
    driver = Driver(9600, queue_bytes=100_000, queue_time=100)
    for _ in range(5):
        driver.send(1500)
    driver.run(0.1)
    urgent = driver.send(40, priority=1)
    assert urgent.express
    driver.finish()
    assert driver.order()[:3] == [0, 5, 1]
    arrived = next(when for when, payload in driver.arrivals() if payload == urgent.payload)
    assert arrived == pytest.approx((1502 + 42) / 960, abs=0.001)


def test_urgent_packets_go_before_what_has_not_begun_in_the_same_instant() -> None:
    driver = Driver(9600)
    driver.send(40)
    driver.send(1400)
    driver.send(40, priority=1)  # the first frame of 42 bytes is longer than the horizon
    driver.finish()
    assert driver.order() == [0, 2, 1]


def test_sparse_flows_pass_bulk_and_do_not_starve_it() -> None:
    driver = Driver(9600, queue_bytes=1 << 20, queue_time=1000)
    for _ in range(8):
        driver.send(1000, flow="bulk")
    # A new flow every 80 ms with 700 bytes: 91 % of the line for sparse flows alone.
    sparse = 0
    while driver.now < 8.0:
        driver.send(700, flow=f"sparse{sparse}")
        sparse += 1
        driver.run(driver.now + 0.08)
    order = driver.order()
    assert order[0] == 0
    assert order[1] > 7  # a sparse one passed seven of bulk
    bulk = [n for n in order if n < 8]
    # After 3000 bytes of sparse flows at most, and what is in the port, one frame of bulk goes.
    assert len(bulk) >= 2
    places = [place for place, n in enumerate(order) if n < 8]
    assert all(1 <= b - a - 1 <= 5 for a, b in pairwise(places))


def test_a_held_frame_does_not_keep_sparse_flows_waiting() -> None:
    Holds.until = 6.0
    driver = Driver(9600, scheduler=Holds(), queue_bytes=1 << 20, queue_time=100)
    driver.send(200, flow="bulk")  # held
    for n in range(50):
        driver.send(98, flow=f"sparse{n}")  # more than their quantum
    driver.finish()
    arrivals = driver.arrivals()
    assert driver.order()[-1] == 0
    assert arrivals[-2][0] == pytest.approx(50 * 100 / 960, abs=0.3)
    assert driver.drained()


# -- a port that takes less than it should


def test_a_line_that_drains_slower_is_learnt_and_recovers() -> None:
    driver = Driver(scheduler=RoundRobin())
    member = driver.enslave(57600, wire=28800)
    port = driver.ports[member]
    driver.bulk(6.0, 900)
    learnt = [event for event in driver.events if isinstance(event, RateChanged)]
    assert learnt
    assert all(event.measured and event.slave is member for event in learnt)
    assert member.line.rate == pytest.approx(28800, rel=0.15)
    assert member.configured_rate == 57600
    assert port.seconds(driver.now) <= 0.06
    carried = (len(port.written) - port.held) * 10 / 28800
    assert carried > 0.95 * driver.now
    assert member.line.planned <= driver.bundle.limit + 2 * 902
    port.change_rate(57600, driver.now)
    driver.bulk(driver.now + 15.0, 900)
    assert member.line.rate == 57600
    assert driver.events[-1].rate == 57600  # type: ignore[attr-defined]


def test_an_honest_line_is_never_doubted() -> None:
    for rate in (600, 9600, 115200, 921600):
        driver = Driver(rate, late=0.001)
        driver.bulk(5.0 if rate < 500_000 else 1.5, 1500, 40)
        assert not [event for event in driver.events if isinstance(event, RateChanged)]


def test_a_stalled_port_is_asked_ever_more_rarely_and_recovers() -> None:
    for tells in (True, False):
        driver = Driver(scheduler=Eql(), queue_bytes=1 << 20, queue_time=100)
        member = driver.enslave(115200, tells=tells)
        port = driver.ports[member]
        port.change_rate(0, 0.0)
        port.size = 200
        driver.send(1500)
        driver.run(10.0)
        early = sum(wake < 1.0 for wake in driver.wakes)
        late = sum(wake > 8.0 for wake in driver.wakes)
        assert 0 < late / 2 <= 6
        assert early > late / 2
        # New packets all the time must not put off the next question.
        port.change_rate(115200, driver.now)
        before = len(port.written)
        for _ in range(60):
            driver.send(40)
            driver.run(driver.now + 0.005)
        assert len(port.written) > before
        driver.finish()
        assert len(port.arrived) == 61


def test_packets_do_not_put_off_the_next_look_at_a_stalled_port() -> None:
    driver = Driver(scheduler=Eql(), queue_bytes=1 << 20, queue_time=100)
    member = driver.enslave(115200)
    port = driver.ports[member]
    port.change_rate(0, 0.0)
    driver.send(1500)
    driver.run(5.0)
    port.change_rate(115200, driver.now)
    before = len(port.written)
    for _ in range(200):
        driver.send(1)
        driver.run(driver.now + 0.003)
    assert len(port.written) > before


# -- changing what the line is


@pytest.mark.parametrize(("before", "after"), [(57600, 9600), (9600, 57600), (300, 115200), (None, 9600), (9600, None)])
@pytest.mark.parametrize("scheduler", [Eql, RoundRobin])
def test_a_new_rate_reaches_clock_and_plan(before: float | None, after: float | None, scheduler: type[Eql]) -> None:
    driver = Driver(before, scheduler=scheduler(), queue_bytes=1 << 20, queue_time=1000)
    member = driver.members[0]
    port = driver.ports[member]
    if before is None:
        port.size, port.rate = 300, 9600.0
    for _ in range(10):
        driver.send(500)
    driver.run(0.05)
    driver.bundle.set_rate(member, after, driver.now)
    port.change_rate(after or float("inf"), driver.now)
    port.most_seconds = 0.0
    driver.serve()
    if after is not None:
        left = 10 * 502 - len(port.written) + port.held
        assert member.line.free == pytest.approx(driver.now + left * 10 / after, abs=0.06)
    driver.finish()
    assert driver.order() == list(range(10))
    assert after is None or member.line.planned == 0
    assert driver.drained()


def test_what_stands_in_the_port_takes_longer_at_a_lower_rate() -> None:
    driver = Driver(scheduler=RoundRobin())
    member = driver.enslave(57600, tells=False)
    port = driver.ports[member]
    driver.send(1500)
    driver.run(0.01)
    driver.bundle.set_rate(member, 9600, driver.now)
    port.change_rate(9600, driver.now)
    standing = port.seconds(driver.now)
    driver.serve()
    port.most_seconds = 0.0
    driver.run(driver.now + standing + 0.2)
    assert port.most_seconds <= HIGH + 10 / 9600  # one byte was half-way out when the rate changed


def test_settings() -> None:
    member = Member("a", Length(), rate=9600, bits_per_byte=8, latency=0.1)
    assert member.line.byte_time == pytest.approx(8 / 9600)
    assert member.line.priority == 9600
    member.set_rate(14400)
    assert member.line.priority == 14400
    member.set_priority(1)
    member.set_rate(57600)
    assert member.line.priority == 1
    member.set_priority(None)
    assert member.line.priority == 57600
    member.set_latency(0.5)
    assert member.line.latency == 0.5
    assert member.owner is member
    assert "down rate=57600" in repr(member)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"rate": 0}, "rate"),
        ({"rate": -9600}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"rate": float("inf")}, "rate"),
        ({"rate": "9600"}, "rate"),
        ({"rate": True}, "rate"),
        ({"bits_per_byte": 0}, "bits_per_byte"),
        ({"bits_per_byte": "8N1"}, "bits_per_byte"),
        ({"latency": -0.1}, "latency"),
        ({"latency": float("nan")}, "latency"),
        ({"priority": -1}, "priority"),
        ({"priority": float("inf")}, "priority"),
        ({"mtu": 0}, "mtu"),
        ({"mtu": 1500.0}, "mtu"),
        ({"framing": Length}, "framing"),
        ({"framing": "slip"}, "framing"),
    ],
)
def test_a_wrong_value_is_named(options: dict[str, object], field: str) -> None:
    values: dict[str, object] = {"framing": Length(), "rate": 9600, **options}
    with pytest.raises(ConfigurationError, match=f"^{field}: ") as caught:
        Member("a", **values)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_statistics() -> None:
    driver = Driver(9600)
    member = driver.members[0]
    driver.send(1000)
    driver.send(50)
    driver.run(0.5)
    stats = member.stats(driver.now)
    port = driver.ports[member]
    assert stats.up
    assert stats.state == "up"
    assert stats.bytes_sent == len(port.written)
    assert stats.planned_bytes == 1050 + 2 * HEADER - stats.bytes_sent
    assert stats.planned_packets == 1
    assert stats.port_bytes == pytest.approx(port.held, abs=1)
    assert stats.packets_sent == 0
    driver.disconnect(member)
    stats = member.stats(driver.now)
    assert not stats.up
    assert stats.state == "down"
    assert (stats.planned_bytes, stats.planned_packets, stats.port_bytes) == (0, 0, 0)
    assert stats.reclaimed == 2
