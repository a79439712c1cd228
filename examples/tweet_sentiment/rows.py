"""Writes the rows of the job and, apart from them, their labels, from the tweets that a Python package ships.

    pip download --no-deps --no-binary :all: vaderSentiment==3.3.2
    python rows.py vaderSentiment-3.3.2.tar.gz .

Of 4,200 tweets whose tone about twenty people rated from -4 to 4 those are taken that have one: a mean of at least 0.5
either way. Three files come of them, drawn at random and disjoint: ``rows.csv`` (id and text), ``labels.csv`` (id and
label, which the job does not see) and ``development.csv`` (text and label), by which the prompt was chosen.

The package is under the MIT licence; its authors ask to be cited: C.J. Hutto and E.E. Gilbert, VADER: A Parsimonious
Rule-based Model for Sentiment Analysis of Social Media Text, ICWSM 2014.
"""

from __future__ import annotations

import argparse
import csv
import html
import io
import random
import sys
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

INNER = "additional_resources/hutto_ICWSM_2014.tar.gz"
TWEETS = "hutto_ICWSM_2014/tweets_GroundTruth.txt"
LEAST_RATING = 0.5


class Tweet(NamedTuple):
    """A tweet with its label, ``positive`` or ``negative``."""

    id: str
    text: str
    label: str


def main() -> int:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=600, help="of the job (%(default)s)")
    parser.add_argument("--development", type=int, default=200, help="for choosing the prompt (%(default)s)")
    options = parser.parse_args()
    drawn = tweets(options.package)
    random.Random(0).shuffle(drawn)
    development, rows = drawn[: options.development], drawn[options.development :][: options.rows]
    write(options.out / "rows.csv", ("id", "text"), ((one.id, one.text) for one in rows))
    write(options.out / "labels.csv", ("id", "label"), ((one.id, one.label) for one in rows))
    write(options.out / "development.csv", ("text", "label"), ((one.text, one.label) for one in development))
    positive = sum(one.label == "positive" for one in rows)
    print(f"{len(rows):,} rows of {len(drawn):,}, {positive:,} of them positive; {len(development):,} for development")
    return 0


def tweets(package: Path) -> list[Tweet]:
    """Read the tweets that have a tone, in the order of the package."""
    with tarfile.open(package) as outer:
        inner = next(member for member in outer if member.name.endswith(INNER))
        packed = outer.extractfile(inner)
        assert packed is not None
        with tarfile.open(fileobj=io.BytesIO(packed.read())) as archive:
            file = archive.extractfile(TWEETS)
            assert file is not None
            lines = file.read().decode("utf-8").splitlines()
    found = []
    for line in lines:
        name, mean, text = line.split("\t")
        if abs(float(mean)) >= LEAST_RATING:
            label = "positive" if float(mean) > 0 else "negative"
            found.append(Tweet(name, html.unescape(text).strip(), label))
    return found


def write(file: Path, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Write a CSV file."""
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(columns)
        writer.writerows(lines)


if __name__ == "__main__":
    sys.exit(main())
