"""Work on maps with stages, and print what became of each stage and of all together."""

from __future__ import annotations

import gc
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from maker.api.stage_plan import StagePlan
from maker.api.stages import StagesReport
from maker.cli.advice import completed, next_step
from maker.cli.exit_codes import ExitCode, exit_code
from maker.cli.known import know
from maker.cli.output import print
from maker.cli.pauses import RESUME, progress_of
from maker.cli.spans import send_spans
from maker.cli.tables import print_table
from maker.lifecycle.queries import RunReport, limit_override
from maker.lifecycle.session import OnEvent
from maker.reporting.accept import ROWS_ACCEPTED
from maker.swarm.worker import YOUNG_OBJECTS
from maker.types import money


def work_on_stages(work: Callable[[OnEvent], StagesReport], store: str, *, as_json: bool) -> None:
    """Work through stages, print how they stand, and end the command with its exit code."""
    gc.set_threshold(YOUNG_OBJECTS)
    send_spans()
    know(store=store)
    with progress_of(RESUME) as progress:
        found = work(progress.handle)
    print_stages(found, as_json=as_json)
    if found.last.status == "done" and found.accepted is not None:
        raise typer.Exit(ExitCode.MISSING if found.accepted.whole.left else ExitCode.DONE)
    raise typer.Exit(exit_code(found.last))


def print_stages(found: StagesReport, *, as_json: bool) -> None:
    """Print the stages, a line each, and what was accepted of all together."""
    if as_json:
        print(json.dumps(found.to_json(), ensure_ascii=False))
        return
    last = found.last
    status = f"{last.status}: {completed(last.reason)}" if last.reason else last.status
    print(f"map {found.run_id} in {len(found.names)} stages; stage {_name(found, len(found.reports) - 1)} is {status}")
    told = [event for event in found.reports[0].events if event["kind"] == ROWS_ACCEPTED and "stages" in event]
    by_name = {} if not told else {one["name"]: one for one in told[-1]["stages"]}
    rows = []
    for number, report in enumerate(found.reports):
        one = by_name.get(_name(found, number))
        figures: tuple[str, ...] = ("", "", "", "", "not tested yet")
        if one is not None:
            wrong = (
                f"{one['wrong']:,} of {one['labelled']:,} labels [{one['low']:.1%} to {one['high']:.1%}]"
                if one["labelled"]
                else "no label"
            )
            counts = (one["asked"], one["kept"], one["accepted"], one["handed_on"])
            figures = (*(f"{count:,}" for count in counts), wrong)
        cost = "" if report.cost is None else money(report.cost)
        tokens = report.prompt_tokens + report.completion_tokens
        rows.append(
            (_name(found, number), report.status, *figures[:4], f"{report.calls:,}", f"{tokens:,}", cost, figures[4])
        )
    heads = ("stage", "status", "asked", "kept", "accepted", "handed on", "calls", "tokens", "cost", "wrong kept rows")
    print_table(heads, rows, indent=2)
    for line in _accepted(found, told[-1] if told else None):
        print(line)
    print(f"  {completed(_next(found))}")


def _accepted(found: StagesReport, told: Mapping[str, Any] | None) -> list[str]:
    """Return what is promised of all stages together, and what that rests on."""
    if told is None:
        return []
    lines = [
        f"  {told['accepted']:,} of {told['decided']:,} decided rows are accepted, at most {told['error']:.4g} of them"
        f" wrong with a confidence of {told['confidence']:.4g}"
        if told["rule"]
        else "  labels could show no rule to keep the stated error: only rows that a label calls right are accepted",
        *([f"  rule: {told['rule']}"] if told["rule"] else []),
        f"  basis: {told['sampled']:,} labels, taken as the truth, of rows that were drawn at random; {told['tuned']:,}"
        " others have said how much each stage keeps, and test nothing. An interval has 95 % for its stage alone",
    ]
    lines += [
        f"  stage {one['name']} keeps no row: the labels that tune it are too few, or call too many of its surest rows"
        " wrong; give it a larger k, or label more"
        for one in told["stages"][:-1]
        if not one["kept"]
    ]
    if found.accepted is None:
        return lines
    whole = found.accepted.whole
    now, *more = whole.forecasts
    others = "".join(f"; {one.labels:,} labels {one.rows:,.0f}" for one in more)
    lines += [
        f"  for review: {', '.join(f'{n:,} {name}' for name, n in whole.left.items()) or 'no row'}",
        f"  power: if rows are as these labels say, {now.labels:,} test labels drawn anew accept {now.rows:,.0f} rows"
        f" on average{others}; rows with other labels beside them",
    ]
    if whole.earlier:
        lines.append(
            f"  other terms or labels were tried before ({whole.earlier:,}): the confidence is that of a single choice"
        )
    return [*lines, f"  written: {_shown(found.out)}"]


def _next(found: StagesReport) -> str:
    last = found.last
    if last.status == "paused":
        if override := limit_override(last):
            return f"continue with `maker resume {found.run_id} {_of_all(found, override)}`"
        return next_step(last).replace(f"resume {last.run_id}", f"resume {found.run_id}")
    runs = ", ".join(f"`maker verify {one.run_id}`" for one in found.reports)
    return f"check every step, without a model, with {runs}"


def _of_all(found: StagesReport, override: str) -> str:
    """Return a limit of a stage as one of all stages together: the ones before it have spent their part."""
    name, _, most = override.removeprefix("limits.").partition("=")
    spent = sum(_spent(one, name) for one in found.reports[:-1])
    total = float(most) + spent
    return f"limits.{name}={total:.6g}" if name in ("max_cost", "max_wall_s") else f"limits.{name}={math.ceil(total)}"


def _spent(report: RunReport, name: str) -> float:
    return {
        "max_calls": float(report.calls + report.reserved_calls),
        "max_tokens": float(report.prompt_tokens + report.completion_tokens + report.reserved_tokens),
        "max_cost": report.cost or 0.0,
        "max_wall_s": report.wall_s,
    }[name]


def _name(found: StagesReport, number: int) -> str:
    return found.names[number]


def _shown(out: Path | None) -> str:
    return f"accepted rows and review.jsonl in {out}"


def print_stage_plan(plan: StagePlan, *, as_json: bool) -> None:
    """Print what the stages and each model alone would take and accept, and what that rests on."""
    if as_json:
        print(json.dumps(plan.to_json(), ensure_ascii=False))
        return
    print(f"at most {plan.error:.4g} of the accepted rows wrong, with a confidence of {plan.confidence:.4g}:")
    rows = [
        (
            one.name, f"{one.accepted:,.0f} of {plan.rows:,}", ", ".join(f"{share:.0%}" for share in one.kept),
            f"{one.calls:,.0f}", f"{one.tokens:,.0f}", "" if one.cost is None else money(one.cost), f"{one.hours:,.2f}",
        )
        for one in plan.choices
    ]  # fmt: skip
    print_table(("", "accepted", "kept by stage", "calls", "tokens", "cost", "hours"), rows, indent=2)
    print(f"  rests on {plan.labels:,} labelled rows that each model was asked (runs {', '.join(plan.pilots)})")
    print("  assumed: the labels are right, other rows are like these, and prices and speed are those of the pilots")
    print("  accepted is a mean over draws of as many labels; no promise is made before all stages have ended")


def print_ahead(names: tuple[str, ...]) -> None:
    """Say what stages will be worked through."""
    print(f"stages: {', then '.join(names)}; what the last leaves is for review", file=sys.stderr)
