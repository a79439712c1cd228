"""Limits that all workers of a store share: say what a key allows, and see what is used of it."""

from __future__ import annotations

import math
from typing import Final, Literal, TypeAlias

from maker.errors import BadInput, JobError
from maker.job.job import Job
from maker.job.settings import limit_key
from maker.lifecycle.queries import opened, store_url
from maker.models.server_settings import prices_of
from maker.store.admission import HostConnection, money_limit_within
from maker.store.backend.database import Database, open_database, shown_url
from maker.store.rate_window import UNLIMITED
from maker.store.shared_limits import SharedLimit, find_limit, list_limits, state_limit

NO_LIMIT: Final = "none"
MOST_TOKENS = 2**53
"""More than that, in a minute, no database and no float can count one by one."""
Rate: TypeAlias = int | Literal["none"] | None


def limit(
    key: str,
    *,
    requests_per_minute: Rate = None,
    tokens_per_minute: Rate = None,
    concurrency: Rate = None,
    max_cost: float | Literal["none"] | None = None,
    store: str | None = None,
) -> SharedLimit:
    """Say what all workers of a store together may use whose jobs name this key in ``limits.shared``; return it.

    What is None stays as it was, and ``"none"`` lifts a limit. Runs at work follow within a second. Creates a SQLite
    store that is not there.

    Args:
        key: The key: 1 to 100 letters, digits and . _ : / -.
        requests_per_minute: Most HTTP requests in any minute; every try counts.
        tokens_per_minute: Most tokens in any minute, prompts and replies together.
        concurrency: Most HTTP requests in flight.
        max_cost: Most money that runs may ever spend under the key, at the prices in their jobs.
        store: The store's URL.

    Raises:
        BadInput: The key or a number will not do; or a new key is not limited in anything.
    """
    _refuse_bad_key(key)
    given = {
        "requests_per_minute": _whole("requests_per_minute", requests_per_minute, UNLIMITED),
        "tokens_per_minute": _whole("tokens_per_minute", tokens_per_minute, MOST_TOKENS),
        "concurrency": _whole("concurrency", concurrency, UNLIMITED),
        "max_cost": _money(max_cost),
    }
    changes = {name: None if value == NO_LIMIT else value for name, value in given.items() if value is not None}
    database = open_database(store_url(store), create=bool(changes))
    try:
        if not changes and find_limit(database, key) is None:
            raise BadInput(
                f"the store has no shared limit {key}", fix=f"say what it allows: {_example(key)}; or see `maker limit`"
            )
        return state_limit(database, key, changes)
    finally:
        database.close()


def limits(*, store: str | None = None) -> list[SharedLimit]:
    """Return the shared limits of a store, by key, with what is used of them now."""
    with opened(store) as database:
        return list_limits(database)


def required_limit(database: Database, job: Job) -> SharedLimit | None:
    """Return the shared limit that a job names, None if it names none.

    Raises:
        JobError: The store has none of that key; or it limits money, and a model of the job has no prices.
    """
    if not (key := job.limits.shared):
        return None
    if (found := find_limit(database, key)) is None:
        raise _no_limit(key, database.shown)
    _refuse_unpriced(job, found.max_cost)
    return found


def require_limit_within(connection: HostConnection, job: Job) -> None:
    """Raise as `required_limit` does, by what a program's own connection sees."""
    if key := job.limits.shared:
        if (found := money_limit_within(connection, key)) is None:
            raise _no_limit(key, shown_url(job.store.url))
        _refuse_unpriced(job, found[0])


def _no_limit(key: str, store: str) -> JobError:
    return JobError(
        f"limits.shared = {key!r}: the store {store} has no such limit", fix=f"say what it allows: {_example(key)}"
    )


def _refuse_unpriced(job: Job, max_cost: float | None) -> None:
    unpriced = [name for name, member in job.members.items() if prices_of(member) is None]
    if max_cost is not None and unpriced:
        raise JobError(
            f"limits.shared = {job.limits.shared!r}: that limit has max_cost, which needs prices of"
            f" {', '.join(unpriced)}",
            fix="set model.prompt_price and model.completion_price, per million tokens",
        )


def to_json(one: SharedLimit) -> dict[str, object]:
    """Return a shared limit as JSON."""
    return one._asdict()


def _example(key: str) -> str:
    return f"`maker limit {key} --requests-per-minute 500`"


def _refuse_bad_key(key: str) -> None:
    try:
        if not limit_key(key):
            raise ValueError("it is empty")
    except ValueError as error:
        raise BadInput(f"{key!r:.120} cannot be the key of a shared limit: {error}") from None


def _whole(name: str, value: Rate, most: int) -> Rate:
    if value is None or value == NO_LIMIT:
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise BadInput(f"{name} = {value!r:.60} is no limit", fix=f'give a whole number from 1 to {most:,}, or "none"')
    return value


def _money(value: float | Literal["none"] | None) -> float | Literal["none"] | None:
    if value is None or value == NO_LIMIT:
        return value
    if isinstance(value, (bool, str)) or not (math.isfinite(value) and value > 0):
        raise BadInput(f"max_cost = {value!r:.60} is no limit", fix='give an amount above 0, or "none"')
    return float(value)
