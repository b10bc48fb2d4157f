"""Schedulers and framings by name: those that come with eqlbond, and a user's own."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

import attrs

from eqlbond.codec.base import Framing
from eqlbond.codec.hdlc import Hdlc
from eqlbond.codec.kiss import Kiss
from eqlbond.codec.slip import Slip
from eqlbond.config import checks
from eqlbond.config.section import Section
from eqlbond.exceptions import ConfigurationError
from eqlbond.schedulers.base import Scheduler
from eqlbond.schedulers.catalogue import SCHEDULERS

_DOTTED = re.compile(r"[A-Za-z_][\w.]*[.:][A-Za-z_]\w*")


FRAMINGS: Mapping[str, Callable[..., Any]] = {"slip": Slip, "kiss": Kiss, "hdlc": Hdlc}
"""The framings that come with eqlbond, but for ``ppp``, which has options of its own."""


@attrs.frozen
class Kind:
    """What can be named in a file: a word for it, what comes with eqlbond, and where others are found."""

    word: str
    known: Mapping[str, Callable[..., Any]]
    group: str
    protocol: type
    needs: str
    further: tuple[str, ...] = ()


SCHEDULER = Kind("scheduler", SCHEDULERS, "eqlbond.schedulers", Scheduler, "has no method place")
FRAMING = Kind("framing", FRAMINGS, "eqlbond.framings", Framing, "is no Framing (eqlbond.codec.base)", ("ppp",))


@attrs.frozen
class Part:
    """A scheduler or framing, named with its options; equal where these are equal."""

    kind: Kind = attrs.field(repr=False)
    name: str
    """``earliest``, an entry point, or ``package.module:Class``."""
    options: Mapping[str, Any] = attrs.field(factory=dict)

    def make(self) -> Any:
        """Make a new one.

        Raises:
            ConfigurationError: there is none of this name, or its options cannot work.
        """
        made = find(self.kind, self.name)(**self.options)
        if not isinstance(made, self.kind.protocol):
            raise ConfigurationError(self.kind.word, f"{self.name} {self.kind.needs}")
        return made


def find(kind: Kind, name: str) -> Callable[..., Any]:
    """The class, or function, of a name.

    Raises:
        ConfigurationError: there is none.
    """
    if name in kind.known:
        return kind.known[name]
    entries = metadata.entry_points(group=kind.group)
    for entry in entries:
        if entry.name == name:
            return _callable(kind, name, _load(kind, name, entry.load))
    if not _DOTTED.fullmatch(name):
        known = [*kind.known, *kind.further, *sorted(entries.names - set(kind.known))]
        near = checks.suggestion(name, known)
        there = f"{', '.join(map(repr, known))}, an entry point of the group {kind.group}, or package.module:Class"
        raise ConfigurationError(kind.word, f"one of {there}, not {name!r}{near}")
    module, _, attribute = name.rpartition(":") if ":" in name else name.rpartition(".")
    return _callable(kind, name, _load(kind, name, lambda: getattr(importlib.import_module(module), attribute)))


def _load(kind: Kind, name: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:  # somebody else's module may raise anything
        raise ConfigurationError(
            kind.word, f"{name} cannot be imported: {type(error).__name__}: {error}; is it on PYTHONPATH?"
        ) from error


def _callable(kind: Kind, name: str, found: Any) -> Callable[..., Any]:
    if not callable(found):
        raise ConfigurationError(kind.word, f"{name} is no class, but {type(found).__name__}")
    made: Callable[..., Any] = found
    return made


def read_part(section: Section, key: str, kind: Kind, default: str) -> Part | None:
    """A key that holds a name, or a table with `name` and options. None where it is wrong, or names `kind.further`."""
    value = section.raw(key)
    if value is None:
        return Part(kind, default)
    if isinstance(value, str):
        name, options, inner = value, {}, None
    else:
        inner = section.table(key)
        if inner is None:
            return None
        name = inner.need("name", checks.text(f"the name of the {kind.word}"), "")
        options = {option: inner.raw(option) for option in inner if option != "name"}
    if not name or name in kind.further:
        return None
    function = section.make(find, kind, name)
    if function is None:
        return None
    where = section if inner is None else inner
    part = Part(kind, name, options)
    # What is known to be wrong is left out, so that what else is wrong is found, too.
    tried = Part(kind, name, _good_options(where, name, function, options))
    try:
        made = where.make(tried.make)
    except Exception as error:  # a user's own class
        if not where.failed:
            section.wrong(key, f"{name} cannot be made: {type(error).__name__}: {error}")
        return None
    return None if made is None or where.failed else part


def _good_options(
    section: Section, name: str, function: Callable[..., Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Those that may work; reported are those that the class has not, and values of another type than the default's."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return dict(options)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(options)
    good = dict(options)
    for option, value in options.items():
        parameter = parameters.get(option)
        default = None if parameter is None else parameter.default
        if parameter is None:
            near = checks.suggestion(option, list(parameters))
            there = f"; there are: {', '.join(parameters)}" if parameters else "; it has none"
            problem = f"no option of {name}{near or there}"
        elif isinstance(default, bool) and not isinstance(value, bool):
            problem = f"true or false, not {checks.shown(value)}"
        elif type(default) in (int, float) and type(value) not in (int, float):
            problem = f"a number, not {checks.shown(value)}"
        else:
            continue
        section.wrong(option, problem)
        del good[option]
    for option, parameter in parameters.items():
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if parameter.default is parameter.empty and not variadic and option not in options:
            section.wrong(None, f"{option} is needed by {name}")
    return good
