"""What the reading commands print."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from itertools import islice
from typing import Any

from maker.calibration.map_pilot import MARGINS, sample_size
from maker.cli.tables import print_alarms, print_events, print_models, print_table, print_watched, print_workers
from maker.core.plugins import Plugin
from maker.errors import PluginError
from maker.job.estimate import CHARACTERS_PER_TOKEN, Estimate, Survey
from maker.job.file import DEFAULT_STORE, STORE_VARIABLE, shortened
from maker.job.job import Job
from maker.job.probe import expected_steps
from maker.job.settings import PilotFound
from maker.lifecycle.events import AlarmRaised, StepRecord
from maker.lifecycle.queries import RunReport, StepView
from maker.stats.race import one_rival, votes_per_step
from maker.store.backend.database import shown_url
from maker.types import Prices
from maker.verification.verifier import Verified

SHOWN_DISPUTED = 20
JSON_DISPUTED = 1000
DIGESTS = ("digest", "wording")


def print_summary(report: RunReport, where: str) -> None:
    """Print what a run came to: status, reason, counts, digest, and what to do next in its store."""
    print(f"run {report.run_id} is {report.status}" + (f": {report.reason}" if report.reason else ""))
    print(f"  {_counts(report)}")
    print_alarms(report.events)
    _print_outcome(report)
    if report.status == "paused":
        print(f"  `maker resume {report.run_id}{where}` goes on")
    else:
        print(f"  `maker verify {report.run_id}{where}` re-applies every step without a model")


def store_words(store: str) -> str:
    """Return what a suggested command must say of its store: nothing where it is the one that is meant anyway."""
    return "" if store == (os.environ.get(STORE_VARIABLE) or DEFAULT_STORE) else f" --store {shown_url(store)}"


def print_report(report: RunReport, disputed: Iterable[StepRecord], *, as_json: bool) -> None:
    """Print a run as it stands with the steps in which a vote went to a rival."""
    if as_json:
        shown = [record.to_json() for record in islice(disputed, JSON_DISPUTED)]
        print(json.dumps(report.to_json() | {"disputed_steps": shown}, ensure_ascii=False))
        return
    task, model, vote = (report.settings[table] for table in ("task", "model", "vote"))
    print(f"run {report.run_id}{f' ({report.name})' if report.name else ''}: {report.status}")
    if report.forked_from:
        print(f"  forked from {report.forked_from} before step {report.forked_at}")
    if report.reason:
        print(f"  {report.reason}")
    pilot = vote.get("pilot")
    tables: dict[str, dict[str, Any]] = {"task": task, "model": model, "vote": vote | {"pilot": None}}
    if poll := report.settings.get("poll"):
        # A pilot's votes are asked for, whatever [vote] says; labels can be as many as its steps.
        labels = len(poll["labels"].splitlines())
        tables = {"task": task, "model": model, "poll": poll | {"labels": labels or None}}
    if "members" in model:
        tables |= {"model": model | {"members": None}, **model["members"]}
    tables |= {f"role {name}": table for name, table in report.settings.get("roles", {}).items()}
    for name, table in tables.items():
        print(f"  {name:6} {_pairs(table)}")
    if pilot:
        print("  pilot ", "\n         ".join(pilot_lines(PilotFound.model_validate(pilot))))
    print(f"  {_counts(report)}")
    cost = "" if report.cost is None else f", cost {report.cost:,.4f}"
    print(f"  {report.prompt_tokens:,} prompt and {report.completion_tokens:,} completion tokens in the ledger{cost}")
    if report.reserved_calls:
        print(f"  up to {report.reserved_calls:,} calls more were under way and cut off, and count as spent")
    print_models(report.models)
    print_workers(report.workers)
    print_watched(report.monitor, str(report.settings.get("monitor", {}).get("policy", "")))
    print_alarms(report.events)
    print_events([event for event in report.events if event["kind"] != AlarmRaised.kind])
    _print_outcome(report)
    lines = [step_line(record) for record in islice(disputed, SHOWN_DISPUTED)]
    if lines:
        print("  disputed steps:", *(f"    {line}" for line in lines), sep="\n")
    if report.disputed > len(lines):
        print(f"    and {report.disputed - len(lines):,} more: `maker steps {report.run_id} --disputed`")


def step_line(record: StepRecord) -> str:
    """Return a step in one line; in a child of a fork, its place is written ``0.17:3``: step 3 of chain 0.17."""
    place = str(record.step) if record.chain == "root" else f"{record.chain}:{record.step}"
    if record.source:
        return f"{place:>7} {record.kind} {record.source['key']}: {_source(record.source)}"
    (winner, votes), *rivals = record.votes.items()
    heavy = {key: f" (weight {weight:.2f})" for key, weight in record.weights.items()}
    against = ", ".join(f"{n} for {key}{heavy.get(key, '')}" for key, n in rivals)
    flags = ", ".join(f"{n} {reason}" for reason, n in record.flags.items())
    line = f"{place:>7} {record.kind} {winner}: {votes} votes{heavy.get(winner, '')}"
    line += f" against {against}" if against else ""
    line += f"; flagged: {flags}" if flags else ""
    if record.judge:
        line += f"; the judge: {', '.join(f'{n} for {key}' for key, n in record.judge.items())}"
    return f"{line}; margin {record.margin}"


def _source(source: dict[str, Any]) -> str:
    of = f"run {source['run']}, chain {source['chain']}" if "run" in source else f"chain {source['chain_key']}"
    return f"from the memo, decided in {of}, step {source['step']}, by {source['calls']} samples"


def print_step(number: int, view: StepView, *, as_json: bool) -> None:
    """Print one step with the prompt and the raw samples that were kept of it."""
    record, samples = view.record, view.samples
    if as_json:
        told = {"step": number, "undecided": True} if record is None else record.to_json()
        asked = dict(zip(("system", "prompt"), view.asked or (None, None), strict=True))
        kept = [{name: cell for name, cell in row._asdict().items() if name not in DIGESTS} for row in samples]
        print(json.dumps(told | asked | {"samples": kept}, ensure_ascii=False))
        return
    print(f"{number} is undecided" if record is None else step_line(record).strip())
    if view.asked is not None:
        print(f"  prompt: {json.dumps(''.join(view.asked), ensure_ascii=False)}")
    for sample in samples:
        outcome = f"vote for {sample.candidate}" if sample.flag is None else f"red flag, {sample.flag}: {sample.detail}"
        words = "" if sample.system is None else f", asked {json.dumps(sample.system, ensure_ascii=False)}"
        warmth = "" if sample.temperature is None else f", at temperature {sample.temperature:g}"
        print(f"  sample {sample.vote}: {json.dumps(sample.text, ensure_ascii=False)}  {outcome}{words}{warmth}")
    if record is not None and record.source:
        print("  nobody was asked")
    elif not samples:
        print("  no samples were kept of this step; store.samples says of which steps they are")


def estimate_line(estimate: Estimate, prices: Prices | None) -> str:
    """Return an estimate in words, with what it rests on."""
    steps = f"{estimate.steps:,} steps" if estimate.steps else "one step (how many there are is not known)"
    line = (
        f"at least {estimate.calls:,} calls, about {estimate.prompt_tokens:,} prompt tokens, at most "
        f"{estimate.most_completion_tokens:,} completion tokens for these calls"
    )
    if prices is not None:
        low = prices.of(estimate.prompt_tokens, estimate.calls)
        high = prices.of(estimate.prompt_tokens, estimate.most_completion_tokens)
        line += f"; {low:,.4g} to {high:,.4g} at your prices"
    asked = "one request" if estimate.requests == 1 else f"{estimate.requests} requests"
    return (
        f"{line}. Basis: {steps} x {estimate.votes} votes without dissent, {asked} a step, all prompts as long as the "
        f"first, {estimate.prompt_characters} characters at {CHARACTERS_PER_TOKEN} a token; dissent and flags add to it"
    )


def print_survey(survey: Survey, prices: Prices | None, *, as_json: bool) -> None:
    """Print what a map's rows will take, and what that rests on."""
    calls, tokens, most = survey.calls, survey.prompt_tokens, survey.most_completion_tokens
    cost = None if prices is None else (prices.of(tokens, calls), prices.of(tokens, most))
    if as_json:
        facts = {"calls": calls, "prompt_tokens": tokens, "most_completion_tokens": most, "cost": cost}
        print(json.dumps(asdict(survey) | facts))
        return
    broken = f", {survey.unreadable:,} of which cannot be read or rendered" if survey.unreadable else ""
    print(f"{survey.rows:,} rows{broken}; the longest prompt has {survey.longest_prompt:,} characters")
    print(
        f"at least {calls:,} calls, about {tokens:,} prompt tokens, at most {most:,} completion tokens for these calls"
        + ("" if cost is None else f"; {cost[0]:,.4g} to {cost[1]:,.4g} at your prices")
    )
    asked = "one request" if survey.requests == 1 else f"{survey.requests} requests"
    print(
        f"basis: {survey.votes} votes a row in {asked}, no dissent, {CHARACTERS_PER_TOKEN} characters a token;"
        " dissent and red flags add to it"
    )


def pilot_plan(job: Job) -> str:
    """Return in words what the pilot will take that a job needs. Raises `OutOfReach`."""
    assert job.vote.row_error is not None  # noqa: S101 - that is what needs a pilot
    of = expected_steps(job) or 0
    rows = sample_size(of, job.vote.row_error)
    return (
        f"pilot: vote.row_error = {job.vote.row_error:g} asks for the k that a vote on {rows:,} of {of:,} rows finds, "
        f"held twice at k = {MARGINS[0]}: at least {2 * rows * MARGINS[0]:,} calls"
    )


def pilot_lines(found: PilotFound) -> list[str]:
    """Return in words what a pilot found, with what it rests on."""
    p = one_rival(found.agreement)
    votes = f"{found.votes:.2f} votes a row"
    if p is not None and 0.5 < p < 1:
        votes += (
            f"; {votes_per_step(p, found.k):.2f} by the formulas, if rows were alike in that the first two votes agree "
            f"on {found.agreement:.1%}"
        )
    return [
        f"k = {found.k}: another vote would decide at most {found.at_most:.2%} of the decided rows otherwise "
        f"({found.confidence:.1%} confidence)",
        f"{found.differ:,} of {found.both:,} rows that were decided twice differed; {found.rows:,} of {found.of:,} "
        f"rows were drawn at random, runs {' and '.join(found.runs)}",
        votes,
        "what all votes on a row are wrong about together a pilot cannot see; `maker audit` can",
    ]


def print_runs(reports: list[RunReport]) -> None:
    """Print a table of runs."""
    if not reports:
        print("no runs yet")
        return
    rows = []
    for report in reports:
        started = datetime.strptime(report.run_id[:15], "%Y%m%d-%H%M%S").strftime("%Y-%m-%d %H:%M")
        task = str(report.settings["task"]["decomposer"]).rpartition("/")[2]
        rows.append(
            (report.run_id, report.name, task, report.status, f"{report.steps:,}", f"{report.calls:,}", started)
        )
    print_table(("run", "name", "task", "status", "steps", "calls", "started (UTC)"), rows)


def print_verified(verified: Verified, *, as_json: bool) -> None:
    """Print what verification found."""
    if as_json:
        facts = {name: getattr(verified, name) for name in ("run_id", "steps", "digest", "whole", "problem", "right")}
        print(json.dumps(facts))
    elif verified.problem:
        print(f"run {verified.run_id} does NOT verify: {verified.problem}")
    elif not verified.whole:
        print(f"run {verified.run_id}: {verified.steps:,} steps are clean, but the run has not reached its goal")
    else:
        print(f"run {verified.run_id} verifies: {verified.steps:,} steps re-applied, digest {verified.digest}")


def print_plugins(found: dict[str, list[Plugin | PluginError]], *, as_json: bool) -> None:
    """Print plugins with file and distribution; a broken one with what is wrong."""
    for kind, plugins in found.items():
        for plugin in plugins:
            if isinstance(plugin, PluginError):
                facts = {"kind": kind, "error": str(plugin)}
                line = f"{kind:11} BROKEN {plugin}"
            else:
                facts = {"kind": kind, "name": plugin.name, "file": plugin.file, "distribution": plugin.distribution}
                line = f"{kind:11} {plugin.name:22} {plugin.distribution:24} {plugin.file}"
            print(json.dumps(facts) if as_json else line)


def print_config(job: Job, *, as_json: bool) -> None:
    """Print every setting in effect with its origin."""
    settings = {f"{table}.{key}": value for table, content in job.settings.items() for key, value in content.items()}
    settings["store.url"] = shown_url(job.store.url)
    settings["swarm.kind"] = job.swarm_kind
    if as_json:
        print(
            json.dumps({name: {"value": v, "origin": job.origins.get(name, "default")} for name, v in settings.items()})
        )
        return
    for name, value in settings.items():
        shown = "none" if value is None else shortened(json.dumps(value, ensure_ascii=False))
        print(f"{name:24} {shown:32} {job.origins.get(name, 'default')}")


def _print_outcome(report: RunReport) -> None:
    print(f"  {report.wall_s:,.1f} s, {report.resumes} resumes, digest {report.digest}")
    if report.result is not None:
        print(f"  result {json.dumps(report.result, ensure_ascii=False)}")


def _counts(report: RunReport) -> str:
    voted = f"{report.votes / report.steps:.2f} a step" if report.steps else "no step decided"
    steps = f"{report.steps:,} steps"
    if report.reused:
        steps += f", of which {report.reused:,} were taken from the memo: {report.distinct:,} distinct decisions"
        steps += f", {report.saved_calls:,} calls saved"
        asked = report.steps - report.reused
        voted = f"{report.votes / asked:.2f} a step that was voted on" if asked else "no step was voted on"
    return (
        f"{steps}, {report.votes:,} votes ({voted}), {report.red_flags:,} red flags, "
        f"{report.disputed:,} disputed steps, {report.calls:,} calls in {report.requests:,} requests"
    )


def _pairs(table: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {shortened(json.dumps(value))}" for key, value in table.items() if value is not None)
