"""A job's settings as keywords of `maker.run` and its like, each with its type: an editor completes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from pydantic import BaseModel

from maker.core.plugins import near
from maker.errors import JobError
from maker.job.objects import as_written
from maker.job.settings import LimitSettings, MonitorSettings, RoleSettings, SwarmSettings
from maker.models.settings import MemberSettings, PoolSettings
from maker.plugin import Voter
from maker.voting.memo import Mode


class ServiceKeywords(TypedDict, total=False):
    """Settings of a job in a store that is chosen already; docs/settings.md describes each.

    ``model``, ``roles``, ``limits``, ``monitor`` and ``swarm`` stand for their whole table, in place of what a job file
    says there; the others for one setting: of ``[vote]`` from ``voter`` to ``on_undecided``, of ``[run]`` ``name``,
    ``seed`` and ``on_change``, of ``[store]`` ``durability`` and ``samples``, of ``[task]`` ``memo``.
    """

    model: MemberSettings | PoolSettings
    voter: str | Voter | Callable[..., Voter]
    k: int | Mapping[str, int] | Literal["auto"]
    max_votes: int
    extra: int
    row_error: float
    target: float
    budget: int
    budget_cost: float
    consequence: Mapping[str, float]
    thinking: Sequence[tuple[str, str]]
    on_undecided: Literal["leave", "ask"]
    roles: Mapping[str, RoleSettings]
    name: str
    seed: int
    on_change: Literal["refuse", "pin", "migrate"]
    durability: Literal["group", "strict"]
    samples: Literal["none", "disputed", "all"]
    memo: Mode
    limits: LimitSettings
    monitor: MonitorSettings
    swarm: SwarmSettings


class JobKeywords(ServiceKeywords, total=False):
    """Settings of a job: those of `ServiceKeywords`, and ``store``, the URL of its store."""

    store: str


_GIVEN = {
    "model": "maker.simulated(…), maker.vllm(…), maker.openai(…), maker.anthropic(…) or maker.pool(…)",
    "roles": "{name: maker.Role(…)}", "limits": "maker.Limits(…)", "monitor": "maker.Monitor(…)",
    "swarm": "maker.Swarm(…)",
}  # fmt: skip
WHOLE = tuple(_GIVEN)
"""Keywords that stand for a table."""
_TABLE_OF = {
    "name": "run",
    "seed": "run",
    "on_change": "run",
    "durability": "store",
    "samples": "store",
    "memo": "task",
}
"""The table of a keyword that is not one of ``[vote]``."""


def tables_of(keywords: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what keywords say, by table and key, as a job file would.

    Raises:
        JobError: There is no such keyword.
        PluginError: A voter cannot be found again by a name.
    """
    known = list(JobKeywords.__annotations__)
    for name in keywords:
        if name not in known:
            raise JobError(f"there is no keyword {name!r}", fix=near(name, known), setting=name)
    found: dict[str, Any] = {}
    for name, value in keywords.items():
        if name in WHOLE:
            if not isinstance(value, BaseModel | Mapping):
                raise JobError(f"{name} = {value!r:.80} is no table", fix=f"give {_GIVEN[name]}", setting=name)
            found[name] = value
        elif name == "store":
            found.setdefault("store", {})["url"] = value
        else:
            found.setdefault(_TABLE_OF.get(name, "vote"), {})[name] = value
    return as_written(found)
