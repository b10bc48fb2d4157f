"""Comparisons, their table, their plots; and the snapshot of a few cases that people look at."""

from __future__ import annotations

import builtins
import json
from typing import Any

import pytest

from eqlbond.exceptions import ConfigurationError
from eqlbond.schedulers import EarliestDelivery, Eql, Placement, RoundRobin, Scheduler
from eqlbond.sim import (
    Bulk,
    PlotUnavailable,
    Poisson,
    RequestResponse,
    SimLine,
    SimulationStalled,
    Tcp,
    Workload,
    compare,
    simulate,
)
from eqlbond.sim.result import quantile

# Looked at by a person; a change of the engine or of a scheduler that moves these figures has to say why.
SNAPSHOT = """\
bulk 900                EarliestDelivery   14.06 s  eff 0.997  p95   1.28 s  reordered  0.00%  lost 0
bulk 900                Eql                27.84 s  eff 0.504  p95   3.18 s  reordered 39.29%  lost 0
bulk 900                RoundRobin         34.78 s  eff 0.403  p95   3.18 s  reordered 49.11%  lost 0
bulk 1500, four         EarliestDelivery   18.47 s  eff 0.989  p95   2.86 s  reordered  0.00%  lost 0
bulk 1500, four         Eql                33.62 s  eff 0.544  p95   4.22 s  reordered 52.99%  lost 0
bulk 1500, four         RoundRobin         52.01 s  eff 0.351  p95   7.90 s  reordered 35.82%  lost 0
bulk mixed, four        EarliestDelivery   18.78 s  eff 0.975  p95   2.69 s  reordered 16.61%  lost 0
bulk mixed, four        Eql                33.42 s  eff 0.548  p95   4.08 s  reordered 53.43%  lost 0
bulk mixed, four        RoundRobin         48.86 s  eff 0.375  p95   6.70 s  reordered 59.21%  lost 0
Poisson 0.8 mixed, four EarliestDelivery   60.63 s  eff 0.812  p95   1.13 s  reordered 26.04%  lost 0
Poisson 0.8 mixed, four Eql               110.24 s  eff 0.447  p95  42.26 s  reordered 50.87%  lost 0
Poisson 0.8 mixed, four RoundRobin        150.06 s  eff 0.328  p95  81.28 s  reordered 55.57%  lost 0
TCP                     EarliestDelivery   14.72 s  eff 0.997  p95   1.28 s  reordered  0.00%  lost 0
TCP                     Eql                33.44 s  eff 0.439  p95   3.18 s  reordered 39.85%  lost 0
TCP                     RoundRobin         41.01 s  eff 0.358  p95   3.18 s  reordered 49.62%  lost 0
requests                EarliestDelivery    6.07 s  eff 0.015  p95   0.01 s  reordered  0.00%  lost 0
requests                Eql                11.48 s  eff 0.008  p95   0.01 s  reordered  0.00%  lost 0
requests                RoundRobin         12.78 s  eff 0.007  p95   0.05 s  reordered  0.00%  lost 0
bulk, a cut             EarliestDelivery   10.38 s  eff 0.979  p95   0.97 s  reordered  0.00%  lost 1
bulk, a cut             Eql                10.59 s  eff 0.956  p95   1.13 s  reordered 45.05%  lost 1
bulk, a cut             RoundRobin         10.59 s  eff 0.956  p95   1.13 s  reordered 28.83%  lost 1
"""


@pytest.fixture(scope="module")
def table():
    return compare([57600, 14400], workload=Bulk(40_000, 900), mtu=900, seeds=(1, 2))


class TestTable:
    def test_default_schedulers_and_all_seeds(self, table):
        assert list(table.results) == ["EarliestDelivery()", "EarliestDelivery(hold='never')", "Eql()", "RoundRobin()"]
        assert [[r.seed for r in results] for results in table.results.values()] == [[1, 2]] * 4

    def test_figures_are_means(self, table):
        row = table.rows()[2]
        results = table.results["Eql()"]
        assert row["p95"] == pytest.approx(sum(r.delay_p95 for r in results) / 2)
        assert row["by up to"] == max(r.reordering_extent_max for r in results)

    def test_as_text_html_and_json(self, table):
        text = str(table)
        assert "57600 + 14400 bit/s, Bulk(40000, packet_size=900), MTU 900" in text
        assert len({len(line) for line in text.splitlines()[3:]}) == 1
        page = table._repr_html_()
        assert page.count("<tr>") == 5
        assert "hold=&#x27;never&#x27;" in page
        assert json.loads(json.dumps(table.to_dict()))["Eql()"][0]["delivered"] == 45

    def test_names_of_ones_own_and_equal_schedulers(self):
        named = compare([9600], {"mine": Eql()}, Bulk(5000))
        assert list(named.results) == ["mine"]
        twice = compare([9600], [Eql(), Eql()], Bulk(5000))
        assert list(twice.results) == ["Eql()", "Eql() #2"]

    @pytest.mark.parametrize("options", [{"schedulers": []}, {"seeds": ()}])
    def test_nothing_to_compare(self, options):
        with pytest.raises(ConfigurationError):
            compare([9600], workload=Bulk(5000), **options)

    def test_who_failed_is_said(self):
        class Waits:
            def place(self, packet: Any, lines: Any, now: float) -> Placement | None:
                return None

        both: dict[str, Scheduler] = {"good": Eql(), "idle": Waits()}
        with pytest.raises(SimulationStalled) as caught:
            compare([9600], both, Bulk(5000))
        assert caught.value.__notes__ == ["with the scheduler idle"]


class TestResult:
    def test_as_text_html_and_json(self):
        result = simulate([SimLine(57600, name="a<b"), SimLine(9600, loss=0.1)], Bulk(50_000, 900), mtu=900)
        assert "efficiency" in str(result)
        assert "a&lt;b" in result._repr_html_()
        again = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert again["lost"] == result.lost
        assert sum(result.shares.values()) == pytest.approx(1.0)

    def test_quantiles_by_nearest_rank(self):
        values = [1.0, 2.0, 3.0, 4.0]
        assert [quantile(values, share) for share in (0.25, 0.5, 0.75, 0.76, 1.0)] == [1.0, 2.0, 3.0, 4.0, 4.0]
        assert quantile([], 0.5) == 0.0


class TestPlots:
    def test_all_kinds_are_saved(self, table, tmp_path):
        pytest.importorskip("matplotlib")
        for name, draw in (("both", table.plot), ("delays", table.plot_delays), ("timeline", table.plot_timeline)):
            figure = draw(tmp_path / f"{name}.png")
            assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
            assert figure.axes

    def test_a_timeline_shows_each_packet_once(self, table):
        pytest.importorskip("matplotlib")
        seconds = max(results[0].duration for results in table.results.values())
        panels = table.plot_timeline(seconds=seconds).axes
        assert len(panels) == 4
        assert all(len(panel.collections) == 45 for panel in panels)

    def test_without_matplotlib_the_extra_is_named(self, table, monkeypatch):
        real = builtins.__import__

        def refuse(name, *args, **kwargs):
            if name.startswith("matplotlib"):
                raise ImportError(name)
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", refuse)
        with pytest.raises(PlotUnavailable, match=r"eqlbond\[plot\]"):
            table.plot()


def snapshot() -> str:
    """The figures of a few cases, a line each."""
    four = [57600, 28800, 14400, 9600]
    cases: list[tuple[str, list[Any], Workload, int]] = [
        ("bulk 900", [57600, 14400], Bulk(100_000), 900),
        ("bulk 1500, four", four, Bulk(200_000), 1500),
        ("bulk mixed, four", four, Bulk(200_000, (40, 576, 1500)), 1500),
        ("Poisson 0.8 mixed, four", four, Poisson(load=0.8, sizes=(40, 576, 1500), duration=60), 1500),
        ("TCP", [57600, 14400], Tcp(100_000), 900),
        ("requests", [57600, 14400], RequestResponse(requests=10), 900),
        ("bulk, a cut", [57600, SimLine(57600, name="cut", cut_at=3, revive_at=6, latency=0.1)], Bulk(100_000), 900),
    ]
    lines = []
    for name, bond, workload, mtu in cases:
        for scheduler in (EarliestDelivery(), Eql(), RoundRobin()):
            r = simulate(bond, workload, scheduler, mtu=mtu)
            lines.append(
                f"{name:23} {type(scheduler).__name__:16} {r.duration:7.2f} s  eff {r.efficiency:.3f}  "
                f"p95 {r.delay_p95:6.2f} s  reordered {r.reordered_share:6.2%}  lost {sum(r.lost.values())}"
            )
    return "\n".join(lines) + "\n"


def test_snapshot():
    assert snapshot() == SNAPSHOT
