"""``eqlbond simulate``: what is wrong with its arguments is said before anything is simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eqlbond.cli import main, simulate

LINE = ["simulate", "--line", "9600", "--size", "2000"]


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("missing/bond.png", "there is no directory {}/missing"),
        ("", "{} is a directory"),
        ("bond.xyz", "a file that ends in .png, .svg or .pdf, not bond.xyz"),
    ],
)
def test_a_plot_that_cannot_be_saved_is_one_line_before_the_run(
    file: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")

    def compare(*arguments: Any, **options: Any) -> None:
        pytest.fail("it was simulated")

    monkeypatch.setattr(simulate, "compare", compare)
    assert main.main([*LINE, "--plot", str(tmp_path / file)]) == 1
    written = capsys.readouterr()
    assert (written.out, written.err) == ("", f"eqlbond: plot: {problem.format(tmp_path)}\n")


@pytest.mark.parametrize(("name", "made"), [("bond.svg", "bond.svg"), ("bond", "bond.png")])
def test_a_plot_is_saved(name: str, made: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert main.main([*LINE, "--plot", str(tmp_path / name)]) == 0
    assert (tmp_path / made).stat().st_size > 1000
    assert "9600" in capsys.readouterr().out
