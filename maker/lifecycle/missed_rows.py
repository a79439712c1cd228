"""Rows of a map that votes have not decided: find them, show one to a person, and take the answer.

An answer stands beside the log (`maker.store.reviews`): the run may be over, and its digest stays what it was.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import groupby
from typing import Any

from maker.core.user_code import call_user_code
from maker.engine.referrals import asked_at
from maker.errors import BadInput, TaskFailed
from maker.job.job import Job
from maker.job.rules import rules_of
from maker.lifecycle.answers import answering_job, checked
from maker.lifecycle.rows import Round, RowLog, Settled, samples
from maker.store.backend.database import Database
from maker.store.log import SampleRow, read_outcomes, read_prompts
from maker.store.referrals import OpenReferral, ReferralRow, StepKey
from maker.store.reviews import MISSED, give_review, read_reviews
from maker.store.runs import RunRow, run_at
from maker.types import Flag, Sample, Step, StepClass
from maker.voting.messages import Proposal
from maker.voting.paths import chain_name
from maker.voting.policy import Shared
from maker.voting.red_flags import Candidate, screen
from maker.voting.tally import Tally, pack, unpack


class MissedRows:
    """The rows of a map that are settled without a decision, and that no person has answered, in input order.

    Args:
        database: The store.
        run: The map's run.

    Raises:
        BadInput: The run's task has no rows.
    """

    def __init__(self, database: Database, run: RunRow) -> None:
        self._database = database
        self._run = run
        self._log = RowLog(database, run)
        self._rounds = self._log.rounds()
        self._jobs: dict[int, Job] = {}

    def __iter__(self) -> Iterator[Settled]:
        """Yield them as they are now; reads outcomes alone, in constant memory but for what people have answered."""
        yield from merge(*(self._of(number) for number in range(len(self._rounds))), key=lambda one: one.row)

    def named(self, name: str) -> list[Settled]:
        """Return the one at a place, else those with an id. Raises `BadInput` if the input cannot be read."""
        # Places first: ids are read from the input, row by row.
        here = [one for one in self if place_of(one) == name]
        return here or [one for one in self if self._log.name(one.row) == name]

    def shown(self, settled: Settled) -> OpenReferral:
        """Return what a person is asked: the candidates, and the part of the prompt that varies.

        Raises:
            BadInput: The input cannot be read.
            RunNotResumable: The code of the task has changed since the run began.
        """
        chain, outcome = settled.round.chain, settled.outcome
        assert outcome is not None  # noqa: S101 - it has no decision
        key = StepKey(chain.key, settled.child, outcome.epoch)
        kept = samples(settled)
        kind, proposals, tally = self._votes(settled, key, kept)
        tokens = sum(sample.tokens for sample in kept)
        place, name = chain_name(chain.path, settled.child), self._log.name(settled.row)
        row = ReferralRow(key, place, 0, name, kind, proposals, tally, tokens, closed=True, begun_at=0.0)
        asked = read_prompts(self._database, chain.key, settled.child, settled.child + 1)
        prompt = next((one.prompt for one in asked if one.epoch == outcome.epoch), None)
        return OpenReferral(self._run.run_id, self._run.name, row, prompt or "")

    def answer(self, settled: Settled, value: Any, by: str) -> OpenReferral:
        """Store a person's answer, ``value`` and ``by`` as in `answer_step`; returns what was asked.

        Raises:
            BadInput: Somebody has answered it meanwhile, or it is asked again; the rules refuse the answer.
            RunNotResumable: As `shown`.
        """
        one, run = self.shown(settled), settled.round.chain.run
        decided = checked(self._database, self._job(run), one, value, by)
        person = unpack(decided.tally).person
        assert person is not None  # noqa: S101 - it was just answered
        row = one.row._replace(
            answer=decided.action, by=by, answered_at=person.at_ms / 1000, begun_at=person.at_ms / 1000,
            tally=decided.tally,
        )  # fmt: skip
        if not give_review(self._database, run, row):
            found = read_reviews(self._database, row.key.chain).get(row.key.idx)
            by = f", by {found.by}" if found is not None and found.by else ""
            said = "is being asked again" if found is None else f"is over: it has been answered{by}"
            raise BadInput(f"{row.name} of run {one.run_id} {said}", fix="see `maker results RUN`", over=True)
        return one

    def _of(self, number: int) -> Iterator[Settled]:
        """Yield those rows of a round that no later round asks."""
        one, later = self._rounds[number], self._rounds[number + 1 :]
        reviews = read_reviews(self._database, one.chain.key)
        for outcome in read_outcomes(self._database, one.chain.key):
            row = one.rows[outcome.idx]
            if (
                outcome.outcome in MISSED
                and outcome.idx not in reviews
                and not any(_asks(again, row) for again in later)
            ):
                yield Settled(row, one, outcome.idx, None, outcome)

    def _job(self, run: int) -> Job:
        if run not in self._jobs:
            self._jobs[run] = answering_job(self._database, run_at(self._database, run))
        return self._jobs[run]

    def _votes(
        self, settled: Settled, key: StepKey, kept: Sequence[SampleRow]
    ) -> tuple[str, tuple[Proposal, ...], bytes]:
        """Return a row's step class, its candidates, those with most votes first, and its packed count."""
        job = self._job(settled.round.chain.run)
        task, rules = job.decomposer, rules_of(job)
        try:
            state = asked_at(self._database, task, key).state_of(task)
            move = call_user_code(f"{task.name}: next", task.next, state)
        except TaskFailed:
            # A row that cannot be read: whoever answers it is told.
            move = None
        kind = move.kind if isinstance(move, Step) else task.classes[0]
        shared = Shared.of(task, rules)
        texts = {} if move is None else self._texts(kind, state, kept, job)
        votes = Counter(sample.candidate for sample in kept if sample.candidate in texts)
        proposals = tuple(Proposal(key, texts[key], n) for key, n in votes.most_common() if key is not None)
        counts: dict[bool, dict[str, list[int]]] = {True: {}, False: {}}
        for sample in kept:
            if name := sample.candidate if sample.candidate is not None else sample.flag:
                by_model = counts[sample.candidate is not None].setdefault(name, [0] * rules.models)
                by_model[sample.model] += 1
        rivals = {name: tuple(found) for name, found in counts[True].items()}
        flags = {Flag(name): tuple(found) for name, found in counts[False].items()}
        number = shared.kinds[kind.name].number
        return kind.name, proposals, pack(Tally(number, 1, (0,) * rules.models, rivals, flags))

    def _texts(
        self, kind: StepClass[Any, Any], state: Any, kept: Sequence[SampleRow], job: Job
    ) -> dict[str | None, str]:
        """Return the whole action of each candidate, as its first sample proposes it."""
        found: dict[str | None, str] = {}
        thinking, codec = rules_of(job).thinking, job.decomposer.action
        for sample in kept:
            if sample.candidate is not None and sample.candidate not in found and sample.text is not None:
                read = call_user_code(
                    f"{job.decomposer.name}: parse and check", screen, kind, state, Sample(sample.text, 0), codec,
                    thinking,
                )  # fmt: skip
                if isinstance(read, Candidate):
                    found[sample.candidate] = read.text
        return found


def answered_ranges(database: Database, run: RunRow) -> list[tuple[int, int]]:
    """Return the rows of a map that people have answered beside the log, as ranges, in order."""
    rounds = RowLog(database, run).rounds()
    rows = sorted(one.rows[child] for one in rounds for child in read_reviews(database, one.chain.key))
    # Rows that follow one another are as far from their places as one another.
    runs = ([row for _, row in its] for _, its in groupby(enumerate(rows), key=lambda one: one[1] - one[0]))
    return [(found[0], found[-1] + 1) for found in runs]


def place_of(settled: Settled) -> str:
    """Return where a row stands, as people name a step: ``0.17:0``."""
    return f"{chain_name(settled.round.chain.path, settled.child)}:0"


def _asks(one: Round, row: int) -> bool:
    place = bisect_left(one.rows, row)
    return place < len(one.rows) and one.rows[place] == row
