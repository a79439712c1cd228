"""Every setting of a job, as its model describes it. ``python -m maker.job.reference`` prints docs/settings.md.

A model describes its settings in its docstring, under ``Args:``, as ``name (unit): What it does. E.g. ``value``.``
Type, bounds and default are those of the field. Where no value is given, the default is the example.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_jsonable_python

from maker.core.plugins import DECOMPOSERS, VOTERS, Plugin, list_plugins
from maker.job.parameters import params_of
from maker.job.settings import (
    AcceptSettings,
    LimitSettings,
    MonitorSettings,
    RoleSettings,
    RunSettings,
    StageSettings,
    StoreSettings,
    SwarmSettings,
    VoteSettings,
)
from maker.models.settings import MODEL_KINDS

_DESCRIBED = re.compile(r"^(\w+)(?: \(([^)]+)\))?: (.*)$")
_EXAMPLE = re.compile(r" E\.g\. ``([^`]+)``\.$")
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_NAMES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "none"}
HEAD = """# Settings

Every setting of a [job file](job-file.md), made from the program's own descriptions by
`python -m maker.job.reference > docs/settings.md`. A setting without a default must be set. On the command line write
`table.key=value`, e.g. `limits.max_calls=1000`.
"""


class _Schema(GenerateJsonSchema):
    """Describes what JSON has no type for as the text that a job writes: a function's name."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
        return {"type": "string"}


class Setting(NamedTuple):
    """One setting; ``default`` and ``example`` are TOML, "" where there is none."""

    name: str
    type: str
    default: str
    unit: str
    what: str
    example: str


def tables() -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield each table that a job can have, with its heading and its model; plugins' that are installed as well."""
    yield "[run]", RunSettings
    for plugin in _plugins(DECOMPOSERS):
        yield f'[task] decomposer = "{plugin.name}"', params_of(plugin)
    for kind, model in MODEL_KINDS.items():
        yield f'[model] kind = "{kind}"', model
    yield "[vote]", VoteSettings
    for plugin in _plugins(VOTERS):
        yield f'[vote] voter = "{plugin.name}"', params_of(plugin)
    yield "[roles.NAME]", RoleSettings
    yield "[swarm]", SwarmSettings
    yield "[store]", StoreSettings
    yield "[limits]", LimitSettings
    yield "[monitor]", MonitorSettings
    yield "[accept]", AcceptSettings
    yield "[[stage]]", StageSettings


def settings_of(model: type[BaseModel]) -> list[Setting]:
    """Return a table's settings, in the order of the model's fields."""
    told = descriptions(model)
    schema = model.model_json_schema(schema_generator=_Schema)
    found = []
    for name, field in model.model_fields.items():
        shown = field.alias or name
        if shown == "kind" and not field.is_required() and "const" in schema["properties"][shown]:
            # The heading says it.
            continue
        unit, what = told.get(shown) or told.get(name) or ("", "")
        example = _EXAMPLE.search(what)
        value = default_of(field)
        kind = _words(schema["properties"][shown], schema.get("$defs", {}))
        default = "" if field.is_required() else "none" if value is None else _toml(value)
        said = example[1] if example else default if value not in (None, "", [], {}) else ""
        what = what[: example.start()] if example else what
        found.append(Setting(shown, kind, default, unit, what, said and f"{shown} = {said}"))
    return found


def default_of(field: FieldInfo) -> Any:
    """Return a field's default as JSON has it, None if it must be set or has none."""
    value = None if field.is_required() else field.get_default(call_default_factory=True, validated_data={})
    return to_jsonable_python(value, by_alias=True)


def descriptions(model: type[BaseModel]) -> dict[str, tuple[str, str]]:
    """Return unit and description of each setting that a model's docstring describes, or those of its bases."""
    found: dict[str, tuple[str, str]] = {}
    for base in reversed(model.__mro__):
        _, heading, text = inspect.cleandoc(base.__dict__.get("__doc__") or "").partition("\nArgs:\n")
        name = ""
        for line in text.splitlines() if heading else ():
            if line and not line.startswith(" "):
                break
            if (new := _DESCRIBED.match(line[4:])) is not None:
                name = new[1]
                found[name] = (new[2] or "", new[3])
            elif name and line.strip():
                unit, what = found[name]
                found[name] = (unit, f"{what} {line.strip()}")
    return found


def page() -> str:
    """Return the page of all settings, as Markdown."""
    parts = [HEAD]
    for title, model in tables():
        parts.append(f"## {title}\n")
        rows = settings_of(model)
        if not rows:
            parts.append("Takes no settings.\n")
            continue
        lines = ["| setting | type | default | unit | what it does | example |", "|---|---|---|---|---|---|"]
        for one in rows:
            cells = (f"`{one.name}`", one.type, _code(one.default), one.unit, one.what, _code(one.example))
            lines.append("|" + "|".join(f" {_cell(cell)} ".replace("  ", " ") for cell in cells) + "|")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _plugins(group: str) -> list[Plugin]:
    """Return the plugins of a group that come with maker."""
    return [plugin for plugin in list_plugins(group) if isinstance(plugin, Plugin) and plugin.ours]


def _words(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    """Return what a value may be, by its JSON schema."""
    if "$ref" in schema:
        return _words(defs[schema["$ref"].rpartition("/")[2]], defs)
    if "anyOf" in schema:
        return ", or ".join(dict.fromkeys(_words(one, defs) for one in schema["anyOf"]))
    if values := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return " or ".join(f"`{json.dumps(value)}`" for value in values)
    kind = schema.get("type", "")
    if kind == "array":
        items = schema.get("items", {})
        return f"list of: {_words(items, defs)}" if items else "list"
    if kind == "object" or "oneOf" in schema:
        inner = schema.get("additionalProperties")
        named = isinstance(inner, Mapping) and inner.get("type") in _NAMES
        return f"table of: {_words(inner, defs)}" if isinstance(inner, Mapping) and named else "table"
    bounds = ", ".join(f"{sign} {schema[name]:g}" for name, sign in _BOUNDS.items() if name in schema)
    return ", ".join(word for word in (_NAMES.get(kind, "any value"), bounds) if word)


def _toml(value: Any) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _code(text: str) -> str:
    return f"`{text}`" if text and text != "none" else text


def _cell(text: str) -> str:
    return re.sub(r"``([^`]*)``", r"`\1`", text).replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
