"""A job: its settings, where each came from, and what it resolves to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from maker.core.plugins import Plugin
from maker.job.settings import (
    AUTO,
    AcceptSettings,
    ForesightSettings,
    LimitSettings,
    MonitorSettings,
    PollSettings,
    RoleSettings,
    RunSettings,
    StagesSettings,
    StoreSettings,
    SwarmSettings,
    VoteSettings,
    swarm_kind,
)
from maker.models.settings import MemberSettings, PoolSettings, members_of
from maker.plugin import Decomposer, Function, Voter
from maker.voting.memo import Mode


@dataclass(frozen=True, slots=True)
class Job:
    """A job with every setting checked and its plugins built.

    ``settings`` is what is stored with the run, and what all else is made from: every value in effect but the store's
    URL. A job with other settings is made by `maker.job.resolve.derived`, or by `maker.job.variants`.

    Args:
        run: The table ``[run]``.
        model: The table ``[model]``.
        vote: The table ``[vote]``; in a pilot, which asks each step for a set number of votes, that number.
        roles: The tables ``[roles.NAME]``; in a pilot only whom they have asked.
        swarm: The table ``[swarm]``.
        store: The table ``[store]``.
        limits: The table ``[limits]``.
        monitor: The table ``[monitor]``.
        decomposer: The task; a pilot's own stands in for it where the job is one, and so does a precomputation's.
        decomposer_plugin: Where the task was found.
        voter: Who decides, with the least margin where there are several.
        voter_plugin: Where the voter was found.
        margins: k by step class where ``vote.k`` says it so: all of them are named then. Else {}.
        settings: Every value in effect, by table and key.
        origins: Where each value came from, by ``table.key``.
        functions: Those that the task's parameters name, by the parameter.
        poll: There where the job is another one's pilot.
        memo: Whose decisions the run may take again.
        foresight: There where the job's steps are decided ahead of time.
        accept: There where rows are to be accepted once the run is done.
        stages: There where the job is one stage of several.
        files: The files that task parameters were read from, by the parameter; {} of a job that a run was started with.
        given: Task parameters whose values hold secrets, as they were given; ``settings`` has them without.
    """

    run: RunSettings
    model: MemberSettings | PoolSettings
    vote: VoteSettings
    roles: dict[str, RoleSettings]
    swarm: SwarmSettings
    store: StoreSettings
    limits: LimitSettings
    monitor: MonitorSettings
    decomposer: Decomposer[Any, Any]
    decomposer_plugin: Plugin
    voter: Voter
    voter_plugin: Plugin
    margins: dict[str, int]
    settings: dict[str, dict[str, Any]]
    origins: dict[str, str]
    functions: dict[str, Function]
    poll: PollSettings | None = None
    memo: Mode = "off"
    foresight: ForesightSettings | None = None
    accept: AcceptSettings | None = None
    stages: StagesSettings | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def swarm_kind(self) -> Literal["local", "ray"]:
        """Where the workers run."""
        return swarm_kind(self.members.values(), self.swarm)

    @property
    def members(self) -> dict[str, MemberSettings]:
        """The models by name, in the order of their numbers: those of a pool, or the one that there is."""
        return members_of(self.model)

    @property
    def needs_pilot(self) -> bool:
        """Whether the vote's margin is still to be found: ``vote.row_error`` stands in its place."""
        return self.vote.row_error is not None and self.vote.pilot is None

    @property
    def needs_plan(self) -> bool:
        """Whether the vote's margins are still to be planned: ``vote.k`` is ``"auto"``."""
        return self.settings["vote"].get("k") == AUTO and self.poll is None
