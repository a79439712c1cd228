"""Read what many chains hold in few queries: a run may have forked into a million chains of a few steps each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from sqlalchemy import select

from maker.store.backend import schema
from maker.store.backend.database import Database
from maker.store.chains import ChainRow, ForkRow, read_fork
from maker.store.log import (
    CutRow,
    PromptRow,
    SampleRow,
    SnapshotRow,
    StepRow,
    read_cuts,
    read_cuts_of,
    read_prompts,
    read_samples,
    read_snapshots,
    read_steps,
)

AT_ONCE = 256
"""How many chains are read together."""
SHORT = 64
"""Of chains of so many steps at most the steps are read together: memory stays bounded."""
_HELD = (schema.fork, schema.snapshot, schema.sample, schema.prompt)


@dataclass(frozen=True, slots=True)
class Together:
    """Reads chains, some of which were looked at together: of these it asks for no rows that it knows are not there.

    ``known`` are their cuts, by their keys; ``holding`` are the keys of those that have rows, by table; ``short`` are
    the steps of the short ones.
    """

    database: Database
    known: dict[int, list[CutRow]] = field(default_factory=dict)
    holding: dict[str, set[int]] = field(default_factory=dict)
    short: dict[int, list[StepRow]] = field(default_factory=dict)

    def cuts(self, chain: int) -> list[CutRow]:
        """Return a chain's cuts, as `read_cuts` does."""
        cuts = self.known.get(chain)
        return read_cuts(self.database, chain) if cuts is None else cuts

    def steps(self, chain: int, start: int, stop: int | None, cuts: list[CutRow]) -> Iterator[StepRow]:
        """Yield a chain's live steps, as `read_steps` does."""
        rows = self.short.get(chain)
        if rows is None:
            yield from read_steps(self.database, chain, start, stop, cuts=cuts)
        else:
            yield from (row for row in rows if row.idx >= start and (stop is None or row.idx < stop))

    def snapshots(self, chain: int) -> Iterator[SnapshotRow]:
        """Yield a chain's snapshots, as `read_snapshots` does."""
        return read_snapshots(self.database, chain) if self._may_hold("maker_snapshot", chain) else iter(())

    def samples(self, chain: int, start: int) -> Iterator[SampleRow]:
        """Yield the samples of a chain's steps, as `read_samples` does."""
        return read_samples(self.database, chain, start) if self._may_hold("maker_sample", chain) else iter(())

    def prompts(self, chain: int, start: int) -> Iterator[PromptRow]:
        """Yield the prompts of a chain's steps, as `read_prompts` does."""
        return read_prompts(self.database, chain, start) if self._may_hold("maker_prompt", chain) else iter(())

    def fork(self, chain: int, idx: int, epoch: int) -> ForkRow | None:
        """Return the fork at a chain's step, as `read_fork` does."""
        return read_fork(self.database, chain, idx, epoch) if self._may_hold("maker_fork", chain) else None

    def _may_hold(self, table: str, chain: int) -> bool:
        return chain not in self.known or chain in self.holding[table]


def together(database: Database, chains: Iterator[ChainRow]) -> Iterator[tuple[ChainRow, Together]]:
    """Yield chains in their order, each with what reads it; looks at `AT_ONCE` of them at a time."""
    while page := list(islice(chains, AT_ONCE)):
        reader = _look(database, page)
        for chain in page:
            yield chain, reader


def _look(database: Database, page: Sequence[ChainRow]) -> Together:
    keys = [chain.key for chain in page]
    holding: dict[str, set[int]] = {}
    for table in _HELD:
        query = select(table.c.chain).where(table.c.chain.in_(keys)).distinct()
        holding[table.name] = {key for (key,) in database.fetch(query)}
    cuts = read_cuts_of(database, keys)
    short: dict[int, list[StepRow]] = {
        chain.key: [] for chain in page if 0 <= chain.cursor <= SHORT and not cuts[chain.key]
    }
    step = schema.step.c
    columns = [step[name] for name in StepRow._fields]
    # One more than there should be, so that rows which should not be there are found, and memory is bounded.
    query = select(step.chain, *columns).where(step.chain.in_(list(short)), step.idx <= SHORT, step.epoch <= SHORT)
    for key, *row in database.fetch(query.order_by(step.chain, step.idx, step.epoch)):
        short[key].append(StepRow(*row))
    return Together(database, cuts, holding, short)
