"""A text far longer than any prompt: read in slices, what is found is narrowed down, and the answer rests on that.

After recursive language models (arXiv 2512.24601): the text is an environment that steps look into, and never a prompt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from decomposers.common.schema import AnswerSchema, GivenSchema, as_schema
from decomposers.common.strict_json import object_in_before, read_object, shown, written
from decomposers.document import prompts
from decomposers.document.prompts import Reply
from decomposers.document.state import (
    END,
    NARROW,
    READ,
    SETTLE,
    UNDECIDED,
    Missing,
    Narrowing,
    OpenLine,
    Reading,
    Replied,
    ReplyCodec,
    Root,
    RootCodec,
    State,
    lines_elected,
    lines_named,
)
from decomposers.document.text import GROWTH, MARK, MOST, Finding, groups, numbered, units
from maker.plugin import (
    Before,
    Called,
    Codec,
    Done,
    Fork,
    Function,
    Input,
    InputPart,
    Oracle,
    OrFile,
    Params,
    Parts,
    Place,
    RoundDecomposer,
    Step,
    StepClass,
)

FRAME = 120
"""What a prompt holds beside the questions and the text, at most."""

READING = "the one object"
"""How replies are read, for the memo: what earlier versions read otherwise is asked again."""

LINES: Parts[Reply] = Parts(lines_named, lines_elected)
"""How the lines of a slice are voted on one by one."""


class DocumentParams(Params):
    """Parameters of `Document`.

    Args:
        input: A text file, a pattern or a folder of them (.txt, .md, .text); a path, or a URL that fsspec knows. E.g.
            ``"book.txt"``.
        question: What is asked, or the file that holds it. E.g. ``"Who wrote the letter?\\n"``.
        want: ``answer``: a short text that rests on what was found. ``count``: a number, the sum over the slices.
            ``extract``: a list of objects, each once, in the order of the text.
        schema: The JSON schema of an extracted object, a table or a file. E.g. ``{type = "object", properties = {name =
            {type = "string"}}}``.
        prompt (characters): The most characters of a prompt, its shared part included: slices are as long as that
            leaves room for.
        rounds (readings): How often the text is read at most: an answer may ask for something that was not looked for
            before.
        by_line: For an answer, vote on the lines of a slice one by one: those that win are found. Otherwise all that a
            reply names is one vote, and replies that differ in one line are rivals.
        max_tokens (tokens): Most tokens of a reply; a reply cut there is flagged.
        encoding: Of the input.
        words: Edition of what the model is told, the newest by default. In the first the examples number sentences
            that there may not be, and an answer may be asked to ask when the text is read no more. A run keeps the
            edition that it began with.
        truth: A function that a simulated model asks, ``truth(prompt)``; it returns a `Truth`. E.g.
            ``"truth.py:truth"``.
        round: How often slices and groups without a good decision are asked again. Set by ``maker retry``.
        again: Which of them: those with these outcomes. Set by ``maker retry``. E.g. ``["undecided"]``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    input: Annotated[str, Place()]
    question: Annotated[str, OrFile()]
    want: Literal["answer", "count", "extract"] = "answer"
    schema_: Annotated[dict[str, Any] | type[BaseModel] | None, OrFile(), GivenSchema()] = Field(
        default=None, alias="schema"
    )
    prompt: int = Field(default=6000, ge=1000, le=1_000_000)
    rounds: int = Field(default=3, ge=1, le=8)
    by_line: bool = Field(default=False, exclude_if=lambda value: not value)
    max_tokens: int = Field(default=256, ge=1)
    encoding: str = "utf-8"
    # The first edition is not stored: so settings and fingerprints of older runs are what they were.
    words: Annotated[Literal[1, 2], Before(1)] = Field(default=2, exclude_if=lambda value: value == 1)
    truth: Annotated[Function | Oracle | None, Called(("prompt",))] = None
    round: int = Field(default=0, ge=0, exclude_if=lambda value: not value)
    again: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)

    @model_validator(mode="after")
    def _fits(self) -> DocumentParams:
        if not self.question.strip():
            raise ValueError("question is empty")
        if (self.schema_ is None) is (self.want == "extract"):
            raise ValueError('want = "extract" needs a schema, and no other want takes one')
        if self.by_line and self.want != "answer":
            raise ValueError('by_line = true needs want = "answer": of other wants no slice names lines')
        if (schema := as_schema(self.schema_)) is not None:
            AnswerSchema(schema)
        # Two findings fit into a prompt: of two at least one is dropped, and narrowing ends.
        left = min(self.room, self.slice) if self.want == "answer" else self.slice
        if left < (least := 2 * (MOST + MARK)):
            raise ValueError(
                f"prompt = {self.prompt} leaves {left} characters for text, but {least} are needed; raise it"
            )
        return self

    @property
    def system(self) -> str:
        """The shared part of what is asked of slices."""
        if self.schema_ is not None:
            return f"{prompts.EXTRACT}{json.dumps(self.schema_, ensure_ascii=False)}\n"
        return prompts.COUNT if self.want == "count" else prompts.READ

    @property
    def room(self) -> int:
        """How many characters of a prompt are left for findings, beside all that was asked."""
        asked = len(self.question.strip()) + (self.rounds - 1) * (prompts.FOLLOW_UP + MARK * 2)
        return self.prompt - max(len(prompts.NARROW), len(prompts.SETTLE)) - asked - FRAME

    @property
    def slice(self) -> int:
        """The most characters of a slice, beside one question; where sentences are named, their numbers come to it."""
        question = len(self.question.strip())
        if self.want != "answer":
            return self.prompt - len(self.system) - question - FRAME
        return int((self.prompt - len(self.system) - max(question, prompts.FOLLOW_UP) - FRAME - MARK) / GROWTH)


class Document(RoundDecomposer[State, Reply]):
    """Answers a question about a text of any length; no prompt is longer than ``prompt`` characters.

    Every slice is read by a step of its own. For an answer it names the sentences that bear on the question: the
    findings are the text's own words. Findings that do not fit into one prompt are narrowed down, at least by half each
    time; then the answer is settled, or one more question is asked, for which the whole text is read again.

    A slice, or a group of findings, without a good decision holds nothing up: the result names it under ``missing``.
    The findings of such a group are left out. To keep all of them would not bring them to fit, and half of them
    without votes would be nobody's choice.
    """

    name: ClassVar[str] = "document"
    version: ClassVar[int] = 1
    Params = DocumentParams

    def __init__(self, params: DocumentParams, known: Sequence[InputPart] = ()) -> None:
        self.params = params
        self._question = params.question.strip()
        self._known = tuple(known)
        self._input = Input(params.input, encoding=params.encoding, known=self._known, slice=params.slice, grow=False)
        # How the findings that came last are grouped: the children of a fork all ask.
        self._grouped: tuple[Sequence[Finding], list[Sequence[Finding]]] = ((), [])
        tokens = params.max_tokens
        if (schema := as_schema(params.schema_)) is not None:
            read = partial(prompts.read_items, AnswerSchema(schema).violation)
            self._read = _step_class("extract", read, tokens, params.system)
        elif params.want == "count":
            self._read = _step_class("count", prompts.read_count, tokens, params.system)
        else:
            read_lines = _step_class("read", prompts.read_lines, tokens, params.system, self._in_slice)
            self._read = replace(read_lines, parts=LINES) if params.by_line else read_lines
        self._narrow = _step_class("narrow", prompts.read_lines, tokens, prompts.NARROW, _kept)
        self._settle = _step_class("settle", prompts.read_settled, tokens, prompts.SETTLE, self._settles)
        # What differs from a class in its words alone is counted, and watched, with it.
        told = prompts.SETTLE if params.words == 1 else prompts.SETTLE_LAST
        self._settle_last = replace(self._settle, system=told)
        several = (self._read, self._narrow, self._settle)
        self.classes: tuple[StepClass[State, Reply], ...] = several if params.want == "answer" else several[:1]
        self.state: Codec[State] = RootCodec()
        self.action: Codec[Reply] = ReplyCodec()

    def parts(self) -> tuple[InputPart, ...]:
        """Read the text through once. Raises `BadInput` where it is empty, no text, or not what it was."""
        found = self._input.scan()
        return self._known or found

    def with_parts(self, parts: Sequence[InputPart]) -> Self:
        """Return the task of what the text was when the run began."""
        return type(self)(self.params, parts)

    def prompts(self) -> str:
        """Return the question. Reads nothing."""
        return self._question

    def start(self) -> State:
        """Return the root before the text is read."""
        return Root(READ, (self._question,))

    def next(self, state: State) -> Step[State, Reply] | Fork[State] | Done:
        """Ask about a slice, about findings, or about them all; the root forks into slices and groups."""
        if isinstance(state, Root):
            return self._at_root(state)
        if isinstance(state, Reading):
            text = self._slice(state.number)
            kind = self._read
            if self.params.want == "answer":
                lines = units(text)
                kind, text = self._fitting(kind, len(lines), len(lines)), numbered(lines)
            return Step(kind, prompts.of_slice(state.question, state.number, self._slices(), text))
        if isinstance(state, Narrowing):
            count = len(state.findings)
            return Step(
                self._fitting(self._narrow, count, _most(count)), prompts.of_findings(state.asked, state.findings)
            )
        return Done(state.value)

    def apply(self, state: State, action: Reply) -> State:
        """Take a reply in."""
        if isinstance(state, Root):
            return state.settled(action)
        if isinstance(state, Narrowing):
            return Replied([state.findings[line - 1] for line in action["lines"]])
        if isinstance(state, Reading) and "lines" in action:
            lines = units(self._slice(state.number))
            taken = [(state.number, lines[line - 1]) for line in action["lines"] if _is_asked(state, line)]
            left = [line for line in action.get(UNDECIDED, ()) if _is_asked(state, line[0])]
            return Replied({"found": taken, UNDECIDED: left} if left else taken)
        return Replied(action["count"] if "count" in action else list(map(written, action["items"])))

    def expected_steps(self) -> int | None:
        """Return how many slices are read; None for an answer, which may take more steps."""
        return None if self.params.want == "answer" or self.params.round else self._slices()

    def least_steps(self) -> int | None:
        """Return how many slices are read at least, and for an answer the step that settles it."""
        return None if self.params.round else self._slices() + (self.params.want == "answer")

    def asked_again(self, state: State) -> int:
        """Return how many slices and groups the next round asks."""
        return len(self._again(state)) if isinstance(state, Root) else 0

    def sample(self, count: int, seed: int) -> list[State]:
        """Return slices that are to be read for the question."""
        slices = self._slices()
        drawn = sorted(Random(seed).sample(range(slices), min(count, slices)))
        return [Reading(self._question, number) for number in drawn]

    def oracle(self) -> Oracle | None:
        """Return the job's ``truth``."""
        return self.params.truth

    def _at_root(self, root: Root) -> Step[State, Reply] | Fork[State] | Done:
        if root.phase == READ:
            return Fork(self._slices(), _reading, self._joined, self._then, single=True, missed=_missed)
        if root.phase == NARROW:
            made = self._groups(root)
            left_out = partial(_left_out, made)
            return Fork(len(made), self._narrowing, self._joined, self._then, single=True, missed=left_out)
        if root.phase == SETTLE:
            last = self._is_last(root)
            return Step(self._settle_last if last else self._settle, prompts.of_all(root.asked, root.found, last=last))
        if root.round < self.params.round:
            again = self._again(root)
            child, missed = partial(_reading_again, again), partial(_missed_again, again)
            return Fork(len(again), child, partial(self._joined_again, again), self._then, single=True, missed=missed)
        return Done(self._result(root))

    def _fitting(self, kind: StepClass[State, Reply], sentences: int, most: int) -> StepClass[State, Reply]:
        """Return a step class with an example that so many sentences allow."""
        told = prompts.fitting(kind.system, sentences, most)
        return kind if self.params.words == 1 or told == kind.system else replace(kind, system=told)

    def _again(self, root: Root) -> list[Missing]:
        """Return the slices and groups that the next round asks."""
        return [one for one in root.missing if one.outcome in self.params.again]

    def _slices(self) -> int:
        return sum(part.rows for part in self._known or self._input.scan())

    def _slice(self, number: int) -> str:
        self._input.scan()
        text: str = self._input.row(number).values["text"]
        return text

    def _groups(self, root: Root) -> list[Sequence[Finding]]:
        if self._grouped[0] is not root.found:
            self._grouped = root.found, groups(root.found, self.params.room)
        return self._grouped[1]

    def _narrowing(self, state: State, i: int) -> State:
        assert isinstance(state, Root)  # noqa: S101 - roots alone fork
        return Narrowing(state.asked, tuple(self._groups(state)[i]))

    def _joined(self, state: State, i: int, result: Any) -> State:
        """Take in what a slice or a group has come to."""
        assert isinstance(state, Root)  # noqa: S101 - roots alone fork
        if self.params.want == "count":
            state.count += result
        elif self.params.want == "extract":
            for item in result:
                state.items.setdefault(item, read_object(item))
        else:
            _take_lines(state, Missing(len(state.asked) - 1, i, UNDECIDED), result)
        return state

    def _joined_again(self, again: Sequence[Missing], state: State, i: int, result: Any) -> State:
        """Take in what a slice or a group has come to that was asked again."""
        if self.params.want != "answer":
            return self._joined(state, i, result)
        assert isinstance(state, Root)  # noqa: S101 - roots alone fork
        return _take_lines(state, again[i], result)

    def _then(self, state: State) -> State:
        """Narrow down what was found while it does not fit into one prompt; then settle it."""
        assert isinstance(state, Root)  # noqa: S101 - roots alone fork
        again = state.phase == END
        left = [one for one in state.missing if not again or one.outcome not in self.params.again]
        missing, rounds = tuple(sorted([*left, *state.lost])), state.round + again
        if self.params.want != "answer":
            return Root(END, state.asked, items=state.items, count=state.count, missing=missing, round=rounds)
        before = () if state.phase == NARROW else state.found
        found = tuple(dict.fromkeys([*before, *state.fresh]))
        fits = len(groups(found, self.params.room)) <= 1
        return Root(SETTLE if fits else NARROW, state.asked, found, missing=missing, round=rounds)

    def _in_slice(self, state: State, reply: Reply) -> str | None:
        count = len(units(self._slice(state.number))) if isinstance(state, Reading) else 0
        return _outside(reply, count)

    def _settles(self, state: State, reply: Reply) -> str | None:
        if "answer" in reply:
            length = len(reply["answer"])
            return f"an answer of {length:,} characters" if length > prompts.ANSWER else None
        if isinstance(state, Root) and self._is_last(state):
            return "the text has been read as often as it may be"
        length = len(reply["ask"])
        if length > prompts.FOLLOW_UP:
            return f"a question of {length:,} characters"
        asked = state.asked if isinstance(state, Root) else ()
        return "it was asked before" if reply["ask"].casefold() in map(str.casefold, asked) else None

    def _is_last(self, root: Root) -> bool:
        return len(root.asked) >= self.params.rounds

    def _result(self, root: Root) -> dict[str, Any]:
        about: dict[str, Any] = {"slices": self._slices(), "slice": self.params.slice}
        if root.missing:
            about["missing"] = [self._named(one, root.asked) for one in root.missing]
        if self.params.want == "count":
            return {"count": root.count} | about
        if self.params.want == "extract":
            return {"items": [shown(item) for item in root.items.values()]} | about
        found = [finding._asdict() for finding in root.found]
        return {"answer": root.answer, "asked": list(root.asked), "found": found} | about

    def _named(self, missing: Missing, asked: Sequence[str]) -> dict[str, Any]:
        """Return a slice or a group without a good decision as the result names it, or a slice's lines without one."""
        about = {"question": asked[missing.question], "outcome": missing.outcome}
        if missing.group:
            return {"group": [finding._asdict() for finding in missing.group]} | about
        told = {"slice": missing.slice} | about
        if not missing.lines:
            return told
        texts = units(self._slice(missing.slice))
        return told | {
            "lines": [
                {"line": line.number, "text": texts[line.number - 1], "votes": line.votes, "against": line.against}
                for line in missing.lines
            ]
        }


def _step_class(
    name: str,
    read: Callable[..., Reply],
    tokens: int,
    system: str,
    check: Callable[[State, Reply], str | None] | None = None,
) -> StepClass[State, Reply]:
    """Return a step class whose replies hold one object; ``read`` takes a reply, and what finds the object in it."""
    before = partial(read, find=object_in_before)
    return StepClass(
        name, read, check or _any, tokens, system=system, verbatim=True, reading=READING, read_before=before
    )


def _any(_state: State, _reply: Reply) -> None:
    """Forbid nothing."""


def _reading(state: State, i: int) -> State:
    assert isinstance(state, Root)  # noqa: S101 - roots alone fork
    return Reading(state.asked[-1], i)


def _missed(state: State, i: int, outcome: str) -> State:
    assert isinstance(state, Root)  # noqa: S101 - roots alone fork
    state.lost.append(Missing(len(state.asked) - 1, i, outcome))
    return state


def _left_out(made: Sequence[Sequence[Finding]], state: State, i: int, outcome: str) -> State:
    assert isinstance(state, Root)  # noqa: S101 - roots alone fork
    state.lost.append(Missing(len(state.asked) - 1, made[i][0].slice, outcome, group=tuple(made[i])))
    return state


def _reading_again(again: Sequence[Missing], state: State, i: int) -> State:
    assert isinstance(state, Root)  # noqa: S101 - roots alone fork
    missing = again[i]
    if missing.group:
        return Narrowing(state.asked[: missing.question + 1], missing.group)
    return Reading(state.asked[missing.question], missing.slice, tuple(line.number for line in missing.lines))


def _missed_again(again: Sequence[Missing], state: State, i: int, outcome: str) -> State:
    assert isinstance(state, Root)  # noqa: S101 - roots alone fork
    state.lost.append(again[i]._replace(outcome=outcome))
    return state


def _is_asked(reading: Reading, line: int) -> bool:
    return not reading.lines or line in reading.lines


def _take_lines(root: Root, place: Missing, result: Any) -> Root:
    """Take in what a slice has come to: its findings, and the lines that are undecided; ``place`` says which it is."""
    found, left = (result["found"], result[UNDECIDED]) if isinstance(result, dict) else (result, ())
    root.fresh.extend(Finding(*one) for one in found)
    if left:
        lines = tuple(OpenLine(*line) for line in left)
        root.lost.append(place._replace(outcome=UNDECIDED, lines=lines))
    return root


def _most(count: int) -> int:
    """Return how many of so many findings may be kept."""
    return max(1, count // 2)


def _outside(reply: Reply, count: int) -> str | None:
    wrong = next((line for line in reply["lines"] if not 1 <= line <= count), None)
    return None if wrong is None else f"there is no sentence {wrong}: there are {count}"


def _kept(state: State, reply: Reply) -> str | None:
    count = len(state.findings) if isinstance(state, Narrowing) else 0
    most = _most(count)
    if len(reply["lines"]) > most:
        return f"{len(reply['lines'])} sentences of {count} are kept: {most} are the most"
    return _outside(reply, count)
