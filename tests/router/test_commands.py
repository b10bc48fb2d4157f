"""What a router is asked over its control socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from eqlbond.config import Config
from eqlbond.control import ControlClient
from eqlbond.router import Router
from eqlbond.router.commands import RouterCommands


@pytest.fixture
def devices() -> Iterator[list[str]]:
    """Two ports that can be opened."""
    pairs = [pty.openpty() for _ in range(2)]
    yield [os.ttyname(slave) for _, slave in pairs]
    for pair in pairs:
        for descriptor in pair:
            os.close(descriptor)


@contextlib.asynccontextmanager
async def running(file: Path) -> AsyncIterator[ControlClient]:
    router = Router(Config.load(file), str(file))
    task = asyncio.ensure_future(router.run())
    path = file.with_name("bond.sock")
    async with asyncio.timeout(20):
        while not path.exists():
            assert not task.done(), task.result()
            await asyncio.sleep(0.01)
    try:
        async with ControlClient(path, timeout=20) as client:
            yield client
    finally:
        router.stop()
        await task


def write(file: Path, rest: str) -> None:
    file.write_text(f'[bond]\nclose_timeout = 0\n[control]\nsocket = "bond.sock"\n{rest}')


async def test_a_line_has_the_options_of_ppp_that_the_file_has_now(tmp_path: Path, devices: list[str]) -> None:
    file = tmp_path / "bond.toml"
    write(file, "[ppp]\nmru = 1600\n")
    async with running(file) as client:
        shown = await client.enslave(device=devices[0], framing="ppp")
        assert "mru=1600" in shown["framing"]
        write(file, "[ppp]\nmru = 1700\n")
        await client.reload()
        shown = await client.enslave(device=devices[1], framing="ppp")
        assert "mru=1700" in shown["framing"]
        await client.emancipate(devices[1], 0)
        write(file, "")
        await client.reload()
        shown = await client.enslave(device=devices[1], framing="ppp")
        assert "mru=1500" in shown["framing"]


async def test_show_of_the_master(tmp_path: Path) -> None:
    file = tmp_path / "bond.toml"
    write(file, "[bond.queue]\nbytes = 90000\n")
    async with running(file) as client:
        shown = await client.show()
    assert shown["interface"] is None
    assert (shown["queue"]["bytes"], shown["queue"]["fair"], shown["queue"]["target"]) == (90000, True, 0.005)
    assert shown["multilink"] is None


async def test_show_names_the_interface() -> None:
    router = Router(Config.parse('[tun]\nname = "bond7"\n'))
    shown = await RouterCommands(router).run("show", {})
    assert shown["interface"] == "bond7"
