"""Merge sort, one comparison of two items a step."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BeforeValidator, model_validator

from decomposers.common.last_line import AnyLastLine, LastLine
from decomposers.common.right_way import drawn
from decomposers.sort import examples, kinds, oracle, prompts
from decomposers.sort.rules import (
    SIGNS,
    Item,
    Part,
    fresh,
    half,
    heads,
    items_of,
    merged,
    most_comparisons,
    number_text,
    where,
    with_half,
)
from maker.plugin import (
    Codec,
    Decomposer,
    Done,
    ExampleSet,
    Fork,
    Oracle,
    OrFile,
    Params,
    PydanticCodec,
    Step,
    StepClass,
)

ENGLISH_TOKENS = 256
T = TypeVar("T")


class SortParams(Params):
    """Parameters of `Sort`.

    Args:
        items: What is to be sorted: a list, or a file with one item a line; at most 10,000 items of at most 32
            characters, without blanks. None at all, one, and equal ones are lists as any others. E.g. ``[3, 1, 2]``.
        order: ``number``: integers, as texts or as integers, by their value; ``007`` counts as 7, and stays as it is
            written. ``word``: texts by the code points of their letters: capitals before small letters.
        prompt: ``compact``: for a small microagent; integers are shown column by column. ``english``: with an
            explanation, for a general model.
    """

    items: Annotated[tuple[Item, ...], OrFile(), BeforeValidator(items_of)]
    order: Literal["number", "word"] = "number"
    prompt: Literal["compact", "english"] = "compact"

    @model_validator(mode="after")
    def _fits(self) -> SortParams:
        if self.order == "number":
            for number, item in enumerate(self.items, 1):
                try:
                    number_text(item)
                except ValueError as error:
                    raise ValueError(f"{where(number)}: {error}") from None
        return self


class Sort(Decomposer[Part, str]):
    """Sorts by comparisons, each of which the model decides; the result is the list of the items in order.

    Halves are sorted side by side, down to blocks of 16 items, which are one chain each. It is stable: equal items stay
    in the order in which they came. All three signs are legal answers, and nothing looks at the order in the end: a
    wrong comparison is a wrong place.
    """

    name: ClassVar[str] = "sort"
    version: ClassVar[int] = 1
    Params = SortParams
    instance: ClassVar[frozenset[str]] = frozenset({"items"})

    def __init__(self, params: SortParams) -> None:
        self.params = params
        self.state: Codec[Part] = PydanticCodec(Part)
        self.action: Codec[str] = SignCodec()
        english = params.prompt == "english"
        self._by_column = params.order == "number" and not english
        self._ask = prompts.ask_by_column if self._by_column else prompts.ask
        self._texts = [number_text(item) if params.order == "number" else str(item) for item in params.items]
        self._kind: StepClass[Part, str] = StepClass(
            prompts.COMPARE,
            parse=LastLine(_parse) if english else _parse,
            read_before=AnyLastLine(_parse) if english else None,
            max_tokens=ENGLISH_TOKENS if english else 3,
            system=prompts.SYSTEM[params.order] if english else "",
            kind_of=self._of_form(kinds.by_column, kinds.by_value, kinds.by_alphabet),
        )
        self.classes = (self._kind,)

    def start(self) -> Part:
        """Return the whole list."""
        return fresh(0, len(self._texts))

    def next(self, state: Part) -> Step[Part, str] | Fork[Part] | Done:
        """Compare the heads of two runs, fork into halves, or end: a part with item numbers, the whole with items."""
        if len(state.runs) > 1:
            return Step(self._kind, self._ask(*self._heads(state)))
        run = state.runs[0] if state.runs else ()
        if len(run) < state.stop - state.first:
            return Fork(2, half, self._join)
        whole = len(run) == len(self._texts)
        return Done([self.params.items[item] for item in run] if whole else list(run))

    def apply(self, state: Part, action: str) -> Part:
        """Take an item into the merged run; ``action`` compares the two as the prompt showed them."""
        return merged(state, action if prompts.stays(*self._heads(state)) else prompts.turned(action))

    def prompts(self) -> str:
        """Return one prompt: all are of its form."""
        return self._ask("7", "12")

    def expected_steps(self) -> int:
        """Return the most comparisons that it can take: about 4 % more than it takes of 500 items in random order."""
        return most_comparisons(len(self._texts))

    def sample(self, count: int, seed: int) -> list[Part]:
        """Return parts on the right way."""
        return drawn(self, count, seed)

    def examples(self) -> tuple[ExampleSet, ...]:
        """Return pairs of numbers of up to 6 digits, or of words of up to 8 small letters, hard ones among them."""
        return examples.examples(self.params.order, self._ask)

    def oracle(self) -> Oracle:
        """Return how two items compare, as a function of the prompt."""
        return self._of_form(oracle.by_column, oracle.by_value, oracle.by_alphabet)

    def _of_form(self, columns: T, values: T, words: T) -> T:
        """Return what fits the form of the prompts: numbers column by column, numbers as they are, or words."""
        if self._by_column:
            return columns
        return values if self.params.order == "number" else words

    def _heads(self, state: Part) -> tuple[str, str]:
        left, right = heads(state)
        return self._texts[left], self._texts[right]

    def _join(self, state: Part, i: int, result: Any) -> Part:
        if len(state.runs) != i:
            raise ValueError(f"half {i} comes in when {len(state.runs)} are there")
        return with_half(state, result)


class SignCodec:
    """Writes a sign as it is."""

    def write(self, value: str) -> str:
        """Return the sign."""
        return value

    def read(self, text: str) -> str:
        """Return the sign. Raises ``ValueError`` for any other text."""
        if text not in tuple(SIGNS):
            raise ValueError(f"not a sign: {text[:80]!r}; write one of < = >")
        return text

    def show(self, value: str) -> str:
        """Return the sign."""
        return value


def _parse(text: str) -> str:
    return SignCodec().read(text.strip())
