"""What a pilot heard of a task's steps: how often samples are right, by step class; pure.

A pilot asks many steps of a class for a few votes each (`maker.sampling.pilot`). What is right is said by labels or by
the task's oracle; where neither is there, the answer that votes settle on stands for it, and what is measured is
agreement: how often a vote says the same. Whether that is right it cannot tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from maker.types import Flag

VERSION = 1
"""Of the form in which a calibration is stored."""
REFERENCE = 3
"""By so many votes an answer must lead to stand for the right one where nothing is known of that."""


class By(StrEnum):
    """Who says what is right."""

    ORACLE = "oracle"
    LABELS = "labels"
    VOTES = "votes"


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FlagFound(_Stored):
    """Samples with one red flag, by what their votes would have been: ``lost`` ones could not have been read at all."""

    right: int = 0
    wrong: int = 0
    lost: int = 0

    @property
    def samples(self) -> int:
        """All of them."""
        return self.right + self.wrong + self.lost


class ClassFound(_Stored):
    """What was heard of one step class.

    Args:
        steps: Steps that were asked, all of them different.
        of: Steps of the class in the whole task, as far as that is known.
        heard: (votes for the right answer, votes for others) → steps with so many.
        duel: (votes for the right answer, votes for its strongest rival) → steps.
        closer: ``heard`` with the votes of a second look at some steps; () where none was taken.
        samples: Replies, flagged ones included.
        tokens: Completion tokens of all of them.
        flags: By reason.
        through: What would have been heard if the samples with a flag had voted, by the flag, where any could.
        models: By the number of the model in its pool: votes for the right answer, for others, and flagged samples.
        greedy: Of as many samples at temperature 0 as steps were asked so: right, wrong and flagged ones; None where
            that was not asked.
    """

    steps: int
    of: int | None
    heard: tuple[tuple[int, int, int], ...]
    duel: tuple[tuple[int, int, int], ...]
    closer: tuple[tuple[int, int, int], ...] = ()
    samples: int
    tokens: int
    flags: dict[str, FlagFound]
    through: dict[str, tuple[tuple[int, int, int], ...]]
    models: tuple[tuple[int, int, int], ...]
    greedy: tuple[int, int, int] | None = None

    @property
    def looked_at(self) -> int:
        """Steps that were looked at again."""
        before = {(right, others): steps for right, others, steps in self.heard}
        return sum(max(0, steps - before.get((right, others), 0)) for right, others, steps in self.closer)

    @property
    def whole(self) -> bool:
        """Whether all steps of the task were asked."""
        return self.of is not None and self.steps >= self.of

    @property
    def right(self) -> int:
        """Votes for the right answer."""
        return sum(right * steps for right, _, steps in self.heard)

    @property
    def wrong(self) -> int:
        """Votes for other answers."""
        return sum(others * steps for _, others, steps in self.heard)

    @property
    def rival(self) -> int:
        """Votes for the strongest rival of each step."""
        return sum(rival * steps for _, rival, steps in self.duel)

    @property
    def voted(self) -> int:
        """Samples that are not flagged: of a step without labels more than its votes that count."""
        return self.samples - sum(flag.samples for flag in self.flags.values())

    @property
    def valid(self) -> float:
        """The share of samples that is not flagged."""
        return self.voted / self.samples if self.samples else 1.0


class Calibration(_Stored):
    """What a pilot heard.

    Args:
        by: Who said what is right.
        votes: Samples that were asked for a step.
        classes: By name.
        requests: Requests that were made.
        prompt_tokens: Prompt tokens that were billed for them.
        seconds: How long the pilot took.
        runs: The runs whose samples it is made of.
        fingerprint: What of the job it depends on.
    """

    version: int = VERSION
    by: By
    votes: int
    classes: dict[str, ClassFound]
    requests: int
    prompt_tokens: int
    seconds: float
    runs: tuple[str, ...]
    fingerprint: dict[str, Any]

    @property
    def labelled(self) -> bool:
        """Whether it tells of right answers, or of agreement alone."""
        return self.by != By.VOTES

    @property
    def prompt(self) -> float:
        """Prompt tokens of a request, on average."""
        return self.prompt_tokens / max(1, self.requests)

    @property
    def samples(self) -> int:
        """All replies."""
        return sum(one.samples for one in self.classes.values())


class Reply(NamedTuple):
    """One sample: the key that it votes for, or its red flag and the key that it would have voted for without it.

    ``key`` is None for a flagged one that cannot be read.
    """

    key: str | None
    flag: Flag | None
    tokens: int
    model: int = 0


class Tallies:
    """Counts what was heard of one step class, step by step.

    Args:
        models: How many models the pool has.
    """

    def __init__(self, models: int) -> None:
        self.steps = self.samples = self.tokens = 0
        self.heard: Counter[tuple[int, int]] = Counter()
        self.duel: Counter[tuple[int, int]] = Counter()
        self.flags: dict[str, list[int]] = {}
        # How steps move in ``heard`` if samples with a flag vote.
        self.moves: dict[str, Counter[tuple[int, int]]] = {}
        # The same for what a second look at them adds.
        self.looked: Counter[tuple[int, int]] = Counter()
        self.models = [[0, 0, 0] for _ in range(models)]

    def add(self, replies: Sequence[Reply], right: Iterable[str] | None) -> tuple[int, int]:
        """Count the samples of a step; return the votes for the right answer and those for others.

        ``right`` are the keys of right answers. Where it is None the answer that first leads by `REFERENCE` votes
        stands for it, and the votes after that count: those before made it what it is. Flags count all the same. Of a
        step where none comes so far all votes count, and the most frequent answer stands for the right one, which
        flatters it.
        """
        self.steps += 1
        self.samples += len(replies)
        self.tokens += sum(reply.tokens for reply in replies)
        settled = 0
        if right is None:
            settled, right = settled_on(replies)
        votes: Counter[str] = Counter()
        true = frozenset(right)
        silenced: dict[str, list[int]] = {}
        for number, reply in enumerate(replies):
            counts = number >= settled
            if reply.flag is not None:
                # Flags make no answer the right one: all of them count.
                found = self.flags.setdefault(reply.flag, [0, 0, 0])
                found[2 if reply.key is None else reply.key not in true] += 1
                if reply.key is not None and counts:
                    silenced.setdefault(reply.flag, [0, 0])[reply.key not in true] += 1
                self.models[reply.model][2] += 1
            elif reply.key is not None and counts:
                votes[reply.key] += 1
                self.models[reply.model][reply.key not in true] += 1
        others = [n for key, n in votes.items() if key not in true]
        mine = votes.total() - sum(others)
        self.heard[mine, sum(others)] += 1
        self.duel[mine, max(others, default=0)] += 1
        for flag, more in silenced.items():
            _move(self.moves.setdefault(flag, Counter()), (mine, sum(others)), (more[0], more[1]))
        return mine, sum(others)

    def look_closer(self, before: tuple[int, int], more: tuple[int, int]) -> None:
        """Count what a second look at a step brought: so many votes more for the right answer and for others."""
        _move(self.looked, before, more)

    def found(self, of: int | None, greedy: tuple[int, int, int] | None) -> ClassFound:
        """Return what was heard."""
        return ClassFound(
            steps=self.steps, of=of, samples=self.samples, tokens=self.tokens, greedy=greedy,
            heard=_table(self.heard), duel=_table(self.duel),
            closer=_table(_moved(self.heard, self.looked)) if self.looked else (),
            through={flag: _table(_moved(self.heard, moves)) for flag, moves in self.moves.items()},
            flags={flag: FlagFound(right=n[0], wrong=n[1], lost=n[2]) for flag, n in self.flags.items()},
            models=tuple((right, wrong, flagged) for right, wrong, flagged in self.models),
        )  # fmt: skip


def _table(steps: Mapping[tuple[int, int], int]) -> tuple[tuple[int, int, int], ...]:
    return tuple((*votes, n) for votes, n in sorted(steps.items()) if n)


def _move(moves: Counter[tuple[int, int]], before: tuple[int, int], more: tuple[int, int]) -> None:
    moves[before] -= 1
    moves[before[0] + more[0], before[1] + more[1]] += 1


def _moved(steps: Counter[tuple[int, int]], moves: Counter[tuple[int, int]]) -> Counter[tuple[int, int]]:
    moved = Counter(steps)
    moved.update(moves)
    return moved


def settled_on(replies: Sequence[Reply]) -> tuple[int, tuple[str, ...]]:
    """Return after how many samples an answer leads by `REFERENCE` votes, and which; else 0, and the most frequent."""
    votes: Counter[str] = Counter()
    for number, reply in enumerate(replies, 1):
        if reply.flag is None and reply.key is not None:
            votes[reply.key] += 1
            first, *rest = votes.most_common(2)
            if first[1] - (rest[0][1] if rest else 0) >= REFERENCE:
                return number, (first[0],)
    return 0, tuple(key for key, _ in votes.most_common(1))
