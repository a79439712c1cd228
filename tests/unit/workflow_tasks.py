"""Workflows that tests run."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Literal

from pydantic import BaseModel

from decomposers.workflow import Run, workflow

CALLS: list[str] = []
"""The names of workflows, each time that their function is called."""
MOOD = ["sunny"]
"""What a workflow must not look at, and one does."""


class Kind(Enum):
    """What a ticket is about."""

    BUG = "bug"
    BILLING = "billing"


class Facts(BaseModel):
    """What a ticket says."""

    product: str
    urgent: bool


class Summary(BaseModel):
    """What is known of a ticket."""

    kind: Kind
    urgent: bool
    words: list[int]
    letters: list[int]
    third: int
    mixed: list[int]
    drawn: int


@workflow
async def ticket(run: Run, text: str, third: str = "abc") -> Summary:
    """Ask in every way that there is."""
    CALLS.append("ticket")
    kind = await run.ask(f"Kind of {text}?", Kind, truth=Kind.BUG)
    facts = await run.ask(f"Facts of {text}?", Facts, name="facts", k=2, truth=Facts(product="x", urgent=True))
    words = await run.map("Length of {}?", text.split(), int, truth=len)
    inner = await run.map(letters, text.split())
    last = await run.child(letters, third)
    mixed = await run.gather(run.ask("How many are c?", int, truth=1), run.child(letters, "de"))
    return Summary(
        kind=kind, urgent=facts.urgent, words=words, letters=inner, third=last, mixed=mixed,
        drawn=run.random.randrange(10**9),
    )  # fmt: skip


async def letters(run: Run, word: str) -> int:
    """Count letters, one step each."""
    CALLS.append("letters")
    count = 0
    for letter in word:
        count += await run.ask(f"One for {letter}?", int, truth=1)
    return count


@workflow
async def count(run: Run, steps: int) -> int:
    """Ask one question after another."""
    CALLS.append("count")
    number = 0
    for step in range(steps):
        number = (number + await run.ask(f"{number} + {step}?", int, truth=(number + step) % 1000)) % 1000
    return number


@workflow
async def moody(run: Run) -> str:
    """Ask by what stands outside."""
    first = await run.ask("First?", truth="one")
    second = await run.ask(f"Is it {MOOD[0]}?", Literal["yes", "no"], truth="yes")
    return f"{first} {second} {await run.ask('Third?', truth='three')}"


@workflow
async def sleeper(run: Run) -> None:
    """Await what is no step."""
    await run.ask("First?", truth="one")
    await asyncio.sleep(0)


@workflow
async def faulty(run: Run) -> int:
    """Fail after a step, as a user's code may."""
    return {"one": 1}[await run.ask("First?", truth="two")]


@workflow
async def late(run: Run, k: int) -> str:
    """Ask with a margin that is not written down."""
    return await run.ask("First?", k=k, truth="one")


@workflow
async def wrong_result(run: Run) -> int:
    """Return something else than it says."""
    return await run.ask("First?", truth="one")  # type: ignore[return-value]
