"""Reading the store: how runs stand, their steps and samples, and whether their logs verify."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from maker.errors import BadInput, RunNotFound, TaskFailed
from maker.job.file import DEFAULT_STORE, STORE_VARIABLE
from maker.job.job import difference, inputs_digest
from maker.job.resolve import stored_job
from maker.lifecycle.events import StepRecord, step_record
from maker.plugin import Codec
from maker.store.backend.database import Database, open_database
from maker.store.chains import CHAIN_BITS, root_chain
from maker.store.locations import path_of
from maker.store.log import SampleRow, read_prompts, read_samples, read_steps
from maker.store.runs import AccountRow, RunRow, find_run, list_runs, read_events, read_parts, read_workers, run_at
from maker.store.tree import chain_of_step, walk_steps
from maker.store.vote_monitor import monitored_classes
from maker.types import Prices
from maker.verification.replay import ReplayedStep
from maker.verification.snapshots import Bad
from maker.verification.verifier import Author, Verified
from maker.verification.verifier import verify as verify_log
from maker.voting.paths import Path, chain_name, is_single, read_name
from maker.voting.tally import unpack


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a run stands.

    ``models`` tells what each model did in each role, ``workers`` what each worker did, ``events`` what happened beside
    the steps; the last two are there where one run is shown. ``calls`` are samples drawn, ``requests`` the models were
    asked; tokens as billed. ``cost`` is in the currency of the job's prices, None without them. ``reserved_calls`` and
    ``reserved_tokens`` were granted or in flight when a process stopped, or cut off on the way, and may have been
    spent. ``digest`` is the last step's, in hex. ``monitor`` tells for each step class what the monitor has counted of
    its votes, or why it is ``unwatched``; its alarms are among the events. ``reused`` of the steps were taken from the
    memo, and took ``saved_calls`` samples when they were decided; all steps together rest on ``distinct`` decisions, at
    most.
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
    models: list[dict[str, Any]]
    monitor: list[dict[str, Any]] = field(default_factory=list)
    workers: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    reused: int = 0
    saved_calls: int = 0
    distinct: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return asdict(self)


def store_url(store: str | None) -> str:
    """Return the store that is meant: the one given, else MAKER_STORE, else maker.db in the working directory."""
    return store or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE


def show(run_id: str, *, store: str | None = None) -> RunReport:
    """Return how a run stands. Raises `RunNotFound`."""
    with opened(store) as database:
        return whole_report(database, run_id)


def runs(*, store: str | None = None) -> list[RunReport]:
    """Return the newest runs, newest first."""
    with opened(store) as database:
        return [report(row) for row in list_runs(database)]


def steps(run_id: str, *, store: str | None = None, start: int = 0, disputed: bool = False) -> Iterator[StepRecord]:
    """Yield a run's steps in order, in constant memory; with ``disputed``, those where a vote went to a rival.

    A fork's children come in child order, where their parent forked; ``start`` is a step of the root chain.

    Where the task's code is no longer to be found, actions are shown as the store holds them.
    """
    with opened(store) as database:
        row = find_run(database, run_id)
        codec, named = codec_of(row), Sources(database).named
        for path, found in walk_steps(database, root_chain(database, row.key), start):
            if not disputed or unpack(found.tally).disputed:
                yield named(step_record(row.classes, codec, path, found))


@dataclass(frozen=True, slots=True)
class StepView:
    """One step with what was kept of it; ``record`` is None for one that its chain is stuck at.

    ``asked`` is what the model was asked: the shared part of the prompt and the rest, None where it was not kept.
    """

    record: StepRecord | None
    asked: tuple[str, str] | None
    samples: list[SampleRow]


def step(run_id: str, index: int, *, chain: str = "root", store: str | None = None) -> StepView:
    """Return one step of a chain, or the step that the chain is stuck at. Raises `BadInput` where there is none."""
    with opened(store) as database:
        row = find_run(database, run_id)
        try:
            path = read_name(chain)
        except ValueError as error:
            raise BadInput(str(error)) from error
        placed = chain_of_step(database, root_chain(database, row.key), path, index)
        if placed is not None:
            held, at = placed
            single = is_single(held.path)
            found = next(read_steps(database, held.key, at, at + 1, single=single), None)
            kept = list(read_samples(database, held.key, at, at + 1))
            # Those of the live epoch, or of the newest one where none is decided.
            epoch = max((sample.epoch for sample in kept), default=0) if found is None else found.epoch
            kept = [sample for sample in kept if sample.epoch == epoch]
            asked = read_prompts(database, held.key, at, at + 1)
            prompts = [(row.system or "", row.prompt or "") for row in asked if row.epoch == epoch]
            if found is not None and not found.tally:
                first = chain_name((*held.path, at, found.epoch), 0)
                raise BadInput(
                    f"step {index} has no votes: it joins {found.action} children",
                    fix=f"show a child's step with --chain, e.g. --chain {first}",
                )
            if found is not None or kept:
                record = None
                if found is not None:
                    record = Sources(database).named(step_record(row.classes, codec_of(row), held.path, found))
                return StepView(record, prompts[-1] if prompts else None, kept)
        of = "" if chain == "root" else f" of chain {chain}"
        raise BadInput(
            f"run {row.run_id} has no step {index}{of}; it has {row.steps} steps",
            fix=f"list them with `maker steps {row.run_id}`",
        )


class Sources:
    """Names the steps that others were taken from."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._named = lru_cache(4096)(self._of)

    def named(self, record: StepRecord) -> StepRecord:
        """Return a record whose source is named as people name steps, as far as it is there."""
        if not record.source:
            return record
        run, path = self._named(record.source["chain_key"])
        if path is None:
            return record
        step = record.source["step"]
        at = {"chain": chain_name(path, step), "step": 0} if is_single(path) else {"chain": chain_name(path)}
        return record._replace(source=record.source | {"run": run} | at)

    def _of(self, chain: int) -> tuple[str, Path | None]:
        path = path_of(self._database, chain)
        return ("", None) if path is None else (run_at(self._database, chain >> CHAIN_BITS).run_id, path)


def samples(run_id: str, index: int, *, chain: str = "root", store: str | None = None) -> list[SampleRow]:
    """Return the kept raw samples of one step, or of the step that a chain is stuck at."""
    try:
        return step(run_id, index, chain=chain, store=store).samples
    except RunNotFound:
        raise
    except BadInput:
        return []


def verify(run_id: str, *, store: str | None = None) -> Verified:
    """Re-apply a run's every action without a model, and compare every count and digest.

    Needs the task's and the voter's code, which must be what the run was made with.
    """
    with opened(store) as database:
        return verify_steps(database, find_run(database, run_id))


def verify_steps(database: Database, row: RunRow, on_step: Callable[[ReplayedStep], None] | None = None) -> Verified:
    """Verify a run, and tell its steps on the way, before it is known whether all of them are right."""

    def author(run: int) -> Author:
        made = row if run == row.key else run_at(database, run)
        parts = read_parts(database, run)
        job = stored_job(made.settings, made.run_id, parts=parts)
        if made.fingerprint.get("inputs") != (inputs_digest(parts) if parts else None):
            raise Bad(f"the input files of run {made.run_id} are not those that it began with")
        if changed := difference(made.fingerprint, job.stored_fingerprint()):
            raise Bad(f"the task is not what run {made.run_id} was made with: {changed}")
        return Author(made, job.decomposer, job.rules())

    return verify_log(database, row, author, on_step)


def whole_report(database: Database, run_id: str) -> RunReport:
    """Return how a run stands, with its workers and events. Raises `RunNotFound`."""
    row = find_run(database, run_id)
    workers, events = read_workers(database, row.key), read_events(database, row.key)
    return replace(report(row), workers=workers, events=events)


def report(row: RunRow) -> RunReport:
    """Return a run's row as a report."""
    usage = row.usage
    models = [_account(account, row.settings["model"]) for account in row.accounts]
    costs = [model["cost"] for model in models]
    cost = None if not costs or None in costs else sum(costs)
    return RunReport(
        run_id=row.run_id, name=row.name, status=row.status, reason=row.reason, steps=row.steps, votes=row.votes,
        red_flags=row.red_flags, disputed=row.disputed, calls=usage.calls, requests=usage.requests,
        prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens,
        reserved_calls=row.reserved.calls, reserved_tokens=row.reserved.tokens, cost=cost, wall_s=round(row.wall_s, 3),
        resumes=row.resumes, digest=row.digest.hex(), result=row.result,
        forked_from=row.forked_from, forked_at=row.forked_at, settings=row.settings, models=models,
        monitor=monitored_classes(row.monitor, row.classes), reused=row.reused, saved_calls=row.saved,
        distinct=row.distinct,
    )  # fmt: skip


def _account(account: AccountRow, model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of the ledger as JSON; its cost is None where the model has no prices."""
    settings = model["members"].get(account.model, {}) if model["kind"] == "pool" else model
    prices = Prices.per_million(settings.get("prompt_price"), settings.get("completion_price"))
    usage = account.usage
    cost = None if prices is None else prices.of(usage.prompt_tokens, usage.completion_tokens)
    counts = {"votes": account.votes, "red_flags": account.red_flags}
    return {"model": account.model, "role": account.role} | usage._asdict() | counts | {"cost": cost}


def opened(store: str | None) -> closing[Database]:
    """Return a block that has a store open. Raises `StoreUnusable`."""
    return closing(open_database(store_url(store), create=False))


def codec_of(row: RunRow) -> Codec[Any] | None:
    """Return how a run's actions are shown, None where the task's code is no longer to be found."""
    try:
        codec: Codec[Any] = stored_job(row.settings, row.run_id).decomposer.action
    except (BadInput, TaskFailed):
        return None
    return codec
