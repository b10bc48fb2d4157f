"""Lines that join a bundle of pppd's, leave it, are hung up, fall silent, and come back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.interop.linux.guest import Guest
from tests.interop.linux.host import Bench, Datagrams
from tests.interop.pppd import CALL, FAST, HERE, THERE, Pppd, exchange, ours, wait
from tests.interop.routers import until

pytestmark = pytest.mark.interop

AGAIN = "holdoff = 0.5\nmax_holdoff = 1"


def ended(pppd: Pppd, line: int) -> str:
    """Wait for the end of a line's pppd; what it has said."""
    return pppd.jobs[line].wait(30, check=False)


def test_lines_that_come_and_go(guest: Guest, tmp_path: Path) -> None:
    """Late, politely in both directions, and again; a ping that runs all the time is answered."""
    with Bench(guest, tmp_path, [FAST] * 3, ours(CALL, slave=AGAIN)) as bench:
        host = bench.host
        pppd = Pppd(guest, CALL)
        host.start()
        pppd.start_all(host, 2)
        pinging = host.job(f"ping -n -i 0.1 -W 5 {THERE}")
        pppd.start(2)  # late
        host.until_up(3)
        pppd.jobs[1].kill()  # SIGTERM: it says goodbye
        assert "Terminating on signal 15" in ended(pppd, 1)
        assert "the peer closed the link" in host.until_said("line1 is down")
        host.until_up(2)
        host.eqlbond("emancipate", "line2")  # and so do we
        assert "rcvd [LCP TermReq" in ended(pppd, 2)
        host.until_up(1)
        pppd.start(1)
        host.until_up(2)
        device = bench.devices[2]
        host.eqlbond("enslave", device, str(FAST), "--framing", "ppp", "--name", "line2")
        pppd.start(2)
        host.until_up(3)
        wait(0.5)
        pinging.interrupt()
        said = pinging.wait(20, check=False)
        sent, answered = said.splitlines()[-2].split()[0], said.count("time=")
        print(f"\nlines come and go: {answered} of {sent} pings answered")
        # One may be on its way as a line leaves, at each of the two times, and one at the end.
        assert answered >= int(sent) - 3, f"{answered} of {sent}: {said}"
        exchange(bench)


def flows(bench: Bench, count: int, size: int, patience: float) -> tuple[Datagrams, Datagrams]:
    """Datagrams in both directions, 20 a second; an outage has to be shorter than the patience."""
    interval = 0.05
    return (
        Datagrams(bench.host, bench.guest, THERE, count, size, interval, patience),
        Datagrams(bench.guest, bench.host, HERE, count, size, interval, patience),
    )


def tell(what: str, told: dict[str, Any], direction: str) -> None:
    print(f"\n{what}, {direction}: {told['lost']} of {told['sent']} lost, longest gap {told['longest_gap']:.2f} s")


def test_hang_up(guest: Guest, tmp_path: Path) -> None:
    """The carrier of one of two lines falls at both ends, under datagrams at about half of what the lines carry."""
    with Bench(guest, tmp_path, [FAST] * 2, ours(CALL, slave=AGAIN)) as bench:
        host = bench.host
        pppd = Pppd(guest, CALL)
        host.start()
        pppd.start_all(host, 2)
        flying = flows(bench, 80, 500, 3.0)
        wait(1)
        bench.pacer.say("hangup 1")
        guest.hangup(1)
        assert "Modem hangup" in ended(pppd, 1)
        bench.pacer.say("mend 1")
        pppd.start(1)
        out, back = (each.end() for each in flying)
        tell("hang-up", out, "to pppd")
        tell("hang-up", back, "from pppd")
        for told in (out, back):
            assert (told["damaged"], told["duplicates"], told["out_of_order"]) == (0, 0, 0), told
        host.until_up(2)
        exchange(bench)


def test_silence(guest: Guest, tmp_path: Path) -> None:
    """One of two lines carries nothing any more and nobody is told; echoes find it at both ends."""
    with Bench(guest, tmp_path, [57600] * 2, ours(CALL, rates=[57600], slave=AGAIN)) as bench:
        host = bench.host
        pppd = Pppd(guest, CALL)
        host.start()
        pppd.start_all(host, 2, [57600])
        flying = flows(bench, 160, 220, 8.0)
        wait(1)
        bench.pacer.say("cut 1")
        said = ended(pppd, 1)
        assert "No response to 3 echo-requests" in said
        host.until_said("line1 is down")
        bench.pacer.say("mend 1")
        pppd.start(1, 57600)
        out, back = (each.end() for each in flying)
        tell("silence", out, "to pppd")
        tell("silence", back, "from pppd")
        for told in (out, back):
            assert (told["damaged"], told["duplicates"], told["out_of_order"]) == (0, 0, 0), told
            assert told["longest_gap"] < 7, told
        host.until_up(2)


def test_pppd_begins_again(guest: Guest, tmp_path: Path) -> None:
    """All pppds die without a word, and new ones make a new bundle on the same lines."""
    with Bench(guest, tmp_path, [FAST] * 2, ours(CALL, slave=AGAIN)) as bench:
        host = bench.host
        pppd = Pppd(guest, CALL)
        host.start()
        pppd.start_all(host, 2)
        assert len(host.ping(THERE, 5, 0.1)) == 5
        for job in pppd.jobs.values():
            job.kill("KILL")
        ended(pppd, 0)
        pppd.start(0).until("New bundle ppp0 created")
        pppd.start(1).until("Link attached to ppp0")
        began = time.monotonic()
        until(lambda: host.ping(THERE, 1))
        print(f"\nnew pppds: answered {time.monotonic() - began:.1f} s after the second one was there")
        host.until_up(2)
        exchange(bench)
