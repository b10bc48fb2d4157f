"""kill -9 of what holds a slave's far end, and its return: real processes, real ptys. Times include their start."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eqlbond import Master, Retrying, SerialSlave, SlaveDown, SlaveUp, Slip
from eqlbond.aio.ptywire import PtyWire
from eqlbond.core.line_model import LineSpec
from eqlbond.supervise import Redial, Supervisor

pytestmark = [
    pytest.mark.interop,  # real processes that die and return in real time
    pytest.mark.skipif(sys.platform != "linux", reason="ptys as Linux has them"),
]

# Holds the far side of a pty and sends back what it reads; the device's name is a link to it.
HOLDER = """
import os, sys, tty
master, slave = os.openpty()
tty.setraw(slave)
name = sys.argv[1] + ".new"
os.symlink(os.ttyname(slave), name)
os.rename(name, sys.argv[1])
print("ready", flush=True)
while True:
    os.write(master, os.read(master, 4096))
"""
# A bond of its own at the far end of a line, which sends back what it receives.
PEER = """
import asyncio, sys
from eqlbond import Master, SerialSlave, Slip
async def main():
    async with Master([SerialSlave(sys.argv[1], 115200, framing=Slip(outfill=0.2))]) as master:
        print("ready", flush=True)
        async for packet in master:
            await master.send(packet.payload)
asyncio.run(main())
"""


class FarEnd:
    """A process that can be killed and started again."""

    def __init__(self, program: str, device: str) -> None:
        self._command = [sys.executable, "-c", program, device]
        self.start()

    def start(self) -> float:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        return time.monotonic()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def far_end() -> Iterator[Callable[[str, str], FarEnd]]:
    started: list[FarEnd] = []

    def start(program: str, device: str) -> FarEnd:
        started.append(FarEnd(program, device))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.kill()


async def event(events: Any, kind: type[Any], patience: float = 30.0) -> Any:
    async with asyncio.timeout(patience):
        while not isinstance(found := await anext(events), kind):
            pass
    return found


async def round_trip(master: Master, payload: bytes) -> None:
    async with asyncio.timeout(10):
        await master.send(payload)
        assert (await master.receive()).payload == payload
        await master.drain()  # what has not left by the byte clock is sent again when the line is cut


async def both_carry(master: Master) -> None:
    """A burst that the far ends send back goes and comes by each of the lines."""
    before = master.stats().lines
    payloads = [b"\x45" + bytes([number]) * 500 for number in range(20)]
    async with asyncio.timeout(20):
        for payload in payloads:
            await master.send(payload)
        got = [(await master.receive()).payload for _ in payloads]
        await master.drain()
    assert sorted(got) == payloads
    for line, was in zip(master.stats().lines, before, strict=True):
        assert line.packets_received > was.packets_received, line.name


async def test_the_holder_of_a_pty_is_killed_and_comes_back(
    tmp_path: Path, far_end: Callable[[str, str], FarEnd]
) -> None:
    holdoff = 1.0
    device = str(tmp_path / "line")
    far = far_end(HOLDER, device)
    async with Master([slave := SerialSlave(device)]) as master, Supervisor(master, Redial(holdoff=holdoff)):
        await round_trip(master, b"before")
        for silence in (0.0, 3.0):
            events = master.events()
            far.kill()
            killed = time.monotonic()
            os.unlink(device)  # as udev does; the pty's number may be another's soon
            down = await event(events, SlaveDown)
            assert time.monotonic() - killed < 2.0
            assert down.slave is slave
            assert (await event(events, Retrying)).delay <= holdoff + 1
            await asyncio.sleep(silence)
            returned = await asyncio.to_thread(far.start)
            await event(events, SlaveUp)
            took = time.monotonic() - returned
            print(f"back {took:.2f} s after the return")
            assert took <= holdoff + 2.0
            await round_trip(master, b"after")
        assert len(os.listdir("/proc/self/fd")) < 60


async def test_a_peer_that_is_killed_behind_a_line_that_stays(far_end: Callable[[str, str], FarEnd]) -> None:
    """A cable tells nothing: SLIP's keepalive notices, and the line is used again when the peer is back."""
    holdoff = 0.5
    async with PtyWire([LineSpec(rate=115200.0)]) as wire:
        far = await asyncio.to_thread(far_end, PEER, wire.lines[0].b)
        slave = SerialSlave(wire.lines[0].a, 115200, framing=Slip(keepalive=1.0))
        async with Master([slave]) as master, Supervisor(master, Redial(holdoff=holdoff)):
            await round_trip(master, b"before")
            events = master.events()
            far.kill()
            down = await event(events, SlaveDown)
            assert down.reason == "nothing was received for 1 s"
            await asyncio.to_thread(far.start)
            returned = time.monotonic()
            while True:
                try:
                    async with asyncio.timeout(0.2):
                        await master.send(b"after")
                        assert (await master.receive()).payload == b"after"
                        break
                except TimeoutError:
                    assert time.monotonic() - returned <= holdoff + 2.0


async def test_two_lines_that_are_dead_for_a_minute(tmp_path: Path, far_end: Callable[[str, str], FarEnd]) -> None:
    """One loses its device, of the other only the peer dies. The bond is down, stays, and comes back by itself."""
    holdoff = 1.0
    device = str(tmp_path / "line")
    async with PtyWire([LineSpec(rate=115200.0)]) as wire:
        far = [
            await asyncio.to_thread(far_end, HOLDER, device),
            await asyncio.to_thread(far_end, PEER, wire.lines[0].b),
        ]
        slaves = [
            SerialSlave(device, 115200, name="pulled out"),
            SerialSlave(wire.lines[0].a, 115200, framing=Slip(keepalive=1.0), name="left alone"),
        ]
        async with Master(slaves) as master, Supervisor(master, Redial(holdoff=holdoff)):
            await both_carry(master)
            for each in far:
                each.kill()
            os.unlink(device)
            async with asyncio.timeout(10):
                while any(slave.up for slave in slaves):
                    await asyncio.sleep(0.05)
            await master.send(b"while all were dead")
            await asyncio.sleep(60.0)
            assert not master.up
            for slave, each in zip(slaves, far, strict=True):
                returned = await asyncio.to_thread(each.start)
                while not slave.up:
                    assert time.monotonic() - returned <= holdoff + 2.0, slave.name
                    await asyncio.sleep(0.02)
                print(f"{slave.name}: back {time.monotonic() - returned:.2f} s after the return")
            async with asyncio.timeout(10):
                assert (await master.receive()).payload == b"while all were dead"
            await both_carry(master)
