"""A router in this process: what a reload and a refused line leave behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from eqlbond import DeviceNotFound
from eqlbond.config import Config, LogConfig, SlaveConfig
from eqlbond.router import Router
from eqlbond.router.commands import RouterCommands

FILE = """
[control]
enabled = false
[[slave]]
device = "/nonexistent/tty"
baudrate = 9600
"""


@contextlib.asynccontextmanager
async def running(path: Path, **options: Any) -> AsyncIterator[Router]:
    router = Router(Config.parse(FILE), str(path), **options)
    task = asyncio.ensure_future(router.run())
    async with asyncio.timeout(10):
        while not router.master.slaves:
            await asyncio.sleep(0.01)
    try:
        yield router
    finally:
        router.stop()
        await task


async def test_a_reload_through_the_control_socket_sets_up_the_log(tmp_path: Path) -> None:
    path = tmp_path / "bond.toml"
    seen: list[LogConfig] = []

    def set_up(log: LogConfig) -> None:
        seen.append(log)
        if log.file is not None:
            raise FileNotFoundError(2, "No such file or directory", log.file)

    async with running(path, set_up_log=set_up) as router:
        path.write_text(f'{FILE}[log]\nlevel = "debug"\n')
        done = await RouterCommands(router).do_reload({})
        assert [log.level for log in seen] == ["debug"]
        assert not done["problems"]
        path.write_text(f'{FILE}[log]\nfile = "/nonexistent/log"\n')
        done = await RouterCommands(router).do_reload({})
        assert len(done["problems"]) == 1
        assert done["problems"][0].startswith("log: ")
        assert "/nonexistent/log" in done["problems"][0]
        assert len(seen) == 2


async def test_lines_that_are_refused_leave_nothing_with_the_supervisor(tmp_path: Path) -> None:
    async with running(tmp_path / "bond.toml") as router:
        config: SlaveConfig = router.config.slaves[0]
        before = len(router._supervisor._special)
        for _ in range(3):
            with pytest.raises(DeviceNotFound):
                await router.enslave(config.make(), config)
            await asyncio.sleep(0.05)
        assert len(router._supervisor._special) == before
        assert len(router._supervisor._keepers) == 1


ADDRESSES = """
[tun]
name = "eql0"
addresses = ["fd77::1/64", "10.77.0.1", "10.78.0.1"]
peer = ["10.77.0.2"]
"""


@pytest.mark.parametrize(
    ("tun", "found"),
    [
        ("", ("", "", "", "")),
        ('[tun]\nname = "eql0"\n', ("", "", "", "")),
        ('[tun]\naddresses = "fd77::1/64"\n', ("", "", "fd77::1", "")),
        (ADDRESSES, ("10.77.0.1", "10.77.0.2", "fd77::1", "")),
    ],
)
async def test_hooks_are_told_addresses_of_each_family(tun: str, found: tuple[str, ...]) -> None:
    router = Router(Config.parse(FILE + tun))
    assert tuple(router._addresses().values()) == found


async def test_reasons_are_told(tmp_path: Path) -> None:
    async with running(tmp_path / "bond.toml") as router:
        async with asyncio.timeout(10):
            while not router.describe()["reasons"]:
                await asyncio.sleep(0.01)
        assert router.describe()["reasons"] == {"/nonexistent/tty": "no such device"}
