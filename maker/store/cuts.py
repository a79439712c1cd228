"""Cut chains: steps from an index on are superseded, and the chain's next epoch begins there. Nothing is deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from maker.store.backend import schema
from maker.store.backend.database import Database, retried
from maker.store.chains import ChainRow, ForkRow, read_children, read_fork, root_chain
from maker.store.lease import Lease
from maker.store.log import read_cuts, read_outcomes, read_prompts, read_steps
from maker.store.memo import forget_cut
from maker.store.outside import read_outside
from maker.store.referrals import answered_among, withdraw
from maker.store.reviews import read_reviews, reviewed_among
from maker.store.runs import fenced
from maker.store.seals import Place, chain_seal, fork_seal, outcome_seal, weighed
from maker.store.tree import walk_steps
from maker.types import Outcome
from maker.voting.tally import forked, unpack


class Superseded(NamedTuple):
    """Counts of the steps that a cut supersedes, to be subtracted from the run's."""

    steps: int = 0
    votes: int = 0
    red_flags: int = 0
    disputed: int = 0
    reused: int = 0
    saved: int = 0


class Cut(NamedTuple):
    """Where a chain is decided again: from ``idx`` on, in ``epoch``; ``digest`` is the one before ``idx``.

    ``single`` says that only the child with number ``idx`` of the fork of single steps ``fork`` is decided again.
    """

    chain: int
    place: Place
    idx: int
    epoch: int
    digest: bytes
    single: bool
    reason: str
    superseded: Superseded
    fork: ForkRow | None = None


def to_retry(database: Database, run: int, outcomes: Collection[str]) -> list[Cut]:
    """Return the cuts for a run's unresolved steps: undecided ones, and children that ended wrong or were rejected.

    Among children of forks of single steps, only those with one of the ``outcomes`` are cut, and none that a person has
    decided. What is recorded of an effect or a wait is never cut off: it is joined again as it is.
    """
    root = root_chain(database, run)
    recorded = {one.chain for one in read_outside(database, run)}
    return [one for one in _stuck(database, root, root.digest, outcomes) if one.chain not in recorded]


@retried
def cut(database: Database, lease: Lease, cuts: Iterable[Cut]) -> None:
    """Store cuts, and subtract what they supersede from the run's counts. Raises `LeaseLost` or `StoreFailed`.

    A step that a person has answered meanwhile is not cut off: the answer is for the log, or stands beside it.
    """
    wanted = list(cuts)
    if not wanted:
        return
    run = schema.run.c
    with database.write() as connection:
        # Whoever answers locks the run's row first: from here on nobody does.
        connection.execute(select(run.id).where(run.id == lease.run).with_for_update())
        answered = answered_among(connection, {(one.chain, one.idx) for one in wanted})
        for chain in {one.chain for one in wanted if one.single}:
            answered |= {(chain, idx) for idx in reviewed_among(connection, chain)}
        cuts = [one for one in wanted if (one.chain, one.idx) not in answered]
        if not cuts:
            return
        superseded = Superseded(*(sum(amounts) for amounts in zip(*(one.superseded for one in cuts), strict=True)))
        if _is_there(connection, cuts[0]):
            # The connection was lost at the commit, but the commit took place.
            return
        fewer = superseded._asdict()
        changes = {name: run[name] - amount for name, amount in fewer.items()}
        fenced(connection, lease, **changes, counted=run.counted - weighed(fewer))
        connection.execute(insert(schema.cut), [_row(one) for one in cuts])
        for one in cuts:
            forget_cut(connection, one.chain, one.idx, one.epoch, single=one.single)
            withdraw(connection, one.chain, one.idx, single=one.single)
            if not one.single:
                _begin_again(connection, one)
        if singles := [one for one in cuts if one.single]:
            _decide_again(connection, singles)


def _is_there(connection: Connection, one: Cut) -> bool:
    table = schema.cut.c
    here = (table.chain == one.chain, table.idx == one.idx, table.epoch == one.epoch)
    return connection.execute(select(table.idx).where(*here)).first() is not None


def _row(one: Cut) -> dict[str, Any]:
    return {"chain": one.chain, "idx": one.idx, "epoch": one.epoch, "reason": one.reason}


def _decide_again(connection: Connection, singles: list[Cut]) -> None:
    table = schema.outcome
    here = (table.c.chain == bindparam("of"), table.c.idx == bindparam("at"))
    connection.execute(delete(table).where(*here), [{"of": one.chain, "at": one.idx} for one in singles])
    connection.execute(insert(table), [_row(one) | _again(one) for one in singles])
    for fork in {one.fork for one in singles if one.fork is not None and one.idx < one.fork.joined}:
        _join_again(connection, fork)


def _again(one: Cut) -> dict[str, Any]:
    again = str(Outcome.AGAIN)
    return {"outcome": again, "seal": outcome_seal(one.chain, one.idx, one.epoch, again)}


def _join_again(connection: Connection, fork: ForkRow) -> None:
    """Reset a fork to the state that it began in, so that its children are folded again."""
    kept, table = schema.snapshot.c, schema.fork.c
    place = (kept.chain == fork.chain, kept.idx == fork.idx, kept.epoch == fork.epoch)
    state = connection.execute(select(kept.state).where(*place)).scalar_one()
    here = (table.chain == fork.chain, table.idx == fork.idx, table.epoch == fork.epoch)
    seal = fork_seal(fork.chain, fork.idx, fork.epoch, fork.children, 0, b"", state, single=fork.single)
    connection.execute(update(schema.fork).where(*here).values(joined=0, state=state, digest=b"", seal=seal))


def _begin_again(connection: Connection, one: Cut) -> None:
    begins = {"cursor": one.idx, "epoch": one.epoch, "digest": one.digest}
    seal = chain_seal(one.chain, one.place, "running", None)
    open_again = {"status": "running", "reason": "", "result": None, "seal": seal}
    connection.execute(update(schema.chain).where(schema.chain.c.id == one.chain).values(begins | open_again))


def _stuck(database: Database, chain: ChainRow, genesis: bytes, outcomes: Collection[str]) -> Iterator[Cut]:
    if chain.status in ("failed", "rejected") and chain.path:
        superseded = _superseded(step.tally for _, step in walk_steps(database, chain))
        yield Cut(chain.key, chain.place, 0, chain.epoch + 1, genesis, False, chain.reason, superseded)
        return
    if any(kept.epoch == chain.epoch for kept in read_prompts(database, chain.key, chain.cursor, chain.cursor + 1)):
        yield Cut(
            chain.key, chain.place, chain.cursor, chain.epoch + 1, chain.digest, False, chain.reason, Superseded()
        )  # fmt: skip
    fork = read_fork(database, chain.key, chain.cursor, chain.epoch)
    for child in read_children(database, fork, chain.path, unfinished=True) if fork is not None else ():
        if fork is not None and fork.single:
            yield from _rows(database, fork, child, outcomes)
        elif fork is not None:
            yield from _stuck(database, child, _first(chain, fork, child), outcomes)


def _first(parent: ChainRow, fork: ForkRow, child: ChainRow) -> bytes:
    return forked(parent.digest, fork.idx, fork.epoch, child.number)


def _rows(database: Database, fork: ForkRow, chain: ChainRow, outcomes: Collection[str]) -> Iterator[Cut]:
    cuts = read_cuts(database, chain.key)
    epochs = {cut.idx: cut.epoch for cut in cuts}
    reviews = read_reviews(database, chain.key)
    missed = (one for one in read_outcomes(database, chain.key) if one.outcome in tuple(outcomes))
    found = {one.idx: one for one in missed if one.idx not in reviews}
    if not found:
        return
    rows = read_steps(database, chain.key, min(found), max(found) + 1, single=True, cuts=cuts)
    tallies = {row.idx: row.tally for row in rows if row.idx in found}
    for idx, one in found.items():
        superseded = _superseded([tallies[idx]] if idx in tallies else [])
        yield Cut(chain.key, chain.place, idx, epochs.get(idx, 0) + 1, b"", True, one.reason, superseded, fork)


def _superseded(tallies: Iterable[bytes]) -> Superseded:
    steps = votes = red_flags = disputed = reused = saved = 0
    for packed in tallies:
        tally = unpack(packed)
        steps += 1
        if tally.person is not None:
            # Its votes are counted where they settled nothing.
            continue
        votes += sum(tally.valid)
        red_flags += sum(tally.flagged)
        disputed += tally.disputed
        if tally.source is not None:
            reused, saved = reused + 1, saved + tally.source.calls
    return Superseded(steps, votes, red_flags, disputed, reused, saved)
