"""The largest payload that a framing accepts on receipt."""

from __future__ import annotations

from typing import Final

from eqlbond.exceptions import ConfigurationError

DEFAULT_MAX_FRAME: Final = 1500
"""Payloads of this size are accepted on receipt whatever the MTU is: peers may have a larger one."""


def check_max_frame(max_frame: int | None) -> None:
    """Raise ConfigurationError where the option `max_frame` can never work."""
    if max_frame is not None and max_frame < 1:
        raise ConfigurationError("max_frame", f"{max_frame} bytes hold no packet: at least 1, or None")


def receive_limit(max_frame: int | None, mtu: int) -> int:
    """The largest payload to accept: `max_frame`, or by default the MTU, and at least 1500 bytes.

    Raises:
        ConfigurationError: `max_frame` is below `mtu`, or `mtu` below 1.
    """
    if mtu < 1:
        raise ConfigurationError("mtu", f"{mtu} bytes hold no packet: at least 1")
    if max_frame is None:
        return max(mtu, DEFAULT_MAX_FRAME)
    if max_frame < mtu:
        raise ConfigurationError("max_frame", f"{max_frame} bytes, below the MTU of {mtu}: at least {mtu}, or None")
    return max_frame
