"""Graphs in which one of two targets is connected with the start: given ones, and bridge graphs of a stated depth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, permutations
from random import Random
from string import ascii_letters
from typing import Any, NamedTuple

MOST_EDGES = 100
DEEPEST = 13
"""A bridge graph of depth 13 has a node for each of the 52 letters."""


class Graph(NamedTuple):
    """Edges as pairs of letters, in the order and the direction in which they are shown; the start; two targets."""

    edges: tuple[str, ...]
    start: str
    targets: str

    def neighbours(self) -> dict[str, str]:
        """Return every node's neighbours, in the order of the edges."""
        found: dict[str, str] = {}
        for edge in self.edges:
            for node, other in permutations(edge):
                found[node] = found.get(node, "") + other
        return found


def edges_of(value: Any) -> tuple[str, ...] | None:
    """Return the edges of a list, or of a text like ``ab bc``; one that is there before is left out.

    Raises:
        ValueError: One is no pair of different letters, or there are too many.
    """
    if value is None:
        return None
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise ValueError("edges must be a list, or a text like ab bc cd")
    edges: dict[frozenset[str], str] = {}
    for edge in value.split() if isinstance(value, str) else value:
        if not isinstance(edge, str) or len(edge) != 2 or not set(edge) <= set(ascii_letters) or len(set(edge)) == 1:
            raise ValueError(f"{edge!r:.40} is not an edge: write two different letters, a to z or A to Z, like ab")
        edges.setdefault(frozenset(edge), edge)
    if len(edges) > MOST_EDGES:
        raise ValueError(f"there are {len(edges):,} edges; at most {MOST_EDGES} are allowed")
    return tuple(edges.values())


def graph_of(edges: Sequence[str], start: str, targets: str) -> Graph:
    """Return a graph. Raises ``ValueError`` where start and targets are not three different nodes of it."""
    nodes = set("".join(edges))
    if len(start) != 1 or len(targets) != 2:
        raise ValueError(f"start must be one letter and targets two, not {start!r:.20} and {targets!r:.20}")
    if len({start, *targets}) < 3:
        raise ValueError(f"start {start} and targets {targets} must be three different nodes")
    if missing := [node for node in (start, *targets) if node not in nodes]:
        raise ValueError(f"{missing[0]!r} is in no edge: start and targets must be nodes of the graph")
    return Graph(tuple(edges), start, targets)


def bridge_graph(depth: int, rng: Random) -> Graph:
    """Draw a bridge graph: the start is connected with one of the targets, over ``depth`` edges.

    Two parts of one shape stand side by side: a path of ``depth`` edges, with a dead end at each of its inner nodes. In
    one part the path leads from the start to a target, in the other to the other target; so nothing but the way itself
    tells them apart. Labels, the order of the edges and their directions are random: 4 * depth nodes, 4 * depth - 2
    edges. Advances ``rng``.

    Args:
        depth: 2 to 13.
        rng: Where all that is random comes from.
    """
    labels = rng.sample(ascii_letters, 4 * depth)
    edges: list[str] = []
    paths = []
    for part in (labels[: 2 * depth], labels[2 * depth :]):
        path, ends = part[: depth + 1], part[depth + 1 :]
        edges += [one + other for one, other in pairwise(path)]
        edges += [one + other for one, other in zip(path[1:], ends, strict=False)]
        paths.append(path)
    rng.shuffle(edges)
    shown = tuple(edge if rng.random() < 0.5 else edge[::-1] for edge in edges)
    return Graph(shown, paths[0][0], "".join(rng.sample([path[-1] for path in paths], 2)))
