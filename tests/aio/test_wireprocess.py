"""The pty wire in a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest
import serial

from eqlbond.aio.ptywire import WireSpec
from eqlbond.aio.wireprocess import WireProcess
from eqlbond.core.line_model import LineSpec
from eqlbond.exceptions import ConfigurationError, LineError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the pty wire needs Linux")


def test_a_program_that_blocks() -> None:
    async def test() -> None:
        spec = WireSpec(LineSpec(57600, latency=0.01), LineSpec(9600, bits_per_byte=8), name="modem")
        async with WireProcess([spec, LineSpec()], seed=1) as wire:
            modem, plain = wire.lines
            assert (modem.name, plain.name) == ("modem", "line1")
            with serial.Serial(modem.a, 57600, timeout=5) as a, serial.Serial(modem.b, 57600, timeout=5) as b:
                a.write(bytes(1000))  # which blocks this event loop, and not the wire
                assert b.read(1000) == bytes(1000)
                stats = (await wire.stats())[0]
                assert stats.state == "up"
                assert (stats.ab.delivered, stats.ab.peak_waiting, stats.ba.bytes_in) == (1000, 1000, 0)
                await wire.reset_peaks()
                await wire.set_rate(0, 115200.5)
                await wire.cut(0, "hangup")
                with pytest.raises(serial.SerialException):
                    b.read(1)
            assert (await wire.stats())[0].state == "hangup"
            await wire.revive(0)
            with serial.Serial(modem.a, timeout=5) as a, serial.Serial(modem.b, timeout=5) as b:
                b.write(b"again")
                assert a.read(5) == b"again"
            with pytest.raises(LineError, match="there is no '9'"):
                await wire.cut(9)
            with pytest.raises(ConfigurationError):
                await wire.command(" \n")
            waiting = asyncio.create_task(wire.command("help"))
            await asyncio.sleep(0)
            waiting.cancel()
            assert (await wire.command("reset")) == {"done": "reset"}  # and not the answer to help
            assert wire._process is not None
            await wire.command("quit")
            await wire._process.wait()
            assert "stats" in await wire.command("reset")  # what it said last
            with pytest.raises(LineError, match="has ended"):
                await wire.command("reset")
        assert not os.path.lexists(modem.a)  # noqa: ASYNC240 - nothing else runs
        with pytest.raises(LineError):
            await wire.stats()

    asyncio.run(test())


def test_it_checks_before_it_starts_anything() -> None:
    with pytest.raises(ConfigurationError):
        WireProcess([])
    with pytest.raises(ConfigurationError):
        WireProcess(LineSpec(), tick=7)


def test_a_wire_that_cannot_open(tmp_path: object, capfd: pytest.CaptureFixture[str]) -> None:
    async def test() -> None:
        (tmp_path / "line0.a").write_text("precious")  # type: ignore[operator]
        with pytest.raises(LineError):
            async with WireProcess(LineSpec(), link_dir=str(tmp_path)):
                pass

    asyncio.run(test())
    assert "left alone" in capfd.readouterr().err
