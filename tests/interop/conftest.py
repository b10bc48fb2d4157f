"""One guest for all tests that talk with Debian's kernel: it boots once, and each test leaves it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.linux.guest import Guest


@pytest.fixture(scope="session")
def guest() -> Iterator[Guest]:
    """A guest, switched off at the end. A `Bench` resets it before and after its use."""
    with Guest() as booted:
        yield booted
