"""Check the sources of steps that were taken from the memo."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from maker.errors import RunNotFound
from maker.store.backend.database import Database
from maker.store.chains import CHAIN_BITS
from maker.store.locations import is_live, path_of
from maker.store.log import read_step
from maker.store.memo import question_at
from maker.store.runs import RunRow, run_at
from maker.voting.memo import shared_space
from maker.voting.paths import chain_name, is_single
from maker.voting.tally import Source, unpack

REMEMBERED = 1 << 16
"""How many sources are cached, so that each is looked up once."""


class _Found(NamedTuple):
    """The step at a source's place: why it cannot be a source ("" if it can), its class, action and question."""

    problem: str
    kind: str = ""
    action: str = ""
    question: bytes | None = None


class Provenance:
    """The sources of the steps of one run.

    Args:
        database: The store.
        run: The run whose steps cite them.
    """

    def __init__(self, database: Database, run: RunRow) -> None:
        self._database = database
        self._run = run
        self._look = lru_cache(REMEMBERED)(self._looked_up)
        self._author = lru_cache(256)(self._of_run)

    def problem(self, source: Source, kind: str, action: str, asked: Collection[bytes]) -> str:
        """Return what is wrong with a step that took its action from a source; "" if nothing is.

        ``asked`` is the step's question, as it is made now and as older versions made it.
        """
        found = self._look(source)
        cites = f"it was taken from {self._named(source)}, which"
        if found.problem:
            return f"{cites} {found.problem}"
        if found.kind != kind:
            return f"{cites} is of class {found.kind}, not {kind}"
        if found.action != action:
            return f"{cites} decided {found.action!r}, not {action!r}"
        if found.question is not None and found.question not in asked:
            return f"{cites} had another prompt"
        return ""

    def _looked_up(self, source: Source) -> _Found:
        chain, idx, epoch, calls = source
        author = self._author(chain >> CHAIN_BITS)
        if isinstance(author, str):
            return _Found(author)
        row = read_step(self._database, chain, idx, epoch)
        if row is None or not is_live(self._database, chain, idx, epoch):
            return _Found("is missing, or was superseded by a retry")
        try:
            tally = unpack(row.tally)
        except ValueError as error:
            return _Found(f"cannot be read: {error}")
        if tally.source is not None or tally.samples != calls:
            return _Found(f"was not decided by {calls} samples")
        kind = author.classes[tally.kind] if tally.kind < len(author.classes) else ""
        return _Found("", kind, row.action, question_at(self._database, chain, idx, epoch))

    def _of_run(self, run: int) -> RunRow | str:
        """Return the run of a source, or why its decisions cannot be used."""
        if run == self._run.key:
            return self._run
        if self._run.fingerprint.get("memo") != "store":
            return "belongs to another run, but this run reuses its own decisions only"
        try:
            author = run_at(self._database, run)
        except RunNotFound:
            return "belongs to a deleted run"
        if shared_space(author.fingerprint) != shared_space(self._run.fingerprint):
            return "was decided by another task, model or vote"
        return author

    def _named(self, source: Source) -> str:
        path, run = path_of(self._database, source.chain), source.chain >> CHAIN_BITS
        of = ""
        if run != self._run.key:
            with suppress(RunNotFound):
                of = f" of run {run_at(self._database, run).run_id}"
        if path is None:
            return f"step {source.idx} of chain {source.chain}{of}"
        if is_single(path):
            return f"chain {chain_name(path, source.idx)}{of}"
        return f"chain {chain_name(path)}, step {source.idx}{of}"
