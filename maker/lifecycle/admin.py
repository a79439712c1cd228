"""Fork, cancel and delete runs: changes that decide no steps."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from itertools import starmap
from typing import Any

from maker.core.user_code import call_user_code
from maker.engine.recovery import recovery_point
from maker.errors import BadInput, RunNotResumable
from maker.job.fingerprint import difference, run_fingerprint
from maker.job.job import Job
from maker.job.pinning import pinned_sources
from maker.job.resolve import stored_job
from maker.job.stages import is_stage
from maker.job.vote_budget import refuse_small
from maker.lifecycle.code_change import is_code_alone, merged
from maker.lifecycle.queries import RunReport, opened, report
from maker.lifecycle.reviewed_rows import ranges_of, reviewed_rows
from maker.lifecycle.waits import refuse_repeated
from maker.plugin import NEW, RoundDecomposer, RowDecomposer
from maker.store.backend.database import Database
from maker.store.chains import ChainRow, root_chain
from maker.store.code import Source, fingerprint_text
from maker.store.lease import LEASE_S
from maker.store.log import read_steps, spans
from maker.store.open_chain import OpenChain
from maker.store.outside import Kind, OutsideRow, read_outside
from maker.store.remove import cancel_run, remove_run
from maker.store.runs import NewRun, RunRow, create_run, find_run, read_parts, refuse_over
from maker.types import InputPart
from maker.verification.intact import check_forkable
from maker.voting.paths import read_name
from maker.voting.tally import based, genesis

TASK = ("decomposer", "decomposer_version", "decomposer_source", "prompts", "task")
"""Parts of the fingerprint that a fork must share with the run that it is forked from."""
ROUND = ("round", "again", "reviewed")
"""Task parameters that a map's next round may change all the same."""


def fork(
    run_id: str,
    at: int,
    overrides: Iterable[str] = (),
    *,
    store: str | None = None,
    repeat_effects: bool = False,
) -> RunReport:
    """Create a run that shares another run's root chain before step ``at``; continue it with `resume`.

    Copies nothing. Overrides may change everything but the task: the voter, the model, the seed. Effects from step
    ``at`` on are done again, with keys of their own, if ``repeat_effects`` says so; else such a fork is refused.

    Raises:
        RunNotFound: There is no such run.
        BadInput: The run has fewer than ``at`` steps, or has done effects from there on.
        RunNotResumable: The task's code or an override has changed the task.
    """
    with opened(store) as database:
        row = find_run(database, run_id)
        root = root_chain(database, row.key)
        if not 0 <= at <= root.cursor:
            raise BadInput(
                f"run {row.run_id} has decided {root.cursor} steps of its root chain; it cannot be forked at step {at}",
                fix=f"give --at a step from 0 to {root.cursor}",
            )
        if not repeat_effects:
            refuse_repeated(row.run_id, _effects_from(database, root, at), f"a fork at step {at}")
        parts = read_parts(database, row.key)
        return report(
            _forked(database, row, at, stored_job(row.settings, row.run_id, overrides, parts, kept=row.sources), parts)
        )


def _effects_from(database: Database, root: ChainRow, at: int) -> list[OutsideRow]:
    """Return the effects of a root chain and the chains below it from step ``at`` on."""
    found = []
    for chain, _, stop in spans(database, root):
        for one in read_outside(database, chain.run):
            path = read_name(one.place)
            first = path[0] if path else one.step
            if one.kind == Kind.EFFECT and first >= at and (stop is None or first < stop):
                found.append(one)
    return found


def another_round(
    run_id: str, again: Sequence[str], overrides: Iterable[str] = (), *, store: str | None = None
) -> RunReport:
    """Create a run that continues a finished map or document with another round over some of its rows or slices.

    Overrides may change the model and the voter.

    Args:
        run_id: The run, which is done.
        again: Outcomes of the rows to ask again; of a map, `NEW` stands for rows added to the input.
        overrides: ``table.key=value`` words.
        store: The store.

    Raises:
        RunNotResumable: No row has such an outcome; or the task's code or an override has changed the task.
    """
    with opened(store) as database:
        row = find_run(database, run_id)
        if is_stage(row.settings):
            raise RunNotResumable(
                f"run {row.run_id} is a stage of a map: the rows that it has not settled go to the next one",
                fix=f"go on with `maker resume {row.run_id}`, or give the map another stage in a new run",
            )
        parts = read_parts(database, row.key)
        job = stored_job(row.settings, row.run_id, overrides, parts, kept=row.sources)
        if not isinstance(job.decomposer, RoundDecomposer):
            fork = f"decide its steps again with `maker fork {row.run_id} --at 0`, or from a later step on"
            refuse_over(row.run_id, row.status, fork)
        grown = parts
        if NEW in again and isinstance(job.decomposer, RowDecomposer):
            grown = call_user_code(f"{job.decomposer.name}: grown", job.decomposer.grown)
        number = row.settings["task"].get("round", 0) + 1
        words = [*overrides, f"task.round={number}", f"task.again={json.dumps(list(again))}"]
        if reviewed := reviewed_rows(database, row):
            words.append(f"task.reviewed={json.dumps(ranges_of(one.row for one in reviewed))}")
        job = stored_job(row.settings, row.run_id, words, grown, kept=row.sources)
        root = root_chain(database, row.key)
        check_forkable(database, row, root, root.cursor)
        decomposer = job.decomposer
        assert isinstance(decomposer, RoundDecomposer)  # noqa: S101 - it was a moment ago
        state = decomposer.state.read(recovery_point(OpenChain.alone(database, root), decomposer).at.state)
        asked = call_user_code(f"{decomposer.name}: asked_again", decomposer.asked_again, state)
        if not asked:
            rows = isinstance(decomposer, RowDecomposer)
            see = f"see the outcomes of its rows with `maker results {row.run_id}`"
            raise RunNotResumable(
                f"run {row.run_id} has no {'row' if rows else 'slice'} to ask again: none is {' or '.join(again)}",
                fix=see if rows else "start a new run",
            )
        refuse_small(job, asked)
        return report(_forked(database, row, root.cursor, job, grown))


def _forked(database: Database, row: RunRow, at: int, job: Job, parts: tuple[InputPart, ...]) -> RunRow:
    """Store a run that shares another's root chain before step ``at``; returns its row."""
    root = root_chain(database, row.key)
    fingerprint = run_fingerprint(job)
    was, now = (_task(found) for found in (row.fingerprint, fingerprint))
    if changed := difference(was, now):
        alone = is_code_alone(was, now, job)
        if job.run.on_change != "migrate" or not alone:
            raise RunNotResumable(
                f"a fork of run {row.run_id} must keep its task, but {changed}",
                fix="start a new run of the changed task with `maker run`"
                + ("; or give the fork run.on_change=migrate, to go on with the new code" if alone else ""),
            )
    # The run that decided the step before ``at``. Forking a fork right where it begins shares the original's steps.
    span = next((span for span in spans(database, root) if span.stop is None or at <= span.stop), None)
    base = root if span is None else span.chain
    check_forkable(database, row, base, at)
    before = next(read_steps(database, base.key, at - 1, at), None) if at else None
    text = fingerprint_text(row.fingerprint if changed else fingerprint)
    digest = genesis(text) if before is None else based(before.digest, text)
    until = OpenChain.alone(database, base._replace(cursor=at, digest=digest))
    state = recovery_point(until, job.decomposer).at.state
    # A plan or a pilot holds only for a run that votes as it was planned, so a changed vote drops it. A map's next
    # round changes only the rows, and the pilot's rows were drawn from all of them.
    changed_in = {name for name, value in fingerprint.items() if row.fingerprint.get(name) != value} - {"seed"}
    stale = ({"plan"} if changed_in else set()) | ({"pilot", "row_error"} if changed_in - {"task"} else set())
    vote = {name: value for name, value in job.settings["vote"].items() if name not in stale}
    pinned = row.sources and job.run.on_change == "pin"
    new = NewRun(
        name=job.run.name,
        # A fork is no stage: the stages after it would go on from the run that it was forked from.
        settings={name: one for name, one in job.settings.items() if name != "stages"} | {"vote": vote},
        fingerprint=fingerprint,
        classes=merged(row.classes, job.decomposer),
        digest=digest,
        state=state,
        base=base.key if at else None,
        base_idx=at,
        parts=parts,
        sources=tuple(starmap(Source, row.sources.items())) if pinned else pinned_sources(job),
        before=row.fingerprint if changed else None,
    )
    created, _ = create_run(database, new, work=False)
    return find_run(database, created)


def _task(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a fingerprint that a fork must share with its source."""
    params = {name: value for name, value in fingerprint["task"].items() if name not in ROUND}
    return {name: fingerprint.get(name) for name in TASK} | {"task": params}


def cancel(run_id: str, *, store: str | None = None) -> RunReport:
    """End a run for good. Asks a process that works on it to stop, and waits up to twice its lease. Blocks.

    Raises:
        RunNotFound: No run has this whole id or name.
        RunNotResumable: The run is over.
    """
    with opened(store) as database:
        row = find_run(database, run_id, exact=True)
        deadline = time.monotonic() + 2 * LEASE_S
        while not cancel_run(database, row) and time.monotonic() < deadline:
            time.sleep(0.1)
        return report(find_run(database, row.run_id))


def prune(run_id: str, *, store: str | None = None) -> RunReport:
    """Delete a run with its steps, snapshots and samples; returns its last report.

    Raises:
        RunNotFound: No run has this whole id or name.
        RunHeld: A process works on it.
        RunNeeded: Another run was forked from it, or reuses its decisions.
    """
    with opened(store) as database:
        row = find_run(database, run_id, exact=True)
        remove_run(database, row)
        return report(row)
