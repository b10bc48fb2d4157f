"""`Redundant`: copies on the lines where they arrive first."""

from __future__ import annotations

import pytest

from eqlbond.core.multilink import Multilink
from eqlbond.exceptions import ConfigurationError
from eqlbond.schedulers import Line, Redundant, check_scheduler, testing
from eqlbond.sim import Bulk, Poisson, SimLine, simulate


def names(policy: Redundant, lines: tuple[Line, ...], size: int = 900) -> list[str]:
    placement = policy.place(testing.packet(size), lines, 0.0)
    return [placement.line.name, *(line.name for line in placement.copies)]


RATES = (9600, 57600, 28800, 14400)


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        (1, ["57600"]),
        (2, ["57600", "28800"]),
        (3, ["57600", "28800", "14400"]),
        (7, ["57600", "28800", "14400", "9600"]),
        (None, ["57600", "28800", "14400", "9600"]),
    ],
)
def test_the_earliest_lines_carry_the_copies(copies: int | None, expected: list[str]) -> None:
    lines = tuple(testing.line(f"{rate}", rate=rate) for rate in RATES)
    assert names(Redundant(copies), lines) == expected


def test_what_is_planned_and_the_latency_count() -> None:
    lines = testing.line("far", rate=57600, latency=2.0), testing.line("a", rate=9600), testing.line("b", rate=9600)
    assert names(Redundant(), lines) == ["a", "b"]
    testing.take(lines[1], testing.packet(4000), 0.0)
    assert names(Redundant(), lines) == ["b", "far"]


def test_lines_without_a_rate_are_taken_by_what_they_hold() -> None:
    lines = tuple(testing.line(name, rate=None) for name in "abc")
    testing.take(lines[0], testing.packet(900), 0.0)
    assert names(Redundant(), lines) == ["b", "c"]


@pytest.mark.parametrize("copies", [0, -1, 1.5, "2", True])
def test_impossible_numbers(copies: object) -> None:
    with pytest.raises(ConfigurationError, match="copies: a whole number from 1") as caught:
        Redundant(copies)  # type: ignore[arg-type]
    assert caught.value.field == "copies"


def test_plain_lines_deliver_duplicates_and_count_them() -> None:
    result = simulate([57600, 57600, 57600], Bulk(90_000, 900), Redundant(), mtu=900)
    assert result.delivered == result.sent == 100
    assert result.duplicates == 100


def test_a_bundle_drops_the_second_copy_by_its_number() -> None:
    result = simulate([57600, 57600, 57600], Bulk(90_000, 900), Redundant(), mtu=900, multilink=Multilink())
    assert result.delivered == result.sent == 100
    assert result.duplicates == result.reordered == 0
    assert sum(line.frames for line in result.lines) >= 200


def test_a_lost_copy_is_not_missed() -> None:
    lossy = [SimLine(28800, loss=0.1, name=f"{n}") for n in range(2)]
    load = Poisson(load=0.2, sizes=500, duration=300)
    alone = simulate(lossy, load, Redundant(1), seed=4)
    both = simulate(lossy, load, Redundant(), seed=4)
    assert sum(alone.lost.values()) / alone.sent == pytest.approx(0.1, abs=0.03)
    assert sum(both.lost.values()) / both.sent == pytest.approx(0.01, abs=0.01)


def test_a_line_that_is_cut_loses_nothing() -> None:
    lines = [SimLine(28800, name="a"), SimLine(28800, name="b", cut_at=10, cut="silence")]
    result = simulate(lines, Poisson(load=0.2, sizes=500, duration=60), Redundant(), seed=4)
    assert result.delivered == result.sent > 100


def test_keeps_the_contract() -> None:
    check_scheduler(Redundant())
    check_scheduler(Redundant(None))
