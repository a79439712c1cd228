"""Compare a map's stages with each of its models alone, at one stated error, by a pilot over the labelled rows."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple, Unpack

from maker.errors import JobError, PilotPaused
from maker.inputs.chosen import packed
from maker.job.fingerprint import run_fingerprint
from maker.job.job import Job
from maker.job.keywords import JobKeywords
from maker.job.load import JobLike
from maker.job.resolve import derived
from maker.job.rules import vote_prices
from maker.job.stages import load_staged
from maker.lifecycle import once
from maker.lifecycle.queries import RunReport, opened
from maker.lifecycle.rows import RowLog, all_settled, result
from maker.lifecycle.session import OnEvent
from maker.reporting.accept_labels import IdLabels
from maker.reporting.cascade import StageLabels, read_stage_labels
from maker.reporting.row_scores import Signal, scores_of
from maker.stats.cascade_plan import CascadeForecast, PilotRow, Terms, forecast
from maker.store.code import fingerprint_text
from maker.store.runs import find_run


class Choice(NamedTuple):
    """One way to ask a table.

    Args:
        name: The stages, or the one model that is asked alone.
        accepted: About how many rows are accepted on average.
        calls: Samples, of all rows together.
        tokens: Read and written.
        cost: In the currency of the prices, at a pilot's mean price of a token; None without prices.
        hours: At the pilot's speed, the stages one after another.
        kept: The share of the rows that each stage keeps.
    """

    name: str
    accepted: float
    calls: float
    tokens: float
    cost: float | None
    hours: float
    kept: tuple[float, ...]


class StagePlan(NamedTuple):
    """What the stages and each model alone are forecast to take and to accept, at one error.

    ``labels`` rows of ``rows`` were asked in the ``pilots``, runs by stage.
    """

    error: float
    confidence: float
    rows: int
    labels: int
    pilots: tuple[str, ...]
    choices: tuple[Choice, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        return self._asdict() | {"choices": [one._asdict() for one in self.choices]}


class _Pilot(NamedTuple):
    """A stage's pilot: its run, and its rows in the order of the labels."""

    report: RunReport
    rows: list[PilotRow]


def plan_stages(
    job: JobLike,
    overrides: Iterable[str] = (),
    *,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
    **keywords: Unpack[JobKeywords],
) -> StagePlan:
    """Ask each stage's model about the labelled rows, once, and forecast stages and models alone. Blocks.

    Given again it asks nothing: each pilot is a run, which is continued, and found by what it asks.

    Raises:
        JobError: The job has no stages.
        PilotPaused: A pilot has not come to its end.
        Also as `maker.api.stages.run_stages` does.
    """
    staged = load_staged(job, overrides, **keywords)
    if staged is None:
        raise JobError("the job has no stages", fix="use maker.plan")
    terms = staged.accept
    labels = read_stage_labels(staged.jobs[0], terms)
    pilots = [
        _pilot(one, name, labels, Signal(terms.by[0]), on_event, stop)
        for one, name in zip(staged.jobs, staged.names, strict=True)
    ]
    rows: int = staged.jobs[0].decomposer.count()  # type: ignore[attr-defined]
    about = Terms(rows, terms.error, terms.confidence)
    choices = [_choice(" then ".join(staged.names), pilots, staged.jobs, about)]
    for name, pilot, one in zip(staged.names, pilots, staged.jobs, strict=True):
        choices.append(_choice(f"{name} alone", [pilot], [one], about))
    ids = tuple(one.report.run_id for one in pilots)
    return StagePlan(terms.error, terms.confidence, rows, len(labels.rows.rows), ids, tuple(choices))


def _choice(name: str, pilots: Sequence[_Pilot], jobs: Sequence[Job], terms: Terms) -> Choice:
    found: CascadeForecast = forecast([one.rows for one in pilots], terms)
    priced = all(vote_prices(one) is not None for one in jobs)
    cost, hours = 0.0, 0.0
    for pilot, taken in zip(pilots, found.stages, strict=True):
        tokens = pilot.report.prompt_tokens + pilot.report.completion_tokens
        cost += (pilot.report.cost or 0.0) * taken.tokens / max(1, tokens)
        hours += pilot.report.wall_s / 3600 * taken.asked / len(pilot.rows)
    return Choice(
        name, found.accepted, sum(one.calls for one in found.stages), sum(one.tokens for one in found.stages),
        cost if priced else None, hours, tuple(one.kept / terms.rows for one in found.stages),
    )  # fmt: skip


def _pilot(
    job: Job, name: str, labels: StageLabels, signal: Signal, on_event: OnEvent | None, stop: threading.Event | None
) -> _Pilot:
    """Ask a stage's model about the labelled rows, and say how it answers each."""
    asked = sorted(labels.rows.rows)
    settings = {table: content for table, content in job.settings.items() if table != "accept"}
    task = settings["task"] | {"chosen": packed(asked)}
    made = derived(job, {**settings, "task": task}, [f"run.name=pilot of stage {name}"])
    run_id = f"pilot-{sha256(fingerprint_text(run_fingerprint(made)).encode()).hexdigest()[:16]}"
    report = once.start_once(made, run_id, on_event=on_event, stop=stop)
    if report.status != "done":
        raise PilotPaused(
            f"run {run_id}, the pilot of stage {name}, is {report.status}: {report.reason}",
            fix="give the same command again to continue it",
            pilot=run_id, status=report.status, reason=report.reason,
        )  # fmt: skip
    told = IdLabels(labels.rows, job.decomposer)  # type: ignore[arg-type]
    found = dict[int, PilotRow]()
    with opened(job.store.url) as database:
        for one in all_settled(RowLog(database, find_run(database, run_id, exact=True)).rounds()):
            settled = one._replace(row=asked[one.row])
            told_row = result(one, "")
            calls = sum(told_row.votes.values()) + sum(told_row.flags.values())
            decided = settled.outcome is None
            unsure = scores_of(settled, (signal,))[signal] if decided else None
            right = bool(decided and told.is_right(settled))
            found[settled.row] = PilotRow(unsure, right, calls, told_row.tokens)
    return _Pilot(report, [found[row] for row in asked])
