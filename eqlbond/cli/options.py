"""What several commands read from their arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import attrs

from eqlbond.aio.netline import NetworkSlave
from eqlbond.aio.slave import PortSlave, SerialSlave
from eqlbond.codec.slip import Slip
from eqlbond.core.half_duplex import HalfDuplex
from eqlbond.exceptions import ConfigurationError
from eqlbond.schedulers.catalogue import SCHEDULERS

__all__ = ["SCHEDULERS", "add_scheduler", "half_duplex", "line_option", "line_slave", "rates", "switch"]


def add_scheduler(parser: argparse.ArgumentParser) -> None:
    """The option `--scheduler`."""
    parser.add_argument("--scheduler", choices=sorted(SCHEDULERS), default="earliest", help="default: earliest")


def rates(text: str) -> list[float]:
    """``57600,14400`` as a list of rates in bit/s."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"rates in bit/s such as 57600,14400, not {text!r}") from None
    if not all(0 < value < float("inf") for value in values):
        raise argparse.ArgumentTypeError(f"rates are above 0, not {text!r}")
    return values


def switch(text: str) -> bool:
    """``1`` or ``0``. Raises `ValueError`."""
    if text not in ("0", "no", "off", "1", "yes", "on"):
        raise ValueError
    return text in ("1", "yes", "on")


def _rate(text: str) -> float | None:
    return None if text == "none" else float(text)


def half_duplex(text: str) -> HalfDuplex | None:
    """``1``, or what is not as usual: ``turnaround:0.5/burst:5``. Raises `ValueError`, `ConfigurationError`."""
    if ":" not in text:
        return HalfDuplex() if switch(text) else None
    options: dict[str, Any] = {}
    for part in text.split("/"):
        key, _, value = part.partition(":")
        if key not in _TURNS:
            raise ConfigurationError("half_duplex", f"no option {key!r}; there are: {', '.join(_TURNS)}")
        options[key] = float(value)
    return HalfDuplex(**options)


_TURNS = tuple(field.name for field in attrs.fields(HalfDuplex))
_WANTED: dict[Callable[[str], Any], str] = {
    switch: "1 or 0",
    int: "a whole number",
    _rate: "bit/s or none",
    half_duplex: "1 or 0, or numbers such as turnaround:0.5/burst:5",
}
_LINE_OPTIONS: dict[str, Callable[[str], Any]] = {
    "rate": _rate,
    "latency": float,
    "priority": float,
    "bits_per_byte": float,
    "rtscts": switch,
    "parity": str,
    "stopbits": float,
    "name": str,
    "low_latency": switch,
    "half_duplex": half_duplex,
}


def line_option(
    line: str,
    part: str,
    kinds: Mapping[str, Callable[[str], Any]],
    wanted: Mapping[Callable[[str], Any], str] = MappingProxyType({}),
) -> tuple[str, Any]:
    """An option of a line, from ``option=value``.

    Args:
        line: the line, for errors.
        part: the text.
        kinds: what reads the value of each option; a `ValueError` of it is a value that it does not take.
        wanted: what these want, for errors, where it is not a number.

    Raises:
        ConfigurationError: there is no such option, or its value cannot work.
    """
    key, separator, value = part.partition("=")
    if key not in kinds:
        raise ConfigurationError(f"line {line}", f"no option {key!r}; there are: {', '.join(sorted(kinds))}")
    kind = kinds[key]
    problem = wanted.get(kind) or _WANTED.get(kind, "a number")
    if not separator:
        raise ConfigurationError(key, f"needs its value, {key}=...: {'a text' if kind is str else problem}")
    try:
        return key, kind(value)
    except ConfigurationError:
        raise
    except ValueError:
        raise ConfigurationError(key, f"{problem}, not {value!r}") from None


def line_slave(text: str, framing: Slip | None = None) -> PortSlave:
    """A slave from ``DEVICE[,BAUD][,option=value...]``; a ``socket://`` or ``rfc2217://`` URL may be the device.

    Raises:
        ConfigurationError: an option is misspelt or its value cannot work.
    """
    device, *parts = text.split(",")
    options: dict[str, Any] = {}
    baudrate = 57600
    for number, part in enumerate(parts):
        key, separator, value = part.partition("=")
        if not separator and number == 0:
            key, value = "baudrate", part
        if key == "baudrate":
            try:
                baudrate = int(value)
            except ValueError:
                raise ConfigurationError("baudrate", f"a whole number of bit/s, not {value!r}") from None
            continue
        option, read = line_option(device, part, _LINE_OPTIONS)
        options[option] = read
    if "://" not in device:
        return SerialSlave(device, baudrate, framing=framing, **options)
    if "low_latency" in options:
        raise ConfigurationError("low_latency", f"is for ports of this machine, not for {device}")
    return NetworkSlave(device, baudrate, framing=framing, **options)
