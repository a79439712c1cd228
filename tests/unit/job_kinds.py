"""Jobs of every kind whose settings and fingerprints databases hold: what was stored must be what is made today."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from row_tasks import job as rows_job
from row_tasks import write_rows

Tables = dict[str, dict[str, Any]]

SIMULATED = {"kind": "simulated", "p": 0.9}
POOL = {
    "kind": "pool",
    "members": {
        "good": {"kind": "simulated", "p": 0.9},
        "bad": {"kind": "simulated", "p": 0.6, "rivals": 2},
        "far": {
            "kind": "openai",
            "url": "http://localhost:9/v1",
            "name": "m",
            "structured": "schema",
            "prompt_price": 1.5,
            "completion_price": 2.0,
        },
    },
    "rotation": ["good", "far", "good", "bad"],
    "away": "pass",
}
ROLES = {
    "judge": {"k": 2, "max_votes": 9, "rotation": ["far"]},
    "solver": {"k": 4, "extra": 1},
    "composer": {"rotation": ["bad", "good"]},
}
LABELS = '{"state": "3", "right": "\\"b\\""}\n\n {"right":"\\"a\\""}\n'
"""Written as a person may: with an empty line, and no two lines alike in form."""


def job_kinds(folder: Path) -> dict[str, Tables]:
    """Return the tables of each kind of job, by its name; writes the files that they name into a folder."""
    write_rows(folder / "rows.csv", range(40))
    rows = rows_job(folder)
    hanoi: Tables = {"task": {"decomposer": "hanoi", "disks": 4}, "model": SIMULATED, "vote": {"k": 3}}
    letters: Tables = hanoi | {"task": {"decomposer": "letter_task:Letters", "steps": 30, "first": 10}}
    recursive: Tables = {
        # The words that there were before there were editions.
        "task": {"decomposer": "recursive", "problem": "Add 1, 2 and 3.", "words": 1},
        "model": POOL,
        "vote": {"voter": "first-to-k", "k": 2, "max_votes": 12},
        "roles": ROLES,
        "run": {"seed": 7, "name": "of roles"},
        "monitor": {"policy": "decorrelate", "temperature": 1.5},
    }
    poll = {"votes": 5, "steps": 20}
    return {
        "hanoi": hanoi,
        "pool with roles and a judge": recursive,
        "map with a schema": rows,
        "map with functions": rows | {"task": rows["task"] | {"parse": "json:loads"}},
        "memo of the run": hanoi | {"task": hanoi["task"] | {"memo": "run"}},
        "memo of the store": letters | {"task": letters["task"] | {"memo": "store"}},
        "margins by class": letters | {"vote": {"k": {"first": 2, "second": 5}, "consequence": {"first": 10.0}}},
        "margin left to a plan": letters | {"vote": {"k": "auto", "target": 0.9}},
        "margin left to a budget": letters | {"vote": {"k": "auto", "budget": 500}},
        "margin left to a pilot": rows | {"vote": {"row_error": 0.2, "max_votes": 20}},
        "pilot": hanoi | {"poll": poll},
        "pilot by labels": letters | {"poll": poll | {"labels": LABELS}},
        "pilot of roles": recursive | {"poll": poll | {"labels": json.dumps({"reply": "NONE"})}},
        "steps decided ahead": hanoi | {"task": hanoi["task"] | {"memo": "store"}, "foresight": {"steps": 20}},
        "steps decided ahead by labels": letters
        | {"task": letters["task"] | {"memo": "store"}, "foresight": {"steps": 20, "labels": LABELS}},
    }


TARGET_PLAN = {
    "k": {"first": 2, "second": 4},
    "target": 0.9,
    "right": (0.91, 0.95, 0.97),
    "rests_on": "what was heard",
    "calibration": 3,
}
BUDGET_PLAN = TARGET_PLAN | {"target": None}
PILOT_FOUND = {
    "k": 3, "rows": 30, "of": 40, "both": 29, "differ": 1, "at_most": 0.15, "confidence": 0.975, "votes": 3.5,
    "agreement": 0.9, "runs": ("one", "two"),
}  # fmt: skip


def as_stored(value: Any, folder: Path) -> str:
    """Return the JSON text of a value, without what differs from one computer to the next: folders, digests of code."""
    text = json.dumps(value).replace(str(folder), "FOLDER")
    return re.sub(r'source": "[0-9a-f]{64}"', 'source": "DIGEST"', text)
