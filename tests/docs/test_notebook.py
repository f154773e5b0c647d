"""The notebook runs from top to bottom, and what it shows was made by running it."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.places import ROOT

NOTEBOOK = ROOT / "docs" / "longlag.ipynb"


def code_cells() -> list:
    return [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]


def test_every_cell_was_run_and_none_failed():
    kinds = {output.output_type for cell in code_cells() for output in cell.outputs}
    assert kinds == {"execute_result", "stream"}
    assert [cell.execution_count for cell in code_cells()] == list(range(1, len(code_cells()) + 1))
    pictures = [output for cell in code_cells() for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 2


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of Jupyter's own packages
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    assert len(list(tmp_path.rglob("record.json"))) == 14
