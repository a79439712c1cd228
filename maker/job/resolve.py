"""From raw settings to a job: every table checked, plugins found and made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from maker.core.plugins import DECOMPOSERS, VOTERS, Plugin, find_plugin, near
from maker.errors import JobError
from maker.job.file import Raw, shortened
from maker.job.job import MEMO, Job
from maker.job.parameters import built, params_of, placed
from maker.job.settings import AUTO, TABLES, ForesightSettings, PollSettings, VoteSettings
from maker.job.validate import (
    check_auto,
    check_margins,
    check_members,
    check_money,
    check_roles,
    check_row_error,
    check_swarm,
    check_votes,
    check_ways,
    margins_of,
    with_margin,
)
from maker.models.settings import MODEL_KINDS, MemberSettings, ModelSettings, PoolSettings, VllmSettings
from maker.plugin import Decomposer, Function, Voter
from maker.types import InputPart
from maker.voting.memo import Mode

POLL, FORESIGHT = "poll", "foresight"
WRITTEN = {POLL: "votes", FORESIGHT: "steps"}
"""Tables that no job has: maker writes them, for runs of its own. A setting of each."""
SECRETIVE = ("url", "key_env")


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


def derived(job: Job, settings: Mapping[str, Any], overrides: Iterable[str]) -> Job:
    """Return a job of these settings for a pilot of ``job``, in the same store. Raises `JobError` or `PluginError`."""
    # What was decided before would tell nothing of how the votes come out.
    task = _without(dict(settings["task"]), MEMO)
    made = stored_job({**settings, "task": task}, "of the pilot", overrides)
    return replace(made, store=made.store.model_copy(update={"url": job.store.url}))


def resolve(raw: Raw) -> Job:
    """Check every setting, find the plugins and build them.

    Raises:
        JobError: A table, a key or a value is wrong; names it, what is allowed, and the line or the variable.
        PluginError: The decomposer or the voter cannot be found.
    """
    raw.check_tables([name for name in TABLES if name not in WRITTEN or raw.is_stored(name, WRITTEN[name])])
    tables = {name: raw.table(name) for name in TABLES}
    said_k = tables["vote"].get("k")
    tables["vote"], margins = margins_of(tables["vote"], raw)
    run, vote, roles, swarm, store, limits, monitor = (
        _checked(TABLES[name], tables[name], name, raw)
        for name in ("run", "vote", "roles", "swarm", "store", "limits", "monitor")
    )
    model = _model(tables["model"], raw)
    task = tables["task"]
    if not isinstance(task.get("decomposer"), str):
        raise JobError(
            f"{raw.place('task')}: task.decomposer is missing", fix="name a decomposer; `maker plugins` lists them"
        )
    task_plugin = find_plugin(DECOMPOSERS, task["decomposer"], raw.base("task", "decomposer"))
    voter_plugin = find_plugin(VOTERS, vote.voter, raw.base("vote", "voter"))
    memo = _memo(task, task_plugin, raw)
    task_values = placed(task_plugin, _without(_without(task, "decomposer"), MEMO), raw)
    task_params = _checked(params_of(task_plugin), task_values, "task", raw)
    vote_params = _checked(params_of(voter_plugin), dict(vote.model_extra or {}), "vote", raw, ["max_votes"])
    for k in margins.values():
        _checked(params_of(voter_plugin), dict(vote.model_extra or {}) | {"k": k}, "vote", raw)
    vote = with_margin(vote, said_k is not None, margins, raw)
    check_money(model, limits, raw)
    said = vote.model_dump(mode="json", include=set(VoteSettings.model_fields) - {"voter"}, exclude_none=True)
    check_swarm(model, swarm, raw)
    settings = {
        "run": run.model_dump(),
        "task": {"decomposer": task_plugin.name}
        | ({} if memo == "off" else {MEMO: memo})
        | task_params.model_dump(mode="json", by_alias=True),
        "model": model.model_dump(),
        "vote": {"voter": voter_plugin.name} | said | vote_params.model_dump(mode="json"),
        "roles": {name: table.model_dump(mode="json", exclude_none=True) for name, table in roles.items()},
        "swarm": swarm.model_dump(),
        "store": store.model_dump(exclude={"url"}),
        "limits": limits.model_dump(),
        "monitor": monitor.model_dump(mode="json"),
    }
    poll = _checked(PollSettings, tables[POLL], POLL, raw) if tables[POLL] else None
    ahead = _checked(ForesightSettings, tables[FORESIGHT], FORESIGHT, raw) if tables[FORESIGHT] else None
    settings |= {name: one.model_dump() for name, one in ((POLL, poll), (FORESIGHT, ahead)) if one is not None}
    if margins or said_k == AUTO:
        settings["vote"]["k"] = margins or AUTO
    decomposer = built(task_plugin, task_params, Decomposer)
    voter = built(voter_plugin, vote_params, Voter)
    check_roles(model, decomposer, roles, voter_plugin, raw)
    check_margins(decomposer, vote, margins, roles, raw)
    if said_k == AUTO:
        check_auto(voter_plugin, vote, roles, raw)
    check_members(model, monitor, raw)
    if vote.row_error is not None:
        check_row_error(decomposer, voter_plugin, roles, f"{raw.place('vote', 'row_error')}: vote.row_error")
    job = Job(
        run, model, vote, roles, swarm, store, limits, decomposer, task_plugin, voter, voter_plugin,
        margins, None, settings, raw.origins(settings),
        {name: one for name, one in task_values.items() if isinstance(one, Function)}, monitor, memo,
    )  # fmt: skip
    job = job if poll is None else job.polled(poll)
    job = job if ahead is None else job.foreseen(ahead)
    check_votes(job, raw)
    check_ways(job, raw)
    return job


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


def _without(table: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name != key}
