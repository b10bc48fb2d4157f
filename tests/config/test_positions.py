"""Where keys stand, against what tomllib makes of the same text."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqlbond.config.positions import Path, key_lines

AWKWARD = '''# a comment = [no key]
a.b = """text
with = signs \\""" and "" quotes
"""
"q.é\\u0041" = [1, [2, # comment ] in an array
 {x=1, y.z = "}"}], 'a',
 ] # hi
d = 1979-05-27 07:32:00
[t.u]  # table
k = true
s = \'\'\'
[not.a.table]
it''s\'\'\'\'
[[s]]
[s.m]
a=1
[[s]]
v = {}
   [[s.x]]
n = -1
 [[s.x]]
n.p = 0x1F
e = """"quoted""""
[ t . "w x" ]
last = inf'''


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """All ways into a document."""
    if path:
        yield path
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*path, key))


def test_every_path_has_a_line() -> None:
    found = key_lines(AWKWARD)
    assert set(found) == set(paths(tomllib.loads(AWKWARD)))
    lines = AWKWARD.splitlines()
    for path, line in found.items():
        if isinstance(path[-1], str) and path[-1].isascii():
            assert path[-1] in lines[line - 1], path
    assert found["t", "u", "s"] == 11
    assert found["s", 1, "x", 1, "n", "p"] == 22
    assert found["q.éA", 1, 1, "x"] == 6
    assert found["q.éA", 2] == 6
    assert found["t", "w x", "last"] == 25


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "a = 1", "a=1 # x", "[a]", "[[a]]\n[[a]]", "a = []"])
def test_small_documents(text: str) -> None:
    assert set(key_lines(text)) == set(paths(tomllib.loads(text)))


words = st.text("ab-_1é .\"'#[]{}=\\\n", max_size=6)
values = st.recursive(
    st.one_of(st.booleans(), st.integers(-5, 5), words),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", # ]\n".join(map(as_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {as_toml(item)}" for key, item in value.items()) + "}"
    return quoted(value) if isinstance(value, str) else str(value)


@given(
    st.dictionaries(words, values, max_size=4),
    st.dictionaries(words, st.dictionaries(words, values, max_size=3), max_size=2),
    st.lists(st.dictionaries(words, values, max_size=3), max_size=3),
)
def test_any_document(root: dict[str, Any], tables: dict[str, dict[str, Any]], array: list[dict[str, Any]]) -> None:
    """Made so that each top-level key is at a line that is known."""
    chunks: list[str] = []
    expected: dict[Path, int] = {}
    line = 1

    def add(text: str) -> None:
        nonlocal line
        chunks.append(text)
        line += text.count("\n") + 1

    for key, value in root.items():
        expected["r" + key,] = line
        add(f"{quoted('r' + key)} = {as_toml(value)}")
    for name, table in tables.items():
        expected["t" + name,] = line
        add(f"[{quoted('t' + name)}]")
        for key, value in table.items():
            expected["t" + name, key] = line
            add(f"  {quoted(key)}\t= {as_toml(value)} # end")
    for number, table in enumerate(array):
        expected["array", number] = line
        add("[[array]]")
        for key, value in table.items():
            expected["array", number, key] = line
            add(f"{quoted(key)}={as_toml(value)}")
    text = "\n".join(chunks)
    found = key_lines(text)
    assert set(found) == set(paths(tomllib.loads(text)))
    assert {path: found[path] for path in expected} == expected
