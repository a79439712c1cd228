"""A map for the benchmarks whose rows are of several step classes: the column ``kind`` names a row's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from decomposers.map import Map
from decomposers.map.answer import Answer
from decomposers.map.task import MapParams, RowAsked, State
from maker.plugin import Done, Fork, InputPart, Step


class KindsParams(MapParams):
    """Parameters of `Kinds`.

    Args:
        kinds: How many classes there are; class i is called ``ci``.
    """

    kinds: int = 1


class Kinds(Map):
    """Asks every row for one answer, as a step of its own class."""

    name = "kinds"
    Params = KindsParams

    def __init__(self, params: KindsParams, known: Sequence[InputPart] = ()) -> None:
        super().__init__(params, known)
        [row] = self.classes
        self.classes = tuple(replace(row, name=f"c{kind}") for kind in range(params.kinds))

    def next(self, state: State) -> Step[State, Answer] | Fork[State] | Done:
        """Ask a row by its class, or fork into the rows that are to be asked."""
        then = super().next(state)
        if isinstance(then, Step) and isinstance(state, RowAsked):
            return then._replace(kind=self.classes[int(state.values["kind"])])
        return then
