"""Wald's sequential probability ratio test: the margin that follows from a stated p and a stated error."""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field, model_validator

from maker.plugin import Ballots, Decision, More, Params, Promise, Verdict, Voter, by_keywords

LARGEST_MARGIN = 1000
# An error that is just that of a margin is not to ask for one more vote because logarithms are rounded.
ROUNDING = 1e-9


def margin(p: float, error: float) -> int:
    """Return the least k with k ln(p/(1-p)) >= ln((1-error)/error): p = .9, error = 1.4e-3 gives 3."""
    votes = (math.log1p(-error) - math.log(error)) / (math.log(p) - math.log1p(-p))
    return max(1, math.ceil(votes - ROUNDING))


class SPRTParams(Params):
    """Parameters of `SPRT`.

    Args:
        p: The probability that a vote is right, against one rival that gets all others. E.g. ``0.9``.
        error: How often a step may be decided wrongly.
    """

    p: float = Field(gt=0.5, lt=1)
    error: float = Field(default=0.01, gt=0, lt=0.5)

    @model_validator(mode="after")
    def _within_reach(self) -> SPRTParams:
        if (k := margin(self.p, self.error)) > LARGEST_MARGIN:
            raise ValueError(
                f"p = {self.p} and error = {self.error:g} need a margin of {k:,} votes; at most 1000 is allowed"
            )
        return self


class SPRT(Voter):
    """A candidate wins once the votes are (1-error)/error times as likely if it is right as if its rival is.

    Wald's test (1945, Sequential tests of statistical hypotheses) of "the leader is right" against "its strongest rival
    is": a vote for either multiplies the ratio by p/(1-p) or by its inverse, so that it is decided at a lead of
    k = ceil(ln((1-error)/error) / ln(p/(1-p))) votes. It is first-to-ahead-by-k, with k found for you: p = .9,
    error = 1.4e-3 gives 3, with 1.37e-3 wrong after 3.74 votes; error = .01 gives 3 as well, as 2 has .0122.

    Guarantee: if each vote is right with p or more, independently of the others, at most ``error`` of the steps are
    decided wrongly; exactly so against one rival, as steps of one vote do not overshoot. More rivals of the same total
    mass only lower it. It rests on p: where the true one is p', the error is 1/(1 + (p'/(1-p'))^k). At k = 3 that is
    .0154 for p' = .8, .229 for .6, .5 for .5, and more below.
    """

    name: ClassVar[str] = "sprt"
    Params = SPRTParams

    def __init__(self, params: SPRTParams) -> None:
        self.p = params.p
        self.error = params.error
        self.k = margin(params.p, params.error)

    @property
    def least(self) -> int:
        """The margin, all votes for one candidate."""
        return self.k

    @property
    def race_margin(self) -> int:
        """The margin that p and the error ask for."""
        return self.k

    def promise(self, steps: str) -> Promise:
        """Return that at most ``error`` of the steps are decided wrongly, if votes are right with p."""
        return Promise(
            self.error,
            f"sprt (p = {self.p}, error = {self.error}) decides at most a share of {self.error:g} of steps {steps}"
            " wrongly, if each vote is independently right with at least the p that it was given",
            "are wrong, if p is at least what sprt was given, and votes are independent",
        )

    def decide(self, ballots: Ballots) -> Verdict:
        """Return the leader if the ratio of the likelihoods suffices; else ask for what it lacks."""
        standing = ballots.standing()
        if standing is None:
            return More(self.k)
        lead = standing.votes - standing.rival
        return Decision(standing.leader, lead) if lead >= self.k else More(self.k - lead)


sprt = by_keywords(SPRT, SPRTParams)
