"""A pilot asks steps of every kind that a task names, no more than it was told, and knows how many the run asks."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from kind_task import Counted, CountedParams

from decomposers.sort import Sort, SortParams
from maker.errors import TaskFailed
from maker.plugin import Decomposer, Step
from maker.sampling.draw import Places, draw
from maker.sampling.kinds import fewest_of, kind_of, kinds_of
from maker.sampling.labels import parse_labels
from maker.sampling.pilot import PilotTask, Root, RootCodec


def counted(**params: Any) -> Counted:
    return Counted(CountedParams(**params))


def asked(task: Decomposer[Any, Any], root: Root) -> Counter[str | None]:
    """Return how many different steps a pilot asks, by kind."""
    steps = {step.prompt: step for step in map(Places(task).step, root.spots)}
    assert len(steps) == len(root.spots)
    return Counter(kind_of(task, step).kind for step in steps.values())


@pytest.mark.parametrize("form", ["walk", "sample", "fork"])
def test_rare_steps_are_asked(form: str) -> None:
    """Of 300 steps three are of a rare kind; whichever way steps are found, a pilot of 100 asks two of them."""
    task = counted(form=form)
    for seed in range(5):
        root = PilotTask(task, 100, seed, by_kind=True).start()
        found = asked(task, root)
        assert found["rare"] >= fewest_of(100) == 2
        assert found.total() == 100
        assert root.kinds == {"next": {"usual": 297, "rare": 3}}


def test_the_rarest_steps_are_all_asked() -> None:
    """One equal pair below 0 among the comparisons of 400 numbers: a pilot of any seed asks it."""
    rng = random.Random(1)
    task = Sort(SortParams(items=[*(str(n) for n in rng.sample(range(10**6), 400)), "-76088", "-76088"]))
    for seed in range(5):
        root = PilotTask(task, 200, seed, by_kind=True).start()
        assert asked(task, root)["both below 0, equal"] == root.kinds["compare"]["both below 0, equal"] == 1
        assert len(root.spots) <= 200


def test_steps_that_are_drawn_evenly_stay_where_no_kind_is_rare() -> None:
    """Of two kinds that come up often no step is put in, and none is left out."""
    task = counted(rare=150)
    assert PilotTask(task, 100, 1, by_kind=True).start().spots == draw(task, 100, 1).spots


@pytest.mark.parametrize("form", ["walk", "sample", "fork"])
def test_a_pilot_of_very_many_kinds_asks_no_more_steps(form: str) -> None:
    """Where each of 10,000 steps is of its own kind, a pilot of 100 still asks 100, and knows of all kinds."""
    root = PilotTask(counted(form=form, steps=10_000, own=True), 100, 1, by_kind=True).start()
    assert len(root.spots) == 100
    assert len(root.kinds["next"]) == 10_000


def test_more_kinds_than_there_is_room_for_share_it() -> None:
    """Of 100 kinds a pilot of 100 steps, which would ask two of each of 50, asks one of each."""
    task = counted(steps=10_000, own=True)
    task.kind = replace(task.kind, kind_of=lambda prompt: str(int(prompt[:-3]) % 100))
    task.classes = (task.kind,)
    found = asked(task, PilotTask(task, 100, 1, by_kind=True).start())
    assert len(found) == found.total() == 100


@pytest.mark.parametrize("result", [ValueError("no such pair"), None, 7, "a\0b"])
def test_a_kind_that_is_none_is_told_briefly(result: object) -> None:
    """What a task's own function raises, or returns instead of a text, is told with the beginning of the prompt."""

    def named(_prompt: str) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    task = counted()
    step = Step(replace(task.kind, kind_of=named), "12+1=" * 1000)
    with pytest.raises(TaskFailed, match=r"counted: kind_of of the prompt '12\+1=") as told:
        kind_of(task, step)
    assert len(told.value.message) < 300


def test_a_task_that_names_no_kinds_is_asked_as_before() -> None:
    """Neither the steps nor what is stored of a pilot depend on kinds that nobody names."""
    task = counted(named=False)
    plain, by_kind = PilotTask(task, 100, 1).start(), PilotTask(task, 100, 1, by_kind=True).start()
    assert RootCodec().write(plain) == RootCodec().write(by_kind)


def test_labels_name_all_steps() -> None:
    """Of a labelled pilot it is known what the run asks, and no step is put in."""
    labels = parse_labels('{"state": "5", "reply": "6"}')
    root = PilotTask(counted(), 100, 1, labels, by_kind=True).start()
    assert [spot.state for spot in root.spots] == ["5"]
    assert root.kinds == {"next": {"usual": 297, "rare": 3}}


def test_of_more_steps_than_are_looked_at_the_numbers_are_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind's number is its share of the task's length, and open where that is not known."""
    monkeypatch.setattr("maker.sampling.kinds.FRAME", 150)
    found = kinds_of(counted(form="fork", rare=100), 3, 1)
    assert found.asked["next", "rare"] == pytest.approx(100, abs=40)
    assert sum(found.asked.values()) == pytest.approx(300, abs=1)
    assert set(kinds_of(counted(form="fork", rare=100, known=False), 3, 1).asked.values()) == {None}


def test_rows_that_cannot_be_read_are_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a task with damaged rows as many are looked at; the numbers are shares of its length all the same."""
    monkeypatch.setattr("maker.sampling.kinds.FRAME", 150)
    found = kinds_of(counted(form="fork", rare=250, unreadable=200), 3, 1)
    assert found.asked["next", "rare"] == pytest.approx(150, abs=40)


def test_the_same_are_drawn_again() -> None:
    """A pilot is verified by drawing its steps again."""
    task = counted()
    assert PilotTask(task, 100, 4, by_kind=True).start() == PilotTask(task, 100, 4, by_kind=True).start()


def test_roots_are_read_as_they_are_written() -> None:
    """With kinds and, as older pilots have them, without."""
    codec = RootCodec()
    root = PilotTask(counted(), 10, 1, by_kind=True).start()
    assert codec.read(codec.write(root)) == root
    assert codec.read('[0,["5"],[[0,null,"6"]],{"next":300}]').kinds == {}
