"""The contract of every voter, held against all of ours; and that it catches those that break it."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, ClassVar

import pytest

from maker.plugin import Ballots, Decision, More, Params, Promise, Undecidable, Verdict, Voter
from maker.testing.voters import check_voter
from voters.bayes import Bayes
from voters.certificate import Certificate
from voters.first_to_ahead_by_k import FirstToAheadByK
from voters.first_to_k import FirstToK
from voters.majority import Majority
from voters.sprt import SPRT
from voters.weighted import Weighted

TRIED: list[tuple[type[Voter], dict[str, Any]]] = [
    *((FirstToAheadByK, {"k": k}) for k in (1, 2, 3, 10)),
    *((FirstToK, {"k": k}) for k in (1, 2, 4)),
    *((Majority, {"n": n}) for n in (1, 3, 7)),
    *((SPRT, {"p": p, "error": error}) for p, error in [(0.9, 1.4e-3), (0.99, 0.1), (0.6, 0.01)]),
    *((Bayes, {"error": error}) for error in (0.4, 0.1, 0.01, 1e-6)),
    *((Certificate, {"error": error}) for error in (0.4, 0.1, 0.01)),
    *((Weighted, {"error": error, "most": most}) for error, most in [(0.01, 0.9), (0.01, 0.99), (0.1, 0.7)]),
    (Weighted, {"error": 0.2, "most": 0.8, "missing": 0.8}),
]


@pytest.mark.parametrize(("kind", "values"), TRIED, ids=lambda value: getattr(value, "name", None) or str(value))
def test_our_voters_keep_the_contract(kind: Any, values: dict[str, Any]) -> None:
    """Each of our voters, at settings that differ in kind, passes the suite that third parties run on theirs."""
    found = check_voter(kind(kind.Params(**values)))
    print(found)
    assert found.decided >= 1


def test_every_voter_that_comes_with_maker_is_tried() -> None:
    """No voter of this distribution is left out above."""
    ours = {point.name for point in entry_points(group="maker.voters") if point.value.startswith("voters.")}
    assert ours <= {kind.name for kind, _ in TRIED}


class Ahead(Voter):
    """Ahead by 2, to be spoilt."""

    name: ClassVar[str] = "ahead by 2"
    Params = Params
    k = 2

    @property
    def least(self) -> int:
        return self.k

    def decide(self, ballots: Ballots) -> Verdict:
        standing = ballots.standing()
        if standing is None:
            return More(self.k)
        lead = standing.votes - standing.rival
        return Decision(standing.leader, lead) if lead >= self.k else More(self.k - lead)


class Cautious(Ahead):
    def decide(self, ballots: Ballots) -> Verdict:
        """Asks for one vote too many where there is a rival."""
        verdict = super().decide(ballots)
        return More(verdict.n + 1) if isinstance(verdict, More) and len(ballots.counts) > 1 else verdict


class Hasty(Ahead):
    def decide(self, ballots: Ballots) -> Verdict:
        """Asks for one vote at a time, the first time excepted."""
        verdict = super().decide(ballots)
        return More(1) if isinstance(verdict, More) and ballots.counts else verdict


class Idle(Ahead):
    def decide(self, ballots: Ballots) -> Verdict:
        """Asks for no votes at a tie."""
        verdict = super().decide(ballots)
        return More(0) if len(ballots.counts) == 2 and isinstance(verdict, More) else verdict


class FirstSeen(Ahead):
    def decide(self, ballots: Ballots) -> Verdict:
        """Prefers what came first."""
        verdict = super().decide(ballots)
        return Decision(next(iter(ballots.counts)), 2) if isinstance(verdict, Decision) else verdict


class LastName(Ahead):
    def decide(self, ballots: Ballots) -> Verdict:
        """Elects the last name."""
        verdict = super().decide(ballots)
        return verdict._replace(winner=max(ballots.counts)) if isinstance(verdict, Decision) else verdict


class Loose(Ahead):
    def decide(self, ballots: Ballots) -> Verdict:
        """Tells the winner's votes as its margin."""
        verdict = super().decide(ballots)
        return verdict._replace(margin=max(ballots.counts.values())) if isinstance(verdict, Decision) else verdict


class Inventive(Ahead):
    def decide(self, ballots: Ballots) -> Verdict:
        """Elects what nobody has voted for."""
        verdict = super().decide(ballots)
        return verdict._replace(winner="z") if isinstance(verdict, Decision) and len(ballots.counts) > 1 else verdict


class Optimist(Ahead):
    @property
    def least(self) -> int:
        """One less than it takes."""
        return self.k - 1


class Lavish(Ahead):
    def decide(self, ballots: Ballots) -> Verdict:
        """Takes a single vote for enough, and asks for two."""
        standing = ballots.standing()
        if standing is None or standing.votes - standing.rival != 1:
            return super().decide(ballots)
        return Decision(standing.leader, 1)


class Tired(Ahead):
    def decide(self, ballots: Ballots) -> Verdict:
        """Gives up when a model that never errs has voted."""
        return Undecidable("tired") if ballots.counts else super().decide(ballots)


class Braggart(Ahead):
    def decide(self, ballots: Ballots) -> Verdict:
        """Tells one vote more than the margin."""
        verdict = super().decide(ballots)
        return verdict._replace(margin=verdict.margin + 1) if isinstance(verdict, Decision) else verdict


class Meddler(Ahead):
    def decide(self, ballots: Ballots) -> Verdict:
        """Changes the tally that it is given."""
        verdict = super().decide(ballots)
        ballots.counts.pop("b", None)  # type: ignore[attr-defined]
        return verdict


class Moody(Ahead):
    calls = 0

    def decide(self, ballots: Ballots) -> Verdict:
        """Judges every 50th tally otherwise."""
        self.calls += 1
        verdict = super().decide(ballots)
        return More(5) if self.calls % 50 == 0 else verdict


class Forgetful(Ahead):
    def __init__(self) -> None:
        self.k = 3

    def __reduce__(self) -> Any:
        """Lose the margin on the way to the workers."""
        return Ahead, ()


class Claimant(Ahead):
    @property
    def race_margin(self) -> int:
        """One more than it takes."""
        return self.k + 1


class Nowhere(Ahead):
    @property
    def race_margin(self) -> int:
        """No lead at all."""
        return 0


class Certain(Ahead):
    def promise(self, steps: str) -> Promise:
        """Promise what nobody can."""
        return Promise(0.0, f"of steps {steps}, none is wrong", "are wrong")


class Vague(Ahead):
    def promise(self, steps: str) -> Promise:
        """Promise something of no steps in particular."""
        return Promise(0.01, "few are wrong", "are wrong")


@pytest.mark.parametrize(
    ("voter", "told"),
    [
        (Cautious(), r"\{'a': 1, 'b': 1\}: More\(n=3\), but .* more would settle it"),
        (Hasty(), r"\{'a': 1, 'b': 1\}: More\(n=1\), but no 1 votes settle it"),
        (Idle(), r"More\(n=0\): a voter that is not done must ask for at least one vote"),
        (FirstSeen(), r"Decision\(.*\) in this order, Decision\(.*\) as \{"),
        (LastName(), r"\{'a': 3, 'b': 1\}: 'b' wins and does not lead"),
        (Loose(), r"\{'a': 1, 'b': 3\}: a margin of 3, but the winner leads by 2"),
        (Inventive(), r"'z' wins without a vote"),
        (Optimist(), r"least is 1, but without votes the verdict is More\(n=2\)"),
        (Lavish(), r"with the votes \{\}: More\(n=2\), but .* more would settle it"),
        (Tired(), r"with the votes \{\}: More\(n=2\), but no 2 votes settle it"),
        (Braggart(), r"with the votes \{'a': 2\}: least is 2, but as many equal votes give Decision\(.*margin=3\)"),
        (Meddler(), r"the tally was changed to"),
        (Moody(), r"with the votes"),
        (Forgetful(), r"a pickled voter judges otherwise"),
        (Claimant(), r"\{'a': 1\}: race_margin is 3, whose verdict is More\(n=2\), but the voter's is More\(n=1\)"),
        (Nowhere(), r"race_margin is 0: no whole number from 1"),
        (Certain(), r"a promise of the error 0\.0: it must be between 0 and 1"),
        (Vague(), r"a promise must name the class of its steps"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Voter) else "",
)
def test_the_suite_catches_a_voter_that_breaks_it(voter: Voter, told: str) -> None:
    """Each fault is told with the tally that shows it; the same voter without it passes."""
    assert check_voter(Ahead()).disputed > 1
    with pytest.raises(AssertionError, match=told):
        check_voter(voter)
