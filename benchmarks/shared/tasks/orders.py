"""A workflow that sends many orders to a server, one after another, and asks a model before each."""

from __future__ import annotations

import urllib.request
from typing import Literal

import maker


def send(url: str, order: int, latency_s: float, idempotency_key: str) -> int:
    """Post an order; the server answers late."""
    headers = {"Idempotency-Key": idempotency_key, "Latency": str(latency_s)}
    request = urllib.request.Request(url, data=str(order).encode(), headers=headers)  # noqa: S310 - of this machine
    with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310 - the same
        return int(reply.read())


@maker.workflow
async def orders(
    run: maker.Run, url: str, count: int, retry: Literal["ask", "same-key"], latency_s: float
) -> list[int]:
    """Send ``count`` orders; returns what the server said of each."""
    said = []
    for order in range(count):
        amount = await run.ask(f"Amount of order {order}?", int, truth=order)
        said.append(await run.effect(send, url, amount, latency_s, retry=retry))
    return said
