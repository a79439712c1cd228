"""The notebook of the examples, run as Jupyter runs it: in a kernel, with an event loop that is running."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from maker.testing import FakeServer, chat_completion

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "rows.ipynb"
Run = Callable[[str], Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the notebook with a model in a kernel of its own; returns it with its outputs."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def ran(model: str) -> Any:
        notebook: Any = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
        (place,) = (cell for cell in notebook.cells if cell.source.startswith("model = "))
        place.source = model or place.source
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
        return notebook

    return ran


def shown(notebook: Any) -> list[str]:
    """Return what the cells show as text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [output.get("data", output).get("text/plain", "") for output in outputs]


def test_from_a_frame_to_a_frame_by_the_simulated_model(run: Run, tmp_path: Path) -> None:
    """With a bar that stands in the cell, and no warning beside it."""
    first = run("")
    bar, table, bar_again, told = shown(first)
    assert bar.endswith(" 3 of 3 rows decided")
    assert bar_again.endswith(" 4 of 4 rows decided")
    assert "_outcome" in table and table.count("decided") == 3
    assert told == "('done', None, [])"
    lines = (tmp_path / "questions.csv").read_text().splitlines()
    assert [line.split(",")[:4] for line in lines[1:]] == [
        ["Where is the printer?", "2024", "true", "decided"],
        ["It burns.", "2025", "false", "decided"],
        ["Who put it out?", "2026", "true", "decided"],
        ["Is it out?", "2027", "true", "decided"],
    ]


def test_a_second_kernel_asks_a_real_server_nothing(run: Run) -> None:
    """As all was asked by the first."""
    asked: list[str] = []

    def script(body: Any) -> Any:
        asked.append(body["messages"][-1]["content"])
        return 200, chat_completion(["yes"] * body["n"])

    with FakeServer(script) as server:
        model = f'model = maker.openai(url="{server.url}", name="m", prompt_price=1, completion_price=1)'
        first = run(model)
        assert len(set(asked)) == 4
        asked.clear()
        again = run(model)
    assert asked == []
    assert shown(again)[-1] == shown(first)[-1]
    assert shown(first)[-1] == "('done', 8.8e-05, [])"
