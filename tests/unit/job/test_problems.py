"""All that is wrong with a job is told at once, each with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from maker.api import load_job
from maker.errors import JobError, PluginError

BAD = """[task]
decomposer = "map"
input = "rows.csv"
template = "no/such.txt"
max_tokens = 0
parse = "nothing.py:read"
[model]
kind = "simulated"
p = 2
pp = 3
[vote]
voter = "ahead"
max_votes = 0
[vote.k]
row = 0
[swarm]
replicas = "x"
[limit]
max_calls = 3
[limits]
max_calls = 0
"""
LINES = {
    4: "task.template: there is no file no/such.txt",
    5: "task.max_tokens = 0",
    6: "task.parse = 'nothing.py:read': there is no file",
    9: "model.p = 2",
    10: "model.pp: there is no such setting",
    12: "there is no voter 'ahead'",
    13: "vote.max_votes = 0",
    14: "vote.k.row = 0 must be a whole number",
    17: "swarm.replicas = 'x'",
    18: "there is no table [limit]",
    21: "limits.max_calls = 0",
}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Return the path of a job file that has nothing right."""
    path = tmp_path / "job.toml"
    path.write_text(BAD)
    return path


def test_all_problems_are_told_in_the_order_of_their_lines(job: Path) -> None:
    """One error names each problem's line, once; what to do stands below it."""
    with pytest.raises(JobError) as refused:
        load_job(job)
    first, *told = refused.value.message.splitlines()
    assert first == f"the job has {len(LINES)} problems"
    places = [line for line in told if not line.startswith("  ")]
    for line, (number, words) in zip(places, LINES.items(), strict=True):
        assert line.startswith(f"{job}:{number}: {words}")
    assert "  did you mean 'p'?" in told
    assert len(refused.value.facts["problems"]) == len(LINES)


def test_problems_of_words_are_told_together(job: Path) -> None:
    """Words that are no overrides are refused together, before the file's own problems."""
    with pytest.raises(JobError) as refused:
        load_job(job, ["disks=3", "x"])
    assert refused.value.message.startswith("the job has 2 problems\n'disks=3' is not an override\n")


def test_a_single_problem_is_told_as_it_is(job: Path) -> None:
    """Its error is the one that its check raises, with its kind and its advice."""
    job.write_text('[task]\ndecomposer = "nothing"\n[model]\nkind = "simulated"\n')
    with pytest.raises(PluginError, match=r":2: there is no decomposer 'nothing'"):
        load_job(job)


def test_what_follows_from_a_problem_is_no_problem(job: Path) -> None:
    """A misspelt name does not make the right one missing as well; tables that are right are judged together later."""
    job.write_text(
        '[task]\ndecomposer = "hanoi"\ndisk = 3\n[model]\nkind = "simulated"\n'
        '[vote]\nk = 200\nmax_votes = 5\n[limits]\nmax_cost = 1\n[swarm]\naddress = "a:1"\n'
    )
    with pytest.raises(JobError, match=r"task\.disk: there is no such setting") as refused:
        load_job(job)
    assert "problems" not in refused.value.facts
    job.write_text(job.read_text().replace("disk = 3", "disks = 3"))
    with pytest.raises(JobError, match=r"2 problems\n.*max_cost needs prices\n.*\n.*swarm\.address = 'a:1' needs Ray"):
        load_job(job)
