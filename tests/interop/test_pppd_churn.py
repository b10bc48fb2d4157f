"""Lines that join a bundle of pppd's, leave it, are hung up, fall silent, and come back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

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


@contextlib.contextmanager
def flows(bench: Bench, what: str, count: int, size: int, patience: float, outage: float) -> Iterator[None]:
    """Datagrams in both directions, 20 a second: some may be lost, none damaged, doubled or out of order.

    Args:
        bench: with its bond up.
        what: happens meanwhile.
        count: of datagrams, each way.
        size: of each, bytes.
        patience: seconds that an outage may take without ending the count.
        outage: seconds that it may take at the most.
    """
    interval = 0.05
    flying = {
        "to pppd": Datagrams(bench.host, bench.guest, THERE, count, size, interval, patience),
        "from pppd": Datagrams(bench.guest, bench.host, HERE, count, size, interval, patience),
    }
    wait(1)
    yield
    for direction, each in flying.items():
        told = each.end()
        print(f"\n{what}, {direction}: {told['lost']} of {told['sent']} lost, longest gap {told['longest_gap']:.2f} s")
        assert (told["damaged"], told["duplicates"], told["out_of_order"]) == (0, 0, 0), told
        assert told["longest_gap"] < outage, told


def test_hang_up(guest: Guest, tmp_path: Path) -> None:
    """The carrier of one of two lines falls at both ends, under datagrams at about half of what the lines carry."""
    with Bench(guest, tmp_path, [FAST] * 2, ours(CALL, slave=AGAIN)) as bench:
        pppd = Pppd(guest, CALL)
        bench.host.start()
        pppd.start_all(bench.host, 2)
        with flows(bench, "hang-up", 80, 500, patience=3.0, outage=3.0):
            bench.pacer.say("hangup 1")
            guest.hangup(1)
            assert "Modem hangup" in ended(pppd, 1)
            bench.pacer.say("mend 1")
            pppd.start(1)
        bench.host.until_up(2)
        exchange(bench)


def test_silence(guest: Guest, tmp_path: Path) -> None:
    """One of two lines carries nothing any more and nobody is told; echoes find it at both ends."""
    with Bench(guest, tmp_path, [57600] * 2, ours(CALL, rates=[57600], slave=AGAIN)) as bench:
        pppd = Pppd(guest, CALL)
        bench.host.start()
        pppd.start_all(bench.host, 2, [57600])
        with flows(bench, "silence", 160, 220, patience=8.0, outage=7.0):
            bench.pacer.say("cut 1")
            assert "No response to 3 echo-requests" in ended(pppd, 1)
            bench.host.until_said("line1 is down")
            bench.pacer.say("mend 1")
            pppd.start(1, 57600)
        bench.host.until_up(2)
        exchange(bench)


def test_one_pppd_dies_without_a_word(guest: Guest, tmp_path: Path) -> None:
    """The other line goes on; echoes find the dead one, and a new pppd takes it into the bundle again."""
    with Bench(guest, tmp_path, [57600] * 2, ours(CALL, rates=[57600], slave=AGAIN)) as bench:
        pppd = Pppd(guest, CALL)
        bench.host.start()
        pppd.start_all(bench.host, 2, [57600])
        with flows(bench, "pppd killed", 160, 220, patience=8.0, outage=7.0):
            pppd.jobs[1].kill("KILL")
            bench.host.until_said("line1 is down")
            pppd.start(1, 57600).until("Link attached to ppp0")
        bench.host.until_up(2)
        exchange(bench)


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
