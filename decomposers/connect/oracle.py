"""The way and the answer, for simulated models, training and tests alone: the decomposer never asks it."""

from __future__ import annotations

from decomposers.connect.graph import Graph
from decomposers.connect.prompts import CLAIMS, GO, PASS, Look, read_look, read_whole
from maker.plugin import Truth


def walk_truth(prompt: str) -> Truth:
    """Return the right reply to a look at a neighbour, and the others that the rules allow."""
    look = read_look(prompt)
    right = right_step(look)
    allowed = (PASS, *CLAIMS) if look.been else (GO, PASS, *CLAIMS)
    return Truth([right], [step for step in allowed if step != right])


def guess_truth(prompt: str) -> Truth:
    """Return the target that the start is connected with, and the other.

    Raises:
        ValueError: It is connected with both or with neither.
    """
    graph = read_whole(prompt)
    reached = reached_from(graph)
    right = [claim for claim, target in zip(CLAIMS, graph.targets, strict=True) if target in reached]
    if len(right) != 1:
        raise ValueError(
            f"{graph.start} is connected to {len(right)} of the targets {graph.targets}; it needs exactly one"
        )
    return Truth(right, [claim for claim in CLAIMS if claim not in right])


def right_step(look: Look) -> str:
    """Return the step of the strategy: a target is claimed, and no node is passed by where one has not been."""
    if look.node in look.targets:
        return CLAIMS[look.targets.index(look.node)]
    return PASS if look.been else GO


def reached_from(graph: Graph) -> set[str]:
    """Return the nodes that are connected with a graph's start."""
    neighbours = graph.neighbours()
    reached, waiting = {graph.start}, [graph.start]
    while waiting:
        fresh = set(neighbours.get(waiting.pop(), "")) - reached
        reached |= fresh
        waiting += fresh
    return reached
