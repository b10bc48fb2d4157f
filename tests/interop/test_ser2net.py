"""Slaves behind Debian's ser2net: RFC 2217 and raw TCP, between us and a pty. Configured as its page shows."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import re
import shutil
import socket
import subprocess
import termios
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eqlbond import Master, NetworkSlave, SerialSlave, Slave, SlaveDown
from eqlbond.aio.ptywire import PtyWire
from eqlbond.config import Config
from eqlbond.core.line_model import LineSpec
from eqlbond.supervise import Redial, Supervisor
from tests.interop.pages import replaced, shown, with_devices

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("ser2net", path="/usr/sbin:/usr/bin:/sbin:/bin") is None, reason="no ser2net"),
]

PAGE = "ser2net.md"
RATE = 115200
HARD = bytes(range(256)) * 4 + b"\xff\xff\xc0\xdb\xff\xf0\xff\r\n\r\0"
RFC2217, RAW = 0, 1
BOTH = pytest.mark.parametrize("kind", [RFC2217, RAW], ids=["rfc2217", "socket"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Ser2net:
    """ser2net by the page's file, in front of two devices."""

    def __init__(self, directory: Path, *devices: str) -> None:
        self.ports = [free_port() for _ in devices]
        self.admin = free_port()
        text = with_devices(shown(PAGE, "yaml")[0], devices)
        self._file = directory / "ser2net.yaml"
        changes = {f"tcp,400{1 + number}": f"tcp,127.0.0.1,{port}" for number, port in enumerate(self.ports)}
        self._file.write_text(replaced(text, {**changes, "127.0.0.1,4000": f"127.0.0.1,{self.admin}"}))
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["ser2net", "-n", "-u", "-c", str(self._file)],
            env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 10
        while any(map(_is_free, self.ports)):
            assert time.monotonic() < end, "ser2net does not listen"
            time.sleep(0.02)

    def slaves(self) -> list[Slave]:
        """By the page's file."""
        text = replaced(shown(PAGE, "toml")[0], {f":400{1 + at}": f":{port}" for at, port in enumerate(self.ports)})
        return Config.parse(text).make_slaves()

    async def counts(self, kind: int) -> dict[str, int]:
        """Bytes that ser2net itself has counted on a port, by its own names."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.admin)
        await reader.readuntil(b"-> ")
        writer.write(f"showport line{kind}\r".encode())
        said = (await reader.readuntil(b"-> ")).decode()
        writer.close()
        await writer.wait_closed()
        return {name: int(count) for name, count in re.findall(r"bytes (\w+ \w+ \w+): (\d+)", said)}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def _is_free(port: int) -> bool:
    """Whether nobody has bound it. It is not connected to: a connection would open the device."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Bench:
    """A bond, ser2net, two paced pty lines, and their other ends."""

    def __init__(self, wire: PtyWire, server: Ser2net) -> None:
        self.wire, self.server = wire, server

    def far(self, kind: int, baudrate: int = RATE) -> Master:
        return Master([SerialSlave(self.wire.lines[kind].b, baudrate)])

    def port_speed(self, kind: int) -> int:
        """What ser2net has set its device to, as termios names it."""
        fd = os.open(self.wire.lines[kind].a, os.O_RDWR | os.O_NOCTTY)
        try:
            speed: int = termios.tcgetattr(fd)[5]
            return speed
        finally:
            os.close(fd)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with PtyWire([LineSpec(rate=float(RATE))] * 2) as wire:
        server = Ser2net(tmp_path, wire.lines[RFC2217].a, wire.lines[RAW].a)
        try:
            yield Bench(wire, server)
        finally:
            server.kill()


async def found(near: Master, far: Master) -> None:
    """Until a packet comes through both ways. Nothing tells when ser2net has opened the device of a raw port."""
    for one, other in ((near, far), (far, near)):
        for _ in range(50):
            await one.send(b"are you there?")
            try:
                async with asyncio.timeout(0.3):
                    await other.receive()
            except TimeoutError:
                continue
            break
        else:
            raise AssertionError("nothing comes through")
    for master in (near, far):
        try:
            async with asyncio.timeout(0.5):
                while True:
                    await master.receive()
        except TimeoutError:
            pass


@contextlib.asynccontextmanager
async def counted(bench: Bench, near: Master, far: Master, *kinds: int) -> AsyncIterator[None]:
    """Meanwhile as many bytes leave each end as arrive at the other, and ser2net counts the same on both its sides.

    Args:
        bench: of both ends.
        near: our end.
        far: the one behind the devices.
        kinds: of the bond's lines.
    """

    async def counts() -> list[list[int]]:
        """Of each way of each line, in the order in which the bytes pass."""
        ways = []
        for one, other, kind in zip(near.stats().lines, far.stats().lines, kinds, strict=True):
            of = await bench.server.counts(kind)
            ways += [
                [one.bytes_sent, of["read from TCP"], of["written to device"], other.bytes_received],
                [other.bytes_sent, of["read from device"], of["written to TCP"], one.bytes_received],
            ]
        return ways

    before = await counts()
    yield
    moved: list[list[int]] = []
    for _ in range(50):
        moved = [[new - old for new, old in zip(*way, strict=True)] for way in zip(await counts(), before, strict=True)]
        if all(len(set(way)) == 1 for way in moved):
            break
        await asyncio.sleep(0.1)
    else:
        raise AssertionError(f"the ends count differently: {moved}")
    assert min(map(min, moved)) > 2000, moved


async def exchange(near: Master, far: Master, seed: int = 1) -> None:
    """Packets both ways at once; the same arrives, by its checksum and in its order."""
    payloads = [HARD, b"\xff" * 900, b"\xc0\xdb" * 300] + [random.Random(seed + n).randbytes(1000) for n in range(8)]
    sum_of_all = hashlib.sha256(b"".join(payloads)).digest()

    async def send(master: Master) -> None:
        for payload in payloads:
            await master.send(payload)

    async def receive(master: Master) -> bytes:
        return hashlib.sha256(b"".join([(await master.receive()).payload for _ in payloads])).digest()

    async with asyncio.timeout(60):
        there, back, *_ = await asyncio.gather(receive(far), receive(near), send(near), send(far))
    assert there == back == sum_of_all


def packets(near: Master, far: Master) -> list[int]:
    """Sent and received, each way, on the first line."""
    one, other = near.stats().lines[0], far.stats().lines[0]
    return [one.packets_sent, other.packets_received, other.packets_sent, one.packets_received]


@BOTH
async def test_packets_both_ways(bench: Bench, kind: int) -> None:
    async with bench.far(kind) as far, Master([bench.server.slaves()[kind]]) as near:
        await found(near, far)
        before = packets(near, far)
        async with counted(bench, near, far, kind):
            await exchange(near, far)
        assert [new - old for new, old in zip(packets(near, far), before, strict=True)] == [11] * 4
        for master in (near, far):
            assert not any(master.stats().lines[0].dropped.values())
        assert bench.port_speed(kind) == termios.B115200


async def test_both_in_one_bond(bench: Bench) -> None:
    """The page's file as it is; the lines keep no order between them, so what arrives is sorted."""
    far_slaves = [SerialSlave(line.b, RATE) for line in bench.wire.lines]
    async with Master(far_slaves) as far, Master(bench.server.slaves()) as near, asyncio.timeout(60):
        await asyncio.sleep(0.5)  # until ser2net has opened both devices
        payloads = [bytes([n]) * 1000 for n in range(12)]
        async with counted(bench, near, far, RFC2217, RAW):
            for one, other in ((near, far), (far, near)):
                for payload in payloads:
                    await one.send(payload)
                assert sorted([(await other.receive()).payload for _ in payloads]) == payloads
        assert all(line.packets_sent > 2 for line in near.stats().lines)


async def test_the_rate_changes_over_rfc2217(bench: Bench) -> None:
    """The far port follows, with stop bits and handshake, and data goes on."""
    url = f"rfc2217://127.0.0.1:{bench.server.ports[RFC2217]}"
    async with Master([]) as near, bench.far(RFC2217) as far:
        for baudrate, code, stopbits in ((38400, termios.B38400, 1), (115200, termios.B115200, 2)):
            slave = await near.enslave(NetworkSlave(url, baudrate, stopbits=stopbits, rtscts=True))
            assert bench.port_speed(RFC2217) == code
            fd = os.open(bench.wire.lines[RFC2217].a, os.O_RDWR | os.O_NOCTTY)
            flags = termios.tcgetattr(fd)[2]
            os.close(fd)
            assert flags & termios.CSIZE == termios.CS8
            assert bool(flags & termios.CSTOPB) is (stopbits == 2)
            assert flags & termios.CRTSCTS
            await found(near, far)
            await exchange(near, far, baudrate)
            await near.emancipate(slave)
            await asyncio.sleep(0.3)  # until ser2net has closed the device


@BOTH
async def test_a_connection_that_drops_and_the_line_is_back(bench: Bench, kind: int) -> None:
    """From the return of the server to the slave in the bond: within holdoff and two seconds; then data again."""
    slave = bench.server.slaves()[kind]
    async with (
        bench.far(kind) as far,
        Master([slave]) as near,
        Supervisor(near, Redial(holdoff=0.5)),
        asyncio.timeout(60),
    ):
        await found(near, far)
        for silence in (0.1, 2.5):
            events = near.events()
            bench.server.kill()
            while not isinstance(await anext(events), SlaveDown):
                pass
            await asyncio.sleep(silence)
            bench.server.start()
            returned = time.monotonic()
            while not slave.up:
                await asyncio.sleep(0.01)
            took = time.monotonic() - returned
            print(f"back after {took:.2f} s")
            assert took <= 0.5 + 2.0
            await found(near, far)
            await exchange(near, far, int(silence * 10))
