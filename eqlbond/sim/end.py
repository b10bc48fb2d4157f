"""The two ends of a simulated bond: the very bundles that run on wires."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from eqlbond.core.bundle import Bundle
from eqlbond.core.half_duplex import HalfDuplexMember
from eqlbond.core.member import Member
from eqlbond.events import Event
from eqlbond.exceptions import ConfigurationError
from eqlbond.schedulers.base import Scheduler
from eqlbond.sim.frames import Payloads, SizedFraming
from eqlbond.sim.line import SimLine
from eqlbond.sim.record import Traffic
from eqlbond.sim.settings import Settings

if TYPE_CHECKING:
    from eqlbond.sim.way import Way


class End:
    """One end of the bond: a bundle, and what its sender and its receiver have seen."""

    __slots__ = (
        "before",
        "bundle",
        "deadline",
        "events",
        "fill",
        "frames_lost",
        "members",
        "name",
        "peak",
        "traffic",
        "ways",
    )

    def __init__(self, name: str, bundle: Bundle, members: list[Member], traffic: Traffic) -> None:
        self.name = name
        self.bundle = bundle
        self.members = members
        self.traffic = traffic
        self.ways: dict[Member, Way] = {}
        self.deadline = math.inf
        self.before = [0] * len(members)  # bytes that each line had sent by time 0
        self.fill: Callable[[], None] | None = None
        self.events: list[Event] = []
        self.frames_lost: dict[str, int] = {}  # on the lines, by reason
        self.peak = 0


def make_ends(
    lines: tuple[SimLine, ...], schedulers: tuple[Scheduler, Scheduler], settings: Settings, payloads: Payloads
) -> tuple[End, End]:
    """Both ends, each with a member for every line. Raises `ConfigurationError`."""
    sized = settings.frames == "size"
    if sized and any(line.in_pieces for line in lines):
        raise ConfigurationError("frames", "ends that take turns, or should, hear bytes: frames='codec'")
    if sized and any(line.far_framing is not None for line in lines):
        raise ConfigurationError("frames", "where the two ends frame differently they read bytes: frames='codec'")
    ends = []
    for side, scheduler in enumerate(schedulers):
        bundle = Bundle(
            scheduler,
            mtu=settings.mtu,
            queue_bytes=settings.queue_bytes,
            queue_time=settings.queue_time,
            flow_of=settings.flow_of,
            multilink=settings.multilink,
            random=random.Random(f"ppp {side} {settings.seed}"),
        )
        members = []
        for number, line in enumerate(lines):
            framing = SizedFraming(line.framing, payloads) if sized else line.framings()[side]
            spec = line.back_spec() if side else line.forth()
            rate = spec.rate if line.nominal_rate is None else line.nominal_rate
            options: dict[str, Any] = {
                "rate": rate,
                "bits_per_byte": spec.bits_per_byte,
                "latency": spec.latency if line.nominal_latency is None else line.nominal_latency,
                "priority": line.priority,
                "mtu": line.mtu,
                "owner": line.label(number),
                "whole_frames": settings.pacing == "frames" and spec.buffer is None and not line.in_pieces,
            }
            if line.turns is None:
                member = Member(line.label(number), framing, **options)
            else:
                lots = random.Random(f"turns {number} {side} {settings.seed}")
                member = HalfDuplexMember(line.label(number), framing, half_duplex=line.turns, random=lots, **options)
            bundle.add(member, 0.0)
            members.append(member)
        ends.append(End("ab"[side], bundle, members, Traffic(sized)))
    return ends[0], ends[1]
