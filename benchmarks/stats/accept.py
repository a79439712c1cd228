"""Whether accepted rows keep their stated error, and how many of the rows that the best rule would accept they are.

    python -m benchmarks.stats.accept [--runs 200] [--seed 20261201] [--engine 20] [--workers 2]

A table has 2,000 rows; 300 are labelled, drawn at random, in every other run by strata as `maker audit` draws. Votes of
each row race to a lead of 3. `maker.stats.acceptance` chooses a rule by doubt (*votes*), and one by a number that
reports how hard a row is, with noise (*fine*), as a log-probability would: a rule for almost every row.

- above: runs in which more of the accepted rows are wrong than stated, of those in which a rule was chosen or not. Rows
  that a label calls wrong are not accepted, so it is also said of the rule itself. 5 % is what is promised; up to 8 %
  the goal allows for the chance of 200 runs.
- nothing: runs in which no rule was chosen. accepted: the mean of the rows of the chosen rule (0 of none); best: that
  of the loosest rule in the same order that keeps the error, which only the truth knows. power: their ratio.

The last line is of whole runs by the engine, on a simulated model whose rows have p ~ Beta, 3 % of them traps that the
model is surely wrong about, and every fourth five times in the table; drawn by `maker audit`, accepted by
`maker accept`.
"""

from __future__ import annotations

import csv
import io
import json
import statistics
import sys
import tempfile
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

import maker
from benchmarks.shared.comparing import Goal, print_goals, table
from benchmarks.shared.error_processes import Law, Mask, Process, Reals, Rows, alike, beta, mixed
from benchmarks.shared.options import make_parser, read_options
from benchmarks.shared.races import Ended, hold
from benchmarks.shared.tasks import colours
from maker.reporting.audit import draw, least_margin
from maker.reporting.counts import doubt
from maker.reporting.labels import write_sample
from maker.stats.acceptance import Score, choose, order_of
from maker.stats.bounds import Labelled, allocate

ROWS, LABELS, K = 2000, 300, 3
CONFIDENCE = 0.95
ERRORS = (0.02, 0.05, 0.1)
COPIES = 5
"""Near-duplicates come in groups of so many."""
NOISE = 0.7
"""Standard deviation of the noise on the log-odds that ``fine`` reports."""
MOST = 0.08
ENGINE_ERROR = 0.06


class Table(NamedTuple):
    """A kind of table: the law of p, which rows come in copies that share p and all votes, and shared errors.

    ``sure`` is the share of rows on which nearly all votes are wrong; on ``repeats`` all votes repeat the first.
    """

    about: str
    law: Law
    copies: float = 0.0
    sure: float = 0.0
    repeats: float = 0.0


TABLES = {
    "alike": Table("rows alike, p = .9", alike(0.9)),
    "beta": Table("p ~ Beta(8, 2)", beta(8, 2)),
    "hard": Table("20 % of the rows have p = .5, others .985", mixed(alike(0.985), alike(0.5), 0.2)),
    "hopeless": Table("5 % have p = .45, others .97", mixed(alike(0.97), alike(0.45), 0.05)),
    "copies": Table("as hard; half of the rows are copies, five of each", mixed(alike(0.985), alike(0.5), 0.2), 0.5),
    "sure": Table("3 % are surely wrong (p = .03), others .97", alike(0.97), sure=0.03),
    "edge": Table("p = 1, and surely wrong as often as is stated, and a bit more", alike(1.0), sure=-1.0),
    "repeats": Table("on 1 row in 5 all votes repeat the first; p = .95", alike(0.95), repeats=0.2),
    "all": Table("p ~ Beta(19, 1); copies, 2 % surely wrong, 5 % repeat", beta(19, 1), 0.5, 0.02, 0.05),
}
SIGNALS = ("votes", "fine")


class Held(NamedTuple):
    """A table after its votes: p, how its rows ended, and whether each row's answer is right."""

    p: Reals
    ended: Ended
    right: Mask


class Outcome(NamedTuple):
    """What became of one choice: ``rule`` and ``accepted`` say whether more than stated are wrong in each."""

    rule: bool
    accepted: bool
    rows: int
    best: int


def held(kind: Table, error: float, rng: Generator) -> Held:
    """Draw a table, and hold its elections."""
    p = kind.law(rng, ROWS)
    # Just more wrong rows than may be: the rule with all rows is not good, by as little as can be.
    sure = (int(ROWS * error) + 1) / ROWS if kind.sure < 0 else kind.sure
    wrong = rng.permutation(ROWS)[: round(sure * ROWS)]
    p[wrong] = 0.0 if kind.sure < 0 else 1 - p[wrong]
    process = Process("table", kind.about, (kind.law,), rows=ROWS)
    rows = Rows(p, np.zeros(ROWS), np.zeros(ROWS, int), rng.random(ROWS) < kind.repeats)
    ended = hold(process, rng, rows, np.full(ROWS, K), np.zeros(10 * ROWS), most=None)
    # A copy has the votes of its first: near-duplicates are asked alike, and go wrong together.
    source = np.arange(ROWS)
    copied = int(kind.copies * ROWS) // COPIES * COPIES
    source[:copied] -= source[:copied] % COPIES
    ended = ended._replace(winner=ended.winner[source], rival=ended.rival[source], right=ended.right[source])
    return Held(p[source], ended, ended.right)


def scores_of(signal: str, table_: Held, rng: Generator) -> list[Score]:
    """Return how unsure each row is by a signal."""
    if signal == "votes":
        return [(doubt(int(a), int(b)),) for a, b in zip(table_.ended.winner, table_.ended.rival, strict=True)]
    # A reply reports p of what it says, whatever that is; noise hides much of it.
    sure = np.clip(np.maximum(table_.p, 1 - table_.p), 0.5, 0.999)
    odds = np.log(sure / (1 - sure)) + rng.normal(0, NOISE, ROWS)
    return [(float(-one),) for one in odds.round(3)]


def sampled(table_: Held, rng: Generator, *, strata: bool) -> tuple[list[int], list[Labelled]]:
    """Draw the rows to label, and say from how many of each stratum."""
    if not strata:
        return rng.choice(ROWS, LABELS, replace=False).tolist(), [Labelled(ROWS, LABELS, 0)]
    margins, votes = table_.ended.winner - table_.ended.rival, table_.ended.winner + table_.ended.rival
    of = np.where(margins == votes, 0, np.where(2 * margins >= votes, 1, 2))
    groups = [np.flatnonzero(of == one) for one in range(3) if (of == one).any()]
    parts = allocate([len(one) for one in groups], LABELS)
    rows = [int(row) for one, n in zip(groups, parts, strict=True) for row in rng.choice(one, n, replace=False)]
    return rows, [Labelled(len(one), n, 0) for one, n in zip(groups, parts, strict=True)]


def outcome(kind: Table, error: float, signal: str, rng: Generator, *, strata: bool) -> Outcome:
    """Draw a table and labels, choose a rule, and compare it with the truth."""
    table_ = held(kind, error, rng)
    scores = scores_of(signal, table_, rng)
    labelled, strata_ = sampled(table_, rng, strata=strata)
    right = table_.right
    order = order_of(Counter(scores), [(scores[row], bool(right[row])) for row in labelled])
    last = choose(order.rules, strata_, error, CONFIDENCE).last
    rank = np.array([order.rank[one] for one in scores])
    good = [one.rows for n, one in enumerate(order.rules) if (~right[rank <= n]).sum() <= error * one.rows]
    ruled = np.zeros(ROWS, bool) if last is None else rank <= last
    accepted = ruled.copy()
    accepted[labelled] = right[labelled]
    return Outcome(_above(ruled, right, error), _above(accepted, right, error), int(ruled.sum()), max(good, default=0))


def _above(rows: Mask, right: Mask, error: float) -> bool:
    return bool((rows & ~right).sum() > error * rows.sum() + 1e-9)


def outcomes(name: str, error: float, signal: str, options: Namespace) -> list[Outcome]:
    """Return what became of all runs of a kind of table."""
    found = []
    for number in range(options.runs):
        rng = np.random.default_rng([options.seed, number, *name.encode(), round(error * 1000), *signal.encode()])
        found.append(outcome(TABLES[name], error, signal, rng, strata=bool(number % 2)))
    return found


def by_engine(number: int, seed: int, error: float) -> Outcome:
    """Run a map, draw rows with `maker audit`, label them by the truth, and accept."""
    rng = np.random.default_rng([seed, number])
    items = [one for item in range(ROWS) for one in [item] * (COPIES if item % 4 == 0 else 1)][:ROWS]
    traps = set(rng.choice(max(items) + 1, round(0.03 * max(items)), replace=False).tolist())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        colours.write_items(folder / "rows.csv", [(item, item in traps) for item in items])
        run = maker.run(colours.job(folder, p=0.93, rho=0.15), seed=seed + number)
        store = f"sqlite:///{folder}/maker.db"
        write_sample(draw(run.run_id, size=LABELS, seed=number, store=store), folder / "labels.csv")
        label(folder / "labels.csv", items)
        found = maker.accept(run.run_id, error=error, labels=folder / "labels.csv", store=store)
        results = {one.row: one for one in maker.results(run.run_id, store=store) if one.answer is not None}
    right = np.array([row in results and is_right(results[row].answer, items[row]) for row in range(ROWS)])
    accepted = np.array([found.accepts(row) for row in range(ROWS)])
    scores = {row: (doubt(won := next(iter(one.votes.values())), won - least_margin(one)),)
              for row, one in results.items()}  # fmt: skip
    order = order_of(Counter(scores.values()), [])
    wrong = [order.rank[scores[row]] for row in scores if not right[row]]
    good = [one.rows for n, one in enumerate(order.rules) if sum(rank <= n for rank in wrong) <= error * one.rows]
    ruled = 0 if found.test is None else found.test.rows
    ruled_wrong = sum(n <= [one.rows for one in order.rules].index(ruled) for n in wrong) if ruled else 0
    return Outcome(ruled_wrong > error * ruled, _above(accepted, right, error), ruled, max(good, default=0))


def is_right(answer: object, item: int) -> bool:
    """Say whether an answer is an item's colour."""
    return isinstance(answer, dict) and answer["answer"] == colours.colour(item)


def label(file: Path, items: list[int]) -> None:
    """Fill in a sample's labels by the truth."""
    lines = list(csv.DictReader(io.StringIO(file.read_bytes().decode("utf-8-sig"), newline="")))
    for line in lines:
        line["correct"] = "y" if is_right(json.loads(line["answer"]), items[int(line["row"])]) else "n"
    with file.open("w", newline="", encoding="utf-8") as out:
        written = csv.DictWriter(out, list(lines[0]))
        written.writeheader()
        written.writerows(lines)


def cells(found: list[Outcome]) -> tuple[str, ...]:
    """Return a line's figures."""
    rows, best = statistics.mean(one.rows for one in found), statistics.mean(one.best for one in found)
    above = [share(found, lambda one: one.accepted), share(found, lambda one: one.rule)]
    nothing = share(found, lambda one: not one.rows)
    power = f"{rows / best:.0%}" if best else "-"
    return *(f"{one:.1%}" for one in above), f"{nothing:.0%}", f"{rows:,.0f}", f"{best:,.0f}" if best else "-", power


def share(found: list[Outcome], what: Callable[[Outcome], bool]) -> float:
    """Return the share of runs of which something holds."""
    return sum(map(what, found)) / len(found)


def main() -> int:
    """Hold all tables; print what became of the promise."""
    parser = make_parser(__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20261201)
    parser.add_argument("--engine", type=int, default=20, help="runs by the engine")
    parser.add_argument("--workers", type=int, default=2)
    options = read_options(parser, runs=2, engine=1, workers=1)
    lines: list[tuple[str, ...]] = []
    worst = 0.0
    with ProcessPoolExecutor(options.workers) as pool:
        asked = [(name, error, signal) for name in TABLES for error in ERRORS for signal in SIGNALS]
        for (name, error, signal), found in zip(asked, _all(pool, asked, options), strict=True):
            worst = max(worst, share(found, lambda one: one.accepted or one.rule))
            lines.append((name, f"{error:.0%} by {signal}", *cells(found)))
        whole = list(pool.map(partial(by_engine, seed=options.seed, error=ENGINE_ERROR), range(options.engine)))
    lines.append((f"engine: {options.engine} runs", f"{ENGINE_ERROR:.0%} by votes", *cells(whole)))
    heads = ("table", "error", "above", "rule above", "nothing", "accepted", "best", "power")
    table("tables", ("", ""), [(name, one.about) for name, one in TABLES.items()])
    table(f"{options.runs} runs each of {ROWS:,} rows with {LABELS} labels, confidence .95", heads, lines)
    goals = [Goal("runs with more wrong than stated, worst line", MOST, worst, least=False)]
    return print_goals(goals, options)


def _all(pool: ProcessPoolExecutor, asked: list[tuple[str, float, str]], options: Namespace) -> Iterator[list[Outcome]]:
    return pool.map(partial(outcomes, options=options), *zip(*asked, strict=True))


if __name__ == "__main__":
    sys.exit(main())
