"""No two rows of a benchmark's results have equal keys: whoever reads the JSON by them finds the right figure."""

from __future__ import annotations

import itertools
import json

import pytest

from benchmarks import codecs, fidelity, multilink, peers, realtime, scaling, table1995
from benchmarks._peer_rows import FAIR, NAMED, OURS, summary
from benchmarks._peer_targets import judge
from benchmarks._peers import FIFO, EqlbondMultilink, EqlbondPlain
from eqlbond.config import Config

FIGURES = {
    "tcp": ("percent_of_framing", "percent_of_bits", "out_of_order", "overtaken", "retransmits", "given_up"),
    "udp 50%": ("load", "out_of_order", "furthest_back", "lost", "packets"),
    "udp 90%": ("load", "out_of_order", "furthest_back", "lost", "packets"),
    "ping, idle": ("ping_ms",),
    "ping, busy": ("ping_under_load_ms",),
    "stream": ("outage_seconds", "losing_seconds", "lost", "out_of_order"),
    "burst": ("lost", "packets"),
}


def measured(cases):
    """Rows as if these cases had been measured; each figure is another number."""
    numbers = itertools.count(1)
    return [{**case.row(), **{key: next(numbers) for key in FIGURES[case.name]}} for case in cases]


def key(row):
    return row["system"], tuple(row["lines"]), row["mtu"], row["cut"]


@pytest.mark.parametrize("chosen", [peers.whole, peers.quick, peers.short])
def test_peers_have_one_row_for_each_key(chosen):
    rows = summary(measured(chosen()))
    assert len({key(row) for row in rows}) == len(rows)
    assert all(NAMED.keys() <= row.keys() for row in rows)


def test_peers_tell_all_cases_apart_but_what_is_repeated():
    rows = measured(peers.whole())
    names = [(*key(row), row["case"], row["qdisc"]) for row in rows]
    again = {name for name in names if names.count(name) > 1}
    assert again == {("eqlbond-multilink", peers.EQUAL2, 1500, "silence", "stream", OURS)}


def test_peers_measure_what_was_asked_for():
    rows = {key(row): row for row in summary(measured(peers.whole()))}
    for system in (*peers.PLAIN, *peers.MULTILINK):
        for lines in (peers.EQUAL2, peers.EQUAL4, peers.UNEQUAL, peers.SLOW):
            for mtu in (900, 1500):
                assert rows[system, lines, mtu, None]["percent_of_framing"] is not None
            assert len(rows[system, lines, 900, None]["floods"]) == 2
        assert rows[system, peers.EQUAL2, 1500, None]["ping_under_load_ms"] is not None
        for cut in ("hangup", "silence") if system != "eqlbond-to-kernel-eql" else ():
            row = rows[system, peers.EQUAL2, 1500, cut]
            assert row["outage_seconds"] is not None
            assert row["burst_lost"] is not None


def test_another_queue_is_no_result():
    cases = [
        *peers.tcp(peers.EQUAL4, 900, ["kernel-eql"], 600, FIFO),
        *peers.tcp(peers.EQUAL4, 900, ["kernel-eql"], 600),
        *peers.tcp(peers.EQUAL4, 900, ["eqlbond-plain"], 600, ecn=False),
        *peers.tcp(peers.EQUAL4, 900, ["eqlbond-plain"], 600),
    ]
    rows = measured(cases)
    assert [row["qdisc"] for row in rows] == [FIFO, FAIR, f"{OURS}, no ECN", OURS]
    shares = [row["percent_of_framing"] for row in summary(rows)]
    assert shares == [rows[1]["percent_of_framing"], rows[3]["percent_of_framing"]]
    target = next(line for line in judge(rows).render().splitlines() if "4 x 57600, MTU 900: % of framing" in line)
    kernel, _, bound, ours, verdict = target.split()[-5:]
    assert (float(kernel), float(bound), float(ours), verdict) == (shares[0], 97, shares[1], "SHORT")


def test_a_row_has_the_longest_of_several_outages_and_what_failed():
    silent = [case for case in peers.cuts(["eqlbond-multilink"], False) if case.cut == "silence"]
    rows = measured(silent)
    for row, outage in zip(rows, (3.5, 3.9, 2.5), strict=False):
        row["outage_seconds"] = outage
    (row,) = summary(rows)
    assert (row["outage_seconds"], row["lost"], row["streams"]) == (3.9, rows[1]["lost"], 3)
    assert (row["burst_lost"], row["burst_packets"]) == (rows[3]["lost"], rows[3]["packets"])
    rows[3] = {**silent[3].row(), "failed": "it did not answer"}
    (row,) = summary(rows)
    assert row["failed"] == {"burst": "it did not answer"}


@pytest.mark.parametrize(("system", "signs"), [(EqlbondPlain, "keepalive = 3"), (EqlbondMultilink, "echo_failure = 3")])
def test_ends_that_look_for_signs_of_life(system, signs):
    for echo in (True, False):
        made = system(None, peers.EQUAL2, 1500, echo=echo)
        text = made._configuration(["/dev/ttyS0", "/dev/ttyS1"], "10.9.0.1", "10.9.0.2")
        assert (signs in text) is echo
        Config.parse(text)


def test_tables_of_cases_have_no_case_twice():
    cells = table1995.cases(quick=False)
    for cases in (
        cells,
        table1995.ON_PTYS,
        [case[:3] for case in fidelity.CASES],
        [(rates, scheduler) for rates in realtime.SETS for scheduler in realtime.SCHEDULERS],
        [*itertools.product(codecs.CODECS, codecs.SIZES, codecs.CONTENTS)],
    ):
        assert len(set(cases)) == len(cases)


def test_scaling_keeps_mixed_rates_apart(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scaling, "run", lambda scheduler, rates, packets: float(len(set(rates))))
    file = tmp_path / "out.json"
    scaling.main(["--quick", "--json", str(file)])
    document = json.loads(file.read_text())
    for member, rates in (("results", scaling.EQUAL), ("mixed_rates", scaling.MIXED)):
        rows = document[member]
        assert len({(row["lines"], row["scheduler"]) for row in rows}) == len(rows)
        assert {tuple(row["rates"]) for row in rows} == {rates}
    assert "57600+38400+28800+19200" in capsys.readouterr().out


def test_multilink_says_what_ran_on_ptys():
    loads = [multilink._row([28800], 1400, "idle", real_time=real, latency=0.5)["load"] for real in (False, True)]
    assert loads == ["idle", "idle, on ptys"]
