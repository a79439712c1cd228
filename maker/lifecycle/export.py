"""Export a run's steps for other tools as JSON lines or Parquet, in a versioned schema (docs/export.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, TypeAlias

from maker.core.atomic import refuse_taken, replacing, write_errors
from maker.core.user_code import call_user_code
from maker.errors import BadInput, MakerError, StoreFailed
from maker.inputs.formats.parquet import pyarrow_module
from maker.lifecycle.events import StepRecord, step_record
from maker.lifecycle.queries import Sources, report, store_url, task_of
from maker.lifecycle.reviewed_rows import reviewed_rows
from maker.lifecycle.rows import ANSWERED, DECIDED, REVIEWED
from maker.plugin import Codec
from maker.store.backend.database import Database, open_database
from maker.store.chains import root_chain
from maker.store.locations import path_of
from maker.store.log import StepRow
from maker.store.reviews import ReviewRow
from maker.store.runs import RunRow, find_run
from maker.store.tree import PlacedStep, walk_steps
from maker.voting.paths import ROOT, chain_name, is_single
from maker.voting.paths import Path as ChainPath

Format: TypeAlias = Literal["jsonl", "parquet"]
Actions: TypeAlias = Literal["shown", "stored"]
NAME = "maker-steps"
VERSION, WITH_REVIEWS = 1, 2
"""The second is of a run with rows that people have decided beside the log: a reader of the first takes them for steps.

Raised when a reader of older files could misread new ones; docs/export.md lists what may change without it.
"""
GROUP_STEPS = 50_000
GROUP_CHARACTERS = 1 << 26
BATCH_STEPS = 2_000
_RUN = (
    "run_id", "name", "status", "reason", "steps", "votes", "red_flags", "disputed", "digest", "result", "forked_from",
    "forked_at", "settings",
)  # fmt: skip
"""Fields of a run's report that the header has."""


class Exported(NamedTuple):
    """What `export_steps` wrote. ``actions`` is ``stored`` if the task's code could not be found, else ``shown``.

    ``steps`` of the log were written, and ``reviewed`` rows that people have decided beside it.
    """

    run_id: str
    steps: int
    actions: Actions
    reviewed: int = 0


class _Row(NamedTuple):
    """One step, or a row that a person has decided beside the log: such a row has no digest.

    ``record.action`` is the action's canonical text, ``shown`` the action as the task's codec shows it.
    """

    where: str
    record: StepRecord
    shown: Any
    tokens: int
    digest: str
    outcome: str

    def facts(self) -> dict[str, Any]:
        """Return what is written beside the record."""
        return {"tokens": self.tokens, "digest": self.digest, "outcome": self.outcome}


class _Source(NamedTuple):
    """The run to export, as it was at the start, with people's answers beside its log."""

    database: Database
    run: RunRow
    codec: Codec[Any] | None
    reviews: Sequence[ReviewRow]

    @property
    def actions(self) -> Actions:
        return "stored" if self.codec is None else "shown"


def export_steps(
    run_id: str, out: Path | IO[bytes], *, format: Format = "jsonl", store: str | None = None, force: bool = False
) -> Exported:
    """Write a run's live steps to a file or a binary stream, in constant memory. Blocks.

    The run may still be running: each chain is written up to some moment. A file appears under its name when it is
    complete and on the disk; until then a ``.part`` file beside it holds the content. A stream is flushed, and left
    open.

    Args:
        run_id: A run's id, its unique beginning, or ``last``.
        out: The file, or for ``jsonl`` a stream.
        format: ``jsonl`` or ``parquet``.
        store: The database of runs, else that of MAKER_STORE.
        force: Replace an existing file.

    Raises:
        BadInput: The file exists already or cannot be created; ``out`` is a stream for Parquet; pyarrow is missing.
        RunNotFound, StoreUnusable: There is no such run, or no such store.
        MakerError: The disk is full, or the run was retried while it was exported.
        StoreFailed, TaskFailed: A step cannot be read; the task's codec raised.
        BrokenPipeError: Nobody reads the stream any more.
    """
    if format == "parquet":
        pyarrow_module()
        if not isinstance(out, Path):
            raise BadInput("Parquet cannot be written to a stream", fix="give a file")
    write = _write_jsonl if format == "jsonl" else _write_parquet
    source = _source(run_id, store)
    with closing(source.database), write_errors(out, fix="free some disk space, and export the run again"):
        if isinstance(out, Path):
            with _replacing(out, force=force) as file:
                written = write(source, file)
        else:
            written = write(source, out)
            out.flush()
    reviewed = len(source.reviews)
    return Exported(source.run.run_id, written - reviewed, source.actions, reviewed)


def _source(run_id: str, store: str | None) -> _Source:
    database = open_database(store_url(store), create=False)
    run = find_run(database, run_id)
    task = task_of(run)
    return _Source(database, run, None if task is None else task.action, reviewed_rows(database, run))


def _header(source: _Source) -> str:
    facts = report(source.run).to_json()
    run = {name: facts[name] for name in _RUN} | {"fingerprint": source.run.fingerprint}
    version = WITH_REVIEWS if source.reviews else VERSION
    return _json({"format": NAME, "version": version, "actions": source.actions, "run": run})


def _rows(source: _Source) -> Iterator[_Row]:
    """Yield the steps of the log, then the rows that people have decided beside it."""
    database, run, codec, reviews = source
    named = Sources(database).named
    steps = in_order(run.run_id, walk_steps(database, root_chain(database, run.key)), "exported")
    for path, step in chain(steps, (_placed(database, one) for one in reviews)):
        try:
            record = named(step_record(run.classes, None, path, step))
        except ValueError as error:
            place = chain_name(path, step.idx if is_single(path) else None)
            raise StoreFailed(
                f"run {run.run_id}, chain {place}, step {step.idx} cannot be read: {error}",
                fix="restore the database from a backup",
            ) from error
        where = f"run {run.run_id}, chain {record.chain}, step {record.step}"
        shown = (
            step.action if codec is None else call_user_code(f"{where}: the action's codec", _show, codec, step.action)
        )
        outcome = REVIEWED if not step.digest else ANSWERED if record.answered else DECIDED
        yield _Row(where, record, shown, step.tokens, step.digest.hex(), outcome)


def _placed(database: Database, review: ReviewRow) -> PlacedStep:
    """Return a row that a person has decided beside the log as a step at its place, without a digest."""
    key = review.key
    path = path_of(database, key.chain) or ROOT
    return PlacedStep(path, StepRow(key.idx, key.epoch, review.answer, review.tally, review.tokens, b""))


def _show(codec: Codec[Any], text: str) -> Any:
    return codec.show(codec.read(text))


def in_order(run_id: str, walk: Iterator[PlacedStep], doing: str) -> Iterator[PlacedStep]:
    """Yield each step once, in order, while the run may still change.

    A fork that is joined during the walk comes twice; its steps are skipped the second time. Raises `MakerError` if a
    chain comes twice in two epochs: a retry has superseded the steps that were yielded. ``doing`` is what the caller
    does, for the message.
    """
    path: ChainPath | None = None
    idx = epoch = 0
    for placed in walk:
        step = placed.step
        if path is not None and not (placed.path == path and step.idx > idx):
            last, place = (*path, idx), (*placed.path, step.idx)
            if (place, step.epoch) == (last, epoch):
                continue
            # A path repeats (fork, epoch, child): if the first number that differs is an epoch, a retry came between.
            differs = next((at for at, (one, other) in enumerate(zip(last, place, strict=False)) if one != other), 1)
            if differs % 3 == 1:
                raise MakerError(f"run {run_id} was retried while it was {doing}", fix="give the same command again")
            if place < last:
                continue
        path, idx, epoch = placed.path, step.idx, step.epoch
        yield placed


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        # JSON has no NaN or infinity: write null.
        return json.dumps(json.loads(json.dumps(value), parse_constant=lambda name: None), ensure_ascii=False)


def _bytes(text: str) -> bytes:
    # Half of a surrogate pair has no UTF-8; all texts here are JSON, where it becomes an escape.
    return text.encode("utf-8", "backslashreplace")


def _write_jsonl(source: _Source, file: IO[bytes]) -> int:
    lines = 0
    file.write(_bytes(_header(source)) + b"\n")
    for row in _rows(source):
        line = row.record.to_json() | {"action": row.shown} | row.facts()
        file.write(_bytes(call_user_code(f"{row.where}: the action as JSON", _json, line)) + b"\n")
        lines += 1
    return lines


def _schema(header: str) -> Any:
    arrow = pyarrow_module()
    text, number, counts = arrow.string(), arrow.int64(), arrow.map_(arrow.string(), arrow.int64())
    columns = [
        ("chain", text), ("step", number), ("class", text), ("action", text), ("action_json", text), ("votes", counts),
        ("flags", counts), ("rounds", number), ("margin", number), ("epoch", number), ("superseded", arrow.bool_()),
        ("tokens", number), ("digest", text), ("outcome", text),
    ]  # fmt: skip
    return arrow.schema(columns, metadata={NAME: _bytes(header)})


def _write_parquet(source: _Source, file: IO[bytes]) -> int:
    arrow, schema, steps = pyarrow_module(), _schema(_header(source)), 0
    with arrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(source, arrow, schema):
            writer.write_table(group, row_group_size=GROUP_STEPS)
            steps += group.num_rows
    return steps


def _groups(source: _Source, arrow: Any, schema: Any) -> Iterator[Any]:
    """Yield tables, one for each row group."""
    # Convert rows to columns in batches: as Python values they take ten times the memory.
    batches: list[Any] = []
    rows: list[dict[str, Any]] = []
    steps = characters = 0
    for row in _rows(source):
        rows.append(_columns(source, row))
        characters += len(rows[-1]["action_json"] or "") + sum(map(len, row.record.votes))
        full = steps + len(rows) >= GROUP_STEPS or characters >= GROUP_CHARACTERS
        if full or len(rows) >= BATCH_STEPS:
            steps += len(rows)
            batches.append(arrow.RecordBatch.from_pylist(rows, schema))
            rows = []
        if full:
            yield arrow.Table.from_batches(batches, schema)
            batches, steps, characters = [], 0, 0
    if rows or batches:
        yield arrow.Table.from_batches([*batches, arrow.RecordBatch.from_pylist(rows, schema)], schema)


def _columns(source: _Source, row: _Row) -> dict[str, Any]:
    shown = None
    if source.codec is not None:
        shown = _bytes(call_user_code(f"{row.where}: the action as JSON", _json, row.shown)).decode()
    record = row.record
    counts = {"votes": list(record.votes.items()), "flags": list(record.flags.items())}
    return record.to_json() | counts | {"action_json": shown} | row.facts()


@contextmanager
def _replacing(out: Path, *, force: bool) -> Iterator[IO[bytes]]:
    if not out.parent.is_dir():
        raise BadInput(f"the folder {out.parent} for {out.name} does not exist", fix="create it, or name another one")
    refuse_taken(out, force=force)
    with replacing(out, lambda: refuse_taken(out, force=force)) as file:
        yield file
