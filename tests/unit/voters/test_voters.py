"""The voters: their races against the closed forms, and what must hold of every verdict."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from races import RIGHT, by_mass, exact, run_race

from maker.plugin import Ballots, Decision, More, Undecidable, Voter
from maker.stats import race
from voters.first_to_ahead_by_k import FirstToAheadByK, FirstToAheadByKParams
from voters.first_to_k import FirstToK, FirstToKParams
from voters.majority import Majority, MajorityParams


def ahead_by(k: int) -> Voter:
    return FirstToAheadByK(FirstToAheadByKParams(k=k))


def first_to(k: int) -> Voter:
    return FirstToK(FirstToKParams(k=k))


def majority_of(n: int) -> Voter:
    return Majority(MajorityParams(n=n))


@pytest.mark.parametrize(("p", "k"), [(0.6, 2), (0.6, 3), (0.6, 5), (0.9, 2), (0.9, 3), (0.9, 4), (0.99, 3)])
def test_first_to_ahead_by_k_is_the_race_of_the_formulas(p: float, k: int) -> None:
    """Every course of a race against one rival, followed with the real voter, sums up to eq. 9 and eq. 15-17."""
    found = exact(ahead_by(k), (p, 1 - p), thin=1e-17)
    assert found.right == pytest.approx(race.step_right(p, k), abs=1e-9)
    assert found.votes == pytest.approx(race.votes_per_step(p, k), abs=1e-9)
    assert found.undecided == 0


@pytest.mark.parametrize(
    ("p", "k", "n", "seed"), [(0.6, 3, 8_000, 1), (0.6, 5, 4_000, 2), (0.9, 2, 10_000, 3), (0.9, 3, 10_000, 4)]
)
def test_first_to_ahead_by_k_meets_its_closed_form(p: float, k: int, n: int, seed: int, text_codec: Any) -> None:
    """Simulated elections are right as often, and take as many votes, as the closed form says, within 4 sigma."""
    right, votes = race.step_right(p, k), race.votes_per_step(p, k)
    found = run_race(ahead_by(k), by_mass(p, 1 - p), n, seed, text_codec)
    assert abs(found.right - right) < 4 * math.sqrt(right * (1 - right) / n)
    assert abs(found.mean - votes) < 4 * found.error_of_mean


def test_rules_compared_at_about_five_votes(text_codec: Any) -> None:
    """At p = .9 first-to-ahead-by-4 fails in 1.5e-4 of the steps, first-to-4 in 2.7e-3, majority of 5 in 8.6e-3."""
    p, q = 0.9, 0.1
    # First to 4 is best of 7; its votes are a negative binomial's. A majority of 5 needs three wrong of five.
    best_of_7 = sum(math.comb(7, i) * q**i * p ** (7 - i) for i in range(4, 8))
    race_to_4 = sum(t * math.comb(t - 1, 3) * (p**4 * q ** (t - 4) + q**4 * p ** (t - 4)) for t in range(4, 8))
    of_5 = sum(math.comb(5, i) * q**i * p ** (5 - i) for i in range(3, 6))
    ahead, first, most = (exact(voter, (p, q)) for voter in (ahead_by(4), first_to(4), majority_of(5)))
    assert ahead.wrong == pytest.approx(1 - race.step_right(p, 4), abs=1e-9)
    assert first.wrong == pytest.approx(best_of_7, abs=1e-9)
    assert first.votes == pytest.approx(race_to_4, abs=1e-9)
    assert most.wrong == pytest.approx(of_5, abs=1e-9)
    assert [f"{rule.wrong:.1e}" for rule in (ahead, first, most)] == ["1.5e-04", "2.7e-03", "8.6e-03"]
    assert (round(ahead.votes, 2), round(first.votes, 2)) == (5.00, 4.44)

    n = 8_000
    for seed, (voter, truth) in enumerate([(ahead_by(4), ahead), (first_to(4), first), (majority_of(5), most)], 11):
        found = run_race(voter, by_mass(p, q), n, seed, text_codec)
        assert abs((1 - found.right) - truth.wrong) < 4 * math.sqrt(truth.wrong * truth.right / n)
        assert abs(found.mean - truth.votes) < 4 * found.error_of_mean


def test_more_rivals_only_raise_the_chance(text_codec: Any) -> None:
    """P = .4 against six rivals of .1 each is right in .962 of the steps at k = 3: p < .5 is no reason to refuse."""
    masses = (0.4, *[0.1] * 6)
    truth = exact(ahead_by(3), masses, thin=3e-8)
    assert truth.lost < 6e-4
    assert truth.right == pytest.approx(0.962, abs=5e-4 + truth.lost)
    assert truth.right > race.step_right(0.4, 3)
    n = 5_000
    found = run_race(ahead_by(3), by_mass(*masses), n, 21, text_codec)
    assert abs(found.right - truth.right) < 4 * math.sqrt(truth.right * (1 - truth.right) / n) + truth.lost


def test_a_stronger_rival_makes_more_votes_worse(text_codec: Any) -> None:
    """P = .45 against one rival at .55 gives .354 at k = 3 and .141 at k = 9: votes cannot mend it."""
    right = [race.step_right(0.45, k) for k in (3, 9)]
    assert [round(p, 3) for p in right] == [0.354, 0.141]
    n = 2_500
    for k, truth, seed in [(3, right[0], 31), (9, right[1], 32)]:
        found = run_race(ahead_by(k), by_mass(0.45, 0.55), n, seed, text_codec)
        assert abs(found.right - truth) < 4 * math.sqrt(truth * (1 - truth) / n)


def ruin(start: int, k: int, up: float) -> float:
    """Return the chance that a walk from ``start`` reaches +k before -k, one step up with probability ``up``."""
    if up == 1:
        return 1.0
    if up == 0.5:
        return (start + k) / (2 * k)
    odds = (1 - up) / up
    return float((1 - odds ** (start + k)) / (1 - odds ** (2 * k)))


@pytest.mark.parametrize(("copied", "golden"), [(0.0, 0.99863), (0.2, 0.98512), (0.5, 0.92116), (1.0, 0.900)])
def test_correlated_votes(copied: float, golden: float, text_codec: Any) -> None:
    """Votes that copy the step's first one with probability c spoil the race as the walk says, p = .9, k = 3."""
    p, k, n = 0.9, 3, 5_000
    # After the first vote the walk stands at +1 or -1, and goes on with a chance that depends on that vote.
    truth = p * ruin(1, k, copied + (1 - copied) * p)
    truth += (1 - p) * (ruin(-1, k, (1 - copied) * p) if copied < 1 else 0.0)
    assert truth == pytest.approx(golden, abs=6e-6)

    def draw(rng: random.Random, drawn: list[str]) -> str:
        if drawn and rng.random() < copied:
            return drawn[0]
        return RIGHT if rng.random() < p else "wrong"

    found = run_race(ahead_by(k), draw, n, 41, text_codec)
    assert abs(found.right - truth) < 4 * math.sqrt(truth * (1 - truth) / n)


def test_blocks_of_ten_steps_have_many_rivals() -> None:
    """A ten-step answer fails about 8.3e-6 of the blocks at p = .99 and k = 3, not the 1.0e-6 of one rival a step."""
    p, m, k = 0.99, 10, 3
    # Wrong blocks differ by which of their steps is wrong: ten rivals with one wrong step each. Blocks with several
    # wrong steps are so many that no two votes agree: they only take votes.
    masses = (p**m, *[p ** (m - 1) * (1 - p)] * m)
    block = exact(ahead_by(k), [mass / sum(masses) for mass in masses], thin=1e-11)
    assert 1 - race.step_right(p, k) == pytest.approx(1.03e-6, abs=5e-9)
    assert block.wrong == pytest.approx(8.3e-6, rel=0.05)
    assert exact(ahead_by(k + 1), [mass / sum(masses) for mass in masses], thin=1e-11).wrong < 1e-6


# --- what must hold of every verdict ---

VOTERS = st.one_of(
    st.integers(1, 5).map(ahead_by), st.integers(1, 5).map(first_to), st.sampled_from([1, 3, 5, 7, 9]).map(majority_of)
)
VOTES = st.lists(st.sampled_from("abcd"), max_size=12)


def counted(votes: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for vote in votes:
        counts[vote] = counts.get(vote, 0) + 1
    return counts


def top_two(counts: Mapping[str, int]) -> tuple[int, int]:
    first, second, *_ = [*sorted(counts.values(), reverse=True), 0, 0]
    return first, second


@given(VOTES, st.integers(1, 6))
def test_a_winner_leads_by_k(votes: list[str], k: int) -> None:
    """First-to-ahead-by-k decides exactly where the leader has k votes more than any other, and for that leader."""
    counts = counted(votes)
    verdict = ahead_by(k).decide(Ballots(counts))
    first, second = top_two(counts)
    if first - second >= k:
        assert verdict == Decision(max(counts, key=lambda key: counts[key]), first - second)
    else:
        assert verdict == More(k - (first - second))


@given(VOTES, st.integers(1, 6))
def test_first_to_k_needs_k_votes(votes: list[str], k: int) -> None:
    """First-to-k decides exactly where some candidate has k votes."""
    verdict = first_to(k).decide(Ballots(counted(votes)))
    first, second = top_two(counted(votes))
    assert verdict == (Decision(verdict.winner, first - second) if isinstance(verdict, Decision) else More(k - first))
    assert isinstance(verdict, Decision) == (first >= k)


@given(VOTES, st.sampled_from([1, 3, 5, 7, 9, 11]))
def test_majority_is_undecidable_exactly_where_none_can_win(votes: list[str], n: int) -> None:
    """A majority of n is given up exactly where no course of the votes that are left brings any candidate over n/2."""
    counts = counted(votes[:n])
    voter = majority_of(n)
    left = n - sum(counts.values())
    best = max(counts.values(), default=0) + left
    verdict = voter.decide(Ballots(counts))
    assert isinstance(verdict, Undecidable) == (best <= n // 2)
    if isinstance(verdict, Decision):
        assert counts[verdict.winner] > n // 2
    if isinstance(verdict, More):
        assert verdict.n <= left


@given(VOTERS, VOTES)
def test_more_names_the_fewest_votes_that_could_settle_it(voter: Voter, votes: list[str]) -> None:
    """No course of fewer than n further votes elects anybody, and some course of n does: every course is tried."""
    votes = votes[:7]
    verdict = voter.decide(Ballots(counted(votes)))
    if not isinstance(verdict, More):
        return
    candidates = [*dict.fromkeys(votes), "new"]

    def elects(further: int) -> bool:
        courses = itertools.combinations_with_replacement(candidates, further)
        return any(isinstance(voter.decide(Ballots(counted([*votes, *c]))), Decision) for c in courses)

    assert verdict.n >= 1
    assert not any(elects(fewer) for fewer in range(verdict.n))
    assert elects(verdict.n)


@given(VOTERS, VOTES, st.randoms(use_true_random=False))
def test_the_order_of_votes_within_a_tally_does_not_matter(voter: Voter, votes: list[str], rng: random.Random) -> None:
    """The votes up to the one that settles a race get the same verdict in any other order."""
    ends = (i for i in range(len(votes)) if not isinstance(voter.decide(Ballots(counted(votes[:i]))), More))
    race_of_votes = votes[: next(ends, len(votes))]
    shuffled = rng.sample(race_of_votes, len(race_of_votes))
    assert voter.decide(Ballots(counted(shuffled))) == voter.decide(Ballots(counted(race_of_votes)))


@given(VOTERS, st.lists(st.sampled_from("ab"), min_size=40, max_size=40))
def test_no_request_could_have_been_settled_before_its_end(voter: Voter, votes: list[str]) -> None:
    """Drawn as the voter asks for them, votes decide a race only with the last vote of a request, whatever they are."""
    heard: list[str] = []
    while isinstance(verdict := voter.decide(Ballots(counted(heard))), More) and len(heard) + verdict.n <= len(votes):
        asked = votes[len(heard) : len(heard) + verdict.n]
        for early in range(1, verdict.n):
            assert not isinstance(voter.decide(Ballots(counted(heard + asked[:early]))), Decision)
        heard += asked


@pytest.mark.parametrize(
    ("voter", "least"), [(ahead_by(3), 3), (ahead_by(1), 1), (first_to(4), 4), (majority_of(5), 3), (majority_of(1), 1)]
)
def test_least_is_what_an_unopposed_candidate_needs(voter: Voter, least: int) -> None:
    """A voter's ``least`` is the first request, and that many equal votes decide."""
    assert voter.least == least
    assert voter.decide(Ballots({})) == More(least)
    assert voter.decide(Ballots({"a": least})) == Decision("a", least)


@pytest.mark.parametrize(
    ("params", "values"),
    [
        (FirstToAheadByKParams, {"k": 0}),
        (FirstToAheadByKParams, {"k": -1}),
        (FirstToAheadByKParams, {"k": 1001}),
        (FirstToAheadByKParams, {"k": 2.5}),
        (FirstToAheadByKParams, {"n": 3}),
        (FirstToKParams, {"k": 0}),
        (FirstToKParams, {"k": "three"}),
        (MajorityParams, {"n": 0}),
        (MajorityParams, {"n": 4}),
        (MajorityParams, {"n": -1}),
        (MajorityParams, {"k": 3}),
    ],
)
def test_parameters_are_checked(params: type[Any], values: dict[str, Any]) -> None:
    """A margin below 1, an even n, and names that the voter does not know are refused."""
    with pytest.raises(ValidationError):
        params(**values)
