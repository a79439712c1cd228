"""The red-flagger: turns a raw sample into a candidate, or into the reason why it gets no vote."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

from maker.core.user_code import MOST_SAID, not_text, shown, unfit, words_of
from maker.errors import ContractBroken
from maker.plugin import Codec, TooDeep
from maker.types import Flag, RedFlag, Sample, StepClass
from maker.voting.thinking import KNOWN, OnlyThinking, Thinking

S = TypeVar("S")
A = TypeVar("A")

REPEAT_CHARS = 64
"""Free text of this length, equal word for word in two samples, is one stream: two independent draws would differ.
Short replies must agree, so they are never flagged for it."""


class Candidate(NamedTuple, Generic[A]):
    """A parsed proposal: the key that says which vote it is, and its canonical text."""

    key: str
    text: str
    action: A


def screen(
    kind: StepClass[S, A], state: S, sample: Sample, codec: Codec[A], thinking: Thinking = KNOWN
) -> Candidate[A] | RedFlag:
    """Parse and check one sample. The first reason found is the one that counts.

    ``thinking`` takes off what is no answer: no parser sees it. Raises what the task's code raises, and
    `ContractBroken` for what it must not return.
    """
    if sample.flag is not None or sample.cut or not sample.text or sample.text.isspace():
        return _incomplete(sample, thinking)
    try:
        action = kind.parse(thinking.answer(sample.text))
    except OnlyThinking as error:
        return RedFlag(Flag.REASONING, str(error))
    except (ValueError, RecursionError) as error:
        return RedFlag(Flag.FORMAT, words_of(error))
    return proposed(kind, state, action, codec)


def proposed(kind: StepClass[S, A], state: S, action: A, codec: Codec[A]) -> Candidate[A] | RedFlag:
    """Return an action as a candidate, or why it can be none. Raises as `screen` does."""
    forbidden = kind.check(state, action)
    if forbidden is not None:
        if not isinstance(forbidden, str):
            raise ContractBroken(
                f"the check of step class {kind.name} returned {shown(forbidden)}",
                fix="make it return why the action is forbidden, as text, or None",
            )
        if forbidden:
            return RedFlag(Flag.ILLEGAL, forbidden[:MOST_SAID])
    return _candidate(codec, action)


def _candidate(codec: Codec[A], action: A) -> Candidate[A] | RedFlag:
    """Return an action as a candidate, or why it cannot be stored."""
    try:
        text = _written("write", codec.write(action))
    except TooDeep as error:
        return RedFlag(Flag.FORMAT, str(error))
    problem, key = unfit(text), text
    own_key = getattr(codec, "key", None)
    if own_key is not None:
        key = _written("key", own_key(action))
        problem = problem or unfit(key)
    if problem:
        return RedFlag(Flag.FORMAT, problem)
    return Candidate(key, text, action)


def _incomplete(sample: Sample, thinking: Thinking) -> RedFlag:
    """Return the flag of a sample that its model has flagged, that was cut, or is empty."""
    if sample.flag is not None:
        return sample.flag
    if not sample.cut:
        return RedFlag(Flag.EMPTY)
    inside = " in its thinking: raise max_tokens" if thinking.is_all(sample.text) else ""
    return RedFlag(Flag.LENGTH, f"cut after {sample.tokens} tokens{inside}")


def _written(method: str, value: Any) -> str:
    if problem := not_text(value):
        raise ContractBroken(f"action.{method} returned {shown(value)}: {problem}", fix="make it return text")
    return value  # type: ignore[no-any-return]


def repeats(text: str, action: str) -> bool:
    """Say whether a reply that equals an earlier one of the step is a repeated stream rather than agreement."""
    # White space is layout.
    return len("".join(text.split())) - len("".join(action.split())) >= REPEAT_CHARS
