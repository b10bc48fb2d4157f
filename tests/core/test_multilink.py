"""Multilink bundles over lines: who may join, what is lost when lines die, and the order of everything."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqlbond.codec.hdlc import Hdlc
from eqlbond.codec.multilink import encode_header
from eqlbond.codec.options import EndpointDiscriminator
from eqlbond.core.bundle import Bundle
from eqlbond.core.fragments import Fragmenter
from eqlbond.core.member import MOST_CONTROL, Member
from eqlbond.core.multilink import Multilink
from eqlbond.events import (
    BondUp,
    NetworkUp,
    OptionRefused,
    PeerAuthenticated,
    PhaseChanged,
    SlaveDown,
)
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet
from eqlbond.ppp.chap import Chap
from eqlbond.ppp.config import IpOptions, Ipv6Options, Ppp
from eqlbond.ppp.pap import Pap
from eqlbond.schedulers import EarliestDelivery, Eql, Line, Placement, RoundRobin, Scheduler
from tests.core.pair import MULTILINK, Faults, Joined
from tests.examples import examples

QUICK = Ppp(echo_interval=1.0, echo_failure=3)


def numbered(number: int, size: int = 900) -> bytes:
    return number.to_bytes(4, "big") + random.Random(number).randbytes(size - 4)


def all_fragments(joined: Joined, side: int = 0) -> list[int]:
    return [line.fragments_sent for line in joined.ends[side].bundle.stats(joined.now).lines]


# -- one packet, many packets


def test_a_packet_on_idle_lines_goes_by_all_of_them_at_once() -> None:
    times = {}
    for count in (1, 2, 4):
        joined = Joined(*[28800] * count).open()
        joined.run(5.0)
        joined.send(numbered(1, 1400))
        joined.run(8.0)
        times[count] = joined.b.received[0][0] - 5.0
        assert joined.order() == [1]
        assert all_fragments(joined) == [1] * count
    assert times[2] / times[1] <= 0.52
    assert times[4] / times[1] <= 0.275


def test_fragments_of_unequal_lines_arrive_together() -> None:
    joined = Joined(57600, 14400, latency=0.01).open()
    joined.run(5.0)
    joined.send(numbered(1, 1400))
    arrivals = sorted(entry[0] for entry in joined._heap)
    assert len(all_fragments(joined)) == 2
    joined.run(8.0)
    ends = [way[0].last for way in joined.ways]
    assert abs(ends[0] - ends[1]) < 0.012, arrivals
    assert joined.order() == [1]


def test_a_full_bond_sends_whole_packets_in_order_without_loss() -> None:
    joined = Joined(57600, 28800, 14400, 9600).open()
    packets = 0
    while joined.now < 20.0:
        while not joined.a.bundle.full:
            joined.send(numbered(packets))
            packets += 1
        joined.run(joined.now + 0.05)
    joined.run(40.0)
    assert joined.order() == list(range(packets))
    assert sum(all_fragments(joined)) < packets * 1.1
    assert joined.b.bundle.stats(joined.now).dropped == {}


def test_a_packet_larger_than_any_link_takes_goes_in_fragments() -> None:
    joined = Joined(57600, 57600, multilink=Multilink(mrru=4000), mtu=4000, mtus=[600, 700]).open()
    for number in range(4):
        joined.send(numbered(number, 4000))
    joined.run(10.0)
    assert joined.order() == [0, 1, 2, 3]
    assert sum(all_fragments(joined)) >= 4 * 6


def test_packets_that_fit_only_some_links_whole() -> None:
    joined = Joined(28800, 28800, 28800, mtus=[None, 300, 900]).open()
    for number in range(60):
        joined.send(numbered(number, 200 + 13 * (number % 99)))
    joined.run(40.0)
    assert joined.order() == list(range(60))
    assert min(all_fragments(joined)) > 0


def test_when_the_only_link_that_takes_it_whole_dies_the_packet_is_cut_anew() -> None:
    joined = Joined(28800, 28800, mtus=[None, 400], multilink=Multilink(fragment=False)).open()
    for number in range(30):
        joined.send(numbered(number, 1200))
    joined.run(joined.now + 0.6)
    joined.hang_up(0)
    joined.run(40.0)
    order = joined.order()
    assert order == sorted(order)
    assert len(order) >= 28, "at most what the port held"


def test_a_packet_over_the_peers_mrru_is_dropped_and_counted() -> None:
    joined = Joined(57600, multilink=Multilink(mrru=3000), far_multilink=Multilink(), mtu=1500)
    joined.a.bundle = Bundle(EarliestDelivery(), mtu=3000, multilink=Multilink(mrru=3000), random=random.Random(3))
    joined.a.members = [Member("line0", Ppp(), rate=57600)]
    joined.a.bundle.add(joined.a.members[0], 0.0)
    joined.connect(0, only=0)
    joined.open()
    joined.send(bytes(1501), protocol=0x21)
    joined.send(numbered(7, 1500))
    joined.run(5.0)
    assert joined.order() == [7]
    assert joined.a.bundle.stats(joined.now).dropped == {"over the peer's MRRU": 1}


def test_an_mrru_below_the_mtu_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="mrru"):
        Bundle(EarliestDelivery(), mtu=2000, multilink=Multilink(), random=random.Random(1))


@pytest.mark.parametrize("options", [{"mrru": 1499}, {"mrru": 70000}, {"margin": -1}, {"endpoint": "site7"}])
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Multilink(**options)


# -- order and small flows


def test_small_flows_pass_bulk_in_their_own_order_and_nothing_is_lost() -> None:
    joined = Joined(57600, 14400, 9600, flow_of=lambda payload: payload[4]).open()
    rng = random.Random(5)
    number = 0
    sent: dict[int, list[int]] = {}
    since: dict[int, float] = {}
    bulk = []
    while joined.now < 30.0:
        while not joined.a.bundle.full:
            bulk.append(number)
            since[number] = joined.now
            joined.send(number.to_bytes(4, "big") + bytes([0]) + rng.randbytes(895))
            sent.setdefault(0, []).append(number)
            number += 1
        if rng.random() < 0.4:
            flow = rng.randint(1, 5)
            joined.send(number.to_bytes(4, "big") + bytes([flow]) + rng.randbytes(60))
            sent.setdefault(flow, []).append(number)
            since[number] = joined.now
            number += 1
        joined.run(joined.now + 0.05)
    joined.run(60.0)
    for flow, numbers in sent.items():
        assert [int.from_bytes(p[:4], "big") for p in joined.b.payloads() if p[4] == flow] == numbers
    assert joined.b.bundle.stats(joined.now).dropped == {}
    arrived = {int.from_bytes(p.payload[:4], "big"): when for when, p in joined.b.received}
    small = sorted(arrived[n] - since[n] for numbers in sent.values() for n in numbers[1:] if n not in bulk)
    large = sorted(arrived[n] - since[n] for n in bulk)
    assert small[len(small) // 2] < large[len(large) // 2]


def test_many_new_flows_do_not_keep_bulk_waiting_for_ever() -> None:
    joined = Joined(28800, 14400, flow_of=lambda payload: payload[4:6]).open()
    for number in range(20):
        joined.send(number.to_bytes(4, "big") + b"\0\0" + bytes(800))
    for number in range(1, 2000):
        joined.send((1000 + number).to_bytes(4, "big") + number.to_bytes(2, "big") + bytes(100))
        joined.run(joined.now + 0.02)
    assert {number for number in joined.order() if number < 20} == set(range(20))


def test_urgent_packets_wait_for_no_sequence() -> None:
    joined = Joined(9600, 9600).open()
    for number in range(20):
        joined.send(numbered(number, 1400))
    joined.run(joined.now + 1.0)
    before = joined.now
    joined.send(numbered(99, 50), priority=1)
    joined.run(60.0)
    when = next(when for when, packet in joined.b.received if packet.payload == numbered(99, 50))
    assert when - before < 1.7, "behind the frame that was on the wire"
    assert [number for number in joined.order() if number != 99] == list(range(20))


class Twice(Scheduler):
    """Every packet by every line."""

    def place(self, packet: Packet, lines: Sequence[Line], now: float) -> Placement:
        return Placement(lines[0], copies=tuple(lines[1:]))


def test_copies_are_removed_by_their_number() -> None:
    joined = Joined(28800, 14400, scheduler=Twice(), faults=Faults(loss=0.1), seed=3).open()
    joined.run(5.0)
    for number in range(60):
        joined.send(numbered(number, 300))
        joined.run(joined.now + 0.4)
    order = joined.order()
    assert order == sorted(set(order))
    assert len(order) >= 55, "one of two copies arrives mostly"
    lines = joined.b.bundle.stats(joined.now).lines
    assert sum(line.fragments_duplicate for line in lines) > 40


# -- joining


def site(name: str) -> EndpointDiscriminator:
    return EndpointDiscriminator.local(name)


def test_links_of_one_peer_join_whatever_order_they_open_in() -> None:
    joined = Joined(28800, 28800, 28800, connect=False)
    for n in (2, 0, 1):
        joined.connect(n)
        joined.run(joined.now + 1.0)
        assert joined.a.members[n].line.up
        assert joined.b.members[n].line.up
    assert sum(isinstance(event, NetworkUp) for event in joined.a.events) == 1, "the NCPs run once"
    assert sum(isinstance(event, BondUp) for event in joined.a.events) == 1


def test_another_endpoint_is_kept_out_and_reported() -> None:
    far = [Ppp(endpoint=site("here")), Ppp(endpoint=site("elsewhere"))]
    joined = Joined(28800, 28800, far_ppp=far, connect=False)
    joined.connect(0)
    joined.run(1.0)
    joined.connect(1)
    joined.run(10.0)
    assert [member.line.up for member in joined.a.members] == [True, False]
    assert any("another one than on the other lines" in reason and "elsewhere" in reason for reason in joined.a.downs())
    joined.send(numbered(1))
    joined.run(15.0)
    assert joined.order() == [1], "the bond goes on"


def test_another_name_is_kept_out_and_reported() -> None:
    near = Ppp(require=("chap",), secrets={"site7": "s7", "site8": "s8"})
    far = [Ppp(auth=Chap("site7", "s7")), Ppp(auth=Chap("site8", "s8"))]
    joined = Joined(28800, 28800, ppp=near, far_ppp=far, connect=False)
    joined.connect(0)
    joined.run(1.0)
    joined.connect(1)
    joined.run(10.0)
    assert [member.line.up for member in joined.a.members] == [True, False]
    assert any("'site8'" in reason and "'site7'" in reason for reason in joined.a.downs())
    assert [e.name for e in joined.a.events if isinstance(e, PeerAuthenticated)] == ["site7", "site8"]


def test_a_peer_without_multilink_is_kept_out_with_the_reason() -> None:
    joined = Joined(28800, multilink=Multilink(), connect=False)
    joined.b.bundle = Bundle(EarliestDelivery(), random=random.Random(9))
    joined.b.members = [Member("line0", Ppp(), rate=28800)]
    joined.b.bundle.add(joined.b.members[0], 0.0)
    joined.connect(0)
    joined.run(30.0)
    assert not joined.a.bundle.up
    assert "the peer does not speak Multilink on this line" in joined.a.downs()


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (Multilink(mrru=1500), Multilink(mrru=1600), "MRRU differs"),
        (Multilink(short=False), Multilink(short=True), "header differs"),
    ],
    ids=["mrru", "header"],
)
def test_links_that_disagree_are_kept_out(first: Multilink, second: Multilink, reason: str) -> None:
    """The far ends are two bundles that say they are one."""
    joined = Joined(28800, 28800, far_multilink=first, far_ppp=Ppp(endpoint=site("one")))
    joined.run(5.0)
    assert all(member.line.up for member in joined.a.members)
    joined.hang_up(1)
    other = Bundle(EarliestDelivery(), multilink=second, random=random.Random(4))
    member = Member("other", Ppp(endpoint=site("one")), rate=28800)
    other.add(member, joined.now)
    joined.b.bundle.remove(joined.b.members[1], joined.now)
    kept, joined.b.bundle, joined.b.members[1] = joined.b.bundle, other, member
    keep_members = joined.b.members
    joined.b.members = [keep_members[0], member]
    joined.connect(1)
    for _ in range(40):
        joined.run(joined.now + 0.1)
    assert any(reason in each for each in joined.a.downs())
    assert not joined.a.members[1].line.up
    assert joined.a.members[0].line.up
    assert kept.up


def test_short_headers_each_way_as_each_side_asks() -> None:
    joined = Joined(28800, 28800, multilink=Multilink(short=True), far_multilink=Multilink(short=False)).open()
    for number in range(50):
        joined.send(numbered(number, 200))
        joined.send(numbered(number, 200), 1)
    joined.run(20.0)
    assert joined.order(1) == joined.order(0) == list(range(50))


def test_short_numbers_wrap() -> None:
    joined = Joined(None, None, multilink=Multilink(short=True)).open()
    for number in range(9000):
        joined.send(numbered(number, 8))
        if number % 10 == 9:
            joined.run(joined.now + 0.001)
    joined.run(joined.now + 5)
    assert joined.order() == list(range(9000))


# -- network protocols and control inside and outside of the bundle


def inject(joined: Joined, n: int, protocol: int, payload: bytes) -> None:
    """End a sends a packet on line `n`, outside of all order."""
    link: Any = joined.a.members[n].link
    link.send_control(Packet(payload, protocol))
    joined.a.members[n].control.extend(link.take_output())
    joined.a.bundle.has_room(joined.a.members[n])
    joined.serve(0)


def test_ncp_packets_are_understood_inside_and_outside_of_the_bundle() -> None:
    joined = Joined(28800, 28800).open()
    number = joined.a.bundle._mux.fragmenter.next_number  # type: ignore[union-attr]
    # A Code-Reject answers a code that IPCP does not have: so the packet arrived where it belongs.
    unknown = bytes([99, 1, 0, 4])
    inject(joined, 0, 0x8021, unknown)
    inject(joined, 1, 0x3D, encode_header(number, True, True, False) + b"\x80\x21" + unknown)
    rejects = []
    receive = joined.a.bundle._mux.network.receive  # type: ignore[union-attr]

    def listen(packet: Packet, now: float) -> None:
        rejects.append(packet.payload)
        receive(packet, now)

    joined.a.bundle._mux.network.receive = listen  # type: ignore[union-attr,method-assign]
    joined.run(joined.now + 2.0)
    assert len(rejects) == 2
    assert all(payload[0] == 7 for payload in rejects), "Code-Reject"


def test_lcp_inside_of_the_bundle_is_discarded() -> None:
    joined = Joined(28800, 28800).open()
    number = joined.a.bundle._mux.fragmenter.next_number  # type: ignore[union-attr]
    terminate = bytes([5, 1, 0, 4])
    inject(joined, 0, 0x3D, encode_header(number, True, True, False) + b"\xc0\x21" + terminate)
    joined.run(joined.now + 5.0)
    assert joined.b.bundle.stats(joined.now).dropped == {"LCP inside the bundle": 1}
    assert all(member.line.up for end in joined.ends for member in end.members)


def test_unknown_protocols_and_garbage_inside_of_the_bundle() -> None:
    joined = Joined(28800, 28800).open()
    number = joined.a.bundle._mux.fragmenter.next_number  # type: ignore[union-attr]
    inject(joined, 0, 0x3D, encode_header(number, True, True, False) + b"\x12\x35hello")
    inject(joined, 0, 0x3D, encode_header(number + 1, True, True, False) + b"\x12")
    inject(joined, 0, 0x3D, b"\xc0")
    inject(joined, 0, 0x3D, encode_header(number + 2, True, True, False))
    joined.run(joined.now + 5.0)
    assert joined.b.bundle.stats(joined.now).dropped == {
        "unknown protocol": 1,
        "bad protocol field": 1,
        "malformed": 1,
        "null": 1,
    }
    assert all(member.line.up for end in joined.ends for member in end.members)


def test_ip_packets_beside_the_bundle_are_delivered() -> None:
    joined = Joined(28800).open()
    inject(joined, 0, 0x21, b"beside")
    joined.run(joined.now + 1)
    assert joined.b.payloads() == [b"beside"]


def test_a_bundle_without_a_common_network_protocol_ends_with_the_reason() -> None:
    joined = Joined(28800, 28800, ppp=Ppp(ip=None, ipv6=Ipv6Options()), far_ppp=Ppp(ip=IpOptions()))
    joined.run(60.0)
    assert not joined.a.bundle.up
    assert any("no network protocol could be opened" in reason for reason in joined.a.downs() + joined.b.downs())


def test_the_network_protocols_do_not_hang_on_a_link_that_is_dead() -> None:
    joined = Joined(28800, 28800, connect=False)
    for n in (0, 1):
        for side, end in enumerate(joined.ends):
            end.bundle.connected(end.members[n], 0.0)
            joined.serve(side)
    while len(joined.a.bundle._mux.links) < 2:  # type: ignore[union-attr]
        joined.run(joined.now + 0.001)
    first = next(iter(joined.a.bundle._mux.links))  # type: ignore[union-attr]
    joined.silence([member.link for member in joined.a.members].index(first))
    joined.run(20.0)
    assert joined.a.bundle.up
    assert joined.b.bundle.up


def test_network_control_packets_are_answered_by_the_link_that_they_came_by() -> None:
    """A peer that was restarted speaks on one link, while others are still held to a process of its that is gone."""
    joined = Joined(28800, 28800, 28800).open()
    mux = joined.a.bundle._mux
    assert mux is not None
    for link in list(mux.links)[::-1]:
        mux.receive(link, [Packet(bytes([1, 77, 0, 4]), 0x8021)], joined.now)  # a Configure-Request
        mux.flush(joined.now)
        assert link.take_output()
        assert not any(other.take_output() for other in mux.links if other is not link)


@pytest.mark.parametrize("short", [False, True])
def test_the_numbers_suit_a_bundle_that_the_peer_has_begun_anew(short: bool) -> None:
    """It expects 0, and takes what is half of the space ahead for old. To the old bundle it is a gap."""
    space = 1 << (12 if short else 24)
    for used, now in ((0, 0), (5, 5), (space // 2 - 1, space // 2 - 1), (space // 2, space), (space - 1, space)):
        fragmenter = Fragmenter(short=short)
        fragmenter._next = used
        fragmenter.suit_a_new_bundle()
        assert fragmenter.next_number == now
        fragmenter.suit_a_new_bundle()
        assert fragmenter.next_number == now


def test_a_peer_that_negotiates_its_network_anew_is_taken_for_a_new_bundle() -> None:
    joined = Joined(28800, 28800, multilink=Multilink(short=True)).open()
    mux = joined.a.bundle._mux
    assert mux is not None
    mux.fragmenter._next = 3000
    mux.receive(next(iter(mux.links)), [Packet(bytes([1, 77, 0, 4]), 0x8021)], joined.now)
    assert mux.fragmenter.next_number == 4096


# -- lines that die and return


def test_a_line_that_hangs_up_and_returns_keeps_the_sequence() -> None:
    joined = Joined(28800, 28800, 14400).open()
    number = 0
    for step in range(400):
        if not joined.a.bundle.full:
            joined.send(numbered(number, 500))
            number += 1
        if step == 100:
            joined.hang_up(1)
        if step == 200:
            joined.connect(1)
        joined.run(joined.now + 0.05)
    joined.run(60.0)
    order = joined.order()
    assert order == sorted(set(order))
    assert number - len(order) <= 1, "what was on the wire"
    counters = joined.b.bundle.stats(joined.now).dropped
    assert "restarted" not in counters
    assert joined.b.bundle._mux.reassembler.expected > 100  # type: ignore[union-attr]


def test_what_the_port_of_a_dead_line_held_goes_again_by_another() -> None:
    joined = Joined(9600, 9600, multilink=Multilink(fragment=False)).open()
    for number in range(12):
        joined.send(numbered(number, 700))
    joined.run(joined.now + 1.0)
    joined.hang_up(0)
    joined.run(30.0)
    assert joined.order() == list(range(12))


def test_a_line_that_falls_silent_is_found_by_echo() -> None:
    joined = Joined(28800, 28800, ppp=QUICK).open()
    number = 0
    for step in range(300):
        if step == 60:
            joined.silence(0)
        joined.send(numbered(number, 200))
        number += 1
        joined.run(joined.now + 0.1)
    joined.run(40.0)
    order = joined.order()
    assert order == sorted(set(order))
    assert any("no sign of life" in reason for reason in joined.a.downs())
    assert not joined.a.members[0].line.up
    assert joined.a.members[1].line.up
    assert order[-1] == number - 1, "the other line carries all"
    assert number - len(order) < 60, "only what went by the silent line within 4 s"


@pytest.mark.parametrize("multilink", [None, MULTILINK])
def test_what_ppp_does_not_permit_is_dropped_also_if_it_came_before_the_lines(multilink: Multilink | None) -> None:
    joined = Joined(28800, 28800, multilink=multilink, ppp=Ppp(ip=IpOptions(), ipv6=None))
    for protocol in (0x21, 0x57, 0x21):
        joined.send(protocol.to_bytes(100, "little"), protocol=protocol)
    joined.open()
    joined.send(bytes(100), protocol=0x57)
    joined.run(joined.now + 5.0)
    assert [payload[0] for payload in joined.b.payloads()] == [0x21, 0x21]
    stats = joined.a.bundle.stats(joined.now)
    assert stats.dropped == {"network protocol not open": 2}
    assert stats.queued_bytes == 0


@pytest.mark.parametrize("multilink", [None, MULTILINK])
@pytest.mark.parametrize(("rate", "latency"), [(300, 0.0), (1200, 0.0), (9600, 0.0), (9600, 2.0)])
def test_slow_lines_come_up_by_the_first_request(multilink: Multilink | None, rate: int, latency: float) -> None:
    """A request that is repeated before its answer can be there reaches a peer that is open, and both begin anew."""
    joined = Joined(rate, multilink=multilink, latency=latency)
    joined.open()
    # Configure-Request and answer of LCP, and again of IPCP.
    assert joined.now < 4 * 65 * 10 / rate + 4 * latency + 0.3
    joined.run(joined.now + 60.0)
    for end in joined.ends:
        phases = [event.phase for event in end.events if isinstance(event, PhaseChanged)]
        assert phases == ["establish", "network"]


def test_phases_are_in_the_statistics() -> None:
    joined = Joined(28800, 28800)

    def phases() -> list[tuple[str | None, str]]:
        return [(line.phase, line.state) for line in joined.a.bundle.stats(joined.now).lines]

    assert phases() == [("establish", "establish")] * 2
    joined.open()
    assert phases() == [("network", "up")] * 2
    joined.hang_up(0)
    assert phases() == [("dead", "down"), ("network", "up")]


def test_a_port_that_stands_still_is_believed_for_a_while() -> None:
    """Its Echo-Request has not left, so that nobody can have answered; for as many intervals as one may be silent."""
    joined = Joined(28800, ppp=QUICK, far_ppp=Ppp(echo_interval=0)).open()
    joined.run(joined.now + 3.0)
    joined.stick(0)
    joined.send(numbered(0, 700))
    joined.run(joined.now + 5.0)
    assert joined.a.downs() == []
    joined.stick(0, stuck=False)
    joined.run(joined.now + 5.0)
    assert joined.order() == [0]
    joined.stick(0)
    joined.run(joined.now + 12.0)
    assert joined.a.downs() == ["no sign of life from the peer for 3 Echo-Requests"]


def test_a_line_without_a_rate_is_not_given_up_for_its_ports_own_queue() -> None:
    joined = Joined(None, multilink=None, ppp=QUICK, far_ppp=Ppp(echo_interval=0), queue_bytes=100_000).open()
    joined.ways[0][0].rate = 9600.0  # what the transport really gets rid of
    for number in range(20):
        joined.send(b"\x45" + numbered(number, 1000))
    assert joined.ways[0][0].held(joined.now) > 15_000
    joined.run(joined.now + 30.0)
    assert joined.a.downs() == []
    assert len(joined.b.received) == 20
    joined.silence(0)
    joined.run(joined.now + 5.0)
    assert joined.a.downs() == ["no sign of life from the peer for 3 Echo-Requests"]


def test_a_peer_that_asks_without_end_cannot_fill_the_memory() -> None:
    joined = Joined(28800, ppp=Ppp(echo_interval=0, fcs32=False)).open()
    joined.stick(0)
    asks = Hdlc(fcs=16).framer(1500)
    for number in range(2000):
        request = bytes([9, number & 0xFF, 0, 8]) + bytes(4)
        joined.put(0, 1, joined.now, asks.encode(Packet(request, 0xC021)))
    joined.run(joined.now + 1.0)
    line = joined.a.members[0]
    assert MOST_CONTROL < sum(map(len, line.control)) < MOST_CONTROL + 1500
    assert line.stats(joined.now).lost == {"too many control frames": 2000 - len(line.control)}
    joined.stick(0, stuck=False)
    joined.run(joined.now + 10.0)
    assert not line.control


@pytest.mark.parametrize("only", [None, 0, 1], ids=["both ends hear", "the sender hears", "the receiver hears"])
def test_when_all_lines_die_and_return_the_bundle_begins_anew(only: int | None) -> None:
    joined = Joined(28800, 28800, ppp=QUICK).open()
    number = 0
    for step in range(200):
        joined.send(numbered(number, 400))
        number += 1
        if step == 100:
            for n in (0, 1):
                joined.hang_up(n, only=only)
        if step == 120:
            for n in (0, 1):
                joined.connect(n, only=only)
        joined.run(joined.now + 0.1)
    joined.run(60.0)
    order = joined.order()
    assert order == sorted(set(order))
    assert order[-1] == number - 1
    assert number - len(order) < 30
    assert all(member.line.up for end in joined.ends for member in end.members)


def test_one_end_begins_anew_while_the_other_still_holds_a_dead_line() -> None:
    joined = Joined(28800, 28800, ppp=Ppp(echo_interval=0)).open()
    for number in range(80):
        joined.send(numbered(number, 400))
    joined.run(30.0)
    joined.silence(1)
    for n in (0, 1):
        joined.hang_up(n, only=0)
    joined.run(31.0)
    joined.connect(0, only=0)
    joined.run(40.0)
    assert joined.b.members[1].line.up, "nobody has told the far end"
    for number in range(80, 140):
        joined.send(numbered(number, 400))
    joined.run(70.0)
    assert joined.order() == list(range(140))
    assert joined.b.bundle.stats(joined.now).dropped.get("restarted") == 1


def test_without_lines_packets_wait_and_then_go_in_order() -> None:
    joined = Joined(28800, 28800, connect=False)
    for number in range(10):
        joined.send(numbered(number))
    joined.connect(0)
    joined.run(20.0)
    assert joined.order() == list(range(10))


# -- loss


def test_a_lost_fragment_costs_one_packet_and_delays_the_others_no_longer_than_the_patience() -> None:
    joined = Joined(28800, 28800, 28800, 28800).open()
    joined.run(5.0)
    patience = joined.b.bundle._mux.reassembler.patience  # type: ignore[union-attr]
    assert patience == pytest.approx(1.15 * 1516 * 10 / 28800 + 0.25)
    sent = {}
    for number in range(40):
        if number == 10:  # one fragment of this packet
            joined.ways[2][0].faults.loss = 1.0
        joined.send(numbered(number, 1400))
        sent[number] = joined.now
        joined.run(joined.now + 0.15)
        joined.ways[2][0].faults.loss = 0.0
    joined.run(30.0)
    assert joined.order() == [number for number in range(40) if number != 10]
    for when, packet in joined.b.received:
        number = int.from_bytes(packet.payload[:4], "big")
        assert when - sent[number] < 0.15 + patience
    counters = joined.b.bundle.stats(joined.now).dropped
    assert counters["lost"] == 1
    assert counters["incomplete"] == 1


def test_statistics_of_each_link() -> None:
    joined = Joined(28800, 28800, faults=Faults(double=0.2), seed=2).open()
    joined.ways[1][0].faults = Faults(loss=0.2)
    for number in range(100):
        joined.send(numbered(number, 600))
        joined.run(joined.now + 0.2)
    joined.run(60.0)
    sender, receiver = (end.bundle.stats(joined.now).lines for end in joined.ends)
    first, second = receiver
    assert first.fragments_received == sender[0].fragments_sent + first.fragments_duplicate
    assert first.fragments_duplicate > 10
    assert second.fragments_duplicate == 0
    assert sender[1].fragments_sent - second.fragments_received > 10
    assert sum(line.packets_received for line in receiver) == len(joined.order())
    joined.hang_up(0)
    assert joined.b.bundle.stats(joined.now).lines[0].fragments_received == first.fragments_received


def test_what_only_a_silent_link_can_have_lost_is_counted_as_its_loss() -> None:
    joined = Joined(28800, 28800).open()
    joined.silence(1)
    for number in range(20):
        joined.send(numbered(number, 600))
        joined.run(joined.now + 0.4)
    joined.run(joined.now + 2)
    sender, receiver = (end.bundle.stats(joined.now).lines for end in joined.ends)
    assert receiver[0].fragments_lost == 0
    assert receiver[1].fragments_lost in (19, 20), "behind the last one nothing came that would show it"
    assert sender[1].fragments_sent - receiver[1].fragments_received == 20


# -- sessions


def test_phases_are_events_and_in_the_statistics() -> None:
    near = Ppp(require=("chap",), secrets={"site7": "geheim"})
    joined = Joined(28800, ppp=near, far_ppp=Ppp(auth=Chap("site7", "geheim")), connect=False)
    states = []
    joined.connect(0)
    while not joined.a.bundle.up:
        states.append(joined.a.bundle.stats(joined.now).lines[0].state)
        joined.run(joined.now + 0.005)
    states.append(joined.a.bundle.stats(joined.now).lines[0].state)
    assert list(dict.fromkeys(states)) == ["establish", "authenticate", "network", "up"]
    joined.a.bundle.retire(joined.a.members[0], joined.now, "closed")
    joined.serve(0)
    joined.run(joined.now + 5)
    joined.a.bundle.remove(joined.a.members[0], joined.now)
    joined.serve(0)
    phases = [event.phase for event in joined.a.events if isinstance(event, PhaseChanged)]
    assert phases == ["establish", "authenticate", "network", "terminate", "dead"]
    assert joined.b.downs() == ["the peer closed the link"]


@pytest.mark.parametrize("kind", [Pap, Chap])
@pytest.mark.parametrize("multilink", [None, Multilink()], ids=["plain", "multilink"])
def test_a_wrong_secret_is_told_at_both_ends(kind: type[Any], multilink: Multilink | None) -> None:
    method = kind.__name__.lower()
    near = Ppp(require=(method,), secrets={"site7": "the right one"})
    joined = Joined(28800, multilink=multilink, ppp=near, far_ppp=Ppp(auth=kind("site7", "a wrong one")))
    joined.run(30.0)
    assert not joined.a.bundle.up
    assert not joined.b.bundle.up
    assert len(joined.a.downs()) == len(joined.b.downs()) == 1
    assert "site7" in joined.a.downs()[0]
    assert "secret" in joined.a.downs()[0]
    assert any(word in joined.b.downs()[0] for word in ("refused", "secret", "authenticat")), joined.b.downs()
    everything = repr((joined.a.events, joined.b.events, joined.a.bundle.stats(1.0), near, joined.b.members[0].framing))
    assert "right one" not in everything
    assert "wrong one" not in everything


def test_plain_slaves_run_their_own_network_protocols_with_the_same_addresses() -> None:
    near = Ppp(ip=IpOptions(local="10.0.0.1", peer="10.0.0.2"))
    far = Ppp(ip=IpOptions(local="0.0.0.0"))
    joined = Joined(57600, 28800, multilink=None, ppp=near, far_ppp=far).open()
    assert sum(isinstance(event, NetworkUp) for event in joined.b.events) == 2
    assert {str(member.link.network.addresses.local) for member in joined.b.members} == {"10.0.0.2"}  # type: ignore[union-attr]
    assert str(joined.b.bundle.addresses.peer) == "10.0.0.1"
    for number in range(20):
        joined.send(numbered(number))
    joined.run(20.0)
    assert sorted(joined.order()) == list(range(20))


def test_a_bundle_has_its_addresses_once() -> None:
    near = Ppp(ip=IpOptions(local="10.0.0.1", peer="10.0.0.2"))
    joined = Joined(57600, 28800, ppp=near, far_ppp=Ppp(ip=IpOptions(local="0.0.0.0"))).open()
    assert str(joined.b.bundle.addresses.local) == "10.0.0.2"
    joined.hang_up(0)
    joined.run(joined.now + 1)
    assert str(joined.b.bundle.addresses.local) == "10.0.0.2", "they outlive a link"


@pytest.mark.parametrize("multilink", [None, Multilink()], ids=["plain", "multilink"])
def test_van_jacobson_compression_is_refused_with_the_reason(multilink: Multilink | None) -> None:
    joined = Joined(28800, multilink=multilink).open()
    request = bytes([1, 9, 0, 10, 2, 6, 0x00, 0x2D, 15, 1])
    inject(joined, 0, 0x8021, request)
    joined.run(joined.now + 3)
    refused = [event for event in joined.b.events if isinstance(event, OptionRefused)]
    assert [event.protocol for event in refused] == ["IPCP"]
    assert "overtake" in refused[0].why or "order" in refused[0].why


@pytest.mark.parametrize("multilink", [None, Multilink()], ids=["plain", "multilink"])
def test_what_comes_in_one_read_with_the_goodbye_is_delivered(multilink: Multilink | None) -> None:
    joined = Joined(None, multilink=multilink).open()
    joined.send(b"the last word", protocol=0x21)
    joined.a.bundle.retire(joined.a.members[0], joined.now, "closed")
    joined.serve(0)
    frames = b"".join(entry[5] for entry in sorted(joined._heap))
    joined._heap.clear()
    joined.put(0, 0, joined.now, frames)
    joined.run(joined.now + 5)
    assert joined.b.payloads() == [b"the last word"]
    assert joined.b.downs() == ["the peer closed the link"]


def test_retired_lines_leave_the_bundle_without_loss() -> None:
    joined = Joined(28800, 28800).open()
    for number in range(30):
        joined.send(numbered(number, 800))
    joined.run(joined.now + 2.0)
    joined.a.bundle.retire(joined.a.members[1], joined.now)
    joined.serve(0)
    joined.run(joined.now + 5.0)
    assert not joined.a.members[1].wants_to_send()
    joined.a.bundle.remove(joined.a.members[1], joined.now)
    joined.run(60.0)
    assert joined.order() == list(range(30))


# -- all of it at once


class Trial:
    """A random run: lines, faults, cuts of every kind, traffic; then the lines are mended and all comes to rest."""

    def __init__(self, seed: int, scheduler: Scheduler, *, seconds: float = 25.0, flows: bool = False) -> None:
        self.rng = rng = random.Random(seed)
        count = rng.randint(1, 4)
        faults = Faults(
            loss=rng.choice([0, 0, 0.01, 0.05]),
            damage=rng.choice([0, 0, 0.01, 0.05]),
            double=rng.choice([0, 0, 0.05]),
            jitter=rng.choice([0, 0, 0.02, 0.1]),
        )
        self.flows = flows
        self.joined = Joined(
            *(rng.choice([9600, 28800, 57600, 115200]) for _ in range(count)),
            multilink=Multilink(short=rng.random() < 0.4),
            ppp=QUICK,
            faults=faults,
            seed=seed,
            scheduler=scheduler,
            latency=rng.choice([0, 0.02, 0.1]),
            mtus=[rng.choice([None, None, 400]) for _ in range(count)],
            flow_of=(lambda payload: payload[4]) if flows else None,
        )
        self.sent: dict[int, bytes] = {}
        self.down: dict[int, float] = {}
        joined = self.joined
        joined.run(12.0)
        while joined.now < 12.0 + seconds:
            self.step()
            joined.run(joined.now + rng.choice([0.01, 0.1, 0.3]))
        self.down = dict.fromkeys(self.down, 0.0)
        for _ in range(60):
            resting = self.resting()
            self.mend()
            joined.run(joined.now + 5.0)
            if resting:
                break

    def step(self) -> None:
        rng, joined = self.rng, self.joined
        for _ in range(rng.randint(0, 6)):
            if joined.a.bundle.full:
                break
            number = len(self.sent)
            flow = rng.randint(0, 5) if self.flows else 0
            data = number.to_bytes(4, "big") + bytes([flow]) + rng.randbytes(rng.choice([0, 30, 300, 900, 1495]))
            self.sent[number] = data
            joined.send(data, protocol=0x21)
        if rng.random() < 0.3:
            joined.send(rng.randbytes(rng.choice([10, 800])), 1, protocol=0x21)
        victims = [rng.randrange(len(joined.ways))] if rng.random() < 0.05 else []
        if rng.random() < 0.01:
            victims = list(range(len(joined.ways)))
        for n in victims:
            if n not in self.down and all(end.members[n].link is not None for end in joined.ends):
                self.down[n] = joined.now + rng.uniform(0.2, 5)
                how = rng.choice(["both", "both", "one", "silence"])
                if how == "silence":
                    joined.silence(n)
                else:
                    joined.hang_up(n, only=None if how == "both" else 0)
        self.mend()

    def mend(self) -> None:
        joined = self.joined
        for n in [n for n, when in self.down.items() if when <= joined.now]:
            del self.down[n]
            joined.silence(n, False)
        for n in range(len(joined.ways)):
            if n not in self.down:
                for side, end in enumerate(joined.ends):
                    if end.members[n].link is None:
                        joined.connect(n, only=side)

    def resting(self) -> bool:
        ends = self.joined.ends
        return all(
            end.bundle.backlog == 0 and end.bundle._mux.reassembler.held == 0  # type: ignore[union-attr]
            for end in ends
        ) and all(member.line.up for end in ends for member in end.members)

    def check(self) -> None:
        joined = self.joined
        payloads = joined.b.payloads()
        numbers = [int.from_bytes(payload[:4], "big") for payload in payloads]
        assert [self.sent.get(number) for number in numbers] == payloads, "nothing is damaged"
        assert len(set(numbers)) == len(numbers), "nothing comes twice"
        for flow in range(6) if self.flows else [None]:
            mine = [n for n in numbers if flow is None or self.sent[n][4] == flow]
            assert mine == sorted(mine), "nothing is out of order"
        assert len(numbers) > len(self.sent) / 8
        for end in joined.ends:
            stats = end.bundle.stats(joined.now)
            assert (stats.queued_bytes, stats.queued_packets) == (0, 0)
            assert all(line.planned_packets == 0 for line in stats.lines)
            assert end.bundle._mux.reassembler.held == 0  # type: ignore[union-attr]
            assert len(end.bundle._sender._flows) == 0


@pytest.mark.examples
@pytest.mark.parametrize("seed", range(examples(4)))
def test_never_out_of_order_never_damaged_never_twice(seed: int) -> None:
    Trial(seed, EarliestDelivery(), flows=seed % 3 == 0).check()


@pytest.mark.examples
@pytest.mark.parametrize("scheduler", [RoundRobin, Eql, Twice])
@pytest.mark.parametrize("seed", range(100, 100 + examples(1)))
def test_whatever_the_scheduler(seed: int, scheduler: type[Scheduler]) -> None:
    Trial(seed, scheduler(), seconds=15.0).check()


@settings(max_examples=examples(3), deadline=None)
@given(st.integers(1000, 1 << 40), st.booleans())
def test_any_run(seed: int, flows: bool) -> None:
    Trial(seed, EarliestDelivery(), seconds=10.0, flows=flows).check()


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=20), st.data())
def test_numbers_of_fragments_follow_the_order_of_cutting(packets: list[tuple[int, bool]], data: st.DataObject) -> None:
    """Whichever fragment goes first: all in front of it have lower numbers, and packets are contiguous."""
    maker = Fragmenter()
    groups = []
    for pieces, express in packets:
        packet = Packet(bytes(10 * pieces), 0x21)
        packet.express = express
        groups.append(maker.cut(packet, [10] * pieces))
    expected = [g for g in groups if g[0].express] + [g for g in groups if not g[0].express]
    for fragment in data.draw(st.permutations([f for g in groups for f in g])):
        if fragment.express or not any(f.number is None for g in groups if g[0].express for f in g):
            maker.number(fragment)
    for fragment in [f for g in groups for f in g]:
        maker.number(fragment)
    assert [f.number for g in expected for f in g] == list(range(maker.next_number))


def test_slave_downs_say_why() -> None:
    joined = Joined(28800, 28800).open()
    joined.hang_up(0)
    assert [e.reason for e in joined.a.events if isinstance(e, SlaveDown)] == ["hang-up"]
