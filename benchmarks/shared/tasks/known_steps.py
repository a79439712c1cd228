"""A task whose truth is known: classes of steps that ask for nothing but the right digit. A wrong one is counted."""

from __future__ import annotations

from typing import Any, ClassVar

from maker.plugin import Decomposer, Done, Oracle, Params, PydanticCodec, Step, StepClass, Truth

DIGITS = tuple("0123456789")


class KnownParams(Params):
    """Parameters of `Known`.

    Args:
        steps: How many steps of each class there are, one class after the other.
        key: What makes the prompts of one run different from those of another.
    """

    steps: tuple[int, ...]
    key: str = ""


def _read(text: str) -> str:
    if text not in DIGITS:
        raise ValueError("one digit is wanted")
    return text


def _truth(prompt: str) -> Truth:
    return Truth(DIGITS[:1], DIGITS[1:])


class Known(Decomposer[list[int], str]):
    """Asks for as many digits as there are steps; class i is called ``ci``, and is a role of its own.

    The state is the number of steps done, and by class how many were decided wrongly.
    """

    name: ClassVar[str] = "known"
    version: ClassVar[int] = 1
    Params = KnownParams

    def __init__(self, params: KnownParams) -> None:
        self.params = params
        self.state = PydanticCodec(list[int])
        self.action = PydanticCodec(str)
        self.classes = tuple(StepClass(f"c{i}", _read, role=f"c{i}") for i in range(len(params.steps)))
        self._kinds = [kind for kind, steps in enumerate(params.steps) for _ in range(steps)]

    def start(self) -> list[int]:
        """Nothing is done."""
        return [0] * (1 + len(self.classes))

    def next(self, state: list[int]) -> Step[list[int], str] | Done:
        """Ask for the next digit, or end."""
        if state[0] == len(self._kinds):
            wrong = sum(state[1:])
            return Done({"wrong": state[1:]}, not wrong, f"{wrong} steps wrong")
        return Step(self.classes[self._kinds[state[0]]], f"{self.params.key} {state[0]}")

    def apply(self, state: list[int], action: str) -> list[int]:
        """Count it."""
        kind = 1 + self._kinds[state[0]]
        done = [state[0] + 1, *state[1:]]
        done[kind] += action != DIGITS[0]
        return done

    def oracle(self) -> Oracle:
        """Return the truth: 0."""
        return _truth

    def expected_steps(self) -> int:
        """Return all steps."""
        return len(self._kinds)


def job(
    steps: tuple[int, ...], ks: tuple[int, ...], model: dict[str, Any], seed: int, url: str
) -> dict[str, dict[str, Any]]:
    """Return a job with a margin for each class."""
    return {
        "task": {"decomposer": f"{__file__}:Known", "steps": list(steps), "key": str(seed)},
        "model": {"kind": "simulated", **model},
        "vote": {"k": 1, "max_votes": 100_000},
        "roles": {f"c{i}": {"k": k} for i, k in enumerate(ks)},
        "run": {"seed": seed},
        "store": {"url": url, "samples": "none"},
    }
