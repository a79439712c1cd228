"""``maker compare``: is voting worth it for a job? Ways to answer its labelled rows, and what each costs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from maker.api import load_job
from maker.calibration.find_margins import find_margins
from maker.cli.display import pilot_plan
from maker.cli.labels import AnswerColumn, IdColumn
from maker.cli.options import AsJson, JobFile, Overrides
from maker.cli.output import print
from maker.cli.pauses import SAME_COMMAND, progress_of
from maker.reporting.comparison.compare import WORTH, Comparison, PoolErrors, Score, refuse_unfit, with_labels
from maker.reporting.comparison.compare import compare as compare_ways
from maker.reporting.comparison.foreseen import Foreseen, foresee
from maker.reporting.comparison.methods import METHODS
from maker.reporting.row_labels import LabelFile
from maker.types import money


def compare(
    job: JobFile,
    labels: Annotated[
        Path, typer.Option("--labels", metavar="FILE", help="Right answers by id, of rows drawn at random.")
    ],
    overrides: Overrides = None,
    worth: Annotated[
        float,
        typer.Option(
            "--worth", metavar="SHARE", help="So much more of the rows must be right for votes to be worth it."
        ),
    ] = WORTH,
    methods: Annotated[
        str, typer.Option("--methods", metavar="NAMES", help=f"Some of {', '.join(METHODS)}. [default: all]")
    ] = "",
    shuffled: Annotated[
        bool, typer.Option("--shuffled", help="The rows are in random order: labels of the first ones will do.")
    ] = False,
    id_column: IdColumn = "",
    answer_column: AnswerColumn = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it will cost, then exit.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare voting with one call a row, on rows that you labelled."""
    loaded = load_job(job, overrides or [])
    names = [word.strip() for word in methods.split(",") if word.strip()]
    refuse_unfit(names, worth)
    given = with_labels(loaded, LabelFile(labels, id_column, answer_column), shuffled=shuffled)
    if loaded.needs_pilot:
        print(pilot_plan(loaded), file=sys.stderr)
    print(f"compare: {foreseen_line(foresee(given, names))}", file=sys.stderr, flush=True)
    if dry_run:
        return
    with progress_of(SAME_COMMAND) as progress:
        known = find_margins(loaded, on_event=progress.handle).job
        found = compare_ways(given._replace(job=known), methods=names, worth=worth, on_event=progress.handle)
    if as_json:
        print(json.dumps(found.to_json(), ensure_ascii=False))
        return
    for line in lines(found):
        print(line)


def foreseen_line(found: Foreseen) -> str:
    """Return in words what a comparison will take."""
    cost = "" if found.cost is None else f"; {money(found.cost[0])} to {money(found.cost[1])} at your prices"
    more = "; self-consistency takes up to as many tokens as the votes" if found.consistency else ""
    return (
        f"{found.rows:,} labelled rows: at least {found.calls:,} calls, about {found.prompt_tokens:,} prompt tokens, at"
        f" most {found.completion_tokens:,} completion tokens for these calls{cost}; disagreement and red flags add to"
        f" it{more}. What an earlier comparison has asked is not asked again"
    )


def lines(found: Comparison) -> list[str]:
    """Return a comparison in lines of 80 columns, but for the advice."""
    blank = f"; {found.blank:,} labels are blank" if found.blank else ""
    base = next(score for score in found.scores if score.against is None)
    told = [f"{found.rows:,} of {found.of:,} rows are labelled{blank}"]
    heads = ("", "right", f"{found.confidence:.0%}", "decided", "of these", f"against {base.about}")
    told += _table(heads, (_quality(score, found.rows) for score in found.scores))
    priced = all(score.spent.cost is not None for score in found.scores)
    costs = ("", "calls", "prompt tokens", "completion", *(["price"] if priced else []))
    told += ["", *_table(costs, (_price(score, priced=priced) for score in found.scores))]
    if found.pool is not None:
        told += ["", *pool_lines(found.pool, found.confidence)]
    return [*told, "", found.advice.text]


def pool_lines(pool: PoolErrors, confidence: float) -> list[str]:
    """Return what the members of a pool get wrong together."""
    found, of, low, high = pool.all_wrong
    told = [
        f"all {pool.members} members are wrong on {found:,} of {of:,} rows: {found / of:.1%}"
        f" ({low:.1%} to {high:.1%}, {confidence:.0%}).",
        f"  No vote, router or judge over these answers is right on more than {1 - found / of:.1%} of the rows,",
        f"  at most {1 - low:.1%} with that confidence.",
    ]
    if pool.votes is not None:
        low, votes, high = pool.votes
        told.append(f"  Their {pool.members} votes count as {votes:.1f} independent ones ({low:.1f} to {high:.1f}).")
    return told


def _quality(score: Score, rows: int) -> Sequence[str]:
    of_decided = f"{score.right / score.decided:.1%}" if score.decided else ""
    against = ""
    if score.against is not None:
        low, estimate, high = (100 * one for one in score.against.difference)
        against = f"{estimate:+.1f} ({low:+.1f} {high:+.1f})"
    return (
        score.about, f"{score.right / rows:.1%}", f"{100 * score.low:.1f} to {100 * score.high:.1f}",
        f"{score.decided / rows:.1%}", of_decided, against,
    )  # fmt: skip


def _price(score: Score, *, priced: bool) -> Sequence[str]:
    spent = score.spent
    counts = (spent.calls, spent.prompt_tokens, spent.completion_tokens)
    return score.about, *(f"{one:,}" for one in counts), *([money(spent.cost or 0)] if priced else [])


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return lines of a table: the first column to the left, the others to the right."""
    cells = [tuple(heads), *map(tuple, rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(heads))]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in cells]
