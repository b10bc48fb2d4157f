"""Lines over TCP, on the loopback interface: opening, its failures, data, flow control and closing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from eqlbond import ConfigurationError, DeviceNotFound, Hdlc, LineError, Master, NetworkSlave, SettingRefused, SlaveDown
from eqlbond.aio.netline import SEND_BUFFER, RemoteComPort
from eqlbond.aio.slave import Connection
from eqlbond.codec.rfc2217 import (
    BINARY,
    DO,
    DONT,
    FROM_SERVER,
    IAC,
    WILL,
    WONT,
    Negotiation,
    Subnegotiation,
    TelnetDecoder,
    escape,
    subnegotiation,
)
from eqlbond.modem import Login, Modem
from eqlbond.modem.testing import Exchange, FakeHost, FakeModem
from eqlbond.supervise import Supervisor, Watch
from tests.aio.conftest import Real

HARD = bytes(range(256)) * 3 + b"\xff\xff\xc0\xdb\xff\xf0\xff"


class TerminalServer(asyncio.Protocol):
    """One port of a terminal server, whose serial line is a loop or another connection."""

    def __init__(self, *, rfc2217: bool, **odd: Any) -> None:
        self.rfc2217 = rfc2217
        self.odd = odd
        self.transport: Any = None
        self.taken = b""  # what left at the serial side
        self.commands: list[tuple[int, bytes]] = []
        self.connections = 0
        self.on_data: Callable[[bytes], object] = self.send

    async def listen(self) -> int:
        self.server = await asyncio.get_running_loop().create_server(lambda: self, "127.0.0.1", 0)
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        self.server.close()
        if self.transport is not None:
            self.transport.abort()
        await self.server.wait_closed()
        await asyncio.sleep(0)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.decoder = TelnetDecoder()
        self.connections += 1
        if self.odd.get("silent"):
            return
        if self.rfc2217:
            transport.write(b"a banner\r\n")

    def data_received(self, data: bytes) -> None:
        if self.odd.get("silent"):
            return
        if not self.rfc2217:
            self.taken += data
            self.on_data(data)
            return
        for item in self.decoder.feed(data):
            match item:
                case bytes():
                    self.taken += item
                    self.on_data(item)
                case Negotiation(verb=verb, option=option):
                    refused = option in self.odd.get("refuses", ())
                    answer = (DONT if refused else DO) if verb == WILL else (WONT if refused else WILL)
                    self.transport.write(bytes((IAC, answer, option)))
                case Subnegotiation(content=content):
                    self.commands.append((content[0], content[1:]))
                    self.tell(content[0], self.odd.get("answers", {}).get(content[0], content[1:]))

    def tell(self, command: int, value: bytes) -> None:
        self.transport.write(subnegotiation(command + FROM_SERVER, value))

    def send(self, data: bytes) -> None:
        self.transport.write(escape(data) if self.rfc2217 else data)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def connection_of(slave: NetworkSlave) -> Connection:
    assert slave.connection is not None
    return slave.connection


@pytest.mark.parametrize("scheme", ["socket", "rfc2217"])
def test_packets_go_and_come_whatever_is_in_them(real: Real, scheme: str) -> None:
    async def test() -> None:
        server = TerminalServer(rfc2217=scheme == "rfc2217")
        port = await server.listen()
        slave = NetworkSlave(f"{scheme}://127.0.0.1:{port}", 1_000_000)
        async with Master([slave], queue_bytes=1 << 20, queue_time=10) as master, asyncio.timeout(20):
            payloads = [HARD, b"\xff" * 700, os.urandom(1400)] * 5
            for payload in payloads:
                await master.send(payload)
            assert [(await master.receive()).payload for _ in payloads] == payloads
            sock = connection_of(slave).transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 4 * SEND_BUFFER
        assert b"banner" not in server.taken
        await server.stop()

    real(test)


def test_the_far_port_is_set_and_its_rate_paces_the_line(real: Real) -> None:
    async def test() -> None:
        server = TerminalServer(rfc2217=True)
        port = await server.listen()
        slave = NetworkSlave(f"rfc2217://localhost:{port}", 9600, parity="E", stopbits=2, dtr=False)
        async with Master([slave]):
            assert slave.rate == 9600
            assert slave.member.line.bits_per_byte == 12
            assert server.commands[:7] == [
                (1, (9600).to_bytes(4, "big")),
                (2, b"\x08"),
                (3, b"\x03"),
                (4, b"\x02"),
                (5, b"\x01"),
                (5, b"\x09"),
                (5, b"\x0b"),
            ]
        await server.stop()

    real(test)


@pytest.mark.parametrize(
    ("odd", "kind", "words"),
    [
        ({"refuses": (44,)}, SettingRefused, "socket://"),
        ({"refuses": (BINARY,)}, SettingRefused, "binary"),
        ({"answers": {1: bytes(4)}}, SettingRefused, "baudrate=57600"),
        ({"silent": True}, LineError, "does not answer within 0.3 s"),
    ],
)
def test_a_server_that_cannot_do_it(real: Real, odd: dict[str, Any], kind: type[Exception], words: str) -> None:
    async def test() -> None:
        server = TerminalServer(rfc2217=True, **odd)
        port = await server.listen()
        slave = NetworkSlave(f"rfc2217://127.0.0.1:{port}", 57600, open_timeout=0.3)
        with pytest.raises(kind, match=words):
            await Master([slave]).open()
        await server.stop()

    real(test)


def test_nobody_there(real: Real) -> None:
    async def test() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        with pytest.raises(DeviceNotFound, match="nothing listens"):
            await Master([NetworkSlave(f"socket://127.0.0.1:{port}", 9600)]).open()

    real(test)


def test_a_server_that_closes_at_once(real: Real) -> None:
    async def test() -> None:
        server = TerminalServer(rfc2217=True, silent=True)
        port = await server.listen()
        slave = NetworkSlave(f"rfc2217://127.0.0.1:{port}", 57600)
        opening = asyncio.ensure_future(Master([slave]).open())
        await until(lambda: server.transport is not None)
        server.transport.close()
        with pytest.raises(LineError, match="closed the connection"):
            await opening
        await server.stop()

    real(test)


def test_opening_can_be_cancelled(real: Real) -> None:
    async def test() -> None:
        server = TerminalServer(rfc2217=True, silent=True)
        port = await server.listen()
        master = Master([NetworkSlave(f"rfc2217://127.0.0.1:{port}", 57600)])
        opening = asyncio.ensure_future(master.open())
        await until(lambda: server.transport is not None)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await server.stop()

    real(test)


def test_a_suspended_line_keeps_its_data(real: Real) -> None:
    async def test() -> None:
        server = TerminalServer(rfc2217=True)
        port = await server.listen()
        slave = NetworkSlave(f"rfc2217://127.0.0.1:{port}", 115200)
        async with Master([slave]) as master, asyncio.timeout(10):
            server.tell(8, b"")
            await until(lambda: connection_of(slave).transport._line.client.suspended)
            await master.send(HARD)
            await until(lambda: connection_of(slave).buffered() > 0)
            await asyncio.sleep(0.1)
            assert server.taken == b""
            assert connection_of(slave).unsent()
            server.tell(9, b"")
            assert (await master.receive()).payload == HARD
        await server.stop()

    real(test)


def test_a_server_that_takes_nothing_is_seen_in_what_waits(real: Real) -> None:
    async def test() -> None:
        server = TerminalServer(rfc2217=False)
        port = await server.listen()
        slave = NetworkSlave(f"socket://127.0.0.1:{port}", 115200, rate=None)
        async with Master([slave], close_timeout=0.2, queue_bytes=1 << 24) as master:
            await until(lambda: server.transport is not None)
            server.transport.pause_reading()
            for _ in range(8000):
                await asyncio.wait_for(master.send(os.urandom(1400)), 5)
            await until(lambda: connection_of(slave)._port.out_waiting > 0)
            assert connection_of(slave).unsent()
        await server.stop()

    real(test)


def test_carrier_and_modem_lines(real: Real) -> None:
    async def test() -> None:
        server = TerminalServer(rfc2217=True)
        port = await server.listen()
        slave = NetworkSlave(f"rfc2217://127.0.0.1:{port}", 115200)
        async with Master([slave]):
            connection = connection_of(slave)
            remote = connection._port
            assert isinstance(remote, RemoteComPort)
            assert connection.carrier() is None
            server.tell(7, b"\xb0")
            await until(lambda: connection.carrier() is True)
            server.tell(7, b"\x30")
            await until(lambda: connection.carrier() is False)
            server.commands.clear()
            remote.dtr = False
            remote.dtr = False
            remote.rts = False
            remote.break_condition = True
            await until(lambda: len(server.commands) >= 3)
            assert server.commands == [(5, b"\x09"), (5, b"\x0c"), (5, b"\x05")]
            assert not remote.dtr
            assert not remote.rts
            assert remote.break_condition
        await server.stop()

    real(test)


def test_a_carrier_that_the_server_tells_of_late_is_watched(real: Real) -> None:
    async def test() -> None:
        server = TerminalServer(rfc2217=True)
        port = await server.listen()
        slave = NetworkSlave(f"rfc2217://127.0.0.1:{port}", 115200)
        async with Master([slave]) as master, Supervisor(master, watch=Watch(interval=0.02)):
            events = master.events()
            await asyncio.sleep(0.1)  # it has been looked for, and nothing was told
            server.tell(7, b"\xb0")
            await until(lambda: connection_of(slave).carrier())
            await asyncio.sleep(0.1)
            server.tell(7, b"\x30")
            async with asyncio.timeout(10):
                async for event in events:
                    if isinstance(event, SlaveDown):
                        assert event.reason == "the carrier is gone (DCD)"
                        break
        await server.stop()

    real(test)


def test_a_server_that_goes_takes_the_line_down(real: Real) -> None:
    async def test() -> None:
        server = TerminalServer(rfc2217=True)
        port = await server.listen()
        slave = NetworkSlave(f"rfc2217://127.0.0.1:{port}", 115200)
        async with Master([slave]) as master, asyncio.timeout(10):
            events = master.events()
            server.transport.abort()
            while not isinstance(event := await anext(events), SlaveDown):
                pass
            assert event.reason
            await until(lambda: slave.connection is None or slave.connection.lost)
            await master.reopen(slave)
            assert slave.up
            assert server.connections == 2
        await server.stop()

    real(test)


class ModemServer(TerminalServer):
    """A terminal server with a modem at its serial side, DTR connected."""

    def __init__(self, exchange: Exchange, *, rfc2217: bool) -> None:
        super().__init__(rfc2217=rfc2217)
        server = self

        class Attached(FakeModem):
            def send(self, data: bytes) -> None:
                server.send(data)

        self.modem = Attached(exchange, "100", guard_time=0.05)
        self.on_data = self.modem.receive

    def tell(self, command: int, value: bytes) -> None:
        if command == 5 and value in (b"\x08", b"\x09"):  # SET-CONTROL: DTR on, DTR off
            self.modem.dtr_changed(value == b"\x08")
        super().tell(command, value)


@pytest.mark.interop  # real sockets and guard times for seconds
@pytest.mark.parametrize("scheme", ["rfc2217", "socket"])
def test_a_modem_at_the_far_port(real: Real, scheme: str) -> None:
    """Dials, learns the rate, carries packets, hangs up by DTR where the port can be told to; and dials again."""

    async def test() -> None:
        host = FakeHost("Pname", "hunter2")
        exchange = Exchange(hosts={"200": host}, report=["CONNECT 28800"])
        server = ModemServer(exchange, rfc2217=scheme == "rfc2217")
        modem = server.modem
        port = await server.listen()
        slave = NetworkSlave(
            f"{scheme}://127.0.0.1:{port}",
            57600,
            modem=Modem(dial="200", login=Login("Pname", "hunter2"), guard_time=0.05, command_timeout=2.0),
        )

        def check_hung_up() -> None:
            assert modem.state == "command"
            assert modem.commands == ([] if scheme == "rfc2217" else ["ATH"])
            assert ((5, b"\x09") in server.commands) is (scheme == "rfc2217")

        async with asyncio.timeout(30), Master([slave]) as master:
            for rate, bits in ((28800, 10), (14400, 8)):
                assert (slave.rate, slave.member.line.bits_per_byte) == (rate, bits)
                assert host.asked[-2:] == ["Pname", "hunter2"]
                assert modem.state == "online"
                for payload in (b"\x45 packet", HARD):
                    await master.send(payload)  # the host sends it back
                    assert (await master.receive()).payload == payload
                assert (5, b"\x09") not in server.commands
                modem.commands.clear()
                if len(exchange.calls) == 1:
                    await master.drain()  # what has not left by the byte clock is sent again when the line goes
                    master.hang_up(slave)
                    await until(lambda: slave.connection is None or slave.connection.lost)
                    check_hung_up()
                    server.commands.clear()
                    exchange.report = ("CONNECT 14400/ARQ",)
                    await master.reopen(slave)
        check_hung_up()
        assert exchange.calls == [("100", "200")] * 2
        await server.stop()

    real(test)


@pytest.mark.parametrize(
    ("field", "url", "options"),
    [
        ("url", "/dev/ttyS0", {}),
        ("url", "telnet://host:23", {}),
        ("url", "socket://host", {}),
        ("url", "socket://:4000", {}),
        ("url", "socket://host:4000/ttyS0", {}),
        ("url", "rfc2217://host:4000?logging=debug", {}),
        ("url", "socket://host:99999", {}),
        ("url", None, {}),
        ("baudrate", "socket://host:4000", {"baudrate": 0}),
        ("parity", "rfc2217://host:4000", {"parity": "X"}),
        ("rtscts", "socket://host:4000", {"rtscts": True}),
        ("dtr", "socket://host:4000", {"dtr": False}),
        ("rts", "rfc2217://host:4000", {"rtscts": True, "rts": True}),
        ("xonxoff", "rfc2217://host:4000", {"xonxoff": True}),
        ("xonxoff", "socket://host:4000", {"xonxoff": True, "framing": Hdlc(accm=0xA0000)}),
        ("open_timeout", "socket://host:4000", {"open_timeout": 0}),
        ("modem", "socket://host:4000", {"modem": "ATDT"}),
    ],
)
def test_wrong_values_are_named(field: str, url: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        NetworkSlave(url, **{"baudrate": 9600, **options})
    assert caught.value.field == field


def test_names_and_addresses() -> None:
    assert NetworkSlave("socket://[::1]:4000", 9600).name == "socket://[::1]:4000"
    assert NetworkSlave("rfc2217://box:4000/", 9600, name="attic").name == "attic"
    assert NetworkSlave("socket://box:4000", 9600, rate=None).rate is None
