"""`maker report` in processes of its own: its files, what is refused, and runs whose code is gone."""

from __future__ import annotations

import json
import resource
import subprocess
from pathlib import Path

import pytest
from processes import Commands

JOB = """
[task]
decomposer = "hanoi"
disks = 6
[model]
kind = "simulated"
p = 0.85
[vote]
k = 4
"""
MOVES = 63
MANY = (Path(__file__).parent / "tasks" / "many.py").read_text()


@pytest.fixture
def solved(maker: Commands) -> Commands:
    """Return a folder with a run that is done."""
    maker.write("job.toml", JOB)
    maker.good("run", "job.toml")
    return maker


def files(maker: Commands) -> set[str]:
    """Return what is in a folder beside the job and the store."""
    return {path.name for path in maker.folder.iterdir() if not path.name.startswith(("maker.db", "job"))}


def test_a_page_and_its_json(solved: Commands) -> None:
    """The page has a name of its own unless one is given; the JSON holds the same, on standard output or in a file."""
    run_id = solved.json("show", "last")["run_id"]
    disputed = solved.json("show", "last")["disputed"]
    number, said = solved.good("report", "last").splitlines()
    assert number.startswith("P(all steps got the most frequent answer): 0.")
    assert said == f"run {run_id}: report on {MOVES} steps, {disputed} disputed, in report-{run_id}.html"
    assert (solved.folder / f"report-{run_id}.html").read_text().startswith("<!DOCTYPE html>")
    told = solved.json("report", "last")
    assert (told["format"], told["version"]) == ("maker-report", 1)
    assert told["run"]["run_id"] == run_id
    assert sum(one["steps"] for one in told["classes"]) == MOVES
    assert len(told["disputed"]) == told["disputed_steps"] == disputed
    assert "file.json" in solved.good("report", "last", "--json", "--out", "file.json")
    written = json.loads((solved.folder / "file.json").read_text())
    assert written | {"made_s": 0} == told | {"made_s": 0}
    assert files(solved) == {f"report-{run_id}.html", "file.json"}


def test_what_is_refused(solved: Commands) -> None:
    """A run that is not there, a missing folder, a folder, a file that is there: exit 2, and nothing is written."""
    solved.write("mine.html", "mine")
    (solved.folder / "folder").mkdir()
    for words, why in (
        (("nothing",), "holds no run 'nothing'"),
        (("last", "--out", "nowhere/a.html"), "the folder nowhere for a.html does not exist"),
        (("last", "--out", "folder"), "folder is not a file"),
        (("last", "--out", "mine.html"), "mine.html exists already"),
        (("last", "--out", "a.html", "--labels", "nothing.csv"), "is not a map over rows"),
        (("last", "--store", "sqlite:///nowhere.db"), "nowhere.db"),
    ):
        done = solved.run("report", *words)
        assert done.returncode == 2, words
        assert why in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
    assert (solved.folder / "mine.html").read_text() == "mine"
    assert files(solved) == {"mine.html", "folder"}
    solved.good("report", "last", "--out", "mine.html", "--force")
    assert (solved.folder / "mine.html").read_text().startswith("<!DOCTYPE html>")


def test_a_file_that_cannot_grow(solved: Commands) -> None:
    """Where no more can be written, that is told: exit 1, and what was there stays."""
    solved.write("mine.html", "mine")
    solved.good("run", "job.toml", "task.disks=9", "model.p=0.7", "vote.k=8")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))

    done = solved.run("report", "last", "--json", "--out", "mine.html", "--force", preexec_fn=limit)
    assert done.returncode == 1
    assert done.stderr.startswith("maker: mine.html cannot be written: File too large\n")
    assert "Traceback" not in done.stderr
    assert (solved.folder / "mine.html").read_text() == "mine"
    assert files(solved) == {"mine.html"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_standard_output_that_is_full(solved: Commands) -> None:
    """A full disk behind standard output is told too: exit 1."""
    with Path("/dev/full").open("w") as full:
        done = solved.run("report", "last", "--json", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.startswith("maker: the output cannot be written: No space left on device\n")
    assert "Traceback" not in done.stderr


def test_a_task_whose_code_is_gone(maker: Commands) -> None:
    """A report needs no code of the task: actions are shown as the store holds them, and all else is the same."""
    maker.write("job.many.py", MANY)
    job = '[task]\ndecomposer = "job.many.py:Many"\nsteps = 40\n[model]\nkind = "simulated"\np = 0.9\n[vote]\nk = 2\n'
    maker.write("job.toml", job)
    maker.good("run", "job.toml")
    before = maker.json("report", "last")
    (maker.folder / "job.many.py").unlink()
    after = maker.json("report", "last")
    assert before["disputed"]
    assert all(isinstance(one["action"], str) for one in after["disputed"])
    for part in ("whole", "classes", "claim", "flags", "models", "disputed_steps"):
        assert after[part] == before[part], part
    maker.good("report", "last", "--out", "page.html")


def test_a_run_that_has_not_begun(solved: Commands) -> None:
    """A fork that nobody has worked on yet has the steps that it took over, and is paused."""
    solved.good("fork", "last", "--at", "10")
    told = solved.json("report", "last")
    assert told["run"]["status"] == "paused"
    assert [one["steps"] for one in told["classes"]] == [10]
    solved.good("report", "last", "--out", "page.html")
    solved.good("fork", "last", "--at", "0")
    assert solved.json("report", "last")["whole"]["missing"] == "no step is decided by votes"
