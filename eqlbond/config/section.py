"""Reading one table of the file: each value through a check, each error collected, no key left over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any, TypeVar, overload

from eqlbond.config import checks
from eqlbond.config.checks import Check, Wrong
from eqlbond.config.errors import ConfigError
from eqlbond.config.positions import Path
from eqlbond.exceptions import ConfigurationError, EqlbondError

T = TypeVar("T")
D = TypeVar("D")


class Document:
    """A file that is being read: where its keys stand, and what was found wrong.

    Args:
        lines: line numbers by path; empty where there is no file, as in a request to the control socket.
        directory: what relative names of files are relative to.
        environment: where secrets may come from.
    """

    def __init__(self, lines: Mapping[Path, int], directory: FilePath, environment: Mapping[str, str]) -> None:
        self._lines = lines
        self.directory = directory
        self.environment = environment
        self.errors: list[ConfigError] = []

    def wrong(self, path: Path, problem: str) -> None:
        """Record an error."""
        line = None
        for length in range(len(path), 0, -1):
            line = self._lines.get(path[:length])
            if line is not None:
                break
        self.errors.append(ConfigError(path_text(path), problem, line))

    def file(self, name: str) -> FilePath:
        """A file that is named in this one."""
        return self.directory / FilePath(name).expanduser()


def path_text(path: Path) -> str:
    """A path for people; elements of arrays are counted from 1.

    >>> path_text(("slave", 1, "ppp", "mru"))
    'slave[2].ppp.mru'
    """
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class Section:
    """One table. Reading from it never raises; a value that is wrong is reported, and the default is returned.

    Args:
        document: the file.
        table: what `tomllib` made of the table.
        path: where it stands.
    """

    def __init__(self, document: Document, table: Mapping[str, Any], path: Path) -> None:
        self.document = document
        self.path = path
        self._table = table
        self._known: dict[str, None] = {}
        self._before = len(document.errors)

    def __contains__(self, key: str) -> bool:
        return key in self._table

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def wrong(self, key: str | None, problem: str) -> None:
        """Report an error at a key, or at the table."""
        self.document.wrong(self.path if key is None else (*self.path, key), problem)

    @property
    def failed(self) -> bool:
        """Whether an error was reported since this section was begun."""
        return len(self.document.errors) > self._before

    @overload
    def take(self, key: str, check: Check[T]) -> T | None: ...

    @overload
    def take(self, key: str, check: Check[T], default: D) -> T | D: ...

    def take(self, key: str, check: Check[Any], default: Any = None) -> Any:
        """The value of a key, or the default where it is not there or wrong."""
        self._known[key] = None
        if key not in self._table:
            return default
        try:
            return check(self._table[key])
        except Wrong as error:
            self.wrong(key, str(error))
            return default

    def need(self, key: str, check: Check[T], default: T, why: str = "is needed") -> T:
        """The value of a key that must be there."""
        if key not in self._table:
            self._known[key] = None
            self.wrong(None, f"{key} {why}")
            return default
        value = self.take(key, check)
        return default if value is None else value

    def given(self, **wanted: Check[Any]) -> dict[str, Any]:
        """Those of the keys that are there, checked: arguments of a class with defaults of its own."""
        taken = {}
        for key, check in wanted.items():
            before = len(self.document.errors)
            value = self.take(key, check)
            if key in self._table and len(self.document.errors) == before:
                taken[key] = value
        return taken

    def items(self, key: str, check: Check[T], *, or_one: bool = False) -> tuple[T, ...]:
        """An array of values; with `or_one` a single value stands for an array of one."""
        self._known[key] = None
        value = self._table.get(key, [])
        if or_one and not isinstance(value, list):
            value = [value]
            paths: list[Path] = [(*self.path, key)]
        elif not isinstance(value, list):
            self.wrong(key, f"an array, not {checks.shown(value)}")
            return ()
        else:
            paths = [(*self.path, key, number) for number in range(len(value))]
        good = []
        for path, item in zip(paths, value, strict=True):
            try:
                good.append(check(item))
            except Wrong as error:
                self.document.wrong(path, str(error))
        return tuple(good)

    def table(self, key: str) -> Section | None:
        """A table within this one, or None."""
        self._known[key] = None
        value = self._table.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.wrong(key, f"a table, not {checks.shown(value)}")
            return None
        return Section(self.document, value, (*self.path, key))

    def tables(self, key: str) -> list[Section]:
        """An array of tables."""
        self._known[key] = None
        value = self._table.get(key, [])
        if not isinstance(value, list):
            self.wrong(key, f"tables that begin with [[{path_text((*self.path, key))}]], not {checks.shown(value)}")
            return []
        sections = []
        for number, item in enumerate(value):
            if isinstance(item, dict):
                sections.append(Section(self.document, item, (*self.path, key, number)))
            else:
                self.document.wrong((*self.path, key, number), f"a table, not {checks.shown(item)}")
        return sections

    def raw(self, key: str) -> Any:
        """The value of a key as it is, or None."""
        self._known[key] = None
        return self._table.get(key)

    def secret(self, key: str) -> str | None:
        """A secret: a text, ``{file = "..."}`` with the text in it, or ``{env = "NAME"}``. It is never shown."""
        self._known[key] = None
        if key not in self._table:
            return None
        return self.secret_value(self._table[key], (*self.path, key))

    def secret_value(self, value: Any, path: Path) -> str | None:
        """As `secret`, of a value."""
        wrong = self.document.wrong
        if isinstance(value, str):
            if not value:
                wrong(path, "a secret, not an empty text")
            return value or None
        if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in ("file", "env"):
            # The value itself may be the secret, so it is not shown.
            wrong(path, 'a text, or {file = "/path"}, or {env = "NAME"}')
            return None
        ((source, name),) = value.items()
        if not isinstance(name, str) or not name:
            wrong((*path, source), "the name of a file" if source == "file" else "the name of a variable")
            return None
        if source == "env":
            found = self.document.environment.get(name)
            if not found:
                wrong((*path, source), f"there is no variable {name} in the environment, or it is empty")
            return found or None
        try:
            read = self.document.file(name).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, ValueError) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "is no UTF-8 text"
            wrong((*path, source), f"{name}: {reason}")
            return None
        if not read:
            wrong((*path, source), f"{name} is empty")
        return read or None

    def make(self, function: Callable[..., T], /, *arguments: Any, **options: Any) -> T | None:
        """Make a value of the library's, whose own rules are reported at the keys that they name."""
        try:
            return function(*arguments, **options)
        except ConfigurationError as error:
            problem = str(error).removeprefix(f"{error.field}: ")
            if error.field in self._table:
                self.wrong(error.field, problem)
            else:
                self.wrong(None, f"{error.field}: {problem}")
        except EqlbondError as error:
            self.wrong(None, str(error))
        return None

    def finish(self) -> None:
        """Report the keys that nobody asked for."""
        for key in self._table:
            if key not in self._known:
                near = checks.suggestion(key, self._known)
                there = "" if near else f"; there are: {', '.join(sorted(self._known))}"
                self.wrong(key, f"no such key{near}{there}")
