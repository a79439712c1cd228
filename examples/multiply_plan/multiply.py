"""Multiplication by a plan that a model proposes: a product is broken into products of digits, and these are added."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from decomposers.recursive import Prompts, Recursive, RecursiveParams
from maker.plugin import Oracle, PydanticCodec, Truth

DIGITS = 1000
"""Most digits of a factor."""


class Product(NamedTuple):
    """Two factors, 0 or more."""

    a: int
    b: int


class ProductCodec:
    """Writes ``347 * 86``."""

    def write(self, value: Product) -> str:
        """Return the canonical text: no zeros before a number, one blank around the sign."""
        return f"{value.a} * {value.b}"

    def read(self, text: str) -> Product:
        """Return the product of a text. Raises ``ValueError`` for any but two numbers of digits alone."""
        found = re.fullmatch(r"\s*([0-9]+)\s*\*\s*([0-9]+)\s*", text)
        if found is None or max(map(len, found.groups())) > DIGITS:
            raise ValueError(f"{text[:80]!r} is no product of two numbers of up to {DIGITS} digits, as 347 * 86 is")
        return Product(int(found[1]), int(found[2]))

    def show(self, value: Product) -> str:
        """Return the canonical text."""
        return self.write(value)


class MultiplyParams(RecursiveParams):
    """Parameters of `Multiply`: ``problem`` is a product, as in ``347 * 86``. There is one composition."""

    operations: tuple[str, ...] = ("add",)
    max_depth: int = 2
    max_parts: int = DIGITS


class Multiply(Recursive[Product, int]):
    """Multiplies: the decomposer says which products, the solver multiplies two digits, the composer adds.

    The checks know what may be broken, and that a part is no larger than the whole; not whether parts add up to it.
    """

    name: ClassVar[str] = "multiply_plan"
    version: ClassVar[int] = 1
    Params = MultiplyParams
    goals = ProductCodec()
    answers = PydanticCodec(int)
    words = Prompts(
        decomposer="""\
Break a product into a sum of simpler products. If the second factor has more than one digit other than 0, split it into
its digits, each with the zeros that its place asks for. For 347 * 806 reply
{"parts": [{"goal": "347 * 800"}, {"goal": "347 * 6"}], "compose": "add"}
Else, if the first factor has more than one digit other than 0, split that one so. For 347 * 80 reply
{"parts": [{"goal": "300 * 80"}, {"goal": "40 * 80"}, {"goal": "7 * 80"}], "compose": "add"}
If neither has, reply that it is not broken. For 300 * 80 reply
{"atomic": true}

Product: {{goal}}
Plan: """,
        solver="Multiply. Reply with the number alone.\n\nProduct: {{goal}}\nAnswer: ",
        composer="{{compose}} what the parts came to. Reply with the number alone.\n\n{{parts}}Sum: ",
        discriminator="""\
Which of these sums is the product? Reply with its number alone.

Product: {{goal}}
{{plans}}Number: """,
    )

    def check_plan(self, goal: Product, parts: Sequence[Product], compose: str) -> str | None:
        """Say why a plan cannot be: a product of two digits is not broken, another one is, into no larger ones."""
        small = _digits(goal.a) <= 1 and _digits(goal.b) <= 1
        if not parts:
            return None if small else f"{goal.a} * {goal.b} is more than a product of two digits"
        if small:
            return f"{goal.a} * {goal.b} is a product of two digits"
        larger = next((part for part in parts if part.a > goal.a or part.b > goal.b), None)
        return f"{larger.a} * {larger.b} is no part of {goal.a} * {goal.b}" if larger else None

    def check_answer(self, goal: Product, answer: int) -> str | None:
        """Say why an answer cannot be: it is below 0."""
        return f"{answer} is below 0" if answer < 0 else None

    def oracle(self) -> Oracle:
        """Return what is right and wrong, for a simulated model."""
        return truth


def truth(prompt: str) -> Truth:
    """Return right and wrong replies: wrong plans lose a zero or a part, wrong numbers are off by one or by ten."""
    if prompt.endswith("Sum: "):
        return _near(sum(map(int, re.findall(r"^Part: .* => (\d+)$", prompt, re.MULTILINE))))
    found = re.search(r"^Product: (\d+) \* (\d+)$", prompt, re.MULTILINE)
    if found is None:
        raise ValueError(f"a prompt without a product: {prompt[-120:]!r}")
    product = Product(int(found[1]), int(found[2]))
    if prompt.endswith("Answer: "):
        return _near(product.a * product.b)
    if prompt.endswith("Number: "):
        listed = {json.dumps(json.loads(line), sort_keys=True): n
                  for n, line in re.findall(r"^(\d+)\. (.*)$", prompt, re.MULTILINE)}  # fmt: skip
        right = listed.pop(json.dumps(json.loads(_written(_right(product))), sort_keys=True), None)
        return Truth((right or "1",), tuple(listed.values()))
    parts = _right(product)
    if not parts:
        return Truth((_written(parts),), ())
    short = [Product(p.a // 10, p.b) if p.b == product.b else Product(p.a, p.b // 10) for p in parts[:1]]
    return Truth((_written(parts),), (_written([*short, *parts[1:]]), _written(parts[:-1])))


def _near(value: int) -> Truth:
    return Truth((str(value),), (str(value + 1), str(value + 10)))


def _right(product: Product) -> list[Product]:
    """Return the parts of a product, [] where it is atomic."""
    a, b = product
    if _digits(b) > 1:
        return [Product(a, one) for one in _places(b)]
    return [Product(one, b) for one in _places(a)] if _digits(a) > 1 else []


def _places(number: int) -> list[int]:
    text = str(number)
    return [int(digit) * 10 ** (len(text) - place) for place, digit in enumerate(text, 1) if digit != "0"]


def _digits(number: int) -> int:
    return sum(digit != "0" for digit in str(number))


def _written(parts: Sequence[Product]) -> str:
    if not parts:
        return '{"atomic": true}'
    return json.dumps({"parts": [{"goal": ProductCodec().write(part)} for part in parts], "compose": "add"})
