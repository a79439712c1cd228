"""Makes the jobs and inputs of the benchmark of maps, and judges what became of their rows."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.shared.checkout import TASKS
from benchmarks.shared.tasks.parity import EASY, HARD_SHARE, SCHEMA, kind, right

K, CAP = 3, 9
P = 0.9
BROKEN_EVERY = 5000
"""The last of so many rows is no JSON: it fails, and the others go on."""
SIGMAS = 4.0
JOB = """\
[task]
decomposer = "{parity}:Parity"
input = "{input}"
template = "{template}"
schema = {schema}
output = "out"
[model]
{model}
[swarm]
kind = "local"
chains = {chains}
[vote]
k = {k}
max_votes = {cap}
"""


class Off(NamedTuple):
    """A count beside what is promised of it, and how many standard deviations lie between them."""

    counted: int
    promised: float
    sigmas: float


class Judged(NamedTuple):
    """What became of a map's rows, by what its files hold.

    ``lost`` counts rows that are in no file, ``twice`` those that are there again, ``astray`` those out of order.
    """

    outcomes: Counter[str]
    lost: int
    twice: int
    astray: int
    wrong: Off
    undecided: Off


def write_job(
    folder: Path, model: str, *, template: str = EASY, chains: int = 256, source: str = "parts/*.jsonl"
) -> None:
    """Write ``job.toml``."""
    shape = {"parity": TASKS / "parity.py", "input": source, "template": template, "schema": SCHEMA, "model": model}
    (folder / "job.toml").write_text(JOB.format(**shape, chains=chains, k=K, cap=CAP))


def write_rows(folder: Path, rows: int, *, files: int = 10, broken: bool = True) -> None:
    """Write JSON lines with a number and a note each, in so many files."""
    (folder / "parts").mkdir(parents=True)
    for part in range(files):
        numbers = range(part * rows // files, (part + 1) * rows // files)
        with (folder / "parts" / f"{part:04}.jsonl").open("w") as file:
            file.writelines("{no row\n" if broken and is_broken(number) else _line(number) for number in numbers)


def is_broken(number: int) -> bool:
    """Say whether a row of `write_rows` cannot be read."""
    return number % BROKEN_EVERY == BROKEN_EVERY - 1


def simulated(p: float = P, rest: str = "") -> str:
    """Return the model's table."""
    return f'kind = "simulated"\np = {p}\nrivals = 1\n{rest}'


def files(folder: Path) -> dict[str, bytes]:
    """Return the output's files by name, but the one that names the run."""
    return {file.name: file.read_bytes() for file in sorted((folder / "out").glob("*.jsonl"))}


def judge(found: dict[str, bytes], rows: int) -> Judged:
    """Read the output of a map over `write_rows`, and hold it against the input and the theory."""
    written = [[one["number"] for one in _objects(found[name])] for name in sorted(found) if name.startswith("rows-")]
    decided = [number for numbers in written for number in numbers]
    answers = [one["parity"] for name in sorted(found) if name.startswith("rows-") for one in _objects(found[name])]
    review = list(_objects(found["review.jsonl"]))
    kept = [one["row"] for one in review]
    times = Counter([*decided, *kept])
    return Judged(
        outcomes=Counter({"decided": len(decided)} | Counter(one["outcome"] for one in review)),
        lost=rows - sum(number in times for number in range(rows)),
        twice=sum(n - 1 for n in times.values()) + sum(not 0 <= number < rows for number in times),
        astray=_astray(decided) + _astray(kept),
        wrong=_wrong(decided, answers),
        undecided=_undecided(rows, sum(one["outcome"] == "undecided" for one in review)),
    )


def _wrong(decided: Sequence[int], answers: Sequence[str]) -> Off:
    """Compare the wrong answers with 1 / (1 + r^k) of each kind's decided rows, whatever the cap (gambler's ruin)."""
    wrong = sum(answer != right(number) for number, answer in zip(decided, answers, strict=True))
    shares = [(n, 1 / (1 + (p / (1 - p)) ** K)) for n, p in _by_kind(decided)]
    return _off(wrong, shares)


def _undecided(rows: int, undecided: int) -> Off:
    """Compare the undecided rows with the walks that are at neither margin after the last vote."""
    asked = (number for number in range(rows) if not is_broken(number))
    return _off(undecided, [(n, _open_share(p)) for n, p in _by_kind(asked)])


def _by_kind(numbers: Iterable[int]) -> Iterator[tuple[int, float]]:
    counts = Counter(map(kind, numbers))
    yield counts["easy"], P
    yield counts["hard"], P * HARD_SHARE


def _off(count: int, shares: Sequence[tuple[int, float]]) -> Off:
    promised = sum(n * share for n, share in shares)
    sigma = math.sqrt(sum(n * share * (1 - share) for n, share in shares))
    return Off(count, promised, abs(count - promised) / sigma if sigma else float(count != promised))


def _open_share(p: float) -> float:
    """Return how probable it is that after ``CAP`` votes neither side has ever led by ``K``."""
    at = {0: 1.0}
    for _ in range(CAP):
        after: Counter[int] = Counter()
        for lead, share in at.items():
            after[lead + 1] += share * p  # type: ignore[assignment]
            after[lead - 1] += share * (1 - p)  # type: ignore[assignment]
        at = {lead: share for lead, share in after.items() if abs(lead) < K}
    return sum(at.values())


def _astray(numbers: Sequence[int]) -> int:
    return sum(one >= other for one, other in pairwise(numbers))


def _objects(content: bytes) -> Iterator[dict[str, Any]]:
    return map(json.loads, content.splitlines())


def _line(number: int) -> str:
    return json.dumps({"number": number, "note": f"what is said of row {number}"}) + "\n"
