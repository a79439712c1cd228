"""Which step classes a workflow asks with: read from the calls of ``ask`` and ``map`` in the file it stands in."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from textwrap import dedent
from typing import Any, NamedTuple

SOLVER = "solver"
ASK = "ask"


class AskSite(NamedTuple):
    """A call that asks: the step class that it names, and whether it says what is right."""

    name: str
    role: str
    k: int | None
    known: bool


def class_name(name: str, role: str, k: int | None) -> str:
    """Return the name of a step class: ``name``, or one made of role and margin, where these are its own."""
    return name or "-".join([ASK, *([role] if role != SOLVER else []), *([f"k{k}"] if k is not None else [])])


def ask_sites(function: Callable[..., Any]) -> list[AskSite]:
    """Return the calls that ask, in all of the function's file; [] where its source cannot be read.

    Of a script they are the same whether it runs or is loaded by a resume. In a notebook there is the function alone.
    """
    try:
        tree = ast.parse(dedent(_source(function)))
    except (OSError, TypeError, SyntaxError):
        return []
    calls = sorted((node for node in ast.walk(tree) if isinstance(node, ast.Call)), key=lambda node: node.lineno)
    return list(_sites(calls))


def _source(function: Callable[..., Any]) -> str:
    module = inspect.getmodule(function)
    try:
        return inspect.getsource(module or function)
    except (OSError, TypeError):
        return inspect.getsource(function)


def _sites(calls: list[ast.Call]) -> Iterator[AskSite]:
    for call in calls:
        if not _asks(call):
            continue
        words = {word.arg: word.value for word in call.keywords}
        name, role, k = (_constant(words.get(word)) for word in ("name", "role", "k"))
        yield AskSite(
            name=name if isinstance(name, str) else "",
            role=role if isinstance(role, str) else SOLVER,
            k=k if type(k) is int else None,
            known="truth" in words,
        )


def _asks(call: ast.Call) -> bool:
    """Say whether a call is one of `Run.ask`, or of `Run.map` with a prompt, as far as its form tells."""
    if not isinstance(call.func, ast.Attribute):
        return False
    answers = len(call.args) > 2 or any(word.arg == "answer" for word in call.keywords)
    return call.func.attr == ASK or (call.func.attr == "map" and answers)


def _constant(node: ast.expr | None) -> Any:
    return node.value if isinstance(node, ast.Constant) else None
