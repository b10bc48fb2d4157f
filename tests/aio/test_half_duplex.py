"""Half-duplex lines through the asyncio shell: two bonds take turns on a line in memory."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest

from eqlbond import ConfigurationError, HalfDuplex, Master, SerialSlave, Slave
from tests.aio.memory import Cable, virtual

RATE = 9600
TURNS = HalfDuplex(turnaround=0.1, burst=1.0, slot=0.05)


@virtual
async def test_two_masters_take_turns(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = itertools.count()
    monkeypatch.setattr("random.SystemRandom", lambda: random.Random(next(seeds)))  # lots that are the same every time
    near = Master([cable.a.slave(RATE, half_duplex=TURNS)], mtu=200)
    far = Master([cable.b.slave(RATE, half_duplex=TURNS)], mtu=200)
    async with near, far:

        async def send(master: Master) -> None:
            for number in range(60):
                await master.send(bytes((number,)) * 200)

        async def receive(master: Master) -> list[int]:
            return [(await master.receive()).payload[0] for _ in range(60)]

        _, _, there, back = await asyncio.gather(send(near), send(far), receive(far), receive(near))
        assert there == back == list(range(60))
    spans = [
        [(when, when + size * 10 / RATE) for when, size in end.transports[0].written] for end in (cable.a, cable.b)
    ]
    together = sum(max(0.0, min(e, f) - max(s, t)) for s, e in spans[0] for t, f in spans[1])
    talked = sum(e - s for one in spans for s, e in one)
    assert talked == pytest.approx(2 * 60 * 202 * 10 / RATE, rel=0.05)
    assert together < 0.05 * talked  # at first they may begin together


def test_what_cannot_be_is_named(cable: Cable) -> None:
    with pytest.raises(ConfigurationError, match=r"^half_duplex: needs the line's rate"):
        Slave(cable.a.connect, half_duplex=HalfDuplex())
    with pytest.raises(ConfigurationError, match=r"^half_duplex: a HalfDuplex"):
        SerialSlave("/dev/ttyS0", half_duplex=True)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"^half_duplex: needs the line's rate"):
        SerialSlave("/dev/ttyS0", rate=None, half_duplex=HalfDuplex())


def test_a_serial_slave_takes_the_option() -> None:
    slave = SerialSlave("/dev/ttyS0", baudrate=9600, rate=1200, half_duplex=TURNS)
    assert slave.member.takes_turns
    assert not SerialSlave("/dev/ttyS0").member.takes_turns


@virtual
async def test_the_rate_cannot_be_taken_away(cable: Cable) -> None:
    slave = cable.a.slave(RATE, half_duplex=TURNS)
    async with Master([slave]) as master:
        with pytest.raises(ConfigurationError, match=r"^half_duplex: "):
            master.set_rate(slave, None)
        assert slave.rate == RATE
