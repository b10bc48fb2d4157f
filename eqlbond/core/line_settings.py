"""What a line is set to: rate, bits of a byte, latency, weight; checked, and put into the view that schedulers read."""

from __future__ import annotations

from typing import Any

from eqlbond.exceptions import ConfigurationError
from eqlbond.schedulers.base import Line

put = object.__setattr__
"""Sets an attribute of a `Line`, which is read-only for everybody else."""


def check_rate(rate: float | None) -> float | None:
    """A usable rate in bit/s, or None for a line that is not paced.

    Raises:
        ConfigurationError: it is no positive, finite number.
    """
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < float("inf"):
        raise ConfigurationError("rate", f"bit/s above 0, or None for a line that is not paced, not {rate!r}")
    return rate


def _number(field: str, value: Any, least: float, *, above: bool = False) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and value == value and value < float("inf")
    if not good or value < least or (above and value == least):
        raise ConfigurationError(field, f"a number {'above' if above else 'from'} {least:g}, not {value!r}")
    return float(value)


class LineSettings:
    """The settings of one line. Each `set_` raises `ConfigurationError` where the value cannot work.

    Args:
        line: the view that shows them.
    """

    __slots__ = ("_line", "_priority", "rate")

    def __init__(self, line: Line) -> None:
        self._line = line
        self._priority: float | None = None
        self.rate: float | None = None
        """What the line was said to carry, bit/s; None: not known, not paced."""

    def set_rate(self, rate: float | None) -> None:
        """Set what the line carries, bit/s, and plan with it."""
        self.rate = check_rate(rate)
        self.plan_with(self.rate)

    def plan_with(self, rate: float | None) -> None:
        """Plan with another rate than the line was said to have, bit/s; None: without pace."""
        put(self._line, "rate", rate)
        put(self._line, "byte_time", self._line.bits_per_byte / rate if rate else 0.0)
        self._show_priority()

    def set_bits_per_byte(self, bits_per_byte: float) -> None:
        """Set what a byte costs on the line, bits; `set_rate` goes with it."""
        put(self._line, "bits_per_byte", _number("bits_per_byte", bits_per_byte, 0, above=True))

    def set_priority(self, priority: float | None) -> None:
        """Set the weight; None: the rate."""
        self._priority = None if priority is None else _number("priority", priority, 0)
        self._show_priority()

    def _show_priority(self) -> None:
        put(self._line, "priority", (self.rate or 0.0) if self._priority is None else self._priority)

    def set_latency(self, latency: float) -> None:
        """Set the latency, seconds."""
        put(self._line, "latency", _number("latency", latency, 0))
