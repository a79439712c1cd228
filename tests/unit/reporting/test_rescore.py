"""A run's elections held again by another rule, over the samples that it kept."""

from __future__ import annotations

import json
import math
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fork_tasks import leaf
from row_tasks import job as map_job
from row_tasks import write_rows
from typer.testing import CliRunner

import maker
from maker import api
from maker.calibration.calibrate import calibrate
from maker.cli.app import app
from maker.errors import BadInput, JobError, PluginError, RunNotFound
from maker.lifecycle import admin, queries
from maker.reporting.rescore import Rescoring, rescore
from maker.stats import race
from maker.voting.vote_replay import Rescored, RescoredOutcome, Totals, VoteReplay, replay_votes
from voters.first_to_ahead_by_k import FirstToAheadByK, FirstToAheadByKParams
from voters.majority import Majority, MajorityParams

Job = Callable[..., dict[str, dict[str, Any]]]
ODD = """
from maker.plugin import Decision, More, Params, Voter

class Contrary(Voter):
    name = "contrary"
    Params = Params
    least = 1
    def __init__(self, params):
        pass
    def decide(self, ballots):
        standing = ballots.standing()
        if standing is None:
            return More(1)
        if len(ballots.counts) == 1:
            return Decision(standing.leader, standing.votes)
        raise ZeroDivisionError("no")
"""


def ahead_by(k: int) -> FirstToAheadByK:
    return FirstToAheadByK(FirstToAheadByKParams(k=k))


def all_of(found: Rescoring) -> tuple[list[Rescored], Totals]:
    """Read a rescoring to its end; return its steps, and what they come to."""
    totals, steps = Totals(), list(found.steps)
    for one in steps:
        totals.add(one)
    return steps, totals


# --- the election itself ---


def test_a_recount_takes_samples_as_an_election_does() -> None:
    """Flagged samples take a place and give no vote; what is not needed is not looked at."""
    heard = ["a", None, "b", "a", "a", "b", "b", "b", "b"]
    assert replay_votes(ahead_by(1), heard) == VoteReplay("a", 1, 1)
    assert replay_votes(ahead_by(2), heard) == VoteReplay("a", 5, 4)
    # Three ahead: after eight samples it is 3 to 4, so that two are asked for, and one is left.
    assert replay_votes(ahead_by(3), heard) == VoteReplay(None, 8, 7, 1)
    assert replay_votes(ahead_by(3), heard, most=9) == VoteReplay(None, 8, 7)
    assert replay_votes(ahead_by(3), []) == VoteReplay(None, 0, 0, 3)
    assert replay_votes(Majority(MajorityParams(n=3)), ["a", "b", "c", "a"]) == VoteReplay(None, 3, 3)


# --- runs ---


@pytest.mark.parametrize("samples", ["disputed", "all"])
def test_a_runs_own_rule_comes_to_the_same(samples: str, hanoi: Job, store: str) -> None:
    """Each step is decided as it was, by as many votes: nothing is saved, nothing is lacking."""
    report = api.run(hanoi(7, model={"p": 0.8, "malformed": 0.1}, store={"samples": samples}))
    steps, totals = all_of(rescore(report.run_id, store=store))
    assert {one.outcome for one in steps} == {RescoredOutcome.SAME}
    assert [(one.chain, one.step, one.kind) for one in steps] == [("root", n, "move") for n in range(127)]
    assert (totals.votes, totals.votes_before) == (report.votes, report.votes)
    assert (totals.tokens_saved, totals.lacking, totals.told) == (0, 0, 0)


def test_another_margin_counts_the_first_votes(hanoi: Job, store: str) -> None:
    """A smaller k ends each election where its own samples say, looked at one by one; no sample runs out."""
    report = api.run(hanoi(5, model={"p": 0.65, "malformed": 0.1}, vote={"k": 4}, store={"samples": "all"}))
    steps, totals = all_of(maker.rescore(report.run_id, ["vote.k=2"], store=store))
    for one in steps:
        samples = queries.samples(report.run_id, one.step, store=store)
        lead, votes, used = {"": 0}, 0, 0
        for used, sample in enumerate(samples, 1):  # noqa: B007
            if sample.candidate is not None:
                lead[sample.candidate], votes = lead.get(sample.candidate, 0) + 1, votes + 1
            first, second = sorted(lead.values())[-1:-3:-1] if len(lead) > 1 else (0, 0)
            if first - second == 2:
                break
        winner = max(lead, key=lambda key: lead[key])
        assert (one.now, one.votes) == (winner, votes)
        assert one.outcome == (RescoredOutcome.SAME if winner == one.before else RescoredOutcome.OTHER)
        tokens = next(iter(reading_tokens(store, one.step)))
        assert one.tokens == pytest.approx(tokens * (len(samples) - used) / len(samples))
    assert totals.outcomes[RescoredOutcome.OTHER] > 0
    assert totals.outcomes[RescoredOutcome.SAME] + totals.outcomes[RescoredOutcome.OTHER] == totals.sufficed == 31
    assert totals.told == totals.outcomes[RescoredOutcome.OTHER]
    assert totals.votes < totals.votes_before == report.votes
    assert 0 < totals.tokens_saved < report.prompt_tokens + report.completion_tokens


def reading_tokens(store: str, step: int) -> list[int]:
    with sqlite3.connect(store.removeprefix("sqlite:///")) as database:
        return [row[0] for row in database.execute("SELECT tokens FROM maker_step WHERE idx = ?", (step,))]


def test_votes_that_are_not_there_are_not_made_up(hanoi: Job, store: str) -> None:
    """A larger k runs out on steps that agreed on fewer votes, whether their samples were kept or not."""
    for samples in ("disputed", "all"):
        report = api.run(hanoi(5, vote={"k": 2}, store={"samples": samples}))
        steps, totals = all_of(rescore(report.run_id, ["vote.k=3"], store=store))
        assert {one.outcome for one in steps} == {RescoredOutcome.SHORT}
        assert {one.lacking for one in steps} == {1}
        assert (totals.lacking, totals.sufficed, totals.votes, totals.told) == (31, 0, 0, 31)
        assert totals.tokens_short > 0
        assert all(one.before is not None for one in steps)


def test_where_nothing_differs_no_sample_is_needed(hanoi: Job, store: str) -> None:
    """A run without samples whose votes all agreed is judged by its tallies; one with dissent is refused."""
    clean = api.run(hanoi(5, model={"p": 1.0}, store={"samples": "none"}))
    steps, totals = all_of(rescore(clean.run_id, ["vote.k=2"], store=store))
    assert {one.outcome for one in steps} == {RescoredOutcome.SAME}
    assert (totals.votes, totals.votes_before) == (62, 93)
    disputed = api.run(hanoi(5, model={"p": 0.7}, store={"samples": "none"}))
    with pytest.raises(BadInput, match=r"kept no samples .* for its \d+ disputed steps"):
        rescore(disputed.run_id, store=store)


def test_lost_samples_are_told(hanoi: Job, store: str) -> None:
    """A disputed step without its samples is judged by nothing else."""
    report = api.run(hanoi(5, model={"p": 0.7}))
    with sqlite3.connect(store.removeprefix("sqlite:///")) as database:
        (step,) = database.execute("SELECT min(idx) FROM maker_sample").fetchone()
        database.execute("DELETE FROM maker_sample WHERE idx = ?", (step,))
    steps, totals = all_of(rescore(report.run_id, store=store))
    assert [one.step for one in steps if one.outcome == RescoredOutcome.LOST] == [step]
    assert (totals.sufficed, totals.told) == (30, 1)


def test_an_undecided_step_may_be_decided(hanoi: Job, store: str) -> None:
    """The step that a run is stuck at is judged as well; it is undecided still by the run's own rule."""
    report = api.run(hanoi(6, model={"p": 0.6}, vote={"k": 4, "max_votes": 6}))
    assert report.status == "paused"
    steps, _ = all_of(rescore(report.run_id, store=store))
    assert [one.outcome for one in steps] == [RescoredOutcome.SAME] * report.steps + [RescoredOutcome.UNDECIDED]
    assert (steps[-1].step, steps[-1].before, steps[-1].told) == (report.steps, None, False)
    steps, _ = all_of(rescore(report.run_id, ["vote.max_votes=100"], store=store))
    assert steps[-1].outcome == RescoredOutcome.SHORT
    steps, totals = all_of(rescore(report.run_id, ["vote.k=1"], store=store))
    assert (steps[-1].outcome, steps[-1].before) == (RescoredOutcome.DECIDED, None)
    assert steps[-1].now is not None
    assert totals.outcomes[RescoredOutcome.DECIDED] == 1


def test_what_a_retry_has_superseded_is_left_out(hanoi: Job, store: str) -> None:
    """The newest epoch alone is judged: of a step that is decided anew its new votes."""
    report = api.run(hanoi(5, model={"p": 0.6}, vote={"k": 3, "max_votes": 9}))
    while report.status == "paused":
        report = api.retry(report.run_id, store=store)
    with sqlite3.connect(store.removeprefix("sqlite:///")) as database:
        assert database.execute("SELECT count(*) FROM maker_cut").fetchone()[0] > 0
    steps, totals = all_of(rescore(report.run_id, store=store))
    assert ([one.step for one in steps], totals.votes) == (list(range(31)), report.decided_votes)
    assert {one.outcome for one in steps} == {RescoredOutcome.SAME}


def test_a_fork_is_judged_with_the_steps_before_it(hanoi: Job, store: str) -> None:
    """Steps that a run took over from another one are part of it."""
    first = api.run(hanoi(5, model={"p": 0.7}))
    made = admin.fork(first.run_id, 10, ["run.seed=5", "vote.k=2"], store=store)
    api.resume(made.run_id, store=store)
    steps, totals = all_of(rescore(made.run_id, ["vote.k=2"], store=store))
    assert [one.step for one in steps] == list(range(31))
    assert {one.outcome for one in steps[10:]} == {RescoredOutcome.SAME}
    assert totals.votes < totals.votes_before


def test_a_judges_samples_are_left_out(hanoi: Job, store: str) -> None:
    """Steps that a judge has decided are judged by their votes: by the same rule these settle nothing again."""
    roles = {"judge": {"k": 4, "max_votes": 90}}
    report = api.run(hanoi(6, model={"p": 0.8}, vote={"k": 3, "max_votes": 5}) | {"roles": roles})
    assert report.status == "done"
    steps, totals = all_of(rescore(report.run_id, store=store))
    judged = [one for one in steps if one.judged]
    assert {one.outcome for one in judged} == {RescoredOutcome.UNDECIDED}
    assert {one.outcome for one in steps if not one.judged} == {RescoredOutcome.SAME}
    assert len(judged) == totals.judged > 2
    assert (totals.votes, totals.votes_before) == (report.decided_votes, report.decided_votes)
    # Another voter knows no k: that of the judge goes with the voter that it was given for.
    steps, totals = all_of(rescore(report.run_id, ["vote.n=3"], voter="majority", store=store))
    assert RescoredOutcome.LOST not in totals.outcomes
    assert totals.sufficed == 63


def test_an_undecided_step_of_a_judge_has_its_votes_alone(hanoi: Job, store: str) -> None:
    """Where the judge settled nothing either, its samples stand after the votes and count for nothing."""
    roles = {"judge": {"k": 3, "max_votes": 3}}
    report = api.run(hanoi(6, model={"p": 0.6}, vote={"k": 3, "max_votes": 5}) | {"roles": roles})
    assert report.status == "paused"
    steps, _ = all_of(rescore(report.run_id, store=store))
    kept = queries.samples(report.run_id, report.steps, store=store)
    assert steps[-1].judged
    assert (steps[-1].outcome, steps[-1].votes) == (RescoredOutcome.UNDECIDED, steps[-1].votes_before)
    assert steps[-1].votes_before <= 5 < len(kept)


def test_rows_of_a_map_by_their_newest_round(tmp_path: Path) -> None:
    """A row that was asked again is judged by its last votes, and is named by its number."""
    write_rows(tmp_path / "rows.csv", range(200))
    report = api.run(map_job(tmp_path))
    store = f"sqlite:///{tmp_path}/maker.db"
    steps, _ = all_of(rescore(report.run_id, store=store))
    undecided = {one.row for one in steps if one.before is None}
    assert sorted(one.row or 0 for one in steps) == list(range(200))
    assert {one.outcome for one in steps} == {RescoredOutcome.SAME, RescoredOutcome.UNDECIDED}
    assert undecided
    again = api.retry(report.run_id, ["vote.max_votes=40"], outcomes=["undecided"], store=store)
    steps, totals = all_of(rescore(again.run_id, store=store))
    assert sorted(one.row or 0 for one in steps) == list(range(200))
    assert {one.outcome for one in steps if one.row in undecided} == {RescoredOutcome.SAME}
    assert totals.outcomes[RescoredOutcome.SAME] == 200
    assert {one.chain for one in steps if one.row in undecided} >= {"1.0"}


def test_children_of_forks_are_named_as_steps_are(hanoi: Job, store: str) -> None:
    """Chains, single steps and undecided children come where `maker steps` has them, and under the same names."""
    inner = {"steps": [1, 0], "forks": [{"singles": 5}]}
    shape = {"steps": [2, 1, 1], "forks": [{"children": [leaf(3), inner]}, {"singles": 40, "lenient": True}]}
    made = hanoi(model={"p": 0.6, "rivals": 3}, vote={"k": 3, "max_votes": 12})
    report = api.run(made | {"task": {"decomposer": "fork_tasks:Tree", "shape": shape}})
    while report.status == "paused":
        report = api.retry(report.run_id, store=store)
    steps, _ = all_of(rescore(report.run_id, store=store))
    decided = [one for one in steps if one.before is not None]
    records = list(queries.steps(report.run_id, store=store))
    assert [(one.chain, one.step, one.kind) for one in decided] == [(r.chain, r.step, r.kind) for r in records]
    assert {one.outcome for one in decided} == {RescoredOutcome.SAME}
    assert {one.outcome for one in steps if one.before is None} <= {RescoredOutcome.UNDECIDED}
    # The epochs of the forks, which a retry may have raised, left out.
    places = {re.sub(r"~\d+", "", one.chain) for one in steps}
    assert {"root", "2.0", "2.1", "2.1/1.4", "4.39"} <= places


def test_margins_by_step_class_are_held_again(hanoi: Job, store: str) -> None:
    """Each class has its own k, and another one where that is said; an undecided step is judged by the strictest."""
    task = {"decomposer": "fork_tasks:Tree", "shape": leaf(40)}
    made = hanoi(model={"p": 0.75, "rivals": 2}) | {"task": task, "vote": {"k": {"even": 2, "odd": 4}}}
    report = api.run(made)
    steps, totals = all_of(rescore(report.run_id, store=store))
    assert ({one.outcome for one in steps}, totals.votes) == ({RescoredOutcome.SAME}, report.votes)
    steps, _ = all_of(rescore(report.run_id, ["vote.k.odd=2"], store=store))
    assert {one.outcome for one in steps if one.kind == "even"} == {RescoredOutcome.SAME}
    assert all(one.votes < one.votes_before for one in steps if one.kind == "odd")
    steps, _ = all_of(rescore(report.run_id, ["vote.k=3"], store=store))
    assert {one.outcome for one in steps if one.kind == "even"} == {RescoredOutcome.SHORT}
    stuck = api.run(made | {"vote": {"k": {"even": 1, "odd": 9}, "max_votes": 9}})
    assert stuck.status == "paused"
    steps, _ = all_of(rescore(stuck.run_id, store=store))
    assert (steps[-1].kind, steps[-1].outcome) == ("", RescoredOutcome.UNDECIDED)


@pytest.mark.plan
def test_the_votes_of_a_calibrations_pilot_are_judged(hanoi: Job, store: str) -> None:
    """A pilot asks for so many votes and decides nothing; another rule says what it would have made of them."""
    run, *_ = calibrate(hanoi(9), steps=400, votes=12).calibration.runs
    steps, totals = all_of(rescore(run, ["vote.k=2"], store=store))
    # Each step was asked twice.
    assert len(steps) == 800
    assert totals.outcomes[RescoredOutcome.DECIDED] + totals.outcomes[RescoredOutcome.SHORT] == 800
    assert totals.outcomes[RescoredOutcome.DECIDED] > 780
    expected = race.votes_per_step(0.9, 2)
    assert totals.votes / totals.sufficed == pytest.approx(expected, abs=4 * 1.1 / math.sqrt(800))


@pytest.mark.plan
def test_so_are_those_of_a_maps_pilot(tmp_path: Path, store: str) -> None:
    write_rows(tmp_path / "rows.csv", range(30))
    settings = map_job(tmp_path, model={"kind": "simulated", "p": 0.9}) | {"store": {"url": store}}
    run, *_ = calibrate(settings, steps=20, votes=12).calibration.runs
    steps, totals = all_of(rescore(run, ["vote.k=2"], store=store))
    assert (len(steps), totals.outcomes.total()) == (40, 40)
    assert totals.outcomes[RescoredOutcome.DECIDED] > 36


# --- what it is asked for ---


@pytest.mark.parametrize(
    ("words", "voter", "error", "told"),
    [
        (["vote.k=0"], None, JobError, "vote.k = 0"),
        (["vote.k=101"], None, JobError, "max_votes = 100: first-to-ahead-by-k needs at least 101"),
        (["vote.n=3"], None, JobError, "there is no such setting"),
        (["model.p=1"], None, BadInput, "does not change how votes are counted"),
        ([], "bayse", PluginError, "no voter 'bayse'"),
        ([], "nosuch.py:Rule", PluginError, "no file"),
        ([], "sprt", JobError, "vote.p is missing"),
    ],
)
def test_bad_input_is_refused(
    words: list[str], voter: str | None, error: type[Exception], told: str, hanoi: Job, store: str
) -> None:
    """Before anything is read, with what is wrong."""
    report = api.run(hanoi(3))
    with pytest.raises(error, match=told):
        rescore(report.run_id, words, voter=voter, store=store)
    with pytest.raises(RunNotFound):
        rescore("nosuch", store=store)


def test_a_rule_from_a_file(hanoi: Job, store: str, working_directory: Path) -> None:
    """A voter in a file is named as in a job; what it raises is told as its own, with the step."""
    (working_directory / "odd.py").write_text(ODD)
    clean = api.run(hanoi(4, model={"p": 1.0}))
    _, totals = all_of(rescore(clean.run_id, voter="odd.py:Contrary", store=store))
    assert (totals.votes, totals.outcomes[RescoredOutcome.SAME]) == (15, 15)


def test_the_command_names_what_changed(hanoi: Job, store: str) -> None:
    """Counts, votes and tokens, and each step that does not end as it did; as JSON one a line, and the totals."""
    report = api.run(hanoi(7, model={"p": 0.75}, vote={"k": 4}))

    def said(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["rescore", *words, "--store", store])
        assert done.exit_code == code, done.output
        return done.output

    steps, totals = all_of(rescore(report.run_id, ["vote.k=2"], store=store))
    text = said("last", "vote.k=2")
    print(text)
    assert f"{totals.outcomes[RescoredOutcome.SAME]:,} of 127 steps keep their answer" in text
    assert f"{totals.votes:,} votes ({totals.votes / 127:.2f} a step) instead of {report.votes:,}" in text
    changed = [one for one in steps if one.told]
    assert f"{changed[0].step} move {changed[0].before}: now {changed[0].now}" in text
    lines = [json.loads(line) for line in said("last", "vote.k=2", "--json").splitlines()]
    assert lines[:-1] == [one.to_json() for one in changed]
    assert lines[-1] == {"run_id": report.run_id, "vote": lines[-1]["vote"]} | totals.to_json()
    assert lines[-1]["vote"]["k"] == 2
    short = said("last", "vote.k=5")
    assert "127 of 127 steps run out of stored samples" in short
    assert "107 more; --json prints them all" in short
    assert "no voter 'x'" in said("last", "--voter", "x", code=2)
