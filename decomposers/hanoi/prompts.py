"""What a microagent is told of one step: direction, previous move and pegs, never a step index."""

from __future__ import annotations

import re

from decomposers.hanoi.rules import PEGS, Board, Move, read_move

_COMPACT = re.compile(r"([+-])(\S+) ([ABC]+)=")
_ENGLISH = re.compile(
    r"Disk 1 cycles (A-B-C|A-C-B)-A\. Previous move: (\S+)\nPegs, disk 1 first: ([ABC ]+)\nYour move:", re.DOTALL
)
_CYCLE = {"+": "A-B-C", "-": "A-C-B"}

STRATEGY = """\
You solve the Towers of Hanoi one move at a time. The disks are numbered from 1, the smallest. The pegs are A, B and C.
Only the top disk of a peg may move, and never onto a smaller disk.
Strategy:
- If the previous move did not move disk 1 (or there was none), move disk 1 one peg on in its cycle.
- If the previous move did move disk 1, make the only legal move that does not move disk 1.
"""
ANSWER_MOVE = "Answer with the move alone: disk, peg it leaves, peg it goes to, as in 12AC.\n\n"
ANSWER_PAIR = (
    "Answer with one line: the move (disk, peg it leaves, peg it goes to), a blank, and the pegs of all disks after "
    "the move, disk 1 first, as in 1AC CAA.\n\n"
)

ANSWER_EITHER = (
    "Answer with one line: the move alone (disk, peg it leaves, peg it goes to), as in 12AC; or the move, a blank, and "
    "the pegs of all disks after it, disk 1 first, as in 1AC CAA.\n\n"
)


def plain(answer: str, disks: int) -> str:
    """Return how to answer, with an example that this many disks allow: small models copy what they are shown.

    With disk 1 on A and the others on B, disk 2 goes to C; one disk alone goes to B.
    """
    move, pegs = ("2BC", "AC" + "B" * (disks - 2)) if disks > 1 else ("1AB", "B")
    told = f"disk {move[0]} from {move[1]} to {move[2]}"
    alone = "the move alone: its disk, the peg it leaves, the peg it goes to, without blanks"
    pair = f"the move, a blank, and the pegs of all disks after it, disk 1 first, without blanks: {move} {pegs}"
    if answer == "move":
        return f"Answer with {alone}. To move {told}, answer {move}\n\n"
    if answer == "move+state":
        return f"Answer with one line. To move {told}, write {pair}\n\n"
    return f"Answer with one line. To move {told}, write {alone}: {move}\nOr write {pair}\n\n"


def direction(disks: int) -> str:
    """Return which way disk 1 cycles so that the tower ends on C: + is A-B-C (even), - is A-C-B (odd)."""
    return "-" if disks % 2 else "+"


def compact(board: Board) -> str:
    """Return the prompt that the small microagent was trained on, as in ``-1AC CAA=``."""
    return f"{direction(len(board.pegs))}{board.previous or 0} {board.pegs}="


def english(board: Board) -> str:
    """Return the prompt for a general model; goes with `STRATEGY`."""
    cycle = _CYCLE[direction(len(board.pegs))]
    previous = board.previous or "none"
    return f"Disk 1 cycles {cycle}-A. Previous move: {previous}\nPegs, disk 1 first: {' '.join(board.pegs)}\nYour move:"


def read(prompt: str) -> tuple[str, Move | None, str]:
    """Return direction, previous move and pegs of a prompt of either kind. Raises ``ValueError``."""
    if match := _COMPACT.fullmatch(prompt):
        way, previous, pegs = match.groups()
        return way, None if previous == "0" else read_move(previous), pegs
    if match := _ENGLISH.fullmatch(prompt):
        cycle, previous, pegs = match.groups()
        way = "+" if cycle == _CYCLE["+"] else "-"
        return way, None if previous == "none" else read_move(previous), pegs.replace(" ", "")
    raise ValueError(f"not a prompt of the Towers of Hanoi: {prompt[:120]!r}")


def next_peg(way: str, peg: str) -> str:
    """Return the peg that follows in disk 1's cycle."""
    return PEGS[(PEGS.index(peg) + (1 if way == "+" else -1)) % 3]
