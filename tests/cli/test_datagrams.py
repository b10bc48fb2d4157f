"""Cutting standard input into datagrams."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqlbond.cli.bond import Datagrams

MTU = 20


def cut(how: str, data: bytes, chunk: int | None = None) -> tuple[list[bytes], Datagrams]:
    datagrams = Datagrams(how, MTU)
    found: list[bytes] = []
    for at in range(0, len(data), chunk or max(1, len(data))):
        found += datagrams.feed(data[at : at + (chunk or len(data))])
        assert len(datagrams._rest) <= MTU + 2
    return found + datagrams.end(), datagrams


@pytest.mark.parametrize(
    ("data", "found", "too_long", "empty"),
    [
        (b"", [], 0, 0),
        (b"one\ntwo\n", [b"one", b"two"], 0, 0),
        (b"one\r\ntwo", [b"one", b"two"], 0, 0),
        (b"\n\r\n\n", [], 0, 3),
        (b"a" * 20 + b"\n", [b"a" * 20], 0, 0),
        (b"a" * 20 + b"\r\n", [b"a" * 20], 0, 0),
        (b"a" * 21 + b"\n", [], 1, 0),
        (b"a" * 21, [], 1, 0),
        (b"a" * 20 + b"\r", [b"a" * 20], 0, 0),
        (b"a" * 5000 + b"\nshort\n", [b"short"], 1, 0),
        (b"a" * 5000, [], 1, 0),
        (b"a" * 100 + b"\n" + b"b" * 100 + b"\nc\n", [b"c"], 2, 0),
        (b"a\r\r\n", [b"a\r"], 0, 0),
        (b"a\rb\n", [b"a\rb"], 0, 0),
    ],
)
@pytest.mark.parametrize("chunk", [None, 1, 2, 7, 21, 22])
def test_lines(data: bytes, found: list[bytes], too_long: int, empty: int, chunk: int | None) -> None:
    got, datagrams = cut("lines", data, chunk)
    assert (got, datagrams.too_long, datagrams.empty) == (found, too_long, empty)
    assert not datagrams.incomplete


def packed(*payloads: bytes) -> bytes:
    return b"".join(len(payload).to_bytes(2, "big") + payload for payload in payloads)


@pytest.mark.parametrize(
    ("data", "found", "too_long", "empty", "incomplete"),
    [
        (b"", [], 0, 0, False),
        (packed(b"one", b"two"), [b"one", b"two"], 0, 0, False),
        (packed(b"", b"one", b""), [b"one"], 0, 2, False),
        (packed(b"a" * 20), [b"a" * 20], 0, 0, False),
        (packed(b"a" * 21, b"one"), [b"one"], 1, 0, False),
        (packed(b"a" * 65535, b"one", b"b" * 300), [b"one"], 2, 0, False),
        (b"\0", [], 0, 0, True),
        (packed(b"one") + b"\0\5four", [b"one"], 0, 0, True),
        (packed(b"a" * 30)[:-1], [], 1, 0, True),
    ],
)
@pytest.mark.parametrize("chunk", [None, 1, 2, 7, 21, 22])
def test_lengths(
    data: bytes, found: list[bytes], too_long: int, empty: int, incomplete: bool, chunk: int | None
) -> None:
    got, datagrams = cut("length", data, chunk)
    assert (got, datagrams.too_long, datagrams.empty) == (found, too_long, empty)
    assert datagrams.incomplete == incomplete


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(place, len(data)) for place in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


LINE = st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"n").replace(b"\r", b"r"))


@given(st.lists(LINE), st.lists(st.integers(0, 900)), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_any_lines_in_any_cut(lines: list[bytes], cuts: list[int], ending: bytes, ended: bool) -> None:
    data = b"".join(line + ending for line in lines)
    if not ended and data:
        data = data[: -len(ending)]
    datagrams = Datagrams("lines", MTU)
    got = [found for chunk in chunks(data, cuts) for found in datagrams.feed(chunk)] + datagrams.end()
    assert got == [line for line in lines if 0 < len(line) <= MTU]
    assert datagrams.too_long == sum(len(line) > MTU for line in lines)


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(0, 900)))
def test_any_lengths_in_any_cut(payloads: list[bytes], cuts: list[int]) -> None:
    datagrams = Datagrams("length", MTU)
    got = [found for chunk in chunks(packed(*payloads), cuts) for found in datagrams.feed(chunk)]
    assert got == [payload for payload in payloads if 0 < len(payload) <= MTU]
    assert datagrams.too_long == sum(len(payload) > MTU for payload in payloads)
    assert not datagrams.incomplete
    assert datagrams.end() == []


@given(st.sampled_from(["lines", "length"]), st.binary(max_size=3000), st.lists(st.integers(0, 3000)))
def test_anything_at_all(how: str, data: bytes, cuts: list[int]) -> None:
    whole = Datagrams(how, MTU)
    expected = whole.feed(data) + whole.end()
    pieces = Datagrams(how, MTU)
    got = [found for chunk in chunks(data, cuts) for found in pieces.feed(chunk)] + pieces.end()
    assert got == expected
    assert all(0 < len(found) <= MTU for found in got)
    assert (pieces.too_long, pieces.empty, pieces.incomplete) == (whole.too_long, whole.empty, whole.incomplete)
