"""A pilot of a map: a sample of its rows voted on twice, to find the margin that a row error asks for.

Of two elections on one row that end differently, one at least is not what the model says most often. With P(a) the
probability that an election which is decided ends with answer a, two differ with probability 1 - sum P(a)^2, which is
never below 1 - max P(a): the share of rows on which two elections differ bounds the share that one election decides
otherwise than elections mostly do, whatever the rows, the number of rivals, or the flags. It rests on no model of them.
What all votes of a row are wrong about together no vote shows: labels do (`maker.reporting.audit`).
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple

from maker.calibration.observations import first_alike
from maker.errors import JobError, OutOfReach
from maker.job.job import Job
from maker.job.plan_words import OTHERWISE, row_error_line
from maker.job.probe import expected_steps
from maker.job.resolve import derived
from maker.job.settings import PilotFound
from maker.job.variants import with_pilot
from maker.job.vote import voter_at
from maker.lifecycle.control import refuse_used_output, run_through
from maker.lifecycle.rows import RowLog, Settled, settled_rows
from maker.lifecycle.session import OnEvent
from maker.plugin import Voter, vote_key
from maker.stats.bounds import share_at_most
from maker.stats.vote_tests import PilotSteps
from maker.store.backend.database import Database, open_database
from maker.store.log import read_samples
from maker.store.runs import PILOT, find_run
from maker.voting.tally import unpack
from maker.voting.vote_replay import replay_votes

CONFIDENCE, TOGETHER = 0.975, 0.95
"""Of each of at most two pilots, and that neither is wrong: this is what a row error is said to hold with."""
MARGINS = (4, 8)
"""The margins that pilots vote with: the second is held only where the first shows that no margin up to it will do."""
LEAST, USUAL, PART = 6.0, 15.0, 20
"""Rows of a pilot, as multiples of 1 / row error: with the first, one row may differ, with the second seven. In between
it is one in so many rows of the map."""


class Level(NamedTuple):
    """What a pilot says of one margin; see `maker.job.settings.PilotFound`."""

    k: int
    both: int
    differ: int
    at_most: float
    votes: float


class Pair(NamedTuple):
    """The valid votes of the two elections on one row, in their order."""

    first: Sequence[str]
    second: Sequence[str]


def pilot(job: Job, *, on_event: OnEvent | None = None, stop: threading.Event | None = None) -> Job:
    """Vote on a sample of a map's rows twice, and return the job with the least margin that keeps its row error.

    Either vote is a run of its own in the job's store; one that is there already, from a pilot that was cut off or for
    a job that differs in nothing that counts, is gone on with. Blocks.

    Raises:
        BadInput: The job says no row error, or cannot be run as it is.
        OutOfReach: The rows are too few to show the row error, or no margin up to the largest of a pilot keeps it.
        PilotPaused: ``stop`` was set, or a limit was reached.
    """
    if not job.needs_pilot:
        raise JobError("a pilot finds k for vote.row_error, but the job does not set it")
    refuse_used_output(job)
    row_error = job.vote.row_error or 0.0
    rows = sample_size(expected_steps(job) or 0, row_error)
    for k in sorted({min(k, (job.vote.max_votes + 1) // 2) for k in MARGINS}):
        made = [derived(job, job.settings, pilot_words(job, rows, k, job.run.seed + n)) for n in (1, 2)]
        first, second = (run_through(one, on_event=on_event, stop=stop) for one in made)
        with closing(open_database(job.store.url, create=False)) as database:
            found = evaluate(database, job, (first, second))
        if found.at_most <= row_error:
            return with_pilot(job, found)
    raise OutOfReach(
        f"vote.row_error = {row_error:g} is out of reach: at k = {k}, {found.differ:,} of {found.both:,} rows got "
        f"another answer in a second vote, which shows that {row_error_line(found.at_most, TOGETHER, OTHERWISE)}",
        fix=f"improve the prompt, use a better model, or set vote.k; `maker results {first}` shows the votes",
    )


def sample_size(rows: int, row_error: float) -> int:
    """Return how many rows a pilot takes. Raises `OutOfReach` where all rows are too few to show the row error.

    300,000 rows at .01 give 1,500, 10,000 give 600.
    """
    if rows < (least := math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-row_error))):
        raise OutOfReach(
            f"vote.row_error = {row_error:g}: {rows:,} rows are too few to show it; a pilot needs {least:,}",
            fix="set vote.k instead, and measure the error with `maker audit`",
        )
    return min(rows, math.ceil(min(USUAL / row_error, max(LEAST / row_error, rows / PART))))


def pilot_words(job: Job, rows: int, k: int, seed: int) -> list[str]:
    """Return the overrides that make a job one of its pilot's two runs. It writes no files, and keeps what it heard."""
    task = job.settings["task"]
    samples = "disputed" if job.store.samples == "none" else job.store.samples
    return [
        f"run.name={PILOT}{job.run.name or task['decomposer']}", f"run.seed={seed}", f"vote.k={k}",
        f"task.sample={rows}", "task.output=", f"store.samples={samples}",
    ]  # fmt: skip


def evaluate(database: Database, job: Job, runs: tuple[str, str]) -> PilotFound:
    """Return what the two finished runs of a pilot show of the least margin that keeps the job's row error.

    It is about the runs' own margin, the largest, where not even that one does; see `least_level`.
    """
    assert job.vote.row_error is not None  # noqa: S101 - it is what the pilot was for
    largest = find_run(database, runs[0]).settings["vote"]["k"]
    pairs = list(heard_twice(database, runs))
    found = least_level(pairs, partial(voter_at, job), largest, job.vote.row_error)
    return PilotFound(
        **found._asdict(), rows=len(pairs), of=expected_steps(job) or 0, confidence=TOGETHER,
        agreement=agreement(pairs), runs=runs, contested=contested(pairs, found.k),
    )  # fmt: skip


def least_level(pairs: Sequence[Pair], voter_of: Callable[[int], Voter], largest: int, row_error: float) -> Level:
    """Return what a pilot at a margin shows of the least one that keeps a row error; of its own where that does not.

    Margins are tried from there down to the first that does not: a bound that fails by chance, as each may with 1 -
    `CONFIDENCE`, is not looked for.
    """
    found = level(pairs, voter_of(largest), largest)
    while found.at_most <= row_error and found.k > 1:
        lower = level(pairs, voter_of(found.k - 1), found.k - 1)
        if lower.at_most > row_error:
            break
        found = lower
    return found


def level(pairs: Sequence[Pair], voter: Voter, k: int) -> Level:
    """Return what elections by ``voter``, whose margin is k, make of votes that were cast at that margin or more."""
    both = differ = votes = decided = 0
    for pair in pairs:
        first, second = (replay_votes(voter, heard) for heard in pair)
        for ended in (first, second):
            if ended.winner is not None:
                decided, votes = decided + 1, votes + ended.votes
        if first.winner is not None and second.winner is not None:
            both, differ = both + 1, differ + (first.winner != second.winner)
    return Level(k, both, differ, share_at_most(differ, both, CONFIDENCE), votes / decided if decided else 0.0)


def agreement(pairs: Sequence[Pair]) -> float:
    """Return the share of elections whose first two votes were alike."""
    begun = [heard for pair in pairs for heard in pair if len(heard) > 1]
    return sum(heard[0] == heard[1] for heard in begun) / len(begun) if begun else 0.0


def contested(pairs: Sequence[Pair], k: int) -> PilotSteps | None:
    """Return the rows by their first k votes, for the monitor of the run; None where these say nothing.

    Of the first election alone: the two of a row are not independent. Rows without a vote do not count, as in the run.
    """
    return PilotSteps.of(Counter(first_alike(pair.first) for pair in pairs if pair.first), k)


def heard_twice(database: Database, runs: tuple[str, str]) -> Iterator[Pair]:
    """Yield the votes on each row of a pilot, in its two runs."""
    rounds = [RowLog(database, find_run(database, run)).rounds() for run in runs]
    for first, second in zip(*(settled_rows(one) for one in rounds), strict=True):
        yield Pair(_heard(first), _heard(second))


def _heard(settled: Settled) -> list[str]:
    """Return a row's valid votes in their order: those of the kept samples, else all of them alike."""
    round_, step, outcome = settled.round, settled.step, settled.outcome
    if step is None or unpack(step.tally).disputed:
        epoch = next(one.epoch for one in (step, outcome) if one is not None)
        kept = read_samples(round_.database, round_.chain.key, settled.child, settled.child + 1)
        return [sample.candidate for sample in kept if sample.epoch == epoch and sample.candidate is not None]
    codec = round_.decomposer.action
    return [vote_key(codec, codec.read(step.action))] * sum(unpack(step.tally).votes)
