"""`eqlbond demo`, quick lines, small files."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eqlbond.cli import demo, main
from eqlbond.cli.transfer import LEAST_MTU
from tests.cli.commands import close_the_terminal, interrupt, run, start, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the pty wire needs Linux")
RATES = "230400,115200,57600,38400"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(random.Random(5).randbytes(60_000))
    return path


def test_a_small_file_over_quick_lines_with_a_cut(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_DOWN_FOR", 0.3)
    figures_file = tmp_path / "figures.json"
    assert main.main(["demo", "--file", str(file), "--rates", RATES, "--json", str(figures_file)]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    text = told.out
    assert "60000 bytes over 230400 + 115200 + 57600 + 38400 bit/s: at least 1 s" in text
    assert "the line of 115200 bit/s is hung up" in text
    assert "the line of 115200 bit/s is enslaved again" in text
    assert re.search(r"checksum +equal", text)
    figures = json.loads(figures_file.read_text())
    assert figures["checksum_equal"] is True
    assert figures["rates"] == [230400, 115200, 57600, 38400]
    assert figures["pieces"] == -(-60_000 // (900 - 13))
    assert sum(figures["line_bytes"]) > 60_000
    assert all(count > 0 for count in figures["line_bytes"])
    assert figures["up_seconds"][1] < figures["up_seconds"][0]
    assert 0.3 < figures["efficiency"] <= 1.1
    assert 0 <= figures["asked_again"] < figures["pieces"] / 2
    assert figures["mtu"] == 900
    assert figures["seconds"] > 60_000 * 10 / 441_600


def test_multilink_brings_all_in_order_and_the_cut_line_comes_back(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_DOWN_FOR", 0.3)
    figures_file = tmp_path / "figures.json"
    options = ["--multilink", "--file", str(file), "--rates", RATES, "--json", str(figures_file)]
    assert main.main(["demo", *options]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert "packets of 900, PPP Multilink" in told.out
    assert re.search(r"fragments +\d+", told.out)
    assert re.search(r"out of order +0 of", told.out)
    figures = json.loads(figures_file.read_text())
    assert figures["checksum_equal"] is True
    assert figures["reordered"] == figures["damaged"] == figures["duplicates"] == 0
    assert figures["fragments"] >= figures["pieces"]
    seconds = figures["up_seconds"]
    assert 0.2 * seconds[0] < seconds[1] < seconds[0], "negotiated again after the hang-up"


def test_lines_that_do_not_come_up_are_named(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_time_to_open", lambda rates: 0.01)
    assert main.main(["demo", "--multilink", "--quiet", "--file", str(file), "--rates", "57600,38400"]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert re.search(r"^eqlbond: not up within 0 s: line 1 \(57600 bit/s\), line 2 \(38400 bit/s\)$", told.err.strip())


def test_slow_lines_have_more_time() -> None:
    """PPP takes 7 s at 300 bit/s, and 19 s at 110."""
    assert demo._time_to_open([57600.0, 9600.0]) < 15
    assert demo._time_to_open([57600.0, 300.0]) > 30
    assert demo._time_to_open([110.0]) > 60


def test_other_options_and_no_cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:10_000])
    status, out, err = run(
        *("demo", "--quiet", "--no-cut", "--file", str(file), "--rates", "115200,57600"),
        *("--mtu", "300", "--scheduler", "round-robin"),
    )
    assert (status, err) == (0, "")
    assert "10000 bytes in packets of 300, scheduler round-robin" in out
    assert "hung up" not in out
    assert re.search(r"checksum +equal", out)


@pytest.mark.parametrize("size", [0, 1])
def test_tiny_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int) -> None:
    path = tmp_path / "tiny"
    path.write_bytes(bytes(size))
    assert main.main(["demo", "--quiet", "--file", str(path), "--rates", "1000000", "--mtu", str(LEAST_MTU)]) == 0
    assert re.search(r"checksum +equal", capsys.readouterr().out)


def test_a_terminal_sees_progress_in_place(file: Path) -> None:
    master, slave = os.openpty()
    process = start("demo", "--file", str(file), "--rates", "1000000,500000", "--no-cut", stdout=slave, stdin=slave)
    os.close(slave)
    seen = b""
    try:
        while data := os.read(master, 65536):
            seen += data
    except OSError:  # the last one has closed it
        pass
    os.close(master)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    text = seen.decode()
    assert "\x1b[3A\x1b[J" in text  # two lines and the file
    assert "B/s" in text
    assert re.search(r"checksum +equal", text)


@pytest.mark.parametrize(
    ("arguments", "told", "status"),
    [
        (["--file", "/nonexistent/file"], "/nonexistent/file: No such file or directory", 1),
        (["--file", "/"], "/: Is a directory", 1),
        (["--json", "/nonexistent/figures"], "/nonexistent/figures: No such file or directory", 1),
        (["--mtu", "10"], f"mtu: from {LEAST_MTU} to 9000 bytes, not 10", 1),
        (["--mtu", "9001"], "mtu: from", 1),
        (["--mtu", "big"], "--mtu: invalid int value: 'big'", 2),
        (["--rates", "0"], "rates are above 0", 2),
        (["--rates", "57600,,9600"], "rates in bit/s such as", 2),
        (["--rates", "nan"], "rates are above 0", 2),
        (["--scheduler", "best"], "invalid choice: 'best'", 2),
        (["--fiel", "x"], "unrecognized arguments: --fiel x", 2),
    ],
)
def test_wrong_options(arguments: list[str], told: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        got: object = main.main(["demo", "--quiet", *arguments])
    except SystemExit as error:
        got = error.code
    assert got == status
    captured = capsys.readouterr()
    last = captured.err.strip().splitlines()[-1]
    assert last.startswith("eqlbond")
    assert told in last
    if status == 1:
        assert captured.err.count("\n") == 1


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where the command makes its ptys' directory; other processes have theirs elsewhere."""
    path = tmp_path / "scratch"
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("number", "when", "status"),
    [
        (signal.SIGINT, "at least", 130),
        (signal.SIGTERM, "at least", 143),
        (signal.SIGHUP, "at least", 129),
        (signal.SIGINT, "hung up", 130),  # while a line is down
    ],
)
def test_interrupted_in_the_middle(file: Path, scratch: Path, number: int, when: str, status: int) -> None:
    file.write_bytes(file.read_bytes()[:40_000])
    variables = {"TMPDIR": str(scratch)}
    process = start("demo", "--file", str(file), "--rates", "57600,57600,57600", variables=variables)
    assert process.stdout is not None
    wait_for(process.stdout, when)
    time.sleep(0.2)
    assert [path.name[:13] for path in scratch.iterdir()] == ["eqlbond-wire-"]
    got, _, err, took = interrupt(process, number)
    assert (got, err) == (status, "")
    assert took < 10
    assert not list(scratch.iterdir())


def test_its_terminal_is_closed(file: Path, scratch: Path) -> None:
    arguments = ("demo", "--file", str(file), "--rates", "57600,57600")
    close_the_terminal(*arguments, until=b"B/s", variables={"TMPDIR": str(scratch)})
    assert not list(scratch.iterdir())


def test_nobody_reads_the_output(file: Path) -> None:
    file.write_bytes(bytes(2000))
    process = subprocess.Popen(
        f"{sys.executable} -m eqlbond demo --rates 1000000 --file {file} | head -n 1; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    out, err = process.communicate(timeout=60)
    assert err == b""
    assert out.splitlines()[-1] == b"0"
