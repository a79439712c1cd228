"""Rows that people have decided after their votes were over: the answers stand beside the log, which does not change.

An answer belongs to the outcome of a child of a fork of single steps, as it was when the person answered. A cut gives
the child another epoch; so it leaves out what is answered (`maker.store.cuts`), and an answer holds for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select

from maker.store.backend import schema
from maker.store.backend.database import Database, retried
from maker.store.chains import find_chain, first_chain
from maker.store.log import Span
from maker.store.referrals import StepKey
from maker.store.seals import review_seal
from maker.types import Outcome
from maker.voting.paths import ROOT

_review, _outcome = schema.review.c, schema.outcome.c
MISSED = (Outcome.UNDECIDED, Outcome.REJECTED, Outcome.FAILED)
"""Outcomes of rows that votes have not decided, and that nobody has been asked about."""


class ReviewRow(NamedTuple):
    """A person's answer to a row that votes have not decided.

    Args:
        key: The child of a fork that the row is.
        run: The key of the run that asked the row.
        row: The row's number in the input.
        outcome: Why votes have not decided it.
        answer: The action that the person has chosen, as the task writes it.
        tally: The packed count of its votes, with who has answered, and when.
        tokens: What the votes took.
        seal: As it is stored; b"" of an answer that is not.
    """

    key: StepKey
    run: int
    row: int
    outcome: str
    answer: str
    tally: bytes
    tokens: int
    seal: bytes = b""

    @property
    def sealed(self) -> bool:
        """Whether it is as it was written."""
        return self.seal == self._seal()

    def values(self) -> dict[str, Any]:
        """Return it as values of the table's columns, sealed."""
        facts = self._asdict() | self.key._asdict() | {"seal": self._seal()}
        del facts["key"]
        return facts

    def _seal(self) -> bytes:
        return review_seal(self.run, tuple(self.key), self.row, self.outcome, self.tally, self.tokens, self.answer)


def read_reviews(database: Database, chain: int) -> Mapping[int, ReviewRow]:
    """Return the answers to a fork's single steps by child: as many as people have written, all in memory."""
    rows = database.fetch(select(schema.review).where(_review.chain == chain).order_by(_review.idx))
    return {row.idx: _row(row) for row in rows}


def reviews_of(database: Database, run: int) -> list[ReviewRow]:
    """Return the answers to rows that a run itself has asked, those with a changed key too; see `ReviewRow.sealed`."""
    its = _review.chain.between(first_chain(run), first_chain(run + 1) - 1)
    query = select(schema.review).where((_review.run == run) | its)
    return [_row(row) for row in database.fetch(query.order_by(_review.chain, _review.idx))]


def reviews_along(database: Database, span: Span) -> list[ReviewRow]:
    """Return the answers to single steps of the forks at the steps of a part of a chain's log."""
    found: list[ReviewRow] = []
    for key, rows in groupby(reviews_of(database, span.chain.run), key=lambda row: row.key.chain):
        place = find_chain(database, key, ROOT).place
        if place.parent == span.chain.key and span.start <= place.at and (span.stop is None or place.at < span.stop):
            found += rows
    return found


def reviewed_among(connection: Connection, chain: int) -> set[int]:
    """Return the children of a fork of single steps that have an answer, in the caller's transaction."""
    return set(connection.execute(select(_review.idx).where(_review.chain == chain)).scalars())


@retried
def give_review(database: Database, row: ReviewRow) -> bool:
    """Store an answer; returns False if the row has one already, or no longer has the outcome that is answered."""
    key = row.key
    stands = (_outcome.chain == key.chain, _outcome.idx == key.idx, _outcome.epoch == key.epoch)
    taken = (_review.chain == key.chain, _review.idx == key.idx, _review.epoch == key.epoch)
    with database.write() as connection:
        # The run's row first: a cut, and whoever else answers, come one after the other.
        connection.execute(select(schema.run.c.id).where(schema.run.c.id == row.run).with_for_update())
        outcome = connection.execute(select(_outcome.outcome).where(*stands)).scalar()
        if outcome != row.outcome or outcome not in MISSED:
            return False
        if before := connection.execute(select(schema.review).where(*taken)).first():
            # The connection may have been lost at a commit that took place.
            return _row(before)._replace(seal=b"") == row
        connection.execute(insert(schema.review).values(row.values()))
        return True


def _row(found: Any) -> ReviewRow:
    key = StepKey(found.chain, found.idx, found.epoch)
    return ReviewRow(
        key, found.run, found.row, found.outcome, found.answer, bytes(found.tally), found.tokens, bytes(found.seal)
    )
