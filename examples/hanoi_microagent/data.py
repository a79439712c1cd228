"""Towers-of-Hanoi steps as text: one prompt, one right answer, its legal rivals.

A tower of ``disks`` disks starts on peg A and is carried to peg C in
``2**disks - 1`` moves. Steps count from 0, disks from 1 (the smallest), and a
run's state before any step is computed from the step's number alone, so that
examples can be drawn from a million-step run without replaying it. A share of the examples
lies off that path, where a wrong move leads, with what the strategy does there.

Text form, for step 1 of a run of 3 disks::

    -1AC CAA=2AB

The direction of disk 1 (``-``), the previous move (``1AC``; ``0`` before the
first), the peg of every disk beginning with disk 1 (``CAA``), an equals sign;
then the answer: disk, from, to. In the form "move+state" the pegs after the move follow it::

    -1AC CAA=2AB CBA
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

PEGS = "ABC"
ALPHABET = "0123456789ABC+- ="

FIRST_STEP_SHARE = 0.01
OFF_PATH_SHARE = 0.25
WALK_SHARE = 0.65
WALK_STEPS = 1000
WALK_SLIP = 0.01
# Few, so that neighbours of one walk do not fill a batch.
EXAMPLES_OF_A_WALK = 4

Form = Literal["move", "move+state"]
FORMS: tuple[Form, ...] = ("move", "move+state")


class Mix(NamedTuple):
    """Which towers the examples of a form show.

    Attributes:
        most: Every size from 1 to this one is drawn.
        on_path, off_path: The sizes that the model is meant for, in share of the examples on the
            optimal path and off it; the rest is spread evenly over every size.
        fade: How often the moves of a disk are drawn on the path, over those of the next smaller
            one. In a run it is one half.
    """

    most: int
    on_path: dict[int, float]
    off_path: dict[int, float]
    fade: float


MIXES: dict[Form, Mix] = {
    # Off the path a run of 10 disks without voting spends most of its steps, and one of 20
    # disks is seldom let go on for long.
    "move": Mix(20, {10: 0.2, 20: 0.3}, {10: 0.4, 20: 0.2}, fade=1.0),
    "move+state": Mix(14, {10: 0.2, 12: 0.3}, {10: 0.3, 12: 0.3}, fade=0.685),
}


class Move(NamedTuple):
    """One move: the disk (from 1) and its pegs (from 0)."""

    disk: int
    source: int
    target: int

    def text(self) -> str:
        """Return the move as an answer, e.g. ``12BA``."""
        return f"{self.disk}{PEGS[self.source]}{PEGS[self.target]}"


class State(NamedTuple):
    """What a step is decided from: each disk's peg, disk 1 first, and the previous move."""

    pegs: tuple[int, ...]
    previous: Move | None

    def after(self, move: Move) -> State:
        """Return the state that a legal move leads to."""
        return State((*self.pegs[: move.disk - 1], move.target, *self.pegs[move.disk :]), move)


class Example(NamedTuple):
    """One step as text.

    Attributes:
        prompt: What the model is given.
        answer: The right move, in the form "move+state" with the pegs after it.
        rivals: The legal moves that are wrong here, one or two, sorted, in the same form.
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


def strategic_move(state: State) -> Move:
    """Return the strategy's move of any state; on the optimal path it is the right move.

    Disk 1 in its cycle and the only other legal move take turns. Off the path there may be
    no other legal move, with all disks on one peg; then disk 1 moves again.
    """
    if state.previous is not None and state.previous.disk == 1:
        for move in legal_moves(state.pegs):
            if move.disk != 1:
                return move
    source = state.pegs[0]
    return Move(1, source, (source + turn(len(state.pegs), 1)) % 3)


def state_at(disks: int, step: int) -> State:
    """Return the state of the optimal path before ``step``."""
    return State(pegs_before(disks, step), move_at(disks, step - 1) if step else None)


def pegs_text(pegs: tuple[int, ...]) -> str:
    """Return the pegs as letters, disk 1 first."""
    return "".join(PEGS[peg] for peg in pegs)


def answer_text(state: State, move: Move, form: Form) -> str:
    """Return a legal move as an answer of the form, e.g. ``2AB`` or ``2AB CBA``."""
    return move.text() if form == "move" else f"{move.text()} {pegs_text(state.after(move).pegs)}"


def example_of(state: State, form: Form = "move") -> Example:
    """Return the example of a state, on the optimal path or off it."""
    right = strategic_move(state)
    rivals = tuple(sorted(answer_text(state, move, form) for move in legal_moves(state.pegs) if move != right))
    sign = "+" if turn(len(state.pegs), 1) > 0 else "-"
    previous = state.previous.text() if state.previous else "0"
    return Example(f"{sign}{previous} {pegs_text(state.pegs)}=", answer_text(state, right, form), rivals)


def example_at(disks: int, step: int, form: Form = "move") -> Example:
    """Return the example of one step of the optimal path.

    Raises:
        ValueError: If ``step`` is outside ``0 .. 2**disks - 2``.
    """
    if not 0 <= step < (1 << disks) - 1:
        raise ValueError(f"{disks} disks have no step {step}: the last is {(1 << disks) - 2}")
    return example_of(state_at(disks, step), form)


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


def draw_size(rng: random.Random, shares: dict[int, float], most: int) -> int:
    """Draw a number of disks: by ``shares``, and what they leave evenly over 1 to ``most``; advances ``rng``."""
    sizes = range(1, most + 1)
    rest = (1.0 - sum(shares.values())) / most
    return rng.choices(sizes, [rest + shares.get(size, 0.0) for size in sizes])[0]


def draw_step(rng: random.Random, disks: int, fade: float) -> int:
    """Draw a step of the optimal path; advances ``rng``.

    With ``fade`` 1 even over the disk that moves, or (half of the time) over the disk that moved
    in the step before: drawn evenly over the steps instead, the large disks' moves, and the moves
    of disk 1 that follow them, are so rare that the model stays wrong there. In between it
    stays unsure there.
    """
    if rng.random() < FIRST_STEP_SHARE:
        return 0
    if fade == 1:
        disk = rng.randint(1, disks)
    else:
        disk = rng.choices(range(1, disks + 1), [fade**disk for disk in range(disks)])[0]
    step = step_moving(disk, draw_earlier(rng, disks - disk))
    follow = disk > 1 and rng.random() < 0.5
    return step + 1 if follow else step


def wrong_move(rng: random.Random, state: State) -> Move:
    """Draw a legal move that is not the strategy's; advances ``rng``."""
    right = strategic_move(state)
    return rng.choice([move for move in legal_moves(state.pegs) if move != right])


def draw_walk(rng: random.Random, disks: int, fade: float) -> list[State]:
    """Draw states that a run passes through after a wrong move, in random order; advances ``rng``.

    The run leaves the path at a random step, perhaps errs again at once, and then goes on by
    the strategy, with slips, for 1 to ``WALK_STEPS`` steps. Their number is drawn evenly in its
    logarithm: states soon after an error look unlike those long after it.
    """
    step = rng.randrange((1 << disks) - 1) if rng.random() < 0.5 else draw_step(rng, disks, fade)
    state = state_at(disks, step)
    state = state.after(wrong_move(rng, state))
    while rng.random() < 0.2:
        state = state.after(wrong_move(rng, state))
    seen = [state]
    for _ in range(int(WALK_STEPS ** rng.random())):
        move = wrong_move(rng, state) if rng.random() < WALK_SLIP else strategic_move(state)
        state = state.after(move)
        seen.append(state)
    return rng.sample(seen, min(EXAMPLES_OF_A_WALK, len(seen)))


def draw_anywhere(rng: random.Random, disks: int) -> State:
    """Draw any pegs at all, with a move that may just have been made; advances ``rng``.

    Disks share a peg with the next smaller one at a rate that is drawn too, so that tall
    towers are common; half of the time it is 1/3, which makes all states equally likely.
    """
    stay = 1 / 3 if rng.random() < 0.5 else rng.random()
    pegs = [rng.randrange(3)]
    while len(pegs) < disks:
        pegs.append(pegs[-1] if rng.random() < stay else (pegs[-1] + rng.randint(1, 2)) % 3)
    # Undoing a move is legal, so each legal move is the reverse of one that led here. Disk 1
    # has two of the three.
    disk, target, source = rng.choice(legal_moves(tuple(pegs)))
    return State(tuple(pegs), Move(disk, source, target))


def draw_forever(rng: random.Random, form: Form = "move") -> Iterator[Example]:
    """Draw training examples without end; each advances ``rng``."""
    most, on_path, off_path, fade = MIXES[form]
    walk: list[State] = []
    while True:
        if rng.random() >= OFF_PATH_SHARE:
            disks = draw_size(rng, on_path, most)
            yield example_at(disks, draw_step(rng, disks, fade), form)
        elif rng.random() >= WALK_SHARE:
            yield example_of(draw_anywhere(rng, draw_size(rng, off_path, most)), form)
        else:
            walk = walk or draw_walk(rng, draw_size(rng, off_path, most), fade)
            yield example_of(walk.pop(), form)
