"""Runs listed and found: filters of `ls`, and which run `last` is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import maker as package
from maker import api
from maker.calibration.calibrate import calibrate
from maker.cli.app import app
from maker.errors import RunNotFound
from maker.lifecycle import queries
from maker.store import runs

SORT = {"decomposer": "sort", "items": [3, 1, 2]}


def maker(*words: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def several(hanoi: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the ids of four runs: two done, one paused, one of another task; three are more than a page holds."""
    monkeypatch.setattr(runs, "PAGE", 3)
    made = [
        api.run(hanoi(run={"name": "Towers one"})),
        api.run(hanoi(run={"name": "towers two"}), limit_steps=2),
        api.run(hanoi(disks=2)),
        api.run(hanoi() | {"task": SORT}),
    ]
    return [report.run_id for report in made]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], [3, 2, 1, 0]),
        (["--status", "paused"], [1]),
        (["--name", "towers"], [1, 0]),
        (["--decomposer", "sort"], [3]),
        (["--limit", "1"], [3]),
        (["--name", "towers", "--status", "done"], [0]),
        (["--status", "failed"], []),
    ],
)
def test_ls_filters(several: list[str], store: str, words: list[str], found: list[int]) -> None:
    """Filters go together; the newest come first; what the limit leaves out is said."""
    done = maker("ls", "--json", "--store", store, *words)
    assert [json.loads(line)["run_id"] for line in done.stdout.splitlines()] == [several[n] for n in found]
    assert ("--limit 2 lists more" in done.stderr) == ("--limit" in words)


def test_ls_of_runs_without_a_name_fits_eighty_columns(several: list[str], store: str) -> None:
    """The column of names is there where a listed run has one."""
    assert "name" in maker("ls", "--store", store).stdout.splitlines()[0]
    lines = maker("ls", "--store", store, "--limit", "2").stdout.splitlines()
    assert "name" not in lines[0]
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[1:]] == [several[3], several[2]]


def test_ls_finds_the_runs_of_a_job(several: list[str], store: str, tmp_path: Path) -> None:
    """A job file stands for all runs of its task, whatever their names and models."""
    job = tmp_path / "job.toml"
    job.write_text('[task]\ndecomposer = "hanoi"\ndisks = 4\n[model]\nkind = "simulated"\np = 0.5\n[vote]\nk = 3\n')
    found = package.runs(store=store, job=job)
    assert [report.run_id for report in found] == [several[1], several[0]]


def test_ls_says_that_nothing_fits(several: list[str], store: str) -> None:
    """No run at all and no run of this kind are told apart; an unknown status names those that there are."""
    assert maker("ls", "--store", store, "--name", "nobody").output == "no such runs\n"
    wrong = maker("ls", "--store", store, "--status", "sleeping")
    assert wrong.exit_code == 2
    assert "paused" in wrong.output


@pytest.mark.plan
def test_last_is_no_pilot(hanoi: Callable[..., Any], store: str) -> None:
    """After a calibration `last` is still the run that the user started; pilots alone are no last run."""
    calibrate(hanoi(), steps=2, votes=2)
    with pytest.raises(RunNotFound, match="no run that you started"):
        queries.show("last", store=store)
    started = api.run(hanoi())
    calibrate(hanoi(disks=3), steps=2, votes=2)
    assert queries.show("last", store=store).run_id == started.run_id
    assert queries.runs(store=store)[0].run_id != started.run_id


def test_try_keeps_its_columns(tmp_path: Path) -> None:
    """A title is never glued to its text: sample 10 and later ones begin where their votes do."""
    job = tmp_path / "job.toml"
    job.write_text('[task]\ndecomposer = "hanoi"\ndisks = 3\n[model]\nkind = "simulated"\np = 1\n[vote]\nk = 12\n')
    lines = maker("try", str(job), "-n", "1").output.splitlines()
    samples = [line for line in lines if line.startswith("  sample ")]
    assert len(samples) == 12
    for number, line in enumerate(samples):
        assert line.startswith(f"  sample {number} ")
