"""A guest with Debian's kernel, steered by a shell on a virtio port: unlike an emulated UART that loses nothing when
the machine is busy."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import select
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.interop.linux.image import Image, Unbuildable, build
from tests.interop.linux.pacer import SOCKET_BUFFER

LINES = 4
BOOT_LIMIT = 180.0
DEVICES = tuple(f"/dev/ttyS{4 + number}" for number in range(LINES))
"""The guest's names of its serial lines."""


RESET = """
for file in /run/job*.pid; do [ -e $file ] && kill $(cat $file); done
killall pppd peer slattach; sleep 0.3; killall -9 pppd peer slattach ping
ip link set eql down; ip address flush dev eql
rm -rf /run/job* /run/ppp* /var/run/ppp* /etc/ppp/*; touch /etc/ppp/options
true
"""


class GuestError(AssertionError):
    """A command in the guest failed; the text is what it said."""


class Job:
    """A command that runs in the guest beside others."""

    def __init__(self, guest: Guest, number: int) -> None:
        self._guest = guest
        self._path = f"/run/job{number}"

    @property
    def output(self) -> str:
        """What it has said so far."""
        return self._guest.sh(f"cat {self._path}", check=False)

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        told = self._guest.sh(f"cat {self._path}.status 2>/dev/null", check=False).strip()
        return int(told) if told else None

    def wait(self, seconds: float = 120.0, check: bool = True) -> str:
        """Wait for its end; what it said."""
        deadline = time.monotonic() + seconds
        while (status := self.status) is None:
            if time.monotonic() > deadline:
                raise GuestError(f"not done within {seconds:g} s: {self.output}")
            time.sleep(0.2)
        if check and status:
            raise GuestError(f"status {status}: {self.output}")
        return self.output

    def told(self, seconds: float = 120.0) -> Any:
        """The JSON of its last line, once it has ended."""
        return json.loads(self.wait(seconds).splitlines()[-1])

    def until(self, text: str, seconds: float = 60.0) -> str:
        """Wait until it has said `text`; what it has said."""
        deadline = time.monotonic() + seconds
        while True:
            over = self.status is not None or time.monotonic() > deadline
            if text in (said := self.output):  # asked for after the status: the last words come before the end
                return said
            if over:
                raise GuestError(f"no {text!r} within {seconds:g} s: {said}")
            time.sleep(0.2)

    def kill(self, signal: str = "TERM") -> None:
        """End it."""
        self._guest.sh(f"kill -{signal} $(cat {self._path}.pid)", check=False)


class Guest:
    """Boots when made; `lines` are this side's ends of its four serial ports, for `Pacer`.

    Args:
        qdisc: the kernel's default for interfaces made later: ``fq_codel`` is Debian's, ``pfifo_fast`` the kernel's
            own.
    """

    def __init__(self, qdisc: str = "fq_codel", image: Image | None = None) -> None:
        if shutil.which("qemu-system-x86_64") is None:
            raise Unbuildable("there is no qemu-system-x86_64 here; tests/interop/apt-packages.txt names the packages")
        self.image = image or build()
        self._log = Path(tempfile.mkdtemp(prefix="eqlbond-guest-")) / "kernel.log"
        self._shell, shell = socket.socketpair()
        self.lines: list[socket.socket] = []
        uarts = []
        for _ in range(LINES):
            ours, theirs = socket.socketpair()
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
            self.lines.append(ours)
            uarts.append(theirs)
        ports = [f"chardev{number + 1}=line{number}" for number in range(LINES)]
        arguments = [
            *("-accel", "tcg", "-m", "160", "-smp", "1", "-nodefaults", "-display", "none", "-no-reboot"),
            *("-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd)),
            *("-append", f"console=ttyS0 8250.nr_uarts=8 loglevel=6 panic=-1 tsc=reliable qdisc={qdisc}"),
            *("-chardev", f"file,id=log,path={self._log}", "-device", "isa-serial,chardev=log"),
            *("-chardev", f"socket,id=shell,fd={shell.fileno()}"),
            *("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=shell,name=shell"),
        ]
        for number, uart in enumerate(uarts):
            arguments += ["-chardev", f"socket,id=line{number},fd={uart.fileno()}"]
        arguments += ["-device", ",".join(["pci-serial-4x", *ports])]
        self._process = subprocess.Popen(
            ["qemu-system-x86_64", *arguments],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[shell.fileno(), *(uart.fileno() for uart in uarts)],
        )
        for theirs in (shell, *uarts):
            theirs.close()
        self._numbers = itertools.count(1)
        self._buffer = b""
        try:
            self._until(b"ready\n", BOOT_LIMIT)
        except BaseException:
            self.close()
            raise

    # ---- the shell

    def _more(self, deadline: float) -> None:
        if not select.select([self._shell], [], [], max(0.0, deadline - time.monotonic()))[0]:
            said = f"{self._buffer[-200:]!r}; its kernel said:\n{self.kernel_log()[-3000:]}"
            raise GuestError(f"the guest does not answer; last it said {said}")
        data = self._shell.recv(65536)
        if not data:
            error = self._process.stderr.read().decode() if self._process.stderr else ""
            raise GuestError(f"the guest has ended: {error}\n{self.kernel_log()[-3000:]}")
        self._buffer += data

    def _until(self, what: bytes, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        while what not in self._buffer:
            self._more(deadline)
        head, _, self._buffer = self._buffer.partition(what)
        return head

    def sh(self, command: str, seconds: float = 60.0, check: bool = True) -> str:
        """Run a command of the shell; what it says.

        Raises:
            GuestError: its status is not 0 and `check` is true, or it takes longer than `seconds`.
        """
        number = next(self._numbers)
        text = base64.b64encode(command.encode()).decode()
        self._shell.sendall(f"{number} {text}\n".encode())
        self._until(f"= {number} ".encode(), seconds)
        status, size = map(int, self._until(b"\n", seconds).split())
        deadline = time.monotonic() + seconds
        while len(self._buffer) < size:
            self._more(deadline)
        output, self._buffer = self._buffer[:size].decode(errors="replace"), self._buffer[size:]
        if check and status:
            raise GuestError(f"{command}: status {status}\n{output}")
        return output

    def spawn(self, command: str) -> Job:
        """Start a command that goes on by itself."""
        number = next(self._numbers)
        path = f"/run/job{number}"
        self.sh(
            f"rm -f {path}.status; (sh -c 'echo $$ >{path}.pid; exec \"$@\"' - {command} >{path} 2>&1; "
            f"echo $? >{path}.status) &"
        )
        return Job(self, number)

    def write(self, path: str, text: str) -> None:
        """A file in the guest."""
        self.sh(f"mkdir -p $(dirname {path}); cat >{path} <<'END-OF-FILE'\n{text}\nEND-OF-FILE")

    def hangup(self, line: int) -> None:
        """What a falling carrier does to the guest's port."""
        self.sh(f"peer hangup {DEVICES[line]}")

    def counters(self, interface: str) -> dict[str, int]:
        """What the kernel has counted at an interface, such as ``rx_packets``."""
        said = self.sh(f"cd /sys/class/net/{interface}/statistics; grep . *")
        return {name: int(value) for name, value in (line.split(":") for line in said.splitlines())}

    def kernel_log(self) -> str:
        """What the kernel has said."""
        with contextlib.suppress(OSError):
            return self._log.read_text(errors="replace")
        return ""

    def ping(self, address: str, count: int = 5, interval: float = 0.2, size: int = 56) -> list[float]:
        """Round trips in milliseconds, of those that were answered."""
        command = f"ping -c {count} -i {interval} -s {size} -W 10 {address}"
        return parse_ping(self.sh(command, 60 + count * interval, check=False))

    def reset(self) -> None:
        """Take away what runs, the interfaces that were made, and what came in meanwhile."""
        self.sh(RESET)
        for line in self.lines:
            line.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while line.recv(65536):
                    pass

    # ---- its end

    def close(self) -> None:
        """Switch it off."""
        self._process.kill()
        self._process.communicate()
        for sock in (self._shell, *self.lines):
            sock.close()
        shutil.rmtree(self._log.parent, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(f"the guest's kernel said:\n{self.kernel_log()[-2000:]}")
        self.close()


def parse_ping(said: str) -> list[float]:
    """Round trips in milliseconds from what busybox's or iputils' ping says."""
    return [float(line.split("time=")[1].split()[0]) for line in said.splitlines() if "time=" in line]
