"""Rows of a map that votes have not decided: find them, show one to a person, and take the answer.

An answer stands beside the log (`maker.store.reviews`): the run may be over, and its digest stays what it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from typing import Any

from maker.core.user_code import call_user_code
from maker.engine.referrals import asked_at
from maker.errors import BadInput, TaskFailed
from maker.job.job import Job
from maker.job.rules import rules_of
from maker.lifecycle.answers import answering_jobs, checked
from maker.lifecycle.rows import RowLog, Settled, is_map, samples
from maker.store.backend.database import Database
from maker.store.log import SampleRow, read_outcomes, read_prompts
from maker.store.referrals import OpenReferral, ReferralRow, StepKey
from maker.store.reviews import MISSED, ReviewRow, give_review, read_reviews
from maker.store.runs import RunRow
from maker.types import Flag, Sample, Step, StepClass
from maker.voting.messages import Proposal
from maker.voting.paths import chain_name, read_name
from maker.voting.policy import Shared
from maker.voting.red_flags import Candidate, screen
from maker.voting.tally import Tally, pack, unpack


class MissedRows:
    """The rows of a map that votes have not decided, and that no person has either: an iterable, in input order.

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
        self._job = answering_jobs(database)

    def __iter__(self) -> Iterator[Settled]:
        """Yield them as they are now; reads outcomes alone, in constant memory but for what people have answered."""
        return (one for one in self._all() if not one.reviewed)

    def named(self, name: str) -> Settled | None:
        """Return the one at a place, else with an id, answered or not; None if there is none.

        Raises `BadInput` if several have the id, or the input cannot be read.
        """
        # Places first: ids are read from the input, row by row.
        here = self._at(name) or [one for one in self._all() if self._log.name(one.row) == name]
        if len(here) > 1:
            places = ", ".join(map(place_of, here[:5]))
            said = f"{len(here)} rows of run {self._run.run_id} are called {name!r}"
            raise BadInput(said, fix=f"name one by its place: {places}")
        return here[0] if here else None

    def values(self, key: StepKey) -> Mapping[str, Any]:
        """Return the values of the row that is a step; nothing of a step that is none, or a row that cannot be read.

        Raises `BadInput` if the input cannot be read.
        """
        rows = next((one.rows for one in self._rounds if one.chain.key == key.chain), None)
        return {} if rows is None else self._log.task.row(rows[key.idx])[1]

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
            BadInput: Somebody has answered it already, or it is asked again; the rules refuse the answer.
            RunNotResumable: As `shown`.
        """
        if settled.reviewed:
            raise self._over(settled)
        one, run, outcome = self.shown(settled), settled.round.chain.run, settled.outcome
        assert outcome is not None  # noqa: S101 - it has no decision
        decided = checked(self._database, self._job(run), one, value, by)
        tally, tokens = decided.tally, one.row.tokens
        row = ReviewRow(one.row.key, run, settled.row, outcome.outcome, decided.action, tally, tokens)
        if not give_review(self._database, row):
            raise self._over(settled)
        return one

    def _over(self, settled: Settled) -> BadInput:
        """Return the error that a row takes no answer any more."""
        found = read_reviews(self._database, settled.round.chain.key).get(settled.child)
        person = None if found is None else unpack(found.tally).person
        by = f", by {person.name}" if person is not None and person.name else ""
        said = "is being asked again" if found is None else f"is over: it has been answered{by}"
        fix = "see `maker results RUN`"
        return BadInput(f"{self._log.name(settled.row)} of run {self._run.run_id} {said}", fix=fix, over=True)

    def _all(self) -> Iterator[Settled]:
        return merge(*map(self._of, range(len(self._rounds))), key=lambda one: one.row)

    def _at(self, place: str) -> list[Settled]:
        """Return the row at a place, in a list; [] if there is none."""
        name, _, step = place.rpartition(":")
        try:
            *path, child = read_name(name)
        except ValueError:
            return []
        for number, one in enumerate(self._rounds):
            if step == "0" and one.chain.path == tuple(path) and child < len(one.rows):
                return list(self._of(number, child, child + 1))
        return []

    def _of(self, number: int, start: int = 0, stop: int | None = None) -> Iterator[Settled]:
        """Yield those rows of a round that no later round asks, answered or not; its children from ``start`` on."""
        one, later = self._rounds[number], self._rounds[number + 1 :]
        reviews = read_reviews(self._database, one.chain.key)
        for outcome in read_outcomes(self._database, one.chain.key, start, stop):
            row = one.rows[outcome.idx]
            if outcome.outcome in MISSED and not any(again.child_of(row) is not None for again in later):
                yield one.as_settled(outcome.idx, None, outcome, reviews)

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
        texts = {} if move is None else self._texts(kind, state, kept, job)
        votes = Counter(sample.candidate for sample in kept if sample.candidate in texts)
        proposals = tuple(Proposal(key, texts[key], n) for key, n in votes.most_common() if key is not None)
        number = Shared.of(task, rules).kinds[kind.name].number
        return kind.name, proposals, pack(_counted(kept, number, rules.models))

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


def missed_rows(database: Database, run: RunRow) -> MissedRows | None:
    """Return the rows of a map that nobody has decided, None for a run of another task."""
    return MissedRows(database, run) if is_map(database, run) else None


def place_of(settled: Settled) -> str:
    """Return where a row stands, as people name a step: ``0.17:0``."""
    return f"{chain_name(settled.round.chain.path, settled.child)}:0"


def _counted(kept: Iterable[SampleRow], kind: int, models: int) -> Tally:
    """Return the count of votes that nobody has won."""
    votes: dict[str, list[int]] = {}
    flags: dict[Flag, list[int]] = {}
    for sample in kept:
        if sample.candidate is not None:
            votes.setdefault(sample.candidate, [0] * models)[sample.model] += 1
        elif sample.flag is not None:
            flags.setdefault(Flag(sample.flag), [0] * models)[sample.model] += 1
    rivals = {name: tuple(found) for name, found in votes.items()}
    return Tally(kind, 1, (0,) * models, rivals, {flag: tuple(found) for flag, found in flags.items()})
