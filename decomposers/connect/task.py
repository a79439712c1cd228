"""Which of two targets is connected with the start: a graph walked step by step, or one guess at all of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from decomposers.common.last_line import AnyLastLine, LastLine
from decomposers.common.right_way import drawn, right_way
from decomposers.connect import examples, oracle
from decomposers.connect.graph import DEEPEST, Graph, bridge_graph, edges_of, graph_of
from decomposers.connect.prompts import (
    CLAIMS,
    GO,
    GUESS,
    SYSTEM,
    WALK,
    Look,
    read_claim,
    read_reply,
    show_look,
    show_whole,
)
from decomposers.connect.rules import Walk, begun, look_of, stepped
from maker.plugin import Codec, Decomposer, Done, ExampleSet, Oracle, Params, PydanticCodec, Step, StepClass

ENGLISH_TOKENS = 512


class ConnectParams(Params):
    """Parameters of `Connect`. A graph is drawn, by ``depth`` and ``seed``, or given, by ``edges`` and what they join.

    Args:
        form: ``steps``: the graph is walked, and each step looks at one neighbour. ``guess``: one step sees the whole
            graph, and names a target.
        depth (edges): How many edges lead from the start to the target in a bridge graph that is drawn: 2 to 13. E.g.
            ``4``.
        seed: Which of the bridge graphs.
        edges: At most 100 pairs of letters, a list or a text like ``ab bc cd``. E.g. ``"ab bc cd"``.
        start: The letter that the walk starts from. E.g. ``"a"``.
        targets: The two letters, one of which it is connected with. That is not looked after: a walk that finds none
            comes back and gives up. E.g. ``"dz"``.
        prompt: ``compact``: for a small microagent. ``english``: with an explanation, for a general model.
    """

    form: Literal["steps", "guess"] = "steps"
    depth: int | None = Field(default=None, ge=2, le=DEEPEST)
    seed: int = 0
    edges: Annotated[tuple[str, ...] | None, BeforeValidator(edges_of)] = None
    start: str = ""
    targets: str = ""
    prompt: Literal["compact", "english"] = "compact"

    @model_validator(mode="after")
    def _one_graph(self) -> ConnectParams:
        if (self.depth is None) == (self.edges is None):
            raise ValueError("give depth for a random graph, or edges, start and targets for one of your own")
        if self.depth is not None and (self.start or self.targets):
            raise ValueError("start and targets need edges: a random graph has its own")
        if self.edges is not None and self.seed:
            raise ValueError("seed needs depth: a graph given by its edges is not random")
        self.graph()
        return self

    def graph(self) -> Graph:
        """Return the graph, given or drawn."""
        if self.edges is not None:
            return graph_of(self.edges, self.start, self.targets)
        assert self.depth is not None  # noqa: S101 - one of both is there
        return bridge_graph(self.depth, Random(f"connect {self.depth} {self.seed}"))


class Connect(Decomposer[Walk, str]):
    """Finds the target that the start is connected with.

    In a walk the model looks at one neighbour of the node where it is, and decides: it is a target, or go there, or
    look at the next one. After the last one the walk goes back by itself. The check knows where the walk has been: no
    node is entered twice, so that every walk comes to an end. It does not look whether a claim is true: that would be
    the answer. So a wrong claim is a wrong answer, and who passes the right way by ends with none.
    """

    name: ClassVar[str] = "connect"
    version: ClassVar[int] = 1
    Params = ConnectParams
    instance: ClassVar[frozenset[str]] = frozenset({"depth", "seed", "edges", "start", "targets"})

    def __init__(self, params: ConnectParams) -> None:
        self.params = params
        self._graph = params.graph()
        self._neighbours = self._graph.neighbours()
        self.state: Codec[Walk] = PydanticCodec(Walk)
        self.action: Codec[str] = ReplyCodec()
        english = params.prompt == "english"
        name, read = (WALK, read_reply) if params.form == "steps" else (GUESS, read_claim)
        self._kind: StepClass[Walk, str] = StepClass(
            name,
            parse=LastLine(read) if english else partial(_parse, read),
            check=self._forbidden,
            max_tokens=ENGLISH_TOKENS if english else 3,
            system=SYSTEM[name] if english else "",
            read_before=AnyLastLine(read) if english else None,
        )
        self.classes = (self._kind,)

    def start(self) -> Walk:
        """Return a walk that stands at the start."""
        return begun(self._graph)

    def next(self, state: Walk) -> Step[Walk, str] | Done:
        """Ask for the next step, or end: with the target that was claimed, or without one."""
        if state.claim:
            return Done({"target": self._graph.targets[CLAIMS.index(state.claim)], "steps": state.steps})
        if not state.trail:
            reason = f"after {state.steps} steps the walk was back at the start, with no way left: no target is found"
            return Done({"target": None, "steps": state.steps}, ok=False, reason=reason)
        return Step(self._kind, self._prompt(state))

    def apply(self, state: Walk, action: str) -> Walk:
        """Take the step; where there is no neighbour left, go back to where there is one."""
        return stepped(state, action, self._neighbours)

    def prompts(self) -> str:
        """Return one prompt of each form: all are of these."""
        return f"{show_look(Look('kQ', True, 'X'))} {show_whole(Graph(('ab', 'Qb', 'ck'), 'a', 'kQ'))}"

    def expected_steps(self) -> int:
        """Return how many steps the right walk takes, as the oracle walks it; a guess is one."""
        return sum(1 for _ in right_way(self, self.start())) if self.params.form == "steps" else 1

    def sample(self, count: int, seed: int) -> list[Walk]:
        """Return walks on the right way."""
        return drawn(self, count, seed)

    def examples(self) -> tuple[ExampleSet, ...]:
        """Return steps of walks through bridge graphs of depth 2, 6 and 12, and others; or guesses at such graphs."""
        return examples.WALKS if self.params.form == "steps" else examples.GUESSES

    def oracle(self) -> Oracle:
        """Return the strategy, or the answer, as a function of the prompt."""
        return oracle.walk_truth if self.params.form == "steps" else oracle.guess_truth

    def _prompt(self, state: Walk) -> str:
        if self.params.form == "guess":
            return show_whole(self._graph)
        return show_look(look_of(state, self._graph.targets, self._neighbours))

    def _forbidden(self, state: Walk, action: str) -> str | None:
        if action != GO:
            return None
        look = look_of(state, self._graph.targets, self._neighbours)
        return f"the walk has been at {look.node} before" if look.been else None


class ReplyCodec:
    """Writes a reply as it is."""

    def write(self, value: str) -> str:
        """Return the reply."""
        return value

    def read(self, text: str) -> str:
        """Return the reply. Raises ``ValueError`` for any other text."""
        return read_reply(text)

    def show(self, value: str) -> str:
        """Return the reply."""
        return value


def _parse(read: Callable[[str], str], text: str) -> str:
    return read(text.strip())
