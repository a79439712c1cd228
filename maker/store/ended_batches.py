"""What became of the batches of a run that is cancelled: nobody holds it any more, so each is written once."""

from __future__ import annotations

from sqlalchemy import update

from maker.store.backend import schema
from maker.store.backend.database import Database, retried
from maker.store.backend.texts import stored
from maker.store.entry import Entry
from maker.store.ledger import Accounts, Models
from maker.store.runs import CANCELLED, RunRow
from maker.store.sent_batches import OUT, settle_batches
from maker.types import BatchState, SentBatch

_batch = schema.batch.c


@retried
def write_ended_batch(database: Database, run: RunRow, batch: SentBatch, model: str, entry: Entry) -> None:
    """Keep how a batch stands; of one that is over, the entry's costs and events too, unless they are kept already.

    ``model`` is the name that the costs have in the ledger.
    """
    over = batch.state in (BatchState.HEARD, BatchState.VOID)
    mine = (_batch.run == run.key, _batch.number == batch.number, _batch.state.in_(OUT))
    with database.write() as connection:
        changes = {"state": str(batch.state), "batch": batch.id}
        # Of two who cancel the run at once one finds the batch out.
        if connection.execute(update(schema.batch).where(*mine).values(changes)).rowcount and over:
            settle_batches(connection, run.key, [batch.number])
            accounts = Accounts(database, run.key, run.resumes, Models((model,), ()))
            accounts.write(connection, [entry], accounts.prepare([entry]))


@retried
def note_cancelled(database: Database, run: int, reason: str) -> None:
    """Keep what is to be known of a cancelled run."""
    table = schema.run
    with database.write() as connection:
        mine = (table.c.id == run, table.c.status == CANCELLED)
        connection.execute(update(table).where(*mine).values(reason=stored(reason)))
