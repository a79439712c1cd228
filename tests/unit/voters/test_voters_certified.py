"""The voters that state an error: what each promises, what it rests on, and what it costs."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from races import by_mass, exact, run_race

from maker import api
from maker.lifecycle import queries
from maker.plugin import Ballots, Decision, More, Voter
from maker.stats import race
from voters import bayes, certificate
from voters.bayes import Bayes, BayesParams
from voters.certificate import Certificate, CertificateParams
from voters.doubt import leads
from voters.first_to_ahead_by_k import FirstToAheadByK, FirstToAheadByKParams
from voters.first_to_k import FirstToK, FirstToKParams
from voters.majority import Majority, MajorityParams
from voters.sprt import SPRT, SPRTParams

DOCS = Path(__file__).parents[3] / "docs" / "voters.md"


def ahead_by(k: int) -> Voter:
    return FirstToAheadByK(FirstToAheadByKParams(k=k))


def sprt_of(p: float, error: float) -> SPRT:
    return SPRT(SPRTParams(p=p, error=error))


def bayes_of(error: float) -> Bayes:
    return Bayes(BayesParams(error=error))


def certificate_of(error: float) -> Certificate:
    return Certificate(CertificateParams(error=error))


def below_half(a: int, b: int) -> Fraction:
    """Return the chance that a share which is Beta(a+1, b+1) is below one half, by its density's expansion."""
    # The density is t^a (1-t)^b / B(a+1, b+1); (1-t)^b is multiplied out and integrated term by term.
    terms = (Fraction((-1) ** i * math.comb(b, i), (a + i + 1) * 2 ** (a + i + 1)) for i in range(b + 1))
    return sum(terms, Fraction(0)) * (a + b + 1) * math.comb(a + b, a)


def evidence(a: int, b: int) -> Fraction:
    """Return the mean of (2t)^a (2(1-t))^b over t uniform on (1/2, 1]."""
    return 2 ** (a + b + 1) * (1 - below_half(a, b)) / ((a + b + 1) * math.comb(a + b, a))


@pytest.mark.parametrize("rival", [0, 1, 2, 5, 17])
def test_what_a_lead_says_is_the_integral(rival: int) -> None:
    """The sums that are carried from lead to lead are those of the integrals, to the last digit."""
    for lead in islice(leads(rival), 25):
        assert Fraction(lead.doubt, lead.whole) == below_half(lead.votes, rival)
        assert Fraction(lead.whole - lead.doubt, (lead.votes + 1) * lead.ways) == evidence(lead.votes, rival)


# --- SPRT ---


@pytest.mark.parametrize(
    ("p", "error", "k"),
    [
        (0.9, 1.4e-3, 3),
        (0.9, 0.01, 3),
        (0.9, 0.0122, 2),
        (0.9, 1e-3, 4),
        (0.99, 1e-3, 2),
        (0.6, 0.01, 12),
        (0.9, 0.4, 1),
    ],
)
def test_the_margin_is_the_least_that_keeps_the_error(p: float, error: float, k: int) -> None:
    """At p a margin of k fails no more often than stated, and one of k-1 does."""
    assert sprt_of(p, error).least == k
    assert 1 - race.step_right(p, k) <= error
    assert k == 1 or 1 - race.step_right(p, k - 1) > error


@pytest.mark.parametrize(("p", "k"), [(0.9, 3), (0.75, 7), (0.99, 2), (0.6, 20), (0.501, 900)])
def test_an_error_that_is_a_margins_own_asks_for_that_margin(p: float, k: int) -> None:
    """Rounding does not add a vote where the error is just that of a margin."""
    odds = ((1 - p) / p) ** k
    assert sprt_of(p, odds / (1 + odds)).least == k


def test_another_p_than_the_stated_one_is_told() -> None:
    """The docstring's errors at k = 3 for a true p of .8, .6 and .5."""
    found = [exact(sprt_of(0.9, 1.4e-3), (p, 1 - p)).wrong for p in (0.9, 0.8, 0.6, 0.5)]
    assert found == pytest.approx([1.37e-3, 0.0154, 0.229, 0.5], rel=3e-3)


# --- Bayes ---


@pytest.mark.parametrize("error", [0.3, 0.1, 0.01, 1e-4])
@pytest.mark.parametrize("rival", [0, 1, 4])
def test_bayes_decides_with_the_first_vote_that_leaves_so_little_doubt(error: float, rival: int) -> None:
    """One vote less would leave the rival a larger chance."""
    votes = bayes.enough(rival, error)
    assert below_half(votes, rival) <= Fraction(error) < below_half(votes - 1, rival)


def test_bayes_has_the_docstrings_figures(text_codec: Any) -> None:
    """At error = .01: 6 to none, 9 to 1, 11 to 2; and what p = .9, .6 and .55 come to within 500 votes."""
    assert [bayes.enough(rival, 0.01) for rival in range(3)] == [6, 9, 11]
    assert [float(below_half(*votes)) for votes in ((6, 0), (9, 1), (11, 2))] == pytest.approx(
        [1 / 128, 0.0059, 0.0065], rel=0.01
    )
    found = [exact(bayes_of(0.01), (p, 1 - p), 1e-13, 500) for p in (0.9, 0.6, 0.55)]
    print(found)
    assert [f"{one.wrong:.2g}" for one in found] == ["1e-06", "0.0074", "0.023"]
    assert "error = .01 leaves .023 at p = .55" in DOCS.read_text()
    # It is what it says that it is not: an error of .01 for each step by itself.
    n = 2_000
    simulated = run_race(bayes_of(0.01), by_mass(0.55, 0.45), n, 51, text_codec, 500)
    assert simulated.wrong > 0.01
    assert abs(simulated.wrong - found[2].wrong) < 4 * math.sqrt(found[2].wrong / n)


@pytest.mark.parametrize(("error", "n", "seed"), [(0.1, 3_000, 61), (0.01, 3_000, 62)])
def test_bayes_keeps_its_error_on_average_over_the_prior(error: float, n: int, seed: int) -> None:
    """Where steps have shares as the prior says, at most the stated part of the decided ones is wrong."""
    print(f"{n} steps, seed {seed}")
    rng, voter = random.Random(seed), bayes_of(error)
    decided = wrong = 0
    for _ in range(n):
        share = rng.random()
        votes = {"a": 0, "b": 0}
        while sum(votes.values()) < 300:
            votes["a" if rng.random() < share else "b"] += 1
            verdict = voter.decide(Ballots({key: cast for key, cast in votes.items() if cast}))
            if isinstance(verdict, Decision):
                decided, wrong = decided + 1, wrong + ((verdict.winner == "a") != (share > 0.5))
                break
    print(f"{decided} decided, {wrong} of them wrong")
    assert decided > 0.8 * n
    assert wrong / decided <= error + 4 * math.sqrt(error * (1 - error) / decided)
    assert wrong / decided > error / 4, "far below what is stated: votes are wasted"


# --- the certificate ---


def test_the_evidence_is_a_martingale_under_the_null() -> None:
    """Of two equal answers the next vote leaves the mean of the evidence as it is; of a rarer one it lowers it."""
    for a in range(1, 9):
        for b in range(9):
            up, down, now = evidence(a + 1, b), evidence(a, b + 1), evidence(a, b)
            assert (up + down) / 2 == now
            assert Fraction(2, 5) * up + Fraction(3, 5) * down < now
            assert down < now < up
    assert evidence(1, 0) == Fraction(3, 2)


@pytest.mark.parametrize("error", [0.3, 0.05, 0.01])
@pytest.mark.parametrize(("rival", "candidates"), [(0, 1), (1, 2), (1, 3), (4, 2), (2, 40)])
def test_the_certificate_is_given_at_the_bound(error: float, rival: int, candidates: int) -> None:
    """One vote less is less evidence than 3/2 K(K+1) / error."""
    bound = Fraction(3 * candidates * (candidates + 1), 2) / Fraction(error)
    votes = certificate.enough(rival, candidates, error)
    assert evidence(votes - 1, rival) < bound <= evidence(votes, rival)


def test_the_certificate_has_the_docstrings_figures() -> None:
    """At error = .01: 11 votes to none, 17 to 1, 18 to 1 and 1."""
    decide = certificate_of(0.01).decide
    assert (round(evidence(11, 0)), round(evidence(17, 1)), round(evidence(18, 1))) == (341, 1533, 2759)
    assert decide(Ballots({"a": 10})) == More(1)
    assert decide(Ballots({"a": 11})) == Decision("a", 11)
    assert decide(Ballots({"b": 1, "a": 16})) == More(1)
    assert decide(Ballots({"b": 1, "a": 17})) == Decision("a", 16)
    assert decide(Ballots({"b": 1, "a": 17, "c": 1})) == More(1)
    assert decide(Ballots({"b": 1, "a": 18, "c": 1})) == Decision("a", 17)


@pytest.mark.parametrize(
    ("masses", "n", "seed"),
    [((0.5, 0.5), 3_000, 71), ((0.55, 0.45), 3_000, 72), ((0.4, 0.3, 0.3), 2_000, 73), ((0.1,) * 10, 1_000, 74)],
    ids=["a coin", "nearly a coin", "three", "ten alike"],
)
@pytest.mark.parametrize("error", [0.3, 0.05])
def test_a_wrong_certificate_is_as_rare_as_stated(
    error: float, masses: tuple[float, ...], n: int, seed: int, text_codec: Any
) -> None:
    """Against a model that has no clear answer it is given for a wrong one in ``error`` of the steps at most."""
    alike = masses[0] == masses[1]

    def wrong(voter: Voter) -> float:
        found = run_race(voter, by_mass(*masses), n, seed, text_codec, 150)
        print(f"{found.right:.4f} for the first, {found.wrong:.4f} for others")
        # Where several are the most frequent, none is the single one: every certificate is wrong.
        return found.wrong + (found.right if alike else 0)

    assert wrong(certificate_of(error)) <= error + 4 * math.sqrt(error * (1 - error) / n)
    assert wrong(ahead_by(3)) > 0.3, "the model is no adversary"


def test_the_exact_chance_of_a_wrong_certificate() -> None:
    """Followed exactly for 400 votes, a coin is certified in .026 of the steps at .1, in .0022 at .01."""
    found = [exact(certificate_of(error), (0.5, 0.5), 1e-12, 400) for error in (0.1, 0.01)]
    assert [f"{one.right + one.wrong:.2g}" for one in found] == ["0.026", "0.0022"]
    told = " ".join(DOCS.read_text().split())
    assert "one in .026 of the steps within 400 votes at error = .1, and in .0022 at .01" in told
    assert exact(ahead_by(3), (0.5, 0.5)).wrong == pytest.approx(0.5)


def test_a_clear_answer_is_certified(text_codec: Any) -> None:
    """At p = .9 and at .6 every step is certified, and none wrongly, in 500 and 100 steps."""
    for p, n, seed in [(0.9, 500, 81), (0.6, 100, 82)]:
        found = run_race(certificate_of(0.05), by_mass(p, *[(1 - p) / 3] * 3), n, seed, text_codec, 5_000)
        assert (found.right, found.wrong) == (1.0, 0.0)


# --- runs ---


@pytest.mark.parametrize(
    "vote",
    [
        {"voter": "voters.sprt:SPRT", "p": 0.9, "error": 1e-4},
        {"voter": "voters.bayes:Bayes", "error": 0.01},
        {"voter": "voters.certificate:Certificate", "error": 0.05},
    ],
    ids=lambda vote: vote["voter"],
)
def test_a_run_with_each_is_right_and_verifies(vote: dict[str, Any], hanoi: Callable[..., Any], store: str) -> None:
    """63 steps at p = .9, right to the end, and each tally is judged the same when the run is verified."""
    report = api.run(hanoi(6) | {"vote": vote})
    assert (report.status, report.steps) == ("done", 63)
    found = queries.verify(report.run_id, store=store)
    assert found.right
    assert found.digest == report.digest


# --- the table of docs/voters.md ---

ROWS: list[tuple[str, Voter]] = [
    ("`first-to-ahead-by-k`, k = 3", ahead_by(3)),
    ("`sprt`, p = .9, error = 1.4e-3", sprt_of(0.9, 1.4e-3)),
    ("`bayes`, error = .1", bayes_of(0.1)),
    ("`first-to-k`, k = 5", FirstToK(FirstToKParams(k=5))),
    ("`majority`, n = 9", Majority(MajorityParams(n=9))),
    ("`first-to-ahead-by-k`, k = 6", ahead_by(6)),
    ("`bayes`, error = .01", bayes_of(0.01)),
    ("`certificate`, error = .1", certificate_of(0.1)),
    ("`certificate`, error = .01", certificate_of(0.01)),
]
MOST = 500
THIN = 1e-9


@pytest.mark.parametrize(("shown", "voter"), ROWS, ids=[row[0] for row in ROWS])
def test_the_documented_table_is_exact(shown: str, voter: Voter) -> None:
    """Each row of docs/voters.md is what the real voter comes to when every course against one rival is followed."""
    cells = [shown, str(voter.least)]
    for p in (0.99, 0.9, 0.6):
        found = exact(voter, (p, 1 - p), 1e-13, MOST)
        assert found.lost < THIN / 10
        wrong = f"{found.wrong:.1e}" if found.wrong > THIN else f"< {THIN:.0e}"
        cells += [f"{found.votes:.2f}" if p > 0.6 else f"{found.votes:.1f}", wrong]
    cells.append(f"{found.undecided:.3f}")
    row = f"| {' | '.join(cells)} |"
    print(row)
    assert row in DOCS.read_text().splitlines()


@pytest.mark.parametrize(
    ("params", "values", "told"),
    [
        (SPRTParams, {"p": 0.5}, "greater than 0.5"),
        (SPRTParams, {"p": 1.0}, "less than 1"),
        (SPRTParams, {}, "Field required"),
        (SPRTParams, {"p": 0.9, "error": 0.0}, "greater than 0"),
        (SPRTParams, {"p": 0.501, "error": 1e-9}, "need a margin of 5,181 votes; at most 1000 is allowed"),
        (BayesParams, {"error": 0.5}, "less than 0.5"),
        (BayesParams, {"k": 3}, "Extra inputs are not permitted"),
        (CertificateParams, {"error": 0.0}, "greater than 0"),
        (CertificateParams, {"error": "often"}, "valid number"),
    ],
)
def test_parameters_out_of_range_are_refused(params: type[Any], values: dict[str, Any], told: str) -> None:
    """A p that votes cannot help with, no error at all, and names that are unknown are told."""
    with pytest.raises(ValidationError, match=told):
        params(**values)
