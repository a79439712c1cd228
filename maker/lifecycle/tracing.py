"""Spans of OpenTelemetry: one for a process's work on a run, and within it one for each report of a worker.

Nothing is imported for them. A program that wants spans has set OpenTelemetry up, and so has loaded it; in any other
none are made.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from maker.core.logs import hidden
from maker.engine.scheduler import Scheduler
from maker.lifecycle.queries import RunReport
from maker.store.entry import Entry
from maker.swarm.interface import FromWorker
from maker.types import sum_usage

RUN, ADVANCE = "maker.run", "maker.advance"


class RunSpan:
    """The span of a process's work on a run, and those of the reports in it.

    Args:
        tracer: Makes the spans.
        span: The run's.
        context: What the reports' spans are children of.
        run_id: The run.
    """

    def __init__(self, tracer: Any, span: Any, context: Any, run_id: str) -> None:
        self._tracer = tracer
        self._span = span
        self._context = context
        self._run_id = run_id

    def report(self, message: FromWorker, entry: Entry, _scheduler: Scheduler) -> None:
        """Make the span of a report that has something to tell; it ends now and began as long ago as the work took.

        By this process's clock, whatever those of the workers' machines say: on the way here a report is late by what
        it waited.
        """
        worker, report = message
        end = time.time_ns()
        usage = sum_usage(entry.spent.values())
        attributes = {
            "maker.run_id": self._run_id,
            "maker.worker": worker,
            "maker.steps": entry.counts.decided,
            "maker.votes": entry.counts.votes,
            "maker.red_flags": entry.counts.flags,
            "maker.calls": usage.calls,
            "maker.requests": usage.requests,
            "maker.prompt_tokens": usage.prompt_tokens,
            "maker.completion_tokens": usage.completion_tokens,
            "maker.retries": usage.retries,
            "maker.undecided": sum(one.stuck.deferred is None for one in report.stuck),
            "maker.errors": len(report.errors),
        }
        began = end - round(report.took_s * 1e9)
        self._tracer.start_span(ADVANCE, self._context, attributes=attributes, start_time=began).end(end)

    def end_with(self, report: RunReport) -> None:
        """Say how the run stands at the end of this process's work."""
        self._span.set_attribute("maker.status", report.status)
        self._span.set_attribute("maker.reason", hidden(report.reason))


@contextmanager
def run_span(run_id: str, resumes: int) -> Iterator[RunSpan | None]:
    """Make the span of this process's work on a run, a child of the span that is current; yields None for none.

    What is raised within marks the span as failed.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        yield None
        return
    tracer = trace.get_tracer("maker")
    span = tracer.start_span(RUN, attributes={"maker.run_id": run_id, "maker.resumes": resumes})
    if not span.is_recording():
        # Nobody listens, or this run is left out of the sample.
        yield None
        return
    try:
        yield RunSpan(tracer, span, trace.set_span_in_context(span), run_id)
    except BaseException as error:
        said = hidden(str(error).partition("\n")[0]) or type(error).__name__
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(trace.StatusCode.ERROR, said)
        raise
    finally:
        span.end()
