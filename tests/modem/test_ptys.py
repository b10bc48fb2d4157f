"""Two bonds, two modems on ptys, and an exchange: from dialling to packets, and again after a hang-up."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from eqlbond import DeviceBusy, LineError, Master, SerialSlave
from eqlbond.lock import LockHeld, UucpLock
from eqlbond.modem import AnsweringModem, Busy, HungUp, Login, LoginPrompt, Modem, ModemSilent, Transcript
from eqlbond.modem.testing import Exchange, FakeModem
from tests.aio.memory import drive

MANNERS: dict[str, Any] = {"guard_time": 0.05, "command_timeout": 2.0}


def real(test):
    def run(tmp_path):
        drive(lambda: test(tmp_path), asyncio.new_event_loop)

    run.__name__ = test.__name__
    return run


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
