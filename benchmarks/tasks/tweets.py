"""What voting does for a small general model: tweets sorted by tone, against labels that the job does not see.

    python -m benchmarks.tasks.tweets FOLDER [--only k3 greedy ...]

FOLDER holds ``rows.csv``, ``labels.csv`` and ``model``, as examples/tweet_sentiment/README.md makes them. Its job is
run by each variant, or not again where FOLDER holds that run; the audit's sample of each is labelled from the labels.
Prints a section for RESULTS.md.

All variants draw from the same seeds, so the first votes of a row are (nearly) the same in all of them. Intervals are
Wilson's, of 95 %.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, comb, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.shared.checkout import EXAMPLES, TASKS, environment
from benchmarks.shared.options import make_parser, read_options
from benchmarks.shared.tasks.tones import write_tweets
from benchmarks.shared.watching import DONE

JOB = EXAMPLES / "tweet_sentiment" / "job.toml"
MADE_UP = [f"task.truth={TASKS / 'tones.py'}:truth", "task.max_tokens=40", "model.kind=simulated", "model.p=0.8"]
"""Settings of a smoke run, which has neither tweets nor a model."""
MAKER = [sys.executable, "-m", "maker"]
VARIANTS: Mapping[str, Sequence[str]] = {
    "greedy": ("model.temperature=0", "vote.k=1"),
    "k1": ("vote.k=1",),
    "k2": ("vote.k=2",),
    "k3": ("vote.k=3",),
    "k4": ("vote.k=4",),
    "k3-free": ("vote.k=3", "model.structured=off"),
}
YARDSTICK = "greedy"
STRATA = ("unanimous", "clear", "narrow")
Z = 1.959964


@dataclass(frozen=True)
class Measured:
    """One variant: the run's report, its rows by id, and what the audit said (None without decided rows)."""

    name: str
    report: Mapping[str, Any]
    rows: Mapping[str, Mapping[str, Any]]
    audit: Mapping[str, Any]
    cpu_s: float

    @property
    def decided(self) -> dict[str, str]:
        """Row id → answer, of the decided rows."""
        return {name: row["answer"]["sentiment"] for name, row in self.rows.items() if row["outcome"] == "decided"}


def main() -> int:
    """Run what is missing, and print the section."""
    parser = make_parser(__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="what examples/tweet_sentiment/README.md makes")
    parser.add_argument("--only", nargs="*", choices=[*VARIANTS], default=[*VARIANTS])
    options = read_options(parser, only=["k3"])
    if options.smoke:
        with TemporaryDirectory() as name:
            write_tweets(Path(name), 20)
            return compared(options, Path(name), MADE_UP)
    if options.folder is None:
        parser.error("say in which folder the tweets and the model are")
    folder: Path = options.folder.resolve()
    return compared(options, folder, [f"model.path={folder / 'model'}"])


def compared(options: argparse.Namespace, folder: Path, words: Sequence[str]) -> int:
    """Run what is missing in a folder, with such settings besides; print the section."""
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        truth = {line["id"]: line["label"] for line in csv.DictReader(file)}
    found = [measured(name, folder, truth, words) for name in options.only]
    print("\n".join(section(found, truth)))
    return 0


def measured(name: str, folder: Path, truth: Mapping[str, str], besides: Sequence[str]) -> Measured:
    """Run a variant, or take the run that is there; label its audit's sample and read it back."""
    database = folder / f"{name}.db"
    store = ["--store", f"sqlite:///{database}"]
    spent = folder / f"{name}.cpu"
    if not database.exists():
        words = [f"task.input={folder / 'rows.csv'}", f"task.output={folder / f'out-{name}'}"]
        words += [*besides, "swarm.kind=local", *VARIANTS[name]]
        before = processor_s()
        done = subprocess.run([*MAKER, "run", str(JOB), *words, *store], env=environment(), check=False)
        if done.returncode not in DONE:
            raise SystemExit(f"the run of {name} ended with exit code {done.returncode}")
        spent.write_text(str(processor_s() - before))
    report = json.loads(told("show", "last", "--json", *store))
    if report["status"] != "done":
        sys.exit(f"{name} is {report['status']}: {report['reason']}")
    rows = {row["id"]: row for row in map(json.loads, told("results", "last", "--json", *store).splitlines())}
    return Measured(name, report, rows, audited(folder / f"{name}-audit.csv", store, truth), float(spent.read_text()))


def audited(file: Path, store: Sequence[str], truth: Mapping[str, str]) -> Mapping[str, Any]:
    """Draw a sample of 300 for labelling, fill it in from the labels, and return what `maker audit` makes of it."""
    told("audit", "last", "--out", str(file), "--force", *store)
    with file.open(encoding="utf-8-sig", newline="") as drawn:
        lines = list(csv.DictReader(drawn))
    for line in lines:
        right = json.loads(line["answer"])["sentiment"] == truth[json.loads(line["id"])]
        line["correct"] = "y" if right else "n"
    with file.open("w", encoding="utf-8", newline="") as filled:
        writer = csv.DictWriter(filled, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    found: Mapping[str, Any] = json.loads(told("audit", "last", "--labels", str(file), "--json", *store))
    return found


def told(*words: str) -> str:
    """Return what a maker command prints."""
    return subprocess.run([*MAKER, *words], env=environment(), stdout=subprocess.PIPE, check=True).stdout.decode()


def processor_s() -> float:
    """Return the processor time of the commands so far, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def section(found: Sequence[Measured], truth: Mapping[str, str]) -> list[str]:
    """Return a section for RESULTS.md."""
    commonest, count = Counter(truth.values()).most_common(1)[0]
    others = interval(len(truth) - count, len(truth))
    head = f"{len(truth):,} rows; the answer `{commonest}` to all of them would be wrong in {others}."
    rows = [("", *(one.name for one in found)), ("---",) * (len(found) + 1)]
    rows += [(name, *(tell(one) for one in found)) for name, tell in facts(truth).items()]
    for stratum in STRATA:
        rows.append((f"wrong, {stratum} rows", *(in_stratum(one, stratum, truth) for one in found)))
    base = next((one for one in found if one.name == YARDSTICK), None)
    if base is not None:
        names = [[name for name in one.decided if name in base.decided] for one in found]
        same = (interval(wrong(base, both, truth), len(both)) for both in names)
        rows.append((f"{YARDSTICK} wrong on the same rows", *same))
        rows.append(
            (f"right where {YARDSTICK} is wrong, and the reverse", *(paired(one, base, truth) for one in found))
        )
    return [head, "", *(f"| {' | '.join(row)} |" for row in rows), ""]


def facts(truth: Mapping[str, str]) -> dict[str, Any]:
    """Return the lines of the table that need one variant alone: name → what makes the cell."""

    def outcomes(one: Measured) -> str:
        counts = Counter(row["outcome"] for row in one.rows.values())
        return " / ".join(f"{counts[name]:,}" for name in ("decided", "undecided", "rejected", "failed"))

    def flags(one: Measured) -> str:
        counts: Counter[str] = Counter()
        for row in one.rows.values():
            counts.update(row["flags"])
        return ", ".join(f"{n:,} {name}" for name, n in sorted(counts.items())) or "0"

    def unanimous(one: Measured) -> str:
        return share(sum(not disputed(one.rows[name]) for name in one.decided), len(one.decided))

    def audit(one: Measured) -> str:
        whole = one.audit["whole"]
        # A bound is rounded up.
        most = ceil(1000 * whole["at_most"]) / 10
        return f"{whole['labelled']} labels: {percent(whole['estimate'])}, at most {most:.1f} %"

    return {
        "rows decided / undecided / rejected / failed": outcomes,
        # Calls, not votes: those of rows without a decision are none of a run's votes.
        "calls, a row": lambda one: f"{one.report['calls']:,}, {one.report['calls'] / len(one.rows):.2f}",
        "red flags": flags,
        "unanimous rows": unanimous,
        "prompt and completion tokens": lambda one: (
            f"{one.report['prompt_tokens']:,} and {one.report['completion_tokens']:,}"
        ),
        "wall and processor time": lambda one: f"{one.report['wall_s']:.0f} s and {one.cpu_s:.0f} s",
        "answers `positive`": lambda one: share(list(one.decided.values()).count("positive"), len(one.decided)),
        "**wrong, decided rows**": lambda one: interval(wrong(one, one.decided, truth), len(one.decided)),
        "wrong or not decided, all rows": lambda one: interval(
            len(truth) - len(one.decided) + wrong(one, one.decided, truth), len(truth)
        ),
        "audit": audit,
    }


def disputed(row: Mapping[str, Any]) -> bool:
    """Say whether a valid vote went to another answer."""
    return len(row["votes"]) > 1


def wrong(one: Measured, names: Iterable[str], truth: Mapping[str, str]) -> int:
    """Count wrong answers."""
    answers = one.decided
    return sum(answers[name] != truth[name] for name in names)


def in_stratum(one: Measured, stratum: str, truth: Mapping[str, str]) -> str:
    """Return the share of wrong rows of one of the audit's strata, by all labels."""
    names = []
    for name in one.decided:
        row, votes = one.rows[name], sum(one.rows[name]["votes"].values())
        sure = "unanimous" if row["margin"] == votes else "clear" if 2 * row["margin"] >= votes else "narrow"
        names += [name] if sure == stratum else []
    return interval(wrong(one, names, truth), len(names)) if names else "–"


def paired(one: Measured, base: Measured, truth: Mapping[str, str]) -> str:
    """Compare two variants row by row where both decide; the chance of such a difference is McNemar's, exact."""
    if one is base:
        return "–"
    mine, theirs = one.decided, base.decided
    both = mine.keys() & theirs.keys()
    better = sum(mine[name] == truth[name] != theirs[name] for name in both)
    worse = sum(theirs[name] == truth[name] != mine[name] for name in both)
    return f"{better} and {worse} (p = {mcnemar(better, worse):.2g})"


def mcnemar(better: int, worse: int) -> float:
    """Return the two-sided exact chance of a split as uneven as this: 1 and 9 give 0.021."""
    n = better + worse
    return min(1.0, sum(comb(n, i) for i in range(min(better, worse) + 1)) / float(2 ** (n - 1)))


def interval(count: int, of: int) -> str:
    """Return a count as a share with Wilson's interval: 10 of 100 are 10.0 %, from 5.5 to 17.4."""
    p = count / of
    middle = (p + Z * Z / (2 * of)) / (1 + Z * Z / of)
    half = Z * sqrt(p * (1 - p) / of + Z * Z / (4 * of * of)) / (1 + Z * Z / of)
    return f"{count} of {of}: {100 * p:.1f} % ({100 * (middle - half):.1f}–{100 * (middle + half):.1f})"


def share(count: int, of: int) -> str:
    """Return a count and its share."""
    return f"{count:,} ({percent(count / of)})"


def percent(value: float) -> str:
    """Return a share as per cent."""
    return f"{100 * value:.1f} %"


if __name__ == "__main__":
    sys.exit(main())
