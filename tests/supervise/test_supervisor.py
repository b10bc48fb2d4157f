"""Lines that come back by themselves, in memory on a virtual clock."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import pytest

from eqlbond import (
    BondFailed,
    ConfigurationError,
    DeviceNotFound,
    Event,
    GaveUp,
    Master,
    NotEnslaved,
    Retrying,
    SerialSlave,
    Slave,
    SlaveDown,
    SlaveUp,
    Slip,
)
from eqlbond.supervise import Redial, Supervisor, Watch
from tests.aio.memory import Cable, End, cables, virtual

NEVER_EARLY = Redial(holdoff=1.0, jitter=0.0)


class Recorder:
    """All events of a bond."""

    def __init__(self, master: Master) -> None:
        self.events: list[Event] = []
        self._stream = master.events()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for event in self._stream:
            self.events.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def now() -> float:
    return asyncio.get_running_loop().time()


async def until(condition: Any, patience: float = 1000.0) -> None:
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.01)


def cut(end: End, error: BaseException | None = None) -> None:
    """The line is gone, and cannot be opened until `mend`."""
    end.error = DeviceNotFound("line", "no such device")
    if end.transport is not None:
        end.transport.fail(error or OSError("hung up"))


def mend(end: End) -> None:
    end.error = None


# -- coming back


@virtual
async def test_a_cut_line_is_back_within_holdoff_and_two_seconds() -> None:
    holdoff = 3.0
    line = Cable()
    async with Master([slave := line.a.slave()]) as master, Supervisor(master, Redial(holdoff=holdoff)):
        for silence in (0.1, 5.0, 61.3, 600.0):
            cut(line.a)
            await asyncio.sleep(silence)
            assert not slave.up
            mend(line.a)
            mended = now()
            await until(lambda: slave.up)
            assert now() - mended <= holdoff + 2.0, silence


@virtual
async def test_all_lines_dead_for_a_minute_and_back() -> None:
    lines = cables(4)
    far = Master([line.b.slave() for line in lines])
    async with far, Master([line.a.slave() for line in lines]) as near, Supervisor(near, Redial(holdoff=1)):
        await near.send(b"before")
        assert (await far.receive()).payload == b"before"
        await near.drain()
        for line in lines:
            cut(line.a)
        await asyncio.sleep(0.1)
        assert not near.up
        await near.send(b"meanwhile")
        await asyncio.sleep(60)
        for line in lines:
            mend(line.a)
        mended = now()
        async with asyncio.timeout(3.0):
            assert (await far.receive()).payload == b"meanwhile"
        await until(lambda: all(slave.up for slave in near.slaves))
        assert now() - mended <= 3.0


@virtual
async def test_a_revived_slave_carries_packets_again_at_once() -> None:
    line, other = cables(2)
    far = Master([line.b.slave(), other.b.slave()])
    near = Master([line.a.slave(9600), other.a.slave(9600)])
    async with far, near, Supervisor(near, NEVER_EARLY):
        cut(line.a)
        await until(lambda: not near.slaves[0].up)
        mend(line.a)
        await until(lambda: near.slaves[0].up)
        sent = near.stats().lines[0].packets_sent
        for _ in range(4):
            await near.send(bytes(500))
        await near.drain()
        assert near.stats().lines[0].packets_sent > sent
        for _ in range(4):
            await far.receive()


# -- backing off


@virtual
async def test_delays_double_up_to_the_most() -> None:
    line = Cable()
    cut(line.a)
    master = Master([line.a.slave()], open_lines=False)
    redial = Redial(holdoff=1, max_holdoff=10, jitter=0)
    async with master, Supervisor(master, redial):
        recorder = Recorder(master)
        await asyncio.sleep(60)
        retries = recorder.of(Retrying)
        assert [retry.delay for retry in retries[:7]] == [1, 2, 4, 8, 10, 10, 10]
        assert [retry.attempt for retry in retries[:3]] == [1, 2, 3]
        assert retries[0].reason == "line: no such device"
        assert isinstance(retries[0].error, DeviceNotFound)
        await recorder.stop()


@pytest.mark.parametrize(
    ("redial", "dials", "delays"),
    [
        (Redial(holdoff=2, jitter=0), False, [2, 3, 3, 3]),
        (Redial(holdoff=2, jitter=0), True, [2, 4, 8, 16, 32, 60, 60]),
        (Redial(holdoff=2, max_holdoff=5, jitter=0), True, [2, 4, 5, 5]),
        (Redial(holdoff=0, jitter=0), False, [0, 0, 0]),
        (Redial(holdoff=90, jitter=0), True, [90, 90]),
    ],
)
def test_what_an_attempt_costs_decides_how_far_it_backs_off(redial: Redial, dials: bool, delays: list[float]) -> None:
    assert [redial.delay(n, dials, random.Random(1)) for n in range(len(delays))] == delays
    assert redial.delay(10**9, dials, random.Random(1)) == delays[-1]


def test_jitter_shortens_and_spreads() -> None:
    rng = random.Random(1)
    delays = [Redial(holdoff=10, jitter=0.5).delay(0, False, rng) for _ in range(200)]
    assert 5.0 <= min(delays) < 5.5
    assert 9.5 < max(delays) <= 10.0


@virtual
async def test_a_line_that_flaps_backs_off_and_one_that_was_stable_does_not() -> None:
    line = Cable()
    redial = Redial(holdoff=1, max_holdoff=100, jitter=0, stable=10)
    async with Master([slave := line.a.slave()]) as master, Supervisor(master, redial):
        recorder = Recorder(master)
        for up_for, delay in [(1, 1), (1, 2), (9.9, 4), (10.1, 1), (1, 1), (1, 2)]:
            await until(lambda: slave.up)
            await asyncio.sleep(up_for)
            assert line.a.transport is not None
            line.a.transport.fail(OSError("flap"))
            await until(lambda: not slave.up)
            await asyncio.sleep(0.1)
            assert recorder.of(Retrying)[-1].delay == delay, up_for
        await recorder.stop()


@virtual
async def test_a_line_that_closes_as_soon_as_it_opens_is_not_opened_without_pause() -> None:
    line = Cable()
    line.a.closes_at_once = True
    master = Master([line.a.slave()], open_lines=False)
    async with master, Supervisor(master, NEVER_EARLY):
        await asyncio.sleep(20)
        assert 5 <= line.a.opened <= 21


@virtual
async def test_maxfail_gives_up_and_retry_begins_again() -> None:
    line = Cable()
    cut(line.a)
    master = Master([slave := line.a.slave()], open_lines=False)
    async with master, Supervisor(master, Redial(maxfail=3, jitter=0)) as supervisor:
        recorder = Recorder(master)
        await until(lambda: recorder.of(GaveUp))
        assert len(recorder.of(Retrying)) == 2
        assert "maxfail" in recorder.of(GaveUp)[0].reason
        assert supervisor.state(slave) == "given up"
        mend(line.a)
        await asyncio.sleep(1000)
        assert not slave.up
        supervisor.retry(slave)
        await until(lambda: slave.up, 1)
        assert supervisor.state(slave) == "up"
        await recorder.stop()


@virtual
async def test_a_line_that_was_given_up_and_is_opened_by_hand_is_watched_again() -> None:
    line = Cable()
    cut(line.a)
    master = Master([slave := line.a.slave()], open_lines=False)
    async with master, Supervisor(master, Redial(maxfail=1, jitter=0)) as supervisor:
        supervisor.set(slave, redial=Redial(maxfail=1, jitter=0))
        await until(lambda: supervisor.state(slave) == "given up")
        supervisor.set(slave, redial=Redial(jitter=0))
        mend(line.a)
        await master.reopen(slave)
        await asyncio.sleep(2)
        assert line.a.transport is not None
        line.a.transport.fail(None)
        await until(lambda: line.a.opened == 2)


@pytest.mark.parametrize("error", [ConfigurationError("device", "a path"), DeviceNotFound("line", "no such device")])
@virtual
async def test_an_old_reason_is_forgotten_once_somebody_has_opened_the_line(error: Exception) -> None:
    line = Cable()
    line.a.error = error
    master = Master([slave := line.a.slave()], open_lines=False)
    async with master, Supervisor(master, NEVER_EARLY) as supervisor:
        recorder = Recorder(master)
        await asyncio.sleep(0.1)
        assert supervisor.state(slave) == ("given up" if isinstance(error, ConfigurationError) else "waiting")
        mend(line.a)
        await master.reopen(slave)
        await asyncio.sleep(2)
        assert line.a.transport is not None
        line.a.transport.fail(OSError("hung up"))
        await until(lambda: line.a.opened == 2, 10)
        assert recorder.of(Retrying)[-1].reason == "hung up"
        assert len(recorder.of(GaveUp)) == isinstance(error, ConfigurationError)
        await recorder.stop()


@virtual
async def test_without_persist_an_established_line_stays_down() -> None:
    line = Cable()
    cut(line.a)
    master = Master([slave := line.a.slave()], open_lines=False)
    async with master, Supervisor(master, Redial(persist=False)):
        recorder = Recorder(master)
        await asyncio.sleep(10)
        assert recorder.of(Retrying)
        assert not recorder.of(GaveUp)
        mend(line.a)
        await until(lambda: slave.up)
        assert line.a.transport is not None
        line.a.transport.fail(OSError("gone"))
        await until(lambda: recorder.of(GaveUp))
        assert recorder.of(GaveUp)[0].reason.endswith("gone")
        await asyncio.sleep(1000)
        assert line.a.opened == 1
        await recorder.stop()


# -- opening


@virtual
async def test_a_line_that_waits_for_a_call_keeps_nobody_waiting() -> None:
    slow, quick = cables(2)
    slow.a.open_time = 100000.0
    async with Master(open_lines=False) as master, Supervisor(master) as supervisor:
        waiting = await supervisor.enslave(slow.a.slave(name="waits"))
        await supervisor.enslave(quick.a.slave())
        began = now()
        await master.wait_open(1)
        assert now() - began < 0.1
        assert supervisor.state(waiting) == "opening"
        await master.emancipate(waiting)
        await asyncio.sleep(0.1)
        with pytest.raises(NotEnslaved):
            supervisor.state(waiting)
    assert slow.a.opened == 0


@virtual
async def test_slaves_enslaved_by_the_master_are_looked_after_too() -> None:
    line = Cable()
    async with Master() as master, Supervisor(master, NEVER_EARLY) as supervisor:
        slave = await master.enslave(line.a.slave())
        await asyncio.sleep(0.1)
        assert supervisor.state(slave) == "up"
        cut(line.a)
        await asyncio.sleep(5)
        mend(line.a)
        await until(lambda: slave.up, 3)
        await master.emancipate(slave)
        await asyncio.sleep(5)
        assert line.a.transport is None


@virtual
async def test_connect_functions_that_raise_anything_are_tried_again() -> None:
    line, tries = Cable(), itertools.count()

    async def connect(factory: Any) -> Any:
        if next(tries) < 3:
            raise ZeroDivisionError("mine")
        return await line.a.connect(factory)

    master = Master([slave := Slave(connect)], open_lines=False)
    async with master, Supervisor(master, NEVER_EARLY):
        recorder = Recorder(master)
        await until(lambda: slave.up, 20)
        assert all("mine" in retry.reason for retry in recorder.of(Retrying))
        await recorder.stop()


@virtual
async def test_leaving_the_supervisor_leaves_the_lines() -> None:
    up, down = cables(2)
    cut(down.a)
    async with Master([up.a.slave(), down.a.slave()]) as master:
        async with Supervisor(master, NEVER_EARLY):
            await asyncio.sleep(3)
        mend(down.a)
        await asyncio.sleep(100)
        assert [slave.up for slave in master.slaves] == [True, False]


@virtual
async def test_waiting_for_the_bond_ends_where_all_lines_are_given_up() -> None:
    line = Cable()
    slave = line.a.slave(name="only")
    cut(line.a)
    async with Master([slave], open_lines=False) as master, Supervisor(master, Redial(maxfail=3)) as supervisor:
        waiting = asyncio.create_task(master.wait_open())
        with pytest.raises(BondFailed, match="only: cannot be opened"):
            await waiting
        assert supervisor.state(slave) == "given up"
        mend(line.a)
        supervisor.retry(slave)
        await asyncio.sleep(0)
        await master.wait_open(10)
        cut(line.a)
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(master.wait_open())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await supervisor.stop()
        with pytest.raises(BondFailed):
            await waiting


@virtual
async def test_closing_the_bond_first_ends_the_supervision() -> None:
    line, waiting = cables(2)
    waiting.a.open_time = 1000
    master = Master([line.a.slave(), waiting.a.slave()], open_lines=False)
    supervisor = Supervisor(master, NEVER_EARLY)
    await master.open()
    async with supervisor:
        await master.wait_open()
        await master.close()
        await asyncio.sleep(0.1)
        with pytest.raises(RuntimeError, match="at work"):
            await supervisor.__aenter__()
    assert line.a.transport is None


# -- dead lines


class Port:
    """As much of a serial port as the shell looks at."""

    def __init__(self) -> None:
        self.cd: Any = True
        self.is_open = True
        self.out_waiting = 0


@virtual
async def test_a_carrier_that_falls_takes_the_line_down() -> None:
    line = Cable()
    async with Master([slave := line.a.slave()]) as master:
        port = Port()
        assert slave.connection is not None
        slave.connection._port = port
        async with Supervisor(master, NEVER_EARLY):
            recorder = Recorder(master)
            await asyncio.sleep(5)
            assert slave.up
            port.cd = False
            port.is_open = False
            fell = now()
            await until(lambda: not slave.up)
            assert now() - fell <= 1.1
            await until(lambda: slave.up, 3)
            assert recorder.of(SlaveDown)[0].reason == "the carrier is gone (DCD)"
            assert recorder.of(Retrying)[0].reason == "the carrier is gone (DCD)"
            await asyncio.sleep(10)
            assert line.a.opened == 2
            await recorder.stop()


@pytest.mark.parametrize(("carrier", "first"), [(True, False), (True, None), (False, True)])
@virtual
async def test_a_carrier_that_was_never_there_is_no_reason(carrier: bool, first: bool | None) -> None:
    line = Cable()
    async with Master([slave := line.a.slave()]) as master:
        port = Port()
        if first is None:
            del port.cd
        else:
            port.cd = first
        assert slave.connection is not None
        slave.connection._port = port
        async with Supervisor(master, NEVER_EARLY, Watch(carrier=carrier)):
            await asyncio.sleep(5)
            port.cd = False
            await asyncio.sleep(5)
            assert slave.up
        port.is_open = False


@pytest.mark.parametrize("rate", [57600, None])
@virtual
async def test_a_port_that_takes_nothing_is_down_after_a_while(rate: float | None) -> None:
    line, other = cables(2)
    far = Master([line.b.slave(rate), other.b.slave(rate)], on_packets=lambda packets: got.extend(packets))
    got: list[Any] = []
    near = Master([line.a.slave(rate), other.a.slave(rate)])
    async with far, near, Supervisor(near, NEVER_EARLY, Watch(stall=5)):
        recorder = Recorder(near)
        line.a.held = True
        held = now()
        for number in range(100):
            await near.send(number.to_bytes(2, "big") + bytes(400))
        await until(lambda: recorder.of(SlaveDown))
        assert 5 <= now() - held <= 7.5
        down = recorder.of(SlaveDown)[0]
        assert "has taken none of the" in down.reason
        assert down.slave is near.slaves[0]
        line.a.held = False
        await until(lambda: near.slaves[0].up, 3)
        await near.drain()
        await asyncio.sleep(1)
        if rate is not None:  # what an unpaced transport has taken is lost with it
            assert {int.from_bytes(packet.payload[:2], "big") for packet in got} == set(range(100))
        await recorder.stop()


@virtual
async def test_a_port_that_is_slow_or_idle_is_not_stalled() -> None:
    line = Cable()
    async with Master([slave := line.a.slave(None)]) as near, Supervisor(near, NEVER_EARLY, Watch(stall=5)):
        await asyncio.sleep(60)
        line.a.held = True
        await near.send(bytes(1000))
        for _ in range(40):
            await asyncio.sleep(4)
            assert line.a.transport is not None
            line.a.transport.take(10)
        assert slave.up
        assert line.a.opened == 1


@virtual
async def test_outfill_keeps_a_line_alive_that_keepalive_watches() -> None:
    line = Cable()
    watched = Slip(outfill=10, keepalive=21)
    far = Master([line.b.slave(framing=watched)])
    async with Master([slave := line.a.slave(framing=watched)]) as near, Supervisor(near, NEVER_EARLY):
        async with far, Supervisor(far, NEVER_EARLY):
            await asyncio.sleep(3600)
            assert slave.up
            assert line.a.opened == 1
            # About an END each ten seconds, and no packets.
            assert 340 <= near.stats().lines[0].bytes_sent <= 361
            assert far.stats().lines[0].packets_received == 0
            assert not far.stats().lines[0].dropped
        recorder = Recorder(near)
        died = now()
        await until(lambda: recorder.of(SlaveDown))
        assert 11 <= now() - died <= 21.1
        assert recorder.of(SlaveDown)[0].reason == "nothing was received for 21 s"
        await asyncio.sleep(100)
        assert line.a.opened > 2
        assert not recorder.of(SlaveUp), "it takes no packets while nobody is there"
        # Both wait for the other now, and find together by what each says when it opens the line.
        async with Master([line.b.slave(framing=watched)]) as far, Supervisor(far, NEVER_EARLY):
            await until(lambda: recorder.of(SlaveUp))
            await near.send(bytes(100))
            assert (await far.receive()).payload == bytes(100)
        await recorder.stop()


@virtual
async def test_two_ends_that_were_cut_off_find_together() -> None:
    """Each waits to hear the other, with no outfill at all."""
    line = Cable()
    watched = Slip(keepalive=5)
    async with (
        Master([line.a.slave(framing=watched)]) as near,
        Master([line.b.slave(framing=watched)]) as far,
        Supervisor(near, NEVER_EARLY),
        Supervisor(far, NEVER_EARLY),
    ):
        for _ in range(20):
            await asyncio.sleep(30)
            await near.send(b"there")
            assert (await asyncio.wait_for(far.receive(), 30)).payload == b"there"


@virtual
async def test_fillers_do_not_gather_behind_a_stuck_port() -> None:
    line = Cable()
    async with Master([slave := line.a.slave(framing=Slip(outfill=1))]) as near:
        await near.send(bytes(100))
        line.a.held = True
        for _ in range(2):
            await near.send(bytes(1000))
        await asyncio.sleep(2000)
        assert len(slave.member.control) <= 1


# -- wrong from the beginning


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("holdoff", lambda: Redial(holdoff=-1)),
        ("holdoff", lambda: Redial(holdoff=float("nan"))),
        ("max_holdoff", lambda: Redial(holdoff=5, max_holdoff=2)),
        ("jitter", lambda: Redial(jitter=1.5)),
        ("maxfail", lambda: Redial(maxfail=1.5)),  # type: ignore[arg-type]
        ("probe", lambda: Redial(probe=0)),
        ("stable", lambda: Redial(stable="10")),  # type: ignore[arg-type]
        ("stall", lambda: Watch(stall=0)),
        ("interval", lambda: Watch(interval=0)),
        ("outfill", lambda: Slip(outfill=0)),
        ("outfill", lambda: Slip(outfill=5, leading_end=False)),
        ("keepalive", lambda: Slip(keepalive=True)),
        ("master", lambda: Supervisor("eql")),  # type: ignore[arg-type]
        ("redial", lambda: Supervisor(Master(), Watch())),  # type: ignore[arg-type]
    ],
)
def test_wrong_values_are_named(field: str, make: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert caught.value.field == field


@virtual
async def test_a_configuration_that_cannot_work_is_not_tried_again() -> None:
    async def connect(factory: Any) -> Any:
        raise ConfigurationError("device", "a path")

    master = Master([slave := Slave(connect)], open_lines=False)
    async with master, Supervisor(master, NEVER_EARLY) as supervisor:
        recorder = Recorder(master)
        await asyncio.sleep(10)
        assert supervisor.state(slave) == "given up"
        assert len(recorder.of(GaveUp)) == 1
        await recorder.stop()


@virtual
async def test_a_device_that_is_gone_is_looked_for_and_not_opened() -> None:
    slave = SerialSlave("/nonexistent/by-id/usb-adapter", 115200)
    async with Master(open_lines=False) as master, Supervisor(master, NEVER_EARLY) as supervisor:
        recorder = Recorder(master)
        await supervisor.enslave(slave)
        await asyncio.sleep(600)
        assert supervisor.state(slave) == "waiting for the device"
        assert len(recorder.of(Retrying)) == 1
        await recorder.stop()
