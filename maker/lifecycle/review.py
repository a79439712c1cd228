"""What a person is to look at in a run: undecided steps and rows that wait, and rows that votes did not decide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from maker.lifecycle.missed_rows import missed_rows
from maker.lifecycle.queries import opened
from maker.lifecycle.waits import VotedFor
from maker.store.backend.database import Database
from maker.store.log import read_samples
from maker.store.referrals import OpenReferral, read_open
from maker.store.runs import OVER, find_run
from maker.types import Outcome


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One step or row that a person may decide with `maker.answer`.

    Args:
        run_id: The run.
        name: What it is called: a row's id, or a step's name.
        at: Where it is, as `maker.answer` takes it too: names may be double, places are not.
        outcome: ``asked`` where the run waits for it; else why the row has no decision: ``undecided``, ``rejected`` or
            ``failed``.
        reason: The same in words, "" where there are none.
        question: The part of its prompt that varies, "" where it was not kept.
        candidates: What was voted for, those with most votes first.
        sample: The first reply for the first candidate, where it says more than the answer; else "".
        values: The row, by column; nothing of a step of another task.
    """

    run_id: str
    name: str
    at: str
    outcome: str
    reason: str
    question: str
    candidates: Sequence[VotedFor]
    sample: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self) | {"candidates": [one._asdict() for one in self.candidates]}


def review(run_id: str, *, store: str | None = None) -> Iterator[ReviewItem]:
    """Yield what a person may decide in a run: what it waits for first, then a map's rows without a decision.

    Decide each with ``maker.answer(run_id, item.at, …)``. Of a map those rows are meant that `maker retry` asks again.

    Raises:
        RunNotFound: There is no such run.
        BadInput: The input of a map cannot be read.
        RunNotResumable: The code of the task has changed since the run began.
    """
    with opened(store) as database:
        row = find_run(database, run_id)
        missed = missed_rows(database, row)
        if row.status not in OVER:
            for one in read_open(database, row.key):
                values = {} if missed is None else missed.values(one.row.key)
                yield _item(database, one, str(Outcome.ASKED), "", values)
        if missed is None:
            return
        for settled in missed:
            shown, outcome = missed.shown(settled), settled.outcome
            assert outcome is not None  # noqa: S101 - it has no decision
            yield _item(database, shown, outcome.outcome, outcome.reason, missed.values(shown.row.key))


def _item(database: Database, one: OpenReferral, outcome: str, reason: str, values: Mapping[str, Any]) -> ReviewItem:
    row = one.row
    candidates = [VotedFor(*proposal) for proposal in row.proposals]
    return ReviewItem(
        one.run_id, row.name, f"{row.place}:{row.step}", outcome, reason, one.prompt, candidates,
        _sample(database, one), values,
    )  # fmt: skip


def _sample(database: Database, one: OpenReferral) -> str:
    """Return the first reply for the candidate with most votes, "" where it holds nothing beside the answer."""
    if not one.row.proposals:
        return ""
    first, key = one.row.proposals[0], one.row.key
    kept = read_samples(database, key.chain, key.idx, key.idx + 1)
    found = (sample.text for sample in kept if sample.epoch == key.epoch and sample.candidate == first.key)
    text = next((text for text in found if text is not None), "")
    return "" if _bare(text) in (_bare(first.key), _bare(first.text)) else text


def _bare(text: str) -> str:
    return "".join(text.split())
