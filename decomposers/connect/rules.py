"""How a walk goes through a graph: what it sees, and where a reply leads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from decomposers.connect.graph import Graph
from decomposers.connect.prompts import CLAIMS, GO, Look


class Walk(NamedTuple):
    """Where a walk stands.

    Args:
        trail: The way from the start to here; empty where the walk came back, and has no way left.
        seen: The nodes where it has been.
        looked: How many of the neighbours here it has looked at.
        steps: How many steps it has taken.
        claim: Which target it has found, 1 or 2; empty until then.
    """

    trail: str
    seen: str
    looked: int
    steps: int
    claim: str = ""


def begun(graph: Graph) -> Walk:
    """Return a walk that stands at the start."""
    return Walk(graph.start, graph.start, 0, 0)


def look_of(walk: Walk, targets: str, neighbours: Mapping[str, str]) -> Look:
    """Return what a walk that goes on sees."""
    node = neighbours[walk.trail[-1]][walk.looked]
    return Look(targets, node in walk.seen, node)


def stepped(walk: Walk, reply: str, neighbours: Mapping[str, str]) -> Walk:
    """Return the walk after a reply; where there is no neighbour left, it goes back to where there is one."""
    trail, seen, looked, steps, _ = walk
    if reply in CLAIMS:
        return Walk(trail, seen, looked, steps + 1, reply)
    if reply == GO:
        node = neighbours[trail[-1]][looked]
        trail, seen, looked = trail + node, seen + node, 0
    else:
        looked += 1
    while trail and looked == len(neighbours[trail[-1]]):
        left, trail = trail[-1], trail[:-1]
        looked = neighbours[trail[-1]].index(left) + 1 if trail else 0
    return Walk(trail, seen, looked, steps + 1)
