"""``maker rescore``: count a run's votes again by another rule."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from maker.cli.labels import AnswerColumn, IdColumn, label_file
from maker.cli.options import AsJson, RunId, Store
from maker.cli.output import print
from maker.cli.tables import print_table
from maker.job.file import DEFAULT_STORE
from maker.reporting.label_statements import LEVEL
from maker.reporting.rescore import RIGHT, UNDECIDED, UNKNOWN, WRONG, LabelTotals, Rescoring
from maker.reporting.rescore import rescore as count_again
from maker.voting.vote_replay import Rescored, RescoredOutcome, Totals

SHOWN = 20
WORDS = {
    RescoredOutcome.SAME: "keep their answer",
    RescoredOutcome.OTHER: "get another answer",
    RescoredOutcome.DECIDED: "are decided now",
    RescoredOutcome.UNDECIDED: "are undecided under this rule",
    RescoredOutcome.SHORT: "run out of stored samples",
    RescoredOutcome.LOST: "have no stored samples",
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
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE", help="Right answers of a map's rows, by their ids.")
    ] = None,
    id_column: IdColumn = "",
    answer_column: AnswerColumn = "",
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Count a run's votes again by another rule, without a model."""
    given = label_file(labels, id_column, answer_column)
    found = count_again(run_id, overrides or [], voter=voter, labels=given, store=store)
    totals, by_labels = Totals(), LabelTotals(found.labelled or 0)
    shown: list[Rescored] = []
    for one in found.steps:
        totals.add(one)
        by_labels.add(one)
        if one.told and as_json:
            print(json.dumps(one.to_json(), ensure_ascii=False))
        elif one.told and len(shown) < SHOWN:
            shown.append(one)
    if as_json:
        facts = {"run_id": found.run_id, "vote": found.vote} | totals.to_json()
        facts |= {} if found.labelled is None else {"labelled": by_labels.to_json()}
        print(json.dumps(facts, ensure_ascii=False))
        return
    if found.labelled is not None:
        _print_labels(by_labels)
    _print_totals(found, totals)
    _print_steps(shown, totals)


def _print_labels(found: LabelTotals) -> None:
    rows = []
    for name, counts in (("as it ran", found.before), ("by this rule", found.now)):
        decided = counts + Counter({UNDECIDED: found.unasked})
        rows.append((name, *(f"{decided[said]:,}" for said in (RIGHT, WRONG, UNDECIDED, UNKNOWN))))
    print_table((f"{found.rows:,} labelled rows", RIGHT, WRONG, UNDECIDED, UNKNOWN), rows)
    if found.p > LEVEL:
        said = "the labels show no difference between the rules"
    else:
        said = "this rule does better" if found.only_now > found.only_before else "this rule does worse"
    unknown = f"; the {open_rows:,} unknown rows may go either way" if (open_rows := found.now[UNKNOWN]) else ""
    print(
        f"  {said}: {found.only_now:,} rows are right by it alone, {found.only_before:,} only as it ran"
        f" (p = {found.p:.2g}, exact McNemar test; a row without a decision is not right{unknown})"
    )


def _print_totals(found: Rescoring, totals: Totals) -> None:
    settings = {name: value for name, value in found.vote.items() if name not in ("voter", "pilot", "extra")}
    rule = ", ".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
    print(f"run {found.run_id} by {found.vote['voter']} ({rule}), from its stored samples; no model was asked")
    for outcome, words in WORDS.items():
        if totals.outcomes[outcome] or outcome == RescoredOutcome.SAME:
            print(f"  {totals.outcomes[outcome]:>9,} of {totals.steps:,} steps {words}")
    if not totals.sufficed:
        return
    saved = f"about {totals.tokens_saved:,.0f} tokens fewer" if totals.tokens_saved else "no token fewer"
    print(
        f"  {totals.votes:,} votes ({totals.votes / totals.sufficed:.2f} a step) instead of {totals.votes_before:,}"
        f" ({totals.votes_before / totals.sufficed:.2f}): {saved}"
    )


def _print_steps(shown: list[Rescored], totals: Totals) -> None:
    short, lost = totals.outcomes[RescoredOutcome.SHORT], totals.outcomes[RescoredOutcome.LOST]
    if short:
        print(
            f"  steps that run out need at least {totals.lacking:,} more votes, about {totals.tokens_short:,.0f} "
            "tokens; their answers are unknown"
        )
    if (short or lost) and totals.sufficed:
        print(f"  votes and tokens above are those of the {totals.sufficed:,} other steps")
    if totals.sufficed or short:
        print("  tokens are estimated from each step's average sample, its share of the prompts included")
    if totals.judged:
        print(f"  {totals.judged:,} steps went to a judge; its samples are left out")
    for one in shown:
        print(f"  {_line(one)}")
    if (changed := totals.told) > len(shown):
        print(f"  and {changed - len(shown):,} more; --json prints them all")


def _line(one: Rescored) -> str:
    location = str(one.step) if one.chain == "root" else f"{one.chain}:{one.step}"
    where = f"{location:>7} {one.kind}"
    if one.row is not None:
        where = f"row {one.id}" if one.id is not None else f"row number {one.row:,}, whose id cannot be read,"
    outcome = (
        f"now {one.now}"
        if one.now is not None
        else "now undecided"
        if one.outcome == RescoredOutcome.UNDECIDED
        else one.outcome
    )
    return f"{where} {'undecided' if one.before is None else one.before}: {outcome}"
