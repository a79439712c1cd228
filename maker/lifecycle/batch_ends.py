"""End what a cancelled run has out at a provider of batches: it would go on, and be billed."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from maker.core.logs import logger
from maker.errors import ModelUnusable
from maker.lifecycle.events import BatchChanged
from maker.models.batch.ending import EndedBatch, end_batches
from maker.models.server_settings import ServerSettings
from maker.models.settings import ModelSettings, members_of
from maker.store.backend.database import Database
from maker.store.ended_batches import note_cancelled, write_ended_batch
from maker.store.entry import Entry, StoredEvent
from maker.store.runs import CANCELLED, RunRow
from maker.store.sent_batches import read_batches
from maker.types import Account, BatchState

LEFT = f"{CANCELLED}, but for batches that may go on at the provider, and be billed: "
SHOWN_IDS = 20

log = logger("maker")


def end_batches_of(database: Database, row: RunRow) -> None:
    """Cancel what a cancelled run has out, and count what was answered by then. Blocks.

    The run's reason says which batches may go on, and why. Calling it again ends the rest.
    """
    out = read_batches(database, row.key, out=True)
    if not out:
        return
    try:
        model, settings = _batch_model(row)
        ended = end_batches(settings, out)
    except ModelUnusable as error:
        note_cancelled(database, row.key, _left(row, [EndedBatch(batch, trouble=error.message) for batch in out]))
        return
    for one in ended:
        _write(database, row, model, one)
    left = [one for one in ended if one.trouble]
    note_cancelled(database, row.key, _left(row, left) if left else _over(ended))


def _batch_model(row: RunRow) -> tuple[str, ServerSettings]:
    """Return the model that was asked, with its name in the ledger. Raises `ModelUnusable`.

    The task's code is not needed, which may be gone.
    """
    try:
        members = members_of(TypeAdapter(ModelSettings).validate_python(row.settings["model"]))
    except ValidationError as error:
        raise ModelUnusable("the run's stored [model] table cannot be read", fix="") from error
    for name, settings in members.items():
        if isinstance(settings, ServerSettings):
            return name, settings
    raise ModelUnusable("the run was given a model without batches since", fix="")


def _write(database: Database, row: RunRow, model: str, one: EndedBatch) -> None:
    batch, usage = one.batch, one.usage
    facts = {
        "batch": batch.id, "number": batch.number, "state": str(batch.state), "requests": len(batch.names),
        "status": one.said, "answered": usage.requests, "problems": [], "calls": usage.calls, "tokens": usage.tokens,
    }  # fmt: skip
    log.info(BatchChanged.kind, run_id=row.run_id, **facts)
    spent = {Account(0, batch.role): usage} if batch.state is BatchState.HEARD else {}
    entry = Entry(spent=spent, events=[StoredEvent(BatchChanged.kind, facts)])
    write_ended_batch(database, row, batch, model, entry)


def _over(ended: list[EndedBatch]) -> str:
    count, answered = len(ended), sum(one.usage.requests for one in ended)
    asked = sum(len(one.batch.names) for one in ended)
    what = "batch" if count == 1 else f"{count:,} batches"
    return f"{CANCELLED}, with its {what} at the provider: {answered:,} of {asked:,} requests had been answered"


def _left(row: RunRow, left: list[EndedBatch]) -> str:
    ids = [one.batch.id or f"one with the tag {one.batch.tag}" for one in left]
    more = f" and {len(ids) - SHOWN_IDS:,} more" if len(ids) > SHOWN_IDS else ""
    again = f"give `maker cancel {row.run_id}` again, or cancel them at the provider"
    return f"{LEFT}{', '.join(ids[:SHOWN_IDS])}{more} ({left[0].trouble}); {again}"
