"""What a pilot heard of a task's steps: how often samples are right, by step class; pure.

A pilot asks many steps of a class for a few votes each (`maker.sampling.pilot`). What is right is said by labels or by
the task's oracle; where neither is there, the answer that votes settle on stands for it, and what is measured is
agreement: how often a vote says the same. Whether that is right it cannot tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import takewhile
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from maker.stats.bounds import binomial
from maker.stats.request_votes import RequestVotes, effective_votes
from maker.stats.vote_tests import PilotSteps
from maker.types import Flag

VERSION = 1
"""Of the form in which a calibration is stored."""
CONFIDENCE = 0.95
"""Of intervals and bounds by a calibration; where classes are named together, of all of them together."""
NAMING = 3
"""Every third vote on a step names its strongest rival: naming takes fewer votes than counting does."""
UNTOLD = {Flag.REPEAT, Flag.BROKEN, Flag.NO_TEXT}
"""Red flags that tell nothing of how hard a step is: words that were said before, and errors of a server."""
REFERENCE = 3
"""By so many votes an answer must lead to stand for the right one where nothing is known of that."""
CHANCE = 0.001
"""Where there is nothing to find, a shared fate is found with this chance, and so is each kind of change."""
CLEAR = 0.01
"""A lead is clear that as many votes for two equal answers would bring with less than this chance."""


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


class Votes(NamedTuple):
    """Votes on one step: for the right answer, and against it: for all others, or for its strongest rival."""

    right: int
    against: int


class Cell(NamedTuple):
    """How many steps had so many votes for the right answer, and against it; see `Votes`."""

    right: int
    against: int
    steps: int

    @property
    def votes(self) -> Votes:
        """Those of each of the steps."""
        return Votes(self.right, self.against)


class FlagCell(NamedTuple):
    """How many steps had so many votes for the right answer, against it, and so many flagged samples."""

    right: int
    against: int
    flagged: int
    steps: int


class SampleCounts(NamedTuple):
    """Samples by what became of them: votes for right answers, for wrong ones, and red flags."""

    right: int = 0
    wrong: int = 0
    flagged: int = 0


class Split(NamedTuple):
    """How many steps had so many votes for the right answer, and for each of the others, those with most first."""

    right: int
    others: tuple[int, ...]
    steps: int


class Rivalry(_Stored):
    """Votes on the strongest rivals of steps, without those that name them.

    Of several rivals the one with most votes is in part the luckiest: counted in the votes that name it, it looks
    stronger than it is. So a third of a step's votes name its rival, and the others are counted. Where the third names
    none, all the other wrong votes count as the rival's.

    Args:
        heard: Steps by their votes for the right answer and for all others.
        duel: Steps by their votes for the right answer and for the rival.
    """

    heard: tuple[Cell, ...] = ()
    duel: tuple[Cell, ...] = ()

    @property
    def rivals(self) -> float:
        """How many rivals as strong as the strongest all wrong votes would come from."""
        wrong, rival = (sum(cell.against * cell.steps for cell in cells) for cells in (self.heard, self.duel))
        return wrong / rival if rival else 1.0


class KindFound(_Stored):
    """What was heard of one kind of a class's steps.

    Args:
        of: Steps of the kind in the whole task, about, as far as that is known.
        steps: Steps that were asked and have a vote that counts.
        right: Their votes for the right answer.
        wrong: Their votes for other answers.
    """

    of: int | None = None
    steps: int = 0
    right: int = 0
    wrong: int = 0


class ClassFound(_Stored):
    """What was heard of one step class.

    Args:
        steps: Steps that were asked, all of them different.
        of: Steps of the class in the whole task, as far as that is known.
        heard: Steps by their votes for the right answer and for all others.
        duel: Steps by their votes for the right answer and for its strongest rival.
        rivalry: The same without favour for the rival; None in calibrations of older versions.
        splits: Steps by their votes for the right answer and for each of the others; () in calibrations of older
            versions.
        closer: ``heard`` with the votes of a second look at some steps; () where none was taken.
        doubted: Steps on which the right answer does not lead its votes, as a pilot first heard them.
        behind: Those on which it does not either with the votes of a second look. These are no part of ``heard``.
        cleared: Doubted steps on which a second look shows that it does, see `Standing.leads_clearly`.
        samples: Replies, flagged ones included.
        tokens: Completion tokens of all of them.
        flags: By reason.
        flagged: Steps by their votes and flagged samples, but for `UNTOLD`; () in calibrations of older versions.
        through: What would have been heard if the samples with a flag had voted, by the flag, where any could.
        models: What became of a model's samples, by its number in the pool.
        greedy: What became of samples at temperature 0, one a step; None where that was not asked.
        kinds: By kind, those among them that the task asks and the pilot has not heard; {} of a class that names none.
        repeats: Steps of the task that were drawn too, and ask what one of ``steps`` asks: it is asked once.
        drawn: Whether they are a random sample of the ``of`` steps, by somebody's word or choice.
        alike: Steps by how many valid votes there are until one differs from the first, whatever is right; {} in
            calibrations of older versions.
    """

    steps: int
    of: int | None
    heard: tuple[Cell, ...]
    duel: tuple[Cell, ...]
    rivalry: Rivalry | None = None
    splits: tuple[Split, ...] = ()
    closer: tuple[Cell, ...] = ()
    doubted: int = 0
    behind: int = 0
    samples: int
    tokens: int
    flags: dict[str, FlagFound]
    flagged: tuple[FlagCell, ...] = ()
    through: dict[str, tuple[Cell, ...]]
    models: tuple[SampleCounts, ...]
    greedy: SampleCounts | None = None
    kinds: dict[str, KindFound] = {}
    # What is written of other classes stays as older versions read it.
    repeats: int = Field(default=0, exclude_if=lambda value: not value)
    drawn: bool = Field(default=False, exclude_if=lambda value: not value)
    cleared: int = Field(default=0, exclude_if=lambda value: not value)
    alike: dict[int, int] = Field(default={}, exclude_if=lambda value: not value)

    @property
    def looked_at(self) -> int:
        """Steps that were looked at again."""
        before = {cell.votes: cell.steps for cell in self.heard}
        return sum(max(0, cell.steps - before.get(cell.votes, 0)) for cell in self.closer)

    @property
    def whole(self) -> bool:
        """Whether all steps of the task were asked."""
        return self.of is not None and self.steps + self.repeats >= self.of

    @property
    def right(self) -> int:
        """Votes for the right answer."""
        return sum(cell.right * cell.steps for cell in self.heard)

    @property
    def wrong(self) -> int:
        """Votes for other answers."""
        return sum(cell.against * cell.steps for cell in self.heard)

    @property
    def rival(self) -> int:
        """Votes for the strongest rival of each step."""
        return sum(cell.against * cell.steps for cell in self.duel)

    def contested(self, k: int) -> PilotSteps | None:
        """Return the steps by their first k votes, for the monitor of a run; None where these say nothing.

        A second look has no part in it: it is taken at steps that were chosen.
        """
        return PilotSteps.of(self.alike, k)

    @property
    def voted(self) -> int:
        """Samples that are not flagged: of a step without labels more than its votes that count."""
        return self.samples - sum(flag.samples for flag in self.flags.values())

    @property
    def valid(self) -> float:
        """The share of samples that is not flagged."""
        return self.voted / self.samples if self.samples else 1.0


class FateFound(_Stored):
    """How votes of one request hang together, see `maker.stats.dependence.SharedFate`.

    Args:
        steps: Steps whose votes differ: it is measured on these.
        correlation: The intra-class correlation within a request, given the step: least, estimate and most, at 95 %.
        chance: The p-value of independent votes.
    """

    steps: int
    correlation: tuple[float, float, float]
    chance: float

    @property
    def shared(self) -> bool:
        """Whether votes of one request share a fate."""
        return self.chance < CHANCE

    def counts_as(self, votes: int) -> float:
        """Return how many independent votes so many votes of one request are worth."""
        return effective_votes(votes, self.correlation[1])


class ChangeFound(_Stored):
    """How votes changed between the halves of a pilot, see `maker.stats.dependence.Change`.

    Args:
        start: The first step that it is about, in the order in which they were asked, 0-based.
        stop: The step after the last.
        before: The share of votes against the steps' answers in the first half.
        after: The same in the second half.
        chance: The p-value of no change.
    """

    start: int
    stop: int
    before: float
    after: float
    chance: float

    @property
    def found(self) -> bool:
        """Whether there was a change."""
        return self.chance < CHANCE


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
        drift: How votes changed from the first half of the pilot to the second; None where nothing differs.
        stretch: The same of the stretch of steps on which they changed most; None where there are too few steps.
        fate: How votes of one request hang together; None where no request asked for two, or no step was asked in two.
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
    fate: FateFound | None = None
    drift: ChangeFound | None = None
    stretch: ChangeFound | None = None

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


class Kept(NamedTuple):
    """A calibration and its key in the store."""

    key: int
    calibration: Calibration


class Reply(NamedTuple):
    """One sample: the key that it votes for, or its red flag and the key that it would have voted for without it.

    ``key`` is None for a flagged one that cannot be read. ``round`` is the time at which it was asked, ``request`` the
    number of its request among those of the step at that time.
    """

    key: str | None
    flag: Flag | None
    tokens: int
    model: int = 0
    round: int = 0
    request: int = 0


class Tallies:
    """Counts what was heard of one step class, step by step.

    Args:
        models: How many models the pool has.
    """

    def __init__(self, models: int) -> None:
        self.steps = self.samples = self.tokens = 0
        self.heard: Counter[Votes] = Counter()
        self.duel: Counter[Votes] = Counter()
        # By the fields of `Rivalry`.
        self.rivalry: dict[str, Counter[Votes]] = {"heard": Counter(), "duel": Counter()}
        # By votes for the right answer, and votes for each of the others.
        self.splits: Counter[tuple[int, tuple[int, ...]]] = Counter()
        # By votes for the right answer, votes against it, and flagged samples.
        self.flagged: Counter[tuple[int, int, int]] = Counter()
        # By how many of the first votes are alike.
        self.alike: Counter[int] = Counter()
        # By the fields of `FlagFound`.
        self.flags: dict[str, Counter[str]] = {}
        # How steps move in ``heard`` if samples with a flag vote.
        self.moves: dict[str, Counter[Votes]] = {}
        # The same for what a second look at them adds.
        self.looked: Counter[Votes] = Counter()
        # Steps on which the right answer did not lead, and on how many of them it does since.
        self.doubted = self.resolved = self.cleared = 0
        # By kind, and then by the fields of `KindFound`.
        self.kinds: dict[str, Counter[str]] = {}
        # By the fields of `SampleCounts`.
        self.models = [Counter[str]() for _ in range(models)]

    def add(self, replies: Sequence[Reply], right: Iterable[str] | None, kind: str | None = None) -> Votes:
        """Count the samples of a step; return the votes for the right answer and those for all others.

        ``kind`` is the step's, None where its class names none.

        ``right`` are the keys of right answers. Where it is None the answer that first leads by `REFERENCE` votes
        stands for it, and the votes after that count: those before made it what it is. Flags count all the same. Of a
        step where none comes so far all votes count, and the most frequent answer stands for the right one, which
        flatters it.
        """
        self.steps += 1
        self.samples += len(replies)
        self.tokens += sum(reply.tokens for reply in replies)
        self.alike[first_alike([reply.key for reply in replies if reply.flag is None])] += 1
        settled = 0
        if right is None:
            settled, right = settled_on(replies)
        valid: list[str] = []
        true = frozenset(right)
        silenced: dict[str, Counter[str]] = {}
        for number, reply in enumerate(replies):
            counts = number >= settled
            said = "lost" if reply.key is None else "right" if reply.key in true else "wrong"
            if reply.flag is not None:
                # Flags make no answer the right one: all of them count.
                self.flags.setdefault(reply.flag, Counter())[said] += 1
                if reply.key is not None and counts:
                    silenced.setdefault(reply.flag, Counter())[said] += 1
                self.models[reply.model]["flagged"] += 1
            elif reply.key is not None and counts:
                valid.append(reply.key)
                self.models[reply.model][said] += 1
        wrong = Counter(key for key in valid if key not in true)
        heard = Votes(len(valid) - wrong.total(), wrong.total())
        self.heard[heard] += 1
        self.duel[heard._replace(against=max(wrong.values(), default=0))] += 1
        self._name_rival(valid, true)
        self.splits[heard.right, tuple(sorted(wrong.values(), reverse=True))] += 1
        self.flagged[(*heard, sum(reply.flag not in UNTOLD for reply in replies if reply.flag))] += 1
        for flag, more in silenced.items():
            _move(self.moves.setdefault(flag, Counter()), heard, Votes(more["right"], more["wrong"]))
        if kind is not None and heard.right + heard.against:
            of_kind = self.kinds.setdefault(kind, Counter())
            of_kind.update(steps=1, right=heard.right, wrong=heard.against)
        return heard

    def _name_rival(self, valid: Sequence[str], right: frozenset[str]) -> None:
        """Count the votes of a step by the rival that every third of them names."""
        naming = Counter(key for key in valid[::NAMING] if key not in right)
        others = [key for number, key in enumerate(valid) if number % NAMING]
        wrong = Counter(key for key in others if key not in right)
        heard = Votes(len(others) - wrong.total(), wrong.total())
        self.rivalry["heard"][heard] += 1
        against = wrong[naming.most_common(1)[0][0]] if naming else wrong.total()
        self.rivalry["duel"][heard._replace(against=against)] += 1

    def look_closer(self, before: Votes, more: Votes) -> None:
        """Count what a second look at a step brought: ``more`` votes than there were ``before``."""
        _move(self.looked, before, more)

    def found(
        self,
        of: int | None,
        greedy: SampleCounts | None,
        kinds: Mapping[str, int | None] | None = None,
        *,
        repeats: int = 0,
        drawn: bool = False,
    ) -> ClassFound:
        """Return what was heard. ``kinds`` is how many steps of each kind the task asks; others as in `ClassFound`."""
        asked = kinds or {}
        return ClassFound(
            steps=self.steps, of=of, samples=self.samples, tokens=self.tokens, greedy=greedy,
            heard=_table(self.heard), duel=_table(self.duel),
            rivalry=Rivalry(**{name: _table(steps) for name, steps in self.rivalry.items()}),
            splits=tuple(Split(*votes, steps) for votes, steps in sorted(self.splits.items())),
            closer=_table(_moved(self.heard, self.looked)) if self.looked else (),
            doubted=self.doubted, behind=self.doubted - self.resolved, cleared=self.cleared,
            through={flag: _table(_moved(self.heard, moves)) for flag, moves in self.moves.items()},
            flagged=tuple(FlagCell(*cell, steps) for cell, steps in sorted(self.flagged.items())),
            flags={flag: FlagFound(**counts) for flag, counts in self.flags.items()},
            models=tuple(SampleCounts(**counts) for counts in self.models),
            kinds={
                name: KindFound(of=asked.get(name), **self.kinds.get(name, Counter()))
                for name in sorted({*asked, *self.kinds})
            },
            repeats=repeats, drawn=drawn, alike=dict(sorted(self.alike.items())),
        )  # fmt: skip


def first_alike(votes: Sequence[str | None]) -> int:
    """Return how many votes there are until one differs from the first. a, a, b, a gives 2."""
    return sum(1 for _ in takewhile(lambda key: key == votes[0], votes))


def _table(steps: Mapping[Votes, int]) -> tuple[Cell, ...]:
    return tuple(Cell(*votes, n) for votes, n in sorted(steps.items()) if n)


def _move(moves: Counter[Votes], before: Votes, more: Votes) -> None:
    moves[before] -= 1
    moves[Votes(before.right + more.right, before.against + more.against)] += 1


def _moved(steps: Counter[Votes], moves: Counter[Votes]) -> Counter[Votes]:
    moved = Counter(steps)
    moved.update(moves)
    return moved


class Standing(NamedTuple):
    """The valid votes on a step whose right answers are known: those for them, and those for each other answer."""

    right: int
    others: Counter[str]

    @classmethod
    def of(cls, replies: Iterable[Reply], right: Collection[str]) -> Standing:
        """Return how a step's votes stand."""
        votes = Counter(reply.key for reply in replies if reply.flag is None and reply.key is not None)
        others = Counter({key: n for key, n in votes.items() if key not in right})
        return cls(votes.total() - others.total(), others)

    @property
    def leads(self) -> bool:
        """Whether the right answer has more votes than any other."""
        return self.right > max(self.others.values(), default=0)

    @property
    def leads_clearly(self) -> bool:
        """Whether it leads its strongest rival by more than two equal answers would: 34 to 16 votes, not 33 to 17."""
        rival = max(self.others.values(), default=0)
        return self.leads and binomial(rival, self.right + rival, 0.5) < CLEAR

    def plus(self, more: Standing) -> Standing:
        """Return how they stand with the votes of a second look."""
        return Standing(self.right + more.right, self.others + more.others)


def by_request(replies: Sequence[Reply], right: Collection[str] | None) -> tuple[RequestVotes, ...]:
    """Return the votes on a step by request, those against the right answers, or against its most frequent one.

    The most frequent answer is that of all votes, whenever they were cast: what is tested is whether it matters when.
    """
    votes = [reply for reply in replies if reply.flag is None]
    if right is None:
        counts = Counter(reply.key or "" for reply in votes)
        right = {min(counts, key=lambda key: (-counts[key], key))} if counts else ()
    found: dict[tuple[int, int], RequestVotes] = {}
    for reply in votes:
        place = reply.round, reply.request
        so_far = found.get(place, RequestVotes(reply.round, 0, 0, reply.model))
        found[place] = so_far._replace(votes=so_far.votes + 1, against=so_far.against + (reply.key not in right))
    return tuple(request for _, request in sorted(found.items()))


class Settled(NamedTuple):
    """What votes settle on: the answers' keys, after so many samples."""

    samples: int
    answers: tuple[str, ...]


def settled_on(replies: Sequence[Reply]) -> Settled:
    """Return after how many samples an answer leads by `REFERENCE` votes, and which; else 0, and the most frequent."""
    votes: Counter[str] = Counter()
    for number, reply in enumerate(replies, 1):
        if reply.flag is None and reply.key is not None:
            votes[reply.key] += 1
            first, *rest = votes.most_common(2)
            if first[1] - (rest[0][1] if rest else 0) >= REFERENCE:
                return Settled(number, (first[0],))
    return Settled(0, tuple(key for key, _ in votes.most_common(1)))
