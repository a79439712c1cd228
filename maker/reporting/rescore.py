"""Count a run's votes again by another rule, from its stored samples: no model is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from maker.core.user_code import call_user_code
from maker.errors import BadInput, StoreFailed
from maker.job.file import KEPT
from maker.job.job import Job
from maker.job.resolve import stored_job
from maker.job.rules import rules_of
from maker.lifecycle.code_change import job_in_order
from maker.lifecycle.queries import opened
from maker.lifecycle.rows import RowLog, RowNames
from maker.plugin import Ballots, Decision, Decomposer, RowDecomposer, vote_key
from maker.reporting.row_labels import LabelFile, RowLabels, read_row_labels
from maker.stats.paired import mcnemar
from maker.store.backend.database import Database
from maker.store.chains import root_chain
from maker.store.log import StepRow, VoteRow
from maker.store.runs import ACTIVE, RunRow, find_run, read_parts
from maker.store.step_votes import VotedStep, read_voted_steps
from maker.store.tree import walk
from maker.voting.election import weight
from maker.voting.paths import Path, chain_name, is_single
from maker.voting.policy import Role, Rules
from maker.voting.tally import Tally, unpack
from maker.voting.vote_replay import PartsKey, Rescored, RescoredOutcome, VoteReplay, replay_votes

TABLES = ("vote.", "roles.")
RIGHT, WRONG, UNDECIDED, UNKNOWN = "right", "wrong", "undecided", "unknown"


class Rescoring(NamedTuple):
    """A run's steps under another rule. ``vote`` holds the rule's settings; read ``steps`` once, in order.

    ``labelled`` counts the rows with labels, None where none were given.
    """

    run_id: str
    vote: dict[str, Any]
    steps: Iterator[Rescored]
    labelled: int | None = None


@dataclass(slots=True)
class LabelTotals:
    """What labelled rows come to under the run's own rule and under the other one.

    ``rows`` have labels. Of those of which it is known what they come to under both rules, ``only_before`` and
    ``only_now`` are right under one rule alone. Of the others, whose samples run out, ``open_right`` are right as they
    were decided, and ``open_wrong`` are not.
    """

    rows: int
    before: Counter[str] = field(default_factory=Counter)
    now: Counter[str] = field(default_factory=Counter)
    only_before: int = 0
    only_now: int = 0
    open_right: int = 0
    open_wrong: int = 0
    seen: int = 0

    def add(self, one: Rescored) -> None:
        """Take a step in, if it is a row with a label."""
        if one.right_before is None:
            return
        self.seen += 1
        self.before[_said(one.before, right=one.right_before)] += 1
        if one.right_now is None:
            self.now[UNKNOWN] += 1
            self.open_right += one.right_before
            self.open_wrong += not one.right_before
            return
        self.now[_said(one.now, right=one.right_now)] += 1
        self.only_before += one.right_before and not one.right_now
        self.only_now += one.right_now and not one.right_before

    @property
    def unasked(self) -> int:
        """Labelled rows without any votes: no rule decides them."""
        return self.rows - self.seen

    @property
    def p(self) -> float:
        """Of both rules being right equally often, by `mcnemar`; the largest that rows with an unknown end allow.

        Samples run out where votes fall one way and not another, so the other rows are no fair sample: under a larger k
        all that is known may be rows that it leaves undecided. With 7 to 0 and 40 such rows it is 1, not .016.
        """
        before, now = self.only_before, self.only_now
        if before > now:
            now = min(before, now + self.open_wrong)
        else:
            before = min(now, before + self.open_right)
        return mcnemar(before, now)

    def to_json(self) -> dict[str, Any]:
        """Return the totals as JSON."""
        counts = {"before": dict(self.before), "now": dict(self.now), "unasked": self.unasked}
        only = {"only_before": self.only_before, "only_now": self.only_now, "p": self.p}
        return {"rows": self.rows} | counts | only


def _said(key: str | None, *, right: bool) -> str:
    return UNDECIDED if key is None else RIGHT if right else WRONG


def rescore(
    run_id: str,
    overrides: Iterable[str] = (),
    *,
    voter: str | None = None,
    labels: LabelFile | None = None,
    store: str | None = None,
) -> Rescoring:
    """Return what another voting rule would decide from a run's stored samples; uses constant memory.

    The votes of each step are counted again in their order. If the samples of a step were not kept and all its votes
    agreed, the winner has as many votes as the tally says. A judge's samples do not count. Steps that people decided
    are undecided here. Steps taken from the memo are left out: they follow their sources.

    Args:
        run_id: A run's id, its unique beginning, or ``last``.
        overrides: ``vote.key=value`` words, for the run's own voter or for ``voter``.
        voter: A voter's name, as in a job file, in place of the run's.
        labels: Labels of a map's rows, by their ids.
        store: The database of runs, else that of MAKER_STORE.

    Raises:
        RunNotFound: No such run.
        BadInput: The voter or a setting is wrong, the run is still running, or it kept no samples of disputed steps, or
            the labels do not fit it; or it took rows from the memo, and labels are given.
    """
    with opened(store) as database:
        row = find_run(database, run_id)
        job = _job(database, row, list(overrides), voter)
        if labels is not None and row.reused:
            # A decision would count once and an undecided row each time: that would speak for rules that decide more.
            raise BadInput(
                f"run {row.run_id} took {row.reused:,} rows from the memo, which have no votes of their own: labels"
                " cannot say which rule is right on more of its rows",
                fix=f"rescore it without --labels; `maker report {row.run_id}` takes them, and says how it did",
            )
        given = None if labels is None else read_row_labels(database, row, labels)
    steps = _rescored(row.run_id, job, store, given)
    return Rescoring(row.run_id, job.settings["vote"], steps, None if given is None else len(given.rows))


def _job(database: Database, row: RunRow, words: Sequence[str], voter: str | None) -> Job:
    """Return the run's job with the other voting rule. Raises `BadInput`."""
    if row.status == ACTIVE:
        raise BadInput(f"run {row.run_id} is still running", fix="rescore it when it is done or paused")
    if unfit := [word for word in words if not word.startswith(TABLES)]:
        raise BadInput(f"{unfit[0]!r} does not change how votes are counted", fix="give settings like vote.k=5")
    if row.settings["store"]["samples"] == "none" and (row.disputed or row.red_flags):
        raise BadInput(
            f"run {row.run_id} kept no samples (store.samples = none), so the order of the votes is unknown for its "
            f"{row.disputed:,} disputed steps and {row.red_flags:,} red flags",
            fix='rescore a run that was started with store.samples = "disputed" or "all"',
        )
    # A calibration's pilot draws a fixed number of votes; without its table the votes are counted like any run's.
    settings = {name: table for name, table in row.settings.items() if name != "poll"}
    if voter is not None and voter != settings["vote"]["voter"]:
        # Parameters belong to a voter: another voter starts from its own defaults, in every role.
        settings["vote"] = {name: value for name, value in settings["vote"].items() if name in {"voter", *KEPT}}
        settings["roles"] = {
            name: {key: value for key, value in table.items() if key != "k"}
            for name, table in settings.get("roles", {}).items()
        }
        words = [f"vote.voter={voter}", *words]
    job = stored_job(settings, row.run_id, words, read_parts(database, row.key), kept=row.sources)
    return job_in_order(job, row.classes) if row.changes else job


def _rescored(run_id: str, job: Job, store: str | None, labels: RowLabels | None) -> Iterator[Rescored]:
    with opened(store) as database:
        row = find_run(database, run_id)
        judged = rules_of(job).judge is not None
        voted = rules_of(stored_job(row.settings, run_id, kept=row.sources)) if judged else None
        counter = _Recounter(rules_of(job), job.decomposer, voted)
        # The steps of a map's pilot are not rows of the map.
        if isinstance(job.decomposer, RowDecomposer) and "poll" not in row.settings:
            yield from _rows(database, row, counter, labels)
            return
        for path, voted_step in walk(database, root_chain(database, row.key), 0, read_voted_steps):
            if not voted_step.taken:
                yield counter.step(path, voted_step)


def _rows(database: Database, run: RunRow, counter: _Recounter, labels: RowLabels | None) -> Iterator[Rescored]:
    """Yield the rows of a map, round by round; a row that several rounds asked comes from the newest only."""
    log = RowLog(database, run)
    names, rounds = RowNames(log), log.rounds()
    for number, one in enumerate(rounds):
        newer = rounds[number + 1 :]
        for voted_step in read_voted_steps(database, one.chain.key, single=True):
            row = one.rows[voted_step.idx]
            if not voted_step.taken and all(later.child_of(row) is None for later in newer):
                found = counter.step(one.chain.path, voted_step, row)
                if labels is not None and row in labels.rows:
                    found = _judged(found, log.task, labels, row)
                yield found._replace(id=names.of(row)) if found.told else found


def _judged(one: Rescored, task: RowDecomposer[Any, Any], labels: RowLabels, row: int) -> Rescored:
    """Return a row with what its label says of it."""
    unknown = one.outcome in (RescoredOutcome.SHORT, RescoredOutcome.LOST)
    return one._replace(
        right_before=labels.is_right(task, row, one.before),
        right_now=None if unknown else labels.is_right(task, row, one.now),
    )


class _Recounter:
    """Counts the votes of one run's steps again.

    Args:
        rules: The other rules.
        decomposer: The run's task.
        voted: The run's own rules if a judge took part, to tell its votes from the others; else None.
    """

    def __init__(self, rules: Rules, decomposer: Decomposer[Any, Any], voted: Rules | None) -> None:
        self._rules = rules
        self._codec = decomposer.action
        self._classes = decomposer.classes
        self._voted = voted
        # The store does not say of which class an undecided step is: the strictest rule of all classes counts it.
        self._strictest = max(decomposer.classes, key=lambda kind: rules.of(kind).voter.least)
        self._alike: dict[tuple[str, int], VoteReplay] = {}

    def step(self, path: Path, voted: VotedStep, row: int | None = None) -> Rescored:
        """Return a step's outcome under the other rule."""
        single = is_single(path)
        chain, number = chain_name(path, voted.idx if single else None), 0 if single else voted.idx
        where = f"chain {chain}, step {number}"
        if voted.step is None:
            found = self._undecided(where, voted.kept)
        else:
            try:
                tally = unpack(voted.step.tally)
            except ValueError as error:
                raise StoreFailed(
                    f"{where} cannot be read: {error}", fix="restore the database from a backup"
                ) from error
            clean = not voted.kept and not tally.disputed and not tally.flags
            if tally.person is not None:
                # A person has decided what the votes left open.
                found = self._undecided(where, voted.kept)
            elif clean:
                found = self._unsampled(where, voted.step, tally)
            else:
                found = self._decided(where, voted, tally)
        return found._replace(chain=chain, step=number, row=row)

    def _unsampled(self, where: str, step: StepRow, tally: Tally) -> Rescored:
        """Count a step again whose samples were not kept because all its votes agreed."""
        kind, votes = self._classes[tally.kind], sum(tally.votes)
        if self._rules.of(kind).voter.weighs:
            return self._unweighed(where, step, tally)
        ended = self._alike.get((kind.name, votes))
        if ended is None:
            alike = [VoteRow(0, 0, vote, "", 0, None) for vote in range(votes)]
            ended = self._alike[kind.name, votes] = _recounted(where, self._rules.of(kind), alike)
        winner, tokens = self._winner(where, step), _tokens(ended, votes, step.tokens / votes)
        return Rescored(
            kind=kind.name,
            outcome=_outcome(ended, ""),
            before=winner,
            now=None if ended.winner is None else winner,
            votes_before=votes,
            votes=ended.votes,
            lacking=ended.lacking,
            tokens=tokens,
        )

    def _unweighed(self, where: str, step: StepRow, tally: Tally) -> Rescored:
        """Count such a step again by a voter that weighs votes: only their total weight is stored, if that.

        If the total is enough, the step keeps its answer; else its outcome is unknown.
        """
        kind, votes, winner = self._classes[tally.kind], sum(tally.votes), self._winner(where, step)
        voter = self._rules.of(kind).voter
        verdict = call_user_code(where, voter.decide, Ballots({winner: votes}, tally.weighed(winner) or {winner: 0}))
        same = isinstance(verdict, Decision)
        return Rescored(
            kind=kind.name,
            outcome=RescoredOutcome.SAME if same else RescoredOutcome.LOST,
            before=winner,
            now=winner if same else None,
            votes_before=votes,
            votes=votes,
        )

    def _decided(self, where: str, voted: VotedStep, tally: Tally) -> Rescored:
        step, kept = voted.step, voted.kept
        assert step is not None  # noqa: S101 - it has a tally
        kind, winner, votes = self._classes[tally.kind], self._winner(where, step), sum(tally.valid)
        samples, judged = votes + sum(tally.flagged), tally.judge is not None
        if len(kept) < samples:
            lost = RescoredOutcome.LOST
            return Rescored(kind=kind.name, outcome=lost, before=winner, now=None, votes_before=votes, judged=judged)
        # Samples after these are a judge's.
        by = None if kind.parts is None else PartsKey(kind.parts, partial(vote_key, self._codec))
        ended = _recounted(where, self._rules.of(kind), kept[:samples], by)
        return Rescored(
            kind=kind.name,
            outcome=_outcome(ended, winner),
            before=winner,
            now=ended.winner,
            votes_before=votes,
            votes=ended.votes,
            lacking=ended.lacking,
            tokens=_tokens(ended, samples, step.tokens / len(kept)),
            judged=judged,
        )

    def _undecided(self, where: str, kept: Sequence[VoteRow]) -> Rescored:
        """Count a step again that its votes left undecided."""
        kind = self._classes[0].name if len(self._classes) == 1 else ""
        samples = kept if self._voted is None else kept[: self._before_judge(where, kept, self._voted)]
        ended = _recounted(where, self._rules.of(self._strictest), samples)
        return Rescored(
            kind=kind,
            outcome=_outcome(ended, None),
            before=None,
            now=ended.winner,
            votes_before=sum(sample.candidate is not None for sample in samples),
            votes=ended.votes,
            lacking=ended.lacking,
            tokens=_tokens(ended, len(samples), sum(sample.tokens for sample in kept) / len(kept)),
            judged=len(samples) < len(kept),
        )

    def _before_judge(self, where: str, samples: Sequence[VoteRow], rules: Rules) -> int:
        """Return how many samples of an undecided step came before the judge's: those until its own rule gave up."""
        ended = [_recounted(where, rules.of(kind), samples) for kind in self._classes]
        return min((one.samples for one in ended if one.winner is None and not one.lacking), default=0)

    def _winner(self, where: str, step: StepRow) -> str:
        key: str = call_user_code(f"{where}: its action", lambda: vote_key(self._codec, self._codec.read(step.action)))
        return key


def _recounted(where: str, role: Role, samples: Sequence[VoteRow], by: PartsKey | None = None) -> VoteReplay:
    voter = role.voter
    keys = [sample.candidate for sample in samples]

    def recount() -> VoteReplay:
        weights = [weight(voter, sample.logprob) for sample in samples] if voter.weighs else None
        return replay_votes(voter, keys, most=role.max_votes, weights=weights, by=by)

    ended: VoteReplay = call_user_code(f"{where}: {voter.name}: decide", recount)
    return ended


def _outcome(ended: VoteReplay, before: str | None) -> RescoredOutcome:
    if ended.winner is None:
        return RescoredOutcome.SHORT if ended.lacking else RescoredOutcome.UNDECIDED
    if before is None:
        return RescoredOutcome.DECIDED
    return RescoredOutcome.SAME if ended.winner == before else RescoredOutcome.OTHER


def _tokens(ended: VoteReplay, samples: int, each: float) -> float:
    """Return how many tokens the rule saves, estimated by tokens a sample; negative if it needs more."""
    return -ended.lacking * each if ended.lacking else (samples - ended.samples) * each
