"""Where the keys of a TOML document stand.

`tomllib` tells no positions. This scanner walks over a document that `tomllib` has read already, so it may take for
granted that the document is valid, and has only to find where keys, tables and array elements begin.
"""

from __future__ import annotations

import re
import tomllib

Path = tuple[str | int, ...]
"""The way to a value: keys, and numbers from 0 for the elements of arrays."""

_BLANK = " \t"
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
# Up to two quotation marks may stand before the three that end a multi-line string.
_LONG_BASIC = re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}", re.DOTALL)
_SCALAR = re.compile(r"[^,\]}#\r\n]+")


def key_lines(text: str) -> dict[Path, int]:
    """The line, from 1, of every key, table and array element of a valid TOML document.

    >>> key_lines('mtu = 576\\n\\n[[slave]]\\ndevice = "/dev/ttyS0"\\n')
    {('mtu',): 1, ('slave',): 3, ('slave', 0): 3, ('slave', 0, 'device'): 4}
    """
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted = 0  # up to here lines are counted
        self._line = 1
        self._lines: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}  # elements of arrays of tables

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        while True:
            self._skip_space()
            if self._at >= len(self._text):
                return self._lines
            if self._text.startswith("[[", self._at):
                self._at += 2
                *above, last = self._key()
                array = (*self._resolve(tuple(above)), last)
                number = self._counts.get(array, 0)
                self._counts[array] = number + 1
                self._found((*array, number))
                table = (*array, number)
                self._at += 2
            elif self._text[self._at] == "[":
                self._at += 1
                table = self._resolve(self._key())
                self._found(table)
                self._at += 1
            else:
                self._pair(table)

    def _found(self, path: Path) -> None:
        """Record the line of a path, and of what it makes on its way."""
        text, at = self._text, self._at
        self._line += text.count("\n", self._counted, at)
        self._counted = at
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], self._line)

    def _resolve(self, key: Path) -> Path:
        """The path of a table header: within an array of tables it means the last element."""
        path: Path = ()
        for part in key:
            path = (*path, part)
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
        return path

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _skip_blanks(self) -> None:
        while self._text[self._at : self._at + 1] in _BLANK and self._at < len(self._text):
            self._at += 1

    def _key(self) -> Path:
        """A dotted key; the scanner stands behind it, and behind the blanks that follow."""
        parts: list[str] = []
        while True:
            self._skip_blanks()
            if self._text[self._at] == '"':
                quoted = self._take(_BASIC)
                parts.append(tomllib.loads(f"x = {quoted}")["x"])
            elif self._text[self._at] == "'":
                parts.append(self._take(_LITERAL)[1:-1])
            else:
                parts.append(self._take(_BARE))
            self._skip_blanks()
            if self._text[self._at] != ".":
                return tuple(parts)
            self._at += 1

    def _pair(self, table: Path) -> None:
        self._skip_blanks()
        path = (*table, *self._key())
        self._found(path)
        self._at += 1  # =
        self._skip_blanks()
        self._value(path)

    def _value(self, path: Path) -> None:
        text, at = self._text, self._at
        if text.startswith('"""', at):
            self._take(_LONG_BASIC)
        elif text.startswith("'''", at):
            self._take(_LONG_LITERAL)
        elif text[at] == '"':
            self._take(_BASIC)
        elif text[at] == "'":
            self._take(_LITERAL)
        elif text[at] == "[":
            self._array(path)
        elif text[at] == "{":
            self._inline_table(path)
        else:
            self._take(_SCALAR)

    def _array(self, path: Path) -> None:
        self._at += 1
        number = 0
        while True:
            self._skip_space()
            if self._text[self._at] == ",":
                self._at += 1
                continue
            if self._text[self._at] == "]":
                self._at += 1
                return
            self._found((*path, number))
            self._value((*path, number))
            number += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip_space()
            if self._text[self._at] == ",":
                self._at += 1
                continue
            if self._text[self._at] == "}":
                self._at += 1
                return
            self._pair(path)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None, f"no valid TOML at offset {self._at}"
        self._at = match.end()
        return match.group()
