"""Check people's answers beside the log: that each is as it was given, and that its row has the outcome it answers."""

from __future__ import annotations

from maker.store.backend.database import Database
from maker.store.locations import path_of
from maker.store.log import read_outcomes
from maker.store.reviews import ReviewRow, reviews_of
from maker.verification.snapshots import Bad
from maker.voting.paths import chain_name, is_single


def check_reviews(database: Database, run: int) -> None:
    """Check the answers to rows that a run has asked, a run by its key. Raises `Bad` for the first that is wrong.

    An answer that is missing is not found: its row is one that nobody has decided.
    """
    for one in reviews_of(database, run):
        if not one.sealed:
            raise Bad(f"{_where(database, one)}: a person's answer beside the log does not match its seal")
        if not _stands(database, one):
            raise Bad(f"{_where(database, one)}: a person's answer beside the log is to another outcome than it has")


def _where(database: Database, one: ReviewRow) -> str:
    path = path_of(database, one.key.chain)
    if path is None or not is_single(path):
        # Of a changed key.
        return f"chain {one.key.chain}, step {one.key.idx}"
    return f"chain {chain_name(path, one.key.idx)}"


def _stands(database: Database, one: ReviewRow) -> bool:
    key = one.key
    found = read_outcomes(database, key.chain, key.idx, key.idx + 1)
    return any((outcome.epoch, outcome.outcome) == (key.epoch, one.outcome) for outcome in found)
