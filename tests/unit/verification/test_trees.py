"""Right logs verify: random trees that were paused, resumed and retried, and what once was said no to."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from enum import IntEnum
from pathlib import Path
from typing import Any, ClassVar

import pytest

from benchmarks.recovery.trees import check_tree
from maker import api
from maker.lifecycle import queries
from maker.plugin import Decomposer, Done, Fork, Oracle, PydanticCodec, Step, StepClass, Truth
from maker.store.backend.database import open_database
from maker.store.runs import find_run
from maker.store.unresolved import count_outcomes, undecided_votes, unresolved_flags
from maker.verification.depth import deeper
from maker.verification.intact import check_resumable

NUMBERS = (1, 2, 5)
"""Small trees: a minute of `python -m benchmarks.recovery.trees` tries more of them."""


@pytest.mark.parametrize("number", NUMBERS)
def test_random_trees_verify_and_end_as_undisturbed(number: int, tmp_path: Path) -> None:
    """However a run of a random tree is paused, resumed and retried, its log verifies and ends as it should."""
    print("tree", number)
    assert check_tree(number, tmp_path)


class Shaped(Decomposer[list[Any], int]):
    """A task whose next moves follow from the first entry of its state; its one step is right with 5."""

    name: ClassVar[str] = "shaped"
    version: ClassVar[int] = 1

    def __init__(self, params: Any) -> None:
        self.state, self.action = PydanticCodec(list[Any]), PydanticCodec(int)
        self.kind = StepClass("k", int)
        self.classes = (self.kind,)

    def start(self) -> list[Any]:
        return ["root"]

    def apply(self, state: list[Any], action: int) -> list[Any]:
        return ["decided", action]

    def oracle(self) -> Oracle:
        return _five

    def next(self, state: list[Any]) -> Step[Any, Any] | Fork[Any] | Done:
        raise NotImplementedError


class Results(Shaped):
    """Ends in a result with whole numbers and texts as keys, in a child and in the root."""

    def next(self, state: list[Any]) -> Step[Any, Any] | Fork[Any] | Done:
        if state[0] == "root":
            return Fork(1, _begin, _take)
        if state[0] == "child":
            return Step(self.kind, "x")
        return Done({10: state, 9: None, "a": {2: 1.5, None: True}})


class Begins(Shaped):
    """Forks into one child that forks at once into one step, and ends wrong unless that was right."""

    def next(self, state: list[Any]) -> Step[Any, Any] | Fork[Any] | Done:
        if state[0] == "root":
            return Fork(1, _begin, _take)
        if state[0] == "child":
            return Fork(1, _leaf, _take, single=True)
        if state[0] == "leaf":
            return Step(self.kind, "x")
        return Done(state[1], state[0] == "decided" or state[1] == 5, "it is not five")


class Wide(Shaped):
    """Forks into many children of one step."""

    def next(self, state: list[Any]) -> Step[Any, Any] | Fork[Any] | Done:
        if state[0] == "root":
            return Fork(40, _begin, None, _joined)
        return Step(self.kind, "x") if state[0] == "child" else Done(1)


class Nested(Shaped):
    """Forks into many children that fork into two of one step."""

    def next(self, state: list[Any]) -> Step[Any, Any] | Fork[Any] | Done:
        if state[0] == "root":
            return Fork(20, _inner, None, _joined)
        if state[0] == "inner":
            return Fork(2, _begin, None, _joined)
        return Step(self.kind, "x") if state[0] == "child" else Done(1)


class Misses(Shaped):
    """Forks into single steps, and does without those that end wrong."""

    def next(self, state: list[Any]) -> Step[Any, Any] | Fork[Any] | Done:
        if state[0] == "root":
            return Fork(6, _leaf, None, _joined, single=True, missed=_missed)
        return Step(self.kind, "x") if state[0] == "leaf" else Done(1, state != ["decided", 7], "it is seven")


class Width(IntEnum):
    SIX = 6


class Named(Shaped):
    """Forks into a number of children that has a name."""

    def next(self, state: list[Any]) -> Step[Any, Any] | Fork[Any] | Done:
        if state[0] == "root":
            return Fork(Width.SIX, _leaf, None, _joined, single=True)
        return Step(self.kind, "x") if state[0] == "leaf" else Done(1)


def _five(_prompt: str) -> Truth:
    return Truth(("5",), ("7",))


def _begin(_state: list[Any], _child: int) -> list[Any]:
    return ["child"]


def _inner(_state: list[Any], _child: int) -> list[Any]:
    return ["inner"]


def _leaf(_state: list[Any], _child: int) -> list[Any]:
    return ["leaf"]


def _take(_state: list[Any], _child: int, result: Any) -> list[Any]:
    return ["joined", result]


def _missed(state: list[Any], _child: int, _outcome: str) -> list[Any]:
    return state


def _joined(_state: list[Any]) -> list[Any]:
    return ["joined", 0]


class Wrong(Shaped):
    """Forks and ends as its class's ``moves`` say."""

    moves: ClassVar[Any] = None

    def next(self, state: list[Any]) -> Any:
        return type(self).moves if state == ["root"] else Done(1)


class ForksTrue(Wrong):
    moves: ClassVar[Any] = Fork(True, _begin, None, _joined)


class EndsNo(Wrong):
    moves: ClassVar[Any] = Done(1, "no")  # type: ignore[arg-type]


def job(name: str, store: str, **model: Any) -> dict[str, Any]:
    return {
        "task": {"decomposer": f"test_trees:{name}"},
        "model": {"kind": "simulated", "p": 1.0} | model,
        "vote": {"k": 1},
        "store": {"url": store},
    }


def test_results_are_compared_as_they_are_stored(store: str) -> None:
    """A result whose keys are numbers, or of several types, is stored with texts as keys, and verifies."""
    report = api.run(job("Results", store))
    assert report.status == "done"
    assert queries.verify("last", store=store).right


def test_a_chain_that_begins_with_a_fork_is_retried_often(store: str) -> None:
    """A child that is cut at its first step, where it forks, has a snapshot there of every epoch, and verifies."""
    for seed in range(40):
        report = api.run(job("Begins", store, p=0.3) | {"run": {"seed": seed}})
        retries = 0
        while report.status != "done":
            assert queries.verify(report.run_id, store=store).problem == ""
            report = api.retry(report.run_id, store=store)
            retries += 1
        assert queries.verify(report.run_id, store=store).right
        if retries > 2:
            return
    raise AssertionError("no run was retried often")


def test_children_are_read_together(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many children a fork has, verify asks the database a fixed number of questions for a page of them."""
    from maker.store.backend.database import Database

    assert api.run(job("Wide", store)).status == "done"
    asked = []
    fetch = Database.fetch
    monkeypatch.setattr(Database, "fetch", lambda self, query: asked.append(query) or fetch(self, query))
    assert queries.verify("last", store=store).right
    assert len(asked) < 40


@pytest.mark.parametrize(("name", "forked"), [("Wide", 0), ("Nested", 20)])
def test_open_chains_are_read_together(store: str, monkeypatch: pytest.MonkeyPatch, name: str, forked: int) -> None:
    """A resume's check asks nothing of one open chain, cut or not; eight questions of each that has forked."""
    from maker.store.backend.database import Database

    asked: list[Any] = []
    fetch = Database.fetch
    monkeypatch.setattr(Database, "fetch", lambda self, query: asked.append(query) or fetch(self, query))
    undecided = job(name, store, p=0.5) | {"vote": {"k": 3, "max_votes": 3}}
    for ended in (api.run(undecided), api.retry("last", store=store)):
        assert "more)" in ended.reason
        with closing(open_database(store, create=False)) as database:
            run = find_run(database, "last")
            asked.clear()
            check_resumable(database, run)
        assert len(asked) <= 20 + 8 * forked


@pytest.mark.parametrize(("name", "told"), [("ForksTrue", "forked into True children"), ("EndsNo", "ok='no'")])
def test_what_could_never_verify_is_refused(store: str, name: str, told: str) -> None:
    """A number of children or an ok of another type is refused where it is made, with step and value."""
    report = api.run(job(name, store))
    assert report.status == "paused"
    assert told in report.reason
    assert "step 0" in report.reason


def test_a_number_of_children_may_have_a_name(store: str) -> None:
    """It is sealed as the number that is stored, so a resume finds it as it was written."""
    assert api.run(job("Named", store), limit_steps=2).status == "paused"
    assert api.resume("last", store=store).status == "done"
    assert queries.verify("last", store=store).right


def test_outcomes_of_forks_that_were_cut_off_do_not_count(store: str) -> None:
    """What children of a superseded fork came to is no outcome of the run."""
    report = api.run(job("Misses", store, p=0.0))
    with closing(open_database(store, create=False)) as database:
        key = find_run(database, report.run_id).key
        assert count_outcomes(database, key) == {"wrong": 6}
        with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute("INSERT INTO maker_cut SELECT id, 0, 1, '' FROM maker_chain WHERE parent IS NULL")
        assert count_outcomes(database, key) == {}


def test_votes_and_flags_of_forks_that_were_cut_off_do_not_count(store: str) -> None:
    """What was sampled of undecided children of a superseded fork is no part of what the run left undecided."""
    made = job("Misses", store, p=0.5, malformed=0.3)
    report = api.run(made | {"vote": {"k": 3, "max_votes": 4}})
    with closing(open_database(store, create=False)) as database:
        key = find_run(database, report.run_id).key
        assert count_outcomes(database, key)["undecided"] == len(list(undecided_votes(database, key)))
        assert sum(unresolved_flags(database, key).values()) > 0
        with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute("INSERT INTO maker_cut SELECT id, 0, 1, '' FROM maker_chain WHERE parent IS NULL")
        assert list(undecided_votes(database, key)) == []
        assert unresolved_flags(database, key) == {}


def test_a_replay_may_reach_deeper_than_its_caller() -> None:
    """What a run could read at its depth, a verification can read at its own; afterwards all is as before."""
    limit = sys.getrecursionlimit()

    def reached(depth: int) -> int:
        return reached(depth - 1) + 1 if depth else 0

    with pytest.raises(RecursionError):
        reached(limit + 500)
    with deeper(), deeper():
        assert reached(limit + 500) == limit + 500
    assert sys.getrecursionlimit() == limit
