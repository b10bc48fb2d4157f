"""What the manual's scripts set by stty and setserial, seen in the termios of real ttys."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
import termios
import tty
from collections.abc import Iterator
from typing import Any

import pytest
from serial import serialposix

from eqlbond import ConfigurationError, DeviceBusy, Hdlc, Master, Ppp, SerialSlave, SettingRefused, Slip
from eqlbond.aio import serial as port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ptys and flags as Linux has them")

CMSPAR = 0o10000000000


@pytest.fixture
def device() -> Iterator[str]:
    master, slave = os.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave)
    os.close(slave)
    os.close(master)


def flags(device: str, **options: Any) -> tuple[int, int, int]:
    """Input flags, control flags and output speed of a port that a slave has opened."""
    found: list[Any] = []

    async def look() -> None:
        slave = SerialSlave(device, options.pop("baudrate", 57600), **options)
        async with Master([slave]):
            assert slave.connection is not None
            found.extend(termios.tcgetattr(slave.connection._port.fd))

    asyncio.run(look())
    return found[0], found[2], found[5]


@pytest.mark.parametrize(
    ("parity", "wanted"),
    [
        ("N", 0),
        ("E", termios.PARENB),
        ("O", termios.PARENB | termios.PARODD),
        ("M", termios.PARENB | termios.PARODD | CMSPAR),
        ("S", termios.PARENB | CMSPAR),
    ],
)
def test_parity(device: str, monkeypatch: pytest.MonkeyPatch, parity: str, wanted: int) -> None:
    """A pty takes no parity, so what the port is asked for is looked at."""
    asked = []
    real = termios.tcsetattr

    def tcsetattr(fd: int, when: int, attributes: list[Any]) -> None:
        asked.append(attributes[2])
        real(fd, when, [*attributes[:2], attributes[2] & ~termios.PARENB, *attributes[3:]])

    monkeypatch.setattr(termios, "tcsetattr", tcsetattr)
    with contextlib.nullcontext() if parity == "N" else pytest.raises(SettingRefused, match="parity"):
        port.open_port(device, 9600, parity=parity).close()
    assert asked[0] & (termios.PARENB | termios.PARODD | CMSPAR) == wanted
    assert SerialSlave(device, parity=parity).member.line.bits_per_byte == (10 if parity == "N" else 11)


def test_a_parity_that_the_port_does_not_do_is_refused(device: str) -> None:
    async def attempt() -> None:
        async with Master([SerialSlave(device, parity="E")]):
            pytest.fail("opened")

    with pytest.raises(SettingRefused, match="parity='E': the port does not do it"):
        asyncio.run(attempt())


@pytest.mark.parametrize(("stopbits", "flag", "bits"), [(1, 0, 10), (2, termios.CSTOPB, 11)])
def test_stop_bits(device: str, stopbits: int, flag: int, bits: float) -> None:
    assert flags(device, stopbits=stopbits)[1] & termios.CSTOPB == flag
    assert SerialSlave(device, stopbits=stopbits).member.line.bits_per_byte == bits


def test_eight_bits_raw_and_no_flow_control(device: str) -> None:
    given, control, _ = flags(device)
    assert control & termios.CSIZE == termios.CS8
    assert control & termios.CREAD
    assert control & termios.CLOCAL
    assert not control & termios.CRTSCTS
    assert not given & (termios.IXON | termios.IXOFF | termios.ISTRIP | termios.ICRNL)


def test_hardware_flow_control(device: str) -> None:
    assert flags(device, rtscts=True)[1] & termios.CRTSCTS


@pytest.mark.parametrize("framing", [Hdlc(accm=0xA0000), Ppp(accm=0xFFFFFFFF)])
def test_software_flow_control_with_a_framing_that_escapes_it(device: str, framing: Any) -> None:
    given, _, _ = flags(device, xonxoff=True, framing=framing)
    assert given & termios.IXON
    assert given & termios.IXOFF


@pytest.mark.parametrize("framing", [None, Slip(), Hdlc(), Hdlc(accm=0x20000), Ppp()])
def test_software_flow_control_with_one_that_does_not(framing: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SerialSlave("/dev/null", xonxoff=True, framing=framing)
    assert caught.value.field == "xonxoff"


@pytest.mark.parametrize("hupcl", [True, False])
def test_hang_up_on_close(device: str, hupcl: bool) -> None:
    fd = os.open(device, os.O_RDWR | os.O_NOCTTY)
    try:
        attributes = termios.tcgetattr(fd)
        attributes[2] ^= termios.HUPCL if bool(attributes[2] & termios.HUPCL) == hupcl else 0
        termios.tcsetattr(fd, termios.TCSANOW, attributes)
        assert bool(flags(device, hupcl=hupcl)[1] & termios.HUPCL) is hupcl
        before = termios.tcgetattr(fd)[2] & termios.HUPCL
        assert flags(device)[1] & termios.HUPCL == before  # None leaves it as it was
    finally:
        os.close(fd)


@pytest.mark.parametrize(("baudrate", "code"), [(9600, termios.B9600), (230400, termios.B230400)])
def test_standard_rates(device: str, baudrate: int, code: int) -> None:
    assert flags(device, baudrate=baudrate)[2] == code


@pytest.mark.parametrize("baudrate", [14400, 28800, 250000, 31250])
def test_rates_that_have_no_name(device: str, baudrate: int) -> None:
    opened = port.open_port(device, baudrate)
    try:
        assert port._custom_rate(opened) == baudrate
    finally:
        opened.close()


def test_exclusive_and_shared(device: str) -> None:
    held = port.open_port(device, 9600, exclusive=True)
    try:
        with pytest.raises(DeviceBusy):
            port.open_port(device, 9600, exclusive=True)
    finally:
        held.close()
    first, second = (port.open_port(device, 9600, exclusive=None) for _ in range(2))
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [("dtr", True), ("rts", True)]),
        ({"dtr": False, "rts": False}, [("dtr", False), ("rts", False)]),
        ({"dtr": True, "rts": False}, [("dtr", True), ("rts", False)]),
        ({"rtscts": True}, [("dtr", True)]),
    ],
)
def test_modem_lines_at_open(
    device: str, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], wanted: list[tuple[str, bool]]
) -> None:
    """A pty has none of these lines, so the requests are looked at."""
    asked = []
    names = {serialposix.TIOCM_DTR_str: "dtr", serialposix.TIOCM_RTS_str: "rts"}
    real = fcntl.ioctl

    def ioctl(fd: int, request: int, *arguments: Any) -> Any:
        if request in (serialposix.TIOCMBIS, serialposix.TIOCMBIC):
            asked.append((names[arguments[0]], request == serialposix.TIOCMBIS))
            return 0
        return real(fd, request, *arguments)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    port.open_port(device, 9600, **options).close()
    assert asked == wanted


def test_a_pty_without_modem_lines_opens_all_the_same(device: str) -> None:
    opened = port.open_port(device, 9600, dtr=False, rts=False)
    with pytest.raises(OSError, match=r"Inappropriate ioctl|Invalid argument"):
        opened.cd  # noqa: B018
    opened.close()


def test_low_latency_that_the_port_has_not_is_refused(device: str) -> None:
    with pytest.raises(SettingRefused, match="low_latency"):
        port.open_port(device, 9600, low_latency=True)


def test_rts_cannot_be_set_and_left_to_the_driver(device: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SerialSlave(device, rtscts=True, rts=False)
    assert caught.value.field == "rts"
