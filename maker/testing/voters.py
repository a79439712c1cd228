"""What must hold of every voter, for the tests of whoever writes one."""

from __future__ import annotations

import itertools
import math
import pickle
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from maker.plugin import Ballots, Decision, More, Verdict, Voter

SMALL = 6
"""Every tally of up to so many votes, for up to three candidates, that a race can come to."""
SMALL_WEIGHED = 4
"""The same where votes have weights, each one of those that `REPORTED` samples give them."""
REACH = 6
"""Every course of so many further votes is tried; of longer ones, those that are all for one candidate."""
LONGEST = 60
"""Votes after which a race is left as it is: two equal answers may never part."""
MODELS = ((1.0,), (0.9, 0.1), (0.6, 0.4), (0.5, 0.5), (0.4, 0.2, 0.2, 0.2))
RACES = 4
ROUNDING = 1e-6
UNVOTED = "a candidate that nobody has voted for"
REPORTED = (0.0, math.log(0.75), -30.0)
"""Log-probabilities that a voter that weighs is tried with."""

Ranking: TypeAlias = tuple[tuple[int, int], ...]
"""Votes and weight of each candidate, the strongest first."""


class Checked(NamedTuple):
    """What `check_voter` has looked at: different tallies, and how many of them were decided, with and without rivals.

    Args:
        tallies: All of them.
        decided: Those with a winner.
        disputed: Those with a winner and a rival.
    """

    tallies: int
    decided: int
    disputed: int


def check_voter(voter: Voter, *, seed: int = 0) -> Checked:
    """Hold a voter to its contract, on small tallies and in races of simulated votes.

    It takes up to some 200,000 calls of ``decide``. Held are:

    - A verdict depends on the tally alone: not on the order of its votes, on earlier calls, or on the process (a voter
      is pickled to the workers). The tally is left as it is.
    - A `Decision` names a candidate with more votes than any other, or more weight with a voter that weighs votes, and
      by how many votes it leads.
    - `More` names the fewest further votes that could settle it: none of the courses of fewer does, one of that many
      does. After `Undecidable` nothing is asked, so nothing is looked at. With a voter that weighs, further votes are
      those of the most weight.
    - ``least`` is the first request, and as many equal votes decide: so a model that never errs is done with it.
    - A weight is a whole number from 0, and no less for a sample that reports a higher log-probability.
    - Where ``weighs_odds`` is set, no vote weighs more than the log-odds of what its sample reports, or anything where
      that is one half or less: the monitor rests on that.
    - Where ``race_margin`` is a k, a lead of k and nothing else decides: the monitor rests on that.
    - What a voter promises has an error between 0 and 1, and is said in words.

    Courses of over `REACH` further votes are tried for one candidate at a time only.

    Args:
        voter: An instance, with the parameters that are to be tried; one for each that makes a difference.
        seed: Of the races' votes.

    Raises:
        AssertionError: With the tally, and what is wrong there.
    """
    if voter.weighs:
        check_weights(voter)
    if voter.weighs_odds:
        check_odds(voter)
    check_least(voter)
    check_promise(voter)
    sent: Voter = pickle.loads(pickle.dumps(voter))  # noqa: S301 - the voter's own
    tallies = list(dict.fromkeys([*_small(voter), *_raced(voter, random.Random(seed))]))
    decided = disputed = 0
    for tally in tallies:
        # Named the other way round as well: neither the first nor the last name may win for its name.
        check_tally(voter, *_ballots(voter, tally[::-1]))
        verdict = check_tally(voter, *(ballots := _ballots(voter, tally)))
        _require(sent.decide(ballots) == verdict, ballots, "a pickled voter judges otherwise")
        check_race(voter, ballots, verdict)
        won = isinstance(verdict, Decision)
        decided, disputed = decided + won, disputed + (won and len(tally) > 1)
    return Checked(len(tallies), decided, disputed)


def check_weights(voter: Voter) -> None:
    """Check that a voter's weights are whole numbers that do not fall as the log-probability rises."""
    sent: Voter = pickle.loads(pickle.dumps(voter))  # noqa: S301 - the voter's own
    reported = (None, -math.inf, *(-(2.0**power) for power in range(10, -20, -1)), 0.0)
    weights = [voter.weigh(logprob) for logprob in reported]
    for logprob, weight in zip(reported, weights, strict=True):
        if type(weight) is not int or weight < 0:
            raise AssertionError(f"a sample of log-probability {logprob} weighs {weight!r}: no whole number from 0")
    if weights[1:] != sorted(weights[1:]) or weights[-1] == 0:
        raise AssertionError(f"weights fall as the log-probability rises, or are all 0: {weights[1:]}")
    if weights != [voter.weigh(logprob) for logprob in reported] or weights != [*map(sent.weigh, reported)]:
        raise AssertionError("asked again, or pickled, the voter weighs otherwise")


def check_odds(voter: Voter) -> None:
    """Check that no vote weighs more than the log-odds of what its sample reports."""
    if not voter.weighs:
        raise AssertionError("weighs_odds is set, but weighs is not: no vote has a weight")
    for percent in range(1, 100):
        reported, weight = percent / 100, voter.weigh(math.log(percent / 100))
        most = max(0.0, 1000 * math.log(reported / (1 - reported)))
        if weight > most + ROUNDING:
            raise AssertionError(f"a vote that reports {reported:g} weighs {weight}, more than its log-odds {most:.3f}")


def check_least(voter: Voter) -> None:
    """Check that ``least`` is the first request, and that as many equal votes, and no fewer, decide."""
    least, nothing = voter.least, _ballots(voter, ())
    first = voter.decide(nothing)
    if not isinstance(first, More) or first.n != least:
        raise AssertionError(f"least is {least}, but without votes the verdict is {first}")
    _check_courses(voter, first, nothing)
    ballots = _after(voter, nothing, [("a", least)])
    verdict = voter.decide(ballots)
    _require(verdict == Decision("a", least), ballots, f"least is {least}, but as many equal votes give {verdict}")


def check_promise(voter: Voter) -> None:
    """Check that what a voter promises, if it promises anything, has an error and words."""
    promise = voter.promise("move")
    if promise is None:
        return
    if not 0 < promise.error < 1:
        raise AssertionError(f"a promise of the error {promise.error}: it must be between 0 and 1")
    if "move" not in promise.each or not promise.all:
        raise AssertionError(
            f"a promise must name the class of its steps, and say what becomes of all steps: {promise}"
        )


def check_race(voter: Voter, ballots: Ballots, verdict: Verdict) -> None:
    """Check that a verdict is that of a race to ``race_margin``, where the voter says that it holds one."""
    k = voter.race_margin
    if k is None:
        return
    _require(type(k) is int and k >= 1, ballots, f"race_margin is {k!r}: no whole number from 1")
    standing = ballots.standing()
    lead = 0 if standing is None else standing.votes - standing.rival
    due = Decision(standing.leader, lead) if standing is not None and lead >= k else More(k - lead)
    _require(verdict == due, ballots, f"race_margin is {k}, whose verdict is {due}, but the voter's is {verdict}")


def check_tally(voter: Voter, counts: Mapping[str, int], weights: Mapping[str, int] | None = None) -> Verdict:
    """Check the verdict on one tally, and return it. Raises ``AssertionError`` as `check_voter` does."""
    ballots = Ballots(counts, weights)
    given = _in_order(ballots, list(counts))
    verdict = voter.decide(given)
    unchanged = list(given.counts.items()) == list(counts.items()) and given.weights == weights
    _require(unchanged, ballots, f"the tally was changed to {given.counts}")
    for order in (list(counts), [*counts][::-1], sorted(counts, key=lambda key: counts[key])):
        again = voter.decide(_in_order(ballots, order))
        _require(again == verdict, ballots, f"{verdict} in this order, {again} as {_in_order(ballots, order).counts}")
    if isinstance(verdict, Decision):
        _check_decision(verdict, ballots)
    elif isinstance(verdict, More):
        _check_courses(voter, verdict, ballots)
    return verdict


def _check_decision(verdict: Decision, ballots: Ballots) -> None:
    counts = ballots.counts
    _require(verdict.winner in counts, ballots, f"{verdict.winner!r} wins without a vote")
    by = Ballots(counts if ballots.weights is None else ballots.weights)
    _require(by.margin(verdict.winner) > 0, ballots, f"{verdict.winner!r} wins and does not lead")
    margin = ballots.margin(verdict.winner)
    _require(verdict.margin == margin, ballots, f"a margin of {verdict.margin}, but the winner leads by {margin}")


def _check_courses(voter: Voter, verdict: More, ballots: Ballots) -> None:
    """Check that no course of fewer votes settles it, and that one of as many as are asked for does."""
    _require(verdict.n >= 1, ballots, f"{verdict}: a voter that is not done must ask for at least one vote")
    for further in range(1, verdict.n):
        for course in _courses(ballots, further):
            _require(
                not _elects(voter, ballots, course), ballots, f"{verdict}, but {dict(course)} more would settle it"
            )
    settled = any(_elects(voter, ballots, course) for course in _courses(ballots, verdict.n))
    _require(settled, ballots, f"{verdict}, but no {verdict.n} votes settle it")


def _courses(ballots: Ballots, further: int) -> Iterator[Sequence[tuple[str, int]]]:
    """Yield what so many further votes may be, for the three strongest candidates and a new one."""
    strength = ballots.counts if ballots.weights is None else ballots.weights
    candidates = [*sorted(strength, key=lambda key: -strength[key])[:3], UNVOTED]
    for key in candidates:
        yield ((key, further),)
    if further > REACH:
        return
    for course in itertools.combinations_with_replacement(candidates, further):
        if course[0] != course[-1]:
            yield tuple((key, course.count(key)) for key in dict.fromkeys(course))


def _elects(voter: Voter, ballots: Ballots, course: Sequence[tuple[str, int]]) -> bool:
    return isinstance(voter.decide(_after(voter, ballots, course)), Decision)


def _after(voter: Voter, ballots: Ballots, course: Sequence[tuple[str, int]]) -> Ballots:
    """Return a tally with further votes, of the most weight where they are weighed."""
    counts = dict(ballots.counts)
    weights = None if ballots.weights is None else dict(ballots.weights)
    for key, votes in course:
        counts[key] = counts.get(key, 0) + votes
        if weights is not None:
            weights[key] = weights.get(key, 0) + votes * voter.weigh(0.0)
    return Ballots(counts, weights)


def _weights(voter: Voter) -> list[int]:
    """Return what a vote may weigh, as far as it is tried."""
    return sorted({voter.weigh(logprob) for logprob in REPORTED}) if voter.weighs else [0]


def _small(voter: Voter) -> Iterator[Ranking]:
    """Yield every small tally that a race can come to: one whose votes but the last have settled nothing."""
    going: set[Ranking] = {()}
    weights = _weights(voter)
    for _ in range(SMALL_WEIGHED if voter.weighs else SMALL):
        # A flagged sample is no vote, so that tallies within a request are seen as well.
        after = {
            _with(tally, place, weight)
            for tally in going
            for place in range(min(3, len(tally) + 1))
            for weight in weights
        }
        yield from sorted(after)
        going = {tally for tally in after if _goes_on(voter, tally)}


def _raced(voter: Voter, rng: random.Random) -> Iterator[Ranking]:
    """Yield the tallies of races of simulated votes."""
    weights = _weights(voter)
    for shares in MODELS:
        for _ in range(RACES):
            votes: list[tuple[int, int]] = [(0, 0)] * len(shares)
            tally: Ranking = ()
            while sum(n for n, _ in tally) < LONGEST and _goes_on(voter, tally):
                place = rng.choices(range(len(shares)), shares)[0]
                n, weight = votes[place]
                votes[place] = (n + 1, weight + (rng.choice(weights) if voter.weighs else 0))
                tally = _sorted(votes)
                yield tally


def _with(tally: Ranking, place: int, weight: int) -> Ranking:
    votes = [*tally, (0, 0)]
    votes[place] = (votes[place][0] + 1, votes[place][1] + weight)
    return _sorted(votes)


def _sorted(votes: Sequence[tuple[int, int]]) -> Ranking:
    return tuple(sorted((one for one in votes if one[0]), reverse=True))


def _goes_on(voter: Voter, tally: Ranking) -> bool:
    return isinstance(voter.decide(_ballots(voter, tally)), More)


def _ballots(voter: Voter, tally: Ranking) -> Ballots:
    named = dict(zip("abcd", tally, strict=False))
    weights = {key: weight for key, (_, weight) in named.items()} if voter.weighs else None
    return Ballots({key: n for key, (n, _) in named.items()}, weights)


def _in_order(ballots: Ballots, order: Sequence[str]) -> Ballots:
    weights = ballots.weights
    return Ballots(
        {key: ballots.counts[key] for key in order}, None if weights is None else {key: weights[key] for key in order}
    )


def _require(holds: bool, ballots: Ballots, wrong: str) -> None:
    if not holds:
        weights = "" if ballots.weights is None else f" of the weights {dict(ballots.weights)}"
        raise AssertionError(f"with the votes {dict(ballots.counts)}{weights}: {wrong}")
