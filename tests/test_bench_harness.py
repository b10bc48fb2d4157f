"""The benchmarks' front end: options, tables, JSON."""

from __future__ import annotations

import argparse
import io
import json
import math
from pathlib import Path

import pytest

from benchmarks import _harness
from benchmarks._harness import Column, Table, describe_machine, finish, machine, parse_options, write_json


def test_options_default_to_a_full_run_without_json():
    options = parse_options("What it does.\n\nMore.", [])
    assert not options.quick
    assert options.json is None


def test_options_are_read():
    options = parse_options("What it does.", ["--quick", "--json", "out.json"])
    assert options.quick
    assert options.json == Path("out.json")


def test_a_benchmark_adds_options_of_its_own():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=4)
    options = parse_options("What it does.", ["--lines", "2"], parser)
    assert options.extra.lines == 2
    assert parser.description == "What it does."


def test_a_misspelt_option_ends_with_status_2(capsys):
    with pytest.raises(SystemExit, match="2"):
        parse_options("What it does.", ["--qiuck"])
    assert "--qiuck" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        (Column("x", ".3f"), 0.98765, "0.988"),
        (Column("x", ".1%"), 0.98765, "98.8%"),
        (Column("x", ",d"), 289284, "289,284"),
        (Column("x", ".3f"), None, "-"),
        (Column("x", ".3f"), "n/a", "n/a"),
        (Column("x", ".3f"), True, "True"),
        (Column("x"), 12, "12"),
    ],
)
def test_a_column_shows_values(column, value, shown):
    assert column.show(value) == shown


def test_numbers_stand_right_and_text_left():
    table = Table("Sums", [Column("lines"), Column("seconds", ".1f")])
    table.add("57600+14400", 40.25)
    table.add("9600", 301.3)
    table.add("none", None)
    table.note("ten bits a byte")
    assert table.render() == "\n".join(
        [
            "Sums",
            "",
            "lines        seconds",
            "-----------  -------",
            "57600+14400     40.2",
            "9600           301.3",
            "none               -",
            "* ten bits a byte",
        ]
    )


def test_a_table_without_rows_shows_its_headings():
    assert Table("Sums", [Column("lines")]).render() == "Sums\n\nlines\n-----"


@pytest.mark.parametrize("values", [(), ("a",), ("a", "b", "c")])
def test_a_row_has_a_value_for_each_column(values):
    table = Table("Sums", [Column("one"), Column("two")])
    with pytest.raises(ValueError, match="for 2 columns"):
        table.add(*values)


def test_tables_share_no_rows_or_notes():
    first = Table("First", [Column("x")])
    first.add("row")
    first.note("note")
    assert Table("Second", [Column("x")]).render() == "Second\n\nx\n-"


def test_print_names_the_machine():
    out = io.StringIO()
    Table("Sums", [Column("lines")]).print(out)
    assert out.getvalue().startswith("\nSums\n\nlines\n-----\n[")
    assert machine()["python"] in out.getvalue()


def test_describe_machine_is_one_line():
    facts = {"cpu": "Z80", "cores": 1, "python": "CPython 3.11.2", "kernel": "Linux 6.1", "load": [0.5, 0.25, 0.0]}
    assert describe_machine(facts) == "[Z80, 1 cores, CPython 3.11.2, Linux 6.1, load 0.50]"
    assert describe_machine({**facts, "load": None}).endswith("load unknown]")


def test_cpu_model_comes_from_cpuinfo(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel\t\t: 17\nmodel name\t: Zilog Z80 @ 4 MHz\nmodel name\t: other\n")
    assert _harness._cpu_model(cpuinfo) == "Zilog Z80 @ 4 MHz"
    assert _harness._cpu_model(tmp_path / "absent")


def test_json_has_results_machine_and_meta(tmp_path):
    path = tmp_path / "out.json"
    write_json(path, [{"lines": [57600, 14400], "efficiency": 0.99}], mtu=900)
    document = json.loads(path.read_text())
    assert document["results"] == [{"lines": [57600, 14400], "efficiency": 0.99}]
    assert document["mtu"] == 900
    assert set(document["machine"]) == {"cpu", "cores", "python", "kernel", "load"}
    assert document["date"].endswith("+00:00")


@pytest.mark.parametrize(("value", "error"), [(math.nan, ValueError), (math.inf, ValueError), (object(), TypeError)])
def test_what_is_no_figure_is_not_written(tmp_path, value, error):
    path = tmp_path / "out.json"
    path.write_text("old")
    with pytest.raises(error):
        write_json(path, [{"seconds": value}])
    assert path.read_text() == "old"


def test_meta_cannot_replace_the_machine(tmp_path):
    with pytest.raises(ValueError, match="machine"):
        write_json(tmp_path / "out.json", [], machine="mine")


def test_finish_writes_only_where_asked(tmp_path):
    path = tmp_path / "out.json"
    finish(parse_options("What it does.", []), [{"x": 1}])
    assert not path.exists()
    finish(parse_options("What it does.", ["--quick", "--json", str(path)]), [{"x": 1}], seed=7)
    document = json.loads(path.read_text())
    assert (document["quick"], document["seed"]) == (True, 7)


def test_further_rows_are_members_of_their_own(tmp_path):
    path = tmp_path / "out.json"
    finish(parse_options("What it does.", ["--json", str(path)]), [{"x": 1}], also={"others": [{"x": 2}]}, seed=7)
    document = json.loads(path.read_text())
    assert (document["results"], document["others"], document["seed"]) == ([{"x": 1}], [{"x": 2}], 7)


def test_further_rows_alone_are_enough(tmp_path):
    path = tmp_path / "out.json"
    finish(parse_options("What it does.", ["--json", str(path)]), [], also={"others": [{"x": 2}]})
    assert json.loads(path.read_text())["results"] == []
    with pytest.raises(SystemExit, match="no results"):
        finish(parse_options("What it does.", []), [], also={"others": []})


def test_a_benchmark_says_what_quick_is(capsys):
    with pytest.raises(SystemExit, match="0"):
        parse_options("What it does.", ["--help"], quick="a part of it, within an hour")
    said = capsys.readouterr().out
    assert "a part of it, within an hour" in said
    assert "40 s" not in said


def test_finish_wants_results():
    with pytest.raises(SystemExit, match="no results"):
        finish(parse_options("What it does.", []), [])
