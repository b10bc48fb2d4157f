"""PPP and Multilink through `Master`: opening, authentication, addresses, closing, and ends that go and return."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

import pytest

from eqlbond import (
    BondDown,
    BondFailed,
    Chap,
    ConfigurationError,
    EventStream,
    IpOptions,
    Master,
    Multilink,
    Pap,
    PhaseChanged,
    Ppp,
    SlaveDown,
    SlaveUp,
    Slip,
)
from tests.aio.memory import Cable, cables, virtual

BUNDLE = Multilink()
SECRET = "a secret that nobody may see"


def ends(lines: Sequence[Cable], near: Ppp, far: Ppp, multilink: Multilink | None = BUNDLE) -> tuple[Master, Master]:
    return (
        Master([line.a.slave(framing=near, name=f"a{n}") for n, line in enumerate(lines)], multilink=multilink),
        Master([line.b.slave(framing=far, name=f"b{n}") for n, line in enumerate(lines)], multilink=multilink),
    )


async def all_up(*masters: Master) -> None:
    async with asyncio.timeout(30):
        while not all(slave.up for master in masters for slave in master.slaves):
            await asyncio.sleep(0.01)


def payloads(count: int) -> list[bytes]:
    rng = random.Random(count)
    return [b"\x45" + n.to_bytes(4, "big") + rng.randbytes(rng.randrange(1, 1400)) for n in range(count)]


async def gather_events(stream: EventStream) -> list[Any]:
    return [event async for event in stream]


@virtual
async def test_packets_go_both_ways_in_order() -> None:
    near, far = ends(cables(3, 0.01), Ppp(), Ppp())
    there, back = payloads(40), payloads(30)
    async with near, far:
        await near.wait_open(30)
        await far.wait_open(30)

        async def send(master: Master, packets: list[bytes]) -> None:
            for packet in packets:
                await master.send(packet)

        async def receive(master: Master, count: int) -> list[bytes]:
            return [(await master.receive()).payload for _ in range(count)]

        async with asyncio.timeout(60):
            _, _, got_there, got_back = await asyncio.gather(
                send(near, there), send(far, back), receive(far, len(there)), receive(near, len(back))
            )
        assert got_there == there
        assert got_back == back
        assert all(line.fragments_sent for line in near.stats().lines)


@pytest.mark.parametrize("multilink", [None, BUNDLE], ids=["plain", "multilink"])
@virtual
async def test_addresses_given_and_asked_for(multilink: Multilink | None) -> None:
    give = Ppp(ip=IpOptions(local="10.0.0.1", peer="10.0.0.2", dns=("10.0.0.53",)), role="answerer")
    ask = Ppp(ip=IpOptions(local="0.0.0.0", ask_dns=True))
    near, far = ends(cables(2), give, ask, multilink)
    async with near, far:
        assert near.addresses.local is None, "not agreed yet"
        await all_up(near, far)
        assert far.addresses.local == near.addresses.peer == IPv4Address("10.0.0.2")
        assert far.addresses.peer == near.addresses.local == IPv4Address("10.0.0.1")
        assert far.addresses.dns == (IPv4Address("10.0.0.53"),)


@pytest.mark.parametrize("kind", [Pap, Chap])
@virtual
async def test_authentication_of_both(kind: type[Any]) -> None:
    method = kind.__name__.lower()
    near = Ppp(auth=kind("near", "n"), require=(method,), secrets={"far": "f"})
    far = Ppp(auth=kind("far", "f"), require=(method,), secrets={"near": "n"})
    one, other = ends(cables(2), near, far)
    async with one, other:
        await all_up(one, other)
        await one.send(b"\x45hello")
        assert (await other.receive()).payload == b"\x45hello"


@pytest.mark.parametrize("multilink", [None, BUNDLE], ids=["plain", "multilink"])
@pytest.mark.parametrize("kind", [Pap, Chap])
@virtual
async def test_a_wrong_secret_is_told_at_both_ends_and_shown_at_none(
    kind: type[Any], multilink: Multilink | None
) -> None:
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger = logging.getLogger("eqlbond")
    listener, level, propagate = Listener(), logger.level, logger.propagate
    logger.addHandler(listener)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        near = Ppp(require=(kind.__name__.lower(),), secrets={"site7": SECRET})
        far = Ppp(auth=kind("site7", SECRET[::-1]))
        one, other = ends(cables(1), near, far, multilink)
        streams = one.events(), other.events()
        async with one, other:
            with pytest.raises(BondFailed, match="wrong name or secret") as failed:
                await one.wait_open(20)
            await asyncio.sleep(20)
            told = repr((failed.value, one, other, one.slaves, other.slaves, one.stats(), other.stats(), near, far))
        events = [await gather_events(stream) for stream in streams]
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
        logger.propagate = propagate
    for side in events:
        downs = [event.reason for event in side if isinstance(event, SlaveDown)]
        assert len(downs) == 1
        assert any(word in downs[0] for word in ("secret", "refused", "authenticat")), downs
    everything = told + repr(events) + "\n".join(messages)
    assert "site7" in everything
    assert SECRET not in everything
    assert SECRET[::-1] not in everything


@virtual
async def test_closing_says_goodbye_within_the_deadline() -> None:
    near, far = ends(cables(2), Ppp(), Ppp())
    stream, far_stream = near.events(), far.events()
    loop = asyncio.get_running_loop()
    async with far:
        async with near:
            await all_up(near, far)
            await near.send(b"\x45the last word")
            began = loop.time()
        assert loop.time() - began < 2.0
        assert (await far.receive()).payload == b"\x45the last word"
        await asyncio.sleep(5)
        assert not far.up
    phases = [event.phase for event in await gather_events(stream) if isinstance(event, PhaseChanged)]
    assert phases.count("terminate") == phases.count("dead") == 2
    far_events = await gather_events(far_stream)
    assert [event.reason for event in far_events if isinstance(event, SlaveDown)] == ["the peer closed the link"] * 2
    assert sum(isinstance(event, BondDown) for event in far_events) == 1


@virtual
async def test_closing_towards_a_peer_that_has_gone_keeps_the_deadline() -> None:
    lines = cables(1)
    near, far = ends(lines, Ppp(), Ppp())
    loop = asyncio.get_running_loop()
    async with far:
        async with near:
            await all_up(near, far)
            lines[0].a.held = True
            began = loop.time()
            await near.close(2.0)
            assert loop.time() - began < 5.0
        lines[0].a.held = False


@virtual
async def test_a_line_that_is_opened_again_negotiates_by_itself() -> None:
    lines = cables(2)
    near, far = ends(lines, Ppp(), Ppp())
    stream = near.events()
    async with near, far:
        await all_up(near, far)
        for end in (lines[1].a, lines[1].b):
            assert end.transport is not None
            end.transport.fail(OSError("unplugged"))
        await asyncio.sleep(1)
        assert [slave.up for slave in near.slaves] == [True, False]
        await near.send(b"\x45meanwhile")
        assert (await far.receive()).payload == b"\x45meanwhile"
        await near.reopen(near.slaves[1])
        await far.reopen(far.slaves[1])
        await all_up(near, far)
        await near.send(b"\x45again")
        assert (await far.receive()).payload == b"\x45again"
        assert far.stats().dropped == {}
    events = await gather_events(stream)
    assert sum(isinstance(event, SlaveUp) for event in events) == 3
    assert "unplugged" in next(event.reason for event in events if isinstance(event, SlaveDown))


@virtual
async def test_slaves_that_join_and_leave_a_bundle() -> None:
    lines = cables(3)
    near, far = ends(lines[:2], Ppp(), Ppp())
    async with near, far:
        await all_up(near, far)
        mine = await near.enslave(lines[2].a.slave(framing=Ppp()))
        theirs = await far.enslave(lines[2].b.slave(framing=Ppp()))
        await all_up(near, far)
        for packet in payloads(20):
            await near.send(packet)
        await near.emancipate(mine)
        await far.emancipate(theirs)
        assert [(await far.receive()).payload for _ in range(20)] == payloads(20)
        await near.send(b"\x45still here")
        assert (await far.receive()).payload == b"\x45still here"


@virtual
async def test_a_gap_is_given_up_by_the_timer() -> None:
    """What waits for a lost fragment is delivered though nothing else ever arrives."""
    lines = cables(2)
    near, far = ends(lines, Ppp(echo_interval=0), Ppp(echo_interval=0))
    async with near, far:
        await all_up(near, far)
        lines[0].a.carry = lambda data: None  # type: ignore[method-assign]
        for n in range(20):
            await near.send(b"\x45" + bytes([n]) * 40)  # too small to be cut
        carried = near.slaves[1].member
        await near.drain()
        async with asyncio.timeout(2):
            got = [(await far.receive()).payload[1] for _ in range(carried.counters.fragments_sent)]
        assert 5 < len(got) < 15
        assert got == sorted(set(got))
        assert far.stats().dropped["given up"] >= 1


def test_multilink_needs_ppp_on_every_line() -> None:
    line = Cable()

    async def open_it() -> None:
        async with Master([line.a.slave(framing=Slip())], multilink=BUNDLE):
            pass

    with pytest.raises(ConfigurationError, match=r"framing: Multilink needs Ppp\(\)"):
        asyncio.run(open_it())
    with pytest.raises(ConfigurationError, match="multilink"):
        Master(multilink=True)  # type: ignore[arg-type]
