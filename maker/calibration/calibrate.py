"""Holds a task's pilot, and keeps what was heard: the samples are those of a run, so that a pilot can be resumed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

from pydantic import ValidationError

from maker.calibration.observations import By, Calibration, Kept, Reply, SampleCounts, Tallies, Votes
from maker.core.user_code import call_user_code, ends_the_program
from maker.errors import BadInput, PilotPaused
from maker.job.file import DEFAULT_VOTER
from maker.job.fingerprint import calibration_fingerprint
from maker.job.job import Job
from maker.job.load import JobLike, load_job
from maker.job.resolve import derived
from maker.job.rules import thinking_of
from maker.job.settings import PollSettings
from maker.lifecycle.control import run_through
from maker.lifecycle.queries import show
from maker.lifecycle.session import OnEvent
from maker.models.settings import PoolSettings, SimulatedSettings
from maker.plugin import Decomposer, vote_key
from maker.sampling.draw import Places, StepLocation, can_draw, right_answers
from maker.sampling.kinds import kind_of, names_kinds
from maker.sampling.labels import Label, format_labels
from maker.sampling.pilot import Root, RootCodec
from maker.store.backend.database import Database, open_database
from maker.store.calibrations import keep_calibration
from maker.store.chains import read_children, read_forks, root_chain
from maker.store.log import SampleRow, read_samples, read_snapshots, read_steps
from maker.store.runs import PILOT, WAY, RunRow, find_run
from maker.types import Flag, Oracle, Step
from maker.voting.thinking import Thinking

STEPS, VOTES = 2000, 10
"""Of each class so many steps are asked, each so often, unless told otherwise."""


def calibrate(
    job: JobLike,
    overrides: Iterable[str] = (),
    *,
    steps: int = STEPS,
    votes: int = VOTES,
    labels: str = "",
    closer: int = 0,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> Kept:
    """Ask steps of every class of a task, and keep what was heard. Blocks.

    Who says what is right: ``labels`` where they are given, else the task's oracle where it has one; else the answers
    that votes settle on, so that it tells of agreement alone. Steps are drawn as `maker.sampling.draw.draw` does; where
    only votes lead to them, the task's first ``steps`` are decided by the job's own voter and asked again.

    The same pilot asked for again is gone on with, or found as it is.

    Args:
        job: As for `maker.run`.
        overrides: As for `maker.run`.
        steps: Steps to ask of each class; a labelled pilot asks those that are labelled.
        votes: Samples of each step. One alone says nothing of how unlike the steps of a class are.
        labels: JSON lines, each a `maker.sampling.labels.Label`.
        closer: How many samples more are asked of each step on which votes differed, or less than half of the samples
            could vote: there are few of these where steps are unlike, and a plan hangs on them. It takes labels or an
            oracle, or votes that led to the steps.
        on_event: Told of the pilot's runs.
        stop: Set it from another thread to pause the pilot.

    Raises:
        BadInput: The job cannot be run as it is, or asks no step; labels that cannot be read or contradict each other.
        PilotPaused: ``stop`` was set, or a limit was reached.
    """
    job = load_job(job, overrides)
    poll = _poll(votes, steps)
    looks = _poll(closer, steps) if closer else None
    by = By.LABELS if labels else By.VOTES if _oracle(job.decomposer) is None else By.ORACLE
    hold = partial(run_through, on_event=on_event, stop=stop)
    if by == By.VOTES and not can_draw(job.decomposer):
        labels = format_labels(_voted(job, steps, hold))
    elif by == By.VOTES and looks:
        raise BadInput(
            "--closer needs right answers, and there are neither labels nor an oracle",
            fix="give --labels, or leave --closer out and raise --votes",
        )
    poll = poll.model_copy(update={"labels": labels, "by_kind": names_kinds(job.decomposer)})
    asked = hold(_pilot(job, poll))
    greedy = looked = None
    if (cold := _greedy(job)) and (labels or by != By.VOTES):
        greedy = hold(_pilot(job, poll.model_copy(update={"votes": 1}), cold))
    with closing(open_database(job.store.url, create=False)) as database:
        heard = _PilotReader(database, job, by)
        heard.listen(find_run(database, asked))
        if looks and heard.doubtful:
            looked = hold(_pilot(job, looks.model_copy(update={"labels": format_labels(heard.doubtful)})))
            heard.look_closer(find_run(database, looked))
        if greedy:
            heard.listen_greedily(find_run(database, greedy))
        calibration = heard.calibration(votes, [run for run in (asked, looked, greedy) if run])
        return Kept(keep_calibration(database, calibration.fingerprint, calibration.model_dump_json()), calibration)


def _poll(votes: int, steps: int) -> PollSettings:
    """Return a pilot's settings. Raises `BadInput` for too many votes or steps, or none."""
    try:
        return PollSettings(votes=votes, steps=steps)
    except ValidationError as error:
        first = error.errors()[0]
        said = f"{first['loc'][0]} = {first['input']!r}: {first['msg']}"
        raise BadInput(f"a pilot of {votes:,} votes on {steps:,} steps of each class: {said}") from error


def _pilot(job: Job, poll: PollSettings, words: Iterable[str] = ()) -> Job:
    """Return the job's pilot: what is drawn of it does not depend on how it votes, nor on the wanted margin."""
    # How replies are read stays.
    read = {name: value for name, value in job.settings["vote"].items() if name == "thinking"}
    settings = job.settings | {"poll": poll.model_dump(), "vote": {"voter": DEFAULT_VOTER, "k": 1} | read}
    settings["limits"] = job.settings["limits"] | {"max_undecided": None}
    name = f"run.name={PILOT}{job.run.name or job.settings['task']['decomposer']}"
    return derived(job, settings, [name, "store.samples=all", *words])


def _greedy(job: Job) -> list[str]:
    """Return the overrides that draw one greedy sample of each step, none where that is no choice."""
    if isinstance(job.model, PoolSettings):
        at = {f"model.members.{name}": member for name, member in job.members.items()}
    else:
        at = {"model": job.model}
    if any(isinstance(member, SimulatedSettings) or member.greedy for member in at.values()):
        return []
    return [f"{place}.temperature=0" for place in at]


def _voted(job: Job, steps: int, hold: Callable[[Job, int], str]) -> list[Label]:
    """Let the job's own voter decide the first steps of a chain; returns them as labels.

    Where its margin is still to be planned, it has the voter's own.
    """
    words = [f"run.name={WAY}{job.run.name or job.settings['task']['decomposer']}"]
    vote = {name: value for name, value in job.settings["vote"].items() if not (name == "k" and job.needs_plan)}
    made = derived(job, job.settings | {"vote": vote}, words)
    run_id = hold(made, steps)
    with closing(open_database(job.store.url, create=False)) as database:
        row, task = find_run(database, run_id), made.decomposer
        labels, state = list[Label](), call_user_code(f"{task.name}: start", task.start)
        for step in read_steps(database, root_chain(database, row.key).key):
            action = call_user_code(f"{task.name}: action.read", task.action.read, step.action)
            key = call_user_code(f"{task.name}: its key", vote_key, task.action, action)
            text = call_user_code(f"{task.name}: state.write", task.state.write, state)
            labels.append(Label(state=text, key=key))
            state = call_user_code(f"{task.name}: apply", task.apply, state, action)
    if not labels:
        raise PilotPaused(f"run {run_id} has decided no step of its root chain, so there are no steps for a pilot")
    return labels


class _PilotStep(NamedTuple):
    """A step of a pilot's run: its class, its place, and its samples."""

    step: Step[Any, Any]
    state: Any
    spot: StepLocation
    replies: list[Reply]


class _PilotReader:
    """Makes a calibration of what the runs of a pilot heard.

    ``doubtful`` names steps on which votes differed, or less than half of the samples could vote, as labels.
    """

    def __init__(self, database: Database, job: Job, by: By) -> None:
        self._database = database
        self._job = job
        self._by = by
        self._oracle = _oracle(job.decomposer) if by == By.ORACLE else None
        self._tallies = {kind.name: Tallies(len(job.members)) for kind in job.decomposer.classes}
        # By class, and then by the fields of `SampleCounts`.
        self._greedy: dict[str, Counter[str]] = {}
        self._doubted: dict[StepLocation, Votes] = {}
        self._root = Root(0, (), {})
        self.doubtful: list[Label] = []

    def listen(self, row: RunRow) -> None:
        """Take in what was heard."""
        self._root = _root(self._database, row)
        for asked, right in self._asked(row):
            name, kind = kind_of(self._job.decomposer, asked.step)
            votes = self._tallies[name].add(asked.replies, right, kind)
            if right and (votes.against or 2 * votes.right < len(asked.replies)):
                self._doubted[asked.spot._replace(right=None)] = votes
                self.doubtful.append(Label(state=asked.spot.state, child=asked.spot.child, key=min(right)))

    def look_closer(self, row: RunRow) -> None:
        """Take in what was heard of doubtful steps when they were asked again."""
        for asked, right in self._asked(row):
            more = Tallies(len(self._job.members)).add(asked.replies, right)
            before = self._doubted[asked.spot._replace(right=None)]
            self._tallies[asked.step.kind.name].look_closer(before, more)

    def listen_greedily(self, row: RunRow) -> None:
        """Take in what was heard at temperature 0."""
        self._greedy = {name: Counter() for name in self._tallies}
        for asked, right in self._asked(row):
            for reply in asked.replies:
                truth = right is not None and reply.key in right
                self._greedy[asked.step.kind.name]["flagged" if reply.flag else "right" if truth else "wrong"] += 1

    def calibration(self, votes: int, runs: Sequence[str]) -> Calibration:
        """Return what was heard."""
        told = show(runs[0], store=self._job.store.url)
        found = {
            name: one.found(
                self._root.of.get(name),
                SampleCounts(**self._greedy[name]) if self._greedy else None,
                self._root.kinds.get(name),
            )
            for name, one in self._tallies.items()
        }
        return Calibration(
            by=self._by, votes=votes, requests=told.requests, prompt_tokens=told.prompt_tokens, seconds=told.wall_s,
            runs=tuple(runs), fingerprint=calibration_fingerprint(self._job), classes=found,
        )  # fmt: skip

    def _asked(self, row: RunRow) -> Iterator[tuple[_PilotStep, Collection[str] | None]]:
        """Yield what a run asked, and the keys of what is right there."""
        task, thinking = self._job.decomposer, thinking_of(self._job)
        for asked in _read(self._database, row, task, thinking):
            yield asked, _right(task, self._oracle, asked, thinking)


def _read(database: Database, row: RunRow, task: Decomposer[Any, Any], thinking: Thinking) -> Iterator[_PilotStep]:
    """Yield the steps of a pilot's run with their samples, in order; those without any are left out."""
    root, places = _root(database, row), Places(task)
    top = root_chain(database, row.key)
    fork = read_forks(database, top.key, 0, None)[-1]
    chain = next(read_children(database, fork, top.path))
    for number, samples in groupby(read_samples(database, chain.key, 0), key=lambda sample: sample.idx):
        spot = root.spots[number]
        step, state = call_user_code(f"{task.name}: next", places.asked, spot)
        heard = list(samples)
        newest = max(sample.epoch for sample in heard)
        replies = [_reply(task, step, sample, thinking) for sample in heard if sample.epoch == newest]
        yield _PilotStep(step, state, spot, replies)


def _root(database: Database, row: RunRow) -> Root:
    chain = root_chain(database, row.key)
    return RootCodec().read(next(read_snapshots(database, chain.key)).state)


def _reply(task: Decomposer[Any, Any], step: Step[Any, Any], sample: SampleRow, thinking: Thinking) -> Reply:
    """Return a kept sample; a flagged one with the vote that it would have been without its flag."""
    if sample.flag is None:
        return Reply(sample.candidate, None, sample.tokens, sample.model)
    try:
        key = vote_key(task.action, step.kind.parse(thinking.answer(sample.text or "")))
    except BaseException as error:
        if ends_the_program(error):
            raise
        # It has been flagged: that it cannot be read, whatever is raised, is what is asked.
        key = None
    return Reply(key, Flag(sample.flag), sample.tokens, sample.model)


def _right(
    task: Decomposer[Any, Any], oracle: Oracle | None, asked: _PilotStep, thinking: Thinking
) -> Collection[str] | None:
    """Return the keys of what is right in a step, None where nobody says."""
    if oracle is not None:
        return {one.key for one in right_answers(task, oracle, asked.step, asked.state, thinking=thinking)}
    return None if asked.spot.right is None else {asked.spot.right}


def _oracle(task: Decomposer[Any, Any]) -> Oracle | None:
    oracle: Oracle | None = call_user_code(f"{task.name}: oracle", task.oracle)
    return oracle
