"""Reports on runs of every kind: what they count is what the log holds, and they say what that rests on."""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fork_tasks import leaf
from row_tasks import job as row_job
from row_tasks import write_rows

import maker
from maker import api
from maker.errors import BadInput, RunNotFound
from maker.job.settings import PilotFound
from maker.lifecycle import admin, queries
from maker.reporting import audit, labels
from maker.reporting.claims import AGAINST, claimed
from maker.reporting.counts import KEPT, doubt
from maker.reporting.decision_rules import DecisionRule
from maker.reporting.figures import TURNS
from maker.reporting.report import Report, report
from maker.reporting.rescore import rescore
from maker.reporting.row_labels import LabelFile
from maker.stats.bounds import binomial
from maker.stats.vote_tests import Rule
from maker.voting.paths import read_name

pytestmark = pytest.mark.plan

Job = Callable[..., dict[str, dict[str, Any]]]
TREE = {
    "steps": [20, 10, 30],
    "forks": [{"children": [leaf(60), {"steps": [1, 1], "forks": [{"singles": 80}]}, leaf(2)]}, {"singles": 90}],
}


def tree(store: str, **tables: dict[str, Any]) -> dict[str, dict[str, Any]]:
    base: dict[str, dict[str, Any]] = {
        "task": {"decomposer": "fork_tasks:Tree", "shape": TREE},
        "model": {"kind": "simulated", "p": 0.8, "rivals": 3, "malformed": 0.1},
        "vote": {"k": 2, "max_votes": 1000},
        "store": {"url": store},
    }
    return base | {name: base.get(name, {}) | table for name, table in tables.items()}


def rows(folder: Path, store: str, count: int = 400, **vote: Any) -> dict[str, dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    write_rows(folder / "rows.csv", range(count))
    return row_job(
        folder, store={"url": store}, task={"output": ""}, vote={"k": 3} | vote,
        model={"kind": "simulated", "p": 0.6, "rivals": 2},
    )  # fmt: skip


def made(store: str) -> Report:
    """Return the report on the newest run; it can be told as JSON."""
    found = report("last", store=store)
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (told["format"], told["version"], told["maker"]) == ("maker-report", 1, maker.__version__)
    return found


def recounted(store: str, run_id: str) -> dict[str, Any]:
    """Count a run's steps once more, from the records that `maker steps` prints."""
    records = list(queries.steps(run_id, store=store))
    votes, losing = Counter[int](), Counter[int]()
    for one in records:
        winner, *rivals = one.votes.values()
        losing[min(winner, max(rivals, default=0))] += 1
        if not one.judge:
            votes[sum(one.votes.values())] += 1
    flags = Counter[str]()
    for one in records:
        flags.update(one.flags)
    return {"steps": len(records), "votes": votes, "losing": losing, "flags": flags,
            "disputed": sum(len(one.votes) > 1 for one in records)}  # fmt: skip


def check(found: Report, store: str) -> None:
    """Compare a report's counts with the run's own, and with its steps, counted once more."""
    again = recounted(store, found.run.run_id)
    assert found.steps == again["steps"]
    assert found.disputed_steps == again["disputed"]
    votes, flags = Counter[int](), Counter[str]()
    for one in found.classes:
        votes.update({bar.number: bar.steps for bar in one.votes if bar.steps})
    for count in found.flags:
        flags[count.reason] += count.samples
    assert votes == again["votes"]
    assert flags == again["flags"]
    assert sum(bar.number * bar.steps for one in found.classes for bar in one.votes) <= found.votes


def test_a_chain(hanoi: Job, store: str) -> None:
    """A run's counts are those of its row; p is near that of its model, and the number follows from it."""
    api.run(hanoi(9, model={"malformed": 0.05}, vote={"k": 4}))
    found = made(store)
    check(found, store)
    run = found.run
    assert (found.steps, found.votes, found.disputed_steps) == (run.steps, run.votes, run.disputed)
    assert sum(count.samples for count in found.flags) == run.red_flags
    (one,) = found.classes
    assert one.fit is not None
    assert one.fit.p.low < 0.9 < one.fit.p.high
    disputed = queries.steps("last", store=store, disputed=True)
    assert one.fit.losing == sum(tail.found for tail in one.tails[1:]) == sum(min(x.votes.values()) for x in disputed)
    assert found.whole.right is not None
    assert found.whole.right.value == pytest.approx((1 - one.fit.failure.value) ** run.steps)
    assert found.whole.steps == run.steps
    assert found.claim.text == ("nothing was claimed: first-to-ahead-by-k with k = 4 promises nothing",)
    assert (one.looks, one.unwatched) == (1, "")
    assert [(one.model, one.votes) for one in found.models] == [("simulated", run.votes)]


def test_a_tree(store: str) -> None:
    """A fork's children count, of either kind, each in its class; several rivals too."""
    api.run(tree(store))
    found = made(store)
    check(found, store)
    assert (found.steps, found.votes) == (found.run.steps, found.run.votes)
    assert {one.ruled.kind for one in found.classes} == {"even", "odd"}
    assert {one.fit.confidence for one in found.classes if one.fit} == {0.975}


def test_disputed_steps_come_worst_first(store: str) -> None:
    """Doubt orders them, and places where it is equal; each comes with its samples and its prompt."""
    api.run(tree(store))
    found = made(store)
    again = []
    for place, one in enumerate(queries.steps("last", store=store)):
        winner, *rivals = one.votes.values()
        if rivals:
            chance = binomial(max(rivals), winner + max(rivals) + 1, 0.5)
            again.append((-chance, place, one.chain, one.step))
    assert [(one.chain, one.step) for one in found.disputed] == [place[2:] for place in sorted(again)][:KEPT]
    for one in found.disputed:
        kept = queries.step("last", one.step, chain=one.chain, store=store) if "/" not in one.chain else None
        if kept is not None and not read_name(one.chain)[2:]:
            assert kept.record is not None
            assert kept.record.votes == one.votes
        counted = Counter(said.candidate for said in one.samples if said.candidate is not None)
        assert counted == one.votes
        assert one.prompt
        assert one.more_samples == 0


def test_doubt() -> None:
    """The figures that its explanation names, against the integral that it stands for."""
    assert doubt(3, 0) == pytest.approx(1 / 16)
    assert doubt(4, 1) == pytest.approx(7 / 64)
    assert doubt(10, 7) == pytest.approx(0.2403, abs=1e-4)
    assert doubt(2, 3) > 0.5
    a, b, pieces = 7, 4, 100_000
    shares = [(at + 0.5) / pieces for at in range(pieces)]
    density = [share**a * (1 - share) ** b for share in shares]
    assert doubt(a, b) == pytest.approx(math.fsum(density[: pieces // 2]) / math.fsum(density), abs=1e-6)


def test_rows_that_are_undecided(tmp_path: Path, store: str) -> None:
    """Races that were cut off are no steps of the number, but their losing votes count: p is not taken for higher."""
    api.run(rows(tmp_path / "in", store, max_votes=8))
    found = made(store)
    check(found, store)
    (one,) = found.classes
    undecided = found.outcomes["undecided"]
    assert one.cut == undecided > 20
    assert found.steps + undecided == 400
    lost = Counter[int]()
    for row in api_results(store):
        if row.outcome == "undecided":
            lost[sorted(row.votes.values())[-2]] += 1
    decided = recounted(store, "last")["losing"]
    assert one.fit is not None
    assert one.fit.losing == sum(n * steps for n, steps in (decided + lost).items())
    assert one.fit.steps == found.steps
    assert one.tails[0].found == 400
    assert f"undecided rows ({undecided})" in found.whole.outside


def test_flags_of_a_step_that_a_retry_has_decided_are_not_left(hanoi: Job, store: str) -> None:
    """What was flagged before the step was cut is kept with its samples, and is no step without a decision."""
    stuck = api.run(hanoi(5, model={"p": 0.8, "malformed": 0.3}, vote={"k": 3, "max_votes": 6}))
    assert stuck.status == "paused"
    assert sum(made(store).unresolved_flags.values()) > 0
    assert api.retry(stuck.run_id, ["vote.max_votes=500"], store=store).status in ("done", "failed")
    assert made(store).unresolved_flags == {}


def api_results(store: str) -> Any:
    from maker.lifecycle.rows import results

    return results("last", store=store)


def test_a_map_that_was_asked_again(tmp_path: Path, store: str) -> None:
    """Rows that another round decided count by that round's margin, the others by the first one's."""
    run = api.run(rows(tmp_path / "in", store, max_votes=8))
    api.retry(run.run_id, ["vote.k=2", "vote.max_votes=1000"], outcomes=["undecided"], store=store)
    found = made(store)
    assert {one.ruled.k for one in found.classes} == {2, 3}
    assert found.steps == 400
    assert len(found.rules) == 2


def test_a_run_that_is_stuck(hanoi: Job, store: str) -> None:
    """A paused run without a step: no number, and the step that it is stuck at with what was said."""
    api.run(hanoi(5, model={"p": 0.5}, vote={"k": 5, "max_votes": 6}))
    found = made(store)
    assert found.steps == 0
    assert found.whole.right is None
    assert found.whole.missing == "no step is decided by votes"
    (rest,) = found.resting
    assert rest.status == "undecided"
    assert rest.chain == "root"
    assert Counter(said.candidate for said in rest.samples) == {"1AC": 4, "1AB": 1}
    assert rest.prompt
    assert "max_votes" in rest.reason
    assert "unresolved steps (1)" in found.whole.outside


def test_chains_that_rest(store: str) -> None:
    """Children that are stuck are named, each with its samples; decided anew, they are in no figure twice."""
    run = api.run(tree(store, model={"p": 0.55, "malformed": 0}, vote={"k": 4, "max_votes": 9}))
    while run.status == "paused" and not report(run.run_id, store=store).resting:
        run = api.retry(run.run_id, store=store)
    found = made(store)
    assert found.resting
    for one in found.resting:
        assert one.samples
    api.retry(run.run_id, ["vote.max_votes=2000"], store=store)
    again = made(store)
    assert again.run.status == "done"
    assert again.resting == ()
    assert again.cuts >= 1
    check(again, store)


def test_a_forked_run(hanoi: Job, store: str) -> None:
    """What was taken over counts by the rules of the run that decided it, and the steps are those of both."""
    first = api.run(hanoi(7, vote={"k": 3}), limit_steps=60)
    forked = admin.fork(first.run_id, 50, ["vote.k=5"], store=store)
    api.resume(forked.run_id, store=store)
    found = made(store)
    assert {(one.ruled.run_id, one.ruled.k): one.steps for one in found.classes} == {
        (first.run_id, 3): 50, (forked.run_id, 5): 77,
    }  # fmt: skip
    check(found, store)


def test_a_pool_with_a_judge(hanoi: Job, store: str) -> None:
    """Votes count by model; steps that a judge decided are no part of the number, which says so."""
    members = {"small": {"kind": "simulated", "p": 0.7}, "large": {"kind": "simulated", "p": 0.95}}
    job = hanoi(9, vote={"k": 3, "max_votes": 9}, roles={"judge": {"k": 2, "rotation": ["large"]}})
    api.run(job | {"model": {"kind": "pool", "members": members}})
    found = made(store)
    (one,) = found.classes
    assert one.judged == sum(bool(step.judge) for step in queries.steps("last", store=store)) > 3
    assert found.whole.steps == found.steps - one.judged
    assert any("a judge decided" in text for text in found.whole.outside)
    assert TURNS in found.whole.given
    assert {name.model for name in found.models} == {"small", "large"}
    small, large = sorted(found.models, key=lambda share: share.won / share.votes)
    assert (small.model, large.model) == ("small", "large")
    check(found, store)


UNFITTED = "maker estimates p only for voters that need a lead of k, and"


@pytest.mark.parametrize(
    ("vote", "missing", "stated", "claims"),
    [
        ({"voter": "majority", "n": 5}, f"{UNFITTED} majority does not", "", "nothing was claimed"),
        ({"k": 1}, "with k = 1 the first vote decides", "", "nothing was claimed"),
        (
            {"voter": "bayes", "error": 0.01},
            f"{UNFITTED} bayes does not",
            "on average at most 1.27 of 127 steps",
            "bayes",
        ),
        (
            {"voter": "certificate", "error": 0.01},
            f"{UNFITTED} certificate does not",
            "on average at most 1.27 of 127 steps",
            "certificate",
        ),
        ({"voter": "sprt", "p": 0.8, "error": 0.01}, "", "on average at most 1.27 of 127 steps", "sprt"),
    ],
)
def test_other_voters(
    hanoi: Job, store: str, vote: dict[str, Any], missing: str, stated: str, claims: str
) -> None:  # fmt: skip
    """What can be said by a voter's votes is said, and where nothing can, that is."""
    job = hanoi(7, model={"p": 0.95})
    api.run(job | {"vote": vote | {"max_votes": 1000}})
    whole = made(store).whole
    assert whole.missing.startswith(missing)
    assert (whole.right is None) == bool(missing)
    assert whole.stated.startswith(stated)
    assert bool(whole.stated) == bool(stated)
    assert any(claims in text for text in made(store).claim.text)


def test_what_speaks_against_the_number(hanoi: Job, store: str) -> None:
    """With an alarm, of the log or of the run's own, it is not shown; a goal that was missed speaks against it."""
    api.run(hanoi(9, model={"p": 0.62}, vote={"k": 3, "max_votes": 1000}, monitor={"policy": "off"}))
    found = made(store)
    assert found.run.status == "failed"
    assert {str(one.alarm.statistic) for one in found.alarms} == {"hard"}
    assert len(found.whole.against) == 1
    assert found.whole.missing.startswith("the vote monitor raised alarms (hard; 1 over its log): votes of a step are")
    assert found.to_json()["whole"]["right"] is None
    facts = {"step_class": "move", "statistic": "drift", "steps": 64, "found": 1, "expected": 2.0, "p": 1e-9,
             "level": 1e-4, "text": "steps have changed"}  # fmt: skip
    with sqlite3.connect(store.removeprefix("sqlite:///")) as base:
        base.execute("insert into maker_event (run, at, kind, facts) values (1, 0.0, 'alarm', ?)", [json.dumps(facts)])
    again = made(store)
    assert [one["text"] for one in again.told] == ["steps have changed"]
    assert again.whole.missing.startswith(
        "the vote monitor raised alarms (drift, hard; 1 during the run and 1 over its"
    )


def test_a_voter_that_is_gone(hanoi: Job, store: str, working_directory: Path) -> None:
    """Without the voter's code nothing is said of its votes, and the page says why; counts are there all the same."""
    code = "from voters.first_to_k import FirstToK\n\n\nclass Mine(FirstToK):\n    name = 'mine'\n"
    (working_directory / "mine.py").write_text(code)
    api.run(hanoi(4) | {"vote": {"voter": "mine.py:Mine", "k": 3}})
    assert made(store).whole.missing.startswith(f"{UNFITTED} mine does not")
    (working_directory / "mine.py").unlink()
    found = made(store)
    assert "is not installed here" in found.whole.missing
    assert found.steps == 15


def test_rows_that_ended_wrong(store: str) -> None:
    """What the task itself calls wrong speaks against the number."""
    shape = {"steps": [1, 1], "forks": [{"singles": 6, "wrong": [2], "lenient": True}]}
    api.run({
        "task": {"decomposer": "fork_tasks:Tree", "shape": shape}, "model": {"kind": "simulated", "p": 0.95},
        "vote": {"k": 2}, "store": {"url": store},
    })  # fmt: skip
    found = made(store)
    assert found.outcomes == {"wrong": 1}
    assert "the task reports 1 decided rows as wrong" in found.whole.against


def test_labels(tmp_path: Path, store: str) -> None:
    """Labels of a map's sample are told as what is known of right and wrong; wrong rows speak against the number."""
    run = api.run(rows(tmp_path / "in", store))
    file = tmp_path / "labels.csv"
    labels.write_sample(audit.draw(run.run_id, size=40, store=store), file)
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    at = lines[0].split(",").index("correct")
    assert at == 4
    file.write_text(_labelled(file), encoding="utf-8-sig")
    found = report(run.run_id, store=store, labels=file)
    assert found.audit is not None
    assert found.audit.whole.wrong == 1
    assert found.lead[0].startswith("Labels: 1 of")
    assert found.lead[0] in found.truth
    assert whole_wrong(found) in found.lead[1]
    with pytest.raises(BadInput, match="is a sample of `maker audit`, whose labels say y or n"):
        rescore(run.run_id, store=store, labels=LabelFile(file))
    assert any("labelled rows are wrong" in text for text in found.whole.against)
    json.dumps(found.to_json(), allow_nan=False)


def whole_wrong(found: Report) -> str:
    assert found.whole.wrong is not None
    assert found.audit is not None
    return f"expect {found.whole.wrong.value / found.whole.steps * found.audit.whole.decided:.1f} wrong ones"


def _labelled(file: Path) -> str:
    import csv
    import io

    lines = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"))))
    for number, line in enumerate(lines):
        line["correct"] = "n" if number == 0 else "y"
    text = io.StringIO()
    told = csv.DictWriter(text, list(lines[0]))
    told.writeheader()
    told.writerows(lines)
    return text.getvalue()


def test_samples_that_were_not_kept(hanoi: Job, store: str) -> None:
    """Disputed steps are told without samples where none were kept."""
    api.run(hanoi(7, store={"url": store, "samples": "none"}, model={"p": 0.8}))
    found = made(store)
    assert found.disputed
    assert all(one.samples == () and one.prompt is None for one in found.disputed)


def test_so_many_disputed_steps(hanoi: Job, store: str) -> None:
    """As many are told as are asked for, the worst ones."""
    api.run(hanoi(8, model={"p": 0.8}))
    few, many = report("last", store=store, disputed=3), made(store)
    assert few.disputed == many.disputed[:3]
    assert few.disputed_steps == many.disputed_steps > 30


def test_what_was_claimed() -> None:
    """A plan, a pilot and an error are claims; a margin that was given is none."""
    rule = DecisionRule("run", "move", "first-to-ahead-by-k", "k = 3", 3, None, 1, Rule(3))
    assert claimed({"k": 3}, (rule,)).text == ("nothing was claimed: first-to-ahead-by-k with k = 3 promises nothing",)
    assert not claimed({"k": 3}, (rule,)).made
    gone = rule._replace(rule="it is gone", lost="it is gone")
    assert claimed({}, (gone,)).text == ("nothing was claimed: it is gone",)
    plan = {
        "k": {"move": 3},
        "target": 0.95,
        "right": [0.93, 0.97, 0.99],
        "rests_on": "300 steps at k = 8",
        "calibration": 1,
    }
    found = claimed({"k": 3, "plan": plan}, (rule,))
    assert found.made
    assert found.plan == plan
    assert "0.97 (0.93 to 0.99); the target was 0.95" in found.text[0]
    assert "300 steps at k = 8" in found.text[1]
    # Alarms speak against a claim, and where nothing was claimed against nothing.
    assert claimed({"k": 3, "plan": plan}, (rule,), alarmed=True).text == (*found.text, AGAINST)
    assert claimed({"k": 3}, (rule,), alarmed=True) == claimed({"k": 3}, (rule,))
    pilot = PilotFound(
        k=3, rows=600, of=10_000, both=600, differ=2, at_most=0.0093, confidence=0.975, votes=3.7, agreement=0.82,
        runs=("a", "b"),
    )  # fmt: skip
    assert "at most 0.93%" in claimed({"pilot": pilot.model_dump()}, (rule,)).text[0]


def test_it_can_be_had_from_maker(hanoi: Job, store: str) -> None:
    """`maker.report` is the front door; it raises what the other readers raise."""
    api.run(hanoi(3))
    assert maker.report("last", store=store).steps == 7
    with pytest.raises(RunNotFound):
        maker.report("nothing", store=store)
    with pytest.raises(BadInput, match="is not a map over rows"):
        maker.report("last", store=store, labels=Path(__file__))
