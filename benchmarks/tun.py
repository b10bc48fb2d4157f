"""Packets from one TUN interface to another: through two bonds in one process, against a bare pump in Python.

Two network namespaces, a TUN interface in each. The bare pump reads up to 32 packets a wake-up from either and writes
them to the other: the least that a Python program does. The bonds do the same with two masters between them, joined
by lines in memory without a rate: frames are made, escaped, found and read, and both ends are in one process.
`cpu_us_per_packet` is the processor time of that process for each packet delivered, acknowledgements included; the
system's own work for each read and write is part of it in both. Needs root (namespaces, TUN).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from statistics import median
from typing import Any

import attrs

from benchmarks._harness import Column, Table, finish, parse_options
from eqlbond import FqCoDel, Hdlc, Master, Slave, Slip
from eqlbond.codec.base import Framing
from eqlbond.exceptions import ConfigurationError, EqlbondError
from eqlbond.tun import TunInterface
from eqlbond.tun.pump import BATCH

MTU = 1500
NEAR, FAR = "10.199.7.1", "10.199.7.2"
PORT = 5001


class MemoryLine(asyncio.Transport):
    """One end of a line in memory: what is written is read at the other end in the next round of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.peer = self
        self._protocol: asyncio.Protocol | None = None
        self._written: list[bytes] = []
        self._size = 0
        self._high = 65536
        self._paused = False

    async def connect(self, factory: Callable[[], asyncio.Protocol]) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Open this end."""
        self._protocol = protocol = factory()
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(protocol.connection_made, self)
        return self, protocol

    def write(self, data: Any) -> None:
        """Take bytes."""
        if not self._written:
            self._loop.call_soon(self._carry)
        self._written.append(data)
        self._size += len(data)
        if self._size > self._high and not self._paused and self._protocol is not None:
            self._paused = True
            self._protocol.pause_writing()

    def _carry(self) -> None:
        data = b"".join(self._written)
        self._written.clear()
        self._size = 0
        if self.peer._protocol is not None:
            self.peer._protocol.data_received(data)
        if self._paused and self._protocol is not None:
            self._paused = False
            self._protocol.resume_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """From how many bytes on the writer is to pause."""
        self._high = self._high if high is None else high

    def get_write_buffer_size(self) -> int:
        """Bytes that have not been read."""
        return self._size

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return self._protocol is None

    def close(self) -> None:
        """Close this end."""
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            self._loop.call_soon(protocol.connection_lost, None)

    def abort(self) -> None:
        """Close this end."""
        self.close()


def memory_line() -> tuple[MemoryLine, MemoryLine]:
    """Both ends."""
    near, far = MemoryLine(), MemoryLine()
    near.peer, far.peer = far, near
    return near, far


class BarePump:
    """Between two TUN descriptors."""

    def __init__(self, a: int, b: int) -> None:
        loop = asyncio.get_running_loop()
        self.packets = self.size = 0
        loop.add_reader(a, self._pump, a, b)
        loop.add_reader(b, self._pump, b, a)

    def _pump(self, source: int, target: int) -> None:
        read, write = os.read, os.write
        try:
            for _ in range(BATCH):
                packet = read(source, MTU + 1)
                self.packets += 1
                self.size += len(packet)
                write(target, packet)
        except BlockingIOError:
            pass


@attrs.frozen
class Case:
    """What is measured: with `lines` 0 the bare pump."""

    name: str
    lines: int = 0
    framing: Framing | None = None
    queue: FqCoDel | None = None


BARE = Case("bare pump")
CASES = (
    Case("bond, 1 line, SLIP", 1, Slip()),
    Case("bond, 4 lines, SLIP", 4, Slip()),
    Case("bond, 4 lines, SLIP, FqCoDel", 4, Slip(), FqCoDel(limit=4 << 20)),
    Case("bond, 4 lines, HDLC", 4, Hdlc()),
)
TRAFFIC = (("tcp", 0), ("udp", 200))


@contextlib.contextmanager
def namespaces() -> Iterator[tuple[str, str]]:
    """Two network namespaces."""
    names = (f"eqlbench{os.getpid()}a", f"eqlbench{os.getpid()}b")
    made = []
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True, text=True)
            made.append(name)
        yield names
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=False)


@contextlib.asynccontextmanager
async def pumping(case: Case, near: TunInterface, far: TunInterface) -> AsyncIterator[Callable[[], tuple[int, int]]]:
    """Have the packets carried; gives a function that tells how many packets and bytes were."""
    if not case.lines:
        pump = BarePump(near._fd, far._fd)
        yield lambda: (pump.packets, pump.size)
        for tun in (near, far):
            asyncio.get_running_loop().remove_reader(tun._fd)
        return
    ends = [memory_line() for _ in range(case.lines)]
    a, b = ([Slave(end.connect, rate=None, framing=case.framing) for end in side] for side in zip(*ends, strict=True))
    async with (
        Master(a, mtu=MTU, queue=case.queue, close_timeout=1) as one,
        Master(b, mtu=MTU, queue=case.queue, close_timeout=1) as two,
    ):
        await near.attach(one)
        await far.attach(two)

        def count() -> tuple[int, int]:
            stats = near.stats(), far.stats()
            return sum(s.packets_written for s in stats), sum(s.bytes_written for s in stats)

        yield count
        await near.detach()
        await far.detach()


async def measure(case: Case, traffic: tuple[str, int], seconds: float) -> dict[str, Any]:
    """One run."""
    kind, size = traffic
    with namespaces() as (here, there):
        async with (
            TunInterface("eqlbench0", addresses=f"{NEAR}/30", mtu=MTU, namespace=here) as near,
            TunInterface("eqlbench0", addresses=f"{FAR}/30", mtu=MTU, namespace=there) as far,
            pumping(case, near, far) as count,
        ):
            settle = 0.5

            async def play(namespace: str, role: str, length: float) -> asyncio.subprocess.Process:
                part = (namespace, f"{kind}-{role}", FAR, str(PORT), str(length), str(size))
                return await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "benchmarks._traffic", *part),
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                )

            receiver = await play(there, "receive", seconds + settle)
            assert receiver.stdout is not None
            await receiver.stdout.readline()
            before = count()[0]
            sender = await play(here, "send", seconds + settle + 1)
            while count()[0] < before + 100 and sender.returncode is None:
                await asyncio.sleep(0.02)
            await asyncio.sleep(settle)
            began, cpu, (packets, carried) = time.perf_counter(), time.process_time(), count()
            await asyncio.sleep(seconds)
            took, cpu = time.perf_counter() - began, time.process_time() - cpu
            packets, carried = count()[0] - packets, count()[1] - carried
            for process in (sender, receiver):
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                await process.communicate()
    return {
        "case": f"{kind}{f' {size} B' if size else ''}: {case.name}",
        "mbit_per_second": carried * 8 / took / 1e6,
        "packets_per_second": packets / took,
        "cpu_us_per_packet": cpu / max(packets, 1) * 1e6,
    }


def compare(cases: Sequence[Case], traffic: tuple[str, int], seconds: float, rounds: int) -> list[dict[str, Any]]:
    """The cases beside the bare pump, round after round, since a machine's speed changes."""
    runs: dict[Case, list[dict[str, Any]]] = {case: [] for case in (BARE, *cases)}
    ratios: dict[Case, list[float]] = {case: [] for case in runs}
    for _ in range(rounds):
        for case in runs:
            result = asyncio.run(asyncio.wait_for(measure(case, traffic, seconds), 30 + seconds))
            runs[case].append(result)
            ratios[case].append(result["mbit_per_second"] / runs[BARE][-1]["mbit_per_second"])
    return [
        {
            "case": results[0]["case"],
            **{key: median(run[key] for run in results) for key in results[0] if key != "case"},
            "ratio_to_bare_pump": median(ratios[case]),
        }
        for case, results in runs.items()
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse_options(__doc__, argv)
    try:
        with namespaces() as (name, _):
            asyncio.run(_try_tun(name))
    except (EqlbondError, OSError, subprocess.CalledProcessError) as error:
        if isinstance(error, ConfigurationError) or os.geteuid() == 0:
            raise
        reason = (error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)).strip()
        print(f"not measured: it needs root, for network namespaces and TUN interfaces ({reason})")
        return
    seconds, rounds = (1.0, 1) if options.quick else (2.0, 5)
    cases = (CASES[0], CASES[2]) if options.quick else CASES
    results = [result for traffic in TRAFFIC for result in compare(cases, traffic, seconds, rounds)]
    table = Table(
        f"TUN to TUN, packets of up to {MTU} bytes",
        [
            Column("case"),
            Column("Mbit/s", ".0f"),
            Column("packets/s", ".0f"),
            Column("CPU us/packet", ".1f"),
            Column("of the bare pump", ".2f"),
        ],
    )
    for result in results:
        table.add(*result.values())
    table.note("both ends of the bond are in one process; each round of cases begins with the bare pump")
    table.print()
    finish(options, results, mtu=MTU)


async def _try_tun(namespace: str) -> None:
    async with TunInterface("eqlbench0", addresses=f"{NEAR}/30", namespace=namespace):
        pass


if __name__ == "__main__":
    main()
