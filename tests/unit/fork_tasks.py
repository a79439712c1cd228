"""Tasks that fork, for the tests of forks: one whose shape a test chooses, and others that are broken on purpose.

In all of them the letters so far are hashed into the state, and the prompt shows two bits of the hash: a vote, a result
or a join in another order changes all that follows. States are lists that ``apply`` and ``join`` change in place, as
they may.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, ClassVar, TypeAlias

from maker.plugin import Codec, Decomposer, Done, Fork, Oracle, Params, PydanticCodec, Step, StepClass, Truth

LETTERS = "abcde"
PROMPTS = 4

Shape: TypeAlias = dict[str, Any]
"""What a chain does: ``steps`` says how many steps come before each fork and after the last; ``forks`` holds the forks,
each with a shape per child, or with a number of ``singles``. A number in ``wrong`` is a child that ends wrong; one in
``lost`` cannot be made, and the result of one in ``refused`` is not joined. A ``lenient`` fork goes on without wrong
and lost ones, and without undecided ones."""


def leaf(steps: int) -> Shape:
    """Return the shape of a chain without forks."""
    return {"steps": [steps], "forks": []}


def count(shape: Shape) -> int:
    """Return how many steps a task of this shape takes, those of all its chains together."""
    inner = sum(fork.get("singles", 0) + sum(map(count, fork.get("children", ()))) for fork in shape["forks"])
    return int(sum(shape["steps"]) + inner)


def hashed(*parts: Any) -> str:
    """Return a short hash over parts, in their order."""
    return blake2b("/".join(map(str, parts)).encode(), digest_size=5).hexdigest()


def _parse(text: str) -> str:
    if text not in tuple(LETTERS):
        raise ValueError(f"one letter of {LETTERS} is wanted")
    return text


def _truth(prompt: str) -> Truth:
    turn = int(prompt[-1])
    letters = LETTERS[turn:] + LETTERS[:turn]
    return Truth((letters[0],), tuple(letters[1:]))


class _Spelling(Decomposer[list[Any], str]):
    """Asks for letters. A state is a list that ends with a hash and, before it, the number of steps done."""

    version: ClassVar[int] = 1

    def __init__(self, params: Any) -> None:
        self.params = params
        self.state: Codec[list[Any]] = PydanticCodec(list)
        self.action: Codec[str] = PydanticCodec(str)
        self.kinds = tuple(StepClass(name, parse=_parse, check=self._check, max_tokens=14) for name in ("even", "odd"))
        self.classes = self.kinds

    def apply(self, state: list[Any], action: str) -> list[Any]:
        """Take a letter into the hash."""
        state[-2] += 1
        state[-1] = hashed(state[-1], action)
        return state

    def oracle(self) -> Oracle:
        """Return one letter as right, the others as wrong."""
        return _truth

    def ask(self, state: list[Any]) -> Step[list[Any], str]:
        """Return a step whose prompt is one of a few."""
        return Step(self.kinds[state[-2] % 2], f"Choose a letter. {int(state[-1][0], 16) % PROMPTS}")

    def _check(self, state: list[Any], letter: str) -> str | None:
        forbidden = LETTERS[(int(state[-1][0], 16) % PROMPTS + 4) % len(LETTERS)]
        return f"{letter} is forbidden after {state[-1]}" if letter == forbidden else None


class TreeParams(Params):
    """The shape of the root chain."""

    shape: dict[str, Any]


class Tree(_Spelling):
    """A tree of chains of any shape.

    A state is [address, forks joined, children joined, steps done since, hash]; an address names for every fork on the
    way from the root its number in its chain, and the child.
    """

    name: ClassVar[str] = "tree"
    Params = TreeParams

    def start(self) -> list[Any]:
        """Return the root."""
        return [[], 0, 0, 0, hashed("root")]

    def next(self, state: list[Any]) -> Any:
        """Ask for a letter, fork, or end, as the shape says."""
        address, forks, _, done, letters = state
        shape = self._shape(address)
        if done < shape["steps"][forks]:
            return self.ask(state)
        if forks == len(shape["forks"]):
            wrong = shape.get("wrong", "")
            return Done({"at": address, "letters": letters}, ok=not wrong, reason=wrong)
        fork = shape["forks"][forks]
        singles = "singles" in fork
        number = fork["singles"] if singles else len(fork["children"])
        missed = self._missed if fork.get("lenient") else None
        return Fork(number, self._child, self._join if fork.get("join", True) else None, single=singles, missed=missed)

    def expected_steps(self) -> int:
        """Return the number of steps of all chains."""
        return count(self.params.shape)

    def _shape(self, address: list[list[int]]) -> Shape:
        shape = self.params.shape
        for fork, child in address:
            inner = shape["forks"][fork]
            wrong = {"wrong": f"child {child} is wrong"} if child in inner.get("wrong", ()) else {}
            shape = leaf(1) | wrong if "singles" in inner else inner["children"][child] | wrong
        return shape

    def _child(self, state: list[Any], i: int) -> list[Any]:
        address, forks, _, _, letters = state
        if i in self._shape(address)["forks"][forks].get("lost", ()):
            raise ValueError(f"there is no child {i}")
        return [[*address, [forks, i]], 0, 0, 0, hashed(letters, i)]

    def _join(self, state: list[Any], i: int, result: Any) -> list[Any]:
        address, forks, joined, _, _ = state
        if i != joined or result["at"] != [*address, [forks, i]]:
            raise ValueError(f"{result['at']} is joined as child {i} of {address}, after {joined} children")
        if i in self._shape(address)["forks"][forks].get("refused", ()):
            raise ValueError(f"child {i} does not fit")
        return self._folded(state, i, result["letters"])

    def _missed(self, state: list[Any], i: int, outcome: str) -> list[Any]:
        if i != state[2]:
            raise ValueError(f"child {i} is missed after {state[2]} children")
        return self._folded(state, i, outcome)

    def _folded(self, state: list[Any], i: int, told: str) -> list[Any]:
        address, forks, _, _, letters = state
        fork = self._shape(address)["forks"][forks]
        last = i + 1 == (fork["singles"] if "singles" in fork else len(fork["children"]))
        state[1:] = [forks + last, 0 if last else i + 1, 0 if last else state[3], hashed(letters, i, told)]
        return state


class BrokenParams(Params):
    """What is broken, in which child, and how many children there are."""

    fault: str
    at: int = 1
    children: int = 3
    single: bool = False


class Broken(_Spelling):
    """A root that makes a step, forks, and ends; something is wrong with it, or with one of its children.

    A state is [child or None, children joined, steps done, hash].
    """

    name: ClassVar[str] = "broken"
    Params = BrokenParams

    def start(self) -> list[Any]:
        """Return the root."""
        return [None, 0, 0, hashed("root")]

    def next(self, state: list[Any]) -> Any:
        """Ask, fork or end, but for the fault."""
        child, joined, done, letters = state
        fault = self.params.fault if child in (None, self.params.at) else ""
        if child is not None:
            return self._in_child(fault, state)
        if done == 0:
            return self.ask(state)
        if joined == self.params.children and fault != "unchanged":
            return Done(letters)
        if fault == "impure":
            self.asked = getattr(self, "asked", 0) + 1
            if self.asked > 1:
                return self.ask(state)
        number = {"negative": -1, "fraction": 2.5, "none": 0}.get(fault, self.params.children)
        fold = {"unchanged": self._unchanged, "map": None}.get(fault, self._join)
        return Fork(number, self._child, fold, single=self.params.single)

    def _in_child(self, fault: str, state: list[Any]) -> Any:
        child, _, done, letters = state
        if fault == "at once":
            return Done(letters)
        if fault == "next" and done:
            raise KeyError("lost in next")
        if fault == "nested" and done:
            return Fork(-1, self._child)
        steps = 1 if self.params.single else 2
        if done < steps + (fault == "more"):
            return self.ask(state)
        odd = {"text": "\ud800", "tuple": (child, {1: letters}), "no json": {child}}
        return Done(
            odd.get(fault, letters), ok=fault != "wrong", reason="the goal was missed" if fault == "wrong" else ""
        )

    def apply(self, state: list[Any], action: str) -> list[Any]:
        """Take a letter into the hash."""
        if self.params.fault == "apply" and state[0] == self.params.at:
            raise KeyError("lost in apply")
        return super().apply(state, action)

    def _child(self, state: list[Any], i: int) -> list[Any]:
        if self.params.fault == "child" and i == self.params.at:
            raise KeyError("lost in child")
        return [i, 0, 0, hashed(state[-1], i)]

    def _join(self, state: list[Any], i: int, result: Any) -> list[Any]:
        if self.params.fault == "join" and i == self.params.at:
            raise ValueError("it does not fit")
        return [None, state[1] + 1, state[2], hashed(state[-1], i, repr(result))]

    def _unchanged(self, state: list[Any], i: int, result: Any) -> list[Any]:
        return state


class DeepParams(Params):
    """How many forks stand within one another."""

    forks: int


class Deep(_Spelling):
    """A step at the bottom of forks into one child each.

    A state is [forks below, children joined, steps done, hash].
    """

    name: ClassVar[str] = "deep"
    Params = DeepParams

    def start(self) -> list[Any]:
        """Return the root."""
        return [self.params.forks, 0, 0, hashed("root")]

    def next(self, state: list[Any]) -> Any:
        """Fork, ask at the bottom, end."""
        below, joined, done, letters = state
        if joined or done:
            return Done(letters)
        return Fork(1, self._child, self._join) if below else self.ask(state)

    def _child(self, state: list[Any], i: int) -> list[Any]:
        return [state[0] - 1, 0, 0, hashed(state[-1], i)]

    def _join(self, state: list[Any], i: int, result: Any) -> list[Any]:
        return [state[0], 1, 0, hashed(state[-1], i, result)]
