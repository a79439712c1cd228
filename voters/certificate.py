"""An anytime-valid certificate that the winner is what the model says most often; it assumes neither p nor a prior."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

from pydantic import Field

from maker.plugin import Ballots, Decision, More, Params, Promise, Verdict, Voter, by_keywords
from voters.doubt import leads


@lru_cache(maxsize=1 << 16)
def enough(rival: int, candidates: int, error: float) -> int:
    """Return the fewest votes a of a leader whose evidence E(a, rival) is at least 3/2 K(K+1) / error, K candidates."""
    of, whole = error.as_integer_ratio()
    bound = 3 * candidates * (candidates + 1) * whole
    # E(a, b) = (whole - doubt) / ((a+1) ways): see the class.
    return next(
        lead.votes
        for lead in leads(rival)
        if 2 * of * (lead.whole - lead.doubt) >= bound * (lead.votes + 1) * lead.ways
    )


class CertificateParams(Params):
    """Parameters of `Certificate`.

    Args:
        error: How often, at most, a winner is not the model's most frequent answer.
    """

    error: float = Field(default=0.01, gt=0, lt=0.5)


class Certificate(Voter):
    """A candidate wins once the votes refute that any other answer is as frequent with the model as it is.

    Rule: with a votes for the leader, b for its strongest rival and K candidates so far, it is decided at
    E(a, b) >= 3/2 K(K+1) / error, where E(a, b) is the mean of (2t)^a (2(1-t))^b over t uniform on (1/2, 1], that is
    (sum of C(a+b+1, j) over j = 0 … a) / ((a+b+1) C(a+b, a)). error = .01: 11 votes to none (341 against 300), 17 to 1
    (1,533 against 900); of three candidates 18 to 1 and 1 (2,759 against 1,800).

    Source: the aim is that of the martingale majority certificate (arXiv 2510.17472), and of certification by
    e-processes (arXiv 2605.05873); the mixture is Robbins' (1970), the bound Ville's (1939).

    Guarantee: whatever the answers' shares, and whenever one stops, the chance that a step is ever decided for an
    answer that is not the model's single most frequent one is at most ``error``. For such an answer c let m be another
    that is at least as frequent. Whatever t is, the factors (2t for a vote for c, 2(1-t) for m, 1 for others) have a
    mean of at most 1: E of the votes for c and m is a supermartingale. It is followed from the first vote for c, which
    selects c, where it is E(1, 0) = 3/2 or less; so it ever reaches x with a chance of at most 3/2 / x. The j-th answer
    to turn up has ``error`` / (j(j+1)), which sum to ``error``; the leader's j is at most K, and m has no more votes
    than the strongest rival. It takes the votes of a step to be independent and alike, and says nothing of whether the
    most frequent answer is right.

    Price: even a coin gives n equal votes in 2^(1-n) of the steps, so any such promise takes many. At p = .9 against
    one rival it is 20.3 votes for error = .01, where first-to-ahead-by-3 takes 3.74: docs/voters.md.
    """

    name: ClassVar[str] = "certificate"
    Params = CertificateParams

    def __init__(self, params: CertificateParams) -> None:
        self.error = params.error

    @property
    def least(self) -> int:
        """The fewest votes n with (2^(n+1) - 1) / (n+1) >= 3 / error."""
        return enough(0, 1, self.error)

    def promise(self, steps: str) -> Promise:
        """Return that at most ``error`` of the steps go to an answer that is not the model's most frequent one."""
        return Promise(
            self.error,
            f"certificate gives each step {steps} another answer than the model's most frequent one with a chance of at"
            f" most {self.error:g}, if votes are independent; it does not say whether that answer is right",
            "get another answer than the model's most frequent one, if votes are independent",
        )

    def decide(self, ballots: Ballots) -> Verdict:
        """Return the leader if it is certified; else ask for what it lacks."""
        standing = ballots.standing()
        if standing is None:
            return More(self.least)
        leader, votes, rival = standing
        needed = enough(rival, len(ballots.counts), self.error)
        return Decision(leader, votes - rival) if votes >= needed else More(needed - votes)


certificate = by_keywords(Certificate, CertificateParams)
