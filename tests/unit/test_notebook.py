"""examples/notebook.ipynb runs from its first cell to its last, with a tiny random model, and shows what it says it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfedit.models import tiny

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


def test_the_notebook_runs(tmp_path: Path) -> None:
    model = tiny("llama", tmp_path / "model", hidden=32)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    for cell in notebook.cells:
        cell.source = cell.source.replace('"smollm2-135m"', repr(str(model)))
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [str(output.get("data", {}).get("text/html", "")) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("95 % interval" in html for html in shown) == 3  # the run, its table, the table of training
    texts = [str(output.get("data", {}).get("text/plain", "")) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("Answers(topic='The Mill Lane boiler'" in text for text in texts) and any("report.html" in text for text in texts)
