"""Debian's pppd in the guest, with what docs/peers/pppd.md says, and `eqlbond run` at the other end of its lines."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.interop.linux.guest import DEVICES, Guest, Job
from tests.interop.linux.host import Bench, Datagrams, Host, Transfer
from tests.interop.routers import until

PAGE = (Path(__file__).parents[2] / "docs" / "peers" / "pppd.md").read_text()

HERE, THERE = "10.9.0.1", "10.9.0.2"
HERE6, THERE6 = "fd09::1", "fd09::2"
"""Addresses that the tests add: those of PPP are link-local, and need an interface's name."""

CALL, CALLED, LINE = "We call", "We are called", "One line"
"""The page's sections that have a configuration."""

FAST = 115200

QUEUE = ("CoDel", "queue limit")
"""Why the bond's queue drops packets: management of a queue, not loss."""

LOSS = ("lost", "given up", "incomplete", "orphan", "late", "duplicate", "malformed", "too long", "out of window")
"""What a bundle counts that has lost something."""


def blocks(section: str, language: str) -> list[str]:
    """The page's examples of a language in a section."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def changed(text: str, changes: Mapping[str, str]) -> str:
    """With other values; each of the old ones has to be there."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def ours(section: str, rates: Sequence[int] = (FAST,), **changes: str) -> Callable[[Sequence[str]], str]:
    """Our file as the page has it, with its first line as often as there are devices.

    Args:
        section: of the page.
        rates: of the lines; where there are fewer than devices, the last one holds for the others.
        changes: tables that get lines of TOML besides, or, for a key that is there, instead.
    """
    head, _, slave = blocks(section, "toml")[0].partition("[[slave]]")
    slave = slave.split("[[slave]]")[0].rstrip() + f"\n{changes.pop('slave', '')}\n\n"
    for table, lines in changes.items():
        for line in lines.splitlines():
            key = line.split("=")[0]
            head, found = re.subn(rf"^{re.escape(key)}=.*$", line, head, flags=re.MULTILINE)
            if not found:
                head = f"[{table}]\n{head}" if f"[{table}]\n" not in head else head
                head = head.replace(f"[{table}]\n", f"[{table}]\n{line}\n")

    def configure(devices: Sequence[str]) -> str:
        text = head
        for number, device in enumerate(devices):
            rate = rates[min(number, len(rates) - 1)]
            values = {"line0": f"line{number}", "/dev/ttyUSB0": device, "115200": str(rate)}
            text += "[[slave]]" + changed(slave, values)
        return text + '\n[log]\nlevel = "debug"\n'

    return configure


class Pppd:
    """The pppds of one bond: `start` runs one, on a line.

    Args:
        section: of the page, whose options it takes.
        changes: of these options; an option by itself is taken away, others are put behind.
    """

    def __init__(self, guest: Guest, section: str, *more: str, without: Sequence[str] = ()) -> None:
        self.guest = guest
        self.jobs: dict[int, Job] = {}
        options, *secrets = blocks(section, "text")
        lines = options.splitlines()
        for line in without:
            lines.remove(line)
        guest.write("/etc/ppp/peers/eqlbond", "\n".join([*lines, *more]))
        if secrets:
            self.secrets(section)

    def secrets(self, section: str) -> None:
        """Have the secrets of a section of the page, for both ways to use them."""
        text = blocks(section, "text")[1]
        for kind in ("chap", "pap"):
            self.guest.write(f"/etc/ppp/{kind}-secrets", text)
        self.guest.sh("chmod 600 /etc/ppp/*-secrets")

    def start(self, line: int, speed: int = FAST) -> Job:
        """Run one, on a line; `speed` is what termios is told."""
        job = self.guest.spawn(f"pppd {DEVICES[line]} {speed} call eqlbond debug")
        self.jobs[line] = job
        return job

    def start_all(self, host: Host, lines: int, speeds: Sequence[int] = (FAST,)) -> None:
        """Run one on each line: the first makes the bundle, and has to be up before the others join."""
        for line in range(lines):
            job = self.start(line, speeds[min(line, len(speeds) - 1)])
            if line == 0:
                job.until("using channel")
                host.until_up(1)
        host.until_up(lines)

    def agreed(self, line: int) -> tuple[set[str], set[str]]:
        """LCP's options on a line, as pppd writes them: what it asked for, and what we did."""
        said = self.jobs[line].output
        theirs, our = (
            re.findall(rf"{way} \[LCP ConfAck id=\S+ (.*)\]$", said, re.MULTILINE)[-1] for way in ("rcvd", "sent")
        )
        return set(re.findall("<.*?>", theirs)), set(re.findall("<.*?>", our))

    def said(self) -> str:
        """What all of them have said so far."""
        return "\n".join(job.output for job in self.jobs.values())


def counters(guest: Guest, interface: str = "ppp0") -> tuple[int, int]:
    """Packets that the kernel received and sent on an interface."""
    told = guest.sh(f"cd /sys/class/net/{interface}/statistics; cat rx_packets tx_packets")
    received, sent = map(int, told.split())
    return received, sent


def counted(host: Host) -> tuple[int, int]:
    """Packets that left the bond's queue for the lines, and those that came: delivered, or of a protocol like CCP."""
    bond = host.status()["bond"]
    queue = sum(count for reason, count in bond["dropped"].items() if reason in QUEUE)
    return bond["packets_accepted"] - queue, bond["packets_delivered"] + bond["dropped"].get("unknown protocol", 0)


def both(bench: Bench) -> tuple[tuple[int, int], tuple[int, int]]:
    """What both ends have counted."""
    return counted(bench.host), counters(bench.guest)


def at_rest(bench: Bench) -> tuple[tuple[int, int], tuple[int, int]]:
    """The same, when nothing is on its way."""
    now = both(bench)

    def still() -> bool:
        nonlocal now
        before, now = now, both(bench)
        return before == now

    until(still, 15)
    return now


def wrong(bench: Bench) -> dict[str, int]:
    """What had to be dropped at either end for being wrong, or was missing."""
    status = bench.host.status()["bond"]
    found = {reason: count for reason, count in status["dropped"].items() if reason in LOSS}
    for line in status["lines"]:
        found |= {f"{line['name']} {reason}": count for reason, count in line["dropped"].items()}
    names = "rx_errors tx_errors rx_dropped tx_dropped"
    told = bench.guest.sh(f"cd /sys/class/net/ppp0/statistics; cat {names}")
    return found | dict(zip(names.split(), map(int, told.split()), strict=True))


def exchange(bench: Bench, here: str = HERE, there: str = THERE, gap: float = 0.05) -> dict[str, Any]:
    """Pings, datagrams and a file by TCP, both ways at once: all is there, and both ends have counted the same.

    Args:
        bench: with its bond up.
        here: our address.
        there: the guest's.
        gap: seconds between two datagrams, which have 500 bytes each.

    Returns:
        What was said of the two transfers, ours first.
    """
    host, guest = bench.host, bench.guest
    before, wrong_before = at_rest(bench), wrong(bench)
    assert len(host.ping(there, 3, 0.1)) == 3
    assert len(guest.ping(here, 3, 0.1)) == 3
    flying = Datagrams(host, guest, there, 40, 500, gap), Datagrams(guest, host, here, 40, 500, gap)
    for told in (each.end() for each in flying):
        assert (told["received"], told["damaged"], told["duplicates"], told["out_of_order"]) == (40, 0, 0, 0), told
    transfers = Transfer(host, guest, there), Transfer(guest, host, here)
    out, back = (each.end() for each in transfers)
    now = before

    def agree() -> bool:
        nonlocal now
        now = both(bench)
        moved = [[new - old for new, old in zip(*end, strict=True)] for end in zip(now, before, strict=True)]
        return moved[0] == moved[1]

    try:
        until(agree, 15)
    except AssertionError:
        raise AssertionError(f"the ends count differently: {before}, {now}: {host.status()}") from None
    assert wrong(bench) == wrong_before
    return {"out": out, "in": back}


def wait(seconds: float) -> None:
    """For real: what is tested is time."""
    time.sleep(seconds)
