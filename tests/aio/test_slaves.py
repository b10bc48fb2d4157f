"""Lines that come and go: enslave, emancipate, reopen, settings at run time, and every way to fail at it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from eqlbond import (
    AlreadyEnslaved,
    BondClosed,
    ConfigurationError,
    DeviceBusy,
    DeviceNotFound,
    LineError,
    Master,
    NotEnslaved,
    SchedulerFailed,
    Slave,
    SlaveDown,
    Slip,
)
from eqlbond.schedulers.base import Placement
from tests.aio.memory import Cable, End, cables, virtual


class Traffic:
    """Numbered packets from one bond to another, all the time."""

    def __init__(self, near: Master, far: Master, size: int = 500) -> None:
        self.near, self.far, self.size = near, far, size
        self.sent = 0
        self.got: set[int] = set()
        self.twice = 0
        self._sending = asyncio.create_task(self._send())
        self._reading = asyncio.create_task(self._read())

    async def _send(self) -> None:
        while True:
            await self.near.send(self.sent.to_bytes(4, "big") + bytes(self.size - 4))
            self.sent += 1

    async def _read(self) -> None:
        async for packet in self.far:
            number = int.from_bytes(packet.payload[:4], "big")
            self.twice += number in self.got
            self.got.add(number)

    async def stop(self) -> set[int]:
        """Let everything arrive; the numbers that did not."""
        self._sending.cancel()
        await asyncio.gather(self._sending, return_exceptions=True)
        await asyncio.wait_for(self.near.drain(), 100)
        await asyncio.sleep(1)
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        return set(range(self.sent)) - self.got


def ends(lines: list[Cable], **options: Any) -> tuple[list[Slave], list[Slave]]:
    near = [cable.a.slave(57600, name=f"a{n}", **options) for n, cable in enumerate(lines)]
    return near, [cable.b.slave(57600, name=f"b{n}", **options) for n, cable in enumerate(lines)]


# -- opening


@virtual
async def test_all_lines_fail_to_open(four: list[Cable]) -> None:
    for number, cable in enumerate(four):
        cable.a.error = DeviceNotFound(f"line{number}", "no such device") if number else OSError(5, "odd")
    master = Master([cable.a.slave(name=f"line{n}") for n, cable in enumerate(four)])
    events = master.events()
    slaves = master._first
    with pytest.raises(LineError) as raised:
        await master.open()
    assert str(raised.value).startswith("line0: ")
    assert "odd" in str(raised.value)
    assert raised.value.__notes__ == [f"line{n}: no such device" for n in (1, 2, 3)]
    downs = [event for event in [event async for event in events] if isinstance(event, SlaveDown)]
    assert [event.slave for event in downs] == slaves
    assert downs[1].reason == "cannot be opened: no such device"
    assert all(event.reason.startswith("cannot be opened: ") for event in downs)
    assert all(slave.master is None and slave.connection is None for slave in slaves)
    with pytest.raises(BondClosed):
        await master.open()
    # The slaves are free again.
    for cable in four:
        cable.a.error = None
    async with Master(slaves) as again:
        assert [slave.up for slave in again.slaves] == [True] * 4


@virtual
async def test_some_lines_fail_to_open(four: list[Cable]) -> None:
    four[1].a.error = OSError(5, "odd")
    four[2].a.closes_at_once = True
    near, far = ends(four)
    master = Master(near)
    events = master.events()
    async with master, Master(far) as other:
        assert [slave.up for slave in near] == [True, False, False, True]
        assert [slave.master for slave in near] == [master] * 4
        downs = {e.slave: e.reason for e in [await anext(events) for _ in range(9)] if isinstance(e, SlaveDown)}
        assert set(downs) == {near[1], near[2]}
        assert "odd" in downs[near[1]]
        assert "closed while it was opened" in downs[near[2]]
        await master.send(b"by the others")
        assert (await other.receive()).payload == b"by the others"
        with pytest.raises(LineError, match="odd"):
            await master.reopen(near[1])
        four[1].a.error = None
        four[2].a.closes_at_once = False
        await master.reopen(near[1])
        await master.reopen(near[2])
        assert all(slave.up for slave in near)
        with pytest.raises(AlreadyEnslaved, match="its line is open"):
            await master.reopen(near[2])


@virtual
async def test_an_error_of_the_connect_function_itself(four: list[Cable]) -> None:
    four[1].a.error = ZeroDivisionError("a mistake in it")
    near, _ = ends(four)
    async with Master(near) as master:  # the bond goes on with the others, as after any other error
        events = master.stats()
        assert [slave.up for slave in master.slaves] == [True, False, True, True]
        assert [line.up for line in events.lines] == [True, False, True, True]
        with pytest.raises(LineError, match="connect function raised ZeroDivisionError"):
            await master.reopen(near[1])
    assert all(slave.master is None for slave in near)


@virtual
async def test_opening_that_is_cancelled_leaves_nothing(four: list[Cable]) -> None:
    for hanging in range(4):
        four[hanging].a.open_time = 100
        near, _ = ends(four)
        opening = asyncio.create_task(Master(near).open())
        await asyncio.sleep(1)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert [cable.a.transport for cable in four] == [None] * 4
        assert all(slave.master is None and slave.connection is None for slave in near)
        four[hanging].a.open_time = 0


@virtual
async def test_closing_while_it_opens(four: list[Cable]) -> None:
    four[2].a.open_time = 3
    near, _ = ends(four)
    master = Master(near)
    opening = asyncio.create_task(master.open())
    await asyncio.sleep(1)
    await master.close()
    assert [cable.a.transport for cable in four] == [None] * 4
    with pytest.raises(BondClosed):
        await opening
    await asyncio.sleep(5)
    assert [cable.a.transport for cable in four] == [None] * 4


# -- enslave


@virtual
async def test_enslaving_twice_and_into_two_bonds(four: list[Cable]) -> None:
    slave = four[0].a.slave(name="line")
    async with Master([slave]) as one, Master([four[1].a.slave()]) as two:
        with pytest.raises(AlreadyEnslaved, match="line serves this bond already"):
            await one.enslave(slave)
        with pytest.raises(AlreadyEnslaved, match="line serves another bond already"):
            await two.enslave(slave)
        other = Master([four[2].a.slave(), slave])
        with pytest.raises(AlreadyEnslaved):
            await other.open()
        assert (slave.up, slave.master, four[2].a.transport) == (True, one, None)
        await one.emancipate(slave)
        assert await two.enslave(slave) is slave
        with pytest.raises(NotEnslaved):
            await one.emancipate(slave)
        with pytest.raises(NotEnslaved):
            await one.reopen(slave)
        with pytest.raises(NotEnslaved):
            one.set_rate(slave, 1000)
        assert (len(one.slaves), len(two.slaves)) == (0, 2)
        with pytest.raises(ConfigurationError, match="slave: a Slave"):
            await one.enslave("ttyUSB0")  # type: ignore[arg-type]


@virtual
async def test_what_cannot_be_enslaved_leaves_no_trace(four: list[Cable]) -> None:
    async with Master([four[0].a.slave()]) as master:
        before = master.slaves
        four[1].a.error = OSError(5, "odd")
        four[2].a.closes_at_once = True
        for slave, error in (
            (four[1].a.slave(), LineError),
            (four[2].a.slave(), LineError),
            (four[3].a.slave(mtu=500), ConfigurationError),
            (four[3].a.slave(framing=Slip(max_frame=100)), ConfigurationError),
        ):
            with pytest.raises(error):
                await master.enslave(slave)
            assert (slave.master, slave.connection, slave.up) == (None, None, False)
        assert master.slaves == before
        assert four[3].a.opened == 0


@pytest.mark.parametrize("moment", range(8))
@virtual
async def test_an_enslave_that_is_cancelled_leaves_no_trace(moment: int, cable: Cable) -> None:
    cable.a.open_time = 0.0 if moment else 10.0
    async with Master() as master:
        slave = cable.a.slave()
        task = asyncio.create_task(master.enslave(slave))
        for _ in range(moment):
            await asyncio.sleep(0)
        if task.done():
            return
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (master.slaves, slave.master, slave.connection) == ((), None, None)
        for _ in range(3):
            await asyncio.sleep(0)
        assert cable.a.transport is None
        cable.a.open_time = 0
        await master.enslave(slave)
        assert slave.up


@virtual
async def test_closing_while_a_line_is_enslaved(four: list[Cable]) -> None:
    four[1].a.open_time = 2
    async with Master([four[0].a.slave()]) as master:
        slave = four[1].a.slave()
        task = asyncio.create_task(master.enslave(slave))
        await asyncio.sleep(1)
        await master.close()
        with pytest.raises(BondClosed):
            await task
        assert (slave.master, slave.connection, four[1].a.transport) == (None, None, None)
    with pytest.raises(BondClosed):
        await master.enslave(slave)


@virtual
async def test_emancipating_while_a_line_is_reopened(four: list[Cable]) -> None:
    near, _ = ends(four)
    async with Master(near) as master:
        assert four[0].a.transport is not None
        four[0].a.transport.fail(None)
        await asyncio.sleep(0.1)
        four[0].a.open_time = 1
        reopening = asyncio.create_task(master.reopen(near[0]))
        await asyncio.sleep(0.5)
        with pytest.raises(AlreadyEnslaved):
            await master.reopen(near[0])
        await master.emancipate(near[0])
        with pytest.raises(LineError, match="while it was opened"):
            await reopening
        assert near[0].master is None
        assert four[0].a.transport is None


class HangsUp:
    """A port whose opening takes long, and as long to end: a modem hangs up."""

    def __init__(self, end: End, closing_time: float) -> None:
        self.end = end
        self.closing_time = closing_time
        self.busy = False
        self.tries = 0

    async def __call__(self, factory: Callable[[], asyncio.Protocol]) -> Any:
        if self.busy:
            raise DeviceBusy("line", "in use")
        self.tries += 1
        if self.tries > 1:
            return await self.end.connect(factory)
        self.busy = True
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.shield(asyncio.ensure_future(self.free()))

    async def free(self) -> None:
        await asyncio.sleep(self.closing_time)
        self.busy = False


@pytest.mark.parametrize("closing_time", [2.0, 9.0, 40.0])
@pytest.mark.parametrize("first", ["hang up", "cancel", "both at once"])
@virtual
async def test_an_opening_that_is_given_up_may_take_as_long_as_it_says(first: str, closing_time: float) -> None:
    cable = Cable()
    async with Master([slave := Slave(HangsUp(cable.a, closing_time))], open_lines=False) as master:
        opening = asyncio.create_task(master.reopen(slave))
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        for step in ("hang up", "cancel") if first == "hang up" else ("cancel", "hang up"):
            if step == "hang up":
                master.hang_up(slave)
            else:
                opening.cancel()
            await asyncio.sleep(0 if first == "both at once" else 0.5)
        await master.reopen(slave)
        assert slave.up
        assert 0 <= asyncio.get_running_loop().time() - began - closing_time < 0.1
        with pytest.raises((asyncio.CancelledError, LineError)):
            await opening


class ClosesLate:
    """As much of a serial port as closing looks at."""

    def __init__(self) -> None:
        self.out_waiting = 0
        self.is_open = True
        self.closed_at = 0.0

    def close(self) -> None:
        self.is_open = False
        self.closed_at = asyncio.get_running_loop().time()


@pytest.mark.parametrize("way", ["cancel", "hang up"])
@virtual
async def test_an_opening_that_ends_while_it_waits_leaves_the_port_to_wait_for(way: str, cable: Cable) -> None:
    async with Master([slave := cable.a.slave()]) as master:
        assert slave.connection is not None
        port = slave.connection._port = ClosesLate()
        master.hang_up(slave)
        asyncio.get_running_loop().call_later(0.7, port.close)
        await asyncio.sleep(0.1)
        openings = []
        for _ in range(3):
            openings.append(asyncio.create_task(master.reopen(slave)))
            await asyncio.sleep(0.1)
            openings[-1].cancel() if way == "cancel" else master.hang_up(slave)
            await asyncio.sleep(0)
        await master.reopen(slave)
        assert slave.up
        assert 0 < port.closed_at <= asyncio.get_running_loop().time()
        ends = await asyncio.gather(*openings, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError if way == "cancel" else LineError}


# -- emancipate


@virtual
async def test_emancipate_finishes_the_frame_and_gives_the_rest_to_the_others() -> None:
    lines = cables(2)
    near, far = ends(lines)
    near[0] = lines[0].a.slave(9600)
    async with Master(near) as a, Master(far) as b:
        await asyncio.sleep(0)
        for number in range(20):
            await a.send(number.to_bytes(4, "big") + bytes(1000))
        transport = lines[0].a.transport
        assert transport is not None
        await asyncio.sleep(0.1)  # in the middle of the frame
        sent = sum(size for _, size in transport.written)
        planned = a.stats().lines[0].planned_packets
        assert planned > 0
        assert 0 < sent < 1006
        await a.emancipate(near[0])
        took = asyncio.get_running_loop().time() - transport.written[0][0]
        assert sum(size for _, size in transport.written) in range(1006, 1012)  # this frame and no other
        assert took == pytest.approx(1006 / 960, abs=0.06)
        assert transport.closed_by == ["close"]
        assert [slave.master for slave in near] == [None, a]
        got = [int.from_bytes((await b.receive()).payload[:4], "big") for _ in range(20)]
        assert sorted(got) == list(range(20))


@virtual
async def test_emancipate_gives_up_on_a_line_that_takes_nothing(four: list[Cable]) -> None:
    near, _ = ends(four)
    async with Master(near) as a:
        four[0].a.held = True
        for _ in range(40):
            await a.send(bytes(1000))
        loop = asyncio.get_running_loop()
        transport = four[0].a.transport
        assert transport is not None
        started = loop.time()
        await a.emancipate(near[0], 0.7)
        assert loop.time() - started == pytest.approx(0.7, abs=0.05)
        assert transport.closed_by == ["abort"]


@pytest.mark.parametrize("moment", [0, 0.001, 0.1])
@virtual
async def test_an_emancipate_that_is_cancelled_or_asked_for_twice(moment: float, four: list[Cable]) -> None:
    near, far = ends(four)
    async with Master(near) as a, Master(far) as b:
        traffic = Traffic(a, b)
        await asyncio.sleep(1)
        four[0].a.held = True
        tasks = [asyncio.create_task(a.emancipate(near[0], 3)) for _ in range(2)]
        await asyncio.sleep(moment)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if near[0].master is not None:  # cancelled before it began
            await a.emancipate(near[0], 0.1)
        assert near[0].master is None
        await asyncio.sleep(0.1)
        assert four[0].a.transport is None
        four[0].a.held = False
        await a.enslave(near[0])
        await asyncio.sleep(1)
        missing = await traffic.stop()
        assert len(missing) <= 4  # what stood in the port that took nothing
        assert near[0].up


@virtual
async def test_enslaving_and_emancipating_under_traffic_loses_nothing() -> None:
    lines = cables(3, delay=0.005)
    near, far = ends(lines)
    async with Master(near[:2]) as a, Master(far) as b:
        traffic = Traffic(a, b)
        for n in range(60):
            await a.enslave(near[(n + 2) % 3])
            await asyncio.sleep(0.01 * (n % 7))
            await a.emancipate(near[n % 3])
            await asyncio.sleep(0.007 * (n % 5))
        assert await traffic.stop() == set()
        assert traffic.twice == 0
        assert traffic.sent > 200
        stats = a.stats()
        assert (stats.dropped, stats.queued_bytes) == ({}, 0)


@virtual
async def test_lines_lost_and_reopened_under_traffic() -> None:
    lines = cables(3)
    near, far = ends(lines)
    async with Master(near) as a, Master(far) as b:
        traffic = Traffic(a, b)
        for n in range(30):
            await asyncio.sleep(0.05 + 0.013 * (n % 5))
            transport = lines[n % 3].a.transport
            assert transport is not None
            transport.fail(OSError(5, "unplugged") if n % 2 else None)
            await asyncio.sleep(0.001 * (n % 4))
            await a.reopen(near[n % 3])
        # In memory bytes arrive at once: what stood in the port by the byte clock comes twice, and nothing is lost.
        assert await traffic.stop() == set()
        assert traffic.sent > 80
        assert a.stats().queued_bytes == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(5, "gone"), "[Errno 5] gone"),
        (RuntimeError("odd"), "odd"),
        (None, "the line was closed by the far side"),
    ],
)
@virtual
async def test_a_transport_that_is_lost(error: BaseException | None, reason: str, cable: Cable) -> None:
    master = Master([cable.a.slave()])
    events = master.events()
    async with master:
        for _ in range(30):
            await master.send(bytes(100))
        await asyncio.sleep(0.2)
        assert cable.a.transport is not None
        cable.a.transport.fail(error)
        while not isinstance(event := await anext(events), SlaveDown):
            pass
        assert (event.reason, event.error) == (reason, error)
        assert 0 < event.reclaimed == master.stats().lines[0].reclaimed <= master.stats().queued_packets
        assert not master.up


class Clumsy(Exception):
    pass


@pytest.mark.parametrize("method", ["write", "get_write_buffer_size"])
@virtual
async def test_a_transport_that_raises_takes_only_its_own_line_down(method: str) -> None:
    lines = cables(2)
    near, far = ends(lines)
    async with Master(near) as a, Master(far) as b:
        events = a.events()

        def fail(*_: object) -> int:
            raise Clumsy("in the transport")

        setattr(lines[0].a.transport, method, fail)
        for number in range(40):
            await a.send(b"%d" % number)
        got = {(await b.receive()).payload for _ in range(40)}
        assert got == {b"%d" % number for number in range(40)}
        assert [slave.up for slave in near] == [False, True]
        while not isinstance(event := await anext(events), SlaveDown):
            pass
        assert isinstance(event.error, Clumsy)


@virtual
async def test_a_transport_that_never_says_that_it_is_closed(cable: Cable) -> None:
    cable.a.deaf = True
    loop = asyncio.get_running_loop()
    async with Master([cable.a.slave()], close_timeout=0.5):
        started = loop.time()
    assert loop.time() - started < 3


# -- settings at run time


@virtual
async def test_settings_at_run_time(four: list[Cable]) -> None:
    near, far = ends(four[:2])
    async with Master(near) as a, Master(far) as b:
        traffic = Traffic(a, b)
        await asyncio.sleep(5)
        before = [line.bytes_sent for line in a.stats().lines]
        assert before[0] == pytest.approx(before[1], rel=0.05)
        a.set_rate(near[0], 14400)
        await asyncio.sleep(5)
        after = [line.bytes_sent for line in a.stats().lines]
        assert after[0] - before[0] == pytest.approx(5 * 1440, rel=0.05)
        assert after[1] - before[1] == pytest.approx(5 * 5760, rel=0.05)
        assert near[0].rate == 14400
        assert near[0].priority == 14400
        a.set_priority(near[0], 7)
        assert near[0].priority == 7
        a.set_priority(near[0], None)
        assert near[0].priority == 14400
        a.set_latency(near[0], 0.5)
        assert a.stats().lines[0].latency == 0.5
        for wrong in (0, -1, float("nan"), float("inf"), "fast", True):
            with pytest.raises(ConfigurationError, match="rate"):
                a.set_rate(near[0], wrong)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="priority"):
            a.set_priority(near[0], -1)
        with pytest.raises(ConfigurationError, match="latency"):
            a.set_latency(near[0], -1)
        a.set_rate(near[0], None)
        assert near[0].rate is None
        # A line in memory takes everything at once, so the traffic may not go on while there is no rate.
        a.set_rate(near[0], 57600)
        await asyncio.sleep(1)
        assert await traffic.stop() == set()


# -- schedulers of one's own


class Broken:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def place(self, packet: Any, lines: Any, now: float) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(lines) if callable(self.answer) else self.answer


@pytest.mark.parametrize(
    "answer",
    [
        ZeroDivisionError("oops"),
        None,
        42,
        "line",
        lambda lines: lines,
        lambda lines: Placement(None),  # type: ignore[arg-type]
        lambda lines: Placement(lines[0], 1e30),
        lambda lines: Placement(lines[0], float("nan")),
        lambda lines: Placement(lines[0], copies=(lines[0],)),
        lambda lines: Placement(lines[0], copies=None),  # type: ignore[arg-type]
    ],
)
@virtual
async def test_a_scheduler_that_breaks_the_contract(answer: Any, four: list[Cable]) -> None:
    near, far = ends(four)
    async with Master(near, scheduler=Broken(answer)) as a, Master(far) as b:
        events = a.events()
        for number in range(40):
            await a.send(b"%d" % number)
        got = {(await b.receive()).payload for _ in range(40)}
        assert got == {b"%d" % number for number in range(40)}
        failures = 0
        while a.stats().queued_bytes or events._events:
            event = await anext(events)
            failures += isinstance(event, SchedulerFailed)
        assert 1 <= failures <= 6  # told, and not for each packet


# -- what is given to the constructors


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("slaves", {"slaves": 5}),
        ("slaves", {"slaves": ["/dev/ttyUSB0"]}),
        ("slaves", {"slaves": Cable().a.slave()}),
        ("slaves", {"slaves": [Cable().a.slave()] * 2}),
        ("mtu", {"mtu": "1500"}),
        ("mtu", {"mtu": 0}),
        ("queue_bytes", {"queue_bytes": 10}),
        ("queue_time", {"queue_time": 0}),
        ("receive_bytes", {"receive_bytes": 10}),
        ("receive_bytes", {"receive_bytes": "many"}),
        ("on_packets", {"on_packets": 5}),
        ("scheduler", {"scheduler": 5}),
        ("close_timeout", {"close_timeout": -1}),
        ("close_timeout", {"close_timeout": "long"}),
        ("close_timeout", {"close_timeout": float("inf")}),
    ],
)
def test_wrong_options_of_a_master(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Master(**options)
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("connect", {"connect": 5}),
        ("rate", {"rate": 0}),
        ("rate", {"rate": "fast"}),
        ("bits_per_byte", {"bits_per_byte": 0}),
        ("latency", {"latency": -1}),
        ("priority", {"priority": -1}),
        ("mtu", {"mtu": 0}),
        ("framing", {"framing": 5}),
        ("framing", {"framing": Slip}),
    ],
)
def test_wrong_options_of_a_slave(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Slave(**{"connect": Cable().a.connect, **options})
    assert raised.value.field == field


@virtual
async def test_an_empty_bond_gets_its_first_line_later(cable: Cable) -> None:
    async with Master() as a, Master([cable.b.slave()]) as b:
        assert (a.up, a.slaves) == (False, ())
        await a.send(b"waits")
        events = a.events()
        slave = await a.enslave(cable.a.slave())
        assert (await b.receive()).payload == b"waits"
        assert [type(await anext(events)).__name__ for _ in range(3)] == ["Enslaved", "SlaveUp", "BondUp"]
        assert isinstance(slave, Slave)
        assert repr(a) == "<Master 1 of 1 up>"
    assert repr(a) == "<Master closed>"
    assert repr(Master()) == "<Master not open>"
