"""What a ``[vote]`` table comes to: its settings, the margins that it names, and the voter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from maker.core.plugins import Plugin
from maker.job.job import Job
from maker.job.parameters import built, params_of
from maker.job.settings import AUTO, VoteSettings
from maker.plugin import Voter


class Vote(NamedTuple):
    """How a job votes. ``margins`` is k by step class where ``k`` says it so; ``voter`` then has the least."""

    settings: VoteSettings
    margins: dict[str, int]
    voter: Voter


def vote_of(table: Mapping[str, Any], plugin: Plugin) -> Vote:
    """Return what a ``[vote]`` table comes to that was checked and has every value in effect, as jobs store it."""
    k = table.get("k")
    margins = dict(k) if isinstance(k, Mapping) else {}
    params = {name: table[name] for name in params_of(plugin).model_fields if name in table}
    if k == AUTO:
        # Until a plan has found its margins the voter has its own.
        params.pop("k", None)
    elif margins:
        params["k"] = min(margins.values())
    own = {name: value for name, value in table.items() if name in VoteSettings.model_fields}
    voter: Voter = built(plugin, params_of(plugin).model_validate(params), Voter)
    return Vote(VoteSettings.model_validate(own), margins, voter)


def voter_at(job: Job, k: int) -> Voter:
    """Return the job's voter with another margin, where it knows margins."""
    return vote_of(job.settings["vote"] | {"k": k}, job.voter_plugin).voter
