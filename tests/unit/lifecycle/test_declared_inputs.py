"""A task of somebody's own that reads a file: it imports maker.plugin alone, and keeps to what its run began with."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from maker import api
from maker.core.plugins import find_named
from maker.errors import BadInput
from maker.lifecycle import queries

EXAMPLE = Path(__file__).parents[3] / "examples" / "own_task" / "bookings.py"
LINES = "sign,amount\n+,120\n+,45\n-,30\n+,8\n"


@pytest.fixture(params=["with_parts", "bind"])
def job(request: pytest.FixtureRequest, tmp_path: Path, store: str) -> dict[str, dict[str, Any]]:
    """Return a job over four lines; its task binds its parts by building another one, or in place as it once had to."""
    (tmp_path / "lines.csv").write_text(LINES)
    source = EXAMPLE.read_text()
    if request.param == "bind":
        new = "    def with_parts(self, parts: Sequence[InputPart]) -> Self:"
        build = "        return type(self)(self.params, parts)"
        assert new in source and build in source
        source = source.replace(new, "    def bind(self, parts: Sequence[InputPart]) -> None:")
        source = source.replace(build, "        self._lines = Input(self.params.file, known=parts, grow=False)")
    (tmp_path / "mine.py").write_text(source)
    return {
        "task": {"decomposer": f"{tmp_path}/mine.py:Bookings", "file": str(tmp_path / "lines.csv")},
        "model": {"kind": "simulated", "p": 0.9},
        "vote": {"k": 3},
        "store": {"url": store},
    }


def test_lines_that_come_later_are_not_read(job: Any, store: str, tmp_path: Path) -> None:
    """A run goes on with the lines that it began with, and verifies with them."""
    api.run(job, limit_steps=2)
    with (tmp_path / "lines.csv").open("a") as file:
        file.write("+,1000\n")
    assert api.resume("last", store=store).result == {"holds": 143}
    assert queries.verify("last", store=store).right


def test_a_changed_file_is_refused_by_name(job: Any, store: str, tmp_path: Path) -> None:
    """A run does not go on over other lines than those that it began with."""
    api.run(job, limit_steps=2)
    (tmp_path / "lines.csv").write_text(LINES.replace("45", "46"))
    with pytest.raises(BadInput, match=r"input part lines\.csv changed since the run began"):
        api.resume("last", store=store)
    (tmp_path / "lines.csv").write_text(LINES)
    assert api.resume("last", store=store).result == {"holds": 143}


def test_the_task_that_is_given_parts_stays_as_it_is(tmp_path: Path) -> None:
    """Parts make another task: the one that was asked for it still reads the file as it is now."""
    made = find_named(f"{EXAMPLE}:Bookings", tmp_path).object
    params = made.Params(file=str(tmp_path / "lines.csv"))
    (tmp_path / "lines.csv").write_text(LINES)
    parts = made(params).parts()
    (tmp_path / "lines.csv").write_text(LINES + "+,1000\n")
    now = made(params)
    then = now.with_parts(parts)
    assert (then.expected_steps(), then.parts()) == (4, parts)
    assert now.expected_steps() == 5


def test_it_imports_nothing_else_of_maker() -> None:
    """What a task needs to read its files is in maker.plugin."""
    found = [node.module for node in ast.walk(ast.parse(EXAMPLE.read_text())) if isinstance(node, ast.ImportFrom)]
    assert [name for name in found if name and name.startswith("maker")] == ["maker.plugin"]
