"""The tree form of the Towers of Hanoi: the known moves cut into segments that do not wait for each other."""

from __future__ import annotations

from typing import Any

from decomposers.hanoi.rules import PEGS, Board, BoardCodec, Move
from maker.plugin import Done, Fork


def board_after(disks: int, moves: int) -> Board:
    """Return the board after so many moves of the shortest solution, without making them.

    This is the recursion's own knowledge, and it is the answer: move m moves disk d, where 2^(d-1) is the largest
    power of two that divides m; so after m moves disk d has moved (m + 2^(d-1)) // 2^d times, one peg on in its cycle
    each time. The largest disk goes A-C, and each disk cycles against the one below it. With 3 disks, 4 moves: disks 1
    and 2 have moved 2 and 1 times, disk 3 once, last: BBC after 3AC.

    Args:
        disks: Number of disks in the tower.
        moves: 0 to 2^disks - 1.
    """
    pegs = "".join(_peg(disks, disk, _times(disk, moves)) for disk in range(1, disks + 1))
    if not moves:
        return Board(pegs, None, 0)
    disk = (moves & -moves).bit_length()
    return Board(pegs, Move(disk, _peg(disks, disk, _times(disk, moves) - 1), pegs[disk - 1]), moves)


def _times(disk: int, moves: int) -> int:
    return (moves + (1 << disk - 1)) >> disk


def _peg(disks: int, disk: int, times: int) -> str:
    return PEGS[(times if (disks - disk) % 2 else -times) % 3]


class Tree:
    """A root that forks once into segments, each a chain of moves from a given start; the joins judge their ends.

    Segment i (0-based) starts after i * 2^segment moves. It is the 2^segment - 1 moves that carry the ``segment``
    smallest disks, and then one move of a larger disk, which the last segment lacks. The root is a `Board` without a
    segment: the moves joined so far, and where they led.

    Args:
        disks: Number of disks in the tower.
        segment: Number of disks whose moves make one segment; from ``disks`` on there is one segment.
    """

    def __init__(self, disks: int, segment: int) -> None:
        self.codec = TreeCodec()
        self._disks = disks
        self._size: int = 2 ** min(segment, disks)
        self._last: int = 2**disks - 1
        self._count = (self._last + 1) // self._size

    def next(self, state: Board) -> Fork[Board] | Done | None:
        """Fork, or end; None in a segment that has moves to make.

        Raises:
            ValueError: The root stands between two joins.
        """
        if state.segment is not None:
            return None if state.moves < self._end(state.segment) else self._segment_done(state, state.segment)
        if state.moves == 0:
            return Fork(self._count, self.child, self.join)
        if state.moves == self._last:
            return Done({"moves": state.moves, "pegs": state.pegs, "segments": "given", "count": self._count})
        raise ValueError(f"{state.moves:,} of {self._last:,} moves are joined: nothing comes next before all are")

    def child(self, state: Board, i: int) -> Board:
        """Return the board that segment i starts at, whatever the state: it is known, not reached."""
        return board_after(self._disks, i * self._size)._replace(segment=i)

    def board(self, moves: int) -> Board:
        """Return the board of a segment after so many right moves of all."""
        return board_after(self._disks, moves)._replace(segment=moves // self._size)

    def join(self, state: Board, i: int, result: Any) -> Board:
        """Return the root with segment i behind it.

        Raises:
            ValueError: The segment does not end where the next one starts, or the last one not at the goal; or it is
                not this segment's turn.
        """
        if state.moves != i * self._size:
            raise ValueError(f"segment {i} starts after {i * self._size:,} moves, and {state.moves:,} are joined")
        pegs, previous = result["pegs"], result["previous"]
        end = board_after(self._disks, self._end(i))
        last = i == self._count - 1
        # The last move is nobody's previous one: the goal is pegs alone, as in the chain form.
        if pegs != end.pegs or (previous != str(end.previous) and not last):
            start = f"segment {i + 1} starts at {end.pegs} after {end.previous}"
            wanted = f"the goal is {end.pegs}" if last else start
            raise ValueError(
                f"segment {i} ends at {pegs} after {previous}, {wanted}: some move of segment {i} was legal, but wrong"
            )
        return end

    def _end(self, i: int) -> int:
        return min((i + 1) * self._size, self._last)

    def _segment_done(self, state: Board, i: int) -> Done:
        moves = state.moves - i * self._size
        return Done({"segment": i, "moves": moves, "pegs": state.pegs, "previous": str(state.previous)})


class TreeCodec:
    """Writes the root as a chain's board, ``CAA 1AC 1``, and a board of segment 17 as ``17: CAA 1AC 1``."""

    def write(self, value: Board) -> str:
        """Return the canonical text."""
        board = BoardCodec().write(value)
        return board if value.segment is None else f"{value.segment}: {board}"

    def read(self, text: str) -> Board:
        """Return the board of a canonical text. Raises ``ValueError``."""
        segment, colon, board = text.rpartition(": ")
        value = BoardCodec().read(board)._replace(segment=int(segment) if colon else None)
        if set(value.pegs) - set(PEGS) or self.write(value) != text:
            raise ValueError(f"not a state of the tree form: {text[:120]!r}")
        return value

    def show(self, value: Board) -> dict[str, Any]:
        """Return the board and its segment as JSON; the root has none."""
        return BoardCodec().show(value) | {"segment": value.segment}
