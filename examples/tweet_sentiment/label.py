"""Fills the column ``correct`` of an audit's file in, from labels that the job did not see.

    python label.py audit.csv labels.csv

It stands in for the people who would look at the rows.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path


def main(audit: Path, labels: Path) -> None:
    """Write y or n into every line of the audit's file."""
    with labels.open(encoding="utf-8", newline="") as file:
        truth = {line["id"]: line["label"] for line in csv.DictReader(file)}
    # The file begins with a byte order mark, for spreadsheets; ids and answers are JSON texts.
    with audit.open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        right = json.loads(line["answer"])["sentiment"] == truth[json.loads(line["id"])]
        line["correct"] = "y" if right else "n"
    with audit.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
