"""Against slirp, a userland network that speaks PPP and SLIP on a tty and that nobody here wrote."""

from __future__ import annotations

import asyncio
import functools
import random
import struct
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address

import pytest

from eqlbond import Master, NetworkUp, OptionRefused, PhaseChanged, Ppp, SerialSlave, SlaveDown, Slip
from eqlbond.ppp.config import IpOptions
from tests.aio.memory import drive
from tests.interop.datagrams import ACK, FIN, ICMP, PSH, RST, SYN, TCP, Datagram, Segment, echo_request, tcp
from tests.interop.slirp import HERE, HOST, Slirp

pytestmark = pytest.mark.interop

SPEAK_PPP = Ppp(ip=IpOptions(local=HERE, peer=HOST))


def real(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(**options: object) -> None:
        drive(lambda: asyncio.wait_for(test(**options), 30), asyncio.new_event_loop)

    return run


BOTH = pytest.mark.parametrize(("options", "framing"), [(("-P",), SPEAK_PPP), ((), Slip())], ids=["ppp", "slip"])


async def bond(peer: Slirp, framing: Ppp | Slip) -> Master:
    return Master([SerialSlave(peer.path, 115200, rate=None, framing=framing, name="to slirp")], mtu=1500)


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
    async with Slirp("-P") as peer:
        master = await bond(peer, SPEAK_PPP)
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
async def test_pings_are_answered_through_the_bond(options: tuple[str, ...], framing: Ppp | Slip) -> None:
    rng = random.Random(1)
    async with Slirp(*options) as peer, await bond(peer, framing) as master:
        await ready(master, peer)
        for number, size in enumerate((0, 1, 56, 500, 1000, 1472), start=1):
            data = rng.randbytes(size)
            await master.send(echo_request(HERE, HOST, 77, number, data))
            while True:
                answer = await receive(master, ICMP)
                kind, _, _, identifier, of = struct.unpack_from("!BBHHH", answer.payload)
                if identifier == 77:
                    break
            assert (answer.source, answer.target) == (HOST, HERE)
            assert (kind, of, answer.payload[8:]) == (0, number, data)
        dropped = {reason: n for reason, n in master.stats().lines[0].dropped.items() if n}
        assert len(dropped) <= 2, f"the banner, and no more: {dropped}"


@BOTH
@real
async def test_tcp_to_a_service_of_this_machine(options: tuple[str, ...], framing: Ppp | Slip) -> None:
    data = random.Random(3).randbytes(20_000)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"give\n"
        writer.write(data)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        async with Slirp(*options) as peer, await bond(peer, framing) as master:
            await ready(master, peer)
            assert await _fetch(master, port, b"give\n") == data
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
    await master.send(tcp(HERE, HOST, ports, sequence, expected, ACK | PSH, request))
    sequence += len(request)
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
