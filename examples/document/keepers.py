"""A long text with facts in it, and what a simulated model knows of them.

    python keepers.py --characters 10000000 --facts 40 --seed 7 --out keepers.txt

Some sentences say who keeps the key of a box, others where that person lives; between the two there may be most of the
text. All else is chatter.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from maker.plugin import Truth

CHATTER = """
a and boats by came child evening far for garden grey harbour had hill in its lamp late long market morning never of
old on out over rain river road said sea seen small some snow south stood street talk that the their then there they
time to town under very was water way went were when where wind winter with year
"""
COLOURS = ("amber", "black", "blue", "brown", "green", "grey", "orange", "pink", "red", "violet", "white", "yellow")
FIRST = ("Anna", "Bela", "Carl", "Dora", "Emil", "Frida", "Georg", "Hanna", "Ivan", "Jutta", "Karin", "Lars")
LAST = ("Berg", "Dahl", "Ek", "Falk", "Holm", "Lind", "Moen", "Nord", "Ris", "Strand", "Vik", "Wall")
TOWNS = ("Aarhus", "Bergen", "Gent", "Kiel", "Lund", "Malmo", "Narvik", "Oulu", "Riga", "Tartu", "Turku", "Visby")

KEEPS = re.compile(r"The key of the (\w+) box (\d+) is kept by (\w+ \w+)\.")
LIVES = re.compile(r"(\w+ \w+) lives in (\w+)\.")
WHERE = re.compile(r"Where does the keeper of the (\w+) box (\d+) live\?")
PERSON = re.compile(r"Where does (\w+ \w+) live\?")


class Fact(NamedTuple):
    """A box, who keeps its key, and where that person lives."""

    colour: str
    number: int
    keeper: str
    town: str

    @property
    def sentences(self) -> tuple[str, str]:
        """What the text says of it, in two places."""
        return (
            f"The key of the {self.colour} box {self.number} is kept by {self.keeper}.",
            f"{self.keeper} lives in {self.town}.",
        )


def facts(count: int, seed: int) -> list[Fact]:
    """Return so many facts, no box and no person twice."""
    rng = random.Random(f"{seed} facts")
    people = rng.sample([f"{first} {last}" for first in FIRST for last in LAST], count)
    return [Fact(rng.choice(COLOURS), number, keeper, rng.choice(TOWNS)) for number, keeper in enumerate(people, 1)]


def text(characters: int, count: int, seed: int) -> str:
    """Return the text: its facts in the order that the seed gives them, at least a tenth of it apart."""
    rng = random.Random(f"{seed} text")
    told: list[tuple[float, str]] = []
    for fact in facts(count, seed):
        one = rng.random()
        other = (one + rng.uniform(0.1, 0.9)) % 1
        told += zip((one, other), fact.sentences, strict=True)
    return "".join(_told(rng, characters, sorted(told)))


def truth(prompt: str) -> Truth:
    """Return what is right to reply to a prompt of the example's jobs, and a few wrong replies."""
    question, _, body = prompt.partition("\n")
    if "\nSlice " in prompt:
        return _of_slice(question, body)
    return _settled(question, body)


def _of_slice(question: str, body: str) -> Truth:
    if question.startswith("Question: How many"):
        count = len(KEEPS.findall(body))
        return Truth([json.dumps({"count": count})], [json.dumps({"count": count + 1})])
    if question.startswith("Question: Which boxes"):
        items = [{"box": int(number), "keeper": keeper} for _, number, keeper in KEEPS.findall(body)]
        return Truth([json.dumps({"items": items})], [json.dumps({"items": [*items, {"box": 0, "keeper": "Nobody"}]})])
    lines = [int(line) for line, said in re.findall(r"^\[(\d+)\] (.*)$", body, re.MULTILINE) if _bears(question, said)]
    wrong = [] if 1 in lines else [1]
    return Truth([json.dumps({"lines": lines})], [json.dumps({"lines": wrong})])


def _bears(question: str, said: str) -> bool:
    """Say whether a sentence helps to answer a question, for one who reads nothing else."""
    if box := WHERE.search(question):
        return any(found.groups()[:2] == box.groups() for found in KEEPS.finditer(said))
    person = PERSON.search(question)
    return person is not None and any(found[1] == person[1] for found in LIVES.finditer(said))


def _settled(question: str, body: str) -> Truth:
    keeper = next((found[3] for found in KEEPS.finditer(body) if f"box {found[2]} live" in question), "")
    town = next((found[2] for found in LIVES.finditer(body) if found[1] == keeper), "")
    wrong = [json.dumps({"answer": other}) for other in TOWNS if other != town][:3]
    if keeper and not town and "answer." not in body:
        return Truth([json.dumps({"ask": f"Where does {keeper} live?"})], wrong)
    return Truth([json.dumps({"answer": town or "unknown"})], wrong)


def _told(rng: random.Random, characters: int, told: list[tuple[float, str]]) -> Iterator[str]:
    words = CHATTER.split()
    written, waiting = 0, list(reversed(told))
    while written < characters or waiting:
        said = " ".join(rng.choices(words, k=rng.randint(4, 14))).capitalize() + "."
        if waiting and waiting[-1][0] * characters <= written:
            said = waiting.pop()[1]
        said += "\n" if rng.random() < 0.2 else " "
        written += len(said)
        yield said


def main() -> None:
    """Write the text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--characters", type=int, default=100_000)
    parser.add_argument("--facts", type=int, default=12)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("keepers.txt"))
    options = parser.parse_args()
    most = len(FIRST) * len(LAST)
    if not 1 <= options.facts <= most:
        parser.error(f"--facts {options.facts}: 1 to {most}, as there are {most} people")
    options.out.write_text(text(options.characters, options.facts, options.seed))


if __name__ == "__main__":
    main()
