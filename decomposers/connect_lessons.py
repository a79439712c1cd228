"""What microagents of both forms are trained on: the same bridge graphs, seen from their nodes, or whole."""

from __future__ import annotations

from functools import partial
from random import Random
from string import ascii_letters

from decomposers.connect_graph import Graph, bridge_graph
from decomposers.connect_oracle import right_step
from decomposers.connect_prompts import BACK, CLAIMS, GUESS, WALK, View, show_view, show_whole
from maker.plugin import Lesson

DEPTHS = (2, 6, 12)
SIZE = 1_000_000_000
"""Of each lesson: far more than anybody draws."""
DEGREES = (1, 2, 2, 3, 3, 3, 3, 4, 5, 6)
"""How many neighbours the nodes of no particular graph have."""


def _graph(depth: int, number: int) -> Graph:
    # No job's graph is drawn from such a seed.
    return bridge_graph(depth, Random(f"connect lesson {depth} {number}"))


def _whole(depth: int, number: int) -> str:
    return show_whole(_graph(depth, number))


def _on_the_way(depth: int, number: int) -> str:
    """Return one of the steps of the right walk through a graph."""
    views = _right_views(_graph(depth, number))
    return show_view(views[number % len(views)])


def _right_views(graph: Graph) -> list[View]:
    neighbours = graph.neighbours()
    trail, seen, views = graph.start, {graph.start}, []
    while trail:
        near = neighbours[trail[-1]]
        views.append(View(graph.targets, "".join(node for node in near if node in seen), near))
        step = right_step(views[-1])
        if step in CLAIMS:
            break
        trail = trail[:-1] if step == BACK else trail + step
        seen.add(step)
    return views


def _anywhere(number: int) -> str:
    """Return what can be seen from some node of some graph, as a walk that has erred may see it, too."""
    rng = Random(f"connect anywhere {number}")
    degree = rng.choice(DEGREES)
    letters = rng.sample(ascii_letters, degree + 2)
    near, targets = letters[:degree], letters[degree:]
    # Claims are one step of a walk, and the one that cannot be mended.
    if rng.random() < 0.5:
        targets[rng.randrange(2)] = rng.choice(near)
    been = rng.choice((degree, max(0, degree - 1), rng.randint(0, degree)))
    seen = set(rng.sample(near, been))
    return show_view(View("".join(targets), "".join(node for node in near if node in seen), "".join(near)))


WALKS = (
    *(Lesson(WALK, SIZE, partial(_on_the_way, depth)) for depth in DEPTHS),
    Lesson(WALK, SIZE, _anywhere, 2.0),
)
GUESSES = tuple(Lesson(GUESS, SIZE, partial(_whole, depth)) for depth in DEPTHS)
