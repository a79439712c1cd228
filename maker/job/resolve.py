"""From raw settings to a job: every table checked, plugins found and made."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from maker.core.plugins import DECOMPOSERS, VOTERS, Plugin, find_plugin, near
from maker.core.user_code import call_user_code
from maker.errors import JobError, PluginError
from maker.inputs.secrets import is_cut, without_secrets
from maker.job.file import DEFAULT_VOTER, Raw, shortened
from maker.job.job import Job
from maker.job.parameters import built, files_of, marked, params_of, placed
from maker.job.problems import Problems, together
from maker.job.settings import (
    AUTO,
    MEMO,
    TABLES,
    AcceptSettings,
    ForesightSettings,
    PollSettings,
    StagesSettings,
    VoteSettings,
)
from maker.job.validate import (
    check_job,
    check_money,
    check_shared,
    check_swarm,
    check_votes,
    check_ways,
    margins_of,
    with_margin,
)
from maker.job.variants import pilot_variant, precompute_variant
from maker.job.vote import vote_of
from maker.job.vote_budget import check_vote_budget
from maker.models.server_settings import FallbackEndpoint
from maker.models.settings import (
    MODEL_KINDS,
    MemberSettings,
    ModelSettings,
    PoolSettings,
    VllmSettings,
)
from maker.plugin import Before, Called, Decomposer, Function, OrFile, Place
from maker.types import InputPart
from maker.voting.memo import Mode

POLL, FORESIGHT, STAGES = "poll", "foresight", "stages"
WRITTEN = {POLL: "votes", FORESIGHT: "steps", STAGES: "first"}
"""Tables that no job has: maker writes them, for runs of its own. A setting of each."""
STORED = (("task", "decomposer"), ("model", "kind"), ("store", "samples"))
"""Settings that every run has, whichever version of maker has stored it."""
SECRETIVE = frozenset({"url", "key_env", "fallbacks", "headers", "extra_body"})
CHANGED = "the task's code has changed since the run began: put its parameters back as they were, or start a new run"


def stored_job(
    settings: Mapping[str, Any],
    run_id: str,
    overrides: Iterable[str] = (),
    parts: Sequence[InputPart] = (),
    *,
    kept: Mapping[str, str] | None = None,
) -> Job:
    """Return the job that a run was started with, overridden. Raises `JobError` or `PluginError`.

    ``parts`` are its input files as they were when it began; without them the job can be shown, not worked on. ``kept``
    are the files of code that the run keeps, by their paths: one that is pinned is made of these.
    """
    check_stored(settings, run_id)
    values = {table: {k: v for k, v in content.items() if v is not None} for table, content in settings.items()}
    raw = Raw(values, base=Path.cwd(), shown=f"run {run_id}", stored=True, kept=kept)
    raw.take_environment(_given_again(values.get("task", {})), TABLES)
    raw.take_overrides(overrides)
    try:
        job = resolve(raw)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # Checks of the tables' own values tell what is wrong; this is for values that they do not foresee.
        raise _damaged(run_id, f"one cannot be read ({type(error).__name__}: {error})") from error
    if not parts:
        return job
    task = job.decomposer
    return replace(job, decomposer=call_user_code(f"{task.name}: with_parts", task.with_parts, parts))


def _given_again(task: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of the environment that give task parameters which were stored without their secrets."""
    names = [f"MAKER_TASK_{key.upper()}" for key, value in task.items() if isinstance(value, str) and is_cut(value)]
    return {name: os.environ[name] for name in names if name in os.environ}


def check_stored(settings: Mapping[str, Any], run_id: str) -> None:
    """Raise `JobError` if a run's stored settings lack what every version of maker has stored."""
    for table, key in STORED:
        found = settings.get(table, {}).get(key)
        if not isinstance(found, str):
            raise _damaged(run_id, f"{table}.{key} is {found!r:.60}, not a text")
    model = settings["model"]
    members = model.get("members")
    tables = isinstance(members, dict) and all(isinstance(one, dict) for one in members.values())
    if model["kind"] == "pool" and not tables:
        raise _damaged(run_id, f"model.members is {members!r:.60}, not tables")


def _damaged(run_id: str, what: str) -> JobError:
    return JobError(
        f"run {run_id} is damaged: of its stored settings {what}",
        fix="restore the database from a backup, or start a new run; `maker ls` shows the others",
    )


def derived(job: Job, settings: Mapping[str, Any], overrides: Iterable[str]) -> Job:
    """Return a job of these settings for a pilot of ``job``, in the same store. Raises `JobError` or `PluginError`."""
    # What was decided before would tell nothing of how the votes come out.
    task = _without(dict(settings["task"]), MEMO) | dict(job.given)
    made = stored_job({**settings, "task": task}, "of the pilot", overrides)
    return replace(made, store=made.store.model_copy(update={"url": job.store.url}))


def resolve(raw: Raw) -> Job:
    """Check every setting, find the plugins and build them.

    Raises:
        JobError: A table, a key or a value is wrong; names it, what is allowed, and the line or the variable.
        PluginError: The decomposer or the voter cannot be found.
    """
    problems = Problems()
    problems.of(
        raw.check_tables, [name for name in TABLES if name not in WRITTEN or raw.is_stored(name, WRITTEN[name])]
    )
    tables = {name: raw.table(name) for name in TABLES}
    said_k = tables["vote"].get("k")
    run, roles, swarm, store, limits, monitor = (
        problems.of(_checked, TABLES[name], tables[name], name, raw)
        for name in ("run", "roles", "swarm", "store", "limits", "monitor")
    )
    model = problems.of(_model, tables["model"], raw)
    task = problems.of(_task, tables["task"], raw)
    voted = problems.of(_vote, tables["vote"], raw)
    accept = problems.of(_accept, tables["accept"], raw)
    problems.refuse()
    voter_plugin, vote, vote_params, margins = voted
    with problems.collecting():
        vote = with_margin(vote, said_k is not None, margins, raw)
    problems.of(check_money, model, limits, raw)
    problems.of(check_shared, model, limits, raw)
    problems.of(check_swarm, model, swarm, raw)
    problems.refuse()
    settings = {
        "run": run.model_dump(),
        "task": task.settings(),
        "model": model.model_dump(),
        "vote": _vote_settings(voter_plugin, vote, vote_params),
        "roles": {name: table.model_dump(mode="json", exclude_none=True) for name, table in roles.items()},
        "swarm": swarm.model_dump(),
        "store": store.model_dump(exclude={"url"}),
        "limits": limits.model_dump(),
        "monitor": monitor.model_dump(mode="json"),
    }
    if margins or said_k == AUTO:
        settings["vote"]["k"] = margins or AUTO
    poll = _checked(PollSettings, tables[POLL], POLL, raw) if tables[POLL] else None
    ahead = _checked(ForesightSettings, tables[FORESIGHT], FORESIGHT, raw) if tables[FORESIGHT] else None
    stages = _checked(StagesSettings, tables[STAGES], STAGES, raw) if tables[STAGES] else None
    written = ((POLL, poll), (FORESIGHT, ahead), (STAGES, stages))
    settings |= {name: one.model_dump() for name, one in written if one is not None}
    if accept is not None:
        settings["accept"] = accept.model_dump(mode="json")
    decomposer = built(task.plugin, task.params, Decomposer)
    voting = vote_of(settings["vote"], voter_plugin)
    job = Job(
        run=run,
        model=model,
        vote=voting.settings,
        roles=roles,
        swarm=swarm,
        store=store,
        limits=limits,
        monitor=monitor,
        decomposer=decomposer,
        decomposer_plugin=task.plugin,
        voter=voting.voter,
        voter_plugin=voter_plugin,
        margins=voting.margins,
        settings=settings,
        origins=raw.origins(settings),
        functions=task.functions,
        memo=task.memo,
        accept=accept,
        stages=stages,
        files=task.files,
        given=task.given(),
    )
    check_job(job, raw)
    problems.of(check_vote_budget, job, raw)
    problems.refuse()
    job = job if poll is None else pilot_variant(job, poll)
    job = job if ahead is None else precompute_variant(job, ahead)
    problems.of(check_votes, job, raw)
    problems.of(check_ways, job, raw)
    problems.refuse()
    return job


def _accept(table: dict[str, Any], raw: Raw) -> AcceptSettings | None:
    """Return the ``[accept]`` table with the whole path of its labels, None where there is none."""
    if not table:
        return None
    found: AcceptSettings = _checked(AcceptSettings, table, "accept", raw)
    if not found.labels:
        return found
    return found.model_copy(update={"labels": str((raw.base("accept", "labels") / found.labels).resolve())})


def _holds_secrets(value: Any) -> bool:
    return isinstance(value, str) and without_secrets(value) != value


class _Task(NamedTuple):
    """What a ``[task]`` table comes to."""

    plugin: Plugin
    params: BaseModel
    functions: dict[str, Function]
    memo: Mode
    files: dict[str, Path]

    def settings(self) -> dict[str, Any]:
        """Return the table as it is stored. Whoever takes no decision again has nothing about it there."""
        memo = {} if self.memo == "off" else {MEMO: self.memo}
        shown = {name: without_secrets(value) for name, value in self.given().items()}
        return {"decomposer": self.plugin.name} | memo | self.params.model_dump(mode="json", by_alias=True) | shown

    def given(self) -> dict[str, str]:
        """Return the places that hold secrets, as they were given."""
        values = self.params.model_dump(mode="json", by_alias=True, include=self._places())
        return {name: value for name, value in values.items() if _holds_secrets(value)}

    def _places(self) -> set[str]:
        named = marked(self.plugin, Place)
        return {name for name, one in type(self.params).model_fields.items() if (one.alias or name) in named}


def _task(table: dict[str, Any], raw: Raw) -> _Task:
    if not isinstance(table.get("decomposer"), str):
        raise JobError(
            f"{raw.place('task')}: task.decomposer is missing", fix="name a decomposer; `maker plugins` lists them"
        )
    plugin = _plugin(DECOMPOSERS, table["decomposer"], "task", "decomposer", raw)
    problems = Problems()
    memo = problems.of(_memo, table, plugin, raw)
    given = _without(_without(table, "decomposer"), MEMO)
    if raw.stored:
        given = {name: one.value for name, one in marked(plugin, Before).items()} | given
    values = problems.of(placed, plugin, given, raw)
    if values is None:
        # What no file or function has to be found for is checked all the same.
        told = frozenset(name for mark in (OrFile, Called) for name in marked(plugin, mark))
        values = {name: value for name, value in given.items() if name not in told}
        problems.of(_checked, params_of(plugin), values, "task", raw, (), told)
        problems.refuse()
    params = problems.of(_checked, params_of(plugin), values, "task", raw)
    problems.refuse()
    functions = {name: one for name, one in values.items() if isinstance(one, Function)}
    return _Task(plugin, params, functions, memo, files_of(plugin, given, raw))


def _plugin(group: str, name: str, table: str, key: str, raw: Raw) -> Plugin:
    """Return the plugin that a setting names. Raises `PluginError` with the setting's place."""
    try:
        return find_plugin(group, name, raw.base(table, key), raw.pinned)
    except PluginError as error:
        raise PluginError(f"{raw.place(table, key)}: {error.message}", fix=error.fix, **error.facts) from error


def _vote(table: dict[str, Any], raw: Raw) -> tuple[Plugin, VoteSettings, BaseModel, dict[str, int]]:
    """Return the voter, the ``[vote]`` table, the voter's parameters, and k by step class where it is said so."""
    problems = Problems()
    margins = dict[str, int]()
    with problems.collecting():
        table, margins = margins_of(table, raw)
    own = {name: value for name, value in table.items() if name in VoteSettings.model_fields}
    vote: VoteSettings = problems.of(_checked, VoteSettings, own, "vote", raw)
    if not isinstance(name := table.get("voter", DEFAULT_VOTER), str):
        problems.refuse()
    plugin: Plugin = problems.of(_plugin, VOTERS, name, "vote", "voter", raw)
    if plugin is None:
        problems.refuse()
    rest = {name: value for name, value in table.items() if name not in own}
    params: BaseModel = problems.of(_vote_params, plugin, rest, margins, raw)
    problems.refuse()
    return plugin, vote, params, margins


def _vote_params(plugin: Plugin, given: dict[str, Any], margins: Mapping[str, int], raw: Raw) -> BaseModel:
    """Return the voter's parameters, those with the least margin where there are several, all of which it must take."""
    params: BaseModel = _checked(params_of(plugin), given, "vote", raw, ["max_votes"])
    for k in margins.values():
        _checked(params_of(plugin), given | {"k": k}, "vote", raw)
    return params


def _vote_settings(plugin: Plugin, vote: VoteSettings, params: BaseModel) -> dict[str, Any]:
    """Return the ``[vote]`` table as it is stored."""
    said = vote.model_dump(mode="json", include=set(VoteSettings.model_fields) - {"voter"}, exclude_none=True)
    return {"voter": plugin.name} | said | params.model_dump(mode="json")


def _memo(task: Mapping[str, Any], plugin: Plugin, raw: Raw) -> Mode:
    """Return whose decisions a run may take again. Raises `JobError`."""
    said, known = task.get(MEMO, "off"), get_args(Mode)
    if MEMO in {field.alias or name for name, field in params_of(plugin).model_fields.items()}:
        raise JobError(
            f"{plugin.name} has a parameter `{MEMO}`, but task.{MEMO} is a setting of every task",
            fix="rename the decomposer's parameter",
        )
    if said not in known:
        shown = shortened(repr(said))
        raise JobError(
            f"{raw.place('task', MEMO)}: task.{MEMO} = {shown}: there is no such memo",
            fix=f"choose from {', '.join(known)}", setting=f"task.{MEMO}",
        )  # fmt: skip
    mode: Mode = said
    return mode


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


def _checked(
    kind: Any,
    values: dict[str, Any],
    table: str,
    raw: Raw,
    beside: Iterable[str] = (),
    told: frozenset[str] = frozenset(),
) -> Any:
    """Return a table as its model, None if all that is wrong is ``told`` already. Raises `JobError`."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        problems = [
            _told(found, [table, *path], raw, [*_fields(kind, values, path), *beside])
            for found, path in _located(error, values)
            if told.isdisjoint(path[:1])
        ]
        if problems:
            raise together(problems) from error
        return None


def _located(error: ValidationError, values: Mapping[str, Any]) -> Iterator[tuple[ErrorDetails, list[str]]]:
    """Yield each problem of a table with the path to it.

    A misspelt name often makes another one missing: then the misspelling alone is told. A value that is none of
    several types is told once, with the first of them.
    """
    found = [(one, [str(part) for part in one["loc"] if str(part) not in MODEL_KINDS]) for one in error.errors()]
    misspelt = {tuple(path[:-1]) for one, path in found if one["type"] == "extra_forbidden"}
    told = set[tuple[str, ...]]()
    for one, path in found:
        if one["type"] == "missing":
            if tuple(path[:-1]) not in misspelt:
                yield one, path
        elif one["type"] == "extra_forbidden":
            yield one, path
        elif (setting := tuple(_written(path, values))) not in told:
            told.add(setting)
            yield one, list(setting)


def _written(path: Iterable[str], values: Any) -> Iterator[str]:
    """Yield the part of a problem's path that the job wrote; after it pydantic names one type of several."""
    for part in path:
        if isinstance(values, list | tuple) and part.isdecimal() and int(part) < len(values):
            values = values[int(part)]
        elif isinstance(values, Mapping) and part in values:
            values = values[part]
        else:
            return
        yield part


def _told(first: ErrorDetails, path: list[str], raw: Raw, known: list[str]) -> JobError:
    name, key, within = ".".join(path), path[-1], ".".join(path[:-1])
    place = raw.place(path[0], ".".join(path[1:]))
    # What a run has stored was right when it began.
    changed = CHANGED if raw.stored and path[0] == "task" and place.startswith("run ") else ""
    if first["type"] == "extra_forbidden":
        return JobError(f"{place}: {name}: there is no such setting", fix=changed or near(key, known), setting=name)
    if first["type"] == "missing":
        fix = changed or f"{within} takes: {', '.join(known)}"
        return JobError(f"{place}: {name} is missing", fix=fix, setting=name)
    said = first["msg"].removeprefix("Value error, ")
    # A key or a password that was put in the wrong place must not be shown, nor a whole table that may hold one.
    whole = path[0] == "model" and isinstance(first["input"], Mapping)
    hidden = len(path) == 1 or not SECRETIVE.isdisjoint(path) or whole
    shown = "" if hidden else f" = {shortened(repr(first['input']))}"
    return JobError(f"{place}: {name}{shown}: {said}", fix=changed, setting=name)


def _fields(kind: Any, values: dict[str, Any], path: Sequence[str]) -> list[str]:
    """Return the names that the table takes which an error's path leads into: one within another, perhaps."""
    model: type[BaseModel]
    if get_origin(kind) is dict:
        model = get_args(kind)[1]
    elif isinstance(kind, type):
        model = kind
    elif len(path) > 2 and isinstance(values.get(path[0]), Sequence):
        model = FallbackEndpoint
    else:
        inner = values.get(path[0], {}).get(path[1], {}) if len(path) > 2 else {}
        model = MODEL_KINDS.get(str(inner.get("kind")), MODEL_KINDS[values["kind"]])
    return [field.alias or name for name, field in model.model_fields.items()]


def _without(table: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name != key}
