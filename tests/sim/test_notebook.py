"""The notebooks' code runs. (The docs' build executes them as notebooks; this needs no kernel.)"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_code_runs_and_no_output_is_kept(path):
    pytest.importorskip("matplotlib")
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    names: dict[str, object] = {}
    for number, cell in enumerate(cells):
        assert not cell["outputs"], f"cell {number} has outputs: they are made when the docs are built"
        exec(compile("".join(cell["source"]), f"{path.name}, code cell {number}", "exec"), names)
