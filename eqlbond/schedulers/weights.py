"""What share of the traffic each line is to have."""

from __future__ import annotations

from collections.abc import Sequence

from eqlbond.schedulers.base import Line


def weights(lines: Sequence[Line]) -> list[float]:
    """The lines' priorities, with something sensible where there is none.

    A line without a rate has a priority only if its user gave it one; otherwise it counts as the mean of the others.
    Where no line has any, all count alike. A line that has a rate and the priority 0 is to carry nothing.

    >>> from eqlbond.schedulers import testing
    >>> weights([testing.line("a", rate=9600), testing.line("b", rate=4800), testing.line("c", rate=None)])
    [9600.0, 4800.0, 7200.0]
    """
    known = [line.priority for line in lines if line.priority > 0]
    if not known:
        return [1.0] * len(lines)
    mean = sum(known) / len(known)
    return [mean if line.rate is None and not line.priority else line.priority for line in lines]
