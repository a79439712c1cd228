"""Races to a lead of k on the rows of an error process: how likely they go wrong, exactly, and whole simulated runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from heapq import heappop, heappush
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from scipy.special import comb, expit, logit

from benchmarks.shared.error_processes import FLAGGED, IN_WORK, Mask, Process, Reals, Rows, Whole, replies, shifted

SETTLED = 1e-12
"""A race is over where less than this is left undecided."""
SIMULATED, THIN = 400_000, 1e-7
"""With several rivals so many races are simulated, unless the sum over the rivals bounds what is lost by less."""
REQUESTS = 100
"""Moments are drawn for so many requests of the last row."""


class Ended(NamedTuple):
    """How a run ended: by row the votes for the winner, for its strongest rival, whether the winner is right.

    ``undecided`` rows have none. ``order`` is that in which rows end; ``votes`` are valid ones.
    """

    winner: Whole
    rival: Whole
    right: Mask
    undecided: Mask
    order: Whole
    votes: int


def moments_of(process: Process, rng: Generator) -> Reals:
    """Draw what time adds to log-odds in a run, by moment: the rows of the run, and the requests after the last row."""
    late = np.zeros(IN_WORK * REQUESTS)
    shifts = process.course.draw(rng, process.rows)
    late[:] = shifts[-1]
    return np.concatenate([shifts, late])


def at_request(rows: Rows, shifts: Reals, which: Whole, number: int) -> Reals:
    """Return the p of some rows at their request of that number: all in work are asked before one is asked again."""
    if not shifts.any():
        return rows.p[which]
    return shifted(rows.p[which], shifts[np.minimum(which + IN_WORK * number, len(shifts) - 1)])


def failures(process: Process, rows: Rows, k: Whole, shifts: Reals) -> Reals:
    """Return the chance that each row, by its own margin, is decided wrongly, however many votes it may take."""
    if process.rivals > 1:
        lost = np.array([_against_several(*one) for one in zip(rows.p, repeat(process.rivals), k.tolist())])
    elif process.together or shifts.any():
        lost = np.empty(len(rows.p))
        for margin in np.unique(k):
            which = np.flatnonzero(k == margin)
            lost[which] = _in_requests(partial(at_request, rows, shifts, which), int(margin), process.together)
    else:
        lost = np.asarray(expit(-k * logit(rows.p)), dtype=np.float64)
    return np.where(rows.repeats, 1 - rows.p, lost)


def _in_requests(p_at: Callable[[int], Reals], k: int, together: float) -> Reals:
    """Return the chance that a race is lost whose request j has p_at(j), by following the law of the lead."""
    leads = np.zeros((len(p_at(0)), 2 * k + 1))
    leads[:, k] = 1.0
    lost, number = np.zeros(len(leads)), 0
    while leads.sum(axis=1).max() > SETTLED:
        p, after = p_at(number)[:, None], np.zeros_like(leads)
        for size in range(1, k + 1):
            right = np.arange(size + 1)
            chance = (1 - together) * comb(size, right) * p**right * (1 - p) ** (size - right)
            chance[:, [-1]] += together * p
            chance[:, [0]] += together * (1 - p)
            for lead in {size - k, k - size}:
                after[:, k + lead - size + 2 * right] += leads[:, k + lead, None] * chance
        lost += after[:, 0]
        after[:, [0, -1]] = 0.0
        leads, number = after, number + 1
    return lost


@cache
def _against_several(p: float, rivals: int, k: int) -> float:
    """Return the chance that a race against several rivals alike is lost: simulated, or a bound if it is tiny."""
    bound = rivals * float(expit(-k * np.log(p * rivals / (1 - p))))
    if bound < THIN:
        return bound
    process = Process("", "", (), rivals=rivals)
    rows = Rows(np.full(SIMULATED, p), np.zeros(SIMULATED), np.zeros(SIMULATED, int), np.zeros(SIMULATED, bool))
    ended = hold(process, np.random.default_rng([rivals, k]), rows, np.full(SIMULATED, k), np.zeros(1), most=None)
    return float(1 - ended.right.mean())


def hold(process: Process, rng: Generator, rows: Rows, k: Whole, shifts: Reals, *, most: int | None) -> Ended:
    """Simulate a run: every request asks a row for the fewest votes that could settle it, ``most`` replies in all."""
    counts = np.zeros((len(rows.p), process.rivals + 1), dtype=np.int64)
    asked, requests = np.zeros(len(rows.p), int), np.zeros(len(rows.p), int)
    undecided = np.zeros(len(rows.p), bool)
    fate = (rng.random(len(rows.p)) >= rows.p).astype(np.int64)
    open_rows, sizes, number = np.arange(len(rows.p)), k.copy(), 0
    while len(open_rows):
        p = at_request(rows, shifts, open_rows, number)
        answers = replies(process, rng, p, rows.malformed[open_rows], int(sizes.max()))
        answers = np.where(rows.repeats[open_rows, None] & (answers != FLAGGED), fate[open_rows, None], answers)
        answers[np.arange(answers.shape[1]) >= sizes[:, None]] = FLAGGED
        for answer in range(process.rivals + 1):
            counts[open_rows, answer] += (answers == answer).sum(axis=1)
        asked[open_rows] += sizes
        requests[open_rows] += 1
        first = np.partition(counts[open_rows], (-2, -1), axis=1)[:, -2:]
        lacking = k[open_rows] - (first[:, 1] - first[:, 0])
        lost = np.zeros(len(open_rows), bool) if most is None else (lacking > 0) & (asked[open_rows] + lacking > most)
        undecided[open_rows[lost]] = True
        going = (lacking > 0) & ~lost
        open_rows, sizes, number = open_rows[going], lacking[going], number + 1
    rival, winner = np.partition(counts, (-2, -1), axis=1)[:, -2:].T
    right = ~undecided & (counts.argmax(axis=1) == 0)
    return Ended(winner, rival, right, undecided, _order(requests.tolist()), int(counts.sum()))


def _order(requests: Sequence[int]) -> Whole:
    """Return the order in which rows end that begin in theirs, `IN_WORK` at a time, where all requests take as long."""
    in_work: list[int] = []
    ends = np.empty(len(requests), dtype=np.int64)
    for row, number in enumerate(requests):
        begun = heappop(in_work) if len(in_work) == IN_WORK else 0
        ends[row] = begun + number
        heappush(in_work, begun + number)
    return np.argsort(ends, kind="stable")
