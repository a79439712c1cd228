"""Makes a calibration of what the runs of a pilot heard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from heapq import merge
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from maker.calibration.observations import (
    By,
    Calibration,
    ChangeFound,
    ClassFound,
    FateFound,
    Reply,
    SampleCounts,
    Standing,
    Tallies,
    Votes,
    by_request,
)
from maker.core.user_code import call_user_code, ends_the_program
from maker.job.estimate import votes_per_request
from maker.job.fingerprint import calibration_fingerprint
from maker.job.job import Job
from maker.job.rules import thinking_of
from maker.job.settings import PollSettings
from maker.lifecycle.queries import RunReport, show
from maker.plugin import Decomposer, vote_key
from maker.sampling.draw import Places, StepLocation, right_answers
from maker.sampling.kinds import kind_of
from maker.sampling.labels import Label, parse_labels
from maker.sampling.own_rows import OwnRows, RowShare, own_rows, row_shares
from maker.sampling.pilot import Root, RootCodec
from maker.stats.request_votes import RequestVotes
from maker.store.backend.database import Database
from maker.store.chains import read_children, read_forks, root_chain
from maker.store.log import SampleRow, read_samples, read_snapshots
from maker.store.runs import RunRow
from maker.types import Flag, Oracle, Step
from maker.voting.thinking import Thinking

if TYPE_CHECKING:
    from maker.stats.dependence import Change


class _PilotStep(NamedTuple):
    """A step of a pilot's run: its class, its place, and its samples."""

    step: Step[Any, Any]
    state: Any
    spot: StepLocation
    replies: list[Reply]


class _Before(NamedTuple):
    """What was heard of a step before it was asked again."""

    votes: Votes
    standing: Standing


class PilotReader:
    """Makes a calibration of what the runs of a pilot heard.

    ``differing`` names steps on which votes differed, or less than half of the samples could vote, as labels.
    ``doubtful`` names those of which it is known what is right, and that does not lead the votes.
    """

    def __init__(self, database: Database, job: Job, by: By) -> None:
        self._database = database
        self._job = job
        self._by = by
        self._oracle = oracle_of(job.decomposer) if by == By.ORACLE else None
        self._tallies = {kind.name: Tallies(len(job.members)) for kind in job.decomposer.classes}
        # By class, and then by the fields of `SampleCounts`.
        self._greedy: dict[str, Counter[str]] = {}
        self._before: dict[StepLocation, _Before] = {}
        self._root = Root(0, (), {})
        # Where the labels are of rows of the run.
        self._rows: OwnRows | None = None
        self._votes = 0
        # By step, in the order in which they were asked.
        self._requests: list[tuple[RequestVotes, ...]] = []
        self.differing: list[Label] = []
        self.doubtful: list[Label] = []

    def listen(self, row: RunRow) -> None:
        """Take in what was heard."""
        self._root = _root(self._database, row)
        poll = PollSettings.model_validate(row.settings["poll"])
        self._votes = poll.votes * poll.rounds
        if self._by == By.LABELS:
            self._rows = own_rows(self._job.decomposer, parse_labels(poll.labels))
        for asked, right in self._asked(row):
            name, kind = kind_of(self._job.decomposer, asked.step)
            votes = self._tallies[name].add(asked.replies, right, kind)
            self._requests.append(by_request(asked.replies, right))
            if right and (votes.against or 2 * votes.right < len(asked.replies)):
                standing = Standing.of(asked.replies, right)
                self._before[asked.spot._replace(right=None)] = _Before(votes, standing)
                self.differing.append(Label(state=asked.spot.state, child=asked.spot.child, key=min(right)))
                if not standing.leads:
                    self._tallies[name].doubted += 1
                    self.doubtful.append(self.differing[-1])

    def look_closer(self, row: RunRow) -> None:
        """Take in what was heard of all differing steps when they were asked again."""
        for asked, right in self._asked(row):
            more = Tallies(len(self._job.members)).add(asked.replies, right)
            before = self._before[asked.spot._replace(right=None)]
            self._tallies[asked.step.kind.name].look_closer(before.votes, more)
        self.resolve(row)

    def resolve(self, row: RunRow) -> None:
        """Take in on which doubtful steps the right answer leads, now that they were asked again."""
        for asked, right in self._asked(row):
            before = self._before[asked.spot._replace(right=None)].standing
            if right and not before.leads:
                after = before.plus(Standing.of(asked.replies, right))
                self._tallies[asked.step.kind.name].resolved += after.leads
                self._tallies[asked.step.kind.name].cleared += after.leads_clearly

    def listen_greedily(self, row: RunRow) -> None:
        """Take in what was heard at temperature 0."""
        self._greedy = {name: Counter() for name in self._tallies}
        for asked, right in self._asked(row):
            for reply in asked.replies:
                truth = right is not None and reply.key in right
                self._greedy[asked.step.kind.name]["flagged" if reply.flag else "right" if truth else "wrong"] += 1

    def calibration(self, runs: Sequence[str]) -> Calibration:
        """Return what was heard in these runs, of which the first is the pilot."""
        # Imports scipy, which the command line does without.
        from maker.stats.dependence import change, worst_stretch

        told = show(runs[0], store=self._job.store.url)
        shares = self._row_shares()
        found = {name: self._found(name, one, shares.get(name)) for name, one in self._tallies.items()}
        return Calibration(
            by=self._by, votes=self._votes, classes=found, fate=self._fate(told),
            drift=_stored(change(self._requests)), stretch=_stored(worst_stretch(self._requests)),
            requests=told.requests, prompt_tokens=told.prompt_tokens, seconds=told.wall_s,
            runs=tuple(runs), fingerprint=calibration_fingerprint(self._job),
        )  # fmt: skip

    def _row_shares(self) -> Mapping[str, RowShare]:
        """Return of how many of the run's rows the labelled ones are, by class; {} where labels name other steps."""
        if self._rows is None:
            return {}
        asked = {spot.child for spot in self._root.spots if spot.child is not None}
        return row_shares(self._job.decomposer, self._rows, asked)

    def _found(self, name: str, heard: Tallies, rows: RowShare | None) -> ClassFound:
        """Return what was heard of a class; ``rows`` where its steps are labelled rows of the run."""
        greedy = SampleCounts(**self._greedy[name]) if self._greedy else None
        kinds = self._root.kinds.get(name)
        if rows is None:
            return heard.found(self._root.of.get(name), greedy, kinds)
        return heard.found(rows.of, greedy, kinds, repeats=rows.repeats, drawn=True)

    def _fate(self, pilot: RunReport) -> FateFound | None:
        """Return how votes of one request hang together, None where that was not asked."""
        # As above.
        from maker.stats.dependence import shared_fate

        found = None if _one_each(pilot) else shared_fate(self._requests)
        if found is None:
            return None
        low, estimate, high = found.correlation
        return FateFound(steps=found.steps, correlation=(low, estimate, high), chance=found.chance)

    def _asked(self, row: RunRow) -> Iterator[tuple[_PilotStep, Collection[str] | None]]:
        """Yield what a run asked, and the keys of what is right there."""
        task, thinking = self._job.decomposer, thinking_of(self._job)
        most = votes_per_request(self._job)
        for asked in _read(self._database, row, task, thinking, most):
            yield asked, _right(task, self._oracle, asked, thinking)


def _read(
    database: Database, row: RunRow, task: Decomposer[Any, Any], thinking: Thinking, most: Sequence[int]
) -> Iterator[_PilotStep]:
    """Yield the steps of a pilot's run with their samples, in order; those without any are left out.

    ``most`` says how many votes a request may ask for, by model.
    """
    root, places = _root(database, row), Places(task)
    for number, heard in groupby(_samples(database, row), key=lambda one: one.sample.idx):
        spot = root.spots[number]
        step, state = call_user_code(f"{task.name}: next", places.asked, spot)
        replies = list[Reply]()
        for round_, its in groupby(heard, key=lambda one: one.round):
            samples = [one.sample for one in its]
            newest = max(sample.epoch for sample in samples)
            asked_of = Counter[int]()
            for sample in samples:
                if sample.epoch == newest:
                    # The votes of a round are asked all at once, and each model for its own in their order.
                    request = asked_of[sample.model] // most[sample.model] * len(most) + sample.model
                    asked_of[sample.model] += 1
                    reply = _reply(task, step, sample, thinking)
                    replies.append(reply._replace(round=round_, request=request))
        yield _PilotStep(step, state, spot, replies)


class _Heard(NamedTuple):
    """A sample, and the number of its round."""

    round: int
    sample: SampleRow


def _samples(database: Database, row: RunRow) -> Iterator[_Heard]:
    """Yield the samples of a pilot's run by step, then by round, epoch and vote."""
    top = root_chain(database, row.key)
    # Of every round the newest fork: a retry begins another.
    forks = {fork.idx: fork for fork in read_forks(database, top.key, 0, None)}
    chains = [next(read_children(database, fork, top.path)).key for fork in forks.values()]
    rounds = [map(partial(_Heard, number), read_samples(database, chain, 0)) for number, chain in enumerate(chains)]
    return merge(*rounds, key=lambda one: (one.sample.idx, one.round))


def _stored(found: Change | None) -> ChangeFound | None:
    return None if found is None else ChangeFound(**found._asdict())


def _one_each(pilot: RunReport) -> bool:
    """Say whether every request of a pilot asked for one vote, also where its server was found to give no more."""
    return pilot.requests >= pilot.calls


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


def oracle_of(task: Decomposer[Any, Any]) -> Oracle | None:
    """Return what tells right answers of a task, None where it has nothing. Raises `TaskFailed`."""
    oracle: Oracle | None = call_user_code(f"{task.name}: oracle", task.oracle)
    return oracle
