"""The way and the answer, for simulated models, training and tests alone: the decomposer never asks it."""

from __future__ import annotations

from decomposers.connect_graph import Graph
from decomposers.connect_prompts import BACK, CLAIMS, View, read_view, read_whole
from maker.plugin import Truth


def walk_truth(prompt: str) -> Truth:
    """Return the right step from where one stands, and the others that the rules allow."""
    view = read_view(prompt)
    right = right_step(view)
    allowed = (*(node for node in view.neighbours if node not in view.seen), BACK, *CLAIMS, *view.seen)
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
            f"{graph.start} is connected with {len(right)} of the targets {graph.targets}, and not with one"
        )
    return Truth(right, [claim for claim in CLAIMS if claim not in right])


def right_step(view: View) -> str:
    """Return the step of the strategy: a target that is near, else where one has not been, else back."""
    for claim, target in zip(CLAIMS, view.targets, strict=True):
        if target in view.neighbours:
            return claim
    return next((node for node in view.neighbours if node not in view.seen), BACK)


def reached_from(graph: Graph) -> set[str]:
    """Return the nodes that are connected with a graph's start."""
    neighbours = graph.neighbours()
    reached, waiting = {graph.start}, [graph.start]
    while waiting:
        fresh = set(neighbours.get(waiting.pop(), "")) - reached
        reached |= fresh
        waiting += fresh
    return reached
