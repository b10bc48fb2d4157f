"""What can be asked of a bond. `Commands` does it on a `Master`; `eqlbond run` adds what it knows."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

import attrs

import eqlbond
from eqlbond.aio.master import Master
from eqlbond.aio.slave import Slave
from eqlbond.config.load import read_slave_table
from eqlbond.control.errors import RequestRefused
from eqlbond.core.fq_codel import FqCoDel
from eqlbond.core.half_duplex import HalfDuplexMember
from eqlbond.exceptions import ConfigurationError, NotEnslaved

Arguments = Mapping[str, Any]
_MOST_SECONDS = 3600.0


class Commands:
    """The requests that a control socket takes; each ``do_NAME`` method is one.

    A subclass adds others. A method takes the request's arguments, and returns what JSON can have.

    Args:
        master: the bond.
        shared_ppp: options of PPP for lines that are enslaved with ``framing = "ppp"``.
    """

    def __init__(self, master: Master, shared_ppp: Mapping[str, Any] | None = None) -> None:
        self.master = master
        self._shared_ppp = shared_ppp

    @property
    def shared_ppp(self) -> Mapping[str, Any] | None:
        """Options of PPP for a line that is enslaved now."""
        return self._shared_ppp

    @property
    def names(self) -> list[str]:
        """What can be asked for."""
        return sorted(name.removeprefix("do_") for name in dir(self) if name.startswith("do_"))

    async def run(self, do: str, arguments: Arguments) -> Any:
        """Carry out a request. Raises what goes wrong."""
        method: Callable[[Arguments], Awaitable[Any]] | None = getattr(self, f"do_{do}", None)
        if method is None:
            raise RequestRefused(
                "UnknownRequest", f"{do!r} is unknown; there are: {', '.join([*self.names, 'events'])}"
            )
        return await method(arguments)

    def slave(self, name: object) -> Slave:
        """The slave of a name, a device or a URL.

        Raises:
            NotEnslaved: there is none.
        """
        slaves = self.master.slaves
        for slave in slaves:
            if slave.name == name:
                return slave
        matches = [slave for slave in slaves if name in (getattr(slave, "device", None), getattr(slave, "url", None))]
        if len(matches) == 1:
            return matches[0]
        names = [slave.name for slave in slaves]
        close = get_close_matches(str(name), names, n=1)
        near = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names) or 'none'}"
        raise NotEnslaved(f"no slave {name!r}; {near}")

    # -- the requests

    async def do_ping(self, arguments: Arguments) -> Any:
        """Whether the bond answers."""
        _only(arguments)
        return {"version": eqlbond.__version__, "pid": os.getpid()}

    async def do_status(self, arguments: Arguments) -> Any:
        """The statistics of the bond and its lines."""
        _only(arguments)
        return self.status()

    def status(self) -> dict[str, Any]:
        """What `status` answers."""
        master, stats = self.master, self.master.stats()
        return {
            "up": master.up,
            "mtu": master.mtu,
            "rate": stats.rate,
            "min_slaves": master.min_slaves,
            "max_slaves": master.max_slaves,
            "addresses": {key: value for key, value in _addresses(master).items() if value},
            "bond": stats,
        }

    async def do_show(self, arguments: Arguments) -> Any:
        """The configuration of the master, or of one slave."""
        _only(arguments, "slave")
        if arguments.get("slave") is not None:
            return self.show_slave(self.slave(arguments["slave"]))
        return self.show_master()

    def show_master(self) -> dict[str, Any]:
        """The master's configuration."""
        master = self.master
        return {
            "scheduler": repr(master.scheduler),
            "mtu": master.mtu,
            "min_slaves": master.min_slaves,
            "max_slaves": master.max_slaves,
            "close_timeout": master.close_timeout,
            "multilink": _multilink(master),
            "queue": _queue(master),
            "slaves": [slave.name for slave in master.slaves],
        }

    def show_slave(self, slave: Slave) -> dict[str, Any]:
        """A slave's configuration."""
        member = slave.member
        line = member.line
        turns = member.half_duplex if isinstance(member, HalfDuplexMember) else None
        return {
            "name": slave.name,
            "device": getattr(slave, "device", None),
            "url": getattr(slave, "url", None),
            "baudrate": getattr(slave, "baudrate", None),
            "rate": slave.rate,
            "bits_per_byte": line.bits_per_byte,
            "priority": slave.priority,
            "latency": line.latency,
            "mtu": self.master.mtu if member.mtu_limit is None else member.mtu_limit,
            "half_duplex": None if turns is None else attrs.asdict(turns),
            "framing": repr(member.framing),
            "up": slave.up,
        }

    async def do_enslave(self, arguments: Arguments) -> Any:
        """Add a line; `slave` is what a ``[[slave]]`` of the file has."""
        _only(arguments, "slave")
        table = arguments.get("slave")
        if not isinstance(table, Mapping):
            raise ConfigurationError("slave", 'an object of what a [[slave]] has, such as {"device": "/dev/ttyS0"}')
        config = read_slave_table(table, self.shared_ppp)
        if any(slave.name == config.name for slave in self.master.slaves):
            raise ConfigurationError("name", f"there is a slave {config.name!r} already")
        return self.show_slave(await self.enslave(config.make(), config))

    async def enslave(self, slave: Slave, config: Any) -> Slave:
        """Add the slave to the bond; `config` is its `SlaveConfig`."""
        return await self.master.enslave(slave)

    async def do_emancipate(self, arguments: Arguments) -> Any:
        """Take a line out."""
        _only(arguments, "slave", "timeout")
        timeout = _number(arguments, "timeout", 2.0, 0.0)
        slave = self.slave(arguments.get("slave"))
        await self.emancipate(slave, min(timeout, _MOST_SECONDS))
        return {"name": slave.name}

    async def emancipate(self, slave: Slave, timeout: float) -> None:
        """Take the slave out of the bond."""
        await self.master.emancipate(slave, timeout)

    async def do_set(self, arguments: Arguments) -> Any:
        """Change a slave's rate, priority or latency; or, without a slave, the master's limits."""
        master = self.master
        if arguments.get("slave") is None:
            _only(arguments, "slave", "min_slaves", "max_slaves")
            if not {"min_slaves", "max_slaves"} & set(arguments):
                raise ConfigurationError("set", "min_slaves or max_slaves, or, with slave, rate, priority or latency")
            self._set_limits(arguments)
            return self.show_master()
        _only(arguments, "slave", "rate", "priority", "latency")
        slave = self.slave(arguments["slave"])
        if not {"rate", "priority", "latency"} & set(arguments):
            raise ConfigurationError("set", "rate, priority or latency")
        wanted = {
            key: None if arguments[key] is None and key != "latency" else _number(arguments, key, 0.0, 0.0)
            for key in ("rate", "priority", "latency")
            if key in arguments
        }
        if "rate" in wanted:
            master.set_rate(slave, wanted["rate"])
        if "priority" in wanted:
            master.set_priority(slave, wanted["priority"])
        if "latency" in wanted:
            master.set_latency(slave, wanted["latency"] or 0.0)
        return self.show_slave(slave)

    def _set_limits(self, arguments: Arguments) -> None:
        least = _count(arguments, "min_slaves", self.master.min_slaves)
        most = (
            None if arguments.get("max_slaves", 0) is None else _count(arguments, "max_slaves", self.master.max_slaves)
        )
        if least is not None and most is not None and least > most:
            raise ConfigurationError("min_slaves", f"at most max_slaves ({most}), not {least}")
        # Whichever order keeps min_slaves below max_slaves all the time.
        self.master.set_max_slaves(None)
        self.master.set_min_slaves(1 if least is None else least)
        self.master.set_max_slaves(most)

    async def do_reload(self, arguments: Arguments) -> Any:
        """Read the configuration file again."""
        _only(arguments)
        raise RequestRefused("NotSupported", "this bond has no configuration file to read again")


def _only(arguments: Arguments, *known: str) -> None:
    for key in arguments:
        if key not in known:
            there = f"there are: {', '.join(known)}" if known else "there are none"
            raise ConfigurationError(key, f"no such argument; {there}")


def _wrong(key: str, what: str, value: object) -> NoReturn:
    raise ConfigurationError(key, f"{what}, not {value!r}"[:200])


def _number(arguments: Arguments, key: str, default: float, least: float) -> float:
    value = arguments.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < float("inf"):
        _wrong(key, f"a number from {least:g} on", value)
    return float(value)


def _count(arguments: Arguments, key: str, default: int | None) -> int | None:
    if key not in arguments:
        return default
    value = arguments[key]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        _wrong(key, "a whole number from 1 on", value)
    return value


# With the keys of the file.


def _multilink(master: Master) -> dict[str, Any] | None:
    multilink = master.multilink
    if multilink is None:
        return None
    endpoint = multilink.endpoint
    return {**attrs.asdict(multilink, recurse=False), "endpoint": None if endpoint is None else str(endpoint)}


def _queue(master: Master) -> dict[str, Any]:
    most, seconds = master.queue_limits
    values: dict[str, Any] = {"bytes": most, "time": seconds}
    queue = master.queue
    if isinstance(queue, FqCoDel):
        return {**values, "fair": True, **attrs.asdict(queue)}
    if queue is not None:  # somebody's own
        values["discipline"] = type(queue).__name__
    return {**values, "fair": False}


def _addresses(master: Master) -> dict[str, Any]:
    addresses = master.addresses
    return {
        "local": addresses.local,
        "peer": addresses.peer,
        "dns": list(addresses.dns),
        "local6": addresses.local6,
        "peer6": addresses.peer6,
    }
