"""First to k votes: simpler than first-to-ahead-by-k, and weaker for the same number of votes."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from maker.plugin import Ballots, Decision, More, Params, Verdict, Voter, by_keywords


class FirstToKParams(Params):
    """Parameters of `FirstToK`.

    Args:
        k (votes): How many votes the winner needs.
    """

    k: int = Field(default=3, ge=1, le=1000)


class FirstToK(Voter):
    """A candidate wins once it has k votes.

    Against one rival it is a best of 2k-1: p = .9, k = 4 fails in 2.7e-3 of the steps after 4.44 votes, where
    first-to-ahead-by-4 fails in 1.5e-4 after 5.00.
    """

    name: ClassVar[str] = "first-to-k"
    Params = FirstToKParams

    def __init__(self, params: FirstToKParams) -> None:
        self.k = params.k

    @property
    def least(self) -> int:
        """K votes, all for one candidate."""
        return self.k

    def decide(self, ballots: Ballots) -> Verdict:
        """Return the first candidate with k votes; else ask for what the leader lacks."""
        standing = ballots.standing()
        if standing is None:
            return More(self.k)
        leader, votes, rival = standing
        return Decision(leader, votes - rival) if votes >= self.k else More(self.k - votes)


first_to_k = by_keywords(FirstToK, FirstToKParams)
