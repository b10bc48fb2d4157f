"""A line that the far end emancipates, and takes in again."""

from __future__ import annotations

import asyncio

from eqlbond import Master, Multilink, Ppp
from eqlbond.supervise import Redial, Supervisor
from tests.aio.memory import Cable, cables, virtual


async def _leave_and_return(multilink: Multilink | None, lines: list[Cable]) -> None:
    async with (
        Master([cable.a.slave(framing=Ppp()) for cable in lines], multilink=multilink) as here,
        Master(open_lines=False, multilink=multilink) as there,
        Supervisor(there, Redial(holdoff=0.5)) as supervisor,
    ):
        for cable in lines:
            await supervisor.enslave(cable.b.slave(framing=Ppp()))
        async with asyncio.timeout(10):
            while not all(slave.up for slave in (*here.slaves, *there.slaves)):
                await asyncio.sleep(0.1)
        await here.emancipate(here.slaves[0])
        await asyncio.sleep(20)
        left = there.slaves[0]
        assert (left.up, there.slaves[1].up) == (False, True)
        assert left.connection is not None  # opened again, and waiting for an answer
        assert lines[0].b.opened >= 2
        await here.enslave(lines[0].a.slave(framing=Ppp()))
        async with asyncio.timeout(60):
            while not (left.up and here.slaves[1].up):
                await asyncio.sleep(0.1)


def test_plain_ppp() -> None:
    virtual(_leave_and_return)(None, cables(2))


def test_multilink() -> None:
    virtual(_leave_and_return)(Multilink(), cables(2))
