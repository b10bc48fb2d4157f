"""The pump between a descriptor and a bond; a socket that keeps packets apart stands for the TUN device."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

import pytest

from eqlbond import FqCoDel, Master
from eqlbond.tun.pump import BATCH, TunPump
from tests.aio.memory import Cable, cables
from tests.codec.test_ip import v4, v6
from tests.codec.test_mss import MSS, mss_of, summed, tcp


class Router:
    """A bond with a pump at one end, and a plain bond at the other."""

    pump: TunPump

    def __init__(
        self, lines: list[Cable], *, rate: float | None, mtu: int, size: int, mss: int | None, **options
    ) -> None:
        self.lines = lines
        self.near = Master([line.a.slave(rate) for line in lines], mtu=mtu, close_timeout=0.2, **options)
        self.far = Master([line.b.slave(rate) for line in lines], mtu=mtu, close_timeout=0.2)
        self.system, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.device = device
        for end in (self.system, device):
            end.setblocking(False)
        self.size, self.mss = size, mss
        self.failures: list[OSError] = []

    def send(self, packet: bytes) -> None:
        """As the system does."""
        self.system.send(packet)

    def received(self) -> list[bytes]:
        """What the system has got."""
        packets = []
        with contextlib.suppress(BlockingIOError):
            while True:
                packets.append(self.system.recv(65536))
        return packets

    async def gets(self, count: int) -> list[bytes]:
        """The next packets at the far end."""
        async with asyncio.timeout(10):
            return [(await self.far.receive()).payload for _ in range(count)]


@contextlib.asynccontextmanager
async def router(
    lines: int = 1, *, rate: float | None = None, mtu: int = 1500, size: int = 1500, mss: int | None = None, **options
) -> AsyncIterator[Router]:
    made = Router(cables(lines), rate=rate, mtu=mtu, size=size, mss=mss, **options)
    try:
        async with made.near, made.far:
            pump = made.pump = TunPump(made.device.fileno(), made.near, size, mss=mss, on_failure=made.failures.append)
            pump.start()
            yield made
            pump.close()
    finally:
        made.system.close()
        made.device.close()


def udp(size: int, number: int = 0, fragment: int = 0) -> bytes:
    return v4(17, number.to_bytes(4, "big").ljust(size - 20, b"."), fragment=fragment)


async def test_packets_out() -> None:
    async with router() as r:
        packets = [udp(100 + n, n) for n in range(80)] + [v6(17, bytes(500))]
        for packet in packets:
            r.send(packet)
        assert await r.gets(81) == packets
        stats = r.pump.stats()
        assert (stats.packets_read, stats.bytes_read) == (81, sum(map(len, packets)))
        assert stats.dropped == {}


async def test_packets_in() -> None:
    async with router() as r:
        packets = [udp(100 + n, n) for n in range(80)]
        for packet in packets:
            await r.far.send(packet)
        await asyncio.sleep(0.05)
        assert r.received() == packets
        stats = r.pump.stats()
        assert (stats.packets_written, stats.bytes_written) == (80, sum(map(len, packets)))


async def test_a_wake_up_reads_a_batch_and_no_more(monkeypatch) -> None:
    batches = []
    async with router() as r:
        send_batch = r.near.send_batch

        def counted(packets: list[bytes]) -> None:
            batches.append(len(packets))
            send_batch(packets)

        monkeypatch.setattr(r.near, "send_batch", counted)
        for n in range(3 * BATCH + 1):
            r.send(udp(60, n))
        await r.gets(3 * BATCH + 1)
    assert batches == [BATCH, BATCH, BATCH, 1]


async def test_it_does_not_read_while_the_bond_is_full() -> None:
    async with router(rate=9600, queue_bytes=4000) as r:
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < 400:
                r.send(udp(1000, sent))
                sent += 1
        await asyncio.sleep(0.2)
        assert r.near.full
        read = r.pump.stats().packets_read
        assert 4 <= read <= 7
        assert sent > 20
        r.near.set_rate(r.near.slaves[0], None)
        packets = await r.gets(sent)
        assert packets == [udp(1000, n) for n in range(sent)]
        assert r.pump.stats().packets_read == sent


async def test_with_a_queue_of_its_own_the_bond_is_read_on_and_drops() -> None:
    async with router(rate=9600, queue=FqCoDel(limit=20_000)) as r:
        for n in range(200):
            with contextlib.suppress(BlockingIOError):
                r.send(udp(1000, n))
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        stats = r.near.stats()
        assert r.pump.stats().packets_read > 100
        assert stats.dropped["queue limit"] > 50
        assert not r.near.full


async def test_the_interface_is_full() -> None:
    async with router() as r:
        big = 400
        for n in range(big):
            await r.far.send(udp(1500, n))
        await asyncio.sleep(0.1)
        stats = r.pump.stats()
        got = len(r.received())
        assert 0 < got < big
        assert stats.dropped == {"the interface is full": big - got}
        assert stats.packets_written == got


async def test_mss_in_both_directions() -> None:
    syn = summed(v4(6, tcp(MSS + b"\x05\xb4")))
    async with router(mtu=576, mss=576) as r:
        r.send(syn)
        r.send(udp(100))
        assert [mss_of(packet) for packet in (await r.gets(2))[:1]] == [536]
        await r.far.send(syn)
        await r.far.send(udp(100))
        await asyncio.sleep(0.05)
        first, second = r.received()
        assert (mss_of(first), second) == (536, udp(100))
        assert r.pump.stats().clamped == 2


async def test_without_clamping_the_mss_stays() -> None:
    syn = summed(v4(6, tcp(MSS + b"\x05\xb4")))
    async with router(mtu=576) as r:
        r.send(syn)
        assert await r.gets(1) == [syn]


@pytest.mark.parametrize("packet", [udp(1000, fragment=0x4000), v6(17, bytes(960))])
async def test_a_sender_is_told_what_fits(packet: bytes) -> None:
    async with router(mtu=576) as r:
        r.send(udp(576, 1))
        r.send(packet)
        r.send(udp(576, 2))
        assert await r.gets(2) == [udp(576, 1), udp(576, 2)]
        [error] = r.received()
        assert error[20:22] == b"\x03\x04" if packet[0] >> 4 == 4 else error[40:42] == b"\x02\x00"
        stats = r.pump.stats()
        assert (stats.errors_sent, stats.dropped) == (1, {"too big": 1})


async def test_errors_are_limited() -> None:
    async with router(mtu=576) as r:
        for n in range(100):
            r.send(udp(1000, n, fragment=0x4000))
            await asyncio.sleep(0)
        r.send(udp(100))
        await r.gets(1)
        assert 20 <= len(r.received()) < 40
        assert r.pump.stats().dropped == {"too big": 100}


async def test_a_packet_that_may_be_cut_is_cut() -> None:
    async with router(mtu=576) as r:
        r.send(udp(1400))
        pieces = await r.gets(3)
        assert [len(piece) for piece in pieces] == [572, 572, 296]
        assert r.pump.stats().fragmented == 1


async def test_a_packet_that_the_read_has_cut_is_dropped() -> None:
    async with router(size=576) as r:
        r.send(udp(1000))
        r.send(udp(100))
        assert await r.gets(1) == [udp(100)]
        assert list(r.pump.stats().dropped.values()) == [1]


async def test_the_descriptor_fails() -> None:
    async with router() as r:
        r.system.close()
        await r.far.send(udp(100))
        await asyncio.sleep(0.05)
        assert len(r.failures) == 1
        assert sum(r.pump.stats().dropped.values()) == 1


async def test_what_arrived_before_is_written_at_once() -> None:
    async with router() as r:
        r.pump.close()
        await r.far.send(udp(100, 1))
        await asyncio.sleep(0.05)
        assert r.received() == []
        r.pump.start()
        assert r.received() == [udp(100, 1)]


async def test_the_packets_have_one_taker() -> None:
    async with router() as r:
        with pytest.raises(RuntimeError, match="on_packets"):
            TunPump(r.device.fileno(), r.near, 1500).start()
        r.pump.close()
        r.pump.close()
        waiting = asyncio.create_task(r.near.receive())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            r.pump.start()
        waiting.cancel()


async def test_the_bond_closes_first() -> None:
    async with router() as r:
        await r.near.close()
        r.send(udp(100))
        await asyncio.sleep(0.05)
        assert r.pump.stats().dropped == {"the bond is closed": 1}
        assert os.fstat(r.device.fileno())  # it is still the caller's
