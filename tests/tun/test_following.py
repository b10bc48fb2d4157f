"""How an interface follows the addresses that PPP agrees on: settings that fail, and changes meanwhile."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from eqlbond import Master
from eqlbond.events import BondUp
from eqlbond.exceptions import ConfigurationError, LineError
from eqlbond.tun import TunInterface
from tests.aio.memory import cables


class Device:
    """As much of an interface as attaching looks at."""

    def mtu(self) -> int:
        return 1500

    def close(self) -> None:
        pass


class Applied:
    """Takes the place of what sets addresses; the first times it raises what it is given."""

    def __init__(self, master: Master, *errors: Exception | None) -> None:
        self.master = master
        self.errors = list(errors)
        self.count = 0

    async def __call__(self, agreed: Any) -> None:
        self.count += 1
        if self.count <= len(self.errors):
            self.master.tell(BondUp(0.0))
        await asyncio.sleep(0.01)
        error = self.errors[self.count - 1] if self.count <= len(self.errors) else None
        if error is not None:
            raise error


async def follow(applied: Applied, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attach an interface; each setting that is named in `applied` sees the addresses change meanwhile."""
    system, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    tun = TunInterface("eqltest0")
    monkeypatch.setattr(tun, "_fd", device.fileno())
    monkeypatch.setattr(tun, "_existed", True)
    monkeypatch.setattr(tun, "_interface", Device())
    monkeypatch.setattr(tun, "_apply", applied)
    with system, device:
        await tun.attach(applied.master)
        await asyncio.sleep(0.1)
        await tun.detach()


async def test_a_change_while_the_first_addresses_are_set_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Master([cables(1)[0].a.slave()]) as master:
        await asyncio.sleep(0.05)
        applied = Applied(master, None)
        await follow(applied, monkeypatch)
        assert applied.count == 2


async def test_what_cannot_be_set_is_logged_and_the_next_change_is_followed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Master([cables(1)[0].a.slave()]) as master:
        await asyncio.sleep(0.05)
        errors = ConfigurationError("tun", "pyroute2"), OSError(19, "No such device"), LineError("eql0", "refused")
        applied = Applied(master, None, *errors)
        await follow(applied, monkeypatch)
        assert applied.count == 5
        for word in ("pyroute2", "No such device", "refused"):
            assert word in caplog.text
