"""What the command `eqlbond` imports before it does anything, and that every command is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eqlbond.cli import main
from tests.cli.commands import environment, run

HEAVY = {"attr", "matplotlib", "pyroute2", "serial", "eqlbond._public", "eqlbond.aio.master", "eqlbond.core.bundle"}


def imported(command: str | None) -> set[str]:
    program = f"import sys; from eqlbond.cli.main import make_parser; make_parser({command!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=environment())
    return set(done.stdout.decode().split())


@pytest.mark.parametrize("command", [None, "status", "events", "enslave", "nonsense"])
def test_commands_that_only_ask_start_without_the_engine(command: str | None) -> None:
    modules = imported(command)
    assert "eqlbond.cli.main" in modules
    assert not modules & HEAVY


def test_the_version_needs_no_asyncio() -> None:
    assert "asyncio" not in imported(None)


@pytest.mark.parametrize("command", main._COMMANDS)
def test_every_command_has_its_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: eqlbond {command} ")
    assert "-h, --help" in text
    assert text.count("\n") > 5


def test_all_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["--help"])
    words = capsys.readouterr().out.split()
    assert set(main._COMMANDS) <= set(words)


def test_an_unknown_command_is_a_usage_error() -> None:
    status, _, error = run("stauts")
    assert status == 2
    assert "invalid choice: 'stauts'" in error
    assert "'status'" in error


def output_to(descriptor: int, *words: str) -> tuple[int, str]:
    """Run Python with a buffered standard output there; status and standard error."""
    variables = {name: value for name, value in environment().items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, *words], stdin=subprocess.DEVNULL, stdout=descriptor, stderr=subprocess.PIPE, env=variables
    )
    return done.returncode, done.stderr.decode()


STEER = """
import sys
from eqlbond.cli import main, steer

class Client:
    def __init__(self, path): pass
    async def __aenter__(self): return self
    async def __aexit__(self, *reason): pass
    async def show(self, slave): return {"rate": 9600}
    async def reload(self): return {"enslaved": [], "emancipated": [], "changed": []}

steer.ControlClient = Client
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.fixture
def bond_file(tmp_path: Path) -> str:
    path = tmp_path / "bond.toml"
    path.write_text('[[slave]]\ndevice = "/dev/ttyS0"\nbaudrate = 9600\n')
    return str(path)


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "eqlbond", "simulate", "--line", "9600", "--size", "1000"],
        ["-m", "eqlbond", "check", "FILE"],
        ["-m", "eqlbond", "demo", "--quiet", "--no-cut", "--rates", "1000000", "--file", "FILE"],
        ["-m", "eqlbond", "wire", "--exit-on-eof"],
        ["-m", "eqlbond", "simulate", "--help"],
        ["-m", "eqlbond", "--version"],
        ["-c", STEER, "show", "--json"],
        ["-c", STEER, "reload"],
    ],
    ids=lambda words: " ".join(words[1:3] if words[0] == "-m" else words[2:]),
)
def test_a_reader_who_has_gone_is_no_error(words: list[str], bond_file: str) -> None:
    if sys.platform != "linux" and words[2] in ("demo", "wire"):
        pytest.skip("the pty wire needs Linux")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        got = output_to(writer, *(bond_file if word == "FILE" else word for word in words))
    finally:
        os.close(writer)
    assert got == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="the pty wire needs Linux")
def test_an_error_is_told_where_nobody_reads() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        status, error = output_to(writer, "-m", "eqlbond", "demo", "--json", "/nonexistent/x", "--rates", "9600")
    finally:
        os.close(writer)
    assert (status, error) == (1, "eqlbond: /nonexistent/x: No such file or directory\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "wb") as full:
        got = output_to(full.fileno(), "-m", "eqlbond", "simulate", "--line", "9600", "--size", "1000")
    assert got == (1, "eqlbond: standard output: No space left on device\n")
