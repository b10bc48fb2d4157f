"""Taking turns on a half-duplex line: the rule alone, two ends against each other, and the member that keeps to it."""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqlbond.core.half_duplex import HalfDuplex, HalfDuplexMember, Turns
from eqlbond.core.link import PlainLink
from eqlbond.core.member import Member
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet
from tests.examples import examples

from .driver import Driver, Length

RULE = HalfDuplex(turnaround=0.3, burst=3.0, slot=0.1)


class Lots:
    """Draws the same lot always: 0.0 lets no slot pass, and with a persistence of 0.5, 0.6 one and 0.8 two."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


# -- the value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("turnaround", 0),
        ("turnaround", -0.1),
        ("turnaround", float("nan")),
        ("turnaround", "0.3"),
        ("burst", 0),
        ("burst", float("inf")),
        ("burst", True),
        ("slot", 0),
        ("pause", 0.3),  # not longer than the turnaround
        ("pause", 0),
        ("persistence", 0),
        ("persistence", 1.1),
        ("persistence", "half"),
    ],
)
def test_a_value_that_cannot_work_is_named(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"^{field}: ") as caught:
        HalfDuplex(**{field: value})  # type: ignore[arg-type]
    assert caught.value.field == field


def test_it_is_a_value() -> None:
    assert HalfDuplex() == HalfDuplex(turnaround=0.3, burst=3.0)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        RULE.burst = 5.0  # type: ignore[misc]
    assert RULE.silence == pytest.approx(0.5)
    assert HalfDuplex(pause=2.0).silence == 2.0


# -- the rule


def turns(lots: float = 0.0, **rule: float) -> Turns:
    return Turns(attrs.evolve(RULE, **rule) if rule else RULE, Lots(lots))


def begins(one: Turns, now: float) -> float:
    return one.begins(now, now)


def talk(one: Turns, start: float, end: float) -> None:
    assert begins(one, start) <= start
    one.talks(start, end)


@pytest.mark.parametrize(("lot", "slots"), [(0.0, 0), (0.49, 0), (0.51, 1), (0.8, 2), (0.99, 6)])
def test_on_an_idle_line_lots_are_drawn(lot: float, slots: int) -> None:
    assert begins(turns(lot), 10.0) == pytest.approx(10.0 + slots * 0.1)
    assert begins(turns(lot, persistence=1.0), 10.0) == 10.0


def test_the_lot_stays_while_it_is_waited_for_and_lapses_after_its_slot() -> None:
    one = turns(0.8)
    assert begins(one, 10.0) == pytest.approx(10.2)
    assert begins(one, 10.1) == pytest.approx(10.2)
    assert begins(one, 10.2) == pytest.approx(10.2)
    assert begins(one, 50.0) == pytest.approx(50.2)  # nothing was sent in its time


def test_what_was_heard_out_gives_the_turn_without_lots() -> None:
    one = turns(0.99)
    one.heard(10.0)
    one.heard(10.5)
    assert begins(one, 10.5) == pytest.approx(10.8)
    assert begins(one, 10.85) <= 10.85  # timers are late
    one = turns(0.99)
    one.heard(10.5)
    assert begins(one, 12.0) == pytest.approx(12.6)  # the turn has lapsed: the other may begin, too


def test_a_burst_goes_on_over_small_gaps_until_its_time_is_up() -> None:
    one = turns()
    talk(one, 0.0, 1.0)
    assert one.begins(0.97, 1.0) <= 0.97
    one.talks(1.0, 2.0)
    assert begins(one, 2.14) <= 2.14  # half a turnaround
    one.talks(2.14, 2.99)
    assert one.begins(2.97, 2.99) <= 2.97  # begins within the burst, and is finished
    one.talks(2.99, 4.0)
    assert one.begins(3.98, 4.0) == pytest.approx(4.5)  # the turn and two slots


def test_after_a_gap_the_other_end_may_have_begun() -> None:
    one = turns()
    talk(one, 0.0, 1.0)
    assert begins(one, 1.16) == pytest.approx(1.5)


def test_the_turn_comes_back_as_soon_as_the_other_has_finished() -> None:
    one = turns(0.99)
    one.begins(0.0, 0.0)
    one.talks(1.0, 4.5)
    assert begins(one, 4.5) == pytest.approx(4.5 + 0.5 + 0.6)
    one.heard(4.9)
    one.heard(5.0)
    assert begins(one, 5.0) == pytest.approx(5.3)


def test_a_frame_longer_than_a_burst_goes_alone() -> None:
    one = turns()
    talk(one, 0.0, 20.0)
    assert one.begins(19.98, 20.0) == pytest.approx(20.5)


def test_after_a_collision_both_draw_lots() -> None:
    one, other = turns(0.0), turns(0.6)
    talk(one, 0.0, 2.0)
    assert begins(other, 0.0) == pytest.approx(0.1)
    other.talks(0.1, 2.5)
    one.heard(0.2)
    other.heard(0.3)
    assert one.begins(1.98, 2.0) > 2.0  # the frame is finished, no other begins
    one.heard(2.5)
    other.heard(2.0)
    assert begins(one, 2.5) == pytest.approx(2.8)
    assert begins(other, 2.5) == pytest.approx(2.9)


# -- two ends


def play(
    rules: tuple[HalfDuplex, HalfDuplex],
    frame: float,
    seconds: float,
    seed: int,
    wants: Callable[[int, float], bool],
    begun: Callable[[int], None] = lambda n: None,
) -> tuple[list[list[tuple[float, float]]], int]:
    """Two ends in steps of 10 ms that hear each other 10 ms late: what each has said, and the frames that collided."""
    ends = [Turns(rule, random.Random(f"{seed} {n}")) for n, rule in enumerate(rules)]
    said: list[list[tuple[float, float]]] = [[], []]
    collided = 0
    for step in range(int(seconds * 100)):
        now = step / 100
        talking = [bool(s) and s[-1][0] < now - 0.005 < s[-1][1] for s in said]
        for n in (0, 1):
            if talking[1 - n]:
                ends[n].heard(now)
        for n in (0, 1):
            if (not said[n] or said[n][-1][1] <= now + 0.005) and wants(n, now) and ends[n].begins(now, now) <= now:
                ends[n].talks(now, now + frame)
                said[n].append((now, now + frame))
                begun(n)
                other = said[1 - n]
                collided += bool(other and other[-1][1] > now + 0.005)
    return said, collided


@settings(max_examples=examples(8), deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([0.5, 2.0, 3.0, 8.0]),
    st.sampled_from([0.2, 0.3, 1.0]),
    st.sampled_from([0.25, 0.5]),
    st.sampled_from([0.13, 0.7, 2.1]),
)
def test_two_busy_ends_share_the_line(seed: int, burst: float, turnaround: float, chance: float, frame: float) -> None:
    rule = HalfDuplex(turnaround=turnaround, burst=burst, persistence=chance)
    said, collided = play((rule, rule), frame, 200.0, seed, lambda n, now: True)
    talked = [sum(end - start for start, end in one) for one in said]
    longest = max(burst, frame) + frame
    assert abs(talked[0] - talked[1]) <= 5 * longest  # a few bursts: lots decide who begins
    # Each burst costs a turnaround; at first they may collide, by even odds again and again.
    cycle = max(burst, frame)
    assert sum(talked) >= 0.85 * 200.0 * cycle / (cycle + turnaround + 0.05) - 10 * longest
    assert collided * frame <= 12 * longest


@settings(max_examples=examples(8), deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 0.2))
def test_random_traffic_seldom_collides(seed: int, share: float) -> None:
    rng = random.Random(seed)
    frame = 0.7
    due = [[t / 100 for t in range(20_000) if rng.random() < share * 0.01 / frame] for _ in (0, 1)]
    begun = [0, 0]

    def wants(n: int, now: float) -> bool:
        return begun[n] < len(due[n]) and due[n][begun[n]] <= now

    def begins(n: int) -> None:
        begun[n] += 1

    said, collided = play((RULE, RULE), frame, 210.0, seed, wants, begins)
    assert [len(one) for one in said] == pytest.approx([len(one) for one in due], abs=2)
    assert collided <= 2 + 0.06 * sum(begun)


# -- the member


def member(rate: float | None = 1200, lots: float = 0.0, **rule: float) -> HalfDuplexMember:
    made = HalfDuplexMember(
        "radio", Length(), half_duplex=attrs.evolve(RULE, **rule) if rule else RULE, random=Lots(lots), rate=rate
    )
    made.connect(PlainLink(Length().framer(1500), 1500), 0.0)
    made.go_up(1500, made.framing)
    return made


def test_a_line_without_a_rate_cannot_take_turns() -> None:
    with pytest.raises(ConfigurationError, match=r"^half_duplex: needs the line's rate"):
        member(None)
    with pytest.raises(ConfigurationError, match=r"^half_duplex: needs the line's rate"):
        member().set_rate(None)
    with pytest.raises(ConfigurationError, match=r"^half_duplex: a HalfDuplex, or None"):
        HalfDuplexMember("radio", Length(), half_duplex=0.3, random=Lots(), rate=1200)  # type: ignore[arg-type]


def test_nothing_begins_while_the_other_end_is_heard() -> None:
    radio = member()
    for now in (1.0, 1.2, 1.4):
        radio.receive(b"\x00", now)
        radio.plan(Packet(b"x" * 28), now, 0.0)
        assert radio.data_to_send(now, 100, None) == b""
        assert radio.send_time(now) == pytest.approx(now + 0.3)
    assert radio.data_to_send(1.69, 100, None) == b""
    assert radio.data_to_send(1.7, 100, None)


def test_a_frame_that_has_begun_is_finished() -> None:
    radio = member()
    radio.plan(Packet(b"x" * 28), 0.0, 0.0)
    radio.plan(Packet(b"y" * 28), 0.0, 0.0)
    sent = radio.data_to_send(0.0, 100, None)
    now = 0.0
    while now < 3.0:
        now = max(now, radio.send_time(now) or 0.0)
        if now > 0.05:
            radio.receive(b"\x00", min(now, 0.2))
        sent += radio.data_to_send(now, 100, None)
        if len(sent) >= 30:
            break
    assert sent == b"\x00\x1c" + b"x" * 28
    assert (radio.send_time(now) or 0.0) > radio.wire_free


def test_control_frames_wait_too() -> None:
    radio = member()
    radio.receive(b"\x00", 1.0)
    radio.control.append(b"control")
    assert radio.data_to_send(1.0, 100, None) == b""
    assert radio.queue_delay(1.0) == pytest.approx(0.3 + 7 * 10 / 1200)
    assert radio.data_to_send(1.3, 100, None).startswith(b"con")


def test_the_plan_waits_for_the_turn() -> None:
    radio = member()
    line = radio.line
    byte_time = 10 / 1200
    assert line.eta(100, 1.0) == pytest.approx(1.0 + 100 * byte_time)
    radio.receive(b"\x00", 1.0)
    assert line.eta(100, 1.0) == pytest.approx(1.3 + 100 * byte_time)
    assert line.soonest == pytest.approx(1.3)
    radio.plan(Packet(b"x" * 98), 1.0, 0.0)
    assert line.free == pytest.approx(1.3 + 100 * byte_time)
    radio.receive(b"\x00", 1.1)  # it goes on talking
    assert line.free == pytest.approx(1.4 + 100 * byte_time)
    packets = radio.take_back()
    assert [len(packet.payload) for packet in packets] == [98]
    assert line.free == line.soonest == pytest.approx(1.4)
    radio.plan(packets[0], 1.2, 0.0)
    assert radio.data_to_send(1.401, 100, None)
    assert line.free == pytest.approx(1.401 + 100 * byte_time)  # the estimate was right, and stays
    before = line.byte_time
    radio.receive(b"\x00", 1.45)
    radio.set_rate(2400)
    radio.retime(before, 1.45)
    assert line.soonest >= 1.75


def test_a_new_connection_knows_nothing_of_the_old_one() -> None:
    radio = member()
    radio.receive(b"\x00", 1.0)
    radio.disconnect(1.0, "cut")
    radio.connect(PlainLink(Length().framer(1500), 1500), 1.1)
    radio.go_up(1500, radio.framing)
    radio.plan(Packet(b"x"), 1.1, 0.0)
    assert radio.line.free == pytest.approx(1.1 + 3 * 10 / 1200)
    assert radio.data_to_send(1.1, 100, None)


def test_a_port_that_is_late_talks_longer() -> None:
    radio = member(burst=0.01)
    radio.plan(Packet(b"x" * 2), 0.0, 0.0)
    radio.plan(Packet(b"y" * 2), 0.0, 0.0)
    assert len(radio.data_to_send(0.0, 100, 0)) == 4
    assert radio.data_to_send(0.5, 100, 3) == b""  # three bytes are still there
    assert radio.send_time(0.5) == pytest.approx(0.5 + 3 * 10 / 1200 + 0.5)


@pytest.mark.parametrize("tells", [True, False])
def test_through_a_bond_bursts_have_their_length_and_their_pauses(tells: bool) -> None:
    driver = Driver()
    radio = HalfDuplexMember("radio", Length(), half_duplex=RULE, random=Lots(), rate=1200)
    driver.bundle.add(radio, 0.0)
    port = driver.connect(radio, tells=tells)
    driver.bulk(20.0, 118)
    gaps, last, bursts = [], 0.0, [0.0]
    for when, size in port.pieces:
        if when > last + 0.25:
            gaps.append(when - last)
            bursts.append(0.0)
        last = max(last, when) + size * 10 / 1200
        bursts[-1] += size * 10 / 1200
    assert all(gap == pytest.approx(0.5, abs=0.02) for gap in gaps)
    assert bursts[:-1] == pytest.approx([3.0] * len(gaps))
    assert len(gaps) >= 4


def test_what_is_heard_wakes_the_line_that_waits() -> None:
    driver = Driver()
    radio = HalfDuplexMember("radio", Length(), half_duplex=RULE, random=Lots(0.99), rate=1200)
    driver.bundle.add(radio, 0.0)
    port = driver.connect(radio)
    driver.send(10)  # it waits: six slots
    assert not port.pieces
    driver.run(0.1)
    driver.bundle.receive(radio, b"\x00", 0.1)
    driver.serve()
    driver.run(1.0)
    assert port.pieces[0][0] == pytest.approx(0.4)  # its turn, sooner than by lot


def test_ordinary_lines_do_not_take_turns() -> None:
    assert not Member("cable", Length(), rate=9600).takes_turns
    assert member().takes_turns
    assert member().half_duplex == RULE
