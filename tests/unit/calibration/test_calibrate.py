"""Pilots: what is heard of a model whose truth is known, what agreement is, and that a pilot goes on where it was."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from blind_task import Blind
from row_tasks import job as rows_job
from row_tasks import write_rows

from maker import api
from maker.calibration.calibrate import calibrate, pilot_size
from maker.calibration.observations import By, Calibration, ClassFound, Reply, Standing, Tallies
from maker.cli.commands.calibrate import doubted_line
from maker.errors import BadInput, JobError, PilotPaused
from maker.lifecycle import queries
from maker.lifecycle.events import Event, RunStarted, StepsAsked
from maker.store.backend.database import open_database
from maker.store.calibrations import read_calibrations
from maker.testing import FakeServer, completion
from maker.types import Flag, Truth

Job = dict[str, dict[str, Any]]


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    def make(**tables: Any) -> Job:
        base = {
            "task": {"decomposer": "hanoi", "disks": 14},
            "model": {"kind": "simulated", "p": 0.9},
            "store": {"url": f"sqlite:///{tmp_path}/maker.db"},
        }
        return base | tables

    return make


def within(found: int, of: int, p: float) -> bool:
    return abs(found - of * p) <= 4 * math.sqrt(of * p * (1 - p))


@pytest.mark.plan
def test_a_pilot_hears_what_the_model_is(job: Callable[..., Job]) -> None:
    settings = job(model={"kind": "simulated", "p": 0.9, "rivals": 2, "malformed": 0.1})
    found = calibrate(settings, steps=1000, votes=8).calibration
    one = found.classes["move"]
    assert (found.by, found.labelled, one.steps, one.of, one.samples) == (By.ORACLE, True, 1000, 16383, 8000)
    valid = one.right + one.wrong
    assert within(valid, 8000, 0.9)
    assert within(one.right, valid, 0.9)
    assert sum(n for *_, n in one.heard) == 1000
    assert one.valid == valid / 8000
    # Two rivals share what is wrong, and the stronger of them has more than its half of it in a step.
    assert 0.5 * one.wrong < one.rival < one.wrong
    assert {flag: (n.right, n.wrong, n.lost) for flag, n in one.flags.items()} == {"length": (0, 0, 8000 - valid)}
    assert one.models == ((one.right, one.wrong, 8000 - valid),)
    # Each step was asked in two requests.
    assert found.requests == 2000
    assert one.greedy is None


@pytest.mark.plan
def test_it_is_kept_and_made_of_a_run_that_anybody_can_look_at(job: Callable[..., Job], tmp_path: Path) -> None:
    settings = job(model={"kind": "simulated", "p": 0.999})
    kept = calibrate(settings, steps=50, votes=4)
    store = settings["store"]["url"]
    run = queries.show(kept.calibration.runs[0], store=store)
    assert (run.status, run.name, run.calls, run.result) == ("done", "pilot of hanoi", 200, {"steps": 50})
    assert queries.verify(run.run_id, store=store).right
    again = calibrate(settings, steps=50, votes=4)
    assert again.calibration == kept.calibration
    assert len(queries.runs(store=store)) == 1
    with closing(open_database(store, create=False)) as database:
        rows = list(read_calibrations(database))
    assert [row.key for row in rows] == [again.key, kept.key]
    assert Calibration.model_validate_json(rows[0].content) == kept.calibration


@pytest.mark.plan
def test_a_pool_is_heard_by_model(job: Callable[..., Job]) -> None:
    members = {"good": {"kind": "simulated", "p": 0.95}, "poor": {"kind": "simulated", "p": 0.7}}
    found = calibrate(job(model={"kind": "pool", "members": members}), steps=500, votes=4).calibration
    good, poor = found.classes["move"].models
    assert sum(good) == sum(poor) == 1000
    assert within(good[0], 1000, 0.95)
    assert within(poor[0], 1000, 0.7)


@pytest.mark.plan
def test_a_stopped_pilot_goes_on_where_it_was(job: Callable[..., Job]) -> None:
    settings = job(model={"kind": "simulated", "p": 0.999}, swarm={"chains": 16}, limits={"max_calls": 900})
    with pytest.raises(PilotPaused, match=r"max_calls.*\ngive the same command again"):
        calibrate(settings, steps=400, votes=4)
    store = settings["store"]["url"]
    paused = queries.runs(store=store)[0]
    assert paused.status == "paused"
    reading_calls = paused.calls
    assert 0 < reading_calls <= 900
    whole = calibrate(settings | {"limits": {"max_calls": 2000}}, steps=400, votes=4).calibration
    assert whole.runs == (paused.run_id,)
    other = {"limits": {}, "store": {"url": store.replace("maker.db", "other.db")}}
    undisturbed = calibrate(settings | other, steps=400, votes=4)
    assert whole.classes == undisturbed.calibration.classes
    assert whole.fate == undisturbed.calibration.fate


@pytest.mark.plan
def test_progress_of_a_pilot_counts_each_step_in_each_round_once(job: Callable[..., Job]) -> None:
    """A pilot that goes on begins at what it has asked: in all it is what was expected, never "507 of 300"."""
    settings = job(model={"kind": "simulated", "p": 0.999}, swarm={"chains": 16}, limits={"max_calls": 900})
    events: list[Event] = []
    with pytest.raises(PilotPaused):
        calibrate(settings, steps=400, votes=4, on_event=events.append)
    calibrate(settings | {"limits": {"max_calls": 2000}}, steps=400, votes=4, on_event=events.append)
    begun = [(at, one) for at, one in enumerate(events) if isinstance(one, RunStarted)]
    assert [(one.steps > 0, one.expected_steps) for _, one in begun] == [(False, 800), (True, 800)]
    before, after = (
        sum(one.steps for one in part if isinstance(one, StepsAsked))
        for part in (events[: begun[1][0]], events[begun[1][0] :])
    )
    assert before == begun[1][1].steps
    assert before + after == 800


@pytest.mark.plan
def test_a_pilot_goes_on_as_its_job_says_it_now(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "task": {"decomposer": f"{__file__}:Either"},
        "store": {"url": f"sqlite:///{tmp_path}/maker.db"},
        "swarm": {"chains": 2},
    }
    model = {"kind": "openai", "name": "m", "max_n": 100, "chat": False}
    with FakeServer(counting) as first, pytest.raises(PilotPaused, match="max_calls"):
        calibrate(settings | {"model": model | {"url": first.url}, "limits": {"max_calls": 40}}, steps=20, votes=4)
    with FakeServer(counting) as second:
        found = calibrate(settings | {"model": model | {"url": second.url}}, steps=20, votes=4).calibration
    assert found.samples == 80
    pilot = queries.show(found.runs[0], store=settings["store"]["url"])
    assert (pilot.resumes, pilot.settings["limits"]["max_calls"]) == (1, None)
    assert pilot.settings["model"]["url"] == second.url


@pytest.mark.plan
def test_stop_pauses_a_pilot(job: Callable[..., Job]) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(PilotPaused, match="pilot of hanoi, is paused: stopped"):
        calibrate(job(), steps=10, votes=2, stop=stop)


def test_nobody_writes_a_poll_into_a_job(job: Callable[..., Job]) -> None:
    with pytest.raises(JobError, match=r"there is no table \[poll\]"):
        api.load_job(job(poll={"votes": 3, "steps": 5}))


@pytest.mark.plan
def test_a_map_is_polled_over_drawn_rows(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", range(200))
    settings = rows_job(tmp_path, model={"kind": "simulated", "p": 0.8, "rivals": 2})
    settings["store"] = {"url": f"sqlite:///{tmp_path}/maker.db"}
    found = calibrate(settings, steps=60, votes=5).calibration
    (one,) = found.classes.values()
    # Two halves of three votes.
    assert (found.votes, one.steps, one.of, one.samples) == (6, 60, 200, 360)
    assert within(one.right, one.right + one.wrong, 0.8)


def counting(body: Any) -> tuple[int, Any]:
    """Add one; every fifth reply to a prompt is wrong."""
    number = int(body["prompt"].split()[0])
    return 200, completion([str(number + 1 + (reply % 5 == 4)) for reply in range(body.get("n", 1))])


@pytest.mark.plan
def test_where_nobody_knows_the_truth_agreement_is_measured_and_called_so(tmp_path: Path) -> None:
    with FakeServer(counting) as server:
        settings = {
            "task": {"decomposer": f"{Path(__file__).parents[1] / 'blind_task.py'}:Blind"},
            "model": {"kind": "openai", "url": server.url, "name": "m", "max_n": 100, "chat": False},
            "store": {"url": f"sqlite:///{tmp_path}/maker.db"},
        }
        found = calibrate(settings, steps=20, votes=10).calibration
        assert (found.by, found.labelled) == (By.VOTES, False)
        # The steps were reached by votes, whose winners stand for what is right: all votes of the pilot count.
        assert found.classes["next"].heard == ((8, 2, 20),)
        assert found.classes["next"].of is None
        # At temperature 0 one reply was asked of each step.
        assert found.classes["next"].greedy == (20, 0, 0)
        labels = "\n".join(json.dumps({"state": str(n), "reply": str(n + 1)}) for n in range(30, 45))
        labelled = calibrate(settings, steps=20, votes=5, labels=labels).calibration
        assert (labelled.by, labelled.classes["next"].steps) == (By.LABELS, 15)
        assert labelled.fingerprint == found.fingerprint


@pytest.mark.plan
def test_a_model_that_refuses_temperature_0_is_calibrated_without(tmp_path: Path) -> None:
    """It has answered all else: what it would say at temperature 0 stays unknown."""

    def script(body: Any) -> Any:
        if body["temperature"] != 1:
            return 400, {"error": {"message": "Unsupported value: 'temperature' does not support 0 with this model."}}
        return counting(body)

    with FakeServer(script) as server:
        settings = {
            "task": {"decomposer": f"{Path(__file__).parents[1] / 'blind_task.py'}:Blind"},
            "model": {"kind": "openai", "url": server.url, "name": "m", "max_n": 100, "chat": False},
            "store": {"url": f"sqlite:///{tmp_path}/maker.db"},
        }
        found = calibrate(settings, steps=20, votes=10).calibration
    assert found.classes["next"].steps == 20
    assert found.classes["next"].greedy is None


@pytest.mark.plan
def test_steps_that_votes_lead_to_are_asked_before_there_is_a_plan(tmp_path: Path) -> None:
    with FakeServer(counting) as server:
        settings = {
            "task": {"decomposer": f"{Path(__file__).parents[1] / 'blind_task.py'}:Blind"},
            "model": {"kind": "openai", "url": server.url, "name": "m", "max_n": 100, "chat": False},
            "vote": {"k": "auto"},
            "store": {"url": f"sqlite:///{tmp_path}/maker.db"},
        }
        assert calibrate(settings, steps=20, votes=5).calibration.classes["next"].steps == 20


class Either(Blind):
    """Of its steps two answers are right, and the model gives the second one half of the time."""

    name = "either"

    def sample(self, count: int, seed: int) -> list[int]:
        return list(range(20))

    def oracle(self) -> Any:
        return either


def either(prompt: str) -> Truth:
    number = int(prompt.split(maxsplit=1)[0])
    return Truth((str(number + 1), str(number + 2)), ())


def alternating(body: Any) -> tuple[int, Any]:
    """Add one and two in turn; every fourth reply to a prompt is wrong."""
    number = int(body["prompt"].split()[0])
    return 200, completion([str(number + (1, 2, 1, 9)[reply % 4]) for reply in range(body.get("n", 1))])


@pytest.mark.plan
def test_a_closer_look_takes_all_right_answers_for_right(tmp_path: Path) -> None:
    with FakeServer(alternating) as server:
        settings = {
            "task": {"decomposer": f"{__file__}:Either"},
            "model": {"kind": "openai", "url": server.url, "name": "m", "max_n": 100, "chat": False},
            "store": {"url": f"sqlite:///{tmp_path}/maker.db"},
        }
        one = calibrate(settings, steps=20, votes=8, closer=8).calibration.classes["next"]
    assert (one.heard, one.closer) == (((6, 2, 20),), ((12, 4, 20),))


@pytest.mark.plan
def test_steps_on_which_the_right_answer_does_not_lead_are_looked_at(job: Callable[..., Job]) -> None:
    """They are asked 40 times more, unless steps whose votes differ are looked at closer anyway."""
    found = calibrate(job(model={"kind": "simulated", "p": 0.8}), steps=100, votes=4)
    one = found.calibration.classes["move"]
    # Of four votes two at least are wrong on 18 of 100 steps.
    assert 6 <= one.doubted <= 32
    assert one.behind == 0
    assert queries.show(found.calibration.runs[1], store=job()["store"]["url"]).calls == 40 * one.doubted
    # A plan counts the votes of all differing steps that were asked again, or of none.
    assert one.closer == ()
    assert doubted_line(one).endswith("all of them were asked again, and steps on which it does not lead yet: none")
    wrong = calibrate(job(model={"kind": "simulated", "p": 0.3}), steps=80, votes=4).calibration.classes["move"]
    assert wrong.behind > 40
    assert "the first 50 of them were asked again" in doubted_line(wrong)
    told = (
        f"does not lead yet: {wrong.behind}, {wrong.doubted - 50} of them not asked again. Where it never does, votes"
    )
    assert told in doubted_line(wrong)
    closer = calibrate(job(model={"kind": "simulated", "p": 0.8}), steps=100, votes=4, closer=8).calibration
    assert closer.classes["move"].looked_at > one.doubted == closer.classes["move"].doubted
    assert len(closer.runs) == 2


def test_the_right_answer_leads_each_rival_by_itself() -> None:
    """Two right answers stand together; a rival that a second look brings up counts with what it had before."""
    first = Standing.of([Reply(key, None, 1) for key in "abxxyyz"], {"a", "b"})
    assert (first.right, first.others["x"], first.leads) == (2, 2, False)
    assert first.plus(Standing.of([Reply("a", None, 1)], {"a", "b"})).leads
    assert not first.plus(Standing.of([Reply(key, None, 1) for key in "ax"], {"a", "b"})).leads
    assert not Standing.of([Reply(None, Flag.FORMAT, 1)], {"a"}).leads


def test_a_clear_lead_is_none_of_two_equal_answers() -> None:
    """P(B(50, 1/2) <= 16) = .0077, and .0164 for 17; a third answer does not count."""
    assert Standing(34, Counter(x=16, y=16)).leads_clearly
    assert not Standing(33, Counter(x=17)).leads_clearly
    assert not Standing(16, Counter(x=34)).leads_clearly
    assert not Standing(0, Counter()).leads_clearly


@pytest.mark.plan
@pytest.mark.parametrize(
    ("how", "told"),
    [({"closer": 1001}, "votes = 1001"), ({"votes": 0}, "votes = 0"), ({"steps": 20_000_000}, "steps = 20000000")],
)
def test_a_pilot_that_is_too_large_is_refused_before_anything_is_asked(
    how: dict[str, int], told: str, job: Callable[..., Job]
) -> None:
    with pytest.raises(BadInput, match=told):
        calibrate(job(), **how)


@pytest.mark.parametrize(
    ("disks", "steps", "why"),
    [
        (8, 100, "the least; a quarter of the 765 calls of the run at k = 3 pays for 19"),
        (14, 1228, "a quarter of the 49,149 calls of the run at k = 3"),
        (16, 2000, "the most; a quarter of the 196,605 calls of the run at k = 3 pays for 4,915"),
    ],
)
def test_a_pilot_is_a_quarter_of_its_run(disks: int, steps: int, why: str, job: Callable[..., Job]) -> None:
    """From 100 steps to 2,000; more votes a step leave fewer steps."""
    made = api.load_job(job(task={"decomposer": "hanoi", "disks": disks}))
    assert pilot_size(made) == (steps, why)
    assert pilot_size(made, 20).steps == max(100, min(2000, (2**disks - 1) * 3 // 4 // 20))


def test_a_pilot_of_a_run_of_unknown_length_is_the_largest(job: Callable[..., Job]) -> None:
    task, model = {"decomposer": f"{__file__}:Either"}, {"kind": "openai", "url": "http://127.0.0.1:1", "name": "m"}
    made = api.load_job(job(task=task, model=model))
    assert pilot_size(made) == (2000, "the task does not say how many steps its run has")


@pytest.mark.plan
def test_without_a_number_of_steps_it_is_that_many(job: Callable[..., Job]) -> None:
    settings = job(task={"decomposer": "hanoi", "disks": 8})
    assert calibrate(settings, votes=2).calibration.classes["move"].steps == pilot_size(api.load_job(settings), 2).steps


@pytest.mark.plan
def test_nobody_can_look_closer_at_what_nobody_knows(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", range(10))
    settings = rows_job(tmp_path) | {"model": {"kind": "openai", "url": "http://127.0.0.1:1", "name": "m"}}
    del settings["task"]["truth"]
    with pytest.raises(BadInput, match="neither labels nor an oracle"):
        calibrate(settings, closer=10)


def test_blind_is_what_its_name_says() -> None:
    assert Blind().oracle() is None


def heard(votes: str, right: tuple[str, ...] | None) -> tuple[tuple[int, int, int], ...]:
    one = Tallies(1)
    one.add([Reply(key, None, 1) for key in votes], right)
    return one.found(None, None).heard


def test_votes_that_make_the_reference_are_not_counted_for_it() -> None:
    assert heard("aaabab", None) == ((1, 2, 1),)
    assert heard("abaaabbb", None) == ((0, 3, 1),)
    # No answer leads by three: all votes count, for the most frequent one.
    assert heard("abab", None) == ((2, 2, 1),)
    assert heard("abac", ("a", "c")) == ((3, 1, 1),)


def test_first_votes_are_counted_whatever_is_right() -> None:
    """Until one differs from the first: flags are no votes, and those that make the reference are."""
    one = Tallies(1)
    for votes in ("aaaab", "abbbb", "bbbbb", ""):
        one.add([Reply(None, Flag.FORMAT, 1), *(Reply(key, None, 1) for key in votes)], None)
    one.add([Reply("a", None, 1), Reply("b", Flag.REPEAT, 1), Reply("a", None, 1)], ("b",))
    found = one.found(None, None)
    assert found.alike == {0: 1, 1: 1, 2: 1, 4: 1, 5: 1}
    assert [found.contested(k) for k in (2, 5, 6)] == [(5, 2), (5, 4), None]
    assert ClassFound.model_validate_json(found.model_dump_json()) == found


def test_flags_count_before_an_answer_leads_too() -> None:
    one = Tallies(1)
    one.add([Reply(None, Flag.FORMAT, 1), *(Reply(key, None, 1) for key in "aaaab"), Reply("b", Flag.REPEAT, 1)], None)
    found = one.found(None, None)
    # Three votes made "a" what it is; with the two that count after them five samples of seven are no flagged ones.
    assert (found.heard, found.voted, found.valid) == (((1, 1, 1),), 5, 5 / 7)
    assert found.through == {"repeat": ((1, 2, 1),)}


def test_flags_are_told_by_what_the_votes_would_have_been() -> None:
    one = Tallies(1)
    one.add(
        [Reply("a", Flag.REPEAT, 9), Reply("b", Flag.REPEAT, 9), Reply(None, Flag.FORMAT, 2), Reply("a", None, 3)],
        ("a",),
    )
    found = one.found(10, None)
    assert {name: tuple(flag.model_dump().values()) for name, flag in found.flags.items()} == {
        "repeat": (1, 1, 0), "format": (0, 0, 1),
    }  # fmt: skip
    assert (found.heard, found.samples, found.tokens, found.valid) == (((1, 0, 1),), 4, 23, 0.25)
