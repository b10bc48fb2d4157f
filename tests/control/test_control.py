"""The control socket: what it answers, and what no client can do to it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import pty
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from eqlbond import FqCoDel, HalfDuplex, Master, Multilink, NetworkSlave, Ppp
from eqlbond.cli import report
from eqlbond.codec.options import EndpointDiscriminator
from eqlbond.control import (
    Commands,
    ControlClient,
    ControlError,
    ControlServer,
    ControlUnavailable,
    RequestRefused,
    SocketInUse,
    default_socket,
)
from eqlbond.control import server as server_module
from eqlbond.core.queues import Fifo
from eqlbond.exceptions import ConfigurationError
from tests.aio.memory import cables

Say = Callable[..., Any]


@pytest.fixture
def device() -> Iterator[str]:
    """A port that can be opened."""
    master, slave = pty.openpty()
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


@pytest_asyncio.fixture
async def bond() -> AsyncIterator[Master]:
    one, two = cables(2)
    async with Master([one.a.slave(57600, name="fast"), two.a.slave(14400, name="slow")], close_timeout=0.2) as master:
        await master.wait_open(5)
        while not all(slave.up for slave in master.slaves):
            await asyncio.sleep(0)
        yield master


@pytest_asyncio.fixture
async def server(bond: Master, tmp_path: Path) -> AsyncIterator[ControlServer]:
    options: dict[str, Any] = {"max_clients": 4, "max_request": 2000, "idle_timeout": 0.5, "write_timeout": 0.5}
    async with ControlServer(bond, tmp_path / "c.sock", **options) as made:
        yield made


@pytest_asyncio.fixture
async def client(server: ControlServer) -> AsyncIterator[ControlClient]:
    async with ControlClient(server.path, timeout=10) as made:
        yield made


async def raw(path: str, data: bytes, *, eof: bool = True) -> list[dict[str, Any]]:
    """Send bytes, and read all that comes until the server closes."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(data)
        if eof:
            writer.write_eof()
        got = await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        got = b""
    finally:
        writer.close()
    return [json.loads(line) for line in got.splitlines()]


# -- what can be asked


async def test_ping_and_status(client: ControlClient, bond: Master) -> None:
    assert (await client.ping())["pid"] == os.getpid()
    await bond.send(b"x" * 100)
    status = await client.status()
    assert (status["up"], status["mtu"], status["min_slaves"], status["max_slaves"]) == (True, 1500, 1, None)
    assert status["rate"] == 72000
    assert [line["name"] for line in status["bond"]["lines"]] == ["fast", "slow"]
    assert status["bond"]["packets_accepted"] == 1
    assert status["bond"]["lines"][0]["dropped"] == {}


async def test_show(client: ControlClient) -> None:
    shown = await client.show()
    assert shown["slaves"] == ["fast", "slow"]
    assert shown["scheduler"].startswith("EarliestDelivery(")
    shown = await client.show("slow")
    assert (shown["rate"], shown["priority"], shown["bits_per_byte"], shown["up"]) == (14400, 14400, 10, True)
    assert shown["framing"].startswith("Slip(")
    assert (shown["device"], shown["url"], shown["mtu"], shown["half_duplex"]) == (None, None, 1500, None)
    with pytest.raises(RequestRefused, match="did you mean 'slow'") as caught:
        await client.show("slwo")
    assert caught.value.kind == "NotEnslaved"


async def shown(tmp_path: Path, bond: Master, slave: str | None = None) -> dict[str, Any]:
    async with ControlServer(bond, tmp_path / "shown.sock") as server, ControlClient(server.path) as client:
        return await client.show(slave)


async def test_show_a_line_over_the_network(tmp_path: Path) -> None:
    url = "socket://192.0.2.7:4002"
    line = NetworkSlave(url, 9600, rate=1200, mtu=1600, half_duplex=HalfDuplex(burst=5.0), name="shed")
    async with Master([line], open_lines=False, close_timeout=0) as bond:
        for name in ("shed", url):
            values = await shown(tmp_path, bond, name)
            assert (values["name"], values["device"], values["url"], values["mtu"]) == ("shed", None, url, 1600)
            assert values["half_duplex"] == {
                "turnaround": 0.3, "burst": 5.0, "pause": None, "persistence": 0.5, "slot": 0.1,
            }  # fmt: skip


class Own:
    """A queue discipline of the user's."""

    def queue(self, mtu: int, drop: Any) -> Fifo:
        return Fifo()

    def flow_of(self, payload: bytes) -> None:
        return None


@pytest.mark.parametrize(
    ("options", "multilink", "queue"),
    [
        ({}, None, {"bytes": 262144, "time": 0.5, "fair": False}),
        (
            {
                "multilink": Multilink(mrru=1600, short=True, endpoint=EndpointDiscriminator.local("site7")),
                "queue": FqCoDel(target=0.02, ecn=False),
                "queue_bytes": 100000,
                "queue_time": 2.0,
            },
            {"mrru": 1600, "short": True, "endpoint": "local:site7", "fragment": True, "margin": 0.25},
            {
                "bytes": 100000, "time": 2.0, "fair": True,
                "target": 0.02, "interval": 0.1, "ecn": False, "limit": 524288, "quantum": 300,
            },
        ),
        (
            {"multilink": Multilink(), "queue": Own()},
            {"mrru": 1500, "short": False, "endpoint": None, "fragment": True, "margin": 0.25},
            {"bytes": 262144, "time": 0.5, "fair": False, "discipline": "Own"},
        ),
    ],
)  # fmt: skip
async def test_show_the_masters_queue_and_multilink(
    options: dict[str, Any], multilink: object, queue: object, tmp_path: Path
) -> None:
    async with Master(close_timeout=0, **options) as bond:
        values = await shown(tmp_path, bond)
    assert (values["multilink"], values["queue"]) == (multilink, queue)
    text = report.settings(values)
    assert ("mrru=1" in text) == (multilink is not None)
    assert "queue          bytes=" in text
    assert "{" not in text


async def test_set_a_slave(client: ControlClient, bond: Master) -> None:
    shown = await client.set("slow", rate=9600, priority=3, latency=0.25)
    assert (shown["rate"], shown["priority"], shown["latency"]) == (9600, 3, 0.25)
    slow = bond.slaves[1]
    assert (slow.rate, slow.priority, slow.member.line.latency) == (9600, 3, 0.25)
    assert (await client.set("slow", priority=None))["priority"] == 9600
    assert (await client.set("slow", rate=None))["rate"] is None
    for values, problem in (
        ({"rate": -1}, "rate"),
        ({"rate": "fast"}, "a number from 0"),
        ({"rate": True}, "a number from 0"),
        ({"latency": None}, "latency: a number"),
        ({}, "rate, priority or latency"),
        ({"colour": 1}, "there are: slave, rate"),
        ({"max_slaves": 3}, "no such argument"),
    ):
        with pytest.raises(RequestRefused, match=problem) as caught:
            await client.set("slow", **values)
        assert caught.value.kind == "ConfigurationError"
    assert slow.rate is None


async def test_set_the_masters_limits(client: ControlClient, bond: Master) -> None:
    shown = await client.set(min_slaves=2, max_slaves=2)
    assert (shown["min_slaves"], shown["max_slaves"]) == (2, 2)
    assert (bond.min_slaves, bond.max_slaves, bond.up) == (2, 2, True)
    shown = await client.set(min_slaves=3, max_slaves=5)
    assert (bond.min_slaves, bond.max_slaves, bond.up) == (3, 5, False)
    assert (await client.set(max_slaves=None))["max_slaves"] is None
    assert bond.min_slaves == 3
    for values in ({"min_slaves": 3, "max_slaves": 2}, {"max_slaves": 2}, {"min_slaves": 0}, {"min_slaves": 1.5}, {}):
        with pytest.raises(RequestRefused):
            await client.set(**values)
    assert (bond.min_slaves, bond.max_slaves) == (3, None)


async def test_enslave_and_emancipate(client: ControlClient, bond: Master, device: str) -> None:
    shown = await client.enslave(device=device, rate=28800, baudrate=38400, name="third", priority=9)
    assert (shown["name"], shown["rate"], shown["baudrate"], shown["priority"]) == ("third", 28800, 38400, 9)
    assert [slave.name for slave in bond.slaves] == ["fast", "slow", "third"]
    with pytest.raises(RequestRefused, match="there is a slave 'third' already"):
        await client.enslave(device=device, name="third")
    await client.emancipate(device)  # by its device
    assert len(bond.slaves) == 2
    with pytest.raises(RequestRefused, match="no slave 'third'"):
        await client.emancipate("third")
    for table, kind, problem in (
        ({"device": "/dev/absent"}, "DeviceNotFound", "no such device"),
        ({"device": device, "frming": "ppp"}, "ConfigurationErrors", "did you mean 'framing'?"),
        ({}, "ConfigurationErrors", "needs its device"),
        ({"device": device, "rate": -3, "baudrate": 0}, "ConfigurationErrors", "2 errors"),
    ):
        with pytest.raises(RequestRefused) as caught:
            await client.enslave(table)
        assert caught.value.kind == kind
        assert problem in str(caught.value)
    with pytest.raises(RequestRefused, match="an object of what"):
        await client.request("enslave", slave="/dev/ttyS0")
    await client.set(max_slaves=2)
    with pytest.raises(RequestRefused) as caught:
        await client.enslave(device=device)
    assert caught.value.kind == "TooManySlaves"
    assert len(bond.slaves) == 2


async def test_shared_options_of_ppp(bond: Master, tmp_path: Path, device: str) -> None:
    commands = Commands(bond, {"mru": 900})
    async with ControlServer(bond, tmp_path / "d.sock", commands=commands) as server, ControlClient(server.path) as it:
        await it.enslave(device=device, framing="ppp")
    framing = bond.slaves[-1].member.framing
    assert isinstance(framing, Ppp)
    assert framing.mru == 900


async def test_reload_without_a_file(client: ControlClient) -> None:
    with pytest.raises(RequestRefused, match="no configuration file") as caught:
        await client.reload()
    assert caught.value.kind == "NotSupported"


async def test_events(client: ControlClient, bond: Master, server: ControlServer, device: str) -> None:
    got: list[dict[str, Any]] = []

    async def listen() -> None:
        got.extend([event async for event in client.events()])

    listening = asyncio.ensure_future(listen())
    while not bond._hub.streams:
        await asyncio.sleep(0.01)
    await client.enslave(device=device, name="third")
    await client.set("third", rate=1200)
    await client.emancipate("third")
    await bond.close()
    await asyncio.wait_for(listening, 5)
    seen = [(event["event"], event.get("slave")) for event in got]
    assert seen[:3] == [("Enslaved", "third"), ("SlaveUp", "third"), ("RateChanged", "third")]
    assert ("Emancipated", "third") in seen
    assert seen[-1] == ("Emancipated", "slow")
    assert got[2]["rate"] == 1200
    assert abs(got[0]["time"] - time.time()) < 60
    down = next(event for event in got if event["event"] == "SlaveDown")
    assert (down["reason"], down["error"], down["reclaimed"]) == ("emancipated", None, 0)


# -- what a client can do wrong


@pytest.mark.parametrize(
    ("line", "identifier", "kind"),
    [
        (b"garbage", None, "BadRequest"),
        (b"\xff\xfe\x00", None, "BadRequest"),
        (b"[1, 2]", None, "BadRequest"),
        (b"null", None, "BadRequest"),
        (b"[" * 1900, None, "BadRequest"),
        (b'{"v": 1, "id": [], "do": "ping"}', None, "BadRequest"),
        (b'{"v": 2, "id": 5, "do": "ping"}', 5, "BadVersion"),
        (b'{"v": true, "id": 5, "do": "ping"}', 5, "BadVersion"),
        (b'{"id": "x", "do": "ping"}', "x", "BadVersion"),
        (b'{"v": 1, "id": 6}', 6, "BadRequest"),
        (b'{"v": 1, "id": 6, "do": 7}', 6, "BadRequest"),
        (b'{"v": 1, "id": 7, "do": "dance"}', 7, "UnknownRequest"),
        (b'{"v": 1, "id": 7, "do": "__init__"}', 7, "UnknownRequest"),
        (b'{"v": 1, "id": 8, "do": "ping", "loud": 1}', 8, "ConfigurationError"),
        (b'{"v": 1, "id": 8, "do": "events", "loud": 1}', 8, "ConfigurationError"),
        (b'{"v": 1, "id": 9, "do": "emancipate", "slave": "fast", "timeout": 1e999}', 9, "ConfigurationError"),
        (b'{"v": 1, "id": 9, "do": "emancipate", "slave": {"a": 1}}', 9, "NotEnslaved"),
    ],
)
async def test_bad_requests_are_answered(
    server: ControlServer, client: ControlClient, line: bytes, identifier: object, kind: str
) -> None:
    (answer,) = await raw(server.path, line + b"\n")
    assert (answer["id"], answer["ok"], answer["error"]["kind"]) == (identifier, False, kind)
    assert answer["error"]["text"]
    assert (await client.ping())["pid"] == os.getpid()


async def test_several_requests_at_once_and_a_last_line_without_its_end(server: ControlServer) -> None:
    request = b'{"v":1,"id":%d,"do":"ping"}'
    answers = await raw(server.path, request % 1 + b"\n\n  \nwhat?\n" + request % 2)
    assert [(answer["id"], answer["ok"]) for answer in answers] == [(1, True), (None, False), (2, True)]


async def test_megabytes(server: ControlServer, client: ControlClient) -> None:
    answers = await raw(server.path, b"x" * 1_000_000)
    assert [answer["error"]["kind"] for answer in answers] == ["TooLong"]
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(b"x" * 2100)
    assert json.loads(await reader.readline())["error"]["kind"] == "TooLong"
    assert await reader.read() == b""
    writer.close()
    assert (await client.ping())["pid"] == os.getpid()


async def test_nothing(server: ControlServer, client: ControlClient) -> None:
    (answer,) = await raw(server.path, b'{"v":', eof=False)
    assert answer["error"]["kind"] == "Idle"
    assert await raw(server.path, b"") == []
    assert (await client.ping())["pid"] == os.getpid()  # it was silent, too, and connects anew


async def test_many_clients(server: ControlServer) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(ControlClient(server.path, timeout=5)) for _ in range(4)]
        assert [(await client.ping())["pid"] for client in clients] == [os.getpid()] * 4
        for _ in range(5):
            async with ControlClient(server.path) as one_too_many:
                with pytest.raises((RequestRefused, ControlUnavailable)):
                    await one_too_many.ping()
        assert (await clients[0].ping())["pid"] == os.getpid()
    async with ControlClient(server.path) as client:
        assert await client.ping()


async def test_answers_that_nobody_reads(server: ControlServer, client: ControlClient, bond: Master) -> None:
    sock = socket.socket(socket.AF_UNIX)
    with sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        await asyncio.get_running_loop().sock_connect(sock, server.path)
        request = b'{"v":1,"id":1,"do":"status"}\n' * 50
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while True:  # until it is dropped
                    await asyncio.get_running_loop().sock_sendall(sock, request)
        while len(server._clients) > 1:
            await asyncio.sleep(0.01)
    assert (await client.status())["up"]


async def test_half_closed_listener_gets_its_events(server: ControlServer, bond: Master) -> None:
    """As from a shell: ``echo '{...}' | nc -U``, which closes its sending side."""
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(b'{"v":1,"id":1,"do":"events"}')
    writer.write_eof()
    assert json.loads(await reader.readline())["ok"]
    await asyncio.sleep(0.1)
    bond.set_rate(bond.slaves[0], 1200)
    assert json.loads(await reader.readline())["event"]["event"] == "RateChanged"
    writer.close()
    while server._clients:  # and the end of it is noticed without another event
        await asyncio.sleep(0.05)
    gc.collect()
    assert not bond._hub.streams


async def test_a_request_that_fails_inside(
    server: ControlServer, client: ControlClient, bond: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(bond, "stats", broken)
    with pytest.raises(RequestRefused) as caught:
        await client.status()
    assert caught.value.kind == "InternalError"
    assert "secret detail" not in str(caught.value)
    monkeypatch.undo()
    assert (await client.status())["up"]


async def test_closing_with_clients(bond: Master, tmp_path: Path) -> None:
    server = ControlServer(bond, tmp_path / "c.sock")
    await server.start()
    client = ControlClient(server.path)
    await client.ping()
    events = client.events()
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0.05)
    await server.close()
    with pytest.raises(ControlUnavailable, match="has stopped"):
        await waiting
    with pytest.raises(ControlUnavailable):
        await client.ping()
    with pytest.raises(ControlUnavailable, match="no bond runs there"):
        await client.ping()
    assert os.listdir(tmp_path) == []
    await server.close()


# -- the socket itself


async def test_mode_and_owner(server: ControlServer, client: ControlClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stat.S_IMODE(os.stat(server.path).st_mode) == 0o600
    assert await client.ping()
    monkeypatch.setattr(server_module, "peer_uid", lambda sock: os.geteuid() + 12345)
    (answer,) = await raw(server.path, b'{"v":1,"id":1,"do":"ping"}\n')
    assert answer["error"]["kind"] == "NotPermitted"
    async with ControlClient(server.path) as stranger:
        with pytest.raises(RequestRefused, match="only the bond's owner"):
            await stranger.ping()


async def test_a_live_instance_keeps_the_socket(server: ControlServer, client: ControlClient, bond: Master) -> None:
    with pytest.raises(SocketInUse, match="another eqlbond runs there"):
        await ControlServer(bond, server.path).start()
    os.unlink(server.path + ".lock")  # somebody cleaned up too much; the socket itself still tells
    with pytest.raises(SocketInUse):
        await ControlServer(bond, server.path).start()
    assert await client.ping()


async def test_a_stale_socket_is_taken_over(bond: Master, tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()
    (tmp_path / "c.sock.lock").touch()
    async with ControlServer(bond, path), ControlClient(path) as client:
        assert await client.ping()
    assert os.listdir(tmp_path) == []


async def test_what_is_no_socket_is_left_alone(bond: Master, tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    path.write_text("precious")
    with pytest.raises(ControlError, match="something else than a socket"):
        await ControlServer(bond, path).start()
    assert path.read_text() == "precious"
    with pytest.raises(ControlError, match="No such file or directory"):
        await ControlServer(bond, tmp_path / "no" / "c.sock").start()
    with pytest.raises(ConfigurationError, match="107 bytes"):
        ControlServer(bond, tmp_path / ("x" * 120))
    assert os.listdir(tmp_path) == ["c.sock"]


def test_the_default_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_socket({"EQLBOND_SOCKET": "/x", "XDG_RUNTIME_DIR": "/run/user/7"}) == "/x"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_socket({"XDG_RUNTIME_DIR": "/run/user/7"}) == "/run/user/7/eqlbond.sock"
    with pytest.raises(ConfigurationError, match="EQLBOND_SOCKET"):
        default_socket({})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_socket({"XDG_RUNTIME_DIR": "/run/user/7"}) == "/run/eqlbond.sock"
