"""A run's life through the front door: stopped, interrupted, taken over, resumed, and what stands in its way."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from maker import api
from maker.engine.driver import pause_reason
from maker.errors import LeaseLost, MakerError, RunDamaged, RunHeld, RunNotResumable, TaskFailed
from maker.lifecycle import queries
from maker.lifecycle.events import StepsDecided
from maker.store.entry import Entry
from maker.store.journal import Journal

Job = Callable[..., dict[str, dict[str, Any]]]
SLOW = {"latency_s": 0.002}


def edit(store: str, sql: str) -> None:
    """Change a store behind maker's back."""
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(sql)


def on_first_commit(act: Callable[[], object]) -> Callable[[Any], None]:
    """Return a listener that acts once, when the first steps are committed."""
    done = threading.Event()

    def on_event(event: Any) -> None:
        if isinstance(event, StepsDecided) and not done.is_set():
            done.set()
            act()

    return on_event


@pytest.fixture
def digest(hanoi: Job) -> str:
    """Return the digest of 8 disks by an undisturbed run."""
    return api.run(hanoi(8)).digest


def test_a_stopped_run_pauses_and_goes_on(hanoi: Job, store: str, digest: str) -> None:
    """A run that another thread stops keeps what it decided, and ends with the same log after a resume."""
    stop = threading.Event()
    report = api.run(hanoi(8, model=SLOW), stop=stop, on_event=on_first_commit(stop.set))
    assert (report.status, report.reason) == ("paused", "stopped")
    assert 0 < report.steps < 255
    done = api.resume(report.run_id, ["model.latency_s=0"], store=store)
    assert (done.status, done.digest, done.resumes) == ("done", digest, 1)


def test_an_interrupted_run_pauses_and_goes_on(hanoi: Job, store: str, digest: str) -> None:
    """Ctrl-C is passed on after what was decided is committed, and the run says that it was interrupted."""
    interrupt = on_first_commit(lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        api.run(hanoi(8, model=SLOW), on_event=interrupt)
    report = queries.show("last", store=store)
    assert (report.status, report.reason) == ("paused", "interrupted")
    assert report.steps > 0
    assert queries.verify("last", store=store).problem == ""
    assert api.resume("last", ["model.latency_s=0"], store=store).digest == digest


def test_a_run_that_is_worked_on_is_held(hanoi: Job, store: str) -> None:
    """Nobody resumes a run while another works on it, not even another thread of its own process."""
    caught: list[Exception] = []

    def resume() -> None:
        try:
            api.resume("last", store=store)
        except MakerError as error:
            caught.append(error)

    report = api.run(hanoi(6, model=SLOW), on_event=on_first_commit(resume))
    assert report.status == "done"
    assert [type(error) for error in caught] == [RunHeld]


def test_a_run_that_is_taken_over_is_let_go(hanoi: Job, store: str) -> None:
    """Once another process has the lease, this one stops, says so, and writes nothing more."""
    take = on_first_commit(lambda: edit(store, "UPDATE maker_run SET fence = fence + 1"))
    with pytest.raises(LeaseLost, match="taken over this run"):
        api.run(hanoi(8, model=SLOW), on_event=take)
    report = queries.show("last", store=store)
    assert 0 < report.steps < 255
    assert report.status == "running"
    assert queries.verify("last", store=store).problem == ""


def test_a_listener_that_raises_stops_the_run(hanoi: Job, store: str, digest: str) -> None:
    """An error in whoever watches stops the run in good order: paused, with the reason, and ready to go on."""

    def raising() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        api.run(hanoi(8, model=SLOW), on_event=on_first_commit(raising))
    assert queries.show("last", store=store).status == "paused"
    assert api.resume("last", ["model.latency_s=0"], store=store).digest == digest


def test_a_run_may_be_paused_before_its_first_step(hanoi: Job, store: str, digest: str) -> None:
    """A limit of no steps makes a run that waits to be resumed."""
    report = api.run(hanoi(8), limit_steps=0)
    assert (report.status, report.steps, report.calls) == ("paused", 0, 0)
    assert api.resume(report.run_id, store=store).digest == digest


def test_a_task_that_ends_at_the_limit_of_steps_is_done(hanoi: Job, store: str) -> None:
    """A limit pauses a run that has steps left, and no other; each resume counts its own steps."""
    assert api.run(hanoi(3, vote={"k": 8}), limit_steps=7).status == "done"
    short = api.run(hanoi(3, vote={"k": 8}), limit_steps=6)
    assert (short.status, short.reason, short.steps) == ("paused", "reached the limit of 6 steps", 6)
    assert api.resume(short.run_id, store=store, limit_steps=1).status == "done"


@pytest.mark.parametrize(("k", "status"), [(8, "done"), (1, "failed")])
def test_a_run_that_is_over_is_not_resumed(hanoi: Job, store: str, k: int, status: str) -> None:
    """Done is done, and failed is failed: there is nothing to resume."""
    report = api.run(hanoi(8, vote={"k": k}))
    assert report.status == status
    with pytest.raises(RunNotResumable, match=f"is {status}"):
        api.resume(report.run_id, store=store)
    assert queries.show(report.run_id, store=store) == report


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("vote.k=2", "vote: k was 3, is 2"), ("run.seed=5", "seed was 0, is 5"), ("task.disks=6", "disks was 8, is 6"),
        ("model.p=0.8", r"model: p was 0\.9, is 0\.8"),
    ],
)  # fmt: skip
def test_a_run_goes_on_as_what_it_was(hanoi: Job, store: str, override: str, difference: str) -> None:
    """What a run is may not change with a resume; what differs is told, and nothing is changed."""
    report = api.run(hanoi(8), limit_steps=10)
    with pytest.raises(RunNotResumable, match=difference):
        api.resume(report.run_id, [override], store=store)
    assert queries.show(report.run_id, store=store) == report


def test_a_changed_task_file_is_seen(hanoi: Job, store: str, tmp_path: Path) -> None:
    """A run of a task in a file is neither resumed nor verified with another version of it."""
    path = tmp_path / "mine.py"
    path.write_text("from decomposers.hanoi import Hanoi\nclass Mine(Hanoi):\n    pass\n")
    report = api.run(hanoi(5, task={"decomposer": f"{path}:Mine"}), limit_steps=3)
    path.write_text(path.read_text() + "# changed\n")
    with pytest.raises(RunNotResumable, match="decomposer_source was"):
        api.resume(report.run_id, store=store)
    assert "decomposer_source was" in queries.verify(report.run_id, store=store).problem
    path.write_text(path.read_text().removesuffix("# changed\n"))
    assert api.resume(report.run_id, store=store).steps == 31


def test_a_damaged_snapshot_is_told(hanoi: Job, store: str) -> None:
    """A state that cannot be rebuilt stops a resume with the place, and with what finds the damage."""
    api.run(hanoi(8), limit_steps=10)
    edit(store, "UPDATE maker_snapshot SET state = 'nonsense'")
    with pytest.raises(RunDamaged, match=r"Step 0: the snapshot before it, .* is not as it was written") as caught:
        api.resume("last", store=store)
    assert "maker verify" in caught.value.fix
    edit(store, "UPDATE maker_snapshot SET seal = NULL")
    with pytest.raises(TaskFailed, match="the state before step 10 cannot be rebuilt from the snapshot at 0") as caught:
        api.resume("last", store=store)
    assert "maker verify" in caught.value.fix


def test_a_resume_that_cannot_begin_gives_the_run_back(hanoi: Job, store: str) -> None:
    """A resume that fails before its first step leaves the run paused, not held for another quarter of a minute."""
    api.run(hanoi(8), limit_steps=10)
    edit(store, "UPDATE maker_snapshot SET state = 'nonsense', seal = NULL")
    with pytest.raises(TaskFailed):
        api.resume("last", store=store)
    assert queries.show("last", store=store).status == "paused"


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_what_is_raised_at_the_start_gives_the_run_back(hanoi: Job, store: str, error: type[BaseException]) -> None:
    """An error in whoever hears of the start, or Ctrl-C just then, leaves the run paused."""

    def on_event(event: Any) -> None:
        raise error("lost")

    with pytest.raises(BaseException, match="lost"):
        api.run(hanoi(8), on_event=on_event)
    assert queries.show("last", store=store).status == "paused"


def test_a_missing_snapshot_is_told(hanoi: Job, store: str) -> None:
    """A store without the snapshot to go on from is damaged, and is told as such."""
    api.run(hanoi(8), limit_steps=10)
    edit(store, "DELETE FROM maker_snapshot")
    with pytest.raises(MakerError):
        api.resume("last", store=store)


def test_runs_are_listed(hanoi: Job, store: str) -> None:
    """The newest run comes first, under its name."""
    first = api.run(hanoi(2, run={"name": "one"}))
    second = api.run(hanoi(3, run={"name": "two"}))
    assert [(report.run_id, report.name, report.steps) for report in queries.runs(store=store)] == [
        (second.run_id, "two", 7), (first.run_id, "one", 3),
    ]  # fmt: skip


def test_samples_of_a_step(hanoi: Job, store: str) -> None:
    """At the level ``all`` every step's samples are kept, as many as its tally counts."""
    report = api.run(hanoi(5, store={"samples": "all"}, model={"malformed": 0.2}))
    for record in queries.steps(report.run_id, store=store):
        kept = queries.samples(report.run_id, record.step, store=store)
        votes = [sample.candidate for sample in kept if sample.candidate is not None]
        assert {vote: votes.count(vote) for vote in votes} == record.votes
        assert len(kept) - len(votes) == sum(record.flags.values())
        assert [sample.vote for sample in kept] == list(range(len(kept)))


def test_a_stuck_run_may_be_stuck_again(hanoi: Job, store: str) -> None:
    """A run that is stuck at the same step after a resume says the same again, and keeps the samples it drew last."""
    report = api.run(hanoi(4, model={"p": 0.6}, vote={"k": 4, "max_votes": 8}))
    assert len(queries.samples(report.run_id, report.steps, store=store)) == 8
    again = api.resume(report.run_id, store=store)
    assert (again.status, again.reason, again.digest) == ("paused", report.reason, report.digest)
    assert len(queries.samples(report.run_id, report.steps, store=store)) == 8
    # One vote more could not settle it: the least that could is four.
    more = api.resume(report.run_id, ["vote.max_votes=9"], store=store)
    assert "max_votes = 9: 4 for 1AC, 4 for 1AB; flagged: none; 4 more" in more.reason
    assert [sample.vote for sample in queries.samples(report.run_id, report.steps, store=store)] == list(range(8))


def test_a_stuck_run_can_be_given_more_votes(hanoi: Job, store: str) -> None:
    """A run that stopped at its cap goes on under a higher one: the same samples are drawn again, and then more."""
    report = api.run(hanoi(4, model={"p": 0.6}, vote={"k": 4, "max_votes": 8}))
    assert "is undecided" in report.reason
    done = api.resume(report.run_id, ["vote.max_votes=1000"], store=store)
    whole = api.run(hanoi(4, model={"p": 0.6}, vote={"k": 4, "max_votes": 1000}))
    assert done.steps == whole.steps == 15
    actions = [[record.action for record in queries.steps(run.run_id, store=store)] for run in (done, whole)]
    assert actions[0] == actions[1]


@pytest.mark.parametrize(("before", "after"), [("none", "all"), ("disputed", "none"), ("disputed", "all")])
def test_the_level_of_samples_stays(hanoi: Any, store: str, before: str, after: str) -> None:
    """A resume that would keep other samples is refused: what must be there would change in the middle of a log."""
    api.run(hanoi(4, store={"samples": before}), limit_steps=3)
    with pytest.raises(RunNotResumable, match=f"store.samples = '{before}', which cannot change to '{after}'"):
        api.resume("last", [f"store.samples={after}"], store=store)


def test_a_retry_of_nothing_gives_the_run_back(hanoi: Any, store: str) -> None:
    """Where nothing is undecided a retry is refused, and the run can be resumed at once."""
    api.run(hanoi(4), limit_steps=3)
    with pytest.raises(RunNotResumable, match="nothing to retry"):
        api.retry("last", store=store)
    assert api.resume("last", store=store).status == "done"


@pytest.mark.parametrize("when", ["its last steps", "its end"])
def test_an_interrupt_within_a_report_loses_no_step(
    hanoi: Any, store: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the last report is handed to the writer leaves a paused run that can go on, never a hollow end."""
    put = Journal.put

    def interrupted(journal: Journal, entry: Entry) -> None:
        last = any(step.idx == 14 for step in entry.decided)
        if last if when == "its last steps" else (entry.ending is not None and entry.ending.status == "done"):
            raise KeyboardInterrupt
        put(journal, entry)

    monkeypatch.setattr(Journal, "put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        api.run(hanoi(4))
    monkeypatch.undo()
    assert queries.show("last", store=store).status == "paused"
    assert api.resume("last", store=store).status == "done"
    assert queries.verify("last", store=store).right


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("place", ["root_chain", "VoteMonitor", "Journal", "WorkLog.close"])
def test_a_run_is_never_left_running(place: str, error: BaseException, hanoi: Job, store: str) -> None:
    """Whatever is raised, and wherever, between taking a run and its end leaves it paused with the reason, or ended."""

    def boom(*arguments: Any, **options: Any) -> Any:
        raise error

    with pytest.MonkeyPatch.context() as patched, pytest.raises(type(error)):
        patched.setattr(f"maker.lifecycle.session.{place}", boom)
        api.run(hanoi(3, vote={"k": 8}))
    report = queries.show("last", store=store)
    rests = ("done", "") if place == "WorkLog.close" else ("paused", pause_reason(error))
    assert (report.status, report.reason) == rests
    if place != "WorkLog.close":
        assert api.resume("last", store=store).status == "done"
