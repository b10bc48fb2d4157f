"""What a value has to be. A check returns the value, converted, or raises `Wrong` with what would be right."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import Any, TypeVar

T = TypeVar("T")
Check = Callable[[Any], T]


class Wrong(ValueError):
    """A value that a check does not take; the text says what would be right."""


def shown(value: object) -> str:
    """A value of a file as the file writes it, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def suggestion(word: str, known: Collection[str]) -> str:
    """``; did you mean 'x'?``, or nothing."""
    close = get_close_matches(word.lower().replace("-", "_"), [name.lower().replace("-", "_") for name in known], n=1)
    for name in known:
        if close and name.lower().replace("-", "_") == close[0]:
            return f"; did you mean {name!r}?"
    return ""


def integer(low: int, high: int | None = None, what: str = "a whole number") -> Check[int]:
    """A whole number within limits."""
    limits = f"from {low} on" if high is None else f"from {low} to {high}"

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
            raise Wrong(f"{what} {limits}, not {shown(value)}")
        return value

    return check


def number(low: float = 0.0, *, above: bool = False, what: str = "a number") -> Check[float]:
    """A finite number from `low` on, or above it."""

    def check(value: Any) -> float:
        good = not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
        if not good or value < low or (above and value == low):
            raise Wrong(f"{what} {'above' if above else 'from'} {low:g}{'' if above else ' on'}, not {shown(value)}")
        return float(value)

    return check


def seconds(low: float = 0.0, *, above: bool = False) -> Check[float]:
    """A time."""
    return number(low, above=above, what="seconds")


def boolean(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise Wrong(f"true or false, not {shown(value)}")
    return value


def text(what: str = "a text") -> Check[str]:
    """A text that is not empty."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise Wrong(f"{what}, not {'an empty text' if value == '' else shown(value)}")
        return value

    return check


def any_text(value: Any) -> str:
    """A text, also an empty one."""
    if not isinstance(value, str):
        raise Wrong(f"a text, not {shown(value)}")
    return value


def one_of(*known: str) -> Check[str]:
    """One of a few words."""

    def check(value: Any) -> str:
        if value not in known or not isinstance(value, str):
            near = suggestion(value, known) if isinstance(value, str) else ""
            raise Wrong(f"one of {', '.join(map(repr, known))}, not {shown(value)}{near}")
        return value

    return check


def optional(check: Check[T], word: str) -> Check[T | None]:
    """The word stands for None (TOML has no null)."""

    def optionally(value: Any) -> T | None:
        if value == word and isinstance(value, str):
            return None
        try:
            return check(value)
        except Wrong as error:
            raise Wrong(f'{error} (or "{word}")') from None

    return optionally


def switch_or(check: Check[T]) -> Check[T | bool]:
    """true, false, or what the check takes."""

    def either(value: Any) -> T | bool:
        if isinstance(value, bool):
            return value
        try:
            return check(value)
        except Wrong as error:
            raise Wrong(f"true, false, or {error}") from None

    return either


def interface(value: Any) -> str:
    """An address with its prefix length."""
    try:
        return str(ipaddress.ip_interface(any_text(value)))
    except ValueError:
        raise Wrong(f'an address such as "10.0.0.1/30" or "fd00::1/64", not {shown(value)}') from None


def address(value: Any) -> str:
    """An address."""
    try:
        return str(ipaddress.ip_address(any_text(value)))
    except ValueError:
        raise Wrong(f'an address such as "10.0.0.2", not {shown(value)}') from None
