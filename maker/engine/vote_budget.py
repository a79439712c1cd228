"""Spreads a run's budget of votes over the rows of its map: who is asked again, and when it is spent.

Every row asks once for the fewest votes that could decide it. When all have, the rows that are still open get further
votes, those first for which a vote is worth most (`maker.stats.vote_allocation`), one request each at a time, until
nothing is left. What it goes by stands in the store: the tallies, and how much was given out before. So a run that was
killed goes on as it would have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from maker.engine.causes import undecided
from maker.stats.vote_allocation import TENTH, OpenRows, allocate, outlook
from maker.stats.vote_worth import VoteWorth, likeliest_shares
from maker.store.backend.database import Database
from maker.store.deferred import (
    ALLOCATED,
    SPENT,
    DeferredStep,
    decided_tallies,
    read_deferred,
)
from maker.store.entry import Entry, Missed, StoredEvent
from maker.store.runs import read_events
from maker.swarm.messages import Child
from maker.types import Allowance, Flag, Outcome, RedFlag, Sample, money
from maker.voting.election import SHOWN, SHOWN_CHARS, HeardSample
from maker.voting.messages import KeptVotes, Stuck
from maker.voting.policy import SOLVER

AT_ONCE = 5000
"""So many rows are given up in one transaction."""
_UNHEARD = Sample("", 0)
_FLAGGED = RedFlag(Flag.FORMAT)


class BudgetTerms(NamedTuple):
    """What a budget says: so many ``votes``, or what may be paid for them, ``cost``; and how the rows vote.

    ``kind`` is the step class of the rows, ``share`` in how many parts what is left is given out.
    """

    votes: int | None
    cost: float | None
    kind: str
    k: int
    max_votes: int
    extra: int = 0
    share: int = 2

    @property
    def first(self) -> int:
        """How many votes each row asks for at first."""
        return min(self.max_votes, self.k + self.extra)

    def __str__(self) -> str:
        """Return the budget in words."""
        return f"{self.votes:,} votes" if self.cost is None else money(self.cost)


class Given(NamedTuple):
    """What becomes of deferred rows: those that are asked again, or how many are given up; and what to write."""

    entry: Entry
    again: tuple[Child, ...] = ()
    given_up: int = 0


class VoteBudget:
    """Gives out a run's budget of votes.

    Args:
        database: The store.
        run: The run's key.
        terms: The budget.
        used: Returns what the run has spent by now, as committed.
    """

    def __init__(self, database: Database, run: int, terms: BudgetTerms, used: Callable[[], Allowance]) -> None:
        self._database = database
        self._run = run
        self._terms = terms
        self._used = used
        self._over = False

    def give(self, chain: int, rows: int) -> Iterator[Given]:
        """Yield what becomes of the deferred rows of a map; nothing where there are none and that was told.

        Call it when no row is in work, and all is committed; it reads on while what it yields is written.

        Args:
            chain: The key of the rows' chain.
            rows: How many rows there are.
        """
        if self._over:
            return
        events = [one for one in read_events(self._database, self._run) if one["kind"] in (ALLOCATED, SPENT)]
        spent = max((one["spent"] for one in events), default=rows * self._terms.first)
        left = self._left(spent)
        decided = decided_tallies(self._database, chain)
        worth, groups, epochs = self._standing(chain, decided)
        allocation = allocate(groups, worth, left, share=self._terms.share, extra=self._terms.extra)
        if allocation.rows:
            spent += allocation.votes
            facts = {"rows": len(allocation.rows), "votes": allocation.votes, "spent": spent}
            facts |= {"left": left - allocation.votes, "open": sum(len(group.rows) for group in groups)}
            yield self._asked_again(chain, allocation.rows, epochs, StoredEvent(ALLOCATED, facts))
            return
        self._over = True
        yield from self._given_up(chain)
        if not (events and events[-1]["kind"] == SPENT and not groups):
            yield Given(Entry(events=[self._told(rows, decided.total(), spent, worth, groups)]))

    def _left(self, spent: int) -> int:
        """Return how many votes are left: those that the money buys, at what a vote has cost so far."""
        if self._terms.votes is not None:
            return max(0, self._terms.votes - spent)
        used, cost = self._used(), self._terms.cost or 0.0
        if used.cost <= 0:
            return 0
        return max(0, int((cost - used.cost) / used.cost * used.calls))

    def _standing(
        self, chain: int, decided: Counter[tuple[int, int]]
    ) -> tuple[VoteWorth, list[OpenRows], dict[int, int]]:
        """Return what votes are worth, the open rows by how they stand, and the epochs of those that have one."""
        rows: dict[tuple[int, int, int, int], list[int]] = {}
        epochs: dict[int, int] = {}
        tallies = decided.copy()
        for step in read_deferred(self._database, chain):
            rival, votes = sorted((0, 0, *step.votes.values()))[-2:]
            asked = step.deferral.asked
            place = (votes, rival, asked - votes - rival, max(0, self._terms.max_votes - asked))
            rows.setdefault(place, []).append(step.idx)
            tallies[votes, rival] += 1
            if step.epoch:
                epochs[step.idx] = step.epoch
        worth = VoteWorth(likeliest_shares(tallies), self._terms.k)
        return worth, [OpenRows(*place, its) for place, its in sorted(rows.items())], epochs

    def _asked_again(self, chain: int, rows: Sequence[int], epochs: dict[int, int], event: StoredEvent) -> Given:
        children = tuple(Child(number, chain, epochs.get(number, 0)) for number in rows)
        ruled = [Missed(chain, child.number, child.epoch, str(Outcome.AGAIN), "") for child in children]
        return Given(Entry(ruled=ruled, events=[event]), again=children)

    def _given_up(self, chain: int) -> Iterator[Given]:
        steps = read_deferred(self._database, chain)
        while some := list(islice(steps, AT_ONCE)):
            stuck = [self._stuck(step) for step in some]
            ruled = [Missed(chain, one.idx, one.epoch, _outcome(one), one.reason) for one in stuck]
            yield Given(Entry(ruled=ruled, closing=stuck), given_up=len(some))

    def _stuck(self, step: DeferredStep) -> Stuck:
        """Return a row that is given up as one that votes could not settle: the texts of its samples are kept already.

        Its tally is what is counted of it, by the monitor and in the ledger.
        """
        heard: list[HeardSample] = []
        found: list[tuple[str | RedFlag, Mapping[int, int]]] = [*step.votes_by_model.items(), (_FLAGGED, step.flags)]
        for outcome, by_model in found:
            for model, count in sorted(by_model.items()):
                heard += [HeardSample(len(heard) + i, _UNHEARD, outcome, model) for i in range(count)]
        leading = sorted(step.votes.items(), key=lambda item: -item[1])[:SHOWN]
        votes = ", ".join(f"{n} for {key[:SHOWN_CHARS]}" for key, n in leading) or "no valid vote"
        least = self._terms.k - (leading[0][1] - (leading[1][1] if len(leading) > 1 else 0) if leading else 0)
        reason = undecided(
            step.idx,
            self._terms.kind,
            f"the budget of {self._terms} was spent: {votes}; {least} more would be the least",
        )
        return Stuck(step.idx, step.epoch, self._terms.kind, reason, KeptVotes("", "", tuple(heard)), SOLVER)

    def _told(self, rows: int, decided: int, spent: int, worth: VoteWorth, groups: list[OpenRows]) -> StoredEvent:
        """Return what the budget has come to, and what a tenth more would be expected to bring."""
        more = outlook(groups, worth, max(spent // TENTH, self._terms.k), extra=self._terms.extra)
        facts = {"budget": str(self._terms), "spent": spent, "rows": rows, "decided": decided}
        facts |= {"open": sum(len(group.rows) for group in groups)}
        return StoredEvent(SPENT, facts | {"more_votes": more.votes, "more_rows": round(more.rows, 1)})


def _outcome(stuck: Stuck) -> str:
    valid = any(isinstance(sample.outcome, str) for sample in stuck.heard.samples)
    return str(Outcome.UNDECIDED if valid else Outcome.REJECTED)
