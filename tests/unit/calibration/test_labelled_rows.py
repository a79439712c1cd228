"""Labels of a run's own rows: of how many they are, whether they are a random sample of them, and what they show."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from row_tasks import SCHEMA, job, label, write_rows
from row_tasks import __file__ as tasks
from typer.testing import CliRunner, Result

from decomposers.map import Map
from decomposers.map.task import MapParams
from maker import api
from maker.calibration.calibrate import calibrate
from maker.calibration.forecast import Plan
from maker.calibration.observations import ClassFound
from maker.calibration.plan import plan
from maker.cli.app import app
from maker.errors import BadInput
from maker.plugin import InputPart
from maker.sampling.label_sample import refuse_in_order
from maker.sampling.labels import parse_labels
from maker.sampling.own_rows import OwnRows, _shared_out, own_rows

pytestmark = pytest.mark.plan

ALWAYS = {"p": 1.0, "malformed": 0.0, "rivals": 1}
AUTO = {"k": "auto", "max_votes": 100}
Tables = dict[str, dict[str, Any]]


def rows_of(folder: Path, numbers: Iterable[int], **tables: dict[str, Any]) -> Tables:
    """Return a job over rows that hold these numbers."""
    write_rows(folder / "rows.csv", numbers)
    made = job(folder, **{"model": ALWAYS} | tables)
    return made | {"vote": AUTO | tables.get("vote", {})}


def labels(rows: Iterable[int]) -> str:
    """Return labels of rows that hold their own numbers."""
    replies = ((row, json.dumps({"label": label(row), "why": "it is"})) for row in rows)
    return "\n".join(json.dumps({"child": row, "reply": reply}) for row, reply in replies)


def heard(made: Tables, rows: Iterable[int], **how: Any) -> ClassFound:
    (one,) = calibrate(made, labels=labels(rows), **how).calibration.classes.values()
    return one


def planned(made: Tables) -> Plan:
    return plan(api.load_job(made))


def test_where_all_rows_are_labelled_and_right_only_votes_leave_a_doubt(tmp_path: Path) -> None:
    """Of 100 rows with ten right votes one of p = .74 may be hidden; without the rows' number three wrong ones were."""
    made = rows_of(tmp_path, range(100))
    one = heard(made, range(100), votes=10)
    assert (one.steps, one.of, one.repeats, one.whole, one.drawn) == (100, 100, 0, True, True)
    ten = planned(made)
    assert ten.shown is not None and ten.shown.wrong < 0.5
    assert ten.shown.right > 0.5
    assert ten.rests_on.startswith("your labels, of all the run's steps, are right")
    assert "random sample" not in ten.rests_on
    # More votes leave less.
    heard(made, range(100), votes=60)
    sixty = planned(made)
    assert sixty.shown is not None and sixty.shown.wrong < ten.shown.wrong / 2


def test_the_first_rows_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    made = rows_of(tmp_path, range(200))
    said = r"your 60 labels are rows 1 to 60 of 200: a sample by order shows nothing of the other rows"
    with pytest.raises(BadInput, match=said) as refused:
        calibrate(made, labels=labels(range(60)), votes=4)
    assert "random.sample(range(200), 60)" in str(refused.value.fix)
    assert not (tmp_path / "maker.db").exists()


def test_without_labels_nothing_stands_shuffled(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there are no labels"):
        calibrate(rows_of(tmp_path, range(20)), shuffled=True)


def test_the_first_rows_of_a_shuffled_file_are_a_random_sample(tmp_path: Path) -> None:
    one = heard(rows_of(tmp_path, range(200)), range(60), votes=4, shuffled=True)
    assert (one.steps, one.of, one.drawn, one.whole) == (60, 200, True, False)


def test_random_rows_are_planned_for_all_rows(tmp_path: Path) -> None:
    """150 of 200: some two that were not drawn may be wrong, and three times that by the bound of an endless run."""
    made = rows_of(tmp_path, range(200))
    drawn = random.Random(5).sample(range(200), 150)
    one = heard(made, drawn, votes=10)
    assert (one.steps, one.of, one.drawn, one.whole) == (150, 200, True, False)
    found = planned(made)
    assert found.classes[0].steps == 200
    assert found.shown is not None and 2 < found.shown.wrong < 3
    assert "as a random sample of them is" in found.rests_on


def test_a_row_that_is_labelled_twice_counts_once(tmp_path: Path) -> None:
    drawn = random.Random(5).sample(range(200), 50)
    one = heard(rows_of(tmp_path, range(200)), [*drawn, *drawn[:20]], votes=4)
    assert (one.steps, one.of, one.repeats) == (50, 200, 0)


def test_rows_that_ask_the_same_are_one_question(tmp_path: Path) -> None:
    """Rows 0 to 9 stand there twice: 90 questions are asked, and all 100 rows are known."""
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "text"], *([f"row-{n}", f"item {n % 90}"] for n in range(100))])
    made = job(tmp_path, model=ALWAYS) | {"vote": AUTO}
    lines = labels(range(90)).splitlines()
    repeated = [json.dumps(json.loads(line) | {"child": 90 + n}) for n, line in enumerate(lines[:10])]
    (one,) = calibrate(made, labels="\n".join([*lines, *repeated]), votes=10).calibration.classes.values()
    assert (one.steps, one.of, one.repeats, one.whole) == (90, 100, 10, True)
    found = planned(made)
    # One question may be the one that ten others repeat.
    assert found.shown is not None and found.classes[0].steps == 100


def test_labels_of_other_steps_are_of_no_known_number() -> None:
    task = api.load_job({"task": {"decomposer": "hanoi", "disks": 3}, "model": {"kind": "simulated"}}).decomposer
    assert own_rows(task, parse_labels('{"reply": "1AC"}')) is None


def test_rows_are_found_by_their_state_too(tmp_path: Path) -> None:
    task = api.load_job(rows_of(tmp_path, range(5))).decomposer
    state = task.state.write(task.start())
    lines = [{"child": 3, "reply": "x"}, {"child": 0, "reply": "x", "state": state}, {"child": 3, "reply": "x"}]
    assert own_rows(task, parse_labels("\n".join(map(json.dumps, lines)))) == OwnRows((0, 3), 5, state)
    assert own_rows(task, parse_labels(json.dumps({"child": 3, "reply": "x", "state": "another"}))) is None


def test_a_calibration_of_an_older_version_reads_as_it_did(tmp_path: Path) -> None:
    one = heard(rows_of(tmp_path, range(200)), random.Random(5).sample(range(200), 50), votes=4)
    stored = one.model_dump(mode="json")
    old = {name: value for name, value in stored.items() if name not in ("drawn", "repeats")} | {"of": None}
    read = ClassFound.model_validate(old)
    assert (read.drawn, read.repeats, read.whole) == (False, 0, False)
    assert not {"drawn", "repeats"} & read.model_dump().keys()


def test_rows_that_are_no_random_sample_are_refused_by_what_was_seen() -> None:
    refuse_in_order(random.Random(1).sample(range(1000), 300), 1000)
    with pytest.raises(BadInput, match="your 300 labels are rows 1 to 300 of 1,000") as refused:
        refuse_in_order(range(300), 1000)
    assert "--shuffled" in str(refused.value.fix)


def maker(folder: Path, *words: str) -> Result:
    """Run a command on the job in a folder."""
    command, *more = words
    return CliRunner().invoke(app, [command, str(folder / "job.toml"), *more])


def test_the_commands_plan_a_map_by_its_labels(tmp_path: Path) -> None:
    """`maker calibrate` refuses the first rows, takes them as shuffled, and plans by random rows and by all of them."""
    made = rows_of(tmp_path, range(120), task={"truth": f"{tasks}:truth", "check": f"{tasks}:answerable", "output": ""})
    made["task"] |= {"schema": str(tmp_path / "schema.json")}
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    fields = made["task"].pop("fields")
    lines = [f"task.fields.{name} = {json.dumps(rule)}" for name, rule in fields.items()]
    for name, table in made.items():
        lines += [f"{name}.{key} = {json.dumps(value)}" for key, value in table.items()]
    (tmp_path / "job.toml").write_text("\n".join(lines))
    for name, rows in (("first", range(40)), ("all", range(120)), ("drawn", random.Random(2).sample(range(120), 40))):
        (tmp_path / f"{name}.jsonl").write_text(labels(rows))
    refused = maker(tmp_path, "calibrate", "--labels", str(tmp_path / "first.jsonl"), "--votes", "4")
    assert refused.exit_code == 2
    assert "your 40 labels are rows 1 to 40 of 120" in refused.stderr
    for words in (("first", "--shuffled"), ("drawn",)):
        taken = maker(
            tmp_path, "calibrate", "--labels", str(tmp_path / f"{words[0]}.jsonl"), "--votes", "4", *words[1:]
        )
        assert taken.exit_code == 0, taken.stderr
    part = maker(tmp_path, "plan")
    assert part.exit_code == 0, part.stderr
    assert "as a random sample of them is" in part.stdout
    assert maker(tmp_path, "calibrate", "--labels", str(tmp_path / "all.jsonl"), "--votes", "10").exit_code == 0
    whole = maker(tmp_path, "plan")
    assert "shown at 95 %: at most 0." in whole.stdout
    assert "your labels, of all the run's steps, are right" in whole.stdout


def test_rows_of_several_classes_add_up_to_all_rows() -> None:
    """Of 1,000 rows in proportion to 90, 104 and 106 labelled ones: 300, and by largest remainders 347 and 353."""
    assert dict(_shared_out(1000, {"a": 90, "b": 104, "c": 106})) == {"a": 300, "b": 347, "c": 353}
    # No remainder is larger than another: the first ones get one more.
    assert dict(_shared_out(7, {"a": 1, "b": 1, "c": 1})) == {"a": 3, "b": 2, "c": 2}


class Halved(Map):
    """Rows are of class ``row``; of class ``other`` there is none."""

    def __init__(self, params: MapParams, known: Sequence[InputPart] = ()) -> None:
        super().__init__(params, known)
        (row,) = self.classes
        self.classes = (row, replace(row, name="other"))


@pytest.mark.parametrize(("labelled", "planned_for"), [(40, {"row": 40}), (30, None)])
def test_where_all_rows_are_labelled_no_row_is_of_another_class(
    labelled: int, planned_for: dict[str, int] | None, tmp_path: Path
) -> None:
    made = rows_of(tmp_path, range(40))
    made["task"]["decomposer"] = f"{__file__}:Halved"
    calibrate(made, labels=labels(random.Random(5).sample(range(40), labelled)), votes=10)
    if planned_for is None:
        with pytest.raises(BadInput, match="the pilot has asked no step of class 'other'"):
            planned(made)
    else:
        assert {one.name: one.steps for one in planned(made).classes} == planned_for
