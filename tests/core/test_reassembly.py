"""Multilink reassembly: order, loss by the M rule and by the timer, duplicates, bounds, garbage."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqlbond.codec.multilink import decode_header, decode_protocol, encode_header, encode_protocol
from eqlbond.core.fragments import Fragmenter
from eqlbond.core.reassembly import GRACE, MOST_FRAGMENTS, LinkCounts, Reassembler
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet
from tests.examples import examples


def mp(number: int, data: bytes = b"", flags: str = "BE", short: bool = False) -> bytes:
    return encode_header(number, "B" in flags, "E" in flags, short) + data


def reassembler(*links: str, **options: object) -> Reassembler:
    made = Reassembler(1500, **options)  # type: ignore[arg-type]
    for link in links or ("a", "b"):
        made.add_link(link)
    return made


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("number", [0, 1, 4095, 4096, 0xFFFFFF])
@pytest.mark.parametrize("flags", ["", "B", "E", "BE"])
def test_header_round_trip(number: int, flags: str, short: bool) -> None:
    header = decode_header(mp(number, b"x", flags, short), short)
    assert header == (
        (0x80 if "B" in flags else 0) | (0x40 if "E" in flags else 0),
        number % (4096 if short else 1 << 24),
    )


def test_reserved_bits_are_ignored() -> None:
    assert decode_header(bytes.fromhex("ff000001"), short=False) == (0xC0, 1)
    assert decode_header(bytes.fromhex("f001"), short=True) == (0xC0, 1)


@pytest.mark.parametrize(("short", "payload"), [(False, b"\xc0\0\0"), (True, b"\xc0"), (False, b"")])
def test_without_a_header(short: bool, payload: bytes) -> None:
    r = reassembler(short=short)
    assert r.receive("a", payload, 0.0) == []
    assert r.counters == {"malformed": 1}


@pytest.mark.parametrize("protocol", [0x21, 0x57, 0x8021, 0x0201, 0xC021])
def test_protocol_field(protocol: int) -> None:
    field = encode_protocol(protocol)
    assert decode_protocol(field + b"x") == (protocol, len(field))


@pytest.mark.parametrize("packet", [b"", b"\x00", b"\x80", b"\x80\x20"])
def test_bad_protocol_field(packet: bytes) -> None:
    assert decode_protocol(packet) is None


def test_in_order_on_one_link() -> None:
    r = reassembler("a")
    assert [r.receive("a", mp(n, bytes([n])), 0.0) for n in range(3)] == [[b"\0"], [b"\1"], [b"\2"]]
    assert r.counters == {}


def test_fragments_of_one_packet_in_any_order() -> None:
    r = reassembler("a", "b", "c")
    assert r.receive("c", mp(2, b"!", "E"), 0.0) == []
    assert r.receive("a", mp(0, b"he", "B"), 0.0) == []
    assert r.receive("b", mp(1, b"llo", ""), 0.0) == [b"hello!"]
    assert r.held == 0


def test_the_m_rule_gives_up_a_lost_fragment_at_once() -> None:
    r = reassembler("a", "b")
    r.receive("a", mp(0, b"0"), 0.0)
    assert r.receive("a", mp(2, b"2"), 0.0) == []  # b may still bring 1
    assert r.receive("b", mp(3, b"3"), 0.0) == [b"2", b"3"]  # both are past it
    assert r.counters == {"lost": 1}


def test_a_silent_link_stalls_no_longer_than_the_patience() -> None:
    r = reassembler("a", "b", patience=0.5)
    assert r.receive("a", mp(1, b"1"), 10.0) == []
    assert r.next_deadline() == 10.5
    assert r.tick(10.4) == []
    assert r.receive("a", mp(2, b"2"), 10.45) == []
    assert r.tick(10.5) == [b"1", b"2"]
    assert r.next_deadline() is None
    assert r.counters == {"lost": 1, "given up": 1}


def test_a_link_that_works_off_its_queue_is_waited_for() -> None:
    """A serial port of Linux holds 4096 bytes: far more than one packet's time, on a slow line."""
    r = reassembler("slow", "fast", patience=0.5)
    assert r.receive("fast", mp(4, b"4"), 0.0) == []
    for number in range(3):
        now = 0.4 * (number + 1)
        assert r.tick(now) == []
        assert r.receive("slow", mp(number, b"%d" % number), now) == [b"%d" % number]
        assert r.next_deadline() == now + 0.5
    assert r.receive("slow", mp(3, b"3"), 1.6) == [b"3", b"4"]
    assert r.counters == {}


def test_what_is_delivered_from_behind_a_gap_does_not_put_off_the_next_one() -> None:
    """A silent link costs its patience once, not once for each of its fragments."""
    r = reassembler("a", "silent", patience=0.5)
    for number in range(1, 10, 2):
        r.receive("a", mp(number, b"%d" % number), 0.0)
    assert r.tick(0.5) == [b"1", b"3", b"5", b"7", b"9"]


def test_a_deadline_that_was_overslept_lets_the_ports_be_read_first() -> None:
    """On a busy machine the fragment may be there, unread: one line's bytes are read before the other's."""
    r = reassembler("a", "b", patience=0.5)
    r.receive("a", mp(1, b"1"), 0.0)
    r.receive("a", mp(3, b"3"), 0.0)
    assert r.receive("a", mp(5, b"5"), 2.0) == []
    assert r.next_deadline() == 2.0 + GRACE
    assert r.receive("b", mp(0, b"0"), 2.0) == [b"0", b"1"]
    assert r.tick(2.5) == [b"3", b"5"], "they have had it, all together"
    assert r.counters == {"lost": 2, "given up": 2}


def test_each_gap_has_its_own_patience() -> None:
    r = reassembler("a", "b", patience=0.5)
    r.receive("a", mp(1, b"1"), 0.0)
    r.receive("a", mp(3, b"3"), 0.4)
    assert r.tick(0.5) == [b"1"]
    assert r.next_deadline() == pytest.approx(0.9)
    assert r.tick(0.9) == [b"3"]


def test_a_lost_fragment_costs_its_packet_alone() -> None:
    r = reassembler("a")
    r.receive("a", mp(0, b"a", "B"), 0.0)
    assert r.receive("a", mp(2, b"c", "E"), 0.0) == []
    assert r.receive("a", mp(3, b"whole"), 0.0) == [b"whole"]
    assert r.counters == {"lost": 1, "incomplete": 1, "orphan": 1}


def test_late_and_duplicate_fragments() -> None:
    r = reassembler("a", "b")
    r.receive("a", mp(0, b"0"), 0.0)
    r.receive("b", mp(0, b"0"), 0.0)
    r.receive("a", mp(2, b"2"), 0.0)
    r.receive("b", mp(2, b"2"), 0.0)
    assert r.counters["late"] == 1
    assert r.counters["duplicate"] == 1


def test_what_no_packet_can_be_is_not_delivered() -> None:
    r = reassembler("a")
    assert r.receive("a", mp(0, bytes(1503)), 0.0) == []
    assert r.receive("a", mp(1, bytes(1000), "B"), 0.0) == []
    assert r.receive("a", mp(2, bytes(1000), "E"), 0.0) == []
    assert r.receive("a", mp(3, b"begun", "B"), 0.0) == []
    assert r.receive("a", mp(4, b"whole"), 0.0) == [b"whole"]
    assert r.receive("a", mp(5, b"tail", "E"), 0.0) == []
    assert r.receive("a", mp(6), 0.0) == []
    assert r.counters == {"too long": 2, "incomplete": 1, "orphan": 1, "null": 1}


def test_null_fragments_move_the_sequence() -> None:
    r = reassembler("a", "b")
    r.receive("a", mp(1, b"1"), 0.0)
    assert r.receive("b", mp(2), 0.0) == [b"1"]
    assert r.counters == {"lost": 1, "null": 1}


def test_what_a_link_that_leaves_had_not_brought_may_come_by_another() -> None:
    r = reassembler("a", "b", patience=0.5)
    assert r.receive("a", mp(1, b"1"), 0.0) == []
    assert r.remove_link("b", 0.0) == []
    assert r.receive("a", mp(2, b"2"), 0.1) == []
    assert r.receive("a", mp(0, b"0"), 0.2) == [b"0", b"1", b"2"]
    assert r.counters == {}


def test_a_link_that_has_left_is_waited_for_as_long_as_the_patience() -> None:
    r = reassembler("a", "b", patience=0.5)
    r.remove_link("b", 0.0)
    assert r.receive("a", mp(1, b"1"), 0.4) == []
    assert r.receive("a", mp(2, b"2"), 0.6) == [b"1", b"2"]
    assert r.counters == {"lost": 1}


def test_when_the_last_link_leaves_nothing_waits_any_longer() -> None:
    r = reassembler("a")
    r.add_link("b")
    assert r.receive("a", mp(1, b"1"), 0.0) == []
    assert r.remove_link("b", 0.0) == []
    assert r.remove_link("a", 0.0) == [b"1"]


def test_what_each_link_has_brought_is_counted() -> None:
    r = Reassembler(1500, patience=0.5)
    a, b = LinkCounts(), LinkCounts()
    r.add_link("a", a)
    r.add_link("b", b)
    r.receive("a", mp(0, b"0"), 0.0)
    r.receive("b", mp(0, b"0"), 0.0)
    r.receive("a", mp(3, b"3"), 0.0)
    assert r.tick(0.5) == [b"3"]
    assert (a, b) == (LinkCounts(2), LinkCounts(1, duplicates=1, lost=2))


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("expected", [1, 40, 1000])
def test_numbers_from_before_a_link_joined_are_a_bundle_begun_anew(expected: int, short: bool) -> None:
    r = reassembler("old", short=short)
    for number in range(expected):
        r.receive("old", mp(number, b"x", short=short), 0.0)
    r.add_link("new")
    assert r.receive("new", mp(0, b"again", short=short), 1.0) == [b"again"]
    assert r.counters == {"restarted": 1}
    assert r.receive("old", mp(1, b"1", short=short), 1.0) == [b"1"]


def test_a_link_whose_first_fragment_is_late_does_not_begin_anew() -> None:
    r = reassembler("old", "new", patience=0.5)
    r.receive("old", mp(1, b"1"), 0.0)
    assert r.tick(0.5) == [b"1"]
    assert r.receive("new", mp(0, b"0"), 0.6) == []
    assert r.counters == {"lost": 1, "given up": 1, "late": 1}


def test_a_peer_that_begins_anew_is_followed() -> None:
    r = reassembler("a", "b")
    for n in range(10000):
        r.receive("a", mp(n, b"x"), 0.0)
    r.remove_link("a", 0.0)
    r.add_link("a")
    assert r.receive("a", mp(0, b"new"), 0.0) == [b"new"]
    assert r.receive("a", mp(1, b"er"), 0.0) == [b"er"]
    assert r.counters == {"restarted": 1}


def test_old_fragments_on_an_old_link_do_not_turn_time_back() -> None:
    r = reassembler("a", "b")
    for n in range(10000):
        r.receive("a", mp(n, b"x"), 0.0)
    r.receive("b", mp(9000, b"x"), 0.0)
    assert [r.receive("b", mp(n, b"old"), 0.0) for n in range(20)] == [[]] * 20


@pytest.mark.parametrize("short", [False, True])
def test_numbers_wrap(short: bool) -> None:
    r = reassembler("a", "b", short=short)
    space = 4096 if short else 1 << 24
    if not short:
        r._next, r._last = space - 3, {"a": space - 4, "b": space - 4}
    delivered = []
    for n in range(space - 3 if not short else 0, space + 5):
        delivered += r.receive("ab"[n % 2], mp(n, b"%d" % n, short=short), 0.0)
    assert delivered[-8:] == [b"%d" % n for n in range(space - 3, space + 5)]
    assert r.counters == {}


def test_memory_is_bounded_by_bytes_and_by_count() -> None:
    r = reassembler("a", "b", most_bytes=10000, patience=1e9)
    delivered = []
    for n in range(1, 1000):
        delivered += r.receive("a", mp(n, bytes(100)), 0.0)
        assert r.held <= 10100
    assert r.counters["overflow"] == 1
    r = reassembler("a", "b", patience=1e9)
    for n in range(1, 3 * MOST_FRAGMENTS, 2):
        r.receive("a", mp(n, b"", ""), 0.0)
        assert len(r._waiting) <= MOST_FRAGMENTS + 1


def test_fragments_without_data_fill_no_memory() -> None:
    r = reassembler("a")
    r.receive("a", mp(0, b"x", "B"), 0.0)
    for number in range(1, 5000):
        assert r.receive("a", mp(number, b"", ""), 0.0) == []
    assert r._parts == [b"x"]
    assert r.receive("a", mp(5000, b"y", "E"), 0.0) == [b"xy"]


@pytest.mark.parametrize("links", ["a", "ab"])
def test_one_wrong_number_does_not_silence_a_bundle(links: str) -> None:
    """An error in a number's high bits that the frame's check has not found."""
    r = reassembler(*links)
    got = []
    for number in range(200):
        link = links[number % len(links)]
        got += r.receive(link, mp(number + (1 << 22 if number == 100 else 0), b"%d" % number), number * 0.01)
    got += r.tick(60.0)
    assert got == [b"%d" % number for number in range(200) if number != 100]
    assert r.counters == {"out of window": 1, "lost": 1, **({"given up": 1} if r.counters.get("given up") else {})}


def test_a_peer_that_goes_on_far_ahead_is_followed() -> None:
    """After an outage of all lines, say; it costs the first fragment of each link."""
    r = reassembler("a", "b")
    for number in range(10):
        r.receive("ab"[number % 2], mp(number, b"before"), 0.0)
    got = []
    for number in range(100_000, 100_020):
        got += r.receive("ab"[number % 2], mp(number, b"%d" % number), 60.0)
    got += r.tick(70.0)
    assert got == [b"%d" % number for number in range(100_002, 100_020)]
    assert r.counters["out of window"] == 2
    assert r.counters["lost"] == 100_002 - 10


def test_a_new_link_may_begin_anywhere() -> None:
    r = reassembler("a")
    assert r.receive("a", mp(100_000, b"first"), 0.0) == [b"first"]


def test_mrru_is_checked() -> None:
    with pytest.raises(ConfigurationError, match="mrru"):
        Reassembler(0)


@settings(max_examples=examples(60))
@given(
    seed=st.integers(0, 2**32),
    short=st.booleans(),
    loss=st.sampled_from([0.0, 0.05, 0.3]),
    duplicates=st.sampled_from([0.0, 0.1]),
)
def test_never_out_of_order_never_damaged(seed: int, short: bool, loss: float, duplicates: float) -> None:
    """Random packets, cut at random, over three lines of random delay that keep their order, with loss and copies."""
    rng = random.Random(seed)
    fragmenter = Fragmenter(short=short)
    arrivals: list[tuple[float, int, str, bytes]] = []
    ready = {"a": 0.0, "b": 0.0, "c": 0.0}
    sent = []
    for n in range(60):
        packet = Packet(b"%d:" % n + rng.randbytes(rng.randrange(1, 200)))
        sent.append(b"\x21" + packet.payload)
        sizes = []
        left = len(packet.payload)
        while left and rng.random() < 0.5:
            sizes.append(rng.randrange(1, left + 1))
            left -= sizes[-1]
        if left:
            sizes.append(left)
        for fragment in fragmenter.cut(packet, sizes):
            fragmenter.number(fragment)
            for link in rng.sample("abc", 2 if rng.random() < duplicates else 1):
                ready[link] = max(ready[link], n * 0.01) + rng.random() * {"a": 0.01, "b": 0.03, "c": 0.1}[link]
                if rng.random() >= loss:
                    arrivals.append((ready[link], len(arrivals), link, fragment.payload))
    r = reassembler("a", "b", "c", short=short, patience=0.5 if loss else 1e6)
    delivered: list[bytes] = []
    now = 0.0
    for now, _, link, payload in sorted(arrivals):
        while (deadline := r.next_deadline()) is not None and deadline <= now:
            delivered += r.tick(deadline)
        delivered += r.receive(link, payload, now)
    while (deadline := r.next_deadline()) is not None:
        delivered += r.tick(deadline)
    assert r.held == 0
    positions = [sent.index(packet) for packet in delivered]  # a damaged packet is not among those sent
    assert positions == sorted(set(positions))
    if loss == 0.0:
        assert delivered == sent


@given(st.lists(st.tuples(st.sampled_from("ab"), st.binary(max_size=20), st.floats(0, 1)), max_size=200), st.booleans())
def test_garbage_never_raises(arrivals: list[tuple[str, bytes, float]], short: bool) -> None:
    r = reassembler("a", "b", short=short, most_bytes=200)
    now = 0.0
    for link, payload, wait in arrivals:
        now += wait
        r.receive(link, payload, now)
        r.tick(now)
        assert r.held <= 220
        deadline = r.next_deadline()
        assert deadline is None or deadline >= now
