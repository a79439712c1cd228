"""Races of the real voters: simulated, and followed exactly."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from maker.plugin import Ballots, Decision, More, Step, StepClass, Undecidable, Voter
from maker.types import Sample
from maker.voting.election import Election
from maker.voting.red_flags import Candidate

Draw = Callable[[random.Random, list[str]], str]
RIGHT = "right"


class Race(NamedTuple):
    """Many elections of one kind: how many there were, shares decided rightly and wrongly, votes of each."""

    n: int
    right: float
    wrong: float
    votes: list[int]

    @property
    def mean(self) -> float:
        return sum(self.votes) / self.n

    @property
    def error_of_mean(self) -> float:
        variance = sum((votes - self.mean) ** 2 for votes in self.votes) / (self.n - 1)
        return math.sqrt(variance / self.n)


def run_race(voter: Voter, draw: Draw, n: int, seed: int, codec: Any, most: int = 100_000) -> Race:
    """Hold n elections of up to ``most`` votes with the real voter and the real election; print the seed."""
    print(f"{voter.name}: {n} elections, seed {seed}")
    rng = random.Random(seed)
    step: Step[None, str] = Step(StepClass("any", parse=lambda text: text), "")
    right, wrong, votes = 0, 0, []
    for _ in range(n):
        election: Election[None, str] = Election(step, None, codec, voter, most)
        drawn: list[str] = []
        while isinstance(verdict := election.verdict(), More):
            samples = []
            for _ in range(verdict.n):
                drawn.append(draw(rng, drawn))
                samples.append(Sample(drawn[-1], 1))
            election.hear(verdict.n, tuple(samples))
        right += isinstance(verdict, Candidate) and verdict.key == RIGHT
        wrong += isinstance(verdict, Candidate) and verdict.key != RIGHT
        votes.append(election.asked)
    return Race(n, right / n, wrong / n, votes)


def by_mass(p: float, *rivals: float) -> Draw:
    """Draw the right answer with p, and each rival with its own mass."""
    names = [RIGHT, *(f"rival {i}" for i in range(len(rivals)))]
    edges = list(itertools.accumulate([p, *rivals]))

    def draw(rng: random.Random, drawn: list[str]) -> str:
        at = rng.random() * edges[-1]
        return next(name for name, edge in zip(names, edges, strict=True) if at < edge)

    return draw


class Exact(NamedTuple):
    """The exact distribution of a race's outcome; ``lost`` is the mass that was too thin to follow."""

    right: float
    wrong: float
    undecided: float
    votes: float
    lost: float


def exact(voter: Voter, masses: Sequence[float], thin: float = 1e-16, most: int | None = None) -> Exact:
    """Follow every course of a race, vote by vote, and ask the real voter at each standing.

    ``masses`` begin with the right answer's. Rivals of equal mass are interchangeable, and are kept sorted. What goes
    on after ``most`` votes is undecided.
    """
    names = [RIGHT, *(f"rival {i}" for i in range(len(masses) - 1))]
    equal = len(set(masses[1:])) == 1
    alive: dict[tuple[int, ...], float] = {(0,) * len(masses): 1.0}
    right = wrong = undecided = votes = lost = 0.0
    for vote in itertools.count():
        going: dict[tuple[int, ...], float] = {}
        for counts, mass in alive.items():
            verdict = voter.decide(Ballots({name: n for name, n in zip(names, counts, strict=True) if n}))
            if not isinstance(verdict, More):
                votes += vote * mass
                undecided += mass if isinstance(verdict, Undecidable) else 0.0
                won = isinstance(verdict, Decision) and verdict.winner == RIGHT
                right += mass if won else 0.0
                wrong += mass if isinstance(verdict, Decision) and not won else 0.0
                continue
            if mass < thin:
                lost += mass
                continue
            for i, share in enumerate(masses):
                after = (*counts[:i], counts[i] + 1, *counts[i + 1 :])
                key = (after[0], *sorted(after[1:])) if equal else after
                going[key] = going.get(key, 0.0) + mass * share
        if not going or vote == most:
            rest = sum(going.values())
            return Exact(right, wrong, undecided + rest, votes + vote * rest, lost)
        alive = going
    raise AssertionError
