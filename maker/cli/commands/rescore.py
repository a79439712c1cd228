"""``maker rescore``: a run's votes counted again by another rule."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from maker.cli.options import AsJson, RunId, Store
from maker.job.file import DEFAULT_STORE
from maker.reporting.rescore import Rescoring
from maker.reporting.rescore import rescore as hold_again
from maker.voting.vote_replay import Rescored, RescoredOutcome, Totals

SHOWN = 20
WORDS = {
    RescoredOutcome.SAME: "decided for the same answer",
    RescoredOutcome.OTHER: "decided for another answer",
    RescoredOutcome.DECIDED: "decided that were undecided",
    RescoredOutcome.UNDECIDED: "undecided by the rule",
    RescoredOutcome.SHORT: "ran out of samples",
    RescoredOutcome.LOST: "of which the samples were not kept",
}


def rescore(
    run_id: RunId,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="VOTE.KEY=VALUE", help="Settings of the voting rule, e.g. vote.k=5.")
    ] = None,
    voter: Annotated[
        str | None,
        typer.Option("--voter", metavar="NAME", help="Voting rule, or file.py:Rule. [default: the run's own]"),
    ] = None,
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Count a run's votes again by another rule, without a model."""
    found = hold_again(run_id, overrides or [], voter=voter, store=store)
    totals = Totals()
    shown: list[Rescored] = []
    for one in found.steps:
        totals.add(one)
        if one.told and as_json:
            print(json.dumps(one.to_json(), ensure_ascii=False))
        elif one.told and len(shown) < SHOWN:
            shown.append(one)
    if as_json:
        print(json.dumps({"run_id": found.run_id, "vote": found.vote} | totals.to_json(), ensure_ascii=False))
        return
    _print_totals(found, totals)
    _print_steps(shown, totals)


def _print_totals(found: Rescoring, totals: Totals) -> None:
    settings = {name: value for name, value in found.vote.items() if name not in ("voter", "pilot", "extra")}
    told = ", ".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
    print(f"run {found.run_id} by {found.vote['voter']} ({told}), over the samples that it kept; no model was asked")
    for fate, words in WORDS.items():
        if totals.fates[fate] or fate == RescoredOutcome.SAME:
            print(f"  {totals.fates[fate]:>9,} of {totals.steps:,} steps {words}")
    if not totals.sufficed:
        return
    saved = f"about {totals.tokens_saved:,.0f} tokens fewer" if totals.tokens_saved else "no token fewer"
    print(
        f"  {totals.votes:,} votes in all ({totals.votes / totals.sufficed:.2f} a step), before {totals.votes_before:,}"
        f" ({totals.votes_before / totals.sufficed:.2f}): {saved}"
    )


def _print_steps(shown: list[Rescored], totals: Totals) -> None:
    short, lost = totals.fates[RescoredOutcome.SHORT], totals.fates[RescoredOutcome.LOST]
    if short:
        print(
            f"  those that ran out lack {totals.lacking:,} votes at least, about {totals.tokens_short:,.0f} tokens; "
            "how they would have ended is not known"
        )
    if (short or lost) and totals.sufficed:
        print(f"  the votes and tokens are those of the {totals.sufficed:,} others")
    if totals.sufficed or short:
        print("  tokens are told by what a sample of the step took on average, its part of the prompts included")
    if totals.judged:
        print(f"  {totals.judged:,} steps were put to a judge: its samples are left out")
    for one in shown:
        print(f"  {_line(one)}")
    if (told := totals.told) > len(shown):
        print(f"  and {told - len(shown):,} more: --json prints them all")


def _line(one: Rescored) -> str:
    place = str(one.step) if one.chain == "root" else f"{one.chain}:{one.step}"
    place += "" if one.row is None else f" (row {one.row:,})"
    became = (
        f"now {one.now}"
        if one.now is not None
        else "now undecided"
        if one.fate == RescoredOutcome.UNDECIDED
        else one.fate
    )
    return f"{place:>7} {one.kind} {'undecided' if one.before is None else one.before}: {became}"
