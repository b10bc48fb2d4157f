"""Lines over UNIX sockets: a transport of asyncio's own, with nothing in between."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from eqlbond import LineError, Master, Slave, SlaveDown
from tests.aio.conftest import Real

PACKETS = [bytes([n % 256, 0xC0, 0xDB]) * (1 + n % 400) for n in range(1000)]


def by_path(path: str) -> Slave:
    async def connect(
        factory: Callable[[], asyncio.Protocol],
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        return await asyncio.get_running_loop().create_unix_connection(factory, path)

    return Slave(connect, name=path)


def over(sock: socket.socket) -> Slave:
    async def connect(
        factory: Callable[[], asyncio.Protocol],
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        return await asyncio.get_running_loop().create_connection(factory, sock=sock)

    return Slave(connect)


def accept(listener: socket.socket) -> Slave:
    """The other end: takes whoever comes, and again when the line is opened again."""

    async def connect(
        factory: Callable[[], asyncio.Protocol],
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        loop = asyncio.get_running_loop()
        sock, _ = await loop.sock_accept(listener)
        return await loop.create_connection(factory, sock=sock)

    return Slave(connect)


async def exchange(a: Master, b: Master) -> None:
    """Packets both ways, more than sockets hold; a single line keeps their order."""

    async def send(bond: Master) -> None:
        for packet in PACKETS:
            await bond.send(packet)

    async def receive(bond: Master) -> list[bytes]:
        return [(await bond.receive()).payload for _ in PACKETS]

    async with asyncio.timeout(60):
        _, _, at_a, at_b = await asyncio.gather(send(a), send(b), receive(a), receive(b))
    assert at_a == at_b == PACKETS


def test_a_server_in_the_file_system(real: Real, tmp_path: Path) -> None:
    """It carries packets both ways, goes down when the far end closes, and is opened again."""
    path = str(tmp_path / "line")

    async def test() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            listener.setblocking(False)
            near, far = by_path(path), accept(listener)
            async with asyncio.timeout(60), Master([near]) as a, Master([far]) as b:
                events = a.events()
                await exchange(a, b)
                b.hang_up(far)
                async for event in events:
                    if isinstance(event, SlaveDown):
                        break
                assert not near.up
                await asyncio.gather(a.reopen(near), b.reopen(far))
                await exchange(a, b)
                assert (a.stats().lines[0].connections, a.stats().lines[0].dropped) == (2, {})

    real(test)


def test_a_pair_of_sockets(real: Real) -> None:
    async def test() -> None:
        here, there = socket.socketpair()
        async with Master([over(here)], close_timeout=1) as a, Master([over(there)], close_timeout=1) as b:
            await exchange(a, b)

    real(test)


def test_a_socket_that_is_not_there(real: Real, tmp_path: Path) -> None:
    async def test() -> None:
        path = str(tmp_path / "absent")
        with pytest.raises(LineError, match="No such file") as caught:
            await Master([by_path(path)]).open()
        assert str(caught.value).startswith(f"{path}: ")

    real(test)
