"""Packets from one TUN interface to another: through a bond, against a bare pump in Python.

Two network namespaces with a TUN interface in each. The bare pump is one process that reads up to 32 packets a wake-up
from either and writes them to the other: the least that a Python program does. The bond has a process for each end, as
it would have a machine for each, and lines without a rate between them (sockets): packets are queued, placed, framed,
escaped, found and read. `cpu_us_per_packet` is the processor time of the pump, or of both ends together, for each
packet, acknowledgements included; the system's own work for each read and write is part of it.
Needs root (namespaces, TUN).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from statistics import median
from typing import Any

import attrs

from benchmarks._harness import Column, Table, finish, parse_options
from benchmarks._tun_end import MTU, NAME, bond_end
from eqlbond.exceptions import ConfigurationError, EqlbondError
from eqlbond.tun import TunInterface
from eqlbond.tun.pump import BATCH

NEAR, FAR = "10.199.7.1", "10.199.7.2"
PORT = 5001
_SETTLE = 0.5
_TICK = os.sysconf("SC_CLK_TCK")

Counts = tuple[int, int, float]
"""Packets, bytes, seconds of processor time."""


@attrs.frozen
class Case:
    """What is measured: with `lines` 0 the bare pump."""

    name: str
    lines: int = 0
    framing: str = "slip"
    queue: str = "fifo"


@attrs.frozen
class Traffic:
    """What is sent: `kind` tcp or udp, packets of `size` bytes (0: as large as they may be), text or random bytes."""

    kind: str
    size: int
    content: str

    def __str__(self) -> str:
        return f"{self.kind}, {self.size or MTU} B, {self.content}"


BARE = Case("bare pump")
CASES = (
    Case("1 line, SLIP", 1),
    Case("4 lines, SLIP", 4),
    Case("4 lines, SLIP, FqCoDel", 4, queue="fq"),
    Case("4 lines, HDLC", 4, "hdlc"),
)
TRAFFIC = (Traffic("tcp", 0, "text"), Traffic("tcp", 0, "random"), Traffic("udp", 200, "text"))


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
async def bare_pump(here: str, there: str) -> AsyncIterator[Callable[[], Counts]]:
    """Have the packets carried by the bare pump; gives a function that counts."""
    async with (
        TunInterface(NAME, addresses=f"{NEAR}/30", mtu=MTU, namespace=here) as near,
        TunInterface(NAME, addresses=f"{FAR}/30", mtu=MTU, namespace=there) as far,
    ):
        pump = BarePump(near.fileno(), far.fileno())
        yield lambda: (pump.packets, pump.size, time.process_time())
        for tun in (near, far):
            asyncio.get_running_loop().remove_reader(tun.fileno())


@contextlib.asynccontextmanager
async def bond(case: Case, here: str, there: str) -> AsyncIterator[Callable[[], Counts]]:
    """Have them carried by a bond, whose far end is in a process of its own."""
    pairs = [socket.socketpair() for _ in range(case.lines)]
    for pair in pairs:
        pair[0].setblocking(False)
    descriptors = [pair[1].fileno() for pair in pairs]
    end = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks._tun_end", there, FAR, case.framing, case.queue, *map(str, descriptors)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        pass_fds=descriptors,
    )
    try:
        for pair in pairs:
            pair[1].close()
        async with bond_end(here, NEAR, case.framing, case.queue, [pair[0] for pair in pairs]) as (tun, master):
            assert end.stdout is not None
            await end.stdout.readline()

            def count() -> Counts:
                lines, back = master.stats().lines, tun.stats()
                packets = sum(line.packets_sent for line in lines) + back.packets_written
                size = sum(line.payload_sent for line in lines) + back.bytes_written
                return packets, size, time.process_time() + _processor_time(end.pid)

            yield count
    finally:
        assert end.stdin is not None
        end.stdin.close()
        await end.wait()


def _processor_time(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


async def _play(namespace: str, traffic: Traffic, role: str, seconds: float) -> asyncio.subprocess.Process:
    part = (namespace, f"{traffic.kind}-{role}", FAR, str(PORT), str(seconds), str(traffic.size), traffic.content)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks._traffic", *part),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def measure(case: Case, traffic: Traffic, seconds: float) -> dict[str, Any]:
    """One run."""
    with namespaces() as (here, there):
        async with bond(case, here, there) if case.lines else bare_pump(here, there) as count:
            receiver = await _play(there, traffic, "receive", seconds + _SETTLE + 2)
            assert receiver.stdout is not None
            await receiver.stdout.readline()
            before = count()[0]
            sender = await _play(here, traffic, "send", seconds + _SETTLE + 1)
            while count()[0] < before + 100 and sender.returncode is None:
                await asyncio.sleep(0.02)
            await asyncio.sleep(_SETTLE)
            began, start = time.perf_counter(), count()
            await asyncio.sleep(seconds)
            took, end = time.perf_counter() - began, count()
            for process in (sender, receiver):
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                await process.communicate()
    packets, size, cpu = (b - a for a, b in zip(start, end, strict=True))
    return {
        "case": f"{traffic}: {case.name}",
        "mbit_per_second": size * 8 / took / 1e6,
        "packets_per_second": packets / took,
        "cpu_us_per_packet": cpu / max(packets, 1) * 1e6,
    }


def compare(cases: Sequence[Case], traffic: Traffic, seconds: float, rounds: int) -> list[dict[str, Any]]:
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
    seconds, rounds = (1.0, 2) if options.quick else (2.0, 5)
    cases = (CASES[0], CASES[2]) if options.quick else CASES
    kinds = TRAFFIC[:1] if options.quick else TRAFFIC
    results = [result for traffic in kinds for result in compare(cases, traffic, seconds, rounds)]
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
    table.note(
        "the bond has a process for each end; each round of cases begins with the bare pump, which is one process"
    )
    table.print()
    finish(options, results, mtu=MTU)


async def _try_tun(namespace: str) -> None:
    async with TunInterface(NAME, addresses=f"{NEAR}/30", namespace=namespace):
        pass


if __name__ == "__main__":
    main()
