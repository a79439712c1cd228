"""One step's election: ask, flag, parse, check, count, decide. Pure."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from maker.plugin import Codec, Voter
from maker.redflags import Candidate, judge, repeats
from maker.tally import Tally
from maker.types import Ballots, Decision, Flag, More, RedFlag, Sample, Step, Undecidable, Verdict

S = TypeVar("S")
A = TypeVar("A")


SHOWN = 3
SHOWN_CHARS = 80


class HeardSample(NamedTuple):
    """One sample of an election with what became of it: a candidate's key, or a red flag."""

    vote: int
    sample: Sample
    outcome: str | RedFlag


class Elected(NamedTuple, Generic[A]):
    """The outcome of a decided election: the key of the winner, and the first action that was proposed under it."""

    key: str
    text: str
    action: A


class Election(Generic[S, A]):
    """Holds the votes of one step.

    Votes count in the order of their index within the step, never of arrival: a request's samples come in together,
    and the voter asks for no more than could settle it, so no fast answer can win before a slow one is heard.

    Args:
        step: What is decided.
        state: The state that the step is taken in; read only.
        codec: How an action is written: its canonical key.
        voter: The rule.
        max_votes: Most samples, flagged ones included, that the step may take.
    """

    __slots__ = ("_candidates", "_codec", "_flags", "_heard", "_max", "_outcomes", "_state", "_voter", "asked",
                 "counts", "rounds", "step")  # fmt: skip

    def __init__(self, step: Step[S, A], state: S, codec: Codec[A], voter: Voter, max_votes: int) -> None:
        self.step = step
        self._state = state
        self._codec = codec
        self._voter = voter
        self._max = max_votes
        self.asked = 0
        self.rounds = 0
        self.counts: dict[str, int] = {}
        self._candidates: dict[str, Candidate[A]] = {}
        self._flags: dict[Flag, int] = {}
        self._outcomes: dict[str, Candidate[A] | RedFlag] = {}
        self._heard: list[tuple[Sample, Candidate[A] | RedFlag]] = []

    def verdict(self) -> Elected[A] | More | Undecidable:
        """Return the winner, how many samples to ask for next, or why there can be no winner."""
        return self.ruled(self._voter.decide(Ballots(self.counts)))

    def ruled(self, verdict: Verdict) -> Elected[A] | More | Undecidable:
        """Return what the voter's verdict comes to here."""
        if isinstance(verdict, Decision):
            return Elected(*self._candidates[verdict.winner])
        if isinstance(verdict, Undecidable):
            return verdict
        if verdict.n < 1:
            raise ValueError(f"More({verdict.n}): a voter that is not done must ask for at least one vote")
        left = self._max - self.asked
        if verdict.n > left:
            return Undecidable(f"max_votes = {self._max}: {self._standing()}; {verdict.n} more would be the least")
        return verdict

    @property
    def heard(self) -> tuple[HeardSample, ...]:
        """Every sample so far, in order, with what became of it."""
        return tuple(
            HeardSample(vote, sample, outcome if isinstance(outcome, RedFlag) else outcome.key)
            for vote, (sample, outcome) in enumerate(self._heard)
        )

    def hear(self, asked: int, samples: tuple[Sample, ...]) -> None:
        """Count the samples of one request for ``asked`` votes; surplus ones are not counted."""
        self.rounds += 1
        counts = self.counts
        for sample in samples[:asked]:
            outcome = self._judged(sample)
            self._heard.append((sample, outcome))
            if isinstance(outcome, RedFlag):
                self._flags[outcome.reason] = self._flags.get(outcome.reason, 0) + 1
            else:
                self._candidates.setdefault(outcome.key, outcome)
                counts[outcome.key] = counts.get(outcome.key, 0) + 1
        self.asked += asked

    def tally(self, kind: int, winner: str) -> Tally:
        """Return the count in the form that is stored."""
        rivals = {key: (n,) for key, n in self.counts.items() if key != winner}
        return Tally(kind, self.rounds, (self.counts[winner],), rivals, self._flags)

    def _judged(self, sample: Sample) -> Candidate[A] | RedFlag:
        """Return what becomes of a sample. Equal texts are read once."""
        if sample.cut:
            return judge(self.step.kind, self._state, sample, self._codec)
        outcome = self._outcomes.get(sample.text)
        if outcome is None:
            outcome = self._outcomes[sample.text] = judge(self.step.kind, self._state, sample, self._codec)
        elif isinstance(outcome, Candidate) and not self.step.kind.verbatim and repeats(sample.text, outcome.text):
            return RedFlag(Flag.REPEAT, f"{len(sample.text)} characters, word for word those of an earlier sample")
        return outcome

    def _standing(self) -> str:
        leading = sorted(self.counts.items(), key=lambda item: -item[1])
        votes = ", ".join(f"{n} for {key[:SHOWN_CHARS]}" for key, n in leading[:SHOWN]) or "no valid vote"
        if len(leading) > SHOWN:
            votes += f" and {len(leading) - SHOWN} other candidates"
        flags = ", ".join(f"{n} {reason}" for reason, n in self._flags.items())
        return f"{votes}; flagged: {flags or 'none'}"
