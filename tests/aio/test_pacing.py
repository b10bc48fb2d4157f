"""What the ports are given, and when: the byte clock, transports that pause, and nothing at all while idle."""

from __future__ import annotations

import asyncio
from typing import Any

import async_solipsism
import pytest

from eqlbond import Eql, Master, RoundRobin, Slave
from tests.aio.memory import Cable, MemoryTransport, virtual

HORIZON = 0.040


def standing(transport: MemoryTransport, byte_time: float) -> tuple[float, float]:
    """The most that ever stood between us and the wire, in seconds; and how long the wire was idle in between."""
    free = most = idle = 0.0
    for when, size in transport.written:
        if free and when > free:
            idle += when - free
        free = max(free, when) + size * byte_time
        most = max(most, free - when)
    return most, idle


@pytest.mark.parametrize("mtu", [100, 1500, 9000])
@pytest.mark.parametrize(
    ("rate", "bits"), [(300, 10), (1200, 10), (9600, 10), (14400, 8), (57600, 10), (115200, 12), (3e6, 10)]
)
@virtual
async def test_a_port_never_holds_more_than_forty_milliseconds_and_never_runs_dry(
    rate: float, bits: float, mtu: int, cable: Cable
) -> None:
    async with (
        Master([cable.a.slave(rate, bits_per_byte=bits)], mtu=mtu, close_timeout=0) as near,
        Master([cable.b.slave(None)], mtu=mtu),
    ):
        loop = asyncio.get_running_loop()
        while loop.time() < 5:
            await near.send(bytes(mtu))
        transport = cable.a.transports[0]
    most, idle = standing(transport, bits / rate)
    assert most <= HORIZON + bits / rate + 1e-5
    assert idle == pytest.approx(0.0, abs=0.001)
    assert sum(size for _, size in transport.written) >= 4.9 * rate / bits


@pytest.mark.parametrize("scheduler", [None, Eql(), RoundRobin()])
@virtual
async def test_four_unequal_lines_are_all_paced(scheduler: Any, four: list[Cable]) -> None:
    rates = (115200, 57600, 14400, 9600)
    async with (
        Master(
            [cable.a.slave(rate) for cable, rate in zip(four, rates, strict=True)], scheduler=scheduler, close_timeout=0
        ) as near,
        Master([cable.b.slave(None) for cable in four]),
    ):
        loop = asyncio.get_running_loop()
        number = 0
        while loop.time() < 5:
            await near.send(bytes(40 + 379 * number % 1460))
            number += 1
        transports = [cable.a.transports[0] for cable in four]
    for transport, rate in zip(transports, rates, strict=True):
        assert standing(transport, 10 / rate)[0] <= HORIZON + 10 / rate + 1e-5


@virtual
async def test_a_paced_line_whose_port_stalls_is_not_fed_on(cable: Cable) -> None:
    async with Master([cable.a.slave(57600)], close_timeout=0) as near:
        cable.a.held = True
        sending = asyncio.create_task(_send_for_ever(near))
        transport = cable.a.transports[0]
        await asyncio.sleep(30)
        assert transport.get_write_buffer_size() <= 2 * HORIZON * 5760
        assert len(transport.written) < 60
        cable.a.held = False
        transport.take()
        await asyncio.sleep(60)  # the rate that it had learnt rises again by itself
        before = near.stats().lines[0].bytes_sent
        await asyncio.sleep(10)
        after = near.stats().lines[0].bytes_sent
        assert after - before == pytest.approx(10 * 5760, rel=0.02)
        sending.cancel()


async def _send_for_ever(master: Master, size: int = 1000) -> None:
    while True:
        await master.send(bytes(size))


@virtual
async def test_an_unpaced_line_goes_as_fast_as_its_transport_lets_it(cable: Cable) -> None:
    async with Master([cable.a.slave(None)], close_timeout=0) as near, Master([cable.b.slave(None)]) as far:
        cable.a.held = True
        sending = asyncio.create_task(_send_for_ever(near))
        transport = cable.a.transports[0]
        most = 0
        for _ in range(1000):  # the transport's peer takes 2000 bytes a millisecond
            await asyncio.sleep(0.001)
            most = max(most, transport.get_write_buffer_size())
            transport.take(2000)
        assert transport.pauses > 10
        assert most <= 65536
        sent = sum(size for _, size in transport.written)
        assert sent >= 1000 * 2000
        sending.cancel()
        cable.a.held = False
        transport.take()
        await near.drain()
        await asyncio.sleep(0.1)
        stats = far.stats()
        assert stats.packets_delivered + stats.dropped["the application does not read"] == near.stats().packets_accepted


@virtual
async def test_an_unpaced_line_takes_over_after_its_transport_was_stuck(four: list[Cable]) -> None:
    slaves = [four[0].a.slave(None), four[1].a.slave(None)]
    async with Master(slaves, close_timeout=0) as near, Master([cable.b.slave(None) for cable in four[:2]]) as far:
        four[0].a.held = True
        sending = asyncio.create_task(_send_for_ever(near))
        received = 0
        while received < 500:  # by the other one alone
            await far.receive()
            received += 1
            if received % 50 == 0:
                await asyncio.sleep(0)  # not longer: a line that takes everything at once lets no virtual time pass
        assert four[0].a.transports[0].get_write_buffer_size() <= 65536
        sending.cancel()


# -- idle


def count_turns(loop: Any) -> list[int]:
    """How often the loop has turned, in a list that goes on counting."""
    turns = [0]
    run_once = loop._run_once

    def counted() -> None:
        turns[0] += 1
        run_once()

    loop._run_once = counted
    return turns


def timers(loop: Any) -> int:
    return sum(not handle.cancelled() for handle in loop._scheduled)


@pytest.mark.parametrize("rate", [57600, None])
@virtual
async def test_idle_lines_arm_no_timer_and_wake_nobody(rate: float | None, four: list[Cable]) -> None:
    loop = asyncio.get_running_loop()
    async with (
        Master([cable.a.slave(rate) for cable in four]) as near,
        Master([cable.b.slave(rate) for cable in four]) as far,
    ):
        for number in range(100):
            await near.send(b"%d" % number)
            await far.send(b"%d" % number)
        await near.drain()
        await far.drain()
        await asyncio.sleep(1)
        assert timers(loop) == 0
        assert (near._service.timer, far._service.timer) == (None, None)
        reading = asyncio.create_task(far.receive())  # a reader that waits costs nothing either
        events = near.events()
        watching = asyncio.create_task(anext(events))
        while far._inbox.packets:
            await asyncio.sleep(0)
            await reading
            reading = asyncio.create_task(far.receive())
        await asyncio.sleep(0)
        turns = count_turns(loop)
        await asyncio.sleep(1000)
        assert turns[0] <= 3  # this test's own sleep
        assert not watching.done()
        reading.cancel()
        watching.cancel()
        await asyncio.gather(reading, watching, return_exceptions=True)


@virtual
async def test_lines_that_are_down_wake_nobody(four: list[Cable]) -> None:
    loop = asyncio.get_running_loop()
    async with Master([cable.a.slave() for cable in four], close_timeout=0) as near:
        for cable in four:
            assert cable.a.transport is not None
            cable.a.transport.fail(None)
        await asyncio.sleep(0.1)
        for _ in range(20):
            near.send_nowait(bytes(1000))  # they wait for a line
        await asyncio.sleep(1)
        assert timers(loop) == 0
        turns = count_turns(loop)
        await asyncio.sleep(1000)
        assert turns[0] <= 3


@virtual
async def test_a_busy_line_wakes_once_for_twenty_milliseconds(cable: Cable) -> None:
    loop = asyncio.get_running_loop()
    async with Master([cable.a.slave(57600)], close_timeout=0) as near:
        for _ in range(5):
            await near.send(bytes(1000))
        await asyncio.sleep(0.1)
        turns = count_turns(loop)
        await asyncio.sleep(0.5)
        assert turns[0] <= 2 * 0.5 / 0.020 * 1.2  # one for the timer, one for the bytes' way through memory


# -- other transports than serial ports


@virtual
async def test_a_bond_over_asyncio_streams_of_sockets() -> None:
    """The seam is asyncio's own create_connection, here with solipsism's sockets."""
    loop = asyncio.get_running_loop()
    near: list[Slave] = []
    far: list[Slave] = []
    for _ in range(3):
        pair = async_solipsism.socketpair(capacity=4096)
        for sock, side in zip(pair, (near, far), strict=True):
            side.append(
                Slave(lambda factory, sock=sock: loop.create_connection(factory, sock=sock))  # type: ignore[misc]
            )
    got: list[bytes] = []
    async with Master(near) as a, Master(far, on_packets=lambda packets: got.extend(p.payload for p in packets)) as b:
        for number in range(500):
            await a.send(number.to_bytes(2, "big") * 400)
        await a.drain()
        for _ in range(100):
            await asyncio.sleep(0)
        assert sorted(got) == [number.to_bytes(2, "big") * 400 for number in range(500)]
        assert a.stats().dropped == b.stats().dropped == {}
