"""Workflows that tests run."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from decomposers.function import task
from decomposers.workflow import Run, workflow
from maker.plugin import Done, Effect, Fork, Truth

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


def send(folder: str, text: str, idempotency_key: str = "") -> int:
    """Write down that something was sent, and by which key; fail, die or take long as files say that are there."""
    with (Path(folder) / "sent").open("a") as sent:
        sent.write(f"{idempotency_key} {text}\n")
    if (Path(folder) / "die").exists():
        os._exit(9)
    while (Path(folder) / "hold").exists():
        time.sleep(0.02)
    if (Path(folder) / "raise").exists():
        raise OSError("the server is down")
    return len(text)


async def shout(text: str) -> str:
    """Be an effect that is an async function."""
    await asyncio.sleep(0)
    return text.upper()


def odd() -> object:
    """Return what JSON cannot hold."""
    return object()


@workflow
async def order(run: Run, folder: str, retry: Literal["ask", "same-key"] = "ask") -> list[object]:
    """Ask, send, and ask a person."""
    begun = await run.now()
    kind = await run.ask("Kind?", Kind, truth=Kind.BILLING)
    sent = await run.effect(send, folder, kind.value, retry=retry)
    loud = await run.gather(run.effect(shout, "a"), run.effect(shout, "b"))
    good = await run.wait("approve", bool, prompt=f"Is {kind.value} right?")
    rested = await run.now()
    return [sent, *loud, good, rested >= begun]


@workflow
async def patient(run: Run, seconds: float) -> str:
    """Wait for somebody, but not for ever; then sleep."""
    try:
        return await run.wait("word", deadline=timedelta(seconds=seconds))
    except TimeoutError as error:
        await run.sleep(seconds)
        return f"{await run.ask('First?', truth='one')}: {error}"


@workflow
async def two_waits(run: Run) -> list[str]:
    """Wait for two people at once, and ask a model meanwhile."""
    return await run.gather(run.wait("left"), run.wait("right"), run.ask("First?", truth="one"))


def half_a_pair() -> str:
    """Return what is no Unicode."""
    return "\ud800"


@workflow
async def half(run: Run) -> str:
    """Do what no store takes, and wait for it."""
    return await run.effect(half_a_pair) + await run.wait("word")


@workflow
async def oddly(run: Run) -> None:
    """Do what cannot be recorded."""
    await run.effect(odd)


@task(state=dict[str, Any])
def sends(state: dict[str, Any]) -> Done | Effect[dict[str, Any]] | Fork[dict[str, Any]]:
    """Send within a child, which ends wrong as long as it is sunny: a task without a workflow."""
    if "child" not in state:
        return Done(state["sent"]) if "sent" in state else Fork(1, _child_that_sends, _sent)
    if "sent" in state:
        return Done(state["sent"], MOOD[0] == "rainy", "it is sunny")
    return Effect("send", partial(_send_x, state["folder"]), lambda before, record: before | {"sent": record.value})


@sends.start
def _start(folder: str) -> dict[str, Any]:
    return {"folder": folder}


@sends.oracle
def _truth(_prompt: str) -> Truth:
    return Truth(["a"], ["b"])


def _child_that_sends(state: dict[str, Any], number: int) -> dict[str, Any]:
    return state | {"child": number}


def _sent(state: dict[str, Any], _number: int, result: int) -> dict[str, Any]:
    return state | {"sent": result}


def _send_x(folder: str, key: str) -> int:
    return send(folder, "x", key)
