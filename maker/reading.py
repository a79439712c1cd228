"""Reading the store: how runs stand, their steps and samples, and whether their logs verify."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from maker.engine.verify import Author, Verified
from maker.engine.verify import verify as verify_log
from maker.engine.walking import Bad
from maker.errors import BadInput, TaskFailed
from maker.events import StepRecord, step_record
from maker.job import difference, stored_job
from maker.jobfile import DEFAULT_STORE, STORE_VARIABLE
from maker.store.chains import root_chain
from maker.store.database import Database, open_database
from maker.store.log import SampleRow, read_samples, span_at
from maker.store.runs import RunRow, find_run, list_runs, run_at
from maker.store.tree import walk_steps
from maker.tally import unpack
from maker.types import Prices


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a run stands.

    ``calls`` are samples drawn, ``requests`` the model was asked; tokens as billed. ``cost`` is in the currency of the
    job's prices, None without them. ``reserved_calls`` and ``reserved_tokens`` were granted or in flight when a process
    stopped, and may have been spent. ``digest`` is the last step's, in hex.
    """

    run_id: str
    name: str
    status: str
    reason: str
    steps: int
    votes: int
    red_flags: int
    disputed: int
    calls: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    reserved_calls: int
    reserved_tokens: int
    cost: float | None
    wall_s: float
    resumes: int
    digest: str
    result: Any
    forked_from: str | None
    forked_at: int | None
    settings: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return asdict(self)


def store_url(store: str | None) -> str:
    """Return the store that is meant: the one given, else MAKER_STORE, else maker.db in the working directory."""
    return store or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE


def show(run_id: str, *, store: str | None = None) -> RunReport:
    """Return how a run stands. Raises `RunNotFound`."""
    with _opened(store) as database:
        return report(find_run(database, run_id))


def runs(*, store: str | None = None) -> list[RunReport]:
    """Return the newest runs, newest first."""
    with _opened(store) as database:
        return [report(row) for row in list_runs(database)]


def steps(run_id: str, *, store: str | None = None, start: int = 0, disputed: bool = False) -> Iterator[StepRecord]:
    """Yield a run's steps in order, in constant memory; with ``disputed``, those where a vote went to a rival.

    A fork's children come in child order, where their parent forked; ``start`` is a step of the root chain.

    Where the task's code is no longer to be found, actions are shown as the store holds them.
    """
    with _opened(store) as database:
        row = find_run(database, run_id)
        try:
            codec = stored_job(row.settings, row.run_id).decomposer.action
        except (BadInput, TaskFailed):
            codec = None
        for path, step in walk_steps(database, root_chain(database, row.key), start):
            if not disputed or unpack(step.tally).disputed:
                yield step_record(row.classes, codec, path, step)


def samples(run_id: str, index: int, *, store: str | None = None) -> list[SampleRow]:
    """Return the kept raw samples of one step, or of the step that a run is stuck at."""
    with _opened(store) as database:
        row = find_run(database, run_id)
        chain = span_at(database, root_chain(database, row.key), index).chain
        return list(read_samples(database, chain.key, index, index + 1))


def verify(run_id: str, *, store: str | None = None) -> Verified:
    """Re-apply a run's every action without a model, and compare every count and digest.

    Needs the task's and the voter's code, which must be what the run was made with.
    """
    with _opened(store) as database:
        row = find_run(database, run_id)

        def author(run: int) -> Author:
            made = row if run == row.key else run_at(database, run)
            job = stored_job(made.settings, made.run_id)
            if changed := difference(made.fingerprint, job.task_fingerprint()):
                raise Bad(f"the task is not what run {made.run_id} was made with: {changed}")
            return Author(made, job.decomposer, job.voter, job.store.samples)

        return verify_log(database, row, author)


def report(row: RunRow) -> RunReport:
    """Return a run's row as a report."""
    usage, model = row.usage, row.settings["model"]
    prices = Prices.per_million(model.get("prompt_price"), model.get("completion_price"))
    cost = None if prices is None else prices.of(usage.prompt_tokens, usage.completion_tokens)
    return RunReport(
        run_id=row.run_id, name=row.name, status=row.status, reason=row.reason, steps=row.steps, votes=row.votes,
        red_flags=row.red_flags, disputed=row.disputed, calls=usage.calls, requests=usage.requests,
        prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens,
        reserved_calls=row.reserved.calls, reserved_tokens=row.reserved.tokens, cost=cost, wall_s=round(row.wall_s, 3),
        resumes=row.resumes, digest=row.digest.hex(), result=row.result,
        forked_from=row.forked_from, forked_at=row.forked_at, settings=row.settings,
    )  # fmt: skip


def _opened(store: str | None) -> closing[Database]:
    return closing(open_database(store_url(store), create=False))
