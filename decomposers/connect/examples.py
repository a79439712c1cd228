"""What microagents of both forms are trained on: the same bridge graphs, seen from their nodes, or whole."""

from __future__ import annotations

from functools import partial
from itertools import permutations
from random import Random
from string import ascii_letters

from decomposers.connect.graph import Graph, bridge_graph
from decomposers.connect.oracle import right_step
from decomposers.connect.prompts import GUESS, WALK, Look, show_look, show_whole
from decomposers.connect.rules import begun, look_of, stepped
from maker.plugin import ExampleSet

DEPTHS = (2, 6, 12)
SIZE = 1_000_000_000
"""Of each set: far more than anybody draws."""
PAIRS = tuple(map("".join, permutations(ascii_letters, 2)))
"""All targets that a walk may have."""


def _graph(depth: int, number: int) -> Graph:
    # No job's graph is drawn from such a seed.
    return bridge_graph(depth, Random(f"connect lesson {depth} {number}"))


def _whole(depth: int, number: int) -> str:
    return show_whole(_graph(depth, number))


def _on_the_way(depth: int, number: int) -> str:
    """Return one of the steps of the right walk through a graph."""
    looks = _right_looks(_graph(depth, number))
    return show_look(looks[number % len(looks)])


def _right_looks(graph: Graph) -> list[Look]:
    neighbours, walk = graph.neighbours(), begun(graph)
    looks: list[Look] = []
    while walk.trail and not walk.claim:
        looks.append(look_of(walk, graph.targets, neighbours))
        walk = stepped(walk, right_step(looks[-1]), neighbours)
    return looks


def _anywhere(number: int) -> str:
    """Return a look at any node, a target in half of them, as a walk that has erred may come to it, too."""
    rng = Random(f"connect anywhere {number}")
    targets = "".join(rng.sample(ascii_letters, 2))
    node = rng.choice(targets if rng.random() < 0.5 else ascii_letters)
    return show_look(Look(targets, rng.random() < 0.5, node))


def _at_a_target(number: int) -> str:
    """Return one of all looks at a target."""
    pair, look = divmod(number, 4)
    return show_look(Look(PAIRS[pair], look < 2, PAIRS[pair][look % 2]))


WALKS = (
    *(ExampleSet(WALK, SIZE, partial(_on_the_way, depth)) for depth in DEPTHS),
    ExampleSet(WALK, SIZE, _anywhere, 2.0),
    ExampleSet(WALK, 4 * len(PAIRS), _at_a_target, exam="all looks at a target"),
)
GUESSES = tuple(ExampleSet(GUESS, SIZE, partial(_whole, depth)) for depth in DEPTHS)
