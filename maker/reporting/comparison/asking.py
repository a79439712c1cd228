"""Has labelled rows of a job asked, by runs of their own: what was asked once, for these labels or fewer, is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any, NamedTuple

from maker.core.logs import logger
from maker.errors import BadInput, ModelUnusable, PilotPaused
from maker.inputs.chosen import packed, unpacked
from maker.job.file import DEFAULT_VOTER
from maker.job.fingerprint import run_fingerprint
from maker.job.job import Job
from maker.job.resolve import derived
from maker.job.rules import rules_of
from maker.lifecycle.control import can_go_on, run_through
from maker.lifecycle.queries import report
from maker.lifecycle.rows import DECIDED, RowLog, Settled, all_settled, result
from maker.lifecycle.session import OnEvent
from maker.models.settings import PoolSettings, SimulatedSettings
from maker.plugin import RowDecomposer
from maker.store.backend.database import Database, open_database
from maker.store.log import read_samples
from maker.store.runs import ACTIVE, COMPARISON, ListedRun, RunRow, find_run, list_runs, refuse_held

log = logger(__name__)

LIMITS = {"max_calls": "calls", "max_tokens": "tokens", "max_cost": "cost"}
"""Limits that all runs of a comparison keep together, by what they limit."""
MOST_RUNS = 1000
"""So many runs of earlier comparisons are looked through, the newest first."""


class Spending(NamedTuple):
    """What was metered. ``cost`` is in the currency of the job's prices, None without them."""

    calls: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: Spending) -> Spending:
        """Return the sum of both."""
        cost = None if self.cost is None or other.cost is None else self.cost + other.cost
        return Spending(
            self.calls + other.calls, self.requests + other.requests, self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens, cost,
        )  # fmt: skip


class Drawn(NamedTuple):
    """One sample of a row: the key that it votes for, None if it was flagged, and its completion tokens."""

    key: str | None
    tokens: int


class Heard(NamedTuple):
    """What was heard of one row.

    ``winner`` is the key of the answer that its run has decided on, None where it is without. ``samples`` are those of
    the row's votes, in their order, up to the first that was asked in another way.
    """

    winner: str | None
    samples: tuple[Drawn, ...]


class Asked(NamedTuple):
    """Rows that were asked in one way, by their numbers in the job; what that took, and the runs that did it."""

    rows: Mapping[int, Heard]
    spent: Spending
    runs: tuple[str, ...]


class RowAsker:
    """Has labelled rows of a map asked. Every method blocks.

    A run that asks some of the rows in the same way, and is done or paused, is taken or gone on with: after an
    interrupt, or with more labels than before, only what is missing is asked.

    `RunHeld` is raised where another process is at it.

    Args:
        job: A map with known margins.
        rows: The numbers of its labelled rows, from 0, ascending.
        on_event: Told of the runs.
        stop: Set it from another thread to pause.
    """

    def __init__(
        self, job: Job, rows: Sequence[int], *, on_event: OnEvent | None = None, stop: threading.Event | None = None
    ) -> None:
        self.job = job
        self.rows = tuple(rows)
        self._on_event, self._stop = on_event, stop
        # By run: what the limits of the runs after it are lessened by.
        self._spent: dict[str, Spending] = {}
        self._once: Asked | None = None

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the pool's models, () where there is one model alone."""
        return tuple(self.job.members) if isinstance(self.job.model, PoolSettings) else ()

    @cached_property
    def voted(self) -> Asked:
        """The rows as the job itself decides them."""
        return self._ask(self.own_job, self.rows)

    @property
    def prompt_tokens(self) -> float:
        """Prompt tokens of a request for a row, on average: over all rows alike where each was asked once."""
        spent = (self._once or self.voted).spent
        return spent.prompt_tokens / max(1, spent.requests)

    def can_be_greedy(self, member: str = "") -> bool:
        """Whether a model can be told a temperature of 0; a simulated one has none."""
        model = self.job.members[member] if member else next(iter(self.job.members.values()))
        return not isinstance(model, SimulatedSettings) and (model.greedy or model.takes(0))

    def ask_greedily(self, member: str = "") -> Asked | None:
        """Return one greedy reply for each row, of a member of the pool or of the one model; None where it has none."""
        if not self.can_be_greedy(member):
            return None
        # First, so that a model which answers no request at all is not taken for one that refuses a temperature.
        _ = self.voted
        try:
            self._once = self.draw(1, self.rows, member=member, greedy=True)
        except ModelUnusable as error:
            log.warning("temperature_refused", error=error.message, fix=error.fix)
            return None
        return self._once

    def draw(self, count: int, rows: Sequence[int], *, member: str = "", greedy: bool = False) -> Asked:
        """Return so many samples of each row, flagged ones too, of a member of the pool or of the one model.

        ``rows`` are ascending.
        """
        name = member or next(iter(self.job.members))

        def made(rows: Sequence[int]) -> Job:
            model = self.job.settings["model"]
            model = model["members"][member] if member else model
            # A margin that only all of the samples could reach, so that so many are asked for at once, and no more.
            k = {kind.name: count for kind in self.job.decomposer.classes}
            vote = {"voter": DEFAULT_VOTER, "k": k, "max_votes": count, **self._reading}
            # Other seeds than those of the votes, and of other members: equal ones bring equal replies.
            run = self.job.settings["run"] | {"seed": self.job.run.seed + 1 + [*self.job.members].index(name)}
            settings = {
                "run": run, "model": model | ({"temperature": 0} if greedy else {}), "vote": vote, "roles": {},
                "monitor": {"policy": "off"},
            }  # fmt: skip
            return self._made(rows, settings)

        return self._ask(made, rows)

    def own_job(self, rows: Sequence[int]) -> Job:
        """Return the job that asks these rows as the job itself does; people are asked about none of them."""
        vote = {name: value for name, value in self.job.settings["vote"].items() if name != "on_undecided"}
        return self._made(rows, {"vote": vote})

    @property
    def _reading(self) -> dict[str, Any]:
        """How replies are read, whoever votes."""
        return {name: value for name, value in self.job.settings["vote"].items() if name == "thinking"}

    def _made(self, rows: Sequence[int], changes: Mapping[str, Any]) -> Job:
        settings = {name: table for name, table in self.job.settings.items() if name != "accept"}
        settings |= changes
        own = _rows(settings)
        chosen = packed([own[row] for row in rows] if own else rows)
        settings["task"] = settings["task"] | {"chosen": chosen, "output": ""}
        settings["limits"] = settings["limits"] | {"max_undecided": None}
        name = f"run.name={COMPARISON}{self.job.run.name or self.job.settings['task']['decomposer']}"
        made = derived(self.job, settings, [name, "store.samples=all"])
        if not isinstance(made.decomposer, RowDecomposer) or made.decomposer.count() != len(rows):
            raise BadInput(
                f"{self.job.decomposer.name} does not ask the rows that its parameter `chosen` names: only labelled"
                " rows are to be asked",
                fix="have its `rows()` and `count()` heed `RowParams.chosen`, as the map does",
            )
        return made

    def _ask(self, made: Callable[[Sequence[int]], Job], rows: Sequence[int]) -> Asked:
        """Have rows asked by jobs that are made for them, and return what came of it."""
        found, spent, runs = dict[int, Heard](), Spending(), list[str]()
        for batch in self._batches(made, rows):
            job = made(batch)
            run_id = self._done(job)
            with closing(open_database(self.job.store.url, create=False)) as database:
                run = find_run(database, run_id)
                found |= {batch[place]: heard for place, heard in _heard(database, run, rules_of(job).of)}
            told = report(run)
            self._spent[run_id] = Spending(
                told.calls, told.requests, told.prompt_tokens, told.completion_tokens, told.cost
            )
            spent = spent.plus(self._spent[run_id])
            runs.append(run_id)
        return Asked(found, spent, tuple(runs))

    def _done(self, job: Job) -> str:
        """Return the id of a job's run that is done, within what the runs before it have left of the limits."""
        try:
            return run_through(self._within_limits(job), on_event=self._on_event, stop=self._stop)
        except PilotPaused as paused:
            # The run's own limit is only what the others have left of the comparison's.
            limits = [f"limits.{name}" for name in LIMITS if name in str(paused.facts.get("reason"))]
            if not limits or not self._spent:
                raise
            fix = (
                f"raise {limits[0]}, which all runs of the comparison keep to together, and give the same command again"
            )
            raise PilotPaused(paused.message, fix=fix, **paused.facts) from paused

    def _batches(self, made: Callable[[Sequence[int]], Job], rows: Sequence[int]) -> list[Sequence[int]]:
        """Return the rows as they were asked before, by earlier runs that asked none but these, then those left."""
        job = made(rows)
        wanted, numbers = _apart_from_rows(run_fingerprint(job)), dict(zip(_rows(job.settings), rows, strict=True))
        found = list[Sequence[int]]()
        with closing(open_database(self.job.store.url, create=True)) as database:

            def fits(run: ListedRun) -> bool:
                alike = run.name == job.run.name and _apart_from_rows(run.fingerprint) == wanted
                if alike and run.status == ACTIVE:
                    refuse_held(run.run_id, run.holder, run.lease_until, run.updated_at)
                return alike and can_go_on(run)

            runs = [_rows(run.settings) for run in list_runs(database, MOST_RUNS, name=job.run.name, wanted=fits)]
        # The largest first: a small one that is part of it would leave the others to be asked anew.
        for asked in sorted(runs, key=len, reverse=True):
            if asked and numbers.keys() >= set(asked):
                found.append([numbers.pop(row) for row in asked])
        return [*found, *([list(numbers.values())] if numbers else [])]

    def _within_limits(self, job: Job) -> Job:
        """Return a job that may spend what the other runs of the comparison have left. Raises `PilotPaused`."""
        left = dict[str, Any]()
        for limit, what in LIMITS.items():
            most = getattr(job.limits, limit)
            if most is None:
                continue
            others = sum(getattr(one, what) or 0 for one in self._spent.values())
            left[limit] = most - others
            if left[limit] <= 0:
                raise PilotPaused(
                    f"the runs of the comparison have spent limits.{limit} = {most:,}, and it is not at its end",
                    fix=f"give the same command again with limits.{limit} above that; what was asked is kept",
                )
        if not left:
            return job
        settings = job.settings | {"limits": job.settings["limits"] | left}
        return derived(job, settings, [])


def _rows(settings: Mapping[str, Any]) -> Sequence[int]:
    chosen = settings.get("task", {}).get("chosen")
    return tuple(unpacked(chosen)) if chosen else ()


def _apart_from_rows(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a run's fingerprint says how it asks."""
    task = {name: value for name, value in fingerprint.get("task", {}).items() if name != "chosen"}
    return {**fingerprint, "task": task}


def _heard(database: Database, run: RunRow, role_of: Callable[[Any], Any]) -> Iterator[tuple[int, Heard]]:
    """Yield the rows of a run that is done, with their places among those that it asked."""
    log = RowLog(database, run)
    # A judge's samples come after the votes, once these are as many as may be.
    most = role_of(log.task.classes[0]).max_votes
    for settled in all_settled(log.rounds()):
        found = result(settled, "")
        winner = next(iter(found.votes)) if found.outcome == DECIDED else None
        yield settled.row, Heard(winner, tuple(_samples(settled, most)))


def _samples(settled: Settled, most: int) -> Iterator[Drawn]:
    """Yield a row's samples in the order of its votes, up to the first in other words or at another temperature."""
    voted = settled.step or settled.outcome
    chain, child = settled.round.chain.key, settled.child
    for sample in read_samples(settled.round.database, chain, child, child + 1):
        if voted is None or sample.epoch != voted.epoch:
            continue
        if sample.vote >= most or sample.wording is not None or sample.temperature is not None:
            return
        yield Drawn(sample.candidate, sample.tokens)
