"""A job: its settings, where each came from, and what it resolves to."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from maker.core.plugins import Plugin
from maker.core.user_code import call_user_code
from maker.errors import JobError, TaskFailed
from maker.job.parameters import built, marked, params_of
from maker.job.settings import (
    AUTO,
    ForesightSettings,
    LimitSettings,
    MonitorSettings,
    PilotFound,
    PlanFound,
    PollSettings,
    RoleSettings,
    RunSettings,
    StoreSettings,
    SwarmSettings,
    VoteSettings,
    swarm_kind,
)
from maker.models.folder import checked_folder, folder_digest
from maker.models.settings import MemberSettings, PoolSettings, VllmSettings, members_of, prices_of
from maker.plugin import Decomposer, Function, Place, RowDecomposer, Voter
from maker.sampling.pilot import PilotTask, PilotVoter
from maker.sampling.precompute import PrecomputeTask
from maker.stats.race import Estimate, Survey
from maker.types import Fork, InputPart, Prices, Step
from maker.voting.judge import PROMPT
from maker.voting.memo import Mode
from maker.voting.policy import JUDGE, SOLVER, Fallbacks, Judge, Role, Rules

UNWRITTEN: Mapping[str, dict[str, Any]] = {
    "model": {
        "structured": "off", "engine_args": {}, "p_by_class": {}, "rho": 0.0, "rho_by_class": {}, "shares": [],
        "flag_right": 0.0, "flag_wrong": 0.0,
    },
    "task": {"parse": None, "check": None, "truth": None},
}  # fmt: skip
"""What held in runs whose fingerprints are older than the choice."""
MEMO = "memo"
"""The key of the task's table, and of a fingerprint, that says whose decisions a run takes again."""
LOOKED_AT = 100
"""How many children of a fork are tried for one that can be made, to see what it is asked."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job with every setting checked and its plugins built.

    ``settings`` is what is stored with the run: every value in effect but the store's URL. ``origins`` says for each
    ``table.key`` where its value came from. ``functions`` are those that the task's parameters name. ``margins`` holds
    k by step class where ``vote.k`` says it so: all of them are named then, and ``voter`` has the least. ``poll`` is
    there where the job is another one's pilot. ``memo`` says whose decisions the run may take again; ``foresight`` is
    there where the job's steps are decided ahead of time.
    """

    run: RunSettings
    model: MemberSettings | PoolSettings
    vote: VoteSettings
    roles: dict[str, RoleSettings]
    swarm: SwarmSettings
    store: StoreSettings
    limits: LimitSettings
    decomposer: Decomposer[Any, Any]
    decomposer_plugin: Plugin
    voter: Voter
    voter_plugin: Plugin
    margins: dict[str, int]
    poll: PollSettings | None
    settings: dict[str, dict[str, Any]]
    origins: dict[str, str]
    functions: dict[str, Function]
    monitor: MonitorSettings
    memo: Mode = "off"
    foresight: ForesightSettings | None = None

    @property
    def swarm_kind(self) -> Literal["local", "ray"]:
        """Where the workers run."""
        return swarm_kind(self.members.values(), self.swarm)

    @property
    def members(self) -> dict[str, MemberSettings]:
        """The models by name, in the order of their numbers: those of a pool, or the one that there is."""
        return members_of(self.model)

    @property
    def prices(self) -> tuple[Prices, ...]:
        """What a token costs by model, 0 where no price is given."""
        return tuple(prices_of(member) or Prices() for member in self.members.values())

    @property
    def vote_prices(self) -> Prices | None:
        """What a token of a vote costs, in the mean over whose turn it is; None where a model has no prices."""
        found = [prices_of(member) for member in self.members.values()]
        turns = [found[number] for number in self.rules().roles[SOLVER].rotation]
        prices = [one for one in turns if one is not None]
        if len(prices) < len(turns):
            return None
        return Prices(*(sum(amounts) / len(prices) for amounts in zip(*prices, strict=True)))

    def rules(self) -> Rules:
        """Return what holds for every step of a run."""
        pool = self.model if isinstance(self.model, PoolSettings) else None
        numbers = {name: number for number, name in enumerate(self.members)}
        turns = tuple(numbers[name] for name in pool.rotation) if pool and pool.rotation else tuple(numbers.values())
        solver = Role(self.voter, self.vote.max_votes, turns, self.vote.extra)
        roles = {SOLVER: solver}
        for name, table in self.roles.items():
            rotation = tuple(numbers[member] for member in table.rotation) or solver.rotation
            most = solver.max_votes if table.max_votes is None else table.max_votes
            extra = solver.extra if table.extra is None else table.extra
            roles[name] = Role(self.voter if table.k is None else self.voter_at(table.k), most, rotation, extra)
        passes = pool is not None and pool.away == "pass"
        judge = Judge(roles.pop(JUDGE), self.roles[JUDGE].prompt or PROMPT) if JUDGE in roles else None
        voters = {name: self.voter_at(k) for name, k in self.margins.items()}
        others = Fallbacks(tuple(numbers[name] for name in self.monitor.members), self.monitor.temperature)
        return Rules(self.run.seed, self.store.samples, roles, len(numbers), passes, judge, voters, others)

    @property
    def needs_pilot(self) -> bool:
        """Whether the vote's margin is still to be found: ``vote.row_error`` stands in its place."""
        return self.vote.row_error is not None and self.vote.pilot is None

    def polled(self, poll: PollSettings) -> Job:
        """Return the job's pilot: its steps are asked as the job's are, and none is decided."""
        vote = self.vote.model_copy(update={"max_votes": poll.votes, "extra": 0})
        roles = {name: RoleSettings(rotation=table.rotation) for name, table in self.roles.items() if name != JUDGE}
        task = PilotTask(self.decomposer, poll.steps, self.run.seed, poll.labels)
        return replace(
            self,
            vote=vote,
            roles=roles,
            decomposer=task,
            voter=PilotVoter(poll.votes),
            margins={},
            poll=poll,
            memo="off",
        )

    def foreseen(self, foresight: ForesightSettings) -> Job:
        """Return the job that decides steps of this one ahead of time, by its vote."""
        task = PrecomputeTask(self.decomposer, foresight.steps, self.run.seed, foresight.labels, self._asked())
        return replace(self, decomposer=task, foresight=foresight)

    @property
    def needs_plan(self) -> bool:
        """Whether the vote's margins are still to be planned: ``vote.k`` is ``"auto"``."""
        return self.settings["vote"].get("k") == AUTO and self.poll is None

    def planned(self, found: PlanFound) -> Job:
        """Return the job with the margins that a plan found."""
        vote = self.vote.model_copy(update={"plan": found})
        settings = self.settings | {
            "vote": self.settings["vote"] | {"k": found.k, "plan": found.model_dump(mode="json")}
        }
        origins = self.origins | {"vote.k": "plan", "vote.plan": "plan"}
        voter = self.voter_at(min(found.k.values()))
        return replace(self, vote=vote, voter=voter, margins=dict(found.k), settings=settings, origins=origins)

    def piloted(self, found: PilotFound) -> Job:
        """Return the job with the margin that a pilot found."""
        vote = self.vote.model_copy(update={"pilot": found})
        settings = self.settings | {"vote": self.settings["vote"] | {"k": found.k, "pilot": found.model_dump()}}
        origins = self.origins | {"vote.k": "pilot", "vote.pilot": "pilot"}
        return replace(self, vote=vote, voter=self.voter_at(found.k), settings=settings, origins=origins)

    def voter_at(self, k: int) -> Voter:
        """Return the job's voter with another margin, where it knows margins."""
        params = params_of(self.voter_plugin)
        given = {name: self.settings["vote"][name] for name in params.model_fields}
        voter: Voter = built(self.voter_plugin, params.model_validate(given | {"k": k}), Voter)
        return voter

    def first_state(self) -> str:
        """Return the root chain's first state as the task writes it. Raises `TaskFailed`."""
        state = call_user_code(f"{self.decomposer.name}: start", self.decomposer.start)
        text: str = call_user_code(f"{self.decomposer.name}: state.write", self.decomposer.state.write, state)
        return text

    def parts(self) -> tuple[InputPart, ...]:
        """Return the input files that the task reads. Raises `BadInput` where they cannot be read, or have changed."""
        parts: tuple[InputPart, ...] = call_user_code(f"{self.decomposer.name}: parts", self.decomposer.parts)
        return parts

    def questions(self) -> Mapping[str, int] | None:
        """Return how many different questions the task asks by step class, where decisions are taken again.

        None where they are not, or the task does not know. Raises `TaskFailed`.
        """
        if self.memo == "off":
            return None
        asked: Mapping[str, int] | None = call_user_code(
            f"{self.decomposer.name}: questions", self.decomposer.questions
        )
        return asked

    def expected_steps(self) -> int | None:
        """Return how many steps the task takes, if it knows. Raises `TaskFailed`."""
        steps: int | None = call_user_code(f"{self.decomposer.name}: expected_steps", self.decomposer.expected_steps)
        return steps

    def task_fingerprint(self) -> dict[str, Any]:
        """Return what a log can be verified with: task, prompts, voter, and their code."""
        decomposer, voter = self.decomposer_plugin, self.voter_plugin
        # Of the plugin: a pilot's own decomposer stands in for the task's.
        instance = sorted(getattr(decomposer.object, "instance", ()))
        beside = {"decomposer", MEMO, *marked(decomposer, Place)}
        task = {key: value for key, value in self.settings["task"].items() if key not in beside}
        task |= {name: {"function": _short(one), "source": one.source} for name, one in self.functions.items()}
        vote = {key: value for key, value in self.settings["vote"].items() if key not in VoteSettings.model_fields}
        return {
            "decomposer": _short(decomposer),
            "decomposer_version": self.decomposer.version,
            "decomposer_source": decomposer.source,
            "prompts": self._prompts(),
            "task": task,
            **({"instance": instance} if instance else {}),
            "voter": _short(voter),
            "voter_source": voter.source,
            "vote": vote,
        } | ({"roles": roles} if (roles := self._roles()) else {})

    def _roles(self) -> dict[str, Any]:
        """Return what of the roles decides steps."""
        return {
            name: {"k": table.k, "rotation": list(table.rotation), "classes": self._classes_of(name)}
            | ({"prompt": table.prompt or PROMPT} if name == JUDGE else {})
            for name, table in self.roles.items()
            if name == JUDGE or table.k is not None or table.rotation
        }

    def _classes_of(self, role: str) -> list[str]:
        return [kind.name for kind in self.decomposer.classes if kind.role == role]

    def stored_fingerprint(self) -> dict[str, Any]:
        """Return what of the fingerprint the settings alone decide: all of it but what the model's folder holds."""
        found = self.task_fingerprint() | {"seed": self.run.seed, "model": self.model.identity()}
        if self.memo != "off":
            found[MEMO] = self.memo
        if self.poll is not None:
            found["poll"] = self.poll.model_dump() | {"labels": _digest(self.poll.labels)}
        if self.foresight is not None:
            found["foresight"] = self.foresight.model_dump() | {"labels": _digest(self.foresight.labels)}
        held = any(getattr(member, "structured", "off") == "schema" for member in self.members.values())
        return found | {"schemas": self._schemas()} if held else found

    def fingerprint(self) -> dict[str, Any]:
        """Return what may not change while a run lives: the task's, the seed, and what decides how the model answers.

        ``max_votes`` may: it decides no step, and raising it is how a run goes on that was stuck at it.

        Raises:
            ModelUnusable: The model's folder is not there.
        """
        parts = self.parts()
        found = self.stored_fingerprint()
        if parts:
            found["inputs"] = inputs_digest(parts)
        folders = {
            name: folder_digest(checked_folder(member.path))
            for name, member in self.members.items()
            if isinstance(member, VllmSettings)
        }
        if isinstance(self.model, PoolSettings):
            found["model"]["folders"] = folders
        elif folders:
            found["model"]["folder"] = next(iter(folders.values()))
        return found

    def asked_fingerprint(self) -> dict[str, Any]:
        """Return what of the fingerprint decides how samples of the task's steps come out: voters and seeds do not.

        Raises as `fingerprint` does.
        """
        beside = ("seed", "voter", "voter_source", "vote", "roles", "poll", MEMO)
        found = {name: value for name, value in self.fingerprint().items() if name not in beside}
        rotations = {name: list(table.rotation) for name, table in self.roles.items() if table.rotation}
        return found | ({"rotations": rotations} if rotations else {})

    def estimate(self, steps: int | None = None) -> Estimate | None:
        """Return what a run will take at least; ``steps`` where it is not the whole task.

        None where the task's code makes no prompt to look at, as where none of a map's first rows can be read: whether
        a run can do without them is for the run to say.
        """
        try:
            first = self._first_move()
        except TaskFailed:
            return None
        kind = first.kind if isinstance(first, Step) else None
        return Estimate(
            steps=self.expected_steps() if steps is None else steps,
            votes=self.voter.least,
            prompt_characters=len(first.prompt) + len(kind.system) if kind else 0,
            reply_tokens=kind.max_tokens if kind else 0,
            requests=self._requests(),
        )

    def survey(self) -> Survey:
        """Go through all rows of a map without a model. Raises `BadInput` for another task, or a wrong input."""
        if not isinstance(self.decomposer, RowDecomposer):
            raise JobError(
                f"{self.decomposer.name} is not a map over rows, so there are no rows to count",
                fix="see its prompts with `maker try JOB -n 5`",
            )
        self.parts()
        name = self.decomposer.name
        root = call_user_code(f"{name}: start", self.decomposer.start)
        fork = call_user_code(f"{name}: next", self.decomposer.next, root)
        unreadable = characters = longest = 0
        for number in range(fork.count):
            try:
                step = call_user_code(
                    name, self.decomposer.next, call_user_code(f"{name}: child", fork.child, root, number)
                )
            except TaskFailed:
                unreadable += 1
                continue
            length = len(step.kind.system) + len(step.prompt)
            characters, longest = characters + length, max(longest, length)
        kind = self.decomposer.classes[0]
        votes = self.voter.least
        return Survey(fork.count, unreadable, characters, longest, votes, kind.max_tokens, self._requests())

    def _requests(self) -> int:
        """Return in how many requests the fewest votes of a step are asked for."""
        return self.requests_for(self.rules().roles[SOLVER].rotation, self.voter.least)

    def requests_for(self, rotation: Sequence[int], samples: int) -> int:
        """Return in how many requests so many samples of a step are asked for, of the models of a rotation in turn."""
        members = list(self.members.values())
        votes = Counter(rotation[vote % len(rotation)] for vote in range(samples))
        return sum(-(-n // getattr(members[number], "max_n", n)) for number, n in votes.items())

    def _first_move(self) -> Any:
        """Return what the task asks for first, of its first child where it forks."""
        name = self.decomposer.name
        state = call_user_code(f"{name}: start", self.decomposer.start)
        move = call_user_code(f"{name}: next", self.decomposer.next, state)
        while isinstance(move, Fork) and move.count > 0:
            state = self._first_child(move, state)
            move = call_user_code(f"{name}: next", self.decomposer.next, state)
        return move

    def _first_child(self, fork: Fork[Any], state: Any) -> Any:
        """Return the state of a fork's first child; where some may be missed, of the first that can be made."""
        last = min(fork.count, LOOKED_AT) - 1 if fork.missed else 0
        for number in range(last):
            with suppress(TaskFailed):
                return call_user_code(f"{self.decomposer.name}: child", fork.child, state, number)
        return call_user_code(f"{self.decomposer.name}: child", fork.child, state, last)

    def _asked(self) -> str:
        """Return what the task's prompts are made of, or else its first prompt."""
        asked: str | None = call_user_code(f"{self.decomposer.name}: prompts", self.decomposer.prompts)
        if asked is not None:
            return asked
        first = self._first_move()
        return first.prompt if isinstance(first, Step) else ""

    def _prompts(self) -> str:
        asked = self._asked()
        kinds = [
            (kind.name, kind.system, kind.max_tokens, kind.stop, *([kind.paraphrases] if kind.paraphrases else []))
            for kind in self.decomposer.classes
        ]
        told = repr((kinds, asked))
        return hashlib.sha256(told.encode("utf-8", "backslashreplace")).hexdigest()[:16]

    def _schemas(self) -> str:
        kinds = [(kind.name, kind.schema and dict(kind.schema)) for kind in self.decomposer.classes]
        told: str = call_user_code(
            f"{self.decomposer.name}: a schema as JSON", partial(json.dumps, kinds, sort_keys=True)
        )
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def inputs_digest(parts: Iterable[InputPart]) -> str:
    """Return one digest of all input files as they were when a run began."""
    return hashlib.sha256("".join(map(repr, map(tuple, parts))).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say where two fingerprints differ, "" if they do not.

    What only one of them names was not looked at then, but for what is known to have held: see `UNWRITTEN`. Roles are
    named where there are any, so that those of both must be alike, and the memo where it is not off.
    """
    had, has = before.get("roles", {}), now.get("roles", {})
    lines = [] if had == has else [f"roles were {had!r}, are {has!r}"]
    said, says = before.get(MEMO, "off"), now.get(MEMO, "off")
    lines += [] if said == says else [f"memo was {said!r}, is {says!r}"]
    lines += _differences(before, now)
    return "; ".join(lines)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    lines = []
    for name in sorted((before.keys() & now.keys()) - {"roles", MEMO}):
        old, new, unwritten = before[name], now[name], UNWRITTEN.get(name, {})
        if isinstance(old, dict) and isinstance(new, dict):
            if inner := _differences(unwritten | old, unwritten | new):
                lines.append(f"{name}: {'; '.join(inner)}")
        elif old != new:
            lines.append(f"{name} was {old!r}, is {new!r}")
    return lines


def _short(code: Plugin | Function) -> str:
    """Return the name of a plugin or a function without the folder of its file, which may move."""
    return Path(code.name).name if code.source else code.name
