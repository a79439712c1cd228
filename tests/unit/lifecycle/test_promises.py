"""What the documents promise of stops, accounts, reading, fingerprints and secrets."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from maker import api
from maker.errors import JobError, ModelUnusable, RunNotResumable, StoreUnusable
from maker.job.fingerprint import run_fingerprint, task_fingerprint
from maker.lifecycle import queries
from maker.lifecycle.events import StepsDecided
from maker.models.folder import folder_digest
from maker.testing import FakeReply, FakeServer, completion

Job = Callable[..., dict[str, dict[str, Any]]]
MODEL = Path(__file__).parents[3] / "examples" / "hanoi_microagent" / "model"
TASK = """
from decomposers.function import Done, Truth, ask, task

@task(state=list[int], action=int)
def count(state):
    return {end} if len(state) == {length} else ask(f"After {{len(state)}}? ")

@count.start
def _(number: int = 1):
    return [number]

@count.apply
def _(state, action):
    return [*state, action]

@count.oracle
def _(prompt):
    return Truth(("7",), ("8",))
"""


def task_file(folder: Path, *, length: int = 5, end: str = "Done('over')") -> Path:
    """Write a task of a few steps."""
    folder.mkdir(exist_ok=True)
    path = folder / "mine.py"
    path.write_text(TASK.format(length=length, end=end))
    return path


def stop_at_first_commit(stop: threading.Event) -> Callable[[Any], None]:
    """Return a listener that stops a run as soon as it has committed a step."""
    return lambda event: stop.set() if isinstance(event, StepsDecided) else None


def test_stops_burn_no_limit(hanoi: Job, store: str) -> None:
    """However often a run is stopped, nothing stays reserved and every call is in the ledger."""
    job = hanoi(8, model={"latency_s": 0.005}, vote={"k": 8}, limits={"max_calls": 50_000})
    stop = threading.Event()
    report = api.run(job, stop=stop, on_event=stop_at_first_commit(stop))
    for _ in range(5):
        assert (report.status, report.reason, report.reserved_calls) == ("paused", "stopped", 0)
        assert report.calls >= report.votes
        stop.clear()
        report = api.resume(report.run_id, store=store, stop=stop, on_event=stop_at_first_commit(stop))
    finished = api.resume(report.run_id, ["model.latency_s=0"], store=store)
    assert (finished.status, finished.digest) == ("done", api.run(hanoi(8, vote={"k": 8})).digest)


def test_requests_cut_off_in_flight_count_as_spent(hanoi: Job, store: str) -> None:
    """What a server may bill of a request that was cancelled stays reserved, limits or not."""
    slow = threading.Event()

    def script(body: dict[str, Any]) -> FakeReply:
        slow.set()
        return FakeReply(200, completion(["1AC"] * body.get("n", 1)), delay_s=20.0)

    stop = threading.Event()
    threading.Thread(target=lambda: (slow.wait(), stop.set()), daemon=True).start()
    with FakeServer(script) as server:
        job = hanoi(3) | {"model": {"kind": "openai", "url": server.url, "name": "m", "chat": False}}
        began = time.monotonic()
        report = api.run(job, stop=stop)
        assert time.monotonic() - began < 15, "a stop does not wait for the server"
    assert (report.status, report.calls, report.reserved_calls) == ("paused", 0, 3)
    assert report.reserved_tokens > 0


def test_the_samples_of_an_undecided_step_are_kept(hanoi: Job, store: str) -> None:
    """What a run is stuck at can be read, and makes room when the step is voted on again."""
    stuck = api.run(hanoi(3, model={"p": 0.5}, vote={"k": 3, "max_votes": 4}, store={"samples": "all"}))
    assert stuck.status == "paused"
    kept = queries.samples(stuck.run_id, stuck.steps, store=store)
    assert len(kept) in (3, 4)
    assert {row.candidate for row in kept} == {key for key in ("1AC", "1AB", "2AB", "1CB", "1CA") if key in str(kept)}
    done = api.resume(stuck.run_id, ["vote.max_votes=1000"], store=store)
    assert done.status in ("done", "failed")
    votes = sum(sum(step.votes.values()) for step in queries.steps(done.run_id, store=store, start=stuck.steps))
    again = [queries.samples(done.run_id, step, store=store) for step in range(stuck.steps, done.steps)]
    assert sum(map(len, again)) == votes


def test_settings_given_to_a_resume_are_kept(hanoi: Job, store: str) -> None:
    """A limit that was raised once stays raised."""
    paused = api.run(hanoi(6, limits={"max_calls": 20}))
    assert paused.reason.startswith("limit max_calls = 20")
    api.resume(paused.run_id, ["limits.max_calls=100000"], store=store, limit_steps=1)
    assert queries.show(paused.run_id, store=store).settings["limits"]["max_calls"] == 100000
    assert api.resume(paused.run_id, store=store).status in ("done", "failed")


def test_an_exhausted_limit_opens_no_model(hanoi: Job, store: str) -> None:
    """A resume that may spend nothing spends nothing, not even a step's worth of time."""
    paused = api.run(hanoi(6, limits={"max_wall_s": 0.2}, model={"latency_s": 0.01}))
    assert paused.reason == "limit max_wall_s is reached"
    again = api.resume(paused.run_id, store=store)
    assert (again.reason, again.steps, again.calls) == (paused.reason, paused.steps, paused.calls)


def test_reading_needs_no_code_and_a_moved_task_goes_on(hanoi: Job, store: str, tmp_path: Path) -> None:
    """Without the task's file a run can be read; with the file elsewhere it can be resumed and verified."""
    here = task_file(tmp_path / "here")
    paused = api.run(hanoi() | {"task": {"decomposer": f"{here}:count", "number": 3}}, limit_steps=2)
    there = task_file(tmp_path / "there")
    here.unlink()
    assert [step.action for step in queries.steps("last", store=store)] == ["7", "7"]
    assert queries.show("last", store=store).steps == 2
    done = api.resume(paused.run_id, [f"task.decomposer={there}:count"], store=store)
    assert (done.status, done.steps) == ("done", 4)
    assert queries.verify(paused.run_id, store=store).right


def test_an_edited_task_file_is_refused(hanoi: Job, store: str, tmp_path: Path) -> None:
    """A run is never finished by other code than it was started with."""
    path = task_file(tmp_path)
    api.run(hanoi() | {"task": {"decomposer": f"{path}:count"}}, limit_steps=2)
    task_file(tmp_path, length=6)
    with pytest.raises(RunNotResumable, match="decomposer_source"):
        api.resume("last", store=store)
    assert "decomposer_source" in queries.verify("last", store=store).problem


def test_a_log_verifies_without_its_model(hanoi: Job, tmp_path: Path) -> None:
    """The task's fingerprint asks for no model folder; the run's does."""
    job = api.load_job(hanoi() | {"model": {"kind": "vllm", "path": str(tmp_path / "gone")}})
    assert task_fingerprint(job)["decomposer"] == "hanoi"
    with pytest.raises(ModelUnusable, match="gone"):
        run_fingerprint(job)


def test_a_model_folder_is_told_by_its_contents(tmp_path: Path) -> None:
    """One byte of the weights makes another model; a file that no engine reads does not."""
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    before = folder_digest(folder)
    (folder / "notes.txt").write_text("mine")
    assert folder_digest(folder) == before == folder_digest(MODEL)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert folder_digest(folder) != before


def test_reading_leaves_other_programs_databases_alone(tmp_path: Path) -> None:
    """A database that has no maker tables is told as such, and not a byte of it changes."""
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE customer (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match="has no maker tables"):
        queries.runs(store=f"sqlite:///{path}")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "setting", [{"key_env": "sk-secret-1"}, {"url": "http://bob:secret@h/v1"}, {"url": "http://h/v1?key=secret"}]
)
def test_a_secret_in_the_wrong_place_is_not_shown(hanoi: Job, setting: dict[str, str]) -> None:
    """A key or a password where none belongs is refused, and the message does not repeat it."""
    model = {"kind": "openai", "url": "http://h/v1", "name": "m"} | setting
    with pytest.raises(JobError) as caught:
        api.load_job(hanoi() | {"model": model})
    assert "secret" not in str(caught.value) + json.dumps(caught.value.facts)


def test_the_environment_stands_behind_files_only(hanoi: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program's own mapping is its last word; a file gives way to the environment."""
    monkeypatch.setenv("MAKER_VOTE_K", "9")
    assert api.load_job(hanoi()).settings["vote"]["k"] == 3
    path = tmp_path / "job.toml"
    path.write_text('[task]\ndecomposer = "hanoi"\ndisks = 3\n[model]\nkind = "simulated"\n[vote]\nk = 2\n')
    assert api.load_job(path).settings["vote"]["k"] == 9


def test_a_cap_below_what_a_voter_needs_is_refused(hanoi: Job) -> None:
    """A step that could never be decided is told before anything is asked."""
    with pytest.raises(JobError, match="needs at least 200"):
        api.load_job(hanoi(vote={"k": 200}))


def test_a_voter_that_asks_for_nothing_is_told(hanoi: Job, tmp_path: Path) -> None:
    """A voter that is not done and wants no vote would wait for ever."""
    path = tmp_path / "voter.py"
    path.write_text(
        "from maker.plugin import More, Voter\n"
        "class Idle(Voter):\n    name = 'idle'\n    least = 1\n"
        "    def __init__(self, params): pass\n    def decide(self, ballots): return More(0)\n"
    )
    report = api.run(hanoi() | {"vote": {"voter": f"{path}:Idle"}})
    assert report.status == "paused"
    assert "More(0)" in report.reason


def test_a_result_that_is_no_json_is_the_tasks_error(hanoi: Job, tmp_path: Path) -> None:
    """The task is told what it did, not that the database failed."""
    path = task_file(tmp_path, end="Done(object())")
    report = api.run(hanoi() | {"task": {"decomposer": f"{path}:count"}})
    assert report.status == "paused"
    assert "writing its result as JSON" in report.reason


def test_an_oracle_that_raises_is_the_tasks_error(hanoi: Job, tmp_path: Path) -> None:
    """A simulated model tells whose code failed."""
    path = task_file(tmp_path)
    path.write_text(path.read_text().replace('return Truth(("7",), ("8",))', "raise IndexError('no such truth')"))
    report = api.run(hanoi() | {"task": {"decomposer": f"{path}:count"}})
    assert report.status == "paused"
    assert "step 0: the task's oracle raised IndexError: no such truth" in report.reason


def test_an_extra_row_at_a_page_border_is_found(hanoi: Job, store: str) -> None:
    """Reading in pages skips no row: one of another epoch is named, wherever it stands."""
    api.run(hanoi(13, model={"p": 1.0}))
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as connection, connection:
        row = connection.execute("SELECT * FROM maker_step WHERE idx = 4999").fetchone()
        connection.execute("INSERT INTO maker_step VALUES (?, ?, ?, ?, ?, ?, ?)", (*row[:2], 1, *row[3:]))
    assert "step 5000" in queries.verify("last", store=store).problem
