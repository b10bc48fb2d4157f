"""min_slaves and max_slaves: how many lines a bond has to have, and may have."""

from __future__ import annotations

from typing import Any

import pytest

from eqlbond.codec.slip import Slip
from eqlbond.core.bundle import Bundle
from eqlbond.core.member import Member
from eqlbond.events import BondDown, BondUp
from eqlbond.exceptions import ConfigurationError, TooManySlaves
from eqlbond.packet import Packet
from eqlbond.schedulers import EarliestDelivery


def members(bundle: Bundle, count: int) -> list[Member]:
    made = [Member(f"line{n}", Slip(), rate=57600) for n in range(count)]
    for member in made:
        bundle.add(member, 0.0)
    return made


def serve(bundle: Bundle, now: float) -> int:
    """Bytes that the ports get."""
    bundle.tick(now)
    return sum(len(bundle.data_to_send(member, now, 65536, None)) for member in bundle.ready(now))


def news(bundle: Bundle) -> list[Any]:
    return [event for event in bundle.take_events() if isinstance(event, BondUp | BondDown)]


def test_packets_wait_until_enough_lines_are_up() -> None:
    bundle = Bundle(EarliestDelivery(), min_slaves=2)
    first, second, third = members(bundle, 3)
    bundle.connected(first, 0.0)
    bundle.send(Packet(bytes(100)), 0.0)
    assert not bundle.up
    assert not news(bundle)
    assert serve(bundle, 0.0) == 0
    bundle.connected(second, 1.0)
    assert bundle.up
    assert news(bundle) == [BondUp(1.0)]
    assert serve(bundle, 1.0) > 100
    bundle.connected(third, 2.0)
    assert not news(bundle)
    bundle.disconnected(third, 3.0, "cut")
    assert bundle.up
    assert not news(bundle)
    bundle.disconnected(first, 4.0, "cut")
    assert news(bundle) == [BondDown(4.0, "line0: cut")]
    assert not bundle.up


def test_what_a_remaining_line_has_planned_waits_and_goes_later() -> None:
    bundle = Bundle(EarliestDelivery(), min_slaves=2)
    first, second = members(bundle, 2)
    bundle.connected(first, 0.0)
    bundle.connected(second, 0.0)
    for _ in range(10):
        bundle.send(Packet(bytes(300)), 0.0)
    now = 0.0
    while not second.counters.bytes_sent:
        serve(bundle, now := now + 0.005)
    begun = first.counters.packets_sent + second.counters.packets_sent
    assert first.counters.packets_sent == begun
    bundle.disconnected(first, now, "cut")
    # The frame that is at the port is finished; nothing else begins.
    for n in range(100):
        serve(bundle, now + 0.01 * n)
    assert second.counters.packets_sent == 1
    assert bundle.backlog >= 300 * (9 - begun)
    bundle.connected(first, 10.0)
    for n in range(100):
        serve(bundle, 10 + 0.1 * n)
    assert first.counters.packets_sent + second.counters.packets_sent >= 10
    assert bundle.backlog == 0


def test_receiving_goes_on_with_too_few_lines() -> None:
    bundle = Bundle(EarliestDelivery(), min_slaves=2)
    (first,) = members(bundle, 1)
    bundle.connected(first, 0.0)
    assert [packet.payload for packet in bundle.receive(first, b"\xc0hello\xc0", 0.0)] == [b"hello"]


def test_min_slaves_can_be_changed_while_it_runs() -> None:
    bundle = Bundle(EarliestDelivery())
    first, second = members(bundle, 2)
    bundle.connected(first, 0.0)
    assert news(bundle) == [BondUp(0.0)]
    bundle.set_min_slaves(2, 1.0)
    assert news(bundle) == [BondDown(1.0, "1 lines are up, min_slaves is 2 now")]
    bundle.send(Packet(bytes(100)), 1.0)
    assert serve(bundle, 1.0) == 0
    bundle.set_min_slaves(1, 2.0)
    assert news(bundle) == [BondUp(2.0)]
    assert serve(bundle, 2.0) > 100
    bundle.connected(second, 3.0)
    bundle.set_min_slaves(2, 3.0)
    assert not news(bundle)


def test_no_member_beyond_max_slaves() -> None:
    bundle = Bundle(EarliestDelivery(), max_slaves=2)
    first, _ = members(bundle, 2)
    with pytest.raises(TooManySlaves, match="max_slaves"):
        members(bundle, 1)
    assert len(bundle.members) == 2
    bundle.set_max_slaves(1)
    assert len(bundle.members) == 2
    bundle.remove(first, 0.0)
    with pytest.raises(TooManySlaves):
        members(bundle, 1)
    bundle.set_max_slaves(None)
    members(bundle, 5)


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("min_slaves", {"min_slaves": 0}),
        ("min_slaves", {"min_slaves": True}),
        ("min_slaves", {"min_slaves": 1.5}),
        ("max_slaves", {"max_slaves": 0}),
        ("max_slaves", {"min_slaves": 3, "max_slaves": 2}),
    ],
)
def test_limits_that_cannot_work(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Bundle(EarliestDelivery(), **options)
    assert caught.value.field == field


def test_a_refused_change_changes_nothing() -> None:
    bundle = Bundle(EarliestDelivery(), min_slaves=2, max_slaves=3)
    with pytest.raises(ConfigurationError):
        bundle.set_min_slaves(4, 0.0)
    with pytest.raises(ConfigurationError):
        bundle.set_max_slaves(1)
    assert (bundle.min_slaves, bundle.max_slaves) == (2, 3)
