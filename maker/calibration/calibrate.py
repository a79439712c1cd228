"""Holds a task's pilot, and keeps what was heard: the samples are those of a run, so that a pilot can be resumed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from typing import NamedTuple, Unpack

from pydantic import ValidationError

from maker.calibration.observations import By, Kept
from maker.calibration.pilot_reader import PilotReader, oracle_of
from maker.core.logs import logger
from maker.core.user_code import call_user_code
from maker.errors import BadInput, ModelUnusable, PilotPaused, extra
from maker.job.file import DEFAULT_VOTER
from maker.job.job import Job
from maker.job.keywords import JobKeywords
from maker.job.load import JobLike, load_job
from maker.job.probe import distinct_questions, expected_steps
from maker.job.resolve import derived
from maker.job.rules import rules_of
from maker.job.settings import PollSettings
from maker.lifecycle.control import is_begun, run_through
from maker.lifecycle.session import OnEvent
from maker.models.settings import PoolSettings, SimulatedSettings
from maker.plugin import vote_key
from maker.sampling.draw import can_draw
from maker.sampling.kinds import names_kinds
from maker.sampling.label_sample import refuse_in_order
from maker.sampling.labels import Label, format_labels, parse_labels
from maker.sampling.own_rows import own_rows
from maker.store.backend.database import open_database
from maker.store.calibrations import keep_calibration
from maker.store.chains import root_chain
from maker.store.log import read_steps
from maker.store.runs import PILOT, WAY, find_run

log = logger(__name__)

LEAST, STEPS, VOTES = 100, 2000, 10
"""Of each class so many steps are asked at least and at most, each so often, unless told otherwise."""
PART, MARGIN = 4, 3
"""In between, a pilot asks one vote for so many that the run takes with this k."""
LOOK, LOOKED_AT = 40, 50
"""A step on which the right answer does not lead is asked so often more, up to so many of them, unless told otherwise.

One such step in the run is decided wrongly whatever k is; ten votes of a step at p = .7 lose to one rival in 15 of 100.
"""
ROUNDS = 2
"""The votes of a step are asked for at so many times: those of one request, or of one moment, may share a fate."""


def calibrate(
    job: JobLike,
    overrides: Iterable[str] = (),
    *,
    steps: int | None = None,
    votes: int = VOTES,
    labels: str = "",
    closer: int = 0,
    shuffled: bool = False,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
    **keywords: Unpack[JobKeywords],
) -> Kept:
    """Ask steps of every class of a task, and keep what was heard. Blocks.

    Who says what is right: ``labels`` where they are given, else the task's oracle where it has one; else the answers
    that votes settle on, so that it tells of agreement alone. Steps are drawn as `maker.sampling.draw.draw` does; where
    only votes lead to them, the task's first ``steps`` are decided by the job's own voter and asked again.

    The same pilot asked for again is gone on with, or found as it is.

    Args:
        job: As for `maker.run`.
        overrides: As for `maker.run`.
        steps: Steps to ask of each class, as `pilot_size` says by default; a labelled pilot asks those with a label.
        votes: Samples of each step, half of them after all steps have had the other half: an odd number above one is
            rounded up. One alone says nothing of how unlike the steps of a class are.
        labels: JSON lines, each a `maker.sampling.labels.Label`.
        closer: How many samples more are asked of each step on which votes differed, or less than half of the samples
            could vote: there are few of these where steps are unlike, and a plan hangs on them. It takes labels or an
            oracle, or votes that led to the steps. Where it is 0, the first `LOOKED_AT` of those steps are asked
            `LOOK` times more on which the right answer does not lead.
        shuffled: The rows stand in random order, so that labels of the first ones, or of a block, are a random sample.
        on_event: Told of the pilot's runs.
        stop: Set it from another thread to pause the pilot.
        keywords: As for `maker.run`.

    Raises:
        BadInput: The job cannot be run as it is, or asks no step; labels that cannot be read or contradict each other,
            or that stand together in a file whose rows are not ``shuffled``.
        PilotPaused: ``stop`` was set, or a limit was reached.
    """
    job = load_job(job, overrides, **keywords)
    # Before the pilot, which costs calls: what was heard is read with it.
    with extra("plan", "a calibration"):
        from maker.stats import dependence  # noqa: F401
    if shuffled and not labels:
        raise BadInput("shuffled says how labelled rows stand: there are no labels", fix="add labels, or leave it out")
    if labels and not shuffled:
        _refuse_labels_in_order(job, labels)
    poll = _poll(votes, STEPS if steps is None else steps)
    if steps is None:
        poll = poll.model_copy(update={"steps": pilot_size(job, votes).steps})
    looks = _poll(closer or LOOK, poll.steps)
    by = By.LABELS if labels else By.VOTES if oracle_of(job.decomposer) is None else By.ORACLE
    hold = partial(run_through, on_event=on_event, stop=stop)
    if by == By.VOTES and not can_draw(job.decomposer):
        labels = format_labels(_voted(job, poll.steps, hold))
    elif by == By.VOTES and closer:
        raise BadInput(
            "--closer needs right answers, and there are neither labels nor an oracle",
            fix="give --labels, or leave --closer out and raise --votes",
        )
    poll = poll.model_copy(update={"labels": labels, "by_kind": names_kinds(job.decomposer)})
    asked = hold(_in_rounds(job, poll))
    greedy = looked = None
    if (cold := _greedy(job)) and (labels or by != By.VOTES):
        greedy = _held_greedily(_pilot(job, poll.model_copy(update={"votes": 1}), cold), hold)
    with closing(open_database(job.store.url, create=False)) as database:
        heard = PilotReader(database, job, by)
        heard.listen(find_run(database, asked))
        again = heard.differing if closer else heard.doubtful[:LOOKED_AT]
        if again:
            looked = hold(_in_rounds(job, looks.model_copy(update={"labels": format_labels(again)})))
            # A plan takes it that all differing steps were looked at, or none: other looks are told, and no more.
            take_in = heard.look_closer if closer else heard.resolve
            take_in(find_run(database, looked))
        if greedy:
            heard.listen_greedily(find_run(database, greedy))
        calibration = heard.calibration([run for run in (asked, looked, greedy) if run])
        return Kept(keep_calibration(database, calibration.fingerprint, calibration.model_dump_json()), calibration)


def _refuse_labels_in_order(job: Job, labels: str) -> None:
    """Refuse labels of rows that are no random sample of the run's, by their numbers. Raises `BadInput`."""
    rows = own_rows(job.decomposer, parse_labels(labels))
    if rows is not None:
        refuse_in_order(rows.numbers, rows.of)


class PilotSize(NamedTuple):
    """How many steps of each class a pilot asks, and why so many, in words."""

    steps: int
    why: str


def pilot_size(job: Job, votes: int = VOTES) -> PilotSize:
    """Return the size of a pilot whose votes are a quarter of those that the run takes, from `LEAST` to `STEPS` steps.

    The run is taken to need `MARGIN` votes a step: a run of 20,000 steps of one class gives 1,500 steps of 10 votes.
    Raises `TaskFailed`.
    """
    asked = distinct_questions(job)
    steps = expected_steps(job) if asked is None else sum(asked.values())
    if steps is None:
        return PilotSize(STEPS, "the task does not say how many steps its run has")
    calls = steps * MARGIN
    pays_for = calls // PART // (votes_asked(job, votes) * len(job.decomposer.classes))
    why = f"a quarter of the {calls:,} calls of the run at k = {MARGIN}"
    if pays_for < LEAST:
        return PilotSize(LEAST, f"the least; {why} pays for {pays_for:,}")
    return PilotSize(min(pays_for, STEPS), why if pays_for <= STEPS else f"the most; {why} pays for {pays_for:,}")


def _poll(votes: int, steps: int) -> PollSettings:
    """Return a pilot's settings. Raises `BadInput` for too many votes or steps, or none."""
    try:
        return PollSettings(votes=votes, steps=steps)
    except ValidationError as error:
        first = error.errors()[0]
        said = f"{first['loc'][0]} = {first['input']!r}: {first['msg']}"
        raise BadInput(f"a pilot of {votes:,} votes on {steps:,} steps of each class: {said}") from error


def votes_asked(job: Job, votes: int) -> int:
    """Return how many votes of a step a pilot asks where so many are wanted: as many in its second round as before."""
    return ROUNDS * _a_round(job, votes) or votes


def _a_round(job: Job, votes: int) -> int:
    """Return how many votes of a step each round of a pilot asks; 0 where all are asked at once.

    Models that take turns do so anew in each round: it gives all of them as many.
    """
    rules = rules_of(job)
    turns = max(len(rules.of(kind).rotation) for kind in job.decomposer.classes)
    return 0 if votes < ROUNDS * turns else turns * -(-votes // (ROUNDS * turns))


def _in_rounds(job: Job, poll: PollSettings) -> Job:
    """Return the job's pilot with its votes asked in rounds; one that an older version began asks them all at once."""
    at_once = _pilot(job, poll)
    a_round = _a_round(job, poll.votes)
    if not a_round or is_begun(at_once):
        return at_once
    return _pilot(job, poll.model_copy(update={"votes": a_round, "rounds": ROUNDS}))


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
    for member in at.values():
        if isinstance(member, SimulatedSettings) or member.greedy or not member.takes(0):
            return []
    return [f"{place}.temperature=0" for place in at]


def _held_greedily(pilot: Job, hold: Callable[[Job], str]) -> str | None:
    """Hold a pilot at temperature 0; returns its run, None where a model that has just answered refuses that."""
    try:
        return hold(pilot)
    except ModelUnusable as error:
        log.warning("temperature_refused", error=error.message, fix=error.fix)
        return None


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
