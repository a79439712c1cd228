"""The Towers of Hanoi: its pieces, its rules, and how both are written. Nothing here knows how to solve it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

PEGS = "ABC"
"""Peg 0 is A, where the tower stands at first; peg 2 is C, where it must go."""

EMPTY = 100
"""What an empty peg's top counts as: any disk may go there."""

_MOVE = re.compile(r"([1-9][0-9]?)([ABC])([ABC])")


class Move(NamedTuple):
    """Disk 1 is the smallest; pegs are letters."""

    disk: int
    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.disk}{self.source}{self.target}"


class MoveAndPegs(NamedTuple):
    """The paper's own form of an action: the move, and the pegs that it leads to."""

    move: Move
    pegs: str


class Board(NamedTuple):
    """Where a chain stands: the peg of each disk (disk 1 first), the move before, the moves so far.

    ``segment`` is the 0-based segment that it walks, in the tree form alone; its moves count from the tower's first.
    """

    pegs: str
    previous: Move | None
    moves: int
    segment: int | None = None


# 64 disks have 384 moves.
@lru_cache(maxsize=1000)
def read_move(text: str) -> Move:
    """Read ``12AC``. Raises ``ValueError``."""
    match = _MOVE.fullmatch(text)
    if match is None:
        raise ValueError(f"not a move: {text[:80]!r}; write it like 12AC")
    return Move(int(match[1]), match[2], match[3])


def forbidden(pegs: str, move: Move) -> str | None:
    """Say which rule of the game a move breaks, or None."""
    disk, source, target = move
    if disk > len(pegs):
        return f"there is no disk {disk}"
    if pegs[disk - 1] != source:
        return f"disk {disk} is on {pegs[disk - 1]}, not on {source}"
    if source == target:
        return f"disk {disk} stays on {source}"
    if (smaller := pegs.find(source) + 1) != disk:
        return f"disk {smaller} lies on disk {disk}"
    top = pegs.find(target) + 1
    return f"disk {top} on {target} is smaller than disk {disk}" if 0 < top < disk else None


def moved(pegs: str, move: Move) -> str:
    """Return the pegs after a move."""
    return pegs[: move.disk - 1] + move.target + pegs[move.disk :]


def tops(pegs: str) -> tuple[int, int, int]:
    """Return the top disk of each peg, `EMPTY` where there is none."""
    return pegs.find("A") + 1 or EMPTY, pegs.find("B") + 1 or EMPTY, pegs.find("C") + 1 or EMPTY


def legal_moves(pegs: str) -> list[Move]:
    """Return every move that the rules allow: two of disk 1, and at most one more."""
    return moves_of(tops(pegs))


def moves_of(tops: tuple[int, int, int]) -> list[Move]:
    """Return every move that the rules allow where these disks lie on top."""
    pegs = list(zip(tops, PEGS, strict=True))
    return [Move(disk, source, target) for disk, source in pegs for other, target in pegs if disk < other]


class MoveCodec:
    """Writes ``12AC``; shows ``{"disk": 12, "from": 0, "to": 2}``."""

    def write(self, value: Move) -> str:
        """Return the canonical text."""
        return str(value)

    def read(self, text: str) -> Move:
        """Return the move of a canonical text."""
        return read_move(text)

    def show(self, value: Move) -> dict[str, Any]:
        """Return disk and peg numbers."""
        return {"disk": value.disk, "from": PEGS.index(value.source), "to": PEGS.index(value.target)}


class MoveAndPegsCodec:
    """Writes ``12AC AABC…``; shows the move, and the pegs it leads to."""

    def write(self, value: MoveAndPegs) -> str:
        """Return the canonical text."""
        return f"{value.move} {value.pegs}"

    def read(self, text: str) -> MoveAndPegs:
        """Return the pair of a canonical text. Raises ``ValueError``."""
        move, _, pegs = text.partition(" ")
        if not pegs or set(pegs) - set(PEGS):
            raise ValueError(f"not a move and pegs: {text[:120]!r}; write them like 1AC CAA")
        return MoveAndPegs(read_move(move), pegs)

    def show(self, value: MoveAndPegs) -> dict[str, Any]:
        """Return disk and peg numbers, and the pegs after the move."""
        return MoveCodec().show(value.move) | {"pegs": value.pegs}


class MoveOfEitherCodec(MoveCodec):
    """Writes and shows the move alone, of a pair as well; what it reads is a move."""

    def write(self, value: Move | MoveAndPegs) -> str:
        """Return the canonical text."""
        return super().write(_move_of(value))

    def show(self, value: Move | MoveAndPegs) -> dict[str, Any]:
        """Return disk and peg numbers."""
        return super().show(_move_of(value))


def _move_of(value: Move | MoveAndPegs) -> Move:
    return value.move if isinstance(value, MoveAndPegs) else value


class BoardCodec:
    """Writes ``CAA 1AC 1``: pegs, previous move (0 for none), moves so far."""

    def write(self, value: Board) -> str:
        """Return the canonical text."""
        return f"{value.pegs} {value.previous or 0} {value.moves}"

    def read(self, text: str) -> Board:
        """Return the board of a canonical text. Raises ``ValueError``."""
        pegs, previous, moves = text.split(" ")
        return Board(pegs, None if previous == "0" else read_move(previous), int(moves))

    def show(self, value: Board) -> dict[str, Any]:
        """Return the board as JSON."""
        previous = None if value.previous is None else MoveCodec().show(value.previous)
        return {"pegs": value.pegs, "previous": previous, "moves": value.moves}
