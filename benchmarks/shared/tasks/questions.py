"""Workflows that ask: one question after another, or one and then a person."""

from __future__ import annotations

import maker


@maker.workflow
async def count(run: maker.Run, steps: int) -> int:
    """Ask ``steps`` questions, each by the answer before."""
    number = 0
    for step in range(steps):
        number = (number + await run.ask(f"{number} + {step}?", int, truth=(number + step) % 1000)) % 1000
    return number


@maker.workflow
async def approval(run: maker.Run, ticket: int) -> bool:
    """Ask what a ticket is about, and then whether that is right."""
    kind = await run.ask(f"Kind of ticket {ticket}?", truth="bug")
    return await run.wait("approve", bool, prompt=f"Is ticket {ticket} a {kind}?")
