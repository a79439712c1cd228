"""A task of random shape: chains that fork within one another, into chains and into single steps, from one number.

What is right follows from the prompt, so the result of a run in which every step is right is known. A child knows when
one of its steps is wrong, and ends so.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any, ClassVar

from maker.plugin import Decomposer, Done, Fork, Oracle, Params, PydanticCodec, Step, StepClass, Truth

PRIME = 1_000_003


class TreeParams(Params):
    """Parameters of `Tree`.

    Args:
        shape: Decides where chains fork, and into how many children.
        length: Most steps and forks of a chain.
        depth: How many forks stand within one another.
        width: Most children of a fork.
        repeat: How many different questions there are; 0 for as many as there are steps.
        lenient: Whether some forks of single steps go on without a good decision.
        odd: Whether results are JSON of every kind.
    """

    shape: int = 0
    length: int = 6
    depth: int = 2
    width: int = 4
    repeat: int = 0
    lenient: bool = True
    odd: bool = True


def number(*parts: Any) -> int:
    """Return a number that follows from the parts."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=6).digest(), "little")


def _parse(text: str) -> int:
    return int(text)


def _check(state: dict[str, Any], action: int) -> str | None:
    """Forbid what is negative; and anything wrong in the root, whose steps cannot be decided again."""
    if action < 0 or (state["depth"] == 0 and action != answer(state["asked"])):
        return "it is out of range"
    return None


def answer(prompt: str) -> int:
    """Return the right answer to a prompt."""
    return number("answer", prompt) % 1000


def _truth(prompt: str) -> Truth:
    right = answer(prompt)
    return Truth((str(right),), (str(right + 1), str(right + 2), "-1", "no number"))


class Tree(Decomposer[dict[str, Any], int]):
    """Walks a tree of chains; a state has the chain's name, its place in it, and what its steps have come to."""

    name: ClassVar[str] = "tree"
    version: ClassVar[int] = 1
    Params = TreeParams

    def __init__(self, params: TreeParams) -> None:
        self.params = params
        self.state = PydanticCodec(dict[str, Any])
        self.action = PydanticCodec(int)
        self.step, self.leaf = StepClass("step", _parse, _check), StepClass("leaf", _parse, _check)
        self.classes = (self.step, self.leaf)

    def start(self) -> dict[str, Any]:
        """Stand at the root's beginning."""
        return self._asked({"name": "root", "at": 0, "sum": 1, "depth": 0, "leaf": False, "bad": False})

    def next(self, state: dict[str, Any]) -> Step[Any, Any] | Fork[Any] | Done:
        """Ask, fork or end, as the shape has it."""
        params, name, at = self.params, state["name"], state["at"]
        if state["leaf"]:
            return self._end(state) if at else Step(self.leaf, state["asked"])
        if at > number("length", params.shape, name) % params.length:
            return self._end(state)
        kind = number("kind", params.shape, name, at) % 10
        count = number("count", params.shape, name, at) % (params.width + 1)
        if kind in (6, 7):
            missed = _missed if kind == 7 and params.lenient else None
            return Fork(count, self._leaf, _join, self._then, single=True, missed=missed)
        if kind > 7 and state["depth"] < params.depth:
            return Fork(count, self._child, _join, self._then)
        return Step(self.step, state["asked"])

    def apply(self, state: dict[str, Any], action: int) -> dict[str, Any]:
        """Take an answer in."""
        bad = state["bad"] or action != answer(state["asked"])
        after = {"at": state["at"] + 1, "sum": (state["sum"] * 17 + action) % PRIME, "bad": bad}
        return self._asked(state | after)

    def oracle(self) -> Oracle:
        """Return what is right and wrong."""
        return _truth

    def _end(self, state: dict[str, Any]) -> Done:
        total = state["sum"]
        results: list[Any] = [total]
        if self.params.odd:
            results += [{total: None, "sum": total}, {1: {2.5: total}}, [None, 1e300, "\u2028é", total], {"a": {}}]
        ok = not (state["depth"] and state["bad"])
        return Done(results[number("result", state["name"]) % len(results)], ok, "" if ok else "a step is wrong")

    def _asked(self, state: dict[str, Any]) -> dict[str, Any]:
        asked = number("ask", self.params.shape, state["name"], state["at"], state["sum"])
        return state | {"asked": f"q{asked % self.params.repeat if self.params.repeat else asked}"}

    def _child(self, state: dict[str, Any], child: int) -> dict[str, Any]:
        name = f"{state['name']}/{state['at']}.{child}"
        begins = {"name": name, "at": 0, "sum": state["sum"] % 1000, "depth": state["depth"] + 1, "bad": False}
        return self._asked(state | begins)

    def _leaf(self, state: dict[str, Any], child: int) -> dict[str, Any]:
        return self._child(state, child) | {"leaf": True}

    def _then(self, state: dict[str, Any]) -> dict[str, Any]:
        return self._asked(state | {"at": state["at"] + 1})


def _join(state: dict[str, Any], child: int, result: Any) -> dict[str, Any]:
    return state | {"sum": (state["sum"] * 31 + number(child, json.dumps(result, sort_keys=True))) % PRIME}


def _missed(state: dict[str, Any], child: int, outcome: str) -> dict[str, Any]:
    return state | {"sum": (state["sum"] * 37 + number(child, outcome)) % PRIME}
