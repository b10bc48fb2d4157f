"""Running `eqlbond` as a person does: in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import eqlbond

PATIENCE = 60.0
ROOT = str(Path(eqlbond.__file__).parents[1])


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH", "")]))
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # compile once
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "default"}


def run(*arguments: str, data: bytes = b"") -> tuple[int, str, str]:
    """Run to the end; status, standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "eqlbond", *arguments],
        input=data,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        env=environment(),
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def start(
    *arguments: str, stdin: int | IO[bytes] = subprocess.PIPE, variables: dict[str, str] | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """Start, with pipes; `variables`: more of the environment."""
    return subprocess.Popen(
        [sys.executable, "-m", "eqlbond", *arguments],
        stdin=stdin,
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=options.pop("stderr", subprocess.PIPE),
        env={**environment(), **(variables or {})},
        **options,
    )


_IN_A_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from eqlbond.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def close_the_terminal(*arguments: str, until: bytes, variables: dict[str, str]) -> int:
    """Run in a terminal of its own, which is closed when it shows this text; the status."""
    master, slave = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _IN_A_TERMINAL, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**environment(), **variables},
        start_new_session=True,
    )
    os.close(slave)
    shown = b""
    while until not in shown:
        shown += os.read(master, 65536)
    time.sleep(0.2)
    os.close(master)
    return process.wait(timeout=PATIENCE)


def wait_for(stream: IO[bytes], text: str) -> str:
    """Read lines until one has the text in it; all that was read."""
    read = ""
    while text not in read:
        line = stream.readline()
        assert line, f"it ended without {text!r}: {read}"
        read += line.decode()
    return read


def interrupt(process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> tuple[int, str, str, float]:
    """Send a signal; status, the rest of the output, and how long it took to end."""
    started = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, (out or b"").decode(), (err or b"").decode(), time.monotonic() - started
