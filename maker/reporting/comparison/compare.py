"""Compare ways to answer a map's labelled rows, by what they get right and what they cost; and keep what was found."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from maker.errors import BadInput
from maker.job.job import Job
from maker.lifecycle.session import OnEvent
from maker.plugin import RowDecomposer
from maker.reporting.comparison.advice import Advice, Labelled, PlainCall, advise
from maker.reporting.comparison.asking import RowAsker, Spending
from maker.reporting.comparison.kept import keep
from maker.reporting.comparison.methods import MEMBERS, METHODS, SINGLE, VOTES, Answers, chosen_methods
from maker.reporting.figures import CONFIDENCE
from maker.reporting.labels import holds_sample
from maker.reporting.row_labels import LabelFile, RowLabels, labels_of_rows
from maker.sampling.label_sample import refuse_in_order
from maker.stats.paired import Difference, mcnemar, paired_difference, share_within
from maker.stats.shared_errors import AllWrong, EffectiveVotes, all_wrong, effective_votes

WORTH = 0.03
"""So much more of the rows must be right for votes to be worth it, unless told otherwise."""
LEAST = 6
"""With fewer labels nothing is shown, even if all rows differ one way: 5 to 0 have a p of .0625."""


class Score(NamedTuple):
    """What one way comes to on the labelled rows; a row without an answer is not right.

    ``low`` and ``high`` are the interval of the share of rows that it is right on, by Clopper and Pearson. ``against``
    is its difference from the first way that asks once a row, with the rows that either alone is right on and
    `mcnemar`'s p; None for that one itself.
    """

    method: str
    about: str
    right: int
    low: float
    high: float
    decided: int
    spent: Spending
    runs: tuple[str, ...]
    against: Against | None

    def to_json(self, rows: int) -> dict[str, Any]:
        """Return one flat line of a table, of so many labelled rows."""
        beside = ("spent", "against")
        facts = {name: value for name, value in self._asdict().items() if name not in beside} | self.spent._asdict()
        facts |= {
            "rows": rows, "share": self.right / rows, "share_decided": self.decided / rows,
            "right_of_decided": self.right / self.decided if self.decided else None,
        }  # fmt: skip
        only, other, found, p = (None, None, None, None) if self.against is None else self.against
        low, estimate, high = (None, None, None) if found is None else found
        return facts | {
            "only_this": only, "only_other": other, "difference": estimate, "difference_low": low,
            "difference_high": high, "p": p,
        }  # fmt: skip


class Against(NamedTuple):
    """Two ways on the same rows: on how many only one of them is right, and by how much the first is right on more."""

    only_this: int
    only_other: int
    difference: Difference
    p: float


class PoolErrors(NamedTuple):
    """What the members of a pool get wrong together, by one call of each.

    ``votes`` are None where none of them errs, or nothing varies.
    """

    members: int
    all_wrong: AllWrong
    votes: EffectiveVotes | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ways to answer the labelled rows of a job.

    Args:
        rows: Labelled rows.
        of: Rows of the job.
        blank: Labels that say nothing.
        worth: So much more of the rows must be right for votes to be worth it.
        confidence: Of each interval by itself.
        scores: The ways, in the order in which they are told.
        pool: There where the job has a pool, whose members were asked alone.
        advice: What follows for the job's votes.
        labels: The digest of the file with the labels.
    """

    rows: int
    of: int
    blank: int
    worth: float
    confidence: float
    scores: tuple[Score, ...]
    pool: PoolErrors | None
    advice: Advice
    labels: str

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON; ``methods`` has one flat line for each way."""
        pool = None
        if self.pool is not None:
            votes = None if self.pool.votes is None else self.pool.votes._asdict()
            pool = {"members": self.pool.members, "all_wrong": self.pool.all_wrong._asdict(), "effective_votes": votes}
        facts = {name: getattr(self, name) for name in ("rows", "of", "blank", "worth", "confidence", "labels")}
        return facts | {
            "methods": [score.to_json(self.rows) for score in self.scores], "pool": pool,
            "advice": self.advice._asdict() | {"verdict": str(self.advice.verdict)},
        }  # fmt: skip


class LabelledJob(NamedTuple):
    """A map with the labels of some of its rows."""

    job: Job
    labels: RowLabels
    of: int
    digest: str

    @property
    def rows(self) -> Sequence[int]:
        """The numbers of the labelled rows, ascending."""
        return sorted(self.labels.rows)


def with_labels(job: Job, labels: LabelFile, *, shuffled: bool = False) -> LabelledJob:
    """Read the labels of a map's rows, before anything is asked. Blocks.

    Raises:
        BadInput: The job is no map; the labels cannot be read, contradict each other, are not of its rows, or no answer
            can be what one says; they are too few, or stand together in a file whose rows are not ``shuffled``.
    """
    task = job.decomposer
    if not isinstance(task, RowDecomposer) or job.poll is not None:
        raise BadInput(
            f"only ways to answer the rows of a map are compared, and {task.name} is not one",
            fix="`maker calibrate JOB` measures how often samples of other tasks are right",
        )
    if labels.path.is_file() and holds_sample(labels.path):
        raise BadInput(
            f"{labels.path} is a sample of `maker audit`: it says whether one run's answers are right, not what is",
            fix="give a file with the rows' ids and their right answers",
        )
    ids, whose = "write ids as they stand in the input", "the job's input"
    own = str(job.settings["task"].get("id_column") or "")
    found = labels_of_rows(task, labels, id_column=own, whose=whose, ids=ids)
    of = task.count()
    if len(found.rows) < min(LEAST, of):
        raise BadInput(
            f"{labels.path} labels {len(found.rows)} rows: so few show nothing, even if all of them differ",
            fix=f"label at least {LEAST}, and rather 300, drawn at random",
        )
    if not shuffled:
        refuse_in_order(found.rows, of)
    return LabelledJob(job, found, of, sha256(labels.path.read_bytes()).hexdigest())


def compare(
    given: LabelledJob,
    *,
    methods: Sequence[str] = (),
    worth: float = WORTH,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> Comparison:
    """Have the labelled rows answered in each way, and say what that shows of the job's votes. Blocks.

    Each way's samples are those of runs, with the job's limits for all of them together. Asked for again, it goes on
    where it was: what was asked is not asked again. What was found is kept in the job's store.

    Args:
        given: A map with known margins, and its labels.
        methods: Names of ``METHODS``; all of them by default.
        worth: So much more of the rows must be right for votes to be worth it, between 0 and 1.
        on_event: Told of the runs.
        stop: Set it from another thread to pause.

    Raises:
        BadInput: A number or a name will not do.
        PilotPaused: ``stop`` was set, or a limit was reached.
    """
    names = refuse_unfit(methods, worth)
    asker = RowAsker(given.job, given.rows, on_event=on_event, stop=stop)
    answers = [one for name in names for one in METHODS[name](asker)]
    found = judged(given, answers, worth)
    keep(given.job, found.to_json())
    return found


def refuse_unfit(methods: Sequence[str], worth: float) -> tuple[str, ...]:
    """Return the names of the ways to compare. Raises `BadInput` where they, or ``worth``, will not do."""
    if not 0 < worth < 1:
        raise BadInput(f"worth {worth:g} is not between 0 and 1", fix="give a share of rows, like 0.03")
    return chosen_methods(methods)


def judged(given: LabelledJob, answers: Sequence[Answers], worth: float) -> Comparison:
    """Return what ways to answer come to by the labels. Pure."""
    right = {id(one): _right(given, one) for one in answers}
    plain = [one for one in answers if one.plain]
    # One sample at the job's temperature stands in where there is no greedy call.
    calls = [one for one in plain if one.method != SINGLE] or plain
    votes = next(one for one in answers if one.method == VOTES)
    scores = [_score(one, right[id(one)], None if one is calls[0] else right[id(calls[0])]) for one in answers]
    beside = [
        PlainCall(one.called, *_only(right[id(votes)], right[id(one)]), *_times(votes.spent, one.spent))
        for one in calls
    ]
    members = [right[id(one)] for one in answers if one.method == MEMBERS]
    advice = advise(votes.called, beside, Labelled(len(given.rows), given.of, worth, CONFIDENCE))
    return Comparison(
        rows=len(given.rows), of=given.of, blank=given.labels.blank, worth=worth, confidence=CONFIDENCE,
        scores=tuple(scores), pool=_pool(members), advice=advice, labels=given.digest,
    )  # fmt: skip


def _right(given: LabelledJob, answers: Answers) -> tuple[bool, ...]:
    task = given.job.decomposer
    assert isinstance(task, RowDecomposer)  # noqa: S101 - labels were read of its rows
    return tuple(given.labels.is_right(task, row, answers.keys.get(row)) for row in given.rows)


def _score(answers: Answers, right: Sequence[bool], base: Sequence[bool] | None) -> Score:
    against = None
    if base is not None:
        only = _only(right, base)
        against = Against(*only, paired_difference(*only, len(right), CONFIDENCE), mcnemar(*only))
    decided = sum(key is not None for key in answers.keys.values())
    low, high = share_within(sum(right), len(right), CONFIDENCE)
    return Score(answers.method, answers.about, sum(right), low, high, decided, answers.spent, answers.runs, against)


def _only(one: Sequence[bool], other: Sequence[bool]) -> tuple[int, int]:
    """Return on how many rows only the one is right, and only the other."""
    pairs = list(zip(one, other, strict=True))
    return sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)


def _times(votes: Spending, call: Spending) -> tuple[float, str]:
    """Return how many times as dear votes are: in money where both have a price, else in tokens."""
    if votes.cost and call.cost:
        return votes.cost / call.cost, "price"
    return votes.tokens / max(1, call.tokens), "tokens"


def _pool(members: Sequence[Sequence[bool]]) -> PoolErrors | None:
    if len(members) < 2:
        return None
    rows = list(zip(*members, strict=True))
    return PoolErrors(len(members), all_wrong(rows, CONFIDENCE), effective_votes(rows, CONFIDENCE))
