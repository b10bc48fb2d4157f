"""What the command `eqlbond` imports before it does anything, and that every command is there."""

from __future__ import annotations

import subprocess
import sys

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
