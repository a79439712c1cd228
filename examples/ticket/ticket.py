"""A support ticket as a workflow: classify, extract, draft, let a person approve, send.

    python examples/ticket/ticket.py        # or: maker run examples/ticket/ticket.toml
    maker waits
    maker answer RUN approve true
    maker resume RUN

The simulated model stands in for yours: every question says what is right (`truth`), which only a rehearsal needs.
"""

from __future__ import annotations

import json
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel

import maker


class Kind(StrEnum):
    """What a ticket is about."""

    BUG = "bug"
    BILLING = "billing"
    OTHER = "other"


class Facts(BaseModel):
    """What a ticket says."""

    product: str
    urgent: bool


def send(folder: str, text: str, idempotency_key: str) -> str:
    """Send an answer: here to a file for each key, so that the same answer twice is one answer."""
    outbox = Path(folder) / f"{idempotency_key.replace('/', '-')}.json"
    outbox.parent.mkdir(parents=True, exist_ok=True)
    outbox.write_text(json.dumps({"text": text}))
    return outbox.name


@maker.workflow
async def ticket(run: maker.Run, text: str, outbox: str = "outbox", hours: float = 48) -> dict[str, object]:
    """Answer a ticket; what is not approved in time is sent to nobody."""
    kind = await run.ask(f"What is this ticket about?\n{text}", Kind, name="classify", k=4, truth=Kind.BUG)
    facts = await run.ask(f"Product, and is it urgent?\n{text}", Facts, name="extract",
                          truth=Facts(product="printer", urgent="fire" in text))  # fmt: skip
    draft = await run.ask(f"Write one line to the customer about a {kind.value} of the {facts.product}.", name="draft",
                          k=1, truth=f"We look into the {facts.product} now.")  # fmt: skip
    try:
        approved = await run.wait("approve", bool, prompt=f"Send this? {draft}", deadline=timedelta(hours=hours),
                                  truth=True)  # fmt: skip
    except TimeoutError:
        approved = False
    sent = await run.effect(send, outbox, draft, retry="same-key") if approved else ""
    return {"kind": kind.value, "urgent": facts.urgent, "answer": draft, "sent": sent}


if __name__ == "__main__":
    report = maker.run(ticket("The printer is on fire."), model=maker.simulated(p=0.95), k=3)
    print(report.run_id, report.status, report.reason)
