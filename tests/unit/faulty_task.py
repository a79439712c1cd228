"""A task whose chains break the contract of a decomposer, each in its own way, for the tests of user-written code."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

from maker.plugin import Codec, Decomposer, Done, Fork, Oracle, Params, PydanticCodec, Step, StepClass, Truth

SOUND = "sound"
STEPS = 3
HALF = "\ud83d"
"""Half a surrogate pair, which JSON can spell and UTF-8 cannot."""


class Mute(ValueError):
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class FaultyParams(Params):
    """The faults of the chains, one each."""

    faults: tuple[str, ...]


class _State(PydanticCodec[list[Any]]):
    def write(self, value: list[Any]) -> Any:
        return None if value[0] == "state none" and value[1] == 5 else super().write(value)


class _Action(PydanticCodec[str]):
    def write(self, value: str) -> Any:
        return {"write number": 7, "write bytes": b"x"}.get(value) or super().write(value)

    def key(self, value: str) -> Any:
        return 7 if value == "key number" else self.write(value)


class Faulty(Decomposer[list[Any], str]):
    """The root forks into a chain a fault, each of three steps; the second one goes wrong, or what comes after all."""

    name: ClassVar[str] = "faulty"
    version: ClassVar[int] = 1
    Params: ClassVar[type[Params]] = FaultyParams

    def __init__(self, params: FaultyParams) -> None:
        self.params = params
        self.state: Codec[list[Any]] = _State(list)
        self.action: Codec[str] = _Action(str)
        self.kind = StepClass("letter", parse=_parse, check=_check)
        self.classes = (self.kind,)

    def start(self) -> list[Any]:
        return ["root", 0]

    def next(self, state: list[Any]) -> Any:
        fault, done = state
        if fault == "root":
            return Done("all") if done else Fork(len(self.params.faults), self._child, then=lambda state: ["root", 1])
        if done == 1 and fault in MOVES:
            return MOVES[fault](self)
        if done == STEPS:
            return ENDS.get(fault, Done)("good")
        return Step(self.kind, f"{fault} {done}")

    def apply(self, state: list[Any], action: str) -> list[Any]:
        fault, done = state
        if fault == "apply exits" and done == 1:
            raise SystemExit(3)
        return [fault, done + 1]

    def oracle(self) -> Oracle:
        return _truth

    def _child(self, state: list[Any], number: int) -> list[Any]:
        return [self.params.faults[number], 0]


def _step(prompt: Any) -> Any:
    return lambda task: Step(task.kind, prompt)


def _fork(count: Any, **more: Any) -> Any:
    return lambda task: Fork(count, lambda state, number: [SOUND, STEPS], **{"then": lambda state: [SOUND, 1], **more})


def _exits(task: Faulty) -> Any:
    raise SystemExit("no more")


MOVES = {
    "prompt none": _step(None),
    "prompt bytes": _step(b"bytes"),
    "prompt half": _step(f"half {HALF}"),
    "kind none": lambda task: Step(None, "prompt"),
    "next none": lambda task: None,
    "next exits": _exits,
    "fork huge": _fork(10**30),
    "fork wide": _fork(2**24),
    "fork single": _fork(2, single="no"),
    "fork child": lambda task: Fork(1, None, then=lambda state: [SOUND, 1]),
    "join mute": _fork(1, join=lambda state, number, result: _mute()),
    "then none": _fork(1, then=lambda state: ["state none", 5]),
    "then exits": _fork(1, then=_exits),
}
ENDS: dict[str, Any] = {
    "reason none": functools.partial(Done, ok=False, reason=None),
    "reason object": functools.partial(Done, reason=object()),
}


def _mute() -> Any:
    raise Mute


def _parse(text: str) -> str:
    if text == "parse exits":
        raise SystemExit(text)
    if text == "parse mute":
        raise Mute
    return text


def _check(state: list[Any], action: str) -> Any:
    return {"check true": True, "check false": False, "check dict": {"why": 1}, "check long": "x" * 10**6}.get(action)


def _truth(prompt: str) -> Any:
    fault, done = prompt.rsplit(" ", 1)
    if done == "1" and fault.startswith("truth"):
        return {"truth none": None, "truth empty": Truth((), ()), "truth text": Truth("text", ())}.get(
            fault,
            Truth((7,), ()),  # type: ignore[arg-type]
        )
    return Truth((fault if done == "1" else "x",), ())
