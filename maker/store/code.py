"""What the store keeps of a run's code: the files that it is pinned to, and where it went on with other code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection, delete, insert, select, update

from maker.store.backend import schema
from maker.store.backend.upsert import upsert
from maker.store.log import StepRow
from maker.store.seals import change_seal
from maker.voting.tally import based, text_digest


class Source(NamedTuple):
    """A file of code that a run is pinned to, by its whole path, with its content."""

    file: str
    body: str


class CodePlace(NamedTuple):
    """How far a chain had come when its run's code changed: steps before ``idx``, up to ``epoch``, are earlier code's.

    Where a fork was open there, ``joined`` of its children were folded into ``state``; else it is None. In a fork of
    single steps ``idx`` is the first child that was open, ``ahead`` names those after it that were decided, and
    ``epoch`` is the number of cuts.
    """

    idx: int
    epoch: int
    joined: int | None = None
    state: str = ""
    ahead: tuple[int, ...] = ()

    def decided(self, row: StepRow) -> bool:
        """Say whether a child in a fork of single steps was decided before the change."""
        return row.idx < self.idx or row.idx in self.ahead


DONE_BEFORE = CodePlace(2**63, 2**31)
"""Stands for a chain that was done before the change."""


@dataclass(frozen=True)
class CodeChange:
    """A change of a run's code: ``fingerprint`` held before it, ``last`` is the newest chain that had begun.

    ``at`` is in seconds since 1970. ``places`` are those of the chains that were not done, by their keys, and
    ``sealed`` is false where it is not as it was written.
    """

    run: int
    number: int
    at: float
    fingerprint: dict[str, Any]
    last: int
    places: Mapping[int, CodePlace]
    sealed: bool = True

    def place(self, chain: int) -> CodePlace | None:
        """Return how far a chain had come; None where it began later."""
        return None if chain > self.last else self.places.get(chain, DONE_BEFORE)

    @cached_property
    def root_idx(self) -> int:
        """The root chain's next step at the change."""
        return self._root.idx

    @property
    def linked(self) -> bool:
        """Whether the root chain's next step is linked to the new fingerprint: no fork was open there."""
        return self._root.joined is None

    @property
    def _root(self) -> CodePlace:
        return self.places[min(self.places)]


CODE_CHANGED = "code_changed"
"""The kind of the event that says so."""


class NewCode(NamedTuple):
    """Code that a run goes on with: its fingerprint, the run's step classes from now on, and where it changed.

    ``digest`` is that of the plugins' code, as a queue has it, and ``told`` says in words what has changed.
    """

    fingerprint: dict[str, Any]
    classes: tuple[str, ...]
    change: CodeChange
    digest: bytes
    told: str

    @property
    def facts(self) -> dict[str, Any]:
        """What the event says that tells of it."""
        return {"number": self.change.number, "step": self.change.root_idx, "changed": self.told}


class _Executes(Protocol):
    @property
    def dialect(self) -> Any: ...

    def execute(self, statement: Any, parameters: Any = None, /) -> Any: ...


def fingerprint_text(fingerprint: Mapping[str, Any]) -> str:
    """Return a fingerprint as the canonical JSON text that digests are computed from."""
    return json.dumps(fingerprint, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def write_sources(connection: _Executes, run: int, sources: Iterable[Source]) -> None:
    """Keep files of code with a run, in place of those that it had."""
    kept = list(sources)
    if not kept:
        return
    texts = {text_digest(one.body): one.body for one in kept}
    # In one order, so that two writers cannot wait for one another.
    rows = [{"digest": digest, "body": body} for digest, body in sorted(texts.items())]
    connection.execute(upsert(connection.dialect, schema.text).on_conflict_do_nothing(), rows)
    connection.execute(delete(schema.source).where(schema.source.c.run == run))
    places = [{"run": run, "file": one.file, "text": text_digest(one.body)} for one in kept]
    connection.execute(insert(schema.source), places)


def read_sources(connection: Connection, run: int) -> dict[str, str]:
    """Return the files of code that a run is pinned to, by their paths."""
    table, text = schema.source.c, schema.text.c
    query = select(table.file, text.body).join(schema.text, text.digest == table.text).where(table.run == run)
    return {row.file: row.body for row in connection.execute(query)}


def read_changes(connection: Connection, run: int) -> tuple[CodeChange, ...]:
    """Return the changes of a run's code, in order. Raises ``ValueError`` for one that cannot be read."""
    query = select(schema.change).where(schema.change.c.run == run).order_by(schema.change.c.number)
    return tuple(_read(row) for row in connection.execute(query))


def _read(row: Any) -> CodeChange:
    seal = change_seal(row.run, row.number, row.last, row.fingerprint, row.places)
    try:
        held = json.loads(row.places).items()
        places = {int(key): CodePlace(one[0], one[1], one[2], one[3], tuple(one[4])) for key, one in held}
        fingerprint = json.loads(row.fingerprint)
        if not places or not isinstance(fingerprint, dict):
            raise ValueError("it is empty")
    except (AttributeError, TypeError, KeyError, IndexError) as error:
        raise ValueError(f"change {row.number} of its code: {error}") from error
    return CodeChange(row.run, row.number, row.at, fingerprint, row.last, places, sealed=seal == row.seal)


def write_change(connection: _Executes, change: CodeChange, fingerprint: Mapping[str, Any]) -> bytes | None:
    """Write that a run goes on with other code, with this fingerprint; returns its new last digest, if it has one.

    Where the root chain stands between two steps, its digest takes in the new fingerprint.
    """
    written = {str(key): [*place] for key, place in sorted(change.places.items())}
    places = json.dumps(written, separators=(",", ":"), ensure_ascii=False)
    before = json.dumps(change.fingerprint, sort_keys=True)
    seal = change_seal(change.run, change.number, change.last, before, places)
    row = {"run": change.run, "number": change.number, "at": change.at, "fingerprint": before, "last": change.last}
    connection.execute(insert(schema.change).values(row | {"places": places, "seal": seal}))
    if not change.linked:
        return None
    table = schema.chain
    root = min(change.places)
    digest: bytes = connection.execute(select(table.c.digest).where(table.c.id == root)).scalar_one()
    digest = based(digest, fingerprint_text(fingerprint))
    connection.execute(update(table).where(table.c.id == root).values(digest=digest))
    return digest
