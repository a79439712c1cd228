"""Events that a run reports to its watchers. All but `RepliesAwaited` describe something that is committed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias, get_args

from maker.core.user_code import call_user_code
from maker.errors import TaskFailed
from maker.plugin import Decomposer, vote_key
from maker.store.code import CODE_CHANGED
from maker.store.deferred import ALLOCATED, SPENT
from maker.store.outside import IN_DOUBT, WAIT_BEGUN, WAIT_ENDED
from maker.store.vote_monitor import ALARM, DECORRELATED, UNMADE
from maker.voting.messages import Decided
from maker.voting.parts import least_lead
from maker.voting.paths import Path, chain_name, is_single
from maker.voting.tally import Source, unpack

_SELDOM = ("judge", "weights", "source", "answered")


class StoredStep(Protocol):
    """A step as decided or as stored."""

    @property
    def idx(self) -> int: ...  # noqa: D102
    @property
    def epoch(self) -> int: ...  # noqa: D102
    @property
    def action(self) -> str: ...  # noqa: D102
    @property
    def tally(self) -> bytes: ...  # noqa: D102


class StepRecord(NamedTuple):
    """One decided step, for people and programs. ``votes`` maps each candidate's key to its votes, the winner first.

    ``judge`` holds a judge's votes if the votes decided nothing; the margin is then the judge's. ``weights`` holds each
    candidate's weight, with a voter that weighs votes. A step taken from the memo has no votes of its own. Its
    ``source`` says where it was decided: by the keys of the store (``chain_key``, ``step``, ``epoch``) and, with a
    store at hand, by ``run`` and ``chain``; ``key`` is the winner's, and ``calls`` is how many samples it took.
    ``answered`` says ``by`` whom and ``at`` what time (seconds since 1970) a step was decided that neither votes nor a
    judge settled: its margin is 0.
    """

    chain: str
    step: int
    kind: str
    action: Any
    votes: dict[str, int]
    flags: dict[str, int]
    rounds: int
    margin: int
    epoch: int
    superseded: bool
    judge: dict[str, int]
    weights: dict[str, float]
    source: dict[str, Any]
    answered: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON; the step class is called ``class``.

        ``judge`` is there if one was asked, ``weights`` if votes were weighed, ``source`` if it came from the memo,
        ``answered`` if a person decided it.
        """
        facts = {("class" if name == "kind" else name): value for name, value in self._asdict().items()}
        return {name: value for name, value in facts.items() if value or name not in _SELDOM}


class JsonEvent:
    """An event that can be written as JSON; ``kind`` is its name there, in the log, and in the store."""

    __slots__ = ()
    kind: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """Return the event as JSON: its name as ``event``, and its public fields."""
        names = [one.name for one in fields(self) if not one.name.startswith("_")]  # type: ignore[arg-type]
        return {"event": self.kind} | {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class RunStarted(JsonEvent):
    """A run was started or resumed; ``steps`` are decided already, of ``expected_steps`` if that is known.

    Of a pilot, which decides none, ``steps`` have been asked, in all its rounds.
    """

    kind: ClassVar[str] = "run_started"

    run_id: str
    resumed: bool
    steps: int
    expected_steps: int | None


@dataclass(frozen=True, slots=True)
class StepsDecided(JsonEvent):
    """Some steps were committed; ``steps``, ``votes``, ``red_flags`` and ``disputed`` count only these.

    ``red_flags`` also counts the samples of steps that were left undecided with them; ``steps`` may be 0. There are no
    records where another process works on the run, and it is followed through the store.
    """

    kind: ClassVar[str] = "steps_decided"

    run_id: str
    steps: int
    votes: int
    red_flags: int
    disputed: int
    _decided: Sequence[Decided] = field(repr=False)
    _classes: tuple[str, ...] = field(repr=False)
    _task: Decomposer[Any, Any] | None = field(repr=False)

    def records(self) -> Iterator[StepRecord]:
        """Yield each step. Records are built on demand: a fast run commits tens of thousands of steps a second."""
        for step in self._decided:
            if step.tally:
                yield shown_record(self._classes, self._task, step.path, step)


@dataclass(frozen=True, slots=True)
class StepsAsked(JsonEvent):
    """Some steps of a pilot or a comparison were sampled and committed, and not decided. ``votes`` are valid votes."""

    kind: ClassVar[str] = "steps_asked"

    run_id: str
    steps: int
    votes: int
    red_flags: int


@dataclass(frozen=True, slots=True)
class RepliesAwaited(JsonEvent):
    """Nothing has come for a while, and models have ``requests`` open: told after 10 s, and each time twice as long.

    It is of the moment, and not stored.
    """

    kind: ClassVar[str] = "replies_awaited"

    run_id: str
    requests: int


@dataclass(frozen=True, slots=True)
class WorkerGone(JsonEvent):
    """A worker was lost; its ``chains`` continue on other workers, after their last committed step.

    ``reason`` is its last error; ``replaced`` says whether a new worker is starting in its place.
    """

    kind: ClassVar[str] = "worker_lost"

    run_id: str
    worker: int
    reason: str
    chains: int
    replaced: bool


@dataclass(frozen=True, slots=True)
class WorkerWaiting(JsonEvent):
    """A worker has not started for a while; ``reason`` says what it needs and what the cluster has. Others work on."""

    kind: ClassVar[str] = "worker_waiting"

    run_id: str
    worker: int
    reason: str


@dataclass(frozen=True, slots=True)
class ModelAway(JsonEvent):
    """A pool member is unavailable on a worker; other members take its votes until the run is resumed."""

    kind: ClassVar[str] = "model_away"

    run_id: str
    worker: int
    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class ConcurrencyChanged(JsonEvent):
    """A worker sends a model's server ``concurrency`` requests at once, no more ``before`` as many.

    ``reason`` says why it gets fewer, and is empty where it gets more again; ``timeout_s`` is when requests are given
    up.
    """

    kind: ClassVar[str] = "concurrency_changed"

    run_id: str
    worker: int
    model: str
    concurrency: int
    before: int
    reason: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class EndpointChanged(JsonEvent):
    """A worker's replies of a model come from the endpoint ``url`` from now on, no more from ``before``.

    ``reason`` says why that one is not asked any more, and is empty where the first endpoint answers again.
    """

    kind: ClassVar[str] = "endpoint_changed"

    run_id: str
    worker: int
    model: str
    url: str
    before: str
    reason: str


@dataclass(frozen=True, slots=True)
class LimitAwaited(JsonEvent):
    """A worker has got nothing of a shared limit for 5 s; told again after 10 minutes.

    ``lacks`` says what holds it back: ``requests_per_minute``, ``tokens_per_minute``, ``concurrency``, or a ``pause``
    that a server has asked for.
    """

    kind: ClassVar[str] = "limit_awaited"

    run_id: str
    worker: int
    key: str
    lacks: str


@dataclass(frozen=True, slots=True)
class BatchChanged(JsonEvent):
    """A batch of requests was sent, or is over; ``number`` counts the run's batches, ``batch`` is the provider's id.

    ``state`` is ``sent``; ``heard``, when its results are read and its cost is counted; or ``void``, when it was
    refused as a whole, for ``problems``. ``status`` is the provider's own word. ``answered`` of its ``requests`` were,
    with so many ``calls`` and ``tokens``; None as long as it is out.
    """

    kind: ClassVar[str] = "batch_changed"

    run_id: str
    number: int
    state: str
    batch: str
    requests: int
    status: str
    answered: int | None
    calls: int
    tokens: int
    problems: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class VotesAllocated(JsonEvent):
    """Of a budget of votes, ``rows`` open rows of a map get further ``votes``, one request each.

    ``open`` rows were open before, ``spent`` is what was given out by then, these among it, and ``left`` the rest.
    """

    kind: ClassVar[str] = ALLOCATED

    run_id: str
    rows: int
    votes: int
    spent: int
    left: int
    open: int


@dataclass(frozen=True, slots=True)
class VoteBudgetOver(JsonEvent):
    """No row of a map gets further votes of its ``budget``: that is spent, or they are decided.

    ``spent`` votes decided ``decided`` of ``rows``; ``open`` ones stay undecided. So many ``more_votes``, a tenth, are
    expected to decide ``more_rows`` of them.
    """

    kind: ClassVar[str] = SPENT

    run_id: str
    budget: str
    spent: int
    rows: int
    decided: int
    open: int
    more_votes: int
    more_rows: float


def budget_line(facts: Mapping[str, Any]) -> str:
    """Return in words what a budget of votes has bought, from the facts of a `VoteBudgetOver`."""
    bought = f"{facts['spent']:,} votes decided {facts['decided']:,} of {facts['rows']:,} rows"
    line = f"the budget of {facts['budget']}: {bought}"
    if not facts["open"]:
        return line
    line += f" and left {facts['open']:,} open"
    if not facts["more_votes"]:
        return f"{line}; none of them may take a further vote"
    return f"{line}; {facts['more_votes']:,} more votes would be expected to decide {facts['more_rows']:,.0f} of them"


@dataclass(frozen=True, slots=True)
class AlarmRaised(JsonEvent):
    """The vote monitor finds that votes on a step class are not as voting needs them; see `maker.stats.monitor.Alarm`.

    ``statistic`` is the test, ``steps`` how many steps of the class it used. It ``found`` a number where ``expected``
    was due. Equally hard steps with independent votes give this or worse with a probability of at most ``p`` (with
    ``confidence``: steps whose replies are right as often as they report); the alarm is raised below ``level``.
    ``text`` says it in words.
    """

    kind: ClassVar[str] = ALARM

    run_id: str
    step_class: str
    statistic: str
    steps: int
    found: int
    expected: float
    p: float
    level: float
    text: str


@dataclass(frozen=True, slots=True)
class UnmadeTest(JsonEvent):
    """The vote monitor could not make a test of a step class that was due; ``text`` says what it lacks."""

    kind: ClassVar[str] = UNMADE

    run_id: str
    step_class: str
    statistic: str
    text: str


@dataclass(frozen=True, slots=True)
class VotesDecorrelated(JsonEvent):
    """After an alarm, votes on a step class are decorrelated: they rotate over models, prompts and temperatures.

    ``models`` are named, ``wordings`` counts the class's prompt variants, and ``temperatures`` are used beside the
    models' own.
    """

    kind: ClassVar[str] = DECORRELATED

    run_id: str
    step_class: str
    models: list[str]
    wordings: int
    temperatures: list[float]


@dataclass(frozen=True, slots=True)
class WaitBegun(JsonEvent):
    """A step waits for somebody: ``at`` is the step, ``deadline`` until when (seconds since 1970), None: for ever."""

    kind: ClassVar[str] = WAIT_BEGUN

    run_id: str
    at: str
    name: str
    prompt: str
    deadline: float | None


@dataclass(frozen=True, slots=True)
class WaitEnded(JsonEvent):
    """A wait is over: answered ``by`` somebody, or ``expired``."""

    kind: ClassVar[str] = WAIT_ENDED

    run_id: str
    at: str
    name: str
    by: str
    expired: bool


@dataclass(frozen=True, slots=True)
class EffectInDoubt(JsonEvent):
    """Nobody knows whether an effect was done; ``reason`` says why. Its branch rests until a person has said it."""

    kind: ClassVar[str] = IN_DOUBT

    run_id: str
    at: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class CodeChanged(JsonEvent):
    """A run goes on with other code, from ``step`` of its root chain on; ``changed`` says what differs.

    ``number`` counts such changes, from 0.
    """

    kind: ClassVar[str] = CODE_CHANGED

    run_id: str
    number: int
    step: int
    changed: str


@dataclass(frozen=True, slots=True)
class FileChanged(JsonEvent):
    """A file that a task parameter was read from has changed since the run began, which goes on with the old text."""

    kind: ClassVar[str] = "file_changed"

    run_id: str
    parameter: str
    file: str


@dataclass(frozen=True, slots=True)
class RunEnded(JsonEvent):
    """This process has stopped working on the run; ``status`` is the run's status."""

    kind: ClassVar[str] = "run_ended"

    run_id: str
    status: str
    reason: str
    result: Any


_Kept: TypeAlias = (
    WorkerGone
    | WorkerWaiting
    | ModelAway
    | ConcurrencyChanged
    | EndpointChanged
    | LimitAwaited
    | UnmadeTest
    | BatchChanged
    | VotesAllocated
    | VoteBudgetOver
    | AlarmRaised
    | VotesDecorrelated
    | WaitBegun
    | WaitEnded
    | EffectInDoubt
    | CodeChanged
)
Event: TypeAlias = RunStarted | StepsDecided | StepsAsked | RepliesAwaited | _Kept | FileChanged | RunEnded
_STORED: dict[str, type[_Kept]] = {kind.kind: kind for kind in get_args(_Kept)}


def stored_event(run_id: str, kind: str, facts: Mapping[str, Any]) -> Event | None:
    """Return a stored event; None if this version does not know its kind.

    Facts may be those of `maker.store.runs.read_events`, where the place of a wait or an effect is called ``step``.
    """
    made = _STORED.get(kind)
    if made is None:
        return None
    of_place = "step" if "step" in {field.name for field in fields(made)} else "at"
    return made(run_id, **{(of_place if name == "step" else name): fact for name, fact in facts.items()})


def step_record(
    classes: tuple[str, ...],
    task: Decomposer[Any, Any] | None,
    path: Path,
    step: StoredStep,
    *,
    superseded: bool = False,
) -> StepRecord:
    """Return a stored step as a record; without the task, the action is the stored text.

    A child of a fork of single steps is shown as a chain of its own, with the only step 0. The margin of an answer that
    was voted on part by part is that of the part on which the votes were closest.

    Raises ``ValueError`` if the stored bytes cannot be read.
    """
    tally = unpack(step.tally)
    codec = None if task is None else task.action
    action = None if codec is None else codec.read(step.action)
    winner = step.action if codec is None else vote_key(codec, action)
    kind = None if task is None or tally.kind >= len(task.classes) else task.classes[tally.kind]
    votes = tally.counts(winner)
    margin, person = tally.won_by, tally.person
    if kind is not None and kind.parts is not None and votes and tally.judge is None and person is None:
        margin = least_lead(kind.parts, votes)
    single = is_single(path)
    return StepRecord(
        chain=chain_name(path, step.idx if single else None),
        step=0 if single else step.idx,
        kind=classes[tally.kind] if tally.kind < len(classes) else f"class {tally.kind}",
        action=step.action if codec is None else codec.show(action),
        votes=votes,
        flags=tally.reasons(),
        rounds=tally.rounds,
        margin=margin,
        epoch=step.epoch,
        superseded=superseded,
        judge={} if tally.judge is None else tally.judge.counts(winner),
        weights={key: weight / 1000 for key, weight in (tally.weighed(winner) or {}).items()},
        source={} if tally.source is None else _source(tally.source, winner),
        answered={} if person is None else {"by": person.name, "at": person.at_ms / 1000},
    )


def shown_record(
    classes: tuple[str, ...], task: Decomposer[Any, Any] | None, path: Path, step: StoredStep
) -> StepRecord:
    """Return a stored step as `step_record` does; an action that the codec cannot show is told as it is stored.

    The task's code may have changed, or be wrong: who looks at a run must see it all the same, and not stop it.
    """
    try:
        made: StepRecord = call_user_code("the action's codec", step_record, classes, task, path, step)
    except TaskFailed:
        return step_record(classes, None, path, step)
    return made


def _source(source: Source, winner: str) -> dict[str, Any]:
    chain, step, epoch, calls = source
    return {"key": winner, "chain_key": chain, "step": step, "epoch": epoch, "calls": calls}
