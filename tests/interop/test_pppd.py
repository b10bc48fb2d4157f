"""Debian's pppd over one line and over bundles, as docs/peers/pppd.md has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.linux.guest import Guest
from tests.interop.linux.host import Bench
from tests.interop.pppd import CALL, CALLED, FAST, LINE, Pppd, exchange, ours

pytestmark = pytest.mark.interop


def test_one_line(guest: Guest, tmp_path: Path) -> None:
    """Plain PPP. pppd offers Van Jacobson's and other compression, which we refuse."""
    with Bench(guest, tmp_path, [FAST], ours(LINE)) as bench:
        pppd = Pppd(guest, LINE)
        bench.host.start()
        pppd.start_all(bench.host, 1)
        exchange(bench)


def test_we_call(guest: Guest, tmp_path: Path) -> None:
    with Bench(guest, tmp_path, [FAST] * 4, ours(CALL)) as bench:
        pppd = Pppd(guest, CALL)
        bench.host.start()
        pppd.start_all(bench.host, 4)
        exchange(bench)


def test_we_are_called(guest: Guest, tmp_path: Path) -> None:
    with Bench(guest, tmp_path, [FAST] * 2, ours(CALLED)) as bench:
        pppd = Pppd(guest, CALLED)
        bench.host.start()
        pppd.start_all(bench.host, 2)
        exchange(bench)
