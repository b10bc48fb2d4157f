"""Debian's kernel with one SLIP line, and eqlbond at the other end of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.interop.linux.guest import DEVICES, Guest
from tests.interop.linux.host import Bench, Host, datagrams, transfer
from tests.interop.pages import replaced, shown, with_devices
from tests.interop.routers import until

pytestmark = pytest.mark.interop

PAGE = "linux-slip.md"
HERE, THERE = "10.9.0.1", "10.9.0.2"
RATE = 115200


def one_line(device: str, outfill: int | None = 2, keepalive: int | None = 10) -> str:
    """The page's file, with these options."""
    outfills = "" if outfill is None else f"outfill = {outfill}"
    keepalives = "" if keepalive is None else f"keepalive = {keepalive}"
    changes = {"/dev/ttyUSB0": device, "outfill = 2": outfills, "keepalive = 10": keepalives}
    return replaced(shown(PAGE, "toml")[0], changes)


def attach(guest: Guest, keepalive: int = 10, outfill: int = 2, mtu: int = 1500) -> None:
    """The page's script, with these options."""
    script = with_devices(shown(PAGE, "sh")[0], DEVICES[:1])
    guest.sh(replaced(script, {"-k 10 -o 2": f"-k {keepalive} -o {outfill}", "mtu 1500": f"mtu {mtu}"}))


def attached(guest: Guest) -> bool:
    """Whether the kernel has its interface. It goes when the kernel hangs the line up."""
    return guest.sh("ls /sys/class/net").split().count("sl0") == 1


def check_counts(guest: Guest, host: Host) -> dict[str, int]:
    """What each end counted as sent, the other counted as received; what the kernel counted."""
    ours: dict[str, Any] = {}
    theirs: dict[str, int] = {}

    def same() -> bool:
        nonlocal ours, theirs
        ours, theirs = host.lines()["line0"], guest.counters("sl0")
        arrived = theirs["rx_packets"] + theirs["rx_over_errors"]
        return (ours["packets_sent"], ours["packets_received"]) == (arrived, theirs["tx_packets"])

    until(same, 20)
    assert theirs["tx_errors"] == 0
    assert not any(ours["dropped"].values()), ours["dropped"]
    return theirs


def test_slip(guest: Guest, tmp_path: Path) -> None:
    """Both ways by TCP and UDP with an MTU of 1500, and what both ends counted."""
    with Bench(guest, tmp_path, [RATE], lambda devices: one_line(devices[0])) as bench:
        attach(guest)
        bench.host.start()
        bench.host.until_up(1)
        assert len(bench.host.ping(THERE, 3, size=1472)) == 3
        assert len(guest.ping(HERE, 3, size=1472)) == 3
        there = transfer(bench.host, guest, THERE)
        back = transfer(guest, bench.host, HERE)
        print(f"\nwe send {there}\nthe kernel sends {back}")
        for told in (
            datagrams(bench.host, guest, THERE, 40, 500, 0.06),
            datagrams(guest, bench.host, HERE, 40, 500, 0.06),
        ):
            assert (told["received"], told["lost"], told["damaged"], told["out_of_order"]) == (40, 0, 0, 0), told
        theirs = check_counts(guest, bench.host)
        assert theirs["rx_errors"] == theirs["rx_over_errors"] == 0


def test_a_frame_that_is_too_long_for_the_kernel(guest: Guest, tmp_path: Path) -> None:
    """Its buffer is twice its MTU: a frame within that is taken; a longer one is an error, and harms no other."""
    with Bench(guest, tmp_path, [RATE], lambda devices: one_line(devices[0])) as bench:
        attach(guest, mtu=600)
        bench.host.start()
        bench.host.until_up(1)
        for size in (600, 1100):
            told = datagrams(bench.host, guest, THERE, 10, size - 28, 0.15)
            assert (told["lost"], told["damaged"]) == (0, 0), told
        assert check_counts(guest, bench.host)["rx_over_errors"] == 0
        bench.host.job(f"peer flood {THERE} 5002 10 {1400 - 28} 0.15").told()
        until(lambda: guest.counters("sl0")["rx_over_errors"] == 10)
        told = datagrams(bench.host, guest, THERE, 10, 600 - 28, 0.15)
        assert (told["lost"], told["damaged"]) == (0, 0), told
        assert check_counts(guest, bench.host)["rx_over_errors"] == 10


def test_our_outfill_keeps_the_kernels_line_alive(guest: Guest, tmp_path: Path) -> None:
    """The kernel hangs up a line that is silent for its keepalive; with our outfill it does not."""
    with Bench(guest, tmp_path, [RATE], lambda devices: one_line(devices[0], None, None)) as bench:
        host = bench.host
        host.start()
        host.until_up(1)
        attach(guest, keepalive=3, outfill=1)
        began = time.monotonic()
        until(lambda: not attached(guest))
        print(f"\nsilent: hung up after {time.monotonic() - began:.1f} s")
        guest.reset()
        host.file.write_text(one_line(bench.devices[0], 1, None) + f'\n[control]\nsocket = "{host.socket}"\n')
        host.eqlbond("reload")
        host.until_up(1)
        attach(guest, keepalive=3, outfill=1)
        time.sleep(9)
        assert attached(guest)
        assert len(guest.ping(HERE, 3)) == 3


def test_the_kernels_outfill_contents_our_keepalive(guest: Guest, tmp_path: Path) -> None:
    """An idle line stays; one that is cut is buried within the keepalive, and used again when it is mended."""
    with Bench(guest, tmp_path, [RATE], lambda devices: one_line(devices[0], 1, 4)) as bench:
        host = bench.host
        attach(guest, keepalive=0, outfill=1)
        host.start()
        host.until_up(1)
        time.sleep(8)
        line = host.lines()["line0"]
        assert line["up"]
        assert line["connections"] == 1
        bench.pacer.say("cut 0")
        cut = time.monotonic()
        until(lambda: not host.lines()["line0"]["up"])
        took = time.monotonic() - cut
        print(f"\ncut: noticed after {took:.1f} s")
        assert took < 4 + 3
        assert "nothing was received for 4 s" in host.log.read_text()
        bench.pacer.say("mend 0")
        host.until_up(1)
        assert len(host.ping(THERE, 3)) == 3
        assert len(guest.ping(HERE, 3)) == 3
