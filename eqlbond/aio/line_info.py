"""What a connection tells about its line, such as the speed that two modems have agreed on."""

from __future__ import annotations

from typing import Final

import attrs

LINE_INFO: Final = "eqlbond.line"
"""The name under which a transport's `get_extra_info` gives a `LineInfo`, where it has one."""


@attrs.frozen
class LineInfo:
    """What a connection that has just been made tells about its line.

    A slave asks its transport for it by ``get_extra_info(LINE_INFO)`` each time that its line is opened. It holds
    until the line is opened again, and gives way to what the slave was told by its user.
    """

    rate: float | None = None
    """What the line carries from here to there, bit/s; None: not told."""
    bits_per_byte: float | None = None
    """Bits on the line for each byte; None: not told."""
    receive_rate: float | None = None
    """What the line carries from there to here, bit/s, where it differs; None: the same, or not told."""
    description: str = ""
    """For people, such as a modem's ``CONNECT 33600/ARQ``."""
    closing_time: float = 0.0
    """Seconds that closing the line may take, such as a modem's hang-up."""


NOTHING_TOLD: Final = LineInfo()
