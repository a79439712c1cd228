"""Read disputed and unresolved steps for a report, with the prompts and samples that the store kept of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from maker.lifecycle.events import StepRecord, shown_record
from maker.lifecycle.rows import RowLog, RowNames
from maker.plugin import Decomposer, RowDecomposer
from maker.reporting.counts import DisputedStep
from maker.reporting.decision_rules import models_of
from maker.store.backend.database import Database
from maker.store.chains import ChainRow, resting, root_chain
from maker.store.log import SampleRow, read_prompts, read_samples, read_steps
from maker.store.runs import RunRow
from maker.store.tree import chain_of_step
from maker.voting.paths import chain_name, is_single

MOST_SAMPLES = 40
"""How many samples of a step are shown, from the first."""
MOST_CHARACTERS = 2000
"""Longest prompt, reply, action or candidate in a report, in characters; the store keeps all of it."""
MOST_STOPPED = 50


class ShownSample(NamedTuple):
    """One sample: its ``candidate`` if it became a vote, else its ``flag`` and ``detail``; ``text`` is None if lost."""

    vote: int
    text: str | None
    candidate: str | None
    flag: str | None
    detail: str
    model: str


@dataclass(frozen=True, slots=True)
class Dispute:
    """A disputed step. ``doubt`` is explained in `maker.reporting.counts.doubt`.

    ``id`` is that of a map's row, None of another step, or where the input cannot be read. ``votes`` counts those of
    every candidate, the winner's first; ``judge`` counts a judge's. ``system`` and ``prompt`` are None if they were not
    kept; samples may be missing too. ``more_samples`` says how many are left out.
    """

    doubt: float
    chain: str
    step: int
    id: str | None
    kind: str
    action: Any
    votes: dict[str, int]
    judge: dict[str, int]
    flags: dict[str, int]
    rounds: int
    margin: int
    epoch: int
    system: str | None
    prompt: str | None
    samples: tuple[ShownSample, ...]
    more_samples: int


@dataclass(frozen=True, slots=True)
class StoppedChain:
    """A chain that stopped before its end, with what was kept of the step that it is stuck at."""

    chain: str
    step: int
    status: str
    reason: str
    prompt: str | None
    samples: tuple[ShownSample, ...]
    more_samples: int


class KeptStep(NamedTuple):
    """The prompt and the first samples that are kept of a step; ``more`` samples are left out."""

    system: str | None
    prompt: str | None
    samples: tuple[ShownSample, ...]
    more: int


def disputes(
    database: Database, run: RunRow, task: Decomposer[Any, Any] | None, doubted: Sequence[DisputedStep]
) -> Iterator[Dispute]:
    """Yield disputed steps with what was kept of them, in the order given."""
    root = root_chain(database, run.key)
    ids = _RowIds(database, run) if isinstance(task, RowDecomposer) else None
    for one in doubted:
        path, row = one.placed
        single = is_single(path)
        held = chain_of_step(database, root, (*path, row.idx) if single else path, 0 if single else row.idx)
        record = _record(run, task, one)
        kept = KeptStep(None, None, (), 0)
        if held is not None:
            kept = kept_step(database, held.chain.key, held.idx, row.epoch, one.models)
        yield Dispute(
            doubt=one.doubt, chain=record.chain, step=record.step,
            id=None if ids is None or held is None else ids.of(held.chain.key, held.idx),
            kind=record.kind, action=_short(record.action), votes=_shortened(record.votes),
            judge=_shortened(record.judge), flags=record.flags, rounds=record.rounds, margin=record.margin,
            epoch=record.epoch, system=kept.system, prompt=kept.prompt, samples=kept.samples, more_samples=kept.more,
        )  # fmt: skip


class _RowIds:
    """Finds the row that a child of a map's fork is, and its id."""

    def __init__(self, database: Database, run: RunRow) -> None:
        log = RowLog(database, run)
        self._names = RowNames(log)
        self._rounds = {one.chain.key: one.rows for one in log.rounds()}

    def of(self, chain: int, child: int) -> str | None:
        """Return the id of the row that a child of a chain is; None where it is not known."""
        return self._names.of(self._rounds[chain][child]) if chain in self._rounds else None


def resting_chains(database: Database, run: RunRow) -> list[StoppedChain]:
    """Return the chains of a run that stopped before their end: its root first, then at most `MOST_STOPPED` others."""
    root = root_chain(database, run.key)
    models = models_of(run)
    found = []
    if run.status in ("pending", "paused", "cancelled") and not _decided(database, root):
        epoch = _newest(database, root)
        if epoch is not None:
            kept = kept_step(database, root.key, root.cursor, epoch, models)
            found.append(_stopped(root, "undecided", run.reason, kept))
    for chain in resting(database, run.key, MOST_STOPPED):
        epoch = _newest(database, chain)
        kept = KeptStep(None, None, (), 0)
        if epoch is not None:
            kept = kept_step(database, chain.key, chain.cursor, epoch, models)
        found.append(_stopped(chain, chain.status, chain.reason, kept))
    return found


def kept_step(database: Database, chain: int, idx: int, epoch: int, models: Sequence[str]) -> KeptStep:
    """Return what is kept of a step: its prompt, and its first samples."""
    samples: list[ShownSample] = []
    more = 0
    for sample in read_samples(database, chain, idx, idx + 1):
        if sample.epoch != epoch:
            continue
        if len(samples) < MOST_SAMPLES:
            samples.append(_shown(sample, models))
        else:
            more += 1
    asked = [row for row in read_prompts(database, chain, idx, idx + 1) if row.epoch == epoch]
    system, prompt = (asked[-1].system, asked[-1].prompt) if asked else (None, None)
    return KeptStep(_cut(system), _cut(prompt), tuple(samples), more)


def _stopped(chain: ChainRow, status: str, reason: str, kept: KeptStep) -> StoppedChain:
    return StoppedChain(chain_name(chain.path), chain.cursor, status, reason, kept.prompt, kept.samples, kept.more)


def _decided(database: Database, chain: ChainRow) -> bool:
    return next(read_steps(database, chain.key, chain.cursor, chain.cursor + 1), None) is not None


def _newest(database: Database, chain: ChainRow) -> int | None:
    """Return the newest epoch of the samples kept at a chain's cursor, None if there are none."""
    kept = read_samples(database, chain.key, chain.cursor, chain.cursor + 1)
    return max((sample.epoch for sample in kept), default=None)


def _record(run: RunRow, task: Decomposer[Any, Any] | None, one: DisputedStep) -> StepRecord:
    path, row = one.placed
    return shown_record(run.classes, task, path, row)


def _shown(sample: SampleRow, models: Sequence[str]) -> ShownSample:
    model = models[sample.model] if sample.model < len(models) else f"model {sample.model}"
    return ShownSample(sample.vote, _cut(sample.text), _cut(sample.candidate), sample.flag, sample.detail, model)


def _shortened(votes: dict[str, int]) -> dict[str, int]:
    """Return votes by shortened candidate; candidates with the same beginning are added up."""
    found: dict[str, int] = {}
    for key, n in votes.items():
        short = _cut(key) or ""
        found[short] = found.get(short, 0) + n
    return found


def _short(action: Any) -> Any:
    if (
        not isinstance(action, str)
        and len(text := json.dumps(action, ensure_ascii=False, default=str)) > MOST_CHARACTERS
    ):
        return _cut(text)
    return _cut(action) if isinstance(action, str) else action


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]}… ({len(text) - MOST_CHARACTERS:,} characters more)"
