"""A thousand slaves come and go under traffic, on real ptys: heavy, so it runs beside the tests with real peers."""

from __future__ import annotations

import asyncio
import gc
import os
import resource

import pytest

from eqlbond import Master, SerialSlave
from eqlbond.aio.ptywire import PtyWire
from eqlbond.core.line_model import LineSpec
from eqlbond.supervise import Redial, Supervisor
from tests.aio.test_slaves import Traffic


@pytest.mark.interop
async def test_a_thousand_cycles_on_ptys() -> None:
    """Real ptys: descriptors, tasks and memory, too."""
    async with PtyWire([LineSpec(rate=None), LineSpec(rate=None)]) as wire:
        stays, comes = wire.lines
        async with (
            Master([SerialSlave(stays.b, rate=None), SerialSlave(comes.b, rate=None)]) as far,
            Master([SerialSlave(stays.a, rate=115200)]) as near,
            Supervisor(near, Redial(holdoff=0.1)) as supervisor,
        ):
            traffic = Traffic(near, far, 200)
            counts = {}
            for cycle in range(1000):
                slave = await supervisor.enslave(SerialSlave(comes.a, rate=115200))
                async with asyncio.timeout(30):
                    while not slave.up:
                        await asyncio.sleep(0.001)
                await asyncio.sleep(0.02)
                await near.emancipate(slave)
                if cycle in (100, 999):
                    gc.collect()
                    counts[cycle] = (
                        len(os.listdir("/proc/self/fd")),
                        len(asyncio.all_tasks()),
                        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                    )
            missing = await traffic.stop()
            assert not missing
            print("descriptors, tasks, kilobytes after 101 and 1000 cycles:", counts[100], counts[999])
            assert counts[999][0] <= counts[100][0]
            assert counts[999][1] <= counts[100][1]
            assert counts[999][2] - counts[100][2] < 8192 + traffic.sent // 8
