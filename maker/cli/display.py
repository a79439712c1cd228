"""What the reading commands print."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from maker.calibration.map_pilot import MARGINS, sample_size
from maker.cli.advice import completed, next_step
from maker.cli.output import print
from maker.cli.tables import (
    print_alarms,
    print_budget,
    print_events,
    print_models,
    print_table,
    print_watched,
    print_workers,
)
from maker.core.plugins import Plugin
from maker.errors import PluginError
from maker.job.estimate import CHARACTERS_PER_TOKEN, Estimate, Survey
from maker.job.file import shortened
from maker.job.job import Job
from maker.job.plan_words import OTHERWISE, like_seen, row_error_line, second_number
from maker.job.probe import expected_steps
from maker.job.settings import PilotFound, PlanFound
from maker.lifecycle.events import AlarmRaised, StepRecord
from maker.lifecycle.queries import RunReport, StepView, children_called
from maker.stats.race import one_rival, votes_per_step
from maker.store.backend.database import shown_url
from maker.store.runs import PENDING
from maker.types import Prices, money
from maker.verification.verifier import Verified

SHOWN_DISPUTED = 20
JSON_DISPUTED = 1000
DIGESTS = ("digest", "wording")


def print_summary(report: RunReport) -> None:
    """Print a run's status, reason, counts and digest, and the next command."""
    print(f"run {report.run_id} is {report.status}" + (f": {completed(report.reason)}" if report.reason else ""))
    print(f"  {_counts(report)}")
    print_budget(report.events)
    print_alarms(report.events)
    _print_outcome(report)
    then = f"check every step, without a model, with `maker verify {report.run_id}`"
    if report.missing:
        print(f"  {completed(_ask_again(report))}")
    print(f"  {completed(next_step(report) if report.status == 'paused' else then)}")


def _ask_again(report: RunReport) -> str:
    """Return in words how many children have no good decision, and what to do about it."""
    what = children_called(report)
    review = f"decide them yourself with `maker review {report.run_id}`, or "
    see = f"see them with `maker results {report.run_id}`, {review}" if what == "rows" else ""
    ask = "" if what == "children" else f": {see}ask them again with `maker retry {report.run_id}`"
    return f"{report.missing:,} {what} are without a good decision{ask}"


def print_report(report: RunReport, disputed: Iterable[StepRecord], *, as_json: bool) -> None:
    """Print a run's settings, counts, models, workers and events, and its first disputed steps."""
    if as_json:
        shown = [record.to_json() for record in islice(disputed, JSON_DISPUTED)]
        print(json.dumps(report.to_json() | {"disputed_steps": shown}, ensure_ascii=False))
        return
    task, model, vote = (report.settings[table] for table in ("task", "model", "vote"))
    print(f"run {report.run_id}{f' ({report.name})' if report.name else ''}: {report.status}")
    if report.forked_from:
        print(f"  forked from {report.forked_from} before step {report.forked_at}")
    if report.reason:
        print(f"  {completed(report.reason, run_id=report.run_id)}")
    pilot, plan = vote.get("pilot"), vote.get("plan")
    tables: dict[str, dict[str, Any]] = {"task": task, "model": model, "vote": vote | {"pilot": None, "plan": None}}
    if poll := report.settings.get("poll"):
        # A pilot draws the number of votes that it was given, whatever [vote] says. Its labels are counted, not
        # printed: there may be one for every step.
        labels = len(poll["labels"].splitlines())
        tables = {"task": task, "model": model, "poll": poll | {"labels": labels or None}}
    if "members" in model:
        tables |= {"model": model | {"members": None}, **model["members"]}
    tables |= {f"role {name}": table for name, table in report.settings.get("roles", {}).items()}
    for name, table in tables.items():
        print(f"  {name:6} {_pairs(table)}")
    if pilot:
        print("  pilot ", "\n         ".join(pilot_lines(PilotFound.model_validate(pilot))))
    if plan:
        print("  plan  ", "\n         ".join(plan_lines(PlanFound.model_validate(plan))))
    print(f"  {_counts(report)}")
    cost = "" if report.cost is None else f", cost {money(report.cost)}"
    print(f"  {report.prompt_tokens:,} prompt and {report.completion_tokens:,} completion tokens in the ledger{cost}")
    if report.reserved_calls:
        print(f"  up to {report.reserved_calls:,} more calls were cut off in flight; they count as spent")
    print_models(report.models)
    print_workers(report.workers)
    print_watched(report.monitor, str(report.settings.get("monitor", {}).get("policy", "")))
    print_budget(report.events)
    print_alarms(report.events)
    print_events([event for event in report.events if event["kind"] != AlarmRaised.kind])
    _print_outcome(report)
    lines = [step_line(record) for record in islice(disputed, SHOWN_DISPUTED)]
    if lines:
        print("  disputed steps:", *(f"    {line}" for line in lines), sep="\n")
    if report.disputed > len(lines):
        more = f"{report.disputed - len(lines):,} more; list them with `maker steps {report.run_id} --disputed`"
        print(f"    and {completed(more)}")


def step_line(record: StepRecord) -> str:
    """Return a step in one line; a step of a fork's child is located like ``0.17:3``, step 3 of chain 0.17."""
    location = str(record.step) if record.chain == "root" else f"{record.chain}:{record.step}"
    if record.source:
        return f"{location:>7} {record.kind} {record.source['key']}: {_source(record.source)}"
    (winner, votes), *rivals = record.votes.items()
    weights = {key: f" (weight {weight:.2f})" for key, weight in record.weights.items()}
    against = ", ".join(f"{n} for {key}{weights.get(key, '')}" for key, n in rivals)
    flags = ", ".join(f"{n} {reason}" for reason, n in record.flags.items())
    line = f"{location:>7} {record.kind} {winner}: {votes} votes{weights.get(winner, '')}"
    line += f" against {against}" if against else ""
    line += f"; flagged: {flags}" if flags else ""
    if record.judge:
        line += f"; judge: {', '.join(f'{n} for {key}' for key, n in record.judge.items())}"
    if record.answered:
        return f"{line}; decided by {record.answered['by'] or 'a person'}"
    return f"{line}; margin {record.margin}"


def _source(source: dict[str, Any]) -> str:
    of = f"run {source['run']}, chain {source['chain']}" if "run" in source else f"chain {source['chain_key']}"
    return f"from the memo, decided in {of}, step {source['step']}, with {source['calls']} samples"


def print_step(number: int, view: StepView, *, as_json: bool) -> None:
    """Print one step, with its prompt and raw samples where the store has kept them."""
    record, samples = view.record, view.samples
    if as_json:
        step = {"step": number, "undecided": True} if record is None else record.to_json()
        prompt = dict(zip(("system", "prompt"), view.asked or (None, None), strict=True))
        kept = [{name: cell for name, cell in row._asdict().items() if name not in DIGESTS} for row in samples]
        print(json.dumps(step | prompt | {"samples": kept}, ensure_ascii=False))
        return
    print(f"step {number} is undecided" if record is None else step_line(record).strip())
    if view.asked is not None:
        print(f"  prompt: {json.dumps(''.join(view.asked), ensure_ascii=False)}")
    for sample in samples:
        outcome = f"vote for {sample.candidate}" if sample.flag is None else f"red flag, {sample.flag}: {sample.detail}"
        variant = "" if sample.system is None else f", system prompt {json.dumps(sample.system, ensure_ascii=False)}"
        temperature = "" if sample.temperature is None else f", temperature {sample.temperature:g}"
        text = json.dumps(sample.text, ensure_ascii=False)
        print(f"  sample {sample.vote}: {text}  {outcome}{variant}{temperature}")
    if record is not None and record.source:
        print("  no model was asked")
    elif not samples:
        print("  no samples of this step are stored; store.samples sets which steps keep theirs")


def estimate_line(estimate: Estimate, prices: Prices | None) -> str:
    """Return an estimate in words, with its assumptions."""
    steps = f"{estimate.steps:,} steps" if estimate.steps else "one step (the number of steps is unknown)"
    line = (
        f"at least {estimate.calls:,} calls, about {estimate.prompt_tokens:,} prompt tokens, at most "
        f"{estimate.most_completion_tokens:,} completion tokens for these calls"
    )
    if prices is not None:
        low = prices.of(estimate.prompt_tokens, estimate.calls)
        high = prices.of(estimate.prompt_tokens, estimate.most_completion_tokens)
        line += f"; {money(low)} to {money(high)} at your prices"
    asked = "one request" if estimate.requests == 1 else f"{estimate.requests} requests"
    return (
        f"{line}. This assumes {steps}, {estimate.votes} votes a step in {asked}, no disagreement, and every prompt "
        f"as long as the first ({estimate.prompt_characters} characters, {CHARACTERS_PER_TOKEN} a token); disagreement "
        "and red flags add to it"
    )


def print_survey(survey: Survey, prices: Prices | None, *, as_json: bool) -> None:
    """Print how many calls and tokens a map's rows will take, with the assumptions of the estimate."""
    calls, tokens, most = survey.calls, survey.prompt_tokens, survey.most_completion_tokens
    cost = None if prices is None else (prices.of(tokens, calls), prices.of(tokens, most))
    if as_json:
        facts = {"calls": calls, "prompt_tokens": tokens, "most_completion_tokens": most, "cost": cost}
        print(json.dumps(asdict(survey) | facts))
        return
    broken = f" ({survey.unreadable:,} cannot be read or rendered)" if survey.unreadable else ""
    print(f"{survey.rows:,} {survey.what}{broken}; the longest prompt has {survey.longest_prompt:,} characters")
    print(
        f"at least {calls:,} calls, about {tokens:,} prompt tokens, at most {most:,} completion tokens for these calls"
        + ("" if cost is None else f"; {money(cost[0])} to {money(cost[1])} at your prices")
    )
    asked = "one request" if survey.requests == 1 else f"{survey.requests} requests"
    print(
        f"this assumes {survey.votes} votes for each of the {survey.what} in {asked}, no disagreement, "
        f"{CHARACTERS_PER_TOKEN} characters a token; disagreement and red flags add to it"
    )


def plan_lines(found: PlanFound) -> list[str]:
    """Return a plan's two numbers and what they rest on, each a line."""
    first = f"from calibration {found.calibration}: {like_seen(found)}"
    return [line for line in (first, second_number(found), f"assuming that {found.rests_on}") if line]


def pilot_plan(job: Job) -> str:
    """Return in words how many calls the job's pilot will take. Raises `OutOfReach`."""
    assert job.vote.row_error is not None  # noqa: S101 - that is what needs a pilot
    of = expected_steps(job) or 0
    rows = sample_size(of, job.vote.row_error)
    return (
        f"pilot: finding k for vote.row_error = {job.vote.row_error:g} takes two votes at k = {MARGINS[0]} on each of "
        f"{rows:,} of {of:,} rows, at least {2 * rows * MARGINS[0]:,} calls"
    )


def pilot_lines(found: PilotFound) -> list[str]:
    """Return in words what a pilot found, with its evidence and its limits."""
    p = one_rival(found.agreement)
    votes = f"{found.votes:.2f} votes a row"
    if p is not None and 0.5 < p < 1:
        votes += (
            f"; the formulas give {votes_per_step(p, found.k):.2f} if all rows were equally hard (the first two votes "
            f"agree on {found.agreement:.1%} of the rows)"
        )
    return [
        f"k = {found.k}: {row_error_line(found.at_most, found.confidence, OTHERWISE)}",
        f"{found.differ:,} of {found.both:,} rows that were decided twice got two answers; {found.rows:,} of "
        f"{found.of:,} rows were drawn at random (runs {' and '.join(found.runs)})",
        votes,
        "a pilot cannot see an error that all votes on a row share; `maker audit` can",
    ]


def print_runs(reports: list[RunReport], *, filtered: bool) -> None:
    """Print a table of runs; ``filtered`` says that it may leave some out."""
    if not reports:
        print("no such runs" if filtered else "no runs yet")
        return
    # Without a name in it, the table of short tasks fits a terminal of 80 columns.
    named = any(report.name for report in reports)
    rows = []
    for report in reports:
        started = datetime.fromtimestamp(report.created_at, UTC).strftime("%Y-%m-%d %H:%M")
        # A damaged run has no settings; its reason says so.
        task = str(report.settings["task"]["decomposer"]).rpartition("/")[2] if report.settings else "(damaged)"
        counts = (f"{count:,}" for count in (report.steps, report.calls, report.red_flags))
        names = (report.name,) if named else ()
        rows.append((report.run_id, *names, task, report.status, *counts, started))
    headings = ("run", *(("name",) if named else ()), "task", "status", "steps", "calls", "flags", "started (UTC)")
    print_table(headings, rows)
    _print_unserved(reports)


def _print_unserved(reports: list[RunReport]) -> None:
    """Say which queues hold runs and are served by no worker."""
    waiting = [report.queue for report in reports if report.status == PENDING and report.queue is not None]
    for queue, count in Counter(place["queue"] for place in waiting if not place["served"]).items():
        print(f"no worker serves queue {queue!r}, where {count:,} of these runs wait; {start_worker(queue)}")


def start_worker(queue: str) -> str:
    """Return how to start a worker of a queue."""
    return completed(f"start one with `maker worker --queue {shlex.quote(queue)}`")


VERIFIED = ("run_id", "steps", "digest", "whole", "problem", "right", "not_asked", "reviewed")


def print_verified(verified: Verified, *, as_json: bool) -> None:
    """Print what verification found."""
    if as_json:
        facts = {name: getattr(verified, name) for name in VERIFIED}
        print(json.dumps(facts))
    elif verified.problem:
        print(f"run {verified.run_id} does NOT verify: {verified.problem}")
    elif not verified.whole:
        print(f"run {verified.run_id}: all {verified.steps:,} steps verify, but the run has not reached its goal")
    else:
        print(f"run {verified.run_id} verifies: {verified.steps:,} steps re-applied, digest {verified.digest}")
    if verified.not_asked and not as_json:
        print(
            f"  {verified.not_asked:,} steps were decided by earlier code: their digests, links and tallies are right;"
            " they were not asked again"
        )
    if verified.reviewed and not as_json:
        print(
            f"  beside the log people decided {verified.reviewed:,} rows: their answers are as they were given, and not"
            " part of the digest"
        )


def print_plugins(found: dict[str, list[Plugin | PluginError]], *, as_json: bool) -> None:
    """Print plugins with their file and distribution, and broken ones with their error."""
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
    """Print every setting in effect, with where it was set."""
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
    voted = f"{report.decided_votes / report.steps:.2f} a step" if report.steps else "no step decided"
    steps = f"{report.steps:,} steps"
    if report.reused:
        steps += f", of which {report.reused:,} were taken from the memo: {report.distinct:,} distinct decisions"
        steps += f", {report.saved_calls:,} calls saved"
        asked = report.steps - report.reused
        voted = f"{report.decided_votes / asked:.2f} a step that was voted on" if asked else "no step was voted on"
    if report.answered:
        steps += f", of which people decided {report.answered:,}"
        elected = report.steps - report.reused - report.answered
        voted = f"{report.decided_votes / elected:.2f} a step that votes decided" if elected else "votes decided none"
    if report.reviewed:
        steps += f", and {report.reviewed:,} rows that people decided beside them"
    return (
        f"{steps}, {report.votes:,} votes ({voted}), {report.red_flags:,} red flags, "
        f"{report.disputed:,} disputed steps, {report.calls:,} calls in {report.requests:,} requests"
    )


def _pairs(table: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {shortened(json.dumps(value))}" for key, value in table.items() if value is not None)
