"""Whose fault it is that rows get no reply: each row's own, or the model's. Pure: no clock."""

from __future__ import annotations

from typing import NamedTuple

from maker.errors import RowUnanswered
from maker.voting.messages import ChainRef

MANY = 16
"""So many rows without a reply and without an answered one to vouch for them are the model's fault."""
FEW = 2
"""One row alone never is."""
VOUCHED = 100
"""For so many rows without a reply the answered ones vouch at most: a model that hardly answers any more is noticed."""


class Unanswered(NamedTuple):
    """A row that got no reply, and the error that says so."""

    ref: ChainRef
    error: RowUnanswered


class RowFaults:
    """Tells whose fault it is.

    An answered row vouches for one that got no reply: the model works, and the fault is the row's own. For a row whose
    tries others outlasted (`Failed.alone`) any row vouches that was answered in the session, for another one only a row
    that is answered afterwards. Rows for which none vouches are held back. ``many`` of them are the model's fault, and
    are to be asked again; fewer, where nothing else is left to ask, are their own.

    Args:
        many: How many rows are asked at once; `MANY` at most count.
        worked: Whether the model has answered in the run before this session.
    """

    def __init__(self, many: int = MANY, *, worked: bool = False) -> None:
        self._many = max(FEW, min(MANY, many))
        self._vouchers = 0
        self._answered = worked
        self._held: list[Unanswered] = []

    def answered(self, rows: int) -> list[Unanswered]:
        """Take note that so many rows were answered; returns rows whose fault turns out to be their own."""
        if not rows:
            return []
        self._answered = True
        own, self._held = self._held[:rows], self._held[rows:]
        self._vouchers = min(VOUCHED, self._vouchers + rows - len(own))
        return own

    def unanswered(self, row: Unanswered) -> list[Unanswered]:
        """Take note of a row that got no reply; returns it if the fault is its own."""
        if row.error.facts.get("alone") and self._vouchers:
            self._vouchers -= 1
            return [row]
        self._held.append(row)
        return []

    def over(self) -> list[Unanswered]:
        """Nothing else is left to ask: return the rows whose fault is their own after all."""
        # A server that is given up fails all rows that wait for it at once.
        if not self._answered or len(self._held) >= self._many:
            return []
        own, self._held = self._held, []
        return own

    def models_fault(self, *, over: bool) -> RowUnanswered | None:
        """Return the first row's error if it is the model's fault; ``over`` says that nothing is left to ask."""
        if self._held and (over or len(self._held) >= self._many):
            return self._held[0].error
        return None
