"""Secrets of the two authentication protocols: how they are given and looked up."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eqlbond.exceptions import ConfigurationError

Secrets = Mapping[str, bytes | str] | Callable[[str], bytes | str | None]
"""What the peers' secrets are: a mapping from name to secret, or a function that returns None for an unknown name."""


def as_secret(value: object) -> bytes:
    """A secret as bytes; text is encoded as UTF-8. Raises `ConfigurationError` without showing the value."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    raise ConfigurationError("secret", f"must be text or bytes, not {type(value).__name__}")


def secret_of(secrets: Secrets, name: str) -> tuple[bytes | None, str]:
    """The peer's secret or None, and what to add to the reason where the look-up itself failed.

    A function that raises denies the peer: the bond goes on, and the reason names the exception's type only.
    """
    try:
        found = secrets(name) if callable(secrets) else secrets.get(name)
        return (None if found is None else as_secret(found)), ""
    except Exception as error:
        return None, f"; the look-up of the secret raised {type(error).__name__}"


def printable(text: bytes) -> str:
    """A name or message of the peer's as text that is safe to show, 255 characters at most."""
    shown = text[:255].decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in shown)[:255]


def check_credentials(name: str, secret: bytes, limit: str) -> None:
    """See that a name and a secret fit into the one byte that PAP and CHAP have for a length.

    Args:
        name: what we call ourselves.
        secret: what proves it.
        limit: what the protocol has or carries, for the error.

    Raises:
        ConfigurationError: one of them is empty, or over 255 bytes.
    """
    for field, size in (("name", len(name.encode())), ("secret", len(secret))):
        if not 1 <= size <= 255:
            raise ConfigurationError(field, f"{limit} 1 to 255 bytes, this has {size}")
