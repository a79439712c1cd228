"""What benchmarks print with: a table, a goal beside what was measured, the speed of the disk."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

FLUSHES = 100


class Goal(NamedTuple):
    """A goal beside what was measured, in ``unit``; ``least`` false is a ceiling.

    Without a ``goal`` the figure stands for itself; without ``measured`` it is not known, and ``why`` says why.
    """

    what: str
    goal: float | None
    measured: float | None
    unit: str = ""
    least: bool = True
    why: str = ""

    def verdict(self) -> str:
        """Say whether the goal is reached, or by how much it is missed."""
        if self.goal is None:
            return ""
        if self.measured is None:
            return f"not measured: {self.why}" if self.why else "not measured"
        if self.measured >= self.goal if self.least else self.measured <= self.goal:
            return "reached"
        return f"missed by {abs(self.measured - self.goal) / self.goal:.0%}" if self.goal else "missed"

    def row(self) -> tuple[str, ...]:
        """Return the cells of its line."""
        sign = ">=" if self.least else "<="
        goal = "" if self.goal is None else f"{sign} {number(self.goal, self.unit)}"
        return self.what, goal, number(self.measured, self.unit), self.verdict()


def number(value: float | None, unit: str = "") -> str:
    """Return a number with three digits or more, "-" where there is none."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}{unit}"


def median(values: Sequence[float | None]) -> float | None:
    """Return the median of what was measured, None where nothing was."""
    found = [value for value in values if value is not None]
    return statistics.median(found) if found else None


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    print(f"\n{title}")
    for row in (heads, *rows):
        cells = [cell.ljust(w) if i == 0 or not _numeric(i, rows) else cell.rjust(w)
                 for i, (cell, w) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
        print(f"  {'  '.join(cells)}".rstrip())


def print_goals(goals: Sequence[Goal], options: Namespace, *, title: str = "goals") -> int:
    """Print each goal beside what was measured; returns the exit code, 1 where one is missed.

    Of a smoke run (``options.smoke``) the figures are printed alone: nothing so small can be judged.
    """
    held = judged(goals, options)
    table(title, ("", "goal", "measured", ""), [goal.row() for goal in held])
    return int(any(goal.verdict().startswith("missed") for goal in held))


def judged(goals: Sequence[Goal], options: Namespace) -> list[Goal]:
    """Return the goals as they are held against what was measured: figures without a goal in a smoke run."""
    return [goal._replace(goal=None) if options.smoke else goal for goal in goals]


def _numeric(column: int, rows: Sequence[Sequence[str]]) -> bool:
    return all(row[column][:1] in "0123456789-<>" for row in rows)


def flush_s(folder: Path | None) -> float:
    """Return the median seconds that writing and flushing a page takes where the databases are."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(FLUSHES):
            began = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times)
