"""Whether accepted rows of a map with two stages keep their stated error, and what the second stage saves.

    python -m benchmarks.stats.stages [--runs 200] [--labels 300] [--seed 20261201] [--engine 10] [--workers 2]

A table has 2,000 rows; 300 are labelled, drawn at random. A cheap model votes to a lead of 4 and a strong one to a lead
of 2; there are four wrong answers. `maker.stats.cascade` chooses by a quarter of the labels what the cheap model
keeps; `maker.stats.acceptance` tests the answers of both by the others. Of the strong model alone rows are accepted by
all labels.

- above: runs in which more of the accepted rows are wrong than stated. 5 % is what is promised; up to 8 % the goal
  allows for the chance of 200 runs.
- accepted, alone: the mean of the rows that are accepted of both stages, and of the strong model alone.
- kept: the share of rows that the cheap model keeps. saved: the part of the cost of the strong model alone that is not
  spent, if a vote of it costs `PRICE` of the cheap one's. saved a row: likewise by accepted row.

The last line is of whole runs by the engine, labelled by the truth.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from argparse import Namespace
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from benchmarks.shared.comparing import Goal, print_goals, table
from benchmarks.shared.error_processes import Law, Mask, Process, Reals, Rows, alike
from benchmarks.shared.options import make_parser, read_options
from benchmarks.shared.races import Ended, hold
from benchmarks.shared.tasks import colours
from maker.api.stages import run_stages, stage_results
from maker.reporting.counts import doubt
from maker.stats.acceptance import Score, choose, order_of
from maker.stats.bounds import Labelled
from maker.stats.cascade import composite, hand_off, start_of, tuning_rows

ROWS = 2000
CHEAP_K, STRONG_K, RIVALS = 4, 2, 4
CONFIDENCE = 0.95
ERRORS = (0.02, 0.05, 0.1)
COPIES = 5
"""Near-duplicates come in groups of so many, with the same votes."""
PRICE = 20.0
MOST, SAVED = 0.08, 0.5
JUDGED = "85 %"
"""The process, at an error of `JUDGED_ERROR`, that the goal of what is saved is about."""
JUDGED_ERROR = 0.05
ENGINE_ERROR = 0.06


class Pair(NamedTuple):
    """Two models on one table.

    ``hard`` of the rows have p ``cheap_hard`` and ``strong_hard``, the others ``cheap`` and ``strong``. Both are surely
    wrong on ``shared`` of the rows; a part of the rows, ``copies``, comes in copies; on ``opposed`` of them the strong
    model alone is surely wrong.
    """

    about: str
    cheap: float = 0.97
    cheap_hard: float = 0.45
    strong: float = 0.995
    strong_hard: float = 0.95
    hard: float = 0.23
    shared: float = 0.0
    copies: float = 0.0
    opposed: float = 0.0


PAIRS = {
    "85 %": Pair("the cheap model is right in 85 % of its votes: 23 % of the rows have p = .45, others .97"),
    "shared": Pair("as 85 %, and both models are surely wrong on 2 % of the rows", shared=0.02),
    "copies": Pair("as shared, and half of the rows are copies, five of each", shared=0.02, copies=0.5),
    "opposed": Pair("the strong model is surely wrong on 4 % of the rows, where the cheap one is right", opposed=0.04),
    "alike": Pair("the strong model is no better", strong=0.97, strong_hard=0.45),
    "edge": Pair("p = 1, and both are surely wrong on just more rows than may be", 1.0, 1.0, 1.0, 1.0, shared=-1.0),
}


class Outcome(NamedTuple):
    """What became of one table; costs are in votes of the cheap model."""

    above: bool
    accepted: int
    alone: int
    kept: float
    cost: float
    cost_alone: float


class Held(NamedTuple):
    """The votes of both models, row by row."""

    cheap: Ended
    strong: Ended


def chances(pair: Pair, error: float, rng: Generator) -> tuple[Reals, Reals]:
    """Return p of each row for the cheap model and for the strong one."""
    hard = rng.random(ROWS) < pair.hard
    cheap = np.where(hard, pair.cheap_hard, pair.cheap)
    strong = np.where(hard, pair.strong_hard, pair.strong)
    shared = (int(ROWS * error) + 1) / ROWS if pair.shared < 0 else pair.shared
    wrong = rng.permutation(ROWS)
    both, alone = wrong[: round(shared * ROWS)], wrong[ROWS - round(pair.opposed * ROWS) :]
    cheap[both] = strong[both] = 0.0
    strong[alone] = 0.02
    return cheap, strong


def voted(p: Reals, k: int, copies: float, rng: Generator) -> Ended:
    """Hold a model's elections."""
    law: Law = alike(0.5)
    process = Process("table", "", (law,), rows=ROWS, rivals=RIVALS)
    rows = Rows(p, np.zeros(ROWS), np.zeros(ROWS, int), np.zeros(ROWS, bool))
    ended = hold(process, rng, rows, np.full(ROWS, k), np.zeros(20 * ROWS), most=None)
    source = np.arange(ROWS)
    copied = int(copies * ROWS) // COPIES * COPIES
    source[:copied] -= source[:copied] % COPIES
    return ended._replace(winner=ended.winner[source], rival=ended.rival[source], right=ended.right[source])


def scores_of(ended: Ended) -> list[Score]:
    """Return how unsure each row is."""
    return [(doubt(int(a), int(b)),) for a, b in zip(ended.winner, ended.rival, strict=True)]


def kept_rows(held: Held, tuning: list[int], error: float) -> Mask:
    """Return which rows the cheap model keeps."""
    scores = scores_of(held.cheap)
    order = order_of(Counter(scores), [(scores[row], bool(held.cheap.right[row])) for row in tuning])
    rule = hand_off(order, error)
    return np.array([rule is not None and order.rank[one] <= rule for one in scores])


def accepted_rows(scores: list[Score], right: Mask, test: list[int], among: list[int], error: float) -> Mask:
    """Return which of some rows are accepted by test labels, with all rows that these call right."""
    sample = [(scores[row], bool(right[row])) for row in test]
    order = order_of(Counter(scores[row] for row in among), sample)
    last = choose(order.rules, [Labelled(len(among), len(test), 0)], error, CONFIDENCE).last
    found = np.zeros(ROWS, bool)
    if last is not None:
        found[[row for row in among if order.rank[scores[row]] <= last]] = True
    found[test] = right[test]
    return found


def outcome(pair: Pair, error: float, labels: int, rng: Generator) -> Outcome:
    """Draw a table and labels, go through both stages, and compare what is accepted with the truth."""
    cheap, strong = chances(pair, error, rng)
    held = Held(voted(cheap, CHEAP_K, pair.copies, rng), voted(strong, STRONG_K, pair.copies, rng))
    labelled = sorted(rng.choice(ROWS, labels, replace=False).tolist())
    tuning = tuning_rows(labelled)
    test, among = sorted(set(labelled) - set(tuning)), sorted(set(range(ROWS)) - set(tuning))
    kept = kept_rows(held, tuning, error)
    later = scores_of(held.strong)
    scores = later
    if kept.any():
        left = Counter(later[row] for row in range(ROWS) if not kept[row])
        start = start_of(left) if left else ()
        scores = [composite(start, None if kept[row] else later[row]) for row in range(ROWS)]
    right = np.where(kept, held.cheap.right, held.strong.right)
    accepted = accepted_rows(scores, right, test, among, error)
    accepted[tuning] = right[tuning]
    alone = accepted_rows(later, held.strong.right, labelled, list(range(ROWS)), error)
    cheap_votes, votes = held.cheap.winner + held.cheap.rival, held.strong.winner + held.strong.rival
    return Outcome(
        _above(accepted, right, error), int(accepted.sum()), int(alone.sum()), float(kept.mean()),
        float(cheap_votes.sum() + PRICE * votes[~kept].sum()), float(PRICE * votes.sum()),
    )  # fmt: skip


def _above(rows: Mask, right: Mask, error: float) -> bool:
    return bool((rows & ~right).sum() > error * rows.sum() + 1e-9)


def outcomes(asked: tuple[str, float], options: Namespace) -> list[Outcome]:
    """Return what became of all runs of a pair of models."""
    name, error = asked
    return [
        outcome(PAIRS[name], error, options.labels, np.random.default_rng([options.seed, number, *name.encode()]))
        for number in range(options.runs)
    ]


def by_engine(number: int, options: Namespace) -> Outcome:
    """Run a map with two stages, labelled by the truth; and the strong model alone for its cost."""
    rng = np.random.default_rng([options.seed, number])
    items = [one for item in range(ROWS) for one in [item] * (COPIES if item % 4 == 0 else 1)][:ROWS]
    traps = set(rng.choice(max(items) + 1, round(0.02 * max(items)), replace=False).tolist())
    labelled = sorted(rng.choice(ROWS, options.labels, replace=False).tolist())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        colours.write_items(folder / "rows.csv", [(item, item in traps) for item in items])
        lines = "".join(f"{row},{colours.colour(items[row])}\n" for row in labelled)
        (folder / "labels.csv").write_text("id,answer\n" + lines)
        found = run_stages(_job(folder), seed=options.seed + number)
        results = {one.result.row: one for one in stage_results(found.run_id, store=f"sqlite:///{folder}/maker.db")}
    if found.accepted is None:
        raise RuntimeError(f"run {found.run_id} is {found.last.status}: {found.last.reason}")
    whole = found.accepted.whole
    answers = {row: one.result.answer for row, one in results.items()}
    right = np.array([answers.get(row) == {"answer": colours.colour(items[row])} for row in range(ROWS)])
    accepted = np.array([whole.accepts(row) for row in range(ROWS)])
    cheap, *later = found.accepted.stages
    # What the strong model would take for all rows: as many samples a row as for those that it was asked.
    a_row = later[0].calls / later[0].asked if later else float(STRONG_K)
    strong = PRICE * sum(one.calls for one in later)
    return Outcome(
        _above(accepted, right, ENGINE_ERROR), int(accepted.sum()), 0, cheap.kept / ROWS, cheap.calls + strong,
        PRICE * a_row * ROWS,
    )  # fmt: skip


def _job(folder: Path) -> dict[str, Any]:
    job: dict[str, Any] = colours.job(folder)
    stages = [
        {"name": "cheap", "model": {"kind": "simulated", "p": 0.9, "rho": 0.3, "rivals": 2}, "vote": {"k": CHEAP_K}},
        {"name": "strong", "model": {"kind": "simulated", "p": 0.98, "rivals": 2}, "vote": {"k": STRONG_K}},
    ]
    del job["model"]
    job["task"]["output"] = str(folder / "out")
    return job | {"stage": stages, "accept": {"error": ENGINE_ERROR, "labels": str(folder / "labels.csv")}}


def cells(found: list[Outcome]) -> tuple[str, ...]:
    """Return a line's figures."""
    accepted, alone = _mean(found, "accepted"), _mean(found, "alone")
    cost, cost_alone = _mean(found, "cost"), _mean(found, "cost_alone")
    row = 1 - cost / accepted / (cost_alone / alone) if accepted and alone else None
    return (
        f"{_mean(found, 'above'):.1%}", f"{accepted:,.0f}", f"{alone:,.0f}" if alone else "-",
        f"{_mean(found, 'kept'):.0%}", f"{1 - cost / cost_alone:.0%}", "-" if row is None else f"{row:.0%}",
    )  # fmt: skip


def _mean(found: list[Outcome], name: str) -> float:
    return statistics.mean(float(getattr(one, name)) for one in found)


def main() -> int:
    """Hold all tables; print what became of the promise, and of the cost."""
    parser = make_parser(__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--labels", type=int, default=300)
    parser.add_argument("--seed", type=int, default=20261201)
    parser.add_argument("--engine", type=int, default=10, help="runs by the engine")
    parser.add_argument("--workers", type=int, default=2)
    options = read_options(parser, runs=2, engine=1, workers=1)
    asked = [(name, error) for name in PAIRS for error in ERRORS]
    with ProcessPoolExecutor(options.workers) as pool:
        found = dict(zip(asked, pool.map(partial(outcomes, options=options), asked), strict=True))
        whole = list(pool.map(partial(by_engine, options=options), range(options.engine)))
    lines = [(name, f"{error:.0%}", *cells(one)) for (name, error), one in found.items()]
    lines.append((f"engine: {options.engine} runs", f"{ENGINE_ERROR:.0%}", *cells(whole)))
    table("pairs of models", ("", ""), [(name, one.about) for name, one in PAIRS.items()])
    heads = ("models", "error", "above", "accepted", "alone", "kept", "saved", "saved a row")
    table(f"{options.runs} runs each of {ROWS:,} rows with {options.labels} labels, confidence .95", heads, lines)
    worst = max(_mean(one, "above") for one in (*found.values(), whole))
    judged = found[JUDGED, JUDGED_ERROR]
    saved = 1 - _mean(judged, "cost") / _mean(judged, "cost_alone")
    goals = [
        Goal("runs with more wrong than stated, worst line", MOST, worst, least=False),
        Goal(f"cost saved, {JUDGED} at {JUDGED_ERROR:.0%}", SAVED, saved),
    ]
    return print_goals(goals, options)


if __name__ == "__main__":
    sys.exit(main())
