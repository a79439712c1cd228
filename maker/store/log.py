"""Read the log: steps, samples, prompts and snapshots, streamed in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import starmap
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, Table, exists, func, select, tuple_

from maker.store.backend import schema
from maker.store.backend.database import Database
from maker.store.chains import ChainRow, find_chain
from maker.store.seals import outcome_seal, snapshot_seal
from maker.voting.paths import ROOT

PAGE = 5000


class StepRow(NamedTuple):
    """One decided step as stored. A join has an empty tally."""

    idx: int
    epoch: int
    action: str
    tally: bytes
    tokens: int
    digest: bytes


class SnapshotRow(NamedTuple):
    """The state before step ``idx``."""

    idx: int
    epoch: int
    state: str
    seal: bytes | None = None

    def fits(self, chain: int, before: bytes) -> bool:
        """Say whether it is as it was written for a chain, after a step with the digest ``before``."""
        return self.seal is None or self.seal == snapshot_seal(chain, self.idx, self.epoch, before, self.state)


class SampleRow(NamedTuple):
    """One stored sample: its ``candidate`` if it became a vote, else its ``flag``. ``text`` is None if it is lost.

    ``model`` is the number of its model in the pool. ``system`` is the system prompt and ``wording`` its digest, if the
    sample had another one than the step; ``temperature`` is set if it was not the model's own.
    """

    idx: int
    epoch: int
    vote: int
    digest: bytes
    text: str | None
    tokens: int
    candidate: str | None
    flag: str | None
    detail: str
    model: int
    logprob: float | None
    wording: bytes | None = None
    system: str | None = None
    temperature: float | None = None


class VoteRow(NamedTuple):
    """One stored sample without its text: ``candidate`` is None if it was flagged."""

    idx: int
    epoch: int
    vote: int
    candidate: str | None
    tokens: int
    logprob: float | None


class PromptRow(NamedTuple):
    """The prompt of a step whose samples are stored: the shared part, and the part that varies."""

    idx: int
    epoch: int
    system: str | None
    prompt: str | None


class CutRow(NamedTuple):
    """Where an epoch of a chain began."""

    idx: int
    epoch: int
    reason: str


def epoch_at(cuts: Sequence[CutRow], idx: int) -> int:
    """Return the epoch that a live step of a chain must be of."""
    return max((cut.epoch for cut in cuts if cut.idx <= idx), default=0)


def snapshot_epochs(cuts: Sequence[CutRow], idx: int) -> set[int]:
    """Return the epochs that a live snapshot of a chain may be of: that of the step before it, or of one cut there.

    A chain that forks where it was cut has a snapshot there of every epoch: all hold the same state.
    """
    before = epoch_at(cuts, idx - 1)
    return {before} | {cut.epoch for cut in cuts if cut.idx == idx and cut.epoch > before}


class OutcomeRow(NamedTuple):
    """A child of a fork of single steps without a good decision."""

    idx: int
    epoch: int
    outcome: str
    reason: str
    seal: bytes | None = None

    def fits(self, chain: int) -> bool:
        """Say whether it is as it was written for the chain of its fork."""
        return self.seal is None or self.seal == outcome_seal(chain, self.idx, self.epoch, self.outcome)


class Span(NamedTuple):
    """Part of a chain's log: the steps from ``start`` to before ``stop`` belong to ``chain``."""

    chain: ChainRow
    start: int
    stop: int | None


def spans(database: Database, chain: ChainRow) -> list[Span]:
    """Return the parts of a chain's log, first steps first; several if its run was forked from another."""
    found = [Span(chain, chain.base_idx, None)]
    while chain.base is not None:
        stop = chain.base_idx
        chain = find_chain(database, chain.base, ROOT)
        found.insert(0, Span(chain, chain.base_idx, stop))
    return found


def span_at(database: Database, chain: ChainRow, idx: int) -> Span:
    """Return the part of a chain's log that holds step ``idx``."""
    found = spans(database, chain)
    return next((span for span in reversed(found) if span.start <= idx), found[0])


def read_steps(
    database: Database,
    chain: int,
    start: int = 0,
    stop: int | None = None,
    *,
    single: bool = False,
    cuts: Sequence[CutRow] | None = None,
) -> Iterator[StepRow]:
    """Yield a chain's own live steps, from ``start`` to before ``stop``, in order, in constant memory.

    Steps that a cut superseded are left out. ``single`` says that each step is a child of its own, so that a cut
    supersedes only that one. ``cuts`` are all of the chain's, for a caller that has read them. Reads pages by key,
    each in its own short transaction, so that no writer waits.
    """
    live = live_places(read_cuts(database, chain) if cuts is None else cuts, single=single)
    for row in _read_all(database, chain, start, stop):
        if live(row.idx, row.epoch):
            yield row


def read_step(database: Database, chain: int, idx: int, epoch: int) -> StepRow | None:
    """Return one of a chain's own steps, superseded or not."""
    table = schema.step.c
    query = _select(schema.step, StepRow)
    rows = database.fetch(query.where(table.chain == chain, table.idx == idx, table.epoch == epoch))
    return StepRow(*rows[0]) if rows else None


def live_places(cuts: Sequence[CutRow], *, single: bool) -> Callable[[int, int], bool]:
    """Return a function that says whether an index and epoch of a chain are live: superseded by none of its cuts."""
    if not cuts:
        return lambda idx, epoch: True
    if single:
        newest = {cut.idx: cut.epoch for cut in cuts}
        return lambda idx, epoch: epoch >= newest.get(idx, 0)
    return lambda idx, epoch: not any(cut.epoch > epoch and cut.idx <= idx for cut in cuts)


def _read_all(database: Database, chain: int, start: int, stop: int | None) -> Iterator[StepRow]:
    table = schema.step.c
    query = _select(schema.step, StepRow).where(table.chain == chain)
    return starmap(StepRow, _paged(database, query, (table.idx, table.epoch), start, stop))


def _select(table: Table, row: type[StepRow | SnapshotRow | VoteRow | CutRow | OutcomeRow]) -> Select[Any]:
    """Return a query of the columns that a kind of row is made of, in the order of its fields."""
    return select(*(table.c[name] for name in row._fields))


def _paged(
    database: Database, query: Select[Any], place: Sequence[ColumnElement[Any]], start: int, stop: int | None
) -> Iterator[Any]:
    """Yield a query's rows in order of ``place``, their first columns; ``start`` and ``stop`` bound the first."""
    if stop is not None:
        query = query.where(place[0] < stop)
    after = (start, *(-1 for _ in place[1:]))
    while True:
        rows = database.fetch(query.where(tuple_(*place) > after).order_by(*place).limit(PAGE))
        yield from rows
        if len(rows) < PAGE:
            return
        after = tuple(rows[-1][: len(place)])


def read_cuts(database: Database, chain: int) -> list[CutRow]:
    """Return where epochs of a chain began, in order of epoch."""
    table = schema.cut.c
    query = _select(schema.cut, CutRow).where(table.chain == chain).order_by(table.epoch, table.idx)
    return [CutRow(*row) for row in database.fetch(query)]


def read_cuts_of(database: Database, chains: Sequence[int]) -> dict[int, list[CutRow]]:
    """Return where epochs of each of some chains began, as `read_cuts` does, in one query."""
    table = schema.cut.c
    query = _select(schema.cut, CutRow).add_columns(table.chain).where(table.chain.in_(chains))
    found: dict[int, list[CutRow]] = {chain: [] for chain in chains}
    for *row, chain in database.fetch(query.order_by(table.chain, table.epoch, table.idx)):
        found[chain].append(CutRow(*row))
    return found


def read_outcomes(database: Database, chain: int, start: int = 0, stop: int | None = None) -> Iterator[OutcomeRow]:
    """Yield the children of a fork of single steps without a good decision, from ``start`` to before ``stop``."""
    table = schema.outcome.c
    query = _select(schema.outcome, OutcomeRow).where(table.chain == chain)
    return starmap(OutcomeRow, _paged(database, query, (table.idx, table.epoch), start, stop))


def count_cuts(database: Database, run: int) -> int:
    """Return how often a part of a run was cut off to be decided again."""
    query = select(func.count()).select_from(schema.cut).join(schema.chain, schema.chain.c.id == schema.cut.c.chain)
    return int(database.fetch(query.where(schema.chain.c.run == run))[0][0])


def read_samples(database: Database, chain: int, start: int, stop: int | None = None) -> Iterator[SampleRow]:
    """Yield the stored samples of a chain's own steps, from ``start`` to before ``stop``, by step and vote."""
    table, text, words = schema.sample, schema.text, schema.text.alias("words")
    elsewhere = {"digest": table.c.text, "text": text.c.body, "wording": table.c.system, "system": words.c.body}
    columns = [elsewhere[name] if name in elsewhere else table.c[name] for name in SampleRow._fields]
    place = (table.c.idx, table.c.epoch, table.c.vote)
    joined = table.outerjoin(text, text.c.digest == table.c.text).outerjoin(words, words.c.digest == table.c.system)
    query = select(*columns).select_from(joined).where(table.c.chain == chain)
    return starmap(SampleRow, _paged(database, query, place, start, stop))


def read_votes(database: Database, chain: int, start: int = 0, stop: int | None = None) -> Iterator[VoteRow]:
    """Yield the stored samples of a chain's own steps as `read_samples` does, without their texts."""
    table = schema.sample.c
    query = _select(schema.sample, VoteRow).where(table.chain == chain)
    return starmap(VoteRow, _paged(database, query, (table.idx, table.epoch, table.vote), start, stop))


def read_prompts(database: Database, chain: int, start: int, stop: int | None = None) -> Iterator[PromptRow]:
    """Yield the stored prompts of a chain's own steps, in order of step and epoch."""
    table, system, prompt = schema.prompt, schema.text.alias("shared"), schema.text.alias("varying")
    joined = table.outerjoin(system, system.c.digest == table.c.system)
    joined = joined.outerjoin(prompt, prompt.c.digest == table.c.prompt)
    place = (table.c.idx, table.c.epoch)
    query = select(*place, system.c.body, prompt.c.body).select_from(joined).where(table.c.chain == chain)
    return starmap(PromptRow, _paged(database, query, place, start, stop))


def read_snapshots(database: Database, chain: int) -> Iterator[SnapshotRow]:
    """Yield a chain's own snapshots, in order."""
    table = schema.snapshot.c
    query = _select(schema.snapshot, SnapshotRow).where(table.chain == chain)
    return starmap(SnapshotRow, _paged(database, query, (table.idx, table.epoch), 0, None))


def snapshot_at(database: Database, chain: int, idx: int, epoch: int) -> SnapshotRow | None:
    """Return the state before one of a chain's own steps, as of an epoch, None where none was kept."""
    table = schema.snapshot.c
    query = _select(schema.snapshot, SnapshotRow)
    rows = database.fetch(query.where(table.chain == chain, table.idx == idx, table.epoch == epoch))
    return SnapshotRow(*rows[0]) if rows else None


def newest_snapshot(database: Database, chain: ChainRow, upto: int) -> SnapshotRow | None:
    """Return a chain's own newest live snapshot at or before an index, or None."""
    table, cut = schema.snapshot.c, schema.cut.c
    # A snapshot holds the state before its step, so one right at a cut is not superseded.
    superseded = exists().where(cut.chain == table.chain, cut.epoch > table.epoch, cut.idx < table.idx)
    query = _select(schema.snapshot, SnapshotRow).where(table.chain == chain.key, table.idx <= upto, ~superseded)
    rows = database.fetch(query.order_by(table.idx.desc(), table.epoch.desc()).limit(1))
    return SnapshotRow(*rows[0]) if rows else None
