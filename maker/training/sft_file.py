"""A run's steps as a dataset: the file that ``maker export RUN --format sft`` writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maker.errors import BadInput
from maker.training.dataset import HELD_OUT_OF, Basis, Dataset, GroupedReplies, Source, Topic, held_out
from maker.types import Truth

FIX = "write such a file with `maker export last --format sft --out examples.jsonl`"


class Negative(BaseModel):
    """A losing answer, and its votes."""

    model_config = ConfigDict(frozen=True)

    answer: str
    votes: int = Field(default=1, ge=1)


class Line(BaseModel):
    """One decided step; other columns are for other readers."""

    model_config = ConfigDict(frozen=True)

    kind: str = Field(alias="class", min_length=1)
    system: str = ""
    prompt: str
    answer: str = Field(min_length=1)
    negatives: tuple[Negative, ...] = ()
    votes: int = Field(default=1, ge=1)


def read_dataset(path: Path) -> Dataset:
    """Return what a file of decided steps teaches: to answer as its steps were decided.

    A prompt that was decided more than once, differently, is taught as most votes have it. Prompts whose hash falls to
    the held-out part are not taught.

    Raises:
        BadInput: The file cannot be read, a line is no step, or a class has no prompt that is held out, or none else.
    """
    # Of each prompt its answers, by votes; an answer that never won has none, and is no right one.
    by_class: dict[str, dict[str, Counter[str]]] = {}
    longest: Counter[str] = Counter()
    for line in _lines(path):
        prompt = line.system + line.prompt
        votes = by_class.setdefault(line.kind, {}).setdefault(prompt, Counter())
        votes[line.answer] += max(1, line.votes - sum(one.votes for one in line.negatives))
        votes.update({one.answer: 0 for one in line.negatives})
        longest[line.kind] = max(longest[line.kind], len(line.answer))
    if not by_class:
        raise BadInput(f"{path} holds no training example", fix=FIX)
    topics = [_topic(name, prompts, longest[name]) for name, prompts in by_class.items()]
    origin = {
        "lessons": path.name,
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "prompts": sum(map(len, by_class.values())),
        "decided_differently": sum(
            sum(n > 0 for n in votes.values()) > 1 for prompts in by_class.values() for votes in prompts.values()
        ),
    }
    return Dataset(topics, origin, by_run=True)


def _topic(name: str, prompts: dict[str, Counter[str]], longest: int) -> Topic:
    def truth(prompt: str) -> Truth:
        (right, _), *others = prompts[prompt].most_common()
        return Truth((right,), [text for text, _ in others])

    def grouped(prompt: str) -> GroupedReplies:
        right, wrong = truth(prompt)
        return GroupedReplies(prompt, (right[0],), tuple((text,) for text in wrong))

    taught = [prompt for prompt in prompts if not held_out(prompt)]
    exam = [prompt for prompt in prompts if held_out(prompt)]
    if not taught or not exam:
        raise BadInput(
            f"step class {name} has {len(prompts):,} different prompts, of which {len(exam):,} are held out: "
            "both training and test need some",
            fix=f"export a longer run: one prompt in {HELD_OUT_OF} is held out, by its hash",
        )
    # One source a class, by its prompts: a class of many prompts is drawn more often.
    source = Source(float(len(taught)), len(taught), taught.__getitem__)
    return Topic(name, Basis.HELD_OUT, [source], exam, 2 * longest + 2, truth, grouped)


def _lines(path: Path) -> Iterator[Line]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                if text.strip():
                    yield _line(path, number, text)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}", fix=FIX) from error


def _line(path: Path, number: int, text: str) -> Line:
    try:
        return Line.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadInput(f"{path}, line {number}: {where}: {first['msg']}", fix=FIX) from error
