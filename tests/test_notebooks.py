"""The notebooks run from their first cell to their last, on less data, and are stored without what they printed."""

import shutil

import nbformat
import pytest
from made_pages import ROOT
from nbclient import NotebookClient

FOLDER = ROOT / "examples"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
SMALLER = {"utterances=200": "utterances=40", "epochs=15": "epochs=2"}


def read_notebook(name):
    return nbformat.read(FOLDER / name, as_version=4)


def test_there_are_notebooks():
    assert len(NOTEBOOKS) == 2


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_stored_without_outputs(name):
    for cell in read_notebook(name).cells:
        assert cell.source.strip()
        assert cell.cell_type == "markdown" or (not cell.outputs and cell.execution_count is None)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_and_shows_tables(name, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    notebook = read_notebook(name)
    for cell in notebook.cells:
        for full, small in SMALLER.items():
            cell.source = cell.source.replace(full, small)
    assert all(sum(small in cell.source for cell in notebook.cells) for small in SMALLER.values())
    shutil.copy(FOLDER / "my_fusion.py", tmp_path)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    html_outputs = [output.data.get("text/html", "") for output in outputs if "data" in output]
    assert sum("<table" in html for html in html_outputs) >= 2
    assert sum("<pre>" in html for html in html_outputs) >= 2
    texts = "".join(output.get("text", "") for output in outputs)
    assert "Warning" not in texts
    assert "demo corpus: 100%" in texts  # a bar, as there is no widget
