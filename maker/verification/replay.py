"""Replay a log without a model: re-apply every action, and compare every count and digest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from maker.core.user_code import call_user_code
from maker.engine.join import missed_digest
from maker.plugin import Codec, Decomposer, Voter, vote_key
from maker.store.backend.database import Database
from maker.store.chains import DONE, ChainRow, ForkRow, first_chain, read_children, read_fork
from maker.store.code import DONE_BEFORE, CodePlace
from maker.store.log import (
    CutRow,
    SampleRow,
    StepRow,
    epoch_at,
    read_cuts,
    read_outcomes,
    read_steps,
    snapshot_epochs,
)
from maker.store.together import Together, together
from maker.types import Ballots, Decision, Done, Effect, Fork, Outcome, Parts, Record, RedFlag, Step, Verdict, Wait
from maker.verification.earlier import UNKNOWN, WINNER, Behind, Earlier, is_before
from maker.verification.provenance import Provenance
from maker.verification.samples import Evidence
from maker.verification.snapshots import Bad, Singles, Snapshots
from maker.voting.chain import SNAPSHOT_STEPS, snapshot_due
from maker.voting.forks import RECORDED, child_at, is_outside, outside, record_text
from maker.voting.memo import question, question_before
from maker.voting.messages import ChainAt
from maker.voting.parts import PartsDecision, decide_parts
from maker.voting.paths import Path, chain_name
from maker.voting.policy import Rules
from maker.voting.red_flags import proposed
from maker.voting.tally import Source, Tally, folded, link, unpack
from maker.voting.thinking import Thinking

NOTHING_EARLIER = Earlier()


@dataclass(slots=True)
class Counts:
    """Totals over the steps replayed so far."""

    steps: int = 0
    votes: int = 0
    red_flags: int = 0
    disputed: int = 0
    reused: int = 0
    saved: int = 0
    not_asked: int = 0

    def add(self, tally: Tally) -> None:
        """Count a step."""
        self.steps += 1
        if tally.source is not None:
            self.reused += 1
            self.saved += tally.source.calls
            return
        if tally.person is not None:
            return
        self.votes += sum(tally.valid)
        self.red_flags += sum(tally.flagged)
        self.disputed += tally.disputed


@dataclass(slots=True)
class Position:
    """The position of a replay in a chain: its next index, and the state and digest before it.

    ``weight`` is the length of the actions since the last snapshot.
    """

    index: int
    state: Any
    digest: bytes
    weight: int = 0


class End(NamedTuple):
    """A child that is done: its number, its last digest, its result.

    ``missed`` is the outcome of a child without a good decision that its fork does not wait for.
    """

    child: int
    digest: bytes
    result: Any
    missed: str = ""


class Kept(NamedTuple):
    """What the store keeps beside one chain's steps: snapshots, samples and prompts, and its cuts; what reads it."""

    cuts: list[CutRow]
    snapshots: Snapshots
    evidence: Evidence
    reader: Together

    def epoch(self, index: int) -> int:
        """Return the epoch that a live step must be of."""
        return epoch_at(self.cuts, index)


class ReplayedStep(NamedTuple):
    """A decided step that was found correct: the run's key, the chain's path, the step's row, and what was asked.

    ``codec`` writes its action; ``kept`` holds the samples kept of it; ``thinking`` takes off these what is no answer.
    """

    run: int
    path: Path
    row: StepRow
    tally: Tally
    asked: Step[Any, Any]
    codec: Codec[Any]
    kept: Sequence[SampleRow]
    thinking: Thinking


@dataclass(slots=True)
class Replayer:
    """Replays the chains of one run.

    Raises `Bad` for anything wrong, with its location, and `TaskFailed` for what the task's own code raises.
    ``on_step`` receives each step that is correct by itself; the steps after it are not checked yet. It does not
    receive a step that ended wrong, that its parent's join refused, or that ``earlier`` code has decided.
    """

    database: Database
    run: int
    decomposer: Decomposer[Any, Any]
    rules: Rules
    citations: Provenance
    counts: Counts = field(default_factory=Counts)
    on_step: Callable[[ReplayedStep], None] | None = None
    earlier: Earlier = NOTHING_EARLIER

    def along(
        self,
        chain: ChainRow,
        position: Position,
        stop: int | None,
        *,
        first_snapshot: bool,
        reader: Together | None = None,
    ) -> None:
        """Replay a chain's own steps from the position ``position``, which moves along with them.

        Ends before ``stop``, or at the chain's end, where it compares cursor, digest and an open fork too. ``reader``
        is what reads the chain where it was looked at together with others.
        """
        kept = self._kept(chain, position.index, reader or Together(self.database))
        behind = Behind.of(self.earlier.place(chain.key), kept.cuts)
        if behind is None and position.state is UNKNOWN:
            # Earlier code has led a fork's original to where it begins.
            behind = Behind(CodePlace(position.index, DONE_BEFORE.epoch))
        due = first_snapshot
        where = _where(chain, position.index)
        for row in kept.reader.steps(chain.key, position.index, stop, kept.cuts):
            where = _where(chain, position.index)
            if row.idx != position.index:
                raise Bad(f"{where} is missing; the next one in the log is {row.idx}")
            _types(where, row)
            if row.epoch != kept.epoch(row.idx):
                raise Bad(f"{where} has epoch {row.epoch}, but its chain has {kept.epoch(row.idx)} there")
            joined = not row.tally
            if behind is not None:
                needed = due or (joined and not _is_record(chain, row))
                self._pass(where, chain, position, kept, behind, due=needed)
                if row.idx < behind.place.idx:
                    due = self._earlier_row(where, chain, position, kept, behind, row)
                    continue
                self._catch_up(where, position, behind)
            else:
                self._snapshot(where, position, kept, due=due or joined)
            standing, behind = behind, None
            if joined:
                self._join(where, chain, position, row, None if standing is None else standing.place)
            else:
                asked = call_user_code(where, self._step, where, position, row, kept.evidence)
                self._report(chain, row, asked, kept.evidence)
            due = joined
        where = _where(chain, position.index)
        if stop is not None:
            if position.index != stop:
                raise Bad(f"{where} is missing: the log of chain {chain_name(chain.path)} ends before {stop}")
            return
        self._open_end(where, chain, position, kept, behind, due=due)

    def _kept(self, chain: ChainRow, start: int, reader: Together) -> Kept:
        cuts = reader.cuts(chain.key)
        old, found = chain.key < first_chain(1), reader.snapshots(chain.key)
        snapshots = Snapshots(chain.key, found, cuts, start, old=old)
        return Kept(cuts, snapshots, self._evidence(chain.key, start, reader), reader)

    def _evidence(self, chain: int, start: int, reader: Together) -> Evidence:
        rules = self.rules
        changed = self.earlier.change is not None
        return Evidence(reader, chain, start, rules.samples, self.decomposer.action, rules.thinking, changed=changed)

    def _open_end(
        self, where: str, chain: ChainRow, position: Position, kept: Kept, behind: Behind | None, *, due: bool
    ) -> None:
        fork = kept.reader.fork(chain.key, position.index, chain.epoch)
        if behind is not None:
            self._pass(where, chain, position, kept, behind, due=due or fork is not None)
            if behind.place is not DONE_BEFORE:
                self._catch_up(where, position, behind)
        if (chain.cursor, chain.digest) != (position.index, position.digest):
            raise Bad(
                f"{where}: the log of chain {chain_name(chain.path)} ends here, but its cursor is at {chain.cursor}, or"
                " its digest differs"
            )
        if chain.epoch != max((cut.epoch for cut in kept.cuts), default=0):
            raise Bad(f"chain {chain_name(chain.path)} has epoch {chain.epoch}, but its cuts give another")
        if behind is None:
            self._snapshot(where, position, kept, due=due or fork is not None)
        kept.snapshots.must_end()
        if fork is not None:
            self._children(where, chain, position, fork, None if behind is None else behind.place)

    # --- steps of earlier code ---

    def _pass(self, where: str, chain: ChainRow, position: Position, kept: Kept, behind: Behind, *, due: bool) -> None:
        """Pass a snapshot that earlier code may have written, and what is linked there."""
        linked = self.earlier.linked(chain.key, position.index, position.digest)
        epochs = snapshot_epochs(kept.cuts, position.index)
        text = kept.snapshots.passed(position.index, epochs, {position.digest, linked})
        if text is None and due:
            raise Bad(f"{where}: the snapshot before it is missing")
        if text is not None:
            behind.state, position.weight = text, 0
            behind.actions.clear()
        position.digest = linked

    def _catch_up(self, where: str, position: Position, behind: Behind) -> None:
        position.state = behind.caught_up(where, self.decomposer, position.state)

    def _earlier_row(
        self, where: str, chain: ChainRow, position: Position, kept: Kept, behind: Behind, row: StepRow
    ) -> bool:
        """Check a step, a join or a record that earlier code has led to; returns whether a snapshot is due after it."""
        if row.tally:
            self._earlier_step(where, position, row)
            behind.actions.append(row.action)
            position.weight += len(row.action)
        elif _is_record(chain, row):
            self._link(where, position, row, RECORDED)
        else:
            fork = self._joined_fork(where, chain, row)
            at = ChainAt(chain.key, chain.path, fork.idx, fork.epoch, position.digest, "")
            digest = self._earlier_singles(where, fork, at) if fork.single else self._earlier_chains(fork, at)
            if digest != fork.digest:
                raise Bad(f"{where}: its children give another digest than its fork holds")
            if not fork.sealed:
                raise Bad(f"{where}: the row of its fork does not match its seal")
            self._link(where, position, row, fork.digest)
        position.index += 1
        return not row.tally and not _is_record(chain, row)

    def _earlier_step(self, where: str, position: Position, row: StepRow) -> None:
        try:
            tally = unpack(row.tally)
        except ValueError as error:
            raise Bad(f"{where} cannot be read: {error}") from error
        if tally.kind >= len(self.decomposer.classes):
            raise Bad(f"{where}: its class has number {tally.kind}, but the run has {len(self.decomposer.classes)}")
        kind = self.decomposer.classes[tally.kind]
        if tally.source is None and tally.person is None and self.earlier.same_voter and kind.parts is None:
            self._elected(where, WINNER, tally, self.rules.of(kind).voter, None, row.action)
        self._link(where, position, row, row.tally)
        self.counts.add(tally)
        self.counts.not_asked += 1

    def _earlier_chains(self, fork: ForkRow, at: ChainAt) -> bytes:
        """Check the children of a fork that was joined by earlier code; returns what they are folded to."""
        digest, number = b"", 0
        for child, reader in together(self.database, read_children(self.database, fork, at.path)):
            name = chain_name(child.path)
            if child.number != number or child.run != self.run or not child.sealed or child.status not in DONE:
                raise Bad(f"chain {name}: its row, or that of a chain before it, is missing or not as it was written")
            inner = Position(0, UNKNOWN, child_at(at, number, child.key, 0, single=False).digest)
            self.along(child, inner, None, first_snapshot=False, reader=reader)
            digest = folded(digest, inner.digest)
            number += 1
        if number != fork.children:
            raise Bad(f"chain {chain_name((*at.path, fork.idx, fork.epoch, number))} is missing")
        return digest

    def _earlier_singles(self, where: str, fork: ForkRow, at: ChainAt) -> bytes:
        """Check the single steps of a fork that was joined by earlier code; returns what they are folded to."""
        chain = next(read_children(self.database, fork, at.path), None)
        if chain is None or chain.run != self.run or not chain.sealed:
            raise Bad(f"{where}: the chain of its children is missing, or its row has changed")
        genesis = child_at(at, 0, chain.key, 0, single=True).digest
        missed = {one.idx: one for one in read_outcomes(self.database, chain.key) if one.outcome != Outcome.AGAIN}
        rows = read_steps(self.database, chain.key, single=True, cuts=read_cuts(self.database, chain.key))
        digest, row = b"", next(rows, None)
        for number in range(fork.children):
            here = f"chain {chain_name(chain.path, number)}"
            found = row if row is not None and row.idx == number else None
            if found is not None:
                _types(here, found)
                self._earlier_step(here, Position(number, None, genesis), found)
                row = next(rows, None)
            one = missed.get(number)
            if (one is not None and not one.fits(chain.key)) or (one is None and found is None):
                raise Bad(f"{here} is missing, or its outcome is not as it was written")
            digest = folded(digest, missed_digest(one.outcome if one else "", found))
        return digest

    # --- steps of the present code ---

    def _report(self, chain: ChainRow, row: StepRow, asked: Step[Any, Any], evidence: Evidence) -> None:
        # Outside of `call_user_code`: what the callback raises is not the task's failure.
        if self.on_step is not None:
            self.on_step(
                ReplayedStep(
                    self.run, chain.path, row, unpack(row.tally), asked, self.decomposer.action, evidence.kept,
                    self.rules.thinking,
                )
            )  # fmt: skip

    def _step(self, where: str, position: Position, row: StepRow, evidence: Evidence) -> Step[Any, Any]:
        asked, action = self._decision(where, position, position.state, row, evidence)
        position.state = self.decomposer.apply(position.state, action)
        position.index += 1
        position.weight += len(row.action)
        return asked

    def _decision(
        self, where: str, position: Position, state: Any, row: StepRow, evidence: Evidence
    ) -> tuple[Step[Any, Any], Any]:
        """Check that an action is legal and elected by its votes; returns what was asked, and the action."""
        move = self.decomposer.next(state)
        try:
            tally, action = unpack(row.tally), self.decomposer.action.read(row.action)
        except ValueError as error:
            raise Bad(f"{where} cannot be read: {error}") from error
        if not isinstance(move, Step):
            raise Bad(f"{where}: the task returns {type(move).__name__} there, not a step")
        classes = self.decomposer.classes
        if [kind.name for kind in classes[tally.kind : tally.kind + 1]] != [move.kind.name]:
            raise Bad(f"{where}: its class has number {tally.kind}, but the task asks for {move.kind.name}")
        if self.decomposer.action.write(action) != row.action:
            raise Bad(f"{where}: the task writes its action {row.action!r} differently")
        if broken := move.kind.check(state, action):
            raise Bad(f"{where}: its action {row.action!r} is forbidden: {broken}")
        if tally.source is not None:
            self._cited(where, tally.source, move, row, evidence)
            self.counts.add(tally)
            self._link(where, position, row, row.tally)
            return move, action
        key = vote_key(self.decomposer.action, action)
        voter, judge = self.rules.of(move.kind).voter, self.rules.judge
        if tally.person is None:
            self._elected(where, key, tally, voter, move.kind.parts, row.action)
        else:
            self._left_open(where, tally, key, move, state)
        voters = (voter, None if judge is None else judge.role.voter)
        if problem := evidence.problem(row, key, tally, move, state, voters):
            raise Bad(f"{where}: {problem}")
        self._link(where, position, row, row.tally)
        self.counts.add(tally)
        return move, action

    def _cited(self, where: str, source: Source, move: Step[Any, Any], row: StepRow, evidence: Evidence) -> None:
        """Check that a step from the memo has a source that decided the same, and no votes of its own."""
        if problem := self.citations.problem(
            source, move.kind.name, row.action, (question(move), question_before(move))
        ):
            raise Bad(f"{where}: {problem}")
        if evidence.stray(row):
            raise Bad(f"{where}: it was taken from the memo, but has samples or a prompt of its own")

    def _elected(
        self, where: str, winner: str, tally: Tally, voter: Voter, parts: Parts[Any] | None, action: str
    ) -> None:
        counts = tally.counts(winner)
        if len(tally.votes) != self.rules.models:
            raise Bad(f"{where}: its votes come from {len(tally.votes)} models, but the pool has {self.rules.models}")
        verdict = _verdict(where, voter, Ballots(counts, tally.weighed(winner)), parts)
        if tally.judge is not None:
            if isinstance(verdict, (Decision, PartsDecision)) or self.rules.judge is None:
                raise Bad(f"{where}: a judge decided it, but its votes elect {winner!r}, or the run has no judge")
            voter, counts, tally = self.rules.judge.role.voter, tally.judge.counts(winner), tally.judge
            verdict = _verdict(where, voter, Ballots(counts, tally.weighed(winner)))
        if isinstance(verdict, PartsDecision) and parts is not None:
            elected = self._holds_parts(parts, verdict, winner, tally, action)
        else:
            elected = verdict == Decision(winner, tally.margin)
        if not elected:
            raise Bad(f"{where}: its votes {counts} do not elect {winner!r} under {voter.name}")

    def _left_open(self, where: str, tally: Tally, key: str, move: Step[Any, Any], state: Any) -> None:
        """Check that neither its votes nor a judge decided a step that a person has decided."""
        rules, parts = self.rules, move.kind.parts
        if len(tally.votes) != rules.models or not any(tally.valid):
            raise Bad(f"{where}: its votes are missing, or come from {len(tally.votes)} models, not {rules.models}")
        verdict = _verdict(where, rules.of(move.kind).voter, _cast(tally, key), parts)
        if isinstance(verdict, PartsDecision) and parts is not None:
            made = parts.answer(verdict.won, verdict.undecided)
            settled = not isinstance(proposed(move.kind, state, made, self.decomposer.action), RedFlag)
        else:
            settled = isinstance(verdict, Decision)
        if tally.judge is not None and not settled:
            if rules.judge is None:
                raise Bad(f"{where}: a judge was asked about it, but the run has no judge")
            settled = isinstance(_verdict(where, rules.judge.role.voter, _cast(tally.judge, key)), Decision)
        if settled:
            raise Bad(f"{where}: a person decided it, but its votes {tally.counts(key)} elect an answer")

    def _holds_parts(self, parts: Parts[Any], decided: PartsDecision, winner: str, tally: Tally, action: str) -> bool:
        """Say whether an action holds the parts that its votes elect, and names those that they leave undecided."""
        codec, made = self.decomposer.action, parts.answer(decided.won, decided.undecided)
        # What a reply has said stands as it was put there.
        return vote_key(codec, made) == winner and (any(tally.votes) or codec.write(made) == action)

    def _link(self, where: str, position: Position, row: StepRow, content: bytes) -> None:
        digest = link(position.digest, row.idx, row.epoch, row.action, content)
        if digest != row.digest:
            raise Bad(f"{where}: its digest is {row.digest.hex()}, but its contents give {digest.hex()}")
        position.digest = digest

    def _snapshot(self, where: str, position: Position, kept: Kept, *, due: bool) -> None:
        if not due and position.index % SNAPSHOT_STEPS:
            return
        text = call_user_code(where, self.decomposer.state.write, position.state)
        if (
            not due
            and not (position.index and snapshot_due(position.weight, text))
            and not kept.snapshots.early(position.index)
        ):
            return
        position.weight = 0
        epochs = snapshot_epochs(kept.cuts, position.index)
        if problem := kept.snapshots.problem(position.index, text, epochs, position.digest):
            raise Bad(f"{where}: {problem}")

    def _joined_fork(self, where: str, chain: ChainRow, row: StepRow) -> ForkRow:
        fork = read_fork(self.database, chain.key, row.idx, row.epoch)
        if fork is None:
            raise Bad(f"{where}: the row of its fork is missing")
        if row.action != str(fork.children) or fork.joined != fork.children:
            raise Bad(
                f"{where}: it joins {row.action} children, but its fork has {fork.children}, {fork.joined} of them"
                " joined"
            )
        return fork

    def _join(self, where: str, chain: ChainRow, position: Position, row: StepRow, standing: CodePlace | None) -> None:
        fork = self._joined_fork(where, chain, row)
        move, state = self._children(where, chain, position, fork, standing)
        self._link(where, position, row, fork.digest)
        position.state = state if move.then is None else call_user_code(f"{where}: then", move.then, state)
        position.weight = 0
        position.index += 1

    def _children(
        self, where: str, chain: ChainRow, position: Position, fork: ForkRow, standing: CodePlace | None
    ) -> tuple[Fork[Any], Any]:
        """Replay a fork's children and fold them; returns the fork, and the state after those that are joined.

        ``standing`` says how far it was joined where the present code took over.
        """
        move = call_user_code(where, self.decomposer.next, position.state)
        move = outside(move) if isinstance(move, Effect | Wait) else move
        if not isinstance(move, Fork) or (move.count, move.single) != (fork.children, bool(fork.single)):
            raise Bad(f"{where}: it forked into {fork.children} children, but the task does not ask for that fork")
        at = ChainAt(chain.key, chain.path, fork.idx, fork.epoch, position.digest, "")
        if is_outside(move):
            ends = self._recorded(where, fork, at)
        elif fork.single:
            ends = self._singles(where, move, position.state, fork, at)
        else:
            ends = self._chains(move, position, fork, at)
        # Read from its text, as the engine does: a join may consume its argument, and the children still need theirs.
        text = call_user_code(where, self.decomposer.state.write, position.state)
        state, digest, number = call_user_code(where, self.decomposer.state.read, text), b"", 0
        joined = self._joined_before(fork, standing)
        for end in ends:
            if number < fork.joined and end.child == number:
                if number >= joined:
                    state = self._fold(where, move, state, end)
                elif number == joined - 1 and standing is not None:
                    # Earlier code has folded those before: what that came to was kept.
                    state = call_user_code(where, self.decomposer.state.read, standing.state)
                digest = folded(digest, end.digest)
                number += 1
        if number != fork.joined:
            raise Bad(f"{where}: {fork.joined} children are joined, but child {number} is not done")
        if (fork.state, fork.digest) != (call_user_code(where, self.decomposer.state.write, state), digest):
            raise Bad(f"{where}: its first {number} children give another state or digest than its fork holds")
        if not fork.sealed:
            raise Bad(f"{where}: the row of its fork does not match its seal")
        return move, state

    def _fold(self, where: str, move: Fork[Any], state: Any, end: End) -> Any:
        """Return a fork's state with one more child taken in."""
        if end.missed and move.missed is not None:
            return call_user_code(f"{where}: missed of child {end.child}", move.missed, state, end.child, end.missed)
        if move.join is not None:
            return call_user_code(f"{where}: join of child {end.child}", move.join, state, end.child, end.result)
        return state

    def _joined_before(self, fork: ForkRow, standing: CodePlace | None) -> int:
        """Return how many children of a fork earlier code has folded, and nobody has since."""
        if standing is None or standing.joined is None or fork.epoch > standing.epoch:
            return 0
        rows = self._place_of_singles(fork) if fork.single else None
        if rows is None:
            return standing.joined
        place, cuts = rows
        again = len(cuts) > place.epoch and any(cut.idx < standing.joined for cut in cuts)
        return 0 if again else standing.joined

    def _place_of_singles(self, fork: ForkRow) -> tuple[CodePlace, list[CutRow]] | None:
        chain = next(read_children(self.database, fork, ()), None)
        place = None if chain is None else self.earlier.place(chain.key)
        return None if chain is None or place is None else (place, read_cuts(self.database, chain.key))

    def _chains(self, move: Fork[Any], position: Position, fork: ForkRow, at: ChainAt) -> Iterator[End]:
        """Replay the chains of a fork; yields those that are done."""
        children = together(self.database, read_children(self.database, fork, at.path))
        for number, (child, reader) in enumerate(children):
            name = chain_name(child.path)
            if child.number != number or child.run != self.run or (child.base, child.base_idx) != (None, 0):
                raise Bad(f"chain {chain_name((*child.path[:-1], number))} is missing, or belongs to another run")
            begin = child_at(at, number, child.key, 0, single=False)
            place = self.earlier.place(child.key)
            over = place is DONE_BEFORE
            state = UNKNOWN if over else call_user_code(f"chain {name}", move.child, position.state, number)
            inner = Position(0, state, begin.digest)
            self.along(child, inner, None, first_snapshot=False, reader=reader)
            stopped = place is not None and (place.idx, place.epoch) == (child.cursor, child.epoch)
            if over or (stopped and child.status in ("failed", "rejected")):
                # Earlier code has led to this end.
                if not child.sealed or child.status not in ("failed", *DONE):
                    raise Bad(f"chain {name}: its row is not as it was written")
                if child.status in DONE:
                    yield End(number, inner.digest, child.result)
                continue
            end = call_user_code(f"chain {name}", self.decomposer.next, inner.state)
            _closed(f"chain {name}", child, end)
            if not child.sealed:
                raise Bad(f"chain {name}: the row of its chain does not match its seal")
            if child.status in DONE:
                yield End(number, inner.digest, child.result)

    def _recorded(self, where: str, fork: ForkRow, at: ChainAt) -> Iterator[End]:
        """Check what was recorded of an effect or a wait; yields it, if it is over."""
        child = next(read_children(self.database, fork, at.path), None)
        if child is None or child.run != self.run or child.number != 0 or not child.sealed:
            raise Bad(f"{where}: the row of the chain that holds its record is missing, or has changed")
        rows = list(read_steps(self.database, child.key))
        if child.status not in DONE:
            if rows:
                raise Bad(f"{where}: a record is there, but its chain is {child.status}")
            return
        genesis = child_at(at, 0, child.key, 0, single=False).digest
        if [(row.idx, row.epoch, row.tally) for row in rows] != [(0, 0, b"")]:
            raise Bad(f"{where}: its record is not one row without votes")
        (row,) = rows
        if row.digest != link(genesis, 0, 0, row.action, RECORDED) or row.digest != child.digest:
            raise Bad(f"{where}: its record is not as it was written")
        if row.action != record_text(Record(**child.result)):
            raise Bad(f"{where}: its record is {row.action!r}, but its chain has {child.result!r}")
        yield End(0, child.digest, child.result)

    def _singles(self, where: str, move: Fork[Any], state: Any, fork: ForkRow, at: ChainAt) -> Iterator[End]:
        """Check the single steps of a fork; yields those that are done, and those that the fork does not wait for."""
        chain = next(read_children(self.database, fork, at.path), None)
        if chain is None or chain.run != self.run or chain.number != 0:
            raise Bad(f"{where}: the chain of its children is missing")
        genesis = child_at(at, 0, chain.key, 0, single=True).digest
        stands = (chain.epoch, chain.status, chain.base, chain.base_idx, chain.digest, chain.sealed)
        if stands != (0, "running", None, 0, genesis, True):
            raise Bad(f"chain {chain_name(chain.path, 0)}: the row of its chain has changed")
        cuts = read_cuts(self.database, chain.key)
        singles = Singles(self.database, chain, fork.children, cuts)
        evidence = self._evidence(chain.key, 0, Together(self.database))
        lenient = move.missed is not None
        place = self.earlier.place(chain.key)
        for row in read_steps(self.database, chain.key, single=True, cuts=cuts):
            here = f"chain {chain_name(chain.path, row.idx)}"
            if lenient:
                yield from _missed(singles, row.idx)
            _types(here, row)
            singles.check_row(here, row)
            if is_before(place, row):
                yield self._earlier_single(here, move, state, row, genesis, singles.outcome)
                continue
            child = call_user_code(here, move.child, state, row.idx)
            asked, end, digest = call_user_code(here, self._single, here, child, row, genesis, evidence)
            singles.check_end(here, ok=end.ok)
            outcome = singles.outcome
            if end.ok and outcome is None:
                self._report(chain, row, asked, evidence)
            if end.ok:
                # Through JSON, as the engine folds it.
                yield End(row.idx, digest, json.loads(json.dumps(end.result)))
            elif lenient and outcome is not None:
                yield End(row.idx, missed_digest(outcome, row), None, str(outcome))
        if lenient:
            yield from _missed(singles, None)
        singles.must_end()

    def _earlier_single(
        self, where: str, move: Fork[Any], state: Any, row: StepRow, genesis: bytes, outcome: Outcome | None
    ) -> End:
        """Check a single step of earlier code; its result is what the present code makes of its action."""
        position = Position(row.idx, None, genesis)
        self._earlier_step(where, position, row)
        if outcome is not None:
            return End(row.idx, position.digest, None, str(outcome) if move.missed is not None else "")

        def result() -> Any:
            action = self.decomposer.action.read(row.action)
            end = self.decomposer.next(self.decomposer.apply(move.child(state, row.idx), action))
            return json.loads(json.dumps(getattr(end, "result", None)))

        return End(row.idx, position.digest, call_user_code(where, result))

    def _single(
        self, where: str, state: Any, row: StepRow, genesis: bytes, evidence: Evidence
    ) -> tuple[Step[Any, Any], Done, bytes]:
        position = Position(row.idx, None, genesis)
        asked, action = self._decision(where, position, state, row, evidence)
        end = self.decomposer.next(self.decomposer.apply(state, action))
        if not isinstance(end, Done):
            raise Bad(f"{where}: the task returns {type(end).__name__} after its step, not Done")
        return asked, end, position.digest


def _is_record(chain: ChainRow, row: StepRow) -> bool:
    """Say whether a row is what came of an effect or a wait: such a chain has no other."""
    return bool(chain.path) and not row.tally and row.idx == 0 and row.action.startswith("{")


def _cast(tally: Tally, key: str) -> Ballots:
    """Return the votes of a count in which ``key`` need not have any."""
    cast = {one: votes for one, votes in tally.counts(key).items() if votes}
    weights = tally.weighed(key)
    return Ballots(cast, None if weights is None else {one: weights[one] for one in cast})


def _verdict(where: str, voter: Voter, ballots: Ballots, parts: Parts[Any] | None = None) -> Verdict | PartsDecision:
    if voter.weighs != (ballots.weights is not None):
        raise Bad(
            f"{where}: its votes have {'no ' if voter.weighs else ''}weights, but {voter.name} "
            f"{'needs' if voter.weighs else 'has'} {'them' if voter.weighs else 'none'}"
        )
    if parts is None:
        return voter.decide(ballots)
    # A tally names the winner first, even one that nobody has proposed as it is.
    cast = {key: votes for key, votes in ballots.counts.items() if votes}
    return decide_parts(voter, parts, ballots._replace(counts=cast), 0)


def _missed(singles: Singles, stop: int | None) -> Iterator[End]:
    for number, outcome in singles.undecided(stop):
        yield End(number, missed_digest(outcome, None), None, outcome)


def _where(chain: ChainRow, index: int) -> str:
    return f"chain {chain_name(chain.path)}, step {index}" if chain.path else f"step {index}"


def _types(where: str, row: StepRow) -> None:
    if [type(cell) for cell in row[2:]] != [str, bytes, int, bytes]:
        raise Bad(f"{where}: a column has a value of the wrong type")


def _closed(where: str, child: ChainRow, end: Any) -> None:
    if child.status not in ("running", "paused", "failed", *DONE):
        raise Bad(f"{where}: its status is {child.status!r}")
    if child.status in ("failed", *DONE):
        if not isinstance(end, Done) or end.ok != (child.status in DONE):
            raise Bad(f"{where}: it is {child.status}, but its last state does not end so")
        if end.ok and as_stored(end.result) != as_stored(child.result):
            raise Bad(f"{where}: its result is {child.result!r}, but its last state gives {end.result!r}")


def as_stored(result: Any) -> str:
    """Return a result as JSON text that equals that of the stored one: with keys as texts, in order."""
    return json.dumps(json.loads(json.dumps(result)), sort_keys=True)
