"""``maker waits``, ``answer`` and ``effect``: what runs wait for, and what people say."""

from __future__ import annotations

import json
import time
from itertools import takewhile
from typing import Annotated

import typer

from maker.cli.advice import completed
from maker.cli.options import AsJson, RunId, Store
from maker.cli.output import print
from maker.errors import BadInput
from maker.job.file import DEFAULT_STORE
from maker.lifecycle import waits as lifecycle
from maker.lifecycle.waits import OpenWait, VotedFor

By = Annotated[str | None, typer.Option("--by", help="Who says so; the user's name by default.", metavar="NAME")]


def waits(
    run_id: Annotated[str, typer.Argument(metavar="[RUN]", help="Only what this run waits for.")] = "",
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """List what runs wait for: people's answers, and effects in doubt."""
    count = 0
    for one in lifecycle.waits(run_id, store=store):
        count += 1
        print(json.dumps(one.to_json(), ensure_ascii=False) if as_json else _line(one))
    if not count and not as_json:
        print("nothing waits for an answer")


def answer(
    run_id: RunId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What is waited for, a row's id, or where: 0.17:3.")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="The answer: text or JSON; or a candidate's number.")],
    by: By = None,
    store: Store = DEFAULT_STORE,
) -> None:
    """Answer what a run waits for."""
    # Undecided steps, which come last and may be many, take a text as it is.
    waiting = takewhile(lambda one: one.kind != "step", lifecycle.waits(run_id, store=store))
    asked = next((one for one in waiting if name in (one.name, one.at)), None)
    given = value if asked is None else lifecycle.answer_in(value, asked.answers)
    _print_done(lifecycle.answer(run_id, name, given, by=by, store=store), "is answered")


def effect(
    run_id: RunId,
    at: Annotated[str, typer.Argument(metavar="STEP", help="The step, as 3 or 0.17:3, or the effect's name.")],
    done: Annotated[str | None, typer.Option("--done", metavar="VALUE", help="It was done, and returned this.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Call it again, with the same key.")] = False,
    by: By = None,
    store: Store = DEFAULT_STORE,
) -> None:
    """Say what came of an effect in doubt."""
    if (done is None) != again:
        raise BadInput("give either --done VALUE or --again", fix="--done null if its function returns nothing")
    value = None if done is None else lifecycle.answer_in(done, {})
    _print_done(lifecycle.settle_effect(run_id, at, done=value, again=again, by=by, store=store), "is settled")


def _print_done(one: OpenWait, what: str) -> None:
    print(f"{one.name} of run {one.run_id} {what}; {completed(f'go on with `maker resume {one.run_id}`')}")


def _line(one: OpenWait) -> str:
    run = f"{one.run_id}{f' ({one.run_name})' if one.run_name else ''}"
    since = f"for {_age(time.time() - one.begun_at)}"
    until = "" if one.deadline is None else f", until {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(one.deadline))}"
    what = f"effect {one.name} is in doubt" if one.kind == "effect" else one.name or "a time"
    takes = "" if one.kind == "effect" or not one.answers else f" [{_kind(one)}]"
    prompt = f": {one.prompt}" if one.prompt else ""
    line = f"{run}  {one.at:>4}  {what}{takes}, {since}{until}{prompt}"
    return "\n".join((line, *(f"    {number}: {voted(one)}" for number, one in enumerate(one.candidates, 1))))


def voted(candidate: VotedFor) -> str:
    """Return a candidate with its votes as a line."""
    key, text, votes = candidate
    return f"{key} ({votes} vote{'' if votes == 1 else 's'}){'' if text == key else f': {text}'}"


def _kind(one: OpenWait) -> str:
    enum = one.answers.get("enum")
    return " | ".join(map(str, enum)) if enum else str(one.answers.get("type") or one.answers.get("title") or "JSON")


def _age(seconds: float) -> str:
    for name, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {name}"
    return f"{max(0, seconds):.0f} s"
