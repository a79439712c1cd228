"""Items whose colour is known, of which some the model is surely wrong about: labels alone can show it."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

from maker.plugin import Truth

COLOURS = ("red", "green", "blue")
TRAP = "glossy"
"""The model takes a glossy item for another colour than it has."""


def colour(item: int) -> str:
    """Return an item's colour."""
    return COLOURS[item * 7 % 3]


def write_items(path: Path, items: list[tuple[int, bool]]) -> None:
    """Write rows: an id, and the text of an item, which is a trap or not; the same item may come several times."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text"])
        rows.writerows([str(number), f"item {item}{f', {TRAP}' * trap}"] for number, (item, trap) in enumerate(items))


def truth(prompt: str) -> Truth:
    """Return what the model takes for right, and what for wrong."""
    found = re.search(r"item (\d+)", prompt)
    item = int(found[1]) if found else 0
    right = colour(item + 1) if TRAP in prompt else colour(item)
    return Truth((right,), tuple(other for other in COLOURS if other != right))


def job(folder: Path, **model: Any) -> dict[str, dict[str, Any]]:
    """Return a map over ``rows.csv`` of a folder."""
    return {
        "task": {
            "decomposer": "map", "input": str(folder / "rows.csv"), "template": "What colour has {{text}}?",
            "id_column": "id", "truth": "benchmarks.shared.tasks.colours:truth",
        },
        "model": {"kind": "simulated", "rivals": 2} | model,
        "vote": {"k": 3},
        "store": {"url": f"sqlite:///{folder}/maker.db"},
    }  # fmt: skip
