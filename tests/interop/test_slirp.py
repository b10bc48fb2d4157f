"""Against slirp, a userland network that speaks PPP and SLIP on a tty and that nobody here wrote.

All of it is run as an ordinary user: slirp, the pty, and the bond.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import random
import struct
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from typing import Any

import pytest

from eqlbond import Master, NetworkUp, OptionRefused, PhaseChanged, SlaveDown
from tests.aio.memory import drive
from tests.interop.datagrams import ACK, FIN, ICMP, PSH, RST, SYN, TCP, Datagram, Segment, echo_request, tcp
from tests.interop.pages import shown, with_devices
from tests.interop.slirp import HERE, HOST, PROGRAM, Slirp
from tests.interop.users import as_ordinary_user

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


def slirp(kind: str) -> Slirp:
    """By the page's command."""
    program, *options = shown(PAGE, "sh")[KINDS.index(kind)].split()
    assert program == PROGRAM
    return Slirp(*options)


def bond(peer: Slirp, kind: str) -> Master:
    """Of the page's file, in the page's way."""
    master: Master = PROGRAM_OF_PAGE["bond"](with_devices(shown(PAGE, "toml")[KINDS.index(kind)], [peer.path]))
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
            got = await _fetch(master, port, question)
            assert got[:32] == hashlib.sha256(question).digest()
            assert hashlib.sha256(got[32:]).digest() == hashlib.sha256(data).digest()
            line = master.stats().lines[0]
            assert line.packets_received > 20000 / 1500
            assert line.packets_sent > 4
    finally:
        server.close()
        await server.wait_closed()


async def _fetch(master: Master, port: int, request: bytes) -> bytes:
    """A connection of the simplest kind: it takes segments in order, and answers each at once."""
    ports = 40000, port
    await master.send(tcp(HERE, HOST, ports, 1000, 0, SYN))
    answer = Segment.parse((await receive(master, TCP)).payload)
    assert answer.flags & (SYN | ACK) == SYN | ACK
    sequence, expected = 1001, answer.sequence + 1 & 0xFFFFFFFF
    await master.send(tcp(HERE, HOST, ports, sequence, expected, ACK))
    for at in range(0, len(request), 1000):
        await master.send(tcp(HERE, HOST, ports, sequence, expected, ACK | PSH, request[at : at + 1000]))
        sequence += len(request[at : at + 1000])
    got = bytearray()
    while True:
        segment = Segment.parse((await receive(master, TCP)).payload)
        assert not segment.flags & RST
        if segment.ports == (port, ports[0]) and segment.sequence == expected:
            got += segment.data
            expected = expected + len(segment.data) & 0xFFFFFFFF
            if segment.flags & FIN:
                await master.send(tcp(HERE, HOST, ports, sequence, expected + 1 & 0xFFFFFFFF, ACK | FIN))
                return bytes(got)
        await master.send(tcp(HERE, HOST, ports, sequence, expected, ACK))
