"""Fixtures for tests of the asyncio shell."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.aio.memory import Cable, cables, drive

Real = Callable[[Callable[[], Awaitable[None]]], list[dict[str, Any]]]


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> None:
    """Each test collects garbage, to hear of exceptions that nobody took; what was there before is left out."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def cable() -> Cable:
    """One line in memory."""
    return Cable()


@pytest.fixture
def four() -> list[Cable]:
    """Four lines in memory."""
    return cables(4)


def open_descriptors() -> set[str]:
    """What this process has open: number and target of each descriptor."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except FileNotFoundError:  # the listing's own
            continue
    return found


@pytest.fixture
def real() -> Iterator[Real]:
    """Runs an async test on a real loop; no descriptor and no thread may be left afterwards."""
    gc.collect()
    descriptors, threads = open_descriptors(), set(threading.enumerate())
    yield lambda test: drive(test, asyncio.new_event_loop)
    gc.collect()
    left = open_descriptors() - descriptors
    assert not left, f"descriptors are left open: {left}"
    assert set(threading.enumerate()) <= threads
