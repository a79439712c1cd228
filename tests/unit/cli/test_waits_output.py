"""`maker waits` and `maker answer` of undecided steps, and what other commands print of steps that people decided."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from maker import api
from maker.cli.app import app
from maker.errors import JobError
from maker.lifecycle.queries import RunReport


def maker(*words: str) -> Result:
    """Run a command in this process; it has no terminal."""
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def run(hanoi: Callable[..., Any]) -> RunReport:
    """Return the only run of its store, which waits for a person."""
    asked = {"k": 2, "max_votes": 4, "on_undecided": "ask"}
    return api.run(hanoi(model={"p": 0.6}, vote=asked, run={"name": "towers", "seed": 1}))


def test_what_is_asked_is_listed_with_its_candidates(run: RunReport, store: str) -> None:
    """Run, name, prompt, age, and each candidate's number, text and votes; as JSON the same."""
    head, *candidates = maker("waits", "--store", store).output.splitlines()
    assert head.startswith(f"{run.run_id} (towers) ")
    assert " step-" in head
    assert [line.split(":")[0].strip() for line in candidates] == ["1", "2"]
    assert all(line.endswith(" votes)") or line.endswith(" vote)") for line in candidates)
    (told,) = map(json.loads, maker("waits", run.run_id, "--json", "--store", store).output.splitlines())
    assert (told["kind"], told["deadline"], len(told["candidates"])) == ("step", None, 2)
    assert told["prompt"] in head
    assert [f"    {n}: {one['key']} ({one['votes']} vote" for n, one in enumerate(told["candidates"], 1)] == [
        line.removesuffix("s)").removesuffix(")") for line in candidates
    ]


def test_a_person_answers_from_the_command_line(run: RunReport, store: str) -> None:
    """Refused with a reason, taken with a name, refused when it is over; the run goes on and tells who decided."""
    (told,) = map(json.loads, maker("waits", "--json", "--store", store).output.splitlines())
    refused = maker("answer", run.run_id, told["name"], "9ZZ", "--store", store)
    assert refused.exit_code == 2
    assert f"maker: {told['name']} takes no such answer: format: not a move: '9ZZ'" in refused.output
    taken = maker("answer", "last", told["name"], told["candidates"][1]["text"], "--by", "ann", "--store", store)
    assert (taken.exit_code, maker("waits", "--store", store).output) == (0, "nothing waits for an answer\n")
    assert f"{told['name']} of run {run.run_id} is answered; go on with `maker resume {run.run_id}" in taken.output
    twice = maker("answer", "last", told["at"], "1", "--store", store)
    assert twice.exit_code == 2
    assert "is over: it has been answered, by ann" in twice.output
    resumed = maker("resume", run.run_id, "--store", store)
    assert resumed.exit_code == 8
    assert "of which people decided 1, " in resumed.output
    line = maker("steps", run.run_id, "--store", store).output.splitlines()[int(told["at"])]
    assert line.endswith("; decided by ann")
    shown = maker("show", run.run_id, "--store", store)
    assert shown.exit_code == 0
    assert f'wait_ended: step "{told["at"]}", name "{told["name"]}", by "ann"' in shown.output


def test_bad_values_of_the_setting(hanoi: Callable[..., Any]) -> None:
    """There are two."""
    with pytest.raises(JobError, match=r"vote\.on_undecided"):
        api.run(hanoi(vote={"on_undecided": "pause"}))
