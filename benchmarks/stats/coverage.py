"""Whether plans tell the truth: known tasks, simulated pilots, margins planned from them, and what these really give.

    python -m benchmarks.stats.coverage [--pairs 1000] [--seed 20261122] [--runs 1000]

A task has 1 to 6 classes and s steps, log-uniform from 10 to 10^5, spread over the classes at random (each has one).
The p of a class is uniform on .55 to .999, all else is for one rival. There are three strata, a third of the tasks
each: in the homogeneous one all steps of a class are alike; in the heterogeneous one a class has steps of Beta
difficulty with an intra-class correlation uniform on 0 to .05; in the flagged one half of the tasks have, and a sample
is valid with v, uniform on .7 to 1 (p is that of valid ones). In a tenth of the tasks one class has the rival for its
mode: its p is one less what was drawn.

A pilot asks for `VOTES` samples on each of 2,000 distinct steps a class, drawn from the class's exact law. It grows by
doubling, class by class, where the kindest truth would do with a smaller k: by one, up to `EVEN` steps a class; by
more, up to `CAP`. The plan is for a
target of .95 with confidence .95. Then P(run right) is computed with the planned margins and the true distributions,
and the margins that would be the cheapest if the truth were known. A refusal is right where no margins reach the target
(`maker.stats.knapsack` finds the cheapest under the truth, up to k = 1,000).

Of several classes many choices cost nearly the same: a class of few steps may have a larger k, or a smaller one, for a
few calls. So it is also said what the cheapest choice costs of which no planned k is more than one above.

With ``--runs`` as many tasks of 10 to 300 steps are drawn afresh, piloted on the simulated model's law, planned, and
run once each by the real engine with a margin for each class.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln, logit

from benchmarks.shared.comparing import Goal, print_goals
from benchmarks.shared.options import make_parser, read_options
from benchmarks.shared.tasks.known_steps import job
from maker import api
from maker.stats.difficulty import Difficulty, fit
from maker.stats.knapsack import Option, cheapest_choice
from maker.stats.margins import Margins, Reason, Refusal, cheapest
from maker.stats.mixture import beta_failure, beta_votes
from maker.stats.risk import LADDER, RiskBudget

TARGET = 0.95
VOTES = 16
FIRST, EVEN, CAP = 2000, 2000 * 2**5, 2000 * 2**10
TIE = 0.01
"""Choices whose calls differ by less than this share are as cheap as each other."""
Reals: TypeAlias = NDArray[np.float64]
STRATA = ("homogeneous", "heterogeneous", "flags")


class Kind(NamedTuple):
    """The truth of a class: mean p and correlation of its valid votes, share of valid samples, steps of the task."""

    p: float
    rho: float
    valid: float
    steps: int


class Found(NamedTuple):
    """One task: what was planned, and what is true.

    ``right`` is the exact probability of a right run at the planned margins, ``over`` how much larger than the cheapest
    each is, ``cost`` the expected calls of the run as a multiple of theirs, ``near`` the same for the cheapest choice
    that no planned margin is more than one above; all None where it was refused. ``solvable`` says that some margins
    reach the target.
    """

    stratum: str
    classes: int
    steps: int
    solvable: bool
    refused: Reason | None
    right: float | None
    over: tuple[int, ...] | None
    cost: float | None
    near: float | None
    calls: int
    run_calls: float
    capped: bool
    seconds: float


def draw_task(rng: np.random.Generator, stratum: str, most: float = 5) -> list[Kind]:
    """Draw a task of the generator, of up to 10^most steps."""
    classes = int(rng.integers(1, 7))
    steps = max(classes, round(10 ** rng.uniform(1, most)))
    spread = 1 + rng.multinomial(steps - classes, rng.dirichlet(np.ones(classes)))
    rival = int(rng.integers(classes)) if rng.random() < 0.1 else -1
    even = stratum == "homogeneous" or (stratum == "flags" and rng.random() < 0.5)
    kinds = []
    for number, own in enumerate(spread):
        p = rng.uniform(0.55, 0.999)
        rho = 0.0 if even else rng.uniform(0, 0.05)
        valid = rng.uniform(0.7, 1) if stratum == "flags" else 1.0
        kinds.append(Kind(1 - p if number == rival else p, rho, valid, int(own)))
    return kinds


def hear(rng: np.random.Generator, kind: Kind, steps: int) -> Counter[tuple[int, int]]:
    """Draw a pilot of so many steps: how many are heard with each outcome, from the exact law of the outcomes."""
    found: Counter[tuple[int, int]] = Counter()
    valid = rng.multinomial(steps, binomial(VOTES, kind.valid))
    for votes, own in enumerate(valid):
        if own and votes:
            for right, count in enumerate(rng.multinomial(own, beta_binomial(votes, kind.p, kind.rho))):
                if count:
                    found[right, votes - right] += int(count)
    return found


def binomial(votes: int, p: float) -> Reals:
    """Return the law of how many of so many are drawn."""
    i = np.arange(votes + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = i * np.log(p) + np.where(i < votes, (votes - i) * np.log1p(-p), 0.0)
    return _law(votes, log)


def beta_binomial(votes: int, p: float, rho: float) -> Reals:
    """Return the law of how many of so many votes on a step are right."""
    if rho == 0:
        return binomial(votes, p)
    i = np.arange(votes + 1)
    a, b = p * (1 / rho - 1), (1 - p) * (1 / rho - 1)
    return _law(votes, betaln(a + i, b + votes - i) - betaln(a, b))


def _law(votes: int, log: Reals) -> Reals:
    i = np.arange(votes + 1)
    chance: Reals = np.exp(gammaln(votes + 1) - gammaln(i + 1) - gammaln(votes - i + 1) + log)
    law: Reals = chance / chance.sum()
    return law


def truth(kind: Kind, ks: Sequence[int]) -> Reals:
    """Return -ln P(all steps of the class right) at each margin."""
    x, rho = np.full(len(ks), logit(kind.p)), np.full(len(ks), kind.rho)
    loads: Reals = kind.steps * -np.log1p(-np.minimum(beta_failure(x, rho, np.array(ks)), 1 - 1e-12))
    return loads


def cheapest_truly(kinds: Sequence[Kind], least: Sequence[int] | None = None) -> list[int] | None:
    """Return the cheapest margins that reach the target, None where none do; only such as are at least ``least``."""
    allowed = -math.log(TARGET)
    groups, margins = [], []
    for number, kind in enumerate(kinds):
        rungs = [k for k in LADDER if k < 1000] + [1000]
        loads = truth(kind, rungs)
        if loads.min() > allowed:
            return None
        first = int(np.argmax(loads <= allowed))
        low = max(1, rungs[max(0, first - 1)], least[number] if least else 0)
        ks = list(range(low, max(low, min(1000, 2 * low + 30)) + 1))
        own = truth(kind, ks)
        cost = kind.steps / kind.valid
        votes = [float(beta_votes(np.array([logit(kind.p)]), np.array([kind.rho]), k)[0]) for k in ks]
        groups.append([Option(cost * v, float(load)) for v, load in zip(votes, own, strict=True)])
        margins.append(ks)
    chosen = cheapest_choice(groups, allowed)
    return None if chosen is None else [ks[number] for ks, number in zip(margins, chosen, strict=True)]


def _calls(kinds: Sequence[Kind], ks: Sequence[int]) -> float:
    """Return the expected calls of a run."""
    return sum(
        kind.steps / kind.valid * float(beta_votes(np.array([logit(kind.p)]), np.array([kind.rho]), k)[0])
        for kind, k in zip(kinds, ks, strict=True)
    )


def judge(seed: int, number: int, sure: bool) -> Found:
    """Draw one task and its pilot; plan, and compare with the truth."""
    began = time.perf_counter()
    rng = np.random.default_rng([seed, number])
    stratum = STRATA[number % len(STRATA)]
    kinds = draw_task(rng, stratum)
    heard = [hear(rng, kind, FIRST) for kind in kinds]
    asked = [FIRST] * len(kinds)
    fits = [fit(one) for one in heard]
    while True:
        loads = [
            RiskBudget(str(i), kind.steps, one, 1 / kind.valid)
            for i, (kind, one) in enumerate(zip(kinds, fits, strict=True))
        ]  # fmt: skip
        plan = cheapest(loads, TARGET, sure=sure)
        wanted = _wanted(plan, fits)
        grow = [i for i, most in wanted.items() if asked[i] < most]
        if not grow:
            break
        for i in grow:
            heard[i] += hear(rng, kinds[i], asked[i])
            asked[i] *= 2
            fits[i] = fit(heard[i])
    best = cheapest_truly(kinds)
    right = over = cost = near = None
    refused = None
    run_calls = 0.0
    if isinstance(plan, Margins):
        ks = [plan.k[str(i)] for i in range(len(kinds))]
        right = math.exp(-sum(float(truth(kind, [k])[0]) for kind, k in zip(kinds, ks, strict=True)))
        over = None if best is None else tuple(k - other for k, other in zip(ks, best, strict=True))
        run_calls = plan.calls.estimate
        if best is not None:
            cost = _calls(kinds, ks) / _calls(kinds, best)
            beside = cheapest_truly(kinds, [k - 1 for k in ks])
            near = None if beside is None else _calls(kinds, beside) / _calls(kinds, best)
    else:
        refused = plan.kind
    steps, capped = sum(kind.steps for kind in kinds), any(asked[i] >= CAP for i in wanted)
    return Found(stratum, len(kinds), steps, best is not None, refused, right, over, cost, near, VOTES * sum(asked),
                 run_calls, capped, time.perf_counter() - began)  # fmt: skip


def _wanted(plan: Margins | Refusal, fits: Sequence[Difficulty]) -> dict[int, int]:
    """Return the classes whose pilot is to grow, and up to which size."""
    if isinstance(plan, Margins):
        gaps = [plan.k[name] - plan.favourable[name] for name in plan.k]
        return {i: CAP if gap > 1 else EVEN for i, gap in enumerate(gaps) if gap > 0}
    if plan.shown:
        return {}
    blamed = [i for i in range(len(fits)) if str(i) in plan.classes]
    return dict.fromkeys(blamed or range(len(fits)), CAP)


def show(found: Sequence[Found], options: Namespace) -> None:
    """Print the strata's figures beside their goals."""
    for stratum in (*STRATA, "all"):
        here = [one for one in found if stratum in (one.stratum, "all")]
        planned = [one for one in here if one.right is not None]
        if all(one.near is None for one in planned):
            print(f"\n{stratum}: {len(here)} tasks, none of them with a plan to compare with the cheapest")
            continue
        rights = [one.right for one in planned if one.right is not None]
        overs = [max(one.over) for one in planned if one.over is not None]
        by_class = [k for one in planned if one.over is not None for k in one.over]
        costs = sorted(one.cost for one in planned if one.cost is not None)
        nears = [one.near for one in planned if one.near is not None]
        solvable = [one for one in here if one.solvable]
        refused = Counter(one.refused for one in here if one.refused)
        missed = [one for one in solvable if one.refused is not None]
        calls = sorted(one.calls for one in planned)
        rows = [
            Goal("planned", None, len(planned)),
            Goal("mean P(run right)", TARGET, statistics.fmean(rights)),
            Goal("% below .90", 5, 100 * statistics.fmean(r < 0.9 for r in rights), " %", least=False),
            Goal("% below the target", None, 100 * statistics.fmean(r < TARGET for r in rights), " %"),
            Goal("% with a k more than one above the cheapest", 0, 100 * statistics.fmean(k > 1 for k in overs), " %",
                 least=False),
            Goal(f"% ... above all choices within {100 * TIE:.0f} % of its calls", 0,
                 100 * statistics.fmean(cost > 1 + TIE for cost in nears), " %", least=False),
            Goal("largest k above the cheapest, median of tasks", 0, statistics.median(overs), least=False),
            Goal("k above the cheapest, median of classes", 0, statistics.median(by_class), least=False),
            Goal("% of classes more than one above", None, 100 * statistics.fmean(k > 1 for k in by_class), " %"),
            Goal("calls of the run, of the cheapest's: mean", None, statistics.fmean(costs)),
            Goal("calls of the run, of the cheapest's: 95 %", None, costs[int(0.95 * len(costs))]),
            Goal("planned though no margins reach the target", None, sum(not one.solvable for one in planned)),
            Goal("refused, and rightly", None, sum(refused.values()) - len(missed)),
            Goal("solvable and refused (a miss)", 0, len(missed), least=False),
            Goal("... of them 'shown' to be impossible", 0, sum(one.refused is not Reason.PILOT for one in missed),
                 least=False),
            Goal("pilot calls, median", None, calls[len(calls) // 2]),
            Goal("pilot calls, 90 %", None, calls[int(0.9 * len(calls))]),
            Goal("calls of the run, median", None, statistics.median(one.run_calls for one in planned)),
            Goal("% that wanted more than the cap", None, 100 * statistics.fmean(one.capped for one in here), " %"),
        ]  # fmt: skip
        print_goals(rows, options, title=f"{stratum}: {len(here)} tasks, {len(solvable)} solvable")
        print(f"  refusals: {dict(refused)}; largest k above the cheapest: {dict(sorted(Counter(overs).items()))}")


def real_run(seed: int, number: int) -> tuple[bool, float, str] | None:
    """Plan a task of few steps and run it; return whether it came out right, its exact chance, and its log's digest.

    None where the plan is refused. Pilots do not grow beyond 2^7 times their first size here: k may be larger than
    need be, never smaller.
    """
    rng = np.random.default_rng([seed, number, 1])
    stratum = STRATA[number % len(STRATA)]
    kinds = draw_task(rng, stratum, most=2.5)
    for factor in (1, 16, 128):
        fits = [fit(hear(rng, kind, FIRST * factor)) for kind in kinds]
        loads = [RiskBudget(str(i), kind.steps, one, 1 / kind.valid)
                 for i, (kind, one) in enumerate(zip(kinds, fits, strict=True))]  # fmt: skip
        plan = cheapest(loads, TARGET)
        if isinstance(plan, Margins) and plan.sharp:
            break
    if not isinstance(plan, Margins):
        return None
    ks = [plan.k[str(i)] for i in range(len(kinds))]
    model = {
        "p_by_class": {f"c{i}": kind.p for i, kind in enumerate(kinds)},
        "rho_by_class": {f"c{i}": kind.rho for i, kind in enumerate(kinds)},
        "malformed": 1 - statistics.fmean(kind.valid for kind in kinds),
    }
    steps = tuple(kind.steps for kind in kinds)
    with tempfile.TemporaryDirectory() as folder:
        report = api.run(job(steps, tuple(ks), model, seed * 10_000 + number, f"sqlite:///{folder}/run.db"))
    chance = math.exp(-sum(float(truth(kind, [k])[0]) for kind, k in zip(kinds, ks, strict=True)))
    return report.status == "done", chance, report.digest


def real_runs(options: Namespace) -> None:
    """Hold runs of the engine, and print how many came out right beside the goal."""
    seed, runs = options.seed, options.runs
    began, number = time.perf_counter(), 0
    found: list[tuple[bool, float, str]] = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        while len(found) < runs:
            more = runs - len(found)
            done = pool.map(real_run, [seed] * more, range(number, number + more), chunksize=5)
            found += [one for one in done if one is not None]
            number += more
    expected = sum(chance for _, chance, _ in found)
    sigma = math.sqrt(sum(chance * (1 - chance) for _, chance, _ in found))
    right = sum(done for done, _, _ in found)
    rows = [
        Goal("runs of the engine that were right", 0.93, right / runs),
        Goal("what their exact chances come to", None, expected / runs),
        Goal("sigmas between the two", 4, abs(right - expected) / sigma, least=False),
        Goal("tasks drawn for them; the others were refused", None, number),
    ]
    print_goals(rows, options, title=f"{runs} runs of the engine, 10 to 316 steps")
    print(f"  {time.perf_counter() - began:.0f} s")


def main() -> int:
    """Judge all pairs; print the strata; then hold the runs."""
    parser = make_parser(__doc__)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--sure", action="store_true", help="show the target with confidence .95, not in the mean")
    options = read_options(parser, pairs=3, runs=1)
    print(
        f"{options.pairs} pairs, seed {options.seed}; pilots: {VOTES} votes a step, {FIRST:,} to {CAP:,} steps a class"
    )
    began = time.perf_counter()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(
            pool.map(
                judge,
                [options.seed] * options.pairs,
                range(options.pairs),
                [options.sure] * options.pairs,
                chunksize=10,
            )
        )
    show(found, options)
    middle = statistics.median(one.seconds for one in found)
    print(f"\n{time.perf_counter() - began:.0f} s; a pair {middle:.2f} s (median)")
    if options.runs:
        real_runs(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
