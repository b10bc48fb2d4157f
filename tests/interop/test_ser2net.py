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
import sys
import tempfile
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
from tests.interop.routers import Router, Wire, ping, serving, until
from tests.interop.users import as_ordinary_user

SER2NET = shutil.which("ser2net", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(SER2NET is None, reason="no ser2net"),
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
            [str(SER2NET), "-n", "-u", "-c", str(self._file)],
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


@contextlib.asynccontextmanager
async def benched(directory: Path) -> AsyncIterator[Bench]:
    async with PtyWire([LineSpec(rate=float(RATE))] * 2) as wire:
        server = Ser2net(directory, wire.lines[RFC2217].a, wire.lines[RAW].a)
        try:
            yield Bench(wire, server)
        finally:
            server.kill()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with benched(tmp_path) as made:
        yield made


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


async def both_in_one_bond(bench: Bench) -> None:
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


def test_both_in_one_bond_without_root() -> None:
    """The page's lines as they are; they keep no order between them, so what arrives is sorted."""

    async def all_of_it(directory: str) -> None:
        async with benched(Path(directory)) as bench:
            await both_in_one_bond(bench)

    def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(all_of_it(directory))

    as_ordinary_user(run)


FETCH = """
import hashlib, sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=30) as answer:
    print(hashlib.sha256(answer.read()).hexdigest())
"""


def test_a_router_at_each_end(tmp_path: Path) -> None:
    """The page's three files, with nothing changed but the devices: `eqlbond run`, ser2net, and `eqlbond run`."""
    file = tmp_path / "file"
    file.write_bytes(random.Random(6).randbytes(20_000))
    server, lines = tmp_path / "ser2net.yaml", tmp_path / "lines"
    ends = {"near": "10.9.0.1", "far": "10.9.0.2"}
    with contextlib.ExitStack() as stack:
        wire = Wire(lines, f"{RATE},{RATE}")
        stack.callback(wire.close)
        devices = {end: [str(lines / f"{name}.{end}") for name in wire.names] for end in "ab"}
        near_file, far_file = shown(PAGE, "toml")
        routers = []
        for end, text in (("near", near_file), ("far", with_devices(far_file, devices["b"]))):
            routers.append(Router(tmp_path, end, f'{text}\n[control]\nsocket = "{end}.sock"\n'))
            stack.callback(routers[-1].remove)
        near, far = routers
        server.write_text(with_devices(shown(PAGE, "yaml")[0], devices["a"]))
        near.sh("ip", "link", "set", "lo", "up")
        # Without an address beside 127.0.0.1 ser2net finds none to listen at (AI_ADDRCONFIG).
        near.sh("ip", "address", "add", "192.0.2.1/32", "dev", "lo")
        near.spawn(str(SER2NET), "-n", "-u", "-c", str(server))
        until(lambda: all(f":400{port}" in near.sh("ss", "-ltn") for port in (1, 2)), 15)
        for router in routers:
            router.start()
        until(lambda: near.up(2) and far.up(2))
        time.sleep(0.5)  # until ser2net has opened both devices
        for router, other in ((near, "far"), (far, "near")):
            assert len(ping(router, ends[other], 5, 0.1, 1400)) == 5
        for router, other, source in ((near, "far", far), (far, "near", near)):
            with serving(source, tmp_path, ends[other]) as served:
                got = router.sh(sys.executable, "-c", FETCH, f"{served}/file").strip()
            assert got == hashlib.sha256(file.read_bytes()).hexdigest()
        for router in routers:
            told = {line["name"]: line["packets_sent"] for line in router.status()["bond"]["lines"]}
            assert sorted(told) == ["line0", "line1"]
            assert min(told.values()) > 2, told
            assert router.terminate()[0] == 0


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
