"""Decisions that are made once: what a question is, what is known of those that were asked before. Pure."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from struct import Struct
from typing import Any, Literal, NamedTuple, TypeAlias

from maker.types import Step
from maker.voting.tally import Source

Mode: TypeAlias = Literal["off", "run", "store"]
"""Whose decisions a run may take: nobody's, its own, or also those of other runs in its store."""
MOST = 100_000
"""So many decisions a worker knows at a time: of more, the newest; what it has forgotten is voted on again."""
KEY_BYTES = 16
_BESIDE = ("seed", "inputs", "memo", "poll", "foresight")


class Known(NamedTuple):
    """A decision that may be taken again: the action as its task writes it, and the step that decided it."""

    action: str
    source: Source


class Remembered(NamedTuple):
    """A decision and the question that it answers."""

    question: bytes
    known: Known


Memory: TypeAlias = tuple[Remembered, ...]
"""Decisions that may be taken again, the oldest first."""


def question(step: Step[Any, Any]) -> bytes:
    """Return what a step asks as 16 bytes: its class, both parts of its prompt to the letter, and how it is answered.

    One question with two ways to read its reply is two: "007" is a text, and 7 a number.
    """
    kind = step.kind
    if not kind.reading and kind.schema is None:
        # Its class alone says how it is read.
        return question_before(step)
    schema = "" if kind.schema is None else json.dumps(kind.schema, sort_keys=True, default=str)
    return _digest(b"maker-question-2", kind.name, kind.system, kind.reading, schema, step.prompt)


def question_before(step: Step[Any, Any]) -> bytes:
    """Return what a step asked in runs of earlier versions, which did not look at how a reply is read."""
    return _digest(b"maker-question", step.kind.name, step.kind.system, step.prompt)


def _digest(person: bytes, *parts: str) -> bytes:
    texts = [part.encode("utf-8", "surrogatepass") for part in parts]
    lengths = Struct(f"<{len(texts) - 1}I").pack(*map(len, texts[:-1]))
    return blake2b(b"".join((lengths, *texts)), digest_size=KEY_BYTES, person=person).digest()


def shared_space(fingerprint: Mapping[str, Any]) -> bytes:
    """Return the space of the decisions that runs of a store share, by the fingerprint of one of them.

    It is a digest of all that decides how a question comes out: code, prompts, parameters, models, voters and roles. Of
    a fingerprint the seed is left out, and what says which questions are asked: input files, what was drawn ahead, and
    the parameters that a task calls its `Decomposer.instance`.
    """
    deciding = {name: value for name, value in fingerprint.items() if name not in _BESIDE}
    if instance := fingerprint.get("instance"):
        deciding["task"] = {name: value for name, value in fingerprint["task"].items() if name not in instance}
    return _space(json.dumps(deciding, sort_keys=True, ensure_ascii=False))


def own_space(run_id: str) -> bytes:
    """Return the space of the decisions that a run keeps to itself."""
    return _space(f"run {run_id}")


def _space(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES, person=b"maker-space").digest()


class Memo:
    """What one worker knows of decisions, and what is being voted on.

    Args:
        most: How many decisions it keeps: beyond them it forgets those that it has known longest.
    """

    __slots__ = ("_known", "_most", "asked")

    def __init__(self, most: int = MOST) -> None:
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._most = most
        # Questions that chains of this worker are voting on: whoever asks the same waits for the answer.
        self.asked: set[bytes] = set()

    def get(self, key: bytes) -> Known | None:
        """Return what is known of a question."""
        return self._known.get(key)

    def learn(self, decisions: Iterable[Remembered]) -> None:
        """Take decisions in; of two on one question the first stays."""
        for question, known in decisions:
            if question not in self._known:
                self._known[question] = known
                if len(self._known) > self._most:
                    self._known.popitem(last=False)

    def all(self) -> Memory:
        """Return all that is known."""
        return tuple(Remembered(question, known) for question, known in self._known.items())
