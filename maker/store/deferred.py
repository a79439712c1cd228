"""Read the steps that a run's budget of votes has put off, and how its other steps stand.

How far an election has come that is put off stands as JSON in the reason of its outcome: as long as it is open, there
is no other reason to tell.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import func, select

from maker.errors import StoreFailed
from maker.store.backend import schema
from maker.store.backend.database import Database
from maker.store.log import PAGE
from maker.types import Flag, Outcome, RedFlag, Sample
from maker.voting.election import HeardSample
from maker.voting.messages import Deferral, EarlierVotes
from maker.voting.tally import unpack

ALLOCATED: Final = "votes_allocated"
SPENT: Final = "vote_budget_over"
"""Events that tell how a run's budget is spent. A resume goes on from the newest."""
AT_ONCE = 500
"""Samples of so many steps are read in one query."""

_outcome, _sample, _step, _text = schema.outcome.c, schema.sample.c, schema.step.c, schema.text.c


class DeferredStep(NamedTuple):
    """A child of a fork of single steps that is put off: its votes by candidate and model, and its flags by model."""

    idx: int
    epoch: int
    deferral: Deferral
    votes_by_model: dict[str, dict[int, int]]
    flags: dict[int, int]

    @property
    def votes(self) -> dict[str, int]:
        """Its valid votes by candidate."""
        return {candidate: sum(votes.values()) for candidate, votes in self.votes_by_model.items()}


def deferral_text(deferral: Deferral) -> str:
    """Return how an outcome's reason says how far an election has come."""
    return json.dumps(deferral._asdict())


def read_deferred(database: Database, chain: int) -> Iterator[DeferredStep]:
    """Yield the deferred children of a fork of single steps, in order. Uses constant memory."""
    rows = select(_outcome.idx, _outcome.epoch, _outcome.reason)
    rows = rows.where(_outcome.chain == chain, _outcome.outcome == Outcome.DEFERRED).order_by(_outcome.idx)
    after = -1
    while page := database.fetch(rows.where(_outcome.idx > after).limit(PAGE)):
        after = page[-1].idx
        columns = (_sample.idx, _sample.epoch, _sample.candidate, _sample.model)
        query = select(*columns, func.count()).where(_sample.chain == chain)
        query = query.where(_sample.idx >= page[0].idx, _sample.idx <= after).group_by(*columns)
        found = {(idx, epoch): DeferredStep(idx, epoch, _deferral(text), {}, {}) for idx, epoch, text in page}
        for idx, epoch, candidate, model, count in database.fetch(query):
            if (one := found.get((idx, epoch))) is None:
                continue
            (one.flags if candidate is None else one.votes_by_model.setdefault(candidate, {}))[model] = count
        yield from found.values()


def decided_tallies(database: Database, chain: int) -> Counter[tuple[int, int]]:
    """Return how many decided children of a fork of single steps have so many votes for winner and strongest rival."""
    found: Counter[tuple[int, int]] = Counter()
    query = select(_step.tally, func.count()).where(_step.chain == chain).group_by(_step.tally)
    for packed, steps in database.fetch(query):
        tally = unpack(packed)
        found[sum(tally.votes), max((sum(votes) for votes in tally.rivals.values()), default=0)] += steps
    return found


def earlier_votes(database: Database, chain: int, places: Sequence[tuple[int, int]]) -> dict[int, EarlierVotes]:
    """Return the votes that children of a fork of single steps go on from, by their numbers, where they have any.

    ``places`` are their numbers and epochs.
    """
    found: dict[int, EarlierVotes] = {}
    for start in range(0, len(places), AT_ONCE):
        epochs = dict(places[start : start + AT_ONCE])
        samples: dict[int, list[HeardSample]] = {}
        for idx, heard in _heard(database, chain, epochs):
            samples.setdefault(idx, []).append(heard)
        # By number alone: a database that is asked for pairs reads the whole chain.
        columns = select(_outcome.idx, _outcome.epoch, _outcome.reason)
        for idx, epoch, reason in database.fetch(columns.where(_outcome.chain == chain, _outcome.idx.in_(epochs))):
            if idx in samples and epoch == epochs[idx]:
                found[idx] = EarlierVotes(_deferral(reason), tuple(samples[idx]))
    return found


def _heard(database: Database, chain: int, epochs: Mapping[int, int]) -> Iterator[tuple[int, HeardSample]]:
    table = schema.sample
    query = select(
        _sample.idx, _sample.epoch, _sample.vote, _text.body, _sample.tokens, _sample.candidate, _sample.flag,
        _sample.detail, _sample.model, _sample.logprob,
    ).select_from(table.outerjoin(schema.text, _text.digest == _sample.text))  # fmt: skip
    query = query.where(_sample.chain == chain, _sample.idx.in_(epochs)).order_by(_sample.idx, _sample.vote)
    for idx, epoch, vote, text, tokens, candidate, flag, detail, model, logprob in database.fetch(query):
        if epoch != epochs[idx]:
            continue
        if text is None:
            raise StoreFailed(
                f"the text of vote {vote} on child {idx} is lost: it cannot go on",
                fix="restore the database from a backup",
            )
        red_flag = None if flag is None else RedFlag(Flag(flag), detail)
        sample = Sample(text, tokens, logprob=logprob, flag=red_flag)
        yield idx, HeardSample(vote, sample, candidate if red_flag is None else red_flag, model)


def _deferral(text: str) -> Deferral:
    try:
        return Deferral(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise StoreFailed(
            f"a deferred row's outcome cannot be read: {text!r:.60}", fix="restore the database from a backup"
        ) from error
