"""`check_scheduler` takes ours, and says of broken ones what is wrong."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Sequence

import attrs
import pytest

from eqlbond.exceptions import SchedulerError
from eqlbond.packet import Packet
from eqlbond.schedulers import EarliestDelivery, Eql, Line, Placement, RoundRobin, check_scheduler, testing
from eqlbond.schedulers.base import FRAGMENT_HEADERS

Place = Callable[[Packet, Sequence[Line], float], object]


@attrs.define
class By:
    """A scheduler by a function, and hooks."""

    rule: Place

    def place(self, packet: Packet, lines: Sequence[Line], now: float) -> Placement | None:
        return self.rule(packet, lines, now)  # type: ignore[return-value]


def first(packet: Packet, lines: Sequence[Line], now: float) -> Placement:
    return Placement(lines[0])


@attrs.define
class Hooks(By):
    rule: Place = first
    answer: object = 0.5

    def window(self, lines: Sequence[Line], size: int) -> float:
        return self.answer  # type: ignore[return-value]


@attrs.define
class RaisesInHook(By):
    rule: Place = first

    def lines_changed(self, lines: Sequence[Line], now: float) -> bool:
        raise RuntimeError("no lines please")


@attrs.define
class RaisesWhenWithdrawn(By):
    rule: Place = first

    def withdrawn(self, packet: Packet, line: Line, now: float) -> None:
        raise RuntimeError("mine")


Split = Callable[[Packet, Sequence[Line], float], object]


@attrs.define
class Splits(By):
    """Cuts packets by a function."""

    by: Split
    rule: Place = first

    def split(self, packet: Packet, lines: Sequence[Line], now: float) -> list[tuple[Line, int]] | None:
        return self.by(packet, lines, now)  # type: ignore[return-value]


@attrs.define
class NeedsToKnow(By):
    """Relies on being told of the bundle before anything else."""

    rule: Place = first
    fail: bool = False
    told: bool = False

    def resequenced(self) -> None:
        if self.fail:
            raise RuntimeError("out of order, please")
        self.told = True

    def split(self, packet: Packet, lines: Sequence[Line], now: float) -> list[tuple[Line, int]] | None:
        assert self.told
        assert len(lines) > 1
        return None


def in_turn(packet: Packet, lines: Sequence[Line], now: float) -> list[tuple[Line, int]] | None:
    """As much on each line as it carries."""
    shares, left = [], len(packet.payload)
    for line in lines:
        share = min(left, line.mtu - FRAGMENT_HEADERS, 200)
        if share:
            shares.append((line, share))
        left -= share
    return None if left else shares


def halves(packet: Packet, lines: Sequence[Line], now: float) -> list[tuple[Line, int]] | None:
    """Two halves, whatever the lines carry."""
    size = len(packet.payload)
    return [(lines[-2], size // 2), (lines[-1], size - size // 2)] if size > 1 else None


def splits_and_shortens(packet: Packet, lines: Sequence[Line], now: float) -> None:
    packet.payload = packet.payload[:10]


class Locked:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def place(self, packet: Packet, lines: Sequence[Line], now: float) -> Placement:
        return Placement(lines[0])


class Remembers:
    """Keeps to the lines that it saw first."""

    def __init__(self) -> None:
        self.line: Line | None = None

    def place(self, packet: Packet, lines: Sequence[Line], now: float) -> Placement:
        self.line = self.line or lines[-1]
        return Placement(self.line)

    def __deepcopy__(self, memo: object) -> Remembers:
        return self


def only_when_idle(packet: Packet, lines: Sequence[Line], now: float) -> Placement | None:
    idle = [line for line in lines if line.free <= now and not line.planned]
    return Placement(idle[0]) if idle else None


def shortens(packet: Packet, lines: Sequence[Line], now: float) -> Placement:
    packet.payload = packet.payload[:10]
    return Placement(lines[0])


def renumbers(packet: Packet, lines: Sequence[Line], now: float) -> Placement:
    packet.sequence += 1
    return Placement(lines[0])


def raises(packet: Packet, lines: Sequence[Line], now: float) -> Placement:
    raise ZeroDivisionError("rate")


def splits_by_the_rate(packet: Packet, lines: Sequence[Line], now: float) -> object:
    return [(line, int(len(packet.payload) * line.rate)) for line in lines]  # type: ignore[operator]


def divides_by_the_rate(packet: Packet, lines: Sequence[Line], now: float) -> Placement:
    return Placement(min(lines, key=lambda line: len(packet.payload) / line.rate))  # type: ignore[operator]


def sets_a_line(packet: Packet, lines: Sequence[Line], now: float) -> Placement:
    lines[0].free = 0.0
    return Placement(lines[0])


foreign = testing.line("foreign")


@pytest.mark.parametrize(
    "scheduler",
    [
        EarliestDelivery(),
        EarliestDelivery("strict"),
        EarliestDelivery("never"),
        Eql(),
        RoundRobin(),
        By(first),
        By(only_when_idle),
        By(lambda packet, lines, now: Placement(lines[0], now + 1.0)),
        By(lambda packet, lines, now: Placement(lines[0], 0, tuple(lines[1:]))),
        Hooks(),
        Hooks(answer=None),
        Splits(in_turn),
        Splits(lambda packet, lines, now: None),
        Splits(lambda packet, lines, now: [(lines[0], len(packet.payload))]),  # the packet stays whole
        NeedsToKnow(),
    ],
)
def test_good_ones(scheduler: By) -> None:
    before = copy.deepcopy(scheduler)
    check_scheduler(scheduler)
    assert scheduler == before  # it stays as it was


@pytest.mark.parametrize(
    ("scheduler", "says"),
    [
        (object(), r"object has no method place\(packet, lines, now\)"),
        (EarliestDelivery, r"EarliestDelivery is a class; make an object of it"),
        (Locked(), r"cannot be copied \(copy\.deepcopy\): .*lock"),
        (Remembers(), r"place\(\) chose <Line line0 .*which was not offered"),
        (By(lambda p, lines, now: Placement(foreign)), r"one line: .*chose <Line foreign .*not offered"),
        (By(lambda p, lines, now: Placement(None)), r"chose None, which was not offered"),  # type: ignore[arg-type]
        (By(lambda p, lines, now: Placement(lines[0], 0.0, (foreign,))), r"put a copy on <Line foreign"),
        (By(lambda p, lines, now: Placement(lines[0], 0.0, (lines[0],))), r"named one line twice"),
        (By(lambda p, lines, now: Placement(lines[0], 0.0, 3)), r"copies as a tuple of lines, not 3"),  # type: ignore[arg-type]
        (By(lambda p, lines, now: None), r"waits while every line is idle"),
        (By(lambda p, lines, now: lines[0]), r"must return a Placement or None, not Line"),
        (By(raises), r"place\(\) raised ZeroDivisionError\('rate'\)"),
        (By(divides_by_the_rate), r"lines without a rate: place\(\) raised TypeError"),
        (By(sets_a_line), r"read-only: free of 'line0' cannot be set"),
        (By(lambda p, lines, now: Placement(lines[0], math.nan)), r"holds the packet until nan"),
        (By(lambda p, lines, now: Placement(lines[0], math.inf)), r"holds the packet until inf"),
        (By(lambda p, lines, now: Placement(lines[0], "soon")), r"holds the packet until 'soon'"),  # type: ignore[arg-type]
        (By(lambda p, lines, now: Placement(lines[0], None)), r"holds the packet until None"),  # type: ignore[arg-type]
        (By(lambda p, lines, now: Placement(lines[0], now + 1e6)), r"holds a packet for 1000000 s"),
        (By(shortens), r"changed the packet"),
        (By(renumbers), r"changed the packet"),
        (RaisesInHook(), r"one line: lines_changed\(\) raised RuntimeError\('no lines please'\)"),
        (RaisesWhenWithdrawn(), r"withdrawn\(\) raised RuntimeError"),
        (Hooks(answer="long"), r"window\(\) must answer a number of seconds from 0, not 'long'"),
        (Hooks(answer=math.nan), r"window\(\) must answer .* not nan"),
        (Hooks(answer=-1.0), r"window\(\) must answer .* not -1"),
        (
            NeedsToKnow(fail=True),
            r"one line in a bundle: resequenced\(\) raised RuntimeError\('out of order, please'\)",
        ),
        (Splits(raises), r"equal lines in a bundle: split\(\) raised ZeroDivisionError\('rate'\)"),
        (Splits(splits_by_the_rate), r"split\(\) gave 2304000 bytes to line0, whose MTU leaves room for 1494"),
        (
            Splits(lambda p, lines, now: [(line, 1) for line in lines]),
            r"split\(\) gave 4 bytes in all of a packet of 40",
        ),
        (Splits(lambda p, lines, now: []), r"split\(\) gave 0 bytes in all of a packet of 40"),
        (Splits(lambda p, lines, now: [(lines[0], 39), (foreign, 1)]), r"a share to <Line foreign .*not offered"),
        (Splits(lambda p, lines, now: [(lines[0], 39), (lines[0], 1)]), r"split\(\) named one line twice"),
        (Splits(lambda p, lines, now: [(lines[0], 40), (lines[1], 0)]), r"gave 0 to line1: a share is a whole number"),
        (
            Splits(lambda p, lines, now: [(lines[0], 41), (lines[1], -1)]),
            r"gave -1 to line1: a share is a whole number",
        ),
        (Splits(lambda p, lines, now: [(lines[0], 39.0), (lines[1], 1)]), r"gave 39\.0 to line0"),
        (Splits(halves), r"equal lines in a bundle: split\(\) gave 750 bytes to line2, whose MTU leaves room for 570"),
        (Splits(lambda p, lines, now: {lines[0]: 40}), r"must return None or a list of \(line, bytes\), not \{<Line"),
        (Splits(lambda p, lines, now: [40]), r"must return None or a list of \(line, bytes\), not \[40\]"),
        (Splits(splits_and_shortens), r"split\(\) changed the packet"),
    ],
)
def test_broken_ones(scheduler: By, says: str) -> None:
    with pytest.raises(SchedulerError, match=says):
        check_scheduler(scheduler)


def test_what_a_scheduler_raises_is_the_cause() -> None:
    with pytest.raises(SchedulerError) as caught:
        check_scheduler(By(raises))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_lines_are_read_only_and_identities() -> None:
    line = testing.line("a", rate=9600)
    with pytest.raises(AttributeError, match="rate of 'a' cannot be set"):
        line.rate = 1
    assert copy.deepcopy({"line": line})["line"] is line
    assert line.eta(96, 0.0) == pytest.approx(0.1)
    assert line.eta(96, 5.0) == pytest.approx(5.1)


def test_the_wire_size_is_kept_by_framing() -> None:
    calls: list[str] = []

    def sized(name: str, framing: object) -> Line:
        line = Line(name, lambda packet: calls.append(name) or len(packet.payload) + 2)  # type: ignore[func-returns-value]
        object.__setattr__(line, "framing", framing)
        return line

    slip = object()
    a, b, other = sized("a", slip), sized("b", slip), sized("c", object())
    packet = testing.packet(10)
    assert [line.wire_size(packet) for line in (a, b, a, other, other, b)] == [12] * 6
    assert calls == ["a", "c", "b"]
