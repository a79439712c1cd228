"""Start, resume and retry runs. The work itself is in `maker.lifecycle.session`."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import NamedTuple

from maker.core.plugins import refuse_while_loading
from maker.engine.driver import pause_reason
from maker.engine.trial import Trial, try_chain
from maker.errors import MakerError, PilotPaused, RunDamaged, RunNotResumable
from maker.inputs.formats.parquet import pyarrow_module
from maker.job.fingerprint import difference, run_fingerprint
from maker.job.job import Job
from maker.job.pinning import pinned_sources
from maker.job.probe import first_state
from maker.job.resolve import stored_job
from maker.lifecycle.admin import another_round
from maker.lifecycle.code_change import code_change, job_in_order, refuse_change
from maker.lifecycle.events import (
    RunEnded,
    RunStarted,
)
from maker.lifecycle.limits import required_limit
from maker.lifecycle.new_run import new_run
from maker.lifecycle.queries import RunReport, limit_override, opened, timeout_override, whole_report
from maker.lifecycle.row_files import Output, claimed, refuse_others, refuse_used
from maker.lifecycle.session import HeldRun, OnEvent, ignore, known_decisions, reading, work, worker_spec
from maker.lifecycle.waits import refuse_repeated
from maker.models.server.keys import require_keys
from maker.plugin import RowDecomposer
from maker.store.backend.database import Database, open_database, opened_if_there
from maker.store.chains import first_chain
from maker.store.cuts import Cut, cut, to_retry
from maker.store.keeper import LeaseKeeper
from maker.store.lease import Lease, alive
from maker.store.outside import effects_under
from maker.store.runs import (
    ACTIVE,
    NOT_STARTED,
    PENDING,
    ListedRun,
    RunRow,
    create_run,
    find_run,
    list_runs,
    read_parts,
    refuse_held,
    refuse_newer,
    refuse_over,
    release,
    take_over,
    taken_over,
)
from maker.types import Outcome
from maker.verification.intact import check_resumable
from maker.voting.messages import ChainAt, Ended, OpenStep

BUDGETS = ("budget", "budget_cost")
"""Settings of ``[vote]`` that give all rows of a map one budget."""


class Again(NamedTuple):
    """What a retry votes on again: children with these outcomes; and whether it may do effects again."""

    outcomes: Collection[str]
    repeat_effects: bool = False


def start(
    job: Job,
    *,
    limit_steps: int | None = None,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> RunReport:
    """Start a run of a job with known margins, and work on it until it is done, failed or paused. Blocks.

    `maker.api.run` finds the margins first if the job leaves them open; see there for the arguments.

    Raises:
        BadInput: The job cannot be run as it is.
        StoreFailed, LeaseLost, WorkerLost, TaskFailed: The work stopped; committed steps are safe.
    """
    refuse_while_loading()
    new = new_run(job)
    refuse_used_output(job)
    _require_keys(job)
    with ExitStack() as stack:
        database = stack.enter_context(closing(open_database(job.store.url, create=True)))
        required_limit(database, job)
        run_id, lease = create_run(database, new)
        with _released_on_error(database, lease):
            stack.enter_context(closing(LeaseKeeper(database, lease)))
            row = find_run(database, run_id)
            _claim_output(job, row, database, stack)
            known = known_decisions(database, job, row)
        held = HeldRun(job, database, row, lease, resumed=False, known=known, resources=stack.pop_all())
    return work(held, limit_steps, on_event, stop)


def run_through(
    job: Job, steps: int | None = None, *, on_event: OnEvent | None = None, stop: threading.Event | None = None
) -> str:
    """Return the id of a run of the job that is done, or has decided at least ``steps`` steps. Blocks.

    Uses a stored run of this name and fingerprint if there is one, and continues it with the job's present settings;
    else starts a run.

    Raises:
        PilotPaused: ``stop`` was set, or a limit was reached first.
        Also as `start` and `resume` do.
    """
    # A first step that cannot be made must fail before anything is stored.
    first_state(job)
    with ExitStack() as resources:
        database = resources.enter_context(closing(open_database(job.store.url, create=True)))
        found = _begun(database, job)
        decided = found.steps if found else 0
        if found is not None and (found.status == "done" or (steps is not None and decided >= steps)):
            return found.run_id
        held = None if found is None else take(database, found, resources, job=job)
    remaining = None if steps is None else steps - decided
    if held is None:
        ended = start(job, limit_steps=remaining, on_event=on_event, stop=stop)
    else:
        ended = work(held, remaining, on_event, stop)
    if ended.status != "done" and (steps is None or ended.steps < steps):
        with_limit = f" with {override}" if (override := limit_override(ended) or timeout_override(ended)) else ""
        raise PilotPaused(
            f"run {ended.run_id}, the {job.run.name}, is {ended.status}: {ended.reason}",
            fix=f"give the same command again{with_limit} to continue it",
            pilot=ended.run_id,
            status=ended.status,
            reason=ended.reason,
        )
    return ended.run_id


def can_go_on(row: ListedRun) -> bool:
    """Say whether a pilot can use or continue a run: it is done or paused, or the process that worked on it is gone."""
    return row.status in ("done", "paused") or (row.status == ACTIVE and not alive(row.holder, row.lease_until))


def is_begun(job: Job) -> bool:
    """Say whether the store has a run that `run_through` would take or continue."""
    with opened_if_there(job.store.url) as database:
        return database is not None and _begun(database, job) is not None


def _begun(database: Database, job: Job) -> RunRow | None:
    """Return the run of the job's name and fingerprint that can go on, None if there is none."""
    fingerprint = run_fingerprint(job)

    def wanted(row: ListedRun) -> bool:
        return can_go_on(row) and row.name == job.run.name and row.fingerprint == fingerprint

    found = list_runs(database, 1, name=job.run.name, wanted=wanted)
    return find_run(database, found[0].run_id, exact=True) if found else None


def resume(
    run_id: str,
    overrides: Iterable[str] = (),
    *,
    store: str | None = None,
    limit_steps: int | None = None,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> RunReport:
    """Continue a paused run, or one whose process is gone, after its last committed step. Blocks.

    Overrides may change where and how the work is done: limits, swarm, the model's address, vote.max_votes. They must
    not change what is decided. They are kept for the next resume. Where code of the task or the voter has changed since
    the run began, ``run.on_change=migrate`` goes on with the new code.

    Raises:
        RunNotFound: There is no such run.
        RunNotResumable: The run is over, or its task, code, voter, seed or model has changed.
        RunDamaged: What would be re-applied is not as it was committed. Nothing is written.
        RunHeld: Another process works on it.
    """
    with ExitStack() as resources:
        database = resources.enter_context(opened(store))
        row = find_run(database, run_id)
        if row.status == "done" and (written := _write_output(database, row, overrides, on_event)):
            return written
        held = take(database, row, resources, overrides)
    return work(held, limit_steps, on_event, stop)


def _write_output(
    database: Database, row: RunRow, overrides: Iterable[str], on_event: OnEvent | None
) -> RunReport | None:
    """Write the files of a finished map, whose process may have died before it wrote them; None if it writes none."""
    job = stored_job(row.settings, row.run_id, overrides, read_parts(database, row.key), kept=row.sources)
    if not isinstance(job.decomposer, RowDecomposer) or not job.decomposer.output:
        return None
    now = run_fingerprint(job)
    if changed := difference(row.fingerprint, now):
        refuse_change(row, job, changed, now)
    notify = on_event or ignore
    notify(RunStarted(row.run_id, True, row.steps, row.steps))
    with claimed(job.decomposer, row, database):
        Output(database, row, job.decomposer).close()
    notify(RunEnded(row.run_id, row.status, row.reason, row.result))
    return whole_report(database, row.run_id)


def retry(
    run_id: str,
    overrides: Iterable[str] = (),
    *,
    outcomes: Collection[str] = (),
    store: str | None = None,
    repeat_effects: bool = False,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> RunReport:
    """Vote again on a paused run's unresolved steps, and continue it. Blocks.

    Undecided steps get new votes with new seeds. Children that ended wrong, or that could not be joined, begin again;
    their old steps are superseded and stay in the log. ``outcomes`` restricts the children of forks of single steps to
    those with these outcomes. A child that has done effects begins again only with ``repeat_effects``.

    For a map or a document that is done, a new run continues it and asks such rows or slices again, with the model and
    the voter that the overrides name; ``new`` among the outcomes stands for rows added to a map's input.

    Raises:
        RunNotResumable: As `resume`; or there is nothing to retry.
        BadInput: A child that would begin again has done effects.
        RunNotFound, RunHeld: As `resume`.
    """
    overrides = list(overrides)
    again = outcomes or tuple(outcome for outcome in Outcome if not outcome.open)
    with ExitStack() as resources:
        database = resources.enter_context(opened(store))
        row = find_run(database, run_id)
        retried = Again(outcomes or (*again, Outcome.ASKED), repeat_effects=repeat_effects)
        held = None if row.status == "done" else take(database, row, resources, overrides, again=retried)
        if held is None:
            _refuse_others(database, row, overrides)
    if held is not None:
        return work(held, None, on_event, stop)
    following = another_round(row.run_id, tuple(map(str, again)), overrides, store=store)
    # What was stored of a URL lacks its secrets.
    places = [word for word in overrides if word.startswith("task.") and "://" in word]
    return resume(following.run_id, places, store=store, on_event=on_event, stop=stop)


def refuse_used_output(job: Job) -> None:
    """Raise `BadInput` if the files of a new map could not be written."""
    if isinstance(job.decomposer, RowDecomposer) and job.decomposer.output:
        if job.decomposer.output_format == "parquet":
            pyarrow_module()
        refuse_used(job.decomposer.output)


def _refuse_others(database: Database, row: RunRow, overrides: Iterable[str]) -> None:
    """Raise `BadInput` if the files of a map's next round could not be written."""
    folder = stored_job(row.settings, row.run_id, overrides, kept=row.sources).settings["task"].get("output")
    if folder:
        refuse_others(folder, row, database)


def take(
    database: Database,
    row: RunRow,
    resources: ExitStack,
    overrides: Iterable[str] = (),
    *,
    again: Again | None = None,
    job: Job | None = None,
    claims: int | None = None,
) -> HeldRun:
    """Take a run over, after all that can fail: a lease that is taken stops a holder that is only slow.

    ``again`` are outcomes to cut off. ``job`` takes the place of the stored one. ``claims`` is a queue's claim of it.

    What ``resources`` closes, the database among it, goes over to the held run. A run is looked for and taken over by
    one database: the last one to close a SQLite file writes its log back, which takes longer than all the rest.
    """
    refuse_while_loading()
    fork = f"decide its steps again with `maker fork {row.run_id} --at 0`, or from a later step on"
    refuse_over(row.run_id, row.status, fork if again else "start a new run")
    refuse_held(row.run_id, row.holder, row.lease_until, row.updated_at)
    with reading(database, row):
        _check(database, row)
        job = job or stored_job(row.settings, row.run_id, overrides, read_parts(database, row.key), kept=row.sources)
        code = code_change(database, row, job, back=claims is None)
        _refuse_level(row, job)
        _refuse_budget(row, job)
        sources = () if row.sources else pinned_sources(job)
        job = job_in_order(job, row.classes if code is None else code.classes)
        _require_keys(job)
        required_limit(database, job)
        known = known_decisions(database, job, row)
    _claim_output(job, row, database, resources)
    cuts = _cuts(database, row, again) if again else []
    lease = take_over(database, row, job.settings, claims=claims, sources=sources, code=code)
    reason, resumed = NOT_STARTED if row.status == PENDING else row.reason, row.fence > 0
    with _released_on_error(database, lease, reason):
        resources.enter_context(closing(LeaseKeeper(database, lease)))
        cut(database, lease, cuts if code is None else _linked(cuts, find_run(database, row.run_id)))
        row = taken_over(row, lease, job.settings) if code is None and not sources else find_run(database, row.run_id)
        # A cut forgets decisions.
        known = known_decisions(database, job, row) if cuts else known
    return HeldRun(
        job, database, row, lease, resumed=resumed, known=known, resources=resources.pop_all(), code=code,
        queued=claims is not None,
    )  # fmt: skip


def _check(database: Database, row: RunRow) -> None:
    """Check what is re-applied. Raises `RunDamaged`; or `RunHeld`, if another process has written meanwhile."""
    try:
        check_resumable(database, row)
    except RunDamaged:
        now = find_run(database, row.run_id)
        refuse_held(now.run_id, now.holder, now.lease_until, now.updated_at)
        refuse_newer(row, now.fence, now.batch)
        raise


def _claim_output(job: Job, row: RunRow, database: Database, stack: ExitStack) -> None:
    """Keep the output folder of a map for this process, as long as the stack is open. Raises `BadInput`."""
    if isinstance(job.decomposer, RowDecomposer):
        stack.enter_context(claimed(job.decomposer, row, database))


@contextmanager
def _released_on_error(database: Database, lease: Lease, reason: str | None = None) -> Iterator[None]:
    """Pause a run, for a reason or for the error, if the block raises: there is no journal yet that could say so."""
    try:
        yield
    except BaseException as error:
        with suppress(MakerError):
            release(database, lease, "paused", pause_reason(error) if reason is None else reason)
        raise


def _require_keys(job: Job) -> None:
    """Raise `ModelUnusable` if a key is missing: before there is a run that this would only pause.

    On a cluster the workers read the keys, each on its own machine.
    """
    if job.swarm_kind == "local" or not (job.swarm.address or os.environ.get("RAY_ADDRESS")):
        require_keys(job.members.values())


def _refuse_level(row: RunRow, job: Job) -> None:
    if (level := row.settings["store"]["samples"]) != job.store.samples:
        raise RunNotResumable(
            f"run {row.run_id} has store.samples = {level!r}, which cannot change to {job.store.samples!r}",
            fix="continue in a new run with `maker fork`, which may set it",
        )


def _refuse_budget(row: RunRow, job: Job) -> None:
    """Refuse a budget for a run that began without one, and the other way round: how much it is may change."""
    before, now = (
        [name for name in BUDGETS if vote.get(name) is not None]
        for vote in (row.settings["vote"], job.settings["vote"])
    )
    if before != now:
        had, has = (" and ".join(f"vote.{name}" for name in names) or "no budget" for names in (before, now))
        raise RunNotResumable(
            f"run {row.run_id} began with {had}, which cannot change to {has}: its rows have asked by that",
            fix="go on with the setting that it has, of another value if you like; or start a new run",
        )


def _cuts(database: Database, row: RunRow, again: Again) -> list[Cut]:
    """Return where the unresolved steps are cut off, to be decided again. Raises `RunNotResumable` if there are none.

    That takes long in a run of many chains. It is done without the lease, which is taken only if nothing was decided
    meanwhile.
    """
    cuts = to_retry(database, row.key, again.outcomes)
    if not cuts:
        raise RunNotResumable(
            f"run {row.run_id} has nothing to retry: no step and no child is {' or '.join(again.outcomes)}",
            fix=f"continue with `maker resume {row.run_id}`",
        )
    if not again.repeat_effects:
        chains = {one.chain for one in cuts if not one.single and not one.idx}
        refuse_repeated(row.run_id, effects_under(database, row.key, chains), "a retry")
    return cuts


def _linked(cuts: list[Cut], row: RunRow) -> list[Cut]:
    """Return cuts, of which that of the root chain goes on from its digest: it has taken in the new code."""
    root = first_chain(row.key)
    return [one._replace(digest=row.digest) if one.chain == root else one for one in cuts]


def try_steps(job: Job, *, count: int) -> Generator[Trial | Ended | OpenStep]:
    """Decide a job's first steps, and yield each with its prompt, samples and votes. Stores nothing.

    While a step waits for replies, yields what it has heard so far, some twenty times a second.
    """
    limits = job.limits.limits()
    allowance = limits.allowance() if limits.spending else None
    return try_chain(worker_spec(job), ChainAt(0, (), 0, 0, b"", first_state(job)), count, allowance)
