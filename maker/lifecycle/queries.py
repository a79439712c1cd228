"""Read runs from the store: their status, steps and samples; verify their logs."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from maker.engine.budget import SHARED
from maker.engine.causes import LIMIT
from maker.errors import BadInput, JobError, RunNotFound, TaskFailed
from maker.inputs.secrets import without_secrets
from maker.job.file import DEFAULT_STORE, STORE_VARIABLE
from maker.job.fingerprint import difference, inputs_digest, settings_fingerprint, task_fingerprint
from maker.job.load import JobLike, load_job
from maker.job.resolve import check_stored, stored_job
from maker.job.rules import rules_of
from maker.lifecycle.code_change import in_order, is_code_alone
from maker.lifecycle.events import ConcurrencyChanged, StepRecord, shown_record
from maker.lifecycle.reviewed_rows import reviewed_rows
from maker.models.server.concurrency import TIMEOUT_FACTOR, TOO_LATE, TOO_SLOW
from maker.models.server_settings import prices_in, seeded_in
from maker.plugin import Decomposer
from maker.store.backend.database import Database, open_database
from maker.store.chains import CHAIN_BITS, root_chain
from maker.store.locations import path_of
from maker.store.log import SampleRow, read_prompts, read_samples, read_steps
from maker.store.runs import (
    AccountRow,
    ListedRun,
    RunRow,
    find_run,
    list_runs,
    read_events,
    read_parts,
    read_workers,
    run_at,
)
from maker.store.tree import chain_of_step, walk_steps
from maker.store.unresolved import count_answered, count_outcomes
from maker.store.vote_monitor import monitored_classes
from maker.types import Outcome
from maker.verification.replay import ReplayedStep
from maker.verification.snapshots import Bad
from maker.verification.verifier import Author, Verified
from maker.verification.verifier import verify as verify_log
from maker.voting.paths import Path, chain_name, is_single, read_name
from maker.voting.tally import unpack

COST_DIGITS = 12
"""Digits after the point of an amount: no bill has more, at prices of up to six digits for a million tokens."""
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
"""A figure in the reason of a run that a limit has paused."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """The status of a run, with its counts, settings and result.

    ``votes`` and ``red_flags`` count the samples of all steps, undecided and rejected ones too; ``decided_votes`` and
    ``decided_flags`` those of decided steps. ``missing`` is how many children, such as a map's rows, a run goes without
    that is done. ``models`` has a line per model and role, ``workers`` one per worker, ``events`` one per event; the
    last two are filled only where a single run is shown. ``calls`` are samples drawn, ``requests`` were sent to models;
    tokens are as billed. ``cost`` is in the currency of the job's prices, None without them. ``reserved_calls`` and
    ``reserved_tokens`` were granted or in flight when a process stopped; they may have been spent. ``digest`` is the
    last step's, in hex. ``monitor`` has a line per step class with the monitor's counts, or why the class is
    ``unwatched``; its alarms are events. ``reused`` of the steps were taken from the memo, and took ``saved_calls``
    samples when they were decided; all steps together use at most ``distinct`` decisions. ``answered`` of the steps
    were decided by people, after votes had settled nothing. ``reviewed`` rows of a map were too, when their votes were
    over: such answers are no steps, and ``missing`` leaves these rows out. Both are filled where ``workers`` is.
    ``created_at`` is in seconds since 1970. ``queue`` is the run's place in a queue, None if it is in none or over.
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
    decided_votes: int = 0
    decided_flags: int = 0
    missing: int = 0
    created_at: float = 0.0
    queue: dict[str, Any] | None = None
    answered: int = 0
    reviewed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return asdict(self)


def store_url(store: str | None) -> str:
    """Return the store to use: the one given, else MAKER_STORE, else maker.db in the working directory."""
    return store or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE


def show(run_id: str, *, store: str | None = None) -> RunReport:
    """Return the report of a run, with its workers and events. Raises `RunNotFound`."""
    with opened(store) as database:
        return whole_report(database, run_id)


def runs(
    *,
    store: str | None = None,
    limit: int = 50,
    status: str = "",
    name: str = "",
    decomposer: str = "",
    job: JobLike | None = None,
    since: datetime | None = None,
) -> list[RunReport]:
    """Return the newest runs, newest first.

    Args:
        store: The store's URL.
        limit: Most runs to return.
        status: Only runs with this status.
        name: Only runs with this in their name, in either case.
        decomposer: Only runs of this decomposer; of one in a file, ``file.py:Name`` is enough.
        job: Only runs of this job's task. Their models and votes may differ. Raises what `load_job` does.
        since: Only runs that were made then or later.
    """
    task = None if job is None else _task(task_fingerprint(load_job(job)))
    made = 0.0 if since is None else since.timestamp()

    def wanted(row: ListedRun) -> bool:
        kind = str(row.settings.get("task", {}).get("decomposer"))
        return (
            status in ("", row.status)
            and decomposer in ("", kind, kind.rpartition("/")[2])
            and (task is None or ("task" in row.fingerprint and task == _task(row.fingerprint)))
        )

    with opened(store) as database:
        return [listed(row) for row in list_runs(database, limit, name=name, since=made, wanted=wanted)]


def _task(fingerprint: Mapping[str, Any]) -> tuple[Any, Any]:
    return fingerprint["decomposer"], fingerprint["task"]


def steps(run_id: str, *, store: str | None = None, start: int = 0, disputed: bool = False) -> Iterator[StepRecord]:
    """Yield a run's steps in order, in constant memory; with ``disputed``, only those elected by votes that disagreed.

    A fork's children come in child order, at the place where their parent forked; ``start`` is a step of the root
    chain. If the task's code cannot be found, actions are shown as they are stored.
    """
    with opened(store) as database:
        row = find_run(database, run_id)
        task, named = task_of(row), Sources(database).named
        for path, found in walk_steps(database, root_chain(database, row.key), start):
            if not disputed or _disputed(found.tally):
                yield named(shown_record(row.classes, task, path, found))


def _disputed(blob: bytes) -> bool:
    tally = unpack(blob)
    return tally.disputed and tally.person is None


@dataclass(frozen=True, slots=True)
class StepView:
    """One step with its stored prompt and samples; ``record`` is None if the step is undecided.

    ``asked`` is the prompt, its shared part and the rest; None if it was not kept.
    """

    record: StepRecord | None
    asked: tuple[str, str] | None
    samples: list[SampleRow]


def step(run_id: str, index: int, *, chain: str = "root", store: str | None = None) -> StepView:
    """Return one step of a chain, decided or not. Raises `BadInput` if there is no such step."""
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
            # Samples of the live epoch; if the step is undecided, those of the newest one.
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
                    record = Sources(database).named(shown_record(row.classes, task_of(row), held.path, found))
                return StepView(record, prompts[-1] if prompts else None, kept)
        of = "" if chain == "root" else f" of chain {chain}"
        raise BadInput(
            f"run {row.run_id} has no step {index}{of}; it has {row.steps} steps",
            fix=f"list them with `maker steps {row.run_id}`",
        )


class Sources:
    """Finds the run and the chain of steps that the memo reused."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._named = lru_cache(4096)(self._of)

    def named(self, record: StepRecord) -> StepRecord:
        """Return a record whose source has the names of its run and chain, if they still exist."""
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
    """Return the stored raw samples of one step, decided or not; [] if there is no such step."""
    try:
        return step(run_id, index, chain=chain, store=store).samples
    except RunNotFound:
        raise
    except BadInput:
        return []


def verify(run_id: str, *, store: str | None = None) -> Verified:
    """Return whether a run's log is correct: re-applies every action without a model, and compares counts and digests.

    Needs the code of the task and the voter, unchanged since the run was started.
    """
    with opened(store) as database:
        return verify_steps(database, find_run(database, run_id))


def verify_steps(database: Database, row: RunRow, on_step: Callable[[ReplayedStep], None] | None = None) -> Verified:
    """Verify a run's log; calls ``on_step`` with each correct step, before the later ones are checked."""

    def author(run: int) -> Author:
        made = row if run == row.key else run_at(database, run)
        parts = read_parts(database, run)
        job = stored_job(made.settings, made.run_id, parts=parts, kept=made.sources)
        if made.fingerprint.get("inputs") != (inputs_digest(parts) if parts else None):
            raise Bad(f"the input files of run {made.run_id} have changed since it began")
        now = settings_fingerprint(job)
        changed = difference(made.fingerprint, now)
        # The run that another one was forked from may have other code than the fork, which has gone on with its own.
        if changed and (run == row.key or not is_code_alone(made.fingerprint, now, job)):
            raise Bad(f"the task has changed since run {made.run_id} began: {changed}")
        decomposer = in_order(job.decomposer, made.classes)
        return Author(made, decomposer, rules_of(replace(job, decomposer=decomposer)), earlier=bool(changed))

    verified = verify_log(database, row, author, on_step)
    return verified if verified.problem else replace(verified, reviewed=len(reviewed_rows(database, row)))


def limit_override(run: RunReport) -> str:
    """Return the override that lets a run go on that a limit has paused; "" if no limit has.

    It is twice the largest of the limit, what is spent, and what the next request needs. Replies of no use are counted
    anew by a resume: there is nothing to raise. A shared limit is raised in the store.
    """
    if run.status != "paused" or not run.reason.startswith(LIMIT):
        return ""
    name, _, told = run.reason.removeprefix(LIMIT).partition(" ")
    if name == "max_useless" or run.reason.startswith(LIMIT + SHARED):
        return ""
    if name == "max_wall_s":
        figures = [run.wall_s, run.settings["limits"][name]]
    else:
        figures = [float(word) for word in NUMBER.findall(told)]
    most = 2 * max(figures)
    return f"limits.{name}={f'{most:.6g}' if name in ('max_cost', 'max_wall_s') else math.ceil(most)}"


def shared_limit_words(run: RunReport) -> str:
    """Return the words of `maker limit` that let a run go on whose shared limit has no money left; "" otherwise."""
    if run.status != "paused" or not run.reason.startswith(LIMIT + SHARED):
        return ""
    key, _, told = run.reason.removeprefix(LIMIT + SHARED).partition(": ")
    return f"{key} --max-cost {2 * max(float(word) for word in NUMBER.findall(told)):.6g}"


def timeout_override(run: RunReport) -> str:
    """Return the override that gives a server more time that answered nothing in time; "" if that paused no run."""
    late = [event for event in run.events if event["kind"] == ConcurrencyChanged.kind and event["reason"]]
    if run.status != "paused" or not late or not (TOO_SLOW in run.reason and TOO_LATE in run.reason):
        return ""
    model, timeout_s = late[-1]["model"], late[-1]["timeout_s"]
    table = f"model.members.{model}" if run.settings["model"]["kind"] == "pool" else "model"
    return f"{table}.timeout_s={TIMEOUT_FACTOR * timeout_s:g}"


def whole_report(database: Database, run_id: str) -> RunReport:
    """Return the report of a run, with its workers and events. Raises `RunNotFound`."""
    row = find_run(database, run_id)
    whole = report(row)
    workers, events = read_workers(database, row.key), read_events(database, row.key)
    reviewed = len(reviewed_rows(database, row))
    missing = _missing(database, row, reviewed) if row.status == "done" else 0
    answered = count_answered(database, row.key)
    return replace(whole, workers=workers, events=events, missing=missing, answered=answered, reviewed=reviewed)


def children_called(run: RunReport) -> str:
    """Return what a run's children without a good decision are to whoever reads of them, for example rows or slices."""
    task = run.settings["task"]
    if task["decomposer"] == "document":
        missing = run.result.get("missing", ()) if isinstance(run.result, dict) else ()
        return "slices or groups" if any("group" in one for one in missing) else "slices"
    return "rows" if "round" in task else "children"


def _missing(database: Database, row: RunRow, reviewed: int) -> int:
    """Return how many children a run that is done goes without; of a map, people have decided ``reviewed`` others."""
    if "poll" in row.settings:
        # A pilot decides none of its steps.
        return 0
    if "round" in row.settings["task"] and isinstance(row.result, dict) and {"rows", "decided"} <= row.result.keys():
        # The rounds that a map's round continues are other runs; its result counts the rows of all of them.
        return int(row.result["rows"] - row.result["decided"]) - reviewed
    if row.settings["task"]["decomposer"] == "document" and isinstance(row.result, dict):
        return len(row.result.get("missing", ()))
    return sum(n for outcome, n in count_outcomes(database, row.key).items() if not Outcome(outcome).open)


def listed(row: ListedRun) -> RunReport:
    """Return a run's row as a report for a list, where one of a damaged run has a reason that says so."""
    try:
        return report(row)
    except JobError as error:
        return _report(replace(row, settings={}, accounts=(), reason=error.message if row.settings else row.reason))


def report(row: ListedRun) -> RunReport:
    """Return a run's row as a report. Raises `JobError` if its stored settings are damaged."""
    check_stored(row.settings, row.run_id)
    return _report(row)


def _report(row: ListedRun) -> RunReport:
    usage = row.usage
    # The row itself counts the steps that are decided, as its log can be verified; the ledger counts all samples.
    votes = max(row.votes, sum(account.votes for account in row.accounts))
    red_flags = max(row.red_flags, sum(account.red_flags for account in row.accounts))
    models = [_account(account, row.settings.get("model", {})) for account in row.accounts]
    costs = [model["cost"] for model in models]
    cost = None if not costs or None in costs else round(sum(costs), COST_DIGITS)
    return RunReport(
        run_id=row.run_id, name=row.name, status=row.status, reason=row.reason, steps=row.steps, votes=votes,
        red_flags=red_flags, disputed=row.disputed, calls=usage.calls, requests=usage.requests,
        prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens,
        reserved_calls=row.reserved.calls, reserved_tokens=row.reserved.tokens, cost=cost, wall_s=round(row.wall_s, 3),
        resumes=row.resumes, digest=row.digest.hex(), result=row.result,
        forked_from=row.forked_from, forked_at=row.forked_at, settings=shown_settings(row.settings), models=models,
        monitor=monitored_classes(row.monitor, row.classes), reused=row.reused, saved_calls=row.saved,
        distinct=row.distinct, decided_votes=row.votes, decided_flags=row.red_flags, created_at=row.created_at,
        queue=None if row.queued is None else row.queued._asdict(),
    )  # fmt: skip


def shown_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's settings as they may be shown: older stores hold the secrets of URLs."""
    task = {name: _shown(value) for name, value in settings.get("task", {}).items()}
    return {**settings, "task": task}


def _shown(value: Any) -> Any:
    return without_secrets(value) if isinstance(value, str) and not any(map(str.isspace, value)) else value


def _account(account: AccountRow, model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of the ledger as JSON; its cost is None if the model has no prices.

    ``seeded`` is false where its votes were drawn without seeds, and cannot be drawn again.
    """
    settings = model["members"].get(account.model, {}) if model.get("kind") == "pool" else model
    prices = prices_in(settings, batch=bool(settings.get("batch")))
    usage = account.usage
    cost = None
    if prices is not None:
        cost = round(prices.of(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens), COST_DIGITS)
    counts = {"votes": account.votes, "red_flags": account.red_flags}
    # Programs that read the older name go on working.
    counts["untold"] = usage.unaccounted
    facts = {"cost": cost, "seeded": seeded_in(settings)}
    return {"model": account.model, "role": account.role} | usage._asdict() | counts | facts


def opened(store: str | None) -> closing[Database]:
    """Return a context manager that opens the store. Raises `StoreUnusable`."""
    return closing(open_database(store_url(store), create=False))


def task_of(row: RunRow) -> Decomposer[Any, Any] | None:
    """Return a run's task, None if its code cannot be found or loaded."""
    try:
        task = stored_job(row.settings, row.run_id, kept=row.sources).decomposer
        return in_order(task, row.classes) if row.changes else task
    except (BadInput, TaskFailed):
        return None
