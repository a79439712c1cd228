"""How the steps of a run are decided: by which models, by which margin. What all chains of a worker share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple

from maker.owned import own
from maker.plugin import Decomposer, Voter
from maker.round import unbounded
from maker.types import Ballots, StepClass, Verdict

JUDGE = "judge"
SOLVER = "solver"


class Role(NamedTuple):
    """How the steps of a role are decided.

    ``rotation`` says which models are asked: vote i of a step is asked of model ``rotation[i % len(rotation)]``.
    ``extra`` is how many votes more than could settle a step are asked for at once, to save a round.
    """

    voter: Voter
    max_votes: int
    rotation: tuple[int, ...] = (0,)
    extra: int = 0


class Judge(NamedTuple):
    """Who decides among the candidates of a step that votes could not settle, and what it is told."""

    role: Role
    prompt: str


class Rules(NamedTuple):
    """What holds for every step of a run.

    ``samples`` says of which steps the raw samples are kept: ``none``, ``disputed`` (any rival or flag) or ``all``.
    ``roles`` holds that of ``solver`` at least, which stands for all that are not named. ``models`` is how many the
    pool has; with ``pass_on``, votes of one that stays away pass on to the next in the rotation. ``judge`` is there
    where a judge is asked about what votes cannot settle. ``voters`` are those of step classes that have one of their
    own, by name.
    """

    seed: int
    samples: str
    roles: Mapping[str, Role]
    models: int = 1
    pass_on: bool = False
    judge: Judge | None = None
    voters: Mapping[str, Voter] = {}

    def of(self, kind: StepClass[Any, Any]) -> Role:
        """Return how the steps of a class are decided."""
        role, voter = self.roles.get(kind.role) or self.roles[SOLVER], self.voters.get(kind.name)
        return role if voter is None else role._replace(voter=voter)


class Kind(NamedTuple):
    """A step class in a run: its number, how its role decides, and the voter's word on a step without votes.

    ``plain`` says that a round is one request to the one model that there is.
    """

    number: int
    role: Role
    opening: Verdict
    plain: bool


class Shared(NamedTuple):
    """What all runners of a worker share: the task, its rules, its classes by name, and ids for requests.

    ``most_n`` says how many replies one request to a model may ask for. ``away`` are models that no vote is asked of
    any more.
    """

    decomposer: Decomposer[Any, Any]
    rules: Rules
    kinds: Mapping[str, Kind]
    tickets: Iterator[int]
    most_n: Callable[[int], int]
    away: set[int]

    @classmethod
    def of(cls, decomposer: Decomposer[Any, Any], rules: Rules, most_n: Callable[[int], int] = unbounded) -> Shared:
        """Return what the runners of one worker share."""
        kinds = {}
        for number, kind in enumerate(decomposer.classes):
            role = rules.of(kind)
            opening = own(
                f"{role.voter.name}: decide", role.voter.decide, Ballots({}, {} if role.voter.weighs else None)
            )
            kinds[kind.name] = Kind(number, role, opening, rules.models == 1 and not role.extra)
        return cls(decomposer, rules, kinds, count(1), most_n, set())
