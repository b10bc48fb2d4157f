"""A whole configuration: one TOML file, read and checked at once."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import attrs

from eqlbond.aio.master import Master
from eqlbond.config import checks
from eqlbond.config.errors import ConfigError, ConfigurationErrors
from eqlbond.config.lines import endpoint, ppp_options, read_slave
from eqlbond.config.model import (
    BondConfig,
    ControlConfig,
    LogConfig,
    QueueConfig,
    SlaveConfig,
    TunConfig,
)
from eqlbond.config.parts import SCHEDULER, Part, read_part
from eqlbond.config.positions import key_lines
from eqlbond.config.section import Document, Section
from eqlbond.core.fq_codel import FqCoDel
from eqlbond.core.multilink import Multilink
from eqlbond.exceptions import ConfigurationError
from eqlbond.hooks import Hooks
from eqlbond.ppp.config import Ppp
from eqlbond.tun import Route
from eqlbond.tun.settings import IPV6_LEAST_MTU

_AT_LINE = re.compile(r"\(at line (\d+)")


@attrs.frozen(kw_only=True)
class Config:
    """What a file says. Secrets never show in a `repr`."""

    bond: BondConfig = attrs.field(factory=BondConfig)
    slaves: tuple[SlaveConfig, ...] = ()
    tun: TunConfig | None = None
    hooks: Hooks = attrs.field(factory=Hooks)
    control: ControlConfig | None = attrs.field(factory=ControlConfig)
    """None: no control socket."""
    log: LogConfig = attrs.field(factory=LogConfig)
    ppp: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    """Options of PPP that lines with ``framing = "ppp"`` share."""

    @classmethod
    def load(cls, path: str | os.PathLike[str], environment: Mapping[str, str] | None = None) -> Self:
        """Read a file.

        Args:
            path: the file; names of files in it are relative to its directory.
            environment: where ``{env = "NAME"}`` is looked up; None: the process's environment.

        Raises:
            ConfigurationErrors: everything that is wrong with it.
        """
        name = os.fspath(path)
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise ConfigurationErrors(name, [ConfigError("", f"cannot be read: {error.strerror}")]) from None
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ConfigurationErrors(name, [ConfigError("", "is no UTF-8 text here", line)]) from None
        return cls.parse(text, name=name, directory=Path(path).parent, environment=environment)

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        name: str = "<text>",
        directory: str | os.PathLike[str] = ".",
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Read a text, as `load` reads a file; `name` is what errors call it. Raises `ConfigurationErrors`."""
        try:
            # TOML's line ends; a position counts line feeds alone.
            data = tomllib.loads(text)
            lines = key_lines(text.replace("\r\n", "\n"))
        except tomllib.TOMLDecodeError as error:
            at = _AT_LINE.search(str(error))
            last = text.rstrip().count("\n") + 1
            problem = f"is no TOML: {str(error).replace(at.group() + ', column', '(column') if at else error}"
            raise ConfigurationErrors(name, [ConfigError("", problem, int(at[1]) if at else last)]) from None
        except RecursionError:
            raise ConfigurationErrors(name, [ConfigError("", "is nested too deeply")]) from None
        document = Document(lines, Path(directory), os.environ if environment is None else environment)
        config = cls._read(Section(document, data, ()))
        if document.errors:
            raise ConfigurationErrors(name, document.errors)
        return config

    @classmethod
    def _read(cls, root: Section) -> Self:
        shared_table = root.table("ppp")
        shared = None if shared_table is None else ppp_options(shared_table)
        read = [(section, read_slave(section, shared)) for section in root.tables("slave")]
        slaves = tuple(slave for _, slave in read if slave is not None)
        bond = _read_bond(root.table("bond"))
        tun_table = root.table("tun")
        control_table = root.table("control")
        config = cls(
            bond=bond,
            slaves=slaves,
            tun=None if tun_table is None else _read_tun(tun_table, bond),
            hooks=_read_hooks(root.table("hooks")),
            control=_read_control(control_table),
            log=_read_log(root.table("log")),
            ppp=shared or {},
        )
        root.finish()
        _check_together(root, config, read)
        return config

    def make_slaves(self) -> list[Any]:
        """The slaves of the file, new."""
        return [slave.make() for slave in self.slaves]


def read_slave_table(table: Mapping[str, Any], ppp: Mapping[str, Any] | None = None) -> SlaveConfig:
    """One line by itself, from what its ``[[slave]]`` would have.

    Args:
        table: keys and values.
        ppp: shared options of PPP.

    Raises:
        ConfigurationErrors: everything that is wrong with it.
    """
    document = Document({}, Path(), os.environ)
    config = read_slave(Section(document, table, ()), ppp)
    if config is None:
        raise ConfigurationErrors("slave", document.errors)
    return config


def _read_bond(section: Section | None) -> BondConfig:
    if section is None:
        return BondConfig()
    options: dict[str, Any] = section.given(
        mtu=checks.integer(68, 65535, "bytes"),
        min_slaves=checks.integer(1),
        max_slaves=checks.integer(1),
        close_timeout=checks.seconds(),
    )
    scheduler = read_part(section, "scheduler", SCHEDULER, "earliest")
    options["scheduler"] = scheduler or Part(SCHEDULER, "earliest")
    multilink = section.raw("multilink")
    if isinstance(multilink, bool):
        options["multilink"] = Multilink(mrru=max(1500, options.get("mtu", 1500))) if multilink else None
    elif multilink is not None and not isinstance(multilink, dict):
        section.wrong("multilink", f"true, false, or a table of its options, not {checks.shown(multilink)}")
    else:
        inner = section.table("multilink")
        if inner is not None:
            given = inner.given(
                mrru=checks.integer(1500, 65535, "bytes"),
                short=checks.boolean,
                endpoint=endpoint,
                fragment=checks.boolean,
                margin=checks.seconds(),
            )
            given.setdefault("mrru", max(1500, options.get("mtu", 1500)))
            inner.finish()
            if given["mrru"] < options.get("mtu", 1500):
                inner.wrong("mrru", f"bytes from the bond's MTU ({options.get('mtu', 1500)}) on, not {given['mrru']}")
            if not inner.failed:
                options["multilink"] = inner.make(Multilink, **given)
    queue = section.table("queue")
    if queue is not None:
        options["queue"] = _read_queue(queue, options.get("mtu", 1500))
    least, most = options.get("min_slaves", 1), options.get("max_slaves")
    if most is not None and least > most:
        section.wrong("min_slaves", f"at most max_slaves ({most}), not {least}")
    section.finish()
    return BondConfig(**options)


def _read_queue(section: Section, mtu: int) -> QueueConfig:
    limits = section.given(bytes=checks.integer(1, what="bytes"), time=checks.seconds(above=True))
    options: dict[str, Any] = {f"queue_{key}": value for key, value in limits.items()}
    fair = section.take("fair", checks.boolean, True)
    codel = section.given(
        target=checks.seconds(above=True),
        interval=checks.seconds(above=True),
        ecn=checks.boolean,
        limit=checks.integer(2 * (mtu + 512), what="bytes"),
        quantum=checks.integer(1, what="bytes"),
    )
    section.finish()
    if not fair:
        for key in codel:
            section.wrong(key, "an option of the fair queue, and fair is false")
        options["fair"] = None
    else:
        options["fair"] = section.make(FqCoDel, **codel)
    return QueueConfig(**options)


def _read_tun(section: Section, bond: BondConfig) -> TunConfig:
    options: dict[str, Any] = section.given(
        name=checks.text("the name of an interface"),
        mtu=checks.integer(68, 65535, "bytes"),
        mss_clamp=checks.boolean,
        ecn=checks.boolean,
        namespace=checks.text("a network namespace, its name or a path"),
    )
    options["addresses"] = section.items("addresses", checks.interface, or_one=True)
    options["peer"] = section.items("peer", checks.address, or_one=True)
    routes = [*section.items("routes", _route, or_one=True)]
    if section.take("default_route", checks.boolean, False):
        routes.append(Route("default"))
        if any(":" in address for address in options["addresses"]):
            routes.append(Route("::/0"))
    options["routes"] = tuple(routes)
    section.finish()
    mtu = options.get("mtu", bond.mtu)
    if mtu > bond.mtu:
        section.wrong("mtu", f"at most the bond's MTU ({bond.mtu}), not {mtu}")
    far = [*options["addresses"], *(route.destination for route in routes)]
    if mtu < IPV6_LEAST_MTU and any(":" in text for text in far):
        section.wrong("mtu" if "mtu" in section else None, f"IPv6 needs {IPV6_LEAST_MTU} bytes; this is {mtu}")
    config = TunConfig(**options)
    if not section.failed:
        section.make(config.make)
    return config


def _route(value: Any) -> Route:
    """A destination, or a table of destination and metric."""
    options = {"destination": value} if isinstance(value, str) else value
    if not isinstance(options, dict) or not {"destination"} <= set(options) <= {"destination", "metric"}:
        raise checks.Wrong(f'a network, or {{ destination = "10.0.0.0/8", metric = 100 }}, not {checks.shown(value)}')
    try:
        return Route(**options)
    except ConfigurationError as error:
        raise checks.Wrong(str(error).removeprefix(f"{error.field}: ")) from None


_HOOKS = {"up": "bond_up", "down": "bond_down", "slave_up": "slave_up", "slave_down": "slave_down"}


def _read_hooks(section: Section | None) -> Hooks:
    if section is None:
        return Hooks()
    options: dict[str, Any] = section.given(timeout=checks.seconds(above=True))
    for key, name in _HOOKS.items():
        value = section.raw(key)
        if isinstance(value, list):
            words = section.items(key, checks.text("a word of the command"))
            if not value:
                section.wrong(key, "a command, not an empty array")
            options[name] = words or None
        elif value is not None:
            options[name] = section.take(key, checks.text("a command"))
    section.finish()
    return Hooks() if section.failed else section.make(Hooks, **options) or Hooks()


def _read_control(section: Section | None) -> ControlConfig | None:
    if section is None:
        return ControlConfig()
    enabled = section.take("enabled", checks.boolean, True)
    socket = section.take("socket", checks.text("the path of the socket"))
    section.finish()
    if socket is not None:
        socket = str(section.document.file(socket))
        if len(os.fsencode(socket)) > 107:
            section.wrong("socket", "at most 107 bytes: paths of UNIX sockets are no longer")
    return ControlConfig(socket=socket) if enabled else None


def _read_log(section: Section | None) -> LogConfig:
    if section is None:
        return LogConfig()
    options = section.given(
        level=checks.one_of("debug", "info", "warning", "error"), file=checks.text("the path of a file")
    )
    section.finish()
    if "file" in options:
        options["file"] = str(section.document.file(options["file"]))
    return LogConfig(**options)


def _check_together(root: Section, config: Config, read: list[tuple[Section, SlaveConfig | None]]) -> None:
    """What no table can know by itself."""
    seen: dict[str, dict[str, Section]] = {"name": {}, "device": {}, "url": {}}
    for section, slave in read:
        if slave is None:
            continue
        for key, others in seen.items():
            value = getattr(slave, key)
            if value is None:
                continue
            if value in others and (key != "name" or "name" in section):
                section.wrong(key, f"{checks.shown(value)} is the {key} of another slave, too")
            others[value] = section
        if slave.settings.get("mtu", config.bond.mtu) < config.bond.mtu:
            section.wrong("mtu", f"bytes from the bond's MTU ({config.bond.mtu}) on, not {slave.settings['mtu']}")
        if config.bond.multilink is not None and not isinstance(slave.framing, Ppp):
            section.wrong("framing", 'Multilink needs framing = "ppp" on every line')
    most = config.bond.max_slaves
    if most is not None and len(read) > most:
        root.document.wrong(
            ("bond", "max_slaves"), f"there are {len(read)} slaves in this file; at most {most} are let in"
        )
    if not root.document.errors:
        # The library's own rules about what goes together.
        bond = Section(root.document, root.raw("bond") or {}, ("bond",))
        bond.make(_try, config)


def _try(config: Config) -> None:
    """Make the bond, and throw it away. Raises `ConfigurationError`."""
    master = Master(
        config.make_slaves(),
        scheduler=config.bond.scheduler.make(),
        mtu=config.bond.mtu,
        queue_bytes=config.bond.queue.queue_bytes,
        queue_time=config.bond.queue.queue_time,
        queue=config.bond.queue.fair,
        multilink=config.bond.multilink,
        close_timeout=config.bond.close_timeout,
        min_slaves=config.bond.min_slaves,
        max_slaves=config.bond.max_slaves,
    )
    for slave in master._first:
        master._bundle.add(slave.member, 0.0)
