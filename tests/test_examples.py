"""The notebooks run as they stand, and hold no outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


def test_all_notebooks_run_one_after_another_in_one_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    cells = []
    for file in EXAMPLES:
        cells += [*nbformat.read(file, 4).cells, new_code_cell("%reset -f")]
    whole = new_notebook(cells=cells)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(whole, timeout=200, resources=where).execute()
    outputs = [out for cell in whole.cells if "outputs" in cell for out in cell.outputs]
    shown = [kind for out in outputs for kind in out.get("data", ())]
    assert shown.count("image/png") == 1
    assert shown.count("text/html") >= 7  # a summary, frames, comparisons
    assert not [out for out in outputs if "Warning" in out.get("text", "")]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_outputs_are_stripped(file):
    cells = [cell for cell in nbformat.read(file, 4).cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    assert len(EXAMPLES) == 3
