"""What watches a run's votes: what it counts, what it keeps, and what an alarm leads to. The runs are simulated."""

from __future__ import annotations

import json
import math
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from row_tasks import job as rows_job
from row_tasks import label, write_rows

from maker import api
from maker.cli.tables import print_watched
from maker.errors import JobError, StoreFailed
from maker.lifecycle import queries
from maker.lifecycle.events import AlarmRaised, Event, UnmadeTest, VotesDecorrelated, stored_event
from maker.lifecycle.rows import results
from maker.reporting.report import report as page_of
from maker.stats.losing_votes import MOST_LOSING
from maker.stats.reported import Odds
from maker.stats.vote_tests import Rule
from maker.store.entry import Ending, Entry, StoredEvent, UndecidedStep
from maker.store.vote_monitor import MonitoredClass, MonitorPlan, Policy, VoteMonitor, monitored_classes
from maker.types import Flag, RedFlag, Sample
from maker.voting.election import HeardSample
from maker.voting.messages import Decided, KeptVotes, Stuck
from maker.voting.tally import Tally, pack

Job = Callable[..., dict[str, dict[str, Any]]]
RULE, OTHER = Rule(3), Rule(3, 3)
WAYS = {"models": ["m"], "wordings": 3, "temperatures": []}
BLIND = "there is no statistic for it"
NAMES = ("move", "other")
SEED = 20261122
LATE = 3000
FOUND = [("alarm", "dispersion"), ("alarm", "longest")]
"""What 64 steps of which one has all losing votes, and far too many, are told for."""


def plan(policy: Policy = "warn", **ways: Any) -> MonitorPlan:
    """Return how two classes are watched, one of which without a statistic."""
    return MonitorPlan(
        policy, (MonitoredClass("move", RULE, OTHER, WAYS | ways), MonitoredClass("other", BLIND, BLIND, WAYS | ways))
    )


def step(tally: Tally, *, decorrelated: bool = False) -> Decided:
    """Return a step as its chain hands it over."""
    votes, flags = sum(tally.valid), sum(tally.flagged)
    return Decided(1, 0, 0, "a", pack(tally), 9, b"", votes, flags, tally.disputed, decorrelated=decorrelated)


def race(losing: int, *, decorrelated: bool = False) -> Decided:
    """Return a step of the watched class with so many losing votes."""
    rivals = {"b": (losing,)} if losing else {}
    return step(Tally(0, 1, (losing + 3,), rivals, {}), decorrelated=decorrelated)


def heaped(steps: int, *, decorrelated: bool = False) -> list[Decided]:
    """Return steps of which one has far more losing votes than the others: an alarm at 64 of them."""
    return [race(20 if number == 5 else 0, decorrelated=decorrelated) for number in range(steps)]


def noted(watch: VoteMonitor, steps: Sequence[Decided]) -> tuple[str, list[tuple[str, str]]]:
    """Have steps counted; return the state, and each event's kind with its statistic or class."""
    state, events = watch.note([Entry(decided=steps)])
    assert state is not None
    return state, [(told.kind, told.facts.get("statistic", told.facts["step_class"])) for told in events]


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events if isinstance(event, AlarmRaised | VotesDecorrelated)]


# --- what is counted ---

tallies = st.builds(
    lambda kind, models, rivals, flags, judge: Tally(
        kind,
        1,
        models,
        dict(zip("abc", rivals, strict=False)),
        flags,
        Tally(kind, 1, models, {}, {}) if judge else None,
    ),
    st.integers(0, 1),
    st.tuples(st.integers(0, 200), st.integers(0, 200)).filter(any),
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 90)).filter(any), max_size=3),
    st.sampled_from([{}, {Flag.EMPTY: (1, 0)}]),
    st.booleans(),
)


@given(st.lists(tallies, max_size=60))
def test_a_step_counts_the_votes_of_its_second_candidate(counts: list[Tally]) -> None:
    """Whoever was elected, by whom, and however it is packed: the lesser of the two foremost candidates counts."""
    watch = VoteMonitor(plan())
    state, _ = watch.note([Entry(decided=[step(one) for one in counts[:20]], rows=[step(one) for one in counts[20:]])])
    losing = [sorted((0, *one.counts("w").values()))[-2] for one in counts if one.kind == 0]
    move, other = monitored_classes(state or "", NAMES)
    assert move["steps"] == len(losing)
    assert move["losing_votes"] == sum(min(votes, MOST_LOSING) for votes in losing)
    assert move["contested"] == sum(votes > 0 for votes in losing)
    assert (other["steps"], other["unwatched"]) == (0, BLIND)


def test_a_join_is_no_step() -> None:
    """The row that takes a fork's place in the log was voted on by nobody."""
    watch = VoteMonitor(plan())
    state, _ = watch.note([Entry(decided=[Decided(1, 0, 0, "3", b"", 0, b"")])])
    assert monitored_classes(state or "", NAMES)[0]["steps"] == 0


def test_a_step_left_undecided_for_good_counts_the_votes_before_a_judge() -> None:
    """Its two foremost candidates count; flagged samples and a judge's do not; one without a vote is no step."""
    outcomes = ["a", "b", "a", "c", "b", RedFlag(Flag.EMPTY), "a", "b", "b", "b", "b"]
    heard = KeptVotes("", "", tuple(HeardSample(n, Sample("", 1), one) for n, one in enumerate(outcomes)))
    stuck = Stuck(0, 0, "move", "", heard, judged=3)
    flagged = Stuck(0, 0, "move", "", KeptVotes("", "", heard.samples[5:6]))
    watch = VoteMonitor(plan())
    state, _ = watch.note([Entry(undecided=[UndecidedStep(1, stuck)])])
    assert monitored_classes(state or "", NAMES)[0]["steps"] == 0, "it may be voted on again"
    state, _ = watch.note([Entry(unresolved=[stuck, flagged])])
    move = monitored_classes(state or "", NAMES)[0]
    assert (move["steps"], move["losing_votes"]) == (1, 3)


# --- what is kept ---


@given(st.lists(st.integers(0, 12), min_size=1, max_size=300), st.lists(st.integers(1, 299), max_size=5))
def test_a_watch_goes_on_from_its_state(losing: list[int], cuts: list[int]) -> None:
    """However a run is cut into processes and transactions, the same alarms are raised at the same counts."""
    whole, parts = VoteMonitor(plan()), VoteMonitor(plan())
    steps = [race(votes) for votes in losing]
    alarms = whole.note([Entry(decided=steps)]).events
    state, found = "", []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(steps)], strict=True):
        parts = VoteMonitor(plan(), state)
        noted = parts.note([Entry(decided=steps[start:stop])])
        state, found = noted.state if noted.state is not None else state, found + noted.events
    assert found == alarms
    assert monitored_classes(state, NAMES) == monitored_classes(whole.note([]).state or state, NAMES)


def test_a_run_that_rests_is_looked_at(tmp_path: Path) -> None:
    """Before the first look at a fixed count, with the step it is stuck at; it is told, and pauses nothing again."""
    heard = KeptVotes("", "", tuple(HeardSample(n, Sample("", 1), "ab"[n % 2]) for n in range(60)))
    stuck = UndecidedStep(1, Stuck(41, 0, "move", "", heard))
    watch = VoteMonitor(plan("pause"))
    steps = [race(0)] * 41
    state, events = watch.note([Entry(decided=steps, undecided=[stuck]), Entry(ending=Ending("paused", "stuck", None))])
    assert [(told.kind, told.facts["statistic"], told.facts["steps"]) for told in events] == [
        ("alarm", "dispersion", 42),
        ("alarm", "longest", 42),
    ]
    assert (watch.halt, monitored_classes(state or "", NAMES)[0]["steps"]) == ("", 41)
    again = VoteMonitor(plan("decorrelate"), state or "")
    assert again.due, "the resume heeds what was found"
    assert VoteMonitor(plan()).note([Entry(decided=steps), Entry(ending=Ending("done", "", None))]).events == []


def test_an_alarm_is_raised_once() -> None:
    """Later looks that find the same add nothing, in this process or in the next."""
    state, events = noted(VoteMonitor(plan()), heaped(64))
    assert events == FOUND
    assert noted(VoteMonitor(plan(), state), heaped(64))[1] == []


def test_a_damaged_state_is_told() -> None:
    """It is damage of the database like any other."""
    with pytest.raises(StoreFailed, match="column monitor of maker_run cannot be read"):
        VoteMonitor(plan(), '{"alarms":[')
    with pytest.raises(StoreFailed, match="column monitor of maker_run cannot be read"):
        monitored_classes("{", NAMES)


def test_nothing_new_is_nothing_to_write() -> None:
    """A transaction without votes writes no state."""
    watch = VoteMonitor(plan())
    noted(watch, heaped(3))
    assert watch.note([Entry()]) == (None, [])


def test_a_state_of_other_rules_is_begun_anew() -> None:
    """What was counted under another law is dropped, and that is said."""
    state, _ = noted(VoteMonitor(plan()), heaped(64))
    other = VoteMonitor(MonitorPlan("warn", (MonitoredClass("move", Rule(4), OTHER), plan().classes[1])), state)
    assert "not by" in other.begun_anew
    assert noted(other, heaped(64))[1] == FOUND
    assert VoteMonitor(plan(), state).begun_anew == ""


# --- what an alarm leads to ---


def test_a_pause_is_asked_for_until_it_takes_place() -> None:
    """A process that dies between the alarm and the pause leaves it to the next; then it is over."""
    state, _ = noted(VoteMonitor(plan("pause")), heaped(64))
    watch = VoteMonitor(plan("pause"), state)
    assert watch.halt.startswith("alarm of the vote monitor on steps of class move (dispersion): the 20 losing votes")
    assert VoteMonitor(plan("warn"), state).halt == ""
    state = watch.note([Entry(ending=Ending("paused", "interrupted", None))]).state or ""
    assert VoteMonitor(plan("pause"), state).halt == watch.halt != ""
    state = watch.note([Entry(ending=Ending("paused", watch.halt, None))]).state or ""
    assert (watch.halt, VoteMonitor(plan("pause"), state).halt) == ("", "")


def test_a_decorrelated_class_is_counted_anew() -> None:
    """Steps that were begun before do not count any more, and what was found before may be found again."""
    watch = VoteMonitor(plan("decorrelate"))
    state, events = noted(watch, heaped(64))
    assert (events, watch.decorrelated) == ([*FOUND, ("decorrelated", "move")], (0,))
    for one in (watch, again := VoteMonitor(plan("decorrelate"), state)):
        assert not one.due
        one.note([Entry(decided=heaped(500))])
    assert monitored_classes(state, NAMES)[0] == {
        "class": "move", "steps": 0, "contested": 0, "losing_votes": 0, "decorrelated": True, "unwatched": ""
    }  # fmt: skip
    state, events = noted(again, heaped(64, decorrelated=True))
    assert (events, again.decorrelated) == (FOUND, (0,))
    assert monitored_classes(state, NAMES)[0]["steps"] == 64


def test_a_resume_with_another_policy_heeds_what_was_found() -> None:
    """An alarm that was only told leads to more once the run is resumed so; new ways are told and counted anew."""
    state, _ = noted(VoteMonitor(plan()), heaped(64))
    watch = VoteMonitor(plan("decorrelate"), state)
    assert watch.due
    state, events = noted(watch, [])
    assert (events, watch.decorrelated) == ([("decorrelated", "move")], (0,))
    later = VoteMonitor(plan("warn", temperatures=[0.5]), state)
    assert (later.due, later.decorrelated) == (True, (0,))
    assert noted(later, [])[1] == [("decorrelated", "move")]
    assert VoteMonitor(plan("off"), state).decorrelated == (0,), "a run stays as it has become"


def test_off_counts_nothing() -> None:
    """Nothing is read of the votes."""
    watch = VoteMonitor(plan("off"))
    assert watch.note([Entry(decided=[Decided(1, 0, 0, "a", b"no tally", 0, b"", 3)])]).events == []


# --- live ---


def copied(hanoi: Job, **tables: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a job of which three samples in ten say what others say of the same prompt."""
    model = {"p": 0.97, "common": 0.3}
    return hanoi(12, model=model, vote={"k": 3, "max_votes": 1000}, run={"seed": SEED}, **tables)


def test_votes_that_copy_one_another_raise_an_alarm(hanoi: Job, store: str) -> None:
    """It is told when it is committed, kept, and in the report; the log verifies."""
    heard: list[Event] = []
    report = api.run(copied(hanoi), limit_steps=LATE, on_event=heard.append)
    print("seed", SEED)
    (first, *_) = alarms = [event for event in report.events if event["kind"] == "alarm"]
    assert first["step_class"] == "move"
    assert first["p"] <= first["level"] <= 0.005 / 4 / 2
    assert first["steps"] in (64 << n for n in range(8))
    assert [event.to_json() for event in heard if isinstance(event, AlarmRaised)] == [
        {"event": "alarm", "run_id": report.run_id} | {name: one[name] for name in one if name not in ("at", "kind")}
        for one in alarms
    ]
    assert len({one["statistic"] for one in alarms}) == len(alarms)
    (seen,) = report.monitor
    records = list(queries.steps(report.run_id, store=store))
    losing = [sorted((0, *one.votes.values()))[-2] for one in records]
    assert (seen["steps"], seen["losing_votes"], seen["contested"]) == (LATE, sum(losing), sum(map(bool, losing)))
    assert queries.verify(report.run_id, store=store).problem == ""


def test_a_test_that_lacks_its_packages_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps with losing votes stand close together, and what would test that is not installed: the run goes on."""
    monkeypatch.delitem(sys.modules, "maker.stats.pair_law", raising=False)
    monkeypatch.setitem(sys.modules, "numpy", None)
    close = [race(int(number % 64 < 10))._replace(idx=number) for number in range(1024)]
    watch = VoteMonitor(plan())
    told = [(event.kind, event.facts) for part in (close[:512], close[512:]) for event in told_of(watch, part)]
    unmade = [facts for kind, facts in told if kind == "test_not_made"]
    assert unmade == [{"step_class": "move", "statistic": "bursts", "text": unmade[0]["text"]}]
    assert unmade[0]["text"].endswith("the package numpy, which is not installed; pip install 'maker-executor[plan]'")
    event = stored_event("r", "test_not_made", unmade[0])
    assert isinstance(event, UnmadeTest)
    assert event.to_json() == {"event": "test_not_made", "run_id": "r", **unmade[0]}


def told_of(watch: VoteMonitor, steps: Sequence[Decided]) -> list[StoredEvent]:
    """Have steps counted; return the events."""
    return watch.note([Entry(decided=steps)]).events


def test_steps_that_are_alike_raise_none(hanoi: Job) -> None:
    """The same run with independent votes: nothing is found, and nothing is told of a class without a statistic."""
    job = copied(hanoi)
    job["model"]["common"] = 0.0
    report = api.run(job, limit_steps=LATE)
    print("seed", SEED)
    assert (report.steps, report.events) == (LATE, [])
    assert report.monitor[0]["contested"] > 0
    single = api.run(hanoi(4, vote={"k": 1}))
    assert single.monitor[0]["unwatched"].startswith("the monitor has no statistic for k = 1")


def test_a_pause_is_for_one_alarm_each(hanoi: Job, store: str) -> None:
    """The reason says what was found; a resume goes on, past the same finding; the log is the undisturbed one."""
    # A second or more: the run is not over before its alarms are committed, however fast the machine.
    model = {"p": 0.95, "common": 0.45, "latency_s": 0.001}
    job = hanoi(10, model=model, vote={"k": 3, "max_votes": 1000}, run={"seed": 1}, monitor={"policy": "pause"})
    paused = api.run(job)
    assert paused.status == "paused"
    assert paused.reason.startswith("alarm of the vote monitor on steps of class move (")
    reasons = [paused.reason]
    while (report := api.resume(paused.run_id, store=store)).reason.startswith("alarm of the vote monitor"):
        reasons.append(report.reason)
    assert [re.findall(r"\((\w+)\)", reason)[0] for reason in reasons] == ["longest"]
    undisturbed = api.run(job | {"monitor": {}})
    assert (report.status, report.digest) == (undisturbed.status, undisturbed.digest)
    # The look at the pause found the second one sooner, which pauses nothing.
    told = [{one["statistic"]: one["steps"] for one in run.events} for run in (report, undisturbed)]
    assert told[0].keys() == told[1].keys() == {"longest", "dispersion"}
    assert told[0]["longest"] == told[1]["longest"]
    assert told[0]["dispersion"] <= told[1]["dispersion"]
    assert report.monitor == undisturbed.monitor


def test_a_run_that_is_not_watched_says_so(hanoi: Job, store: str) -> None:
    """The policy off counts nothing, and a resume may change it."""
    report = api.run(copied(hanoi, monitor={"policy": "off"}), limit_steps=1000)
    assert (report.events, report.monitor[0]["steps"]) == ([], 0)
    on = api.resume(report.run_id, ["monitor.policy=warn"], store=store, limit_steps=1000)
    assert on.monitor[0]["steps"] == 1000


def test_parts_of_a_run_add_up(hanoi: Job, store: str) -> None:
    """Stopped and resumed at any step, a run has the monitor's state of one that was not."""
    whole = api.run(copied(hanoi), limit_steps=2000)
    rng, parts = random.Random(SEED), api.run(copied(hanoi), limit_steps=1)
    while parts.steps < whole.steps:
        few = min(rng.randint(1, 500), whole.steps - parts.steps)
        parts = api.resume(parts.run_id, store=store, limit_steps=few)
    assert (parts.digest, parts.monitor) == (whole.digest, whole.monitor)
    # A look at a stop may find sooner what a later one finds, and there are more looks.
    told = [{one["statistic"]: one["steps"] for one in run.events} for run in (whole, parts)]
    assert told[0]
    assert all(told[1][statistic] <= steps for statistic, steps in told[0].items())


def test_rows_without_a_winner_count_too(tmp_path: Path, store: str) -> None:
    """A map's rows that stay undecided are final: their votes count once, those of a later retry are new votes."""
    write_rows(tmp_path / "rows.csv", range(300))
    job = rows_job(tmp_path, model={"p": 0.5, "rivals": 1}, vote={"k": 3, "max_votes": 7})
    report = api.run(job | {"store": {"url": store}})
    outcomes = Counter(one.outcome for one in results(report.run_id, store=store))
    assert outcomes["undecided"] > 10
    (seen,) = report.monitor
    assert seen["steps"] == outcomes["decided"] + outcomes["undecided"]
    assert report.steps == outcomes["decided"]


def test_a_step_that_a_chain_is_stuck_at_counts_when_it_is_decided(hanoi: Job, store: str) -> None:
    """Voted on again by a resume, from the same seeds, it is one step and no two."""
    stuck = api.run(hanoi(3, model={"p": 0.5}, vote={"k": 3, "max_votes": 4}))
    assert stuck.reason.startswith(f"step {stuck.steps} (move) is undecided")
    before = stuck.monitor[0]["steps"] if stuck.monitor else 0
    done = api.resume(stuck.run_id, ["vote.max_votes=1000"], store=store)
    assert (before, done.monitor[0]["steps"]) == (stuck.steps, done.steps)


@pytest.mark.parametrize(
    ("monitor", "told"),
    [
        (
            {"policy": "decorrelate"},
            'policy = "decorrelate": steps of class move have no second prompt, model or temperature',
        ),
        ({"policy": "decorrelate", "temperature": 0.5}, "a simulated model has no temperature"),
        ({"policy": "decorrelate", "temperature": 0}, "monitor.temperature = 0"),
        ({"members": ["spare"]}, "monitor.members: the job has one model"),
        ({"policy": "alarm"}, "monitor.policy = 'alarm'"),
    ],
)
def test_what_cannot_be_done_is_refused(hanoi: Job, monitor: dict[str, Any], told: str) -> None:
    """A policy without a way to carry it out is no policy: it is told before the run, with what there is."""
    with pytest.raises(JobError, match=told.replace("(", r"\(")):
        api.load_job(hanoi(monitor=monitor))


def test_a_class_without_a_statistic_needs_no_ways(hanoi: Job) -> None:
    """No alarm can come of it."""
    assert api.load_job(hanoi(vote={"k": 1}, monitor={"policy": "decorrelate"})).monitor.policy == "decorrelate"


def test_the_state_is_small(hanoi: Job, store: str) -> None:
    """It does not grow with the steps."""
    report = api.run(copied(hanoi), limit_steps=LATE)
    with queries.opened(store) as database:
        state = queries.find_run(database, report.run_id).monitor
    assert len(state) < 1200
    assert json.loads(state)["decorrelated"] == []


# --- votes that weigh what their replies report ---


def weighing(policy: Policy = "warn", in_work: int = 1) -> MonitorPlan:
    """Return how a class is watched whose votes weigh log-odds, beside one that races."""
    odds = MonitoredClass("move", Odds(), Odds(), WAYS)
    return MonitorPlan(policy, (odds, MonitoredClass("other", RULE, OTHER, WAYS)), in_work)


def sure(*answers: str, told: float = 0.9, decorrelated: bool = False) -> Decided:
    """Return a step whose votes report a probability each."""
    rivals = {answer: (answers.count(answer),) for answer in answers if answer != "a"}
    one = step(Tally(0, 1, (answers.count("a"),), rivals, {}, None, (2197,) * (1 + len(rivals))))
    return one._replace(reported=[(answer, math.log(told)) for answer in answers], decorrelated=decorrelated)


AGREED = ["confidence"]


def test_votes_that_agree_more_than_they_report_raise_an_alarm() -> None:
    """64 steps at once or one by one, across processes; the class that races is counted as ever."""
    steps = [sure("a", "a", "a")] * 60 + [sure("a", "b", "a", "a")] * 4
    for parts in ([64], [10, 1, 40, 13]):
        state, found, start = "", [], 0
        for size in parts:
            watch = VoteMonitor(weighing(), state)
            racing = [race(0)._replace(tally=pack(Tally(1, 1, (3,), {}, {})))] * size
            state, events = watch.note([Entry(decided=steps[start : start + size], rows=racing)])
            state, found, start = state or "", found + events, start + size
        assert [event.facts["statistic"] for event in found] == AGREED
        (alarm,) = (event.facts for event in found)
        assert (alarm["step_class"], alarm["steps"], alarm["found"]) == ("move", 64, 4)
        move, other = monitored_classes(state, NAMES)
        assert move == {
            "class": "move", "steps": 64, "contested": 4, "losing_votes": None, "decorrelated": False, "unwatched": ""
        }  # fmt: skip
        assert (other["steps"], other["losing_votes"]) == (64, 0)


def test_an_undecided_row_counts_what_its_replies_report() -> None:
    """Its votes before a judge's; those after a reply that reports nothing are left out."""

    def stuck(*votes: tuple[str, float | None], judged: int = 0) -> Stuck:
        samples = [Sample("", 1, logprob=told and math.log(told)) for _, told in votes]
        heard = [HeardSample(n, one, votes[n][0]) for n, one in enumerate(samples)]
        return Stuck(0, 0, "move", "", KeptVotes("", "", tuple(heard)), judged=judged)

    unresolved = [
        stuck(("a", 0.9), ("b", 0.9)),
        stuck(("a", 0.9), ("a", 0.9), ("b", 0.9), judged=1),
        stuck(("a", 0.9), ("a", None), ("b", 0.9)),
    ]
    state, _ = VoteMonitor(weighing()).note([Entry(unresolved=unresolved)])
    move = monitored_classes(state or "", NAMES)[0]
    assert (move["steps"], move["contested"]) == (3, 1)


def test_weighing_votes_are_decorrelated_too() -> None:
    """From then on only steps that were asked so count."""
    watch = VoteMonitor(weighing("decorrelate"))
    _, events = noted(watch, [sure("a", "a", "a")] * 64)
    assert events == [("alarm", "confidence"), ("decorrelated", "move")]
    state, events = noted(watch, [sure("a", "a", "a", decorrelated=True)] * 20 + [sure("a", "a", "a")] * 90)
    assert events == []
    assert monitored_classes(state, NAMES)[0]["steps"] == 20


def test_a_cancelled_run_may_lack_its_hard_steps() -> None:
    """Those in work are let go: 60 steps of 256 show nothing, unless the run is done."""
    for status, found in (("done", 1), ("cancelled", 0)):
        entry = Entry(decided=[sure("a", "a", "a")] * 60, ending=Ending(status, "", None))
        assert len(VoteMonitor(weighing(in_work=256)).note([entry]).events) == found


@pytest.mark.parametrize(("common", "alarms"), [(1.0, AGREED), (0.0, [])])
def test_rows_that_are_always_wrong_raise_an_alarm(
    common: float, alarms: list[str], tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """300 rows whose replies report .98 or .82: all of a row are right or all wrong, or each by itself."""
    write_rows(tmp_path / "rows.csv", range(300))
    model = {"p": 0.9, "malformed": 0.0, "logprobs": True, "common": common}
    job = rows_job(tmp_path, model=model, run={"seed": SEED}) | {"store": {"url": store}}
    found = api.run(job | {"vote": {"voter": "voters.weighted:Weighted", "max_votes": 50}})
    print("seed", SEED)
    assert (found.status, found.steps) == ("done", 300)
    told = [event for event in found.events if event["kind"] == "alarm"]
    assert [event["statistic"] for event in told] == alarms
    (seen,) = found.monitor
    assert (seen["steps"], seen["unwatched"]) == (300, "")
    assert (seen["contested"] == 0) == bool(alarms)
    print_watched(found.monitor, "warn")
    assert f"votes that weigh differ on {seen['contested']} of 300 steps" in capsys.readouterr().out
    if alarms:
        wrong = sum(
            one.answer["label"] != label(int(one.id.removeprefix("row-"))) for one in results("last", store=store)
        )
        assert wrong > 10
        assert told[0]["text"].startswith("votes that weigh differ on 0 of 300 steps; by the probabilities")
    page = page_of("last", store=store)
    assert [event["statistic"] for event in page.told] == alarms
    assert page.classes[0].unwatched.startswith("a report cannot watch it")
    assert page.whole.missing.endswith("maker estimates p only for voters that need a lead of k, and weighted does not")
    assert ("do not rely on the voter's `error`" in page.whole.missing) == bool(alarms)
    promise, *against = page.claim.text
    assert promise.startswith("weighted decides at most a share of 0.01 of steps row wrongly, if on every step")
    assert bool(against) == bool(alarms)


def test_an_undecided_row_counts_once_when_the_run_rests() -> None:
    """It is among those that are undecided and those that nobody votes on again."""
    samples = tuple(HeardSample(vote, Sample("a", 1), "ab"[vote % 2]) for vote in range(200))
    stuck = [Stuck(row, 0, "move", "", KeptVotes("", "", samples)) for row in range(64)]
    rows = Entry(undecided=[UndecidedStep(1, one) for one in stuck], unresolved=stuck)
    rested = Entry(ending=Ending("paused", "", None))
    both = VoteMonitor(plan()).note([rows, rested])
    assert both == VoteMonitor(plan()).note([Entry(unresolved=stuck), rested])
    assert both != VoteMonitor(plan()).note([Entry(undecided=rows.undecided), rested])
