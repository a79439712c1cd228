"""Python objects in a job: each becomes what a job file would say in its place, so that there is one way to go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel

from maker.core.naming import plugin_of
from maker.core.plugins import DECOMPOSERS, VOTERS
from maker.errors import PluginError
from maker.models.settings import MODEL_KINDS
from maker.plugin import Decomposer, Function, Voter, made_of

Task: TypeAlias = Decomposer[Any, Any] | Callable[..., Decomposer[Any, Any]]
"""A decomposer with its parameters; or its class, or a workflow, if no parameter must be given."""
_PLUGINS = {"task": ("decomposer", DECOMPOSERS), "vote": ("voter", VOTERS)}


def as_written(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's tables with data alone: names of plugins and functions, JSON schemas, tables of settings.

    Raises:
        PluginError: An object cannot be found again by a name.
    """
    return {name: _table(name, content) for name, content in tables.items()}


def table_of(settings: BaseModel) -> dict[str, Any]:
    """Return settings as the table that a job writes: what was set, and the kind of a model."""
    kind = {"kind": settings.kind} if isinstance(settings, tuple(MODEL_KINDS.values())) else {}  # type: ignore[attr-defined]
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return kind | {name: _of_members(value) for name, value in given.items()}


def _of_members(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return table_of(value)
    return {name: _of_members(one) for name, one in value.items()} if isinstance(value, Mapping) else value


def _table(name: str, content: Any) -> Any:
    if isinstance(content, BaseModel):
        return table_of(content)
    key, group = _PLUGINS.get(name, ("", ""))
    if key and _is_plugin(content):
        content = {key: content}
    if not isinstance(content, Mapping):
        return content
    if not key:
        return {one: _of_members(value) for one, value in content.items()}
    found = dict(content)
    if _is_plugin(found.get(key)):
        found = _of_plugin(key, group, found.pop(key)) | found
    return {one: _named(f"{name}.{one}", value) for one, value in found.items()}


def _is_plugin(found: Any) -> bool:
    return isinstance(found, Decomposer | Voter) or callable(found)


def _of_plugin(key: str, group: str, found: Any) -> dict[str, Any]:
    """Return a plugin's name, and what parameters an instance was made of. Raises `PluginError`."""
    if not isinstance(found, Decomposer | Voter):
        return {key: plugin_of(found, group).name}
    made = made_of(found)
    if made is None:
        raise PluginError(
            f"this {type(found).__name__} does not know its parameters", fix="make it of its Params, and give that"
        )
    params = made.params
    fields = type(params).model_fields
    given = {fields[one].alias or one: getattr(params, one) for one in fields if one in params.model_fields_set}
    return {key: plugin_of(made.by, group).name} | given


def _named(setting: str, value: Any) -> Any:
    if isinstance(value, type) and issubclass(value, BaseModel):
        return value.model_json_schema()
    if isinstance(value, Function):
        return value.name or _named(setting, value.call)
    if not callable(value) or isinstance(value, BaseModel):
        return value
    try:
        return plugin_of(value).name
    except PluginError as error:
        raise PluginError(f"{setting}: {error.message}", fix=error.fix) from error
