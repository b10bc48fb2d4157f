"""Modems under supervision: a call is awaited in the background, made again when it ends, and given up when told."""

from __future__ import annotations

import asyncio
from typing import Any

from eqlbond import GaveUp, Master, Retrying, Slave, SlaveDown
from eqlbond.modem import AnsweringModem, Busy, Modem
from eqlbond.modem.testing import Exchange, FakeModem
from eqlbond.supervise import Redial, Supervisor
from tests.aio.memory import virtual
from tests.supervise.test_supervisor import Recorder, until

MANNERS: dict[str, Any] = {"guard_time": 0.05, "command_timeout": 2.0}


def modem_slave(line: FakeModem, modem: Any, name: str) -> Slave:
    return Slave(modem.connect(line.connect, name), rate=33600, name=name)


@virtual
async def test_a_call_is_awaited_and_made_again() -> None:
    exchange = Exchange()
    here, there = FakeModem(exchange, "100", guard_time=0.05), FakeModem(exchange, "200", guard_time=0.05)
    caller = modem_slave(here, Modem(dial="200", **MANNERS), "caller")
    answerer = modem_slave(there, AnsweringModem(**MANNERS), "answerer")
    near, far = Master(open_lines=False), Master(open_lines=False)
    async with far, Supervisor(far, Redial(holdoff=1)) as waiting, near, Supervisor(near, Redial(holdoff=1)) as calling:
        await waiting.enslave(answerer)
        await asyncio.sleep(3600)
        assert waiting.state(answerer) == "opening"
        await calling.enslave(caller)
        await near.wait_open(60)
        await near.send(b"first call")
        assert (await far.receive()).payload == b"first call"
        await near.drain()
        near.hang_up(caller)
        await until(lambda: not near.up and not far.up, 60)
        await near.wait_open(120)
        await near.send(b"second call")
        async with asyncio.timeout(60):
            assert (await far.receive()).payload == b"second call"


@virtual
async def test_an_engaged_number_is_dialled_more_and_more_rarely() -> None:
    exchange = Exchange({"200": "BUSY"})
    slave = modem_slave(FakeModem(exchange, "100", guard_time=0.05), Modem(dial="200", **MANNERS), "caller")
    async with Master(open_lines=False) as master:
        redial = Redial(holdoff=5, max_holdoff=60, jitter=0, maxfail=6)
        async with Supervisor(master, redial) as supervisor:
            recorder = Recorder(master)
            await supervisor.enslave(slave)
            await until(lambda: recorder.of(GaveUp))
            retries = recorder.of(Retrying)
            assert [retry.delay for retry in retries] == [5, 10, 20, 40, 60]
            assert {type(retry.error) for retry in retries} == {Busy}
            assert not recorder.of(SlaveDown)
            await recorder.stop()
