"""TUN interfaces in network namespaces: addresses, routes, rights, and real packets."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from eqlbond import FqCoDel, IpOptions, Ipv6Options, Master, Multilink, Ppp
from eqlbond.exceptions import ConfigurationError, DeviceBusy, DeviceNotFound, LineError
from eqlbond.tun import Route, TunInterface, bridge
from eqlbond.tun.device import in_namespace
from tests.aio.memory import cables

from .conftest import run

pytestmark = pytest.mark.interop
pytest.importorskip("pyroute2")

ROOT = Path(__file__).resolve().parent.parent.parent
needs_ping = pytest.mark.skipif(shutil.which("ping") is None, reason="needs iputils-ping")


async def shell(command: str, namespace: str) -> str:
    """A command's output, while the loop goes on."""
    process = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", namespace, *command.split()),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, output.decode()
    return output.decode()


@contextlib.asynccontextmanager
async def two_routers(
    names: tuple[str, str],
    *,
    mtu: int = 1500,
    rate: float | None = 115200,
    master: dict[str, Any] | None = None,
    **options,
) -> AsyncIterator[tuple[TunInterface, TunInterface, Master, Master]]:
    lines = cables(2)
    more = {"mtu": mtu, "close_timeout": 0.5, "queue": FqCoDel(), **(master or {})}
    framing = more.pop("framing", lambda end: None)
    near = Master([line.a.slave(rate, framing=framing("a")) for line in lines], **more)
    far = Master([line.b.slave(rate, framing=framing("b")) for line in lines], **more)
    given = {"addresses": (["10.9.0.1/30", "fd09::1/64"], ["10.9.0.2/30", "fd09::2/64"]), **options}
    a, b = ({key: value[n] if isinstance(value, tuple) else value for key, value in given.items()} for n in (0, 1))
    async with (
        near,
        far,
        TunInterface("eqltest0", namespace=names[0], **a) as one,
        TunInterface("eqltest0", namespace=names[1], **b) as two,
    ):
        await one.attach(near)
        await two.attach(far)
        yield one, two, near, far


@needs_ping
async def test_ping_through(namespaces) -> None:
    async with two_routers(namespaces) as (one, two, _near, _far):
        assert " 0% packet loss" in await shell("ping -c 3 -i 0.2 10.9.0.2", namespaces[0])
        assert " 0% packet loss" in await shell("ping -c 3 -i 0.2 -s 1400 fd09::1", namespaces[1])
        assert one.stats().packets_read >= 6
        assert two.stats().packets_written >= 6
        assert "mtu 1500" in run("ip link show eqltest0", namespaces[0])
    assert run("ip -o link show", namespaces[0]).count("\n") == 1
    assert run("ip route", namespaces[0]) == ""


async def transfer(names: tuple[str, str], size: int) -> int:
    """A TCP transfer from one namespace to the other; returns how much arrived."""

    def make(namespace: str) -> socket.socket:
        with in_namespace(namespace):
            made = socket.socket()
        made.setblocking(False)
        return made

    loop = asyncio.get_running_loop()
    server, client = make(names[1]), make(names[0])
    with server, client:
        server.bind(("10.9.0.2", 7))
        server.listen()
        await loop.sock_connect(client, ("10.9.0.2", 7))
        connection, _ = await loop.sock_accept(server)
        with connection:
            sending = asyncio.create_task(loop.sock_sendall(client, os.urandom(size)))
            got = 0
            while got < size:
                got += len(await asyncio.wait_for(loop.sock_recv(connection, 65536), 20))
            await sending
    return got


@pytest.mark.parametrize("queue", [None, FqCoDel()])
async def test_tcp_over_lines_without_a_rate(namespaces, queue) -> None:
    async with two_routers(namespaces, rate=None, master={"queue": queue}) as (one, two, near, _far):
        assert await transfer(namespaces, 3_000_000) == 3_000_000
        assert one.stats().bytes_read > 3_000_000
        assert sum(two.stats().dropped.values()) == 0
        assert near.stats().packets_accepted > 2000


async def test_tcp_over_slow_lines_keeps_the_queue_short(namespaces) -> None:
    async with two_routers(namespaces, rate=1_000_000) as (_one, _two, near, _far):
        moving = asyncio.create_task(transfer(namespaces, 400_000))
        peak = 0
        while not moving.done():
            await asyncio.sleep(0.02)
            peak = max(peak, near.stats().queued_bytes)
        assert await moving == 400_000
        assert 10_000 < peak < 300_000


@needs_ping
async def test_ppp_sets_the_addresses(namespaces) -> None:
    def framing(end: str) -> Ppp:
        ours, theirs = ("10.8.0.1", "10.8.0.2") if end == "a" else ("10.8.0.2", "10.8.0.1")
        return Ppp(ip=IpOptions(local=ours, peer=theirs), ipv6=Ipv6Options())

    options = {"framing": framing, "multilink": Multilink(mrru=1500)}
    async with two_routers(namespaces, master=options, addresses=[], routes=("10.77.0.0/16", [])) as (
        one,
        _two,
        near,
        far,
    ):
        await near.wait_open(10)
        await far.wait_open(10)
        async with asyncio.timeout(5):
            while "10.8.0.1 peer 10.8.0.2/32" not in run("ip addr show eqltest0", namespaces[0]):
                await asyncio.sleep(0.05)
            while "10.8.0.2 peer" not in run("ip addr show eqltest0", namespaces[1]):
                await asyncio.sleep(0.05)
        assert " 0% packet loss" in await shell("ping -c 2 -i 0.2 10.8.0.2", namespaces[0])
        assert str(near.addresses.local6) in run("ip -6 addr show eqltest0", namespaces[0])
        assert " 0% packet loss" in await shell(f"ping -c 2 -i 0.2 {near.addresses.peer6}%eqltest0", namespaces[0])
        assert "10.77.0.0/16" in run("ip route", namespaces[0])
        assert one.stats().dropped == {}


# -- routes


async def test_a_default_route_and_how_it_goes_away(namespaces) -> None:
    here = namespaces[0]
    async with two_routers(namespaces, routes=(["default", "::/0", Route("10.1.0.0/16", metric=7)], ())):
        routes = run("ip route", here)
        assert "default dev eqltest0" in routes
        assert "10.1.0.0/16 dev eqltest0 proto static scope link metric 7" in routes
        assert "default dev eqltest0" in run("ip -6 route", here)
    assert run("ip route", here) == ""


@pytest.mark.parametrize("ecn", [True, False])
async def test_the_routes_ask_for_ecn(namespaces, ecn: bool) -> None:
    here = namespaces[0]
    tun = TunInterface(
        "eqltest0",
        addresses=["10.7.0.1/30", "fd77::1/64"],
        routes=["default", "10.1.0.0/16", "fd78::/64"],
        mtu=1500,
        ecn=ecn,
        namespace=here,
    )
    async with tun:
        for command, count in (("ip route", 3), ("ip -6 route", 2)):
            told = [line for line in run(command, here).splitlines() if "eqltest0" in line and line[:4] != "fe80"]
            assert len(told) == count, told
            assert all(("features ecn" in line) is ecn for line in told), told
    assert run("ip route", here) == ""


@pytest.mark.parametrize("metric", ["", "metric 100"])
async def test_an_existing_default_route_is_never_touched(namespaces, metric) -> None:
    here = namespaces[0]
    run("ip tuntap add dev dummy0 mode tap", here)
    run("ip address add 10.5.0.1/24 dev dummy0", here)
    run("ip link set dummy0 up", here)
    run(f"ip route add default via 10.5.0.254 {metric}", here)
    before = run("ip route", here)
    async with two_routers(namespaces, routes=("default", ())):
        assert "default via 10.5.0.254" in run("ip route", here)
        for address in ("8.8.8.8", "203.0.113.9"):
            assert "dev eqltest0" in run(f"ip route get {address}", here)
        assert "dev dummy0" in run("ip route get 10.5.0.7", here)
    assert run("ip route", here) == before


async def test_peers_are_point_to_point(namespaces) -> None:
    async with two_routers(namespaces, addresses=("10.9.0.1", "10.9.0.2"), peers=("10.9.0.2", "10.9.0.1")):
        assert "inet 10.9.0.1 peer 10.9.0.2/32" in run("ip addr show eqltest0", namespaces[0])
        assert "10.9.0.2 dev eqltest0 proto kernel scope link src 10.9.0.1" in run("ip route", namespaces[0])


# -- MTU


async def test_the_interface_has_the_bonds_mtu(namespaces) -> None:
    async with two_routers(namespaces, mtu=576, addresses=("10.9.0.1/30", "10.9.0.2/30")) as (one, *_):
        assert one.mtu == 576
        assert "mtu 576" in run("ip link show eqltest0", namespaces[0])
    with pytest.raises(ConfigurationError, match="IPv6"):
        async with two_routers(namespaces, mtu=576):
            pass


@needs_ping
async def test_an_interface_with_a_larger_mtu_is_told(namespaces) -> None:
    addresses = (["10.9.0.1/30", "fd09::1/64"], ["10.9.0.2/30", "fd09::2/64"])
    async with two_routers(namespaces, mtu=1280, addresses=addresses) as (one, _two, _near, _far):
        run("ip link set eqltest0 mtu 1500", namespaces[0])
        assert one._pump is not None
        one._pump.size = 1500
        for command in ("ping -c 3 -i 0.2 -M do -s 1400 10.9.0.2", "ping -c 3 -i 0.2 -M do -s 1400 fd09::2"):
            with pytest.raises(AssertionError) as caught:
                await shell(command, namespaces[0])
            assert "1280" in str(caught.value)
        assert one.stats().errors_sent == 2  # the system keeps it in mind
        assert " 0% packet loss" in await shell("ping -c 2 -i 0.2 -M dont -s 1400 10.9.0.2", namespaces[0])


# -- rights, and interfaces that were there before


def as_nobody(namespace: str, options: dict[str, object], without_pyroute2: bool) -> str:
    """Open an interface in a process without any right, in the namespace; what came of it."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about threads, of which the child needs none
        child = os.fork()
    if not child:
        try:
            os.close(reading)
            for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
                os.environ.pop(name, None)
            if without_pyroute2:
                sys.modules["pyroute2"] = None  # type: ignore[assignment]
            with in_namespace(namespace):
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                os.write(writing, asyncio.run(_attempt(options)).encode())
                os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with open(reading, encoding="utf-8") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


async def _attempt(options: dict[str, object]) -> str:
    try:
        async with TunInterface("eqltest0", **options) as tun:  # type: ignore[arg-type]
            return f"open {tun.name} {tun.mtu}"
    except Exception as error:
        return f"{type(error).__name__} {error}"


@pytest.fixture
def nobody(namespaces):
    """Opens interfaces as a user without rights, with a TUN device file that everybody may open."""
    importlib.import_module("pyroute2")  # the child may not be able to read it
    mode = os.stat("/dev/net/tun").st_mode & 0o777
    os.chmod("/dev/net/tun", 0o666)
    yield lambda without_pyroute2=False, **options: as_nobody(namespaces[0], options, without_pyroute2)
    os.chmod("/dev/net/tun", mode)


def test_without_rights_the_message_says_what_to_do(nobody) -> None:
    told = nobody()
    assert told.startswith("DevicePermission eqltest0:")
    assert "CAP_NET_ADMIN" in told
    assert "ip tuntap add dev eqltest0 mode tun user nobody" in told


def test_an_interface_that_was_made_for_the_user_needs_no_rights_and_no_pyroute2(nobody, namespaces) -> None:
    here = namespaces[0]
    run("ip tuntap add dev eqltest0 mode tun user nobody", here)
    run("ip link set eqltest0 up mtu 1400", here)
    assert nobody(without_pyroute2=True) == "open eqltest0 1400"
    run("ip address add 10.9.0.1/30 dev eqltest0", here)
    asked = {"addresses": "10.9.0.1/30", "mtu": 1400}
    assert nobody(**asked) == "open eqltest0 1400"
    assert "pip install 'eqlbond[tun]'" in nobody(without_pyroute2=True, **asked)
    for more in ({"addresses": "10.9.9.1/30"}, {"mtu": 1300}, {"routes": "default"}):
        told = nobody(**more)
        assert told.startswith("DevicePermission"), more
        assert "CAP_NET_ADMIN" in told
    run("ip link set eqltest0 down", here)
    assert "CAP_NET_ADMIN" in nobody()


def test_an_interface_of_another_user(nobody, namespaces) -> None:
    run("ip tuntap add dev eqltest0 mode tun user root", namespaces[0])
    assert "it belongs to another user" in nobody()


def test_a_device_file_that_may_not_be_opened(nobody) -> None:
    os.chmod("/dev/net/tun", 0o600)
    assert "chmod 666 /dev/net/tun" in nobody()


async def test_what_was_there_before_stays(namespaces) -> None:
    here = namespaces[0]
    run("ip tuntap add dev eqltest0 mode tun", here)
    run("ip address add 10.9.0.1/30 dev eqltest0", here)
    run("ip link set eqltest0 up", here)
    before = run("ip -4 -br addr show eqltest0", here)
    async with TunInterface(
        "eqltest0", addresses=["10.9.0.1/30", "10.9.1.1/30"], routes=["10.1.0.0/16"], namespace=here
    ):
        assert "10.9.1.1/30" in run("ip addr show eqltest0", here)
        assert "10.1.0.0/16" in run("ip route", here)
    assert run("ip -4 -br addr show eqltest0", here).split()[2:] == before.split()[2:]
    assert "10.1.0.0/16" not in run("ip route", here)


async def test_failures(namespaces) -> None:
    here = namespaces[0]
    run("ip tuntap add dev dummy0 mode tap", here)
    with pytest.raises(LineError, match="no TUN"):
        await TunInterface("dummy0", namespace=here).open()
    with pytest.raises(DeviceNotFound, match="no such network namespace"):
        await TunInterface("eqltest0", namespace="eqltest-none").open()
    with pytest.raises(LineError, match="no network namespace"):
        await TunInterface("eqltest0", namespace="/proc/self/status").open()
    async with TunInterface("eqltest0", namespace=here) as tun:
        with pytest.raises(DeviceBusy, match="another process"):
            await TunInterface("eqltest0", namespace=here).open()
        async with Master([cables(1)[0].a.slave()]) as master:
            await tun.attach(master)
            with pytest.raises(RuntimeError, match="attached"):
                await tun.attach(master)
    with pytest.raises(LineError, match="not open"):
        _ = tun.mtu
    with pytest.raises(LineError, match="not open"):
        tun.fileno()
    with pytest.raises(LineError, match="not open"):
        async with Master([cables(1)[0].a.slave()]) as master:
            await tun.attach(master)


async def test_a_bond_that_is_closed_cannot_be_attached(namespaces) -> None:
    master = Master([cables(1)[0].a.slave()])
    with pytest.raises(Exception, match="not open"):
        async with bridge(TunInterface("eqltest0", namespace=namespaces[0]), master):
            pass
    assert "eqltest0" not in run("ip link", namespaces[0])


async def test_the_kernel_chooses_a_number(namespaces) -> None:
    async with (
        TunInterface("eqt%d", namespace=namespaces[0]) as one,
        TunInterface("eqt%d", namespace=namespaces[0]) as two,
    ):
        assert (one.name, two.name) == ("eqt0", "eqt1")


async def test_the_interface_is_deleted_meanwhile(namespaces, caplog) -> None:
    async with two_routers(namespaces) as (one, _two, _near, far):
        run("ip link del eqltest0", namespaces[0])
        await asyncio.sleep(0.1)
        assert "cannot be read any more" in caplog.text
        far.send_batch([bytes([0x45]) + bytes(99)])
        await asyncio.sleep(0.1)
        assert sum(one.stats().dropped.values()) >= 1  # the system at the other end sends some, too


async def test_it_may_be_used_again(namespaces) -> None:
    tun = TunInterface("eqltest0", addresses="10.9.0.1/30", namespace=namespaces[0])
    for _ in range(2):
        async with tun:
            for _ in range(2):
                async with Master([cables(1)[0].a.slave()]) as master:
                    await tun.attach(master)
                    await tun.detach()
                    master.deliver_to(print)  # the packets are anybody's again
        assert "closed" in repr(tun)


async def test_nothing_is_left_open(namespaces) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async with two_routers(namespaces):
        pass
    before = descriptors()
    for _ in range(3):
        async with two_routers(namespaces):
            pass
    await asyncio.sleep(0.05)
    assert descriptors() <= before


def test_a_killed_process_leaves_nothing(namespaces) -> None:
    here = namespaces[0]
    program = (
        "import asyncio; from eqlbond.tun import TunInterface\n"
        "async def main():\n"
        f" with_ = dict(addresses='10.9.0.1/30', mtu=1500, routes='default', namespace={here!r})\n"
        " async with TunInterface('eqltest0', **with_):\n"
        "  print('open', flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        assert "default dev eqltest0" in run("ip route", here)
        process.send_signal(signal.SIGKILL)
    assert run("ip route", here) == ""
    assert "eqltest0" not in run("ip link", here)
