"""A run's elections held again by another rule, over the samples that were kept: no model is asked."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from maker.core.user_code import call_user_code
from maker.errors import BadInput, StoreFailed
from maker.job.file import KEPT
from maker.job.job import Job
from maker.job.resolve import stored_job
from maker.lifecycle.queries import opened
from maker.lifecycle.rows import RowLog
from maker.plugin import Ballots, Decision, Decomposer, RowDecomposer, vote_key
from maker.store.backend.database import Database
from maker.store.chains import root_chain
from maker.store.log import StepRow, VoteRow
from maker.store.runs import ACTIVE, RunRow, find_run, read_parts
from maker.store.step_votes import HeardStep, read_heard
from maker.store.tree import walk
from maker.voting.election import weight
from maker.voting.paths import Path, chain_name, is_single
from maker.voting.policy import Role, Rules
from maker.voting.tally import Tally, unpack
from maker.voting.vote_replay import Rescored, RescoredOutcome, VoteReplay, replay_votes

TABLES = ("vote.", "roles.")


class Rescoring(NamedTuple):
    """A run's steps by another rule: ``vote`` holds its settings in effect. ``steps`` is to be read once, in order."""

    run_id: str
    vote: dict[str, Any]
    steps: Iterator[Rescored]


def rescore(
    run_id: str, overrides: Iterable[str] = (), *, voter: str | None = None, store: str | None = None
) -> Rescoring:
    """Hold every election of a run again by another rule, over the samples that it kept; in constant memory.

    Each step is judged by the votes that it had, in their order. A step whose samples were not kept, and on which all
    votes agreed, has as many votes for its winner as its tally says. A judge's samples count for nothing. Steps that
    were taken from the memo are left out: they are what their sources are.

    Args:
        run_id: A run's id, its unique beginning, or ``last``.
        overrides: ``vote.key=value`` words, for the run's own voter or the one that is named.
        voter: A voter's name, as a job names it, in place of the run's.
        store: The database of runs, else that of MAKER_STORE.

    Raises:
        RunNotFound: No such run.
        BadInput: The voter or a setting is wrong, the run is still worked on, or it kept no samples of disputed steps.
    """
    with opened(store) as database:
        row = find_run(database, run_id)
        job = _job(database, row, list(overrides), voter)
    return Rescoring(row.run_id, job.settings["vote"], _rescored(row.run_id, job, store))


def _job(database: Database, row: RunRow, words: Sequence[str], voter: str | None) -> Job:
    """Return the run's job with another vote. Raises `BadInput`."""
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
    # Of a calibration's pilot the votes are judged, not that it wanted so many of them.
    settings = {name: table for name, table in row.settings.items() if name != "poll"}
    if voter is not None and voter != settings["vote"]["voter"]:
        # Parameters are their voter's own: another one starts from its defaults, for every role.
        settings["vote"] = {name: value for name, value in settings["vote"].items() if name in KEPT}
        settings["roles"] = {
            name: {key: value for key, value in table.items() if key != "k"}
            for name, table in settings.get("roles", {}).items()
        }
        words = [f"vote.voter={voter}", *words]
    return stored_job(settings, row.run_id, words, read_parts(database, row.key))


def _rescored(run_id: str, job: Job, store: str | None) -> Iterator[Rescored]:
    with opened(store) as database:
        row = find_run(database, run_id)
        voted = stored_job(row.settings, run_id).rules() if job.rules().judge is not None else None
        again = _Again(job.rules(), job.decomposer, voted)
        # A pilot's steps are no rows, those of a map's neither.
        if isinstance(job.decomposer, RowDecomposer) and "poll" not in row.settings:
            yield from _rows(database, row, again)
            return
        for path, heard in walk(database, root_chain(database, row.key), 0, read_heard):
            if not heard.taken:
                yield again.step(path, heard)


def _rows(database: Database, run: RunRow, again: _Again) -> Iterator[Rescored]:
    """Yield the rows of a map, round by round; of a row that several rounds asked, what the newest says."""
    rounds = RowLog(database, run).rounds()
    for number, one in enumerate(rounds):
        newer = [later.rows for later in rounds[number + 1 :]]
        for heard in read_heard(database, one.chain.key, single=True):
            row = one.rows[heard.idx]
            if not heard.taken and not any(_holds(rows, row) for rows in newer):
                yield again.step(one.chain.path, heard, row)


def _holds(rows: Sequence[int], row: int) -> bool:
    place = bisect_left(rows, row)
    return place < len(rows) and rows[place] == row


class _Again:
    """Holds the elections of one run again.

    Args:
        rules: Those of its job with the other vote.
        decomposer: Its task.
        voted: The rules that it was voted on by, where a judge was asked as well; else None.
    """

    def __init__(self, rules: Rules, decomposer: Decomposer[Any, Any], voted: Rules | None) -> None:
        self._rules = rules
        self._codec = decomposer.action
        self._classes = decomposer.classes
        self._voted = voted
        # Which class an undecided step is of is not stored: it is judged by the strictest of their rules.
        self._strictest = max(decomposer.classes, key=lambda kind: rules.of(kind).voter.least)
        self._alike: dict[tuple[str, int], VoteReplay] = {}

    def step(self, path: Path, heard: HeardStep, row: int | None = None) -> Rescored:
        """Return what becomes of a step."""
        single = is_single(path)
        chain, number = chain_name(path, heard.idx if single else None), 0 if single else heard.idx
        where = f"chain {chain}, step {number}"
        if heard.step is None:
            found = self._undecided(where, heard.kept)
        else:
            try:
                tally = unpack(heard.step.tally)
            except ValueError as error:
                raise StoreFailed(
                    f"{where} cannot be read: {error}", fix="restore the database from a backup"
                ) from error
            clean = not heard.kept and not tally.disputed and not tally.flags
            found = self._unheard(where, heard.step, tally) if clean else self._decided(where, heard, tally)
        return found._replace(chain=chain, step=number, row=row)

    def _unheard(self, where: str, step: StepRow, tally: Tally) -> Rescored:
        """Judge a step of which nothing is kept, as all its votes agreed."""
        kind, votes = self._classes[tally.kind], sum(tally.votes)
        if self._rules.of(kind).voter.weighs:
            return self._unweighed(where, step, tally)
        ended = self._alike.get((kind.name, votes))
        if ended is None:
            alike = [VoteRow(0, 0, vote, "", 0, None) for vote in range(votes)]
            ended = self._alike[kind.name, votes] = _recounted(where, self._rules.of(kind), alike)
        winner, tokens = self._winner(where, step), _tokens(ended, votes, step.tokens / votes)
        now = None if ended.winner is None else winner
        fate = _fate(ended, "")
        return Rescored("", 0, None, kind.name, fate, winner, now, votes, ended.votes, ended.lacking, tokens, False)

    def _unweighed(self, where: str, step: StepRow, tally: Tally) -> Rescored:
        """Judge such a step by a voter that weighs: all that is known is what its votes weighed together, if that.

        Where that suffices it is decided as it was, by all of them at the most.
        """
        kind, votes, winner = self._classes[tally.kind], sum(tally.votes), self._winner(where, step)
        voter = self._rules.of(kind).voter
        verdict = call_user_code(where, voter.decide, Ballots({winner: votes}, tally.weighed(winner) or {winner: 0}))
        fate, now = (RescoredOutcome.SAME, winner) if isinstance(verdict, Decision) else (RescoredOutcome.LOST, None)
        return Rescored("", 0, None, kind.name, fate, winner, now, votes, votes, 0, 0.0, False)

    def _decided(self, where: str, heard: HeardStep, tally: Tally) -> Rescored:
        step, kept = heard.step, heard.kept
        assert step is not None  # noqa: S101 - it has a tally
        kind, winner, votes = self._classes[tally.kind], self._winner(where, step), sum(tally.valid)
        samples, judged = votes + sum(tally.flagged), tally.judge is not None
        if len(kept) < samples:
            return Rescored("", 0, None, kind.name, RescoredOutcome.LOST, winner, None, votes, 0, 0, 0.0, judged)
        # What comes after them is a judge's.
        ended = _recounted(where, self._rules.of(kind), kept[:samples])
        fate, tokens = _fate(ended, winner), _tokens(ended, samples, step.tokens / len(kept))
        return Rescored(
            "", 0, None, kind.name, fate, winner, ended.winner, votes, ended.votes, ended.lacking, tokens, judged
        )  # fmt: skip

    def _undecided(self, where: str, kept: Sequence[VoteRow]) -> Rescored:
        """Judge a step that was voted on in vain."""
        kind = self._classes[0].name if len(self._classes) == 1 else ""
        heard = kept if self._voted is None else kept[: self._before_judge(where, kept, self._voted)]
        judged = len(heard) < len(kept)
        votes = sum(sample.candidate is not None for sample in heard)
        ended = _recounted(where, self._rules.of(self._strictest), heard)
        tokens = _tokens(ended, len(heard), sum(sample.tokens for sample in kept) / len(kept))
        return Rescored(
            "", 0, None, kind, _fate(ended, None), None, ended.winner, votes, ended.votes, ended.lacking, tokens, judged
        )  # fmt: skip

    def _before_judge(self, where: str, heard: Sequence[VoteRow], rules: Rules) -> int:
        """Return how many samples of an undecided step are none of a judge's: those before its rule gave up."""
        ended = [_recounted(where, rules.of(kind), heard) for kind in self._classes]
        return min((one.samples for one in ended if one.winner is None and not one.lacking), default=0)

    def _winner(self, where: str, step: StepRow) -> str:
        key: str = call_user_code(f"{where}: its action", lambda: vote_key(self._codec, self._codec.read(step.action)))
        return key


def _recounted(where: str, role: Role, heard: Sequence[VoteRow]) -> VoteReplay:
    voter = role.voter
    keys = [sample.candidate for sample in heard]

    def hold() -> VoteReplay:
        weights = [weight(voter, sample.logprob) for sample in heard] if voter.weighs else None
        return replay_votes(voter, keys, most=role.max_votes, weights=weights)

    ended: VoteReplay = call_user_code(f"{where}: {voter.name}: decide", hold)
    return ended


def _fate(ended: VoteReplay, before: str | None) -> RescoredOutcome:
    if ended.winner is None:
        return RescoredOutcome.SHORT if ended.lacking else RescoredOutcome.UNDECIDED
    if before is None:
        return RescoredOutcome.DECIDED
    return RescoredOutcome.SAME if ended.winner == before else RescoredOutcome.OTHER


def _tokens(ended: VoteReplay, samples: int, each: float) -> float:
    """Return what tokens are saved, by what a sample took; below 0 what would be needed."""
    return -ended.lacking * each if ended.lacking else (samples - ended.samples) * each
