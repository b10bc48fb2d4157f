"""Debian's pppd over one line and over bundles, as docs/peers/pppd.md has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.linux.guest import Guest
from tests.interop.linux.host import Bench
from tests.interop.pppd import CALL, CALLED, FAST, HERE6, LINE, THERE6, Pppd, add_addresses, exchange, ours

pytestmark = pytest.mark.interop


def test_one_line(guest: Guest, tmp_path: Path) -> None:
    """Plain PPP, IPv4 and IPv6. pppd offers Van Jacobson's compression and CCP, which we refuse."""
    with Bench(guest, tmp_path, [FAST], ours(LINE)) as bench:
        pppd = Pppd(guest, LINE)
        bench.host.start()
        pppd.start_all(bench.host, 1)
        exchange(bench)
        assert "rcvd [IPCP ConfRej id=0x1 <compress VJ 0f 01>]" in pppd.said()
        assert "Protocol-Reject for 'Compression Control Protocol' (0x80fd) received" in pppd.said()


LINES = pytest.mark.parametrize("lines", [1, 4], ids=["one", "four"])


def all_are_used(bench: Bench, lines: int, least: int) -> None:
    """So many fragments went each way on each line."""
    told = bench.host.lines().values()
    assert len(told) == lines
    assert min(min(line["fragments_sent"], line["fragments_received"]) for line in told) > least


@LINES
def test_we_call(guest: Guest, tmp_path: Path, lines: int) -> None:
    """CHAP in both directions; IPv6 by the identifiers of the two files."""
    with Bench(guest, tmp_path, [FAST] * lines, ours(CALL)) as bench:
        pppd = Pppd(guest, CALL)
        bench.host.start()
        pppd.start_all(bench.host, lines)
        exchange(bench)
        assert len(bench.host.ping("fe80::2%eql0", 3, 0.1)) == 3
        guest.sh("ping -6 -c 3 -i 0.2 -W 5 fe80::1%ppp0")
        add_addresses(bench)
        exchange(bench, HERE6, THERE6)
        all_are_used(bench, lines, 20)


@LINES
def test_we_are_called(guest: Guest, tmp_path: Path, lines: int) -> None:
    """PAP in both directions; pppd takes the addresses that we give."""
    with Bench(guest, tmp_path, [FAST] * lines, ours(CALLED)) as bench:
        pppd = Pppd(guest, CALLED)
        bench.host.start()
        pppd.start_all(bench.host, lines)
        exchange(bench)
        all_are_used(bench, lines, 20)
        for text in ("local  IP address 10.9.0.2", "local  LL address fe80::0000:0000:0000:0002", "New bundle ppp0"):
            assert text in pppd.said()
        assert "sent [PAP AuthAck" in pppd.said()
        assert "rcvd [PAP AuthAck" in pppd.said()


FOUR = (115200, 57600, 38400, 19200)


@pytest.mark.parametrize(
    ("section", "rates", "speeds"),
    [
        (CALL, (57600, 14400), (38400, 9600)),
        (CALLED, (115200, 28800), (38400, 9600)),
        (CALL, FOUR, FOUR),
        (CALLED, FOUR, FOUR),
    ],
    ids=["call-two", "called-two", "call-four", "called-four"],
)
def test_unequal_lines(
    guest: Guest, tmp_path: Path, section: str, rates: tuple[int, ...], speeds: tuple[int, ...]
) -> None:
    """termios knows no 14400 and no 28800, so pppd is told speeds of the same ratio: its kernel splits by them.

    Echoes wait behind what pppd's kernel has put into the port, so it has to have more patience with slow lines.
    """
    with Bench(guest, tmp_path, rates, ours(section, rates)) as bench:
        pppd = Pppd(guest, section, "lcp-echo-interval 5")
        bench.host.start()
        pppd.start_all(bench.host, len(rates), speeds)
        for way, told in exchange(bench, gap=0.1).items():
            bits = told["received"] * 10 / told["seconds"]
            print(f"\n{rates}, {way}, both ways at once: {bits / sum(rates):.1%} of bits/10, {told}")
            assert bits > 0.35 * sum(rates)
        all_are_used(bench, len(rates), 5)
