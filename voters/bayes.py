"""A Bayesian stop with a stated error: no p is assumed, a prior is."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

from pydantic import Field

from maker.plugin import Ballots, Decision, More, Params, Promise, Verdict, Voter, by_keywords
from voters.doubt import leads


@lru_cache(maxsize=1 << 16)
def enough(rival: int, error: float) -> int:
    """Return the fewest votes of a leader that leave a chance of at most ``error`` that the rival is ahead in truth."""
    of, whole = error.as_integer_ratio()
    return next(lead.votes for lead in leads(rival) if lead.doubt * whole <= of * lead.whole)


class BayesParams(Params):
    """Parameters of `Bayes`.

    Args:
        error: The chance that is left, after the votes, that the strongest rival is the likelier answer of the two.
    """

    error: float = Field(default=0.01, gt=0, lt=0.5)


class Bayes(Voter):
    """A candidate wins once its strongest rival is the likelier answer with a posterior chance of at most ``error``.

    Prior: all shares of answers are equally likely, Dirichlet(1, …, 1) over the candidates. The leader's share among
    votes for it (a) and for its strongest rival (b) is then Beta(1, 1) before the votes, whatever others there are, and
    Beta(a+1, b+1) after them (Gelman et al., Bayesian Data Analysis, 3.4). The prior is symmetric because it is not
    known beforehand who will lead; uniform because it says nothing of p. The chance that the share is below one half is
    the sum of C(a+b+1, j) over j = 0 … b, divided by 2^(a+b+1). error = .01: 6 votes to none (1/128), 9 to 1
    (.0059), 11 to 2 (.0065).

    Guarantee: of the steps decided, at most ``error`` go to the rarer of the two, on average over steps whose shares
    are spread as the prior says; looking after each vote takes nothing from that. With R rivals it is R times
    ``error`` at most. It is none for each step by itself: a step whose answers are nearly as likely as each other goes
    wrong more often. At error = .01, p = .9 against one rival fails in 1.0e-6 of the steps, p = .6 in .0074, p = .55
    in .023 (exact, within 500 votes).
    """

    name: ClassVar[str] = "bayes"
    Params = BayesParams

    def __init__(self, params: BayesParams) -> None:
        self.error = params.error

    @property
    def least(self) -> int:
        """The fewest votes n with 2^-(n+1) <= error."""
        return enough(0, self.error)

    def promise(self, steps: str) -> Promise:
        """Return that at most ``error`` of the steps go to the rarer of two answers, over the shares of the prior."""
        return Promise(
            self.error,
            f"bayes gives at most a share of {self.error:g} of steps {steps} the less frequent of their two leading"
            " answers, on average over steps whose shares are uniform",
            "get the less frequent of their two leading answers, if shares follow its prior",
        )

    def decide(self, ballots: Ballots) -> Verdict:
        """Return the leader if little doubt is left; else ask for what it lacks."""
        standing = ballots.standing()
        if standing is None:
            return More(self.least)
        leader, votes, rival = standing
        needed = enough(rival, self.error)
        return Decision(leader, votes - rival) if votes >= needed else More(needed - votes)


bayes = by_keywords(Bayes, BayesParams)
