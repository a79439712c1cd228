"""Made-up tweets whose tone is known, for a smoke run of the benchmark that needs a folder of real ones."""

from __future__ import annotations

import csv
from pathlib import Path

from maker.plugin import Truth

ANSWERS = {tone: f'{{"sentiment": "{tone}"}}' for tone in ("positive", "negative")}


def write_tweets(folder: Path, count: int) -> None:
    """Write ``rows.csv`` and ``labels.csv``; every other tweet is a good one."""
    tones = ["positive" if number % 2 else "negative" for number in range(count)]
    rows = [(str(number), f"A {tone} day, number {number}") for number, tone in enumerate(tones)]
    labels = [(str(number), tone) for number, tone in enumerate(tones)]
    for name, heads, lines in (("rows", ("id", "text"), rows), ("labels", ("id", "label"), labels)):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([heads, *lines])


def truth(prompt: str) -> Truth:
    """Return the right and the wrong reply to a tweet of `write_tweets`, which stands at the prompt's end."""
    right = "positive" if "positive" in prompt.rpartition("Tweet: ")[2] else "negative"
    return Truth((ANSWERS[right],), tuple(answer for tone, answer in ANSWERS.items() if tone != right))
