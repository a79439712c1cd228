"""A program as a user writes it: it runs, and type checkers in strict mode find nothing in it.

Lines that a checker must refuse end with ``# type: ignore``: unused ones are refused too.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Literal, assert_type

from pydantic import BaseModel

import maker
from decomposers.hanoi import Hanoi, HanoiParams, hanoi
from decomposers.map import map_rows
from maker.plugin import Ballots, Decision, More, Params, Truth, Verdict, Voter, by_keywords
from voters.bayes import bayes


class Kind(Enum):
    """What a ticket is about."""

    BUG = "bug"
    BILLING = "billing"


class Facts(BaseModel):
    """What a ticket says."""

    kind: Kind
    urgent: bool


class Summary(BaseModel):
    """What is known of a ticket."""

    facts: Facts
    words: list[int]


@maker.workflow
async def ticket(run: maker.Run, text: str, copies: int = 1) -> Summary:
    """Ask what a ticket says, and how long its words are."""
    facts = await run.ask(f"Facts of {text}?", Facts, truth=Facts(kind=Kind.BUG, urgent=True))
    assert_type(facts, Facts)
    words = await run.map("Length of {}?", text.split() * copies, int, truth=len)
    return Summary(facts=facts, words=words)


def charge(customer: str, cents: int, *, idempotency_key: str = "") -> Facts:
    """Be an effect, which is given its key."""
    return Facts(kind=Kind.BILLING, urgent=cents > 100)


async def shout(text: str) -> str:
    """Be an effect that is an async function."""
    return text.upper()


@maker.workflow(name="length", version=2)
async def length(run: maker.Run, word: str, unit: Literal["letters", "bytes"] = "letters") -> int:
    """Be a child."""
    return await run.ask(f"How many {unit} has {word}?", int, name="length", k=2, truth=len(word))


async def initial(run: maker.Run, word: str) -> str:
    """Be a child that is an async function."""
    return await run.ask(f"First letter of {word}?", name="initial", truth=word[0])


def short(answer: int) -> str | None:
    """Say why an answer is forbidden."""
    return "too long" if answer > 99 else None


@maker.workflow
async def order(run: maker.Run, text: str, hours: float = 48) -> list[str]:
    """Do all that a workflow can."""
    begun = await run.now()
    assert_type(begun, datetime)
    kind = await run.ask("Kind?", Kind, system="Be brief.", max_tokens=9, role="solver", truth=Kind.BUG)
    assert_type(kind, Kind)
    mood: Literal["glad", "sad"] = await run.ask("Mood?", Literal["glad", "sad"], truth="glad")
    many = await run.ask("How many?", int, name="many", parse=int, check=short, truth=3)
    assert_type(many, int)
    facts = await run.effect(charge, text, 120, retry="same-key")
    assert_type(facts, Facts)
    loud = await run.effect(shout, text, name="shout", truth="A")
    assert_type(loud, str)
    word = await run.child(length, text, unit="bytes")
    assert_type(word, int)
    first = await run.child(initial, word=text)
    assert_type(first, str)
    lengths = await run.map(length, text.split())
    assert_type(lengths, list[int])
    firsts = await run.map(initial, text.split())
    assert_type(firsts, list[str])
    sides = await run.gather(run.child(length, "a"), run.ask("Two?", int, name="many", truth=2))
    assert_type(sides, list[int])
    await run.sleep(timedelta(milliseconds=1))
    await run.sleep(0.001)
    try:
        approved = await run.wait("approve", bool, prompt=loud, deadline=timedelta(hours=hours), truth=True)
        assert_type(approved, bool)
    except TimeoutError:
        approved = False
    assert_type(run.random.random(), float)
    return [kind.value, mood, first, *firsts, str(sum([many, word, *lengths, *sides])), str(approved)]


class FirstParams(Params):
    """Parameters of `First`."""

    votes: int = 2


class First(Voter):
    """Decides for whoever has so many votes first."""

    name = "first"
    Params = FirstParams

    def __init__(self, params: FirstParams) -> None:
        self.votes = params.votes

    @property
    def least(self) -> int:
        """The votes that it takes."""
        return self.votes

    def decide(self, ballots: Ballots) -> Verdict:
        """Return the leader once it has its votes."""
        standing = ballots.standing()
        if standing is None or standing.votes < self.votes:
            return More(self.votes - (standing.votes if standing else 0))
        return Decision(standing.leader, standing.votes - standing.rival)


first = by_keywords(First, FirstParams)


class Label(BaseModel):
    """What a row is."""

    label: Literal["good", "bad"]


def plausible(row: Mapping[str, str], answer: dict[str, str]) -> str | None:
    """Say why an answer cannot be."""
    return None if row["text"] else f"nothing is {answer['label']}"


def truth(prompt: str) -> Truth:
    """Say what is right, for the simulated model."""
    return Truth(['{"label": "good"}'], ['{"label": "bad"}'])


def kinds(prompt: str) -> Truth:
    """Say which kind is right."""
    return Truth(["bug"], ["billing"])


def letter(prompt: str) -> Truth:
    """Say which letter is right."""
    return Truth(["a"], ["b"])


def question(row: Mapping[str, str]) -> str:
    """Make a prompt of a row."""
    return f"Is {row['text']} good?"


STORE = "sqlite:///typing.db"
SURE = maker.simulated(p=0.95)


def scripts(rows: str) -> None:
    """Run each kind of task."""
    report = maker.run(ticket("the printer", copies=2), model=SURE, k=3, store=STORE, name="printer")
    assert_type(report, maker.RunReport)
    summary = ticket.result_of(report)
    assert_type(summary, Summary)
    print(summary.facts.kind, summary.words)
    maker.run(ticket(text="the printer"), ["vote.k=4"], model=SURE, store=STORE)
    print(order.result_of(maker.run(order("a bc", hours=0), model=SURE, k=3, store=STORE)))
    resting = maker.run(order("a bc"), model=SURE, k=3, store=STORE)
    (wait,) = maker.waits(resting.run_id, store=STORE)
    assert_type(wait, maker.OpenWait)
    maker.answer(resting.run_id, wait.name, True, by="ann", store=STORE)
    print(order.result_of(maker.resume(resting.run_id, store=STORE))[-1])
    maker.run(hanoi(disks=3, form="tree"), model=SURE, k={"move": 3}, store=STORE, limits=maker.Limits(max_calls=999))
    maker.run(Hanoi(HanoiParams(disks=3)), model=SURE, voter=bayes(error=0.02), store=STORE)
    maker.run(hanoi(disks=3), model=SURE, voter=first(votes=3), store=STORE, durability="strict", samples="all")
    maker.run(hanoi(disks=3), model=SURE, voter=First, store=STORE)
    small, large = maker.simulated(p=0.9), maker.simulated(p=0.97)
    both = maker.pool({"small": small, "large": large}, rotation=["small", "small", "large"])
    maker.run(hanoi(disks=3), model=both, k=3, store=STORE, roles={"judge": maker.Role(rotation=("large",), k=2)})
    labels = map_rows(input=rows, template="Is {{text}} good?\n", schema=Label, check=plausible, truth=truth)
    print(maker.run(labels, model=SURE, k=3, store=STORE).result)
    found = maker.map(rows, question, Label, model=SURE, k=3, truth=truth, name="rows", store=STORE)
    assert_type(found, maker.MapResult)
    assert_type(found.cost, float | None)
    assert_type(found.report, maker.RunReport)
    print([row["label"] for row in found], len(found.review))
    maker.map([{"text": "a"}], "Is {{text}} good?", Literal["a", "b"], model=SURE, truth=letter, store=STORE)
    maker.run({"task": {"decomposer": Hanoi, "disks": 3}, "model": SURE, "vote": {"voter": First}}, store=STORE)
    job = maker.load_job(hanoi(disks=3), model=SURE, target=0.9, k="auto", store=STORE)
    maker.calibrate(hanoi(disks=3), model=SURE, store=STORE, steps=7, votes=20)
    print(maker.plan(job).tokens)


async def service() -> None:
    """Run tasks in an event loop."""
    report = await maker.arun(ticket("the printer"), model=SURE, k=3, store=STORE)
    assert_type(ticket.result_of(report), Summary)
    found = await maker.amap([{"text": "a"}], "{{text}}", Kind, model=SURE, truth=kinds, store=STORE, progress=False)
    assert_type(found.run_id, str)
    async with maker.Service(store=STORE) as running:
        run = await running.start(ticket("the printer"), model=SURE, k=3, monitor=maker.Monitor(policy="off"))
        print((await run.result()).status)


if TYPE_CHECKING:

    def models() -> None:
        """Name models that are not here."""
        maker.run(hanoi(disks=3), model=maker.vllm("models/qwen", chat=True, max_model_len=8192), k=3)
        maker.run(hanoi(disks=3), model=maker.openai(url="http://127.0.0.1:8000/v1", name="qwen"), k="auto")

    async def mistaken_calls(run: maker.Run) -> None:
        """Make mistakes within a workflow that a type checker finds."""
        await run.ask("How many?", int, kk=3, truth=3)  # type: ignore[call-overload]
        await run.effect(charge, "ann", 3, retry="always")  # type: ignore[call-overload]
        await run.child(length, 3)  # type: ignore[arg-type]
        await run.wait("approve", bool, deadline=48)  # type: ignore[call-overload]
        await run.sleep("soon")  # type: ignore[arg-type]
        await run.map(length, [1, 2])  # type: ignore[arg-type]

    async def mistakes(running: maker.Service) -> None:
        """Make mistakes that a type checker finds."""
        ticket("the printer", copies="two")  # type: ignore[arg-type]
        ticket("the printer", 1, 2)  # type: ignore[call-arg]
        ticket()  # type: ignore[call-arg]
        order("a bc", hours="two")  # type: ignore[arg-type]
        length("a", "words")  # type: ignore[arg-type]
        hanoi(disk=3)  # type: ignore[call-arg]
        hanoi(disks=3, form="list")  # type: ignore[arg-type]
        first(votes="two")  # type: ignore[arg-type]
        map_rows(input="rows.csv", template="{{text}}\n", check=truth)  # type: ignore[arg-type]
        maker.simulated(q=0.9)  # type: ignore[call-arg]
        maker.run(hanoi(disks=3), model=SURE, kk=3)  # type: ignore[call-arg]
        maker.run(hanoi(disks=3), model=SURE, k="three")  # type: ignore[arg-type]
        maker.run(hanoi(disks=3), model="simulated")  # type: ignore[arg-type]
        maker.run(3)  # type: ignore[arg-type]
        maker.map(3, "{{text}}", bool, model=SURE)  # type: ignore[arg-type]
        maker.map([{"text": "a"}], 3, bool, model=SURE)  # type: ignore[arg-type]
        maker.map([{"text": "a"}], "{{text}}", bool, model=SURE, kk=3)  # type: ignore[call-arg]
        maker.rnu(hanoi(disks=3))  # type: ignore[attr-defined]
        await running.start(hanoi(disks=3), store="sqlite:///other.db")  # type: ignore[call-arg]


if __name__ == "__main__":
    scripts(sys.argv[1])
    asyncio.run(service())
