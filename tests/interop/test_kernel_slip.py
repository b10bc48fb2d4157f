"""Debian's kernel with one SLIP line, and eqlbond at the other end of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.linux.guest import DEVICES, Guest
from tests.interop.linux.host import Bench, datagrams, transfer

pytestmark = pytest.mark.interop

HERE, THERE = "10.9.0.1", "10.9.0.2"
RATE = 57600


def one_line(device: str, options: str = "") -> str:
    """One SLIP line to the kernel."""
    return f"""
[bond]
mtu = 900

[tun]
name = "eql0"
addresses = "{HERE}/30"

[[slave]]
name = "line0"
device = "{device}"
baudrate = {RATE}
framing = "slip"
{options}
"""


def attach(guest: Guest, keepalive: int = 0, outfill: int = 0) -> None:
    """SLIP on the guest's first line, with the far address."""
    name = guest.spawn(f"peer slip {DEVICES[0]} 900 {keepalive} {outfill}").until("sl").split()[0]
    guest.sh(f"ip address add {THERE} peer {HERE} dev {name}; ip link set {name} up")


def test_slip(guest: Guest, tmp_path: Path) -> None:
    """Both ways by TCP and UDP, and what both ends counted."""
    with Bench(guest, tmp_path, [RATE], lambda devices: one_line(devices[0])) as bench:
        attach(guest)
        bench.host.start()
        bench.host.until_up(1)
        assert len(bench.host.ping(THERE)) == 5
        assert len(guest.ping(HERE)) == 5
        transfer(bench.host, guest, THERE)
        transfer(guest, bench.host, HERE)
        for told in (
            datagrams(bench.host, guest, THERE, 60, 500, 0.12),
            datagrams(guest, bench.host, HERE, 60, 500, 0.12),
        ):
            assert (told["received"], told["lost"], told["damaged"], told["out_of_order"]) == (60, 0, 0, 0), told
        ours, theirs = bench.host.lines()["line0"], counters(guest, "sl0")
        assert ours["packets_sent"] == theirs["rx_packets"]
        assert ours["packets_received"] == theirs["tx_packets"]
        assert theirs["rx_errors"] == theirs["tx_errors"] == theirs["rx_over_errors"] == 0


def counters(guest: Guest, interface: str) -> dict[str, int]:
    """What the kernel counted at an interface."""
    said = guest.sh(f"cd /sys/class/net/{interface}/statistics; for name in *; do echo $name $(cat $name); done")
    return {name: int(value) for name, value in (line.split() for line in said.splitlines())}
