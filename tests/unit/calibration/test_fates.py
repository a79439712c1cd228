"""Votes of one request that share a fate: found by a pilot, told, and never planned with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from row_tasks import job as rows_job
from row_tasks import write_rows

from maker import api
from maker.calibration.calibrate import calibrate
from maker.calibration.fate import fate_words
from maker.calibration.observations import Calibration, Reply, by_request
from maker.calibration.plan import plan
from maker.errors import BadInput, OutOfReach
from maker.lifecycle import queries
from maker.types import Flag

pytestmark = pytest.mark.plan

Job = dict[str, dict[str, Any]]


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    def make(**model: Any) -> Job:
        return {
            "task": {"decomposer": "hanoi", "disks": 10},
            "model": {"kind": "simulated", "p": 0.9} | model,
            "vote": {"k": "auto", "target": 0.9},
            "store": {"url": f"sqlite:///{tmp_path}/maker.db"},
        }

    return make


def test_a_shared_fate_is_measured_told_and_not_planned_with(job: Callable[..., Job]) -> None:
    """The plan is refused, with what to set and its price; asked one a request, the same model is planned."""
    shared, each = job(fate=0.3), job(fate=0.3, max_n=1)
    kept = calibrate(shared, steps=200, votes=10)
    fate = kept.calibration.fate
    assert fate is not None
    assert fate.shared
    assert fate.correlation[0] < 0.3 < fate.correlation[2]
    said = fate_words(api.load_job(shared), kept.calibration)
    assert said.startswith("votes of one request share a fate (correlation 0.")
    price = f"{round(1023 * 2 * kept.calibration.prompt):,} prompt tokens"
    advice = f"set model.max_n = 1, which asks each vote in a request of its own and costs about {price}"
    assert advice in said
    with pytest.raises(OutOfReach, match="votes of one request share a fate") as refusal:
        plan(api.load_job(shared))
    assert advice in (refusal.value.fix or "")
    with pytest.raises(BadInput, match="says nothing of votes that are asked one a request"):
        plan(api.load_job(each))
    alone = calibrate(each, steps=100, votes=10).calibration
    assert alone.fate is None
    assert alone.requests == alone.samples == 1000
    assert plan(api.load_job(each)).calibration == alone
    # Votes asked one by one do not make those of one request independent.
    with pytest.raises(OutOfReach, match="calibration 1: votes of one request share a fate"):
        plan(api.load_job(shared))


def test_independent_votes_are_planned_with(job: Callable[..., Job]) -> None:
    """And a calibration of an older version, which has not asked, is."""
    kept = calibrate(job(), steps=200, votes=10).calibration
    assert kept.fate is not None
    assert not kept.fate.shared
    assert fate_words(api.load_job(job()), kept).startswith("votes of one request agree no more than those of two, as")
    silent = kept.model_copy(update={"fate": kept.fate.model_copy(update={"steps": 0})})
    assert fate_words(api.load_job(job()), silent).startswith("no votes on a step differ, so nothing shows")
    assert plan(api.load_job(job())).calibration == kept
    stored = kept.model_dump(mode="json")
    del stored["fate"]
    older = Calibration.model_validate(stored)
    assert older.fate is None
    assert fate_words(api.load_job(job()), older) == ""


def test_a_pool_is_compared_by_model(job: Callable[..., Job]) -> None:
    """Votes of two models are two requests; the advice names the models."""
    members = {"one": {"kind": "simulated", "p": 0.9, "fate": 1.0}, "two": {"kind": "simulated", "p": 0.9}}
    settings = job() | {"model": {"kind": "pool", "members": members}}
    kept = calibrate(settings, steps=150, votes=12)
    assert kept.calibration.requests == 600
    fate = kept.calibration.fate
    assert fate is not None
    assert fate.shared
    assert fate.correlation[0] < 0.5 < fate.correlation[2]
    said = fate_words(api.load_job(settings), kept.calibration)
    assert "set model.members.one.max_n = 1 and model.members.two.max_n = 1" in said


def test_a_map_says_it_too(tmp_path: Path) -> None:
    """With agreement alone, which knows no right answers."""
    write_rows(tmp_path / "rows.csv", range(300))
    settings = rows_job(tmp_path, model={"kind": "simulated", "p": 0.8, "fate": 0.5})
    settings["store"] = {"url": f"sqlite:///{tmp_path}/maker.db"}
    kept = calibrate(settings, steps=150, votes=10)
    fate = kept.calibration.fate
    assert fate is not None
    assert fate.shared
    assert queries.verify(kept.calibration.runs[0], store=settings["store"]["url"]).right


def test_votes_are_counted_by_request() -> None:
    """Flagged ones are none; without right answers the most frequent one of all requests stands for them."""
    replies = [
        *(Reply(key, None, 1, 0, 0, 0) for key in "aab"),
        *(Reply(key, None, 1, 1, 0, 1) for key in "bb"),
        Reply(None, Flag.FORMAT, 1, 0, 1, 0),
        *(Reply(key, None, 1, 0, 1, 0) for key in "bc"),
    ]
    assert by_request(replies, None) == ((0, 3, 2, 0), (0, 2, 0, 1), (1, 2, 1, 0))
    assert by_request(replies, {"a", "c"}) == ((0, 3, 1, 0), (0, 2, 2, 1), (1, 2, 1, 0))
    assert by_request([], None) == ()


def test_a_pilot_of_an_older_version_is_found(job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    """It asked all votes of a step in one request, and is taken as it is."""
    monkeypatch.setattr("maker.calibration.calibrate.ROUNDS", 100)
    old = calibrate(job(), steps=20, votes=4).calibration
    monkeypatch.undo()
    again = calibrate(job(), steps=20, votes=4).calibration
    assert (again, again.fate) == (old, None)
    assert len(queries.runs(store=job()["store"]["url"])) == len(old.runs)
    poll = queries.show(old.runs[0], store=job()["store"]["url"]).settings["poll"]
    assert json.dumps(poll) == '{"votes": 4, "steps": 20, "labels": ""}'
