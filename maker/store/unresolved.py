"""Read what a run has left without a good decision; what a cut has superseded is not part of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from sqlalchemy import Exists, func, select

from maker.store.backend import schema
from maker.store.backend.database import Database
from maker.store.locations import is_live
from maker.store.log import PAGE
from maker.types import Outcome

_chain, _cut, _fork, _outcome = schema.chain.c, schema.cut.c, schema.fork.c, schema.outcome.c
_referral, _sample, _step = schema.referral.c, schema.sample.c, schema.step.c
_PLACE = (_chain.parent, _chain.at, _chain.fork_epoch)
"""The fork that a chain belongs to."""


def count_outcomes(database: Database, run: int) -> dict[str, int]:
    """Return how many children of a run's forks of single steps have each outcome."""
    query = select(*_PLACE, _outcome.outcome, func.count())
    query = query.select_from(schema.outcome.join(schema.chain, _chain.id == _outcome.chain)).where(_chain.run == run)
    live = _live_forks(database)
    found: Counter[str] = Counter()
    for parent, at, epoch, outcome, count in database.fetch(query.group_by(*_PLACE, _outcome.outcome)):
        if live(parent, at, epoch):
            found[outcome] += count
    return dict(found)


def undecided_votes(database: Database, run: int) -> Iterator[tuple[int, list[int]]]:
    """Yield each undecided child of a run's forks of single steps: its number, and its valid votes by candidate.

    Leaves out children whose samples were not kept. Uses constant memory.
    """
    undecided = _outcome.outcome == Outcome.UNDECIDED
    held = select(_chain.id, *_PLACE).where(_chain.run == run)
    held = held.where(_chain.id.in_(select(_outcome.chain).where(undecided)))
    live_fork = _live_forks(database)
    for key, *fork in database.fetch(held.order_by(_chain.id)):
        if not live_fork(*fork):
            continue
        rows = select(_outcome.idx, _outcome.epoch).where(_outcome.chain == key, undecided)
        place, after = (_outcome.idx, _outcome.epoch), -1
        while page := database.fetch(rows.where(_outcome.idx > after).order_by(*place).limit(PAGE)):
            first, after = page[0].idx, page[-1].idx
            live = {(row.idx, row.epoch) for row in page}
            query = select(_sample.idx, _sample.epoch, func.count()).where(_sample.chain == key)
            query = query.where(_sample.idx >= first, _sample.idx <= after, _sample.candidate.is_not(None))
            query = query.where(_sample.idx.in_(rows.with_only_columns(_outcome.idx)))
            query = query.group_by(_sample.idx, _sample.epoch, _sample.candidate)
            found: dict[tuple[int, int], list[int]] = {}
            for idx, epoch, votes in database.fetch(query.order_by(_sample.idx, _sample.epoch)):
                if (idx, epoch) in live:
                    found.setdefault((idx, epoch), []).append(votes)
            yield from ((idx, votes) for (idx, _), votes in found.items())


def unresolved_flags(database: Database, run: int) -> dict[str, int]:
    """Return how many samples of steps without a decision were flagged, by reason."""
    decided = select(_step.idx).where(
        _step.chain == _sample.chain, _step.idx == _sample.idx, _step.epoch == _sample.epoch
    )
    query = select(*_PLACE, _sample.flag, func.count()).join(schema.chain, _chain.id == _sample.chain)
    query = query.where(_chain.run == run, _sample.flag.is_not(None), ~decided.exists(), ~_superseded(_sample))
    live = _live_forks(database)
    found: Counter[str] = Counter()
    for parent, at, epoch, flag, count in database.fetch(query.group_by(*_PLACE, _sample.flag)):
        if live(parent, at, epoch):
            found[flag] += count
    return dict(sorted(found.items()))


def count_answered(database: Database, run: int) -> int:
    """Return how many steps of a run people have decided."""
    query = select(*_PLACE, func.count()).join(schema.chain, _chain.id == _referral.chain)
    query = query.where(_referral.run == run, _referral.closed, ~_superseded(_referral))
    live = _live_forks(database)
    rows = database.fetch(query.group_by(*_PLACE).select_from(schema.referral))
    return sum(count for parent, at, epoch, count in rows if live(parent, at, epoch))


def _superseded(table: Any) -> Exists:
    """Return a condition that a cut in its own chain has superseded the step that a table's row is of."""
    fork = (_fork.chain == _chain.parent, _fork.idx == _chain.at, _fork.epoch == _chain.fork_epoch)
    single = select(_fork.chain).where(*fork, _fork.single).exists()
    return (
        select(_cut.chain)
        .where(
            _cut.chain == table.chain,
            _cut.epoch > table.epoch,
            (_cut.idx == table.idx) | ((_cut.idx < table.idx) & ~single),
        )
        .exists()
    )


def _live_forks(database: Database) -> Callable[[int | None, int, int], bool]:
    """Return a function that says whether no cut has superseded a fork, nor one above it; the root has none."""
    return cache(lambda parent, at, epoch: parent is None or is_live(database, parent, at, epoch))
