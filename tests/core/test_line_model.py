"""The line model: exact times, order, conservation, and a stream that does not depend on when one looks."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqlbond.core.line_model import UNLIMITED, LineModel, LineSpec
from eqlbond.exceptions import ConfigurationError
from tests.examples import examples


def model(seed: int = 1, **options: object) -> LineModel:
    return LineModel(LineSpec(**options), random.Random(seed))  # type: ignore[arg-type]


class NoRandom:
    def random(self) -> float:
        raise AssertionError("a line without chance asked for a random number")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rate", 0),
        ("rate", -9600),
        ("rate", math.nan),
        ("rate", math.inf),
        ("rate", "9600"),
        ("rate", True),
        ("bits_per_byte", 0),
        ("bits_per_byte", -10),
        ("latency", -0.001),
        ("latency", math.inf),
        ("jitter", -1),
        ("jitter", None),
        ("byte_error_rate", 1.2),
        ("byte_error_rate", -0.1),
        ("loss", 1.2),
        ("loss", math.nan),
        ("buffer", 0),
        ("buffer", -1),
        ("buffer", 1.5),
    ],
)
def test_impossible_values_are_named(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        LineSpec(**{field: value})  # type: ignore[arg-type]
    assert caught.value.field == field


def test_set_rate_checks_too() -> None:
    with pytest.raises(ConfigurationError):
        model(rate=9600).set_rate(0.0, 0)


# (rate, bits a byte, latency, byte number from 0, its arrival when pushed at 100.0)
@pytest.mark.parametrize(
    ("rate", "bits", "latency", "index", "arrival"),
    [
        (9600, 10, 0.0, 0, 100.0 + 10 / 9600),
        (9600, 10, 0.0, 95, 100.1),
        (57600, 10, 0.25, 575, 100.35),
        (28800, 8, 0.0, 359, 100.1),
        (None, 10, 0.0, 999, 100.0),
        (None, 10, 0.5, 0, 100.5),
    ],
)
def test_when_a_byte_arrives(rate: float | None, bits: float, latency: float, index: int, arrival: float) -> None:
    line = model(rate=rate, bits_per_byte=bits, latency=latency)
    assert line.push(bytes(1000), 100.0) == 1000
    just_before = math.nextafter(arrival - 1e-9, 0)
    before = len(line.pull(just_before))
    assert before == (index if rate is not None else 0)
    assert before + len(line.pull(arrival + 1e-9)) >= index + 1


def test_no_chance_no_random_numbers() -> None:
    line = LineModel(LineSpec(9600, latency=0.1), NoRandom())
    line.push(b"abc", 0.0)
    assert line.transit(10, 0.0) is not None
    assert line.pull(1.0) == b"abc"


def test_full_buffer_takes_a_part() -> None:
    line = model(rate=1000, bits_per_byte=10, buffer=50)
    assert line.push(bytes(80), 0.0) == 50
    assert line.push(b"x", 0.0) == 0
    assert line.room(0.0) == 0
    assert line.room(0.1) == 10
    assert line.waiting(0.1) == 40
    assert line.time_waiting(25) == pytest.approx(0.25)
    assert line.waiting(line.time_waiting(25)) == 25
    assert line.push(bytes(80), 0.1) == 10
    assert line.free == pytest.approx(0.6)


def test_no_buffer_limit() -> None:
    line = model(rate=1000, buffer=None)
    assert line.push(bytes(100_000), 0.0) == 100_000
    assert line.room(0.0) == UNLIMITED
    assert line.waiting(0.0) == 100_000


def test_an_idle_line_starts_anew() -> None:
    line = model(rate=1000)
    line.push(b"a", 0.0)
    line.push(b"b", 5.0)
    assert line.pull(0.01) == b"a"
    assert line.next_arrival() == 5.01
    assert line.last_arrival() == 5.01
    assert line.pull(5.01) == b"b"
    assert line.next_arrival() is None
    assert line.last_arrival() is None


@pytest.mark.parametrize("rate", [9600, 57600, 115200, 1_000_000 / 3])
def test_a_day_long_transfer_does_not_drift(rate: float) -> None:
    line = LineModel(LineSpec(rate), NoRandom())
    start, size = 12345.678, 1500
    frames = int(86400 * rate / 10 / size)
    now = start
    for _ in range(0, frames, 10):  # as a sender does that hands over the next ten frames when the wire is idle
        now = line.transit(size * 10, now) or 0.0
    sent = len(range(0, frames, 10)) * size * 10
    exact = Fraction(start) + sent * 10 / Fraction(rate)
    assert abs(Fraction(now) - exact) < Fraction(1, 10**10)


def test_transit_and_push_share_a_clock() -> None:
    sizes, bytes_ = model(rate=9600, latency=0.05), model(rate=9600, latency=0.05)
    for size, now in [(100, 0.0), (1, 0.01), (576, 0.5), (40, 3.0)]:
        arrival = sizes.transit(size, now)
        bytes_.push(bytes(size), now)
        assert arrival == bytes_.last_arrival()
        assert sizes.free == bytes_.free
        assert sizes.waiting(now) == bytes_.waiting(now)


def test_loss_takes_its_time_on_the_wire() -> None:
    line = model(rate=1000, loss=1.0)
    assert line.transit(10, 0.0) is None
    assert line.free == pytest.approx(0.1)
    assert line.push(b"0123456789", 0.0) == 10
    assert line.free == pytest.approx(0.2)
    assert line.pull(9.0) == b""
    assert line.lost_bytes == 20


def test_share_of_loss_and_errors() -> None:
    line = model(rate=None, loss=0.1)
    assert 900 < sum(line.transit(10, float(i)) is None for i in range(10_000)) < 1100
    line = model(rate=None, byte_error_rate=0.01, buffer=None)
    sent = bytes(100_000)
    line.push(sent, 0.0)
    got = line.pull(0.0)
    wrong = sum(a != b for a, b in zip(sent, got, strict=True))
    assert wrong == line.corrupted_bytes
    assert 850 < wrong < 1150
    line = model(rate=None, byte_error_rate=0.001)
    frames = sum(line.transit(1000, float(i)) is None for i in range(2000))
    assert 1150 < frames < 1380  # 1 - 0.999 ** 1000 = 0.632


def test_every_byte_hit_and_never_left_as_it_was() -> None:
    line = model(rate=None, byte_error_rate=1.0)
    sent = bytes(range(256)) * 4
    line.push(sent, 0.0)
    got = line.pull(0.0)
    assert all(a != b for a, b in zip(sent, got, strict=True))
    assert line.corrupted_bytes == 1024


@given(st.lists(st.integers(1, 60), min_size=1, max_size=20), st.integers(0, 99))
def test_places_of_errors_do_not_depend_on_chunks(chunks: list[int], seed: int) -> None:
    data = random.Random(seed).randbytes(sum(chunks))
    whole = model(seed, rate=9600, byte_error_rate=0.05)
    whole.push(data, 0.0)
    parts = model(seed, rate=9600, byte_error_rate=0.05)
    place = 0
    for size in chunks:
        parts.push(data[place : place + size], 0.0)
        place += size
    assert whole.pull(99.0) == parts.pull(99.0)


def test_cut_and_revive() -> None:
    line = model(rate=1000, latency=0.05)
    line.push(b"0123456789", 0.0)
    assert line.cut(0.1 - 0.001) == 6  # five have left, of them one is on its way; the first four have arrived
    assert line.is_cut
    assert line.waiting(0.1 - 0.001) == 0
    assert line.pull(9.0) == b"0123"
    assert line.push(bytes(100), 1.0) == 100
    assert line.waiting(1.5) == 50  # the port does not know, and sends on
    assert line.transit(5, 1.0) is None
    line.revive(1.5)
    assert line.waiting(1.5) == 0
    line.push(b"new", 1.5)
    assert line.pull(9.0) == b"new"
    assert line.lost_bytes == 6 + 105
    assert line.accepted_bytes == line.delivered_bytes + line.lost_bytes


def test_revive_of_a_whole_line_changes_nothing() -> None:
    line = model(rate=1000)
    line.push(b"abc", 0.0)
    line.revive(0.001)
    assert line.waiting(0.001) == 3


@pytest.mark.parametrize(
    ("new", "arrivals"),
    [
        (2000, [0.01, 0.02, 0.03, 0.035, 0.04]),
        (500, [0.01, 0.02, 0.03, 0.05, 0.07]),
        (None, [0.01, 0.02, 0.03, 0.03, 0.03]),
        (1000, [0.01, 0.02, 0.03, 0.04, 0.05]),
    ],
)
def test_the_byte_on_the_wire_ends_as_it_began(new: float | None, arrivals: list[float]) -> None:
    line = model(rate=1000, latency=0.5)
    line.push(b"ab", 0.0)
    line.push(b"cde", 0.0)
    line.set_rate(0.025, new)
    assert line.spec.rate == new
    assert line.waiting(0.025) == 3
    assert line.free == pytest.approx(arrivals[-1])
    seen = []
    while (due := line.next_arrival()) is not None:
        seen += [due] * len(line.pull(due))
    assert seen == pytest.approx([at + 0.5 for at in arrivals])


def test_a_change_of_rate_amid_a_chunk_that_was_pulled_in_part() -> None:
    line = model(rate=1000)
    line.push(b"0123456789", 0.0)
    assert line.pull(0.03) == b"012"
    line.set_rate(0.055, 100)
    assert line.pull(0.05) == b"34"
    assert line.next_arrival() == pytest.approx(0.06)
    assert line.pull(0.061) == b"5"
    assert line.next_arrival() == pytest.approx(0.16)
    assert line.pull(9.0) == b"6789"
    assert line.in_flight == 0


def test_rate_from_none() -> None:
    line = model(rate=None)
    line.push(b"abc", 1.0)
    line.set_rate(1.0, 1000)
    line.push(b"d", 1.0)
    assert line.pull(1.0) == b"abc"
    assert line.next_arrival() == pytest.approx(1.01)


# ---- hypothesis: whatever is done, and whenever one looks

gaps = st.sampled_from([0.0, 0.0, 0.003, 0.04, 0.04, 0.3, 1.5])
looks = st.lists(st.floats(0, 1), max_size=2)
actions = st.one_of(
    st.tuples(st.just("push"), st.integers(0, 400)),
    st.tuples(st.just("push"), st.just(100)),
    st.tuples(st.just("rate"), st.sampled_from([300, 9600, 57600, None])),
    st.tuples(st.sampled_from(["cut", "revive"]), st.none()),
)
# What is done, how long after the step before, and when one looks in between, as parts of the gap.
Steps = list[tuple[tuple[str, object], float, list[float]]]
steps = st.lists(st.tuples(actions, gaps, looks), max_size=12)
specs = st.builds(
    LineSpec,
    st.sampled_from([300, 2400, 9600, 115200, None]),
    bits_per_byte=st.sampled_from([8, 10, 11.5]),
    latency=st.sampled_from([0, 0.01, 0.3]),
    jitter=st.sampled_from([0.0, 0.2]),
    byte_error_rate=st.sampled_from([0.0, 0.02]),
    loss=st.sampled_from([0.0, 0.3]),
    buffer=st.sampled_from([1, 300, 4096, None]),
)


def run(spec: LineSpec, todo: Steps, *, look: bool) -> tuple[LineModel, bytes]:
    """Do `todo`, pulling in between where asked to; the model, and what came."""
    line = LineModel(spec, random.Random(7))
    got = b""
    serial = 0
    now = 50.0
    for (what, value), gap, parts in todo:
        for part in sorted(parts) if look else []:
            due = line.next_arrival()
            piece = line.pull(now + gap * part)
            assert bool(piece) == (due is not None and due <= now + gap * part)
            got += piece
        now += gap
        if what == "push":
            assert isinstance(value, int)
            data = (b"%d," % serial * value)[:value]
            serial += 1
            room = line.room(now)
            assert line.push(data, now) == min(room, value)
            assert line.waiting(now) <= (UNLIMITED if spec.buffer is None else spec.buffer)
        elif what == "rate":
            before = line.waiting(now)
            line.set_rate(now, value)  # type: ignore[arg-type]
            assert line.waiting(now) == before
        elif what == "cut":
            line.cut(now)
        else:
            line.revive(now)
        assert line.in_flight >= 0
        assert line.waiting(now) >= 0
    return line, got


@settings(max_examples=examples(50), deadline=None)
@given(specs, steps)
def test_the_stream_does_not_depend_on_when_one_looks(spec: LineSpec, todo: Steps) -> None:
    rare, first = run(spec, todo, look=False)
    often, second = run(spec, todo, look=True)
    end = 10_000.0
    while (due := often.next_arrival()) is not None:
        assert often.last_arrival() == rare.last_arrival()
        piece = often.pull(due)
        assert piece
        second += piece
    assert first + rare.pull(end) == second
    for line in (rare, often):
        assert line.next_arrival() is None
        assert line.in_flight == 0
        assert line.accepted_bytes == line.delivered_bytes + line.lost_bytes
        assert line.waiting(end) == 0


@settings(max_examples=examples(30), deadline=None)
@given(
    st.sampled_from([300, 9600, 57600, 115200, 1e6 / 3]),
    st.sampled_from([8, 10, 11.5]),
    st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 50)), min_size=1, max_size=12),
)
def test_every_byte_has_its_exact_time(rate: float, bits: float, pushes: list[tuple[float, int]]) -> None:
    line = LineModel(LineSpec(rate, bits_per_byte=bits, buffer=None), NoRandom())
    byte_time = Fraction(bits) / Fraction(rate)
    now, idle, expected = 1000.0, Fraction(0), []
    for gap, size in pushes:
        now += gap
        line.push(bytes(size), now)
        idle = max(idle, Fraction(now))
        expected += [idle + byte_time * (k + 1) for k in range(size)]
        idle += byte_time * size
    for exact in expected:
        due = line.next_arrival()
        assert due is not None
        assert abs(Fraction(due) - exact) < Fraction(1, 10**9)
        assert line.pull(math.nextafter(due, 0)) == b""
        assert len(line.pull(due)) == 1


@given(st.sampled_from([300, 57600, 1e6 / 3]), st.integers(1, 500))
def test_waiting_falls_as_bytes_leave(rate: float, size: int) -> None:
    line = LineModel(LineSpec(rate), NoRandom())
    line.push(bytes(size), 77.7)
    assert line.waiting(77.7) == size
    for left in range(size - 1, -1, -max(1, size // 7)):
        assert line.waiting(line.time_waiting(left)) == left


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 0.3), st.integers(1, 100)), min_size=1, max_size=30), st.integers(0, 99))
def test_jitter_delays_and_never_overtakes(frames: list[tuple[float, int]], seed: int) -> None:
    line = model(seed, rate=9600, latency=0.1, jitter=0.5)
    now, last = 0.0, 0.0
    for gap, size in frames:
        now += gap
        arrival = line.transit(size, now)
        assert arrival is not None
        assert arrival >= last
        assert line.free + 0.1 <= arrival <= max(last, line.free + 0.6)
        last = arrival


def test_a_chunk_with_less_jitter_waits_for_the_one_before() -> None:
    draws = iter([0.9, 0.0, 0.5])

    class Draws:
        def random(self) -> float:
            return next(draws)

    line = LineModel(LineSpec(1000, jitter=1.0), Draws())
    arrivals = []
    for data in (b"a", b"b", b"c"):
        line.push(data, 0.0)
        arrivals.append(line.last_arrival())
    assert arrivals == pytest.approx([0.91, 0.91, 0.91])
    assert line.pull(0.9) == b""
    assert line.next_arrival() == pytest.approx(0.91)
    assert line.pull(0.911) == b"abc"


def test_a_pull_costs_by_chunks_and_not_by_bytes() -> None:
    line = model(rate=8_000_000, bits_per_byte=8, buffer=None)
    line.push(bytes(50_000_000), 0.0)
    # Byte by byte this would be fifty million steps; here it is a handful for each pull.
    assert sum(len(line.pull(i / 10)) for i in range(501)) == 50_000_000
