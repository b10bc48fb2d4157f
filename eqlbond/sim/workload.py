"""What is sent through a simulated bond.

A workload is a value; a run starts it by `Workload.start(run)`, and it then works through `Run`: it sends, sets timers
and hears of deliveries. One of one's own is a class with that method.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import attrs

from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet
from eqlbond.sim.frames import frame_size

if TYPE_CHECKING:
    from eqlbond.sim.engine import Run

Sizes = int | Sequence[int] | Mapping[int, float]
"""Packet sizes in bytes: one; several that are equally likely; or each with its weight."""


@runtime_checkable
class Workload(Protocol):
    """What is sent."""

    def start(self, run: Run) -> None:
        """Begin at time 0: check that the run can carry it, set timers, register for what is to be heard.

        Set ``run.done`` when nothing more will be sent and nothing is waited for. Raises `ConfigurationError`.
        """
        ...


def positive(field: str, value: Any, *, zero: bool = False) -> None:
    """A finite number above 0, or from 0. Raises `ConfigurationError`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise ConfigurationError(field, f"a number {'from' if zero else 'above'} 0, not {value!r}")


def count(field: str, value: Any) -> None:
    """A whole number above 0. Raises `ConfigurationError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(field, f"a whole number above 0, not {value!r}")


def size_picker(field: str, sizes: Any, run: Run) -> tuple[Callable[[], int], dict[int, float]]:
    """A function that draws sizes, and the share of each. Raises `ConfigurationError`."""
    if isinstance(sizes, int):
        run.check_size(field, sizes)
        return (lambda: sizes), {sizes: 1.0}
    if isinstance(sizes, Mapping):
        kinds, weights = list(sizes), list(sizes.values())
        for weight in weights:
            positive(f"{field} weight", weight)
    elif isinstance(sizes, Sequence) and not isinstance(sizes, str | bytes):
        kinds, weights = list(sizes), [1] * len(sizes)
    else:
        raise ConfigurationError(field, f"bytes, several, or a mapping from bytes to weights, not {sizes!r}")
    if not kinds:
        raise ConfigurationError(field, "there is none")
    for kind in kinds:
        run.check_size(field, kind)
    bounds = list(accumulate(weights))
    rng: random.Random = run.rng
    shares: dict[int, float] = {}
    for kind, weight in zip(kinds, weights, strict=True):
        shares[kind] = shares.get(kind, 0.0) + weight / bounds[-1]
    return (lambda: rng.choices(kinds, cum_weights=bounds)[0]), shares


@attrs.frozen
class Bulk:
    """One file, as fast as the bond takes it: a packet enters whenever the bond is not full.

    Args:
        size: bytes of the file.
        packet_size: bytes of a packet, headers included; several are drawn at random. None: the MTU.
        headers: bytes of each packet that are not the file's: 40 for TCP over IPv4 without options.
    """

    size: int = 289284
    packet_size: Sizes | None = None
    headers: int = attrs.field(default=0, kw_only=True)

    def start(self, run: Run) -> None:
        """Begin."""
        count("size", self.size)
        pick, _ = size_picker("packet_size", run.mtu if self.packet_size is None else self.packet_size, run)
        positive("headers", self.headers, zero=True)
        left = self.size
        headers = self.headers

        def fill() -> None:
            nonlocal left
            while left > 0 and not run.full(0):
                size = pick()
                if size - headers < 1:
                    raise ConfigurationError("headers", f"{headers} bytes of headers in a packet of {size}")
                if size - headers > left:
                    size = max(left + headers, 4)
                left -= size - headers
                run.send(0, size)
            if left <= 0:
                run.fill(0, None)
                run.done = True

        run.extra["file_bytes"] = self.size
        run.fill(0, fill)


class OpenLoop:
    """The base of workloads that send at times of their own, whatever becomes of the packets.

    While the bond is full a packet waits outside, and that time counts as its delay; or it is dropped, where
    `drop_when_full` says so. Urgent packets do neither.
    """

    drop_when_full: bool = False

    def packets(self, run: Run) -> Iterator[tuple[float, int, int, int]]:
        """(time, size, flow, priority) of each packet, times rising."""
        raise NotImplementedError

    def start(self, run: Run) -> None:
        """Begin."""
        arrivals = self.packets(run)
        outside: deque[tuple[float, int, int, int]] = deque()
        upcoming: tuple[float, int, int, int] | None = None
        run.extra["dropped when full"] = 0

        def fill() -> None:
            while outside and not run.full(0):
                time, size, flow, priority = outside.popleft()
                run.send(0, size, flow=flow, priority=priority, since=time)
            if not outside:
                run.fill(0, None)
                run.done = upcoming is None

        def arrives(packet: tuple[float, int, int, int]) -> None:
            nonlocal upcoming
            upcoming = next(arrivals, None)
            if upcoming is not None:
                run.at(upcoming[0], arrives, upcoming)
            if packet[3] > 0 or not (outside or run.full(0)):
                run.send(0, packet[1], flow=packet[2], priority=packet[3])
                run.done = upcoming is None and not outside
            elif self.drop_when_full:
                run.extra["dropped when full"] += 1
                run.done = upcoming is None and not outside
            else:
                outside.append(packet)
                run.fill(0, fill)

        upcoming = next(arrivals, None)
        if upcoming is None:
            raise ConfigurationError("workload", "it sends nothing")
        run.at(upcoming[0], arrives, upcoming)


def _interval(workload: Any, run: Run, shares: Mapping[int, float]) -> float:
    """Seconds between packets of these sizes, from `load` or `rate`."""
    if (workload.load is None) == (workload.rate is None):
        raise ConfigurationError("load", "give either load (a share of the lines' sum) or rate (bit/s of payload)")
    if workload.rate is not None:
        positive("rate", workload.rate)
        return sum(size * share for size, share in shares.items()) * 8 / float(workload.rate)
    positive("load", workload.load)
    packets_a_second = 0.0
    for line in run.lines:
        if line.rate is None:
            raise ConfigurationError("load", "a line without a rate has no load; give rate")
        wire_size = frame_size(line.framing, run.mtu)
        mean = sum(wire_size(Packet(run.payloads.make(0, size, 0))) * share for size, share in shares.items())
        packets_a_second += line.rate / line.bits_per_byte / mean
    return 1.0 / (float(workload.load) * packets_a_second)


@attrs.frozen(kw_only=True)
class Poisson(OpenLoop):
    """Packets at independent random times.

    Args:
        load: a share of what the lines carry together, framing counted; or
        rate: payload, bit/s.
        sizes: of packets.
        duration: seconds.
        flows: each packet belongs to one of so many flows, drawn at random.
        drop_when_full: drop what comes while the bond is full; by default it waits outside.
    """

    load: float | None = None
    rate: float | None = None
    sizes: Sizes = 900
    duration: float = 600.0
    flows: int = 1
    drop_when_full: bool = False

    def packets(self, run: Run) -> Iterator[tuple[float, int, int, int]]:
        """Exponential intervals."""
        positive("duration", self.duration)
        count("flows", self.flows)
        pick, shares = size_picker("sizes", self.sizes, run)
        interval = _interval(self, run, shares)
        rng = run.rng
        time = rng.expovariate(1.0) * interval
        while time < self.duration:
            yield time, pick(), rng.randrange(self.flows) if self.flows > 1 else 0, 0
            time += rng.expovariate(1.0) * interval


@attrs.frozen(kw_only=True)
class ConstantBitRate(OpenLoop):
    """Packets of one size at even intervals, such as speech.

    Args:
        load: a share of what the lines carry together, framing counted; or
        rate: payload, bit/s.
        size: of a packet, bytes.
        duration: seconds.
        drop_when_full: drop what comes while the bond is full; by default it waits outside.
    """

    load: float | None = None
    rate: float | None = None
    size: int = 200
    duration: float = 60.0
    drop_when_full: bool = False

    def packets(self, run: Run) -> Iterator[tuple[float, int, int, int]]:
        """Multiples of the interval, each computed by itself, so that nothing adds up."""
        positive("duration", self.duration)
        run.check_size("size", self.size)
        interval = _interval(self, run, {self.size: 1.0})
        n = 0
        while n * interval < self.duration:
            yield n * interval, self.size, 0, 0
            n += 1


@attrs.frozen(kw_only=True)
class Bursts(OpenLoop):
    """Bursts of packets, all at once.

    Args:
        packets_each: packets of a burst.
        interval: seconds from one burst to the next.
        bursts: how many.
        sizes: of packets.
        random_times: make the intervals exponential with that mean.
        drop_when_full: drop what comes while the bond is full; by default it waits outside.
    """

    packets_each: int = 10
    interval: float = 5.0
    bursts: int = 20
    sizes: Sizes = 900
    random_times: bool = False
    drop_when_full: bool = False

    def packets(self, run: Run) -> Iterator[tuple[float, int, int, int]]:
        """The bursts, each a flow of its own."""
        count("packets_each", self.packets_each)
        count("bursts", self.bursts)
        positive("interval", self.interval)
        pick, _ = size_picker("sizes", self.sizes, run)
        time = 0.0
        for n in range(self.bursts):
            if n:
                time = time + run.rng.expovariate(1.0) * self.interval if self.random_times else n * self.interval
            for _ in range(self.packets_each):
                yield time, pick(), n, 0


@attrs.frozen
class Trace(OpenLoop):
    """Packets as given: (time, size), or (time, size, flow), or (time, size, flow, priority), times rising.

    Args:
        given: the packets; times in seconds, sizes in bytes.
        drop_when_full: drop what comes while the bond is full; by default it waits outside.
    """

    given: Sequence[tuple[float, int] | tuple[float, int, int] | tuple[float, int, int, int]] = attrs.field(
        repr=lambda given: f"<{len(given)} packets>"
    )
    drop_when_full: bool = attrs.field(default=False, kw_only=True)

    def packets(self, run: Run) -> Iterator[tuple[float, int, int, int]]:
        """Those given."""
        last = 0.0
        for packet in self.given:
            if not isinstance(packet, Sequence) or not 2 <= len(packet) <= 4:
                raise ConfigurationError("trace", f"(time, size[, flow[, priority]]), not {packet!r}")
            time, size, flow, priority = (*packet, 0, 0)[:4]
            positive("trace time", time, zero=True)
            if time < last:
                raise ConfigurationError("trace", f"times must rise: {time} after {last}")
            run.check_size("trace size", size)
            last = time
            yield time, size, flow, priority


@attrs.frozen(kw_only=True)
class RequestResponse:
    """One asks, the other answers, and only then comes the next question. `Result.extra` has the ``transactions``.

    Args:
        requests: how many.
        request_size: bytes of a question, one packet.
        response_size: bytes of an answer, in packets of the MTU.
        think: seconds from an answer to the next question.
    """

    requests: int = 50
    request_size: int = 64
    response_size: int = 4000
    think: float = 0.0

    def start(self, run: Run) -> None:
        """Begin."""
        count("requests", self.requests)
        count("response_size", self.response_size)
        positive("think", self.think, zero=True)
        run.check_size("request_size", self.request_size)
        times: list[float] = []
        run.extra["transactions"] = times
        asked = waiting = 0
        since = 0.0
        answer: deque[int] = deque()

        def ask(_: Any) -> None:
            nonlocal asked, since, waiting
            since = run.now
            waiting = self.response_size
            asked += 1
            run.send(0, self.request_size)

        def question(number: int, data: Any) -> None:
            left = self.response_size
            while left > 0:
                answer.append(max(4, min(left, run.mtu)))
                left -= run.mtu
            run.fill(1, respond)

        def respond() -> None:
            while answer and not run.full(1):
                size = answer.popleft()
                run.send(1, size, size)
            if not answer:
                run.fill(1, None)

        def answered(number: int, size: int) -> None:
            nonlocal waiting
            waiting -= size
            if waiting > 0:
                return
            times.append(run.now - since)
            if asked < self.requests:
                run.at(run.now + self.think, ask)
            else:
                run.done = True

        run.on_delivery(1, question)
        run.on_delivery(0, answered)
        run.at(0.0, ask)
