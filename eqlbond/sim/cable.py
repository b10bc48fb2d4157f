"""One line of a run with both its directions, and what happens to it: cuts, revivals, changes of rate."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

from eqlbond.sim.air import Air
from eqlbond.sim.line import SimLine
from eqlbond.sim.piece_way import PieceWay
from eqlbond.sim.way import Way

if TYPE_CHECKING:
    from eqlbond.sim.engine import Run


class Cable:
    """Both directions of line `number` of a run.

    Args:
        run: the run, whose ends are made.
        number: of the line.
        line: what it is.
        seed: of what is random on it.
    """

    __slots__ = ("_line", "_number", "_rate", "_run", "_spans", "_up_since", "ways")

    def __init__(self, run: Run, number: int, line: SimLine, seed: int) -> None:
        self._run = run
        self._number = number
        self._line = line
        self._rate = line.rate
        self._up_since: float | None = run.origin
        self._spans: list[tuple[float, float, float]] = []  # up from, to, at which rate: before `_up_since`
        first, second = (self._make_way(side, seed) for side in (0, 1))
        self.ways: tuple[Way, Way] = (first, second)
        if line.half_duplex:
            first.air, second.air = Air(first, second), Air(second, first)

    def _make_way(self, side: int, seed: int) -> Way:
        run, line, number = self._run, self._line, self._number
        end, to = run.ends[side], run.ends[1 - side]
        spec = line.back_spec() if side else line.forth()
        kind = Way if end.members[number].whole_frames else PieceWay
        way = kind(run, number, line, end, to, spec, random.Random(f"line {number} {side} {seed}"))
        end.ways[way.member] = way
        return way

    def schedule(self) -> None:
        """Have happen what the line says will happen."""
        run, line = self._run, self._line
        self._up_since = run.origin
        for time in line.cut_at:
            run.at(time, self.cut)
        for time in line.revive_at:
            run.at(time, self.revive)
        for time, rate in line.rate_changes:
            run.at(time, self.set_rate, rate)

    def cut(self, _: Any) -> None:
        """The line is cut."""
        run = self._run
        self._end_span()
        self._up_since = None
        for way in self.ways:
            way.cut(run.clock)
        if self._line.cut == "hangup":
            for side, end in enumerate(run.ends):
                end.bundle.disconnected(end.members[self._number], run.clock, "hangup")
                run.deliver_free(side)
                run.touched[end] = None

    def revive(self, _: Any) -> None:
        """The line is mended."""
        run = self._run
        self._up_since = run.clock
        for way in self.ways:
            way.model.revive(run.clock)
        for side in (0, 1):
            run.reopen((side, self._number))

    def set_rate(self, rate: float) -> None:
        """The line carries so many bit/s from now on, both ways."""
        self._end_span()
        self._rate = rate
        for way in self.ways:
            way.set_rate(self._run.clock, rate)

    def _end_span(self) -> None:
        """The line is not any more as it has been."""
        now = self._run.clock
        if self._up_since is not None:
            self._spans.append((self._up_since, now, self._rate or math.inf))
            self._up_since = now

    def capacity(self, until: float) -> float:
        """Bits that the line could have carried by then, towards end 1; infinite where it has no rate."""
        spans = list(self._spans)
        if self._up_since is not None:
            spans.append((self._up_since, until, self._rate or math.inf))
        return sum((min(end, until) - start) * rate for start, end, rate in spans if start < min(end, until))
