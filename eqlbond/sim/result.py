"""How a simulated run went."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from eqlbond.events import Event
from eqlbond.ppp.network import Addresses
from eqlbond.sim.frames import merge
from eqlbond.sim.record import Placed, Traffic

if TYPE_CHECKING:
    from eqlbond.sim.end import End
    from eqlbond.sim.engine import Run
    from eqlbond.sim.settings import Settings


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` of the sorted values do not exceed (the nearest rank); 0.0 where there is none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


@attrs.frozen
class LineResult:
    """What one line carried from end a to end b."""

    name: str
    rate: float | None
    frames: int
    payload_bytes: int
    """That arrived by it; with Multilink, of the fragments that it sent."""
    wire_bytes: int
    """Bytes of the frames that it sent, without those of PPP's own talk."""
    share: float
    """Of the wire bytes of all lines."""
    busy: float
    """Share of the run in which it sent."""
    queue_peak: float
    """The most that its port held, seconds."""
    reclaimed: int
    """Packets taken back from it, to go by others."""


@attrs.frozen
class Result:
    """A run. Unless it says otherwise, of the traffic from end a to end b. Times are seconds, sizes bytes."""

    workload: str
    scheduler: str
    seed: int
    mtu: int
    duration: float
    """Until the last delivery."""
    sent: int
    """Packets."""
    delivered: int
    """Packets that arrived whole, each counted once."""
    payload_bytes: int
    """Payload delivered."""
    goodput: float
    """Payload delivered, bit/s."""
    efficiency: float
    """Bits that had to go over the wires for what was delivered, framing included, by what the lines could have carried
    in that time."""
    delay_mean: float
    delay_p50: float
    delay_p95: float
    delay_p99: float
    delay_max: float
    reordered: int
    """Packets that came after one sent later (RFC 4737)."""
    reordered_share: float
    reordering_extent_mean: float
    """Over the reordered packets: places by which each is late."""
    reordering_extent_max: int
    duplicates: int
    damaged: int
    """Packets that were delivered with wrong contents: the framing has no checksum, or it was fooled."""
    lost: Mapping[str, int]
    """Packets that never arrived, by what took them last; ``waiting`` when the run ended before, ``reassembly`` when
    Multilink did not wait long enough for a fragment of theirs."""
    drops: Mapping[str, int]
    """Frames and packets that were dropped on the way, by reason, both directions; a packet may have gone again."""
    queue_peak: int
    """The most payload that was queued at end a."""
    lines: tuple[LineResult, ...]
    extra: Mapping[str, Any]
    """What the workload measured itself."""
    back: Mapping[str, Any]
    """The other direction: sent, delivered, payload_bytes, wire_bytes, reordered."""
    delays: Sequence[float] = attrs.field(repr=False)
    """Of each delivered packet, in the order of sending."""
    events: tuple[tuple[str, Event], ...] = attrs.field(repr=False)
    """What the bonds at the ends reported: ("a" or "b", event)."""
    addresses: tuple[Addresses, Addresses] = attrs.field(repr=False)
    """What PPP had agreed on when the run ended, at end a and at end b."""
    placed: tuple[Placed, ...] = attrs.field(repr=False)
    """Where each frame went; only with ``trace=True``."""

    @property
    def shares(self) -> dict[str, float]:
        """Each line's share of the wire bytes."""
        return {line.name: line.share for line in self.lines}

    def to_dict(self) -> dict[str, Any]:
        """All figures, as JSON takes them; without the single packets and events."""
        skipped = {"delays", "events", "addresses", "placed"}
        return attrs.asdict(self, filter=lambda field, _: field.name not in skipped)

    def rows(self) -> list[tuple[str, str]]:
        """What a person wants to know, as (name, value)."""
        rows = [
            ("workload", self.workload),
            ("scheduler", self.scheduler),
            ("duration", f"{self.duration:.3f} s"),
            ("goodput", f"{self.goodput:,.0f} bit/s"),
            ("efficiency", f"{self.efficiency:.4f}"),
            ("packets", f"{self.delivered} of {self.sent} delivered"),
            (
                "delay",
                f"p50 {self.delay_p50:.3f}  p95 {self.delay_p95:.3f}  p99 {self.delay_p99:.3f}  "
                f"max {self.delay_max:.3f} s",
            ),
            (
                "reordered",
                f"{self.reordered} ({self.reordered_share:.2%}), by up to {self.reordering_extent_max} places",
            ),
            ("queue peak", f"{self.queue_peak} bytes"),
        ]
        for name, value in (("duplicates", self.duplicates), ("damaged", self.damaged)):
            if value:
                rows.append((name, str(value)))
        for name, counts in (("lost", self.lost), ("drops", self.drops)):
            if counts:
                rows.append((name, ", ".join(f"{reason} {n}" for reason, n in counts.items())))
        rows += [
            (
                f"line {line.name}",
                f"{line.share:6.1%} of the bytes, busy {line.busy:6.1%}, "
                f"port queue up to {line.queue_peak * 1000:.0f} ms",
            )
            for line in self.lines
        ]
        rows += [(name, f"{value:g}") for name, value in self.extra.items() if isinstance(value, int | float)]
        return rows

    def __str__(self) -> str:
        rows = self.rows()
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:{width}}  {value}" for name, value in rows)

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self.rows()
        )
        return f"<table>{cells}</table>"


def build_result(run: Run, settings: Settings, scheduler: str, workload: str) -> Result:
    """Sum up a run that is over."""
    here, there = run.ends
    traffic = here.traffic
    for end in run.ends:
        end.traffic.settle(settings.until + run.origin)
    arrived = [time for time in traffic.arrived if time >= 0.0]
    duration = max(arrived, default=run.clock) - run.origin
    delays = [came - went for came, went in zip(traffic.arrived, traffic.entered, strict=True) if came >= 0.0]
    ordered = sorted(delays)
    payload = sum(size for size, came in zip(traffic.sizes, traffic.arrived, strict=True) if came >= 0.0)
    reordered, extents = traffic.reordering()
    lines, needed = _lines(run, here, duration)
    capacity = run.count_capacity(duration + run.origin)
    return Result(
        workload=workload,
        scheduler=scheduler,
        seed=settings.seed,
        mtu=settings.mtu,
        duration=duration,
        sent=len(traffic.entered),
        delivered=len(arrived),
        payload_bytes=payload,
        goodput=payload * 8 / duration if duration else 0.0,
        efficiency=needed / capacity if capacity else 0.0,
        delay_mean=sum(delays) / len(delays) if delays else 0.0,
        delay_p50=quantile(ordered, 0.5),
        delay_p95=quantile(ordered, 0.95),
        delay_p99=quantile(ordered, 0.99),
        delay_max=ordered[-1] if ordered else 0.0,
        reordered=reordered,
        reordered_share=reordered / len(arrived) if arrived else 0.0,
        reordering_extent_mean=sum(extents) / len(extents) if extents else 0.0,
        reordering_extent_max=max(extents, default=0),
        duplicates=traffic.duplicates,
        damaged=traffic.damaged,
        # Nothing waits any more: the bundle dropped what was incomplete, late, or out of order at its end.
        lost=traffic.missing("reassembly" if settings.multilink is not None and run.idle() else "waiting"),
        drops=_drops(run),
        queue_peak=here.peak,
        lines=lines,
        extra=dict(run.extra),
        back=_back(there),
        delays=delays,
        events=tuple(
            (end.name, attrs.evolve(event, time=event.time - run.origin)) for end in run.ends for event in end.events
        ),
        addresses=(run.ends[0].bundle.addresses, run.ends[1].bundle.addresses),
        placed=_placed(run),
    )


def _lines(run: Run, end: End, duration: float) -> tuple[tuple[LineResult, ...], float]:
    """The lines, and the bits that had to go: each delivered packet once, on the line that delivered it."""
    traffic = end.traffic
    payload = [0] * len(run.lines)
    needful = [0] * len(run.lines)
    for number, (size, line) in enumerate(zip(traffic.sizes, traffic.line, strict=True)):
        if line >= 0:
            payload[line] += size
            if number not in traffic.useless:
                needful[line] += size
    sent = [
        member.counters.bytes_sent - (end.ways[member].control if member.whole_frames else before)
        for member, before in zip(end.members, end.before, strict=True)
    ]
    total = sum(sent) or 1
    multilink = run.settings.multilink is not None
    # A Multilink packet goes by many lines, and each fragment has a header, the first one a protocol field as well.
    fragments = sum(member.counters.fragments_sent for member in end.members)
    headers = fragments * end.bundle.fragment_header + len(traffic.sizes)
    carried = sum(member.counters.payload_sent for member in end.members) - headers
    lines = []
    needed = 0.0
    for number, member in enumerate(end.members):
        way = end.ways[member]
        spec = way.model.spec
        bits = sent[number] * spec.bits_per_byte
        # Framing in proportion: what was lost or came twice did not have to go.
        if multilink:
            needed += bits * sum(needful) / carried if carried > 0 else 0.0
        elif member.counters.payload_sent:
            needed += bits * needful[number] / member.counters.payload_sent
        lines.append(
            LineResult(
                name=member.name,
                rate=run.lines[number].rate,
                frames=member.counters.packets_sent,
                payload_bytes=member.counters.payload_sent if multilink else payload[number],
                wire_bytes=sent[number],
                share=sent[number] / total,
                busy=min(1.0, bits / spec.rate / duration) if spec.rate and duration else 0.0,
                queue_peak=way.queue_peak,
                reclaimed=member.counters.reclaimed,
            )
        )
    return tuple(lines), needed


def _placed(run: Run) -> tuple[Placed, ...]:
    origin = run.origin
    return tuple(
        attrs.evolve(
            frame,
            start=frame.start - origin,
            leave=frame.leave - origin,
            arrival=None if frame.arrival is None else frame.arrival - origin,
        )
        if origin
        else frame
        for frame in run.placed or ()
    )


def _drops(run: Run) -> dict[str, int]:
    drops: dict[str, int] = {}
    for end in run.ends:
        merge(end.bundle.dropped, drops)
        merge(end.frames_lost, drops)
        for member in end.members:
            stats = member.stats(run.clock)
            merge(stats.dropped, drops)
            merge(stats.lost, drops)
    return drops


def _back(end: End) -> dict[str, Any]:
    traffic: Traffic = end.traffic
    return {
        "sent": len(traffic.entered),
        "delivered": len(traffic.order),
        "payload_bytes": sum(s for s, came in zip(traffic.sizes, traffic.arrived, strict=True) if came >= 0.0),
        "wire_bytes": sum(member.counters.bytes_sent for member in end.members),
        "reordered": traffic.reordering()[0],
    }
