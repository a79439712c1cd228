"""Votes weighted by what the model says of their probability: Wald's test with a p of its own for each vote."""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field, model_validator

from maker.plugin import Ballots, Decision, More, Params, Promise, Verdict, Voter, by_keywords

UNIT = 1000
"""Weights are whole numbers of so many parts of a natural logarithm."""
ROUNDING = 1e-9


def evidence(confidence: float) -> int:
    """Return ln(c/(1-c)) in thousandths, rounded down, and 0 for a confidence c below one half: .9 gives 2197."""
    if confidence <= 0.5:
        return 0
    return math.floor(UNIT * (math.log(confidence) - math.log1p(-confidence)) + ROUNDING)


def bound(error: float) -> int:
    """Return ln(1/error) in thousandths, rounded up: .01 gives 4606."""
    return math.ceil(-UNIT * math.log(error) - ROUNDING)


class WeightedParams(Params):
    """Parameters of `Weighted`.

    Args:
        error: How often, at most, a step may be decided wrongly, if on every step replies are right as often as they
            report. Right as often on average over steps is not enough.
        most: A reply that reports a higher probability than this counts as one that reports this.
        missing: What a reply counts as whose probability is not told; .5 counts it for nothing.
    """

    error: float = Field(default=0.01, gt=0, lt=0.5)
    most: float = Field(default=0.9, gt=0.5, lt=1)
    missing: float = Field(default=0.5, ge=0.5, lt=1)

    @model_validator(mode="after")
    def _more_than_one_vote(self) -> WeightedParams:
        if evidence(self.most) >= bound(self.error):
            raise ValueError(
                f"most = {self.most} would let one vote decide at error = {self.error:g}; set it below "
                f"{1 / (1 + self.error):.6g}"
            )
        return self


class Weighted(Voter):
    """A candidate wins once its votes outweigh its strongest rival's by ln(1/error).

    Rule: a vote whose sample has the log-probability l, and so reports the confidence c = e^l, weighs ln(c/(1-c)), in
    thousandths, rounded down; one of c below .5 nothing, and one above ``most`` as much as that. A candidate is decided
    for when its weight is ln(1/error) over that of every other. error = .01 and most = .9 ask for 4.606 with at most
    2.197 a vote: three sure votes to none.

    Source: weights ln(c/(1-c)) make the best use of independent votes of known competence (Nitzan & Paroush 1982;
    Grofman, Owen & Feld 1983); the stop is Wald's test (1945) with a p for each vote. That the probabilities which a
    model gives its replies can weigh its votes is found in arXiv 2502.06233.

    Guarantee: if on every step the votes are independent, and each one that weighs anything is right with the
    confidence that it counts for or more, at most ``error`` of the steps are decided wrongly. For a rival m of the
    right answer, the factors (e^w for a vote for m, e^-w for the right answer, 1 for others) have a mean of at most 1,
    as P(m) <= 1-c and P(right) >= c: e to its lead is a supermartingale, which ever reaches 1/error with a chance of at
    most ``error`` (Ville 1939). It holds for all rivals together, however many, where their shares of the wrong votes
    do not hang on the confidence: one with the share s reaches it with s times that, because ``most`` lets no vote
    decide alone. Where they do hang on it, it is ``error`` times the number of rivals.

    To be right as often on average over steps is not enough. Where all replies report .9, and on one row in ten all of
    them are wrong, .1 of the rows are decided wrongly, whatever ``error`` says. Such votes agree more often than .9
    allows, and the run's monitor tests that (`maker.stats.reported`). So do votes that are right more often than they
    report on every step, which do no harm: labels tell one from the other (docs/voters.md). Expect the first where one
    language model is asked one prompt. Two different replies to it cannot both have a probability over one half, so all
    votes that weigh anything are for one reply, right or wrong.

    Models also tend to report too much. Where all report ``most`` or more, and are right with p, it is
    first-to-ahead-by-k with k = ceil(ln(1/error) / ln(most/(1-most))): at the defaults k = 3, which goes wrong in .0154
    of the steps at p = .8, not in .01, and in .229 at p = .6. A lower ``most`` trusts less: .8 makes it k = 4, .7
    k = 6.

    The probability is that of the whole reply: it says something of an answer where the reply is little more than the
    answer. That of a reply which reasons first is small whatever it answers, and weighs nothing.
    """

    name: ClassVar[str] = "weighted"
    Params = WeightedParams
    weighs: ClassVar[bool] = True
    weighs_odds: ClassVar[bool] = True

    def __init__(self, params: WeightedParams) -> None:
        self._error = params.error
        self._bound = bound(params.error)
        self._most = evidence(params.most)
        self._missing = min(evidence(params.missing), self._most)

    @property
    def least(self) -> int:
        """Votes of the most weight, all for one candidate."""
        return -(-self._bound // self._most)

    def promise(self, steps: str) -> Promise:
        """Return that at most ``error`` of the steps are decided wrongly, if replies report the truth on each."""
        return Promise(
            self._error,
            f"weighted decides at most a share of {self._error:g} of steps {steps} wrongly, if on every step replies"
            " are right as often as they report; right as often on average over steps is not enough",
            "are wrong, if on every step replies are right as often as they report",
        )

    def weigh(self, logprob: float | None) -> int:
        """Return ln(c/(1-c)) of the confidence c that a sample reports, within its bounds."""
        if logprob is None:
            return self._missing
        # A sum of rounded logarithms may come out above 0; and e^0 has no odds.
        return min(evidence(math.exp(min(logprob, 0.0))), self._most) if logprob < -1e-12 else self._most

    def decide(self, ballots: Ballots) -> Verdict:
        """Return the leader by weight if its lead suffices; else ask for what it lacks at the most weight a vote."""
        standing = Ballots(ballots.weights or {}).standing()
        lead = 0 if standing is None else standing.votes - standing.rival
        if standing is not None and lead >= self._bound:
            return Decision(standing.leader, ballots.margin(standing.leader))
        return More(-(-(self._bound - lead) // self._most))


weighted = by_keywords(Weighted, WeightedParams)
