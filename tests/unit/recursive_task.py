"""A task for the tests of recursive plans: adding the numbers from one to another, halves first. A truth for it."""

from __future__ import annotations

import json
import re
from typing import Any

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
