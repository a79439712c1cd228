"""Rows that a person has decided after their votes were over: the answers stand beside the log, which does not change.

Such an answer is a row of `maker_referral` at the place of a child's outcome. It holds for that outcome alone: a cut
gives the child another epoch. So a cut leaves out what is answered (`maker.store.cuts`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, func, insert, select

from maker.store.backend import schema
from maker.store.backend.database import Database, retried
from maker.store.referrals import ReferralRow
from maker.types import Outcome

_referral, _outcome = schema.referral.c, schema.outcome.c
MISSED = (Outcome.UNDECIDED, Outcome.REJECTED, Outcome.FAILED)
"""Outcomes of children that votes have not decided, and that nobody has been asked about."""


class Review(NamedTuple):
    """A person's answer to a child without a decision: the action as its task writes it, and the packed tally."""

    idx: int
    epoch: int
    answer: str
    tally: bytes
    tokens: int
    by: str
    answered_at: float


def read_reviews(database: Database, chain: int) -> Mapping[int, Review]:
    """Return the answers of a fork's single steps by child: as many as people have written, all in memory."""
    columns = (_referral.idx, _referral.epoch, _referral.answer, _referral.tally, _referral.tokens)
    query = select(*columns, _referral.answered_by, _referral.answered_at).where(_referral.chain == chain, reviewed())
    return {row[0]: Review(*row) for row in database.fetch(query)}


def count_reviews(database: Database, run: int) -> int:
    """Return how many rows of a run have such an answer."""
    query = select(func.count()).select_from(schema.referral).where(_referral.run == run, reviewed())
    return int(database.fetch(query)[0][0])


def reviewed() -> ColumnElement[bool]:
    """Return the condition that a row of `maker_referral` is such an answer, and that its outcome still stands."""
    here = (_outcome.chain == _referral.chain, _outcome.idx == _referral.idx, _outcome.epoch == _referral.epoch)
    return select(_outcome.chain).where(*here, _outcome.outcome.in_(MISSED)).exists()


def reviewed_among(connection: Connection, chain: int) -> set[int]:
    """Return the children of a fork of single steps that have such an answer, in the caller's transaction."""
    return set(connection.execute(select(_referral.idx).where(_referral.chain == chain, reviewed())).scalars())


@retried
def give_review(database: Database, run: int, row: ReferralRow) -> bool:
    """Store an answer to a child without a decision; returns False if it has one, or is no such child any more.

    Args:
        database: The store.
        run: The key of the run that asked the child.
        row: What was asked, with the answer.
    """
    outcome = (_outcome.chain == row.key.chain, _outcome.idx == row.key.idx, _outcome.epoch == row.key.epoch)
    taken = (_referral.chain == row.key.chain, _referral.idx == row.key.idx, _referral.epoch == row.key.epoch)
    with database.write() as connection:
        # The run's row first: a cut, and whoever else answers, come one after the other.
        connection.execute(select(schema.run.c.id).where(schema.run.c.id == run).with_for_update())
        stands = select(_outcome.chain).where(*outcome, _outcome.outcome.in_(MISSED))
        if connection.execute(stands).first() is None:
            return False
        if before := connection.execute(select(schema.referral).where(*taken)).first():
            # The connection may have been lost at a commit that took place.
            given = (before.answer, before.answered_by, before.answered_at)
            return given == (row.answer, row.by, row.answered_at)
        connection.execute(insert(schema.referral).values(row.values(run)))
        return True
