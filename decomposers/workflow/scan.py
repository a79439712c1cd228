"""Which step classes a workflow asks with: read from the calls of ``ask`` and ``map`` in the file it stands in."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from textwrap import dedent
from typing import Any, NamedTuple

SOLVER = "solver"
ASK = "ask"
AWAITED = (ASK, "child", "effect", "gather", "map", "now", "sleep", "wait")
"""Methods of a run."""


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
    tree = _tree(function)
    calls = sorted((node for node in ast.walk(tree) if isinstance(node, ast.Call)), key=lambda node: node.lineno)
    return list(_sites(calls))


def not_awaited(function: Callable[..., Any]) -> str:
    """Return a call of the run in a workflow's file that nobody awaits, and its line; "" where there is none.

    Without its ``await`` an effect is never called, and nothing else would tell.
    """
    for made in ast.walk(_tree(function)):
        if isinstance(made, ast.AsyncFunctionDef) and (run := _run_of(made)):
            for node in ast.walk(made):
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _is_of(node.value.func, run):
                    return f"{ast.unparse(node.value.func)} in line {node.lineno}"
    return ""


def _run_of(function: ast.AsyncFunctionDef) -> str:
    """Return the name of a function's first parameter where it is annotated as a run."""
    first = next(iter([*function.args.posonlyargs, *function.args.args]), None)
    if first is None or first.annotation is None:
        return ""
    return first.arg if ast.unparse(first.annotation).strip("'").endswith("Run") else ""


def _is_of(called: ast.expr, run: str) -> bool:
    return (
        isinstance(called, ast.Attribute)
        and called.attr in AWAITED
        and isinstance(called.value, ast.Name)
        and called.value.id == run
    )


def _tree(function: Callable[..., Any]) -> ast.Module:
    try:
        return ast.parse(dedent(_source(function)))
    except (OSError, TypeError, SyntaxError):
        return ast.Module([], [])


def _source(function: Callable[..., Any]) -> str:
    module = inspect.getmodule(function)
    spec = getattr(module, "__spec__", None)
    try:
        # What was loaded: the file may hold another text by now.
        if spec is not None and (loaded := _loaded(spec)):
            return loaded
        return inspect.getsource(module or function)
    except (ImportError, OSError, TypeError):
        return inspect.getsource(function)


def _loaded(spec: ModuleSpec) -> str:
    """Return the source that a module was made of, "" where its loader does not know it."""
    text = getattr(spec.loader, "get_source", lambda _name: None)(spec.name)
    return text or ""


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
    if isinstance(call.func.value, ast.Name) and call.func.value.id == "maker":
        # `maker.map` asks the rows of a table, in a run of its own.
        return False
    answers = len(call.args) > 2 or any(word.arg == "answer" for word in call.keywords)
    return call.func.attr == ASK or (call.func.attr == "map" and answers)


def _constant(node: ast.expr | None) -> Any:
    return node.value if isinstance(node, ast.Constant) else None
