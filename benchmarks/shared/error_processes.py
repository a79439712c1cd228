"""How replies go wrong: error processes as plain descriptions, and the rows and votes that are drawn from them. Pure.

A process says what a row is like (a `Law` of p, the chance that a valid vote is right), which replies are malformed,
what time does to p (a `Course`), and how replies to one row hang together. It knows nothing of plans and tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import expit, logit

Reals: TypeAlias = NDArray[np.float64]
Whole: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
Law: TypeAlias = Callable[[Generator, int], Reals]
"""Draws p for so many rows."""
FLAGGED = -1
"""In place of an answer. Answer 0 is right, others are wrong."""
IN_WORK = 256
"""Rows that a run has in work at once: ``swarm.chains`` by default."""


def alike(p: float) -> Law:
    """All rows have the same p."""
    return lambda _, rows: np.full(rows, p)


def beta(a: float, b: float) -> Law:
    """P is Beta(a, b)."""
    return lambda rng, rows: rng.beta(a, b, rows)


def log_normal_odds(p: float, deviation: float) -> Law:
    """The odds p / (1-p) are log-normal, with those of ``p`` for their median."""
    return lambda rng, rows: np.asarray(expit(rng.normal(float(logit(p)), deviation, rows)), dtype=np.float64)


def mixed(common: Law, rare: Law, share: float) -> Law:
    """Each row is of a rare kind with the chance ``share``."""

    def draw(rng: Generator, rows: int) -> Reals:
        return np.where(rng.random(rows) < share, rare(rng, rows), common(rng, rows))

    return draw


class Course(NamedTuple):
    """What time does: ``draw`` returns what is added to the log-odds of p at each of so many moments.

    A moment is what one row of a run takes. ``seen`` says that a pilot goes through the same, at moments of its own;
    else it is over before.
    """

    draw: Callable[[Generator, int], Reals]
    seen: bool = True


STEADY = Course(lambda _, moments: np.zeros(moments))


def drift(start: float, end: float) -> Course:
    """A p of ``start`` falls evenly, over the rows of a run, to ``end``. The pilot is held before."""
    return Course(lambda _, moments: logit(np.linspace(start, end, moments)) - logit(start), seen=False)


def changed(p: float, now: float) -> Course:
    """A p of ``p`` is one of ``now`` from the end of the pilot on."""
    return Course(lambda _, moments: np.full(moments, logit(now) - logit(p)), seen=False)


def bad_minutes(share: float, p: float, worse: float, *, moments: int = 10, seen: bool) -> Course:
    """In a share of all minutes, each so many moments long, a p of ``p`` is one of ``worse``."""

    def draw(rng: Generator, all_moments: int) -> Reals:
        bad = rng.random(-(-all_moments // moments)) < share
        return np.where(np.repeat(bad, moments)[:all_moments], logit(worse) - logit(p), 0.0)

    return Course(draw, seen)


@dataclass(frozen=True, slots=True)
class Process:
    """An error process, and the run and the pilot that meet it.

    Args:
        name: Short, for the command line.
        about: What is wrong, in words.
        laws: Of p, one for each step class; the rows are shared out evenly.
        rows: Of the run.
        piloted: How many of them the pilot asks, drawn at random.
        votes: Replies that the pilot asks for on each.
        labelled: Whether it is known what is right there.
        rivals: Wrong answers to a row, all as frequent.
        malformed: The share of replies that cannot be read, by p.
        course: What time does to p.
        together: The chance that all replies of one request are one answer.
        repeats: The share of rows on which all votes of a session repeat the first.
        late: Rows with the smallest p come last.
        first: The pilot asks the first rows, not any.
        easiest: It asks those with the largest p.
        hard: How many rows with a p below one half the pilot asks; None leaves it to chance.
    """

    name: str
    about: str
    laws: tuple[Law, ...]
    rows: int = 1000
    piloted: int = 300
    votes: int = 10
    labelled: bool = True
    rivals: int = 1
    malformed: Callable[[Reals], Reals] = np.zeros_like
    course: Course = STEADY
    together: float = 0.0
    repeats: float = 0.0
    late: bool = False
    first: bool = False
    easiest: bool = False
    hard: int | None = None


class Rows(NamedTuple):
    """The rows of one run, in their order: p, the share of malformed replies, the class, whether votes repeat."""

    p: Reals
    malformed: Reals
    kind: Whole
    repeats: Mask


def draw_rows(process: Process, rng: Generator) -> Rows:
    """Draw the rows of a run."""
    kind = np.arange(process.rows) % len(process.laws)
    p = np.empty(process.rows)
    for number, law in enumerate(process.laws):
        of_kind = kind == number
        p[of_kind] = law(rng, int(of_kind.sum()))
    if process.late:
        p = -np.sort(-p)
    return Rows(p, process.malformed(p), kind, rng.random(process.rows) < process.repeats)


def choose(process: Process, rng: Generator, rows: Rows) -> Whole:
    """Return which rows the pilot asks, in their order. There must be ``hard`` hard ones."""
    if process.first:
        return np.arange(process.piloted)
    if process.easiest:
        return np.sort(np.lexsort((rng.random(process.rows), -rows.p))[: process.piloted])
    if process.hard is None:
        return np.sort(rng.choice(process.rows, process.piloted, replace=False))
    hard, other = np.flatnonzero(rows.p < 0.5), np.flatnonzero(rows.p >= 0.5)
    asked = (rng.choice(hard, process.hard, replace=False),
             rng.choice(other, process.piloted - process.hard, replace=False))  # fmt: skip
    return np.sort(np.concatenate(asked))


def shifted(p: Reals, shift: Reals) -> Reals:
    """Return p with something added to its log-odds."""
    return np.where(shift == 0.0, p, expit(logit(p) + shift))


def replies(process: Process, rng: Generator, p: Reals, malformed: Reals, size: int) -> Whole:
    """Draw one request of ``size`` replies on each of some rows: their answers, or `FLAGGED`."""
    drawn = rng.random((len(p), size))
    right = drawn < p[:, None]
    answers = np.where(right, 0, rng.integers(1, process.rivals, drawn.shape, endpoint=True))
    if process.together:
        one = rng.random(len(p)) < process.together
        answers[one] = answers[one, :1]
    answers[rng.random(answers.shape) < malformed[:, None]] = FLAGGED
    return answers


def hear(process: Process, rng: Generator, rows: Rows, asked: Whole, requests: int = 1) -> Whole:
    """Draw a pilot: the answers to each row that is asked, in so many requests, each after those before on all rows."""
    moments = len(asked) * requests
    shifts = process.course.draw(rng, moments) if process.course.seen else np.zeros(moments)
    fate = (rng.random(len(asked)) >= rows.p[asked]).astype(np.int64)
    heard = []
    for number, size in enumerate(len(part) for part in np.array_split(np.arange(process.votes), requests)):
        p = shifted(rows.p[asked], shifts[number * len(asked) : (number + 1) * len(asked)])
        one = replies(process, rng, p, rows.malformed[asked], size)
        heard.append(np.where(rows.repeats[asked, None] & (one != FLAGGED), fate[:, None], one))
    return np.concatenate(heard, axis=1)
