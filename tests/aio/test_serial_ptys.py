"""Serial ports, on real ttys. Times are asserted loosely: the machine may be busy."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import random
import resource
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import serial

from eqlbond import (
    ConfigurationError,
    DeviceBusy,
    DeviceNotFound,
    Event,
    LineError,
    Master,
    NotATty,
    Packet,
    SerialSlave,
    SettingRefused,
    SlaveDown,
)
from eqlbond.aio import serial as port
from eqlbond.aio.ptywire import PtyWire
from eqlbond.core.line_model import LineSpec
from tests.aio.conftest import Real, open_descriptors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ptys and /proc as Linux has them")


class Stall:
    """The longest time that the loop was kept from turning, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def _watch(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            self.longest = max(self.longest, time.monotonic() - before - 0.005)

    async def __aenter__(self) -> Stall:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class Pty:
    """A pty whose far side is a descriptor: nobody reads it but the test."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.device = os.ttyname(slave)
        os.set_blocking(self.master, False)
        os.close(slave)

    def read(self) -> bytes:
        data = b""
        with contextlib.suppress(BlockingIOError, OSError):
            while True:
                data += os.read(self.master, 65536)
        return data

    def hang_up(self) -> None:
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


@pytest.fixture
def pty() -> Iterator[Pty]:
    made = Pty()
    yield made
    made.hang_up()


def slaves(wire: PtyWire, side: str, rates: list[float]) -> list[SerialSlave]:
    return [SerialSlave(getattr(w, side), 115200, rate=rate) for w, rate in zip(wire.lines, rates, strict=True)]


async def until(condition: Callable[[], object], patience: float = 10.0) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.005)


async def next_down(events: Any, patience: float = 10.0) -> SlaveDown:
    async with asyncio.timeout(patience):
        while not isinstance(event := await anext(events), SlaveDown):
            pass
    return event


# -- traffic


def test_data_both_ways_with_checksums(real: Real) -> None:
    rates = [230400.0, 115200.0]
    rng = random.Random(1)
    packets = {side: [rng.randbytes(rng.randrange(8, 1500)) for _ in range(40)] for side in "ab"}

    async def test() -> None:
        got: dict[str, list[bytes]] = {"a": [], "b": []}
        async with PtyWire([LineSpec(rate) for rate in rates]) as wire:
            masters = {
                side: Master(
                    slaves(wire, side, rates),
                    on_packets=lambda packets, side=side: got[side].extend(p.payload for p in packets),  # type: ignore[misc]
                )
                for side in "ab"
            }
            async with masters["a"] as a, masters["b"] as b:
                await asyncio.gather(_send_all(a, packets["a"]), _send_all(b, packets["b"]))
                await until(lambda: len(got["a"]) + len(got["b"]) == 80)
                for master in (a, b):
                    stats = master.stats()
                    assert stats.dropped == {}
                    assert [line.dropped for line in stats.lines] == [{}, {}]
                    assert all(line.packets_sent and line.packets_received for line in stats.lines)
        assert _digests(got["b"]) == _digests(packets["a"])
        assert _digests(got["a"]) == _digests(packets["b"])

    real(test)


async def _send_all(master: Master, payloads: list[bytes]) -> None:
    for payload in payloads:
        await master.send(payload)


def _digests(payloads: list[bytes]) -> list[str]:
    return sorted(hashlib.sha256(payload).hexdigest() for payload in payloads)


def test_closing_right_after_sending_loses_nothing(real: Real) -> None:
    """What the port took stays with the tty until the far side has read it."""

    async def test() -> None:
        far = Pty()
        for number in range(5):
            async with Master([SerialSlave(far.device, 115200)]) as master:
                await master.send(b"the last words %d" % number)
            assert far.read().strip(b"\xc0") == b"the last words %d" % number
        far.hang_up()

    real(test)


# -- devices that cannot be opened


def fails(device: str | os.PathLike[str], kind: type[LineError], match: str, **options: Any) -> Callable[[], Any]:
    async def test() -> None:
        async with Master() as master:
            slave = SerialSlave(str(device), **options)
            with pytest.raises(kind, match=match) as raised:
                await master.enslave(slave)
            assert type(raised.value) is kind
            assert str(raised.value).startswith(f"{device}: ")
            assert raised.value.device == str(device)
            assert master.slaves == ()

    return test


def test_a_device_that_is_not_there(real: Real, tmp_path: Path) -> None:
    real(fails(tmp_path / "ttyUSB7", DeviceNotFound, "no such device"))
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    real(fails(tmp_path / "link", DeviceNotFound, "no such device"))


def test_what_is_no_serial_port(real: Real, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "file", tmp_path / "fifo", tmp_path, Path("/dev/null"), Path("/dev/zero")):
        real(fails(path, NotATty, "not a serial port"))
    real(fails(tmp_path / "file" / "below", LineError, "Not a directory"))
    assert (tmp_path / "file").read_bytes() == b"data"


def test_urls_are_no_devices() -> None:
    with pytest.raises(ConfigurationError, match=r"device: .*socket://.*NetworkSlave"):
        SerialSlave("socket://127.0.0.1:7")
    with pytest.raises(ConfigurationError, match=r"device: .*socket://.*NetworkSlave"):
        port.open_port("socket://127.0.0.1:7", 9600)


def test_a_port_that_is_busy(real: Real, pty: Pty) -> None:
    with serial.Serial(pty.device, exclusive=True):
        real(fails(pty.device, DeviceBusy, "another program has it open"))

    async def test() -> None:
        async with Master([SerialSlave(pty.device)]), Master() as other:
            with pytest.raises(DeviceBusy):
                await other.enslave(SerialSlave(pty.device))
            with pytest.raises(serial.SerialException):
                serial.Serial(pty.device, exclusive=True)
            shared = await other.enslave(SerialSlave(pty.device, exclusive=False))
            await other.emancipate(shared)
        async with Master([SerialSlave(pty.device)]):
            pass

    real(test)


def test_a_pty_that_has_hung_up(real: Real, pty: Pty) -> None:
    device = os.open(pty.device, os.O_RDWR | os.O_NOCTTY)  # keeps its number taken
    pty.hang_up()
    try:
        real(fails(pty.device, DeviceNotFound, "no device behind that name|hardware does not answer|no such device"))
    finally:
        os.close(device)


# All is imported before the change of user: the interpreter's files need not be readable for the other one.
NO_PERMISSION = """
import asyncio, os, sys
from eqlbond import DevicePermission, Master, SerialSlave
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
async def main():
    try:
        async with Master([SerialSlave(sys.argv[1])]):
            print("opened")
    except DevicePermission as error:
        print(error)
asyncio.run(main())
"""


def test_a_port_without_permission(pty: Pty, tmp_path: Path) -> None:
    os.chmod(pty.device, 0o000)
    run = _as_nobody(NO_PERMISSION, pty.device)
    assert "Traceback" not in run.stderr
    assert run.stdout.startswith(f"{pty.device}: no permission to open it")
    secret = tmp_path / "secret"
    secret.mkdir(0o000)
    run = _as_nobody(NO_PERMISSION, str(secret / "tty"))
    assert run.stdout.startswith(f"{secret}/tty: no permission")
    secret.chmod(0o700)


def _as_nobody(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


# -- rates


@pytest.mark.parametrize("baudrate", [0, -9600, 57600.0, "57600", True, None])
def test_baud_rates_that_are_none(baudrate: Any) -> None:
    with pytest.raises(ConfigurationError) as raised:
        SerialSlave("/dev/null", baudrate)
    assert raised.value.field == "baudrate"


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("device", {"device": ""}),
        ("rate", {"rate": 0}),
        ("bytesize", {"bytesize": 7}),
        ("bytesize", {"bytesize": 9}),
        ("parity", {"parity": "even"}),
        ("stopbits", {"stopbits": 3}),
        ("xonxoff", {"xonxoff": True}),
        ("bits_per_byte", {"bits_per_byte": 0}),
    ],
)
def test_wrong_options(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        SerialSlave(**{"device": "/dev/null", **options})
    assert raised.value.field == field


def test_bits_of_a_byte_follow_the_format() -> None:
    for options, bits in (({}, 10), ({"parity": "E"}, 11), ({"stopbits": 2}, 11), ({"bits_per_byte": 8}, 8)):
        assert SerialSlave("/dev/null", **options).member.line.bits_per_byte == bits


def test_standard_and_custom_baud_rates(real: Real, pty: Pty) -> None:
    async def test() -> None:
        for baudrate in (50, 9600, 57600, 115200, 921600, 28800, 14400, 250000, 1234567):
            async with Master([SerialSlave(pty.device, baudrate)]) as master:
                assert master.slaves[0].rate == baudrate
                assert master.slaves[0].up
                assert port._custom_rate(master.slaves[0].connection._port) == baudrate  # type: ignore[union-attr]
                code = getattr(termios, f"B{baudrate}", None)
                if code is not None:
                    connection = master.slaves[0].connection
                    assert connection is not None
                    assert termios.tcgetattr(connection._port.fd)[5] == code

    real(test)


@pytest.mark.parametrize(
    ("code", "kind", "told"),
    [
        (5, DeviceNotFound, "the hardware does not answer"),  # a /dev/ttyS9 with no UART behind it
        (25, NotATty, "not a serial port"),
        (22, SettingRefused, "baudrate=9600"),
        (75, LineError, "75"),
    ],
)
def test_errors_that_pyserial_hides(
    real: Real, pty: Pty, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[LineError], told: str
) -> None:
    def fail(fd: int) -> list[Any]:
        raise termios.error(code, os.strerror(code))

    monkeypatch.setattr(termios, "tcgetattr", fail)
    real(fails(pty.device, kind, told, baudrate=9600))


def test_a_rate_that_the_port_refuses(real: Real, pty: Pty, monkeypatch: pytest.MonkeyPatch) -> None:
    real(fails(pty.device, SettingRefused, "baudrate=4294967296", baudrate=1 << 32))
    set_attributes = termios.tcsetattr

    def another_rate(fd: int, when: int, attributes: list[Any]) -> None:
        set_attributes(fd, when, [*attributes[:4], termios.B9600, termios.B9600, attributes[6]])

    monkeypatch.setattr(termios, "tcsetattr", another_rate)
    real(fails(pty.device, SettingRefused, "baudrate=57600: the port set 9600 instead", baudrate=57600))
    monkeypatch.setattr(port, "_custom_rate", lambda _: 38400)
    real(fails(pty.device, SettingRefused, "baudrate=28800: the port set 38400 instead", baudrate=28800))
    real(fails(pty.device, SettingRefused, "low_latency", baudrate=9600, low_latency=True))

    def refuse(fd: int, when: int, attributes: list[Any]) -> None:
        raise termios.error(22, "Invalid argument")

    monkeypatch.setattr(termios, "tcsetattr", refuse)
    real(fails(pty.device, SettingRefused, "baudrate=9600", baudrate=9600))


# -- unplugged


@pytest.mark.parametrize("busy", [False, True])
def test_a_far_side_that_goes_is_seen_soon(real: Real, pty: Pty, busy: bool) -> None:
    async def test() -> None:
        async with Master([SerialSlave(pty.device, 115200)], close_timeout=0) as master:
            events = master.events()
            if busy:
                for _ in range(4):
                    await master.send(bytes(1400))
                await asyncio.sleep(0.05)
            pty.hang_up()
            down = await next_down(events)
            assert down.slave is master.slaves[0]
            assert "the device" in down.reason
            assert isinstance(down.error, serial.SerialException)
            assert not master.up
            with pytest.raises(LineError):
                await master.reopen(master.slaves[0])

    real(test)


def test_hang_up_and_reopening_on_the_wire(real: Real) -> None:
    rates = [115200.0, 115200.0]

    async def test() -> None:
        async with PtyWire([LineSpec(rate) for rate in rates]) as wire:
            near, far = slaves(wire, "a", rates), slaves(wire, "b", rates)
            got: list[Packet] = []
            async with Master(near) as a, Master(far, on_packets=got.extend) as b:
                events = {a: a.events(), b: b.events()}
                for turn in range(2):
                    for number in range(20):
                        await a.send(b"%d %d " % (turn, number) + bytes(500))
                    wire.lines[1].cut("hangup")
                    for master, slave in ((a, near[1]), (b, far[1])):
                        down = await next_down(events[master])
                        assert down.slave is slave
                        assert "the device" in down.reason
                        with pytest.raises(DeviceNotFound):
                            await master.reopen(slave)
                    wire.lines[1].revive()
                    # In the moment of the event the old port may still be open: reopening waits for that.
                    await asyncio.gather(a.reopen(near[1]), b.reopen(far[1]))
                    assert (near[1].up, far[1].up) == (True, True)
                await a.drain()
                await until(lambda: not a.stats().queued_bytes)
                await asyncio.sleep(0.2)
                sent = {b"%d %d" % (turn, number) for turn in range(2) for number in range(20)}
                lost = sent - {packet.payload.split(b" \0")[0] for packet in got}
                assert len(lost) <= 2 * 4  # what the wire had on its way or the far tty had not given up: 40 ms a cut

    real(test)


def test_reopening_in_the_moment_of_the_event(real: Real) -> None:
    async def test() -> None:
        async with PtyWire(LineSpec(None)) as wire, Master([SerialSlave(wire.lines[0].a)]) as master:
            events = master.events()
            for _ in range(20):
                wire.lines[0].cut("hangup")
                wire.lines[0].revive()
                await next_down(events)
                await master.reopen(master.slaves[0])
                assert master.up

    real(test)


def test_a_peer_that_does_not_read(real: Real, pty: Pty) -> None:
    """The tty is full: nothing stalls, the other line goes on, closing keeps its deadline."""

    async def test() -> None:
        async with PtyWire(LineSpec(115200)) as wire:
            stuck, good = SerialSlave(pty.device, 115200), SerialSlave(wire.lines[0].a, 115200)
            got: list[Packet] = []
            async with Stall() as stall, Master([SerialSlave(wire.lines[0].b)], on_packets=got.extend):
                master = Master([stuck, good], close_timeout=0.5)
                await master.open()
                # A tty takes some 20 kB, then nothing.
                connection = stuck.connection
                assert connection is not None
                connection.transport.write(bytes(200000))
                await until(lambda: 0 < connection.buffered() < 200000)
                await asyncio.sleep(0.05)
                full = connection.buffered()
                for _ in range(30):
                    await master.send(bytes(500))
                await until(lambda: len(got) >= 15)
                assert connection.buffered() == full  # not fed on
                started = time.monotonic()
                await master.close()
                assert time.monotonic() - started < 5
                assert stuck.connection is None
            assert stall.longest < 0.5

    real(test)


def test_a_full_tty_that_hangs_up(real: Real, pty: Pty) -> None:
    async def test() -> None:
        async with Stall() as stall, Master([SerialSlave(pty.device, 115200)], close_timeout=0.2) as master:
            events = master.events()
            connection = master.slaves[0].connection
            assert connection is not None
            connection.transport.write(bytes(200000))
            await until(lambda: 0 < connection.buffered() < 200000)
            pty.hang_up()
            down = await next_down(events)
            assert "the device" in down.reason
        assert stall.longest < 0.5

    real(test)


# -- noise


def test_megabytes_of_garbage(real: Real, pty: Pty) -> None:
    noise = random.Random(2).randbytes(1 << 20)

    async def test() -> None:
        async with Master([SerialSlave(pty.device)], receive_bytes=20000) as master:

            async def pour(data: bytes) -> None:
                while data:
                    try:
                        data = data[os.write(pty.master, data[:4096]) :]
                    except BlockingIOError:
                        await asyncio.sleep(0.001)

            async with Stall() as stall:
                await pour(noise)
                await pour(bytes(1 << 20))  # one frame of a megabyte
                await pour(b"\xdb" * 100000)
                await until(lambda: master.stats().lines[0].bytes_received == (2 << 20) + 100000)
            assert stall.longest < 1.0
            line = master.stats().lines[0]
            assert line.up
            assert line.dropped["too_long"] >= 1
            assert line.dropped["bad_escape"] >= 100
            assert master._inbox.size < 20000 + 1500
            assert master.stats().dropped["the application does not read"] > 100
            while master._inbox.packets:
                await master.receive()
            await pour(b"\xc0\xc0hello\xc0")
            assert (await asyncio.wait_for(master.receive(), 10)).payload == b"hello"

    real(test)


# -- descriptors


def test_descriptors_from_1024_on(real: Real, pty: Pty) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("the system gives fewer than 1200 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(1024)]

    async def test() -> None:
        async with Master([SerialSlave(pty.device)]) as master:
            connection = master.slaves[0].connection
            assert connection is not None
            assert connection._port.fd >= 1024
            os.write(pty.master, b"\xc0hello\xc0")
            assert (await asyncio.wait_for(master.receive(), 10)).payload == b"hello"
            await master.send(b"and back")
            await master.drain()
            await asyncio.sleep(0.01)
            assert pty.read().strip(b"\xc0") == b"and back"
            pty.hang_up()
            await until(lambda: not master.up)

    try:
        real(test)
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.interop
def test_a_hundred_comings_and_goings_under_traffic(real: Real) -> None:
    rates = [230400.0, 230400.0, 230400.0]

    async def test() -> None:
        got: set[int] = set()
        seen: list[Event] = []
        async with PtyWire([LineSpec(rate) for rate in rates]) as wire:
            near, far = slaves(wire, "a", rates), slaves(wire, "b", rates)
            async with (
                Master(near[:2]) as a,
                Master(
                    far,
                    on_packets=lambda packets: got.update(int.from_bytes(p.payload[:4], "big") for p in packets),
                ),
            ):
                sent = 0

                async def send() -> None:
                    nonlocal sent
                    while True:
                        await a.send(sent.to_bytes(4, "big") + bytes(200))
                        sent += 1

                sending = asyncio.create_task(send())
                stream = a.events()
                descriptors: list[int] = []
                tasks: list[int] = []
                for turn in range(100):
                    await a.enslave(near[(turn + 2) % 3])
                    descriptors.append(len(open_descriptors()))
                    tasks.append(len(asyncio.all_tasks()))
                    await a.emancipate(near[turn % 3])
                    while stream._events:
                        seen.append(await anext(stream))
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                await a.drain()
                with contextlib.suppress(AssertionError):
                    await until(lambda: len(got) >= sent, 1)
                assert max(descriptors[1:]) == min(descriptors[1:])
                assert max(tasks) <= 5
                assert threading.active_count() == 1
                assert set(range(sent)) - got == set()
                assert sent > 100
                assert sum(isinstance(event, SlaveDown) for event in seen) == 100
                assert {e.reason for e in seen if isinstance(e, SlaveDown)} == {"emancipated"}
                assert a.stats().dropped == {}

    real(test)


def test_bonds_come_and_go_and_leave_nothing(real: Real) -> None:
    async def test() -> None:
        async with PtyWire([LineSpec(None)] * 2) as wire:
            gc.collect()
            before = open_descriptors()
            for number in range(20):
                async with (
                    Master(slaves(wire, "a", [1e6, 1e6])) as a,
                    Master(slaves(wire, "b", [1e6, 1e6])) as b,
                ):
                    await a.send(b"%d" % number)
                    assert (await asyncio.wait_for(b.receive(), 10)).payload == b"%d" % number
                assert open_descriptors() == before
                assert asyncio.all_tasks() == {asyncio.current_task()}

    real(test)


def test_a_spurious_wake_up_is_no_hang_up(pty: Pty) -> None:
    """Another program may have flushed what woke us; with VMIN 0 the tty then reads as empty, as an end would."""
    opened = port.open_port(pty.device, 9600)
    assert opened.read(1024) == b""
    os.write(pty.master, b"data")
    termios.tcflush(opened.fd, termios.TCIFLUSH)
    assert opened.read(1024) == b""
    assert opened.failure is None
    pty.hang_up()
    with pytest.raises(serial.SerialException, match="the device"):
        opened.read(1024)
    assert opened.failure is not None
    opened.close()
    opened.close()
