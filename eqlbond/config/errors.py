"""What is wrong with a configuration file: all of it at once."""

from __future__ import annotations

from collections.abc import Sequence

from eqlbond.exceptions import ConfigurationError, EqlbondError


class ConfigError(ConfigurationError):
    """One thing that is wrong in a file.

    Attributes:
        field: path of the key, such as ``slave[2].baudrate``; arrays are counted from 1. Empty: the file as a whole.
        line: where it stands, from 1; None: nowhere.
        problem: what would be right.
    """

    def __init__(self, field: str, problem: str, line: int | None = None) -> None:
        super().__init__(field, problem)
        self.line = line
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}" if self.field else self.problem


class ConfigurationErrors(ExceptionGroup[ConfigurationError], EqlbondError):
    """A configuration that cannot work, with everything that is wrong with it, in the order of the lines.

    Attributes:
        file: the file, as it was named.
        exceptions: a `ConfigError` for each thing that is wrong.
    """

    file: str

    def __new__(cls, file: str, errors: Sequence[ConfigError]) -> ConfigurationErrors:
        errors = sorted(errors, key=lambda error: error.line or 0)
        made = super().__new__(cls, f"{file}: {_count(len(errors))}", errors)
        made.file = file
        return made

    def __init__(self, file: str, errors: Sequence[ConfigError]) -> None:
        super().__init__(f"{file}: {_count(len(errors))}", list(errors))

    def __str__(self) -> str:
        return "\n".join([self.message, *(self._line(error) for error in self.exceptions)])

    def _line(self, error: BaseException) -> str:
        line = getattr(error, "line", None)
        return f"{self.file}: {error}" if line is None else f"{self.file}:{line}: {error}"

    def derive(self, excs: Sequence[Exception]) -> ExceptionGroup[Exception]:  # type: ignore[override]
        """A part of the group, for ``except*``."""
        return ConfigurationErrors(self.file, excs)  # type: ignore[arg-type]


def _count(number: int) -> str:
    return "1 error" if number == 1 else f"{number} errors"
