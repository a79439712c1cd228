"""Which of a task's own rows labels name: children of a root that forks into single steps, as a map's are. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from maker.core.user_code import call_user_code
from maker.plugin import Decomposer
from maker.sampling.draw import Places, StepLocation
from maker.sampling.labels import NumberedLabel
from maker.types import Fork


class OwnRows(NamedTuple):
    """Rows that labels name: their numbers, 0-based and each once, of how many rows, and the state that asks them."""

    numbers: tuple[int, ...]
    of: int
    state: str


class RowShare(NamedTuple):
    """Of one step class: how many rows the task has, about, and how many labelled ones repeat another's question."""

    of: int
    repeats: int


def own_rows(task: Decomposer[Any, Any], labels: Iterable[NumberedLabel]) -> OwnRows | None:
    """Return the rows of the task that labels name, None where they name other steps, or none. Raises `TaskFailed`."""
    start = call_user_code(f"{task.name}: start", task.start)
    fork = call_user_code(f"{task.name}: next", task.next, start)
    if not (isinstance(fork, Fork) and fork.single):
        return None
    text = call_user_code(f"{task.name}: state.write", task.state.write, start)
    numbers = set[int]()
    for _, label in labels:
        if label.child is None or label.state not in (None, text):
            return None
        # One beyond the last names no step, and is told by its line where the steps are drawn.
        if label.child < fork.count:
            numbers.add(label.child)
    return OwnRows(tuple(sorted(numbers)), fork.count, text) if numbers else None


def row_shares(task: Decomposer[Any, Any], rows: OwnRows, asked: Collection[int]) -> Mapping[str, RowShare]:
    """Return of how many rows those with labels are, by class; ``asked`` are the numbers of rows asked differently.

    Of several classes each has its part of all rows: nobody has looked at the others. Where all are labelled, a class
    that none of them is of has none. Raises `TaskFailed`.
    """
    places = Places(task)
    labelled, repeating = Counter[str](), Counter[str]()
    for number in rows.numbers:
        spot = StepLocation(rows.state, number)
        name = call_user_code(f"{task.name}: next", places.step, spot).kind.name
        labelled[name] += 1
        repeating[name] += number not in asked
    of = _shared_out(rows.of, labelled)
    others = [kind.name for kind in task.classes if kind.name not in of] if len(rows.numbers) == rows.of else []
    return {name: RowShare(of[name], repeating[name]) for name in labelled} | dict.fromkeys(others, RowShare(0, 0))


def _shared_out(total: int, parts: Mapping[str, int]) -> Mapping[str, int]:
    """Return a number in proportion to some parts, as whole numbers that add up to it: by largest remainders."""
    whole = sum(parts.values())
    found = {name: total * n // whole for name, n in parts.items()}
    largest = sorted(parts, key=lambda name: total * parts[name] % whole, reverse=True)
    for name in largest[: total - sum(found.values())]:
        found[name] += 1
    return found
