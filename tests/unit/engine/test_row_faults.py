"""A row that gets no reply fails alone; only where many rows get none is it the model's fault, and the run pauses."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from row_tasks import job, label, write_rows

from maker import api
from maker.engine.row_faults import RowFaults, Unanswered
from maker.errors import ModelUnusable, RowUnanswered
from maker.lifecycle import queries
from maker.lifecycle.rows import results
from maker.testing import FakeReply, FakeServer, chat_completion
from maker.voting.messages import ChainRef

Script = Callable[[int, Any], FakeReply]


def row(number: int, *, alone: bool) -> Unanswered:
    """Return a row that got no reply."""
    return Unanswered(ChainRef(7, number), RowUnanswered(f"row {number}", alone=alone))


def numbers(rows: list[Unanswered]) -> list[int | None]:
    """Return the numbers of rows."""
    return [one.ref.child for one in rows]


def test_answered_rows_vouch() -> None:
    """Each for one: before it, where others were answered meanwhile, and after it in any case."""
    faults = RowFaults()
    assert numbers(faults.unanswered(row(1, alone=True))) == []
    assert numbers(faults.answered(2)) == [1]
    assert numbers(faults.unanswered(row(2, alone=False))) == []
    assert numbers(faults.unanswered(row(3, alone=True))) == [3]
    assert numbers(faults.unanswered(row(4, alone=True))) == []
    assert faults.models_fault(over=False) is None
    assert numbers(faults.answered(9)) == [2, 4]
    assert faults.models_fault(over=True) is None


def test_many_rows_for_which_none_vouches_are_the_models_fault() -> None:
    """However many were answered before: a model that dies in the middle gives no row up."""
    faults = RowFaults()
    faults.answered(10_000)
    for number in range(15):
        assert faults.unanswered(row(number, alone=False)) == []
    assert faults.models_fault(over=False) is None
    faults.unanswered(row(15, alone=False))
    fault = faults.models_fault(over=False)
    assert fault is not None
    assert fault.message == "row 0"


def test_a_model_that_hardly_answers_is_noticed() -> None:
    """Of thousands of rows that fail while few are answered a hundred are given up, not all."""
    faults = RowFaults()
    faults.answered(10_000)
    given_up = sum(len(faults.unanswered(row(number, alone=True))) for number in range(116))
    assert given_up == 100
    assert faults.models_fault(over=False) is not None


def test_the_last_rows() -> None:
    """Where nothing is left to ask, a few rows without a reply are given up, unless none was ever answered.

    Many are not: they wait for one server, and fail together where it is given up.
    """
    faults = RowFaults()
    faults.unanswered(row(1, alone=False))
    assert faults.over() == []
    assert faults.models_fault(over=True) is not None
    answered = RowFaults()
    answered.answered(1)
    answered.unanswered(row(1, alone=False))
    assert numbers(answered.over()) == [1]
    for number in range(16):
        answered.unanswered(row(number, alone=False))
    assert answered.over() == []
    assert answered.models_fault(over=True) is not None
    resumed = RowFaults(worked=True)
    resumed.unanswered(row(1, alone=False))
    assert numbers(resumed.over()) == [1]
    assert RowFaults(many=1).models_fault(over=False) is None


def number_of(body: Any) -> int:
    """Return the number of the row that a request asks about."""
    found = re.search(r"item (\d+)", body["messages"][-1]["content"])
    assert found is not None
    return int(found[1])


def right(number: int, body: Any) -> FakeReply:
    """Answer rightly."""
    text = f'{{"label": "{label(number)}", "why": "so"}}'
    return FakeReply(200, chat_completion([text] * body.get("n", 1)))


def refusing(status: int, *bad: int) -> Script:
    """Return a script that answers some rows with an HTTP status for ever, the others rightly."""

    def script(number: int, body: Any) -> FakeReply:
        says = FakeReply(status, {"error": {"message": "broken inside"}}, headers={"Retry-After": "0.1"})
        return says if number in bad else right(number, body)

    return script


def hanging(*bad: int) -> Script:
    """Return a script that holds the answers to some rows back."""

    def script(number: int, body: Any) -> FakeReply:
        return right(number, body)._replace(delay_s=30.0 if number in bad else 0.0)

    return script


def run(folder: Path, script: Script, rows: int = 40, **tables: Any) -> Any:
    """Run a map of rows against a server."""
    write_rows(folder / "rows.csv", range(rows))
    with FakeServer(lambda body: script(number_of(body), body)) as server:
        model = {"kind": "openai", "url": server.url, "name": "m", "retry_s": 0.5, "timeout_s": 0.4}
        return api.run(job(folder, vote={"k": 2, "max_votes": 4}, **tables) | {"model": model})


@pytest.mark.parametrize(
    ("script", "bad", "says"),
    [
        (refusing(500, 5), 1, "HTTP 500: broken inside"),
        (refusing(429, 5), 1, "HTTP 429: broken inside"),
        (refusing(500, *range(0, 40, 3)), 14, "HTTP 500: broken inside"),
        (hanging(5), 1, "failed 5 tries; the last: no reply within 0.4 s"),
    ],
    ids=["500", "429", "a third", "hanging"],
)
def test_rows_without_a_reply_fail_and_the_others_go_on(tmp_path: Path, script: Script, bad: int, says: str) -> None:
    """They are `failed` with the server's words; files are written, the log verifies, a retry asks them again."""
    report = run(tmp_path, script)
    assert (report.status, report.result) == ("done", {"rows": 40, "decided": 40 - bad, "failed": bad})
    assert report.missing == bad
    store = f"sqlite:///{tmp_path}/maker.db"
    failed = [one for one in results(report.run_id, store=store) if one.outcome == "failed"]
    assert len(failed) == bad
    assert all(says in one.reason for one in failed)
    assert len((tmp_path / "out" / "rows-000000000-000009999.jsonl").read_text().splitlines()) == 40 - bad
    assert len((tmp_path / "out" / "review.jsonl").read_text().splitlines()) == bad
    assert queries.verify(report.run_id, store=store).right


@pytest.mark.parametrize("script", [refusing(500, 7), hanging(7)], ids=["500", "hanging"])
def test_a_resume_gives_up_the_last_row(tmp_path: Path, script: Script) -> None:
    """A server that answered in the run before is a working one, though it answers none of the rows that are left."""
    write_rows(tmp_path / "rows.csv", range(8))
    store = f"sqlite:///{tmp_path}/maker.db"
    with FakeServer(lambda body: script(number_of(body), body)) as server:
        model = {"kind": "openai", "url": server.url, "name": "m", "retry_s": 0.5, "timeout_s": 0.4}
        report = api.run(job(tmp_path, vote={"k": 2, "max_votes": 4}) | {"model": model}, limit_steps=7)
        assert (report.status, report.steps) == ("paused", 7)
        done = api.resume(report.run_id, store=store)
    assert (done.status, done.result) == ("done", {"rows": 8, "decided": 7, "failed": 1})


def test_a_resume_without_a_server_gives_no_row_up(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", range(8))
    store = f"sqlite:///{tmp_path}/maker.db"
    with FakeServer(lambda body: right(number_of(body), body)) as server:
        model = {"kind": "openai", "url": server.url, "name": "m", "retry_s": 0.5}
        report = api.run(job(tmp_path, vote={"k": 2, "max_votes": 4}) | {"model": model}, limit_steps=7)
    with pytest.raises(ModelUnusable):
        api.resume(report.run_id, store=store)
    assert queries.show(report.run_id, store=store).status == "paused"


def test_a_server_that_dies_in_the_middle_gives_no_row_up(tmp_path: Path) -> None:
    """After some answers there are errors alone: the run pauses, no row is failed, and a resume asks the rest."""
    answered, dead, lock = [0], [True], threading.Lock()

    def script(number: int, body: Any) -> FakeReply:
        with lock:
            answered[0] += 1
            alive = answered[0] <= 30 or not dead[0]
        return right(number, body) if alive else FakeReply(500, {"error": {"message": "gone"}})

    write_rows(tmp_path / "rows.csv", range(200))
    with FakeServer(lambda body: script(number_of(body), body)) as server:
        model = {"kind": "openai", "url": server.url, "name": "m", "retry_s": 2}
        report = api.run(job(tmp_path, vote={"k": 2, "max_votes": 4}) | {"model": model})
        assert report.status == "paused"
        assert "HTTP 500: gone" in report.reason
        assert 0 < report.steps <= 30
        settled = list(results(report.run_id, store=f"sqlite:///{tmp_path}/maker.db"))
        assert len(settled) == report.steps
        (part,) = (tmp_path / "out").glob("rows-*.partly.jsonl")
        assert len(part.read_text().splitlines()) == report.steps
        dead[0] = False
        done = api.resume(report.run_id, store=f"sqlite:///{tmp_path}/maker.db")
    assert (done.status, done.result) == ("done", {"rows": 200, "decided": 200})
    assert [path.name for path in (tmp_path / "out").glob("rows-*")] == ["rows-000000000-000009999.jsonl"]
