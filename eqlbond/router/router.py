"""A bond that comes up by itself from a configuration, stays up, and is steered while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_interface
from typing import Any

import attrs

from eqlbond.aio.master import Master
from eqlbond.aio.slave import Slave
from eqlbond.config import Config, ConfigurationErrors, LogConfig, SlaveConfig
from eqlbond.control import ControlServer
from eqlbond.events import BondDown, BondUp, Event, SlaveDown, SlaveUp
from eqlbond.exceptions import ConfigurationError, EqlbondError
from eqlbond.hooks import HookRunner
from eqlbond.packet import Packet
from eqlbond.router.commands import RouterCommands
from eqlbond.router.notify import Notifier
from eqlbond.router.plan import Plan, plan
from eqlbond.supervise import Supervisor

__all__ = ["Router"]

_log = logging.getLogger("eqlbond")
_MARGIN = 10.0
"""Seconds beyond `close_timeout` that stopping may take; a modem hangs up meanwhile."""


class Router:
    """Everything that a configuration names: bond, lines, interface, hooks, control socket.

    ::

        router = Router(Config.load("bond.toml"), "bond.toml")
        loop.add_signal_handler(signal.SIGTERM, router.stop)
        await router.run()

    Args:
        config: the configuration.
        file: where it came from, for `reload`; None: it cannot be reloaded.
        notifier: tells systemd how it does; None: a `Notifier` for this process.
        set_up_log: sets up the log anew after each reload; an OSError of it is told among the problems. None: the log
            is left as it is.

    Raises:
        ConfigurationError: it cannot work.
    """

    def __init__(
        self,
        config: Config,
        file: str | None = None,
        *,
        notifier: Notifier | None = None,
        set_up_log: Callable[[LogConfig], object] | None = None,
    ) -> None:
        self.config = config
        self._file = file
        self._set_up_log = set_up_log
        self._notifier = Notifier() if notifier is None else notifier
        bond = config.bond
        self.master = Master(
            scheduler=bond.scheduler.make(),
            mtu=bond.mtu,
            queue_bytes=bond.queue.queue_bytes,
            queue_time=bond.queue.queue_time,
            queue=bond.queue.fair,
            multilink=bond.multilink,
            close_timeout=bond.close_timeout,
            min_slaves=bond.min_slaves,
            max_slaves=bond.max_slaves,
            on_packets=_nowhere if config.tun is None else None,
        )
        self._interface = None if config.tun is None else config.tun.make()
        self._supervisor = Supervisor(self.master)
        self._hooks: HookRunner | None = None
        self._slaves: dict[str, Slave] = {}
        self._stop = asyncio.Event()
        self._at_once = asyncio.Event()
        self._reloading = asyncio.Lock()

    # -- running

    async def run(self) -> None:
        """Bring everything up, and serve until `stop` is called; then take everything down.

        Raises:
            SocketInUse: another instance has the control socket. Nothing has been touched then.
            EqlbondError: something else could not be brought up. What was, is taken down again.
        """
        async with contextlib.AsyncExitStack() as stack:
            await self.master.open()
            stack.push_async_callback(self._close_master)
            if self.config.control is not None:
                server = ControlServer(self.master, self.config.control.socket, commands=RouterCommands(self))
                await stack.enter_async_context(server)
                _log.info("control socket: %s", server.path)
            events = self.master.events()
            watching = asyncio.ensure_future(self._watch(events))
            stack.push_async_callback(_end, watching)
            # Entered before the interface and left after it has gone: the down commands see the bond as it ends.
            settled = None if self._interface is None else self._interface.settled
            own = self._addresses()
            self._hooks = HookRunner(
                self.master,
                self.config.hooks,
                local=own["local"],
                remote=own["remote"],
                local6=own["local6"],
                remote6=own["remote6"],
                before_up=settled,
            )
            await self._hooks.__aenter__()
            stack.push_async_callback(self._end_hooks, self._hooks)
            if self._interface is not None:
                # Closed in _take_down, before the bond sends what is left; here after an error on the way.
                await stack.enter_async_context(self._interface)
                await self._interface.attach(self.master)
                self._hooks.interface = self._interface.name
                _log.info("interface: %s", self._interface.name)
            await stack.enter_async_context(self._supervisor)
            for slave in self.config.slaves:
                await self._add(slave)
            self._notifier.ready()
            self._say_status()
            pinging = asyncio.ensure_future(self._keep_watchdog())
            stack.push_async_callback(_end, pinging)
            await self._stop.wait()
            _log.info("stopping")
            self._notifier.stopping()
            await self._take_down()

    def stop(self) -> None:
        """End, with what waits sent within `close_timeout`. Called again: at once."""
        if self._stop.is_set():
            self._at_once.set()
        self._stop.set()

    async def _take_down(self) -> None:
        """What has to happen in this order; what hangs is left behind."""

        async def in_order() -> None:
            await self._supervisor.stop()
            if self._interface is not None:
                await self._interface.close()
            await self.master.close()

        seconds = self.master.close_timeout + _MARGIN
        closing = asyncio.ensure_future(in_order())
        hurry = asyncio.ensure_future(self._at_once.wait())
        try:
            await asyncio.wait({closing, hurry}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if closing.done():
                closing.result()
            else:
                _log.warning("not closed %s", "before the second signal" if hurry.done() else f"within {seconds:g} s")
        finally:
            await _end(hurry)
            await _end(closing)

    async def _close_master(self) -> None:
        """The end of every way out: nothing is waited for any more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self.master.close(0.0)

    def _addresses(self) -> dict[str, str]:
        """Ours and the peer's, for hooks, as the file says; of what it does not say hooks are told what PPP says."""
        found = dict.fromkeys(("local", "remote", "local6", "remote6"), "")
        tun = self.config.tun
        for name, texts in (("local", tun.addresses), ("remote", tun.peer)) if tun is not None else ():
            for text in texts:
                address = ip_interface(text).ip
                key = name if address.version == 4 else f"{name}6"
                found[key] = found[key] or str(address)
        return found

    async def _end_hooks(self, hooks: HookRunner) -> None:
        """Let commands that run come to their end, each within its time, or until `stop` is called again."""
        ending = asyncio.ensure_future(hooks.__aexit__(None, None, None))
        hurry = asyncio.ensure_future(self._at_once.wait())
        await asyncio.wait({ending, hurry}, return_when=asyncio.FIRST_COMPLETED)
        await _end(hurry)
        await _end(ending)

    # -- lines

    async def _add(self, config: SlaveConfig) -> None:
        """Enslave a line of the file; it is opened in the background, however often that takes."""
        slave = config.make()
        await self._supervisor.enslave(slave, redial=config.supervision.redial, watch=config.supervision.watch)
        self._slaves[config.name] = slave

    async def enslave(self, slave: Slave, config: SlaveConfig) -> None:
        """Enslave a line by hand. It is opened first, and then looked after as the others are.

        Raises:
            LineError: it cannot be opened; it is not enslaved then.
        """
        await self.master.enslave(slave)
        # Not before it is one of the bond's: what is set for others is never forgotten.
        self._supervisor.set(slave, redial=config.supervision.redial, watch=config.supervision.watch)

    async def _remove(self, name: str) -> None:
        slave = self._slaves.pop(name, None)
        if slave is not None and slave in self.master.slaves:
            await self.master.emancipate(slave)

    # -- reloading

    async def reload(self) -> dict[str, Any]:
        """Read the file again, and do what has changed; lines that have not changed are not touched.

        Returns:
            What was done: names under `added`, `removed`, `reopened`, `changed`, `unchanged`; under `restart` the keys
            whose change takes effect only in a new process; under `problems` what could not be done.

        Raises:
            ConfigurationErrors: the file is wrong; nothing is changed then.
            ConfigurationError: there is no file.
        """
        if self._file is None:
            raise ConfigurationError("file", "this bond was not made from a file")
        async with self._reloading:
            self._notifier.reloading()
            try:
                new = await asyncio.to_thread(Config.load, self._file)
                return await self._change_to(new)
            except ConfigurationErrors as error:
                _log.error("not reloaded: %s", error)
                raise
            finally:
                self._notifier.ready()

    async def _change_to(self, new: Config) -> dict[str, Any]:
        steps = plan(self.config, new)
        problems: list[str] = []

        async def attempt(name: str, step: Any) -> None:
            try:
                await step
            except EqlbondError as error:
                problems.append(f"{name}: {error}")
                _log.error("%s: %s", name, error)

        master = self.master
        master.set_max_slaves(None)
        leaving = [*steps.removed, *(slave.name for slave in steps.reopened)]
        await asyncio.gather(*(attempt(name, self._remove(name)) for name in leaving))
        for slave in (*steps.reopened, *steps.added):
            await attempt(slave.name, self._adopt(slave))
        for slave in steps.changed:
            await attempt(slave.name, self._change(slave))
        master.set_min_slaves(new.bond.min_slaves)
        most = new.bond.max_slaves
        master.set_max_slaves(most)
        master.close_timeout = new.bond.close_timeout
        if self._hooks is not None:
            self._hooks.hooks = new.hooks
        self.config = _with_old(self.config, new, steps)
        if self._set_up_log is not None:
            try:
                self._set_up_log(new.log)
            except OSError as error:
                problems.append(f"log: {error}")
                _log.error("the log cannot be opened: %s", error)
        done = {
            "added": [slave.name for slave in steps.added],
            "removed": list(steps.removed),
            "reopened": [slave.name for slave in steps.reopened],
            "changed": [slave.name for slave in steps.changed],
            "unchanged": list(steps.unchanged),
            "restart": list(steps.restart),
            "problems": problems,
        }
        _log.info("reloaded: %s", "; ".join(f"{key}: {', '.join(names)}" for key, names in done.items() if names))
        return done

    async def _adopt(self, config: SlaveConfig) -> None:
        """Enslave a line that the file names now; one of that name that was enslaved by hand gives way."""
        for slave in self.master.slaves:
            if slave.name == config.name:
                await self.master.emancipate(slave)
        await self._add(config)

    async def _change(self, config: SlaveConfig) -> None:
        """What can change while the line stays open."""
        slave = self._slaves.get(config.name)
        if slave is None or slave not in self.master.slaves:  # it was emancipated by hand
            return
        if not isinstance(config.rate, str):
            self.master.set_rate(slave, config.rate)
        self.master.set_priority(slave, config.settings.get("priority"))
        self.master.set_latency(slave, config.settings.get("latency", 0.0))
        self._supervisor.set(slave, redial=config.supervision.redial, watch=config.supervision.watch)

    # -- telling

    def describe(self) -> dict[str, Any]:
        """What `status` says beside the bond's statistics."""
        states, reasons = {}, {}
        for slave in self.master.slaves:
            with contextlib.suppress(EqlbondError):
                states[slave.name] = self._supervisor.state(slave)
                if (reason := self._supervisor.reason(slave)) is not None:
                    reasons[slave.name] = reason
        interface = None if self._interface is None else self._interface.name
        return {"interface": interface, "states": states, "reasons": reasons}

    def _say_status(self) -> None:
        slaves = self.master.slaves
        up = sum(slave.up for slave in slaves)
        self._notifier.status(f"bond {'up' if self.master.up else 'down'}, {up} of {len(slaves)} lines up")

    async def _watch(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            if isinstance(event, BondUp | BondDown | SlaveUp | SlaveDown):
                self._say_status()

    async def _keep_watchdog(self) -> None:
        """Tell the watchdog that the event loop turns, twice as often as it wants."""
        if self._notifier.watchdog is None:
            return
        while True:
            self._notifier.alive()
            await asyncio.sleep(self._notifier.watchdog / 2)


def _with_old(old: Config, new: Config, steps: Plan) -> Config:
    """The new configuration, with what needs a restart as it still is: so the next reload says it again."""
    if not steps.restart:
        return new
    bond = attrs.evolve(
        new.bond,
        mtu=old.bond.mtu,
        scheduler=old.bond.scheduler,
        multilink=old.bond.multilink,
        queue=old.bond.queue,
    )
    return attrs.evolve(new, bond=bond, tun=old.tun, control=old.control)


def _nowhere(packets: list[Packet]) -> None:
    """Without an interface packets have nowhere to go."""


async def _end(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
