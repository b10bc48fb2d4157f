"""The version of the control socket's protocol, in a module of its own: a client needs no more of it."""

from __future__ import annotations

from typing import Final

VERSION: Final = 1
"""The `v` of each request."""
