"""`eqlbond wire`, its options and its commands."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import serial

from eqlbond.aio.ptywire import WireSpec
from eqlbond.cli import wire
from eqlbond.core.line_model import LineSpec
from tests.cli.commands import close_the_terminal

linux = pytest.mark.skipif(sys.platform != "linux", reason="the pty wire needs Linux")


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="eqlbond")
    wire.configure(parser.add_subparsers(required=True).add_parser("wire"))
    return parser.parse_args(["wire", *arguments])


def both(rate: float | None, **options: float) -> WireSpec:
    return WireSpec(LineSpec(rate, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "specs"),
    [
        ([], [both(115200)]),
        (["--line", "57600"], [both(57600)]),
        (["--line", "57600,14400"], [both(57600), both(14400)]),
        (["--line", "57600", "--line", "14400:8"], [both(57600), both(14400, bits_per_byte=8)]),
        (["--line", "9600,none", "--count", "2"], [both(9600), both(None)] * 2),
        (["--line", "56000/33600:8"], [WireSpec(LineSpec(56000, bits_per_byte=8), LineSpec(33600, bits_per_byte=8))]),
        (
            ["--line", "300", "--latency", "0.5", "--error-rate", "0.1", "--jitter", "1", "--buffer", "64"],
            [both(300, latency=0.5, byte_error_rate=0.1, jitter=1, buffer=64)],
        ),
    ],
)
def test_options(arguments: list[str], specs: list[WireSpec]) -> None:
    args = parse(*arguments)
    assert wire.lines_of(args) == specs
    assert args.run is wire.run


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--line", "0"], "rate: 0 cannot be"),
        (["--line", "-9600"], "rate"),
        (["--line", "fast"], "'fast' is no number"),
        (["--line", "57600,"], "rate: '' is no number"),
        (["--line", "9600:x"], "bits_per_byte: 'x'"),
        (["--line", "9600:0"], "bits_per_byte: 0.0 cannot be"),
        (["--latency", "-1"], "latency"),
        (["--error-rate", "1.2"], "byte_error_rate: 1.2 cannot be"),
        (["--buffer", "0"], "buffer"),
        (["--count", "0"], "count"),
        (["--tick", "0"], "tick"),
        (["--spec", "{"], "spec"),
    ],
)
def test_bad_options_are_named(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = wire.main(arguments)
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status == 2
    assert told in capsys.readouterr().err


class Running:
    """The command as a child, with its input and output."""

    def __init__(self, *arguments: str, ahead: Sequence[str] = ()) -> None:
        self.child = subprocess.Popen(
            [*ahead, sys.executable, "-m", "eqlbond.cli.wire", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(wire.__file__).parents[2])},
        )

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.wait()
        for stream in (self.child.stdin, self.child.stdout, self.child.stderr):
            if stream is not None:
                stream.close()

    def line(self) -> str:
        assert self.child.stdout is not None
        return self.child.stdout.readline()

    def ask(self, command: str) -> str:
        assert self.child.stdin is not None
        self.child.stdin.write(command + "\n")
        self.child.stdin.flush()
        return self.line()


@linux
def test_for_programs(tmp_path: Path) -> None:
    with Running("--json", "--line", "57600,9600", "--link-dir", str(tmp_path)) as running:
        lines = json.loads(running.line())["lines"]
        assert lines[1] == {"name": "line1", "a": str(tmp_path / "line1.a"), "b": str(tmp_path / "line1.b")}
        with serial.Serial(lines[0]["a"], timeout=5) as a, serial.Serial(lines[0]["b"], timeout=5) as b:
            a.write(b"hello")
            assert b.read(5) == b"hello"
            assert json.loads(running.ask("stats"))["stats"][0]["ab"]["delivered"] == 5
            assert json.loads(running.ask("cut line0 hangup")) == {"done": "cut line0 hangup"}
            with pytest.raises(serial.SerialException):
                b.read(1)
        assert json.loads(running.ask("cut 1 silence")) == {"done": "cut 1 silence"}
        assert "error" in json.loads(running.ask("cut 1 loudly"))
        assert "error" in json.loads(running.ask("cut 2"))
        assert "error" in json.loads(running.ask("frobnicate"))
        assert "error" in json.loads(running.ask("rate 1 0"))
        assert json.loads(running.ask("revive all")) == {"done": "revive all"}
        assert json.loads(running.ask("rate 1 none ba")) == {"done": "rate 1 none ba"}
        running.child.send_signal(signal.SIGINT)
        rest, errors = running.child.communicate(timeout=10)
        assert json.loads(rest)["stats"][1]["state"] == "up"
        assert errors == ""
        assert running.child.returncode == 0
    assert os.listdir(tmp_path) == []


@linux
def test_for_people() -> None:
    with Running("--line", "57600/9600", "--exit-on-eof") as running:
        assert "57600 bit/s, back 9600 bit/s" in running.line()
        assert running.ask("cut 3") == "error: line: there is no '3'; there are line0\n"
        rest, errors = running.child.communicate("help\n", timeout=10)  # and the end of input
        assert "revive LINE" in rest
        assert "line0 a>b" in rest
        assert errors == ""
        assert running.child.returncode == 0


@linux
def test_an_end_of_input_does_not_end_it_unasked() -> None:
    with Running("--json") as running:
        running.line()
        assert running.child.stdin is not None
        running.child.stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            running.child.wait(0.3)
        running.child.terminate()
        assert running.child.wait(10) == 0


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_and_the_names_go(number: int, tmp_path: Path) -> None:
    with Running("--json", "--link-dir", str(tmp_path)) as running:
        running.line()
        assert sorted(os.listdir(tmp_path)) == ["line0.a", "line0.b"]
        running.child.send_signal(number)
        rest, errors = running.child.communicate(timeout=10)
        assert "stats" in json.loads(rest)
        assert (running.child.returncode, errors) == (0, "")
    assert os.listdir(tmp_path) == []


@linux
def test_its_terminal_is_closed(tmp_path: Path) -> None:
    status = close_the_terminal("wire", "--link-dir", str(tmp_path), until=b"line0.b", variables={})
    assert status == 0
    assert os.listdir(tmp_path) == []


@linux
def test_under_nohup_a_closed_terminal_is_nothing_to_it() -> None:
    with Running("--json", ahead=("sh", "-c", "trap '' HUP; exec \"$@\"", "sh")) as running:
        running.line()
        running.child.send_signal(signal.SIGHUP)
        assert "stats" in json.loads(running.ask("stats"))
        running.child.terminate()
        assert running.child.wait(10) == 0


@linux
def test_the_reader_of_its_output_goes_away() -> None:
    with Running("--json") as running:
        running.line()
        assert running.child.stdout is not None
        assert running.child.stdin is not None
        assert running.child.stderr is not None
        running.child.stdout.close()
        running.child.stdin.write("stats\n")
        running.child.stdin.flush()
        assert running.child.wait(10) == 0
        assert running.child.stderr.read() == ""
