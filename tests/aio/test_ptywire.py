"""The pty wire on real ttys. Times are asserted loosely: the machine may be busy."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import serial

from eqlbond.aio.ptywire import PtyWire, WireSpec
from eqlbond.core.line_model import LineSpec
from eqlbond.exceptions import ConfigurationError, LineError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the pty wire needs Linux")


def drive(test: Callable[[], object]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


class Tty:
    """A program's side of a port, without any buffering of its own."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def __enter__(self) -> Tty:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def fill(self, most: int = 1 << 20) -> int:
        """Write until the tty takes no more; how much it took."""
        taken = 0
        while taken < most:
            try:
                taken += os.write(self.fd, bytes(min(1000, most - taken)))
            except BlockingIOError:
                break
        return taken

    def write(self, data: bytes) -> None:
        assert os.write(self.fd, data) == len(data)

    def read_now(self) -> bytes:
        try:
            return os.read(self.fd, 65536)
        except BlockingIOError:
            return b""

    async def read(self, size: int, patience: float = 5.0) -> bytes:
        """Read `size` bytes, or what came within `patience` seconds."""
        got = b""
        end = time.monotonic() + patience
        while len(got) < size and time.monotonic() < end:
            got += self.read_now()
            await asyncio.sleep(0.001)
        return got


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def there(path: str | Path) -> bool:
    """Whether there is anything, be it a link that leads nowhere."""
    return os.path.lexists(path)


def open_fds() -> set[str]:
    return {f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}" for fd in os.listdir("/proc/self/fd") if fd_is_open(fd)}


def fd_is_open(fd: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{fd}")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"lines": []}, "lines"),
        ({"lines": [9600]}, "lines"),
        ({"lines": LineSpec(9600), "tick": 0}, "tick"),
        ({"lines": [WireSpec(LineSpec(), name="x"), WireSpec(LineSpec(), name="x")]}, "lines"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        PtyWire(**arguments)  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.parametrize("name", ["", "a/b", ".hidden"])
def test_bad_names(name: str) -> None:
    with pytest.raises(ConfigurationError):
        WireSpec(LineSpec(), name=name)


def test_both_ways_and_nothing_is_left_behind() -> None:
    before = open_fds()

    async def test() -> None:
        inside = open_fds()
        wire = PtyWire([LineSpec(115200), WireSpec(LineSpec(), LineSpec(9600), name="radio")])
        async with wire:
            first, second = wire.lines
            assert second.a.endswith("/radio.a")
            with Tty(first.a) as a, Tty(first.b) as b, Tty(second.a) as c, Tty(second.b) as d:
                every = bytes(range(256))
                a.write(every)
                b.write(b"back")
                c.write(b"there")
                d.write(b"and back")
                assert await b.read(256) == every
                assert await a.read(4) == b"back"
                assert await d.read(5) == b"there"
                assert await c.read(8) == b"and back"
                assert a.read_now() == b.read_now() == b""  # no echo
            stats = first.stats()
            assert (stats.ab.bytes_in, stats.ab.delivered, stats.ba.delivered) == (256, 256, 4)
            directory = Path(first.a).parent
        assert not there(directory)
        assert open_fds() == inside
        assert wire.stats()[0].ab.delivered == 256
        with pytest.raises(LineError):
            first.revive()
        wire.close()

    drive(test)
    assert open_fds() == before


def test_raw_from_the_first() -> None:
    async def test() -> None:
        async with PtyWire(LineSpec()) as wire:
            for path in (wire.lines[0].a, wire.lines[0].b):
                with Tty(path) as end:
                    _, oflag, _, lflag, *_ = termios.tcgetattr(end.fd)
                    assert not lflag & (termios.ECHO | termios.ICANON | termios.ISIG)
                    assert not oflag & termios.OPOST

    drive(test)


def test_rate_latency_and_no_standing_queue_unseen() -> None:
    async def test() -> None:
        async with PtyWire(LineSpec(57600, latency=0.05)) as wire:
            with Tty(wire.lines[0].a) as a, Tty(wire.lines[0].b) as b:
                start = time.monotonic()
                a.write(bytes(2880))  # half a second
                early = await b.read(2880, patience=0.3)
                assert 500 < len(early) < 2000  # bytes come as they arrive, not at the end
                assert early + await b.read(2880 - len(early)) == bytes(2880)
                took = time.monotonic() - start
                assert 0.549 <= took < 0.75
                stats = wire.lines[0].stats().ab
                assert stats.peak_waiting == 2880
                assert stats.peak_seconds == pytest.approx(0.5)
                assert stats.waiting == 0
                wire.lines[0].reset_peaks()
                assert wire.lines[0].stats().ab.peak_waiting == 0

    drive(test)


def test_lateness_does_not_add_up() -> None:
    async def test() -> None:
        async with PtyWire(LineSpec(115200, buffer=400)) as wire:
            with Tty(wire.lines[0].a) as a, Tty(wire.lines[0].b) as b:
                start = time.monotonic()
                a.write(bytes(9216))  # 0.8 s, through a buffer of 35 ms: filled again more than forty times
                for _ in range(8):
                    await asyncio.sleep(0.08)
                    time.sleep(0.01)  # noqa: ASYNC251 - a program that holds up the loop
                assert len(await b.read(9216)) == 9216
                assert 0.79 <= time.monotonic() - start < 0.95

    drive(test)


def test_backpressure_as_on_a_port() -> None:
    async def test() -> None:
        async with PtyWire(LineSpec(9600, buffer=1000)) as wire:
            line = wire.lines[0]
            with Tty(line.a) as a, Tty(line.b) as b:
                taken = 0
                for _ in range(20):
                    taken += a.fill()
                    await asyncio.sleep(0.005)
                assert 1000 < taken < 50_000
                stats = line.stats().ab
                assert stats.bytes_in <= 1000 + 960 * 0.5
                assert stats.peak_waiting >= 1000 + 4000  # what stands in the tty counts, as far as the kernel tells
                line.set_rate(None)
                assert len(await b.read(taken)) == taken
                assert line.stats().ab.bytes_in == taken

    drive(test)


def test_an_unshaped_line_holds_its_writer_and_loses_nothing() -> None:
    async def test() -> None:
        async with PtyWire(LineSpec(latency=0.001)) as wire:
            with Tty(wire.lines[0].a) as a, Tty(wire.lines[0].b) as b:
                taken, idle = 0, 0
                while idle < 20:
                    more = a.fill()
                    taken += more
                    idle = 0 if more else idle + 1
                    await asyncio.sleep(0.002)
                assert taken < 3_000_000
                assert len(await b.read(taken)) == taken
                assert wire.lines[0].stats().ab.overrun == 0

    drive(test)


def test_a_program_that_does_not_read_overruns_a_shaped_line() -> None:
    async def test() -> None:
        async with PtyWire(LineSpec(100e6, bits_per_byte=10, buffer=None)) as wire:
            with Tty(wire.lines[0].a) as a, Tty(wire.lines[0].b) as b:
                taken = 0
                while taken < 400_000:
                    taken += a.fill(400_000 - taken)
                    await asyncio.sleep(0.001)
                await asyncio.sleep(0.05)
                got = len(await b.read(400_000, patience=0.3))
                stats = wire.lines[0].stats().ab
                assert stats.overrun > 0
                assert got == stats.delivered
                assert stats.delivered + stats.overrun == 400_000

    drive(test)


def test_nobody_listens() -> None:
    async def test() -> None:
        async with PtyWire(LineSpec(115200)) as wire:
            line = wire.lines[0]
            with Tty(line.a) as a:
                a.write(b"to nobody")
                await asyncio.sleep(0.05)
                with Tty(line.b) as b:
                    a.write(b"heard")
                    assert await b.read(5) == b"heard"
                    a.write(b"left unread")
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0.05)
                with Tty(line.b) as b:
                    a.write(b"new")
                    assert await b.read(3) == b"new"
            assert line.stats().ab.unheard == len(b"to nobody")

    drive(test)


def test_the_last_words_of_a_program_arrive() -> None:
    async def test() -> None:
        async with PtyWire(LineSpec(57600, buffer=100)) as wire:
            with Tty(wire.lines[0].b) as b:
                with Tty(wire.lines[0].a) as a:
                    a.write(bytes(2000))
                assert len(await b.read(2000)) == 2000

    drive(test)


def test_byte_errors_are_counted() -> None:
    async def test() -> None:
        async with PtyWire(WireSpec(LineSpec(byte_error_rate=0.1), LineSpec()), seed=4) as wire:
            with Tty(wire.lines[0].a) as a, Tty(wire.lines[0].b) as b:
                a.write(bytes(2000))
                wrong = sum(map(bool, await b.read(2000)))
                assert 120 < wrong < 280
                assert wire.lines[0].stats().ab.corrupted == wrong
                b.write(bytes(2000))
                assert await a.read(2000) == bytes(2000)

    drive(test)


def test_hangup_is_an_unplug_for_pyserial() -> None:
    async def test() -> None:
        async with PtyWire([LineSpec(115200), LineSpec(115200)]) as wire:
            line = wire.lines[0]
            path = line.a
            with serial.Serial(path, 115200, timeout=5) as port, serial.Serial(line.b, 115200, timeout=5) as far:
                reading = asyncio.create_task(asyncio.to_thread(port.read, 100))
                await asyncio.sleep(0.05)
                line.cut("hangup")
                with pytest.raises(serial.SerialException):
                    await reading
                with pytest.raises(serial.SerialException):
                    far.write(b"x")
            assert line.state == "hangup"
            assert not there(path)
            with pytest.raises(serial.SerialException):
                serial.Serial(path)
            line.cut("silence")
            assert line.state == "hangup"
            with Tty(wire.lines[1].a) as a, Tty(wire.lines[1].b) as b:  # the other line goes on
                a.write(b"on")
                assert await b.read(2) == b"on"
            line.revive()
            assert line.a == path
            with serial.Serial(path, 115200, timeout=5) as port, serial.Serial(line.b, 115200, timeout=5) as far:
                await asyncio.to_thread(port.write, b"again")
                assert await asyncio.to_thread(far.read, 5) == b"again"

    drive(test)


def test_many_hangups_leak_nothing() -> None:
    async def test() -> None:
        async with PtyWire([LineSpec(115200)] * 2) as wire:
            line = wire.lines[0]
            before = len(open_fds())
            for _ in range(30):
                with Tty(line.a) as a, Tty(line.b) as b:
                    a.write(b"ping")
                    assert await b.read(4) == b"ping"
                    a.write(bytes(100))
                    line.cut("hangup")
                line.revive()
            assert len(open_fds()) == before
            stats = line.stats().ab
            assert stats.bytes_in == stats.delivered + stats.lost

    drive(test)


def test_silence_swallows() -> None:
    async def test() -> None:
        async with PtyWire(LineSpec(9600)) as wire:
            line = wire.lines[0]
            with Tty(line.a) as a, Tty(line.b) as b:
                a.write(bytes(200))
                await asyncio.sleep(0.05)
                line.cut("silence")
                a.write(b"into the void")
                came = len(await b.read(999, patience=0.1))
                assert 0 < came < 150
                line.revive()
                a.write(b"heard")
                assert await b.read(5) == b"heard"
                stats = line.stats().ab
                assert stats.lost == 200 - came + 13
                assert stats.delivered == came + 5

    drive(test)


def test_silence_still_takes_bytes_from_a_full_port() -> None:
    async def test() -> None:
        async with PtyWire(LineSpec(57600, buffer=500)) as wire:
            line = wire.lines[0]
            with Tty(line.a) as a, Tty(line.b):
                taken = a.fill()
                await asyncio.sleep(0.05)
                line.cut("silence")
                await asyncio.sleep(0.3)
                assert 1400 < line.stats().ab.lost < taken  # at its pace, not at once

    drive(test)


def test_asymmetric_and_changed_rate() -> None:
    async def test() -> None:
        async with PtyWire(WireSpec(LineSpec(115200), LineSpec(9600))) as wire:
            line = wire.lines[0]
            with Tty(line.a) as a, Tty(line.b) as b:
                start = time.monotonic()
                a.write(bytes(960))
                b.write(bytes(960))
                await b.read(960)
                assert 0.08 <= time.monotonic() - start < 0.3
                line.set_rate(96000, "ba")  # the rest goes ten times as fast
                await a.read(960)
                assert time.monotonic() - start < 0.5
                with pytest.raises(ConfigurationError):
                    line.set_rate(0)
                with pytest.raises(ConfigurationError):
                    line.set_rate(9600, "sideways")  # type: ignore[arg-type]
                with pytest.raises(ConfigurationError):
                    line.cut("gently")  # type: ignore[arg-type]

    drive(test)


def test_link_dir(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "stale.a").symlink_to("/dev/pts/999999")
        async with PtyWire(WireSpec(LineSpec(), name="stale"), link_dir=tmp_path) as wire:
            assert wire.lines[0].a == str(tmp_path / "stale.a")
            assert os.readlink(wire.lines[0].a) != "/dev/pts/999999"
        assert names(tmp_path) == []
        (tmp_path / "line0.b").write_text("precious")
        with pytest.raises(ConfigurationError):
            async with PtyWire(LineSpec(), link_dir=tmp_path):
                pass
        assert names(tmp_path) == ["line0.b"]
        with pytest.raises(ConfigurationError):
            async with PtyWire(LineSpec(), link_dir=tmp_path / "line0.b" / "deeper"):
                pass

    drive(test)


def test_an_idle_wire_sleeps() -> None:
    async def test() -> None:
        async with PtyWire([LineSpec(57600)] * 4) as wire:
            with Tty(wire.lines[0].a) as a, Tty(wire.lines[0].b) as b:
                a.write(b"x")
                await b.read(1)
                await asyncio.sleep(0.02)
                assert wire._timer is None
                calls = 0
                real = wire._poll

                def count() -> None:
                    nonlocal calls
                    calls += 1

                assert real is not None
                asyncio.get_running_loop().add_reader(real.fileno(), count)
                await asyncio.sleep(0.2)
                assert calls == 0

    drive(test)
