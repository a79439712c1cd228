"""Check what a resume is about to re-apply, before anything is written: that it is as it was committed.

Re-applies nothing and needs no task's code. Reads what the resume reads: of the run its row; of each chain that goes on
its newest snapshot, the steps after it and the fork that is open there; of that fork the children that are not joined
yet. Steps are linked by their digests, everything else has a seal (`maker.store.seals`). What lies before is history: a
resume does not read it, and `verify` does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NoReturn

from maker.errors import RunDamaged
from maker.store.backend.database import Database
from maker.store.chains import (
    ChainRow,
    ForkRow,
    chains_from,
    first_chain,
    last_chain,
    read_children,
    root_chain,
)
from maker.store.code import fingerprint_text
from maker.store.intact import damaged, last_digests, last_key, last_sample
from maker.store.log import (
    CutRow,
    StepRow,
    epoch_at,
    read_cuts,
    read_outcomes,
    read_steps,
    snapshot_epochs,
    spans,
)
from maker.store.open_chain import OpenChain, open_chains
from maker.store.runs import RunRow, run_at
from maker.types import Outcome
from maker.verification.earlier import Earlier
from maker.voting.paths import chain_name, is_single
from maker.voting.tally import based, forked, genesis, link

CHAIN_CHANGED = "the status, the result or the place of its chain is not as it was written"
STEP_CHANGED = "its action, its votes or its digest are not as they were written"
NO_SNAPSHOT = "the snapshot before it is missing"
UNKNOWN = b""
"""Stands for the digest of a step that is not the last of its chain."""
UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error)
"""What values of other types than a column's lead to."""


def check_resumable(database: Database, run: RunRow) -> None:
    """Check all that a resume of a run reads. Raises `RunDamaged`, which names the first thing that is wrong."""
    root = root_chain(database, run.key)
    checker = _Checker(database, run, root, Earlier.of(run, whole=False))
    with checker:
        checker.check_run()
        checker.check_chain(OpenChain.alone(database, root), _begins(database, run, root))


def check_forkable(database: Database, run: RunRow, chain: ChainRow, at: int) -> None:
    """Check what a fork of a run's root chain at step ``at`` reads. Raises `RunDamaged`."""
    author = run if chain.run == run.key else run_at(database, chain.run)
    checker = _Checker(database, run, chain, Earlier.of(author, whole=False))
    with checker:
        until = OpenChain.alone(database, chain._replace(cursor=at, digest=UNKNOWN))
        checker.check_window(until, _begins(database, author, chain))


def _begins(database: Database, run: RunRow, root: ChainRow) -> bytes:
    """Return the digest that a root chain's first own step is linked to; b"" if the step before it is missing."""
    text = fingerprint_text(run.first_fingerprint)
    if root.base is None or root.base_idx == 0:
        return genesis(text)
    before = spans(database, root)[-2].chain
    row = next(read_steps(database, before.key, root.base_idx - 1, root.base_idx), None)
    return b"" if row is None else based(row.digest, text)


class _Checker:
    """Checks one run; as a context it tells of values that cannot be read as of any other damage."""

    def __init__(self, database: Database, run: RunRow, root: ChainRow, earlier: Earlier) -> None:
        self._database = database
        self._run = run
        self._root = root
        self._at = root
        self._step = root.cursor
        # The last step of the root chain before which all was found right: a fork may begin there.
        self._good = 0
        self._earlier = earlier

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Turn what a value of the wrong type has led to into `RunDamaged`."""
        if isinstance(error, UNREADABLE):
            tell = self._single if is_single(self._at.path) else self._bad
            tell(self._at, self._step, f"a value there, or beside it, cannot be read ({type(error).__name__})")

    def check_run(self) -> None:
        """Check the run's row, and that no step is without a chain."""
        run, root = self._run, self._root
        if not run.sealed:
            self._refuse("its settings, fingerprint, step classes or changes of code are not as they were written")
        if not run.counted:
            self._refuse("its counts of steps, votes and flags are not as they were written")
        if run.digest != root.digest:
            self._bad(root, root.cursor - 1, "the run's last digest is not that of its root chain")
        newest = last_key(self._database, run.key)
        if newest > last_chain(self._database, run.key) and root.key >= first_chain(1):
            self._refuse(f"the row of chain {newest} is missing, which has steps, snapshots or forks")

    def check_chain(self, open_chain: OpenChain, first: bytes) -> None:
        """Check a chain that goes on, and what it waits for; ``first`` is what its first step is linked to."""
        chain = open_chain.row
        if not chain.sealed:
            self._bad(chain, chain.cursor, CHAIN_CHANGED)
        start = self.check_window(open_chain, first)
        if (ahead := open_chain.ahead()) is not None:
            self._bad(chain, ahead.idx, f"the store has a {ahead.what} there, but the chain has not come so far")
        fork = open_chain.fork()
        if fork is None:
            if open_chain.has_children():
                self._bad(chain, chain.cursor, "it has children, but the row of its fork is missing")
            return
        if not fork.sealed or not 0 <= fork.joined <= fork.children:
            self._bad(chain, fork.idx, "the row of its fork is not as it was written")
        if start != fork.idx:
            self._bad(chain, fork.idx, NO_SNAPSHOT)
        if fork.single:
            self._check_singles(chain, fork)
            return
        if not chain.path:
            self._check_places(chain, fork)
        self._check_children(chain, fork)

    def check_window(self, open_chain: OpenChain, first: bytes) -> int:
        """Check a chain's newest snapshot and the steps from there to its cursor; returns where they begin."""
        chain, cuts = open_chain.row, open_chain.cuts
        self._at, self._step = chain, chain.cursor
        if [cut.epoch for cut in cuts] != list(range(1, chain.epoch + 1)):
            self._bad(chain, chain.cursor, f"the chain is in epoch {chain.epoch}, but its cuts give another")
        snapshot = open_chain.newest_snapshot()
        if snapshot is None and not chain.path:
            self._bad(chain, chain.base_idx, NO_SNAPSHOT)
        start = chain.base_idx if snapshot is None else snapshot.idx
        rows = open_chain.steps(max(start - 1, chain.base_idx))
        digest = first
        if start > chain.base_idx:
            self._step = start - 1
            digest = self._next(chain, rows, cuts, start - 1).digest
        elif not first:
            self._bad(chain, start - 1, "it is missing in the run that this one was forked from")
        before = {digest, self._earlier.linked(chain.key, start, digest)}
        if snapshot is not None and not (
            any(snapshot.fits(chain.key, one) for one in before) and snapshot.epoch in snapshot_epochs(cuts, start)
        ):
            self._bad(chain, start, "the snapshot before it, or the step before that, is not as it was written")
        self._check_steps(chain, rows, cuts, start, digest)
        return start

    def _check_steps(
        self, chain: ChainRow, rows: Iterator[StepRow], cuts: list[CutRow], start: int, digest: bytes
    ) -> None:
        """Check that a chain's steps from ``start`` to its cursor are all there, and link to ``digest``."""
        for at in range(start, chain.cursor):
            self._step = at
            row = self._next(chain, rows, cuts, at)
            if not row.tally:
                self._bad(chain, at + 1, NO_SNAPSHOT)
            digest = self._earlier.linked(chain.key, at, digest)
            if link(digest, row.idx, row.epoch, row.action, row.tally) != row.digest:
                self._bad(chain, at, STEP_CHANGED)
            digest = row.digest
            if chain.key == self._root.key:
                self._good = at + 1
        linked = self._earlier.linked(chain.key, chain.cursor, digest)
        if next(rows, None) is not None or chain.digest not in (linked, UNKNOWN):
            self._bad(chain, chain.cursor - 1, "it is not the last of its chain, or its digest is not the chain's")

    def _next(self, chain: ChainRow, rows: Iterator[StepRow], cuts: list[CutRow], at: int) -> StepRow:
        """Return the next row, which is to be that of step ``at`` in its epoch."""
        row = next(rows, None)
        if row is None or row.idx != at:
            self._bad(chain, at, "it is missing in the log")
        if row.epoch != (epoch := epoch_at(cuts, at)):
            self._bad(chain, at, f"it has epoch {row.epoch}, but its chain has {epoch} there")
        return row

    def _check_places(self, root: ChainRow, fork: ForkRow) -> None:
        """Check that every chain is there, and where it was, that began after the first child that is not joined.

        A child that is not found where it belongs would be decided a second time.
        """
        if root.key < first_chain(1):
            # The first schema numbered chains in another way.
            return
        child = next(read_children(self._database, fork, root.path, start=max(0, fork.joined - 1)), None)
        expected = root.key if child is None else child.key
        for found in chains_from(self._database, self._run.key, expected):
            if found.key != expected or not found.sealed or found.run != self._run.key:
                self._bad(root, fork.idx, f"the row of chain {expected}, forked there, is missing or has changed")
            expected += 1

    def _check_children(self, chain: ChainRow, fork: ForkRow) -> None:
        """Check the chains of a fork that are not joined: those that are done are as they ended, others can go on."""
        ended = last_digests(self._database, fork)
        expected = fork.joined
        children = read_children(self._database, fork, chain.path, start=fork.joined)
        for child, open_child in open_chains(self._database, children):
            self._at, self._step = child, child.cursor
            if child.number != expected or child.number >= fork.children:
                here = (*chain.path, fork.idx, fork.epoch, expected)
                self._bad(chain, fork.idx, f"the row of its child chain {chain_name(here)} is missing")
            expected += 1
            if child.run != self._run.key or (child.base, child.base_idx) != (None, 0):
                self._bad(child, child.cursor, "its chain belongs to another run")
            first = forked(chain.digest, fork.idx, fork.epoch, child.number)
            if open_child is not None:
                self.check_chain(open_child, first)
            elif not child.sealed:
                self._bad(child, child.cursor, CHAIN_CHANGED)
            elif child.digest != (ended.get(child.key) if child.cursor else first):
                self._bad(child, child.cursor - 1, "it is missing, or its digest is not that of its chain")

    def _check_singles(self, chain: ChainRow, fork: ForkRow) -> None:
        """Check the single steps of a fork that are not joined."""
        rows = next(read_children(self._database, fork, chain.path), None)
        first = forked(chain.digest, fork.idx, fork.epoch)
        if rows is None:
            self._bad(chain, fork.idx, "the chain of its children is missing")
        stands = (rows.number, rows.run, rows.status, rows.epoch, rows.base, rows.base_idx, rows.digest, rows.sealed)
        if stands != (0, self._run.key, "running", 0, None, 0, first, True):
            self._bad(chain, fork.idx, "the row of its children's chain is not as it was written")
        cuts = read_cuts(self._database, rows.key)
        settled = self._settled(rows, fork, cuts, first)
        missing = next((number for number in range(fork.joined, rows.cursor) if number not in settled), None)
        if missing is not None:
            self._single(rows, missing, "it is missing in the log, or the cursor of its chain is wrong")
        following = max(settled, default=fork.joined - 1) + 1
        if (sample := last_sample(self._database, rows.key)) >= max(following, rows.cursor):
            self._single(rows, sample, "its samples are there, but neither its step nor its outcome")

    def _epochs(self, rows: ChainRow, fork: ForkRow, cuts: list[CutRow]) -> dict[int, int]:
        """Return the epoch of each child that was decided again."""
        epochs: dict[int, int] = {}
        for cut in sorted(cuts):
            self._at, self._step = rows, cut.idx
            if cut.epoch != epochs.get(cut.idx, 0) + 1 or not 0 <= cut.idx < fork.children:
                self._single(rows, cut.idx, "one of its cuts is missing")
            epochs[cut.idx] = cut.epoch
        return epochs

    def _settled(self, rows: ChainRow, fork: ForkRow, cuts: list[CutRow], first: bytes) -> set[int]:
        """Return the children from the first that is not joined that have a step or an outcome, all of them right."""
        epochs = self._epochs(rows, fork, cuts)
        outcomes = self._outcomes(rows, fork, epochs)
        found = set()
        for row in read_steps(self._database, rows.key, fork.joined, single=True, cuts=cuts):
            self._step = row.idx
            if not row.idx < fork.children or row.epoch != epochs.get(row.idx, 0):
                self._single(rows, row.idx, f"its step has epoch {row.epoch}, or it is not one of the children")
            if link(first, row.idx, row.epoch, row.action, row.tally) != row.digest:
                self._single(rows, row.idx, STEP_CHANGED)
            found.add(row.idx)
        for number, outcome in outcomes.items():
            if number >= fork.joined and outcome.decided != (number in found):
                self._single(rows, number, f"it cannot have the outcome {str(outcome)!r} and {_step(number in found)}")
        return found | {number for number in outcomes if number >= fork.joined}

    def _outcomes(self, rows: ChainRow, fork: ForkRow, epochs: dict[int, int]) -> dict[int, Outcome]:
        """Return the outcomes of the children without a good decision."""
        outcomes: dict[int, Outcome] = {}
        for one in read_outcomes(self._database, rows.key):
            self._step = one.idx
            if not one.fits(rows.key) or not 0 <= one.idx < fork.children or one.epoch != epochs.get(one.idx, 0):
                self._single(rows, one.idx, "its outcome is not as it was written")
            outcomes[one.idx] = Outcome(one.outcome)
        return outcomes

    def _single(self, rows: ChainRow, number: int, what: str) -> NoReturn:
        path = rows.path
        raise self._damaged(f"chain {chain_name(path, number)}, step 0: {what}", path[0])

    def _bad(self, chain: ChainRow, step: int, what: str) -> NoReturn:
        before = chain.path[0] if chain.path else min(self._good, max(step, 0))
        where = f"chain {chain_name(chain.path)}, step" if chain.path else "step"
        raise self._damaged(f"{where} {max(step, 0)}: {what}", before)

    def _refuse(self, what: str) -> NoReturn:
        raise self._damaged(what, None)

    def _damaged(self, what: str, before: int | None) -> RunDamaged:
        run = self._run.run_id
        if not before:
            return damaged(run, what)
        return damaged(
            run, what, f"decide anew from a step before it on with `maker fork {run} --at {before}`, or a smaller step"
        )


def _step(there: bool) -> str:
    return "a step" if there else "no step"
