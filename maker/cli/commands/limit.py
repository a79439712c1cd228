"""``maker limit``: what all workers of a store may use together, by a key that jobs name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

import typer

from maker.cli.options import AsJson, Store
from maker.cli.output import print
from maker.cli.tables import print_table
from maker.errors import BadInput
from maker.job.file import DEFAULT_STORE
from maker.lifecycle import limits as lifecycle
from maker.lifecycle.limits import NO_LIMIT
from maker.store.shared_limits import SharedLimit
from maker.types import money

_HEADINGS = ("limit", "requests a minute", "tokens a minute", "in flight", "cost", "workers", "")


def limit(
    key: Annotated[
        str, typer.Argument(metavar="[KEY]", help="What jobs name in limits.shared; without it, all are listed.")
    ] = "",
    requests_per_minute: Annotated[
        str | None, typer.Option("--requests-per-minute", metavar="N", help="Most requests in any minute, or none.")
    ] = None,
    tokens_per_minute: Annotated[
        str | None, typer.Option("--tokens-per-minute", metavar="N", help="Most tokens in any minute, or none.")
    ] = None,
    concurrency: Annotated[
        str | None, typer.Option("--concurrency", metavar="N", help="Most requests in flight, or none.")
    ] = None,
    max_cost: Annotated[
        str | None, typer.Option("--max-cost", metavar="AMOUNT", help="Most money, over all runs, or none.")
    ] = None,
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Say what all workers of a store may use, or list it."""
    given: dict[str, Any] = {
        "requests_per_minute": _number("--requests-per-minute", requests_per_minute, int),
        "tokens_per_minute": _number("--tokens-per-minute", tokens_per_minute, int),
        "concurrency": _number("--concurrency", concurrency, int),
        "max_cost": _number("--max-cost", max_cost, float),
    }
    if key or any(value is not None for value in given.values()):
        found = [lifecycle.limit(key, **given, store=store)]
    else:
        found = lifecycle.limits(store=store)
    if as_json:
        for one in found:
            print(json.dumps(lifecycle.to_json(one), ensure_ascii=False))
    elif found:
        print_table(_HEADINGS, map(_row, found))
    else:
        print("the store has no shared limits")


def _number(option: str, word: str | None, kind: Callable[[str], float]) -> float | str | None:
    """Return what an option's word says: a number, ``none``, or None where it was not given. Raises `BadInput`."""
    if word is None or word == NO_LIMIT:
        return word
    try:
        return kind(word)
    except ValueError:
        raise BadInput(f"{option} {word!r:.60} is no number", fix=f"give a number above 0, or {NO_LIMIT}") from None


def _row(one: SharedLimit) -> tuple[str, ...]:
    return (
        one.key,
        _used(f"{one.requests:,}", one.requests_per_minute),
        _used(f"{one.tokens:,}", one.tokens_per_minute),
        _used(f"{one.in_flight:,}", one.concurrency),
        "not limited" if one.max_cost is None else f"{money(one.spent)} of {money(one.max_cost)}",
        f"{one.workers:,}",
        f"paused by its server for {one.paused_s:.0f} s" if one.paused_s else "",
    )


def _used(used: str, most: int | None) -> str:
    return "not limited" if most is None else f"{used} of {most:,}"
