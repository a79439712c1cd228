"""Walks a log again without a model: every action re-applied, every count and digest compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from maker.core.user_code import call_user_code
from maker.engine.join import missed_digest
from maker.plugin import Codec, Decomposer, Voter, vote_key
from maker.store.backend.database import Database
from maker.store.chains import DONE, ChainRow, ForkRow, first_chain, read_children, read_fork
from maker.store.log import CutRow, SampleRow, StepRow, read_cuts, read_snapshots, read_steps
from maker.types import Ballots, Decision, Done, Fork, Step, Verdict
from maker.verification.provenance import Provenance
from maker.verification.samples import Evidence
from maker.verification.snapshots import Bad, Singles, Snapshots
from maker.voting.chain import SNAPSHOT_STEPS, snapshot_due
from maker.voting.forks import child_at
from maker.voting.memo import question
from maker.voting.messages import ChainAt
from maker.voting.paths import Path, chain_name
from maker.voting.policy import Rules
from maker.voting.tally import Source, Tally, folded, link, unpack


@dataclass(slots=True)
class Counts:
    """What was counted on the way."""

    steps: int = 0
    votes: int = 0
    red_flags: int = 0
    disputed: int = 0
    reused: int = 0
    saved: int = 0


@dataclass(slots=True)
class Stand:
    """Where a walk along a chain stands: its next index, the state and the digest before it."""

    index: int
    state: Any
    digest: bytes
    weight: int = 0


class End(NamedTuple):
    """A child that is done: its number, its last digest, its result.

    ``missed`` is the outcome of one that holds nothing up, though it has no good decision.
    """

    child: int
    digest: bytes
    result: Any
    missed: str = ""


class Kept(NamedTuple):
    """What is kept beside the steps of one chain: snapshots, samples and prompts, and where its epochs began."""

    cuts: list[CutRow]
    snapshots: Snapshots
    evidence: Evidence

    def epoch(self, index: int) -> int:
        """Return the epoch that a live step must be of."""
        return max((cut.epoch for cut in self.cuts if cut.idx <= index), default=0)


class ReplayedStep(NamedTuple):
    """A decided step that is as it should be, and what was asked: the run's key, the chain's path, the step's row.

    ``codec`` is how its action is written, ``kept`` what was kept of its samples.
    """

    run: int
    path: Path
    row: StepRow
    tally: Tally
    asked: Step[Any, Any]
    codec: Codec[Any]
    kept: Sequence[SampleRow]


@dataclass(slots=True)
class Replayer:
    """Walks the chains of one run.

    Everything that is wrong is raised as `Bad`, with its place; what the task's own code raises as `TaskFailed`.
    ``on_step`` is told each step that is right by itself: of what comes later nothing is known then. A step that ended
    wrong, or that its parent's join refused, is not told.
    """

    database: Database
    run: int
    decomposer: Decomposer[Any, Any]
    rules: Rules
    citations: Provenance
    counts: Counts = field(default_factory=Counts)
    on_step: Callable[[ReplayedStep], None] | None = None

    def along(self, chain: ChainRow, stand: Stand, stop: int | None, *, first_snapshot: bool) -> None:
        """Walk along the steps that a chain itself holds, from where ``stand`` is; it moves on with them.

        Up to before ``stop``, or to the chain's end, where cursor, digest and an open fork are compared too.
        """
        kept = self._kept(chain, stand.index)
        due = first_snapshot
        where = _where(chain, stand.index)
        for row in read_steps(self.database, chain.key, stand.index, stop):
            where = _where(chain, stand.index)
            if row.idx != stand.index:
                raise Bad(f"{where} is missing; the log goes on at {row.idx}")
            _types(where, row)
            if row.epoch != kept.epoch(row.idx):
                raise Bad(f"{where} is of epoch {row.epoch}, its chain of {kept.epoch(row.idx)} there")
            joined = not row.tally
            self._snapshot(where, stand, kept, due=due or joined)
            if joined:
                self._join(where, chain, stand, row)
            else:
                asked = call_user_code(where, self._step, where, stand, row, kept.evidence)
                self._tell(chain, row, asked, kept.evidence)
            due = joined
        where = _where(chain, stand.index)
        if stop is not None:
            if stand.index != stop:
                raise Bad(f"{where} is missing: the log of chain {chain_name(chain.path)} ends before {stop}")
            return
        self._open_end(where, chain, stand, kept, due=due)

    def _kept(self, chain: ChainRow, start: int) -> Kept:
        cuts = read_cuts(self.database, chain.key)
        snapshots = Snapshots(read_snapshots(self.database, chain.key), cuts, start, old=chain.key < first_chain(1))
        evidence = Evidence(self.database, chain.key, start, self.rules.samples, self.decomposer.action)
        return Kept(cuts, snapshots, evidence)

    def _open_end(self, where: str, chain: ChainRow, stand: Stand, kept: Kept, *, due: bool) -> None:
        if (chain.cursor, chain.digest) != (stand.index, stand.digest):
            raise Bad(
                f"{where}: the log of chain {chain_name(chain.path)} ends before it, its cursor stands at"
                f" {chain.cursor}, or the digest there is another"
            )
        if chain.epoch != max((cut.epoch for cut in kept.cuts), default=0):
            raise Bad(f"chain {chain_name(chain.path)} is of epoch {chain.epoch}, its cuts say another")
        fork = read_fork(self.database, chain.key, stand.index, chain.epoch)
        self._snapshot(where, stand, kept, due=due or fork is not None)
        kept.snapshots.must_end()
        if fork is not None:
            self._children(where, chain, stand, fork)

    def _tell(self, chain: ChainRow, row: StepRow, asked: Step[Any, Any], evidence: Evidence) -> None:
        # Not within `call_user_code`: what it raises is not the task's.
        if self.on_step is not None:
            codec = self.decomposer.action
            self.on_step(ReplayedStep(self.run, chain.path, row, unpack(row.tally), asked, codec, evidence.kept))

    def _step(self, where: str, stand: Stand, row: StepRow, evidence: Evidence) -> Step[Any, Any]:
        asked, action = self._decision(where, stand, stand.state, row, evidence)
        stand.state = self.decomposer.apply(stand.state, action)
        stand.index += 1
        stand.weight += len(row.action)
        return asked

    def _decision(
        self, where: str, stand: Stand, state: Any, row: StepRow, evidence: Evidence
    ) -> tuple[Step[Any, Any], Any]:
        """Check that an action is legal, and elected by its votes; returns what was asked, and it."""
        move = self.decomposer.next(state)
        try:
            tally, action = unpack(row.tally), self.decomposer.action.read(row.action)
        except ValueError as error:
            raise Bad(f"{where} cannot be read: {error}") from error
        if not isinstance(move, Step):
            raise Bad(f"{where}: the task asks for no step there: {type(move).__name__}")
        classes = self.decomposer.classes
        if [kind.name for kind in classes[tally.kind : tally.kind + 1]] != [move.kind.name]:
            raise Bad(f"{where}: its class is number {tally.kind}, the task's is {move.kind.name}")
        if self.decomposer.action.write(action) != row.action:
            raise Bad(f"{where}: its action {row.action!r} is not written as the task writes it")
        if broken := move.kind.check(state, action):
            raise Bad(f"{where}: its action {row.action!r} is forbidden: {broken}")
        if tally.source is not None:
            self._cited(where, tally.source, move, row, evidence)
            self._link(where, stand, row, row.tally)
            return move, action
        key = vote_key(self.decomposer.action, action)
        voter, judge = self.rules.of(move.kind).voter, self.rules.judge
        self._elected(where, key, tally, voter)
        voters = (voter, None if judge is None else judge.role.voter)
        if problem := evidence.problem(row, key, tally, move, state, voters):
            raise Bad(f"{where}: {problem}")
        self._link(where, stand, row, row.tally)
        self.counts.steps += 1
        self.counts.votes += sum(tally.valid)
        self.counts.red_flags += sum(tally.flagged)
        self.counts.disputed += tally.disputed
        return move, action

    def _cited(self, where: str, source: Source, move: Step[Any, Any], row: StepRow, evidence: Evidence) -> None:
        """Check that a step that was taken from the memo has a source that decided so, and no votes of its own."""
        if problem := self.citations.problem(source, move.kind.name, row.action, question(move)):
            raise Bad(f"{where}: {problem}")
        if evidence.stray(row):
            raise Bad(f"{where}: it was taken from the memo, and has samples or a prompt of its own")
        self.counts.steps += 1
        self.counts.reused += 1
        self.counts.saved += source.calls

    def _elected(self, where: str, winner: str, tally: Tally, voter: Voter) -> None:
        counts = tally.counts(winner)
        if len(tally.votes) != self.rules.models:
            raise Bad(f"{where}: its votes are those of {len(tally.votes)} models, the pool has {self.rules.models}")
        verdict = _verdict(where, voter, counts, tally.weighed(winner))
        if tally.judge is not None:
            if isinstance(verdict, Decision) or self.rules.judge is None:
                raise Bad(f"{where}: a judge was asked about votes that elect {winner!r}, or there is none")
            voter, counts, tally = self.rules.judge.role.voter, tally.judge.counts(winner), tally.judge
            verdict = _verdict(where, voter, counts, tally.weighed(winner))
        if not isinstance(verdict, Decision) or (verdict.winner, verdict.margin) != (winner, tally.margin):
            raise Bad(f"{where}: its votes {counts} do not elect {winner!r} by {voter.name}")

    def _link(self, where: str, stand: Stand, row: StepRow, content: bytes) -> None:
        digest = link(stand.digest, row.idx, row.epoch, row.action, content)
        if digest != row.digest:
            raise Bad(f"{where}: its digest is {row.digest.hex()}, but its contents give {digest.hex()}")
        stand.digest = digest

    def _snapshot(self, where: str, stand: Stand, kept: Kept, *, due: bool) -> None:
        if not due and stand.index % SNAPSHOT_STEPS:
            return
        text = call_user_code(where, self.decomposer.state.write, stand.state)
        if not due and not (stand.index and snapshot_due(stand.weight, text)) and not kept.snapshots.early(stand.index):
            return
        stand.weight = 0
        # It was taken with the step before it, or with a fork at its own index.
        epochs = {kept.epoch(stand.index - 1), kept.epoch(stand.index)}
        if problem := kept.snapshots.problem(stand.index, text, epochs):
            raise Bad(f"{where}: {problem}")

    def _join(self, where: str, chain: ChainRow, stand: Stand, row: StepRow) -> None:
        fork = read_fork(self.database, chain.key, row.idx, row.epoch)
        if fork is None:
            raise Bad(f"{where}: the row of its fork is missing")
        if row.action != str(fork.children) or fork.joined != fork.children:
            raise Bad(
                f"{where}: it joins {row.action} children, its fork has {fork.children} and {fork.joined} are joined"
            )
        move, state = self._children(where, chain, stand, fork)
        self._link(where, stand, row, fork.digest)
        stand.state = state if move.then is None else call_user_code(f"{where}: then", move.then, state)
        stand.weight = 0
        stand.index += 1

    def _children(self, where: str, chain: ChainRow, stand: Stand, fork: ForkRow) -> tuple[Fork[Any], Any]:
        """Walk a fork's children, and fold them; returns the fork, and the state that as many as are joined make."""
        move = call_user_code(where, self.decomposer.next, stand.state)
        if not isinstance(move, Fork) or (move.count, move.single) != (fork.children, bool(fork.single)):
            raise Bad(f"{where}: it forked into {fork.children} children; the task asks for another thing there")
        at = ChainAt(chain.key, chain.path, fork.idx, fork.epoch, stand.digest, "")
        ends = self._singles(where, move, stand.state, fork, at) if fork.single else self._chains(move, stand, fork, at)
        # Read from its text, as the engine does: a join may consume its argument, and the children still need theirs.
        text = call_user_code(where, self.decomposer.state.write, stand.state)
        state, digest, number = call_user_code(where, self.decomposer.state.read, text), b"", 0
        for end in ends:
            if number < fork.joined and end.child == number:
                if end.missed and move.missed is not None:
                    state = call_user_code(f"{where}: missed of child {number}", move.missed, state, number, end.missed)
                elif move.join is not None:
                    state = call_user_code(f"{where}: join of child {number}", move.join, state, number, end.result)
                digest = folded(digest, end.digest)
                number += 1
        if number != fork.joined:
            raise Bad(f"{where}: {fork.joined} children are joined, but child {number} is not done")
        if (fork.state, fork.digest) != (call_user_code(where, self.decomposer.state.write, state), digest):
            raise Bad(f"{where}: what its first {number} children fold to is not what its fork holds")
        return move, state

    def _chains(self, move: Fork[Any], stand: Stand, fork: ForkRow, at: ChainAt) -> Iterator[End]:
        """Walk the chains of a fork; yields those that are done."""
        for number, child in enumerate(read_children(self.database, fork, at.path)):
            name = chain_name(child.path)
            if child.number != number or child.run != self.run or (child.base, child.base_idx) != (None, 0):
                raise Bad(f"chain {chain_name((*child.path[:-1], number))} is missing, or of another run")
            begin = child_at(at, number, child.key, 0, single=False)
            state = call_user_code(f"chain {name}", move.child, stand.state, number)
            inner = Stand(0, state, begin.digest)
            self.along(child, inner, None, first_snapshot=False)
            end = call_user_code(f"chain {name}", self.decomposer.next, inner.state)
            _closed(f"chain {name}", child, end)
            if child.status in DONE:
                yield End(number, inner.digest, child.result)

    def _singles(self, where: str, move: Fork[Any], state: Any, fork: ForkRow, at: ChainAt) -> Iterator[End]:
        """Check the single steps of a fork; yields those that are done, and those that hold nothing up."""
        chain = next(read_children(self.database, fork, at.path), None)
        if chain is None or chain.run != self.run or chain.number != 0:
            raise Bad(f"{where}: the chain of its children is missing")
        genesis = child_at(at, 0, chain.key, 0, single=True).digest
        if (chain.epoch, chain.status, chain.base, chain.base_idx, chain.digest) != (0, "running", None, 0, genesis):
            raise Bad(f"chain {chain_name(chain.path, 0)}: the chain that it is a row of is not as it was made")
        singles = Singles(self.database, chain, fork.children)
        evidence = Evidence(self.database, chain.key, 0, self.rules.samples, self.decomposer.action)
        lenient = move.missed is not None
        for row in read_steps(self.database, chain.key, single=True):
            here = f"chain {chain_name(chain.path, row.idx)}"
            if lenient:
                yield from _missed(singles, row.idx)
            _types(here, row)
            singles.stands(here, row)
            child = call_user_code(here, move.child, state, row.idx)
            asked, end, digest = call_user_code(here, self._single, here, child, row, genesis, evidence)
            singles.ended(here, ok=end.ok)
            outcome = singles.outcome
            if end.ok and outcome is None:
                self._tell(chain, row, asked, evidence)
            if end.ok:
                # As the engine folds it.
                yield End(row.idx, digest, json.loads(json.dumps(end.result)))
            elif lenient and outcome is not None:
                yield End(row.idx, missed_digest(outcome, row), None, str(outcome))
        if lenient:
            yield from _missed(singles, None)
        singles.must_end()

    def _single(
        self, where: str, state: Any, row: StepRow, genesis: bytes, evidence: Evidence
    ) -> tuple[Step[Any, Any], Done, bytes]:
        stand = Stand(row.idx, None, genesis)
        asked, action = self._decision(where, stand, state, row, evidence)
        end = self.decomposer.next(self.decomposer.apply(state, action))
        if not isinstance(end, Done):
            raise Bad(f"{where}: the task asks for more after its step: {type(end).__name__}")
        return asked, end, stand.digest


def _verdict(where: str, voter: Voter, counts: Mapping[str, int], weights: Mapping[str, int] | None) -> Verdict:
    if voter.weighs != (weights is not None):
        raise Bad(f"{where}: its votes are {'not ' if voter.weighs else ''}weighed, {voter.name} has them otherwise")
    return voter.decide(Ballots(counts, weights))


def _missed(singles: Singles, stop: int | None) -> Iterator[End]:
    for number, outcome in singles.undecided(stop):
        yield End(number, missed_digest(outcome, None), None, outcome)


def _where(chain: ChainRow, index: int) -> str:
    return f"chain {chain_name(chain.path)}, step {index}" if chain.path else f"step {index}"


def _types(where: str, row: StepRow) -> None:
    if [type(cell) for cell in row[2:]] != [str, bytes, int, bytes]:
        raise Bad(f"{where}: a column holds a value of another type than it was written with")


def _closed(where: str, child: ChainRow, end: Any) -> None:
    if child.status not in ("running", "paused", "failed", *DONE):
        raise Bad(f"{where}: its status is {child.status!r}")
    if child.status in ("failed", *DONE):
        if not isinstance(end, Done) or end.ok != (child.status in DONE):
            raise Bad(f"{where}: it is {child.status}; its last state says another thing")
        if end.ok and _canonical(end.result) != _canonical(child.result):
            raise Bad(f"{where}: its result is {child.result!r}; its last state gives {end.result!r}")


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
