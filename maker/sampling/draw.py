"""Which steps of a task a pilot asks. Pure.

Of every step class steps are drawn that differ in what is asked: several votes on one step tell of that step alone, so
that it is steps that a pilot counts. They come from labels; from the decomposer itself (`Decomposer.sample`); from the
children of a root that forks into single steps; or, where the task knows its truth, from the right way through it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from maker.core.user_code import call_user_code, ends_the_program, words_of
from maker.errors import BadInput, TaskFailed
from maker.plugin import Decomposer, vote_key
from maker.sampling.labels import FORM, Label, NumberedLabel
from maker.types import Done, Effect, Fork, Oracle, RedFlag, Sample, Step, Wait
from maker.voting.red_flags import Candidate, screen
from maker.voting.thinking import KNOWN, Thinking

Right: TypeAlias = Callable[[Step[Any, Any], Any], list[Candidate[Any]]]
"""Gives what is right in a step, asked in a state."""

LONGEST_WALK = 10_000_000
"""So many steps a walk along the right way takes; of a longer task its first ones are drawn from."""


class StepLocation(NamedTuple):
    """Where a step is asked: the text of a state, and the number of a child of the fork there, if it is one's.

    ``right`` is the key of the right answer, where a label says so.
    """

    state: str
    child: int | None = None
    right: str | None = None


class Drawn(NamedTuple):
    """The steps of a pilot, and of how many steps of the task they were drawn, by class; {} where that is not known.

    ``kinds`` says how many steps of each kind the task asks, about, by class; None for a kind of which that is not
    known; {} where nobody has looked.
    """

    spots: tuple[StepLocation, ...]
    of: Mapping[str, int]
    kinds: Mapping[str, Mapping[str, int | None]] = {}


class _Forked(NamedTuple):
    """A state that a task forks at: its text, the state, and the fork."""

    text: str
    state: Any
    fork: Fork[Any]


class Places:
    """Finds steps of a task again by their places.

    Args:
        task: The task.
    """

    def __init__(self, task: Decomposer[Any, Any]) -> None:
        self.task = task
        # The newest one whose children were made: steps of one fork are mostly asked one after another.
        self._parent: _Forked | None = None

    def state(self, spot: StepLocation) -> Any:
        """Return the task's state at a place, which is its caller's own. Raises what the task's code does."""
        if spot.child is None:
            return self.task.state.read(spot.state)
        parent = self._parent
        if parent is None or parent.text != spot.state:
            state = self.task.state.read(spot.state)
            fork = self.task.next(state)
            if not isinstance(fork, Fork):
                raise TaskFailed(f"{self.task.name} does not fork in the state {spot.state[:120]}")
            self._parent = parent = _Forked(spot.state, state, fork)
        if spot.child >= parent.fork.count:
            raise TaskFailed(f"{self.task.name} has {parent.fork.count:,} children there, and no child {spot.child}")
        return parent.fork.child(parent.state, spot.child)

    def step(self, spot: StepLocation) -> Step[Any, Any]:
        """Return what is asked at a place. Raises what the task's code does, and `TaskFailed` where it asks nothing."""
        return self.asked(spot)[0]

    def asked(self, spot: StepLocation) -> tuple[Step[Any, Any], Any]:
        """Return what is asked at a place, and the state there. Raises as `step` does."""
        state = self.state(spot)
        move = self.task.next(state)
        if not isinstance(move, Step):
            raise TaskFailed(f"{self.task.name} asks for no step in the drawn state {spot.state[:120]}")
        return move, state

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_parent": None}


def draw(
    task: Decomposer[Any, Any],
    steps: int,
    seed: int,
    labels: Sequence[NumberedLabel] = (),
    thinking: Thinking = KNOWN,
) -> Drawn:
    """Return up to ``steps`` steps of each class, all asked differently, drawn at random with ``seed``.

    Where there are ``labels``, they name all the steps. ``thinking`` takes off their replies, and off those of the
    task's oracle, what is no answer.

    Raises:
        BadInput: The task says neither its truth nor where its steps are, and has no labels.
        TaskFailed: The task's own code raises.
    """
    if labels:
        return _distinct(task, labelled(task, labels, thinking), {})
    rng = random.Random(f"{seed} pilot")
    states = call_user_code(f"{task.name}: sample", task.sample, steps * len(task.classes), seed)
    if states is not None:
        texts = [call_user_code(f"{task.name}: state.write", task.state.write, state) for state in states]
        return _distinct(task, map(StepLocation, texts), None)
    state = call_user_code(f"{task.name}: start", task.start)
    fork = call_user_code(f"{task.name}: next", task.next, state)
    if isinstance(fork, Fork) and fork.single:
        text = call_user_code(f"{task.name}: state.write", task.state.write, state)
        children = sorted(rng.sample(range(fork.count), min(steps, fork.count)))
        return _distinct(task, (StepLocation(text, child) for child in children), None)
    oracle = call_user_code(f"{task.name}: oracle", task.oracle)
    if oracle is None:
        raise BadInput(
            f"{task.name} defines neither `oracle()` nor `sample()`, so a pilot has no steps to draw",
            fix="give --labels, or define one of the two",
        )
    kept: dict[str, list[StepLocation]] = {}
    passed: Counter[str] = Counter()
    right = partial(right_answers, task, oracle, thinking=thinking)
    way = RightWay(task, right, call_user_code(f"{task.name}: start", task.start))
    for step, spot in islice(way, LONGEST_WALK):
        # Reservoir sampling: each step of a class is kept with the same chance, however many there are.
        passed[step.kind.name] += 1
        here = kept.setdefault(step.kind.name, [])
        if len(here) < steps:
            here.append(spot())
        elif (place := rng.randrange(passed[step.kind.name])) < steps:
            here[place] = spot()
    all_passed = sum(passed.values()) < LONGEST_WALK and not way.cut
    of = {kind.name: passed[kind.name] for kind in task.classes} if all_passed else {}
    return _distinct(task, (spot for spots in kept.values() for spot in spots), of)


def can_draw(task: Decomposer[Any, Any]) -> bool:
    """Say whether steps can be drawn without labels. Raises `TaskFailed`."""
    if (
        call_user_code(f"{task.name}: oracle", task.oracle)
        or call_user_code(f"{task.name}: sample", task.sample, 1, 0) is not None
    ):
        return True
    fork = call_user_code(f"{task.name}: next", task.next, call_user_code(f"{task.name}: start", task.start))
    return isinstance(fork, Fork) and fork.single


def labelled(
    task: Decomposer[Any, Any], labels: Iterable[NumberedLabel], thinking: Thinking = KNOWN
) -> list[StepLocation]:
    """Return the steps that labels name, with what is right there; ``thinking`` as for `draw`.

    Raises:
        BadInput: A label names no step, or has a reply that is no vote; or two contradict each other.
    """
    start = call_user_code(
        f"{task.name}: state.write", task.state.write, call_user_code(f"{task.name}: start", task.start)
    )
    places, found = Places(task), list[StepLocation]()
    asked: dict[tuple[str, str], tuple[int, str]] = {}
    for line, label in labels:
        spot = StepLocation(start if label.state is None else label.state, label.child)
        try:
            step, state = places.asked(spot)
        except BaseException as error:
            if ends_the_program(error):
                raise
            raise BadInput(f"labels, line {line} names no step: {words_of(error)}", fix=FORM) from error
        right = _right_key(task, step, state, label, line, thinking)
        before, other = asked.setdefault(_told(step), (line, right))
        if right != other:
            raise BadInput(
                f"labels, lines {before} and {line} contradict each other: for the same prompt {other[:80]} is right"
                f" in one, and {right[:80]} in the other",
                fix="correct or remove one of them",
            )
        found.append(spot._replace(right=right))
    return found


def _right_key(
    task: Decomposer[Any, Any], step: Step[Any, Any], state: Any, label: Label, line: int, thinking: Thinking
) -> str:
    """Return what a vote for a label's right answer is counted under. Raises `BadInput` where it is no vote."""
    if label.right is not None:
        try:
            return vote_key(task.action, task.action.read(label.right))
        except BaseException as error:
            if ends_the_program(error):
                raise
            what = f"labels, line {line}: {task.name} cannot read `right`"
            raise BadInput(f"{what}: {words_of(error)}", fix=FORM) from error
    if label.reply is not None:
        outcome = screen(step.kind, state, Sample(label.reply, 0), task.action, thinking)
        if isinstance(outcome, RedFlag):
            why = f"{outcome.reason} {outcome.detail}".rstrip()
            raise BadInput(f"labels, line {line}: the reply is red-flagged: {why}", fix="give a reply that is valid")
        return outcome.key
    return label.key or ""


def _distinct(task: Decomposer[Any, Any], spots: Iterable[StepLocation], of: Mapping[str, int] | None) -> Drawn:
    """Return steps that are asked differently; where it is not known of how many, in proportion to the task's length.

    Steps of a fork that cannot be made are left out.
    """
    places, seen, kept, drawn = Places(task), set(), [], Counter[str]()
    for spot in spots:
        try:
            step = call_user_code(f"{task.name}: next", places.step, spot)
        except TaskFailed:
            if spot.child is None:
                raise
            continue
        drawn[step.kind.name] += 1
        told = _told(step)
        if told not in seen:
            seen.add(told)
            kept.append(spot)
    if not kept:
        raise BadInput(f"{task.name} has no step that a pilot could ask", fix="set vote.k to a number")
    if of is None:
        length, all_drawn = call_user_code(f"{task.name}: expected_steps", task.expected_steps), sum(drawn.values())
        of = {} if length is None else {kind: -(-length * n // all_drawn) for kind, n in drawn.items()}
    return Drawn(tuple(kept), dict(of))


def _told(step: Step[Any, Any]) -> tuple[str, str]:
    return step.kind.name, step.prompt


def right_answers(
    task: Decomposer[Any, Any], oracle: Oracle, step: Step[Any, Any], state: Any, *, thinking: Thinking = KNOWN
) -> list[Candidate[Any]]:
    """Return what a task's oracle calls right in a step, as candidates. Raises `TaskFailed` where none of it is one."""
    truth = call_user_code(f"{task.name}: oracle", oracle, step.prompt)
    found = [screen(step.kind, state, Sample(text, 0), task.action, thinking) for text in truth.right]
    right = [one for one in found if isinstance(one, Candidate)]
    if not right:
        raise TaskFailed(f"{task.name}: no right reply of its oracle is a valid vote on {step.prompt[:200]!r}")
    return right


class Passed(NamedTuple):
    """A step of a task, and how to get its place while whoever passes it stands there."""

    step: Step[Any, Any]
    locate: Callable[[], StepLocation]


class _Outside(Exception):
    """The task does something in the world, or waits, and nobody knows what would come of it."""


class RightWay(Iterator[Passed]):
    """Yields the steps of a chain on the right way, those of its forks' children too.

    Nothing is done in the world: an effect or a wait comes to its `Effect.truth`. Without one the way is ``cut``.
    """

    def __init__(self, task: Decomposer[Any, Any], right: Right, state: Any) -> None:
        self._steps = _walk(task, right, state)
        self.cut = False

    def __next__(self) -> Passed:
        try:
            return next(self._steps)
        except _Outside:
            self.cut = True
            raise StopIteration from None


def _walk(task: Decomposer[Any, Any], right: Right, state: Any) -> Generator[Passed, None, Any]:
    """Yield the steps of a chain; returns what it ends with."""
    while True:
        move = call_user_code(f"{task.name}: next", task.next, state)
        if isinstance(move, Done):
            return move.result
        if isinstance(move, Fork):
            state = yield from _walk_fork(task, right, move, state)
        elif isinstance(move, Step):
            yield Passed(move, partial(locate, task, state))
            state = _stepped(task, right, move, state)
        elif isinstance(move, Effect | Wait):
            if (record := move.rehearsed()) is None:
                raise _Outside
            state = call_user_code(f"{task.name}: then", move.then, state, record)
        else:
            raise TaskFailed(f"{task.name}.next returned {type(move).__name__}", fix="return a move of maker.plugin")


def _walk_fork(task: Decomposer[Any, Any], right: Right, fork: Fork[Any], state: Any) -> Generator[Passed, None, Any]:
    """Walk a fork's children one after another; returns the state after it."""
    text = call_user_code(f"{task.name}: state.write", task.state.write, state)
    folded = task.state.read(text)
    for number in range(fork.count):
        child = call_user_code(f"{task.name}: child", fork.child, state, number)
        if fork.single:
            step = call_user_code(f"{task.name}: next", task.next, child)
            yield Passed(step, partial(StepLocation, text, number))
            result = call_user_code(f"{task.name}: next", task.next, _stepped(task, right, step, child)).result
        else:
            result = yield from _walk(task, right, child)
        if fork.join is not None:
            folded = call_user_code(f"{task.name}: join", fork.join, folded, number, result)
    return folded if fork.then is None else call_user_code(f"{task.name}: then", fork.then, folded)


def _stepped(task: Decomposer[Any, Any], right: Right, step: Step[Any, Any], state: Any) -> Any:
    return call_user_code(f"{task.name}: apply", task.apply, state, right(step, state)[0].action)


def locate(task: Decomposer[Any, Any], state: Any) -> StepLocation:
    """Return the place of the step that a state asks. Raises `TaskFailed`."""
    return StepLocation(call_user_code(f"{task.name}: state.write", task.state.write, state))
