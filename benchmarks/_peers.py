"""The systems that `benchmarks.peers` compares: two ends, the lines between them, and how a line is cut.

Each is made of the same parts: guests with Debian's kernel and `eqlbond run` in network namespaces of this machine, and
lines from the one pacer. `near` sends, `far` receives.
"""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from benchmarks._peer_machines import Machines
from benchmarks._peer_rows import FAIR
from tests.interop.linux.guest import DEVICES, Guest, GuestError
from tests.interop.linux.host import Host
from tests.interop.linux.pacer import Pacer

NEAR, FAR = "10.9.0.1", "10.9.0.2"
FIFO = "pfifo_fast"
ECHO_INTERVAL, ECHO_FAILURE = 1, 3
OUTFILL, KEEPALIVE = 1, 3
"""Of SLIP: whole seconds, as Linux has them; an outfill may take two periods."""
_TERMIOS = (9600, 19200, 38400, 57600, 115200)

End = Host | Guest


class System(ABC):
    """Two ends and the lines between them; a context manager, within which packets go both ways.

    Args:
        rates: of the lines, bit/s at 10 bits a byte.
        mtu: of the bond, bytes.
        qdisc: what queues in front of the guests' lines; eqlbond has its own fair queue.
        echo: whether the ends look for signs of life. By PPP they ask each other once a second, and three questions
            without an answer are the end; by SLIP they send something each second, and three seconds without are it.
        ecn: whether TCP at eqlbond's ends offers to have packets marked instead of dropped, as it does by default.
            Linux by itself only accepts it.
    """

    name: ClassVar[str]
    framing: ClassVar[str] = "slip"
    near: End
    far: End
    pacer: Pacer

    def __init__(
        self,
        machines: Machines,
        rates: Sequence[int],
        mtu: int,
        qdisc: str = FAIR,
        echo: bool = False,
        ecn: bool = True,
    ) -> None:
        self.machines, self.rates, self.mtu, self.qdisc, self.echo = machines, tuple(rates), mtu, qdisc, echo
        self.ecn = ecn
        self._stack = contextlib.ExitStack()

    @abstractmethod
    def up(self) -> None:
        """Make the ends, join them, and wait until all lines carry packets."""

    def cut(self, line: int) -> None:
        """From now on the line carries nothing, and nobody is told."""
        self.pacer.say(f"cut {line}")

    def hangup(self, line: int) -> None:
        """The line is gone, and both ends are told, as by a falling carrier."""
        self.pacer.say(f"hangup {line}")  # cuts it, and the ptys go
        guests = [end for end in (self.near, self.far) if isinstance(end, Guest)]
        threads = [threading.Thread(target=guest.hangup, args=(line,)) for guest in guests]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def settle(self, quiet: float = 1.0, limit: float = 60.0) -> None:
        """Wait until the lines have carried what was queued, and then next to nothing for `quiet` seconds."""
        step = 0.5
        began = since = time.monotonic()
        last = self.pacer.passed()
        while (now := time.monotonic()) < min(began + limit, since + quiet):
            time.sleep(step)
            passed = self.pacer.passed()
            for line, rate in enumerate(self.rates):
                # Echo-Requests and router solicitations are a few bytes now and then.
                if max(a - b for a, b in zip(passed[line], last[line], strict=True)) > rate / 10 * step / 4:
                    since = now + step
            last = passed

    def said(self) -> str:
        """What the ends have logged, for a report of a failure."""
        logs = [end.log.read_text()[-2000:] for end in (self.near, self.far) if isinstance(end, Host)]
        for end in (self.near, self.far):
            if isinstance(end, Guest):
                with contextlib.suppress(GuestError, OSError):
                    logs.append(end.sh("tail -n 15 /run/job*", check=False)[-2000:])
        return "\n".join(logs)

    def close(self) -> None:
        """Take all away but the guests."""
        self._stack.close()

    def __enter__(self) -> Self:
        try:
            self.up()
        except BaseException as error:
            if isinstance(error, Exception):
                with contextlib.suppress(AttributeError):  # an end that was not made
                    error.add_note(self.said())
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):  # whoever interrupts it does not want to wait
            error.add_note(self.said())
        self.close()

    # ---- parts

    def _join(self, a: Sequence[object], b: Sequence[object]) -> None:
        count = len(self.rates)
        self.pacer = Pacer(self.rates, a[:count], b[:count])  # type: ignore[arg-type]
        self._stack.callback(self.pacer.close)

    def _devices(self, room: Path, end: str) -> list[str]:
        return [str(room / f"{end}{number}") for number in range(len(self.rates))]

    def _guest(self, number: int) -> Guest:
        guest = self.machines.guest(number)
        # eql is made when its module is loaded; the other interfaces come later.
        guest.sh(
            f"echo {self.qdisc} >/proc/sys/net/core/default_qdisc; rmmod eql; insmod $(ls /modules/eql.ko* | head -n 1)"
        )
        return guest

    def _host(self, room: Path, end: str, devices: Sequence[str]) -> Host:
        here, there = (NEAR, FAR) if end == "near" else (FAR, NEAR)
        host = Host(room, self._configuration(devices, here, there), self.machines.image, end)
        self._stack.callback(host.remove)
        return host

    def _configuration(self, devices: Sequence[str], here: str, there: str) -> str:
        """The file of an `eqlbond run`."""
        text = f"[bond]\nmtu = {self.mtu}\nmultilink = {str(self.framing == 'ppp').lower()}\n"
        if self.framing == "ppp":
            text += f'[ppp]\nip = {{ local = "{here}", peer = "{there}" }}\n'
            if self.echo:
                text += f"echo_interval = {ECHO_INTERVAL}\necho_failure = {ECHO_FAILURE}\n"
        text += f'[tun]\nname = "eql0"\naddresses = "{here}"\npeer = "{there}"\necn = {str(self.ecn).lower()}\n'
        for number, (device, rate) in enumerate(zip(devices, self.rates, strict=True)):
            text += f'[[slave]]\nname = "line{number}"\ndevice = "{device}"\nbaudrate = {rate}\n'
            text += f'framing = "{self.framing}"\n'
            if self.echo and self.framing == "slip":
                text += f"outfill = {OUTFILL}\nkeepalive = {KEEPALIVE}\n"
        return text

    def _start(self, *hosts: Host) -> None:
        for host in hosts:
            host.start()
        for host in hosts:
            host.until_up(len(self.rates))

    def _eql(self, *guests: tuple[Guest, str, str]) -> None:
        """The eql driver over SLIP, in guests with these addresses, with the lines' rates as the slaves' speeds."""
        for guest, here, there in guests:
            guest.sh(f"ip link set eql mtu {self.mtu}; ip address add {here} peer {there} dev eql; ip link set eql up")
        keepalive, outfill = (KEEPALIVE, OUTFILL) if self.echo else (0, 0)
        # A line at both ends before the next one: the kernel hangs it up where it hears nothing for its keepalive.
        for device, rate in zip(DEVICES, self.rates, strict=False):
            for guest, _, _ in guests:
                name = guest.spawn(f"peer slip {device} {self.mtu} {keepalive} {outfill}").until("sl").split()[0]
                guest.sh(f"ip link set {name} up; peer eql enslave eql {name} {rate}")


class KernelEql(System):
    """The kernel's eql driver over SLIP at both ends."""

    name = "kernel-eql"

    def up(self) -> None:
        near, far = self.near, self.far = self._guest(0), self._guest(1)
        self._join(near.lines, far.lines)
        self._eql((near, NEAR, FAR), (far, FAR, NEAR))


class KernelMultilink(System):
    """The kernel's PPP Multilink under pppd at both ends."""

    name = "kernel-multilink"
    framing = "ppp"

    def up(self) -> None:
        near, far = self.near, self.far = self._guest(0), self._guest(1)
        self._join(near.lines, far.lines)
        for line, speed in enumerate(speeds(self.rates)):
            jobs = [
                far.spawn(self._pppd_command(line, FAR, NEAR, speed, " passive")),
                near.spawn(self._pppd_command(line, NEAR, FAR, speed)),
            ]
            for job in jobs:
                # The first link makes the bundle and its addresses; the others join it.
                job.until("Link attached" if line else "remote IP address", 40)
        for guest in (near, far):
            guest.sh(f"ip link set ppp0 mtu {self.mtu}")

    def _pppd_command(self, line: int, here: str, there: str, speed: int, further: str = "") -> str:
        command = f"pppd {DEVICES[line]} {speed} {here}:{there} nodetach local nocrtscts noauth novj noccp"
        command += f" multilink endpoint local:{here[-1] * 2}{further}"
        if self.echo:
            command += f" lcp-echo-interval {ECHO_INTERVAL} lcp-echo-failure {ECHO_FAILURE}"
        return command


class EqlbondPlain(System):
    """`eqlbond run` over TUN at both ends, plain balancing over SLIP."""

    name = "eqlbond-plain"

    def up(self) -> None:
        room = self.machines.room()
        a, b = (self._devices(room, end) for end in ("near", "far"))
        self._join(a, b)
        near, far = self.near, self.far = self._host(room, "near", a), self._host(room, "far", b)
        self._start(near, far)


class EqlbondMultilink(EqlbondPlain):
    """`eqlbond run` over TUN at both ends, PPP Multilink."""

    name = "eqlbond-multilink"
    framing = "ppp"


class EqlbondToKernelEql(System):
    """`eqlbond run` sends to an unchanged kernel's eql driver over SLIP, which sends back by its own rule."""

    name = "eqlbond-to-kernel-eql"

    def up(self) -> None:
        room = self.machines.room()
        devices = self._devices(room, "near")
        far = self.far = self._guest(0)
        self._join(devices, far.lines)
        near = self.near = self._host(room, "near", devices)
        self._eql((far, FAR, NEAR))
        self._start(near)


SYSTEMS = {
    system.name: system for system in (KernelEql, KernelMultilink, EqlbondPlain, EqlbondMultilink, EqlbondToKernelEql)
}


def speeds(rates: Sequence[int]) -> list[int]:
    """What pppd is told: it splits packets by these speeds, and takes only those that termios has.

    Equal lines get the rate where it is such a speed, others speeds in the ratio of the rates.
    """
    if set(rates) <= set(_TERMIOS):
        return list(rates)
    for largest in reversed(_TERMIOS):
        told = [largest * rate / max(rates) for rate in rates]
        if set(told) <= set(_TERMIOS):
            return [int(speed) for speed in told]
    raise ValueError(f"no termios speeds are in the ratio of {rates}")
