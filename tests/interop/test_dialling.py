"""Two `eqlbond run`, each in a network namespace, that reach each other by telephone: two modems on ptys."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from eqlbond.modem.testing import Exchange, FakeModem
from tests.interop.routers import PATIENCE, Router, ping, until

pytestmark = pytest.mark.interop

PASSWORD = "hunter2-of-site7"
# A hook that writes down what it is told: the event, and the five arguments of ip-up. The first argument is its file.
RECORD = """
file=$1
shift
printf '[%s][%s][%s][%s][%s][%s]\\n' "$EQLBOND_EVENT" "$@" >> "$file"
"""


class Telephones:
    """An exchange and two modems, in a thread with a loop of its own."""

    def __init__(self) -> None:
        self.exchange = Exchange(report=["CONNECT 33600/ARQ"])
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with (
            FakeModem(self.exchange, "100", guard_time=0.1) as self.caller,
            FakeModem(self.exchange, "200", guard_time=0.1) as self.answerer,
        ):
            self._ready.set()
            await self._end.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE)

    def drop(self) -> None:
        """The call is lost: each modem says NO CARRIER."""
        self._loop.call_soon_threadsafe(self.answerer.drop_call)


def configuration(directory: Path, end: str, device: str, framing: str) -> str:
    """One end's file: a dials and logs in, b answers and asks who it is."""
    ours, theirs = ("10.77.0.1", "10.77.0.2") if end == "a" else ("10.77.0.2", "10.77.0.1")
    record = f'["/bin/sh", "{directory}/record", "{directory}/{end}.hooks"]'
    modem = (
        f'dial = "200"\nlogin = {{ name = "site7", password = {{ file = "{directory}/password" }} }}'
        if end == "a"
        else f'answer = true\nrings = 2\nlogin = {{ banner = "hub", secrets = {{ site7 = "{PASSWORD}" }} }}'
    )
    ppp = f'[ppp]\nip = {{ local = "{ours}", peer = "{theirs}" }}\n' if framing == "ppp" else ""
    return f"""
{ppp}
[tun]
name = "eql0"
addresses = "{ours}"
peer = "{theirs}"

[hooks]
up = {record}
down = {record}
slave_up = {record}

[control]
socket = "{end}.sock"

[log]
level = "debug"

[[slave]]
name = "call"
device = "{device}"
baudrate = 115200
framing = "{framing}"
lock = "{directory / "locks"}"
holdoff = 1

[slave.modem]
guard_time = 0.1
{modem}
"""


@contextlib.contextmanager
def routers(directory: Path, telephones: Telephones, framing: str) -> Iterator[tuple[Router, Router]]:
    """The two ends; their logs stand with what fails."""
    (directory / "password").write_text(PASSWORD + "\n")
    (directory / "record").write_text(RECORD)
    (directory / "locks").mkdir()
    with contextlib.ExitStack() as stack:
        both = []
        for end, modem in (("a", telephones.caller), ("b", telephones.answerer)):
            both.append(Router(directory, end, configuration(directory, end, modem.path, framing)))
            stack.callback(both[-1].remove)
        for router in both:
            router.start()
        try:
            yield both[0], both[1]
        except BaseException as error:
            for router in both:
                error.add_note(f"log of {router.space}:\n{router.log.read_text()[-6000:]}")
            raise


def calls_made(router: Router, number: int) -> bool:
    """Whether the line is up, by its so-manieth call."""
    return router.up(1) and router.status()["bond"]["lines"][0]["connections"] == number


def hooks(router: Router) -> list[str]:
    """What the hooks have recorded."""
    record = router.file.with_suffix(".hooks")
    return record.read_text().splitlines() if record.exists() else []


@pytest.mark.parametrize("framing", ["slip", "ppp"])
def test_a_call_carries_ip_and_is_made_again(tmp_path: Path, framing: str) -> None:
    """Dialled, answered and logged in; ping; the call drops and is made again at another rate; ping; hung up."""
    with Telephones() as telephones, routers(tmp_path, telephones, framing) as (a, b):
        exchange = telephones.exchange
        devices = {a: telephones.caller.path, b: telephones.answerer.path}
        for number, rate in ((1, 33600), (2, 14400)):
            for router in (a, b):
                until(lambda router=router, number=number: calls_made(router, number))  # type: ignore[misc]
                assert router.status()["bond"]["lines"][0]["rate"] == rate
            assert len(ping(a, "10.77.0.2")) == 5
            assert len(ping(b, "10.77.0.1")) == 5
            if number == 1:
                assert len(list((tmp_path / "locks").iterdir())) == 4  # two names for each port
                exchange.report = ("CONNECT 14400/ARQ",)
                telephones.drop()
        assert exchange.calls == [("100", "200")] * 2
        for router, here, there in ((a, "10.77.0.1", "10.77.0.2"), (b, "10.77.0.2", "10.77.0.1")):
            until(lambda router=router: len(hooks(router)) >= 5)  # type: ignore[misc]
            told = hooks(router)
            # Those of the slave and those of the bond run side by side.
            assert sorted(told) == sorted(
                f"[{event}][eql0][{device}][{speed}][{here}][{there}]"
                for event, device, speed in (
                    ("bond_up", "", 33600),
                    ("slave_up", devices[router], 33600),
                    ("bond_down", "", ""),
                    ("bond_up", "", 14400),
                    ("slave_up", devices[router], 14400),
                )
            )
            events = [line.split("]")[0] for line in told if line.startswith("[bond")]
            assert events == ["[bond_up", "[bond_down", "[bond_up"]
        for router in (a, b):
            status, seconds = router.terminate()
            assert status == 0, router.log.read_text()
            assert seconds < 16
            log = router.log.read_text()
            assert "Traceback" not in log
            assert PASSWORD not in log
            assert router.interfaces() == ["lo"]
            assert telephones.caller.state == "command"  # a is ended first, and has hung up
        assert b.log.read_text().count("site7 has logged in") == 2
        assert list((tmp_path / "locks").iterdir()) == []
