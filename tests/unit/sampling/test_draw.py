"""Which steps of a task a pilot asks: drawn by the task, from rows, along the right way, or named by labels."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from blind_task import Blind
from fork_tasks import Tree, TreeParams, leaf
from row_tasks import job as rows_job
from row_tasks import write_rows

from decomposers.hanoi import Hanoi, HanoiParams
from decomposers.hanoi.oracle import move_truth
from maker import api
from maker.errors import BadInput, TaskFailed
from maker.plugin import Decomposer, Done, Truth
from maker.sampling.draw import Drawn, Places, StepLocation, can_draw, draw, labelled
from maker.sampling.labels import Label, format_labels, parse_labels


def hanoi(**params: Any) -> Hanoi:
    return Hanoi(HanoiParams(**params))


def prompts(task: Decomposer[Any, Any], drawn: Drawn) -> list[str]:
    places = Places(task)
    return [places.step(spot).prompt for spot in drawn.spots]


@pytest.mark.parametrize("form", [{}, {"form": "tree", "segment": 4}])
def test_hanoi_draws_boards_of_the_right_way_evenly(form: dict[str, Any]) -> None:
    task = hanoi(disks=12, **form)
    drawn = draw(task, 500, seed=1)
    assert drawn.of == {"move": 4095}
    moves = [task.state.read(spot.state).moves for spot in drawn.spots]
    assert len(set(moves)) == 500
    assert 0.4 < sum(move < 2048 for move in moves) / 500 < 0.6
    way = hanoi(disks=12)
    state, asked = way.start(), set()
    while not isinstance(move := way.next(state), Done):
        asked.add(move.prompt)
        state = way.apply(state, way.action.read(move_truth(move.prompt).right[0]))
    assert set(prompts(task, drawn)) <= asked
    assert draw(task, 500, seed=1) == drawn != draw(task, 500, seed=2)


def test_a_task_of_fewer_steps_is_drawn_whole() -> None:
    assert len(draw(hanoi(disks=5), 2000, seed=0).spots) == 31


def test_sixty_four_disks_are_no_trouble() -> None:
    drawn = draw(hanoi(disks=64), 10, seed=0)
    assert drawn.of == {"move": 2**64 - 1}
    assert len(drawn.spots) == 10


def test_the_right_way_goes_through_forks_and_draws_of_every_class() -> None:
    shape = {"steps": [6, 5], "forks": [{"children": [leaf(4), {"steps": [3, 0], "forks": [{"singles": 7}]}]}]}
    task = Tree(TreeParams(shape=shape))
    drawn = draw(task, 100, seed=0)
    assert sum(drawn.of.values()) == task.expected_steps() == 25
    kinds = Counter(Places(task).step(spot).kind.name for spot in drawn.spots)
    # There are four prompts for each class at the most: what is asked alike is asked once.
    assert len(set(prompts(task, drawn))) <= 4
    assert set(kinds) == {"even", "odd"}
    asked = [(step.kind.name, step.prompt) for step in map(Places(task).step, drawn.spots)]
    assert len(set(asked)) == len(asked)


def test_rows_are_drawn_from_a_map(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", range(300))
    task = api.load_job(rows_job(tmp_path)).decomposer
    task.parts()
    drawn = draw(task, 40, seed=3)
    assert len({spot.child for spot in drawn.spots}) == 40
    assert list(drawn.of.values()) == [300]
    assert can_draw(task)


def test_a_task_that_knows_nothing_needs_labels() -> None:
    assert not can_draw(Blind())
    with pytest.raises(BadInput, match=r"defines neither `oracle\(\)` nor `sample\(\)`"):
        draw(Blind(), 10, seed=0)
    labels = "\n".join(json.dumps({"state": str(n), "reply": f" {n + 1} "}) for n in range(5))
    assert draw(Blind(), 10, 0, parse_labels(labels)).spots == tuple(
        StepLocation(str(n), None, str(n + 1)) for n in range(5)
    )


def test_labels_may_name_actions_and_the_first_step_needs_no_state() -> None:
    assert labelled(Blind(), parse_labels('{"right": "1"}\n\n{"state": "7", "right": "8"}')) == [
        StepLocation("0", None, "1"), StepLocation("7", None, "8"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (
            '{"state": "1", "reply": "2"}\n{"state": "1", "reply": "3"}',
            "lines 1 and 2 contradict .* 2 is right in one, and 3",
        ),
        ('{"state": "1", "reply": "two"}', "line 1: the reply is red-flagged: format"),
        ('{"state": "x", "reply": "2"}', "line 1 names no step"),
        ('{"state": "50", "reply": "2"}', "line 1 names no step: .*asks for no step"),
        ('{"right": "nonsense"}', "line 1: blind cannot read `right`"),
        ('{"child": 3, "reply": "1"}', "line 1 names no step: blind does not fork"),
        ('\n{"state": "1"}', "line 2: the line: Value error, give either reply or right"),
        ('{"state": 1, "reply": "2"}', "line 1: state: Input should be a valid string"),
        ("state 1", "line 1: the line: Invalid JSON"),
        (" \n", "name no step"),
    ],
)
def test_bad_labels_are_told_by_line(labels: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        labelled(Blind(), parse_labels(labels))


def test_labels_that_a_pilot_writes_keep_the_text_by_which_it_is_found_again() -> None:
    """What was left out of a label is not written, a child that is said to be none is; what is written reads back."""
    labels = [Label(state="[1,0]", key="a"), Label(state="é", child=None, key="b"), Label(state="", child=7, key="c")]
    text = (
        '{"state": "[1,0]", "key": "a"}\n{"state": "\\u00e9", "child": null, "key": "b"}\n'
        '{"state": "", "child": 7, "key": "c"}'
    )
    assert format_labels(labels) == text
    assert [(one.line, one.label) for one in parse_labels(text)] == list(enumerate(labels, 1))
    assert parse_labels("") == ()


def test_an_oracle_that_calls_nothing_valid_right_is_told() -> None:
    class Mute(Tree):
        def oracle(self) -> Any:
            return lambda prompt: Truth((), ("a",))

    with pytest.raises(TaskFailed, match="no right reply of its oracle is a valid vote"):
        draw(Mute(TreeParams(shape=leaf(3))), 3, seed=0)
