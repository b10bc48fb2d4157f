"""Several copies of each packet.

Source: the redundant scheduler of Multipath TCP (Frömmgen et al., "ReMP TCP: low latency multipath TCP",
IEEE ICC 2016), here with a number of copies, on the lines where they arrive first.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet
from eqlbond.schedulers.base import Line, Placement

_UNPACED_BYTE_TIME = 1e-9


@attrs.define
class Redundant:
    """Each packet goes by several lines at once: the first copy to arrive counts, and a lost one is not missed.

    Best for little traffic over lines that lose packets or are cut; it costs as many times the capacity as there are
    copies. A bundle (`Multilink`) drops the second copy by its number. Lines without sequence numbers, of plain
    SLIP, KISS or PPP, deliver every copy: the application, or the protocol above, must bear with duplicates. The
    sender counts them (`BondStats.copies`).

    Args:
        copies: on how many lines each packet goes, those that deliver it earliest; all where fewer are up. None: on
            every line that is up, so that the slowest line sets the pace.

    Raises:
        ConfigurationError: `copies` is no whole number from 1.

    >>> from eqlbond.schedulers import testing
    >>> lines = tuple(testing.line(f"{rate}", rate=rate) for rate in (9600, 57600, 14400))
    >>> placement = Redundant().place(testing.packet(900), lines, 0.0)
    >>> placement.line.name, [line.name for line in placement.copies]
    ('57600', ['14400'])
    """

    copies: int | None = 2

    def __attrs_post_init__(self) -> None:
        copies = self.copies
        if copies is not None and (isinstance(copies, bool) or not isinstance(copies, int) or copies < 1):
            raise ConfigurationError("copies", f"a whole number from 1, or None for all lines, not {copies!r}")

    def place(self, packet: Packet, lines: Sequence[Line], now: float) -> Placement:
        """The lines that deliver the packet earliest, the very earliest first."""

        def arrival(line: Line) -> float:
            behind = 0.0 if line.byte_time else line.planned * _UNPACED_BYTE_TIME
            return line.eta(line.wire_size(packet), now) + behind

        first, *others = sorted(lines, key=arrival)[: self.copies]
        return Placement(first, 0.0, tuple(others))
