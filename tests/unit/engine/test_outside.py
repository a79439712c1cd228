"""Effects are done once and recorded; people are waited for without a process."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, update

import maker
from maker.engine import driver
from maker.errors import BadInput, RunNotResumable
from maker.lifecycle.events import EffectInDoubt, WaitBegun, WaitEnded
from maker.lifecycle.waits import answer_in
from maker.store.backend import schema
from maker.store.backend.database import open_database
from maker.store.outside import State, read_outside
from tests.unit.workflow_tasks import MOOD


def job(tmp_path: Path, name: str, **task: Any) -> dict[str, Any]:
    """Return a job of a workflow with the simulated model."""
    return {
        "task": {"decomposer": f"tests.unit.workflow_tasks:{name}", **task},
        "model": {"kind": "simulated", "p": 0.9},
        "vote": {"k": 3},
        "store": {"url": store(tmp_path)},
    }


def store(tmp_path: Path) -> str:
    """Return the store of a test."""
    return f"sqlite:///{tmp_path}/o.db"


def sent(tmp_path: Path) -> list[str]:
    """Return the keys of what was sent."""
    found = tmp_path / "sent"
    return [line.split()[0] for line in found.read_text().splitlines()] if found.exists() else []


def killed(of: dict[str, Any]) -> None:
    """Run a job in a process that dies in it."""
    code = f"import json, maker; maker.run(json.loads({json.dumps(of)!r}))"
    ended = subprocess.run([sys.executable, "-c", code], check=False, timeout=100)
    assert ended.returncode == 9


def test_a_run_does_what_it_does_once_and_rests_until_it_is_answered(tmp_path: Path) -> None:
    """No process holds it while it waits; who answered, and when, is in the log, which verifies."""
    report = maker.run(job(tmp_path, "order", folder=str(tmp_path)))
    assert (report.status, report.reason, report.steps) == ("paused", "waits for approve", 1)
    assert sent(tmp_path) == [f"{report.run_id}/root/2/0"]
    (wait,) = maker.waits(store=store(tmp_path))
    assert (wait.run_id, wait.at, wait.name, wait.prompt) == (report.run_id, "4", "approve", "Is billing right?")
    assert wait.answers == {"type": "boolean"}
    maker.answer(report.run_id, "approve", True, by="ann", store=store(tmp_path))
    assert list(maker.waits(store=store(tmp_path))) == []
    done = maker.resume(report.run_id, store=store(tmp_path))
    assert (done.status, done.result) == ("done", [7, "A", "B", True, True])
    assert len(sent(tmp_path)) == 1
    assert maker.verify(report.run_id, store=store(tmp_path)).right
    with open_database(store(tmp_path), create=False).read() as connection:
        (record,) = connection.exec_driver_sql("select action from maker_step where action like '%ann%'").scalars()
    assert json.loads(record)["by"] == "ann"
    assert abs(json.loads(record)["at"] - time.time()) < 100


def test_who_watches_hears_of_waits_and_doubts(tmp_path: Path) -> None:
    """As they are committed; the store keeps them."""
    heard: list[Any] = []
    (tmp_path / "raise").touch()
    report = maker.run(job(tmp_path, "order", folder=str(tmp_path)), on_event=heard.append)
    maker.settle_effect(report.run_id, "send", done=7, store=store(tmp_path))
    maker.resume(report.run_id, store=store(tmp_path), on_event=heard.append)
    maker.answer(report.run_id, "approve", True, by="ann", store=store(tmp_path))
    maker.resume(report.run_id, store=store(tmp_path), on_event=heard.append)
    told = [one for one in heard if isinstance(one, WaitBegun | WaitEnded | EffectInDoubt)]
    assert [one.kind for one in told] == ["effect_in_doubt", "wait_begun", "wait_ended"]
    assert [(one.at, one.name) for one in told] == [("2", "send"), ("4", "approve"), ("4", "approve")]
    assert told[-1].to_json() | {"run_id": ""} == {
        "event": "wait_ended", "run_id": "", "at": "4", "name": "approve", "by": "ann", "expired": False,
    }  # fmt: skip
    kept = [one["kind"] for one in maker.show(report.run_id, store=store(tmp_path)).events]
    assert kept == ["effect_in_doubt", "wait_begun", "wait_ended"]


def test_a_record_that_was_changed_is_found(tmp_path: Path) -> None:
    """The digest of an effect's row takes in what came of it."""
    report = maker.run(job(tmp_path, "order", folder=str(tmp_path)))
    step = schema.step.c
    with open_database(store(tmp_path), create=False).write() as connection:
        changed = update(schema.step).where(step.action.like('%"value":7%'))
        other = func.replace(step.action, '"value":7', '"value":8')
        assert connection.execute(changed.values(action=other)).rowcount == 1
    assert "its record is not as it was written" in maker.verify(report.run_id, store=store(tmp_path)).problem


def test_an_answer_must_be_one(tmp_path: Path) -> None:
    """Of the wrong type, to nothing, twice, to what is over: refused with what would do."""
    report = maker.run(job(tmp_path, "order", folder=str(tmp_path)))
    url = store(tmp_path)
    with pytest.raises(BadInput, match="takes no such answer: 'yes' is not of type 'boolean'") as raised:
        maker.answer(report.run_id, "approve", "yes", store=url)
    assert "boolean" in raised.value.fix
    with pytest.raises(BadInput, match="does not wait for 'aprove'") as raised:
        maker.answer(report.run_id, "aprove", True, store=url)
    assert "did you mean 'approve'?" in raised.value.fix
    with pytest.raises(BadInput, match="does not wait for 'send'"):
        maker.answer(report.run_id, "send", True, store=url)
    maker.answer(report.run_id, "approve", False, by="ann", store=url)
    with pytest.raises(BadInput, match="is answered already"):
        maker.answer(report.run_id, "approve", True, store=url)
    assert maker.resume(report.run_id, store=url).status == "done"
    with pytest.raises(RunNotResumable, match="is done, and waits for nothing"):
        maker.answer(report.run_id, "approve", True, store=url)


@pytest.mark.parametrize("retry", ["ask", "same-key"])
def test_a_process_that_dies_in_an_effect_leaves_it_in_doubt(tmp_path: Path, retry: str) -> None:
    """A person is asked, or the same key is used again."""
    url = store(tmp_path)
    (tmp_path / "die").touch()
    killed(job(tmp_path, "order", folder=str(tmp_path), retry=retry))
    (tmp_path / "die").unlink()
    (run,) = maker.runs(store=url)
    resumed = maker.resume(run.run_id, store=url)
    if retry == "same-key":
        assert resumed.reason == "waits for approve"
        assert sent(tmp_path) == [f"{run.run_id}/root/2/0"] * 2
        return
    assert "step 2: effect send is in doubt: it was begun on" in resumed.reason
    assert len(sent(tmp_path)) == 1
    (wait,) = maker.waits(run.run_id, store=url)
    assert (wait.kind, wait.name, wait.at) == ("effect", "send", "2")
    # It stays in doubt until somebody says what came of it.
    assert "is in doubt" in maker.resume(run.run_id, store=url).reason
    with pytest.raises(BadInput, match="does not wait for 'send'"):
        maker.answer(run.run_id, "send", 7, store=url)
    maker.settle_effect(run.run_id, "2", done=7, by="bob", store=url)
    maker.resume(run.run_id, store=url)
    maker.answer(run.run_id, "approve", True, store=url)
    assert maker.resume(run.run_id, store=url).result == [7, "A", "B", True, True]
    assert len(sent(tmp_path)) == 1
    assert maker.verify(run.run_id, store=url).right


@pytest.mark.parametrize("retry", ["ask", "same-key"])
def test_an_effect_that_outlasts_a_stop_is_in_doubt_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retry: str
) -> None:
    """Who stops the run is told, and may say what came of it before anybody resumes; a same key needs nobody."""
    monkeypatch.setattr(driver, "WIND_UP_S", 0.2)
    (tmp_path / "hold").touch()
    stop, heard, url = threading.Event(), [], store(tmp_path)

    def stop_when_sent() -> None:
        while not (tmp_path / "sent").exists():
            time.sleep(0.02)
        stop.set()

    stopping = threading.Thread(target=stop_when_sent)
    stopping.start()
    told = job(tmp_path, "order", folder=str(tmp_path), retry=retry)
    report = maker.run(told, on_event=heard.append, stop=stop)
    stopping.join()
    (tmp_path / "hold").unlink()
    assert (report.status, report.reason) == ("paused", "stopped")
    doubts = [(one.at, one.name, one.reason) for one in heard if isinstance(one, EffectInDoubt)]
    if retry == "ask":
        assert doubts == [("2", "send", "was under way when the run was stopped, and not over 0.2 s later")]
        maker.settle_effect(report.run_id, "2", done=7, store=url)
    assert maker.resume(report.run_id, store=url).reason == "waits for approve"
    assert (len(sent(tmp_path)), len(doubts)) == ((1, 1) if retry == "ask" else (2, 0))


def test_an_effect_in_doubt_may_be_done_again(tmp_path: Path) -> None:
    """With the key that it had."""
    url = store(tmp_path)
    (tmp_path / "raise").touch()
    report = maker.run(job(tmp_path, "order", folder=str(tmp_path)))
    assert "effect send is in doubt: it raised: step 2: effect send raised OSError: the server is down" in report.reason
    (tmp_path / "raise").unlink()
    maker.settle_effect(report.run_id, "send", again=True, store=url)
    assert maker.resume(report.run_id, store=url).reason == "waits for approve"
    assert sent(tmp_path) == [f"{report.run_id}/root/2/0"] * 2


def test_a_result_that_json_cannot_hold_leaves_an_effect_in_doubt(tmp_path: Path) -> None:
    """It was done; what it returned cannot be kept."""
    report = maker.run(job(tmp_path, "oddly"))
    assert "effect odd is in doubt: it raised: step 0: effect odd: it was done, but what it returned" in report.reason
    maker.settle_effect(report.run_id, "odd", done=None, store=store(tmp_path))
    assert maker.resume(report.run_id, store=store(tmp_path)).status == "done"


def test_a_result_or_an_answer_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    """JSON can spell half a surrogate pair; no store and no digest takes it."""
    url = store(tmp_path)
    report = maker.run(job(tmp_path, "half"))
    assert "effect half_a_pair is in doubt" in report.reason
    assert "surrogates not allowed" in report.reason
    maker.settle_effect(report.run_id, "half_a_pair", done="x", store=url)
    assert maker.resume(report.run_id, store=url).reason == "waits for word"
    with pytest.raises(BadInput, match="takes no such answer: JSON cannot hold it"):
        maker.answer(report.run_id, "word", "\ud800", store=url)
    maker.answer(report.run_id, "word", "a\0b", store=url)
    assert maker.resume(report.run_id, store=url).result == "xa\0b"
    assert maker.verify(report.run_id, store=url).right


def test_nobody_is_waited_for_beyond_the_deadline(tmp_path: Path) -> None:
    """The function is told, as Python tells of a time that is over; it may then sleep."""
    began = time.monotonic()
    report = maker.run(job(tmp_path, "patient", seconds=0.2))
    assert report.result == "one: nobody has answered word"
    assert time.monotonic() - began < 30
    assert maker.verify(report.run_id, store=store(tmp_path)).right


def test_a_deadline_that_is_far_away_is_not_waited_for_by_a_process(tmp_path: Path) -> None:
    """The run rests, and goes on when it is resumed after it."""
    report = maker.run(job(tmp_path, "patient", seconds=1000.0))
    assert report.reason == "waits for word"
    again = maker.resume(report.run_id, store=store(tmp_path))
    assert again.reason == "waits for word"
    maker.answer(report.run_id, "word", "here", store=store(tmp_path))
    assert maker.resume(report.run_id, store=store(tmp_path)).result == "here"


def test_two_people_may_be_waited_for_at_once(tmp_path: Path) -> None:
    """What does not depend on them is done meanwhile."""
    url = store(tmp_path)
    report = maker.run(job(tmp_path, "two_waits"))
    assert (report.steps, report.reason) == (1, "waits for left, right")
    assert [wait.at for wait in maker.waits(report.run_id, store=url)] == ["0.0:0", "0.1:0"]
    maker.answer(report.run_id, "right", "r", store=url)
    assert maker.resume(report.run_id, store=url).reason == "waits for left"
    maker.answer(report.run_id, "0.0:0", "l", store=url)
    assert maker.resume(report.run_id, store=url).result == ["l", "r", "one"]
    assert maker.verify(report.run_id, store=url).right


def test_forks_and_retries_do_not_do_effects_again_unless_they_say_so(tmp_path: Path) -> None:
    """A fork before an effect, and a child that begins again, are refused with the effects."""
    url = store(tmp_path)
    report = maker.run(job(tmp_path, "order", folder=str(tmp_path)))
    with pytest.raises(BadInput, match=r"a fork at step 1 would do effects of run \S+ again: send \(step 2\)"):
        maker.fork(report.run_id, 1, store=url)
    later = maker.fork(report.run_id, 4, store=url)
    assert maker.resume(later.run_id, store=url).reason == "waits for approve"
    assert len(sent(tmp_path)) == 1
    again = maker.fork(report.run_id, 1, store=url, repeat_effects=True)
    assert maker.resume(again.run_id, store=url).reason == "waits for approve"
    assert sent(tmp_path) == [f"{report.run_id}/root/2/0", f"{again.run_id}/root/2/0"]


def test_a_child_that_has_sent_begins_again_only_if_that_is_said(tmp_path: Path) -> None:
    """Its effect would have another key."""
    url = store(tmp_path)
    report = maker.run(job(tmp_path, "sends", folder=str(tmp_path)))
    assert report.reason == "chain 0.0: it is sunny"
    with pytest.raises(BadInput, match=r"a retry would do effects of run \S+ again: send \(step 0\.0:0\)"):
        maker.retry(report.run_id, store=url)
    MOOD[0] = "rainy"
    try:
        done = maker.retry(report.run_id, store=url, repeat_effects=True)
        assert maker.verify(report.run_id, store=url).right
    finally:
        MOOD[0] = "sunny"
    assert done.result == 1
    assert sent(tmp_path) == [f"{report.run_id}/0.0/0/0", f"{report.run_id}/0.0/0/1"]


def test_what_is_over_is_closed(tmp_path: Path) -> None:
    """And a pruned run leaves nothing."""
    url = store(tmp_path)
    report = maker.run(job(tmp_path, "patient", seconds=0.1))
    database = open_database(url, create=False)
    assert {one.state for one in read_outside(database, 1)} == {State.CLOSED}
    maker.prune(report.run_id, store=url)
    assert read_outside(database, 1) == []


@pytest.mark.parametrize(
    ("text", "schema", "answer"),
    [
        ("true", {"type": "boolean"}, True),
        ("No", {"type": "boolean"}, False),
        ("7", {"type": "integer"}, 7),
        ("7", {"type": "string"}, "7"),
        ("bug", {"enum": ["bug", "billing"], "type": "string"}, "bug"),
        ('{"a": 1}', {}, {"a": 1}),
        ("plain words", {}, "plain words"),
        ("null", {}, None),
    ],
)
def test_a_word_on_the_command_line_is_read_by_the_schema(text: str, schema: dict[str, Any], answer: Any) -> None:
    """JSON where that fits, the text itself elsewhere."""
    assert answer_in(text, schema) == answer
