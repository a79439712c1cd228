"""An election held again over samples that were drawn before. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from maker.plugin import Ballots, Decision, More, Voter


class Recount(NamedTuple):
    """How an election over known samples ends.

    ``winner`` is the candidate's key, None where none wins. It took the first ``samples``, of which ``votes`` were
    valid. ``lacking`` says how many more the rule would have asked for at least where the samples ran out, else 0.
    """

    winner: str | None
    samples: int
    votes: int
    lacking: int = 0


def recount(
    voter: Voter, heard: Sequence[str | None], *, most: int | None = None, weights: Sequence[int] | None = None
) -> Recount:
    """Hold an election over samples in their order, as one that draws them would.

    Args:
        voter: The rule.
        heard: What each sample votes for, by its key; None for one that was flagged.
        most: Most samples, flagged ones included, that the step may take; None sets no limit.
        weights: What each sample's vote counts, for a voter that weighs them.
    """
    counts: dict[str, int] = {}
    weighed: dict[str, int] | None = None if weights is None else {}
    used = votes = 0
    while True:
        verdict = voter.decide(Ballots(counts, weighed))
        if isinstance(verdict, Decision):
            return Recount(verdict.winner, used, votes)
        if not isinstance(verdict, More) or (most is not None and used + verdict.n > most):
            return Recount(None, used, votes)
        if verdict.n < 1:
            raise ValueError(f"More({verdict.n}): a voter that is not done must ask for at least one vote")
        if used + verdict.n > len(heard):
            return Recount(None, used, votes, used + verdict.n - len(heard))
        for place, key in enumerate(heard[used : used + verdict.n], used):
            if key is not None:
                counts[key] = counts.get(key, 0) + 1
                votes += 1
                if weighed is not None and weights is not None:
                    weighed[key] = weighed.get(key, 0) + weights[place]
        used += verdict.n
