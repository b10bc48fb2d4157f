"""Receiving: iteration, the reader's rules, a callback, the limit, events."""

from __future__ import annotations

import asyncio
import gc

import pytest

from eqlbond import (
    BondClosed,
    BondDown,
    BondFailed,
    BondUp,
    Emancipated,
    Enslaved,
    Event,
    LineError,
    Master,
    NotEnslaved,
    Packet,
    SlaveDown,
    SlaveUp,
)
from tests.aio.memory import Cable, drive, virtual, virtual_loop


def pair(cable: Cable, **options: object) -> tuple[Master, Master]:
    return Master([cable.a.slave(1e6)]), Master([cable.b.slave(1e6)], **options)  # type: ignore[arg-type]


@virtual
async def test_iteration_ends_when_the_bond_closes(cable: Cable) -> None:
    near, far = pair(cable)
    async with near, far:
        got: list[bytes] = []

        async def read() -> None:
            async for packet in far:
                got.append(packet.payload)
                assert packet.slave is far.slaves[0]

        reading = asyncio.create_task(read())
        for number in range(5):
            await near.send(b"packet %d" % number)
        await near.drain()
        await asyncio.sleep(0.1)
        await far.close()
        await asyncio.wait_for(reading, 1)
    assert got == [b"packet %d" % number for number in range(5)]


@virtual
async def test_what_arrived_can_be_read_after_closing(cable: Cable) -> None:
    near, far = pair(cable)
    async with near, far:
        await near.send(b"one")
        await near.send(b"two")
        await near.drain()
        await asyncio.sleep(0.1)
    assert [packet.payload async for packet in far] == [b"one", b"two"]
    with pytest.raises(BondClosed):
        await far.receive()


@virtual
async def test_what_arrives_while_the_bond_closes_is_read_too(cable: Cable) -> None:
    """Closing sends what is queued, which takes its time; the answers to it come meanwhile."""
    near, far = pair(cable)
    async with near, far:
        got: list[bytes] = []

        async def read() -> None:
            got.extend([packet.payload async for packet in far])

        reading = asyncio.create_task(read())
        for _ in range(100):
            await far.send(bytes(1000))
        closing = asyncio.create_task(far.close())
        await asyncio.sleep(0.1)
        assert not closing.done()
        for number in range(5):
            await near.send(b"answer %d" % number)
            await asyncio.sleep(0.02)
        await closing
        await reading
    assert got == [b"answer %d" % number for number in range(5)]


@virtual
async def test_two_readers(cable: Cable) -> None:
    near, far = pair(cable)
    async with near, far:
        reading = asyncio.create_task(far.receive())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task is reading"):
            await far.receive()
        await near.send(b"for the first")
        assert (await reading).payload == b"for the first"
        await near.send(b"and again")
        assert (await far.receive()).payload == b"and again"


@virtual
async def test_a_cancelled_reader_loses_nothing(cable: Cable) -> None:
    near, far = pair(cable)
    async with near, far:
        for number in range(200):
            reading = asyncio.create_task(far.receive())
            await asyncio.sleep(0)
            await near.send(b"%d" % number)
            await asyncio.sleep(0.000013 * number)  # cancelled before, at and after the arrival
            reading.cancel()
            result = (await asyncio.gather(reading, return_exceptions=True))[0]
            if isinstance(result, asyncio.CancelledError):
                result = await far.receive()
            assert isinstance(result, Packet)
            assert result.payload == b"%d" % number


@virtual
async def test_receive_before_opening() -> None:
    master = Master()
    with pytest.raises(BondClosed, match="not open yet"):
        await master.receive()


@virtual
async def test_on_packets(cable: Cable) -> None:
    got: list[list[Packet]] = []
    near, far = pair(cable, on_packets=got.append)
    async with near, far:
        with pytest.raises(RuntimeError, match="on_packets takes the packets"):
            await far.receive()
        for number in range(50):
            await near.send(b"%d" % number)
        await near.drain()
        await asyncio.sleep(0.1)
        assert [packet.payload for packets in got for packet in packets] == [b"%d" % n for n in range(50)]
        assert all(packets for packets in got)
        assert len(got) < 50  # in lists, as they arrive


def test_on_packets_that_raises_is_told_and_the_bond_goes_on() -> None:
    got: list[bytes] = []

    def take(packets: list[Packet]) -> None:
        got.extend(packet.payload for packet in packets)
        raise ZeroDivisionError("in the application")

    async def test() -> None:
        near, far = pair(Cable(), on_packets=take)
        async with near, far:
            for number in range(3):
                await near.send(b"%d" % number)
                await near.drain()
                await asyncio.sleep(0.1)
            assert far.up

    told = drive(test, virtual_loop, errors=True)
    assert got == [b"0", b"1", b"2"]
    assert [type(context["exception"]) for context in told] == [ZeroDivisionError] * 3
    assert all("on_packets failed" in context["message"] for context in told)


@virtual
async def test_an_application_that_does_not_read(cable: Cable) -> None:
    near, far = pair(cable, receive_bytes=5000)
    async with near, far:
        for _ in range(20):
            await near.send(bytes(1000))
        await near.drain()
        await asyncio.sleep(0.1)
        stats = far.stats()
        dropped = stats.dropped["the application does not read"]
        kept = 20 - dropped
        assert 5 <= kept <= 6
        assert stats.packets_delivered == kept
        assert stats.payload_delivered == 1000 * kept
        assert [len((await far.receive()).payload) for _ in range(kept)] == [1000] * kept
        await near.send(b"again")
        assert (await far.receive()).payload == b"again"


# -- events


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


@virtual
async def test_events_tell_the_whole_life_to_every_reader(cable: Cable) -> None:
    master = Master([cable.a.slave(name="line")])
    streams = [master.events() for _ in range(3)]
    streams[2].close()
    async with master:
        assert cable.a.transport is not None
        cable.a.transport.fail(OSError("unplugged"))
        await asyncio.sleep(0.1)
        await master.reopen(master.slaves[0])
        late = master.events()
    after = master.events()
    got = [[event async for event in stream] for stream in (*streams, late, after)]
    told = [Enslaved, SlaveUp, BondUp, SlaveDown, BondDown, SlaveUp, BondUp, SlaveDown, BondDown, Emancipated]
    assert [type(event) for event in got[0]] == told
    assert got[1] == got[0]
    assert got[2] == []
    assert [type(event) for event in got[3]] == told[-3:]
    assert got[4] == []
    down = got[0][3]
    assert isinstance(down, SlaveDown)
    assert (down.slave, down.reason) == (master.slaves[0] if master.slaves else down.slave, "unplugged")
    assert isinstance(down.error, OSError)


@virtual
async def test_a_slow_reader_misses_the_oldest_events(cable: Cable) -> None:
    async with Master([cable.a.slave()]) as master:
        await asyncio.sleep(0)
        slow, quick = master.events(), master.events()
        seen: list[Event] = []

        async def read() -> None:
            seen.extend([event async for event in quick])

        reading = asyncio.create_task(read())
        await asyncio.sleep(0)
        for n in range(1500):
            master.set_rate(master.slaves[0], 1000 + n)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert slow.missed == 500
        assert (await anext(slow)).rate == 1500  # type: ignore[attr-defined]
    await reading
    assert quick.missed == 0
    assert len(seen) == 1500 + 3


@virtual
async def test_two_tasks_on_one_stream_of_events(cable: Cable) -> None:
    async with Master([cable.a.slave()]) as master:
        stream = master.events()
        await asyncio.sleep(0.1)
        while stream._events:
            await anext(stream)
        first = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task is reading"):
            await anext(stream)
        master.set_rate(master.slaves[0], 1234)
        assert kinds([await first]) == ["RateChanged"]


@virtual
async def test_streams_that_nobody_holds_go_by_themselves(cable: Cable) -> None:
    async with Master([cable.a.slave()]) as master:
        for _ in range(100):
            master.set_rate(master.slaves[0], 1000)
            async for _ in master.events():
                break
        gc.collect()
        assert len(master._hub.streams) <= 1


@virtual
async def test_a_stream_that_is_closed_while_it_is_read(cable: Cable) -> None:
    async with Master([cable.a.slave()]) as master:
        stream = master.events()

        async def read() -> int:
            return len([event async for event in stream])

        reading = asyncio.create_task(read())
        await asyncio.sleep(0.1)
        stream.close()
        stream.close()
        assert await asyncio.wait_for(reading, 1) <= 3


# -- waiting for the bond


@virtual
async def test_wait_open(cable: Cable) -> None:
    loop = asyncio.get_running_loop()
    async with Master() as master:
        with pytest.raises(TimeoutError):
            await master.wait_open(2)
        assert loop.time() == pytest.approx(2)
        waiting = [asyncio.create_task(master.wait_open()) for _ in range(3)]
        await asyncio.sleep(1)
        assert not any(task.done() for task in waiting)
        waiting[1].cancel()
        await master.enslave(cable.a.slave())
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [type(None), asyncio.CancelledError, type(None)]
        await master.wait_open(0)
        assert not master._hub.watchers


@virtual
async def test_wait_open_when_all_lines_are_down_for_good(four: list[Cable]) -> None:
    four[1].a.error = OSError(5, "odd")
    near = [four[0].a.slave(name="first"), four[1].a.slave(name="second")]
    async with Master(near) as master:
        cut(four[0], OSError(5, "unplugged"))
        waiting = asyncio.create_task(master.wait_open())
        for raising in (waiting, master.wait_open()):
            with pytest.raises(BondFailed) as failed:
                await raising
            assert failed.value.reasons == {"first": "[Errno 5] unplugged", "second": "cannot be opened: [Errno 5] odd"}
            assert "first: [Errno 5] unplugged; second: cannot be opened: [Errno 5] odd" in str(failed.value)
            assert isinstance(failed.value.__cause__, OSError)
        # A line that is being opened may come up.
        four[0].a.open_time = 5
        reopening = asyncio.create_task(master.reopen(near[0]))
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(master.wait_open())
        await asyncio.sleep(1)
        assert not waiting.done()
        await asyncio.gather(reopening, waiting)


@virtual
async def test_wait_open_ends_with_the_last_attempt_to_open(four: list[Cable]) -> None:
    slave = four[0].a.slave(name="first")
    async with Master([slave]) as master:
        cut(four[0], None)
        four[0].a.open_time = 5
        four[0].a.error = OSError(5, "odd")
        reopening = asyncio.create_task(master.reopen(slave))
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(master.wait_open())
        with pytest.raises(LineError):
            await reopening
        with pytest.raises(BondFailed, match=r"first: cannot be opened: .*odd"):
            await waiting


@virtual
async def test_wait_open_counts_the_lines_that_are_needed(four: list[Cable]) -> None:
    near = [cable.a.slave() for cable in four[:3]]
    async with Master(near, min_slaves=3) as master:
        waiting = asyncio.create_task(master.wait_open())
        await asyncio.sleep(0)
        await waiting
        cut(four[0], None)
        await asyncio.sleep(0.1)
        with pytest.raises(BondFailed) as failed:
            await master.wait_open()
        assert list(failed.value.reasons) == [near[0].name]
        # With a line more there are enough of them again.
        await master.enslave(four[3].a.slave())
        await master.wait_open(1)
        master.set_min_slaves(4)
        with pytest.raises(BondFailed):
            await master.wait_open()
        await master.emancipate(near[0])
        with pytest.raises(TimeoutError):  # it may be enslaved yet
            await master.wait_open(5)


@virtual
async def test_wait_open_waits_for_lines_that_may_be_opened_yet(four: list[Cable]) -> None:
    slave = four[0].a.slave()
    async with Master([slave], open_lines=False) as master:
        with pytest.raises(TimeoutError):
            await master.wait_open(5)
        await master.reopen(slave)
        await master.wait_open(1)
        cut(four[0], None)
        master.will_reopen(slave)
        waiting = asyncio.create_task(master.wait_open())
        await asyncio.sleep(5)
        assert not waiting.done()
        master.will_reopen(slave, False)
        with pytest.raises(BondFailed, match="closed by the far side"):
            await waiting
        master.will_reopen(slave)
        await master.emancipate(slave)
        assert not slave.will_reopen
        with pytest.raises(NotEnslaved):
            master.will_reopen(slave)


def cut(cable: Cable, error: OSError | None) -> None:
    assert cable.a.transport is not None
    cable.a.transport.fail(error)


@virtual
async def test_wait_open_of_a_bond_that_closes() -> None:
    async with Master() as master:
        waiting = asyncio.create_task(master.wait_open(100))
        await asyncio.sleep(0)
        await master.close()
        with pytest.raises(BondClosed):
            await waiting
    with pytest.raises(BondClosed):
        await master.wait_open(1)
