"""What `benchmarks.peers` measures of a system: a transfer by TCP, floods of datagrams, pings, and what a cut costs.

Every function gives members of a result, and needs the system to be up and its lines idle.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks._peers import FAR, KEEPALIVE, End, System
from tests.interop.linux.guest import Guest, GuestError, Job, parse_ping
from tests.interop.linux.host import HostJob, start

TCP_PORT, UDP_PORT = 5001, 5002
HEADERS = 52
"""Of a segment: IP 20, TCP 20, and 12 for time stamps."""
_MULTILINK_HEADERS = 9
"""Of a packet that goes whole, with all that PPP can leave out left out: flag, MP's protocol number in one byte, long
header, the packet's protocol number in one byte, 16-bit check."""
PATTERN = "41"
"""The bytes of a ping; nothing in it is escaped by SLIP or PPP."""


def wire_bytes(data: bytes, mss: int, framing: str) -> int:
    """The fewest bytes in which `data` goes over lines of this framing, in segments of `mss` bytes.

    SLIP: an END on either side and two bytes for one that is END or ESC. PPP Multilink: the headers of packets that are
    not cut, and two bytes for one that is flag or escape. Escapes within TCP/IP headers are not counted.
    """
    segments = -(-len(data) // mss)
    if framing == "slip":
        return len(data) + data.count(0xC0) + data.count(0xDB) + segments * (HEADERS + 2)
    return len(data) + data.count(0x7E) + data.count(0x7D) + segments * (HEADERS + _MULTILINK_HEADERS)


def ideal(system: System, file: Path, size: int | None = None) -> float:
    """Seconds that the lines need at least for the first `size` bytes of a file, or for all."""
    data = file.read_bytes()[:size]
    return wire_bytes(data, system.mtu - HEADERS, system.framing) * 10 / sum(system.rates)


def tcp(system: System, limit: float, file: str = "/data") -> dict[str, Any]:
    """A transfer with cubic, given up after `limit` seconds; the share counts what has arrived until then."""
    with _Transfer(system, limit, file) as transfer:
        transfer.wait()
    return transfer.result()


def ping_under_load(system: System, seconds: float) -> dict[str, Any]:
    """Pings of 64 bytes, two a second, while a transfer runs that has begun five seconds earlier."""
    warm = 5.0
    with _Transfer(system, warm + seconds + 2, "/data") as transfer:
        time.sleep(warm)
        count = int(2 * min(seconds, 0.9 * ideal(system, system.machines.image.files["/data"]) - warm))
        answers = ping(system.near, count, 0.5, 56)
        transfer.wait()
    result = transfer.result()
    return {
        "ping_under_load_ms": _median(answers),
        "ping_under_load_most_ms": max(answers, default=None),
        "pings": len(answers),
        "pings_lost": count - len(answers),
        # Beside the pings, which take their share, and over a part of the file.
        "share_beside_pings": result["percent_of_framing"],
    }


class _Transfer:
    def __init__(self, system: System, limit: float, file: str) -> None:
        self._system, self._limit = system, limit
        self._file = system.machines.image.files[file]
        target = "/tmp/received" if isinstance(system.far, Guest) else str(system.machines.directory / "received")
        self._listening = start(system.far, f"peer receive {FAR} {TCP_PORT} {target} {limit:.1f}")
        self._listening.until("ready")
        self._began = time.monotonic()
        self._sending = start(system.near, f"peer send {FAR} {TCP_PORT} {file} cubic {limit + 5:.1f}")
        self.told: dict[str, Any] = {}

    def __enter__(self) -> _Transfer:
        return self

    def __exit__(self, *error: object) -> None:
        _end(self._listening, self._sending)

    def wait(self) -> None:
        # A guest is not asked again and again before it can be done: that takes its time.
        least = min(self._limit, 0.98 * ideal(self._system, self._file))
        time.sleep(max(0.0, self._began + least - time.monotonic()))
        listening = self._listening.told(self._limit + 30)
        self.told = {**self._sending.told(self._limit + 30), **listening}

    def result(self) -> dict[str, Any]:
        told, system = self.told, self._system
        received, seconds, segments = told["received"], told["seconds"], told["segments"]
        if not received or not seconds:
            raise AssertionError(f"nothing has arrived: {told}")
        if told["whole"] and received != self._file.stat().st_size:
            raise AssertionError(f"not the whole file: {told}")
        return {
            "percent_of_framing": 100 * ideal(system, self._file, received) / seconds,
            "percent_of_bits": 100 * received * 10 / (sum(system.rates) * seconds),
            "out_of_order": told["out_of_order"] / max(segments, 1),
            "overtaken": None if told["overtaken"] < 0 else told["overtaken"] / max(segments, 1),
            "retransmits": told["retransmits"],
            "seconds": seconds,
            "bytes": received,
            "given_up": not told["whole"],
            "segments": segments,
        }


def flood(system: System, load: float, seconds: float) -> dict[str, Any]:
    """Datagrams of the MTU's size at an even pace, `load` of what the lines carry."""
    size = system.mtu - 28
    overhead = 2 if system.framing == "slip" else _MULTILINK_HEADERS
    # About 1 of 128 bytes of the contents is escaped.
    interval = (system.mtu + size / 128 + overhead) * 10 / sum(system.rates) / load
    # What is queued goes on to be carried, so that a short rest is the end.
    told = _datagrams(system, int(seconds / interval), size, interval, quiet=1.0)
    return {
        "load": load,
        "out_of_order": told["out_of_order"] / max(told["received"], 1),
        "lost": told["lost"],
        "packets": told["sent"],
        "furthest_back": told["furthest_back"],
        "seconds": told["seconds"],
    }


def idle_ping(system: System, count: int) -> dict[str, Any]:
    """Pings of 1400 bytes, IP and ICMP headers among them, on idle lines: each waits for the last one's answer."""
    slowest = 2 * 1500 * 10 / min(system.rates)
    answers = ping(system.near, count, slowest + 0.3, 1400 - 28)
    if not answers:
        raise AssertionError("no ping was answered")
    return {"ping_ms": _median(answers), "ping_least_ms": min(answers), "pings": len(answers)}


def ping(end: End, count: int, interval: float, size: int) -> list[float]:
    """Round trips in milliseconds, of `size` bytes beside IP's and ICMP's headers."""
    command = f"ping -c {count} -i {interval:g} -s {size} -p {PATTERN} -W 10 {FAR}"
    seconds = 30 + count * interval
    if isinstance(end, Guest):
        return parse_ping(end.sh(command, seconds, check=False))
    return parse_ping(end.job(command.replace("ping", "ping -n", 1)).wait(seconds, check=False))


def cut_stream(system: System, kind: str, seconds: float) -> dict[str, Any]:
    """A line is cut under a steady stream of small datagrams: the longest gap at the far end, and what was lost.

    Plain balancing has no gap where every other datagram is lost: ``losing_seconds`` is from the first one that was
    lost to the last.
    """
    interval, size = 0.05, 72
    told = _datagrams(system, int(seconds / interval), size, interval, lambda: _cut(system, kind), 4.0)
    return {
        "outage_seconds": max(0.0, told["longest_gap"] - interval),
        "losing_seconds": told["span_lost"] * interval,
        "lost": told["lost"],
        "packets": told["sent"],
        "out_of_order": told["out_of_order"] / max(told["received"], 1),
    }


def cut_burst(system: System, kind: str) -> dict[str, Any]:
    """A line is cut while a burst of 20 datagrams of 1000 bytes is on its way."""
    # What the sender has kept goes by the other line once it has found out: the kernel's SLIP within two periods of
    # its keepalive, its Multilink in ten seconds.
    quiet = 2.0 if kind == "hangup" else 2 * KEEPALIVE + 2.0 if system.framing == "slip" else 12.0
    told = _datagrams(system, 20, 1000 - 28, 0.0, lambda: _cut(system, kind), 0.4, quiet)
    return {"lost": told["lost"], "packets": told["sent"]}


def _cut(system: System, kind: str) -> None:
    """Cut the second line, or the one that carries most where next to nothing goes by that: it would not be missed."""
    sent = [there for there, _ in system.pacer.passed()]
    line = 1 if 10 * sent[1] > max(sent) else sent.index(max(sent))
    (system.hangup if kind == "hangup" else system.cut)(line)


def _datagrams(
    system: System,
    count: int,
    size: int,
    interval: float,
    meanwhile: Callable[[], object] | None = None,
    after: float = 0.0,
    quiet: float = 2.0,
) -> dict[str, Any]:
    """Datagrams from near to far; `meanwhile` is called `after` seconds from the first.

    It ends once the lines have carried nothing for `quiet` seconds after the last.
    """
    collecting = start(system.far, f"peer collect {FAR} {UDP_PORT} {count} 60")
    collecting.until("ready")
    flooding = start(system.near, f"peer flood {FAR} {UDP_PORT} {count} {size} {interval:.6f}")
    began = time.monotonic()
    if meanwhile:
        time.sleep(after)
        meanwhile()
    time.sleep(max(0.0, began + 0.95 * count * interval - time.monotonic()))
    try:
        sent = flooding.told(30 + count * interval)
        system.settle(quiet)
        collecting.kill()
        return {**sent, **collecting.told(20)}
    finally:
        _end(collecting, flooding)


def _end(*jobs: Job | HostJob) -> None:
    """End them, whatever has become of their machine."""
    for job in jobs:
        with contextlib.suppress(GuestError, OSError):
            job.kill()


def _median(answers: Sequence[float]) -> float | None:
    return median(answers) if answers else None
