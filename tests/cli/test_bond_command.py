"""`eqlbond bond`, as two processes with two cables between them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eqlbond.aio.master import Master
from eqlbond.aio.netline import NetworkSlave
from eqlbond.cli import main, options
from eqlbond.cli.bond import _UdpPipe
from eqlbond.core.half_duplex import HalfDuplex, HalfDuplexMember
from eqlbond.core.line_model import LineSpec
from tests.aio.memory import Cable
from tests.cli.commands import PATIENCE, interrupt, run, start, wait_for
from tests.cli.wires import BackgroundWire

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the pty wire needs Linux")
RATES = (921600, 460800)


@pytest.fixture
def wire() -> Iterator[BackgroundWire]:
    with BackgroundWire([LineSpec(rate) for rate in RATES]) as made:
        yield made


@pytest.fixture
def bond(wire: BackgroundWire) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts one end of the bond; whatever still runs at the end is killed."""
    started = []

    def begin(end: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        lines = [f"--line={paths[end]},115200,rate={rate}" for paths, rate in zip(wire.lines, RATES, strict=True)]
        process = start("bond", *lines, *arguments, **options)
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def both_up(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        assert process.stderr is not None
        wait_for(process.stderr, "is up")
        wait_for(process.stderr, "is up")


def test_lines_of_text_both_ways(bond: Callable[..., subprocess.Popen[bytes]]) -> None:
    a, b = bond("a", "--stdio", "lines"), bond("b", "--stdio", "lines")
    both_up(a, b)
    for one, other in ((a, b), (b, a)):
        assert one.stdin is not None
        assert other.stdout is not None
        one.stdin.write(b"".join(b"line %d\r\n" % number for number in range(50)) + b"\n" + b"x" * 1501 + b"\nlast\n")
        one.stdin.flush()
        got = [other.stdout.readline() for _ in range(51)]
        assert sorted(got) == sorted([b"line %d\n" % number for number in range(50)] + [b"last\n"])
    assert a.stdin is not None
    a.stdin.write(b"and without an end of line")
    a.stdin.close()
    a.stdin = None
    assert b.stdout is not None
    assert b.stdout.readline() == b"and without an end of line\n"
    for process in (a, b):
        status, _, err, took = interrupt(process)
        assert status == 0
        assert "sent 5" in err
        assert "Traceback" not in err
        assert took < 15


def test_binary_datagrams_and_quitting_at_the_end(bond: Callable[..., subprocess.Popen[bytes]]) -> None:
    rng = random.Random(3)
    payloads = [rng.randbytes(rng.randrange(1, 1500)) for _ in range(40)]
    b = bond("b", "--stdio", "length")
    both_up(b)
    a = bond("a", "--stdio", "length", "--quit")
    packed = b"".join(len(payload).to_bytes(2, "big") + payload for payload in [*payloads, b"", bytes(1501)])
    out, err = a.communicate(packed + b"\0", timeout=PATIENCE)
    assert (a.returncode, out) == (0, b"")
    assert b"sent 40 datagrams" in err
    assert b"skipped 1 empty datagrams" in err
    assert b"skipped 1 datagrams over the MTU of 1500 bytes" in err
    assert b"standard input ended within a datagram" in err
    assert b.stdout is not None
    got = [b.stdout.read(int.from_bytes(b.stdout.read(2), "big")) for _ in payloads]
    assert sorted(got) == sorted(payloads)
    status, out_b, err_b, _ = interrupt(b, signal.SIGTERM)
    assert (status, out_b) == (0, "")
    assert "received 40, " in err_b


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_udp_both_ways(bond: Callable[..., subprocess.Popen[bytes]]) -> None:
    ports = [free_port(), free_port()]
    with contextlib.ExitStack() as stack:
        near, far = (stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2))
        for sock in (near, far):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(PATIENCE)
        a = bond("a", "--udp", f"127.0.0.1:{ports[0]}")  # answers go to whoever sent last
        b = bond("b", "--udp", f"127.0.0.1:{ports[1]}", "--udp-to", f"127.0.0.1:{far.getsockname()[1]}")
        for process in (a, b):
            assert process.stderr is not None
            wait_for(process.stderr, "datagrams at 127.0.0.1 port")
        for number in range(30):
            near.sendto(b"question %d" % number, ("127.0.0.1", ports[0]))
        assert sorted(far.recv(2000) for _ in range(30)) == sorted(b"question %d" % n for n in range(30))
        for number in range(30):
            far.sendto(b"answer %d" % number, ("127.0.0.1", ports[1]))
        assert sorted(near.recv(2000) for _ in range(30)) == sorted(b"answer %d" % n for n in range(30))
        near.sendto(bytes(1501), ("127.0.0.1", ports[0]))  # dropped, as a router drops it
        near.sendto(b"", ("127.0.0.1", ports[0]))
        near.sendto(b"still there", ("127.0.0.1", ports[0]))
        assert far.recv(2000) == b"still there"
        for process in (a, b):
            status, _, err, took = interrupt(process)
            assert status == 0
            assert "Traceback" not in err
            assert "datagrams" in err
            assert ("skipped 1 empty datagrams" in err) is (process is a)
            assert took < 15


def test_a_line_that_is_cut_comes_back_by_itself(
    wire: BackgroundWire, bond: Callable[..., subprocess.Popen[bytes]]
) -> None:
    a, b = (bond(end, "--stdio", "lines", "--retry", "0.1") for end in "ab")
    both_up(a, b)
    assert a.stdin is not None
    assert b.stdout is not None
    assert a.stderr is not None
    assert b.stderr is not None
    for turn in range(2):
        wire.call(lambda w: w.lines[1].cut("hangup"))
        for process in (a, b):
            assert process.stderr is not None
            wait_for(process.stderr, "is down: the device")
        a.stdin.write(b"meanwhile %d\n" % turn)
        a.stdin.flush()
        assert b.stdout.readline() == b"meanwhile %d\n" % turn
        wire.call(lambda w: w.lines[1].revive())
        for process in (a, b):
            assert process.stderr is not None
            wait_for(process.stderr, "is up")


def test_output_that_nobody_takes_stops_nothing(bond: Callable[..., subprocess.Popen[bytes]]) -> None:
    """A pipe that is full neither stops the other direction nor Ctrl-C."""
    a, b = bond("a", "--stdio", "lines"), bond("b", "--stdio", "lines")
    both_up(a, b)
    assert a.stdin is not None
    assert a.stdout is not None
    assert b.stdin is not None
    a.stdin.write((b"x" * 1000 + b"\n") * 150)  # more than a pipe holds
    a.stdin.flush()
    time.sleep(0.7)
    b.stdin.write(b"the other way\n")
    b.stdin.flush()
    assert a.stdout.readline() == b"the other way\n"
    started = time.monotonic()
    b.send_signal(signal.SIGINT)
    b.wait(timeout=PATIENCE)
    assert time.monotonic() - started < 15
    assert b.returncode == 0


def test_output_that_is_closed(bond: Callable[..., subprocess.Popen[bytes]]) -> None:
    a, b = bond("a", "--stdio", "lines"), bond("b", "--stdio", "lines")
    both_up(a, b)
    assert a.stdin is not None
    assert b.stdout is not None
    b.stdout.close()
    a.stdin.write(b"for nobody\n")
    a.stdin.flush()
    b.wait(timeout=PATIENCE)
    assert b.stderr is not None
    assert (b.returncode, "Traceback" in b.stderr.read().decode()) == (0, False)
    b.stdout = None


def test_a_terminal_is_left_as_it_was(bond: Callable[..., subprocess.Popen[bytes]]) -> None:
    master, slave = os.openpty()
    try:
        a = bond("a", "--stdio", "lines", stdin=slave, stdout=slave)
        b = bond("b", "--stdio", "lines")
        both_up(a, b)
        assert b.stdout is not None
        os.write(master, b"typed\n")
        assert b.stdout.readline() == b"typed\n"
        assert not os.get_blocking(slave)
        a.send_signal(signal.SIGINT)
        a.wait(timeout=PATIENCE)
        assert a.returncode == 0
        assert os.get_blocking(slave)
    finally:
        os.close(master)
        os.close(slave)


def test_standard_input_from_a_file_and_from_nowhere(
    bond: Callable[..., subprocess.Popen[bytes]], tmp_path: Any
) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"one\ntwo\n")
    b = bond("b", "--stdio", "lines")
    both_up(b)
    with path.open("rb") as file:
        a = bond("a", "--stdio", "lines", "--quit", stdin=file)
        _, err = a.communicate(timeout=PATIENCE)
    assert (a.returncode, b"sent 2 datagrams" in err) == (0, True)
    again = bond("a", "--stdio", "lines", "--quit", stdin=subprocess.DEVNULL)
    _, err = again.communicate(timeout=PATIENCE)
    assert (again.returncode, b"sent 0 datagrams" in err) == (0, True)
    assert b.stdout is not None
    assert sorted(b.stdout.readline() for _ in range(2)) == [b"one\n", b"two\n"]


@pytest.mark.parametrize(
    ("arguments", "told", "status"),
    [
        ([], "the following arguments are required: --line", 2),
        (["--line", "/dev/nope"], "one of the arguments --udp --stdio is required", 2),
        (["--line", "/dev/nope", "--stdio", "lines"], "/dev/nope: no such device", 1),
        (["--line", "/dev/null", "--stdio", "lines"], "/dev/null: not a serial port", 1),
        (["--line", "/dev/nope,fast", "--stdio", "lines"], "baudrate: a whole number of bit/s, not 'fast'", 1),
        (["--line", "/dev/nope,0", "--stdio", "lines"], "baudrate: bit/s above 0, not 0", 1),
        (["--line", "/dev/nope,rate=0", "--stdio", "lines"], "rate: bit/s above 0", 1),
        (["--line", "/dev/nope,rate=quick", "--stdio", "lines"], "rate: bit/s or none, not 'quick'", 1),
        (["--line", "/dev/nope,rats=1", "--stdio", "lines"], "line /dev/nope: no option 'rats'; there are: bits", 1),
        (["--line", "/dev/nope,9600,9600", "--stdio", "lines"], "no option '9600'", 1),
        (["--line", "/dev/nope,rtscts=maybe", "--stdio", "lines"], "rtscts: 1 or 0, not 'maybe'", 1),
        (["--line", "/dev/nope,latency=-1", "--stdio", "lines"], "latency: a number from 0", 1),
        (["--line", "/dev/nope,latency=x", "--stdio", "lines"], "latency: a number, not 'x'", 1),
        (["--line", "/dev/nope,parity=X", "--stdio", "lines"], "parity: ", 1),
        (["--line", "/dev/nope,half_duplex=2", "--stdio", "lines"], "half_duplex: 1 or 0, or numbers such as turn", 1),
        (["--line", "/dev/nope,half_duplex=burst:x", "--stdio", "lines"], "half_duplex: 1 or 0, or numbers such", 1),
        (["--line", "/dev/nope,half_duplex=bust:1", "--stdio", "lines"], "half_duplex: no option 'bust'; there ar", 1),
        (["--line", "/dev/nope,half_duplex=slot:0", "--stdio", "lines"], "slot: seconds above 0, not 0.0", 1),
        (["--line", "/dev/nope,rate=none,half_duplex=1", "--stdio", "lines"], "half_duplex: needs the line's ra", 1),
        (["--line", ",9600", "--stdio", "lines"], "device: the path of a serial port", 1),
        (["--line", "socket://shed", "--stdio", "lines"], "url: socket://host:port or rfc2217://host:port", 1),
        (["--line", "socket://shed:1,low_latency=1", "--stdio", "lines"], "low_latency: is for ports of this mach", 1),
        (["--line", "socket://shed:1,rtscts=1", "--stdio", "lines"], "rtscts: a raw TCP port cannot be set", 1),
        (["--line", "socket://127.0.0.1:1", "--stdio", "lines"], "socket://127.0.0.1:1: ", 1),
        (["--line", "/dev/nope", "--stdio", "words"], "invalid choice: 'words'", 2),
        (["--line", "/dev/nope", "--stdio", "lines", "--mtu", "0"], "mtu: bytes from 1", 1),
        (["--line", "/dev/nope", "--stdio", "lines", "--mtu", "70000"], "mtu: bytes from 1", 1),
        (["--line", "/dev/nope", "--stdio", "lines", "--udp-to", "127.0.0.1:1"], "udp-to: only with --udp", 1),
        (["--line", "/dev/nope", "--udp", "127.0.0.1:1", "--quit"], "quit: only with --stdio", 1),
        (["--line", "/dev/nope", "--udp", "5000"], "udp: HOST:PORT such as", 1),
        (["--line", "/dev/nope", "--udp", "127.0.0.1:70000"], "udp: HOST:PORT such as", 1),
        (["--line", "/dev/nope", "--udp", "127.0.0.1:0", "--udp-to", "there"], "udp-to: HOST:PORT such as", 1),
        (["--line", "/dev/nope", "--udp", "127.0.0.1:0", "--udp-to", "no.such.invalid:1"], "udp-to: no address for", 1),
        (["--line", "/dev/nope", "--stdio", "lines", "--retry", "often"], "--retry: invalid float value", 2),
        (["--line", "/dev/nope", "--stdio", "lines", "--sheduler", "eql"], "unrecognized arguments", 2),
    ],
)
def test_wrong_options(arguments: list[str], told: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        got: object = main.main(["bond", *arguments])
    except SystemExit as error:
        got = error.code
    err = capsys.readouterr().err
    last = err.strip().splitlines()[-1]
    assert (got, last.startswith("eqlbond"), told in last) == (status, True, True), err


@pytest.mark.parametrize(
    ("option", "turns"),
    [
        ("", None),
        (",half_duplex=0", None),
        (",half_duplex=1", HalfDuplex()),
        (",half_duplex=turnaround:0.5/burst:5", HalfDuplex(turnaround=0.5, burst=5.0)),
    ],
)
def test_lines_that_take_turns(option: str, turns: HalfDuplex | None) -> None:
    member = options.line_slave(f"/dev/ttyS0,9600{option}").member
    assert (member.half_duplex if isinstance(member, HalfDuplexMember) else None) == turns


@pytest.mark.parametrize("url", ["socket://shed:4001", "rfc2217://shed:4001"])
def test_a_line_over_the_network(url: str) -> None:
    slave = options.line_slave(f"{url},9600,rate=1200,parity=E,name=shed")
    assert isinstance(slave, NetworkSlave)
    assert (slave.url, slave.baudrate, slave.name) == (url, 9600, "shed")
    assert (slave.member.configured_rate, slave.member.line.bits_per_byte) == (1200.0, 11)


def test_all_lines_fail_and_each_is_named() -> None:
    status, _, err = run("bond", "--line", "/dev/nope1", "--line", "/dev/nope2", "--stdio", "lines")
    assert status == 1
    assert "eqlbond: /dev/nope1: no such device\neqlbond: /dev/nope2: no such device\n" in err
    assert "Traceback" not in err


def test_an_address_that_is_taken(wire: BackgroundWire) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        status, _, err = run("bond", "--line", wire.lines[0]["a"], "--udp", f"127.0.0.1:{taken.getsockname()[1]}")
    assert status == 1
    assert "Address already in use" in err.splitlines()[-1] or "Address already in use" in err
    assert "Traceback" not in err


async def test_datagrams_for_a_bond_that_is_closed_are_dropped() -> None:
    loop = asyncio.get_running_loop()
    heard: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: heard.append(context))
    master = Master([Cable().a.slave()])
    transport, _ = await loop.create_datagram_endpoint(lambda: _UdpPipe(master, None), local_addr=("127.0.0.1", 0))
    async with master:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"too late", transport.get_extra_info("sockname"))
    await asyncio.sleep(0.1)
    transport.close()
    await asyncio.sleep(0)
    assert heard == []
