"""Everything that can happen to a bond, in any order, under traffic: nothing breaks, sticks or goes missing."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest

from eqlbond import AlreadyEnslaved, Eql, LineError, Master, NotEnslaved, RoundRobin, Slave
from tests.aio.memory import Cable, cables, virtual
from tests.examples import examples

SEEDS = range(min(examples(5), 12))  # in each of these, packets enough are sent


class Story:
    """Random deeds on the near end of a bond of up to five lines."""

    def __init__(self, seed: int, *, stuck: bool, scheduler: Any) -> None:
        self.rng = random.Random(seed)
        self.stuck = stuck
        self.lines = cables(5, delay=self.rng.choice([0.0, 0.003]))
        rates = [self.rng.choice([9600.0, 28800.0, 57600.0, 115200.0]) for _ in self.lines]
        self.near = [
            cable.a.slave(rate, name=f"a{n}") for n, (cable, rate) in enumerate(zip(self.lines, rates, strict=True))
        ]
        far = [cable.b.slave(115200) for cable in self.lines]
        self.got: set[int] = set()
        self.sent = 0
        self.master = Master(self.near[:2], scheduler=scheduler)
        self.far = Master(far, on_packets=lambda ps: self.got.update(int.from_bytes(p.payload[:4], "big") for p in ps))
        self.pending: list[asyncio.Task[Any]] = []

    async def send(self) -> None:
        while True:
            size = self.rng.choice([40, 500, 1500])
            priority = int(self.rng.random() < 0.05)
            flow = self.rng.choice([None, None, "a", "b"])
            await self.master.send(self.sent.to_bytes(4, "big") + bytes(size - 4), priority=priority, flow=flow)
            self.sent += 1
            if self.rng.random() < 0.02:
                await asyncio.sleep(self.rng.random() * 0.3)

    async def quietly(self, deed: Any) -> None:
        # What is refused because another deed came first is as it should be.
        with contextlib.suppress(AlreadyEnslaved, NotEnslaved, LineError):
            await deed

    def pick(self) -> tuple[Cable, Slave]:
        number = self.rng.randrange(len(self.near))
        return self.lines[number], self.near[number]

    async def act(self) -> None:
        cable, slave = self.pick()
        match self.rng.choice(
            ["enslave", "emancipate", "reopen", "fail", "cancel", "rate", "slow", "hold", "priority"]
        ):
            case "enslave":
                self.later(self.master.enslave(slave))
            case "emancipate":
                if len(self.master.slaves) > 1:
                    self.later(self.master.emancipate(slave, self.rng.choice([0, 0.05, 2])))
            case "reopen":
                self.later(self.master.reopen(slave))
            case "fail":
                if cable.a.transport is not None:
                    cable.a.transport.fail(self.rng.choice([None, OSError(5, "unplugged")]))
            case "cancel":
                if self.pending:
                    self.rng.choice(self.pending).cancel()
            case "rate":
                with contextlib.suppress(NotEnslaved):
                    self.master.set_rate(
                        slave, self.rng.choice([9600, 57600, 230400, None] if self.stuck else [9600, 57600])
                    )
            case "slow":
                cable.a.open_time = self.rng.choice([0, 0, 0.2])
            case "hold":
                cable.a.held = self.stuck and not cable.a.held
                if not cable.a.held and cable.a.transport is not None:
                    cable.a.transport.take()
            case "priority":
                with contextlib.suppress(NotEnslaved):
                    self.master.set_latency(slave, self.rng.choice([0, 0.5]))

    def later(self, deed: Any) -> None:
        self.pending = [task for task in self.pending if not task.done()]
        self.pending.append(asyncio.create_task(self.quietly(deed)))

    async def tell(self, deeds: int) -> None:
        async with self.far, self.master:
            sending = asyncio.create_task(self.send())
            for _ in range(deeds):
                await self.act()
                await asyncio.sleep(self.rng.choice([0, 0, 0.001, 0.03, 0.3]))
            await asyncio.gather(*self.pending, return_exceptions=True)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            assert sending.cancelled(), sending
            # All is well again: everything is sent, by whatever lines there are.
            for cable, slave in zip(self.lines, self.near, strict=True):
                cable.a.held = False
                cable.a.open_time = 0
                if cable.a.transport is not None:
                    cable.a.transport.take()
                if slave.master is None:
                    await self.master.enslave(slave)
                elif not slave.up:
                    await self.master.reopen(slave)
                self.master.set_rate(slave, 115200)
            await asyncio.wait_for(self.master.drain(), 300)
            await asyncio.sleep(1)
            stats = self.master.stats()
            assert (stats.queued_bytes, stats.queued_packets, dict(stats.dropped)) == (0, 0, {})
            assert all(line.up and not line.planned_packets and not line.planned_bytes for line in stats.lines)
            assert not self.master._bundle._sender._flows
            assert self.sent > 20
        missing = set(range(self.sent)) - self.got
        if not self.stuck:
            assert missing == set()
        assert [cable.a.transport for cable in self.lines] == [None] * 5


@pytest.mark.examples
@pytest.mark.parametrize("seed", SEEDS)
@virtual
async def test_nothing_is_lost(seed: int) -> None:
    await Story(seed, stuck=False, scheduler=[None, Eql(), RoundRobin()][seed % 3]).tell(80)


@pytest.mark.examples
@pytest.mark.parametrize("seed", SEEDS)
@virtual
async def test_with_ports_that_stick(seed: int) -> None:
    await Story(1000 + seed, stuck=True, scheduler=[None, Eql(), RoundRobin()][seed % 3]).tell(80)
