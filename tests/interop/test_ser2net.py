"""Slaves behind Debian's ser2net: raw TCP and RFC 2217, between us and a pty."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from eqlbond import Master, NetworkSlave, SerialSlave, Slave, SlaveDown
from eqlbond.aio.ptywire import PtyWire
from eqlbond.core.line_model import LineSpec
from eqlbond.supervise import Redial, Supervisor

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("ser2net", path="/usr/sbin:/usr/bin:/sbin:/bin") is None, reason="no ser2net"),
]

HARD = bytes(range(256)) * 4 + b"\xff\xff\xc0\xdb\xff\xf0\xff\r\n\r\0"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Ser2net:
    """ser2net in front of one device."""

    def __init__(self, directory: Path, device: str, port: int, *, rfc2217: bool) -> None:
        self.port = port
        accepter = f"telnet(rfc2217),tcp,127.0.0.1,{port}" if rfc2217 else f"tcp,127.0.0.1,{port}"
        self._file = directory / "ser2net.yaml"
        self._file.write_text(
            "%YAML 1.1\n---\nconnection: &line\n"
            f"  accepter: {accepter}\n"
            f"  connector: serialdev,{device},9600n81,local\n"
            "  options:\n    kickolduser: true\n"
        )
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["ser2net", "-n", "-u", "-c", str(self._file)],
            env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with socket.socket() as probe:
                probe.settimeout(0.2)
                # Bound already, though not connected to: a connection would open the device.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
                try:
                    probe.bind(("127.0.0.1", self.port))
                except OSError:
                    return
            time.sleep(0.02)
        raise AssertionError("ser2net does not listen")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def far() -> Iterator[tuple[int, str]]:
    """A pty: the descriptor of its far side, and the device that ser2net opens."""
    master, slave = os.openpty()
    tty.setraw(slave)
    device = os.ttyname(slave)
    yield master, device
    os.close(slave)
    os.close(master)


@pytest.mark.parametrize("scheme", ["socket", "rfc2217"])
async def test_packets_both_ways(tmp_path: Path, scheme: str) -> None:
    """A bond of ours, ser2net, a paced pty line, and another bond of ours."""
    rate = 115200.0
    async with PtyWire([LineSpec(rate=rate)]) as wire:
        server = Ser2net(tmp_path, wire.lines[0].a, free_port(), rfc2217=scheme == "rfc2217")
        try:
            near_slave: Slave = NetworkSlave(f"{scheme}://127.0.0.1:{server.port}", 115200)
            far_slave = SerialSlave(wire.lines[0].b, 115200)
            async with Master([far_slave]) as far, Master([near_slave]) as near, asyncio.timeout(60):
                if scheme == "socket":
                    await asyncio.sleep(0.5)  # nothing tells when ser2net has opened the device
                payloads = [HARD, b"\xff" * 900, b"\xc0\xdb" * 300] + [os.urandom(1000) for _ in range(8)]

                async def there() -> None:
                    for payload in payloads:
                        await near.send(payload)

                async def back() -> None:
                    for payload in payloads:
                        await far.send(payload)

                got, echoed, *_ = await asyncio.gather(
                    receive(far, len(payloads)), receive(near, len(payloads)), there(), back()
                )
                assert got == payloads
                assert echoed == payloads
        finally:
            server.kill()


async def receive(master: Master, count: int) -> list[bytes]:
    return [(await master.receive()).payload for _ in range(count)]


async def test_the_far_port_is_set(tmp_path: Path, far: tuple[int, str]) -> None:
    _, device = far
    server = Ser2net(tmp_path, device, free_port(), rfc2217=True)
    try:
        for baudrate, code, stopbits in [(38400, termios.B38400, 1), (115200, termios.B115200, 2)]:
            slave = NetworkSlave(f"rfc2217://127.0.0.1:{server.port}", baudrate, stopbits=stopbits, rtscts=True)
            async with Master([slave]):
                attributes = termios.tcgetattr(far[0])
                assert attributes[5] == code
                assert attributes[2] & termios.CSIZE == termios.CS8
                assert bool(attributes[2] & termios.CSTOPB) is (stopbits == 2)
                assert attributes[2] & termios.CRTSCTS
            await asyncio.sleep(0.3)  # until ser2net has closed the device
    finally:
        server.kill()


async def test_a_killed_server_and_the_line_is_back(tmp_path: Path, far: tuple[int, str]) -> None:
    """From the return of the server to the slave in the bond: within holdoff and two seconds."""
    _, device = far
    server = Ser2net(tmp_path, device, free_port(), rfc2217=True)
    try:
        slave = NetworkSlave(f"rfc2217://127.0.0.1:{server.port}", 115200)
        async with Master([slave]) as master, Supervisor(master, Redial(holdoff=0.5)), asyncio.timeout(60):
            for silence in (0.1, 3.0):
                events = master.events()
                server.kill()
                while not isinstance(await anext(events), SlaveDown):
                    pass
                await asyncio.sleep(silence)
                server.start()
                returned = time.monotonic()
                while not slave.up:
                    await asyncio.sleep(0.01)
                took = time.monotonic() - returned
                print(f"back after {took:.2f} s")
                assert took <= 0.5 + 2.0
    finally:
        server.kill()
