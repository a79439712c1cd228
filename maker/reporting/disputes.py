"""Disputed steps as they are shown, worst first, with what was asked and what was said; steps that nothing settled."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from maker.core.user_code import call_user_code
from maker.errors import TaskFailed
from maker.lifecycle.events import StepRecord, step_record
from maker.plugin import Codec
from maker.reporting.counts import Doubted
from maker.reporting.decision_rules import models_of
from maker.store.backend.database import Database
from maker.store.chains import ChainRow, resting, root_chain
from maker.store.log import SampleRow, read_prompts, read_samples, read_steps
from maker.store.runs import RunRow
from maker.store.tree import chain_of_step
from maker.voting.paths import chain_name, is_single

MOST_SAMPLES = 40
"""So many samples of a step are told, the first ones."""
MOST_CHARACTERS = 2000
"""So much of a prompt, a reply, an action or a candidate is told: a report is to be read, the store keeps it all."""
MOST_RESTING = 50


class Said(NamedTuple):
    """One sample: ``candidate`` where it became a vote, else ``flag`` with its ``detail``; ``text`` None if lost."""

    vote: int
    text: str | None
    candidate: str | None
    flag: str | None
    detail: str
    model: str


@dataclass(frozen=True, slots=True)
class Dispute:
    """A disputed step. ``doubt`` is explained in `maker.reporting.counts.doubt`.

    ``votes`` are those of every candidate, the winner's first, ``judge`` a judge's. ``system`` and ``prompt`` are None
    where they were not kept, as samples may not have been; ``more_samples`` says how many are not told.
    """

    doubt: float
    chain: str
    step: int
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
    samples: tuple[Said, ...]
    more_samples: int


@dataclass(frozen=True, slots=True)
class Resting:
    """A chain that came to rest before its end, with what was kept of the step that it is stuck at."""

    chain: str
    step: int
    status: str
    reason: str
    prompt: str | None
    samples: tuple[Said, ...]
    more_samples: int


class Heard(NamedTuple):
    """What is kept of a step."""

    system: str | None
    prompt: str | None
    samples: tuple[Said, ...]
    more: int


def disputes(
    database: Database, run: RunRow, codec: Codec[Any] | None, doubted: Sequence[Doubted]
) -> Iterator[Dispute]:
    """Yield disputed steps with what was kept of them, in the order given."""
    root = root_chain(database, run.key)
    for one in doubted:
        path, row = one.placed
        single = is_single(path)
        held = chain_of_step(database, root, (*path, row.idx) if single else path, 0 if single else row.idx)
        record = _record(run, codec, one)
        heard = Heard(None, None, (), 0)
        if held is not None:
            heard = heard_of(database, held.chain.key, held.idx, row.epoch, one.models)
        yield Dispute(
            doubt=one.doubt, chain=record.chain, step=record.step, kind=record.kind, action=_short(record.action),
            votes=_shortened(record.votes), judge=_shortened(record.judge), flags=record.flags, rounds=record.rounds,
            margin=record.margin, epoch=record.epoch, system=heard.system, prompt=heard.prompt, samples=heard.samples,
            more_samples=heard.more,
        )  # fmt: skip


def resting_chains(database: Database, run: RunRow) -> list[Resting]:
    """Return the chains of a run that rest before their end, its root first: at most `MOST_RESTING` others."""
    root = root_chain(database, run.key)
    models = models_of(run)
    found = []
    if run.status in ("paused", "cancelled") and not _decided(database, root):
        epoch = _newest(database, root)
        if epoch is not None:
            heard = heard_of(database, root.key, root.cursor, epoch, models)
            found.append(_resting(root, "undecided", run.reason, heard))
    for chain in resting(database, run.key, MOST_RESTING):
        epoch = _newest(database, chain)
        heard = Heard(None, None, (), 0)
        if epoch is not None:
            heard = heard_of(database, chain.key, chain.cursor, epoch, models)
        found.append(_resting(chain, chain.status, chain.reason, heard))
    return found


def heard_of(database: Database, chain: int, idx: int, epoch: int, models: Sequence[str]) -> Heard:
    """Return what is kept of a step: its first samples, and what was asked."""
    told: list[Said] = []
    more = 0
    for sample in read_samples(database, chain, idx, idx + 1):
        if sample.epoch != epoch:
            continue
        if len(told) < MOST_SAMPLES:
            told.append(_said(sample, models))
        else:
            more += 1
    asked = [row for row in read_prompts(database, chain, idx, idx + 1) if row.epoch == epoch]
    system, prompt = (asked[-1].system, asked[-1].prompt) if asked else (None, None)
    return Heard(_cut(system), _cut(prompt), tuple(told), more)


def _resting(chain: ChainRow, status: str, reason: str, heard: Heard) -> Resting:
    return Resting(chain_name(chain.path), chain.cursor, status, reason, heard.prompt, heard.samples, heard.more)


def _decided(database: Database, chain: ChainRow) -> bool:
    return next(read_steps(database, chain.key, chain.cursor, chain.cursor + 1), None) is not None


def _newest(database: Database, chain: ChainRow) -> int | None:
    """Return the epoch of the samples that are kept of the step that a chain stands at, None without any."""
    kept = read_samples(database, chain.key, chain.cursor, chain.cursor + 1)
    return max((sample.epoch for sample in kept), default=None)


def _record(run: RunRow, codec: Codec[Any] | None, one: Doubted) -> StepRecord:
    path, row = one.placed
    where = f"run {run.run_id}, chain {chain_name(path, row.idx if is_single(path) else None)}, step {row.idx}"
    try:
        record: StepRecord = call_user_code(f"{where}: the action's codec", step_record, run.classes, codec, path, row)
        return record
    except TaskFailed:
        # The task's code reads no longer what it once wrote: the report shows what the store holds.
        return step_record(run.classes, None, path, row)


def _said(sample: SampleRow, models: Sequence[str]) -> Said:
    model = models[sample.model] if sample.model < len(models) else f"model {sample.model}"
    return Said(sample.vote, _cut(sample.text), _cut(sample.candidate), sample.flag, sample.detail, model)


def _shortened(votes: dict[str, int]) -> dict[str, int]:
    """Return candidates with short keys; those that are alike when they are cut count together."""
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
