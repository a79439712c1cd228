"""``maker run``, ``resume``, ``retry`` and ``try``: the commands that work on a job."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maker import api
from maker.calibration.find_margins import find_margins
from maker.cli import display
from maker.cli.advice import completed
from maker.cli.commands import (
    plan,
)
from maker.cli.confirm import run_to_change
from maker.cli.exit_codes import exit_code
from maker.cli.known import know
from maker.cli.options import (
    AsJson,
    JobFile,
    JobStore,
    LimitSteps,
    Overrides,
    RayAddress,
    RepeatEffects,
    RunId,
    Store,
    WholeRun,
    Yes,
    with_store,
)
from maker.cli.output import print
from maker.cli.pauses import RESUME, SAME_COMMAND, progress_of
from maker.cli.spans import send_spans
from maker.cli.stored import stored_run
from maker.cli.trial import print_trial
from maker.errors import BadInput
from maker.job.batch_plan import LIKELY, WINDOW_HOURS, BatchPlan, Race, batch_lines, plan_batches
from maker.job.estimate import Estimate, estimate_run, survey_rows
from maker.job.file import DEFAULT_STORE
from maker.job.job import Job
from maker.job.plan_words import like_seen, second_number
from maker.job.probe import input_parts, least_steps
from maker.job.rules import batches, vote_prices
from maker.job.stages import StagedJob, is_stage, load_staged
from maker.lifecycle.control import try_steps
from maker.lifecycle.queries import RunReport, show
from maker.lifecycle.session import OnEvent
from maker.models.server_settings import ServerSettings
from maker.plugin import NEW
from maker.swarm.worker import YOUNG_OBJECTS
from maker.types import Outcome, money

if TYPE_CHECKING:
    from maker.calibration.forecast import Plan


def run(
    job: JobFile,
    overrides: Overrides = None,
    store: JobStore = None,
    limit_steps: LimitSteps = None,
    ray_address: RayAddress = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print every setting and where it was set, then exit.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Maps, documents: count rows or slices and estimate their tokens, then exit."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start a run and work on it until it ends."""
    given = [*with_store(overrides, store), *_address(ray_address)]
    if (staged := load_staged(job, given)) is not None:
        _run_stages(job, given, staged, limit_steps, print_config=print_config, dry_run=dry_run, as_json=as_json)
        return
    loaded = api.load_job(job, given)
    if print_config:
        display.print_config(loaded, as_json=as_json)
        return
    if dry_run:
        display.print_survey(survey_rows(loaded), vote_prices(loaded), as_json=as_json)
        if loaded.needs_pilot:
            print(f"{display.pilot_plan(loaded)}; the figures assume k = {loaded.voter.least}", file=sys.stderr)
        if loaded.needs_plan:
            then = completed("`maker plan JOB` finds the k you need")
            print(f"the figures assume k = {loaded.voter.least}; {then}", file=sys.stderr)
        return
    loaded = _with_margins(loaded)
    _print_estimate(loaded, limit_steps)
    _work(
        lambda on_event: api.run(loaded, limit_steps=limit_steps, on_event=on_event), loaded.store.url, as_json=as_json
    )


def resume(
    run_id: RunId,
    overrides: Overrides = None,
    store: Store = DEFAULT_STORE,
    limit_steps: LimitSteps = None,
    ray_address: RayAddress = None,
    as_json: AsJson = False,
) -> None:
    """Continue a run after its last stored step."""
    given = [*(overrides or []), *_address(ray_address)]
    if is_stage(show(run_id, store=store).settings):
        from maker.api.stages import resume_stages
        from maker.cli.stages import work_on_stages

        _refuse_steps(limit_steps)
        work_on_stages(
            lambda on_event: resume_stages(run_id, given, store=store, on_event=on_event), store, as_json=as_json
        )
    found, job = stored_run(run_id, given, store=store)
    _print_estimate(job, limit_steps, done=found.steps)

    def work(on_event: OnEvent) -> RunReport:
        return api.resume(found.run_id, given, store=store, limit_steps=limit_steps, on_event=on_event)

    _work(work, store, as_json=as_json)


def _run_stages(
    job: Path,
    given: list[str],
    staged: StagedJob,
    limit_steps: int | None,
    *,
    print_config: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Work through the stages of a job; or print their settings, or what each would take if it asked all rows."""
    for name, one in zip(staged.names, staged.jobs, strict=True):
        if print_config or dry_run:
            print(f"stage {name}:", file=sys.stderr)
        if print_config:
            display.print_config(one, as_json=as_json)
        elif dry_run:
            display.print_survey(survey_rows(one), vote_prices(one), as_json=as_json)
    if print_config or dry_run:
        return
    # Imported here, as where rows are accepted: a run of one model starts sooner.
    from maker.api.stages import run_stages
    from maker.cli.stages import print_ahead, work_on_stages

    _refuse_steps(limit_steps)
    print_ahead(staged.names)
    store = staged.jobs[0].store.url
    work_on_stages(lambda on_event: run_stages(job, given, on_event=on_event), store, as_json=as_json)


def _refuse_steps(limit_steps: int | None) -> None:
    if limit_steps is not None:
        raise BadInput("--limit-steps counts steps of one run, and the map has stages", fix="use limits.max_calls")


def retry(
    run_id: WholeRun,
    overrides: Overrides = None,
    store: Store = DEFAULT_STORE,
    outcome: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Retry the rows or children with these outcomes, e.g. undecided,failed."),
    ] = "",
    repeat_effects: RepeatEffects = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Vote again on a paused run's unresolved steps, and continue."""
    outcomes = _outcomes(outcome)
    whole = run_to_change(run_id, "retry", store=store, yes=yes)

    def work(on_event: OnEvent) -> RunReport:
        return api.retry(
            whole, overrides or [], outcomes=outcomes, store=store, repeat_effects=repeat_effects, on_event=on_event
        )

    _work(work, store, as_json=as_json)


def try_(
    job: JobFile,
    overrides: Overrides = None,
    count: Annotated[int, typer.Option("-n", min=1, help="Number of steps to decide.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Decide a few steps, print replies as they come, store nothing."""
    loaded = api.load_job(job, overrides or [])
    # Read the input before the model is asked: an input that does not fit then fails with the message of `run`.
    input_parts(loaded)
    _print_estimate(loaded, count)
    with closing(try_steps(loaded, count=count)) as trials:
        stuck = print_trial(trials, loaded, as_json=as_json)
    raise typer.Exit(1 if stuck else 0)


def _address(ray_address: str | None) -> list[str]:
    return [f"swarm.address={ray_address}"] if ray_address else []


def _outcomes(names: str) -> list[str]:
    """Read ``undecided,failed``. Raises `BadInput`."""
    known = [*(str(outcome) for outcome in Outcome if outcome not in (Outcome.AGAIN, Outcome.DEFERRED)), NEW]
    words = [word.strip() for word in names.split(",") if word.strip()]
    if unknown := [word for word in words if word not in known]:
        raise BadInput(f"--outcome {names}: there is no outcome {unknown[0]!r}", fix=f"choose from {', '.join(known)}")
    return words


def _print_estimate(job: Job, limit: int | None, *, done: int = 0) -> None:
    """Print how many calls and tokens a run on a server will take, before it starts; a local model costs nothing."""
    if not any(isinstance(member, ServerSettings) for member in job.members.values()):
        return
    least = least_steps(job)
    estimate = estimate_run(job, limit if least is None else max(0, min(limit or least, least - done)))
    unknown = "unknown: no prompt can be made from the first rows; `maker run JOB --dry-run` counts the rows that fail"
    words = display.estimate_line(estimate, vote_prices(job)) if estimate else completed(unknown)
    print(f"estimate: {words}", file=sys.stderr)
    if estimate is not None and batches(job) is not None:
        print(_in_batches(job, estimate), file=sys.stderr)


def _in_batches(job: Job, estimate: Estimate) -> str:
    """Return in words how many rounds of batches a run takes, if nearly all votes are right."""
    plans = plan_batches(job, [Race(estimate.steps or 1, estimate.votes, LIKELY)])
    if not plans:
        return f"in batches: steps that wait for each other take a round each, of up to {WINDOW_HOURS} hours"
    prices = vote_prices(job)

    def cost(one: BatchPlan) -> str:
        if prices is None:
            return ""
        # Extra votes are a request of their own, which is billed the prompt too.
        read = estimate.prompt_tokens * (2 if one.extra else 1)
        return f"{money(prices.of(read, one.calls))} to {money(prices.of(read, one.calls * estimate.reply_tokens))}"

    return "\n  ".join([f"in batches, if {LIKELY:.0%} of the votes are right:", *batch_lines(plans, cost)])


def _with_margins(job: Job) -> Job:
    """Return the job with the margins k that it left open, and print how they were found."""
    if job.needs_pilot:
        print(display.pilot_plan(job), file=sys.stderr, flush=True)
    with progress_of(SAME_COMMAND) as progress:
        found = find_margins(job, on_event=progress.handle)
    if job.needs_pilot and found.job.vote.pilot is not None:
        print("pilot:", "\n  ".join(display.pilot_lines(found.job.vote.pilot)), file=sys.stderr)
    if found.plan is not None:
        _print_plan(found.plan)
    return found.job


def _print_plan(planned: Plan) -> None:
    found = planned.found()
    margins = ", ".join(f"{name} = {k}" for name, k in found.k.items())
    print(
        f"plan: k of {margins} from calibration {found.calibration}; {like_seen(found)}, assuming that"
        f" {found.rests_on}\n  {second_number(found)}",
        file=sys.stderr,
    )
    if warning := plan.undecided_line(planned):
        print(f"  {warning}", file=sys.stderr)


def _work(work: Callable[[OnEvent], RunReport], store: str, *, as_json: bool) -> None:
    gc.set_threshold(YOUNG_OBJECTS)
    send_spans()
    know(store=store)
    with progress_of(RESUME) as progress:
        report = work(progress.handle)
    if as_json:
        print(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        display.print_summary(report)
    if "accept" in report.settings and report.status == "done":
        # Imported here: a run without the table starts sooner.
        from maker.cli.commands.accept import accept_at_end

        accept_at_end(report, store)
    raise typer.Exit(exit_code(report))
