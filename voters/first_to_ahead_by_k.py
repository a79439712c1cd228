"""First to be ahead by k: the race of MAKER (arXiv 2511.09030), and the default."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from maker.plugin import Ballots, Decision, More, Params, Verdict, Voter, by_keywords


class FirstToAheadByKParams(Params):
    """Parameters of `FirstToAheadByK`.

    Args:
        k (votes): How many votes more than any other candidate the winner needs.
    """

    k: int = Field(default=3, ge=1, le=1000)


class FirstToAheadByK(Voter):
    """A candidate wins once it has k votes more than any other.

    Against one rival, a step is right with probability 1 / (1 + r^k), r = (1-p)/p (eq. 9): p = .9, k = 3 gives .9986.
    """

    name: ClassVar[str] = "first-to-ahead-by-k"
    Params = FirstToAheadByKParams

    def __init__(self, params: FirstToAheadByKParams) -> None:
        self.k = params.k

    @property
    def least(self) -> int:
        """K votes, all for one candidate."""
        return self.k

    @property
    def race_margin(self) -> int:
        """K."""
        return self.k

    def decide(self, ballots: Ballots) -> Verdict:
        """Return the leader if its margin is k; else ask for what it lacks."""
        standing = ballots.standing()
        if standing is None:
            return More(self.k)
        margin = standing.votes - standing.rival
        return Decision(standing.leader, margin) if margin >= self.k else More(self.k - margin)


first_to_ahead_by_k = by_keywords(FirstToAheadByK, FirstToAheadByKParams)
