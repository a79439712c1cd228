"""Commands that end, delete or supersede: they act on the run that is named in full, else they ask."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from maker import api
from maker.cli.app import app
from maker.errors import RunNotFound
from maker.lifecycle import admin, queries
from maker.lifecycle.queries import RunReport

CHANGING = ("prune", "cancel", "retry")


def maker(*words: str) -> Result:
    """Run a command in this process; it has no terminal."""
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def run(hanoi: Callable[..., Any]) -> RunReport:
    """Return the only run of its store: paused, so that it can be changed."""
    return api.run(hanoi(run={"name": "towers"}), limit_steps=3)


@pytest.mark.parametrize("command", CHANGING)
@pytest.mark.parametrize("given", ["", " ", "last", "2"])
def test_no_run_is_changed_by_a_slip(run: RunReport, store: str, command: str, given: str) -> None:
    """An empty name, a prefix and `last` are refused where nobody can be asked; the refusal names the run meant."""
    done = maker(command, given, "--store", store)
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    if given.strip():
        assert f"maker: {command} changes a run only if you name it in full; {given!r} stands for" in done.output
        assert f"run {run.run_id} (towers), paused, 3 steps" in done.output
        assert f"maker {command} {run.run_id} --store {store}`, or add --yes" in done.output
    assert queries.show(run.run_id, store=store) == queries.show("last", store=store)
    assert queries.show(run.run_id, store=store).status == "paused"


def test_yes_answers_for_a_prefix_but_names_no_run(run: RunReport, store: str) -> None:
    """--yes takes a prefix or `last`; an empty name stays empty."""
    assert maker("cancel", "", "--yes", "--store", store).exit_code == 2
    assert maker("cancel", "last", "--yes", "--store", store).exit_code == 0
    assert queries.show(run.run_id, store=store).status == "cancelled"
    assert maker("prune", run.run_id[:4], "--yes", "--store", store).exit_code == 0
    assert queries.runs(store=store) == []


@pytest.mark.parametrize("given", ["", "last", "2"])
def test_programs_name_a_run_in_full(run: RunReport, store: str, given: str) -> None:
    """The functions ask nobody: they take a whole id."""
    for change in (admin.prune, admin.cancel):
        with pytest.raises(RunNotFound):
            change(given, store=store)
    assert queries.show("last", store=store).run_id == run.run_id


def test_a_terminal_is_asked(run: RunReport, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the question names the run; no is exit 1 with nothing changed, yes goes on."""
    mine, its = os.openpty()
    with os.fdopen(its, "r+b", buffering=0) as raw, os.fdopen(mine, "r+b", buffering=0) as keyboard:
        terminal = io.TextIOWrapper(raw, write_through=True)
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        for answer, code, left in ((b"n\n", 1, 1), (b"y\n", 0, 0)):
            keyboard.write(answer)
            with pytest.raises(SystemExit) as ended:
                app(["prune", "last", "--store", store])
            assert ended.value.code == code
            shown = b""
            while b"[y/N]" not in shown and select.select([keyboard], [], [], 5)[0]:
                shown += keyboard.read(10_000)
            assert f"prune run {run.run_id} (towers), paused, 3 steps? [y/N]" in shown.decode()
            assert len(queries.runs(store=store)) == left
