"""``maker plan``: find the margins k that a run needs, with its cost and its chance of success."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from maker.api import load_job, plan
from maker.calibration.observations import CONFIDENCE, By
from maker.cli.commands.calibrate import SweepOption, print_parts, variants
from maker.cli.options import AsJson, JobFile, Overrides
from maker.cli.output import print
from maker.cli.pauses import SAME_COMMAND, progress_of
from maker.cli.tables import print_table
from maker.errors import BadInput, OutOfReach
from maker.job.batch_plan import BatchPlan, batch_lines
from maker.job.plan_words import UNCHECKED, UNUSUAL, WRONG, event_of, row_error_line, shown_line
from maker.job.stages import load_staged
from maker.reporting.comparison.kept import comparison_line, newest_comparison
from maker.types import money

if TYPE_CHECKING:
    from maker.calibration.forecast import Plan
    from maker.calibration.greedy import GreedyClass
    from maker.calibration.shown import Shown
    from maker.stats.budget_forecast import Bought
    from maker.stats.difficulty import Interval

SELDOM = 0.01
"""Expected undecided steps in a run; a plan with fewer prints no warning."""


def plan_(job: JobFile, overrides: Overrides = None, sweep: SweepOption = None, as_json: AsJson = False) -> None:
    """Find the k a run needs, its cost and its chance of success."""
    if load_staged(job, overrides or []) is not None:
        from maker.api.stage_plan import plan_stages
        from maker.cli.stages import print_stage_plan

        if sweep:
            raise BadInput("--sweep is for jobs of one model, and the job has stages", fix="leave it out")
        with progress_of(SAME_COMMAND) as progress:
            choices = plan_stages(job, overrides or [], on_event=progress.handle)
        print_stage_plan(choices, as_json=as_json)
        return
    plans: list[tuple[Sequence[str], Plan | OutOfReach]] = []
    compared: list[Mapping[str, Any] | None] = []
    for words in variants(sweep or []):
        loaded = load_job(job, [*(overrides or []), *words])
        compared.append(newest_comparison(loaded))
        if compared[-1] is not None and not as_json:
            print(comparison_line(compared[-1]))
        try:
            plans.append((words, plan(loaded)))
        except OutOfReach as refusal:
            if not sweep:
                raise
            plans.append((words, refusal))
    if as_json:
        for (chosen, one), by_labels in zip(plans, compared, strict=True):
            print(json.dumps({"sweep": list(chosen)} | _as_json(one) | {"comparison": by_labels}, ensure_ascii=False))
    elif not sweep:
        for _, one in plans:
            assert not isinstance(one, OutOfReach)  # noqa: S101 - without a sweep it is raised
            print_plan(one)
    else:
        _print_choice(plans)
    found = [one for _, one in plans if not isinstance(one, OutOfReach)]
    if not found:
        raise OutOfReach("no value of --sweep reaches the target", fix="the table above gives the reason for each")


def print_plan(plan: Plan) -> None:
    """Print a plan with its evidence and assumptions."""
    from maker.calibration.contradicted import contradicted_line

    found, margins = plan.calibration, plan.margins
    asked = ", ".join(f"{one.steps:,} steps of {name}" for name, one in found.classes.items())
    print(f"plan from calibration {plan.key}: {asked}, {found.votes} samples each")
    _print_classes(plan)
    print_parts(found)
    if plan.reuse:
        print(f"  {plan.reuse}")
    what = f"P({event_of(agreement=not found.labelled, of_rows=plan.of_rows)})"
    like = "" if _is_whole(plan) else ", if steps that the pilot has not heard are like those it has"
    print(f"  {what} = {_range(margins.right, '.4f')}{like}")
    print(f"    {_guaranteed(plan)}")
    print(f"    if all steps of a class were equally hard: {_range(margins.alike, '.4f')}")
    print(f"    assuming that {plan.rests_on}")
    if plan.contradicted:
        print(f"    {contradicted_line(plan.contradicted)}; their share is counted in")
    _print_shown(plan)
    if warning := undecided_line(plan):
        print(f"  {warning}")
    print(f"  takes {_range(plan.calls, ',.0f')} calls, {_range(plan.tokens, ',.0f')} tokens{_cost(plan)}")
    _print_budget(plan)
    _print_time(plan)
    if plan.target is not None:
        _print_sharpness(plan)
    if plan.own is not None:
        expected, calls = _range(plan.own.right, ".4f"), plan.own.calls.estimate
        print(f"  with the job's own k = {_margins(plan.own.k)}: {what} = {expected}, {calls:,.0f} calls")
    for flag in plan.flags:
        then = "no k would reach the target"
        if flag.calls is not None:
            then = f"k would be {_margins(flag.k)} and the run would take {flag.calls:,.0f} calls"
        agreed = "right" if found.labelled else "in agreement"
        raised = f"raised on {flag.samples:,} samples of {flag.kind}, {flag.right:,} of them {agreed}"
        print(f"  red flag {flag.flag}, {raised}: if they voted, {then}")
    if plan.blocks:
        best, one = plan.blocks[0], next(block for block in plan.blocks if block.m == 1)
        advice = "one step a sample is cheapest"
        if best.m > 1:
            advice = (
                f"{best.m} steps a sample would take {best.tokens / one.tokens:.2f} of the tokens, with k = {best.k}"
            )
        print(f"  {advice}, if steps are equally hard, and as often right in a block")
    if plan.greedy is not None:
        right = plan.greedy.right
        verdict = "not enough"
        aim = margins.right.estimate if plan.target is None else plan.target
        if right.high >= aim:
            verdict = "enough" if right.low >= aim else "not shown to be enough"
        print(f"  one greedy sample a step: {what} = {_range(right, '.4f')}, {plan.greedy.calls:,.0f} calls: {verdict}")
        for each in plan.greedy.classes:
            print(f"    {greedy_line(each, labelled=found.labelled)}")


def _is_whole(plan: Plan) -> bool:
    """Say whether the pilot has asked all steps of the run."""
    return all(plan.calibration.classes[one.name].whole for one in plan.classes)


def _print_classes(plan: Plan) -> None:
    share, wrong = ("p", "wrong steps") if plan.calibration.labelled else ("agreement", "decided otherwise")
    # What is shown may be far more: the figures of this column are of the first number alone.
    wrong += "" if _is_whole(plan) else ", if like the pilot's"
    rows = [
        (one.name, f"{one.steps:,}", _range(one.p, ".4f"), str(one.k), _range(one.votes, ".2f"),
         _range(one.failures, ".2g"))
        for one in plan.classes
    ]  # fmt: skip
    print_table(("class", "steps", share, "k", "votes a step", wrong), rows, indent=2)


def greedy_line(one: GreedyClass, *, labelled: bool) -> str:
    """Say whether one greedy sample does as well as the votes on a class, and what that rests on."""
    better = "voting is expected to do better"
    said = "a plain call does as well as voting, as far as this pilot shows" if one.as_good else better
    right = "right" if labelled else "the model's most frequent answer"
    greedy = f"it was {right} on {one.right:,} of {one.asked:,} pilot steps of {one.name}, {_range(one.share, '.4f')}"
    voted = f"votes are expected to be on {_range(one.voted, '.4f')} of steps, with {one.calls:.1f} calls each"
    return f"{said}: {greedy}; {voted}"


def undecided_line(plan: Plan) -> str:
    """Return a warning that steps will not be decided within ``vote.max_votes``; "" if `SELDOM` or fewer are expected.

    With `SELDOM` expected steps, one run in a hundred pauses.
    """
    if plan.undecided < SELDOM:
        return ""
    return (
        f"about {plan.undecided:,.2g} steps will not be decided within vote.max_votes: a map leaves such rows"
        " undecided, any other run pauses at each; raise vote.max_votes"
    )


def _guaranteed(plan: Plan) -> str:
    """Say what a plan guarantees; a plan for a budget guarantees nothing, and is the best that the budget allows."""
    target = plan.target
    if target is None and plan.budget is not None:
        return "with the job's own k, if every row got the votes that it takes"
    if target is None:
        return "the best that vote.budget allows"
    if plan.of_rows:
        return row_error_line(1 - target, CONFIDENCE, WRONG if plan.calibration.labelled else UNUSUAL)
    least = max(target / 2, 2 * target - 1)
    return (
        f"at least {target:g} on average over the pilot's uncertainty, at least {least:g} with {CONFIDENCE:.0%}"
        " confidence"
    )


def _print_shown(plan: Plan) -> None:
    """Print what the pilot shows, and what would show more."""
    if plan.shown is None:
        print(f"  {UNCHECKED}; give --labels to `maker calibrate`")
        return
    heard = ", ".join(
        f"{one.doubtful:,} of {one.heard:,} pilot steps of {one.name} doubtful" for one in plan.shown.classes
    )
    print(f"  {shown_line(plan.shown.found())} ({heard})")
    if plan.target is not None and plan.shown.right < plan.target:
        print(f"    to show {plan.target:g}: {_showing(plan, plan.shown)}")
        print("    or have the task check its answers; `maker audit` bounds the wrong rows of a map after the run")


def _showing(plan: Plan, shown: Shown) -> str:
    """Say what pilot would show the target."""
    heard = "right answers" if plan.calibration.by == By.ORACLE else "labels"
    ways = []
    for one in shown.classes:
        if one.needed is None:
            ways.append(f"more --votes on the same steps of {one.name}, and --closer 400 where votes differ")
        elif (of := plan.calibration.classes[one.name].of) is not None and of <= one.needed:
            ways.append(f"{heard} for all {of:,} steps of {one.name}, the hard ones looked at closer (--closer 400)")
        else:
            ways.append(f"a pilot of about {one.needed:,} steps of {one.name} with {heard}, none of them doubtful")
    return "; ".join(ways)


def _print_budget(plan: Plan) -> None:
    """Print what a budget of votes buys where there is one, and what as many votes for every row would."""
    if (budget := plan.budget) is None:
        return
    wrong = "wrongly" if plan.calibration.labelled else "for another answer than the model's most frequent one"

    def bought(one: Bought) -> str:
        return f"{one.decided:,.0f} of {budget.rows:,} rows, {one.wrong / one.decided:.2%} of them {wrong}"

    print(f"  the budget buys {budget.votes:,.0f} calls: spread over the rows they decide {bought(budget.spread)}")
    print(f"    as many for every row that is open, they would decide {bought(budget.alike)}")


def _print_sharpness(plan: Plan) -> None:
    margins = plan.margins
    if margins.sharp:
        print("  k is at most one more than the most favourable reading of the pilot needs")
        return
    print(f"  on the most favourable reading of the pilot k = {_margins(margins.favourable)} would be enough;")
    steps = ", ".join(
        f"{one.name} {margins.needed[one.name]:,} steps"
        for one in plan.classes
        if not plan.calibration.classes[one.name].whole and margins.needed[one.name] > one.asked
    )
    print(f"    a pilot of about {steps} would show it" if steps else "    more votes on the same steps would show it")


def _print_choice(plans: Sequence[tuple[Sequence[str], Plan | OutOfReach]]) -> None:
    """Print a line per variant, and the plan of the cheapest one: by cost if all have prices, else by tokens."""
    rows = []
    for words, one in plans:
        if isinstance(one, OutOfReach):
            rows.append((" ".join(words), "", "", "", "", one.message))
            continue
        tokens = _range(one.tokens, ",.0f")
        rows.append(
            (" ".join(words), _margins(one.margins.k), _range(one.margins.right, ".4f"), tokens, _cost(one), "")
        )
    found = [(words, one) for words, one in plans if not isinstance(one, OutOfReach)]
    right = "P(right)" if all(one.calibration.labelled for _, one in found) else "P(agreement)"
    print_table(("", "k", right, "tokens", "", ""), rows)
    if found:
        priced = all(one.cost is not None for _, one in found)
        words, best = min(
            found, key=lambda pair: (pair[1].cost if priced and pair[1].cost else pair[1].tokens).estimate
        )
        print(f"cheapest: {' '.join(words)}, {best.tokens.estimate:,.0f} tokens{_cost(best)}")
        print_plan(best)


def _print_time(plan: Plan) -> None:
    """Print how long a run takes: as the pilot did, or in rounds of batches."""

    def cost(one: BatchPlan) -> str:
        # Prompts are read once a request, whatever it asks for: with extra votes this is rather too much.
        share = one.calls / next(other.calls for other in plan.batches if not other.extra)
        return "" if plan.cost is None else f"cost {money(plan.cost.estimate * share)}"

    if plan.batches:
        print("    in batches:", "\n      ".join(batch_lines(plan.batches, cost)))
    else:
        print(f"    {_range(plan.seconds, ',.0f')} s at the pilot's speed, with many steps in parallel")


def _margins(k: Mapping[str, int]) -> str:
    values = set(k.values())
    return str(values.pop()) if len(values) == 1 else ", ".join(f"{name} {n}" for name, n in k.items())


def _range(interval: Interval, form: str) -> str:
    low, estimate, high = (format(value, form) for value in interval)
    return estimate if low == high == estimate else f"{estimate} [{low} to {high}]"


def _cost(plan: Plan) -> str:
    if plan.cost is None:
        return ""
    low, estimate, high = map(money, plan.cost)
    return f", cost {estimate if low == high == estimate else f'{estimate} [{low} to {high}]'}"


def _as_json(plan: Plan | OutOfReach) -> dict[str, Any]:
    """Return a plan as JSON; intervals are (low, estimate, high)."""
    if isinstance(plan, OutOfReach):
        return {"refused": plan.message, "fix": plan.fix} | plan.facts
    facts = plan._asdict()
    facts["calibration"] = plan.key
    del facts["key"]
    # The plan's own calls and tokens count requests with the k that was found; those of the margins do not.
    superseded = ("calls", "tokens")
    margins = {name: one for name, one in plan.margins._asdict().items() if name not in superseded}
    facts["margins"] = {name: dict(one) if isinstance(one, Mapping) else one for name, one in margins.items()}
    facts["classes"] = {one.name: one._asdict() for one in plan.classes}
    facts["own"] = None if plan.own is None else dict(plan.own.k) | {"right": plan.own.right}
    facts["blocks"] = [block._asdict() for block in plan.blocks]
    facts["flags"] = [one._asdict() | {"k": dict(one.k)} for one in plan.flags]
    if plan.greedy is not None:
        classes = [one._asdict() | {"as_good": one.as_good} for one in plan.greedy.classes]
        facts["greedy"] = plan.greedy._asdict() | {"classes": classes}
    if plan.shown is not None:
        facts["shown"] = plan.shown._asdict() | {"classes": {one.name: one._asdict() for one in plan.shown.classes}}
    facts["contradicted"] = [one._asdict() | {"right": one.right} for one in plan.contradicted]
    facts["batches"] = [one._asdict() for one in plan.batches]
    if plan.budget is not None:
        bought = {"spread": plan.budget.spread._asdict(), "alike": plan.budget.alike._asdict()}
        facts["budget"] = plan.budget._asdict() | bought
    facts["unheard"] = [one._asdict() for one in plan.unheard]
    return facts
