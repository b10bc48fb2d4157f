"""FQ-CoDel: fairness, sojourn times, marking, bounds; alone and as the queue of a bond."""

from __future__ import annotations

import math
import random
from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from eqlbond.codec.ecn import ecn_of
from eqlbond.codec.ip import header_checksum
from eqlbond.core.fq_codel import _PACKET_MEMORY, FairQueue, FqCoDel
from eqlbond.core.fragments import Fragmenter
from eqlbond.core.queues import Fifo
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet
from eqlbond.schedulers import EarliestDelivery, Eql, RoundRobin
from tests.examples import examples

from . import test_bundle
from .driver import Driver

FLOWS = ("a", "b", "c", None)


class Bottleneck:
    """A queue with a line behind it that takes a byte in `byte_time`."""

    def __init__(self, mtu: int = 1500, byte_time: float = 0.0, **options: object) -> None:
        self.dropped: list[tuple[Packet, str]] = []
        discipline = FqCoDel(**options)  # type: ignore[arg-type]
        self.queue = discipline.queue(mtu, lambda packet, reason: self.dropped.append((packet, reason)))
        self.byte_time = byte_time
        self.queue.pace(byte_time, 0.0)
        self.now = 0.0
        self.sequence = 0
        self.sent: list[tuple[float, Packet]] = []

    def push(self, flow: object, size: int = 1000, payload: bytes | None = None) -> Packet:
        packet = Packet(bytes(size) if payload is None else payload, flow=flow)
        packet.sequence = self.sequence
        packet.entered = self.now
        self.sequence += 1
        self.queue.push(packet, self.now)
        return packet

    def pull(self) -> Packet | None:
        packet = self.queue.head(self.now)
        if packet is not None:
            assert self.queue.take() is packet
            self.sent.append((self.now, packet))
            self.now += len(packet.payload) * self.byte_time
        return packet

    def pull_all(self) -> list[Packet]:
        return list(iter(self.pull, None))

    def delays(self, flow: object) -> list[float]:
        return [when - packet.entered for when, packet in self.sent if packet.flow == flow]


def ip(size: int, ecn: int = 0, source: int = 1) -> bytes:
    header = bytearray(20)
    header[0], header[1], header[9] = 0x45, ecn, 17
    header[2:4] = size.to_bytes(2, "big")
    header[12:20] = bytes((10, 0, 0, source, 10, 0, 0, 2))
    header[10:12] = header_checksum(header).to_bytes(2, "big")
    return bytes(header) + bytes(size - 20)


# -- the options


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target", 0),
        ("target", math.nan),
        ("target", "5ms"),
        ("target", True),
        ("target", 0.2),
        ("interval", -1),
        ("interval", math.inf),
        ("ecn", 1),
        ("limit", 0),
        ("limit", 1e6),
        ("quantum", 0),
    ],
)
def test_options_that_cannot_work(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        FqCoDel(**{field: value})  # type: ignore[arg-type]
    assert caught.value.field == field


def test_a_limit_below_two_packets() -> None:
    with pytest.raises(ConfigurationError, match="limit"):
        Driver(9600, queue=FqCoDel(limit=3000), mtu=1500)
    Driver(9600, queue=FqCoDel(limit=3000), mtu=576)


@pytest.mark.parametrize("queue", [FqCoDel, "fq_codel", Fifo()])
def test_what_is_no_discipline(queue: object) -> None:
    with pytest.raises(ConfigurationError, match="FqCoDel"):
        Driver(9600, queue=queue)


# -- fairness (RFC 8290 section 4.2)


def test_two_flows_share_by_bytes_whatever_their_sizes() -> None:
    line = Bottleneck(byte_time=0.001, limit=1 << 24)
    for _ in range(400):
        line.push("large", 1500)
    for _ in range(4000):
        line.push("small", 150)
    sent: Counter[object] = Counter()
    for _ in range(1000):
        packet = line.queue.head(0.0)
        assert packet is not None
        line.queue.take()
        sent[packet.flow] += len(packet.payload)
    assert abs(sent["large"] - sent["small"]) <= 1500 + 300


@pytest.mark.parametrize("flows", [2, 5, 50])
def test_every_flow_gets_its_turn(flows: int) -> None:
    line = Bottleneck(limit=1 << 24)
    for n in range(flows * 20):
        line.push(n % flows)
    line.now = 0.001
    turns = [line.pull() for _ in range(flows * 10)]
    counts = Counter(packet.flow for packet in turns if packet is not None)
    assert set(counts) == set(range(flows))
    assert max(counts.values()) - min(counts.values()) <= 3


def test_a_new_flow_goes_first_and_only_for_a_quantum() -> None:
    line = Bottleneck(quantum=300)
    for _ in range(10):
        line.push("bulk", 300)
    assert [packet.flow for packet in (line.pull(), line.pull()) if packet] == ["bulk", "bulk"]
    for _ in range(10):
        line.push("new", 100)
    order = [packet.flow for packet in line.pull_all()]
    assert order[:3] == ["new"] * 3
    assert order[3:11].count("bulk") == 2


def test_a_flow_that_empties_is_not_new_again_in_the_same_round() -> None:
    """Otherwise a flow that sends one packet at a time would have the line for itself."""
    line = Bottleneck(quantum=1000)
    for _ in range(50):
        line.push("bulk", 1000)
    line.pull()
    line.push("sly", 1000)
    order = []
    for _ in range(20):
        packet = line.pull()
        assert packet is not None
        order.append(packet.flow)
        if packet.flow == "sly":
            line.push("sly", 1000)
    assert 9 <= order.count("bulk") <= 11


def test_flows_that_are_gone_are_forgotten() -> None:
    line = Bottleneck()
    for n in range(10000):
        line.push(n, 40)
        line.pull()
    line.pull()
    assert not line.queue._flows
    assert not line.queue._old


def test_a_flood_of_new_flows_leaves_nothing_behind() -> None:
    line = Bottleneck()
    line.push("bulk")
    line.push("bulk")
    line.pull()
    for n in range(20000):  # new flows come first, so the list of the old ones is never looked at
        line.push(n, 40)
        line.pull()
    assert len(line.queue._flows) < 2000
    line.pull_all()
    assert not line.queue._flows


def test_order_within_flows() -> None:
    rng = random.Random(1)
    line = Bottleneck(byte_time=1e-5)
    for _ in range(3000):
        if rng.random() < 0.5:
            line.push(rng.choice(FLOWS), rng.choice((40, 576, 1500)))
        else:
            line.pull()
    line.pull_all()
    for flow in FLOWS:
        numbers = [packet.sequence for _, packet in line.sent if packet.flow == flow]
        assert numbers == sorted(numbers)
        assert numbers


# -- CoDel (RFC 8289)


def judged(line: Bottleneck, delay: float, seconds: float, ecn: int = 0) -> list[float]:
    """A packet every 10 ms from a queue in which each has waited `delay`; returns when drops happened."""
    drops: list[float] = []
    line.queue._drop = lambda packet, reason: drops.append(line.now)
    start = line.now
    for n in range(int(seconds * 100)):
        line.now = start + n / 100
        while len(line.queue) < 40:
            line.push("f", payload=ip(1000, ecn))
        flow = line.queue._flows["f"]
        flow.packets = deque((packet, line.now - delay) for packet, _ in flow.packets)
        line.pull()
    return drops


def test_a_queue_below_the_target_is_left_alone() -> None:
    assert judged(Bottleneck(), 0.004, 2.0) == []


def test_a_short_burst_is_left_alone() -> None:
    """Above the target, but for less than an interval."""
    line = Bottleneck()
    for _ in range(9):
        line.push("f")
    for n in range(9):
        line.now = 0.01 * (n + 1)
        line.pull()
    assert line.dropped == []


def test_the_times_of_dropping_follow_the_control_law() -> None:
    """The first one after an interval; the n-th next one interval / sqrt(n) later."""
    drops = judged(Bottleneck(), 0.05, 1.2)
    expected, when = [], 0.1
    for n in range(1, len(drops) + 1):
        expected.append(when)
        when += 0.1 / math.sqrt(n)
    assert len(drops) >= 20
    assert drops[:20] == pytest.approx(expected[:20], abs=0.011)


def test_dropping_ends_when_the_queue_is_short_and_remembers_its_rate() -> None:
    line = Bottleneck()
    first = judged(line, 0.05, 1.0)
    rate = line.queue._flows["f"].count
    line.now = 1.0
    line.queue.head(line.now)
    for _ in range(20):  # packets that have not waited
        while line.pull():
            pass
        line.push("f")
    again = judged(line, 0.05, 0.5)
    assert len(first) > 10
    # It starts with the rate that it had, not with one drop an interval.
    assert len(again) > 4
    assert rate > 10


def test_a_single_packet_is_never_dropped_however_late() -> None:
    line = Bottleneck()
    for n in range(100):
        line.now = n * 1.0
        line.push("f", 1500)
        line.push("f", 1500)
        line.now += 0.9
        line.pull()
        line.pull()
    assert line.dropped == []


def test_times_follow_the_rate_of_the_bond() -> None:
    queue = Bottleneck(mtu=1500).queue
    queue.pace(10 / 57600, 0.5)
    assert queue.target == pytest.approx(1.5 * 1500 * 10 / 57600)
    assert queue.interval == pytest.approx(max(0.1 + queue.target - 0.005, 2 * queue.target) + 2 * 0.5)
    queue.pace(0.0, 0.0)
    assert [queue.target, queue.interval] == pytest.approx([0.005, 0.1])


def test_after_an_outage_packets_are_not_dropped_for_having_waited() -> None:
    driver = Driver(57600, mtu=900, queue=FqCoDel())
    for _ in range(60):
        driver.send(900, flow="f")
    driver.run(0.3)
    driver.disconnect(driver.members[0])
    driver.run(60.0)
    assert driver.bundle.queued_packets > 20
    driver.connect(driver.members[0])
    driver.run(60.3)
    assert driver.bundle.dropped == {}


def test_a_responsive_flow_finds_a_short_queue() -> None:
    """AIMD on a line: the packets of the steady state wait about the target, and the line stays busy."""
    line = Bottleneck(byte_time=10 / 1e6, ecn=False)
    window, out, lost = 10.0, 0, 0
    for _ in range(6000):
        while out < window:
            line.push("f", 1500)
            out += 1
        before = len(line.dropped)
        packet = line.pull()
        dropped = len(line.dropped) - before
        out -= dropped + (packet is not None)
        if dropped:
            lost += 1
            window = max(2.0, window / 2)
        else:
            window += 1 / window
    late = line.delays("f")[1000:]
    assert lost > 5
    assert sorted(late)[len(late) // 2] < 3 * line.queue.target
    assert max(late) < 0.3


# -- ECN


@pytest.mark.parametrize("bits", [1, 2])
def test_packets_of_senders_that_notice_are_marked_and_none_is_lost(bits: int) -> None:
    line = Bottleneck()
    sent: list[Packet] = []
    take = line.queue.take
    line.queue.take = lambda: sent.append(packet := take()) or packet  # type: ignore[method-assign,func-returns-value]
    assert judged(line, 0.05, 1.2, ecn=bits) == []
    marked = [packet for packet in sent if ecn_of(packet.payload) == 3]
    assert len(marked) == line.queue.marked >= 20
    assert all(header_checksum(packet.payload[:20]) == 0 for packet in marked)
    assert len(marked) < len(sent) / 2


@pytest.mark.parametrize(("ecn", "bits"), [(False, 2), (True, 0)])
def test_otherwise_they_are_dropped(ecn: bool, bits: int) -> None:
    line = Bottleneck(ecn=ecn)
    assert judged(line, 0.05, 1.0, ecn=bits)
    assert line.queue.marked == 0


# -- bounds


def test_memory_is_bounded_and_the_fattest_flow_pays() -> None:
    line = Bottleneck(limit=100_000)
    for _ in range(10):
        line.push("thin", 100)
    for _ in range(1000):
        line.push("fat", 1000)
        assert line.queue._memory <= 100_000
        assert line.queue.size <= 100_000
    assert {(packet.flow, reason) for packet, reason in line.dropped} == {("fat", "queue limit")}
    assert len(line.dropped) + len(line.queue) == 1010
    # What has waited longest goes, so that what is left is fresh.
    assert line.dropped[0][0].sequence == 10


def test_tiny_packets_are_bounded_by_what_they_cost() -> None:
    line = Bottleneck(limit=100_000)
    for n in range(5000):
        line.push(n, 1)
    assert len(line.queue) <= 100_000 // _PACKET_MEMORY
    assert len(line.queue._flows) <= 2 * len(line.queue) + 1100


@settings(max_examples=examples(25))
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("push"), st.sampled_from(FLOWS), st.sampled_from([1, 40, 576, 1500])),
            st.tuples(st.just("pull"), st.sampled_from([0.0, 0.01, 0.2]), st.just(0)),
            st.tuples(st.just("back"), st.just(0), st.integers(1, 3)),
            st.tuples(st.just("sparse"), st.just(0), st.just(0)),
        ),
        max_size=200,
    )
)
def test_conservation(deeds: list[tuple[str, object, int]]) -> None:
    line = Bottleneck(limit=12_000)
    queue = line.queue
    out: list[Packet] = []
    pushed = 0
    for deed, what, size in deeds:
        if deed == "push":
            line.push(what, size)
            pushed += 1
        elif deed == "pull":
            assert isinstance(what, float)
            line.now += what
            packet = queue.head(line.now)
            if packet is not None:
                assert queue.take() is packet
                out.append(packet)
        elif deed == "sparse":
            waiting = Counter(packet.flow for packet in queue)
            packet = queue.sparse(waiting)
            if packet is not None:
                assert packet.flow is None or waiting[packet.flow]
                assert queue.take() is packet
                out.append(packet)
        else:
            back = out[-size:]
            del out[-size:]
            queue.put_back(back)
        assert len(list(queue)) == len(queue)
        assert queue.size == sum(len(packet.payload) for packet in queue)
        assert pushed == len(queue) + len(out) + len(line.dropped)
    while (packet := queue.head(line.now)) is not None:
        queue.take()
        out.append(packet)
    assert queue.size == 0 == len(queue)
    assert Counter(map(id, out)).most_common(1)[0][1] == 1 if out else True
    assert pushed == len(out) + len(line.dropped)


def test_fragments_are_put_back_in_the_order_in_which_they_get_their_numbers() -> None:
    """That is the order in which flows had their turns, not that in which packets came."""
    line = Bottleneck()
    fragmenter = Fragmenter()
    for n in range(4):
        line.push("ab"[n // 2])
    cut = [piece for _ in range(4) if (packet := line.pull()) for piece in fragmenter.cut(packet, [500, 500])]
    assert [piece.sequence for piece in cut] != sorted(piece.sequence for piece in cut)
    line.queue.put_back(cut[4:])
    line.queue.put_back(cut[:4])
    assert line.pull_all() == cut


# -- in the bond


@pytest.mark.parametrize("scheduler", [EarliestDelivery(), Eql(), RoundRobin()])
def test_two_flows_share_the_bond(scheduler: RoundRobin) -> None:
    driver = Driver(57600, 14400, scheduler=scheduler, mtu=900, queue=FqCoDel(limit=1 << 20, interval=1000))
    for _ in range(150):
        driver.send(900, flow="fat")
    driver.run(0.5)
    for _ in range(150):
        driver.send(900, flow="late")
    driver.run(18)
    numbers = [number for number in driver.order() if number >= 0]
    late = sum(number >= 150 for number in numbers)
    fat = sum(number < 150 for number in numbers[numbers.index(next(n for n in numbers if n >= 150)) :])
    assert late == pytest.approx(fat, rel=0.25)


def test_a_small_flow_does_not_wait_for_bulk() -> None:
    """As with the plain queue, but also where bulk has filled the queue itself."""
    driver = Driver(57600, 57600, mtu=1500, queue=FqCoDel())
    for _ in range(60):
        driver.send(1500, flow="bulk")
    waits = []
    for _ in range(20):
        number = driver.accepted
        driver.send(64, flow="ping")
        start = driver.now
        driver.run(driver.now + 0.5)
        when = next(when for when, payload in driver.arrivals() if int.from_bytes(payload[:4], "big") == number)
        waits.append(when - start)
        for _ in range(5):
            driver.send(1500, flow="bulk")
    packet = 1502 * 10 / 57600
    assert max(waits) < 1.5 * packet


def test_a_small_flow_that_sends_faster_than_frames_end_still_passes() -> None:
    """Its last packet waits for the end of a frame when the next one comes; the plan is a second long."""
    driver = Driver(57600, 14400, mtu=1500, queue=FqCoDel())
    for _ in range(40):
        driver.send(1500, flow="bulk")
    driver.run(1.0)
    sent: dict[int, float] = {}
    for n in range(60):
        sent[driver.accepted] = driver.now
        driver.send(64, flow="ping")
        driver.run(driver.now + 0.1)
        if n % 2:
            driver.send(1500, flow="bulk")
    driver.run(driver.now + 3)
    came = {int.from_bytes(payload[:4], "big"): when for when, payload in driver.arrivals()}
    waits = sorted(came[number] - when for number, when in sent.items())
    assert waits[-1] < 0.4
    order = [number for number in driver.order() if number in sent]
    assert order == sorted(order)


def test_a_small_flow_passes_for_ever_when_all_the_rest_is_planned() -> None:
    """No turn comes that would pay its debts when nothing waits in the queue, as behind a TCP with a small window."""
    driver = Driver(57600, 14400, mtu=1500, queue=FqCoDel())
    sent: dict[int, float] = {}
    for _ in range(4):
        driver.send(1500, flow="bulk")
    for _ in range(40):
        driver.send(1500, flow="bulk")
        assert not driver.bundle.stats(driver.now).queued_packets
        sent[driver.accepted] = driver.now
        driver.send(84, flow="ping")
        driver.run(driver.now + 0.22)  # as much as the lines carry
    driver.run(driver.now + 3)
    came = {int.from_bytes(payload[:4], "big"): when for when, payload in driver.arrivals()}
    assert max(came[number] - when for number, when in sent.items()) < 0.4


def test_a_flood_of_new_flows_does_not_starve_bulk() -> None:
    driver = Driver(57600, 57600, mtu=1500, queue=FqCoDel())
    for _ in range(100):
        driver.send(1500, flow="bulk")
    start = driver.now
    bulk = set(range(100))
    for n in range(2000):
        driver.send(500, flow=n)
        driver.run(driver.now + 0.01)  # 400 kbit/s of them, onto 115 kbit/s
    seconds = driver.now - start
    arrived = driver.order()
    assert driver.bundle.stats(driver.now).queued_bytes < 524288 + 100_000
    assert len(arrived) > 0.9 * seconds * 11520 / 700
    assert sum(number in bulk for number in arrived) * 1500 > 0.1 * seconds * 11520


def test_the_plan_of_unequal_lines_is_long_enough_for_the_slow_one() -> None:
    driver = Driver(57600, 14400, mtu=900, queue=FqCoDel())
    until = 20.0
    while driver.now < until:
        while driver.bundle.queued_packets < 12:
            driver.send(900, flow="f")
        driver.run(driver.now + 0.05)
    used = [port.arrived for port in driver.ports.values()]
    carried = [sum(len(payload) + 2 for _, payload in arrived) * 10 for arrived in used]
    assert carried[0] / (57600 * until) > 0.97
    assert carried[1] / (14400 * until) > 0.9
    assert driver.bundle.dropped.get("CoDel", 0) > 0  # a sender that does not slow down


def test_the_bond_is_not_full_and_drops_instead() -> None:
    driver = Driver(9600, queue=FqCoDel(limit=20_000))
    for _ in range(100):
        assert not driver.bundle.full
        driver.send(1000, flow="f")
    assert driver.bundle.dropped["queue limit"] > 50
    driver.finish()
    assert len(driver.order()) + sum(driver.bundle.dropped.values()) == 100
    assert driver.drained()


def test_lines_without_a_rate_have_a_short_plan() -> None:
    driver = Driver(None, None, mtu=1500, queue=FqCoDel())
    for member in driver.members:
        driver.ports[member].rate = 0
        driver.ports[member].size = 4096
    for _ in range(300):
        driver.send(1500, flow="f")
    bundle = driver.bundle
    assert bundle.backlog - bundle._sender._queue.size <= 2 * 65536 + 1500
    assert bundle.queued_packets > 100


def test_flows_are_told_by_the_headers() -> None:
    driver = Driver(9600, queue=FqCoDel())
    for n in range(40):
        driver.bundle.send(Packet(ip(1000, source=1 + n % 2)), driver.now)
    queue = driver.bundle._sender._queue
    assert isinstance(queue, FairQueue)
    assert len(queue._flows) == 2


def test_reclaimed_packets_go_first_and_in_order() -> None:
    driver = Driver(9600, 57600, mtu=900, queue=FqCoDel(interval=100))
    for _ in range(60):
        driver.send(900, flow="f")
    driver.run(0.4)
    driver.disconnect(driver.members[1])
    order = [packet.sequence for packet in driver.bundle._sender._queue]
    assert order == sorted(order)
    driver.finish()
    assert sorted(driver.order()) == list(range(60))


class FairConservation(test_bundle.Conservation):
    """What was taken arrives once, or is counted as dropped."""

    @initialize(scheduler=st.sampled_from([EarliestDelivery(), EarliestDelivery("strict"), Eql(), RoundRobin()]))
    def begin(self, scheduler: RoundRobin) -> None:
        self.driver = Driver(9600, 57600, scheduler=scheduler, queue=FqCoDel(limit=30_000))
        self.copying = False
        self.late = 0.0

    @rule(n=st.integers(1, 30))
    def flood(self, n: int) -> None:
        for number in range(n):
            self.driver.send(700, flow=number)

    def teardown(self) -> None:
        if not hasattr(self, "driver"):
            return
        driver = self.driver
        driver.enslave(115200)
        driver.finish()
        assert driver.drained()
        assert not driver.bundle._sender._flows
        counted = Counter(driver.order())
        assert set(counted.values()) <= {1}
        assert len(counted) + sum(driver.bundle.dropped.values()) == driver.accepted
        assert set(driver.bundle.dropped) <= {"CoDel", "queue limit"}


TestFairConservation = FairConservation.TestCase
TestFairConservation.settings = settings(max_examples=examples(8), stateful_step_count=30)
