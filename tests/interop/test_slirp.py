"""Against slirp, a userland network that speaks PPP and SLIP on a tty and that nobody here wrote.

All of it is run as an ordinary user: slirp, the pty, and the bond; but for `eqlbond run`, which makes an interface.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import os
import random
import re
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from eqlbond import Master, NetworkUp, OptionRefused, PhaseChanged, SlaveDown
from tests.aio.memory import drive
from tests.interop.datagrams import ACK, FIN, ICMP, PSH, RST, SYN, TCP, Datagram, Segment, echo_request, tcp
from tests.interop.pages import shown, with_devices
from tests.interop.routers import Router, ping, serving, until
from tests.interop.slirp import CONTROL, HERE, HOST, PROGRAM, PROMPT, Slirp
from tests.interop.users import NOBODY, as_ordinary_user

pytestmark = pytest.mark.interop

PAGE = "slirp.md"
KINDS = ("slip", "ppp")
PROGRAM_OF_PAGE: dict[str, Any] = {}
exec(shown(PAGE, "python")[0], PROGRAM_OF_PAGE)  # here, as the ordinary user may not read root's Python


def real(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(**options: object) -> None:
        async def checked() -> None:
            assert os.geteuid() != 0
            await asyncio.wait_for(test(**options), 60)

        as_ordinary_user(lambda: drive(checked, asyncio.new_event_loop))

    return run


BOTH = pytest.mark.parametrize("kind", KINDS)


def slirp(kind: str, *by: str, user: int = -1) -> Slirp:
    """By the page's command."""
    program, *options = shown(PAGE, "sh")[KINDS.index(kind)].split()
    assert program == PROGRAM
    return Slirp(*options, by=by, user=user)


def ours(peer: Slirp, kind: str) -> str:
    """The page's file."""
    return with_devices(shown(PAGE, "toml")[KINDS.index(kind)], [peer.path])


def bond(peer: Slirp, kind: str) -> Master:
    """Of the page's file, in the page's way."""
    master: Master = PROGRAM_OF_PAGE["bond"](ours(peer, kind))
    return master


async def receive(master: Master, protocol: int, seconds: float = 5.0) -> Datagram:
    """The next datagram of this protocol."""
    async with asyncio.timeout(seconds):
        while True:
            packet = await master.receive()
            if packet.payload[:1] and packet.payload[0] >> 4 == 4:
                datagram = Datagram.parse(packet.payload)
                if datagram.protocol == protocol:
                    return datagram


async def ready(master: Master, peer: Slirp) -> None:
    """Until slirp answers: over SLIP nothing else tells that its banner is over."""
    await master.wait_open(15)
    for _ in range(20):
        await master.send(echo_request(HERE, HOST, 1, 0, b"are you there?"))
        try:
            await receive(master, ICMP, 0.5)
        except TimeoutError:
            continue
        return
    raise AssertionError(f"slirp does not answer; it said {bytes(peer.seen[-2000:])!r}")


class Connection:
    """TCP of the simplest kind: it takes segments in order, and answers each at once."""

    def __init__(self, master: Master, target: str, port: int, of: int) -> None:
        self._master, self._target, self._ports = master, target, (of, port)
        self._sequence, self._expected = 1000, 0

    async def _say(self, flags: int, data: bytes = b"") -> None:
        await self._master.send(tcp(HERE, self._target, self._ports, self._sequence, self._expected, flags, data))
        self._sequence += len(data)

    async def _heard(self) -> Segment:
        """The next segment of this connection."""
        while True:
            segment = Segment.parse((await receive(self._master, TCP)).payload)
            if segment.ports == self._ports[::-1]:
                assert not segment.flags & RST
                return segment

    async def open(self) -> None:
        await self._say(SYN)
        answer = await self._heard()
        assert answer.flags & (SYN | ACK) == SYN | ACK
        self._sequence, self._expected = 1001, answer.sequence + 1 & 0xFFFFFFFF
        await self._say(ACK)

    async def send(self, data: bytes) -> None:
        for at in range(0, len(data), 1000):
            await self._say(ACK | PSH, data[at : at + 1000])

    async def receive(self, end: bytes | None = None) -> bytes:
        """What comes, until it ends so; by default until the peer closes the connection, and then we do."""
        got = bytearray()
        while end is None or not got.endswith(end):
            segment = await self._heard()
            if segment.sequence == self._expected:
                got += segment.data
                self._expected = self._expected + len(segment.data) & 0xFFFFFFFF
                if segment.flags & FIN:
                    self._expected = self._expected + 1 & 0xFFFFFFFF
                    await self._say(ACK | FIN)
                    return bytes(got)
            if segment.data:
                await self._say(ACK)
        return bytes(got)


async def fetch(master: Master, port: int, request: bytes) -> bytes:
    """What a service of this machine says to that."""
    connection = Connection(master, HOST, port, 40000)
    await connection.open()
    await connection.send(request)
    return await connection.receive()


class Control:
    """slirp's own command line, which is where it tells what it has counted."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._connection = Connection(master, CONTROL, 23, 40023)

    async def open(self) -> None:
        await self._connection.open()
        await self._connection.receive(PROMPT)

    async def _ask(self, what: str, *patterns: str) -> list[int]:
        """The numbers in that place of its statistics."""
        await self._connection.send(f"stats {what}\r\n".encode())
        told = (await self._connection.receive(PROMPT)).decode()
        found = re.search(".*?".join(patterns), told, re.DOTALL)
        assert found, told
        return [int(number) for number in found.groups()]

    async def differences(self) -> list[int]:
        """By how much slirp's counts of what came exceed ours of what went, in packets and in bytes; and the other way.

        The control frames of PPP are packets to slirp's line, and none to us. The line counts nothing that goes ("0
        output packets"), so that is taken from its TCP and its ICMP. A question has come when it is answered, and what
        answers it has not gone then.
        """
        while (line := self._master.stats().lines[0]).planned_packets:
            await asyncio.sleep(0.02)
        came, size, dropped, bad = await self._ask(
            "alltty",
            r"(\d+) input packets received \((\d+) bytes\)",
            r"(\d+) input packets dropped",
            r"(\d+) bad input",
        )
        assert dropped == bad == 0
        question = 20 + 20 + len("stats alltty\r\n")
        replies = (await self._ask("icmp", r"(\d+) ICMP packets sent in reply"))[0]
        received = self._master.stats().lines[0].packets_received
        segments = (await self._ask("tcp", r"(\d+) packets sent"))[0]
        return [came - line.packets_sent - 1, size - line.payload_sent - question, segments + replies - received]

    async def at_rest(self) -> list[int]:
        """The same, once nothing is on its way."""
        now = await self.differences()
        for _ in range(20):
            before, now = now, await self.differences()
            if before == now:
                return now
        raise AssertionError(f"the counts never come to rest: {before}, {now}")


@contextlib.asynccontextmanager
async def counted(master: Master) -> AsyncIterator[None]:
    """What goes and comes meanwhile is counted by slirp as it is here."""
    control = Control(master)
    await control.open()
    before = await control.at_rest()
    yield
    after = await control.at_rest()
    assert after == before, f"the ends count differently: {before}, {after}"


@real
async def test_lcp_and_ipcp_are_negotiated() -> None:
    async with slirp("ppp") as peer:
        master = bond(peer, "ppp")
        events = master.events()
        async with master:
            await master.wait_open(15)
            assert master.addresses.local == IPv4Address(HERE)
            assert master.addresses.peer == IPv4Address(HOST), "slirp asks for an address and gets this one"
            assert master.stats().lines[0].state == "up"
        seen = [event async for event in events]
    phases = [event.phase for event in seen if isinstance(event, PhaseChanged)]
    assert phases[:2] == ["establish", "network"]
    assert phases[-1] == "dead"
    assert any(isinstance(event, NetworkUp) and event.protocol == 0x21 for event in seen)
    refused = [event for event in seen if isinstance(event, OptionRefused)]
    assert any(event.protocol == "IPCP" for event in refused), "Van Jacobson compression"
    assert [event.reason for event in seen if isinstance(event, SlaveDown)] == ["closed"]


@BOTH
@real
async def test_pings_are_answered_through_the_bond(kind: str) -> None:
    rng = random.Random(1)
    async with slirp(kind) as peer, bond(peer, kind) as master:
        await ready(master, peer)
        async with counted(master):
            for number, size in enumerate((0, 1, 56, 500, 1000, 1472), start=1):
                data = rng.randbytes(size)
                await master.send(echo_request(HERE, HOST, 77, number, data))
                while True:
                    answer = await receive(master, ICMP)
                    answer_kind, _, _, identifier, of = struct.unpack_from("!BBHHH", answer.payload)
                    if identifier == 77:
                        break
                assert (answer.source, answer.target) == (HOST, HERE)
                assert (answer_kind, of, answer.payload[8:]) == (0, number, data)
        dropped = {reason: n for reason, n in master.stats().lines[0].dropped.items() if n}
        assert len(dropped) <= 2, f"the banner, and no more: {dropped}"


@BOTH
@real
async def test_tcp_to_a_service_of_this_machine(kind: str) -> None:
    """Both ways: the service answers with the checksum of what it got, and data of its own."""
    rng = random.Random(3)
    question, data = rng.randbytes(3000), rng.randbytes(20_000)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hashlib.sha256(await reader.readexactly(len(question))).digest() + data)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        async with slirp(kind) as peer, bond(peer, kind) as master:
            assert os.stat(f"/proc/{peer.pid}").st_uid == os.geteuid()
            await ready(master, peer)
            async with counted(master):
                got = await fetch(master, port, question)
            assert got[:32] == hashlib.sha256(question).digest()
            assert hashlib.sha256(got[32:]).digest() == hashlib.sha256(data).digest()
            line = master.stats().lines[0]
            assert line.packets_received > 20000 / 1500
            assert line.packets_sent > 4
    finally:
        server.close()
        await server.wait_closed()


ELSEWHERE = "192.0.2.1"
"""An address that the namespace of slirp has, and that of the router has no other way to than its default route."""

FETCH = """
import hashlib, sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=30) as answer:
    print(hashlib.sha256(answer.read()).hexdigest())
"""


@contextlib.contextmanager
def world(directory: Path) -> Iterator[Router]:
    """A network namespace for slirp, with nothing but itself in it."""
    made = Router(directory, "world", "")
    try:
        made.sh("ip", "link", "set", "lo", "up")
        made.sh("ip", "address", "add", f"{ELSEWHERE}/32", "dev", "lo")
        yield made
    finally:
        made.remove()


@BOTH
async def test_a_router_has_its_default_route_by_slirp(kind: str, tmp_path: Path) -> None:
    """`eqlbond run` by the page's file, which takes root; slirp is an ordinary user's process in another namespace."""
    web = tmp_path / "web"
    web.mkdir()
    data = random.Random(4).randbytes(20_000)
    (web / "file").write_bytes(data)

    def check(router: Router, outside: Router) -> None:
        router.start()
        until(lambda: router.up(1))
        until(lambda: answered(router))
        assert len(ping(router, HOST, 3, size=1400)) == 3
        assert f"{HERE} peer {HOST}" in router.sh("ip", "address", "show", "dev", "eql0")
        assert router.sh("ip", "route", "show", "default").startswith("default dev eql0")
        with serving(outside, web, "0.0.0.0") as served:
            for address in (HOST, ELSEWHERE):
                got = router.sh(sys.executable, "-c", FETCH, served.replace("0.0.0.0", address) + "/file")
                assert got.strip() == hashlib.sha256(data).hexdigest()
        assert router.terminate()[0] == 0
        assert router.interfaces() == ["lo"]

    with world(tmp_path) as outside:
        ordinary = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        async with slirp(kind, *outside.inside, *ordinary, user=NOBODY) as peer:
            router = Router(tmp_path, "router", f'{ours(peer, kind)}\n[control]\nsocket = "router.sock"\n')
            try:
                await asyncio.to_thread(check, router, outside)
                assert os.stat(f"/proc/{peer.pid}").st_uid == NOBODY
            finally:
                router.remove()


def answered(router: Router) -> bool:
    """Whether slirp answers: over SLIP nothing else tells that its banner is over."""
    with contextlib.suppress(AssertionError):
        return bool(router.sh("ping", "-n", "-c", "1", "-W", "1", HOST))
    return False
