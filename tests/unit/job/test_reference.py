"""The page of all settings is what the models say, and what it says is so."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from maker.job.reference import Setting, page, settings_of, tables
from maker.plugin import Function

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"
TABLES = dict(tables())
ALL = [(title, one) for title, model in TABLES.items() for one in settings_of(model)]
WRITTEN = {"chosen", "pilot", "plan"}
"""Settings that maker writes into a stored run: nobody sets them."""
BESIDE: dict[str, dict[str, Any]] = {
    "segment": {"form": "tree"}, "output_format": {"output": "out"}, "output_single": {"output": "out"},
}  # fmt: skip
"""What an example needs beside it."""


def test_the_page_is_up_to_date() -> None:
    """After a setting is changed: `python -m maker.job.reference > docs/settings.md`."""
    assert PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize(("title", "one"), ALL, ids=[f"{title} {one.name}" for title, one in ALL])
def test_a_setting_is_described_with_an_example_that_holds(title: str, one: Setting) -> None:
    """It says what it does; its example is TOML, and its table takes it."""
    assert one.what
    assert one.type != "any value"
    if one.name in WRITTEN:
        return
    model = TABLES[title]
    refused = errors(model, tomllib.loads(one.example))
    assert refused in ([], ["is_instance_of"]), one.example
    if refused:
        assert Function in functions(model, one.name)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("timeout_s", "seconds"),
        ("prompt_price", "per million tokens"),
        ("max_tokens", "tokens"),
        ("kv_cache_gib", "GiB"),
    ],
)
def test_units_are_told(name: str, unit: str) -> None:
    """Wherever a setting is a quantity, its unit stands in the model's own description."""
    assert {one.unit for _, one in ALL if one.name == name} == {unit}
    assert all(one.unit for _, one in ALL if one.name.endswith(("_s", "_bytes", "_tokens", "_price")))


def errors(model: type[BaseModel], given: dict[str, Any]) -> list[str]:
    """Return the kinds of errors that a table finds in an example; how it goes with other settings is left open."""
    [name] = given
    needed = [one for one in settings_of(model) if not one.default and one.name != name]
    values = given | BESIDE.get(name, {})
    for one in needed:
        values |= tomllib.loads(one.example)
    try:
        TypeAdapter(model).validate_python(values)
    except ValueError as error:
        return [one["type"] for one in error.errors() if one["loc"][:1] == (name,)]  # type: ignore[attr-defined]
    return []


def functions(model: type[BaseModel], name: str) -> tuple[Any, ...]:
    """Return the types that a setting may have."""
    field = next(field for key, field in model.model_fields.items() if name in (key, field.alias))
    return getattr(field.annotation, "__args__", (field.annotation,))
