"""A chain whose run has a budget of votes: a step asks once, and is then put off if it is open. Pure.

Its run decides which steps are asked again (`maker.stats.vote_allocation`). A step goes on where it was put off: with
the samples that it has heard, and the seeds of the votes after them. So one that is never put off, and one that is, are
decided by the same votes.
"""

from __future__ import annotations

from typing import Any, TypeVar

from maker.types import More, RedFlag, Step, Undecidable, Verdict
from maker.voting.chain import UNREAD, ChainRunner
from maker.voting.collector import VoteCollector
from maker.voting.election import Election
from maker.voting.messages import ChainAt, Deferral, EarlierVotes, Stuck
from maker.voting.policy import Shared
from maker.voting.red_flags import Candidate
from maker.voting.seeds import ChainSeeds

S = TypeVar("S")
A = TypeVar("A")


class BudgetedElection(Election[S, A]):
    """An election that may ask for so many votes now, and for others when its run's budget allows.

    ``deferred`` says that it is open, and that further votes could settle it.
    """

    __slots__ = ("_now", "deferred")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._now = self._max
        self.deferred = False

    @property
    def remaining(self) -> int:
        """How many more samples the step may take now."""
        return self._now - self.asked

    def take_up(self, earlier: EarlierVotes) -> None:
        """Go on from the votes that were heard before it was put off."""
        for _, sample, outcome, model, way in earlier.samples:
            if isinstance(outcome, RedFlag):
                self._heard.append((sample, outcome, model, way))
                self._flags.setdefault(outcome.reason, [0] * self._models)[model] += 1
            else:
                self.count(1, (sample,), model, way)
        self.asked, self.rounds, _ = earlier.deferral

    def allow(self, votes: int) -> None:
        """Let so many more votes be asked for."""
        self._now = min(self._max, self.asked + votes)

    def ruled(self, verdict: Verdict) -> Candidate[A] | More | Undecidable:
        """Return what the voter's verdict comes to here: it is put off where it needs more votes than it may ask."""
        found = super().ruled(verdict)
        if not isinstance(found, Undecidable) or not isinstance(verdict, More):
            return found
        if verdict.n > self._max - self.asked:
            return found
        if self.remaining:
            # Votes that were asked for beside those that could have settled it: they count before it is put off.
            return More(self.remaining)
        self.deferred = True
        return found


class BudgetedRunner(ChainRunner[S, A]):
    """Walks one chain of a run with a budget of votes.

    Args:
        shared: The task and its rules.
        at: Where to start.
        seeds: The seeds of the chain, else made from its path.
        state: The state to start in, where it is at hand.
        earlier: The votes that its first step goes on from, None where it has none.
    """

    def __init__(
        self,
        shared: Shared,
        at: ChainAt,
        *,
        seeds: ChainSeeds | None = None,
        state: Any = UNREAD,
        earlier: EarlierVotes | None = None,
    ) -> None:
        super().__init__(shared, at, seeds=seeds, state=state)
        self._earlier = earlier

    def _open(self, step: Step[S, A]) -> VoteCollector[S, A]:
        collector, rules = super()._open(step), self._shared.rules
        plain, role, verdict = collector.election, collector.kind.role, collector.verdict
        election: BudgetedElection[S, A] = BudgetedElection(
            step, plain.state, plain.codec, role.voter, role.max_votes, rules.models, rules.thinking
        )
        if self._earlier is not None:
            earlier, self._earlier = self._earlier, None
            self._own("parse, check or decide", election.take_up, earlier)
            collector.tokens = earlier.deferral.tokens
            found = self._own("decide", election.verdict)
            assert not isinstance(found, Candidate)  # noqa: S101 - it would not have been put off
            verdict = found
        if isinstance(verdict, More):
            election.allow(verdict.n + role.extra)
        collector.election, collector.verdict = election, verdict
        return collector

    def _stuck(self, reason: str, voted: VoteCollector[S, A], judge: VoteCollector[S, A] | None = None) -> Stuck:
        stuck, election = super()._stuck(reason, voted, judge), voted.election
        if not isinstance(election, BudgetedElection) or not election.deferred:
            return stuck
        return stuck._replace(deferred=Deferral(election.asked, election.rounds, voted.tokens))
