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


def start(*arguments: str, stdin: int | IO[bytes] = subprocess.PIPE, **options: Any) -> subprocess.Popen[bytes]:
    """Start, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "eqlbond", *arguments],
        stdin=stdin,
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=options.pop("stderr", subprocess.PIPE),
        env=environment(),
        **options,
    )


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
