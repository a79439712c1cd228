"""Towers-of-Hanoi steps as text: one prompt, one right answer, its legal rivals.

A tower of ``disks`` disks starts on peg A and is carried to peg C in
``2**disks - 1`` moves. Steps count from 0, disks from 1 (the smallest), and a
run's state before any step is computed from the step's number alone, so that
examples can be drawn from a million-step run without replaying it.

Text form, for step 1 of a run of 3 disks::

    -1AC CAA=2AB

The direction of disk 1 (``-``), the previous move (``1AC``; ``0`` before the
first), the peg of every disk beginning with disk 1 (``CAA``), an equals sign;
then the answer: disk, from, to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random

PEGS = "ABC"
ALPHABET = "0123456789ABC+- ="
MAX_DISKS = 20

FIRST_STEP_SHARE = 0.01
# The two sizes that the model is meant for, in share of all examples; the rest
# is spread evenly over every size.
SIZE_SHARE = {10: 0.2, 20: 0.3}


class Move(NamedTuple):
    """One move: the disk (from 1) and its pegs (from 0)."""

    disk: int
    source: int
    target: int

    def text(self) -> str:
        """Return the move as an answer, e.g. ``12BA``."""
        return f"{self.disk}{PEGS[self.source]}{PEGS[self.target]}"


class Example(NamedTuple):
    """One step as text.

    Attributes:
        prompt: What the model is given.
        answer: The right move.
        rivals: The legal moves that are wrong here, one or two, sorted.
    """

    prompt: str
    answer: str
    rivals: tuple[str, ...]


def turn(disks: int, disk: int) -> int:
    """Return +1 if ``disk`` cycles A, B, C, A on the optimal path, else -1.

    Disks of the total's own parity cycle backwards: the largest disk moves once, from
    A to C, and each smaller one turns the other way.
    """
    return -1 if (disks - disk) % 2 == 0 else 1


def pegs_before(disks: int, step: int) -> tuple[int, ...]:
    """Return each disk's peg before ``step``, disk 1 first.

    Disk d moves in steps ``2**(d-1) - 1``, then every ``2**d`` steps, so before step i
    it has moved ``(i + 2**(d-1)) >> d`` times. Worked: 3 disks, step 4 gives
    pegs (1, 1, 2): disk 1 has moved twice (A, C, B), disk 2 once and disk 3 once.
    """
    return tuple(turn(disks, disk) * ((step + (1 << (disk - 1))) >> disk) % 3 for disk in range(1, disks + 1))


def move_at(disks: int, step: int) -> Move:
    """Return the right move of ``step``: its disk is the ruler sequence of ``step + 1``."""
    number = step + 1
    disk = (number & -number).bit_length()
    source = turn(disks, disk) * ((step + (1 << (disk - 1))) >> disk) % 3
    return Move(disk, source, (source + turn(disks, disk)) % 3)


def legal_moves(pegs: tuple[int, ...]) -> list[Move]:
    """Return every legal move of a state, ordered by disk, then by target peg."""
    tops: dict[int, int] = {}
    for disk, peg in enumerate(pegs, start=1):
        tops.setdefault(peg, disk)
    empty = len(pegs) + 1
    return [
        Move(disk, source, target)
        for source, disk in tops.items()
        for target in range(3)
        if disk < tops.get(target, empty)
    ]


def example_at(disks: int, step: int) -> Example:
    """Return the example of one step of the optimal path.

    Raises:
        ValueError: If ``step`` is outside ``0 .. 2**disks - 2``.
    """
    if not 0 <= step < (1 << disks) - 1:
        raise ValueError(f"{disks} disks have no step {step}: the last is {(1 << disks) - 2}")
    pegs = pegs_before(disks, step)
    sign = "+" if turn(disks, 1) > 0 else "-"
    previous = move_at(disks, step - 1).text() if step else "0"
    answer = move_at(disks, step)
    rivals = tuple(sorted(m.text() for m in legal_moves(pegs) if m != answer))
    prompt = f"{sign}{previous} {''.join(PEGS[peg] for peg in pegs)}="
    return Example(prompt, answer.text(), rivals)


def step_moving(disk: int, earlier: int) -> int:
    """Return the step in which ``disk`` moves after ``earlier`` moves of its own."""
    return (1 << (disk - 1)) - 1 + (earlier << disk)


def draw_earlier(rng: random.Random, bits: int) -> int:
    """Draw how often a disk has moved before, from 0 to ``2**bits - 1``; advances ``rng``.

    Half of the draws are even, half have long runs of equal bits. Neighbouring disks share
    a peg where neighbouring bits are equal, so even draws hardly ever show the tall towers
    with few interruptions that a long run passes through, and the model miscounts them.
    """
    if rng.random() < 0.5:
        return rng.getrandbits(bits)
    flip = rng.random() / 2
    bit, earlier = rng.getrandbits(1), 0
    for _ in range(bits):
        bit ^= rng.random() < flip
        earlier = earlier << 1 | bit
    return earlier


def draw(rng: random.Random) -> Example:
    """Draw one training example; advances ``rng``.

    Even over the disk that moves, or (half of the time) over the disk that moved in the
    step before: drawn evenly over the steps instead, the large disks' moves, and the moves
    of disk 1 that follow them, are so rare that the model stays wrong there.
    """
    sizes = range(1, MAX_DISKS + 1)
    rest = (1.0 - sum(SIZE_SHARE.values())) / MAX_DISKS
    disks = rng.choices(sizes, [rest + SIZE_SHARE.get(size, 0.0) for size in sizes])[0]
    if rng.random() < FIRST_STEP_SHARE:
        return example_at(disks, 0)
    disk = rng.randint(1, disks)
    step = step_moving(disk, draw_earlier(rng, disks - disk))
    follow = disk > 1 and rng.random() < 0.5
    return example_at(disks, step + 1 if follow else step)
