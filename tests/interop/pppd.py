"""Debian's pppd in the guest, with what docs/peers/pppd.md says, and `eqlbond run` at the other end of its lines."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.interop.linux.guest import DEVICES, Guest, Job
from tests.interop.linux.host import Bench, Datagrams, Host, Transfer
from tests.interop.pages import replaced, section, shown, with_lines
from tests.interop.routers import until

PAGE = "pppd.md"

HERE, THERE = "10.9.0.1", "10.9.0.2"
HERE6, THERE6 = "fd09::1", "fd09::2"
"""Addresses that the tests add: those of PPP are link-local, and need an interface's name."""

CALL, CALLED, LINE, IPV6 = "We call", "We are called", "One line", "IPv6 addresses"
"""The page's sections that have a configuration, or commands."""

FAST = 115200

QUEUE = ("CoDel", "queue limit")
"""Why the bond's queue drops packets: management of a queue, not loss."""

LOSS = ("lost", "given up", "incomplete", "orphan", "late", "duplicate", "malformed", "too long", "out of window")
"""What a bundle counts that has lost something."""


def files(title: str) -> dict[str, str]:
    """pppd's files in a section, by the path that the page names before each."""
    text = section(PAGE, title)
    found = re.findall(r"`(/etc/ppp/[^`]+)`[^`]*?^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert [content for _, content in found] == shown(PAGE, "text", title), "a block whose path is not told"
    return dict(found)


def ours(title: str, rates: Sequence[int] = (FAST,), **changes: str) -> Callable[[Sequence[str]], str]:
    """Our file as the page has it, with as many lines as there are devices.

    Args:
        title: of a section of the page.
        rates: of the lines; where there are fewer than devices, the last one holds for the others.
        changes: tables that get lines of TOML besides, or, for a key that is there, instead.
    """
    (text,) = shown(PAGE, "toml", title)
    head, mark, slaves = text.partition("[[slave]]")
    slave = changes.pop("slave", "")
    for table, lines in changes.items():
        for line in lines.splitlines():
            key = line.split("=")[0]
            head, found = re.subn(rf"^{re.escape(key)}=.*$", line, head, flags=re.MULTILINE)
            if not found:
                head = f"[{table}]\n{head}" if f"[{table}]\n" not in head else head
                head = head.replace(f"[{table}]\n", f"[{table}]\n{line}\n")

    def configure(devices: Sequence[str]) -> str:
        return with_lines(head + mark + slaves, devices, rates, slave) + '[log]\nlevel = "debug"\n'

    return configure


def add_addresses(bench: Bench) -> None:
    """The page's commands that give both ends IPv6 addresses besides those of PPP, which need an interface's name."""
    here, there = shown(PAGE, "sh", IPV6)[0].splitlines()
    assert HERE6 in here
    assert THERE6 in there
    bench.host.sh("sh", "-c", here)
    bench.guest.sh(there)


class Pppd:
    """The pppds of one bond, by the files and the commands of a section of the page: `start` runs one, on a line.

    Args:
        guest: booted.
        title: of the section.
        more: options that are put behind the page's.
        without: options of the page's that are taken away.
    """

    def __init__(self, guest: Guest, title: str, *more: str, without: Sequence[str] = ()) -> None:
        self.guest = guest
        self.jobs: dict[int, Job] = {}
        commands = shown(PAGE, "sh", title)[0].splitlines()
        self._commands = [line for line in commands if line.startswith("pppd ")]
        for path, text in files(title).items():
            lines = text.splitlines()
            if path.startswith("/etc/ppp/peers/"):
                for line in without:
                    lines.remove(line)
                lines += [*more, "debug"]
            guest.write(path, "\n".join(lines))
        guest.sh("\n".join(["set -e", *(line for line in commands if line not in self._commands)]))

    def secrets(self, title: str) -> None:
        """Have the secrets of another section, for CHAP and for PAP."""
        (text,) = (text for path, text in files(title).items() if path.endswith("-secrets"))
        for kind in ("chap", "pap"):
            self.guest.write(f"/etc/ppp/{kind}-secrets", text)
        self.guest.sh("chmod 600 /etc/ppp/*-secrets")

    def start(self, line: int, speed: int = FAST) -> Job:
        """Run one, on a line; `speed` is what termios is told. Beyond the page's lines its last command goes on."""
        shown_as = min(line, len(self._commands) - 1)
        changes = {f"/dev/ttyS{shown_as}": DEVICES[line], str(FAST): str(speed)}
        job = self.guest.spawn(replaced(self._commands[shown_as], changes))
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
