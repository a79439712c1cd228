"""Long multiplication, one digit times one digit a step."""

from __future__ import annotations

import random
import re
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator

from decomposers.common.last_line import AnyLastLine, LastLine
from decomposers.multiply import oracle, prompts
from decomposers.multiply.rules import Columns, ColumnsCodec, Sum, SumCodec, factor, put_down, read_sum
from maker.plugin import Codec, Decomposer, Done, ExampleSet, Oracle, Params, Step, StepClass

ENGLISH_TOKENS = 256


class MultiplyParams(Params):
    """Parameters of `Multiply`.

    Args:
        a: The first factor: a whole number from 0 on, of at most 1,000 digits, as a text or an integer. Zeros before it
            and white space around it mean nothing; signs, and blanks or other marks between its digits, are refused.
            E.g. ``"12345"``.
        b: The second factor, likewise. E.g. ``"678"``.
        prompt: ``compact``: for a small microagent. ``english``: with an explanation, for a general model.
    """

    a: Annotated[str, BeforeValidator(factor)]
    b: Annotated[str, BeforeValidator(factor)]
    prompt: Literal["compact", "english"] = "compact"


class Multiply(Decomposer[Columns, Sum]):
    """Multiplies row by row: each digit of ``b``, ones first, times each digit of ``a``, added to what stands there.

    The model decides each digit step: the product of two digits, plus the digit in the column, plus the carry, which
    is 99 at most. The program finds the digits and puts down what was decided. Any two digits are a legal answer, and
    nothing looks at the product in the end: one wrong step is a wrong product.
    """

    name: ClassVar[str] = "multiply"
    version: ClassVar[int] = 1
    Params = MultiplyParams
    instance: ClassVar[frozenset[str]] = frozenset({"a", "b"})

    def __init__(self, params: MultiplyParams) -> None:
        self.params = params
        self._across = len(params.a)
        self.state: Codec[Columns] = ColumnsCodec()
        self.action: Codec[Sum] = SumCodec()
        english = params.prompt == "english"
        self._kind: StepClass[Columns, Sum] = StepClass(
            prompts.DIGIT,
            parse=LastLine(_read_line) if english else _parse,
            read_before=AnyLastLine(_read_line) if english else None,
            max_tokens=ENGLISH_TOKENS if english else 4,
            system=prompts.SYSTEM if english else "",
        )
        self.classes = (self._kind,)

    def start(self) -> Columns:
        """Return empty columns."""
        return Columns(0, 0, "0" * (self._across + len(self.params.b)))

    def next(self, state: Columns) -> Step[Columns, Sum] | Done:
        """Ask for the next digit; or end, with the product as a text."""
        row, place = divmod(state.step, self._across)
        if row == len(self.params.b):
            return Done(state.digits[::-1].lstrip("0") or "0")
        first, second = self.params.a[-1 - place], self.params.b[-1 - row]
        column = state.digits[row + place]
        return Step(self._kind, prompts.ask(int(first), int(second), int(column), state.carry))

    def apply(self, state: Columns, action: Sum) -> Columns:
        """Put the digit down, and remember the carry."""
        return put_down(state, self._across, action)

    def prompts(self) -> str:
        """Return one prompt: all are of its form."""
        return prompts.ask(3, 7, 0, 4)

    def expected_steps(self) -> int:
        """Return the product of the two numbers of digits."""
        return self._across * len(self.params.b)

    def sample(self, count: int, seed: int) -> list[Columns]:
        """Return columns on the right way, as arithmetic knows them."""
        steps = range(self.expected_steps())
        picked = sorted(random.Random(seed).sample(steps, min(count, len(steps))))
        return [oracle.columns_before(self.params.a, self.params.b, step) for step in picked]

    def examples(self) -> tuple[ExampleSet, ...]:
        """Return all 3,025 prompts."""
        return prompts.EXAMPLES

    def oracle(self) -> Oracle:
        """Return the sum as a function of the prompt."""
        return oracle.truth


def _parse(text: str) -> Sum:
    return read_sum(text.strip())


def _read_line(line: str) -> Sum:
    return read_sum(line.zfill(2) if re.fullmatch("[0-9]", line) else line)
