"""`eqlbond run` in a process of its own over ptys, and the commands that steer it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import serial

from eqlbond.cli import main
from eqlbond.core.line_model import LineSpec
from tests.cli.commands import PATIENCE, environment, run
from tests.cli.wires import BackgroundWire

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the pty wire needs Linux")


class Running:
    """An `eqlbond run` and its file."""

    def __init__(self, directory: Path, devices: list[str]) -> None:
        self.file = directory / "bond.toml"
        self.socket = str(directory / "bond.sock")
        self.log = directory / "log"
        self.devices = devices
        self.process: subprocess.Popen[bytes] | None = None
        self.write(self.slave(0), self.slave(1))

    def slave(self, number: int, extra: str = "", name: str | None = None) -> str:
        return (
            f'[[slave]]\nname = "{name or f"line{number}"}"\ndevice = "{self.devices[number]}"\n'
            f"baudrate = 115200\nholdoff = 0.2\n{extra}\n"
        )

    def write(self, *slaves: str, bond: str = "") -> None:
        self.file.write_text(
            f'[bond]\nclose_timeout = 0.5\n{bond}\n[control]\nsocket = "bond.sock"\n'
            f'[log]\nlevel = "debug"\n{"".join(slaves)}'
        )

    def start(self, **variables: str) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "eqlbond", "run", str(self.file)],
                stderr=log,
                stdout=log,
                env={**environment(), **variables},
            )
        self.until(lambda: os.path.exists(self.socket))

    def until(self, what: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        assert self.process is not None
        while not what():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def says(self, text: str, times: int = 1) -> None:
        """Wait until the log has it."""
        self.until(lambda: self.log.read_text().count(text) >= times)

    def do(self, command: str, *arguments: str) -> str:
        """A command in this process, which is quicker than one of its own; its output."""
        status, out, err = self.try_to(command, *arguments)
        assert status == 0, err
        return out

    def try_to(self, command: str, *arguments: str) -> tuple[int, str, str]:
        import io

        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main.main([command, "--socket", self.socket, *arguments])
        return status, out.getvalue(), err.getvalue()

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.do("status", "--json"))
        return status

    def lines(self) -> dict[str, dict[str, Any]]:
        return {line["name"]: line for line in self.status()["bond"]["lines"]}

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE)


@pytest.fixture(scope="module")
def wire() -> Iterator[BackgroundWire]:
    with BackgroundWire([LineSpec(115200)] * 3) as made:
        yield made


@pytest.fixture
def bond(wire: BackgroundWire, tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path, [line["a"] for line in wire.lines])
    yield running
    if running.process is not None and running.process.poll() is None:
        running.process.kill()
        running.process.wait()


def test_a_life(bond: Running, wire: BackgroundWire, tmp_path: Path) -> None:
    """Up; steered by each command; a second instance is turned away; a line is lost and returns; down."""
    heard = tmp_path / "heard"
    hook = f'echo "$EQLBOND_EVENT $2 $3" >> {heard}'
    bond.file.write_text(f"{bond.file.read_text()}[hooks]\nup = '{hook}'\ndown = '{hook}'\nslave_up = '{hook}'\n")
    bond.start()
    bond.says("is up", 3)
    assert stat.S_IMODE(os.stat(bond.socket).st_mode) == 0o600
    status = bond.status()
    assert (status["up"], status["rate"], status["interface"]) == (True, 230400, None)
    assert status["states"] == {"line0": "up", "line1": "up"}
    table = bond.do("status")
    assert table.splitlines()[0].startswith("bond up: 2 of 2 lines up, 230400 bit/s, MTU 1500, 0 packets wait")
    assert [line.split()[:3] for line in table.splitlines()[2:]] == [
        ["line0", "up", "115200"],
        ["line1", "up", "115200"],
    ]

    said = bond.do("enslave", bond.devices[2], "28800", "--name", "hand", "--priority", "3", "-o", "holdoff=0.2")
    assert said == "hand is enslaved, 28800 bit/s\n"
    shown = json.loads(bond.do("show", "hand", "--json"))
    assert (shown["rate"], shown["baudrate"], shown["priority"]) == (28800, 38400, 3)
    assert "priority       9\n" in bond.do("set", "hand", "--priority", "9", "--rate", "19200")
    assert "max_slaves     3\n" in bond.do("set", "--max-slaves", "3", "--min-slaves", "2")
    assert "slaves         line0, line1, hand\n" in bond.do("show")
    assert "interface      -\n" in f"{bond.do('show')}\n"
    assert "half_duplex    -\n" in bond.do("show", "hand")

    for arguments, problem in (
        (("enslave", "/dev/absent", "9600"), "3 slaves"),
        (("emancipate", "hnd"), "no slave 'hnd'; did you mean 'hand'?"),
        (("set", "hand"), "rate, priority or latency"),
        (("enslave", bond.devices[2], "9600", "-o", "frming=x"), "did you mean 'framing'?"),
        (("enslave", bond.devices[2], "9600", "-o", "framing"), "KEY=VALUE, not 'framing'"),
        (("set", "--max-slaves", "1"), "at most max_slaves (1)"),
        (("enslave", "gopher://attic:7", "9600"), "url: socket://host:port or rfc2217://host:port, not 'gopher:"),
        (("enslave", "socket://attic", "9600"), "url: socket://host:port or rfc2217://host:port, not 'socket://attic'"),
        (("enslave", "socket://attic:7/x", "9600"), "url: host and port and nothing else"),
        (("enslave", "socket://attic:7", "9600", "-o", "lock=true"), "lock: only for a line with a device"),
    ):
        code, out, err = bond.try_to(*arguments)
        assert (code, out) == (1, "")
        assert problem in err
        assert err.startswith("eqlbond: ")

    code, _, err = run("run", str(bond.file))
    assert code == 1
    assert "another eqlbond runs there" in err

    wire.call(lambda w: w.lines[2].cut("hangup"))
    bond.says("hand is down")
    wire.call(lambda w: w.lines[2].revive())
    bond.says("hand is up", 2)  # looked after as those of the file are

    assert bond.do("emancipate", "hand") == "hand is emancipated\n"
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"socket://127.0.0.1:{server.getsockname()[1]}"
        assert bond.do("enslave", url, "9600") == f"{url} is enslaved, 9600 bit/s\n"
        shown = json.loads(bond.do("show", url, "--json"))
        assert (shown["device"], shown["url"], shown["baudrate"]) == (None, url, 9600)
        assert bond.do("emancipate", url) == f"{url} is emancipated\n"
    assert list(bond.lines()) == ["line0", "line1"]
    assert bond.end() == 0
    assert sorted(os.listdir(tmp_path)) == ["bond.toml", "heard", "log"]
    events = heard.read_text().splitlines()
    assert events[-1].startswith("bond_down")
    assert f"slave_up {bond.devices[0]} 115200" in events
    assert f"slave_up {bond.devices[2]} 19200" in events
    assert "Traceback" not in bond.log.read_text()
    code, _, err = bond.try_to("status")
    assert code == 1
    assert "no bond runs there" in err


def test_reloading_leaves_alone_what_has_not_changed(bond: Running) -> None:
    bond.start()
    bond.says("is up", 3)
    bond.write(bond.slave(0), bond.slave(1, "priority = 7\nrate = 9600"), bond.slave(2), bond="min_slaves = 2")
    assert bond.do("reload") == "enslaved: line2\nchanged: line1\nleft alone: line0\n"
    bond.says("line2 is up")
    lines = bond.lines()
    assert (lines["line1"]["priority"], lines["line1"]["rate"]) == (7, 9600)
    assert bond.status()["min_slaves"] == 2

    bond.write(bond.slave(0), bond.slave(1, "priority = 7\nrate = 9600\nbits_per_byte = 8"))
    assert bond.process is not None
    bond.process.send_signal(signal.SIGHUP)
    bond.says("reloaded", 2)
    bond.says("line1 is up", 2)
    before = bond.file.read_text()
    bond.file.write_text(before.replace("[log]\n", f'[log]\nfile = "{bond.file.parent / "other"}"\n'))
    bond.do("reload")  # the log, too, as by the signal
    assert "reloaded" in (bond.file.parent / "other").read_text()
    bond.file.write_text(before)
    bond.do("reload")
    lines = bond.lines()
    assert {name: line["connections"] for name, line in lines.items()} == {"line0": 1, "line1": 1}  # line1 is new
    assert bond.log.read_text().count("line0 is up") == 1
    assert bond.log.read_text().count("line0 is down") == 0

    bond.write(bond.slave(0), bond.slave(1), bond='mtu = 900\nscheduler = "eql"')
    said = bond.do("reload")
    assert "needs a restart of eqlbond run: bond.mtu, bond.scheduler\n" in said
    assert "bond.mtu, bond.scheduler" in bond.do("reload")  # it still does
    assert bond.status()["mtu"] == 1500

    bond.file.write_text("[bond]\nmtu = 1\nx = 1\n")
    code, _, err = bond.try_to("reload")
    assert code == 1
    assert "2 errors" in err
    assert "bond.toml:2: bond.mtu" in err
    bond.process.send_signal(signal.SIGHUP)
    bond.says("not reloaded", 2)
    assert list(bond.lines()) == ["line0", "line1"]
    assert bond.log.read_text().count("line0 is down") == 0
    assert bond.end(signal.SIGINT) == 0


def test_lines_that_are_not_there_yet(bond: Running, tmp_path: Path) -> None:
    """A router that boots before its adapters are plugged in."""
    late = tmp_path / "late"
    bond.devices[0] = str(late)
    bond.write(bond.slave(0))
    bond.start()
    assert bond.status()["up"] is False
    bond.until(lambda: bond.status()["states"]["line0"] == "waiting for the device")
    assert "waiting for the device" in bond.do("status")
    late.symlink_to(bond.devices[1])
    bond.says("line0 is up")
    assert bond.end() == 0


def test_why_a_line_cannot_be_opened(bond: Running) -> None:
    """Told once, at the log's usual level, and by `status`."""
    with serial.Serial(bond.devices[0], exclusive=True):
        bond.write(bond.slave(0, "max_holdoff = 0.2"), bond.slave(1))
        bond.file.write_text(bond.file.read_text().replace('level = "debug"', 'level = "info"'))
        bond.start()
        bond.says("line1 is up")
        bond.until(lambda: "line0" in bond.status()["reasons"])
        reason = f"{bond.devices[0]}: another program has it open exclusively"
        assert bond.status()["reasons"] == {"line0": reason}
        assert f"\nline0: {reason}\n" in bond.do("status")
        bond.until(lambda: bond.status()["states"]["line0"] == "waiting")
        time.sleep(1.0)  # it is tried several times meanwhile
        assert bond.log.read_text().count(f"line0: {reason}") == 1
    bond.says("line0 is up")
    assert bond.status()["reasons"] == {}
    assert bond.end() == 0


def test_a_socket_that_was_left_behind(bond: Running) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(bond.socket)
        left.listen()
    bond.start()
    bond.says("is up", 3)
    assert bond.status()["up"]
    assert bond.process is not None
    bond.process.kill()  # and this leaves one behind, with its lock
    bond.process.wait()
    bond.start()
    bond.says("is up", 3)
    assert bond.end() == 0
    assert not os.path.exists(bond.socket)


def test_a_second_signal_ends_at_once(bond: Running) -> None:
    """Whenever it comes, the exit is a clean one."""
    bond.write(bond.slave(0, 'framing = "ppp"'), bond="")
    bond.file.write_text(bond.file.read_text().replace("close_timeout = 0.5", "close_timeout = 100"))
    bond.start()
    bond.says("phase establish")
    assert bond.process is not None
    began = time.monotonic()
    bond.process.send_signal(signal.SIGTERM)
    bond.says("stopping")
    with contextlib.suppress(ProcessLookupError):
        bond.process.send_signal(signal.SIGTERM)
    assert bond.process.wait(timeout=PATIENCE) == 0
    assert time.monotonic() - began < 30


def test_what_systemd_hears(bond: Running, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(PATIENCE)
        bond.start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000", JOURNAL_STREAM="8:1")
        heard: list[str] = []

        def hear(text: str) -> None:
            while not any(text in message for message in heard):
                heard.append(notify.recv(4096).decode())

        hear("READY=1")
        hear("WATCHDOG=1")
        hear("STATUS=bond up, 2 of 2 lines up")
        heard.clear()
        hear("WATCHDOG=1")
        hear("WATCHDOG=1")
        assert bond.process is not None
        bond.process.send_signal(signal.SIGHUP)
        hear("RELOADING=1\nMONOTONIC_USEC=")
        heard.clear()
        hear("READY=1")
        assert bond.end() == 0
        hear("STOPPING=1")
    assert all(line.startswith("<") for line in bond.log.read_text().splitlines())


def test_hooks_that_hang(bond: Running, tmp_path: Path) -> None:
    """They stop nothing, and the second signal does not wait for them; a reload changes them."""
    bond.file.write_text(f"{bond.file.read_text()}[hooks]\nup = 'sleep 100'\nslave_up = '/nonexistent/hook'\n")
    bond.start()
    bond.says("is up", 3)
    bond.says("slave_up: ")
    text = bond.file.read_text().replace("slave_up = '/nonexistent/hook'", f"slave_down = 'touch {tmp_path}/touched'")
    bond.file.write_text(text)
    bond.do("reload")
    bond.do("emancipate", "line1")
    bond.until((tmp_path / "touched").exists)
    assert bond.process is not None
    bond.process.send_signal(signal.SIGTERM)
    bond.says("the bond is down")
    time.sleep(0.5)
    bond.process.send_signal(signal.SIGTERM)
    assert bond.process.wait(timeout=20) == 0


def test_events_and_watching(bond: Running) -> None:
    bond.start()
    bond.says("is up", 3)

    def follow(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "eqlbond", *arguments, "--socket", bond.socket],
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
        )

    events, watching = follow("events", "--json"), follow("status", "--watch", "0.05")
    assert events.stdout is not None
    assert watching.stdout is not None
    try:
        while "out bit/s" not in watching.stdout.readline():
            pass
        # One comes when the stream has begun.
        rate, deadline = 1000, time.monotonic() + PATIENCE
        while not select.select([events.stdout], [], [], 0.05)[0]:
            assert time.monotonic() < deadline
            bond.do("set", "line0", "--rate", str(rate := rate + 1))
        assert "rate is now" in bond.log.read_text()
        event = json.loads(events.stdout.readline())
        assert (event["event"], event["slave"]) == ("RateChanged", "line0")
        assert bond.end() == 0
        assert "bond has stopped" not in (events.communicate(timeout=PATIENCE)[0] or "")
        assert events.returncode == 0
    finally:
        for process in (events, watching):
            process.kill()
            process.communicate()


def test_checking(bond: Running, capsys: pytest.CaptureFixture[str]) -> None:
    bond.write(bond.slave(0, 'framing = "ppp"'), '[[slave]]\ndevice = "/dev/absent"\n')
    assert main.main(["check", str(bond.file)]) == 0
    out, err = capsys.readouterr()
    assert f"{bond.file}: good\n" in out
    assert f"slave line0: {bond.devices[0]}, ppp\n" in out
    assert "the device /dev/absent is not there now" in out
    bond.file.write_text("[bond]\nmtu = 1\n[tunn]\n")
    assert main.main(["check", str(bond.file)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"eqlbond: {bond.file}: 2 errors\n"
        f"{bond.file}:2: bond.mtu: bytes from 68 to 65535, not 1\n"
        f"{bond.file}:3: tunn: no such key; did you mean 'tun'?\n"
    )
    assert main.main(["run", str(bond.file)]) == 1
    assert "2 errors" in capsys.readouterr().err
