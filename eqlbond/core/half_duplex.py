"""Lines on which only one end can talk at a time: radio modems, packet-radio TNCs, two-wire RS-485.

`HalfDuplex` says how the ends take turns, `Turns` decides for one end and one connection who may talk when, and
`HalfDuplexMember` is a member line that keeps to it. No end needs to know more of the other than what it hears:

- No frame begins while bytes arrive, nor until `turnaround` after the last of them.
- A burst is frames close behind one another. None begins more than `burst` seconds after its first; then this end is
  silent for `pause`, in which the other end's turn begins.
- An end that has just heard the other out has the turn, and takes it at once. Only one end can be in that place.
- Otherwise, and after a collision, both may want to begin. Then an end draws lots, slot by slot, as AX.25 and the KISS
  TNC do (p-persistence: M. Chepponis, P. Karn: The KISS TNC, 1987): in each slot of a silent line it begins with the
  probability `persistence`.
"""

from __future__ import annotations

import math
from typing import Any

import attrs

from eqlbond.codec.base import Framing
from eqlbond.core.line_model import RandomSource
from eqlbond.core.line_settings import put as _put
from eqlbond.core.link import Link
from eqlbond.core.member import Member
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet

_ROUNDING = 1e-6  # seconds


def _seconds(field: str, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise ConfigurationError(field, f"seconds above 0, not {value!r}")


@attrs.frozen(kw_only=True)
class HalfDuplex:
    """How two ends take turns on a line. Both ends are set alike.

    Args:
        turnaround: seconds of silence after the other end's last byte before this end begins: what the line needs to
            turn round. Longer than the gaps that can be between the bytes of one burst as they are heard: behind a
            TNC, which hands over whole frames, longer than a frame on the air. Default 0.3.
        burst: seconds after which an end lets the other have its turn; a frame on its way is finished. Default 3.
        pause: seconds of silence after such a burst, counted from its end. Longer than what the other end needs to
            begin and to be heard here. None: the turnaround and two slots.
        persistence: probability that an end begins in a slot, above 0, at most 1. 1: it does not draw lots, which is
            right where a TNC does it. Default 0.5, the best for two ends; KISS TNCs, which count on many stations,
            start with 0.25.
        slot: seconds of a slot: longer than it takes until this end is heard at the other. Default 0.1, as with TNCs.

    Raises:
        ConfigurationError: a value cannot work; `field` names it.

    >>> HalfDuplex(turnaround=0.3).silence
    0.5
    """

    turnaround: float = 0.3
    burst: float = 3.0
    pause: float | None = None
    persistence: float = 0.5
    slot: float = 0.1

    def __attrs_post_init__(self) -> None:
        _seconds("turnaround", self.turnaround)
        _seconds("burst", self.burst)
        _seconds("slot", self.slot)
        chance = self.persistence
        number = isinstance(chance, int | float) and not isinstance(chance, bool)
        if not number or not 0 < chance <= 1:
            raise ConfigurationError("persistence", f"a probability above 0, at most 1, not {chance!r}")
        if self.pause is not None:
            _seconds("pause", self.pause)
            if self.pause <= self.turnaround:
                problem = f"longer than the turnaround ({self.turnaround:g} s), or the other end never begins"
                raise ConfigurationError("pause", f"{problem}; not {self.pause!r}")

    @property
    def silence(self) -> float:
        """Seconds of silence after a burst of one's own."""
        return self.turnaround + 2 * self.slot if self.pause is None else self.pause


def check_half_duplex(value: Any, rate: float | None, field: str = "half_duplex") -> None:
    """See that a line of this rate can take turns by `value`. Raises `ConfigurationError`, about `field`."""
    if value is None:
        return
    if not isinstance(value, HalfDuplex):
        raise ConfigurationError(field, f"a HalfDuplex, or None for a line that is not, not {value!r}")
    if rate is None:
        raise ConfigurationError(field, "needs the line's rate, to know how long this end talks")


class Turns:
    """One end's part in taking turns, on one connection. Times are seconds of the caller's clock.

    Args:
        rule: how turns are taken.
        random: where lots are drawn from.
    """

    __slots__ = ("_began", "_collided", "_continues", "_drawn", "_heard", "left", "random", "rule")

    left: float
    """When the last byte of what this end has begun to send leaves."""

    def __init__(self, rule: HalfDuplex, random: RandomSource) -> None:
        self.rule = rule
        self.random = random
        self._began = self._heard = self.left = -math.inf
        self._collided = self._continues = False
        self._drawn: float | None = None

    def heard(self, now: float) -> None:
        """Bytes of the other end have arrived."""
        if now < self.left:
            self._collided = True
        self._heard = now
        self._drawn = None

    def begins(self, now: float, start: float) -> float:
        """When a frame may begin; `now` or earlier: at once.

        Args:
            start: when its first bit would leave: behind what the port still holds.
        """
        # A gap of half a turnaround keeps the turn: nobody else has begun by then, and timers and UARTs are late.
        self._continues = (
            self._heard < self._began
            and start - self.left <= self.rule.turnaround / 2
            and start - self._began < self.rule.burst - _ROUNDING
        )
        if self._continues:
            return now
        if self._drawn is None or now > self._drawn + self.rule.slot:
            self._drawn = self._draw(now)
        return self._drawn

    def _draw(self, now: float) -> float:
        rule = self.rule
        if self._collided:
            clear = max(self._heard, self.left) + rule.turnaround
        elif self._heard > self.left:
            clear = self._heard + rule.turnaround
            if now <= clear + rule.slot:  # it is this end's turn
                return clear
        else:
            clear = self.left + rule.silence
        return max(now, clear) + self._slots() * rule.slot

    def _slots(self) -> int:
        """Slots that pass before this end begins: a geometric draw."""
        chance = self.rule.persistence
        if chance >= 1.0:
            return 0
        return int(math.log(1.0 - self.random.random()) / math.log1p(-chance))

    def earliest(self) -> float:
        """A time before which no burst can begin; no lots are drawn for it."""
        if self._drawn is not None:
            return self._drawn
        if self._heard > self.left or self._collided:
            return max(self._heard, self.left) + self.rule.turnaround
        return self._began  # a burst of one's own goes on, or there was none

    def talks(self, start: float, end: float) -> None:
        """The frame that `begins` was asked for goes, from `start` to `end`."""
        if not self._continues:
            self._began = start
            self._collided = False
        self.left = end
        self._drawn = None


class HalfDuplexMember(Member):
    """A member line that takes turns with its far end.

    What has to wait is planned accordingly: `free` and `soonest` of the line are not before the time that the line is
    this end's, as far as that is known: how long the other end will talk is not.

    Args:
        half_duplex: how turns are taken.
        random: where lots are drawn from.
        name, framing, options: as for `Member`. `rate` is needed.

    Raises:
        ConfigurationError: a value cannot work.
    """

    __slots__ = ("_ours_from", "_turns")

    takes_turns = True

    def __init__(
        self, name: str, framing: Framing, *, half_duplex: HalfDuplex, random: RandomSource, **options: Any
    ) -> None:
        check_half_duplex(half_duplex, options.get("rate"))
        self._turns = Turns(half_duplex, random)
        self._ours_from = -math.inf
        super().__init__(name, framing, **options)

    @property
    def half_duplex(self) -> HalfDuplex:
        """How turns are taken."""
        return self._turns.rule

    def set_rate(self, rate: float | None) -> None:
        """As `Member.set_rate`; None is refused."""
        check_half_duplex(self._turns.rule, rate)
        super().set_rate(rate)

    def connect(self, link: Link, now: float) -> None:
        """The port is open; nothing is known of the far end yet."""
        self._turns = Turns(self._turns.rule, self._turns.random)
        self._ours_from = -math.inf
        super().connect(link, now)

    # -- planning

    def _wait_until(self, until: float, now: float) -> None:
        """The line is not ours before `until`: all that is planned moves back as far as that is news."""
        line = self.line
        begins = max(now, self._ours_from, self.wire_free + (len(self._rest) - self._offset) * line.byte_time)
        late = until - begins
        if late > 0.0:
            self._ours_from = until
            self._plan.shift += late
            _put(line, "free", max(line.free, now) + late)
            _put(line, "soonest", max(line.soonest, now) + late)

    def _mind_the_wait(self) -> None:
        """Free and soonest were reckoned anew, by the byte clock alone."""
        line = self.line
        _put(line, "free", max(line.free, self._ours_from))
        _put(line, "soonest", max(line.soonest, self._ours_from))

    def take_back(self, *, also_express: bool = True) -> list[Packet]:
        """As `Member.take_back`."""
        packets = super().take_back(also_express=also_express)
        self._mind_the_wait()
        return packets

    def retime(self, before: float, now: float) -> None:
        """As `Member.retime`."""
        super().retime(before, now)
        self._mind_the_wait()

    def queue_delay(self, now: float) -> float:
        """As `Member.queue_delay`, with the wait for this end's turn."""
        return super().queue_delay(now) + max(0.0, self._turns.earliest() - max(now, self.wire_free))

    # -- the port

    def send_time(self, now: float) -> float | None:
        """As `Member.send_time`; where a frame would begin, not before this end's turn."""
        when = super().send_time(now)
        if when is None or self._offset < len(self._rest):
            return when
        return max(when, self._turns.begins(now, max(now, self.wire_free)))

    def data_to_send(self, now: float, room: int, unsent: int | None) -> bytes:
        """As `Member.data_to_send`."""
        self._still_talks(now, unsent)
        return super().data_to_send(now, room, unsent)

    def frame_to_send(self, now: float, unsent: int | None) -> bytes:
        """As `Member.frame_to_send`."""
        self._still_talks(now, unsent)
        return super().frame_to_send(now, unsent)

    def _still_talks(self, now: float, unsent: int | None) -> None:
        if unsent:  # the port is later than the byte clock
            self._turns.left = max(self._turns.left, now + unsent * self.line.byte_time)

    def _next_frame(self, now: float, ahead: float) -> bytes:
        if not (self.control or self._plan.express or self._plan.bulk):
            return b""
        start = self.wire_free + ahead
        begins = self._turns.begins(now, start)
        if begins > now:
            self._wait_until(begins, now)
            return b""
        frame = super()._next_frame(now, ahead)
        if frame:
            self._turns.talks(start, start + len(frame) * self.line.byte_time)
        return frame

    # -- receiving

    def receive(self, data: bytes, now: float) -> list[Packet]:
        """As `Member.receive`: the other end is heard."""
        self._turns.heard(now)
        self._wait_until(self._turns.earliest(), now)
        return super().receive(data, now)
