"""What a microagent is told: what can be seen from one node of a graph, or the whole graph; and how it replies."""

from __future__ import annotations

import re
from typing import NamedTuple

from decomposers.connect_graph import Graph

WALK = "walk"
GUESS = "guess"
"""The step classes of the two forms."""

BACK = "-"
CLAIMS = "12"
"""The replies that name a target, the first or the second, and thereby end the walk."""

_VIEW = re.compile(r"([A-Za-z]{2})[+-][A-Za-z](?: \1[+-][A-Za-z])*=")
_WHOLE = re.compile(r"([A-Za-z])([A-Za-z]{2})((?: [A-Za-z]{2})+)=")

SYSTEM = {
    WALK: """\
You walk through a graph, one node at a time, to find out which of two targets it leads to. For each neighbour of the
node where you are you see the two targets, a minus if you have been at the neighbour, a plus if you have not, and the
neighbour itself: kQ-a kQ+X kQ+c=
If the first target is a neighbour, answer 1; if the second one is, answer 2. Else answer with the first neighbour where
you have not been; if you have been at all of them, go back: answer with a minus. In the example the answer is X.
Answer with this one character alone.

""",
    GUESS: """\
You see a graph: the start and two targets, then its edges, as in akQ ab Qb ck=
The start is connected with one of the targets. Answer 1 if it is the first, 2 if it is the second. In the example it is
2. Answer with this one character alone.

""",
}


class View(NamedTuple):
    """What can be seen from a node: the targets, those of its neighbours where the walk has been, and all of them."""

    targets: str
    seen: str
    neighbours: str


def show_view(view: View) -> str:
    """Return the prompt of a step, as ``kQ-a kQ+X kQ+c=``: 5 characters a neighbour.

    What a neighbour is compared with, and whether it was seen, stands before each, so that a small model that reads
    from left to right can tell there what it is.
    """
    flags = ("-" if node in view.seen else "+" for node in view.neighbours)
    nodes = zip(flags, view.neighbours, strict=True)
    return " ".join(f"{view.targets}{flag}{node}" for flag, node in nodes) + "="


def show_whole(graph: Graph) -> str:
    """Return the prompt of a guess, as ``akQ ab Qb ck=``: 4 characters and 3 an edge."""
    return f"{graph.start}{graph.targets} {' '.join(graph.edges)}="


def read_view(prompt: str) -> View:
    """Return what the prompt of a step shows. Raises ``ValueError``."""
    match = _VIEW.fullmatch(prompt)
    if match is None:
        raise ValueError(f"no prompt of a walk: {prompt[:120]!r}")
    nodes = prompt[:-1].split(" ")
    return View(match[1], "".join(node[3] for node in nodes if node[2] == "-"), "".join(node[3] for node in nodes))


def read_whole(prompt: str) -> Graph:
    """Return the graph that the prompt of a guess shows. Raises ``ValueError``."""
    match = _WHOLE.fullmatch(prompt)
    if match is None:
        raise ValueError(f"no prompt of a guess: {prompt[:120]!r}")
    return Graph(tuple(match[3].split()), match[1], match[2])


def read_reply(text: str) -> str:
    """Return a reply that a step may have: a letter, a claim, or back. Raises ``ValueError``."""
    if not re.fullmatch("[A-Za-z12-]", text):
        raise ValueError(f"no step: {text[:80]!r}; it is a node's letter, 1, 2, or - for back")
    return text


def read_claim(text: str) -> str:
    """Return a reply that a guess may have. Raises ``ValueError``."""
    if text not in tuple(CLAIMS):
        raise ValueError(f"no guess: {text[:80]!r}; it is 1 or 2")
    return text
