"""What a microagent for the Towers of Hanoi is trained on: moves of the right way, and of boards beside it."""

from __future__ import annotations

from collections.abc import Callable

from decomposers.hanoi.rules import PEGS, Board, Move, legal_moves
from decomposers.hanoi.tree import board_after
from maker.plugin import ExampleSet


def examples(kind: str, disks: int, render: Callable[[Board], str]) -> tuple[ExampleSet, ExampleSet]:
    """Return the examples for towers of one size, half of the prompts from each.

    On the right way every disk moves as often as any other, and as often its move is the one before: drawn evenly, the
    large disks' moves, and what follows them, are so rare that a model stays wrong there. Beside it stand any boards,
    each with a move that may just have been made. A class has the prompts of all sizes, so neither is whole.
    """
    return (
        ExampleSet(kind, 2 * disks * 2 ** (disks - 1), lambda i: render(board_on_the_way(disks, i))),
        ExampleSet(kind, 3 * 3**disks, lambda i: render(board_anywhere(disks, i))),
    )


def board_on_the_way(disks: int, number: int) -> Board:
    """Return a board of the right way, before or after a disk's move: the disks take turns as ``number`` grows."""
    number, after = divmod(number, 2)
    earlier, disk = divmod(number, disks)
    # Disk d moves 2^(disks - d) times: first after 2^(d-1) - 1 moves, and then every 2^d.
    moves = (1 << disk) - 1 + ((earlier % (1 << disks - 1 - disk)) << disk + 1) + after
    # After the last move nothing is asked.
    return board_after(disks, min(moves, 2**disks - 2))


def board_anywhere(disks: int, number: int) -> Board:
    """Return any board, with a move that may just have been made."""
    number, which = divmod(number, 3)
    pegs = "".join(PEGS[number // 3**disk % 3] for disk in range(disks))
    # Undoing a move is legal, so each legal move is the reverse of one that led here.
    back = legal_moves(pegs)
    disk, source, target = back[which % len(back)]
    return Board(pegs, Move(disk, target, source), 0)
