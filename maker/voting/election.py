"""One step's election: ask, flag, parse, check, count, decide. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from operator import index
from typing import Generic, NamedTuple, TypeVar

from maker.plugin import Codec, Voter
from maker.types import Ballots, Decision, Flag, More, Parts, RedFlag, Sample, Step, Undecidable, Verdict
from maker.voting.parts import PartsDecision, decide_parts
from maker.voting.red_flags import REPEAT_CHARS, Candidate, proposed, repeats, screen
from maker.voting.tally import Tally
from maker.voting.thinking import KNOWN, Thinking

S = TypeVar("S")
A = TypeVar("A")


SHOWN = 3
SHOWN_CHARS = 80


class HeardSample(NamedTuple):
    """One sample of an election with what became of it: a candidate's key, or a red flag; and its model's number.

    ``way`` is the number of the way in which it was asked for, 0 where there is only one.
    """

    vote: int
    sample: Sample
    outcome: str | RedFlag
    model: int = 0
    way: int = 0


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
        models: How many models the pool has that is asked.
        thinking: Takes off replies what is no answer.
    """

    __slots__ = ("_candidates", "_flags", "_heard", "_max", "_models", "_of", "_outcomes", "_voter", "_weights",
                 "asked", "codec", "counts", "rounds", "state", "step", "thinking")  # fmt: skip

    def __init__(
        self,
        step: Step[S, A],
        state: S,
        codec: Codec[A],
        voter: Voter,
        max_votes: int,
        models: int = 1,
        thinking: Thinking = KNOWN,
    ) -> None:
        self.step = step
        self.state = state
        self.codec = codec
        self._voter = voter
        self._max = max_votes
        self._models = models
        self.thinking = thinking
        self.asked = 0
        self.rounds = 0
        self.counts: dict[str, int] = {}
        # What each candidate's votes weigh, for a voter that asks.
        self._weights: dict[str, int] | None = {} if voter.weighs else None
        self._candidates: dict[str, Candidate[A]] = {}
        # Of a pool, each candidate's votes by model.
        self._of: dict[str, list[int]] = {}
        self._flags: dict[Flag, list[int]] = {}
        self._outcomes: dict[str, Candidate[A] | RedFlag] = {}
        self._heard: list[tuple[Sample, Candidate[A] | RedFlag, int, int]] = []

    def verdict(self) -> Candidate[A] | More | Undecidable:
        """Return the winner, how many samples to ask for next, or why there can be no winner."""
        ballots, parts = Ballots(self.counts, self._weights), self.step.kind.parts
        if parts is None:
            return self.ruled(self._voter.decide(ballots))
        verdict = decide_parts(self._voter, parts, ballots, self.remaining)
        return self._of_parts(parts, verdict) if isinstance(verdict, PartsDecision) else self.ruled(verdict)

    def ruled(self, verdict: Verdict) -> Candidate[A] | More | Undecidable:
        """Return what the voter's verdict comes to here."""
        if isinstance(verdict, Decision):
            return self._candidates[verdict.winner]
        if isinstance(verdict, Undecidable):
            return verdict
        if verdict.n.__class__ is not int:
            verdict = More(index(verdict.n))
        if verdict.n < 1:
            raise ValueError(f"More({verdict.n}): a voter that is not done must ask for at least one vote")
        if verdict.n > self.remaining:
            return Undecidable(f"max_votes = {self._max}: {self._standing()}; {verdict.n} more would be the least")
        return verdict

    def candidate(self, key: str) -> Candidate[A]:
        """Return the candidate with a key, as it was first proposed."""
        return self._candidates[key]

    @property
    def heard(self) -> tuple[HeardSample, ...]:
        """Every sample so far, in order, with what became of it."""
        return tuple(
            HeardSample(vote, sample, outcome if isinstance(outcome, RedFlag) else outcome.key, model, way)
            for vote, (sample, outcome, model, way) in enumerate(self._heard)
        )

    @property
    def outcomes(self) -> list[Candidate[A] | RedFlag]:
        """What became of every sample so far, in order."""
        return [outcome for _, outcome, _, _ in self._heard]

    @property
    def remaining(self) -> int:
        """How many more samples the step may take."""
        return self._max - self.asked

    @property
    def clean(self) -> bool:
        """Whether all votes of the one model that there is are for one candidate, with no flag and no weights."""
        return self._models == 1 and len(self.counts) == 1 and not self._flags and self._weights is None

    def hear(self, asked: int, samples: Sequence[Sample]) -> None:
        """Count the samples of a round that was one request for ``asked`` votes; surplus ones are not counted."""
        self.rounds += 1
        self.count(asked, samples)

    def count(self, asked: int, samples: Sequence[Sample], model: int = 0, way: int = 0) -> None:
        """Count a model's samples for the next ``asked`` votes, all of which were asked for in one way."""
        counts, heard, weights = self.counts, self._heard, self._weights
        for sample in samples[:asked]:
            outcome = self._judged(sample)
            heard.append((sample, outcome, model, way))
            if isinstance(outcome, RedFlag):
                self._flags.setdefault(outcome.reason, [0] * self._models)[model] += 1
                continue
            key = outcome.key
            if key in counts:
                counts[key] += 1
            else:
                counts[key] = 1
                self._candidates[key] = outcome
            if weights is not None:
                weights[key] = weights.get(key, 0) + weight(self._voter, sample.logprob)
            if self._models > 1:
                self._of.setdefault(key, [0] * self._models)[model] += 1
        self.asked += asked

    def tally(self, kind: int, winner: str | None) -> Tally:
        """Return the count in the form that is stored; without a winner all candidates are among the rivals."""
        if self.clean and winner is not None:
            return Tally(kind, self.rounds, (self.counts[winner],), {}, {})
        of = {key: tuple(self._of[key]) if self._of else (n,) for key, n in self.counts.items()}
        flags = {flag: tuple(models) for flag, models in self._flags.items()}
        # Nobody need have said what votes by part elect.
        nobody = (0,) * self._models
        votes, found = nobody if winner is None else of.pop(winner, nobody), self._weights
        first = 0 if found is None or winner is None else found.get(winner, 0)
        weights = () if found is None else (first, *(found[key] for key in of))
        return Tally(kind, self.rounds, votes, of, flags, None, weights)

    def _of_parts(self, parts: Parts[A], decided: PartsDecision) -> Candidate[A] | Undecidable:
        """Return the answer that holds the parts that won, or why there can be none."""
        made = proposed(self.step.kind, self.state, parts.answer(decided.won, decided.undecided), self.codec)
        if isinstance(made, RedFlag):
            return Undecidable(f"the parts that won are no answer together: {made.detail}")
        return self._candidates.get(made.key, made)

    def _judged(self, sample: Sample) -> Candidate[A] | RedFlag:
        """Return what becomes of a sample. Equal texts are read once."""
        text, _, cut, _, flag = sample
        if cut or flag is not None:
            return screen(self.step.kind, self.state, sample, self.codec, self.thinking)
        outcome = self._outcomes.get(text)
        if outcome is None:
            outcome = self._outcomes[text] = screen(self.step.kind, self.state, sample, self.codec, self.thinking)
        elif len(text) >= REPEAT_CHARS and self._repeats(text, outcome):
            # The length is compared first: replies of a microagent are shorter, and each call shows in a step's cost.
            return RedFlag(Flag.REPEAT, f"{len(text)} characters, identical to an earlier sample")
        return outcome

    def _repeats(self, text: str, outcome: Candidate[A] | RedFlag) -> bool:
        if not isinstance(outcome, Candidate):
            return False
        # A verbatim reply is the action, but what was thought before it is free text.
        return repeats(text, self.thinking.answer(text) if self.step.kind.verbatim else outcome.text)

    def _standing(self) -> str:
        leading = sorted(self.counts.items(), key=lambda item: -item[1])
        votes = ", ".join(f"{n} for {key[:SHOWN_CHARS]}{self._weighing(key)}" for key, n in leading[:SHOWN])
        votes = votes or "no valid vote"
        if len(leading) > SHOWN:
            votes += f" and {len(leading) - SHOWN} other candidates"
        said: dict[Flag, Counter[str]] = {reason: Counter() for reason in self._flags}
        for _, outcome, _, _ in self._heard:
            if isinstance(outcome, RedFlag):
                said[outcome.reason][outcome.detail] += 1
        flags = ", ".join(f"{details.total()} {reason}{_in_words(details)}" for reason, details in said.items())
        return f"{votes}; flagged: {flags or 'none'}"

    def _weighing(self, key: str) -> str:
        return "" if self._weights is None else f" (weight {self._weights[key] / 1000:.2f})"


def reported(heard: Iterable[HeardSample]) -> tuple[tuple[str, float], ...]:
    """Return what each valid vote is for and the log-probability that it reports, up to the first that reports none.

    That one may weigh something too, which may decide how long the step goes on: what was heard before it stands.
    """
    votes = []
    for one in heard:
        if isinstance(one.outcome, str):
            if one.sample.logprob is None:
                break
            votes.append((one.outcome, one.sample.logprob))
    return tuple(votes)


def _in_words(details: Counter[str]) -> str:
    """Return what was said of most of the samples with one flag, in brackets; "" if nothing was."""
    detail, _ = details.most_common(1)[0]
    if not detail:
        return ""
    others = f", and {len(details) - 1} other reasons" if len(details) > 1 else ""
    return f" ({detail[:SHOWN_CHARS]}{'…' if len(detail) > SHOWN_CHARS else ''}{others})"


def weight(voter: Voter, logprob: float | None) -> int:
    """Return what a vote counts with a voter that weighs them. Raises ``ValueError`` for what is no weight."""
    found = voter.weigh(logprob)
    if type(found) is not int or found < 0:
        raise ValueError(
            f"{voter.name} gives a vote the weight {found!r}; a weight must be a whole number of thousandths, 0 or more"
        )
    return found
