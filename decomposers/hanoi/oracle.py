"""The strategy, for simulated models and tests alone: the decomposer and its checks never ask it."""

from __future__ import annotations

from decomposers.hanoi.prompts import next_peg, read
from decomposers.hanoi.rules import Move, legal_moves, moved
from maker.plugin import Truth


def strategic_move(way: str, previous: Move | None, pegs: str, legal: list[Move]) -> Move:
    """Return the strategy's move among the legal ones: disk 1 in its cycle and the only other one, in turn.

    Off the right path there may be no other legal move (all disks on one peg); then disk 1 moves again.
    """
    if previous is not None and previous.disk == 1:
        for move in legal:
            if move.disk != 1:
                return move
    return Move(1, pegs[0], next_peg(way, pegs[0]))


def move_truth(prompt: str) -> Truth:
    """Return the right move and the other legal ones, as replies."""
    right, wrong = _moves(prompt)
    return Truth([str(right)], [str(move) for move in wrong])


def pair_truth(prompt: str) -> Truth:
    """Return the same in the form that also writes the pegs after the move."""
    pegs = read(prompt)[2]
    right, wrong = _moves(prompt)
    return Truth([_pair(right, pegs)], [_pair(move, pegs) for move in wrong])


def _pair(move: Move, pegs: str) -> str:
    return f"{move} {moved(pegs, move)}"


def _moves(prompt: str) -> tuple[Move, list[Move]]:
    """Return the right move and the other legal ones."""
    way, previous, pegs = read(prompt)
    legal = legal_moves(pegs)
    right = strategic_move(way, previous, pegs, legal)
    return right, [move for move in legal if move != right]
