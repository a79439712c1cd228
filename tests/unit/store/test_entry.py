"""What an entry of the journal holds, and the rows that are made of it."""

from __future__ import annotations

from maker.store.backend import schema
from maker.store.batch import _Sample
from maker.store.entry import Entry, StepCounts, sum_counts
from maker.voting.messages import Decided

VOTED = Decided(1, 0, 0, "x", b"tally", 9, b"digest", votes=5, flags=2, disputed=True, memo=b"question", calls=7)
TAKEN = Decided(1, 1, 0, "x", b"tally", 0, b"digest", calls=7)
JOIN = Decided(1, 2, 0, "3", b"", 0, b"digest")


def test_steps_are_counted_by_what_became_of_them() -> None:
    """Steps that were voted on, steps that were taken from the memo; joins are neither. Children of maps count too."""
    entry = Entry(decided=[VOTED, TAKEN, JOIN], rows=[VOTED])
    assert entry.counts == StepCounts(voted=2, votes=10, flags=4, disputed=2, reused=1, saved=7)
    assert entry.counts.decided == 3
    assert sum_counts([entry.counts, Entry(rows=[TAKEN]).counts]) == StepCounts(2, 10, 4, 2, reused=2, saved=14)
    assert sum_counts([]) == StepCounts()


def test_rows_have_the_columns_of_their_tables() -> None:
    """A sample's row is a tuple in the table's order; a step's is read off `Decided` by the table's names."""
    assert _Sample._fields == tuple(schema.sample.columns.keys())
    assert set(schema.step.columns.keys()) <= set(Decided._fields)
