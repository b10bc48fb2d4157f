"""Two bonds, two modems on ptys, and an exchange: from dialling to packets, and again after a hang-up."""

from __future__ import annotations

import asyncio
import functools
import random
from typing import Any

import pytest

from eqlbond import DeviceBusy, LineError, Master, SerialSlave
from eqlbond.lock import LockHeld, UucpLock
from eqlbond.modem import (
    AnsweringModem,
    Busy,
    DialTimeout,
    HungUp,
    Login,
    LoginPrompt,
    Modem,
    ModemSilent,
    NoCarrier,
    ScriptTimeout,
    Transcript,
)
from eqlbond.modem.report import _FAILURES
from eqlbond.modem.testing import Exchange, FakeHost, FakeModem
from tests.aio.memory import drive
from tests.modem.test_calls import RESULTS

pytestmark = pytest.mark.interop  # real ptys and guard times for seconds; test_calls has all this in memory

MANNERS: dict[str, Any] = {"guard_time": 0.05, "command_timeout": 2.0}
# Words of results are in it, but a result is a whole line.
NOISE = b"\x00\x7f~\xff}#\x11 \xe9\r\n{CONNECTED? NO CARRIER BUSY\r\x8d\xc0"


class NoisyModem(FakeModem):
    """Line noise before and behind everything that it says."""

    def _say(self, result):
        self.send(NOISE)
        super()._say(result)
        self.send(NOISE)


class PlayedModem(FakeModem):
    """Its computer is the test."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.heard = b""

    def send(self, data):
        self.heard += data


def real(test):
    @functools.wraps(test)
    def run(*arguments, **options):
        drive(lambda: test(*arguments, **options), asyncio.new_event_loop)

    return run


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def packets(seed, count=8):
    rng = random.Random(seed)
    return [bytes([0x45]) + rng.randbytes(rng.randrange(20, 450)) for _ in range(count)]


async def exchange_packets(one, two):
    there, back = packets(1), packets(2)

    async def send(master, payloads):
        for payload in payloads:
            await master.send(payload)

    async def receive(master, count):
        return [(await master.receive()).payload for _ in range(count)]

    async with asyncio.timeout(20):
        _, _, got_two, got_one = await asyncio.gather(
            send(one, there), send(two, back), receive(two, len(there)), receive(one, len(back))
        )
    assert got_two == there
    assert got_one == back


@real
async def test_a_call_carries_packets_both_ways_and_is_made_again(tmp_path):
    exchange = Exchange(ring=0.05)
    seen = Transcript()
    async with (
        FakeModem(exchange, "100", guard_time=0.05) as here,
        FakeModem(exchange, "200", guard_time=0.05) as there,
    ):
        caller = SerialSlave(
            here.path,
            115200,
            lock=tmp_path,
            modem=Modem(dial="200", login=Login("Pname", "hunter2"), transcript=seen, **MANNERS),
        )
        answerer = SerialSlave(
            there.path,
            115200,
            lock=tmp_path,
            modem=AnsweringModem(rings=2, login=LoginPrompt({"Pname": "hunter2"}), **MANNERS),
        )
        one, two = Master([caller]), Master([answerer])
        await asyncio.gather(one.open(), two.open())
        assert (caller.rate, caller.member.line.bits_per_byte) == (33600, 8)
        assert len(list(tmp_path.iterdir())) == 4  # two names each
        with pytest.raises(LockHeld):
            UucpLock(here.path, tmp_path).acquire()
        await exchange_packets(one, two)

        there.drop_call()
        async with asyncio.timeout(10):
            while caller.up or answerer.up:
                await asyncio.sleep(0.05)
        await one.send(b"\x45 while nobody is there")
        await asyncio.gather(one.reopen(caller), two.reopen(answerer))
        assert (await two.receive()).payload == b"\x45 while nobody is there"
        await exchange_packets(one, two)

        await one.close()
        assert here.state == "command"
        async with asyncio.timeout(10):
            while answerer.up:
                await asyncio.sleep(0.05)
        await two.close()
        assert exchange.calls == [("100", "200")] * 2
        assert list(tmp_path.iterdir()) == []
    assert "CONNECT 33600/ARQ" in str(seen)
    assert "hunter2" not in str(seen)


def test_the_results_below_are_all_that_a_call_can_fail_with():
    assert set(RESULTS) == set(_FAILURES)


@pytest.mark.parametrize("kind", [FakeModem, NoisyModem])
@pytest.mark.parametrize("result", RESULTS)
@real
async def test_each_result_has_its_exception(tmp_path, result, kind):
    async with kind(Exchange({"1": result}), "100", guard_time=0.05) as line:
        slave = SerialSlave(line.path, lock=tmp_path, modem=Modem(dial="1", **MANNERS))
        with pytest.raises(LineError) as raised:
            await Master([slave]).open()
        assert type(raised.value) is RESULTS[result]
        assert raised.value.result == result
        assert raised.value.device == line.path
        assert line.exchange.calls == [("100", "1")]
        assert line.state == "command"
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [FakeModem, NoisyModem])
@real
async def test_a_call_that_nothing_is_said_about(tmp_path, kind):
    async with kind(Exchange({"1": None}), "100", guard_time=0.05) as line:
        slave = SerialSlave(line.path, lock=tmp_path, modem=Modem(dial="1", dial_timeout=0.2, **MANNERS))
        with pytest.raises(DialTimeout, match=r"within 0\.2 s"):
            await Master([slave]).open()
        await until(lambda: line.state == "command")
        assert line.exchange.calls == [("100", "1")]
        assert list(tmp_path.iterdir()) == []


@real
async def test_a_login_through_garbage(tmp_path):
    host = FakeHost("Pname", "hunter2", ready="SLIP starts", garbage=NOISE * 100 + bytes(range(256)))
    async with NoisyModem(Exchange(hosts={"1": host}), "100", guard_time=0.05) as line:
        modem = Modem(dial="1", login=Login("Pname", "hunter2", ready="SLIP starts"), **MANNERS)
        slave = SerialSlave(line.path, 115200, modem=modem)
        async with Master([slave]) as master:
            assert host.asked == ["Pname", "hunter2"]
            assert (slave.rate, slave.member.line.bits_per_byte) == (33600, 8)
            await master.send(b"\x45 packet")  # the host sends it back
            async with asyncio.timeout(10):
                assert (await master.receive()).payload == b"\x45 packet"
        assert line.state == "command"


@pytest.mark.parametrize(
    ("host", "error", "expected"),
    [
        (FakeHost(hang_up_at="login"), NoCarrier, "'ogin'"),
        (FakeHost(hang_up_at="password"), NoCarrier, "'assword'"),
        (FakeHost(ready="a line that is not the one"), ScriptTimeout, "'welcome'"),
    ],
)
@real
async def test_a_login_that_ends_half_way(tmp_path, host, error, expected):
    async with FakeModem(Exchange(hosts={"1": host}), "100", guard_time=0.05) as line:
        modem = Modem(dial="1", login=Login("Pname", "password", ready="welcome", timeout=0.5), **MANNERS)
        with pytest.raises(error, match=expected) as raised:
            await Master([SerialSlave(line.path, lock=tmp_path, modem=modem)]).open()
        assert type(raised.value) is error
        assert line.state == "command"
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("end", "error"), [("drop_call", NoCarrier), ("unplug", HungUp)])
@real
async def test_hung_up_while_the_host_keeps_the_caller_waiting(tmp_path, end, error):
    """The password is sent, and what would say that packets may flow never comes: the carrier goes, or the modem."""
    host = FakeHost()
    async with FakeModem(Exchange(hosts={"1": host}), "100", guard_time=0.05) as line:
        modem = Modem(dial="1", login=Login("Pname", "password", ready="welcome"), **MANNERS)
        opening = asyncio.ensure_future(Master([SerialSlave(line.path, lock=tmp_path, modem=modem)]).open())
        await until(lambda: host.stage == "open")
        getattr(line, end)()
        with pytest.raises(error) as raised:
            await asyncio.wait_for(opening, 10)
        assert type(raised.value) is error
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("said", [[], [b"Pname\r"]], ids=["before the name", "before the password"])
@real
async def test_a_caller_hangs_up_half_way(tmp_path, said):
    exchange = Exchange(ring=0.05)
    caller = PlayedModem(exchange, "100")
    async with FakeModem(exchange, "200", guard_time=0.05) as line:
        modem = AnsweringModem(login=LoginPrompt({"Pname": "hunter2"}), **MANNERS)
        opening = asyncio.ensure_future(Master([SerialSlave(line.path, lock=tmp_path, modem=modem)]).open())
        await until(lambda: len(line.commands) >= 3)  # AT, ATZ and the settings
        caller.receive(b"ATD200\r")
        await until(lambda: b"login: " in caller.heard)
        for answer in said:
            caller.receive(answer)
            await until(lambda: b"Password: " in caller.heard)
        caller.drop_call()
        with pytest.raises(NoCarrier, match="hung up before the " + ("password" if said else "name")):
            await asyncio.wait_for(opening, 10)
        assert line.state == "command"
        assert list(tmp_path.iterdir()) == []


@real
async def test_failed_calls_leave_port_and_lock_free(tmp_path):
    exchange = Exchange({"1": "BUSY"})
    async with FakeModem(exchange, "100") as line:
        slave = SerialSlave(line.path, lock=tmp_path, modem=Modem(dial="1", **MANNERS))
        for _ in range(3):
            with pytest.raises(Busy):
                await Master([slave]).open()
            assert list(tmp_path.iterdir()) == []
        line.silent = True
        slave = SerialSlave(line.path, lock=tmp_path, modem=Modem(dial="1", guard_time=0.05, command_timeout=0.1))
        with pytest.raises(ModemSilent):
            await Master([slave]).open()
        with UucpLock(line.path, tmp_path), pytest.raises(DeviceBusy, match="this process"):
            await Master([slave]).open()
        assert list(tmp_path.iterdir()) == []


@real
async def test_a_modem_that_is_pulled_out_in_the_middle(tmp_path):
    async with FakeModem(Exchange({"1": None}), "100") as line:
        task = asyncio.ensure_future(
            Master([SerialSlave(line.path, lock=tmp_path, modem=Modem(dial="1", **MANNERS))]).open()
        )
        async with asyncio.timeout(5):
            while line.state != "dialling":
                await asyncio.sleep(0.01)
        line.unplug()
        with pytest.raises(HungUp):
            await asyncio.wait_for(task, 5)
        assert list(tmp_path.iterdir()) == []


@real
async def test_a_port_that_cannot_be_opened_is_not_left_locked(tmp_path):
    slave = SerialSlave("/dev/no-such-tty", lock=tmp_path, modem=Modem(dial="1"))
    with pytest.raises(LineError):
        await Master([slave]).open()
    assert list(tmp_path.iterdir()) == []
