"""How the steps of a run are decided: by which models, by which margin. What all chains of a worker share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from math import lcm
from typing import Any, NamedTuple

from maker.core.user_code import call_user_code
from maker.plugin import Decomposer, Voter
from maker.types import Ballots, More, StepClass, Verdict
from maker.voting.in_flight import unbounded
from maker.voting.memo import Memo
from maker.voting.thinking import KNOWN, Thinking

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


class PromptVariant(NamedTuple):
    """A way to ask for a vote: the shared part of its prompt, and the temperature; None for what is so anyway."""

    system: str | None = None
    temperature: float | None = None


class Fallbacks(NamedTuple):
    """By whom and how else votes may be asked where they are too much alike: further models, another temperature."""

    models: tuple[int, ...] = ()
    temperature: float | None = None


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
    own, by name. ``others`` says how else votes may be asked. ``thinking`` takes off replies what is no answer. With
    ``ask`` a person is asked what votes leave undecided.
    """

    seed: int
    samples: str
    roles: Mapping[str, Role]
    models: int = 1
    pass_on: bool = False
    judge: Judge | None = None
    voters: Mapping[str, Voter] = {}
    others: Fallbacks = Fallbacks()
    thinking: Thinking = KNOWN
    ask: bool = False

    def of(self, kind: StepClass[Any, Any]) -> Role:
        """Return how the steps of a class are decided."""
        role, voter = self.roles.get(kind.role) or self.roles[SOLVER], self.voters.get(kind.name)
        return role if voter is None else role._replace(voter=voter)


class Kind(NamedTuple):
    """A step class in a run: its number, how its role decides, and the voter's word on a step without votes.

    ``begins`` is that word where it asks for votes that a step may take, as it nearly always is. ``plain`` says that a
    round is one request to the one model that there is. Vote i is asked in ``ways[i % len(ways)]``, where there are
    any. ``decorrelated`` says that its votes are to be less alike than they were.
    """

    number: int
    role: Role
    opening: Verdict
    begins: More | None
    plain: bool
    ways: tuple[PromptVariant, ...] = ()
    decorrelated: bool = False

    @property
    def turns(self) -> int:
        """After how many votes it begins again who is asked, and how."""
        return lcm(len(self.role.rotation), len(self.ways) or 1)

    def varied(self, kind: StepClass[Any, Any], others: Fallbacks) -> Kind:
        """Return the class as its steps are decided where their votes are to be less alike.

        Models, wordings and temperatures go round, each by itself: of two wordings and two temperatures the first vote
        has the first of each, the second one the second. ``kind`` is the class as its task has it.
        """
        systems = (None, *kind.paraphrases)
        temperatures = (None,) if others.temperature is None else (None, others.temperature)
        count = lcm(len(systems), len(temperatures))
        ways = tuple(
            PromptVariant(systems[n % len(systems)], temperatures[n % len(temperatures)]) for n in range(count)
        )
        rotation = self.role.rotation + tuple(model for model in others.models if model not in self.role.rotation)
        role, more = self.role._replace(rotation=rotation), ways if count > 1 else ()
        return self._replace(role=role, plain=self.plain and not more, ways=more, decorrelated=True)


class Shared(NamedTuple):
    """What all runners of a worker share: the task, its rules, its classes by name, and ids for requests.

    ``most_n`` says how many replies one request to a model may ask for. ``unavailable`` are models that no vote is
    asked of any more. ``memo`` is there where decisions are taken again.
    """

    decomposer: Decomposer[Any, Any]
    rules: Rules
    kinds: dict[str, Kind]
    tickets: Iterator[int]
    most_n: Callable[[int], int]
    unavailable: set[int]
    memo: Memo | None = None

    @classmethod
    def of(
        cls,
        decomposer: Decomposer[Any, Any],
        rules: Rules,
        most_n: Callable[[int], int] = unbounded,
        memo: Memo | None = None,
    ) -> Shared:
        """Return what the runners of one worker share."""
        kinds = {}
        for number, kind in enumerate(decomposer.classes):
            role = rules.of(kind)
            opening = call_user_code(
                f"{role.voter.name}: decide", role.voter.decide, Ballots({}, {} if role.voter.weighs else None)
            )
            plain = isinstance(opening, More) and type(opening.n) is int
            begins = opening if plain and 0 < opening.n <= role.max_votes else None
            kinds[kind.name] = Kind(number, role, opening, begins, rules.models == 1 and not role.extra)
        return cls(decomposer, rules, kinds, count(1), most_n, set(), memo)

    def decorrelate(self, number: int) -> Kind:
        """Have votes of a step class be less alike, in steps that begin from now on; returns how. May be repeated."""
        kind = self.decomposer.classes[number]
        self.kinds[kind.name] = changed = self.kinds[kind.name].varied(kind, self.rules.others)
        return changed
