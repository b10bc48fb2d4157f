"""Linux's eql, the driver of 1995, with eqlbond at the other end of its lines: over SLIP, and over plain PPP."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.interop.linux.guest import DEVICES, Guest
from tests.interop.linux.host import Bench, Host, start, transfer
from tests.interop.pages import replaced, shown, with_devices, with_lines
from tests.interop.routers import until

pytestmark = pytest.mark.interop

PAGE = "linux-eql.md"
HERE, THERE = "10.9.0.1", "10.9.0.2"


def our_end(devices: Sequence[str], rates: Sequence[int], scheduler: str = "") -> str:
    """The page's file for SLIP, with so many of its lines."""
    text = shown(PAGE, "toml")[0]
    if scheduler:
        text = replaced(text, {"[bond]": f'[bond]\nscheduler = "{scheduler}"'})
    return with_lines(text, devices, rates)


def attach(guest: Guest, rates: Sequence[int], keepalive: int = 10, outfill: int = 2) -> None:
    """The page's script for SLIP, with so many of its lines."""
    head, *lines = shown(PAGE, "sh")[0].split("enslave sl")
    script = replaced(head, {"-k 10 -o 2": f"-k {keepalive} -o {outfill}"})
    for number, rate in enumerate(rates):
        shown_as = min(number, len(lines) - 1)
        # An emulated UART keeps no time, so its speed is free; 14400 is none of termios' speeds.
        changes = {
            f"{shown_as} /dev/ttyUSB{shown_as} ": f"{number} {DEVICES[number]} ",
            "115200 115200": f"115200 {rate}",
        }
        script += f"enslave sl{replaced(lines[shown_as], changes)}"
    guest.sh(script)


def priority(guest: Guest, slave: str) -> str:
    """What EQL_GETSLAVECFG tells; "none" where it is no slave."""
    return guest.sh(f"peer eql slave eql {slave}").strip()


def enslaved(guest: Guest, slave: str) -> bool:
    """Whether eql has it. A slave that went down stays in eql's list until it next looks at it."""
    return guest.sh(f"[ -e /sys/class/net/{slave} ] && peer eql slave eql {slave} || echo none").strip() != "none"


def differences(bench: Bench, interfaces: Sequence[str]) -> list[tuple[int, int, int]]:
    """Of each line: by how much the kernel's counts of what it received and sent exceed ours; what it refused.

    The control frames of PPP's network layer are packets to the kernel and none to us; those of IPV6CP, which is not
    configured here, we count as a protocol that is unknown. The kernel counts no frame of LCP.
    What it refuses is a frame of which it got the end alone, as pppd opened its port, or a cut line was mended, midway.
    """
    found = []
    for number, interface in enumerate(interfaces):
        ours, theirs = bench.host.lines()[f"line{number}"], bench.guest.counters(interface)
        received = ours["packets_received"] + ours["dropped"].get("unknown protocol", 0)
        refused = theirs["rx_errors"] + theirs["rx_over_errors"]
        found.append((theirs["rx_packets"] - ours["packets_sent"], theirs["tx_packets"] - received, refused))
    return found


def at_rest(bench: Bench, interfaces: Sequence[str]) -> list[tuple[int, int, int]]:
    """The `differences`, once nothing is on its way."""
    now = differences(bench, interfaces)

    def still() -> bool:
        nonlocal now
        before, now = now, differences(bench, interfaces)
        return before == now

    until(still, 20)
    return now


def check_counts(bench: Bench, interfaces: Sequence[str], before: Sequence[tuple[int, int, int]] | None = None) -> None:
    """What each end counted as sent on a line, the other counted as received there, once all has arrived.

    Args:
        bench: with its bond up.
        interfaces: the kernel's, of our lines in order.
        before: `differences` that there were before there was traffic; by default none.
    """
    wanted = [(0, 0, 0)] * len(interfaces) if before is None else list(before)
    now = wanted

    def same() -> bool:
        nonlocal now
        now = differences(bench, interfaces)
        return now == wanted

    try:
        until(same, 20)
    except AssertionError:
        raise AssertionError(f"the ends count differently: {wanted}, {now}: {bench.host.status()}") from None


def eql_sent(guest: Guest) -> int:
    """Packets that eql itself counts as given to its slaves, since its module was loaded. It counts none that came."""
    return int(guest.sh("cat /sys/class/net/eql/statistics/tx_packets || echo 0").split()[-1])


class Flood:
    """UDP both ways at once, in the background of a test."""

    def __init__(self, bench: Bench, count: int, size: int, interval: float) -> None:
        self._jobs = []
        ends: list[tuple[Host | Guest, Host | Guest, str]] = [
            (bench.host, bench.guest, THERE),
            (bench.guest, bench.host, HERE),
        ]
        collecting = [start(receiver, f"peer collect {address} 5002 {count} 5") for _, receiver, address in ends]
        for job in collecting:
            job.until("ready")
        for (sender, _, address), job in zip(ends, collecting, strict=True):
            self._jobs.append((start(sender, f"peer flood {address} 5002 {count} {size} {interval}"), job))
        self._limit = 60 + count * interval

    def told(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What arrived of ours at the kernel, and of the kernel's here."""
        there, back = ({**sent.told(self._limit), **got.told(60)} for sent, got in self._jobs)
        return there, back


def both_whole(told: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Nothing lost, doubled or damaged."""
    for one in told:
        assert (one["lost"], one["duplicates"], one["damaged"], one["refused"]) == (0, 0, 0, 0), told


@pytest.mark.parametrize(
    ("rates", "scheduler"),
    [((115200,) * 2, ""), ((115200,) * 4, ""), ((115200,) * 4, "eql"), ((57600, 14400), "")],
    ids=["two", "four", "four-eql", "unequal"],
)
def test_slip(guest: Guest, tmp_path: Path, rates: Sequence[int], scheduler: str) -> None:
    """TCP and UDP both ways; what both ends counted."""
    with Bench(guest, tmp_path, rates, lambda devices: our_end(devices, rates, scheduler)) as bench:
        host = bench.host
        host.start()
        given = eql_sent(guest)
        attach(guest, rates)
        host.until_up(len(rates))
        assert [priority(guest, f"sl{number}") for number in range(len(rates))] == [str(rate) for rate in rates]
        assert guest.sh("peer eql master eql").split()[0] == "4"
        assert len(host.ping(THERE, 3)) == 3
        assert len(guest.ping(HERE, 3)) == 3
        there = transfer(host, guest, THERE)
        back = transfer(guest, host, HERE)
        both = Flood(bench, 40, 400, 0.12).told()
        print(f"\n{rates}, {scheduler or 'default'}: we send {there}\nthe kernel sends {back}\nUDP {both}")
        both_whole(both)
        if len(set(rates)) > 1:
            assert there["seconds"] * 1.5 < back["seconds"], "eql overloads the slow line, and we do not"
        interfaces = [f"sl{number}" for number in range(len(rates))]
        check_counts(bench, interfaces)
        missing = eql_sent(guest) - given - host.status()["bond"]["packets_delivered"]
        # What eql has given to a slow line may be dropped by the queue of that interface, which tells nobody.
        assert 0 <= missing <= (len(set(rates)) > 1) * back["retransmits"], missing
        sent = [guest.counters(interface)["tx_packets"] for interface in interfaces]
        assert min(sent) > 10, "eql uses all of its slaves"
        assert min(line["packets_sent"] for line in host.lines().values()) > 5, "and we use all of our lines"


def test_slaves_come_and_go(guest: Guest, tmp_path: Path) -> None:
    """At both ends under traffic both ways; the kernel's end first when one goes, ours first when one comes."""
    rates = (115200, 115200)
    # In turn, so that all lines are used whatever the load.
    with Bench(guest, tmp_path, rates, lambda devices: our_end(devices, rates, "round-robin")) as bench:
        host = bench.host
        host.start()
        attach(guest, rates)
        host.until_up(2)
        flood = Flood(bench, 160, 300, 0.1)
        _, goes, comes, _ = shown(PAGE, "sh")
        guest.sh(goes)
        assert priority(guest, "sl1") == "none"
        emancipate, enslave = (text.split()[1:] for text in shown(PAGE, "console"))
        host.eqlbond(*emancipate)
        assert list(host.lines()) == ["line0"]
        before = guest.counters("sl1")
        time.sleep(1.5)
        assert guest.counters("sl1") == before, "nothing goes to or comes from a slave that serves no more"
        host.eqlbond(*(word.replace("/dev/ttyUSB1", bench.devices[1]) for word in enslave))
        guest.sh(comes)
        assert priority(guest, "sl1") == "115200"
        assert guest.sh("peer eql slave eql sl1 57600").strip() == "57600", "EQL_SETSLAVECFG"
        assert priority(guest, "sl1") == "57600"
        both = flood.told()
        print(f"\nslaves come and go: {both}")
        both_whole(both)
        after = guest.counters("sl1")
        assert min(after[way] - before[way] for way in ("rx_packets", "tx_packets")) > 10, "both use it again"


def test_a_line_is_hung_up_at_the_kernel(guest: Guest, tmp_path: Path) -> None:
    """The kernel drops the slave at once; our keepalive buries the line, and it stays buried until the peer is back."""
    rates = (115200, 115200)

    def configure(devices: Sequence[str]) -> str:
        # In turn, so that the line is used whatever the load.
        text = our_end(devices, rates, "round-robin")
        return replaced(text, {"outfill = 2": "outfill = 1", "keepalive = 10": "keepalive = 4"})

    with Bench(guest, tmp_path, rates, configure) as bench:
        host = bench.host
        host.start()
        attach(guest, rates, 8, 1)
        host.until_up(2)
        flood = Flood(bench, 160, 300, 0.1)
        before = host.lines()["line1"]["packets_sent"]
        guest.hangup(1)
        hung = time.monotonic()
        until(lambda: not enslaved(guest, "sl1"))
        dropped = time.monotonic() - hung
        until(lambda: not host.lines()["line1"]["up"])
        noticed = time.monotonic() - hung
        assert "nothing was received for 4 s" in host.log.read_text()
        sent = host.lines()["line1"]["packets_sent"]
        there, back = flood.told()
        print(f"\nhung up: dropped after {dropped:.1f} s, noticed after {noticed:.1f} s; {there}, {back}")
        line = host.lines()["line1"]
        assert line["packets_sent"] == sent, "the port was opened again, but nobody is heard there"
        assert (there["damaged"], back["damaged"]) == (0, 0)
        assert back["lost"] <= 10, "what eql had given to the interface, whose queue holds ten"
        assert 0 < there["lost"] <= sent - before, "what we had given to the line"
        assert len(host.ping(THERE, 3)) == 3, "the other line goes on"
        assert len(guest.ping(HERE, 3)) == 3
        script = shown(PAGE, "sh")[0].partition("ip link set eql")[0]
        guest.sh(f"{script}\nenslave sl1 {DEVICES[1]} 115200 115200")
        host.until_up(2)
        both_whole(Flood(bench, 20, 300, 0.1).told())
        assert host.lines()["line1"]["packets_sent"] > sent


def ppp_end(guest: Guest, count: int) -> None:
    """The page's script for PPP, and wait until eql has its slaves."""
    guest.sh(with_devices(shown(PAGE, "sh")[-1], DEVICES[:count]))
    until(lambda: all(enslaved(guest, f"ppp{number}") for number in range(count)))


def ppp_interfaces(guest: Guest, count: int) -> list[str]:
    """The interfaces of the first lines, in order: each pppd takes the number that is free when its line is up."""
    at = {}
    for number in range(count):
        words = f"tr '\\0' ' ' </proc/$(head -n 1 /var/run/ppp{number}.pid)/cmdline"
        at[guest.sh(words).split()[1]] = f"ppp{number}"
    return [at[device] for device in DEVICES[:count]]


def test_ppp(guest: Guest, tmp_path: Path) -> None:
    """Plain PPP slaves with the same addresses; a line that is cut is noticed by both, and comes back by itself."""
    with Bench(
        guest, tmp_path, (115200, 115200), lambda devices: with_devices(shown(PAGE, "toml")[1], devices)
    ) as bench:
        host = bench.host
        host.start()
        given = eql_sent(guest)
        ppp_end(guest, 2)
        host.until_up(2)
        assert [priority(guest, f"ppp{number}") for number in range(2)] == ["115200"] * 2
        interfaces = ppp_interfaces(guest, 2)
        before = at_rest(bench, interfaces)
        assert min(min(received, sent) for received, sent, _ in before) >= 2, "IPCP, a request and an answer each way"
        assert len(host.ping(THERE, 3)) == 3
        assert len(guest.ping(HERE, 3)) == 3
        there = transfer(host, guest, THERE)
        back = transfer(guest, host, HERE)
        print(f"\nPPP slaves: we send {there}\nthe kernel sends {back}\ncontrol frames: {before}")
        check_counts(bench, interfaces, before)
        assert eql_sent(guest) - given == host.status()["bond"]["packets_delivered"]
        flood = Flood(bench, 200, 300, 0.1)
        bench.pacer.say("cut 1")
        cut = time.monotonic()
        until(lambda: not host.lines()["line1"]["up"])
        until(lambda: sum(enslaved(guest, f"ppp{number}") for number in range(2)) == 1)
        print(f"cut: both without the line after {time.monotonic() - cut:.1f} s")
        assert time.monotonic() - cut < 25
        assert len(host.ping(THERE, 3)) == 3
        assert len(guest.ping(HERE, 3)) == 3
        bench.pacer.say("mend 1")
        host.until_up(2)
        until(lambda: sum(enslaved(guest, f"ppp{number}") for number in range(2)) == 2)
        there, back = flood.told()
        print(f"while it was cut: {there}, {back}")
        assert there["lost"] < 100, "none at all, where our scheduler had the other line at hand"
        assert 0 < back["lost"] < 100
        interfaces = ppp_interfaces(guest, 2)
        before = at_rest(bench, interfaces)
        both_whole(Flood(bench, 40, 800, 0.1).told())
        check_counts(bench, interfaces, before)
