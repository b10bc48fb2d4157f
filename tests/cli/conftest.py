"""Commands are started with signals as a shell has them."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def hang_ups_end_programs() -> Iterator[None]:
    """Also where the tests themselves are run by nohup, which has them ignored, and its children inherit that."""
    if not hasattr(signal, "SIGHUP"):
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
