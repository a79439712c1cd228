"""A task of breadth for the benchmarks: the root forks into many chains, each of which moves disks of its own tower.

The steps are those of Hanoi's chain, so that one chain and a thousand differ in nothing but their number.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from decomposers.hanoi import Hanoi, HanoiParams
from decomposers.hanoi.rules import Board, BoardCodec
from maker.plugin import Codec, Decomposer, Done, Fork, Next, Oracle, Params

DISKS = 20


class Joined(NamedTuple):
    """Where the root stands: how many of its chains are done."""

    chains: int


class TowersParams(Params):
    """Parameters of `Towers`.

    Args:
        chains: Number of chains.
        moves: Steps of each.
    """

    chains: int = Field(default=1000, ge=1)
    moves: int = Field(default=100, ge=1, lt=2**DISKS)


class StateCodec:
    """Writes a chain's board as Hanoi does, and the root as ``joined 17``."""

    def __init__(self) -> None:
        self._board = BoardCodec()

    def write(self, value: Board | Joined) -> str:
        """Return the canonical text."""
        return f"joined {value.chains}" if isinstance(value, Joined) else self._board.write(value)

    def read(self, text: str) -> Board | Joined:
        """Return the state of a canonical text. Raises ``ValueError``."""
        return Joined(int(text[7:])) if text.startswith("joined ") else self._board.read(text)

    def show(self, value: Board | Joined) -> Any:
        """Return the state as JSON."""
        return {"joined": value.chains} if isinstance(value, Joined) else self._board.show(value)


class Towers(Decomposer[Board | Joined, Any]):
    """Forks once, joins by counting, and is done."""

    name: ClassVar[str] = "towers"
    version: ClassVar[int] = 1
    Params = TowersParams

    def __init__(self, params: TowersParams) -> None:
        self.params = params
        self._hanoi = Hanoi(HanoiParams(disks=DISKS))
        self.state: Codec[Board | Joined] = StateCodec()
        self.action = self._hanoi.action
        self.classes = self._hanoi.classes  # type: ignore[assignment]

    def start(self) -> Joined:
        """Return the root before its fork."""
        return Joined(0)

    def next(self, state: Board | Joined) -> Next[Board | Joined, Any]:
        """Fork, ask for a move, or end."""
        if isinstance(state, Joined):
            if state.chains == self.params.chains:
                return Done({"chains": state.chains})
            return Fork(self.params.chains, self._child, self._join)
        if state.moves == self.params.moves:
            return Done(state.moves)
        return self._hanoi.next(state)  # type: ignore[return-value]

    def apply(self, state: Board | Joined, action: Any) -> Board:
        """Move the disk."""
        assert isinstance(state, Board)  # noqa: S101 - for the type checker: the root decides no step
        return self._hanoi.apply(state, action)

    def expected_steps(self) -> int:
        """Return the moves of all chains."""
        return self.params.chains * self.params.moves

    def oracle(self) -> Oracle:
        """Return Hanoi's."""
        return self._hanoi.oracle()

    def _child(self, _state: Board | Joined, _number: int) -> Board:
        return self._hanoi.start()

    def _join(self, state: Board | Joined, _number: int, _result: Any) -> Joined:
        assert isinstance(state, Joined)  # noqa: S101 - for the type checker: only the root forks
        return Joined(state.chains + 1)
