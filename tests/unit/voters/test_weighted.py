"""The voter that weighs votes by their log-probabilities: what it promises, where that ends, and how a run keeps it."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
from pydantic import ValidationError
from races import exact
from typer.testing import CliRunner

from maker import api
from maker.cli.app import app
from maker.errors import JobError
from maker.lifecycle import queries
from maker.models.settings import SimulatedSettings, VllmSettings
from maker.models.simulated import SPREAD, SimulatedModel
from maker.plugin import Ballots, Decision, More, Params, Step, StepClass, Truth, Undecidable, Verdict, Voter
from maker.reporting.rescore import rescore
from maker.stats import race
from maker.testing.voters import check_voter
from maker.types import Finished, Request, Sample
from maker.voting.election import Election
from maker.voting.red_flags import Candidate
from maker.voting.tally import pack, unpack
from maker.voting.vote_replay import RescoredOutcome, Totals
from voters.first_to_ahead_by_k import FirstToAheadByK, FirstToAheadByKParams
from voters.weighted import UNIT, Weighted, WeightedParams, bound, evidence

Job = Callable[..., dict[str, dict[str, Any]]]
DOCS = Path(__file__).parents[3] / "docs" / "voters.md"
WEIGHTED = {"voter": "voters.weighted:Weighted"}


def weighted(**params: float) -> Weighted:
    return Weighted(WeightedParams(**params))


class Report(NamedTuple):
    """A kind of reply: its share of all, the confidence that it reports, and how often it is right."""

    share: float
    told: float
    right: float


class Found(NamedTuple):
    wrong: float
    votes: float
    open: float


def raced(voter: Voter, reports: Sequence[Report], rivals: int = 1, most: int = 500) -> Found:
    """Follow every course of a race against so many equal rivals, by the weights' sums, with the real voter."""
    kinds = [(one, voter.weigh(math.log(one.told))) for one in reports]
    verdicts: dict[tuple[int, ...], Verdict] = {}
    alive: dict[tuple[int, ...], float] = {(0,) * (rivals + 1): 1.0}
    wrong = votes = 0.0
    for vote in range(most + 1):
        going: dict[tuple[int, ...], float] = {}
        for standing, mass in alive.items():
            if standing not in verdicts:
                names = {str(i): weight for i, weight in enumerate(standing)}
                verdicts[standing] = voter.decide(Ballots(dict.fromkeys(names, 1), names))
            verdict = verdicts[standing]
            if isinstance(verdict, Decision):
                votes += vote * mass
                wrong += mass if verdict.winner != "0" else 0.0
                continue
            if vote == most or mass < 1e-15:
                votes += vote * mass
                continue
            for one, weight in kinds:
                for i in range(rivals + 1):
                    part = one.right if i == 0 else (1 - one.right) / rivals
                    after = [*standing]
                    after[i] += weight
                    least = min(after)
                    # What all have counts for none; equal rivals are interchangeable.
                    key = (after[0] - least, *sorted(weight - least for weight in after[1:]))
                    going[key] = going.get(key, 0.0) + mass * one.share * part
        alive = going
    return Found(wrong, votes, sum(alive.values()))


def spread(p: float) -> list[Report]:
    """Return what the simulated model reports: half of the replies p + d, half p - d, and all are right as often."""
    d = SPREAD * min(p, 1 - p)
    return [Report(0.5, p + d, p + d), Report(0.5, p - d, p - d)]


# --- the rule ---


def test_the_docstrings_figures() -> None:
    """Logarithms of 9 and 100; three sure votes to none; and what it comes to where all report .9 or more."""
    assert (evidence(0.9), bound(0.01)) == (2197, 4606)
    assert [evidence(c) for c in (0.0, 0.3, 0.5)] == [0, 0, 0]
    assert [weighted(most=most).least for most in (0.9, 0.8, 0.7)] == [3, 4, 6]
    voter = weighted()
    assert voter.weigh(math.log(0.9)) == voter.weigh(math.log(0.99)) == voter.weigh(0.0) == voter.weigh(-1e-20) == 2197
    assert voter.weigh(None) == voter.weigh(-50.0) == voter.weigh(-math.inf) == 0
    assert weighted(missing=0.8).weigh(None) == evidence(0.8) == 1386
    for p, wrong in ((0.8, 0.0154), (0.6, 0.229)):
        found = raced(voter, [Report(1.0, 0.95, p)])
        assert found.wrong == pytest.approx(1 - race.step_right(p, 3), abs=1e-9) == pytest.approx(wrong, rel=3e-3)
        assert found.votes == pytest.approx(race.votes_per_step(p, 3), abs=1e-6)


def test_the_leader_by_weight_wins() -> None:
    """Two sure votes outweigh three unsure ones; the margin is told in votes, and may be below 0."""
    voter = weighted(most=0.99)
    assert voter.decide(Ballots({}, {})) == More(2)
    assert voter.decide(Ballots({"a": 2, "b": 3}, {"a": 9190, "b": 1200})) == Decision("a", -1)
    assert voter.decide(Ballots({"a": 2, "b": 3}, {"a": 5805, "b": 1200})) == More(1)
    assert voter.decide(Ballots({"a": 2, "b": 3}, {"a": 5806, "b": 1200})) == Decision("a", -1)
    assert voter.decide(Ballots({"b": 4}, {"b": 0})) == More(2)
    assert voter.decide(Ballots({"a": 1, "b": 1}, {"a": 900, "b": 900})) == More(2)


@pytest.mark.parametrize("told", [0.5, 0.51, 0.6, 0.75, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("true", [0.0, 1e-3, 0.04])
def test_the_evidence_is_a_supermartingale(told: float, true: float) -> None:
    """A vote that is right as often as it counts for, or more often, raises a rival's lead by nothing in the mean."""
    w, right = evidence(told) / UNIT, min(told + true, 1.0)
    assert (1 - right) * math.exp(w) + right * math.exp(-w) <= 1 + 1e-12


CALIBRATED = {
    "alike": [Report(1.0, 0.8, 0.8)],
    "two kinds": spread(0.75),
    "three kinds": [Report(0.2, 0.99, 0.99), Report(0.5, 0.85, 0.85), Report(0.3, 0.55, 0.55)],
    "too modest": [Report(0.5, 0.6, 0.9), Report(0.5, 0.7, 0.75)],
    "some below a half": [Report(0.5, 0.3, 0.3), Report(0.5, 0.8, 0.8)],
}


@pytest.mark.parametrize(("error", "most"), [(0.2, 0.8), (0.05, 0.9), (0.01, 0.9)])
@pytest.mark.parametrize("kinds", CALIBRATED)
def test_the_error_is_kept_where_confidences_are_not_too_high(error: float, most: float, kinds: str) -> None:
    """Followed exactly, at most the stated share is decided wrongly."""
    found = raced(weighted(error=error, most=most), CALIBRATED[kinds], most=60)
    print(found)
    assert 0 < found.wrong <= error
    assert found.open < 0.01


@pytest.mark.parametrize("kinds", ["alike", "some below a half"])
def test_more_rivals_of_the_same_mass_only_lower_it(kinds: str) -> None:
    """Three equal rivals together win less often than one that gets all their votes."""
    voter = weighted(error=0.05, most=0.8)
    one, three = (raced(voter, CALIBRATED[kinds], rivals, most=40) for rivals in (1, 3))
    print(one, three)
    assert 0 < three.wrong < one.wrong <= 0.05


def test_confidences_that_are_too_high_break_it() -> None:
    """What reports .99 and is right in .8 goes wrong more often than stated; a lower ``most`` trusts it less."""
    boastful = [Report(1.0, 0.99, 0.8)]
    found = [raced(weighted(most=most), boastful).wrong for most in (0.99, 0.9, 0.8)]
    print(found)
    assert found == pytest.approx([1 - race.step_right(0.8, k) for k in (2, 3, 4)], abs=1e-9)
    assert found[0] > found[1] > 0.01 > found[2]


def test_it_beats_a_margin_where_confidences_tell(text_codec: Any) -> None:
    """At p = .6, half of the replies right in .92 and saying so, it is wrong far less often than k = 3, for less."""
    voter, margin = weighted(), exact(FirstToAheadByK(FirstToAheadByKParams(k=3)), (0.6, 0.4))
    found = raced(voter, spread(0.6))
    assert (found.wrong, found.votes) < (margin.wrong / 100, margin.votes)


# --- the table of docs/voters.md ---

ROWS: list[tuple[str, Voter, float | None]] = [
    ("`first-to-ahead-by-k`, k = 3", FirstToAheadByK(FirstToAheadByKParams(k=3)), None),
    ("`weighted`", weighted(), None),
    ("`weighted`, most = .99", weighted(most=0.99), None),
    ("`weighted`, error = 1e-3", weighted(error=1e-3), None),
    ("`weighted`, all report .99", weighted(), 0.99),
    ("`weighted`, most = .99, all report .99", weighted(most=0.99), 0.99),
]


@pytest.mark.parametrize(("shown", "voter", "told"), ROWS, ids=[row[0] for row in ROWS])
def test_the_documented_table_is_exact(shown: str, voter: Voter, told: float | None) -> None:
    """Each row is what the real voter comes to when every course against one rival is followed."""
    cells = [shown, str(voter.least)]
    for p in (0.99, 0.9, 0.6):
        if voter.weighs:
            found = raced(voter, spread(p) if told is None else [Report(1.0, told, p)])
            wrong, votes = found.wrong, found.votes
        else:
            plain = exact(voter, (p, 1 - p), 1e-13, 500)
            wrong, votes = plain.wrong, plain.votes
        cells += [f"{votes:.2f}", f"{wrong:.1e}"]
    row = f"| {' | '.join(cells)} |"
    print(row)
    assert row in DOCS.read_text().splitlines()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"error": 0.5}, "less than 0.5"),
        ({"most": 0.5}, "greater than 0.5"),
        ({"missing": 0.4}, "greater than or equal to 0.5"),
        ({"most": 0.995}, r"most = 0.995 would let one vote decide at error = 0.01; set it below 0.990099"),
        ({"k": 3}, "Extra inputs are not permitted"),
    ],
)
def test_parameters_out_of_range_are_refused(values: dict[str, float], told: str) -> None:
    """No vote may decide alone, and one that counts against its own answer is not to be had."""
    with pytest.raises(ValidationError, match=told):
        WeightedParams(**values)


# --- the simulated model's confidences ---


def test_simulated_confidences_are_calibrated() -> None:
    """Of the samples that report a probability just that share is right, within 4 sigma; replies are as without."""
    n, truth = 20_000, Truth(("right",), ("wrong",))
    asked = Request(1, "", "prompt", n, 77, 20, (), "any")
    print(f"{n} samples, seed 77")
    for p in (0.9, 0.6, 0.3, 1.0):
        plain, telling = (
            SimulatedModel(SimulatedSettings(p=p, malformed=0.05, logprobs=told), lambda prompt: truth)
            for told in (False, True)
        )
        answers = []
        for model in (plain, telling):
            model.submit([asked])
            (answer,) = model.poll(0)
            assert isinstance(answer, Finished)
            answers.append(answer.samples)
        assert [sample._replace(logprob=None) for sample in answers[1]] == list(answers[0])
        assert {sample.logprob for sample in answers[0]} == {None}
        valid = [sample for sample in answers[1] if sample.text in ("right", "wrong")]
        for one in spread(p):
            found = [sample.text for sample in valid if math.exp(sample.logprob or 0.0) == pytest.approx(one.told)]
            sigma = math.sqrt(one.right * (1 - one.right) / len(found))
            assert abs(found.count("right") / len(found) - one.right) <= 4 * sigma
            assert len(found) > 0.4 * n


# --- elections and runs ---


def held(voter: Voter, samples: Sequence[Sample], codec: Any, most: int = 20) -> tuple[Election[None, str], Any]:
    """Hold an election over samples, as many at a time as it asks for."""
    step: Step[None, str] = Step(StepClass("any", parse=lambda text: text), "")
    election: Election[None, str] = Election(step, None, codec, voter, most)
    rest = list(samples)
    while isinstance(verdict := election.verdict(), More):
        election.hear(verdict.n, rest[: verdict.n])
        rest = rest[verdict.n :]
    return election, verdict


def test_an_election_weighs_what_its_samples_report(text_codec: Any) -> None:
    """Weights are summed by candidate, flagged samples weigh nothing, and the tally holds the sums."""
    samples = [Sample("a", 1, logprob=math.log(c)) for c in (0.9, 0.6)] + [Sample("b", 1, logprob=math.log(0.7))]
    samples += [Sample("", 1, logprob=0.0), *[Sample("a", 1, logprob=math.log(0.9))] * 2]
    election, verdict = held(weighted(), samples, text_codec)
    assert isinstance(verdict, Candidate)
    tally = election.tally(0, "a")
    assert tally.weights == (2197 * 3 + 405, 847)
    assert tally.weighed("a") == {"a": 6996, "b": 847}
    assert (tally.counts("a"), tally.reasons(), tally.margin) == ({"a": 4, "b": 1}, {"empty": 1}, 3)
    election, verdict = held(weighted(), [Sample("a", 1, logprob=-9.0)] * 20, text_codec)
    assert isinstance(verdict, Undecidable)
    assert "max_votes = 20: 18 for a (weight 0.00)" in verdict.reason


@pytest.mark.parametrize("samples", ["all", "disputed"])
def test_a_run_is_weighed_and_verifies(samples: str, hanoi: Job, store: str) -> None:
    """Its steps hold weights, are judged the same again from these, and from the stored log-probabilities."""
    report = api.run(hanoi(6, model={"p": 0.9, "logprobs": True}, store={"samples": samples}) | {"vote": WEIGHTED})
    assert (report.status, report.steps) == ("done", 63)
    assert queries.verify(report.run_id, store=store).right
    records = list(queries.steps(report.run_id, store=store))
    assert all(record.weights.keys() == record.votes.keys() for record in records)
    assert all(sorted(record.weights.values())[-1] >= 4.606 for record in records)
    done = CliRunner().invoke(app, ["steps", "last", "--store", store, "--json"])
    assert [json.loads(line)["weights"] for line in done.output.splitlines()] == [one.weights for one in records]
    shown = CliRunner().invoke(app, ["steps", "last", "--store", store]).output.splitlines()
    assert f": {sum(records[0].votes.values()) - 1} votes (weight {max(records[0].weights.values()):.2f})" in shown[0]
    # By its own rule again: where nothing is kept, what the tally holds is enough.
    totals = Totals()
    for one in rescore(report.run_id, store=store).steps:
        totals.add(one)
    assert (totals.outcomes[RescoredOutcome.SAME], totals.votes) == (63, report.votes)


def test_a_changed_log_probability_is_found(hanoi: Job, store: str) -> None:
    """It decides, so it is looked at: a sum that is not the tally's is told with its step."""
    report = api.run(hanoi(5, model={"p": 0.9, "logprobs": True}, store={"samples": "all"}) | {"vote": WEIGHTED})
    with sqlite3.connect(store.removeprefix("sqlite:///")) as database:
        database.execute("UPDATE maker_sample SET logprob = logprob - .3 WHERE idx = 7 AND vote = 1")
    found = queries.verify(report.run_id, store=store)
    assert found.problem == "step 7: the log-probabilities of its samples do not add up to the weights of its tally"


def test_every_edited_byte_of_a_weighed_tally_is_found(hanoi: Job, store: str) -> None:
    """Changed in any of its lower bits, or with its weights taken away, it is found at its step."""
    report = api.run(hanoi(4, model={"p": 0.8, "logprobs": True}) | {"vote": WEIGHTED})
    step = next(record.step for record in queries.steps(report.run_id, store=store, disputed=True))
    with sqlite3.connect(store.removeprefix("sqlite:///"), isolation_level=None) as database:
        (tally,) = database.execute("SELECT tally FROM maker_step WHERE idx = ?", (step,)).fetchone()
        edited = [
            tally[:place] + bytes([tally[place] ^ 1 << bit]) + tally[place + 1 :]
            for place in range(len(tally))
            for bit in (0, 3, 7)
        ]
        for changed in [*edited, pack(unpack(tally)._replace(weights=()))]:
            database.execute("UPDATE maker_step SET tally = ? WHERE idx = ?", (changed, step))
            found = queries.verify(report.run_id, store=store)
            assert found.problem.startswith(f"step {step}"), changed
        assert "its votes have no weights" in found.problem


def test_a_judges_votes_are_weighed_too(hanoi: Job, store: str) -> None:
    """Where votes settle nothing, the judge's election is one by weight; its weights stand in its own count."""
    job = hanoi(6, model={"p": 0.75, "logprobs": True}) | {"vote": WEIGHTED | {"max_votes": 5}}
    report = api.run(job | {"roles": {"judge": {"max_votes": 90}}})
    assert report.steps > 20
    assert any(record.judge for record in queries.steps(report.run_id, store=store))
    assert queries.verify(report.run_id, store=store).problem == ""


def test_votes_are_weighed_after_the_run(hanoi: Job, store: str) -> None:
    """Log-probabilities that were kept weigh the votes of another rule; where none were kept the step is told so."""
    model = {"p": 0.85, "logprobs": True}
    kept = api.run(hanoi(7, model=model, vote={"k": 6}, store={"samples": "all"}))
    totals = Totals()
    for one in rescore(kept.run_id, voter="voters.weighted:Weighted", store=store).steps:
        totals.add(one)
    print(totals)
    assert totals.sufficed > 120
    assert totals.votes < totals.votes_before
    some = api.run(hanoi(5, model=model, vote={"k": 6}))
    fates = {one.step: one.outcome for one in rescore(some.run_id, voter="voters.weighted:Weighted", store=store).steps}
    for record in queries.steps(some.run_id, store=store):
        clean = len(record.votes) == 1 and not record.flags
        assert (fates[record.step] == RescoredOutcome.LOST) == clean


def test_a_model_that_tells_none_is_refused(hanoi: Job) -> None:
    """Before the start, with the setting: of one model, and of a member of a pool."""
    with pytest.raises(JobError, match=r"model.logprobs = false: weighted weighs votes by log-probabilities") as told:
        api.load_job(hanoi() | {"vote": WEIGHTED})
    assert "set model.logprobs = true" in told.value.fix
    members = {"a": {"kind": "simulated", "logprobs": True}, "b": {"kind": "simulated"}}
    job = hanoi() | {"vote": WEIGHTED, "model": {"kind": "pool", "members": members}}
    with pytest.raises(JobError, match=r"model.members.b.logprobs = false"):
        api.load_job(job)
    members["b"]["logprobs"] = True
    assert api.load_job(job).voter.least == 3


def test_asking_for_log_probabilities_needs_no_engine_of_its_own() -> None:
    """It is said with each request: members that differ in it share an engine, and a run may change it."""
    plain, telling = (VllmSettings(path="folder", logprobs=told) for told in (False, True))
    assert plain.engine() == telling.engine()
    assert plain.identity() == telling.identity()


# --- the contract ---


class Scales(Voter):
    """Ahead by 1.5 in weight, to be spoilt."""

    name: ClassVar[str] = "scales"
    Params = Params
    weighs: ClassVar[bool] = True
    least = 2

    def weigh(self, logprob: float | None) -> Any:
        return 400 if logprob is None else round(1000 * math.exp(logprob))

    def decide(self, ballots: Ballots) -> Verdict:
        standing = Ballots(ballots.weights or {}).standing()
        lead = 0 if standing is None else standing.votes - standing.rival
        if standing is not None and lead >= 1500:
            return Decision(standing.leader, ballots.margin(standing.leader))
        return More(-(-(1500 - lead) // 1000))


class Falling(Scales):
    def weigh(self, logprob: float | None) -> int:
        """Trusts the unsure."""
        return 1000 if logprob is None or logprob < -1 else 999


class Fractional(Scales):
    def weigh(self, logprob: float | None) -> float:
        """Weighs in fractions."""
        return 1.0


class Negative(Scales):
    def weigh(self, logprob: float | None) -> int:
        """Counts a vote against its candidate."""
        return 1000 if logprob == 0.0 else -1


class Counting(Scales):
    def decide(self, ballots: Ballots) -> Verdict:
        """Elects by votes what may not lead by weight."""
        standing = ballots.standing()
        if standing is None or standing.votes - standing.rival < 2:
            return More(2 if standing is None else 2 - standing.votes + standing.rival)
        return Decision(standing.leader, standing.votes - standing.rival)


class Overweight(Scales):
    weighs_odds: ClassVar[bool] = True


class Weightless(Scales):
    weighs: ClassVar[bool] = False
    weighs_odds: ClassVar[bool] = True


class Light(Scales):
    def decide(self, ballots: Ballots) -> Verdict:
        """Takes votes for lighter than they can be."""
        verdict = super().decide(ballots)
        return More(verdict.n + 1) if isinstance(verdict, More) and ballots.counts else verdict


@pytest.mark.parametrize(
    ("voter", "told"),
    [
        (Falling(), "weights fall as the log-probability rises"),
        (Fractional(), "weighs 1.0: no whole number"),
        (Negative(), "weighs -1: no whole number"),
        (Counting(), r"of the weights \{.*\}: '.' wins and does not lead"),
        (Light(), r"More\(n=\d\), but .* more would settle it"),
        (Overweight(), "a vote that reports 0.01 weighs 10, more than its log-odds 0.000"),
        (Weightless(), "weighs_odds is set, but weighs is not"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Voter) else "",
)
def test_the_suite_catches_a_voter_that_weighs_wrongly(voter: Voter, told: str) -> None:
    """Each fault is told; the same voter without it passes."""
    assert check_voter(Scales()).disputed > 1
    with pytest.raises(AssertionError, match=told):
        check_voter(voter)


def test_a_weight_that_is_none_stops_the_run(hanoi: Job, working_directory: Path) -> None:
    """A voter of one's own that weighs in fractions is told so at the first vote."""
    (working_directory / "own.py").write_text(
        "from maker.plugin import More, Params, Voter\n"
        "class Own(Voter):\n"
        "    name, Params, weighs, least = 'own', Params, True, 1\n"
        "    def __init__(self, params): pass\n"
        "    def weigh(self, logprob): return 0.5\n"
        "    def decide(self, ballots): return More(1)\n"
    )
    job = hanoi(3, model={"p": 0.9, "logprobs": True}) | {"vote": {"voter": "own.py:Own"}}
    assert "own gives a vote the weight 0.5; a weight must be a whole number of thousandths" in api.run(job).reason
