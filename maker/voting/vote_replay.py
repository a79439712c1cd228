"""Elections held again over samples that were drawn before, and what becomes of their steps. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from maker.plugin import Ballots, Decision, More, Parts, Verdict, Voter
from maker.voting.parts import PartsDecision, decide_parts


class VoteReplay(NamedTuple):
    """How an election over known samples ends.

    ``winner`` is the candidate's key, None where none wins. It took the first ``samples``, of which ``votes`` were
    valid. ``lacking`` says how many more the rule would have asked for at least where the samples ran out, else 0.
    """

    winner: str | None
    samples: int
    votes: int
    lacking: int = 0


class PartsKey(NamedTuple):
    """How votes by part are counted again: the parts, and what returns the key of an action that holds some."""

    parts: Parts[Any]
    key: Callable[[Any], str]


def replay_votes(
    voter: Voter,
    heard: Sequence[str | None],
    *,
    most: int | None = None,
    weights: Sequence[int] | None = None,
    by: PartsKey | None = None,
) -> VoteReplay:
    """Hold an election over samples in their order, as one that draws them would.

    Args:
        voter: The rule.
        heard: What each sample votes for, by its key; None for one that was flagged.
        most: Most samples, flagged ones included, that the step may take; None sets no limit.
        weights: What each sample's vote counts, for a voter that weighs them.
        by: How answers are voted on part by part; None where they are voted on as a whole.
    """
    counts: dict[str, int] = {}
    weighed: dict[str, int] | None = None if weights is None else {}
    used = votes = 0
    while True:
        verdict = _verdict(voter, Ballots(counts, weighed), None if most is None else most - used, by)
        if isinstance(verdict, Decision):
            return VoteReplay(verdict.winner, used, votes)
        if not isinstance(verdict, More) or (most is not None and used + verdict.n > most):
            return VoteReplay(None, used, votes)
        if verdict.n < 1:
            raise ValueError(f"More({verdict.n}): a voter that is not done must ask for at least one vote")
        if used + verdict.n > len(heard):
            return VoteReplay(None, used, votes, used + verdict.n - len(heard))
        for place, key in enumerate(heard[used : used + verdict.n], used):
            if key is not None:
                counts[key] = counts.get(key, 0) + 1
                votes += 1
                if weighed is not None and weights is not None:
                    weighed[key] = weighed.get(key, 0) + weights[place]
        used += verdict.n


def _verdict(voter: Voter, ballots: Ballots, left: int | None, by: PartsKey | None) -> Verdict:
    if by is None:
        return voter.decide(ballots)
    decided = decide_parts(voter, by.parts, ballots, left)
    if not isinstance(decided, PartsDecision):
        return decided
    return Decision(by.key(by.parts.answer(decided.won, decided.undecided)), decided.margin)


class RescoredOutcome(StrEnum):
    """What becomes of a step by the other rule."""

    SAME = "same"
    """It is decided for the same answer."""
    OTHER = "other"
    """It is decided for another answer."""
    DECIDED = "decided"
    """It is decided, and was not."""
    UNDECIDED = "undecided"
    """The rule decides it by no further votes, or by more than ``max_votes``."""
    SHORT = "ran out"
    """The rule would go on, and no sample is left."""
    LOST = "not kept"
    """Its samples were not kept, and they differ, in what they say or in what they weigh."""


_OF_ROWS = ("row", "id", "right_before", "right_now")


class Rescored(NamedTuple):
    """One step by the other rule.

    ``before`` and ``now`` are the winner's keys, None where none won. ``votes_before`` and ``votes`` are valid votes; a
    judge's are not among them, ``judged`` says that there were some. ``lacking`` samples more would be the least where
    they ran out. ``tokens`` of the run's own the rule would have done without, or below 0 would take more; an estimate.
    ``chain``, ``step`` and ``row``, the number of a map's row, say which step it is; ``id`` is that row's id where
    there is something to say of it. Of a row with a label ``right_before`` and ``right_now`` say whether it is right,
    which it is not without a decision; None where that is not known.
    """

    kind: str
    outcome: RescoredOutcome
    before: str | None
    now: str | None
    votes_before: int
    votes: int = 0
    lacking: int = 0
    tokens: float = 0.0
    judged: bool = False
    chain: str = ""
    step: int = 0
    row: int | None = None
    id: str | None = None
    right_before: bool | None = None
    right_now: bool | None = None

    @property
    def told(self) -> bool:
        """Whether there is something to say of the step: it ran out, or does not end as it did."""
        return self.outcome != RescoredOutcome.SAME and (
            self.outcome != RescoredOutcome.UNDECIDED or self.before is not None
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON: the step class is called ``class``; what is of rows and labels is there where they are."""
        told = {("class" if name == "kind" else name): value for name, value in self._asdict().items()}
        # Programs that read the older name, fate, go on working.
        told |= {"outcome": str(self.outcome), "fate": str(self.outcome), "tokens": round(self.tokens)}
        return {name: value for name, value in told.items() if name not in _OF_ROWS or value is not None}


@dataclass(slots=True)
class Totals:
    """What many rescored steps come to. ``told`` counts those of which there is something to say.

    Votes and tokens saved are those of steps whose samples sufficed: neither `RescoredOutcome.SHORT` nor
    `RescoredOutcome.LOST`. ``lacking`` samples and ``tokens_short`` are those of steps that ran out, at least.
    """

    steps: int = 0
    told: int = 0
    outcomes: Counter[RescoredOutcome] = field(default_factory=Counter)
    votes_before: int = 0
    votes: int = 0
    tokens_saved: float = 0.0
    lacking: int = 0
    tokens_short: float = 0.0
    judged: int = 0

    def add(self, one: Rescored) -> None:
        """Take a step in."""
        self.steps += 1
        self.told += one.told
        self.outcomes[one.outcome] += 1
        self.judged += one.judged
        if one.outcome == RescoredOutcome.SHORT:
            self.lacking += one.lacking
            self.tokens_short -= one.tokens
        elif one.outcome != RescoredOutcome.LOST:
            self.votes_before += one.votes_before
            self.votes += one.votes
            self.tokens_saved += one.tokens

    @property
    def sufficed(self) -> int:
        """How many steps had samples enough."""
        return self.steps - self.outcomes[RescoredOutcome.SHORT] - self.outcomes[RescoredOutcome.LOST]

    def to_json(self) -> dict[str, Any]:
        """Return the totals as JSON."""
        told = {name: getattr(self, name) for name in self.__slots__}
        # Programs that read the older name, fates, go on working.
        told["outcomes"] = told["fates"] = {str(outcome): self.outcomes[outcome] for outcome in RescoredOutcome}
        return told | {name: round(told[name]) for name in ("tokens_saved", "tokens_short")}
