"""Which kinds of steps a task asks, and some steps of each, so that a pilot hears of all of them. Pure.

Steps that are drawn evenly may hold none of a kind that the run asks three times; a model that is wrong on that kind
spoils the run all the same. A step class says by ``kind_of`` which kinds there are.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from maker.core.user_code import call_for_text, call_user_code, shown
from maker.errors import TaskFailed
from maker.plugin import Decomposer
from maker.sampling.draw import LONGEST_WALK, Drawn, Passed, Places, RightWay, StepLocation, locate, right_answers
from maker.types import Fork, Step
from maker.voting.thinking import KNOWN, Thinking

FRAME = 20_000
"""So many steps are looked at where the task draws them; of a task that is walked, all that a pilot walks."""
PART = 50
"""A pilot asks at least one in so many of its steps of each kind that the task has."""


class Kind(NamedTuple):
    """A step class's name, and the name of a kind of its steps; None where the class names none."""

    step_class: str
    kind: str | None


class Kinds(NamedTuple):
    """The kinds of a task's steps: about how many it asks of each, None where that is not known, and some of them."""

    asked: Mapping[Kind, int | None]
    kept: Mapping[Kind, tuple[StepLocation, ...]]

    def by_class(self) -> dict[str, dict[str, int | None]]:
        """Return how many steps are asked, by class and by kind."""
        found: dict[str, dict[str, int | None]] = {}
        for (name, kind), steps in self.asked.items():
            if kind is not None:
                found.setdefault(name, {})[kind] = steps
        return found


def names_kinds(task: Decomposer[Any, Any]) -> bool:
    """Say whether a class of the task names kinds of its steps."""
    return any(kind.kind_of for kind in task.classes)


def kind_of(task: Decomposer[Any, Any], step: Step[Any, Any]) -> Kind:
    """Return the kind of a step. Raises `TaskFailed`."""
    name, of = step.kind.name, step.kind.kind_of
    if of is None:
        return Kind(name, None)
    return Kind(name, call_for_text(f"{task.name}: kind_of of the prompt {shown(step.prompt)}", of, step.prompt))


def fewest_of(steps: int) -> int:
    """Return how many steps of each kind a pilot of ``steps`` steps a class asks at least."""
    return -(-steps // PART)


def kinds_of(task: Decomposer[Any, Any], keep: int, seed: int, thinking: Thinking = KNOWN) -> Kinds:
    """Return the kinds of a task's steps, and up to ``keep`` steps of each, drawn evenly with ``seed``.

    Nothing where it is not known which steps there are. Raises `TaskFailed`.
    """
    rng = random.Random(f"{seed} kinds")
    counts, kept, looked_at = Counter[Kind](), dict[Kind, list[StepLocation]](), 0
    steps, most = _steps(task, seed, thinking)
    for passed in islice(steps, most):
        looked_at += 1
        if passed is None:
            continue
        step, spot = passed
        kind = kind_of(task, step)
        counts[kind] += 1
        here = kept.setdefault(kind, [])
        # Reservoir sampling: each step of a kind is kept with the same chance, however many there are.
        if len(here) < keep:
            here.append(spot())
        elif (place := rng.randrange(counts[kind])) < keep:
            here[place] = spot()
    asked: dict[Kind, int | None] = dict(counts)
    if looked_at == most:
        length = call_user_code(f"{task.name}: expected_steps", task.expected_steps)
        asked = {kind: None if length is None else -(-length * n // most) for kind, n in counts.items()}
    return Kinds(asked, {kind: tuple(spots) for kind, spots in kept.items()})


def with_every_kind(task: Decomposer[Any, Any], drawn: Drawn, steps: int, seed: int, kinds: Kinds) -> Drawn:
    """Return drawn steps with `fewest_of` each kind among them, as far as the task has them.

    They take the places of steps of frequent kinds where there would be more than ``steps`` of a class. Of a class with
    more kinds than there is room for there are fewer of each, and of its rarest kinds none.
    """
    places, rng = Places(task), random.Random(f"{seed} kinds")
    asked = {spot: places.step(spot) for spot in drawn.spots}
    told = {(step.kind.name, step.prompt) for step in asked.values()}
    of = {spot: kind_of(task, step) for spot, step in asked.items()}
    # Kinds beyond the steps that were looked at are the rarest.
    known = (*kinds.asked, *of.values())
    fewest = _fewest(sorted(dict.fromkeys(known), key=lambda kind: -(kinds.asked.get(kind) or 0)), steps)
    by_kind, by_class = Counter(of.values()), Counter(kind.step_class for kind in of.values())
    most = {name: max(steps, n) for name, n in by_class.items()}
    more = list[StepLocation]()
    for kind, spots in kinds.kept.items():
        for spot in spots:
            question = kind.step_class, places.step(spot).prompt
            if by_kind[kind] < fewest[kind] and question not in told:
                told.add(question)
                by_kind[kind] += 1
                by_class[kind.step_class] += 1
                more.append(spot)
    left_out = set[StepLocation]()
    for spot in rng.sample(list(of), len(of)):
        kind = of[spot]
        if by_class[kind.step_class] > most.get(kind.step_class, steps) and by_kind[kind] > fewest[kind]:
            by_kind[kind] -= 1
            by_class[kind.step_class] -= 1
            left_out.add(spot)
    return drawn._replace(spots=(*(spot for spot in drawn.spots if spot not in left_out), *more))


def _fewest(kinds: Iterable[Kind], steps: int) -> Counter[Kind]:
    """Return how many steps of each kind a pilot asks at least, of a class no more than ``steps`` together.

    ``kinds`` begin with the most frequent one.
    """
    by_class: dict[str, list[Kind]] = {}
    for kind in kinds:
        by_class.setdefault(kind.step_class, []).append(kind)
    fewest = Counter[Kind]()
    for of_class in by_class.values():
        fewest.update(dict.fromkeys(of_class[:steps], min(fewest_of(steps), max(1, steps // len(of_class)))))
    return fewest


class _Frame(NamedTuple):
    """Steps to look at, None for one that cannot be read, and how many at most: if there are fewer, they are all."""

    steps: Iterator[Passed | None]
    most: int


def _steps(task: Decomposer[Any, Any], seed: int, thinking: Thinking) -> _Frame:
    states = call_user_code(f"{task.name}: sample", task.sample, FRAME, seed)
    if states is not None:
        return _Frame(_in_states(task, states), FRAME)
    start = call_user_code(f"{task.name}: start", task.start)
    fork = call_user_code(f"{task.name}: next", task.next, start)
    if isinstance(fork, Fork) and fork.single:
        return _Frame(_of_children(task, locate(task, start), fork.count, seed), FRAME)
    oracle = call_user_code(f"{task.name}: oracle", task.oracle)
    if oracle is None:
        return _Frame(iter(()), FRAME)
    return _Frame(RightWay(task, partial(right_answers, task, oracle, thinking=thinking), start), LONGEST_WALK)


def _in_states(task: Decomposer[Any, Any], states: Any) -> Iterator[Passed]:
    for state in states:
        move = call_user_code(f"{task.name}: next", task.next, state)
        if isinstance(move, Step):
            yield Passed(move, partial(locate, task, state))


def _of_children(task: Decomposer[Any, Any], root: StepLocation, count: int, seed: int) -> Iterator[Passed | None]:
    places = Places(task)
    for child in sorted(random.Random(f"{seed} kinds").sample(range(count), min(FRAME, count))):
        spot = root._replace(child=child)
        try:
            step = call_user_code(f"{task.name}: next", places.step, spot)
        except TaskFailed:
            # A row that cannot be read is left out of a pilot too.
            yield None
            continue
        yield Passed(step, lambda spot=spot: spot)  # type: ignore[misc]
