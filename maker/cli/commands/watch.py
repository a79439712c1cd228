"""``maker watch``: follow a run that another process is working on."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated, Any

import typer

from maker.cli import display
from maker.cli.exit_codes import exit_code
from maker.cli.options import AsJson, RunId, Store
from maker.cli.output import print
from maker.cli.progress import Progress
from maker.cli.stored import job_of
from maker.errors import MakerError
from maker.job import probe
from maker.job.file import DEFAULT_STORE
from maker.lifecycle.events import stored_event
from maker.lifecycle.queries import RunReport, store_url, whole_report
from maker.store.backend.database import Database, open_database
from maker.store.runs import ACTIVE, PENDING


def watch(
    run_id: RunId,
    store: Store = DEFAULT_STORE,
    every: Annotated[
        float, typer.Option("--every", min=0.1, max=3600, metavar="SECONDS", help="Seconds between two looks.")
    ] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Follow a run that another process is working on."""
    database = open_database(store_url(store), create=False)
    looks = _looks(database, run_id, every)
    first = next(looks)
    try:
        last = _print_json(first, looks) if as_json else _show(database, first, looks)
    except KeyboardInterrupt:
        print(f"stopped watching run {first.run_id}; the run itself continues", file=sys.stderr)
        raise
    if not as_json:
        display.print_summary(last)
    raise typer.Exit(exit_code(last))


def _looks(database: Database, run_id: str, every_s: float) -> Iterator[RunReport]:
    """Yield the run's report every ``every_s`` seconds, until no process works on it any more, nor will."""
    found = whole_report(database, run_id)
    yield found
    while found.status in (ACTIVE, PENDING):
        time.sleep(every_s)
        # By its id: `last` may be another one by now.
        found = whole_report(database, found.run_id)
        yield found


def _print_json(first: RunReport, looks: Iterable[RunReport]) -> RunReport:
    printed: dict[str, Any] = {}
    last = first
    for last in chain([first], looks):
        facts = {name: value for name, value in last.to_json().items() if name != "settings"}
        if facts != printed:
            print(json.dumps(facts, ensure_ascii=False), flush=True)
            printed = facts
    return last


def _show(database: Database, first: RunReport, looks: Iterable[RunReport]) -> RunReport:
    last = first
    if first.status not in (ACTIVE, PENDING):
        return last
    progress = Progress(sys.stdout, waiting="watching")
    with progress:
        expected = expected_steps(database, first)
        progress.begin(first.run_id, f"is {first.status}, {first.steps:,} steps so far", expected=expected)
        _update(progress, first)
        for look in looks:
            for stored in look.events[len(last.events) :]:
                _handle(progress, look.run_id, stored)
            last = look
            _update(progress, last)
    return last


def _handle(progress: Progress, run_id: str, stored: dict[str, Any]) -> None:
    facts = {name: fact for name, fact in stored.items() if name not in ("at", "kind")}
    if (event := stored_event(run_id, stored["kind"], facts)) is not None:
        progress.handle(event)


def _update(progress: Progress, found: RunReport) -> None:
    progress.update(steps=found.steps, votes=found.decided_votes, red_flags=found.red_flags, disputed=found.disputed)


def expected_steps(database: Database, found: RunReport) -> int | None:
    """Return how many steps a run will have, None if that is unknown; reads the store only, not the input."""
    if found.forked_from:
        # Steps shared with the other run are not among its own, and the store does not count them.
        return None
    try:
        return probe.expected_steps(job_of(database, found.run_id))
    except MakerError:
        # The task's code may be on another machine: watching needs the store only.
        return None
