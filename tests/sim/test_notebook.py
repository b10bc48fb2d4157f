"""The notebooks' code runs. (The docs' build executes them as notebooks; this needs no kernel.)"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.examples import TIMES

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert NOTEBOOKS


def code_cells(path):
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_kept(path):
    for number, cell in enumerate(code_cells(path)):
        assert not cell["outputs"], f"cell {number} has outputs: they are made when the docs are built"


@pytest.mark.examples
@pytest.mark.skipif(TIMES == 1, reason="slow: with EQLBOND_EXAMPLES, and when the docs are built")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_code_runs(path):
    pytest.importorskip("matplotlib")
    names: dict[str, object] = {}
    for number, cell in enumerate(code_cells(path)):
        exec(compile("".join(cell["source"]), f"{path.name}, code cell {number}", "exec"), names)
