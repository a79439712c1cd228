"""``maker enqueue``: put a run into a queue, for a worker to claim."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from maker import api
from maker.cli.display import start_worker
from maker.cli.known import know
from maker.cli.options import JobFile, JobStore, Overrides, with_store
from maker.cli.output import print
from maker.errors import BadInput
from maker.lifecycle import queries
from maker.store.queued import DEFAULT_QUEUE


def enqueue(
    job: JobFile,
    overrides: Overrides = None,
    store: JobStore = None,
    queue: Annotated[str, typer.Option("--queue", metavar="NAME", help="Queue to put the run into.")] = DEFAULT_QUEUE,
    priority: Annotated[int, typer.Option("--priority", metavar="N", help="The highest is claimed first.")] = 0,
    key: Annotated[
        str | None, typer.Option("--key", metavar="TENANT", help="Whom the run counts for, where workers limit by key.")
    ] = None,
    run_id: Annotated[
        str | None, typer.Option("--run-id", metavar="ID", help="Id of the run: the same again adds nothing.")
    ] = None,
    at: Annotated[
        str, typer.Option("--at", metavar="TIME", help="Not before this time, e.g. 2030-01-31T08:00+01:00.")
    ] = "",
) -> None:
    """Put a run into a queue, and print its id."""
    loaded = api.load_job(job, with_store(overrides, store))
    know(store=loaded.store.url)
    made = api.enqueue(loaded, run_id=run_id, queue=queue, priority=priority, key=key, due=_time(at))
    print(made)
    place = queries.show(made, store=loaded.store.url).queue
    if place is not None and not place["served"]:
        print(f"no worker serves queue {place['queue']!r} now; {start_worker(place['queue'])}", file=sys.stderr)


def _time(text: str) -> datetime | None:
    """Return a time that a user gives, None for none. Raises `BadInput`."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M+00:00")
        raise BadInput(f"--at {text!r:.80} is no time: {error!s:.200}", fix=f"write it like {now}") from error
