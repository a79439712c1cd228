"""``maker results``: print the result of each row of a map."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import typer

from maker.cli.options import AsJson, RunId, Store
from maker.cli.output import print
from maker.errors import BadInput
from maker.job.file import DEFAULT_STORE
from maker.job.stages import is_stage
from maker.lifecycle.queries import show
from maker.lifecycle.rows import ANSWERED, DECIDED, REVIEWED, RowResult, follow
from maker.lifecycle.rows import results as read_results


def results(
    run_id: RunId,
    store: Store = DEFAULT_STORE,
    wait: Annotated[bool, typer.Option("--follow", help="Wait for rows that are not decided yet.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the result of each row of a map, in input order."""
    if is_stage(show(run_id, store=store).settings):
        from maker.api.stages import stage_results

        if wait:
            raise BadInput("--follow follows one run, and the map has stages", fix="leave it out")
        for row in stage_results(run_id, store=store):
            line = f"{_line(row.result)}; stage {row.stage}"
            print(json.dumps(row.to_json(), ensure_ascii=False) if as_json else line)
        return
    found: Iterator[RowResult] = follow(run_id, store=store) if wait else read_results(run_id, store=store)
    for one in found:
        print(json.dumps(one.to_json(), ensure_ascii=False) if as_json else _line(one), flush=wait)


def _line(one: RowResult) -> str:
    votes = ", ".join(f"{n} for {key}" for key, n in one.votes.items()) or "no valid vote"
    if one.outcome == DECIDED:
        return f"{one.id}: {json.dumps(one.answer, ensure_ascii=False)} · {votes}; margin {one.margin}"
    if one.outcome in (ANSWERED, REVIEWED):
        by = f" by {one.answered_by}" if one.answered_by else ""
        return f"{one.id}: {json.dumps(one.answer, ensure_ascii=False)} · {one.outcome}{by}; votes: {votes}"
    return f"{one.id}: {one.outcome.upper()} · {one.reason or votes}"
