"""Fixtures for tests of TUN interfaces: network namespaces where there are rights, sockets in their place elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

_count = 0


def run(command: str, namespace: str | None = None, *, check: bool = True) -> str:
    """A command's output."""
    words = command.split()
    if namespace is not None:
        words = ["ip", "netns", "exec", namespace, *words]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
    if check and done.returncode:
        raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """Two network namespaces; needs root and iproute2."""
    global _count
    if os.geteuid() != 0 or shutil.which("ip") is None or not os.path.exists("/dev/net/tun"):
        pytest.skip("needs root, iproute2 and /dev/net/tun")
    _count += 1
    names = (f"eqltest{os.getpid()}n{_count}a", f"eqltest{os.getpid()}n{_count}b")
    for name in names:
        run(f"ip netns add {name}")
        run("ip link set lo up", name)
    yield names
    for name in names:
        run(f"ip netns del {name}")
