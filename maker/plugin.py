"""All that a decomposer or a voter imports: the two interfaces, and the values that cross them."""

from __future__ import annotations

import functools
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, ParamSpec, Protocol, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator
from pydantic_core import CoreSchema, core_schema

from maker.errors import BadInput, ContractBroken
from maker.inputs.chosen import unpacked
from maker.inputs.handle import Input
from maker.inputs.nesting import DEEPEST, too_deep, written_too_deep
from maker.inputs.template import Template
from maker.types import (
    Ballots,
    Decision,
    Done,
    Effect,
    ExampleSet,
    Fork,
    InputPart,
    Lesson,
    More,
    Next,
    OpenPart,
    Oracle,
    Parts,
    Record,
    Step,
    StepClass,
    Truth,
    Undecidable,
    Verdict,
    Wait,
)

__all__ = [
    "NEW",
    "BadInput",
    "Ballots",
    "Before",
    "Called",
    "Codec",
    "ContractBroken",
    "Decision",
    "Decomposer",
    "Done",
    "Effect",
    "ExampleSet",
    "Fork",
    "Function",
    "Input",
    "InputPart",
    "Lesson",
    "Made",
    "More",
    "Next",
    "OpenPart",
    "OrFile",
    "Oracle",
    "Params",
    "Parts",
    "Place",
    "Promise",
    "PydanticCodec",
    "Record",
    "RoundDecomposer",
    "RowDecomposer",
    "RowParams",
    "Step",
    "StepClass",
    "Template",
    "TooDeep",
    "Truth",
    "Undecidable",
    "Verdict",
    "Voter",
    "Wait",
    "by_keywords",
    "made_of",
    "unpacked",
    "written_too_deep",
]

S = TypeVar("S")
A = TypeVar("A")
T = TypeVar("T")
P = TypeVar("P", bound=BaseModel)
K = ParamSpec("K")


@dataclass(frozen=True, slots=True)
class Place:
    """Marks a parameter, by ``Annotated``, that says where something is: a path or a URL.

    A relative path starts from the job file's folder. The place is not part of what a run is: it may move.
    """


@dataclass(frozen=True, slots=True)
class OrFile:
    """Marks a text parameter, by ``Annotated``, that may name a file instead: its text is what the run is made of."""


@dataclass(frozen=True, slots=True)
class Before:
    """Marks a parameter, by ``Annotated``, that runs may be older than: they go on with ``value``, not its default.

    So the default of a parameter that you add may be better than what there was, and no old run changes.
    """

    value: Any


@dataclass(frozen=True, slots=True)
class Called:
    """Marks a parameter, by ``Annotated``, that names a function; its value is a `Function`.

    A job names it as it does a decomposer: ``path/file.py:name`` or ``package.module:name``. The code of the file that
    it stands in is part of what a run is; where that file lies is not. A program gives the function itself: write
    ``Function | Callable[[str], int] | None`` as the parameter's type, and editors know what it takes.

    Args:
        arguments: What the function is called with, in order, by names that a message can show.
    """

    arguments: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """Take a function of either kind, and None where the parameter's type has it."""
        function = handler.generate_schema(Function)
        return core_schema.nullable_schema(function) if type(None) in get_args(source) else function


@dataclass(frozen=True, slots=True)
class Function:
    """A function that a job names, see `Called`. It can be called as the function itself.

    Args:
        name: As the job names it, a file by its whole path; "" as long as no job has been made of it.
        source: SHA-256 of the file that it stands in, "" where that is no Python file.
        call: The function itself.
    """

    name: str
    source: str
    call: Callable[..., Any]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """Take a function, and write it as its name."""
        return core_schema.no_info_before_validator_function(
            lambda given: cls("", "", given) if callable(given) and not isinstance(given, cls) else given,
            core_schema.is_instance_schema(cls),
            serialization=core_schema.plain_serializer_function_ser_schema(attrgetter("name")),
        )

    def __call__(self, *args: Any) -> Any:
        """Return what the function returns."""
        return self.call(*args)


class Params(BaseModel):
    """Base of a plugin's parameters: unknown names are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Codec(Protocol[T]):
    """How a state or an action is written down.

    ``write`` is canonical: two actions are the same vote exactly when they are written the same. The store keeps
    what it returns, so short is good. A codec of actions may have a method ``key(value) -> str`` as well: then those
    with the same key are the same vote, and the first of them that was proposed is what wins.
    """

    def write(self, value: T) -> str:
        """Return the canonical text of a value."""
        ...

    def read(self, text: str) -> T:
        """Return the value of a canonical text. Raises ``ValueError`` for any other text."""
        ...

    def show(self, value: T) -> Any:
        """Return the value as JSON for people and programs to read."""
        ...


def vote_key(codec: Codec[T], value: T) -> str:
    """Return the text that says which vote an action is."""
    key = getattr(codec, "key", None)
    return codec.write(value) if key is None else key(value)


class TooDeep(ValueError):
    """A value is nested deeper than what is stored may be. An action that is gets no vote."""


_canonical: Callable[[Any], str] = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
"""``json.dumps`` would make an encoder at each call."""


class PydanticCodec(Generic[T]):
    """The codec of any type that pydantic knows: canonical JSON, keys sorted, no blanks."""

    def __init__(self, of: Any) -> None:
        self._of = of
        self._adapter: TypeAdapter[T] = TypeAdapter(of)

    def write(self, value: T) -> str:
        """Return canonical JSON. Raises `TooDeep` for what could not be read again."""
        try:
            shown = self.show(value)
        except ValueError as error:
            if "depth exceeded" in str(error):
                raise TooDeep(f"nested more than {DEEPEST} deep") from error
            raise
        text = _canonical(shown)
        # Nearly every value has too few brackets to be too deep, and need not be walked.
        if text.count("{") + text.count("[") > DEEPEST and (deep := too_deep(shown)):
            raise TooDeep(deep)
        return text

    def read(self, text: str) -> T:
        """Return the value of a JSON text; raises pydantic's ``ValidationError``, a ``ValueError``."""
        return self._adapter.validate_json(text)

    def show(self, value: T) -> Any:
        """Return the value as JSON-compatible Python."""
        return self._adapter.dump_python(value, mode="json")

    def __reduce__(self) -> tuple[Any, ...]:
        return PydanticCodec, (self._of,)


class Made(NamedTuple):
    """What an instance of a plugin is made by, and of."""

    by: Callable[[Any], Any]
    params: BaseModel


class _Made:
    """Keeps what an instance is made of: it stands for its class and parameters where a job is given it."""

    _made: Made | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls)
        params = next((one for one in (*args, *kwargs.values()) if isinstance(one, BaseModel)), None)
        if params is not None:
            # Not by setattr, which a frozen class refuses.
            vars(made)["_made"] = Made(cls, params)
        return made

    def __getstate__(self) -> Any:
        # Workers need it not.
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_made"} if isinstance(state, dict) else state


def made_of(instance: Decomposer[Any, Any] | Voter) -> Made | None:
    """Return what an instance is made by and of; None where it is made of no parameters, or is a copy."""
    return instance._made


def by_keywords(kind: Callable[[P], T], params: Callable[K, P]) -> Callable[K, T]:
    """Return a function that makes a plugin of its parameters as keywords, which editors complete.

    With ``hanoi = by_keywords(Hanoi, HanoiParams)``, ``hanoi(disks=8)`` is ``Hanoi(HanoiParams(disks=8))``.
    """

    @functools.wraps(params, assigned=("__doc__",), updated=())
    def make(*args: K.args, **kwargs: K.kwargs) -> T:
        return kind(params(*args, **kwargs))

    return make


class Decomposer(_Made, ABC, Generic[S, A]):
    """Breaks a task into minimal steps: says what to ask in a state, and what state an answer leads to.

    An instance is built from its checked parameters, and pickled to the workers. What its methods return, and what the
    functions of its forks and step classes return, depends on three things: their arguments, the parameters, and the
    input files that `parts` declares. Any of them may be called again, in any order, on any machine.

    So a decomposer must not read a clock, draw random numbers without a fixed seed, or look at anything else outside.
    It may read the rows of its declared files, when it is asked for them: an `Input` does that, and refuses a file that
    is no longer what it was. It may keep what it has computed, as long as no result depends on what was called before.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    Params: ClassVar[type[BaseModel]] = Params
    instance: ClassVar[frozenset[str]] = frozenset()
    """Parameters that say which questions are asked, and nothing of how one is answered.

    With ``task.memo = "store"`` runs that differ in these alone take one another's decisions; then `prompts` must be
    the same for all of them.
    """

    classes: tuple[StepClass[S, A], ...]
    """Every step class that ``next`` may use. The order is stored with a run: append only within a version."""
    state: Codec[S]
    action: Codec[A]

    @abstractmethod
    def start(self) -> S:
        """Return the state that the root chain starts in."""

    @abstractmethod
    def next(self, state: S) -> Next[S, A]:
        """Say what is to be done in a state."""

    @abstractmethod
    def apply(self, state: S, action: A) -> S:
        """Return the state after an action. May consume its ``state`` argument."""

    def parts(self) -> tuple[InputPart, ...]:
        """Declare the input files that the task reads, as they are now; () where it reads none. Blocks while it reads.

        A run stores them when it begins. They are part of what it is: a run does not go on with other files.

        Raises:
            BadInput: They cannot be read, or are not those that `with_parts` was given.
        """
        return ()

    def with_parts(self, parts: Sequence[InputPart]) -> Self:
        """Return the task for a run that began with these parts: it reads no other row, and refuses a changed file.

        It is asked for before a run is resumed or read, where the run has parts. A task that reads files builds another
        one from its parameters and the parts, and leaves itself as it is.
        """
        self.bind(parts)
        return self

    def bind(self, parts: Sequence[InputPart]) -> None:
        """Take the parts in, in place. Deprecated: override `with_parts`, whose default calls this."""

    def prompts(self) -> str | None:
        """Return what all prompts are made of (a template's text, say), or None: then the first prompt stands for it.

        It is part of what a run is: a run does not go on with another. `StepClass.system` is taken in anyway.
        """
        return None

    def expected_steps(self) -> int | None:
        """Return how many steps the task takes, or None where that is not known beforehand."""
        return None

    def least_steps(self) -> int | None:
        """Return how many steps the task takes at least, for an estimate; None where that is not known."""
        return self.expected_steps()

    def questions(self) -> Mapping[str, int] | None:
        """Return how many different questions the task asks, at most, by the name of their step class; None: not known.

        Two steps ask the same where class and prompt are the same. Where decisions are taken again (``task.memo``), a
        plan counts these in place of steps.
        """
        return None

    def sample(self, count: int, seed: int) -> Iterable[S] | None:
        """Return ``count`` states that ask for steps, drawn evenly from all of the task; fewer where it has fewer.

        A pilot asks there. The same are drawn with the same ``seed``. None where steps are only known once those before
        them are made.
        """
        return None

    def examples(self) -> Sequence[ExampleSet]:
        """Return what a microagent for tasks of this kind is trained on; () where there is nothing to train on.

        It takes an `oracle` that knows all prompts of the examples.
        """
        return ()

    lessons = examples
    """The old name of `examples`. Deprecated: a class that overrides either has overridden both."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # Whoever calls either name, `super()` in a subclass of a renamed task too, must come to the same method.
        own = vars(cls)
        if "lessons" in own and "examples" not in own:
            cls.examples = own["lessons"]  # type: ignore[method-assign]
        elif "examples" in own and "lessons" not in own:
            cls.lessons = own["examples"]

    def oracle(self) -> Oracle | None:
        """Return what a simulated model needs to know, or None where the truth is not known."""
        return None


NEW = "new"
"""Stands among the outcomes that a later round of a map asks again: rows that have come since."""


class RowParams(Params):
    """Base of the parameters of a decomposer of rows.

    Args:
        output: The folder that the rows' answers are written to while the run goes on; "" writes none. E.g. ``"out"``.
        output_format: How: JSON lines, CSV that no spreadsheet runs, or Parquet. E.g. ``"parquet"``.
        output_single: Write one file when the run rests, in place of parts while it goes on. E.g. ``true``.
        round: Which round of the map this run is: 0, or one more than that of the run that it goes on from.
        again: What a later round asks: rows with these outcomes, and `NEW` ones. Set by ``maker retry``. E.g.
            ``["undecided", "new"]``.
        reviewed: Rows that it leaves out, as people have decided them: from a first one to before another. Set by
            ``maker retry``. E.g. ``[[3, 5]]``.
        sample (rows): Only so many rows, drawn at random, are asked, and numbered among themselves; 0 for all of them.
            The same are drawn of the same input.
        chosen: The rows that a later stage or a comparison asks, of all or of the sample, as maker writes them; it
            cannot be set.
    """

    output: Annotated[str, Place()] = ""
    output_format: Literal["jsonl", "csv", "parquet"] = Field(default="jsonl", exclude_if=lambda one: one == "jsonl")
    output_single: bool = Field(default=False, exclude_if=lambda single: not single)
    round: int = Field(default=0, ge=0)
    again: tuple[str, ...] = ()
    reviewed: tuple[tuple[int, int], ...] = Field(default=(), exclude_if=lambda ranges: not ranges)
    sample: int = Field(default=0, ge=0)
    chosen: str = Field(default="", exclude_if=lambda rows: not rows)

    @field_validator("chosen")
    @classmethod
    def _are_rows(cls, chosen: str) -> str:
        if chosen:
            unpacked(chosen)
        return chosen


class RoundDecomposer(Decomposer[S, A]):
    """A decomposer that may go on after its end, and ask children again that have no good decision.

    Its parameters have a ``round``, 0 at first, and ``again``, the outcomes of the children that a later round asks.
    """

    @abstractmethod
    def asked_again(self, state: S) -> int:
        """Return how many children the next round asks, from the state at the end of the round before."""


class RowDecomposer(RoundDecomposer[S, A]):
    """A decomposer whose root forks into single steps, one for each row of some data.

    What it says of its rows lets results and output files be made of the log.
    """

    output: str = ""
    """The folder that answers are written to, "" for none."""
    output_format: str = "jsonl"
    """In what format: ``jsonl``, ``csv`` or ``parquet``."""
    output_single: bool = False
    """Whether they are written to one file when the run rests, and not to parts while it goes on."""

    @abstractmethod
    def grown(self) -> tuple[InputPart, ...]:
        """Return the input files as they were when the run began, and after them what has come since.

        Blocks while it reads. Raises `BadInput` as `parts` does.
        """

    @abstractmethod
    def count(self) -> int:
        """Return how many rows there are in all. Raises `BadInput` where the input cannot be read, or has changed."""

    @abstractmethod
    def rows(self, state: S) -> Sequence[int]:
        """Return the numbers of the rows that the fork at a root's state asks, ascending, as its children are."""

    @abstractmethod
    def row(self, number: int) -> tuple[str, Mapping[str, Any]]:
        """Return a row's id and values, which go before its answer in the output; no value of one that is broken."""

    def asked_again(self, state: S) -> int:
        """Return how many rows the next round asks."""
        return len(self.rows(state))

    def margins(self, votes: Mapping[str, int], winner: str) -> Mapping[str, int]:
        """Return by how many votes each part of a winning answer leads, by name; nothing where it has no parts.

        ``votes`` are those of every candidate, by its key; ``winner`` is one of them.
        """
        return {}

    def counted(self, key: str) -> Mapping[str, str]:
        """Return what a vote says, by the fields of an answer, each as it counts; ``key`` is the vote's."""
        return {"answer": key}

    def label(self, columns: Mapping[str, Any]) -> Mapping[str, str]:
        """Return what is right by a label, in the form of `counted`, for the fields that the label is about.

        Args:
            columns: The label's, by name: texts of a CSV file, or JSON values. Here ``answer`` is a right reply.

        Returns:
            Field → what counts as right; nothing where the label's columns are blank.

        Raises:
            ValueError: It has no column of the answer, or no answer can be what stands there; says why.
        """
        reply = columns.get("answer")
        if reply is None or not str(reply).strip():
            return {}
        return {"answer": vote_key(self.action, self.classes[0].parse(str(reply)))}


class Promise(NamedTuple):
    """What a voter promises of the steps of a class that it decides.

    Args:
        error: The share of steps, at most, that miss what is promised.
        each: The promise in a sentence without its stop, as in "of steps move, mine decides at most 0.01 wrongly".
        all: What becomes of the others, after "of 1,000 steps, 10 on average at most": "are wrong, if …".
    """

    error: float
    each: str
    all: str


class Voter(_Made, ABC):
    """Decides a step from its ballots. Pure; it calls nothing.

    A voter with ``weighs`` says by `weigh` what each vote counts, and finds the sums in `Ballots.weights`. Its model
    must tell log-probabilities.
    """

    name: ClassVar[str]
    Params: ClassVar[type[BaseModel]] = Params
    weighs: ClassVar[bool] = False
    weighs_odds: ClassVar[bool] = False
    """Whether a vote's weight comes from the log-odds ln(c/(1-c)) of the probability c that its sample reports.

    It weighs that much at most, and nothing where c is one half or less. Such a rule takes a vote to be right with
    probability c on each step, and the run's monitor tests the votes against that (`maker.stats.reported`).
    """

    @abstractmethod
    def decide(self, ballots: Ballots) -> Verdict:
        """Judge the votes so far.

        ``More(n)`` must name the fewest further votes that could settle it: the election asks for just as many, so
        that no vote is drawn that could not matter, and the order within a request cannot either.
        """

    def weigh(self, logprob: float | None) -> int:
        """Return what a vote counts, in thousandths, 0 or more; ``logprob`` is its sample's, None where none was told.

        Called once for each vote of a voter with ``weighs``; the sums are stored with the step.
        """
        raise NotImplementedError(f"{self.name} sets weighs = True, but does not define weigh()")

    @property
    @abstractmethod
    def least(self) -> int:
        """The fewest valid votes that can decide a step: what a run's estimate of cost rests on."""

    @property
    def race_margin(self) -> int | None:
        """The lead k that decides a step, where that and nothing else does; None for any other rule.

        A candidate wins as soon as it has k votes more than every other, and not before. How many votes such a race
        leaves for the loser follows a known law, whatever the model: with a k, the run's monitor tests the votes
        against it, and reports estimate from it how often steps are right. Without one, both say that they cannot.
        """
        return None

    def promise(self, steps: str) -> Promise | None:
        """Return what the voter promises of steps of the class named ``steps``; None where it promises nothing.

        Reports quote it as what was claimed before the first step.
        """
        return None
