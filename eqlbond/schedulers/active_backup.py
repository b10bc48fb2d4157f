"""One line, and others in reserve.

Source: the mode of the same name of the Linux bonding driver (mode 1), whose `primary_reselect` is `returns` here.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from eqlbond.packet import Packet
from eqlbond.schedulers.base import Line, Placement


@attrs.define
class ActiveBackup:
    """All packets go by the best line that is up; the others carry something only when it is down.

    The best is the one with the highest `priority`, which is the rate unless you say otherwise; of equals,
    the one that came up first. What was planned for a line that goes down goes by the next one.

    Args:
        returns: go back to a better line as soon as it is up. False: stay until the line that is used goes down.

    >>> from eqlbond.schedulers import testing
    >>> cable, modem = testing.line("cable", rate=57600), testing.line("modem", rate=14400)
    >>> policy = ActiveBackup(returns=False)
    >>> for up in [(cable, modem), (modem,), (modem, cable)]:
    ...     replan = policy.lines_changed(up, 0.0)
    ...     print(policy.place(testing.packet(900), up, 0.0).line.name)
    cable
    modem
    modem
    """

    returns: bool = True
    _active: Line | None = attrs.field(default=None, init=False, repr=False)

    def place(self, packet: Packet, lines: Sequence[Line], now: float) -> Placement:
        """The line that is used now."""
        active = self._active
        if active is not None and active in lines:
            return Placement(active)
        # Nobody has said yet which lines there are, or the active one does not take so large a packet.
        best = _best(lines)
        if active is None:
            self._active = best
        return Placement(best)

    def lines_changed(self, lines: Sequence[Line], now: float) -> bool:
        """Choose; what is planned for another line than the chosen one is to be placed anew."""
        before = self._active
        if self.returns or before not in lines:
            self._active = _best(lines) if lines else None
        return self._active is not before


def _best(lines: Sequence[Line]) -> Line:
    return max(lines, key=lambda line: line.priority)  # the first of equals
