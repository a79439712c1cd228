"""A task for the foundry's tests: two digits are added, or two words of three letters compared."""

from __future__ import annotations

from typing import Any, ClassVar

from maker.plugin import Decomposer, Done, ExampleSet, Oracle, Params, PydanticCodec, Step, StepClass, Truth


class SumsParams(Params):
    """Parameters of `Sums`: how many digits there are, what its examples are, and whether sums have kinds."""

    digits: int = 7
    whole: bool = True
    words: bool = False
    kinds: bool = False


def _number(text: str) -> int:
    if not text.strip().isdigit():
        raise ValueError(text)
    return int(text)


class Sums(Decomposer[int, int]):
    """Adds 3 and 4, once. A sum may be written with a blank; its rivals are one more, in two ways, and one less."""

    name: ClassVar[str] = "sums"
    version: ClassVar[int] = 1
    Params = SumsParams

    def __init__(self, params: SumsParams) -> None:
        self.params = params
        self.state = PydanticCodec(int)
        self.action = PydanticCodec(int)
        self.kind: StepClass[int, int] = StepClass(
            "sum", parse=_number, max_tokens=4, system="Add. ", kind_of=_kind if params.kinds else None
        )
        self.order: StepClass[int, int] = StepClass("order", parse=_number, max_tokens=4)
        self.classes = (self.kind, self.order)

    def start(self) -> int:
        """Return 0."""
        return 0

    def next(self, state: int) -> Any:
        """Ask for a sum."""
        return Step(self.kind, "3+4=") if state == 0 else Done(state)

    def apply(self, state: int, action: int) -> int:
        """Take it."""
        return action

    def examples(self) -> list[ExampleSet]:
        """Return all sums, and words where they are asked for."""
        digits = self.params.digits
        sums = ExampleSet("sum", digits**2, lambda i: f"{i // digits}+{i % digits}=", whole=self.params.whole)
        words = ExampleSet("order", 26**6, lambda i: f"{_word(i // 26**3)}?{_word(i % 26**3)}=", weight=0.5)
        zeros = ExampleSet("sum", 2 * digits, lambda i: f"{i // 2}+0=", exam="zeros")
        return [sums, *([words] if self.params.words else []), *([zeros] if self.params.kinds else [])]

    def oracle(self) -> Oracle:
        """Return what is known of both kinds of prompts."""
        return _truth


def _kind(prompt: str) -> str:
    first, second = map(int, prompt.rstrip("=").split("+"))
    return "with 0" if first * second == 0 else "without 0"


def _word(number: int) -> str:
    return "".join(chr(ord("a") + number // 26**place % 26) for place in range(3))


def _truth(prompt: str) -> Truth:
    if "?" in prompt:
        one, other = prompt.rstrip("=").split("?")
        return Truth([str(int(one < other))], [str(int(one >= other))])
    found = sum(map(int, prompt.rstrip("=").split("+")))
    return Truth([f"{found}", f" {found}"], [f"{found + 1}", f"0{found + 1}", f"{abs(found - 1)}", "?"])
