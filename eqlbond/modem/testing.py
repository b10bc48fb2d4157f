"""Modems without hardware: an exchange and modems on it that obey AT commands, for tests and for trying things out.

::

    exchange = Exchange({"555-0001": "BUSY"})
    async with FakeModem(exchange, "100") as one, FakeModem(exchange, "200") as two:
        caller = SerialSlave(one.path, modem=Modem(dial="200"))
        answerer = SerialSlave(two.path, modem=AnsweringModem())

A `FakeModem` is reached by a pty (`FakeModem.path`, inside ``async with``) or in memory (`FakeModem.connect`, for
`eqlbond.Slave` and for tests on a virtual clock). It knows E, V, Q, Z, S0, S12, D, A, H and O, answers OK to other
settings, and has a guarded escape. Bytes between two joined modems pass at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, Self

from eqlbond.modem._host import FakeHost
from eqlbond.modem._memory import MemoryTransport

if os.name == "posix":
    import pty
    import tty

__all__ = ["Exchange", "FakeHost", "FakeModem", "Party"]

_NUMERIC = {"OK": "0", "CONNECT": "1", "RING": "2", "NO CARRIER": "3", "ERROR": "4", "NO DIALTONE": "6", "BUSY": "7"}
_COMMAND = re.compile(r"S\d+=\d*|S\d+\?|[&%\\#*-][A-Z]\d*|\+[A-Z]+[^;]*;?|[A-Z]\d*")


class Party(Protocol):
    """The far end of a call, as a modem sees it."""

    def receive(self, data: bytes) -> None:
        """Bytes from the caller."""
        ...

    def hung_up(self) -> None:
        """The caller has gone."""
        ...


class Exchange:
    """A telephone exchange: who has which number.

    Args:
        results: numbers that give a result, such as ``BUSY``, or None: nothing at all.
        hosts: numbers that are answered by a computer: functions that are given the caller's modem and return the
            far end, such as `FakeHost`.
        report: what modems say when a call is connected, lines before CONNECT included.
        ring: seconds between rings.
        delay: seconds from dialling to a result.
    """

    def __init__(
        self,
        results: Mapping[str, str | None] | None = None,
        hosts: Mapping[str, Callable[[FakeModem], Party]] | None = None,
        *,
        report: Iterable[str] = ("CONNECT 33600/ARQ",),
        ring: float = 0.2,
        delay: float = 0.02,
    ) -> None:
        self.results = dict(results or {})
        self.hosts = dict(hosts or {})
        self.report = tuple(report)
        self.ring = ring
        self.delay = delay
        self.modems: dict[str, FakeModem] = {}
        self.calls: list[tuple[str, str]] = []
        """Who called which number."""


class FakeModem:
    """A modem that obeys AT commands.

    Args:
        exchange: what it is plugged into.
        number: its own number.
        guard_time: seconds of silence around ``+++``.
        answer_delay: seconds from a command to its result.
        silent: answer nothing at all.
        refuse: commands, such as ``&C1``, that give ERROR.
        garbage: sent before each result: line noise.
        dtr: whether the port in memory has a DTR line (a pty never has).
    """

    def __init__(
        self,
        exchange: Exchange,
        number: str,
        *,
        guard_time: float = 1.0,
        answer_delay: float = 0.005,
        silent: bool = False,
        refuse: Iterable[str] = (),
        garbage: bytes = b"",
        dtr: bool = False,
    ) -> None:
        self.exchange = exchange
        self.number = number
        self.guard_time = guard_time
        self.answer_delay = answer_delay
        self.silent = silent
        self.refuse = frozenset(refuse)
        self.garbage = garbage
        self.has_dtr = dtr
        self.commands: list[str] = []
        """Command lines that were given."""
        self.state = "command"
        """``command``, ``dialling``, ``ringing``, ``online``, or ``escaped``: online, taking commands."""
        self._reset()
        self._line = bytearray()
        self._party: Party | None = None
        self._caller: FakeModem | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._plus = 0
        self._last_data = float("-inf")
        self._escape: asyncio.TimerHandle | None = None
        self._bell: asyncio.TimerHandle | None = None
        self._port: MemoryTransport | None = None
        self._fd: int | None = None
        self._slave_fd: int | None = None
        self._out = bytearray()
        self.path = ""
        """The pty's path, inside ``async with``."""
        exchange.modems[number] = self

    def _reset(self) -> None:
        self.echo, self.words, self.quiet = True, True, False
        self.rings_to_answer = 0

    def __repr__(self) -> str:
        return f"<FakeModem {self.number} {self.state}>"

    # -- towards the computer

    async def __aenter__(self) -> Self:
        self.plug()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.unplug()
        self._stop()

    def plug(self) -> None:
        """Give it a pty."""
        self._fd, self._slave_fd = pty.openpty()
        tty.setraw(self._slave_fd)
        os.set_blocking(self._fd, False)
        self.path = os.ttyname(self._slave_fd)
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def unplug(self) -> None:
        """Take the pty away, as a USB modem that is pulled out."""
        if self._fd is None or self._slave_fd is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._fd)
        loop.remove_writer(self._fd)
        os.close(self._fd)
        os.close(self._slave_fd)
        self._fd = self._slave_fd = None
        self._end_call()

    def _readable(self) -> None:
        assert self._fd is not None
        with contextlib.suppress(BlockingIOError, OSError):
            self.receive(os.read(self._fd, 65536))

    def _writable(self) -> None:
        assert self._fd is not None
        with contextlib.suppress(BlockingIOError, OSError):
            del self._out[: os.write(self._fd, self._out)]
        if not self._out:
            asyncio.get_running_loop().remove_writer(self._fd)

    async def connect(
        self, protocol_factory: Callable[[], asyncio.Protocol]
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """A connect function for a slave: the modem's port, in memory."""
        protocol = protocol_factory()
        self._port = MemoryTransport(self, protocol)
        asyncio.get_running_loop().call_soon(protocol.connection_made, self._port)
        return self._port, protocol

    def send(self, data: bytes) -> None:
        """Give bytes to the computer."""
        if self._port is not None:
            self._port.deliver(data)
        elif self._fd is not None and data:
            if not self._out:
                asyncio.get_running_loop().add_writer(self._fd, self._writable)
            self._out += data

    def dtr_changed(self, on: bool) -> None:
        """The computer has raised or dropped DTR: as with ``&D2``, dropping it ends a call."""
        if not on and self.state != "command":
            self._end_call()
            self._say("NO CARRIER")
            self.rings_to_answer = 0

    # -- commands

    def receive(self, data: bytes) -> None:
        """Bytes from the computer."""
        if self.silent:
            return
        if self.state == "online":
            self._online(data)
            return
        for at, byte in enumerate(data):
            if self.state == "dialling":  # any character ends an attempt
                self._end_call()
                self._say("NO CARRIER")
                return
            if self.echo:
                self.send(bytes((byte,)))
            if byte != 0x0D:
                if byte != 0x0A:
                    self._line.append(byte & 0x7F)
                continue
            line = self._line.decode("ascii", "replace").upper()
            self._line.clear()
            begin = line.find("AT")
            if begin >= 0:
                self.commands.append(line[begin:])
                self._obey(line[begin + 2 :].replace(" ", ""))
            if self.state == "online":
                self._online(data[at + 1 :])
                return

    def _obey(self, text: str) -> None:
        at = 0
        while at < len(text):
            if text[at] == "D":
                self._dial(text[at + 1 :].lstrip("TP"))
                return
            match = _COMMAND.match(text, at)
            if match is None:
                self._later("ERROR")
                return
            command = match.group()
            at = match.end()
            if command in self.refuse:
                self._later("ERROR")
                return
            name, value = command[0], command[1:] or "0"
            if name == "E":
                self.echo = value != "0"
            elif name == "V":
                self.words = value != "0"
            elif name == "Q":
                self.quiet = value == "1"
            elif name == "Z":
                self._end_call()
                self._reset()
            elif name == "H":
                self._end_call()
            elif name == "A":
                self._answer()
                return
            elif name == "O":
                if self.state == "escaped":
                    self.state = "online"
                    self._say("CONNECT")
                else:
                    self._later("NO CARRIER")
                return
            elif command.startswith("S0="):
                self.rings_to_answer = int(command[3:] or 0)
            elif command.startswith("S12="):
                self.guard_time = int(command[4:] or 0) / 50
        self._later("OK")

    def _later(self, result: str) -> None:
        self._after(self.answer_delay, lambda: self._say(result))

    def _say(self, result: str) -> None:
        if self.quiet:
            return
        if self.words:
            self.send(self.garbage + f"\r\n{result}\r\n".encode())
        else:
            self.send(
                f"{_NUMERIC.get(result.split(' ')[0] if result.startswith('CONNECT') else result, '4')}\r".encode()
            )

    def _after(self, seconds: float, what: Callable[[], object]) -> asyncio.TimerHandle:
        def run() -> None:
            self._timers.discard(handle)
            what()

        handle = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(handle)
        return handle

    def _stop(self) -> None:
        for handle in self._timers:
            handle.cancel()
        self._timers.clear()

    # -- calls

    def _dial(self, number: str) -> None:
        self.state = "dialling"
        self.exchange.calls.append((self.number, number))
        self._after(self.exchange.delay, lambda: self._dialled(number))

    def _dialled(self, number: str) -> None:
        if self.state != "dialling":
            return
        host = self.exchange.hosts.get(number)
        other = self.exchange.modems.get(number)
        if host is not None:
            self.connected(host(self))
        elif other is not None:
            if other.state == "command":
                other._ring(self, 1)
            else:
                self._fail("BUSY")
        else:
            result = self.exchange.results.get(number, "NO CARRIER")
            if result is not None:
                self._fail(result)

    def _fail(self, result: str) -> None:
        self.state = "command"
        self._say(result)

    def _ring(self, caller: FakeModem, count: int) -> None:
        if caller.state != "dialling" or (self.state != "command" and self._caller is not caller):
            if self.state == "ringing":
                self.state, self._caller = "command", None
            return
        if self.state not in ("command", "ringing"):
            return
        self.state, self._caller = "ringing", caller
        self._say("RING")
        if 0 < self.rings_to_answer <= count:
            self._answer()
        else:
            self._bell = self._after(self.exchange.ring, lambda: self._ring(caller, count + 1))

    def _answer(self) -> None:
        caller, self._caller = self._caller, None
        if self._bell is not None:
            self._bell.cancel()
        if caller is None or caller.state != "dialling":
            self.state = "command"
            self._later("NO CARRIER")
            return
        self.connected(caller)
        caller.connected(self)

    def connected(self, party: Party) -> None:
        """A call is there."""
        self._party = party
        self.state = "online"
        self._last_data = asyncio.get_running_loop().time()
        for line in self.exchange.report:
            self._say(line)
        begin = getattr(party, "connected_to", None)
        if begin is not None:
            begin(self)

    def far_end_sends(self, data: bytes) -> None:
        """Bytes from the far end."""
        if self.state == "online":
            self.send(data)

    def _online(self, data: bytes) -> None:
        now = asyncio.get_running_loop().time()
        if not data:
            return
        if self._escape is not None:
            self._escape.cancel()
            self._escape = None
        if data.strip(b"+") == b"" and (self._plus or now - self._last_data >= self.guard_time):
            self._plus += len(data)
            if self._plus == 3:
                self._escape = self._after(self.guard_time, self._escaped)
        else:
            self._plus = 0
        self._last_data = now
        party = self._party
        if isinstance(party, FakeModem):
            party.far_end_sends(data)
        elif party is not None:
            party.receive(data)

    def _escaped(self) -> None:
        self._escape = None
        self._plus = 0
        if self.state == "online":
            self.state = "escaped"
            self._line.clear()
            self._say("OK")

    def _end_call(self) -> None:
        party, self._party = self._party, None
        self.state, self._caller = "command", None
        self._plus = 0
        if party is not None:
            party.hung_up()

    def hung_up(self) -> None:
        """The far end has gone."""
        if self._party is not None:
            self._party = None
            self.state = "command"
            self._say("NO CARRIER")

    def drop_call(self) -> None:
        """Lose the carrier: both ends are told."""
        if self._party is not None:
            self._end_call()
            self._say("NO CARRIER")
