"""The conformance check for schedulers of one's own."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

from eqlbond.exceptions import SchedulerError
from eqlbond.packet import Packet
from eqlbond.schedulers import testing
from eqlbond.schedulers.base import FRAGMENT_HEADERS, Line, Placement, Scheduler

_LONGEST_HOLD = 60.0


def check_placement(placement: object, lines: Sequence[Line], now: float) -> Placement | None:
    """What a scheduler answered, if it keeps the contract.

    Raises:
        SchedulerError: it is no `Placement`, names a line that was not offered or one line twice, or holds
            the packet until a time that is no number.
    """
    if placement is None:
        return None
    if not isinstance(placement, Placement):
        raise SchedulerError(f"place() must return a Placement or None, not {type(placement).__name__}")
    if placement.line not in lines:
        raise SchedulerError(f"place() chose {placement.line!r}, which was not offered")
    if not isinstance(placement.copies, tuple):
        raise SchedulerError(f"place() must give copies as a tuple of lines, not {placement.copies!r}")
    if placement.copies:
        chosen = [placement.line, *placement.copies]
        for line in placement.copies:
            if line not in lines:
                raise SchedulerError(f"place() put a copy on {line!r}, which was not offered")
        if len(set(chosen)) != len(chosen):
            raise SchedulerError("place() named one line twice")
    hold = placement.not_before
    if isinstance(hold, bool) or not isinstance(hold, int | float) or not math.isfinite(hold):
        raise SchedulerError(f"place() holds the packet until {hold!r}, which is no time in seconds (0.0: no hold)")
    return placement


def check_shares(shares: object, packet: Packet, lines: Sequence[Line]) -> list[tuple[Line, int]] | None:
    """What a scheduler's `split` answered, if it keeps the contract; None where the packet stays whole.

    Raises:
        SchedulerError: it is no list of pairs, names a line that was not offered or one line twice, or gives a line
            no bytes, more than its MTU leaves room for, or all together more or less than the packet has.
    """
    if shares is None:
        return None
    if not isinstance(shares, list | tuple) or not all(isinstance(s, list | tuple) and len(s) == 2 for s in shares):
        raise SchedulerError(f"split() must return None or a list of (line, bytes), not {shares!r}")
    if len(shares) == 1:
        return None
    for line, size in shares:
        if line not in lines:
            raise SchedulerError(f"split() gave a share to {line!r}, which was not offered")
        if type(size) is not int or size < 1:
            raise SchedulerError(f"split() gave {size!r} to {line.name}: a share is a whole number of bytes above 0")
        if size + FRAGMENT_HEADERS > line.mtu:
            room = line.mtu - FRAGMENT_HEADERS
            raise SchedulerError(f"split() gave {size} bytes to {line.name}, whose MTU leaves room for {room}")
    if len({line for line, _ in shares}) != len(shares):
        raise SchedulerError("split() named one line twice")
    total, wanted = sum(size for _, size in shares), len(packet.payload)
    if total != wanted:
        raise SchedulerError(f"split() gave {total} bytes in all of a packet of {wanted}")
    return [(line, size) for line, size in shares]


def check_scheduler(scheduler: Scheduler) -> None:
    """Run a scheduler through bonds of many kinds and see that it keeps the contract.

    The scheduler itself stays as it was: each bond gets a copy, as a `Master` makes one. Checked are: every answer
    names offered lines; an idle bond never waits; no packet is held for ever or changed; lines may come, go and
    change between any two packets; lines without a rate, urgent packets and 300-to-1 rates are handled; the optional
    methods do not raise, and `window` answers a number of seconds. One that has `split` or `resequenced` goes through
    bundles, too, as Multilink makes them: there `split` shares out packets of all sizes, over lines of several MTUs.

    Args:
        scheduler: an object with `place`.

    Raises:
        SchedulerError: the contract is broken; the message says where. What the scheduler itself raises is the cause.

    >>> from eqlbond.schedulers import EarliestDelivery
    >>> check_scheduler(EarliestDelivery())
    """
    if isinstance(scheduler, type):
        raise SchedulerError(f"{scheduler.__name__} is a class; make an object of it: {scheduler.__name__}()")
    if not isinstance(scheduler, Scheduler):
        raise SchedulerError(f"{type(scheduler).__name__} has no method place(packet, lines, now)")
    bonds: dict[str, list[float | None]] = {
        "one line": [9600],
        "equal lines": [57600] * 4,
        "unequal lines": [57600, 28800, 14400, 9600],
        "very unequal lines": [3_000_000, 9600],
        "lines without a rate": [None, None],
        "lines with and without a rate": [None, 9600],
        "many lines": [9600.0 * (1 + n % 5) for n in range(64)],
    }
    for name, rates in bonds.items():
        _check_bond(scheduler, name, rates)
    if hasattr(scheduler, "split") or hasattr(scheduler, "resequenced"):
        for name, rates in bonds.items():
            _check_bond(scheduler, f"{name} in a bundle", rates, bundle=True)


def _check_bond(scheduler: Scheduler, bond: str, rates: Sequence[float | None], *, bundle: bool = False) -> None:
    try:
        policy = copy.deepcopy(scheduler)
    except Exception as error:
        raise SchedulerError(f"it cannot be copied (copy.deepcopy): {error!r}") from error
    # What a bundle carries may exceed a link's MRU (RFC 1990 section 2). The last line, which stays, takes all sizes.
    mtus = (296, 576, 1500) if bundle else (1500,)
    lines = tuple(
        testing.line(f"line{n}", rate=rate, mtu=mtus[(n - len(rates)) % len(mtus)]) for n, rate in enumerate(rates)
    )
    now = 0.0
    sequence = 0
    if bundle:
        _hook(policy, bond, "resequenced")

    def offer(offered: tuple[Line, ...], size: int, *, idle: bool, priority: int = 0) -> bool:
        nonlocal sequence
        packet = testing.packet(size, priority=priority, sequence=sequence)
        sequence += 1
        before = _contents(packet)
        shares = _split(policy, bond, packet, offered, now) if bundle and len(offered) > 1 else None
        if _contents(packet) != before:
            raise SchedulerError(f"{bond}: split() changed the packet")
        if shares is not None:
            for line, share in shares:
                testing.take(line, testing.packet(share), now)
            return True
        whole = tuple(line for line in offered if line.mtu >= size)
        placement = _place(policy, bond, packet, whole, now)
        if _contents(packet) != before:
            raise SchedulerError(f"{bond}: place() changed the packet")
        if placement is None:
            if idle:
                raise SchedulerError(f"{bond}: place() waits while every line is idle: nothing would wake it")
            return False
        if placement.not_before > max(now, *(line.free for line in whole)) + _LONGEST_HOLD:
            raise SchedulerError(f"{bond}: place() holds a packet for {placement.not_before - now:.0f} s")
        for line in (placement.line, *placement.copies):
            testing.take(line, packet, now, placement.not_before)
        if sequence % 7 == 0:
            _hook(policy, bond, "withdrawn", packet, placement.line, now)
        return True

    def change(offered: tuple[Line, ...]) -> None:
        _hook(policy, bond, "lines_changed", offered, now)
        window = _hook(policy, bond, "window", offered, 1500)
        if window is not None and (not isinstance(window, int | float) or not 0 <= window < math.inf):
            raise SchedulerError(f"{bond}: window() must answer a number of seconds from 0, not {window!r}")

    change(lines)
    for size in (40, 1500, 576, 1, 1500, 40) * 4:  # each packet finds all lines idle
        offer(lines, size, idle=True)
        now = _drain(lines, now)
    for n in range(200):  # bulk: until it says wait, then on when the lines have drained
        if not offer(lines, (1500, 40, 576)[n % 3], idle=False, priority=n % 17 == 0):
            now = _drain(lines, now)
            offer(lines, 1500, idle=True)
    for n in range(len(lines) if len(lines) < 8 else 8):  # lines come and go, with plans as they are
        some = lines[n:] or lines
        change(some)
        if not offer(some, 900, idle=False):
            now = _drain(lines, now)
            offer(some, 900, idle=True)
    change(lines)
    now = _drain(lines, now) + 3600.0  # after an hour of silence
    offer(lines, 1500, idle=True)


def _contents(packet: Packet) -> tuple[object, ...]:
    described = (packet.payload, packet.protocol, packet.priority, packet.flow)
    return *described, packet.sequence, packet.entered, packet.express


def _hook(policy: Scheduler, bond: str, name: str, *arguments: object) -> object:
    hook = getattr(policy, name, None)
    if hook is None:
        return None
    try:
        return hook(*arguments)
    except Exception as error:
        raise SchedulerError(f"{bond}: {name}() raised {error!r}") from error


def _place(policy: Scheduler, bond: str, packet: Packet, lines: tuple[Line, ...], now: float) -> Placement | None:
    try:
        answer = policy.place(packet, lines, now)
    except Exception as error:
        raise SchedulerError(f"{bond}: place() raised {error!r}") from error
    try:
        return check_placement(answer, lines, now)
    except SchedulerError as error:
        raise SchedulerError(f"{bond}: {error}") from None


def _split(
    policy: Scheduler, bond: str, packet: Packet, lines: tuple[Line, ...], now: float
) -> list[tuple[Line, int]] | None:
    shares = _hook(policy, bond, "split", packet, lines, now)
    try:
        return check_shares(shares, packet, lines)
    except SchedulerError as error:
        raise SchedulerError(f"{bond}: {error}") from None


def _drain(lines: Sequence[Line], now: float) -> float:
    for line in lines:
        object.__setattr__(line, "planned", 0)
    return max(now, *(line.free for line in lines), 0.0)
