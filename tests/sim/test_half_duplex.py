"""Half-duplex lines simulated: what both ends lose when they talk at once, and what taking turns brings back."""

from __future__ import annotations

import random
from collections import deque
from unittest.mock import Mock

import pytest

from benchmarks.half_duplex import measure
from eqlbond import ConfigurationError, HalfDuplex, Hdlc, Ppp, SlaveDown
from eqlbond.cli.simulate import sim_line
from eqlbond.core.line_model import LineModel
from eqlbond.sim import Bulk, LineSpec, RequestResponse, SimLine, Trace, simulate
from eqlbond.sim.air import Air
from eqlbond.sim.way import Way

TURNS = HalfDuplex()


class Pair:
    """One packet from each end, the second so much later, seconds."""

    def __init__(self, later: float, size: int = 118) -> None:
        self.later, self.size = later, size

    def start(self, run):
        run.at(0.0, lambda _: run.send(0, self.size))
        run.at(self.later, lambda _: run.send(1, self.size))


def arrived(later, **options):
    """Whether each end's packet arrives whole; a frame of 118 bytes takes a second at 1270 bit/s."""
    line = SimLine(1270, half_duplex=True, framing=Hdlc(), **options)
    result = simulate([line], Pair(later), mtu=200, until=30)
    return result.delivered, result.back["delivered"]


@pytest.mark.parametrize(
    ("later", "latency", "expected"),
    [
        (0.0, 0.0, (0, 0)),
        (0.5, 0.0, (0, 0)),  # a collision damages both
        (1.5, 0.0, (1, 1)),
        (0.5, 2.0, (1, 1)),  # each has ended before the other's frame comes
        (1.5, 0.9, (0, 1)),  # the second end talks while the first one's frame arrives, the first one listens
    ],
)
def test_what_arrives_while_an_end_talks_is_damaged(later, latency, expected):
    assert arrived(later, latency=latency) == expected


def test_what_a_collision_took_is_said():
    result = simulate([SimLine(1270, half_duplex=True, framing=Hdlc())], Pair(0.5), mtu=200, until=30)
    assert result.lost == {"collision": 1}


@pytest.mark.parametrize(
    ("talks", "bad"),
    [
        ([], ()),
        ([(0.0, 1.0)], ()),  # before
        ([(2.0, 3.0)], ()),  # behind
        ([(0.5, 1.1)], (0,)),
        ([(1.35, 1.45)], (3, 4)),  # bits of two bytes
        ([(1.95, 9.0)], (9,)),
        ([(0.0, 9.0)], tuple(range(10))),
        ([(1.0, 1.1), (1.5, 1.7)], (0, 5, 6)),
    ],
)
def test_only_what_was_talked_over_is_damaged(talks, bad):
    """Ten bytes of 100 ms each arrive from 1.0 to 2.0."""
    there, here = (Mock(Way, flying=deque(), model=LineModel(LineSpec(100), random.Random(1))) for _ in range(2))
    there.flying.append((10, 0.0, 1.0, None))
    air = Air(here, there)
    for start, end in talks:
        air.talk(start, end, start)
    out = air.damage(bytes(10), 2.0)
    assert tuple(n for n, byte in enumerate(out) if byte) == bad


def test_what_was_said_long_ago_is_forgotten():
    there, here = (Mock(Way, flying=deque(), model=None) for _ in range(2))
    air = Air(here, there)
    for n in range(1000):
        air.talk(2.0 * n, 2.0 * n + 1.0, 2.0 * n)
    assert len(air._talks) == 1


def test_what_is_said_before_the_other_begins_does_no_harm():
    """A fall of the rate moves what waits in the other end's port behind it."""
    there, here = (Mock(Way, flying=deque(), model=LineModel(LineSpec(100), random.Random(1))) for _ in range(2))
    there.flying.append((10, 5.0, 6.0, None))
    air = Air(here, there)
    air.talk(0.0, 1.0, 0.0)
    assert air.damage(bytes(10), 6.0) == bytes(10)


def test_full_duplex_lines_are_as_before():
    result = simulate([SimLine(1270, framing=Hdlc())], Pair(0.5), mtu=200, until=30)
    assert (result.delivered, result.back["delivered"]) == (1, 1)


def test_taking_turns_mends_what_collisions_take():
    """Traffic both ways on 1200 bit/s: as much as it takes, and 20 % each way."""
    without = measure(None, None, 60.0, 1)
    with_turns = measure(None, TURNS, 60.0, 1)
    assert without["goodput"] < 0.05
    assert with_turns["goodput"] > 0.8
    assert min(with_turns["there"], with_turns["back"]) > 0.35
    without = measure(0.2, None, 150.0, 1)
    with_turns = measure(0.2, TURNS, 150.0, 1)
    assert with_turns["goodput"] > 1.15 * without["goodput"]
    assert with_turns["bad_fcs"] < 0.1 * without["bad_fcs"]


def test_the_price_of_turns_one_way():
    """A burst of 3 s (a little more: its last frame is finished), then a silence of half a second and a lot."""
    alone = measure(None, None, 60.0, 1, ends=(0,))["goodput"]
    taking = measure(None, TURNS, 60.0, 1, ends=(0,))["goodput"]
    assert 0.8 < taking / alone < 0.95


def test_with_latency_the_pause_has_to_be_longer():
    far = measure(None, HalfDuplex(pause=1.2, slot=0.4), 150.0, 1, latency=0.25)
    assert far["goodput"] > 0.65
    assert far["bad_fcs"] <= 0.1 * far["sent"]


def test_the_same_seed_gives_the_same_run():
    first = measure(0.3, TURNS, 50.0, 5)
    assert measure(0.3, TURNS, 50.0, 5) == first
    assert measure(0.3, TURNS, 50.0, 6) != first


def test_questions_and_answers_lose_nothing():
    line = SimLine(1200, half_duplex=True, turns=TURNS, framing=Hdlc())
    result = simulate([line], RequestResponse(requests=10, response_size=400), mtu=256)
    assert len(result.extra["transactions"]) == 10
    # The very first question draws lots; after that each end has the turn when it has heard the other out.
    assert result.drops == {}
    assert max(result.extra["transactions"][1:]) < (64 + 400 + 3 * 10) / 120 + 2 * 0.3 + 0.3


def test_a_bond_of_half_duplex_lines_loses_nothing():
    lines = [
        SimLine(rate, name=f"radio {rate}", half_duplex=True, turns=TURNS, framing=Hdlc()) for rate in (1200, 2400)
    ]
    result = simulate([*lines, SimLine(4800)], Bulk(40_000, 256), mtu=256)
    assert result.lost == {}
    assert [line.payload_bytes > 0 for line in result.lines] == [True] * 3


def test_ppp_negotiates_and_stays_up_while_both_talk():
    """Both ends begin at once; later on, Echo-Requests and their replies get their turn."""
    line = SimLine(1200, half_duplex=True, turns=TURNS, framing=Ppp(echo_interval=10, echo_failure=3))
    result = simulate([line], Trace([(n * 1.9, 200) for n in range(80)]), mtu=256)
    assert result.delivered == 80
    assert not [event for _, event in result.events if isinstance(event, SlaveDown) and event.time > 0]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"half_duplex": 1}, "half_duplex"),
        ({"half_duplex": TURNS}, "half_duplex"),
        ({"turns": True}, "turns"),
        ({"half_duplex": True, "back": LineSpec()}, "back"),
    ],
)
def test_lines_that_cannot_be(options, field):
    with pytest.raises(ConfigurationError, match=f"^{field}: "):
        SimLine(1200, **options)


def test_a_line_without_a_rate_has_no_turns():
    for options in ({"half_duplex": True}, {"turns": TURNS}):
        with pytest.raises(ConfigurationError, match="needs"):
            SimLine(None, **options)
    with pytest.raises(ConfigurationError, match=r"^frames: "):
        simulate([SimLine(1200, half_duplex=True)], Bulk(1000), frames="size")


def test_from_the_command_line():
    assert sim_line("1200,half_duplex=1,turns=1") == SimLine(1200, half_duplex=True, turns=TURNS)
    assert sim_line("1200,half_duplex=0,turns=0") == SimLine(1200)
