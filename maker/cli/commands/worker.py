"""``maker worker``: claim runs of a queue and work on them, until a signal ends it."""

from __future__ import annotations

import gc
import sys
import threading
from functools import partial
from types import FrameType
from typing import Annotated

import typer

from maker import api
from maker.cli.logs import print_refusals
from maker.cli.options import Store
from maker.cli.output import print
from maker.cli.signals import on_signals
from maker.cli.spans import send_spans
from maker.errors import MakerError
from maker.job.file import DEFAULT_STORE
from maker.lifecycle.events import Event, RunEnded, RunStarted
from maker.lifecycle.queries import RunReport
from maker.lifecycle.queue_worker import GRACE_S
from maker.store.queued import DEFAULT_QUEUE
from maker.swarm.worker import YOUNG_OBJECTS


def worker(
    store: Store = DEFAULT_STORE,
    queue: Annotated[str, typer.Option("--queue", metavar="NAME", help="Queue to claim runs of.")] = DEFAULT_QUEUE,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, metavar="N", help="Most runs that this worker has in work at once.")
    ] = 1,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, metavar="N", help="Most runs of the queue in work at once, over all workers."),
    ] = None,
    limit_per_key: Annotated[
        int | None,
        typer.Option("--limit-per-key", min=1, metavar="N", help="Most runs with one key in work at once, likewise."),
    ] = None,
    grace: Annotated[
        float,
        typer.Option("--grace", min=0, metavar="SECONDS", help="How long runs may go on after SIGTERM or Ctrl-C."),
    ] = GRACE_S,
) -> None:
    """Work on the runs of a queue until SIGTERM or Ctrl-C."""
    gc.set_threshold(YOUNG_OBJECTS)
    send_spans()
    print_refusals()
    stop = threading.Event()
    on_signals(partial(_drain, stop, grace))
    print(f"working on queue {queue!r:.120}, {concurrency} at a time", file=sys.stderr)
    api.work_queue(
        queue, store=store, concurrency=concurrency, limit=limit, limit_per_key=limit_per_key, grace_s=grace,
        on_event=_tell, on_end=partial(_accept, store), stop=stop,
    )  # fmt: skip


def _drain(stop: threading.Event, grace_s: float, _signal: int, _frame: FrameType | None) -> None:
    if stop.is_set():
        # Asked twice: runs are found by other workers as if this one had died.
        raise KeyboardInterrupt
    stop.set()
    print(f"claiming no more runs; those in work have {grace_s:g} s to end, then they pause", file=sys.stderr)


def _accept(store: str, report: RunReport) -> None:
    """Accept rows as the job of a run says that is done: that it cannot be done is no fault of the run."""
    if "accept" in report.settings and report.status == "done":
        # Imported here: most jobs have no such table.
        from maker.cli.commands.accept import accept_at_end

        try:
            accept_at_end(report, store)
        except (MakerError, OSError) as error:
            print(f"maker: run {report.run_id}: no rows are accepted: {error}", file=sys.stderr)


def _tell(event: Event) -> None:
    if isinstance(event, RunStarted):
        print(f"run {event.run_id} {'goes on' if event.resumed else 'begins'}", flush=True)
    elif isinstance(event, RunEnded):
        print(f"run {event.run_id} is {event.status}" + (f": {event.reason}" if event.reason else ""), flush=True)
