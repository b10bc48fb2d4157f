"""What a simulated line is: one `SimLine` for each line of the bond."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

import attrs

from eqlbond.codec.base import Framing
from eqlbond.codec.slip import Slip
from eqlbond.core.half_duplex import HalfDuplex, check_half_duplex
from eqlbond.core.line_model import LineSpec
from eqlbond.exceptions import ConfigurationError


def _times(field: str, value: Any) -> tuple[float, ...]:
    given = tuple(value) if isinstance(value, Iterable) else (value,)
    for time in given:
        _seconds(field, time)
    if any(later <= sooner for sooner, later in pairwise(given)):
        raise ConfigurationError(field, f"the times {given} must rise")
    return tuple(map(float, given))


def _cuts(value: Any) -> tuple[float, ...]:
    return _times("cut_at", value)


def _revivals(value: Any) -> tuple[float, ...]:
    return _times("revive_at", value)


def _seconds(field: str, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf:
        raise ConfigurationError(field, f"seconds from 0, not {value!r}")


@attrs.frozen
class SimLine:
    """A line between the two ends of a simulated bond. Both directions are alike unless `back` says otherwise.

    Raises:
        ConfigurationError: a value cannot work; `field` names it.

    >>> SimLine(0)
    Traceback (most recent call last):
        ...
    eqlbond.exceptions.ConfigurationError: rate: 0 cannot be; give bit/s above 0, or None for a line that is not shaped
    """

    rate: float | None
    """Bit/s on the wire; None: bytes leave as soon as they are handed over."""
    bits_per_byte: float = attrs.field(default=10, kw_only=True)
    """Bits on the wire for each byte: 10 for 8N1, 8 behind a modem with error correction."""
    latency: float = attrs.field(default=0.0, kw_only=True)
    """Seconds from a byte's leaving to its arrival."""
    jitter: float = attrs.field(default=0.0, kw_only=True)
    """At most so many seconds more, drawn for each frame. Bytes of one line never overtake one another."""
    byte_error_rate: float = attrs.field(default=0.0, kw_only=True)
    """The probability that a byte arrives changed."""
    loss: float = attrs.field(default=0.0, kw_only=True)
    """The probability that a frame does not arrive at all."""
    buffer: int | None = attrs.field(default=None, kw_only=True)
    """Bytes that the port takes beyond what has left; None: no limit. The bond's own pacing keeps it short anyway."""
    back: LineSpec | None = attrs.field(default=None, kw_only=True)
    """The other direction, where it differs."""
    cut_at: tuple[float, ...] = attrs.field(default=(), kw_only=True, converter=_cuts)
    """When the line is cut, seconds: a time or several. What is on its way is lost."""
    revive_at: tuple[float, ...] = attrs.field(default=(), kw_only=True, converter=_revivals)
    """When it is mended, seconds: one time after each cut (the last may be left out)."""
    cut: Literal["hangup", "silence"] = attrs.field(default="hangup", kw_only=True)
    """Whether both ends hear of a cut, as of an adapter that is unplugged, or nothing arrives and nobody is told."""
    rate_changes: tuple[tuple[float, float], ...] = attrs.field(default=(), kw_only=True)
    """Pairs of a time and a rate, from then on the rate of the line both ways, bit/s. The bond is not told."""
    nominal_rate: float | None = attrs.field(default=None, kw_only=True)
    """The rate that the bond is told, bit/s; None: the real one at the start."""
    nominal_latency: float | None = attrs.field(default=None, kw_only=True)
    """The latency that the bond is told, seconds; None: the real one."""
    tells_queue: bool = attrs.field(default=False, kw_only=True)
    """Whether the ports tell what they still hold, as hardware does and a pty does not; the bond learns a lower rate
    from it."""
    priority: float | None = attrs.field(default=None, kw_only=True)
    """The weight, for schedulers that use weights; None: the rate."""
    mtu: int | None = attrs.field(default=None, kw_only=True)
    """The largest packet that this line may carry; None: the bond's MTU."""
    half_duplex: bool = attrs.field(default=False, kw_only=True)
    """Whether only one end can talk at a time, as by radio: what reaches an end while it talks itself arrives damaged.
    Such a line is always paced in pieces, so that the ends hear each other begin."""
    turns: HalfDuplex | None = attrs.field(default=None, kw_only=True)
    """How the ends take turns, as the `half_duplex` of a slave; None: they do not mind each other."""
    framing: Framing = attrs.field(factory=Slip, kw_only=True)
    """How packets are framed on the line."""
    far_framing: Framing | None = attrs.field(default=None, kw_only=True)
    """The same at the second end, such as a `Ppp` that answers; None: as at the first."""
    name: str = attrs.field(default="", kw_only=True)
    """For people; empty: made of the line's number and rate."""

    def __attrs_post_init__(self) -> None:
        self.forth()
        if self.back is not None and not isinstance(self.back, LineSpec):
            raise ConfigurationError(
                "back", f"a LineSpec, or None for a line that is the same both ways, not {self.back!r}"
            )
        if self.cut not in ("hangup", "silence"):
            raise ConfigurationError("cut", f"'hangup' or 'silence', not {self.cut!r}")
        if not isinstance(self.framing, Framing):
            raise ConfigurationError("framing", f"a Framing such as Slip(), not {self.framing!r}")
        if self.far_framing is not None and not isinstance(self.far_framing, Framing):
            raise ConfigurationError("far_framing", f"a Framing such as Slip(), or None, not {self.far_framing!r}")
        if not isinstance(self.half_duplex, bool):
            raise ConfigurationError("half_duplex", f"True or False, not {self.half_duplex!r}; a rule goes in turns")
        if self.half_duplex and self.rate is None:
            raise ConfigurationError("half_duplex", "needs a rate: without one nobody talks for any time")
        if self.half_duplex and self.back is not None and self.back.rate is None:
            raise ConfigurationError("back", "needs a rate on a line that is half-duplex")
        check_half_duplex(self.turns, self.rate, "turns")
        if self.nominal_latency is not None:
            _seconds("nominal_latency", self.nominal_latency)
        if self.nominal_rate is not None:
            LineSpec(self.nominal_rate)
        if not len(self.cut_at) - 1 <= len(self.revive_at) <= len(self.cut_at):
            raise ConfigurationError("revive_at", f"one time after each cut, not {self.revive_at} for {self.cut_at}")
        for n, time in enumerate(self.revive_at):
            if time <= self.cut_at[n] or (n + 1 < len(self.cut_at) and time >= self.cut_at[n + 1]):
                raise ConfigurationError("revive_at", f"{time} does not lie between a cut and the next: {self.cut_at}")
        for change in self.rate_changes:
            if not isinstance(change, Sequence) or len(change) != 2:
                raise ConfigurationError("rate_changes", f"pairs of time and rate, not {change!r}")
            _seconds("rate_changes", change[0])
            try:
                LineSpec(change[1])
            except ConfigurationError:
                raise ConfigurationError("rate_changes", f"bit/s above 0, not {change[1]!r}") from None
        if self.rate is None and self.rate_changes:
            raise ConfigurationError("rate_changes", "a line without a rate has none that could change")

    def framings(self) -> tuple[Framing, Framing]:
        """How packets are framed at the first end and at the second."""
        return self.framing, self.framing if self.far_framing is None else self.far_framing

    def forth(self) -> LineSpec:
        """The direction from the first end to the second."""
        return LineSpec(
            self.rate,
            bits_per_byte=self.bits_per_byte,
            latency=self.latency,
            jitter=self.jitter,
            byte_error_rate=self.byte_error_rate,
            loss=self.loss,
            buffer=self.buffer,
        )

    def back_spec(self) -> LineSpec:
        """The direction from the second end to the first."""
        return self.forth() if self.back is None else self.back

    @property
    def in_pieces(self) -> bool:
        """Whether the line is paced in pieces whatever the run's `pacing`: its ends must hear bytes as they come."""
        return self.half_duplex or self.turns is not None

    def label(self, number: int) -> str:
        """The line's name, or one made of its number and rate."""
        if self.name:
            return self.name
        return f"{number}: {'no rate' if self.rate is None else f'{self.rate:g}'}"


def as_lines(lines: Any) -> tuple[SimLine, ...]:
    """Lines as the caller gave them: `SimLine` objects, or rates in bit/s alone.

    Raises:
        ConfigurationError: there is none, or one is neither.
    """
    given = [lines] if isinstance(lines, SimLine | int | float) else lines
    if not isinstance(given, Iterable):
        raise ConfigurationError("lines", f"SimLine objects or rates in bit/s, not {lines!r}")
    made = []
    for line in given:
        if isinstance(line, SimLine):
            made.append(line)
        elif isinstance(line, int | float) and not isinstance(line, bool):
            made.append(SimLine(line))
        else:
            raise ConfigurationError("lines", f"a SimLine or a rate in bit/s, not {line!r}")
    if not made:
        raise ConfigurationError("lines", "there is none; give at least one SimLine or rate")
    names = [line.label(number) for number, line in enumerate(made)]
    if len(set(names)) < len(names):
        raise ConfigurationError("lines", f"two lines have one name: {', '.join(names)}")
    return tuple(made)
