"""Inputs of a thousand files and odd values: what goes in must come out again, to the last character."""

from __future__ import annotations

import csv
import json
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from benchmarks.shared.comparing import Goal, number, table
from benchmarks.shared.maps.jobs import simulated, write_job
from benchmarks.shared.tasks.parity import EASY
from benchmarks.shared.watching import watch

ROWS = 10
"""Of each input file."""
LONG = 1 << 20
LONG_ROW = 121
"""The row whose text, the one of braces, is repeated to a megabyte."""
TEXTS = (
    "plain",
    "{{number}} {x} }} {{ {{{number}}}",
    'he said "no", and \'yes\', and """',
    "one line\nanother\r\nand a third\rof sorts",
    "😀 👩‍👩‍👧 é e\u0301 \u202e \ufeff",
    "a NUL \0 and \x1b[31m a bell \x07",
    "a line\u2028that JavaScript ends\u2029twice\x85",
    "back\\slash \\n \\u0041 \t tab , ; |",
    "  blanks around  ",
    "",
)
VALUES = (None, True, 12345678901234567890, -1.5e-9, ["a", {"b": [1, 2.5, None]}], {"deep": {"er": "😀"}}, "07", "")


def odd(options: Namespace, folder: Path) -> list[Goal]:
    """Map JSON lines and CSV of odd rows; returns how many came out otherwise than they went in."""
    lines, goals = [], []
    for ending, write in (("jsonl", _write_json), ("csv", _write_csv)):
        home = folder / ending
        expected = list(_make(home, ending, options.files, write))
        write_job(home, simulated(1.0), template=f"{EASY} {{{{text}}}}", source=f"parts/*.{ending}")
        seen = watch("run", "job.toml", folder=home)
        found = list(_written(home))
        # As JSON, where true is not 1.
        unlike = sum(json.dumps(one) != json.dumps(other) for one, other in zip(expected, found, strict=False))
        unlike += abs(len(expected) - len(found))
        lines.append(
            (ending, f"{options.files:,}", f"{len(expected):,}", number(seen.report["wall_s"]), number(seen.peak_mb))
        )
        goals.append(Goal(f"odd: rows of {ending} that came out otherwise", 0, unlike, least=False))
    table("odd values", ("", "files", "rows", "seconds", "peak MB"), lines)
    return goals


def _make(
    home: Path, ending: str, files: int, write: Callable[[TextIO, Sequence[dict[str, Any]]], None]
) -> Iterator[Any]:
    """Write the input; yields what each row must come out as."""
    (home / "parts").mkdir(parents=True)
    for part in range(files):
        rows = [_row(number, ending) for number in range(part * ROWS, (part + 1) * ROWS)]
        with (home / "parts" / f"{part:05}.{ending}").open("w", newline="", encoding="utf-8") as file:
            write(file, rows)
        yield from (row | {"parity": "odd" if int(row["number"]) % 2 else "even"} for row in rows)


def _written(home: Path) -> Iterator[Any]:
    for path in sorted((home / "out").glob("rows-*")):
        with path.open(newline="\n", encoding="utf-8") as file:
            yield from map(json.loads, file)


def _row(number: int, ending: str) -> dict[str, Any]:
    text = TEXTS[number % len(TEXTS)]
    row = {"number": number, "text": text * (LONG // len(text)) if number == LONG_ROW else text}
    if ending == "csv":
        return {name: str(value) for name, value in row.items()}
    return row | {"value": VALUES[number % len(VALUES)]}


def _write_json(file: TextIO, rows: Sequence[dict[str, Any]]) -> None:
    file.writelines(json.dumps(row, ensure_ascii=row["number"] % 3 == 0) + "\n" for row in rows)


def _write_csv(file: TextIO, rows: Sequence[dict[str, Any]]) -> None:
    # All quoted: a reader takes an unquoted carriage return for the end of a row.
    table_ = csv.DictWriter(file, list(rows[0]), quoting=csv.QUOTE_ALL, escapechar=None)
    table_.writeheader()
    table_.writerows(rows)
