"""What is logged of a run, by whom, and what never is; the file of JSON lines."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fork_tasks import Shape, leaf
from openai_calls import KEY
from row_tasks import job as row_job
from row_tasks import write_rows

from maker import api
from maker.cli.logs import write_events
from maker.core.logs import hidden, logger
from maker.engine.scheduler import Scheduler
from maker.errors import BadInput, MakerError
from maker.lifecycle.worker_log import WorkLog
from maker.store.entry import Entry
from maker.swarm.interface import FromWorker
from maker.swarm.messages import Report
from maker.testing import FakeServer
from maker.types import Account, Usage

Job = Callable[..., dict[str, dict[str, Any]]]
Read = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Read]:
    """Log into a file of JSON lines; returns what reads it."""
    before = logging.getLogger("maker").level, [*logging.getLogger("maker").handlers]
    write_events(tmp_path / "log.jsonl")
    yield lambda: [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().split("\n")[:-1]]
    level, handlers = before
    for handler in set(logging.getLogger("maker").handlers) - set(handlers):
        logging.getLogger("maker").removeHandler(handler)
        # A full disk has no room for what is left.
        with contextlib.suppress(OSError):
            handler.close()
    logging.getLogger("maker").setLevel(level)


def tree(url: str, shape: Shape, **tables: dict[str, Any]) -> dict[str, dict[str, Any]]:
    base: dict[str, dict[str, Any]] = {
        "task": {"decomposer": "fork_tasks:Tree", "shape": shape},
        "model": {"kind": "simulated"},
        "store": {"url": url},
    }
    return base | tables


def test_a_run_is_logged_and_no_step_of_it(hanoi: Job, records: Read) -> None:
    """A run that all goes well in takes three records, however long it is; each line says which run it is of."""
    report = api.run(hanoi(8))
    began, worker, ended = records()
    assert [record["event"] for record in (began, worker, ended)] == ["run_started", "worker_started", "run_ended"]
    assert {record["run_id"] for record in records()} == {report.run_id}
    assert all(record["level"] == "info" and record["timestamp"].endswith("Z") for record in records())
    assert (worker["worker"], worker["opened_s"] >= 0) == (0, True)
    assert (ended["status"], ended["steps"]) == ("done", 255)


def test_an_undecided_step_is_told_with_its_chain(store: str, records: Read) -> None:
    """Worker, chain, step, class and reason of each step that stays undecided, as `maker steps` names them."""
    shape = {"steps": [0, 0], "forks": [{"children": [leaf(1), leaf(2)]}]}
    report = api.run(tree(store, shape, vote={"k": 3, "max_votes": 3}, model={"kind": "simulated", "p": 0.4}))
    told = [record for record in records() if record["event"] == "step_undecided"]
    assert report.status == "paused"
    assert told
    assert {record["chain"] for record in told} <= {"0.0", "0.1"}
    assert all(record["level"] == "warning" and record["worker"] == 0 for record in told)
    assert all(record["reason"].startswith("max_votes = 3") for record in told)
    assert {record["step_class"] for record in told} <= {"even", "odd"}
    assert all(record["step"] in (0, 1) for record in told)


def test_a_chain_that_stops_is_told_with_its_error(store: str, records: Read) -> None:
    """What the task's own code raised, with chain and kind of error; the run's end is told too."""
    shape = {"steps": [0, 0], "forks": [{"children": [leaf(1), leaf(1)], "lost": [1]}]}
    assert api.run(tree(store, shape, vote={"k": 2})).status == "paused"
    (told,) = [record for record in records() if record["event"] == "chain_stopped"]
    assert (told["level"], told["chain"], told["error_kind"]) == ("warning", "0.1", "TaskFailed")
    assert "there is no child 1" in told["error"]
    assert records()[-1]["event"] == "run_ended"


def test_rows_that_a_map_can_do_without_are_details(tmp_path: Path, records: Read) -> None:
    """A map's outcomes are in the store: one line for each of a million rows would hide all else."""
    write_rows(tmp_path / "rows.csv", range(20))
    made = row_job(tmp_path, vote={"k": 3, "max_votes": 3}, model={"p": 0.5})
    report = api.run(made)
    assert 0 < report.steps < 20
    assert "step_undecided" not in {record["event"] for record in records()}
    logging.getLogger("maker").setLevel(logging.DEBUG)
    api.run(made | {"task": made["task"] | {"output": ""}})
    told = [record for record in records() if record["event"] == "step_undecided"]
    assert len(told) == 20 - report.steps
    assert {(record["level"], record["step"]) for record in told} == {("debug", 0)}


def test_steps_are_logged_where_they_are_asked_for(hanoi: Job, records: Read) -> None:
    """At the level DEBUG every step is told, with its chain and number."""
    logging.getLogger("maker").setLevel(logging.DEBUG)
    report = api.run(hanoi(5))
    told = [record for record in records() if record["event"] == "step_decided"]
    assert [(record["chain"], record["step"]) for record in told] == [("root", step) for step in range(31)]
    assert sum(record["votes"] for record in told) == report.votes


def test_a_limit_is_told(hanoi: Job, records: Read) -> None:
    """A run that pauses at its limit says which; one that pauses otherwise does not."""
    api.run(hanoi(5, limits={"max_calls": 20}))
    (told,) = [record for record in records() if record["event"] == "limit_reached"]
    assert "max_calls" in told["reason"]
    api.run(hanoi(5), limit_steps=3)
    assert len([record for record in records() if record["event"] == "limit_reached"]) == 1


def test_tries_that_were_repeated_are_counted_not_told_each(records: Read) -> None:
    """A server that fails for a long time takes a record a minute and model; no try is lost to the count."""
    log = WorkLog("r", ["small", "large"])
    scheduler = Scheduler(1, 1, lambda _: pytest.fail("unused"), lambda *_: pytest.fail("unused"))
    for number in range(1, 101):
        report = Report(number, spent={Account(number % 2, "solver"): Usage(requests=1, retries=2)})
        log.report(FromWorker(7, report), Entry(), scheduler)
    assert [(record["model"], record["retries"]) for record in records()] == [("large", 2), ("small", 2)]
    log.close()
    told = records()
    assert {(record["event"], record["worker"], record["run_id"]) for record in told} == {("request_retried", 7, "r")}
    assert [sum(r["retries"] for r in told if r["model"] == name) for name in ("small", "large")] == [100, 100]
    assert len(told) == 4


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:pa:ss@host/db", "postgresql://me:***@host/db"),
        ("at s3://key:p@ss@bucket/x, twice http://:word@h", "at s3://key:***@bucket/x, twice http://:***@h"),
        ("postgresql://h/db?sslpassword=a&user=b", "postgresql://h/db?sslpassword=***&user=b"),
        ("https://h/v1?a=1&api_key=a%20b: 500", "https://h/v1?a=1&api_key=*** 500"),
        ("http://127.0.0.1:8000/v1: no, 3@4", "http://127.0.0.1:8000/v1: no, 3@4"),
        ("mailto:a@b and 12:30@noon", "mailto:a@b and 12:30@noon"),
    ],
)
def test_what_urls_keep_secret(text: str, shown: str) -> None:
    """Passwords and keys in URLs go, and nothing else."""
    assert hidden(text) == shown


def test_no_record_has_a_password(records: Read) -> None:
    """Whatever is logged, by any logger of ours, goes past the same door."""
    logger("maker.store").warning("store_lost", url="postgresql://me:secret-1@host/db", reason="?password=secret-2")
    assert "secret" not in json.dumps(records())
    assert records()[0]["url"] == "postgresql://me:***@host/db"


def test_no_record_has_the_key(hanoi: Job, records: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says the key back does not bring it into the log."""
    monkeypatch.setenv("TEST_KEY", KEY)
    with FakeServer(lambda _: (401, {"error": {"message": f"no right for {KEY}"}})) as server:
        model = {"kind": "openai", "url": server.url, "name": "m", "key_env": "TEST_KEY"}
        job = hanoi(3) | {"model": model}
        with pytest.raises(MakerError):
            api.run(job)
    assert {"chain_stopped", "run_stopped"} <= {record["event"] for record in records()}
    assert "no right for [key]" in json.dumps(records())
    assert KEY not in json.dumps(records())


def test_what_others_add_to_records_is_left_out(records: Read) -> None:
    """Ray and vLLM stamp every record of the process that they run in."""
    factory = logging.getLogRecordFactory()

    def stamped(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = factory(*args, **kwargs)
        record.__dict__ |= {"_ray_timestamp_ns": 1, "vllm_process_name": "one"}
        return record

    logging.setLogRecordFactory(stamped)
    try:
        logger("maker").info("told", run_id="r")
    finally:
        logging.setLogRecordFactory(factory)
    assert [set(record) for record in records()] == [{"event", "level", "run_id", "timestamp"}]


def test_a_file_that_is_moved_away_is_made_anew(tmp_path: Path, records: Read) -> None:
    """Log rotation: what is logged later is in a new file of the old name."""
    logger("maker").info("first")
    (tmp_path / "log.jsonl").rename(tmp_path / "log.1")
    logger("maker").info("second", text="\ud800 \u2028 é")
    assert [(record["event"], record["text"]) for record in records()] == [("second", "\ud800 \u2028 é")]
    assert [json.loads(line)["event"] for line in (tmp_path / "log.1").read_text().splitlines()] == ["first"]


@pytest.mark.posix
def test_a_file_that_cannot_be_written(tmp_path: Path, records: Read, capsys: pytest.CaptureFixture[str]) -> None:
    """One that cannot be opened is refused; one that fills up under way is told once and stops nothing."""
    with pytest.raises(BadInput, match=r"--log .*: No such file"):
        write_events(tmp_path / "nowhere" / "log.jsonl")
    write_events(Path("/dev/full"))
    for _ in range(3):
        logger("maker").info("told")
    assert capsys.readouterr().err.count("cannot be written: [Errno 28]") == 1
    assert len(records()) == 3
