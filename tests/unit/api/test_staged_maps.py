"""Maps with stages, by the engine and simulated models: whole, stopped, limited, changed."""

from __future__ import annotations

import csv
import json
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import row_tasks

import maker
from maker.errors import BadInput, RunIdTaken, RunNotResumable
from maker.lifecycle.events import Event, RunStarted, StepsDecided

ROWS = 400


def job(folder: Path, *, labels: int = 200, **tables: Any) -> dict[str, Any]:
    """Return a map over 400 items, with labels of 200, and a store of its own."""
    with (folder / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *([f"row-{n}", f"item {n}"] for n in range(ROWS))])
    drawn = sorted(random.Random(3).sample(range(ROWS), labels))
    (folder / "labels.csv").write_text("id,answer\n" + "".join(f"row-{n},{row_tasks.label(n)}\n" for n in drawn))
    base: dict[str, Any] = {
        "task": {
            "decomposer": "map", "input": str(folder / "rows.csv"), "template": "What colour is {{text}}?",
            "id_column": "id", "truth": "row_tasks:plain_truth", "output": str(folder / "out"),
        },
        "accept": {"error": 0.1, "labels": str(folder / "labels.csv")},
        "store": {"url": f"sqlite:///{folder}/maker.db"},
        "stage": [
            {"name": "cheap", "model": {"kind": "simulated", "p": 0.8, "rivals": 2, "rho": 0.3}, "vote": {"k": 3}},
            {"name": "strong", "model": {"kind": "simulated", "p": 0.98, "rivals": 2}, "vote": {"k": 2}},
        ],
    }  # fmt: skip
    return base | tables


def _url(folder: Path) -> str:
    return f"sqlite:///{folder}/maker.db"


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _logs(found: maker.StagesReport) -> list[tuple[str, int]]:
    return [(one.digest, one.decided_votes) for one in found.reports]


def test_every_row_has_one_last_word_and_one_place(tmp_path: Path) -> None:
    """Accepted rows and those for review are all rows, each once, with the stage that has the last word on it."""
    found = maker.run_stages(job(tmp_path), run_id="m")
    assert found.accepted is not None
    cheap, strong = found.accepted.stages
    assert (cheap.asked, cheap.handed_on, strong.asked) == (ROWS, strong.asked, ROWS - cheap.kept)
    assert 0 < cheap.kept < ROWS
    assert found.accepted.tuned == 50
    accepted, review = _lines(tmp_path / "out" / "accepted.jsonl"), _lines(tmp_path / "out" / "review.jsonl")
    ids = Counter(one["id"] for one in [*accepted, *review])
    assert ids == Counter(f"row-{n}" for n in range(ROWS))
    assert len(accepted) == found.accepted.whole.accepted == cheap.accepted + strong.accepted
    stages = {one.result.id: one.stage for one in maker.stage_results("m", store=_url(tmp_path))}
    assert Counter(stages.values()) == {"cheap": cheap.kept, "strong": strong.asked}
    assert all(one["_stage"] == stages[one["id"]] and one["_margin"] >= 2 for one in accepted)
    wrong = sum(one["answer"] != row_tasks.label(int(one["id"].removeprefix("row-"))) for one in accepted)
    assert wrong <= 0.1 * len(accepted)
    for report in found.reports:
        assert maker.verify(report.run_id, store=_url(tmp_path)).right


def test_the_same_call_asks_nothing_again(tmp_path: Path) -> None:
    """Whatever of the stages' runs is named, the same rows are accepted, and no sample is drawn."""
    tables = job(tmp_path)
    first = maker.run_stages(tables, run_id="m")
    for again in (
        maker.run_stages(tables, run_id="m"),
        maker.resume_stages("m", store=_url(tmp_path)),
        maker.resume_stages("m.strong", store=_url(tmp_path)),
    ):
        assert [one.calls for one in again.reports] == [one.calls for one in first.reports]
        assert again.accepted == first.accepted


@pytest.mark.parametrize("stage", [0, 1])
def test_stopped_in_any_stage_it_goes_on_there(tmp_path: Path, stage: int) -> None:
    """The logs are those of an undisturbed map, to the last vote; nothing decided is asked again."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    whole = maker.run_stages(job(tmp_path / "whole"), run_id="m")
    stop, begun, decided = threading.Event(), [-1], [0]

    def listen(event: Event) -> None:
        begun[0] += isinstance(event, RunStarted)
        decided[0] += event.steps if isinstance(event, StepsDecided) else 0
        if begun[0] == stage and isinstance(event, StepsDecided):
            stop.set()

    tables = job(tmp_path / "stopped", swarm={"chains": 8})
    stopped = maker.run_stages(tables, run_id="m", on_event=listen, stop=stop)
    assert (stopped.last.status, len(stopped.reports), stopped.accepted) == ("paused", stage + 1, None)
    assert not (tmp_path / "stopped" / "out").exists()
    steps = {one.run_id: one.steps for one in stopped.reports}
    again = maker.resume_stages("m", store=_url(tmp_path / "stopped"))
    assert [one.digest for one in again.reports] != []
    assert [one.decided_votes for one in again.reports] == [one.decided_votes for one in whole.reports]
    assert all(one.steps >= steps.get(one.run_id, 0) for one in again.reports)
    for name in ("accepted.jsonl", "review.jsonl"):
        files = [(tmp_path / folder / "out" / name).read_bytes() for folder in ("whole", "stopped")]
        assert files[0] == files[1]


def test_limits_are_of_all_stages_together(tmp_path: Path) -> None:
    """The second stage has what the first has left, and a resume that raises the limit raises that of all."""
    whole = maker.run_stages(job(tmp_path), run_id="free")
    first, all_calls = whole.reports[0].calls, sum(one.calls for one in whole.reports)
    tables = job(tmp_path, limits={"max_calls": first + 60})
    tables["task"] = tables["task"] | {"output": str(tmp_path / "limited")}
    limited = maker.run_stages(tables, run_id="m")
    assert limited.last.run_id == "m.strong"
    assert limited.last.status == "paused"
    assert limited.last.settings["limits"]["max_calls"] == 60
    assert sum(one.calls for one in limited.reports) <= first + 60
    with pytest.raises(BadInput, match="the stages before strong have spent"):
        maker.resume_stages("m", [f"limits.max_calls={first - 1}"], store=_url(tmp_path))
    done = maker.resume_stages("m", [f"limits.max_calls={2 * all_calls}"], store=_url(tmp_path))
    assert done.accepted is not None
    assert done.last.settings["limits"]["max_calls"] == 2 * all_calls - first


def test_changed_stages_are_refused(tmp_path: Path) -> None:
    """A run's stages keep their names, models and votes; and other rows would be another map."""
    tables = job(tmp_path)
    maker.run_stages(tables, run_id="m")
    cheap, strong = tables["stage"]
    for stages, message in (
        ([cheap, {**strong, "name": "large"}], "was begun with the stages cheap, strong"),
        ([{**cheap, "vote": {"k": 4}}, strong], "run m is another job's: vote.k"),
        ([cheap, {**strong, "model": {**strong["model"], "p": 0.97}}], "run m.strong is another job's"),
    ):
        with pytest.raises(RunIdTaken, match=message):
            maker.run_stages(tables | {"stage": stages}, run_id="m")
    with pytest.raises(BadInput, match=r"vote\.k"):
        maker.resume_stages("m", ["stage.cheap.vote.k=4"], store=_url(tmp_path))


def test_labels_are_looked_at_before_a_model_is_asked(tmp_path: Path) -> None:
    """None, too few, of no row, in the order of the file: each is refused, and there is no run."""
    tables = job(tmp_path)
    for name, text, message in (
        ("none.csv", None, "cannot be read"),
        ("few.csv", "id,answer\nrow-7,red\nrow-90,red\nrow-300,blue\n", r"has 3 labels: .* takes \d\d"),
        ("nowhere.csv", (tmp_path / "labels.csv").read_text() + "row-9999,red\n", "the input has no row with this id"),
        ("head.csv", "id,answer\n" + "".join(f"row-{n},red\n" for n in range(200)), "a sample by order shows nothing"),
    ):
        file = tmp_path / name
        if text is not None:
            file.write_text(text)
        with pytest.raises(BadInput, match=message) as refused:
            maker.run_stages(tables | {"accept": {"error": 0.1, "labels": str(file)}})
        assert refused.value.fix
    assert not (tmp_path / "maker.db").exists()


def test_a_stage_is_no_run_to_retry_or_to_accept_alone(tmp_path: Path) -> None:
    """What it did not settle has gone on; a fork of it is a run of its own."""
    maker.run_stages(job(tmp_path), run_id="m")
    with pytest.raises(RunNotResumable, match="is a stage of a map"):
        maker.retry("m", store=_url(tmp_path))
    with pytest.raises(BadInput, match="is a stage of a map"):
        maker.accept("m", error=0.1, labels=tmp_path / "labels.csv", store=_url(tmp_path))
    assert "stages" not in maker.fork("m", 0, store=_url(tmp_path)).settings


def test_rows_of_another_map_are_not_overwritten(tmp_path: Path) -> None:
    """Its folder is refused before a model is asked."""
    maker.run_stages(job(tmp_path), run_id="one")
    with pytest.raises(BadInput, match="holds the accepted rows of run one"):
        maker.run_stages(job(tmp_path), run_id="other")


def test_prices_are_added_up(tmp_path: Path) -> None:
    """A row costs what its stages took, and all cost what the stages cost together; unknown without prices."""
    found = maker.run_stages(job(tmp_path), run_id="m")
    assert found.cost is None
    assert all(one.cost is None for one in maker.stage_results("m", store=_url(tmp_path)))


def test_labels_that_have_kept_all_rows_test_none(tmp_path: Path) -> None:
    """Where the cheap model is so good that nothing is left, its tuning labels are used up all the same, for good."""
    tables = job(tmp_path)
    tables["stage"][0]["model"]["p"], tables["stage"][0]["model"]["rho"] = 1.0, 0.0
    for _ in range(2):
        found = maker.run_stages(tables, run_id="m")
        assert found.accepted is not None
        assert [one.run_id for one in found.reports] == ["m"]
        assert (found.accepted.tuned, found.accepted.whole.sampled) == (50, 150)
        assert found.accepted.whole.accepted == ROWS
    # More labels test; none of those that tuned does.
    more = job(tmp_path, labels=300)
    more["stage"] = tables["stage"]
    again = maker.run_stages(more, run_id="m")
    assert again.accepted is not None
    assert again.accepted.whole.earlier == 1
    assert again.accepted.tuned + again.accepted.whole.sampled == 300
    assert again.accepted.tuned <= 50


STAGES = [
    {"name": "cheap", "model": maker.simulated(p=0.8, rivals=2, rho=0.3), "vote": {"k": 3}},
    {"name": "strong", "model": maker.simulated(p=0.98, rivals=2), "vote": {"k": 2}},
]


def _map(folder: Path, rows: list[dict[str, str]], labels: dict[Any, str], **more: Any) -> Any:
    return maker.map(
        rows, "What colour is {{text}}?", stages=STAGES, accept={"error": 0.1, "labels": labels}, name="m",
        truth=row_tasks.plain_truth, store=_url(folder), **more,
    )  # fmt: skip


def test_a_table_goes_through_stages_and_comes_back(tmp_path: Path) -> None:
    """It has the stage of each row, and whether the row is accepted; the same call asks nothing."""
    rows = [{"text": f"item {n}"} for n in range(ROWS)]
    labels = {n: row_tasks.label(n) for n in random.Random(4).sample(range(ROWS), 200)}
    found = _map(tmp_path, rows, labels)
    cells = found.to_dicts()
    assert [one["text"] for one in cells] == [one["text"] for one in rows]
    assert {one["_stage"] for one in cells} == {"cheap", "strong"}
    assert sum(one["_accepted"] for one in cells) == found.stages.accepted.whole.accepted
    assert len(found.review) == ROWS - found.stages.accepted.whole.accepted
    wrong = [one for n, one in enumerate(cells) if one["_accepted"] and one["answer"] != row_tasks.label(n)]
    assert len(wrong) <= 0.1 * found.stages.accepted.whole.accepted
    again = _map(tmp_path, rows, labels)
    assert [one.calls for one in again.stages.reports] == [one.calls for one in found.stages.reports]
    assert again.to_dicts() == cells
    with pytest.raises(BadInput, match="takes none of the 1 rows that are new"):
        _map(tmp_path, [*rows, {"text": "item 5000"}], labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, "needs labels"),
        ({ROWS: "red"}, "is of no row that can be asked"),
        ({"row-1": "red"}, "'row-1' is of no row"),
    ],
)
def test_a_table_needs_labels_of_its_rows(tmp_path: Path, labels: dict[Any, str], message: str) -> None:
    """By their numbers."""
    with pytest.raises(BadInput, match=message):
        _map(tmp_path, [{"text": f"item {n}"} for n in range(ROWS)], labels)
