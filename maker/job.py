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
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from maker.errors import JobError, PluginError, TaskFailed
from maker.jobfile import Raw, shortened
from maker.judging import PROMPT
from maker.models.folder import checked_folder, folder_digest
from maker.models.settings import (
    MODEL_KINDS,
    MemberSettings,
    ModelSettings,
    OpenAISettings,
    PoolSettings,
    SimulatedSettings,
    VllmSettings,
    check_rotation,
)
from maker.owned import own
from maker.parameters import marked, params_of, placed
from maker.planning import Estimate, Survey
from maker.plugin import Decomposer, Function, Place, RowDecomposer, Voter
from maker.registry import DECOMPOSERS, VOTERS, Plugin, find_plugin, near
from maker.rules import JUDGE, SOLVER, Judge, Role, Rules
from maker.settings import (
    TABLES,
    LimitSettings,
    PilotFound,
    RoleSettings,
    RunSettings,
    StoreSettings,
    SwarmSettings,
    VoteSettings,
    worker_gpus,
)
from maker.types import Fork, InputPart, Prices, Step

SECRETIVE = ("url", "key_env")
UNWRITTEN: Mapping[str, dict[str, Any]] = {
    "model": {"structured": "off", "engine_args": {}},
    "task": {"parse": None, "check": None, "truth": None},
}
"""What held in runs whose fingerprints are older than the choice."""
LOOKED_AT = 100
"""How many children of a fork are tried for one that can be made, to see what it is asked."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job with every setting checked and its plugins built.

    ``settings`` is what is stored with the run: every value in effect but the store's URL. ``origins`` says for each
    ``table.key`` where its value came from. ``functions`` are those that the task's parameters name.
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
    settings: dict[str, dict[str, Any]]
    origins: dict[str, str]
    functions: dict[str, Function]

    @property
    def swarm_kind(self) -> Literal["local", "ray"]:
        """Where the workers run."""
        vllm = any(isinstance(member, VllmSettings) for member in self.members.values())
        return self.swarm.kind or ("ray" if vllm else "local")

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
        return Rules(self.run.seed, self.store.samples, roles, len(numbers), passes, judge)

    @property
    def needs_pilot(self) -> bool:
        """Whether the vote's margin is still to be found: ``vote.row_error`` stands in its place."""
        return self.vote.row_error is not None and self.vote.pilot is None

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
        voter: Voter = _built(self.voter_plugin, params.model_validate(given | {"k": k}), Voter)
        return voter

    def first_state(self) -> str:
        """Return the root chain's first state as the task writes it. Raises `TaskFailed`."""
        state = own(f"{self.decomposer.name}: start", self.decomposer.start)
        text: str = own(f"{self.decomposer.name}: state.write", self.decomposer.state.write, state)
        return text

    def parts(self) -> tuple[InputPart, ...]:
        """Return the input files that the task reads. Raises `BadInput` where they cannot be read, or have changed."""
        parts: tuple[InputPart, ...] = own(f"{self.decomposer.name}: parts", self.decomposer.parts)
        return parts

    def expected_steps(self) -> int | None:
        """Return how many steps the task takes, if it knows. Raises `TaskFailed`."""
        steps: int | None = own(f"{self.decomposer.name}: expected_steps", self.decomposer.expected_steps)
        return steps

    def task_fingerprint(self) -> dict[str, Any]:
        """Return what a log can be verified with: task, prompts, voter, and their code."""
        decomposer, voter = self.decomposer_plugin, self.voter_plugin
        beside = {"decomposer", *marked(decomposer, Place)}
        task = {key: value for key, value in self.settings["task"].items() if key not in beside}
        task |= {name: {"function": _short(one), "source": one.source} for name, one in self.functions.items()}
        vote = {key: value for key, value in self.settings["vote"].items() if key not in VoteSettings.model_fields}
        return {
            "decomposer": _short(decomposer),
            "decomposer_version": self.decomposer.version,
            "decomposer_source": decomposer.source,
            "prompts": self._prompts(),
            "task": task,
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
                f"{self.decomposer.name} is no map over rows: there is nothing to count",
                fix="`maker try JOB -n 5` shows what it asks",
            )
        self.parts()
        name = self.decomposer.name
        root = own(f"{name}: start", self.decomposer.start)
        fork = own(f"{name}: next", self.decomposer.next, root)
        unreadable = characters = longest = 0
        for number in range(fork.count):
            try:
                step = own(name, self.decomposer.next, own(f"{name}: child", fork.child, root, number))
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
        rotation, members = self.rules().roles[SOLVER].rotation, list(self.members.values())
        votes = Counter(rotation[vote % len(rotation)] for vote in range(self.voter.least))
        return sum(-(-n // getattr(members[number], "max_n", n)) for number, n in votes.items())

    def _first_move(self) -> Any:
        """Return what the task asks for first, of its first child where it forks."""
        name = self.decomposer.name
        state = own(f"{name}: start", self.decomposer.start)
        move = own(f"{name}: next", self.decomposer.next, state)
        while isinstance(move, Fork) and move.count > 0:
            state = self._first_child(move, state)
            move = own(f"{name}: next", self.decomposer.next, state)
        return move

    def _first_child(self, fork: Fork[Any], state: Any) -> Any:
        """Return the state of a fork's first child; where some may be missed, of the first that can be made."""
        last = min(fork.count, LOOKED_AT) - 1 if fork.missed else 0
        for number in range(last):
            with suppress(TaskFailed):
                return own(f"{self.decomposer.name}: child", fork.child, state, number)
        return own(f"{self.decomposer.name}: child", fork.child, state, last)

    def _prompts(self) -> str:
        asked: str | None = own(f"{self.decomposer.name}: prompts", self.decomposer.prompts)
        if asked is None:
            first = self._first_move()
            asked = first.prompt if isinstance(first, Step) else ""
        kinds = [(kind.name, kind.system, kind.max_tokens, kind.stop) for kind in self.decomposer.classes]
        told = repr((kinds, asked))
        return hashlib.sha256(told.encode("utf-8", "backslashreplace")).hexdigest()[:16]

    def _schemas(self) -> str:
        kinds = [(kind.name, kind.schema and dict(kind.schema)) for kind in self.decomposer.classes]
        told: str = own(f"{self.decomposer.name}: a schema as JSON", partial(json.dumps, kinds, sort_keys=True))
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def inputs_digest(parts: Iterable[InputPart]) -> str:
    """Return one digest of all input files as they were when a run began."""
    return hashlib.sha256("".join(map(repr, map(tuple, parts))).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def stored_job(
    settings: Mapping[str, Any], run_id: str, overrides: Iterable[str] = (), parts: Sequence[InputPart] = ()
) -> Job:
    """Return the job that a run was started with, overridden. Raises `JobError` or `PluginError`.

    ``parts`` are its input files as they were when it began; without them the job can be shown, not worked on.
    """
    values = {table: {k: v for k, v in content.items() if v is not None} for table, content in settings.items()}
    raw = Raw(values, base=Path.cwd(), shown=f"run {run_id}", stored=True)
    raw.take_overrides(overrides)
    job = resolve(raw)
    job.decomposer.bind(parts)
    return job


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say where two fingerprints differ, "" if they do not.

    What only one of them names was not looked at then, but for what is known to have held: see `UNWRITTEN`. Roles are
    named where there are any, so that those of both must be alike.
    """
    had, has = before.get("roles", {}), now.get("roles", {})
    lines = [] if had == has else [f"roles were {had!r}, are {has!r}"]
    lines += _differences(before, now)
    return "; ".join(lines)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    lines = []
    for name in sorted((before.keys() & now.keys()) - {"roles"}):
        old, new = before[name], now[name]
        if isinstance(old, dict) and isinstance(new, dict):
            if inner := _differences(UNWRITTEN.get(name, {}) | old, new):
                lines.append(f"{name}: {'; '.join(inner)}")
        elif old != new:
            lines.append(f"{name} was {old!r}, is {new!r}")
    return lines


def resolve(raw: Raw) -> Job:
    """Check every setting, find the plugins and build them.

    Raises:
        JobError: A table, a key or a value is wrong; names it, what is allowed, and the line or the variable.
        PluginError: The decomposer or the voter cannot be found.
    """
    raw.check_tables(list(TABLES))
    tables = {name: raw.table(name) for name in TABLES}
    run, vote, roles, swarm, store, limits = (
        _checked(TABLES[name], tables[name], name, raw) for name in ("run", "vote", "roles", "swarm", "store", "limits")
    )
    model = _model(tables["model"], raw)
    task = tables["task"]
    if not isinstance(task.get("decomposer"), str):
        raise JobError(
            f"{raw.place('task')}: task.decomposer is missing", fix="name the task: `maker plugins` lists them"
        )
    task_plugin = find_plugin(DECOMPOSERS, task["decomposer"], raw.base("task", "decomposer"))
    voter_plugin = find_plugin(VOTERS, vote.voter, raw.base("vote", "voter"))
    task_values = placed(task_plugin, _without(task, "decomposer"), raw)
    task_params = _checked(params_of(task_plugin), task_values, "task", raw)
    vote_params = _checked(params_of(voter_plugin), dict(vote.model_extra or {}), "vote", raw, ["max_votes"])
    vote = _row_error(vote, "k" in tables["vote"], raw)
    _check_money(model, limits, raw)
    said = vote.model_dump(mode="json", include=set(VoteSettings.model_fields) - {"voter"}, exclude_none=True)
    _check_swarm(model, swarm, raw)
    settings = {
        "run": run.model_dump(),
        "task": {"decomposer": task_plugin.name} | task_params.model_dump(mode="json", by_alias=True),
        "model": model.model_dump(),
        "vote": {"voter": voter_plugin.name} | said | vote_params.model_dump(mode="json"),
        "roles": {name: table.model_dump(mode="json", exclude_none=True) for name, table in roles.items()},
        "swarm": swarm.model_dump(),
        "store": store.model_dump(exclude={"url"}),
        "limits": limits.model_dump(),
    }
    decomposer = _built(task_plugin, task_params, Decomposer)
    voter = _built(voter_plugin, vote_params, Voter)
    _check_roles(model, decomposer, roles, voter_plugin, raw)
    if vote.row_error is not None:
        _check_row_error(decomposer, voter_plugin, roles, f"{raw.place('vote', 'row_error')}: vote.row_error")
    job = Job(
        run, model, vote, roles, swarm, store, limits, decomposer, task_plugin, voter, voter_plugin,
        settings, raw.origins(settings), {name: one for name, one in task_values.items() if isinstance(one, Function)},
    )  # fmt: skip
    _check_votes(job, raw)
    return job


def _model(table: dict[str, Any], raw: Raw) -> MemberSettings | PoolSettings:
    kind = table.get("kind")
    if kind not in MODEL_KINDS:
        known = list(MODEL_KINDS)
        what = "model.kind is missing" if kind is None else f"model.kind: there is no model kind {kind!r}"
        raise JobError(f"{raw.place('model', 'kind')}: {what}", fix=near(str(kind or ""), known))
    model: MemberSettings | PoolSettings = _checked(ModelSettings, table, "model", raw)
    if isinstance(model, PoolSettings):
        members = {name: _in_place(one, f"members.{name}.path", raw) for name, one in model.members.items()}
        return model.model_copy(update={"members": members})
    return _in_place(model, "path", raw)


def _in_place(model: MemberSettings, key: str, raw: Raw) -> MemberSettings:
    """Return a model's settings with the whole path of its folder."""
    if not isinstance(model, VllmSettings):
        return model
    return model.model_copy(update={"path": str((raw.base("model", key) / model.path).resolve())})


def members_of(model: MemberSettings | PoolSettings) -> dict[str, MemberSettings]:
    """Return models by name, in the order of their numbers."""
    if isinstance(model, PoolSettings):
        return dict(model.members)
    return {model.name if isinstance(model, OpenAISettings) else model.kind: model}


def prices_of(model: MemberSettings) -> Prices | None:
    """Return what a model's tokens cost, None where that is not said."""
    if not isinstance(model, OpenAISettings):
        return None
    return Prices.per_million(model.prompt_price, model.completion_price)


def _checked(kind: Any, values: dict[str, Any], table: str, raw: Raw, beside: Iterable[str] = ()) -> Any:
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        # A misspelt name often makes another one missing: the misspelling is what to tell.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        path = [str(part) for part in first["loc"] if str(part) not in MODEL_KINDS]
        raise _told(first, [table, *path], raw, [*_fields(kind, values, path), *beside]) from error


def _told(first: ErrorDetails, path: list[str], raw: Raw, known: list[str]) -> JobError:
    name, key, within = ".".join(path), path[-1], ".".join(path[:-1])
    place = raw.place(path[0], ".".join(path[1:]))
    if first["type"] == "extra_forbidden":
        return JobError(f"{place}: {name}: there is no such setting", fix=near(key, known), setting=name)
    if first["type"] == "missing":
        return JobError(f"{place}: {name} is missing", fix=f"{within} takes: {', '.join(known)}", setting=name)
    said = first["msg"].removeprefix("Value error, ")
    # A key or a password that was put in the wrong place must not be shown, nor a whole table that may hold one.
    whole = path[0] == "model" and isinstance(first["input"], Mapping)
    hidden = len(path) == 1 or key in SECRETIVE or whole
    shown = "" if hidden else f" = {shortened(repr(first['input']))}"
    return JobError(f"{place}: {name}{shown}: {said}", setting=name)


def _fields(kind: Any, values: dict[str, Any], path: Sequence[str]) -> list[str]:
    """Return the names that the table takes which an error's path leads into: one within another, perhaps."""
    model: type[BaseModel]
    if get_origin(kind) is dict:
        model = get_args(kind)[1]
    elif isinstance(kind, type):
        model = kind
    else:
        inner = values.get(path[0], {}).get(path[1], {}) if len(path) > 2 else {}
        model = MODEL_KINDS.get(str(inner.get("kind")), MODEL_KINDS[values["kind"]])
    return [field.alias or name for name, field in model.model_fields.items()]


def _built(plugin: Plugin, params: BaseModel, door: type[Any]) -> Any:
    built = own(f"{plugin.name}: making it", plugin.object, params)
    needed = ("name", "version", "classes", "state", "action") if door is Decomposer else ("name",)
    if missing := [name for name in needed if not hasattr(built, name)]:
        raise PluginError(
            f"{plugin.name} has no {', '.join(missing)}", fix=f"maker.plugin.{door.__name__} says what it is"
        )
    if not isinstance(built, door):
        raise PluginError(
            f"{plugin.name} is no {door.__name__.lower()}", fix=f"it must be a maker.plugin.{door.__name__}"
        )
    return built


def _check_money(model: MemberSettings | PoolSettings, limits: LimitSettings, raw: Raw) -> None:
    unpriced = [name for name, member in members_of(model).items() if prices_of(member) is None]
    if limits.max_cost is not None and unpriced:
        of = f" of {', '.join(unpriced)}" if isinstance(model, PoolSettings) else ""
        raise JobError(
            f"{raw.place('limits', 'max_cost')}: limits.max_cost needs prices{of}",
            fix="give model.prompt_price and model.completion_price, for a million tokens each",
        )


def _row_error(vote: VoteSettings, k: bool, raw: Raw) -> VoteSettings:
    """Return the vote's settings, in which a margin of its own makes a pilot's out of date."""
    place = f"{raw.place('vote', 'row_error')}: vote.row_error"
    if vote.pilot is not None and not raw.is_stored("vote", "pilot"):
        raise JobError(f"{raw.place('vote', 'pilot')}: vote.pilot is what a pilot found, and not to be set")
    if vote.row_error is None or not k:
        return vote
    if not raw.is_stored("vote", "row_error"):
        raise JobError(
            f"{place} and vote.k are two ways to say one thing", fix="leave one of them out; a run that exists has a k"
        )
    kept = raw.is_stored("vote", "k") and raw.is_stored("vote", "voter")
    return vote if kept else vote.model_copy(update={"row_error": None, "pilot": None})


def _check_row_error(
    decomposer: Decomposer[Any, Any], voter: Plugin, roles: Mapping[str, RoleSettings], what: str
) -> None:
    if not isinstance(decomposer, RowDecomposer):
        raise JobError(f"{what} is for maps over rows: {decomposer.name} is none", fix="set vote.k instead")
    if "k" not in params_of(voter).model_fields:
        raise JobError(
            f"{what}: the voter {voter.name} has no k that a pilot could find",
            fix="leave it out, or take the voter first-to-ahead-by-k",
        )
    for name, table in roles.items():
        if name == JUDGE or table.k is not None:
            raise JobError(
                f"{what}: a pilot finds the margin of votes that nothing else decides: there is roles.{name}",
                fix="leave one of them out, or set vote.k instead",
            )


def _check_swarm(model: MemberSettings | PoolSettings, swarm: SwarmSettings, raw: Raw) -> None:
    members = members_of(model).values()
    vllm = [member for member in members if isinstance(member, VllmSettings)]
    local = swarm.kind == "local" or (swarm.kind is None and not vllm)
    for_ray = [key for key in ("max_replicas", "address", "resources") if getattr(swarm, key)]
    if swarm.replicas != 1:
        for_ray.insert(0, "replicas")
    if local and for_ray:
        key = for_ray[0]
        raise JobError(
            f"{raw.place('swarm', key)}: swarm.{key} = {getattr(swarm, key)!r} needs Ray: a local swarm is one worker",
            fix='set swarm.kind = "ray"',
        )
    gpus, spread = worker_gpus(members, swarm), max((member.tensor_parallel for member in vllm), default=1)
    if not local and spread > 1 and gpus is not None and gpus < spread:
        raise JobError(
            f"{raw.place('swarm', 'gpus')}: swarm.gpus = {gpus:g}, and model.tensor_parallel = {spread} takes {spread}",
            fix="leave swarm.gpus out: a worker then reserves as many as its model is spread over",
        )


def _check_votes(job: Job, raw: Raw) -> None:
    """Refuse a margin that the votes of a role cannot reach, and votes that would all be one reply."""
    rules, members = job.rules(), list(job.members.items())
    roles = dict(rules.roles) if rules.judge is None else {**rules.roles, JUDGE: rules.judge.role}
    for role, (voter, most, rotation, _) in roles.items():
        table, key = ("roles", f"{role}.max_votes") if role in job.roles else ("vote", "max_votes")
        if voter.least > most:
            raise JobError(
                f"{raw.place(table, key)}: {table}.{key} = {most}: {voter.name} needs {voter.least} at least"
            )
        for name, member in (members[number] for number in rotation):
            if isinstance(member, SimulatedSettings) or not member.greedy or voter.least == 1:
                continue
            key = f"members.{name}.temperature" if isinstance(job.model, PoolSettings) else "temperature"
            raise JobError(
                f"{raw.place('model', key)}: model.{key} = {member.temperature:g}: all its votes would be one reply",
                fix="raise the temperature, or set vote.k = 1 for a run without votes",
            )


def _check_roles(
    model: MemberSettings | PoolSettings,
    decomposer: Decomposer[Any, Any],
    roles: Mapping[str, RoleSettings],
    voter: Plugin,
    raw: Raw,
) -> None:
    known = sorted({kind.role for kind in decomposer.classes} | {JUDGE})
    for name, table in roles.items():
        place = f"{raw.place('roles', name)}: roles.{name}"
        if name not in known:
            raise JobError(f"{place}: {decomposer.name} has no steps of that role", fix=near(name, known))
        if table.rotation and not isinstance(model, PoolSettings):
            raise JobError(f"{place}.rotation: there is one model", fix='leave it out, or set model.kind = "pool"')
        try:
            check_rotation(table.rotation, members_of(model))
        except ValueError as error:
            raise JobError(f"{place}.rotation: {error}") from error
        if table.k is not None and "k" not in params_of(voter).model_fields:
            raise JobError(f"{place}.k: the voter {voter.name} has no k", fix="leave it out")
        if table.prompt and name != JUDGE:
            raise JobError(f"{place}.prompt: only a judge is told one", fix="the prompts of steps are the task's own")


def _short(code: Plugin | Function) -> str:
    """Return the name of a plugin or a function without the folder of its file, which may move."""
    return Path(code.name).name if code.source else code.name


def _without(table: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name != key}
