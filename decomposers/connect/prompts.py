"""What a microagent is told: one neighbour of a node of a graph, or the whole graph; and how it replies."""

from __future__ import annotations

import re
from typing import NamedTuple

from decomposers.connect.graph import Graph

WALK = "walk"
GUESS = "guess"
"""The step classes of the two forms."""

CLAIMS = "12"
"""The replies that name a target, the first or the second, and thereby end the walk."""
GO, PASS = "+", "-"
"""The replies that go to the node that is looked at, or look at the next neighbour."""

_LOOK = re.compile("([A-Za-z]{2})([+-])([A-Za-z])=")
_WHOLE = re.compile(r"([A-Za-z])([A-Za-z]{2})((?: [A-Za-z]{2})+)=")

SYSTEM = {
    WALK: """\
You walk through a graph, one node at a time, to find out which of two targets it leads to. You look at one neighbour
of the node where you are, and see the two targets, a minus if you have been at the neighbour, a plus if you have not,
and the neighbour itself, as in kQ+X=
If the neighbour is the first target, answer 1; if it is the second one, answer 2. Else answer + to go there if you have
not been there, and - if you have. In the example the answer is +. Answer with this one character alone.

""",
    GUESS: """\
You see a graph: the start and two targets, then its edges, as in akQ ab Qb ck=
The start is connected with one of the targets. Answer 1 if it is the first, 2 if it is the second. In the example it is
2. Answer with this one character alone.

""",
}


class Look(NamedTuple):
    """What a step sees: the targets, a neighbour of the node where the walk is, and whether it has been there."""

    targets: str
    been: bool
    node: str


def show_look(look: Look) -> str:
    """Return the prompt of a step, as ``kQ+X=``.

    What the neighbour is compared with, and whether the walk was there, stands before it, so that a small model that
    reads from left to right can tell there what it is.
    """
    return f"{look.targets}{PASS if look.been else GO}{look.node}="


def show_whole(graph: Graph) -> str:
    """Return the prompt of a guess, as ``akQ ab Qb ck=``: 4 characters and 3 an edge."""
    return f"{graph.start}{graph.targets} {' '.join(graph.edges)}="


def read_look(prompt: str) -> Look:
    """Return what the prompt of a step shows. Raises ``ValueError``."""
    match = _LOOK.fullmatch(prompt)
    if match is None:
        raise ValueError(f"not the prompt of a walk: {prompt[:120]!r}")
    return Look(match[1], match[2] == PASS, match[3])


def read_whole(prompt: str) -> Graph:
    """Return the graph that the prompt of a guess shows. Raises ``ValueError``."""
    match = _WHOLE.fullmatch(prompt)
    if match is None:
        raise ValueError(f"not the prompt of a guess: {prompt[:120]!r}")
    return Graph(tuple(match[3].split()), match[1], match[2])


def read_reply(text: str) -> str:
    """Return a reply that a step may have. Raises ``ValueError``."""
    if text not in tuple(CLAIMS + GO + PASS):
        raise ValueError(f"not a step: {text[:80]!r}; write 1, 2, + or -")
    return text


def read_claim(text: str) -> str:
    """Return a reply that a guess may have. Raises ``ValueError``."""
    if text not in tuple(CLAIMS):
        raise ValueError(f"not a guess: {text[:80]!r}; write 1 or 2")
    return text
