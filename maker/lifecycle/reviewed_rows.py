"""Rows of a map that people have decided after their votes were over, of all its rounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from maker.store.backend.database import Database
from maker.store.chains import root_chain
from maker.store.log import spans
from maker.store.reviews import ReviewRow, reviews_along
from maker.store.runs import RunRow, run_at


def reviewed_rows(database: Database, run: RunRow) -> list[ReviewRow]:
    """Return people's answers beside the log to rows of a map, by row; [] for other tasks than maps.

    Those of the rounds that the run goes on from are among them, but for what a later round has asked again: its
    result counts.
    """
    found: list[ReviewRow] = []
    for span in spans(database, root_chain(database, run.key)):
        if found:
            found = _not_asked(found, run_at(database, span.chain.run).settings["task"])
        found += reviews_along(database, span)
    return sorted(found, key=lambda one: one.row)


def ranges_of(rows: Iterable[int]) -> list[tuple[int, int]]:
    """Return numbers in order as ranges, each from its first to before another: ``[3, 4, 9]`` gives (3, 5), (9, 10)."""
    # Numbers that follow one another are as far from their places as one another.
    runs = ([row for _, row in its] for _, its in groupby(enumerate(rows), key=lambda one: one[1] - one[0]))
    return [(found[0], found[-1] + 1) for found in runs]


def _not_asked(before: Sequence[ReviewRow], task: Mapping[str, Any]) -> list[ReviewRow]:
    """Return those of earlier rounds that a round leaves as they are; ``task`` is its settings."""
    again = task.get("again", ())
    left = {row for first, stop in task.get("reviewed", ()) for row in range(first, stop)}
    return [one for one in before if one.outcome not in again or one.row in left]
