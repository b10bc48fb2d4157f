"""`Bundle`: reclaiming, conservation, limits, flows, copies, failing schedulers, events."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from eqlbond import events as ev
from eqlbond.core.bundle import Bundle
from eqlbond.core.fq_codel import FqCoDel
from eqlbond.core.member import Member
from eqlbond.exceptions import AlreadyEnslaved, ConfigurationError, NotEnslaved, PacketTooBig, SendError
from eqlbond.packet import Packet
from eqlbond.schedulers import EarliestDelivery, Eql, Line, Placement, RoundRobin
from tests.examples import examples

from .driver import HEADER, Counted, Driver, Length, reordered

BIG = {"queue_bytes": 1 << 22, "queue_time": 1000.0}


@attrs.define
class By:
    """A scheduler by a function."""

    rule: Callable[[Packet, Sequence[Line], float], object]

    def place(self, packet: Packet, lines: Sequence[Line], now: float) -> Placement | None:
        return self.rule(packet, lines, now)  # type: ignore[return-value]


class Everywhere:
    """A copy on each line."""

    def place(self, packet: Packet, lines: Sequence[Line], now: float) -> Placement:
        return Placement(lines[0], 0.0, tuple(lines[1:]))


def kinds(driver: Driver) -> list[str]:
    return [type(event).__name__ for event in driver.events]


# -- reclaiming


@pytest.mark.parametrize("scheduler", [EarliestDelivery(), Eql(), RoundRobin()])
@pytest.mark.parametrize("at", [0.0, 0.011, 0.5, 2.2013])
def test_a_cut_line_loses_nothing_that_had_not_left(scheduler: RoundRobin, at: float) -> None:
    driver = Driver(9600, 9600, 57600, scheduler=scheduler, **BIG)
    for n in range(40):
        driver.send((1500, 100, 600)[n % 3])
    driver.run(at)
    cut = driver.members[0]
    driver.disconnect(cut)
    assert cut.counters.reclaimed > 0
    assert not cut.wants_to_send()
    driver.finish()
    assert sorted(driver.order()) == list(range(40))
    assert driver.drained()
    assert driver.bundle.stats(driver.now).dropped == {}


def test_frames_that_cannot_have_left_go_again_and_those_that_have_do_not() -> None:
    driver = Driver(9600, scheduler=RoundRobin(), **BIG)
    for _ in range(20):
        driver.send(8)  # 10 bytes on the wire: three or four of them stand in the port
    driver.run(0.1)
    member = driver.members[0]
    port = driver.ports[member]
    handed = member.counters.packets_sent
    assert handed * 10 > len(port.written) - port.held
    driver.disconnect(member)
    left = len(port.arrived)
    assert member.counters.reclaimed == 20 - left
    driver.enslave(9600)
    driver.finish()
    assert driver.order() == list(range(20))


def test_without_unsent_what_was_handed_over_is_lost_and_counted() -> None:
    driver = Driver(9600, 9600, scheduler=By(lambda p, lines, now: Placement(lines[0])), **BIG)
    for _ in range(20):
        driver.send(8)
    driver.run(0.1)
    member = driver.members[0]
    driver.disconnect(member, unsent=False)
    driver.finish()
    assert sum(member.counters.lost.values()) > 0
    assert len(driver.order()) + sum(member.counters.lost.values()) == 20


def test_frames_that_the_port_still_holds_are_reclaimed_however_late_it_is() -> None:
    driver = Driver(115200, 115200, scheduler=By(lambda p, lines, now: Placement(lines[0])), **BIG)
    port = driver.ports[driver.members[0]]
    port.change_rate(0, 0.0)
    for _ in range(200):
        driver.send(10)
    driver.run(3.0)
    driver.disconnect(driver.members[0])
    driver.finish()
    assert sorted(driver.order()) == list(range(200))


def test_with_no_line_left_packets_wait_and_go_when_one_comes() -> None:
    driver = Driver(9600, **BIG)
    driver.send(500)
    driver.run(0.1)
    driver.disconnect(driver.members[0])
    driver.send(300)
    assert driver.bundle.queued_packets == 2
    assert not driver.bundle.up
    assert driver.bundle.next_deadline() is None
    driver.connect(driver.members[0])
    driver.finish()
    assert driver.order() == [0, 1]
    assert driver.members[0].counters.connections == 2


def test_emancipated_lines_hand_back_their_plan() -> None:
    driver = Driver(9600, 57600, **BIG)
    for _ in range(10):
        driver.send(1500)
    gone = driver.members[0]
    driver.ports[gone].cut(driver.now)
    driver.bundle.remove(gone, driver.now)
    driver.serve()
    driver.finish()
    assert sorted(driver.order()) == list(range(10))
    assert kinds(driver)[-2:] == ["SlaveDown", "Emancipated"]
    assert gone not in driver.bundle.members
    with pytest.raises(NotEnslaved, match="line0 does not serve this bond"):
        driver.bundle.remove(gone, driver.now)
    with pytest.raises(NotEnslaved):
        driver.bundle.connected(gone, driver.now)
    driver.bundle.add(gone, driver.now)  # and it may come back
    driver.connect(gone)
    driver.send(100)
    driver.finish()
    assert len(driver.order()) == 11


def test_a_new_line_takes_its_part_of_the_plan() -> None:
    driver = Driver(9600, **BIG)
    for _ in range(20):
        driver.send(900)
    driver.run(0.05)
    driver.enslave(57600)
    driver.finish()
    assert driver.now < 20 * 902 / 960 / 4
    assert sorted(driver.order()) == list(range(20))
    assert not any(member.counters.reclaimed for member in driver.bundle.members)  # it was planned anew, not lost


def test_a_change_of_rate_plans_anew_in_order_of_entry() -> None:
    driver = Driver(57600, 57600, **BIG)
    for _ in range(60):
        driver.send(900)
    driver.run(0.2)
    port = driver.ports[driver.members[1]]
    port.change_rate(4800, driver.now)
    driver.bundle.set_rate(driver.members[1], 4800, driver.now)
    driver.serve()
    driver.finish()
    order = driver.order()
    assert sorted(order) == list(range(60))
    assert reordered(order) <= 2  # only what had begun on the line that slowed is late
    assert len(port.arrived) < 12
    assert [(e.slave, e.rate) for e in driver.events if isinstance(e, ev.RateChanged)] == [(driver.members[1], 4800)]


class Conservation(RuleBasedStateMachine):
    """Every packet that was taken arrives once, or more often only where a reclaim or a copy explains it."""

    @initialize(
        scheduler=st.sampled_from([EarliestDelivery(), EarliestDelivery("strict"), Eql(), RoundRobin(), Everywhere()])
    )
    def begin(self, scheduler: RoundRobin) -> None:
        self.driver = Driver(9600, 57600, scheduler=scheduler, **BIG)
        self.copying = isinstance(scheduler, Everywhere)
        self.late = 0.0

    @rule(
        size=st.sampled_from([4, 40, 576, 1500]),
        n=st.integers(1, 6),
        priority=st.sampled_from([0, 0, 0, 1]),
        flow=st.sampled_from([None, None, "a", "b"]),
    )
    def send(self, size: int, n: int, priority: int, flow: str | None) -> None:
        for _ in range(n):
            self.driver.send(size, priority=priority, flow=flow)

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.02, 0.3]))
    def wait(self, seconds: float) -> None:
        self.driver.run(self.driver.now + seconds)

    @rule(which=st.integers(0, 5))
    def cut(self, which: int) -> None:
        members = self.driver.bundle.members
        if members:
            member = members[which % len(members)]
            if member.link is not None:
                self.driver.disconnect(member)
                assert member.planned_payload == 0

    @rule(which=st.integers(0, 5))
    def open(self, which: int) -> None:
        down = [member for member in self.driver.bundle.members if member.link is None]
        if down:
            self.driver.connect(down[which % len(down)])

    @rule(which=st.integers(0, 5), rate=st.sampled_from([2400, 9600, 115200]))
    def change_rate(self, which: int, rate: int) -> None:
        members = self.driver.bundle.members
        if members:
            member = members[which % len(members)]
            self.driver.ports[member].change_rate(rate, self.driver.now)
            self.driver.bundle.set_rate(member, rate, self.driver.now)
            self.driver.serve()

    @rule(which=st.integers(0, 5))
    def emancipate(self, which: int) -> None:
        members = self.driver.bundle.members
        if members:
            member = members[which % len(members)]
            self.driver.ports[member].cut(self.driver.now)
            self.driver.bundle.remove(member, self.driver.now)
            self.driver.serve()

    @rule(rate=st.sampled_from([9600, 57600, 300]))
    def enslave(self, rate: int) -> None:
        if len(self.driver.bundle.members) < 4:
            self.driver.enslave(rate)

    def count(self, flows: Counter[object], packets: Sequence[Packet]) -> None:
        passing = self.driver.bundle._sender._fair  # then what passes is not counted
        flows.update(p.flow for p in packets if p.flow is not None and not (p.express and passing))

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "driver"):
            return
        bundle = self.driver.bundle
        planned = sum(member.planned_payload for member in bundle.members)
        waiting = sum(len(packet.payload) for packet in (*bundle._sender._queue, *bundle._sender._urgent))
        assert bundle.backlog == planned + waiting
        flows: Counter[object] = Counter()
        self.count(flows, (*bundle._sender._queue, *bundle._sender._urgent))
        for member in bundle.members:
            entries = [entry[0] for entry in member._plan.bulk] + [entry[0] for entry in member._plan.express]
            self.count(flows, entries)
            rest = len(member._rest) - member._offset
            assert member.line.planned == rest + sum(HEADER + len(packet.payload) for packet in entries)
            assert member.planned_payload == sum(len(packet.payload) for packet in entries)
        assert bundle._sender._flows == dict(flows)
        if waiting and bundle.up:
            assert bundle.next_deadline() is not None, "packets wait and nothing will wake the bond"

    def teardown(self) -> None:
        if not hasattr(self, "driver"):
            return
        driver = self.driver
        driver.enslave(115200)
        driver.finish()
        assert driver.drained()
        assert not driver.bundle._sender._flows
        assert not [event for event in driver.events if isinstance(event, ev.SchedulerFailed)]
        counted = Counter(driver.order())
        assert set(counted) == set(range(driver.accepted))
        if not self.copying:
            # By the byte clock of a perfect wire, what is reclaimed has never left.
            assert set(counted.values()) <= {1}


TestConservation = Conservation.TestCase
TestConservation.settings = settings(max_examples=examples(8), stateful_step_count=25, deadline=None)


# -- limits


def test_the_limit_is_in_time_and_bytes_and_leaves_room_for_the_window() -> None:
    driver = Driver(57600, 57600, scheduler=RoundRobin(), queue_time=0.5)
    assert driver.bundle.limit == pytest.approx(0.5 * 2 * 5760, rel=0.01)
    driver = Driver(4_000_000, scheduler=RoundRobin(), queue_bytes=100_000)
    assert driver.bundle.limit == 100_000
    driver = Driver(115200, 9600, queue_time=0.1)
    policy = driver.bundle.scheduler
    assert isinstance(policy, EarliestDelivery)
    window = policy.window(driver.bundle._up, 1500)
    assert driver.bundle.limit >= window * (11520 + 960)
    assert Driver(300, queue_time=0.1).bundle.limit >= 2 * 1500
    assert Driver(None).bundle.limit == 262144


def test_full_and_not_full_again() -> None:
    driver = Driver(9600, queue_time=2.0)
    bundle = driver.bundle
    while not bundle.full:
        driver.send(500)
    assert bundle.limit <= bundle.backlog < bundle.limit + 500
    driver.run(driver.now + 1.0)
    assert not bundle.full
    driver.disconnect(driver.members[0])
    assert bundle.limit == 262144  # it is not known what the lines will carry
    driver.finish()


@pytest.mark.parametrize("rates", [(57600, 14400), (115200, 9600), (57600,) * 4, (300, 300), (1_000_000, 57600)])
def test_a_full_bond_keeps_every_line_busy(rates: tuple[int, ...]) -> None:
    driver = Driver(*rates)
    driver.bulk(8.0 if max(rates) < 500_000 else 4.0, 1500)
    for member in driver.members:
        port = driver.ports[member]
        carried = (len(port.written) - port.held) * 10 / (member.configured_rate or 1)
        assert carried >= 0.97 * driver.now
    order = driver.order()
    assert reordered(order) <= 0.001 * len(order)


def test_packets_over_the_mtu() -> None:
    driver = Driver(9600, mtu=576)
    with pytest.raises(PacketTooBig, match="packet of 577 bytes: the bond's MTU is 576") as caught:
        driver.send(577)
    assert (caught.value.size, caught.value.mtu) == (577, 576)
    assert driver.bundle.dropped == {"too big": 1}
    assert driver.bundle.stats(0.0).packets_accepted == 0
    driver.send(576)
    driver.finish()
    assert len(driver.order()) == 1


@attrs.frozen
class Small(Length):
    """Its links take 500 bytes."""

    def link(self, mtu: int) -> object:
        from eqlbond.core.link import PlainLink

        return PlainLink(self.framer(mtu), 500)


def small(driver: Driver) -> Member:
    member = Member("small", Small(), rate=9600)
    driver.bundle.add(member, driver.now)
    driver.connect(member)
    return member


def test_a_line_with_a_smaller_mtu_gets_small_packets_only() -> None:
    driver = Driver(9600, scheduler=RoundRobin(), **BIG)
    member = small(driver)
    for n in range(20):
        driver.send((400, 900)[n % 2])
    driver.finish()
    assert len(driver.order()) == 20
    assert all(len(payload) <= 500 for _, payload in driver.ports[member].arrived)
    assert driver.ports[member].arrived


def test_a_packet_too_big_for_any_line_that_is_up_is_counted() -> None:
    driver = Driver(scheduler=EarliestDelivery(), **BIG)
    driver.bundle.send(driver.packet(900, flow="f"), 0.0)
    small(driver)
    driver.send(400, flow="f")
    driver.finish()
    assert driver.bundle.dropped == {"too big for any line that is up": 1}
    assert driver.order() == [1]
    assert driver.drained()


def test_wrong_options_are_named() -> None:
    for options, field in [
        ({"mtu": 0}, "mtu"),
        ({"mtu": 70000}, "mtu"),
        ({"mtu": "1500"}, "mtu"),
        ({"queue_bytes": 100}, "queue_bytes"),
        ({"queue_bytes": 1e6}, "queue_bytes"),
        ({"queue_time": 0}, "queue_time"),
        ({"queue_time": float("nan")}, "queue_time"),
    ]:
        with pytest.raises(ConfigurationError, match=f"^{field}: "):
            Bundle(RoundRobin(), **options)  # type: ignore[arg-type]
    for scheduler in (None, "eql", RoundRobin, By(threading.Lock())):  # type: ignore[arg-type]  # a lock cannot be copied
        with pytest.raises(ConfigurationError, match=r"^scheduler: "):
            Bundle(scheduler)  # type: ignore[arg-type]
    driver = Driver(9600)
    with pytest.raises(AlreadyEnslaved, match="line0"):
        driver.bundle.add(driver.members[0], 0.0)
    with pytest.raises(ConfigurationError, match="mtu: narrow carries 500 bytes, the bond's MTU is 1500"):
        driver.bundle.add(Member("narrow", Length(), rate=9600, mtu=500), 0.0)


def test_what_raises_in_send_takes_nothing() -> None:
    def flow_of(payload: bytes) -> str:
        raise LookupError("no IP")

    driver = Driver(9600, flow_of=flow_of)
    with pytest.raises(LookupError):
        driver.send(100)
    with pytest.raises(TypeError):
        driver.send(100, flow=[])
    assert driver.bundle.backlog == 0
    assert driver.bundle.stats(0.0).packets_accepted == 0


# -- flows


def test_a_flow_keeps_its_order_and_passes_bulk() -> None:
    driver = Driver(9600, **BIG)
    for _ in range(6):
        driver.send(1500, flow="bulk")
    driver.run(0.1)
    for _ in range(5):
        driver.send(60, flow="small")
        driver.run(driver.now + 0.3)
    driver.finish()
    order = driver.order()
    assert [n for n in order if n < 6] == list(range(6))
    assert [n for n in order if n >= 6] == list(range(6, 11))
    assert order[1] == 6


def test_flow_of_tells_the_flow() -> None:
    driver = Driver(9600, flow_of=lambda payload: len(payload) > 500, **BIG)
    for _ in range(4):
        driver.send(1500)
    packet = driver.send(50)
    assert packet.flow is False
    assert packet.express
    driver.finish()
    assert driver.order() == [0, 4, 1, 2, 3]


def test_a_flow_alone_is_placed_like_any_other() -> None:
    orders = []
    for flow in (None, "only"):
        driver = Driver(57600, 14400, **BIG)
        for n in range(120):
            driver.send((1500, 200)[n % 2], flow=flow)
            driver.run(driver.now + 0.16)
        driver.finish()
        orders.append(driver.order())
    assert orders[0] == orders[1]


# -- copies


def test_copies_arrive_by_each_line_and_are_reclaimed_once() -> None:
    driver = Driver(9600, 9600, scheduler=Everywhere(), **BIG)
    for _ in range(5):
        driver.send(500, flow="f")
    assert driver.bundle.backlog == 9 * 500 - 500 + 0 * 500  # each copy counts until it begins to go
    driver.run(0.6)
    driver.disconnect(driver.members[0])
    assert driver.members[0].counters.reclaimed == 0  # the other line carries them
    assert driver.bundle.stats(driver.now).copies == 1, "four of five were taken back"
    driver.finish()
    assert set(driver.order()) == set(range(5))
    assert Counter(driver.order()) == {0: 2, 1: 1, 2: 1, 3: 1, 4: 1}
    driver.disconnect(driver.members[1])
    assert driver.bundle.queued_packets == 0


def test_when_both_lines_die_one_of_two_copies_waits() -> None:
    driver = Driver(9600, 9600, scheduler=Everywhere(), **BIG)
    for _ in range(3):
        driver.send(500)
    for member in driver.members:
        driver.disconnect(member)
    assert driver.bundle.queued_packets == 3
    assert driver.bundle.backlog == 1500
    driver.enslave(9600)
    driver.finish()
    assert driver.order() == [0, 1, 2]


def test_copies_of_urgent_packets_pass_bulk_on_every_line() -> None:
    driver = Driver(9600, 9600, scheduler=Everywhere(), **BIG)
    for _ in range(5):
        driver.send(1000)
    driver.send(40, priority=1)
    driver.finish()
    for port in driver.ports.values():
        assert [int.from_bytes(payload[:4], "big") for _, payload in port.arrived][:2] == [0, 5]


def test_a_packet_sent_again_has_no_copies_yet() -> None:
    driver = Driver(9600, 9600, scheduler=Everywhere(), **BIG)
    packet = driver.send(100)
    driver.finish()
    other = Driver(9600, **BIG)
    other.bundle.send(packet, 0.0)
    other.disconnect(other.members[0])
    assert other.bundle.queued_packets == 1


# -- schedulers that fail

foreign = Line("foreign", lambda packet: 1)


def raises(packet: Packet, lines: Sequence[Line], now: float) -> Placement:
    raise ZeroDivisionError("rate")


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (raises, "the scheduler raised ZeroDivisionError"),
        (lambda p, lines, now: None, "waits while every line is idle"),
        (lambda p, lines, now: Placement(foreign), "which was not offered"),
        (lambda p, lines, now: "line0", "no placement on an offered line"),
        (lambda p, lines, now: Placement(None), "which was not offered"),  # type: ignore[arg-type]
        (lambda p, lines, now: Placement([]), "no placement on an offered line"),  # type: ignore[arg-type]
        (lambda p, lines, now: Placement(lines[0], float("nan")), "holds a packet until nan"),
        (lambda p, lines, now: Placement(lines[0], float("inf")), "holds a packet until inf"),
        (lambda p, lines, now: Placement(lines[0], now + 1e6), "holds a packet until"),
        (lambda p, lines, now: Placement(lines[0], None), "no placement on an offered line"),  # type: ignore[arg-type]
        (lambda p, lines, now: Placement(lines[0], "soon"), "no placement on an offered line"),  # type: ignore[arg-type]
        (lambda p, lines, now: Placement(lines[0], 0.0, (foreign,)), "foreign.*not offered"),
        (lambda p, lines, now: Placement(lines[0], 0.0, (lines[0],)), "one line twice"),
        (lambda p, lines, now: Placement(lines[0], 0.0, None), "no placement on an offered line"),  # type: ignore[arg-type]
        (lambda p, lines, now: Placement(lines[0], 0.0, 7), "no placement on an offered line"),  # type: ignore[arg-type]
    ],
)
def test_a_scheduler_that_breaks_its_contract(bad: Callable[..., object], says: str) -> None:
    driver = Driver(9600, 57600, scheduler=By(bad), **BIG)
    for _ in range(5):
        driver.send(300)
        driver.finish()
    assert driver.order() == [0, 1, 2, 3, 4]
    assert driver.drained()
    failures = [event for event in driver.events if isinstance(event, ev.SchedulerFailed)]
    assert len(failures) == 3  # the first, the second, the fourth
    with pytest.raises(type(failures[0].error), match=says):
        raise failures[0].error


class Hooks:
    """Every optional method fails."""

    def place(self, packet: Packet, lines: Sequence[Line], now: float) -> Placement:
        return Placement(lines[-1])

    def lines_changed(self, lines: Sequence[Line], now: float) -> bool:
        raise RuntimeError("lines")

    def withdrawn(self, packet: Packet, line: Line, now: float) -> None:
        raise RuntimeError("withdrawn")

    answer: object = float("nan")

    def window(self, lines: Sequence[Line], size: int) -> float:
        return self.answer  # type: ignore[return-value]


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), "long", -1, None, [1]])
def test_hooks_that_fail_do_no_harm(answer: object) -> None:
    Hooks.answer = answer
    driver = Driver(9600, 57600, scheduler=Hooks(), now=7.0)
    for _ in range(3):
        driver.send(300)
    driver.disconnect(driver.members[1])
    driver.finish()
    assert sorted(driver.order()) == [0, 1, 2]
    failures = [event for event in driver.events if isinstance(event, ev.SchedulerFailed)]
    assert failures
    assert all(event.time >= 7.0 for event in failures)


def only_idle(packet: Packet, lines: Sequence[Line], now: float) -> Placement | None:
    idle = [line for line in lines if not line.planned]
    return Placement(idle[0]) if idle else None


def only_silent(packet: Packet, lines: Sequence[Line], now: float) -> Placement | None:
    idle = [line for line in lines if line.free <= now + 1e-9 and not line.planned]
    return Placement(idle[0]) if idle else None


@pytest.mark.parametrize("rule", [only_idle, only_silent])
@pytest.mark.parametrize("rates", [(9600,), (57600, 9600), (None,), (None, 9600), (300, 4_000_000)])
def test_a_scheduler_may_wait_for_a_line_to_be_idle(
    rule: Callable[..., Placement | None], rates: tuple[float | None, ...]
) -> None:
    driver = Driver(*rates, scheduler=By(rule), **BIG)
    for n in range(30):
        driver.send((40, 500, 4)[n % 3])
    driver.finish()
    assert sorted(driver.order()) == list(range(30))
    assert driver.drained()
    assert "SchedulerFailed" not in kinds(driver)


def test_a_burst_on_lines_without_a_rate_goes_at_once() -> None:
    for rates in ((None,), (None, None), (None, 9600)):
        driver = Driver(*rates, **BIG)
        for _ in range(200):  # far more than the scheduler leaves in a port
            driver.bundle.send(driver.packet(1500), driver.now)
        driver.serve()
        if 9600 in rates:  # some may be held for what the paced line carries
            driver.finish()
        else:
            driver.run(driver.now + 0.001)
        assert sorted(driver.order()) == list(range(200))
        assert driver.drained()
        assert "SchedulerFailed" not in kinds(driver)


# -- receiving, events, statistics


def test_received_packets_name_their_slave() -> None:
    driver = Driver(9600)
    owner = object()
    member = driver.enslave(9600, owner=owner)
    packets = driver.bundle.receive(member, b"\x00\x03abc\x00\x01", 0.0)
    packets += driver.bundle.receive(member, b"x", 0.0)
    assert [(packet.payload, packet.slave) for packet in packets] == [(b"abc", owner), (b"x", owner)]
    stats = driver.bundle.stats(0.0)
    assert (stats.packets_delivered, stats.payload_delivered) == (2, 4)
    assert (stats.lines[1].packets_received, stats.lines[1].bytes_received) == (2, 8)
    driver.disconnect(member)
    assert driver.bundle.receive(member, b"\x00\x01y", 0.0) == []


class Picky(Counted):
    """A framer that cannot stand one payload."""

    def wire_size(self, packet: Packet) -> int:
        if packet.payload == b"cannot":
            raise ValueError("not this one")
        return super().wire_size(packet)

    def encode(self, packet: Packet) -> bytes:
        self.wire_size(packet)
        return super().encode(packet)


@pytest.mark.parametrize("scheduler", [EarliestDelivery(), Eql(), RoundRobin(), Everywhere()])
@pytest.mark.parametrize("options", [{}, {"flow": 1}, {"priority": 1}])
@pytest.mark.parametrize("rates", [(9600, 9600), (None, 9600), (None, None)])
def test_a_packet_whose_framing_raises_is_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch, scheduler: object, options: dict[str, object], rates: tuple[int | None, ...]
) -> None:
    monkeypatch.setattr("tests.core.driver.Counted", Picky)
    driver = Driver(*rates, scheduler=scheduler)
    for member in driver.members:
        driver.disconnect(member)
    driver.bundle.send(Packet(b"cannot", **options), driver.now)  # type: ignore[arg-type]
    for member in driver.members:
        driver.connect(member)
    assert all(member.line.up for member in driver.members)
    driver.send(100)
    driver.bundle.send(Packet(b"cannot", **options), driver.now)  # type: ignore[arg-type]
    driver.bundle.send_batch([b"cannot", b"can"], driver.now)
    driver.serve()
    driver.finish()
    stats = driver.bundle.stats(driver.now)
    refused = stats.dropped.get("cannot be framed", 0) + sum(
        line.lost.get("the framing raised", 0) for line in stats.lines
    )
    assert refused == 3 or (refused > 3 and isinstance(scheduler, Everywhere)), "a copy may be refused, too"
    assert stats.queued_bytes == 0
    assert b"can" in {payload for _, payload in driver.arrivals()}
    assert "LineTrouble" in kinds(driver)


def test_trouble_is_reported_once_a_connection_and_reason() -> None:
    driver = Driver(9600)
    member = driver.members[0]
    odd, strange = b"\x00\x03odd", b"\x00\x07strange"
    for data in (odd, odd, strange, odd):
        driver.bundle.receive(member, data, 1.0)
    driver.serve()
    assert [e for e in driver.events if isinstance(e, ev.LineTrouble)] == [
        ev.LineTrouble(1.0, member, "odd", "make it even")
    ]
    assert member.stats(1.0).dropped == {"odd": 3, "strange": 1}
    driver.disconnect(member)
    driver.connect(member)
    driver.bundle.receive(member, odd + odd, 2.0)
    driver.serve()
    assert [e.time for e in driver.events if isinstance(e, ev.LineTrouble)] == [1.0, 2.0]
    assert member.stats(2.0).dropped == {"odd": 5, "strange": 1}


def test_trouble_is_told_by_name_whatever_was_dropped_before() -> None:
    driver = Driver(9600)
    member = driver.members[0]
    driver.bundle.receive(member, b"\x00\x07strange", 1.0)
    framer = member.link._framer  # type: ignore[union-attr]
    framer.dropped = {"odd": 1, **framer.dropped}
    driver.bundle.receive(member, b"", 2.0)
    driver.serve()
    assert [e for e in driver.events if isinstance(e, ev.LineTrouble)] == [
        ev.LineTrouble(2.0, member, "odd", "make it even")
    ]


def test_counters_that_are_made_anew_are_seen() -> None:
    from eqlbond.core.link import PlainLink

    class Fresh:
        n = 0

        @property
        def dropped(self) -> dict[str, int]:
            return {"odd": self.n} if self.n else {}

        remedies: dict[str, str] = {}  # noqa: RUF012

        def encode(self, packet: Packet) -> bytes:
            return packet.payload

        def wire_size(self, packet: Packet) -> int:
            return len(packet.payload)

        def feed(self, data: bytes) -> list[Packet]:
            self.n += 1
            return []

    link = PlainLink(Fresh(), 1500)
    assert link.dropped == {}
    link.receive(b"x", 0.0)
    assert link.dropped == {"odd": 1}


def test_events_in_order() -> None:
    driver = Driver()
    a = driver.enslave(9600)
    b = driver.enslave(9600)
    driver.send(1500)
    driver.disconnect(a)
    driver.disconnect(b)
    driver.disconnect(b)  # twice is once
    driver.connect(a)
    driver.bundle.remove(a, driver.now)
    driver.serve()
    assert [(type(e).__name__, getattr(e, "slave", None)) for e in driver.events] == [
        ("Enslaved", a),
        ("SlaveUp", a),
        ("BondUp", None),
        ("Enslaved", b),
        ("SlaveUp", b),
        ("SlaveDown", a),
        ("SlaveDown", b),
        ("BondDown", None),
        ("SlaveUp", a),
        ("BondUp", None),
        ("SlaveDown", a),
        ("BondDown", None),
        ("Emancipated", a),
    ]
    down = next(event for event in driver.events if isinstance(event, ev.SlaveDown))
    assert (down.reason, down.reclaimed) == ("cut", 1)


def test_statistics_add_up() -> None:
    driver = Driver(57600, 9600, **BIG)
    for n in range(30):
        driver.send((1500, 40)[n % 2])
    driver.run(0.7)
    stats = driver.bundle.stats(driver.now)
    assert stats.packets_accepted == 30
    assert stats.payload_accepted == 15 * 1540
    assert stats.rate == 67200
    gone = sum(line.packets_sent for line in stats.lines)
    begun = sum(member._partial is not None for member in driver.members)
    planned = sum(line.planned_packets for line in stats.lines)
    assert gone + begun + planned + stats.queued_packets == 30
    assert stats.queued_bytes == driver.bundle.backlog
    driver.finish()
    stats = driver.bundle.stats(driver.now)
    assert sum(line.packets_sent for line in stats.lines) == 30
    assert sum(line.payload_sent for line in stats.lines) == stats.payload_accepted
    assert sum(line.bytes_sent for line in stats.lines) == stats.payload_accepted + 30 * HEADER
    assert stats.queued_bytes == stats.queued_packets == 0


def test_the_scheduler_is_copied() -> None:
    policy = RoundRobin()
    one, two = Driver(9600, 9600, scheduler=policy), Driver(9600, 9600, scheduler=policy)
    one.send(10)
    two.send(10)
    assert policy == RoundRobin()
    assert [bool(port.held or port.arrived) for port in two.ports.values()] == [True, False]


# -- batches


@pytest.mark.parametrize("rates", [(9600, 57600), (None, None), (None, 9600)])
@pytest.mark.parametrize("scheduler", [EarliestDelivery(), Eql(), RoundRobin(), Everywhere()])
@pytest.mark.parametrize("options", [{}, {"flow_of": lambda payload: payload[:1]}, {"queue": FqCoDel(interval=100)}])
def test_a_batch_is_as_one_after_the_other(rates, scheduler, options) -> None:
    rng = random.Random(3)
    batches = [[rng.randbytes(rng.choice((4, 40, 900, 1500))) for _ in range(rng.randrange(20))] for _ in range(8)]
    results = []
    for batched in (False, True):
        driver = Driver(*rates, scheduler=scheduler, **options)
        for number, batch in enumerate(batches):
            if number == 4:
                driver.disconnect(driver.members[0])
            if batched:
                driver.bundle.send_batch(batch, driver.now)
            else:
                for payload in batch:
                    driver.bundle.send(Packet(payload), driver.now)
            driver.run(driver.now + 0.3)
            driver.serve()
        driver.finish()
        assert driver.drained()
        stats = driver.bundle.stats(driver.now)
        results.append((driver.arrivals(), stats.packets_accepted, stats.payload_accepted, dict(stats.dropped)))
    assert results[0] == results[1]
    assert results[0][1] == sum(map(len, batches))


@pytest.mark.parametrize("rates", [(), (9600,), (None,)])
def test_a_batch_with_an_empty_packet(rates: tuple[int | None, ...]) -> None:
    driver = Driver(*rates)
    with pytest.raises(SendError, match="empty"):
        driver.bundle.send_batch([b""], 0.0)
    assert driver.drained()


def test_a_batch_with_a_packet_that_is_too_big() -> None:
    driver = Driver(9600, mtu=576)
    with pytest.raises(PacketTooBig):
        driver.bundle.send_batch([b"fits", bytes(577), b"never"], 0.0)
    driver.serve()
    driver.finish()
    assert [payload for _, payload in driver.arrivals()] == [b"fits"]
    assert driver.bundle.dropped == {"too big": 1}
