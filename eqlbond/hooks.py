"""Commands that are run when the bond or a slave goes up or down: what the manual's ip-up did.

::

    master = Master(slaves)
    hooks = HookRunner(master, Hooks(slave_up="/etc/eqlbond/slave-up"), interface="eql0")
    async with hooks, master:
        ...

A command gets the five arguments of pppd's ip-up, and the environment that `HookRunner` documents. Nothing in the bond
waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import attrs

from eqlbond.aio.event_stream import EventStream
from eqlbond.aio.master import Master
from eqlbond.aio.slave import Slave
from eqlbond.events import BondDown, BondUp, HookFailed, SlaveDown, SlaveUp
from eqlbond.exceptions import ConfigurationError
from eqlbond.ppp.network import Addresses

__all__ = ["Command", "HookRunner", "Hooks"]

_log = logging.getLogger("eqlbond.hooks")

Command = str | Sequence[str]
"""A list is a program and its arguments, run as it is; a string is a line for the shell. Both get the five arguments of
ip-up behind their own: in a shell line they are ``$1`` to ``$5``."""

_LONGEST_LINE: Final = 1000
_MOST_LINES: Final = 200  # of one run go to the log
_MOST_WAITING: Final = 2
_MERCY: Final = 1.0  # seconds between SIGTERM and SIGKILL
_MOST_AFTERWARDS: Final = 1 << 20  # bytes from what a command has left behind; then nobody reads it any more
_MOST_LEFT_OPEN: Final = 32  # pipes of that kind; the oldest goes


def _command(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is None:
        return
    good = bool(value.strip()) if isinstance(value, str) else False
    if isinstance(value, list | tuple):
        good = bool(value) and all(isinstance(part, str) for part in value) and bool(value[0])
        good = good and not any("\0" in part for part in value)
    if not good or (isinstance(value, str) and "\0" in value):
        what = "a line for the shell, or a list of a program and its arguments"
        raise ConfigurationError(attribute.name, f"{what}, not {value!r}")


@attrs.frozen(kw_only=True)
class Hooks:
    """What is run, and how long it may take.

    Raises:
        ConfigurationError: a value cannot work; `field` names it.
    """

    bond_up: Command | None = attrs.field(default=None, validator=_command)
    """Run when the bond carries packets."""
    bond_down: Command | None = attrs.field(default=None, validator=_command)
    """Run when it does no longer."""
    slave_up: Command | None = attrs.field(default=None, validator=_command)
    """Run when a slave's line carries packets."""
    slave_down: Command | None = attrs.field(default=None, validator=_command)
    """Run when it does no longer."""
    timeout: float = 30.0
    """Seconds that a command may take; then it and what it has started are ended."""

    def __attrs_post_init__(self) -> None:
        good = isinstance(self.timeout, int | float) and not isinstance(self.timeout, bool)
        if not good or not 0 < self.timeout < float("inf"):
            raise ConfigurationError("timeout", f"seconds above 0, not {self.timeout!r}")


@attrs.frozen
class _Job:
    hook: str
    command: Command
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


class HookRunner:
    """Runs hooks at the events of a bond; an async context manager, entered before the bond is opened.

    For one slave, and for the bond itself, commands run one after the other in the order of events; those of different
    slaves side by side. A slave that goes up and down again and again while a command of its runs gets the last
    change, and the ones between that undo each other are left out. A command that fails, hangs or is not there
    is reported by a `HookFailed` event and in the log ``eqlbond.hooks``, which also has what commands print, and what
    the programs print that they leave in the background, as long as the runner is at work.

    The arguments are interface, device, speed, local address and remote address, as pppd's ip-up has them; one that
    is not known is an empty string. The environment is that of this process, and:

    - ``EQLBOND_EVENT``: bond_up, bond_down, slave_up or slave_down
    - ``EQLBOND_INTERFACE``, ``EQLBOND_DEVICE``, ``EQLBOND_SPEED`` (bit/s), ``EQLBOND_LOCAL``, ``EQLBOND_REMOTE``: as
      the arguments. For the bond's hooks the device is empty and the speed that of all lines together.
    - ``EQLBOND_LOCAL6``, ``EQLBOND_REMOTE6``: IPv6 addresses
    - ``EQLBOND_DNS``: name servers that the peer told, separated by spaces
    - ``EQLBOND_SLAVE``: the slave's name
    - ``EQLBOND_SLAVES_UP``: how many slaves are up
    - ``EQLBOND_REASON``: why it went down

    Args:
        master: the bond.
        hooks: what is run.
        interface: name of the network interface, for the commands.
        local, remote, local6, remote6: addresses, for the commands; empty: those that PPP has agreed on.
        before_up: awaited before a command is run for what went up, so that what it builds on is there, such as
            the addresses of the interface.
        environment: more variables for the commands.

    Raises:
        ConfigurationError: a value cannot work; `field` names it.
    """

    def __init__(
        self,
        master: Master,
        hooks: Hooks,
        *,
        interface: str = "",
        local: str = "",
        remote: str = "",
        local6: str = "",
        remote6: str = "",
        before_up: Callable[[], Awaitable[object]] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        if not isinstance(master, Master):
            raise ConfigurationError("master", f"a Master, not {master!r}")
        if not isinstance(hooks, Hooks):
            raise ConfigurationError("hooks", f"Hooks(...), not {hooks!r}")
        for name, value in (environment or {}).items():
            if not name or "=" in name or "\0" in name + value:
                raise ConfigurationError("environment", f"names and values of variables, not {name!r}: {value!r}")
        self.master = master
        self.hooks = hooks
        self.interface = interface
        self.local = local
        self.remote = remote
        self.local6 = local6
        self.remote6 = remote6
        self._before_up = before_up
        self._environment = dict(environment or {})
        self._up: dict[Slave | None, Addresses] = {}  # what is up by the events; None: the bond
        self._waiting: dict[Slave | None, deque[_Job]] = {}
        self._workers: dict[Slave | None, asyncio.Task[None]] = {}
        self._left_open: dict[_Output, None] = {}  # of commands that have ended; in order
        self._listener: asyncio.Task[None] | None = None
        self._stream: EventStream | None = None

    async def __aenter__(self) -> Self:
        if self._listener is not None:
            raise RuntimeError("these hooks are at work already")
        self._stream = self.master.events()
        self._listener = asyncio.ensure_future(self._listen(self._stream))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what events have asked for until now; each command within its time."""
        assert self._stream is not None
        assert self._listener is not None
        listener, self._listener = self._listener, None
        self._stream.close()
        try:
            await listener
            while self._workers:
                await asyncio.gather(*self._workers.values(), return_exceptions=True)
        except BaseException:  # cancelled: commands are ended with their workers
            listener.cancel()
            for worker in self._workers.values():
                worker.cancel()
            await asyncio.gather(listener, *self._workers.values(), return_exceptions=True)
            raise
        finally:
            outputs = list(self._left_open)
            for output in outputs:
                output.close()
            await asyncio.gather(*(output.ended for output in outputs))

    async def _listen(self, stream: EventStream) -> None:
        async for event in stream:
            match event:
                case BondUp():
                    self._want("bond_up", None, "")
                case BondDown(reason=reason):
                    self._want("bond_down", None, reason)
                case SlaveUp(slave=slave):
                    self._want("slave_up", slave, "")
                case SlaveDown(slave=slave, reason=reason):
                    self._want("slave_down", slave, reason)

    def _want(self, hook: str, slave: Slave | None, reason: str) -> None:
        if hook.endswith("_up"):
            addresses = self._up[slave] = self._addresses_of(slave)
        elif slave in self._up:
            # At its end PPP has no addresses any more; those it had are told, as pppd does.
            addresses = self._up.pop(slave)
        else:  # it could not be opened, and was never up
            return
        command: Command | None = getattr(self.hooks, hook)
        up_hook, down_hook = ("bond_up", "bond_down") if slave is None else ("slave_up", "slave_down")
        if getattr(self.hooks, up_hook) is None and getattr(self.hooks, down_hook) is None:
            return
        waiting = self._waiting.setdefault(slave, deque())
        arguments, environment = self._words(hook, slave, reason, addresses)
        waiting.append(_Job(hook, () if command is None else command, arguments, environment))
        if len(waiting) > _MOST_WAITING:  # the oldest two are a change and its undoing
            waiting.popleft()
            waiting.popleft()
        if slave not in self._workers:
            self._workers[slave] = asyncio.ensure_future(self._work(slave, waiting))

    def _addresses_of(self, slave: Slave | None) -> Addresses:
        network = None if slave is None else getattr(slave.member.link, "network", None)
        addresses: Addresses = self.master.addresses if network is None else network.addresses
        return addresses

    def _words(
        self, hook: str, slave: Slave | None, reason: str, addresses: Addresses
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        if slave is None:
            device, rate = "", self.master.stats().rate
        else:
            device, rate = str(getattr(slave, "device", slave.name)), slave.rate or 0.0
        local = self.local or _text(addresses.local)
        remote = self.remote or _text(addresses.peer)
        arguments = (self.interface, device, str(round(rate)) if rate else "", local, remote)
        names = ("INTERFACE", "DEVICE", "SPEED", "LOCAL", "REMOTE")
        words = {
            "EVENT": hook,
            **dict(zip(names, arguments, strict=True)),
            "LOCAL6": self.local6 or _text(addresses.local6),
            "REMOTE6": self.remote6 or _text(addresses.peer6),
            "DNS": " ".join(map(str, addresses.dns)),
            "SLAVE": "" if slave is None else slave.name,
            "SLAVES_UP": str(sum(each.up for each in self.master.slaves)),
            "REASON": reason,
        }
        return (
            tuple(_clean(word) for word in arguments),
            {f"EQLBOND_{name}": _clean(value) for name, value in words.items()},
        )

    async def _work(self, slave: Slave | None, waiting: deque[_Job]) -> None:
        try:
            while waiting:
                job = waiting.popleft()
                if not job.command:
                    continue
                if self._before_up is not None and job.hook.endswith("_up"):
                    await self._settle(self._before_up)
                problem = await self._run(job)
                if problem is not None:
                    _log.error("%s: %s: %s", job.hook, _shown(job.command), problem)
                    now = asyncio.get_running_loop().time()
                    self.master.tell(HookFailed(now, job.hook, _shown(job.command), problem))
        finally:
            del self._workers[slave]
            del self._waiting[slave]

    async def _settle(self, before_up: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(self.hooks.timeout):
                await before_up()
        except Exception as error:  # the command is run all the same: it may be what helps
            _log.warning("before the commands for what went up: %r", error)

    async def _run(self, job: _Job) -> str | None:
        """Run it; returns what went wrong, or None."""
        environment = {**os.environ, **self._environment, **job.environment}
        if isinstance(job.command, str):
            # $0 is there for the shell's own messages.
            words = ("/bin/sh", "-c", job.command, "eqlbond", *job.arguments)
        else:
            words = (*job.command, *job.arguments)
        output = _Output(job.hook)
        try:
            process = await self._start(words, environment, output)
        except (OSError, ValueError) as error:
            return f"cannot be run: {getattr(error, 'strerror', None) or error}"
        try:
            problem = await self._wait(process)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(output.ended), 0.1)
        except BaseException:
            output.close()
            raise
        self._leave(output)
        return None if problem is None else problem + output.last()

    @staticmethod
    async def _start(
        words: tuple[str, ...], environment: dict[str, str], output: _Output
    ) -> asyncio.subprocess.Process:
        # A pipe of our own: a child that the command leaves behind may hold it open, and is not waited for.
        ours, theirs = os.pipe()
        source = os.fdopen(ours, "rb", 0)
        try:
            await asyncio.get_running_loop().connect_read_pipe(lambda: output, source)
            return await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                env=environment,
                start_new_session=True,
            )
        except BaseException:
            output.close()
            source.close()
            raise
        finally:
            os.close(theirs)

    def _leave(self, output: _Output) -> None:
        """Read on what the programs print that an ended command has left behind: without a reader they would die."""
        if output.ended.done():
            return
        output.left = True
        self._left_open[output] = None
        output.ended.add_done_callback(lambda _: self._left_open.pop(output, None))
        if len(self._left_open) > _MOST_LEFT_OPEN:
            oldest = next(iter(self._left_open))
            del self._left_open[oldest]
            oldest.close()

    async def _wait(self, process: asyncio.subprocess.Process) -> str | None:
        """Wait for the command's end, or end it; returns what went wrong, or None."""
        try:
            async with asyncio.timeout(self.hooks.timeout):
                code = await process.wait()
        except TimeoutError:
            await self._end(process)
            return f"took longer than {self.hooks.timeout:g} s, and was ended"
        except BaseException:
            _kill(process, signal.SIGKILL)
            await process.wait()
            raise
        if code == 0:
            return None
        return f"was ended by signal {-code}" if code < 0 else f"failed with status {code}"

    @staticmethod
    async def _end(process: asyncio.subprocess.Process) -> None:
        _kill(process, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _MERCY)
        _kill(process, signal.SIGKILL)  # and what it has started
        await process.wait()


class _Output(asyncio.Protocol):
    """What a command prints: lines for the log, and the last one for the report."""

    def __init__(self, hook: str) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.left = False
        """Whether the command has ended, and others have its output."""
        self._hook = hook
        self._pipe: asyncio.BaseTransport | None = None
        self._line = b""
        self._last = b""
        self._lines = 0
        self._afterwards = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._pipe = transport

    def close(self) -> None:
        """Read no more; `ended` tells when the pipe is closed."""
        if self._pipe is not None:
            self._pipe.close()

    def data_received(self, data: bytes) -> None:
        if self.left:
            self._afterwards += len(data)
            if self._afterwards > _MOST_AFTERWARDS:
                _log.warning("%s: what it has left in the background prints too much: not read any more", self._hook)
                self.close()
        *lines, rest = (self._line + data).split(b"\n")
        for line in lines:
            self._take(line)
        if len(rest) > _LONGEST_LINE:
            self._take(rest)
            rest = b""
        self._line = rest

    def connection_lost(self, exc: BaseException | None) -> None:
        self._take(self._line)
        self._line = b""
        if self._lines > _MOST_LINES:
            _log.info("%s: and %d lines more", self._hook, self._lines - _MOST_LINES)
        if not self.ended.done():
            self.ended.set_result(None)

    def _take(self, line: bytes) -> None:
        if line.strip():
            self._last = line[:_LONGEST_LINE]
            self._lines += 1
            if self._lines <= _MOST_LINES:
                _log.info("%s: %s", self._hook, self._last.decode("utf-8", "replace"))

    def last(self) -> str:
        line = (self._line or self._last)[:200].decode("utf-8", "replace").strip()
        return f": {line}" if line else ""


def _text(address: object) -> str:
    return "" if address is None else str(address)


def _clean(word: str) -> str:
    """A word that an argument or a variable can hold: a peer may have had its part in a reason."""
    return word.replace("\0", "")


def _shown(command: Command) -> str:
    return command if isinstance(command, str) else " ".join(command)


def _kill(process: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
