"""What the store is given of a new run: its job's settings, its fingerprint, its first state."""

from __future__ import annotations

from maker.job.fingerprint import run_fingerprint
from maker.job.job import Job
from maker.job.pinning import pinned_sources
from maker.job.probe import first_state, input_parts
from maker.job.vote_budget import refuse_small
from maker.lifecycle.named_files import files_read
from maker.plugin import RowDecomposer
from maker.store.code import fingerprint_text
from maker.store.runs import NewRun
from maker.voting.tally import genesis


def new_run(job: Job) -> NewRun:
    """Return the values of a new run of a job with known margins.

    Raises:
        BadInput: Its inputs cannot be read, or a model's folder is not there; or its budget of votes is too small.
        TaskFailed: The task cannot make its first state.
    """
    fingerprint, state = run_fingerprint(job), first_state(job)
    if isinstance(job.decomposer, RowDecomposer):
        refuse_small(job, len(job.decomposer.rows(job.decomposer.state.read(state))))
    return NewRun(
        name=job.run.name,
        settings=job.settings,
        fingerprint=fingerprint,
        classes=tuple(kind.name for kind in job.decomposer.classes),
        digest=genesis(fingerprint_text(fingerprint)),
        state=state,
        parts=input_parts(job),
        events=tuple(files_read(job)),
        sources=pinned_sources(job),
    )
