"""What a microagent is taught and examined on: prompts by step class, and which of them training must never see."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Any, NamedTuple

from maker.core.user_code import FIX_PARSE, call_for_text, call_user_code, shown
from maker.errors import BadInput, TaskFailed
from maker.plugin import Decomposer, vote_key
from maker.types import ExampleSet, Oracle, StepClass, Truth

HELD_OUT_OF = 16
"""One prompt in so many is held out, by its hash."""
LARGEST_DOMAIN = 1 << 20
"""A whole class of at most so many prompts is enumerated: trained on all, examined on all."""
EXAM = 4096
"""How many held-out prompts of a class are examined."""
EXAM_SEED = 0
TRIES = 64
"""So many draws for each prompt that an exam wants, where one in `HELD_OUT_OF` should do."""


class Basis(StrEnum):
    """What an examination of a step class rests on."""

    LOOKUP = "lookup"
    """All prompts that there are: training may have shown every one."""
    HELD_OUT = "held out"
    """Prompts that training never showed."""


class GroupedReplies(NamedTuple):
    """A whole prompt and its replies: those that are right, and the legal wrong ones, one tuple for each vote."""

    prompt: str
    right: tuple[str, ...]
    rivals: tuple[tuple[str, ...], ...]


class ExtraExam(NamedTuple):
    """Prompts that are examined beside a class's exam, all different; training may have shown some of them."""

    name: str
    prompts: Sequence[str]


class Source(NamedTuple):
    """Prompts to draw from, shared part included: ``prompt(i)`` for 0 <= i < ``size``."""

    weight: float
    size: int
    prompt: Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Topic:
    """One step class of a dataset.

    Args:
        name: The class.
        basis: What its exam rests on.
        sources: What training draws from; prompts that are held out must be passed over, with `Basis.HELD_OUT`.
        exam: The prompts of the exam, all different.
        most_tokens: Most tokens of a reply.
        truth: Prompt → its replies. The first right one is taught.
        grouped: Prompt → its replies by vote.
        kind_of: Prompt → the kind of its step; None where all are of one.
        extra: What is examined beside the exam.
    """

    name: str
    basis: Basis
    sources: Sequence[Source]
    exam: Sequence[str]
    most_tokens: int
    truth: Callable[[str], Truth]
    grouped: Callable[[str], GroupedReplies]
    kind_of: Callable[[str], str] | None = None
    extra: Sequence[ExtraExam] = ()

    def teaches(self, prompt: str) -> bool:
        """Say whether training may show a prompt."""
        return self.basis is Basis.LOOKUP or not held_out(prompt)

    def kinds(self, prompts: Sequence[str]) -> list[str]:
        """Return the kind of each prompt, "" where all are of one. Raises `TaskFailed`."""
        return [self.kind_of(prompt) if self.kind_of else "" for prompt in prompts]


@dataclass(frozen=True, slots=True)
class Dataset:
    """All that one microagent is taught. ``origin`` says what of, as JSON; ``by_run``: a run's decisions judge it."""

    topics: Sequence[Topic]
    origin: Mapping[str, Any]
    by_run: bool = False


def held_out(prompt: str) -> bool:
    """Say whether a whole prompt, shared part included, falls to the held-out part: one in 16, by BLAKE2b."""
    digest = blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=8, person=b"maker-held-out").digest()
    return int.from_bytes(digest, "little") % HELD_OUT_OF == 0


def dataset_of(decomposer: Decomposer[Any, Any], origin: Mapping[str, Any], *, exam: int = EXAM) -> Dataset:
    """Return what a task's own examples and oracle teach.

    Args:
        decomposer: It has `examples` and an `oracle`.
        origin: What the card says of where the dataset comes from.
        exam: How many held-out prompts of a class to examine.

    Raises:
        BadInput: The task teaches nothing, or a class has too few prompts to hold any out.
        TaskFailed: An example set names no class of the task, or the task's code raised.
    """
    name = decomposer.name
    sets: Sequence[ExampleSet] = call_user_code(f"{name}: examples", decomposer.examples)
    oracle: Oracle | None = call_user_code(f"{name}: oracle", decomposer.oracle)
    if not sets or oracle is None:
        missing = "no oracle()" if oracle is None else "no examples()"
        raise BadInput(
            f"the task {name} gives no training examples: its decomposer has {missing}",
            fix="define both, or train on a run's export: `maker export last --format sft --out examples.jsonl`",
        )
    kinds = {kind.name: kind for kind in decomposer.classes}
    by_class: dict[str, list[ExampleSet]] = {}
    for one in sets:
        if one.kind not in kinds or one.size < 1 or not one.weight > 0:
            raise TaskFailed(
                f"{name}: an example set of class {one.kind!r} has size {one.size} and weight {one.weight}",
                fix=f"the classes are {', '.join(kinds)}; size and weight must be above 0",
            )
        if one.exam and one.size > LARGEST_DOMAIN:
            raise TaskFailed(
                f"{name}: the exam {one.exam!r} of class {one.kind!r} has {one.size:,} prompts",
                fix=f"all of an exam's prompts are asked: name at most {LARGEST_DOMAIN:,}",
            )
        by_class.setdefault(one.kind, []).append(one)
    teacher = _Teacher(decomposer, oracle)
    topics = [teacher.topic(kinds[kind], found, exam) for kind, found in by_class.items()]
    _refuse_shown(name, topics)
    return Dataset(topics, origin)


def _refuse_shown(task: str, topics: Sequence[Topic]) -> None:
    """Raise `BadInput` where one class is examined on a prompt that another one, taught whole, shows."""
    taught = {prompt: topic.name for topic in topics if topic.basis is Basis.LOOKUP for prompt in topic.exam}
    for topic in topics:
        for prompt in topic.exam if topic.basis is Basis.HELD_OUT and taught else ():
            if prompt in taught:
                raise BadInput(
                    f"class {topic.name} of {task} is tested on {prompt!r}, but class {taught[prompt]} trains on it",
                    fix="give the classes different prompts; one model cannot tell which class asks",
                )


class _Teacher:
    """Makes topics of a task's examples."""

    def __init__(self, decomposer: Decomposer[Any, Any], oracle: Oracle) -> None:
        self._name = decomposer.name
        self._codec = decomposer.action
        self._oracle = oracle

    def topic(self, kind: StepClass[Any, Any], sets: Sequence[ExampleSet], exam: int) -> Topic:
        def source(one: ExampleSet) -> Source:
            return Source(one.weight, one.size, lambda i: kind.system + self._prompt(one, i))

        extra = [ExtraExam(one.exam, _all_prompts([source(one)])) for one in sets if one.exam]
        sets = [one for one in sets if not one.exam]
        sources = [source(one) for one in sets]
        whole = [source for source, one in zip(sources, sets, strict=True) if one.whole]
        if whole and sum(one.size for one in whole) <= LARGEST_DOMAIN:
            basis, prompts = Basis.LOOKUP, _all_prompts(whole)
        else:
            basis, prompts = Basis.HELD_OUT, _draw_exam(sources, exam) if sources else []
        if not prompts:
            raise BadInput(
                f"step class {kind.name} of {self._name} has too few prompts: none of them is held out",
                fix="set whole=True if its examples are all prompts that exist; else add more",
            )
        return Topic(
            name=kind.name,
            basis=basis,
            sources=sources,
            exam=prompts,
            most_tokens=kind.max_tokens,
            truth=self._truth(kind),
            grouped=self._grouped(kind),
            kind_of=self._kind_of(kind),
            extra=extra,
        )

    def _kind_of(self, kind: StepClass[Any, Any]) -> Callable[[str], str] | None:
        named = kind.kind_of
        if named is None:
            return None

        def kind_of(prompt: str) -> str:
            own = prompt[len(kind.system) :]
            return call_for_text(f"{self._name}: kind_of of the prompt {shown(own)}", named, own)

        return kind_of

    def _prompt(self, one: ExampleSet, i: int) -> str:
        prompt: str = call_user_code(f"{self._name}: example {i} of class {one.kind}", one.prompt, i)
        return prompt

    def _truth(self, kind: StepClass[Any, Any]) -> Callable[[str], Truth]:
        def truth(prompt: str) -> Truth:
            found: Truth = call_user_code(
                f"{self._name}: oracle of {prompt!r}", self._oracle, prompt[len(kind.system) :]
            )
            if not found.right:
                raise TaskFailed(
                    f"{self._name}: the oracle has no right reply to {prompt!r}", fix="return at least one"
                )
            return Truth(found.right, [text for text in dict.fromkeys(found.wrong) if text not in found.right])

        return truth

    def _grouped(self, kind: StepClass[Any, Any]) -> Callable[[str], GroupedReplies]:
        truth = self._truth(kind)

        def grouped(prompt: str) -> GroupedReplies:
            right, wrong = truth(prompt)
            if (length := len(right[0]) + 1) > kind.max_tokens:
                raise TaskFailed(
                    f"{self._name}: the oracle's right reply {right[0]!r} takes {length:,} tokens with its end mark, "
                    f"but replies of class {kind.name} are cut after {kind.max_tokens:,}",
                    fix="raise the max_tokens of the class",
                )
            if self._key(kind, right[0]) is None:
                raise TaskFailed(
                    f"{self._name}: the oracle's right reply {right[0]!r} cannot be parsed by class {kind.name}",
                    fix="return replies from the oracle as a model would write them",
                )
            rivals: dict[str, list[str]] = {}
            for text in wrong:
                # What is cut or not read is flagged, and no rival.
                if len(text) < kind.max_tokens and (key := self._key(kind, text)) is not None:
                    rivals.setdefault(key, []).append(text)
            whole = (text for text in dict.fromkeys(right) if len(text) < kind.max_tokens)
            return GroupedReplies(prompt, tuple(whole), tuple(map(tuple, rivals.values())))

        return grouped

    def _key(self, kind: StepClass[Any, Any], text: str) -> str | None:
        def read() -> str | None:
            try:
                return vote_key(self._codec, kind.parse(text))
            except (ValueError, RecursionError):
                return None

        key: str | None = call_user_code(f"{self._name}: class {kind.name}: parse {text!r}", read, fix=FIX_PARSE)
        return key


def draw(rng: random.Random, sources: Sequence[Source]) -> Iterator[tuple[int, str]]:
    """Yield prompts without end, each with the number of its source; advances ``rng``.

    Sources come up by their weights. One that is small enough to be enumerated is gone through in a new random order
    again and again, so that none of its prompts is missed for long.
    """
    weights = [one.weight for one in sources]
    decks = [_deck(rng, one.size) for one in sources]
    numbers = range(len(sources))
    while True:
        number = rng.choices(numbers, weights)[0]
        yield number, sources[number].prompt(next(decks[number]))


def _deck(rng: random.Random, size: int) -> Iterator[int]:
    if size > LARGEST_DOMAIN:
        while True:
            yield rng.randrange(size)
    order = list(range(size))
    while True:
        rng.shuffle(order)
        yield from order


def _all_prompts(sources: Sequence[Source]) -> list[str]:
    return list(dict.fromkeys(one.prompt(i) for one in sources for i in range(one.size)))


def _draw_exam(sources: Sequence[Source], wanted: int) -> list[str]:
    """Return held-out prompts as training draws the others, each once; fewer where it finds no more."""
    found: dict[str, None] = {}
    drawn = draw(random.Random(EXAM_SEED), sources)
    for _ in range(TRIES * wanted):
        _, prompt = next(drawn)
        if held_out(prompt):
            found[prompt] = None
            if len(found) == wanted:
                break
    return list(found)


course_of = dataset_of
"""The name of `dataset_of` in version 0.1."""
