"""Closing: flushes within its time, then drops and counts; and nothing is left."""

from __future__ import annotations

import asyncio

import pytest

from eqlbond import BondClosed, Master
from tests.aio.memory import Cable, cables, virtual


@virtual
async def test_closing_sends_what_is_queued(cable: Cable) -> None:
    loop = asyncio.get_running_loop()
    async with Master([cable.b.slave()]) as far:
        async with Master([cable.a.slave(57600)], queue_time=10) as near:
            for number in range(20):
                await near.send(number.to_bytes(2, "big") + bytes(1000))
            started = loop.time()
        assert loop.time() - started == pytest.approx(20 * 1004 / 5760, abs=0.06)
        stats = near.stats()
        assert (stats.dropped, stats.queued_bytes, stats.lines) == ({}, 0, ())
        assert [(await far.receive()).payload[1] for _ in range(20)] == list(range(20))


@pytest.mark.parametrize("held", [False, True])
@virtual
async def test_what_cannot_be_sent_in_time_is_dropped_and_counted(held: bool, cable: Cable) -> None:
    loop = asyncio.get_running_loop()
    got: list[object] = []
    async with Master([cable.b.slave()], on_packets=got.extend):
        cable.a.held = held
        async with Master([cable.a.slave(57600)], queue_time=10, close_timeout=1.5) as near:
            for _ in range(20):
                await near.send(bytes(1000))
            started = loop.time()
        assert loop.time() - started == pytest.approx(1.5, abs=0.1)
        stats = near.stats()
        assert stats.queued_bytes == stats.queued_packets == 0
        # In memory bytes arrive at once: of the last two packets one may have arrived and be counted, too.
        assert 20 <= len(got) + stats.dropped["closed"] <= 22
        assert len(got) == 0 if held else len(got) in range(8, 11)


@virtual
async def test_leaving_by_an_exception_does_not_wait(cable: Cable) -> None:
    loop = asyncio.get_running_loop()
    near = Master([cable.a.slave(9600)], queue_time=10)

    async def fail() -> None:
        async with near:
            for _ in range(5):
                await near.send(bytes(1000))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert loop.time() < 0.1
    assert near.stats().dropped == {"closed": 5}
    assert cable.a.transport is None


@virtual
async def test_closing_an_idle_bond_takes_no_time(four: list[Cable]) -> None:
    loop = asyncio.get_running_loop()
    async with Master([cable.a.slave(rate) for cable, rate in zip(four, (9600, None, 300, None), strict=True)]):
        await asyncio.sleep(1)
    assert loop.time() < 1.05


@virtual
async def test_an_unpaced_line_that_has_sent_everything_is_closed_at_once(cable: Cable) -> None:
    """Also where the transport took its time: nobody tells that it has drained below its mark."""
    loop = asyncio.get_running_loop()
    async with Master([cable.b.slave(None)]) as far:
        async with Master([cable.a.slave(None)], close_timeout=5) as near:
            cable.a.held = True
            await near.send(b"last words")
            await asyncio.sleep(1)
            assert near._lines.busy()
            cable.a.held = False
            assert cable.a.transport is not None
            cable.a.transport.take()
            await asyncio.wait_for(near.drain(), 1)
            started = loop.time()
        assert loop.time() - started < 0.1
        assert (await far.receive()).payload == b"last words"


@virtual
async def test_an_unpaced_line_is_given_time_to_send(cable: Cable) -> None:
    async with Master([cable.b.slave(None)]) as far:
        async with Master([cable.a.slave(None)], close_timeout=5) as near:
            cable.a.held = True
            await near.send(b"last words")
            transport = cable.a.transport
            assert transport is not None
            asyncio.get_running_loop().call_later(2, transport.take)
            started = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started == pytest.approx(2, abs=0.1)
        assert transport.closed_by == ["close"]
        assert (await far.receive()).payload == b"last words"


@virtual
async def test_closing_twice_at_once_again_and_never_opened(cable: Cable) -> None:
    master = Master([cable.a.slave()])
    await master.open()
    await master.open()  # which has no effect
    for _ in range(5):
        await master.send(bytes(1000))
    transport = cable.a.transport
    assert transport is not None
    await asyncio.gather(master.close(), master.close(), master.close(0))
    await master.close()
    assert transport.closed_by == ["close"]
    with pytest.raises(BondClosed):
        await master.open()
    never = Master([cable.a.slave()])
    await never.close()
    await never.close()
    with pytest.raises(BondClosed):
        await never.open()
    with pytest.raises(BondClosed):
        await never.receive()


@virtual
async def test_a_close_that_is_cancelled_goes_on(cable: Cable) -> None:
    master = Master([cable.a.slave(9600)])
    await master.open()
    for _ in range(3):
        await master.send(bytes(300))
    closing = asyncio.create_task(master.close())
    await asyncio.sleep(0.1)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert cable.a.transport is not None
    await asyncio.sleep(3)
    assert cable.a.transport is None
    assert master.stats().dropped == {}
    await master.close()


@virtual
async def test_lines_lost_while_it_closes(four: list[Cable]) -> None:
    loop = asyncio.get_running_loop()
    got: set[int] = set()
    async with Master([cable.b.slave() for cable in four], on_packets=lambda ps: got.update(p.payload[1] for p in ps)):
        async with Master([cable.a.slave() for cable in four], queue_time=5) as near:
            for number in range(60):
                await near.send(number.to_bytes(2, "big") + bytes(1000))
            transport = four[0].a.transport
            assert transport is not None
            loop.call_later(0.5, transport.fail, OSError(5, "unplugged"))
        await asyncio.sleep(0.1)
        assert got == set(range(60))  # what was planned for the lost line went by the others
        assert near.stats().dropped == {}


@virtual
async def test_all_lines_lost_while_it_closes(cable: Cable) -> None:
    loop = asyncio.get_running_loop()
    async with Master([cable.a.slave()], queue_time=10) as near:
        for _ in range(20):
            await near.send(bytes(1000))
        assert cable.a.transport is not None
        loop.call_later(0.5, cable.a.transport.fail, None)
        started = loop.time()
    assert loop.time() - started < 0.6
    assert near.stats().dropped["closed"] >= 17


@virtual
async def test_a_line_that_is_stuck_does_not_keep_the_others_from_closing(four: list[Cable]) -> None:
    loop = asyncio.get_running_loop()
    async with Master([cable.a.slave() for cable in four], close_timeout=2) as near:
        four[1].a.held = True
        four[2].a.deaf = True
        for _ in range(8):
            await near.send(bytes(1000))
        started = loop.time()
        transports = [cable.a.transports[0] for cable in four]
    assert loop.time() - started < 4
    assert [transport.gone for transport in transports] == [True, True, False, True]
    assert [len(transport.closed_by) for transport in transports] == [1] * 4


@virtual
async def test_many_bonds_one_after_the_other_over_the_same_slaves() -> None:
    lines = cables(2)
    near, far = [cable.a.slave() for cable in lines], [cable.b.slave() for cable in lines]
    for number in range(10):
        async with Master(near) as a, Master(far) as b:
            await a.send(b"%d" % number)
            assert (await b.receive()).payload == b"%d" % number
            assert a.stats().lines[0].connections == 1
    assert [cable.a.opened for cable in lines] == [10, 10]
