"""What pppd and eqlbond can agree on: headers, escapes, sizes, names; and who proves what to whom."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.interop.linux.guest import Guest
from tests.interop.linux.host import Bench
from tests.interop.pppd import CALL, CALLED, FAST, HERE, LINE, THERE, Pppd, exchange, ours

pytestmark = pytest.mark.interop


def test_everything_but_the_defaults(guest: Guest, tmp_path: Path) -> None:
    """Short numbers, nothing compressed, everything escaped, an MRRU above the MRU, an IP address as endpoint."""
    configure = ours(
        CALL,
        bond='mtu = 1600\nmultilink = { endpoint = "ipv4:10.0.0.7", short = true, mrru = 1600 }',
        ppp="accm = 0xFFFFFFFF\npfc = false\nacfc = false",
    )
    with Bench(guest, tmp_path, [FAST] * 2, configure) as bench:
        pppd = Pppd(
            guest, CALL,
            "mpshortseq", "asyncmap ffffffff", "noaccomp", "nopcomp", "mrru 1600", "mtu 1600", "novj", "noccp",
            "endpoint IP:10.0.0.8",
            without=["endpoint local:68:75:62"],
        )  # fmt: skip
        bench.host.start()
        pppd.start_all(bench.host, 2)
        for line in (0, 1):
            theirs, our = pppd.agreed(line)
            assert {"<auth chap MD5>", "<mrru 1600>", "<ssnhf>", "<endpoint [IP:10.0.0.8]>"} <= theirs
            assert {"<auth chap MD5>", "<mru 1608>", "<mrru 1600>", "<ssnhf>", "<endpoint [IP:10.0.0.7]>"} <= our
            assert not {"<pcomp>", "<accomp>", "<asyncmap 0x0>"} & (theirs | our)
        assert "compress VJ" not in pppd.said()
        assert guest.sh("cat /sys/class/net/ppp0/mtu").strip() == "1600"
        assert len(bench.host.ping(THERE, 2, 0.2, 1572)) == 2
        assert len(guest.ping(HERE, 2, 0.2, 1572)) == 2
        exchange(bench)


def test_each_end_its_own_way(guest: Guest, tmp_path: Path) -> None:
    """XON and XOFF escaped, a larger MRRU at one end, short numbers in one direction, compression of one field."""
    configure = ours(
        CALLED,
        bond='multilink = { endpoint = "mac:02:00:00:00:00:01", mrru = 2000 }',
        ppp="accm = 0x000A0000\npfc = false",
    )
    with Bench(guest, tmp_path, [FAST] * 2, configure) as bench:
        pppd = Pppd(
            guest, CALLED, "mpshortseq", "asyncmap a0000", "noaccomp", "endpoint MAC:02:00:00:00:00:02",
            without=["endpoint local:73:69:74:65:37"],
        )  # fmt: skip
        bench.host.start()
        pppd.start_all(bench.host, 2)
        theirs, our = pppd.agreed(1)
        assert {"<asyncmap 0xa0000>", "<mrru 1500>", "<ssnhf>", "<endpoint [MAC:02:00:00:00:00:02]>"} <= theirs
        assert {"<asyncmap 0xa0000>", "<mrru 2000>", "<endpoint [MAC:02:00:00:00:00:01]>"} <= our
        assert "<pcomp>" not in theirs
        assert not {"<ssnhf>", "<accomp>", "<pcomp>"} & our
        exchange(bench)


def test_short_numbers_and_long_checks_refused(guest: Guest, tmp_path: Path) -> None:
    """pppd refuses our wish for short numbers and for checks of 32 bits; the bundle goes on without them."""
    configure = ours(CALL, bond='multilink = { endpoint = "site7", short = true }', ppp="fcs32 = true")
    with Bench(guest, tmp_path, [FAST] * 2, configure) as bench:
        pppd = Pppd(guest, CALL, "nompshortseq")
        bench.host.start()
        pppd.start_all(bench.host, 2)
        for line in (0, 1):
            theirs, our = pppd.agreed(line)
            assert "<ssnhf>" not in theirs | our
            said = pppd.jobs[line].output
            assert re.search(r"sent \[LCP ConfRej id=\S+ .*<ssnhf>", said)
            assert re.search(r"sent \[LCP ConfRej id=\S+ .*< 09 03 0\d>", said), "FCS alternatives"
        exchange(bench)


def test_multilink_refused(guest: Guest, tmp_path: Path) -> None:
    """A pppd that does no Multilink is kept out of a bundle; both ends tell why."""
    with Bench(guest, tmp_path, [FAST], ours(CALL)) as bench:
        pppd = Pppd(guest, CALL, without=["multilink"])
        bench.host.start()
        job = pppd.start(0)
        assert "the peer does not speak Multilink" in bench.host.until_said("line0 is down")
        job.until("Connection terminated")
        assert re.search(r"sent \[LCP ConfRej id=\S+ .*<mrru 1500>", job.output)
        assert "LCP terminated by peer" in job.output


WRONG = "another secret"


@pytest.mark.parametrize(
    ("method", "refusal"),
    [("chap", "Peer site7 failed CHAP authentication"), ("pap", "PAP peer authentication failed for site7")],
)
def test_a_wrong_secret_of_ours(guest: Guest, tmp_path: Path, method: str, refusal: str) -> None:
    """pppd refuses us; both ends tell why."""
    auth = f'auth = {{ method = "{method}", name = "site7", secret = "{WRONG}" }}'
    with Bench(guest, tmp_path, [FAST], ours(LINE, ppp=auth)) as bench:
        pppd = Pppd(guest, LINE, "auth", f"require-{method}", "name hub", without=["noauth"])
        pppd.secrets(CALL)
        job = pppd.start(0)
        job.until("using channel")
        bench.host.start()
        job.until("Connection terminated")
        assert refusal in job.output
        told = bench.host.until_said("line0 is down")
        assert f"the peer refused our name 'site7' or its secret ({method.upper()})" in told


@pytest.mark.parametrize("method", ["chap", "pap"])
def test_a_wrong_secret_of_theirs(guest: Guest, tmp_path: Path, method: str) -> None:
    """We refuse pppd; both ends tell why."""
    needs = f'name = "site7"\nrequire = "{method}"\nsecrets = {{ hub = "{WRONG}" }}'
    with Bench(guest, tmp_path, [FAST], ours(LINE, ppp=needs)) as bench:
        pppd = Pppd(guest, LINE, "name hub", "remotename site7")
        pppd.secrets(CALL)
        job = pppd.start(0)
        job.until("using channel")
        bench.host.start()
        job.until(f"{method.upper()} authentication failed")
        told = bench.host.until_said("line0 is down")
        assert "'hub'" in told, told
        assert method.upper() in told, told
