"""Lines that come back by themselves: watch the slaves of a bond, and open again what went down.

::

    async with Master(open_lines=False) as master, Supervisor(master, Redial(holdoff=2)) as supervisor:
        await supervisor.enslave(SerialSlave("/dev/ttyUSB0", modem=Modem(dial="555-1212")))
        await master.wait_open()

Every slave has a task of its own, so that a line that takes long to open, such as one that waits for a call, keeps
neither the bond nor the others from working.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from types import TracebackType
from typing import Any, Protocol, Self

import attrs

from eqlbond.aio.connection import Connection
from eqlbond.aio.event_stream import EventStream
from eqlbond.aio.master import Master
from eqlbond.aio.slave import SerialSlave, Slave
from eqlbond.events import Emancipated, Enslaved, GaveUp, Retrying, SlaveDown, SlaveEvent, SlaveUp
from eqlbond.exceptions import AlreadyEnslaved, BondClosed, ConfigurationError, LineError, NotEnslaved

__all__ = ["RandomSource", "Redial", "Supervisor", "Watch"]

_log = logging.getLogger("eqlbond")

_MOST_DOUBLINGS = 32


def _seconds(field: str, value: Any, *, above: bool = False) -> None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    if not good or (above and not value):
        raise ConfigurationError(field, f"seconds {'above' if above else 'from'} 0, not {value!r}")


@attrs.frozen(kw_only=True)
class Redial:
    """When a line that is down is opened again.

    Raises:
        ConfigurationError: a value cannot work; `field` names it.
    """

    holdoff: float = 1.0
    """Seconds from the end of a connection to the next attempt. It doubles with each attempt that fails."""
    max_holdoff: float | None = None
    """The most that it grows to, seconds. None: 60 for a slave with a modem, where an attempt is a call; otherwise
    `holdoff` + 1, as an attempt costs nothing."""
    jitter: float = 0.1
    """Each delay is shortened by a random part of up to this share, so that many lines do not all call at once."""
    maxfail: int = 0
    """Give up after so many attempts in a row that failed; 0: never."""
    persist: bool = True
    """Open a line again that had come up; False: give up when it goes down."""
    stable: float = 10.0
    """Seconds that a line has to be up for the attempt to count as a success. A line that flaps backs off."""
    probe: float = 0.5
    """Seconds between looks for a device that is gone. It is opened when it is back, whatever is left of the delay."""

    def __attrs_post_init__(self) -> None:
        _seconds("holdoff", self.holdoff)
        if self.max_holdoff is not None:
            _seconds("max_holdoff", self.max_holdoff)
            if self.max_holdoff < self.holdoff:
                raise ConfigurationError("max_holdoff", f"seconds from holdoff ({self.holdoff:g}) on")
        if isinstance(self.jitter, bool) or not isinstance(self.jitter, int | float) or not 0 <= self.jitter <= 1:
            raise ConfigurationError("jitter", f"a share from 0 to 1, not {self.jitter!r}")
        if isinstance(self.maxfail, bool) or not isinstance(self.maxfail, int) or self.maxfail < 0:
            raise ConfigurationError("maxfail", f"a number of attempts from 0, not {self.maxfail!r}")
        _seconds("stable", self.stable)
        _seconds("probe", self.probe, above=True)

    def delay(self, failures: int, dials: bool, rng: RandomSource) -> float:
        """Seconds until the next attempt after so many failures in a row.

        Args:
            failures: attempts in a row that failed.
            dials: whether an attempt is a call.
            rng: draws the jitter.
        """
        most = self.max_holdoff
        if most is None:
            most = max(60.0, self.holdoff) if dials else self.holdoff + 1.0
        delay = min(most, self.holdoff * 2.0 ** min(failures, _MOST_DOUBLINGS))
        return delay * (1.0 - self.jitter * rng.random())


@attrs.frozen(kw_only=True)
class Watch:
    """By what a line that is open is taken for dead, beside what its framing tells (`Slip.keepalive`, PPP's echo).

    Raises:
        ConfigurationError: a value cannot work; `field` names it.
    """

    carrier: bool = True
    """The carrier (DCD) falls after it had been there. Lines without DCD, such as ptys and three-wire cables, are not
    affected."""
    stall: float | None = 30.0
    """Bytes wait in the port, and for so many seconds it has taken none; None: not watched."""
    interval: float = 1.0
    """Seconds between looks at the port."""

    def __attrs_post_init__(self) -> None:
        if self.stall is not None:
            _seconds("stall", self.stall, above=True)
        _seconds("interval", self.interval, above=True)


class RandomSource(Protocol):
    """What the jitter is drawn from."""

    def random(self) -> float:
        """A number from 0 up to 1."""
        ...


class Supervisor:
    """Opens the lines of a bond, watches them, and opens them again; an async context manager within the bond's.

    It looks after all slaves of the bond, those that are enslaved later, too, until they are emancipated. Leaving
    it ends the supervision and leaves the lines as they are.

    Args:
        master: the bond; open.
        redial: when lines are opened again.
        watch: when lines are taken for dead.
        rng: draws the jitter; default: the system's randomness.

    Raises:
        ConfigurationError: a value cannot work; `field` names it.
    """

    def __init__(
        self,
        master: Master,
        redial: Redial | None = None,
        watch: Watch | None = None,
        *,
        rng: RandomSource | None = None,
    ) -> None:
        if not isinstance(master, Master):
            raise ConfigurationError("master", f"a Master, not {master!r}")
        self.master = master
        self.redial = _check(Redial, "redial", Redial() if redial is None else redial)
        self.watch = _check(Watch, "watch", Watch() if watch is None else watch)
        self._rng = random.SystemRandom() if rng is None else rng
        self._special: dict[Slave, tuple[Redial | None, Watch | None]] = {}
        self._keepers: dict[Slave, _Keeper] = {}
        self._dispatcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._dispatcher is not None:
            raise RuntimeError("this supervisor is at work already")
        stream = self.master.events()
        self._reconcile()
        self._dispatcher = asyncio.ensure_future(self._dispatch(stream))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End the supervision. Lines stay as they are; one that is being opened is given up."""
        tasks = [keeper.end() for keeper in self._keepers.values()]
        self._keepers.clear()
        if self._dispatcher is not None:
            self._dispatcher.cancel()
            tasks.append(self._dispatcher)
            self._dispatcher = None
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                _log.error("a supervisor's task failed: %r", result, exc_info=result)

    async def enslave(self, slave: Slave, *, redial: Redial | None = None, watch: Watch | None = None) -> Slave:
        """Add a line and open it in the background; returns at once.

        Args:
            slave: the line.
            redial: for this line; None: as for all.
            watch: for this line; None: as for all.

        Raises:
            AlreadyEnslaved, BondClosed, TooManySlaves: as `Master.enslave`.
        """
        self.set(slave, redial=redial, watch=watch)
        try:
            await self.master.enslave(slave, open_line=False)
        except BaseException:
            if slave not in self._keepers:
                self._special.pop(slave, None)
            raise
        self._reconcile()
        return slave

    def set(self, slave: Slave, *, redial: Redial | None = None, watch: Watch | None = None) -> None:
        """Change the policies of a line, from its next attempt on; None: as for all. They go when it is emancipated."""
        if redial is not None:
            _check(Redial, "redial", redial)
        if watch is not None:
            _check(Watch, "watch", watch)
        self._special[slave] = redial, watch
        if (keeper := self._keepers.get(slave)) is not None:
            keeper.redial, keeper.watch = redial or self.redial, watch or self.watch

    def retry(self, slave: Slave) -> None:
        """Open a line that is down now, also one that was given up.

        Raises:
            NotEnslaved: it is not looked after here.
        """
        self._keeper_of(slave).retry()

    def state(self, slave: Slave) -> str:
        """For people: "up", "opening", "waiting", "waiting for the device", or "given up".

        Raises:
            NotEnslaved: it is not looked after here.
        """
        return "up" if slave.up else self._keeper_of(slave).state

    def reason(self, slave: Slave) -> str | None:
        """Why it is down, for people; None: it is up, or was not opened yet.

        Raises:
            NotEnslaved: it is not looked after here.
        """
        return None if slave.up else self._keeper_of(slave).reason

    def _keeper_of(self, slave: Slave) -> _Keeper:
        keeper = self._keepers.get(slave)
        if keeper is None:
            raise NotEnslaved(f"{slave!r} is not looked after by this supervisor")
        return keeper

    async def _dispatch(self, stream: EventStream) -> None:
        missed = 0
        try:
            async for event in stream:
                if isinstance(event, Enslaved | Emancipated) or stream.missed != missed:
                    missed = stream.missed
                    self._reconcile()
                if isinstance(event, SlaveEvent) and (keeper := self._keepers.get(event.slave)) is not None:
                    keeper.heed(event)
        finally:
            stream.close()
        for keeper in self._keepers.values():
            keeper.end()

    def _reconcile(self) -> None:
        slaves = self.master.slaves
        for slave in [slave for slave in self._keepers if slave not in slaves]:
            self._keepers.pop(slave).end()
            self._special.pop(slave, None)
        for slave in slaves:
            if slave not in self._keepers:
                redial, watch = self._special.get(slave, (None, None))
                self._keepers[slave] = _Keeper(
                    self.master, slave, redial or self.redial, watch or self.watch, self._rng
                )


def _check(kind: type[Any], field: str, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ConfigurationError(field, f"a {kind.__name__}, not {value!r}")
    return value


class _Keeper:
    """Looks after one slave."""

    def __init__(self, master: Master, slave: Slave, redial: Redial, watch: Watch, rng: RandomSource) -> None:
        self._master = master
        self._slave = slave
        self.redial = redial
        self.watch = watch
        self._rng = rng
        self._stirred = asyncio.Event()
        self._wanted = False  # `retry` was called
        self._failures = 0
        self._up_since: float | None = None
        self.state = "opening"
        self._dials = getattr(slave, "modem", None) is not None
        self._device = slave.device if isinstance(slave, SerialSlave) else None
        master.will_reopen(slave)
        self.task = asyncio.ensure_future(self._run())

    def heed(self, event: SlaveEvent) -> None:
        """An event about the slave."""
        if isinstance(event, SlaveUp):
            if self._up_since is None:
                self._up_since = event.time
            self._stirred.set()
        elif isinstance(event, SlaveDown):
            self._stirred.set()

    def retry(self) -> None:
        """Stop waiting."""
        self._wanted = True
        self._stirred.set()

    def end(self) -> asyncio.Task[None]:
        """Look after it no longer; returns the task, which ends."""
        self._will_reopen(False)
        self.task.cancel()
        return self.task

    def _will_reopen(self, will: bool) -> None:
        if self._slave.master is self._master:
            self._master.will_reopen(self._slave, will)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _rest(self, seconds: float | None) -> None:
        """Until something happens, or so many seconds."""
        self._stirred.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            pass

    async def _run(self) -> None:
        try:
            while True:
                opened = False
                if self._open_connection() is None:
                    opened = await self._open()
                if (connection := self._open_connection()) is not None:
                    await self._watch_over(connection)
                elif opened:  # and closed at once
                    self._failures += 1
                if not await self._pause():
                    await self._given_up()
        except (NotEnslaved, BondClosed):
            return

    def _open_connection(self) -> Connection | None:
        """The slave's connection, unless it is down."""
        connection = self._slave.connection
        return None if connection is None or connection.lost or connection.closing else connection

    async def _open(self) -> bool:
        """Open the line; False: that failed, or somebody else does it."""
        self.state = "opening"
        self._wanted = False
        try:
            await self._master.reopen(self._slave)
            return True
        except AlreadyEnslaved:
            return False
        except (NotEnslaved, BondClosed):
            raise
        except LineError:  # told by `_why`
            pass
        except Exception as error:  # a connect function, or a framing, is somebody's code
            _log.error("%s: opening failed: %r", self._slave.name, error, exc_info=error)
        self._failures += 1
        return False

    # -- while it is open

    async def _watch_over(self, connection: Connection) -> None:
        """Until the connection is down."""
        self._up_since = self._now() if self._slave.up else None
        had_carrier = False
        moved, moved_at = -1, self._now()
        while self._open_connection() is connection:
            await self._rest(self.watch.interval)
            if self._open_connection() is not connection:
                break
            if connection.transport is None:
                continue
            if self.watch.carrier:
                carrier = connection.carrier()  # None, too, from a terminal server that has not told yet
                if had_carrier and carrier is False:
                    self._take_down("the carrier is gone (DCD)")
                    break
                had_carrier = had_carrier or bool(carrier)
            try:
                waiting = connection.unsent() or 0
            except Exception as error:  # a transport is somebody's code; the master hears of it when it writes
                _log.debug("%s: its transport does not tell what waits: %r", self._slave.name, error)
                continue
            gone = self._slave.member.counters.bytes_sent - waiting
            if gone != moved or not waiting:
                moved, moved_at = gone, self._now()
            elif self.watch.stall is not None and self._now() - moved_at >= self.watch.stall:
                self._take_down(f"the port has taken none of the {waiting} bytes that wait for {self.watch.stall:g} s")
                break
        up_for = 0.0 if self._up_since is None else self._now() - self._up_since
        if self._up_since is not None and up_for >= self.redial.stable:
            self._failures = 0
        else:
            self._failures += 1

    def _take_down(self, reason: str) -> None:
        self._master.hang_up(self._slave, reason)

    # -- while it is down

    async def _pause(self) -> bool:
        """Wait until the line is to be opened again; False: it is not."""
        redial, slave = self.redial, self._slave
        if self._wanted or self._open_connection() is not None:
            return True
        reason, error = self._why()
        if isinstance(error, ConfigurationError):  # it will not be better next time
            self._give_up(reason)
            return False
        if redial.maxfail and self._failures >= redial.maxfail:
            self._give_up(f"{self._failures} attempts in a row have failed (maxfail): {reason}")
            return False
        if not redial.persist and self._up_since is not None:
            self._give_up(f"the line went down, and is not to be opened again (persist): {reason}")
            return False
        delay = redial.delay(max(0, self._failures - 1), self._dials, self._rng)
        self._master.tell(Retrying(self._now(), slave, delay, self._failures, reason, error))
        due = self._now() + delay
        absent = False
        while not self._wanted and self._open_connection() is None:
            if self._gone():
                absent = True
                self.state = "waiting for the device"
                await self._rest(redial.probe)
                continue
            left = due - self._now()
            if absent or left <= 0:
                break
            self.state = "waiting"
            await self._rest(left if self._device is None else min(left, redial.probe))
        self._up_since = None
        return True

    @property
    def reason(self) -> str | None:
        """Why the line is down, for people; None: it has not been tried."""
        if self._slave.open_error is None and not self._slave.member.told_down:
            return None
        return self._why()[0]

    def _why(self) -> tuple[str, BaseException | None]:
        """Why the line is down."""
        slave = self._slave
        problem = slave.open_problem  # of the last opening, whoever asked for it
        return slave.member.down_reason if problem is None else problem, slave.error

    def _gone(self) -> bool:
        """Whether the device's name leads nowhere: an adapter that was pulled, a name that udev took away."""
        return self._device is not None and not os.path.exists(self._device)

    def _give_up(self, reason: str) -> None:
        self._will_reopen(False)
        self._master.tell(GaveUp(self._now(), self._slave, reason))

    async def _given_up(self) -> None:
        """Until somebody wants the line, or has opened it."""
        self.state = "given up"
        while not self._wanted and self._open_connection() is None:
            await self._rest(None)
        self._will_reopen(True)
        self._failures = 0
        self._up_since = None
