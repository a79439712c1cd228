"""A task for the tests of recursive plans: adding the numbers from one to another, halves first. A truth for it."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from typing import Any, NamedTuple

from maker.plugin import Truth

GOAL = re.compile(r"Problem: add (\d+) to (\d+)\n")
PART = re.compile(r"^Part: .* => (\d+)$", re.MULTILINE)


def goal(low: int, high: int) -> str:
    """Return a problem: the numbers from low to high, both counted."""
    return f"add {low} to {high}"


def halves(low: int, high: int, middle: int, *, chained: bool) -> str:
    """Return a reply that proposes two parts, up to a number and after it; the second may need the first."""
    parts: list[dict[str, Any]] = [{"name": "low", "goal": goal(low, middle)}]
    parts.append({"name": "high", "goal": goal(middle + 1, high)} | ({"needs": ["low"]} if chained else {}))
    return json.dumps({"parts": parts, "compose": "add"})


def truth(prompt: str, *, chained: bool = False) -> Truth:
    """Return what is right and wrong for any of the shipped prompts. Wrong plans leave a number out, or count it twice.

    Of plans to choose among, the first that is right is.
    """
    found = GOAL.search(prompt)
    assert found is not None, prompt
    low, high = map(int, found.groups())
    middle = (low + high) // 2
    if prompt.endswith("Plan: "):
        if low == high:
            return Truth(('{"atomic": true}',), (halves(low, high, low, chained=chained),))
        right = halves(low, high, middle, chained=chained)
        wrong = right.replace(f"add {middle + 1} to", f"add {middle + 2} to"), '{"atomic": true}'
        return Truth((right,), wrong)
    if prompt.endswith("Number: "):
        lines = re.findall(r"^(\d+)\. (.*)$", prompt, re.MULTILINE)
        right = json.loads(truth(f"Problem: {goal(low, high)}\nPlan: ", chained=chained).right[0])
        good = [n for n, line in lines if json.loads(line).get("parts", "atomic") == _numbered(right)]
        return Truth(tuple(good[:1]) or ("1",), tuple(n for n, _ in lines if n not in good) or ("1",))
    total = sum(map(int, PART.findall(prompt))) if prompt.endswith("Result: ") else sum(range(low, high + 1))
    return Truth((str(total),), (str(total + 1), str(total + 10)))


def chained_truth(prompt: str) -> Truth:
    """Return what is right where every second half is told what the first came to."""
    return truth(prompt, chained=True)


def _numbered(plan: Any) -> Any:
    if "parts" not in plan:
        return "atomic"
    low, high = plan["parts"]
    return [{"goal": low["goal"]}, {"goal": high["goal"]} | ({"needs": [0]} if "needs" in high else {})]


def job(url: str, **task: Any) -> dict[str, dict[str, Any]]:
    """Return a job that adds the numbers from 0 to 15, by a simulated model that errs in one sample of ten."""
    given = {"decomposer": "decomposers.recursive:Recursive", "problem": goal(0, 15), "truth": "recursive_task:truth"}
    return {
        "task": given | task,
        "model": {"kind": "simulated", "p": 0.9, "malformed": 0.05},
        "vote": {"voter": "voters.first_to_ahead_by_k:FirstToAheadByK", "k": 4, "max_votes": 1000},
        "store": {"url": url, "samples": "all"},
    }


class Asked(NamedTuple):
    """A prompt as the store holds it: its node's depth, and what was asked. A draw of a plan is one level down."""

    depth: int
    prompt: str


ASKED = """
    WITH RECURSIVE held (id, depth) AS (
        SELECT id, 0 FROM maker_chain WHERE parent IS NULL
        UNION ALL SELECT c.id, held.depth + 1 FROM maker_chain c JOIN held ON c.parent = held.id)
    SELECT held.depth, t.body
    FROM maker_prompt p JOIN held ON held.id = p.chain JOIN maker_text t ON t.digest = p.prompt
"""


def asked(url: str) -> list[Asked]:
    """Return all prompts that a store has kept."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        return [Asked(*row) for row in connection.execute(ASKED)]


def states(url: str) -> list[str]:
    """Return all states that a store has kept."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        return [row[0] for row in connection.execute("SELECT state FROM maker_snapshot")]
