"""What a run tells those who watch it. Every event is of something that is committed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias

from maker.plugin import Codec, vote_key
from maker.store.vote_monitor import ALARM, DECORRELATED
from maker.voting.messages import Decided
from maker.voting.paths import Path, chain_name, is_single
from maker.voting.tally import Source, unpack

_SELDOM = ("judge", "weights", "source")


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
    """One decided step as people and programs read it. ``votes`` maps each candidate's key to its votes.

    ``judge`` holds a judge's votes, where those settled nothing: its margin is that of the step then. ``weights`` says
    what each candidate's votes weigh, with a voter that weighs them. A step that was taken from the memo has no votes
    of its own: ``source`` is then where it was decided, by the keys of the store (``chain_key``, ``step``, ``epoch``)
    and, where the store is at hand, by ``run`` and ``chain``; ``key`` is that of the winner, and ``calls`` is how many
    samples it took.
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

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON; the step class is called ``class``.

        ``judge`` is there where one was asked, ``weights`` where votes were weighed, ``source`` where there were none.
        """
        told = {("class" if name == "kind" else name): value for name, value in self._asdict().items()}
        return {name: value for name, value in told.items() if value or name not in _SELDOM}


class Tellable:
    """An event that can be told as JSON; ``kind`` is its name there, in the log, and in the store."""

    __slots__ = ()
    kind: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """Return the event as JSON: its name as ``event``, and its public fields."""
        names = [one.name for one in fields(self) if not one.name.startswith("_")]  # type: ignore[arg-type]
        return {"event": self.kind} | {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class RunStarted(Tellable):
    """A run is in the store; ``steps`` are decided already, of ``expected_steps`` if that is known."""

    kind: ClassVar[str] = "run_started"

    run_id: str
    resumed: bool
    steps: int
    expected_steps: int | None


@dataclass(frozen=True, slots=True)
class StepsDecided(Tellable):
    """Some steps were committed; ``steps``, ``votes``, ``red_flags`` and ``disputed`` count these alone."""

    kind: ClassVar[str] = "steps_decided"

    run_id: str
    steps: int
    votes: int
    red_flags: int
    disputed: int
    _decided: Sequence[Decided] = field(repr=False)
    _classes: tuple[str, ...] = field(repr=False)
    _codec: Codec[Any] = field(repr=False)

    def records(self) -> Iterator[StepRecord]:
        """Yield each step; made only when asked for, because a fast run commits tens of thousands a second."""
        for step in self._decided:
            if step.tally:
                yield step_record(self._classes, self._codec, step.path, step)


@dataclass(frozen=True, slots=True)
class StepsAsked(Tellable):
    """Some steps of a pilot were asked and committed, none of them decided; ``votes`` are valid ones."""

    kind: ClassVar[str] = "steps_asked"

    run_id: str
    steps: int
    votes: int
    red_flags: int


@dataclass(frozen=True, slots=True)
class WorkerGone(Tellable):
    """A worker is lost; the ``chains`` that it held go on elsewhere, from what is committed.

    ``reason`` is the last that was heard of it; ``replaced`` says whether another one is started in its place.
    """

    kind: ClassVar[str] = "worker_lost"

    run_id: str
    worker: int
    reason: str
    chains: int
    replaced: bool


@dataclass(frozen=True, slots=True)
class WorkerWaiting(Tellable):
    """A worker has not started for a while; ``reason`` is what it needs and what there is. The others work on."""

    kind: ClassVar[str] = "worker_waiting"

    run_id: str
    worker: int
    reason: str


@dataclass(frozen=True, slots=True)
class ModelAway(Tellable):
    """A member of the pool cannot be asked any more by a worker: its votes pass on to the others until a resume."""

    kind: ClassVar[str] = "model_away"

    run_id: str
    worker: int
    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class AlarmRaised(Tellable):
    """Steps of a class do not vote as voting needs it, by a test of the monitor's: see `maker.stats.monitor.Alarm`.

    ``statistic`` is the test, ``steps`` how many of the class it looked at. It ``found`` a number where ``expected`` is
    due; steps that are alike and vote independently show this or worse with a probability of ``p`` at most, and below
    ``level`` it alarms. ``text`` says it in a sentence.
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
class VotesDecorrelated(Tellable):
    """From now on votes on steps of a class are asked for in ways that differ: an alarm has led to it.

    They go round: ``models``, by name, ``wordings`` (how many the class has), and the ``temperatures`` that they are
    drawn at beside the models' own.
    """

    kind: ClassVar[str] = DECORRELATED

    run_id: str
    step_class: str
    models: list[str]
    wordings: int
    temperatures: list[float]


@dataclass(frozen=True, slots=True)
class RunEnded(Tellable):
    """This process's work on the run is over; ``status`` says how the run stands."""

    kind: ClassVar[str] = "run_ended"

    run_id: str
    status: str
    reason: str
    result: Any


_Kept: TypeAlias = WorkerGone | WorkerWaiting | ModelAway | AlarmRaised | VotesDecorrelated
Event: TypeAlias = RunStarted | StepsDecided | StepsAsked | _Kept | RunEnded
_STORED: dict[str, type[_Kept]] = {
    kind.kind: kind for kind in (WorkerGone, WorkerWaiting, ModelAway, AlarmRaised, VotesDecorrelated)
}


def stored_event(run_id: str, kind: str, facts: Mapping[str, Any]) -> Event | None:
    """Return an event as the store holds it; None for one of a kind that this version does not know."""
    made = _STORED.get(kind)
    return None if made is None else made(run_id, **facts)


def step_record(
    classes: tuple[str, ...], codec: Codec[Any] | None, path: Path, step: StoredStep, *, superseded: bool = False
) -> StepRecord:
    """Return a stored step as a record; without the task's codec, its action as it is stored.

    A child of a fork of single steps is shown as a chain of its own, whose only step is 0.

    Raises ``ValueError`` where the stored bytes cannot be read.
    """
    count = unpack(step.tally)
    action = None if codec is None else codec.read(step.action)
    winner = step.action if codec is None else vote_key(codec, action)
    single = is_single(path)
    return StepRecord(
        chain=chain_name(path, step.idx if single else None),
        step=0 if single else step.idx,
        kind=classes[count.kind] if count.kind < len(classes) else f"class {count.kind}",
        action=step.action if codec is None else codec.show(action),
        votes=count.counts(winner),
        flags=count.reasons(),
        rounds=count.rounds,
        margin=(count.judge or count).margin,
        epoch=step.epoch,
        superseded=superseded,
        judge={} if count.judge is None else count.judge.counts(winner),
        weights={key: weight / 1000 for key, weight in (count.weighed(winner) or {}).items()},
        source={} if count.source is None else _cited(count.source, winner),
    )


def _cited(source: Source, winner: str) -> dict[str, Any]:
    chain, step, epoch, calls = source
    return {"key": winner, "chain_key": chain, "step": step, "epoch": epoch, "calls": calls}
