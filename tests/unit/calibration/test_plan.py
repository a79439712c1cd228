"""Plans: what a calibration of a known model makes of a run, what is refused, and that k = "auto" uses just that."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from letter_task import right

from maker import api
from maker.calibration.calibrate import calibrate
from maker.calibration.forecast import described, risk_budget_of
from maker.calibration.observations import SampleCounts
from maker.calibration.plan import plan
from maker.cli.commands.plan import greedy_line
from maker.errors import BadInput, JobError, OutOfReach
from maker.lifecycle import queries
from maker.lifecycle.admin import fork
from maker.stats.race import least_k, run_right, votes_per_step
from maker.stats.truncation import unsettled

pytestmark = pytest.mark.plan

Job = dict[str, dict[str, Any]]
TASK = Path(__file__).parents[1] / "letter_task.py"


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    def make(**tables: Any) -> Job:
        base = {
            "task": {"decomposer": "hanoi", "disks": 10},
            "model": {"kind": "simulated", "p": 0.9},
            "vote": {"k": "auto", "target": 0.95},
            "store": {"url": f"sqlite:///{tmp_path}/maker.db"},
        }
        return base | tables

    return make


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask all votes of a step at once: the numbers of some tests are of pilots that did, and other draws are others."""
    monkeypatch.setattr("maker.calibration.calibrate.ROUNDS", 1000)


def letters(job: Callable[..., Job], steps: int, first: int = 0, **tables: Any) -> Job:
    return job(task={"decomposer": f"{TASK}:Letters", "steps": steps, "first": first}, **tables)


def planned(settings: Job, **how: Any) -> Any:
    calibrate(settings, **({"steps": 1000, "votes": 10} | how))
    return plan(api.load_job(settings))


def test_a_plan_of_steps_that_are_alike_is_the_formulas(job: Callable[..., Job]) -> None:
    found = planned(job())
    one = found.classes[0]
    assert (one.name, one.steps, one.k) == ("move", 1023, least_k(0.9, 1023, 0.95))
    assert one.p.low < 0.9 < one.p.high
    assert found.margins.right.low <= run_right(0.9, one.k, 1023) <= found.margins.right.high
    assert found.margins.right.low >= 0.95
    assert one.votes.low <= votes_per_step(0.9, one.k) <= one.votes.high
    assert found.calls == pytest.approx(tuple(1023 * votes for votes in one.votes))
    # Of 1,023 steps 1,000 were asked: as many as 3 / 1,000 of them may be of another kind.
    assert found.unproven == pytest.approx(1023 * -math.expm1(math.log(0.05) / 1000))
    assert planned(job(), steps=1023).unproven == 0


@pytest.mark.usefixtures("at_once")
def test_steps_that_max_votes_cuts_short_are_counted(job: Callable[..., Job]) -> None:
    """Of p = .65 k takes more than 50 votes a step: with 100 of them at most one step in five stays undecided."""
    settings = job(model={"kind": "simulated", "p": 0.65})
    found = planned(settings)
    paused = api.run(settings)
    assert paused.status == "paused"
    share = unsettled(np.array([0.65]), found.classes[0].k, 100)[0]
    assert found.undecided == pytest.approx(1023 * share, rel=0.2)
    # The first of them comes after 1 / share steps on average, and hardly ever after twenty times as many.
    assert paused.steps < 20 / share
    enough = planned(settings | {"vote": settings["vote"] | {"max_votes": 1000}})
    assert enough.undecided < 1e-6


def test_auto_is_the_plan_and_the_run_says_what_was_claimed(job: Callable[..., Job]) -> None:
    settings = job()
    found = planned(settings)
    ended = api.run(settings)
    assert (ended.status, ended.settings["vote"]["k"]) == ("done", {"move": found.margins.k["move"]})
    claimed = ended.settings["vote"]["plan"]
    assert (claimed["calibration"], claimed["target"], claimed["k"]) == (1, 0.95, found.margins.k)
    assert claimed["right"] == list(found.margins.right)
    assert "oracle" in claimed["rests_on"]
    store = settings["store"]["url"]
    assert {step.margin for step in queries.steps(ended.run_id, store=store)} == {found.margins.k["move"]}
    assert queries.verify(ended.run_id, store=store).right


def test_a_resume_keeps_the_plan(job: Callable[..., Job]) -> None:
    settings = job()
    planned(settings)
    begun = api.run(settings, limit_steps=5)
    ended = api.resume(begun.run_id, store=settings["store"]["url"])
    assert (ended.status, ended.settings["vote"]) == ("done", begun.settings["vote"])


def test_a_run_that_goes_on_from_another_takes_a_k(job: Callable[..., Job]) -> None:
    settings = job()
    planned(settings)
    begun, store = api.run(settings, limit_steps=5), settings["store"]["url"]
    with pytest.raises(JobError, match=r'vote\.k = "auto": a stored run has its k already.*\nset vote\.k to a number'):
        fork(begun.run_id, 3, ["vote.k=auto"], store=store)
    with pytest.raises(JobError, match="a stored run has its k already"):
        api.resume(begun.run_id, ["vote.k=auto"], store=store)


@pytest.mark.parametrize("word", ["vote.target=0.99", "vote.budget=5000", "vote.consequence.move=2"])
def test_a_run_with_a_plan_takes_no_other_aim(word: str, job: Callable[..., Job]) -> None:
    settings = job()
    planned(settings)
    begun, store = api.run(settings, limit_steps=5), settings["store"]["url"]
    with pytest.raises(JobError, match=r"comes too late: the run has its planned k"):
        api.resume(begun.run_id, [word], store=store)
    assert api.resume(begun.run_id, store=store).status == "done"


@pytest.mark.parametrize(
    ("words", "keeps"), [((), True), (("run.seed=5",), True), (("vote.k.move=2",), False), (("model.p=0.6",), False)]
)
def test_a_fork_that_votes_otherwise_claims_no_plan(
    words: tuple[str, ...], keeps: bool, job: Callable[..., Job]
) -> None:
    settings = job()
    planned(settings)
    begun = api.run(settings, limit_steps=5)
    forked = fork(begun.run_id, 3, words, store=settings["store"]["url"])
    assert ("plan" in forked.settings["vote"]) is keeps


def test_without_a_calibration_there_is_no_plan(job: Callable[..., Job]) -> None:
    with pytest.raises(BadInput, match=r"there is no calibration of .*: there is no database"):
        api.run(job())
    calibrate(job(model={"kind": "simulated", "p": 0.7}), steps=5, votes=2)
    with pytest.raises(
        BadInput, match=r"there is no calibration of this task .* p was 0\.7, is 0\.9\nmake one with `maker calibrate"
    ):
        api.run(job())


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        (
            {"model": {"kind": "simulated", "p": 0.91}},
            "calibration 1 belongs to another task or model: model: p was 0.9, is 0.91",
        ),
        (
            {"task": {"decomposer": "hanoi", "disks": 9}},
            "calibration 1 belongs to another task or model: .*disks was 10, is 9",
        ),
    ],
)
def test_a_calibration_of_another_job_is_refused_with_what_differs(
    tables: Job, told: str, job: Callable[..., Job]
) -> None:
    calibrate(job(), steps=10, votes=2)
    with pytest.raises(BadInput, match=told):
        plan(api.load_job(job(**tables)))


def test_margins_seed_and_voter_are_no_part_of_what_was_calibrated(job: Callable[..., Job]) -> None:
    calibrate(job(vote={"k": 3}), steps=500, votes=8)
    assert plan(api.load_job(job(run={"seed": 77}))).key == 1


def test_the_calibration_with_most_samples_counts(job: Callable[..., Job]) -> None:
    calibrate(job(), steps=500, votes=8)
    calibrate(job(), steps=100, votes=8)
    assert plan(api.load_job(job())).key == 1


def test_a_rival_that_is_the_likelier_answer_is_refused(job: Callable[..., Job]) -> None:
    with pytest.raises(OutOfReach, match="the right answer is not the most frequent one") as refused:
        planned(job(model={"kind": "simulated", "p": 0.45}))
    assert refused.value.exit_code == 1


def test_several_rivals_below_a_half_are_no_reason_to_refuse(job: Callable[..., Job]) -> None:
    # p = .4 against four rivals of .15 each: compared with the strongest of them it wins.
    settings = letters(job, 100, model={"kind": "simulated", "p": 0.4, "rivals": 4})
    found = planned(settings, votes=120)
    assert found.margins.right.low >= 0.9
    assert found.classes[0].p.high < 0.5


@pytest.mark.usefixtures("at_once")
def test_too_few_samples_are_told_with_the_size_that_is_needed(job: Callable[..., Job]) -> None:
    settings = job(model={"kind": "simulated", "p": 0.7})
    with pytest.raises(
        OutOfReach, match=r"does not show that any margin k reaches 0\.95.*\ncalibrate with more steps: move about"
    ):
        planned(settings, steps=20, votes=2)
    with pytest.raises(OutOfReach, match="2 or more --votes"):
        planned(job(model={"kind": "simulated", "p": 0.71}), votes=1)


POOL = {"good": {"kind": "simulated", "p": 0.95}, "poor": {"kind": "simulated", "p": 0.8}}


@pytest.mark.parametrize(
    "model", [{"kind": "simulated", "p": 0.85, "malformed": 0.1}, {"kind": "pool", "members": POOL}]
)
def test_tokens_are_what_runs_take(model: dict[str, Any], job: Callable[..., Job]) -> None:
    settings = job(model=model)
    found = planned(settings, steps=1023)
    runs = [api.run(settings | {"run": {"seed": seed}}) for seed in (5, 6, 7)]
    tokens = sum(run.prompt_tokens + run.completion_tokens for run in runs) / len(runs)
    # The interval is of what is expected; three runs are not far from it.
    assert 0.98 * found.tokens.low < tokens < 1.02 * found.tokens.high
    assert found.tokens.estimate == pytest.approx(tokens, rel=0.06)


@pytest.mark.usefixtures("at_once")
def test_where_all_steps_were_asked_more_votes_are_needed(job: Callable[..., Job]) -> None:
    settings = job(task={"decomposer": "hanoi", "disks": 5}, model={"kind": "simulated", "p": 0.7})
    with pytest.raises(OutOfReach, match=r"has asked every step of the task; calibrate with more --votes") as refusal:
        planned(settings, votes=4)
    assert refusal.value.facts["needed"] == {}


def test_more_votes_than_a_step_may_take_are_no_plan(job: Callable[..., Job]) -> None:
    settings = job(vote={"k": "auto", "target": 0.95, "max_votes": 3})
    with pytest.raises(BadInput, match=r"vote\.max_votes = 3 is below the planned k = 5 for class 'move'"):
        planned(settings)


def test_a_class_that_the_pilot_has_not_heard_is_named(job: Callable[..., Job]) -> None:
    labels = "\n".join(json.dumps({"state": str(n), "right": json.dumps(right(n))}) for n in range(10))
    with pytest.raises(BadInput, match="has asked no step of class 'second'"):
        planned(letters(job, 100, first=50), labels=labels)


def test_a_class_that_the_task_has_no_step_of_takes_the_largest_margin(job: Callable[..., Job]) -> None:
    margins = planned(letters(job, 100)).margins.k
    assert margins["first"] == margins["second"] > 1


def test_consequences_shift_the_target(job: Callable[..., Job]) -> None:
    settings = letters(job, 400, first=200)
    calibrate(settings, steps=200, votes=20)
    plain = plan(api.load_job(settings)).margins.k
    vote = {"k": "auto", "target": 0.95, "consequence": {"second": 1000}}
    careful = plan(api.load_job(settings | {"vote": vote})).margins.k
    assert careful["second"] > plain["second"]
    with pytest.raises(JobError, match=r"vote\.consequence\.third: letters has no such class"):
        api.load_job(settings | {"vote": vote | {"consequence": {"third": 2}}})


def test_a_budget_goes_to_the_steps_that_need_it(job: Callable[..., Job]) -> None:
    """theory: 900 steps of p = .99 and 100 of .7 are best served by k = 3 and 9, with .9515 for 5,003 votes."""
    model = {"kind": "simulated", "p": 0.99, "p_by_class": {"first": 0.7}}
    settings = letters(job, 1000, first=100, model=model)
    calibrate(settings, steps=1000, votes=40)
    found = plan(api.load_job(settings | {"vote": {"k": "auto", "budget": 5100}}))
    assert found.margins.k == {"first": 9, "second": 3}
    assert found.target is None
    assert found.margins.votes.estimate <= 5100
    assert found.margins.right.low < 0.9515 < found.margins.right.high
    even = plan(api.load_job(settings | {"vote": {"k": 4}})).own
    assert even is not None
    assert even.right.high < 0.2
    ended = api.run(settings | {"vote": {"k": "auto", "budget": 5100}})
    assert ended.settings["vote"]["k"] == {"first": 9, "second": 3}
    assert abs(ended.votes - found.margins.votes.estimate) < 4 * 90
    with pytest.raises(OutOfReach, match=r"vote\.budget = 999: the run has 1,000 steps"):
        plan(api.load_job(settings | {"vote": {"k": "auto", "budget": 999}}))
    with pytest.raises(BadInput, match=r"vote\.max_votes = 8 is below the planned k = 9 for class 'first'"):
        plan(api.load_job(settings | {"vote": {"k": "auto", "budget": 5100, "max_votes": 8}}))
    with pytest.raises(JobError, match="exclude each other"):
        api.load_job(settings | {"vote": {"k": "auto", "budget": 5000, "target": 0.9}})


def test_the_job_s_own_margin_is_told_beside_the_plan(job: Callable[..., Job]) -> None:
    assert planned(job()).own is None
    own = plan(api.load_job(job(vote={"k": 3, "target": 0.95}))).own
    assert own is not None
    assert own.k == {"move": 3}
    assert own.right.low < run_right(0.9, 3, 1023) < own.right.high


@pytest.mark.parametrize(
    ("right", "as_good", "said"),
    [(880, False, "voting is expected to do better: it was right on 880 of 1,000 pilot steps of move, "),
     (1000, True, "a plain call does as well as voting, as far as this pilot shows: it was right on 1,000 of 1,000")],
)  # fmt: skip
def test_one_greedy_sample_is_compared_with_the_votes(
    right: int, as_good: bool, said: str, job: Callable[..., Job]
) -> None:
    """It is as good where its interval reaches what votes are expected to be right on, .99985 at p = .9 and k = 4."""
    settings = job(vote={"k": 4})
    calibrate(settings, steps=1000, votes=10)
    loaded = api.load_job(settings | {"vote": {"k": "auto", "target": 0.95}})
    found = plan(loaded)
    one = found.calibration.classes["move"].model_copy(update={"greedy": SampleCounts(right, 1000 - right, 0)})
    calibration = found.calibration.model_copy(update={"classes": {"move": one}})
    loads = [risk_budget_of(loaded, calibration, "move", 1023)]
    greedy = described(loaded, found.key, calibration, 0.95, loads, found.margins).greedy
    assert greedy is not None
    (each,) = greedy.classes
    assert (each.right, each.asked, each.as_good) == (right, 1000, as_good)
    assert each.share.low < right / 1000 <= each.share.high
    assert each.voted.estimate == pytest.approx(1 - found.classes[0].failures.estimate / 1023)
    assert each.calls == pytest.approx(found.calls.estimate / 1023)
    assert greedy_line(each, labelled=True).startswith(said)


@pytest.mark.parametrize("voter", ["majority", "bayes"])
def test_auto_is_for_the_default_voter(voter: str, job: Callable[..., Job]) -> None:
    message = f'vote.k = "auto" needs first-to-ahead-by-k or another race to a lead of k, not {voter}'
    with pytest.raises(JobError, match=re.escape(message)):
        api.load_job(job(vote={"voter": voter, "k": "auto"}))


def test_two_rivals_of_like_strength_are_no_misfit(job: Callable[..., Job]) -> None:
    """The strongest of two rivals is spread otherwise than a Beta-binomial count: that is nothing about the steps."""
    settings = job(task={"decomposer": "hanoi", "disks": 9}, vote={"k": "auto", "target": 0.9}, run={"seed": 1})
    settings["model"] = {"kind": "simulated", "p": 0.85, "rivals": 2, "malformed": 0.1}
    found = planned(settings, steps=400, votes=8)
    # A pilot leaves open whether one more than for a p that is known is needed.
    assert found.margins.k["move"] <= least_k(0.85, 511, 0.9) + 1 == 6
