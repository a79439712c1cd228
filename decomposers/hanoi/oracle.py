"""The strategy, for simulated models and tests alone: the decomposer and its checks never ask it."""

from __future__ import annotations

from functools import lru_cache
from itertools import chain

from decomposers.hanoi.prompts import next_peg, read
from decomposers.hanoi.rules import Move, moved, moves_of, read_move, tops
from maker.plugin import Truth


def strategic_move(way: str, legal: list[Move], *, rests: bool) -> Move:
    """Return the strategy's move among the legal ones: disk 1 in its cycle and the only other one, in turn.

    ``rests`` says that disk 1 has moved just now. Off the right path there may be no other legal move (all disks on one
    peg); then it moves again.
    """
    if rests:
        for move in legal:
            if move.disk != 1:
                return move
    source = next(move.source for move in legal if move.disk == 1)
    return Move(1, source, next_peg(way, source))


def move_truth(prompt: str) -> Truth:
    """Return the right move and the other legal ones, as replies."""
    way, previous, pegs = read(prompt)
    return _move_truth(way, previous is not None and previous.disk == 1, tops(pegs))


def pair_truth(prompt: str) -> Truth:
    """Return the same in the form that also writes the pegs after the move."""
    pegs = read(prompt)[2]
    moves = map(read_move, chain(*move_truth(prompt)))
    right, *wrong = (f"{move} {moved(pegs, move)}" for move in moves)
    return Truth((right,), tuple(wrong))


# All that the strategy sees: even a high tower asks little that is new.
@lru_cache(maxsize=10_000)
def _move_truth(way: str, rests: bool, tops: tuple[int, int, int]) -> Truth:
    legal = moves_of(tops)
    right = strategic_move(way, legal, rests=rests)
    return Truth((str(right),), tuple(str(move) for move in legal if move != right))
