"""Hundreds of slaves come and go under traffic: nothing is lost but what a line had taken, and nothing is left."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

import pytest

from eqlbond import Master
from eqlbond.supervise import Redial, Supervisor
from tests.aio.memory import cables, virtual
from tests.aio.test_slaves import Traffic
from tests.examples import examples

CYCLES = examples(200)


def ours() -> int:
    """Bytes that the library has allocated and holds; the tests keep accounts of their own."""
    gc.collect()
    snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/eqlbond/*")])
    return sum(statistic.size for statistic in snapshot.statistics("filename"))


@pytest.mark.examples
@virtual
async def test_hundreds_of_cycles_in_memory() -> None:
    stays, comes = cables(2)
    async with (
        Master([stays.b.slave(), comes.b.slave()]) as far,
        Master([stays.a.slave()]) as near,
        Supervisor(near, Redial(holdoff=0.1)) as supervisor,
    ):
        traffic = Traffic(near, far, 200)
        baseline = 0
        for cycle in range(CYCLES):
            slave = await supervisor.enslave(comes.a.slave())
            await asyncio.sleep(0.02 + cycle % 7 * 0.01)
            await near.emancipate(slave)
            comes.a.transports.clear()
            if cycle == CYCLES - 150:
                tracemalloc.start()
            if cycle == CYCLES - 125:
                baseline = ours()
        assert comes.a.opened == CYCLES
        missing = await traffic.stop()
        assert not missing
        assert traffic.twice == 0
        grown = ours() - baseline
        tracemalloc.stop()
        print("bytes:", baseline, grown)
        assert grown < 125 * 125
        assert len(near.slaves) == 1
