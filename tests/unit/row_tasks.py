"""Maps for the tests: rows that hold their number, and a truth that follows from it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from maker.plugin import Truth

LABELS = ("red", "green", "blue")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"label": {"enum": list(LABELS)}, "why": {"type": "string"}},
    "required": ["label", "why"],
    "additionalProperties": False,
}


def label(number: int) -> str:
    """Return the right label of a row."""
    return LABELS[number * 7 % 3]


def truth(prompt: str) -> Truth:
    """Return right and wrong replies; each says why in words of its own."""
    found = re.search(r"item (\d+)", prompt)
    number = int(found[1]) if found else 0
    replies = {name: f'{{"label": "{name}", "why": "{number} is {name}"}}' for name in LABELS}
    right = replies.pop(label(number))
    return Truth((right,), tuple(replies.values()))


def plain_truth(prompt: str) -> Truth:
    """Return right and wrong replies that are the label alone."""
    right = label(int(found[1]) if (found := re.search(r"item (\d+)", prompt)) else 0)
    return Truth((right,), tuple(name for name in LABELS if name != right))


def answerable(row: Mapping[str, Any], answer: Any) -> str | None:
    """Forbid any answer to a row that says so."""
    return "there is no answer to this" if "unanswerable" in row["text"] else None


def write_rows(path: Path, numbers: Iterable[int], *, more: bool = False) -> None:
    """Write or add rows of a CSV file; every tenth holds braces, quotes, line breaks, emoji and NUL."""
    with path.open("a" if more else "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        if not more:
            rows.writerow(["id", "text"])
        for number in numbers:
            odd = ' {{text}} {x} "quoted", new\nline \U0001f600 \0' if number % 10 == 3 else ""
            rows.writerow([f"row-{number}", f"item {number}{odd}"])


def job(folder: Path, **tables: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a job over ``rows.csv`` in a folder, which writes to ``out`` beside it."""
    base: dict[str, dict[str, Any]] = {
        "task": {
            "decomposer": "map",
            "check": "row_tasks:answerable",
            "truth": "row_tasks:truth",
            "input": str(folder / "rows.csv"),
            "template": "What colour is {{text}}?",
            "schema": SCHEMA,
            "fields": {"why": "carry"},
            "id_column": "id",
            "output": str(folder / "out"),
        },
        "model": {"kind": "simulated", "p": 0.8, "malformed": 0.1, "rivals": 2},
        "vote": {"k": 2, "max_votes": 7},
        "store": {"url": f"sqlite:///{folder}/maker.db"},
    }
    return base | {name: base.get(name, {}) | table for name, table in tables.items()}
