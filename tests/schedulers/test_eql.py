"""`Eql` against the rule of the 1995 driver, written a second time from its description."""

from __future__ import annotations

import copy

import attrs
from hypothesis import given
from hypothesis import strategies as st

from eqlbond.schedulers import Eql, Line, check_scheduler, testing


@attrs.define
class Slave:
    line: Line
    bps: int
    queued: int = 0

    @property
    def load(self) -> int:
        return 0x80000000 - self.bps // 8 + self.queued * 8


@attrs.define
class Driver1995:
    """The driver's list of slaves, the newest at its head, and a timer that ticks once a second."""

    slaves: list[Slave] = attrs.field(factory=list)
    next_tick: float | None = None

    def tick_until(self, now: float) -> None:
        if self.next_tick is None:
            self.next_tick = now + 1.0
        while self.next_tick <= now:
            self.next_tick += 1.0
            for slave in self.slaves:
                slave.queued -= slave.bps // 8
                if slave.queued < 0:
                    slave.queued = 0

    def transmit(self, size: int, now: float) -> Line:
        self.tick_until(now)
        best = self.slaves[0]
        for slave in self.slaves[1:]:
            if slave.load < best.load:
                best = slave
        best.queued += size
        return best.line


packets = st.tuples(st.just("packet"), st.integers(1, 1500))
# Quarters of a second are exact in binary, so that both sides tick at the same instant.
pauses = st.tuples(st.just("pause"), st.integers(0, 20))
news = st.tuples(st.just("enslave"), st.sampled_from([300, 1204, 9600, 14400, 14407, 28800, 57600, 115200]))
dead = st.tuples(st.just("die"), st.integers(0, 7))


@given(st.lists(st.one_of(packets, packets, packets, pauses, news, dead), max_size=120))
def test_places_as_the_driver_does(steps: list[tuple[str, int]]) -> None:
    eql, reference, now = Eql(), Driver1995(), 16.0
    lines: tuple[Line, ...] = ()
    for what, value in [("enslave", 28800), *steps]:
        if what == "packet" and lines:
            placement = eql.place(testing.packet(value), lines, now)
            assert placement.line is reference.transmit(value, now)
            assert placement.not_before == 0.0
            assert placement.copies == ()
        elif what == "pause":
            now += value / 4
        elif what == "enslave":
            reference.tick_until(now) if reference.next_tick is not None else None
            line = testing.line(f"{len(lines)}", rate=value)
            lines = (*lines, line)
            reference.slaves.insert(0, Slave(line, value))
            assert not eql.lines_changed(lines, now)
        elif what == "die" and lines:
            gone = lines[value % len(lines)]
            lines = tuple(line for line in lines if line is not gone)
            reference.slaves = [slave for slave in reference.slaves if slave.line is not gone]
            eql.lines_changed(lines, now)


def names(eql: Eql, lines: tuple[Line, ...], sizes: list[int], now: float = 0.0) -> list[str]:
    return [eql.place(testing.packet(size), lines, now).line.name for size in sizes]


def test_a_tie_goes_to_the_newest_slave() -> None:
    lines = tuple(testing.line(name, rate=9600) for name in ("old", "middle", "new"))
    assert names(Eql(), lines, [100] * 4) == ["new", "middle", "old", "new"]


def test_priority_is_divided_by_eight_and_rounded_down() -> None:
    # 14407 // 8 == 14400 // 8, so the two tie and the newest takes it; 14408 is one more.
    lines = testing.line("a", rate=14407), testing.line("b", rate=14400)
    assert names(Eql(), lines, [1]) == ["b"]
    lines = testing.line("a", rate=14408), testing.line("b", rate=14400)
    assert names(Eql(), lines, [1]) == ["a"]


def test_a_tick_takes_a_second_of_bytes_off_and_never_below_none() -> None:
    eql = Eql()
    lines = testing.line("a", rate=800), testing.line("b", rate=800)  # 100 bytes a second
    assert names(eql, lines, [150, 40]) == ["b", "a"]
    assert names(eql, lines, [1], now=0.99) == ["a"]  # 150 against 40
    # One tick: 50 against 0. Had the counter of "a" gone below 0, "a" would take more than the next 50 bytes.
    assert names(eql, lines, [50, 1], now=1.0) == ["a", "b"]


def test_the_weight_is_the_priority_and_not_the_rate() -> None:
    lines = testing.line("a", rate=9600, priority=57600), testing.line("b", rate=57600, priority=9600)
    assert names(Eql(), lines, [10] * 3) == ["a"] * 3


def test_a_line_that_comes_back_starts_with_an_empty_counter() -> None:
    eql = Eql()
    a, b = testing.line("a", rate=9600), testing.line("b", rate=9600)
    assert names(eql, (a, b), [1500]) == ["b"]
    eql.lines_changed((a,), 0.0)
    assert names(eql, (a,), [1]) == ["a"]
    eql.lines_changed((a, b), 0.0)
    assert names(eql, (a, b), [10]) == ["b"]


def test_withdrawn_packets_are_not_counted_twice() -> None:
    eql = Eql()
    lines = testing.line("a", rate=9600), testing.line("b", rate=9600)
    packet = testing.packet(1000)
    assert eql.place(packet, lines, 0.0).line.name == "b"
    eql.withdrawn(packet, lines[1], 0.0)
    assert eql.place(packet, lines, 0.0).line.name == "b"


def test_an_hour_of_silence_costs_one_step() -> None:
    eql = Eql()
    lines = testing.line("a", rate=9600), testing.line("b", rate=9600)
    names(eql, lines, [1500] * 10)
    assert names(eql, lines, [10, 10], now=1e9) == ["b", "a"]


def test_keeps_the_contract_and_copies_are_apart() -> None:
    check_scheduler(Eql())
    one = Eql()
    lines = testing.line("a", rate=9600), testing.line("b", rate=9600)
    other = copy.deepcopy(one)
    assert names(one, lines, [10]) == names(other, lines, [10]) == ["b"]
