"""`maker export` in processes of its own, and what the reading commands say of trees and of forked runs."""

from __future__ import annotations

import json
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import Commands

JOB = """
[task]
decomposer = "hanoi"
disks = 6
[model]
kind = "simulated"
p = 0.9
[vote]
k = 4
"""
MOVES = 63
MANY = (Path(__file__).parent / "tasks" / "many.py").read_text()
SLOW = """

import pathlib
import time


class Slow(PydanticCodec):
    def show(self, value):
        pathlib.Path("job.shown").touch()
        time.sleep(60)
"""


@pytest.fixture
def solved(maker: Commands) -> Commands:
    """Return a folder with a run that is done."""
    maker.write("job.toml", JOB)
    maker.good("run", "job.toml")
    return maker


@pytest.fixture
def long(maker: Commands) -> Commands:
    """Return a folder with a run whose export is larger than any buffer."""
    maker.write("job.toml", JOB)
    maker.good("run", "job.toml", "task.disks=13", "model.p=1", "vote.k=1")
    return maker


@pytest.fixture
def many(maker: Commands) -> Commands:
    """Return a folder with a run of a task whose code is in the folder too."""
    maker.write("job.many.py", MANY)
    job = '[task]\ndecomposer = "job.many.py:Many"\nsteps = 5\n[model]\nkind = "simulated"\n[vote]\nk = 1\n'
    maker.write("job.toml", job)
    maker.good("run", "job.toml")
    return maker


def files(maker: Commands) -> set[str]:
    """Return what is in a folder beside the job and the store."""
    return {path.name for path in maker.folder.iterdir() if not path.name.startswith(("maker.db", "job", "errors"))}


def test_json_lines_on_standard_output(solved: Commands) -> None:
    """Without options, standard output holds the run and its steps, and nothing else."""
    done = solved.run("export", "last")
    header, *steps = [json.loads(line) for line in done.stdout.splitlines()]
    shown = solved.json("show", "last")
    assert (done.returncode, done.stderr) == (0, "")
    assert (header["format"], header["version"]) == ("maker-steps", 1)
    assert {name: shown[name] for name in header["run"] if name != "fingerprint"} | {
        "fingerprint": header["run"]["fingerprint"]
    } == header["run"]
    lines = [json.loads(line) for line in solved.good("steps", "last", "--json").splitlines()]
    assert [{name: step[name] for name in lines[0]} for step in steps] == lines
    assert not files(solved)


def test_into_files(solved: Commands) -> None:
    """The format is the one that is named, or the file's; what is there stays, unless it is to be replaced."""
    run_id = solved.json("show", "last")["run_id"]
    assert solved.good("export", "last", "--out", "a.jsonl") == f"run {run_id}: {MOVES} steps in a.jsonl\n"
    assert (solved.folder / "a.jsonl").read_text() == solved.good("export", run_id)
    solved.good("export", "last", "--out", "b.parquet")
    solved.good("export", "last", "--format", "parquet", "--out", "c")
    assert (solved.folder / "b.parquet").read_bytes() == (solved.folder / "c").read_bytes()
    assert (solved.folder / "c").read_bytes()[:4] == b"PAR1"
    refused = solved.run("export", "last", "--out", "c")
    assert refused.returncode == 2
    assert refused.stderr.startswith("maker: c exists already\n")
    solved.good("export", "last", "--out", "c", "--force")
    assert (solved.folder / "c").read_bytes() == (solved.folder / "a.jsonl").read_bytes()
    assert files(solved) == {"a.jsonl", "b.parquet", "c"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("last --format parquet", "Parquet cannot be written to standard output"),
        ("last --out no/a.jsonl", "the folder no for"),
        ("last --out .", ". is not a file"),
        ("nosuch", "holds no run 'nosuch'"),
    ],
)
def test_what_cannot_be_done(solved: Commands, words: str, said: str) -> None:
    """Bad input is told in words: exit 2, nothing on standard output, nothing written."""
    done = solved.run("export", *words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not files(solved)


def test_without_pyarrow(solved: Commands) -> None:
    """Parquet without pyarrow names the extra, exit 2; JSON lines do without."""
    (solved.folder / "job.without").mkdir()
    solved.write("job.without/pyarrow.py", "raise ModuleNotFoundError(name='pyarrow')")
    without = {"PYTHONPATH": str(solved.folder / "job.without")}
    done = solved.run("export", "last", "--out", "a.parquet", env=without)
    assert done.returncode == 2
    assert done.stderr == (
        "maker: parquet needs the package pyarrow, which is not installed\n  pip install 'maker-executor[parquet]'\n"
    )
    assert not files(solved)
    assert solved.run("export", "last", env=without).returncode == 0


def test_a_closed_pipe_is_no_crash(long: Commands) -> None:
    """Output cut off by `head` ends the command without a word."""
    command = f"{shlex.quote(sys.executable)} -m maker export last 2>errors.txt | head -2"
    done = subprocess.run(
        ["sh", "-c", command], cwd=long.folder, env=long.env, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.count("\n") == 2
    assert (long.folder / "errors.txt").read_text() == ""


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_an_interrupted_export_leaves_nothing(many: Commands, name: str) -> None:
    """Ctrl-C in the middle: exit 130, no file, no part of one; what it was to replace is as it was."""
    many.write(name, "mine")
    many.write("job.many.py", MANY.replace("PydanticCodec(str)", "Slow(str)") + SLOW)
    process = many.start("export", "last", "--out", name, "--force")
    while not (many.folder / "job.shown").exists():
        assert process.poll() is None, many.output()
        time.sleep(0.02)
    assert len(list(many.folder.glob("*.part"))) == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130, many.output()
    assert (many.folder / name).read_text() == "mine"
    assert files(many) == {name, "output.txt"}
    assert many.output() == ""


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_file_that_cannot_grow(long: Commands, name: str) -> None:
    """Where no more can be written, that is told in maker's words: exit 1, no file, no part of one."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, 1 << 17))

    done = long.run("export", "last", "--out", name, preexec_fn=limit)
    assert done.returncode == 1
    assert done.stderr.startswith(f"maker: {name} cannot be written: File too large\n")
    assert "Traceback" not in done.stderr
    assert not files(long)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_standard_output_that_is_full(solved: Commands) -> None:
    """A full disk behind standard output is told too: exit 1."""
    with Path("/dev/full").open("w") as full:
        done = solved.run("export", "last", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.startswith("maker: the output cannot be written: No space left on device\n")
    assert "Traceback" not in done.stderr


def test_while_the_run_is_worked_on(maker: Commands) -> None:
    """A run can be exported while it is worked on, and is not disturbed: what is there is a beginning of the whole."""
    maker.write("job.toml", JOB)
    process = maker.start("run", "job.toml", "task.disks=9", "model.latency_s=0.005")
    maker.wait_for(50, process)
    header, *steps = maker.good("export", "last").splitlines()
    assert process.poll() is None
    assert json.loads(header)["run"]["status"] == "running"
    assert len(steps) >= json.loads(header)["run"]["steps"] >= 50
    assert process.wait(timeout=120) == 0, maker.output()
    assert maker.good("export", "last").splitlines()[1:][: len(steps)] == steps
    maker.good("verify", "last")


def test_without_the_tasks_code(many: Commands) -> None:
    """Where the task's code is gone, actions come as the store holds them, and standard error says so."""
    (many.folder / "job.many.py").unlink()
    done = many.run("export", "last")
    assert done.returncode == 0
    header, *steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert header["actions"] == "stored"
    assert all(step["action"] == next(iter(step["votes"])) for step in steps)
    assert done.stderr == "the task's code was not found here; actions are written as they are stored\n"


def test_a_trees_steps_name_their_chains(maker: Commands) -> None:
    """In a tree, `steps` writes chain and step before each move; a chain's own steps have their number alone."""
    maker.write("job.toml", JOB)
    maker.good("run", "job.toml", "task.form=tree", "task.segment=5", "vote.k=6")
    lines = [line.split()[0] for line in maker.good("steps", "last").splitlines()]
    assert lines == [f"0.{child}:{step}" for child in range(2) for step in range(32 - child)]
    maker.good("run", "job.toml")
    assert [line.split()[0] for line in maker.good("steps", "last").splitlines()] == [str(i) for i in range(MOVES)]


def test_show_names_what_a_run_was_forked_from(solved: Commands) -> None:
    """`show` says of which run, and before which step, a run was forked; of others nothing."""
    source = solved.json("show", "last")["run_id"]
    assert "forked from" not in solved.good("show", "last")
    solved.good("fork", "last", "--at", "20", fresh=True)
    assert f"\n  forked from {source} before step 20\n" in solved.good("show", "last")
