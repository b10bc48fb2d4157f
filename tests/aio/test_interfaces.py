"""What a network interface uses of a `Master`: batches, room, and packets handed to a function."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from eqlbond import BondClosed, FqCoDel, Master, Multilink, Packet, PacketTooBig, Ppp
from eqlbond.core.fq_codel import FairQueue

from .memory import Cable, cables, virtual


@virtual
async def test_a_batch() -> None:
    line = Cable()
    async with Master([line.a.slave(57600)]) as near, Master([line.b.slave(57600)]) as far:
        before = near.room
        near.send_batch([b"one", b"two", b"three"])
        assert [(await far.receive()).payload for _ in range(3)] == [b"one", b"two", b"three"]
        await near.drain()
        assert near.room == before > 0
        with pytest.raises(PacketTooBig):
            near.send_batch([b"fits", bytes(1501), b"never"])
        assert (await far.receive()).payload == b"fits"
    with pytest.raises(BondClosed):
        near.send_batch([b"late"])


@virtual
async def test_room_is_told_once() -> None:
    line = Cable()
    told = []
    async with Master([line.a.slave(57600)], queue_bytes=4000) as near, Master([line.b.slave(57600)]):
        near.send_batch([bytes(1000)] * 5)
        assert near.room <= 0
        assert near.full
        near.when_room(lambda: told.append(near.room))
        await near.drain()
        assert len(told) == 1
        assert 0 < told[0] <= 1000
        near.when_room(lambda: told.append(-1))
        await near.drain()
        near.send_batch([bytes(1000)] * 5)
        near.when_room(lambda: told.append(-2))
    assert told[1:] == [-1, -2]
    with pytest.raises(BondClosed):
        near.when_room(lambda: None)


@virtual
async def test_packets_go_to_a_function_and_back() -> None:
    line = Cable()
    got: list[bytes] = []
    async with Master([line.a.slave(57600)]) as near, Master([line.b.slave(57600)]) as far:
        await near.send(b"1")
        await near.drain()
        far.deliver_to(lambda packets: got.extend(packet.payload for packet in packets))
        assert got == [b"1"]
        await near.send(b"2")
        await near.drain()
        assert got == [b"1", b"2"]
        with pytest.raises(RuntimeError):
            far.deliver_to(print)
        far.deliver_to(None)
        await near.send(b"3")
        assert (await far.receive()).payload == b"3"
    assert got == [b"1", b"2"]


@virtual
async def test_a_master_with_fair_queueing() -> None:
    line = Cable()
    async with Master([line.a.slave(57600)], queue=FqCoDel(ecn=False)) as near, Master([line.b.slave(57600)]):
        assert isinstance(near._bundle._sender._queue, FairQueue)
        for _ in range(600):
            await near.send(bytes(1000))  # does not wait
        stats = near.stats()
        assert stats.dropped["queue limit"] > 200
        assert stats.marked == 0
        assert stats.queued_packets > 100


@virtual
async def test_fair_queueing_above_multilink() -> None:
    """Turns of the flows change the order of the queue; what is cut and numbered must still come together."""
    lines = cables(3)
    rates = (57600, 28800, 14400)
    rng = random.Random(5)
    options: dict[str, Any] = {"multilink": Multilink(mrru=1500), "queue": FqCoDel(interval=1000, limit=1 << 20)}
    near = Master([line.a.slave(rate, framing=Ppp()) for line, rate in zip(lines, rates, strict=True)], **options)
    far = Master([line.b.slave(rate, framing=Ppp()) for line, rate in zip(lines, rates, strict=True)], **options)
    got: dict[int, list[int]] = {}

    def take(packets: list[Packet]) -> None:
        for packet in packets:
            got.setdefault(packet.payload[20], []).append(int.from_bytes(packet.payload[21:25], "big"))

    far.deliver_to(take)
    async with far, near:
        await near.wait_open(20)
        await far.wait_open(20)
        await asyncio.sleep(2)
        for n in range(240):
            flow = rng.choice((1, 1, 1, 2, 2, 3))
            head = b"\x45" + bytes(19) + bytes((flow,)) + n.to_bytes(4, "big")
            await near.send(head.ljust(rng.choice((40, 300, 900, 1500)), b"."), flow=flow)
            if n % 10 == 9:
                near.set_rate(near.slaves[n % 3], rates[n % 3] * rng.choice((1, 0.9)))  # all is planned again
            await asyncio.sleep(rng.choice((0, 0, 0.02, 0.1)))
        await near.drain()
        await asyncio.sleep(3)
        assert sum(map(len, got.values())) == 240
        for numbers in got.values():
            assert numbers == sorted(numbers)
        assert near.stats().dropped == far.stats().dropped == {}
