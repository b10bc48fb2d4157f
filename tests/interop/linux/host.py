"""This machine's side of a test: `eqlbond run` in a network namespace, and the same `peer` helper as in the guest."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from eqlbond.control import ControlClient, ControlError
from tests.interop.linux.guest import Guest, Job, parse_ping
from tests.interop.linux.image import Image
from tests.interop.linux.pacer import Pacer
from tests.interop.routers import Failed, Router, sh, until


class HostJob:
    """A command that runs in the namespace beside others; as `Job` is in the guest."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self._process, self._path = process, output

    @property
    def output(self) -> str:
        """What it has said so far."""
        return self._path.read_text()

    def wait(self, seconds: float = 120.0, check: bool = True) -> str:
        """Wait for its end; what it said."""
        status = self._process.wait(seconds)
        if check and status:
            raise Failed(f"status {status}: {self.output}")
        return self.output

    def told(self, seconds: float = 120.0) -> Any:
        """The JSON of its last line, once it has ended."""
        return json.loads(self.wait(seconds).splitlines()[-1])

    def until(self, text: str, seconds: float = 60.0) -> str:
        """Wait until it has said `text`; what it has said."""
        until(lambda: text in self.output or self._process.poll() is not None, seconds)
        assert text in self.output, self.output
        return self.output

    def kill(self) -> None:
        """End it."""
        self._process.terminate()

    def interrupt(self) -> None:
        """End it as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)


class Host(Router):
    """`eqlbond run` in a network namespace. `start()` starts it, `until_up(n)` waits for n lines."""

    def __init__(self, directory: Path, configuration: str, image: Image, end: str = "host") -> None:
        super().__init__(directory, end, f'{configuration}\n[control]\nsocket = "{directory / end}.sock"\n')
        self.image = image
        self._directory = directory
        self._count = 0
        self.sh("ip", "link", "set", "lo", "up")

    def job(self, command: str) -> HostJob:
        """Start a command that goes on by itself; ``peer``, ``/data`` and ``/sample`` are as in the guest."""
        self._count += 1
        output = self._directory / f"{self.file.stem}-job{self._count}"
        words = command.split()
        if words[0] == "peer":
            words[0] = str(self.image.peer)
        words = [str(self.image.files[word]) if word in self.image.files else word for word in words]
        with output.open("wb") as file:
            return HostJob(self.spawn(*words, stdout=file, stderr=file), output)

    def until_up(self, lines: int, seconds: float = 60.0) -> None:
        """Wait until the bond carries packets over so many lines."""
        until(lambda: self.up(lines), seconds)

    def status(self) -> dict[str, Any]:
        """What ``eqlbond status --json`` says, without a process for it."""

        async def ask() -> Any:
            async with ControlClient(self.socket) as client:
                return await client.status()

        try:
            status: dict[str, Any] = asyncio.run(ask())
        except ControlError as error:
            raise Failed(str(error)) from error
        return status

    def until_said(self, text: str, seconds: float = 60.0) -> str:
        """Wait until its log has a line with `text`; the line."""
        found = ""

        def look() -> str:
            nonlocal found
            found = next((line for line in self.log.read_text().splitlines() if text in line), "")
            return found

        until(look, seconds)
        return found

    def lines(self) -> dict[str, dict[str, Any]]:
        """Statistics of the lines, by name."""
        return {line["name"]: line for line in self.status()["bond"]["lines"]}

    def ping(self, address: str, count: int = 5, interval: float = 0.2, size: int = 56) -> list[float]:
        """Round trips in milliseconds, of those that were answered."""
        command = ["ping", "-n", "-c", str(count), "-i", str(interval), "-s", str(size), "-W", "10", address]
        done = subprocess.run([*self.inside, *command], capture_output=True, text=True, check=False, timeout=120)
        return parse_ping(done.stdout)


class Bench:
    """A guest and a host, joined by paced lines; a context manager.

    Args:
        guest: booted. What the last test left in it is taken away.
        configure: makes the host's configuration file of the devices.
    """

    def __init__(
        self, guest: Guest, directory: Path, rates: Sequence[float], configure: Callable[[Sequence[str]], str]
    ) -> None:
        self.guest = guest
        guest.reset()
        self.devices = [str(directory / f"line{number}") for number in range(len(rates))]
        self.pacer = Pacer(rates, self.devices, guest.lines[: len(rates)])
        try:
            self.host = Host(directory, configure(self.devices), guest.image)
        except BaseException:
            self.pacer.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.host.log.exists():
            error.add_note(f"eqlbond said:\n{self.host.log.read_text()[-4000:]}")
            error.add_note(f"the guest's jobs said:\n{self.guest.sh('tail -n 40 /run/job*', check=False)[-6000:]}")
        self.host.remove()
        self.pacer.close()
        self.guest.reset()


def start(end: Host | Guest, command: str) -> Job | HostJob:
    """A command at either end."""
    return end.spawn(command) if isinstance(end, Guest) else end.job(command)


class Transfer:
    """A file on its way by TCP with cubic. Two may go at the same time, in opposite directions.

    Args:
        address: the receiver's.
        file: ``/sample``, or ``/data``, which is the file of the 1995 report.
        seconds: after which it is given up.
    """

    def __init__(
        self, sender: Host | Guest, receiver: Host | Guest, address: str, file: str = "/sample", seconds: float = 300.0
    ) -> None:
        self._receiver, self._file, self._seconds = receiver, file, seconds
        self._target = "/tmp/received" if isinstance(receiver, Guest) else str(receiver.file.parent / "received")
        self._listening = start(receiver, f"peer receive {address} 5001 {self._target} {seconds}")
        self._listening.until("ready")
        self._sending = start(sender, f"peer send {address} 5001 {file} cubic {seconds}")

    def end(self) -> dict[str, Any]:
        """What the sender and the receiver say of it, checked to be whole and the same."""
        told: dict[str, Any] = {**self._sending.told(self._seconds + 60), **self._listening.told(60)}
        assert told["whole"], told
        check = ["sha256sum", self._target]
        receiver = self._receiver
        got = receiver.sh(" ".join(check)) if isinstance(receiver, Guest) else sh(*check)
        assert got.split()[0] == hashlib.sha256(receiver.image.files[self._file].read_bytes()).hexdigest(), told
        return told


def transfer(
    sender: Host | Guest, receiver: Host | Guest, address: str, file: str = "/sample", seconds: float = 300.0
) -> dict[str, Any]:
    """A whole `Transfer`."""
    return Transfer(sender, receiver, address, file, seconds).end()


class Datagrams:
    """UDP, a datagram of `size` bytes of payload every `interval` seconds. Two may go at once, as transfers may.

    Args:
        address: the receiver's.
        patience: seconds without one after which the receiver takes the rest for lost.
    """

    def __init__(
        self,
        sender: Host | Guest,
        receiver: Host | Guest,
        address: str,
        count: int,
        size: int,
        interval: float,
        patience: float = 5.0,
    ) -> None:
        self._seconds = 60 + count * interval
        self._collecting = start(receiver, f"peer collect {address} 5002 {count} {patience}")
        self._collecting.until("ready")
        self._flooding = start(sender, f"peer flood {address} 5002 {count} {size} {interval}")

    def end(self) -> dict[str, Any]:
        """What both ends say of it."""
        return {**self._flooding.told(self._seconds), **self._collecting.told(60)}


def datagrams(
    sender: Host | Guest, receiver: Host | Guest, address: str, count: int, size: int, interval: float
) -> dict[str, Any]:
    """All of `Datagrams`."""
    return Datagrams(sender, receiver, address, count, size, interval).end()
