"""Sending: backpressure, order, cancellation, what is refused."""

from __future__ import annotations

import asyncio

import pytest

from eqlbond import BondClosed, Master, PacketTooBig, QueueFull
from tests.aio.memory import Cable, virtual

SIZE = 1000


def payload(number: int, size: int = SIZE) -> bytes:
    return number.to_bytes(2, "big") + bytes(size - 2)


def small(cable: Cable, **options: object) -> tuple[Master, Master]:
    """Two bonds over one line of 100 kB/s; the first takes 3000 bytes before it is full."""
    near = Master([cable.a.slave(1e6)], queue_bytes=3 * SIZE, mtu=SIZE, **options)  # type: ignore[arg-type]
    return near, Master([cable.b.slave(1e6)], mtu=SIZE)


async def numbers(master: Master, count: int) -> list[int]:
    return [int.from_bytes((await master.receive()).payload[:2], "big") for _ in range(count)]


async def fill(master: Master, first: int = 0, *, moments: float = 0.0) -> int:
    """Send until the bond is full and has been for some moments; the next number."""
    while True:
        while not master.full:
            await master.send(payload(first))
            first += 1
        await asyncio.sleep(moments)
        await asyncio.sleep(0)
        if master.full:
            return first


async def fill_held(master: Master) -> int:
    """The same, where the port takes nothing."""
    return await fill(master, moments=0.1)


@virtual
async def test_send_waits_and_wakes_in_order(cable: Cable) -> None:
    near, far = small(cable)
    async with near, far:
        first = await fill(near)
        started = asyncio.get_running_loop().time()
        senders = [asyncio.create_task(near.send(payload(first + n))) for n in range(20)]
        await asyncio.sleep(0)
        assert not any(sender.done() for sender in senders)
        assert await numbers(far, first + 20) == list(range(first + 20))
        await asyncio.gather(*senders)
        assert asyncio.get_running_loop().time() - started > 0.1  # 100 kB/s


@virtual
async def test_nobody_overtakes_a_waiting_sender(cable: Cable) -> None:
    near, far = small(cable)
    async with near, far:
        first = await fill(near)
        order: list[int] = []

        async def send(number: int) -> None:
            await near.send(payload(number))
            order.append(number)

        senders = [asyncio.create_task(send(first)), asyncio.create_task(send(first + 1))]
        await asyncio.sleep(0)
        # As soon as there is room a newcomer, who runs before those that were woken, wants it, again and again.
        number = first + 2
        while not senders[-1].done():
            if not near.full:
                senders.append(asyncio.create_task(send(number)))
                number += 1
                if number > first + 40:
                    break
            await asyncio.sleep(0 if not near.full else 0.0005)
        await asyncio.gather(*senders)
        assert order == sorted(order)
        assert await numbers(far, number) == list(range(number))


@virtual
async def test_a_newcomer_in_the_same_turn_does_not_take_the_place_of_a_woken_sender(cable: Cable) -> None:
    near, far = small(cable)
    async with near, far:
        first = await fill(near)
        waiting = asyncio.create_task(near.send(payload(first)))
        await asyncio.sleep(0)
        while near.full:
            await asyncio.sleep(0.001)
        # The waiter was woken and has not run, or runs right now: either way it goes first.
        await near.send(payload(first + 1))
        await waiting
        assert await numbers(far, first + 2) == list(range(first + 2))


@virtual
async def test_a_cancelled_sender_leaves_no_trace(cable: Cable) -> None:
    near, far = small(cable)
    async with near, far:
        first = await fill(near)
        senders = [asyncio.create_task(near.send(payload(first + n))) for n in range(6)]
        await asyncio.sleep(0)
        before = near.stats()
        for sender in senders[::2]:
            sender.cancel()
        await asyncio.gather(*senders[::2], return_exceptions=True)
        assert near.stats() == before
        assert await numbers(far, first + 3) == [*range(first), first + 1, first + 3, first + 5]
        await asyncio.gather(*senders[1::2])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(far.receive(), 1)


@virtual
async def test_a_sender_cancelled_after_it_was_woken_passes_its_turn_on(cable: Cable) -> None:
    near, far = small(cable)
    async with near, far:
        first = await fill(near)
        senders = [asyncio.create_task(near.send(payload(first + n))) for n in range(2)]
        await asyncio.sleep(0)
        transport = cable.a.transport
        assert transport is not None
        # Called in the very turn that then wakes the first sender: it is cancelled before it has run.
        transport.on_write = senders[0].cancel
        await asyncio.wait_for(senders[1], 0.021)  # the room was there at once, and is not found by a later write
        assert senders[0].cancelled()
        assert await numbers(far, first + 1) == [*range(first), first + 1]


@virtual
async def test_send_with_a_timeout(cable: Cable) -> None:
    near, far = small(cable)
    async with near, far:
        cable.a.held = True
        first = await fill_held(near)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(near.send(payload(first)), 3)
        cable.a.held = False
        assert cable.a.transport is not None
        cable.a.transport.take()
        assert await numbers(far, first) == list(range(first))


@virtual
async def test_send_nowait_raises_when_full(cable: Cable) -> None:
    near, far = small(cable)
    async with near, far:
        count = 0
        while not near.full:
            near.send_nowait(payload(count))
            count += 1
        with pytest.raises(QueueFull, match="bytes wait to be sent, the limit is"):
            near.send_nowait(payload(count))
        assert near.full
        assert near.stats().dropped == {"queue full": 1}
        assert await numbers(far, count) == list(range(count))
        assert not near.full


@virtual
async def test_a_packet_over_the_mtu(cable: Cable) -> None:
    near, far = small(cable)
    async with near, far:
        with pytest.raises(PacketTooBig, match=f"packet of {SIZE + 1} bytes: the bond's MTU is {SIZE}"):
            await near.send(bytes(SIZE + 1))
        with pytest.raises(PacketTooBig):
            near.send_nowait(bytes(SIZE + 1))
        first = await fill(near)
        with pytest.raises(PacketTooBig):  # at once: waiting would not make it smaller
            await asyncio.wait_for(near.send(bytes(SIZE + 1)), 0.0001)
        assert near.stats().dropped == {"too big": 3}
        assert await numbers(far, first) == list(range(first))


@pytest.mark.parametrize("wrong", ["text", None, 5, [1, 2]])
@virtual
async def test_a_payload_that_is_no_bytes(cable: Cable, wrong: object) -> None:
    near, far = small(cable)
    async with near, far:
        before = near.stats()
        with pytest.raises(TypeError, match="payload"):
            await near.send(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="payload"):
            near.send_nowait(wrong)  # type: ignore[arg-type]
        assert near.stats() == before
        await near.send(payload(7))
        assert await numbers(far, 1) == [7]


@virtual
async def test_buffers_that_change_later(cable: Cable) -> None:
    near, far = small(cable)
    async with near, far:
        buffer = bytearray(payload(1))
        await near.send(buffer)  # type: ignore[arg-type]
        near.send_nowait(memoryview(buffer))  # type: ignore[arg-type]
        buffer[:] = bytes(SIZE)
        assert await numbers(far, 2) == [1, 1]


@virtual
async def test_sending_before_opening_and_after_closing(cable: Cable) -> None:
    near, far = small(cable)
    with pytest.raises(BondClosed, match="not open yet"):
        await near.send(b"early")
    with pytest.raises(BondClosed, match="not open yet"):
        near.send_nowait(b"early")
    async with near, far:
        await near.send(payload(0))
        assert await numbers(far, 1) == [0]
    with pytest.raises(BondClosed, match="closed"):
        await near.send(b"late")
    with pytest.raises(BondClosed, match="closed"):
        near.send_nowait(b"late")


@virtual
async def test_closing_while_senders_wait(cable: Cable) -> None:
    near, far = small(cable)
    async with near, far:
        cable.a.held = True
        first = await fill_held(near)
        senders = [asyncio.create_task(near.send(payload(first + n))) for n in range(3)]
        await asyncio.sleep(0)
        await near.close(0.5)
        for sender in senders:
            with pytest.raises(BondClosed):
                await sender


@virtual
async def test_a_sender_that_raises_passes_its_turn_on(cable: Cable) -> None:
    flows = []

    def flow_of(data: bytes) -> int:
        if data[:2] == b"\xff\xff":
            raise RuntimeError("a flow_of with a mistake")
        flows.append(data[0])
        return 0

    near, far = small(cable, flow_of=flow_of)
    async with near, far:
        first = await fill(near)
        bad = asyncio.create_task(near.send(b"\xff\xff" + bytes(10)))
        good = asyncio.create_task(near.send(payload(first)))
        await asyncio.sleep(0)
        cable.a.held = True  # one wake-up, and no more
        while not bad.done():
            await asyncio.sleep(0.0005)
        with pytest.raises(RuntimeError, match="mistake"):
            await bad
        await asyncio.wait_for(good, 0.01)
        cable.a.held = False
        assert cable.a.transport is not None
        cable.a.transport.take()
        assert await numbers(far, first + 1) == list(range(first + 1))


@pytest.mark.parametrize("rate", [1e6, None])
@virtual
async def test_drain(cable: Cable, rate: float | None) -> None:
    async with Master([cable.a.slave(rate)]) as near, Master([cable.b.slave(rate)]) as far:
        loop = asyncio.get_running_loop()
        started = loop.time()
        for number in range(20):
            await near.send(payload(number))
        await asyncio.wait_for(near.drain(), 5)
        assert await numbers(far, 20) == list(range(20))
        assert loop.time() - started == pytest.approx(0.2 if rate else 0.0, abs=0.03)


@virtual
async def test_drain_of_a_bond_that_closes(cable: Cable) -> None:
    near, far = small(cable)
    async with near, far:
        cable.a.held = True
        await fill_held(near)
        draining = asyncio.create_task(near.drain())
        await asyncio.sleep(0.1)
        await near.close(0.1)
        with pytest.raises(BondClosed):
            await draining
