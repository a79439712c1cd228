"""What programs call: run, resume, retry, pilot, try. The work itself is in `maker.lifecycle.session`."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

from maker.calibration.map_pilot import MARGINS, judge, pilot_words, sample_size
from maker.engine.trial import Trial, try_chain
from maker.errors import JobError, MakerError, OutOfReach, PilotPaused, RunNotResumable
from maker.job.file import Raw, read_job_file
from maker.job.job import Job, difference
from maker.job.resolve import derived, resolve, stored_job
from maker.job.settings import TABLES
from maker.lifecycle.admin import another_round
from maker.lifecycle.events import (
    RunEnded,
    RunStarted,
)
from maker.lifecycle.queries import RunReport, show, store_url, whole_report
from maker.lifecycle.row_files import Output, refuse_others, refuse_used
from maker.lifecycle.session import Held, OnEvent, ignore, work, worker_spec
from maker.plugin import RowDecomposer
from maker.store.backend.database import Database, open_database
from maker.store.cuts import cut, to_retry
from maker.store.lease import Lease
from maker.store.runs import (
    NewRun,
    RunRow,
    create_run,
    find_run,
    list_runs,
    read_parts,
    refuse_over,
    release,
    take_over,
)
from maker.types import Outcome
from maker.verification.verifier import fingerprint_text
from maker.voting.chain import ChainAt, Ended
from maker.voting.tally import genesis

RESTING = ("done", "paused")
"""How a run stands that a pilot can go on with."""

JobLike = str | Path | Mapping[str, Mapping[str, Any]] | Job


def load_job(job: JobLike, overrides: Iterable[str] = ()) -> Job:
    """Read and check a job: a TOML file's path, or its tables as a mapping.

    Overrides are ``table.key=value`` words. MAKER_TABLE_KEY variables stand between a file and the overrides; a
    mapping is a program's own word, and they do not touch it.

    Raises:
        JobError: A setting is wrong, or a loaded job is given overrides.
        PluginError: The decomposer or the voter cannot be found or made.
    """
    words = list(overrides)
    if isinstance(job, Job):
        if words:
            raise JobError(f"{words[0]!r} comes too late: the job is loaded", fix="give overrides to load_job")
        return job
    if isinstance(job, Mapping):
        raw = Raw(job, base=Path.cwd(), shown="the job")
    else:
        raw = read_job_file(Path(job))
        raw.take_environment(os.environ, TABLES)
    raw.take_overrides(words)
    return resolve(raw)


def run(
    job: JobLike,
    overrides: Iterable[str] = (),
    *,
    limit_steps: int | None = None,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> RunReport:
    """Start a run and work on it until it is done, failed or paused. Blocks.

    Args:
        job: A job file's path, its tables as a mapping, or a loaded `Job`.
        overrides: ``table.key=value`` words that win over the job's own.
        limit_steps: Pause after so many steps; `resume` goes on.
        on_event: Called in the writer's thread with what is committed; what it raises stops the run.
        stop: Set it from another thread to pause the run.

    Returns:
        How the run stands; look at ``status``.

    A job that says ``vote.row_error`` begins with its `pilot`, of which ``on_event`` hears nothing; one that says
    ``vote.k = "auto"`` takes the margins that its calibration in the store plans, as `planned` does.

    Raises:
        BadInput: The job cannot be run as it is.
        OutOfReach, PilotPaused: As `pilot` and `planned` do.
        StoreFailed, LeaseLost, WorkerLost, TaskFailed: What stopped the work; what was committed stays.
    """
    job = load_job(job, overrides)
    if job.needs_pilot:
        job = pilot(job, stop=stop)
    if job.needs_plan:
        job = planned(job)
    fingerprint = job.fingerprint()
    _refuse_used(job)
    new = NewRun(
        name=job.run.name,
        settings=job.settings,
        fingerprint=fingerprint,
        classes=tuple(kind.name for kind in job.decomposer.classes),
        digest=genesis(fingerprint_text(fingerprint)),
        state=job.first_state(),
        parts=job.parts(),
    )
    database = open_database(job.store.url, create=True)
    run_id, lease = create_run(database, new)
    held = Held(job, database, find_run(database, run_id), lease, resumed=False)
    return work(held, limit_steps, on_event, stop)


def planned(job: JobLike, overrides: Iterable[str] = ()) -> Job:
    """Return the job with the margins that a plan finds by its calibration, in place of ``vote.k = "auto"``.

    Raises:
        BadInput: There is no calibration of the job in its store, or it does not say enough.
        OutOfReach: No margins reach the target, or the calibration cannot show that any do.
    """
    # Only here are numpy and scipy needed.
    from maker.calibration.plan import plan

    job = load_job(job, overrides)
    return job.planned(plan(job).found())


def pilot(
    job: JobLike,
    overrides: Iterable[str] = (),
    *,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> Job:
    """Vote on a sample of a map's rows twice, and return the job with the least margin that keeps its row error.

    Either vote is a run of its own in the job's store; one that is there already, from a pilot that was cut off or for
    a job that differs in nothing that counts, is gone on with. Blocks.

    Raises:
        BadInput: The job says no row error, or cannot be run as it is.
        OutOfReach: The rows are too few to show the row error, or no margin up to the largest of a pilot keeps it.
        PilotPaused: ``stop`` was set, or a limit was reached.
    """
    job = load_job(job, overrides)
    if not job.needs_pilot:
        raise JobError("a pilot finds the margin for vote.row_error, and the job says none")
    _refuse_used(job)
    row_error = job.vote.row_error or 0.0
    rows = sample_size(job.expected_steps() or 0, row_error)
    for k in sorted({min(k, (job.vote.max_votes + 1) // 2) for k in MARGINS}):
        made = [derived(job, job.settings, pilot_words(job, rows, k, job.run.seed + n)) for n in (1, 2)]
        first, second = (run_through(one, on_event=on_event, stop=stop) for one in made)
        with closing(open_database(job.store.url, create=False)) as database:
            found = judge(database, job, (first, second))
        if found.at_most <= row_error:
            return job.piloted(found)
    raise OutOfReach(
        f"vote.row_error = {row_error:g} is out of reach: at k = {k}, {found.differ:,} of {found.both:,} rows that "
        f"were decided twice differed, so that it may be {found.at_most:.2%}",
        fix=f"`maker results {first}` shows what was voted; mend the prompt, take a better model, or set vote.k",
    )


def run_through(
    job: Job, steps: int | None = None, *, on_event: OnEvent | None = None, stop: threading.Event | None = None
) -> str:
    """Return the id of a run of the job that is done, or has decided as many steps as are asked for. Blocks.

    A run of this name and task that is there already is taken as it is, or gone on with as the job says it now; else
    one begins.

    Raises:
        PilotPaused: ``stop`` was set, or a limit was reached, before that.
        Also as `run` and `resume` do.
    """
    # A step that cannot be made is told before anything is written.
    job.first_state()
    fingerprint = job.fingerprint()
    with closing(open_database(job.store.url, create=True)) as database:
        rests = next((row for row in list_runs(database) if row.status in RESTING and row.name == job.run.name
                      and row.fingerprint == fingerprint), None)  # fmt: skip
    decided = rests.steps if rests else 0
    if rests is not None and (rests.status == "done" or (steps is not None and decided >= steps)):
        return rests.run_id
    left = None if steps is None else steps - decided
    if rests is None:
        ended = run(job, limit_steps=left, on_event=on_event, stop=stop)
    else:
        held = _taken_over(rests.run_id, (), job.store.url, job=job)
        ended = work(held, left, on_event, stop)
    if ended.status != "done" and (steps is None or ended.steps < steps):
        raise PilotPaused(
            f"run {ended.run_id}, the {job.run.name}, is {ended.status}: {ended.reason}",
            fix="give the same command again: it goes on from there",
        )
    return ended.run_id


def resume(
    run_id: str,
    overrides: Iterable[str] = (),
    *,
    store: str | None = None,
    limit_steps: int | None = None,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> RunReport:
    """Go on with a paused run, or with one whose process is gone, from its last committed step. Blocks.

    Overrides may change where and how the work is done (limits, swarm, the model's address, the vote's cap), not what
    it is; they are kept for the next resume.

    Raises:
        RunNotFound: No such run.
        RunNotResumable: It is over, or its task, code, voter, seed or model is not what it was started with.
        RunHeld: Another process works on it.
    """
    found = show(run_id, store=store)
    if found.status == "done" and (written := _write_output(found.run_id, overrides, store, on_event)):
        return written
    return work(_taken_over(found.run_id, overrides, store), limit_steps, on_event, stop)


def _write_output(
    run_id: str, overrides: Iterable[str], store: str | None, on_event: OnEvent | None
) -> RunReport | None:
    """Write the files of a map that is done: its process may have died just before. None where it writes none."""
    with closing(open_database(store_url(store), create=False)) as database:
        row = find_run(database, run_id)
        job = stored_job(row.settings, row.run_id, overrides, read_parts(database, row.key))
        if not isinstance(job.decomposer, RowDecomposer) or not job.decomposer.output:
            return None
        _refuse_change(row, job)
        tell = on_event or ignore
        tell(RunStarted(row.run_id, True, row.steps, row.steps))
        Output(database, row, job.decomposer).close()
        tell(RunEnded(row.run_id, row.status, row.reason, row.result))
        return whole_report(database, row.run_id)


def retry(
    run_id: str,
    overrides: Iterable[str] = (),
    *,
    outcomes: Collection[str] = (),
    store: str | None = None,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> RunReport:
    """Go on with a paused run, and decide anew what it could not get past. Blocks.

    Undecided steps get new votes, from new seeds; children that ended wrong, or that could not be joined, begin again.
    What they decided before is superseded, and stays in the log. Of children of forks of single steps, those with one
    of ``outcomes`` alone, where any are given.

    Of a map that is done a new run goes on, which asks such rows again, with the model and the voter that the overrides
    name; ``new`` among the outcomes stands for rows that the input has grown by.

    Raises:
        RunNotResumable: As `resume`; or there is nothing to retry.
        RunNotFound, RunHeld: As `resume`.
    """
    again = outcomes or tuple(outcome for outcome in Outcome if outcome != Outcome.AGAIN)
    found = show(run_id, store=store)
    if found.status == "done" and "round" in found.settings["task"]:
        _refuse_others(found.run_id, overrides, store)
        following = another_round(found.run_id, tuple(map(str, again)), overrides, store=store)
        return resume(following.run_id, store=store, on_event=on_event, stop=stop)
    return work(_taken_over(found.run_id, overrides, store, again), None, on_event, stop)


def _refuse_used(job: Job) -> None:
    """Raise `BadInput` where the files of a map could not be written."""
    if isinstance(job.decomposer, RowDecomposer) and job.decomposer.output:
        refuse_used(job.decomposer.output)


def _refuse_others(run_id: str, overrides: Iterable[str], store: str | None) -> None:
    """Raise `BadInput` where the files of a run that goes on from a map's could not be written."""
    with closing(open_database(store_url(store), create=False)) as database:
        row = find_run(database, run_id)
        folder = stored_job(row.settings, row.run_id, overrides).settings["task"]["output"]
        if folder:
            refuse_others(folder, row, database)


def _taken_over(
    run_id: str, overrides: Iterable[str], store: str | None, again: Collection[str] = (), job: Job | None = None
) -> Held:
    with ExitStack() as stack:
        database = stack.enter_context(closing(open_database(store_url(store), create=False)))
        row = find_run(database, run_id)
        fork = f"`maker fork {row.run_id} --at STEP` decides its steps from there on anew"
        refuse_over(row.run_id, row.status, fork if again else "start a new run")
        job = job or stored_job(row.settings, row.run_id, overrides, read_parts(database, row.key))
        _refuse_change(row, job)
        lease = take_over(database, row, job.settings)
        if again:
            _cut(database, row, lease, again)
        stack.pop_all()
        return Held(job, database, find_run(database, row.run_id), lease, resumed=True)


def _refuse_change(row: RunRow, job: Job) -> None:
    if changed := difference(row.fingerprint, job.fingerprint()):
        raise RunNotResumable(
            f"run {row.run_id} was started with another task: {changed}",
            fix="resume it with what it was started with, or start a new run",
        )
    if (level := row.settings["store"]["samples"]) != job.store.samples:
        raise RunNotResumable(
            f"run {row.run_id} keeps samples at the level {level!r}: store.samples cannot be {job.store.samples!r}",
            fix="`maker fork` makes a run that goes on from here with another level",
        )


def _cut(database: Database, row: RunRow, lease: Lease, again: Collection[str]) -> None:
    """Cut what the run cannot get past; gives the run back where there is nothing, or it cannot be done."""
    try:
        cuts = to_retry(database, row.key, again)
        if not cuts:
            raise RunNotResumable(
                f"run {row.run_id} has nothing to retry: no step and no child is {' or '.join(again)}",
                fix=f"`maker resume {row.run_id}` goes on",
            )
        cut(database, lease, cuts)
    except BaseException:
        with suppress(MakerError):
            release(database, lease, "paused", row.reason)
        raise


def try_steps(job: JobLike, overrides: Iterable[str] = (), *, count: int = 5) -> Iterator[Trial | Ended]:
    """Decide a job's first steps with its model, and yield all that was asked and answered; nothing is stored."""
    job = load_job(job, overrides)
    limits = job.limits.limits()
    allowance = limits.allowance() if limits.spending else None
    return try_chain(worker_spec(job), ChainAt(0, (), 0, 0, b"", job.first_state()), count, allowance)
