"""Two routers in network namespaces of their own, joined by shaped pty lines."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.cli.commands import environment
from tests.interop.linux.guest import parse_ping

PATIENCE = 60.0


class Failed(AssertionError):
    """A command failed; the text is what it said."""


def sh(*command: str, timeout: float = PATIENCE) -> str:
    """Run a command; its output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=environment())
    if done.returncode:
        raise Failed(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def until(what: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.1)


class Wire:
    """``eqlbond wire`` in a process of its own."""

    def __init__(self, directory: Path, lines: str) -> None:
        self.directory = directory
        arguments = ["wire", "--line", lines, "--link-dir", str(directory), "--exit-on-eof"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "eqlbond", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )
        count = len(lines.split(","))
        self.names = [f"line{number}" for number in range(count)]
        until(lambda: all((directory / f"{name}.b").exists() for name in self.names))

    def say(self, text: str) -> None:
        """Give it a command, such as ``cut 1``, and wait until it is carried out."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(text.encode() + b"\n")
        self._process.stdin.flush()
        while text.encode() not in self._process.stdout.readline():
            assert self._process.poll() is None

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE)


class Router:
    """A network namespace with an ``eqlbond run`` in it."""

    def __init__(self, directory: Path, end: str, configuration: str) -> None:
        self.space = f"eqlbond-{end}-{os.getpid()}"
        self.file = directory / f"{end}.toml"
        self.socket = directory / f"{end}.sock"
        self.log = directory / f"{end}.log"
        self.file.write_text(configuration)
        sh("ip", "netns", "add", self.space)
        self._process: subprocess.Popen[bytes] | None = None
        self._others: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        # exec, so that signals reach eqlbond itself.
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.inside, sys.executable, "-m", "eqlbond", "run", str(self.file)],
                stderr=log,
                stdout=log,
                env=environment(),
            )

    @property
    def inside(self) -> list[str]:
        return ["ip", "netns", "exec", self.space]

    def sh(self, *command: str, timeout: float = PATIENCE) -> str:
        """Run a command in the namespace."""
        return sh(*self.inside, *command, timeout=timeout)

    def spawn(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command in the namespace; it ends with the router."""
        process = subprocess.Popen([*self.inside, *command], env=environment(), **options)
        self._others.append(process)
        return process

    def eqlbond(self, command: str, *arguments: str) -> str:
        """Steer the bond."""
        return sh(sys.executable, "-m", "eqlbond", command, "--socket", str(self.socket), *arguments)

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.eqlbond("status", "--json"))
        return status

    def up(self, lines: int) -> bool:
        """Whether the bond carries packets over so many lines."""
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        with contextlib.suppress(Failed):
            status = self.status()
            return bool(status["up"]) and sum(line["up"] for line in status["bond"]["lines"]) == lines
        return False

    def interfaces(self) -> list[str]:
        return [link["ifname"] for link in json.loads(self.sh("ip", "-json", "link"))]

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; the exit status, and the seconds that it took."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=PATIENCE), time.monotonic() - began

    def remove(self) -> None:
        for process in [*self._others, self._process]:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        subprocess.run(["ip", "netns", "del", self.space], check=False)


class Pair:
    """Two routers and the wire between them."""

    def __init__(self, directory: Path, lines: str, configure: Callable[[str, Sequence[str]], str]) -> None:
        """`configure` makes a configuration file from the end ("a" or "b") and its devices."""
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            self.wire = Wire(directory / "lines", lines)
            stack.callback(self.wire.close)
            routers = []
            for end in "ab":
                devices = [str(directory / "lines" / f"{name}.{end}") for name in self.wire.names]
                router = Router(directory, end, configure(end, devices))
                stack.callback(router.remove)
                routers.append(router)
            self.a, self.b = routers
            self.count = len(self.wire.names)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        for router in (self.a, self.b):
            router.start()
        try:
            for router in (self.a, self.b):
                until(lambda router=router: router.up(self.count))  # type: ignore[misc]
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for router in (self.a, self.b):
                error.add_note(f"log of {router.space}:\n{router.log.read_text()[-4000:]}")
        self._stack.close()


def ping(router: Router, address: str, count: int = 5, interval: float = 0.2, size: int = 56) -> list[float]:
    """Round trips in milliseconds. Raises where none is answered."""
    out = router.sh("ping", "-n", "-c", str(count), "-i", str(interval), "-s", str(size), "-W", "5", address)
    return parse_ping(out)


@contextlib.contextmanager
def serving(router: Router, directory: Path, address: str, port: int = 8000) -> Iterator[str]:
    """A web server in the router's namespace; its address."""
    family = ["--bind", address]
    command = [sys.executable, "-m", "http.server", str(port), *family, "--directory", str(directory)]
    process = router.spawn(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    host = f"[{address}]" if ":" in address else address
    try:
        until(lambda: f":{port}" in router.sh("ss", "-ltn"))
        yield f"http://{host}:{port}"
    finally:
        process.kill()
        process.wait()
