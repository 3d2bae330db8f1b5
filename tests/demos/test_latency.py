"""The notebook, executed from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "demos" / "latency.ipynb"


@pytest.mark.slow
def test_the_notebook_runs(monkeypatch):
    root = str(NOTEBOOK.parents[1])
    monkeypatch.setenv("PYTHONPATH", root)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": root}}).execute()
    text = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    for words in ("frame", "encode", "decode", "jitter buffer", "by the clicks", "8 sessions: p50"):
        assert words in text or "too busy to measure" in text
    # No part is ever negative.
    assert not re.search(r"-\d+(\.\d+)? ms", text.replace("found -", "found "))


def test_the_committed_notebook_was_run_and_is_small():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
    assert NOTEBOOK.stat().st_size < 400_000
