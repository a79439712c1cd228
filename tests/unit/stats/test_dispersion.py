"""Laws of losing votes: against enumeration, the real voter's courses, and simulation."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence

import pytest

from maker.plugin import Ballots, Decision
from maker.stats import dispersion
from maker.stats.vote_tests import Rule
from voters.first_to_ahead_by_k import FirstToAheadByK

MOST = 24
Law = Sequence[float]


def courses(m: int, losing: int) -> int:
    """Return N(m, l) in whole numbers."""
    return math.comb(m + 2 * losing, losing) * m // (m + 2 * losing) if losing else 1


def spreads(steps: int, losing: int, m: int) -> list[tuple[tuple[int, ...], int]]:
    """Return every way to spread losing votes over steps, with its weight."""
    every = itertools.product(range(losing + 1), repeat=steps)
    return [(one, math.prod(courses(m, votes) for votes in one)) for one in every if sum(one) == losing]


def law(k: int, error: Callable[[int], float], rivals: int = 1, flags: float = 0.0) -> Law:
    """Follow the real voter's courses; return the chance of each number of votes for the strongest loser.

    ``error(i)`` is that of sample i; a share of the samples is flagged, and another is drawn.
    """
    voter = FirstToAheadByK(FirstToAheadByK.Params(k=k))
    found = [0.0] * (MOST + 1)
    alive: dict[tuple[int, ...], float] = {(0,) * (rivals + 1): 1.0}
    for sample in range(2 * MOST):
        going: dict[tuple[int, ...], float] = {}
        for counts, mass in alive.items():
            e = error(sample)
            parts = [(counts, flags)] if flags else []
            for i in range(rivals + 1):
                share = (1 - flags) * (e / rivals if i else 1 - e)
                parts.append(((*counts[:i], counts[i] + 1, *counts[i + 1 :]), share))
            for after, share in parts:
                if not share or mass < 1e-15:
                    continue
                ballots = Ballots({str(i): votes for i, votes in enumerate(after) if votes})
                standing = ballots.standing()
                if standing is not None and isinstance(voter.decide(ballots), Decision):
                    found[min(MOST, standing.rival)] += mass * share
                else:
                    key = (after[0], *sorted(after[1:]))
                    going[key] = going.get(key, 0.0) + mass * share
        alive = going
    return found


def together(one: Law, steps: int, most: int) -> list[float]:
    """Return the chance of each number of losing votes of so many steps."""
    sums = [1.0] + [0.0] * most
    for _ in range(steps):
        sums = [sum(sums[s] * one[t - s] for s in range(t + 1)) for t in range(most + 1)]
    return sums


@pytest.mark.parametrize("m", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_conditional_laws_are_exact(steps: int, m: int) -> None:
    """Every way to spread up to six losing votes over up to four steps is gone through."""
    for losing in (1, 2, 3, 5, 6):
        ways = spreads(steps, losing, m)
        whole = sum(weight for _, weight in ways)
        assert math.log(whole) == pytest.approx(dispersion.log_courses(steps * m, losing), abs=1e-12)
        mean = sum(weight * sum(votes > 0 for votes in one) for one, weight in ways) / whole
        assert dispersion.contested(steps, losing, m) == pytest.approx(mean)
        for found in range(1, steps + 1):
            below = sum(weight for one, weight in ways if sum(votes > 0 for votes in one) <= found) / whole
            tail = dispersion.few_contested(steps, losing, found, m)
            assert tail == pytest.approx(below if found < mean else 1.0)
        for least in range(losing + 1):
            mean = sum(weight * sum(votes >= least for votes in one) for one, weight in ways) / whole
            assert dispersion.longest(steps, losing, least, m) == pytest.approx(mean)


def test_a_heap_is_exact() -> None:
    """How many of the contested steps stand inside, by enumeration of where they may."""
    for steps, inside, contested in ((4, 2, 3), (6, 2, 2), (7, 3, 5)):
        places = list(itertools.combinations(range(steps), contested))
        for found in range(max(0, contested - steps + inside), min(inside, contested) + 1):
            tail = sum(sum(place < inside for place in one) >= found for one in places) / len(places)
            assert dispersion.heaped((inside, found), (steps - inside, contested - found)) == pytest.approx(tail)
    assert dispersion.heaped((64, 5), (0, 0)) == 1.0


@pytest.mark.parametrize(
    ("steps", "losing", "found", "m"),
    [(8192, 512, 440, 2), (2000, 510, 330, 2), (4000, 200, 160, 5)],
)
def test_the_bound_is_above_the_exact_tail(
    steps: int, losing: int, found: int, m: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where whole numbers are too dear the tail is bounded: never below it, and by less than a factor of 100."""
    exact = dispersion.few_contested(steps, losing, found, m)
    monkeypatch.setattr(dispersion, "EXACT", 0)
    bound = dispersion.few_contested(steps, losing, found, m)
    assert 1e-20 < exact < 1e-3
    assert 1 <= bound / exact < 100


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_hard_steps_follow_the_real_voter(k: int) -> None:
    """The mean, and the tail of five steps' losing votes: exact for k = 2 and 3, else below 100 times it."""
    failure = 0.05
    e = 1 - 1 / (1 + (failure / (1 - failure)) ** (1 / k))
    one = law(k, lambda _: e)
    # Of greater margins the law as it is followed here leaves out too much of the mean.
    assert k > 3 or dispersion.losing_votes(1, k, failure) == pytest.approx(
        sum(i * p for i, p in enumerate(one)), rel=1e-3
    )
    sums = together(one, 5, MOST - 1)
    for losing in range(math.ceil(dispersion.losing_votes(5, k, failure)) + 1, MOST // 2 if k > 3 else MOST - 1):
        tail = 1 - sum(sums[:losing])
        found = dispersion.hard(5, losing, k, failure)
        if k <= 3:
            assert found == pytest.approx(tail, rel=1e-3)
        else:
            assert 0.999 * tail <= found < 100 * tail
    assert dispersion.hard(5, 0, k, failure) == 1.0
    assert dispersion.hard(5, 1, 1, failure) == 0.0
    # 300 losing votes of 100 steps, summed as a negative binomial: 3.2222e-11.
    assert dispersion.hard(100, 300, 3, 0.05) == pytest.approx(3.2222e-11, rel=1e-4)


def _greedy(e: float, first: float) -> Callable[[int], float]:
    return lambda sample: e if sample else first


def _turns(*errors: float) -> Callable[[int], float]:
    return lambda sample: errors[sample % len(errors)]


ALIKE = [
    *((Rule(k), law(k, _greedy(e, first))) for k in (2, 3, 5) for e in (0.02, 0.3) for first in (0.0, 0.01, 0.3)),
    *((Rule(3), law(3, _turns(e), rivals)) for e in (0.1, 0.5) for rivals in (2, 3)),
    (Rule(3), law(3, _turns(0.1), flags=0.2)),
    *((Rule(k, 2), law(k, _turns(*errors))) for k in (2, 3, 5) for errors in ((0.01, 0.04), (0.3, 0.0), (0.0, 0.4))),
    *((Rule(k, 3), law(k, _turns(*errors))) for k in (3, 4) for errors in ((0.1, 0.4, 0.03), (0.03, 0.03, 0))),
    *((Rule(3, 2), law(3, _turns(0.01, 0.2), flags=flags)) for flags in (0.1, 0.5)),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "one"), ALIKE)
def test_steps_that_are_alike_stay_within_the_wider_law(rule: Rule, one: Law) -> None:
    """First votes at temperature 0, rivals, flags and pools: each tail is at most what the test takes it to be.

    The truth is the real voter's, of six steps with up to nine losing votes, and the smaller tails alone.
    """
    steps, most, m = 6, 9, rule.allowed
    free = [0.0, *one[1:]]
    sums, others = together(one, steps, most), together(one, steps - 1, most)
    by_contested = [
        [math.comb(steps, d) * one[0] ** (steps - d) * p for p in together(free, d, most)] for d in range(7)
    ]
    for losing in range(2, most + 1):
        whole = sums[losing]
        for found in range(1, steps):
            tail = sum(ways[losing] for ways in by_contested[: found + 1]) / whole
            if (test := dispersion.few_contested(steps, losing, found, m)) < 0.5:
                assert tail <= test * (1 + 1e-6)
        for least in range(2, losing + 1):
            mean = steps * sum(one[j] * others[losing - j] for j in range(least, losing + 1)) / whole
            if (test := dispersion.longest(steps, losing, least, m)) < 0.1:
                assert mean <= test * (1 + 1e-6)


def test_tails_hold_in_simulation() -> None:
    """Of 4,000 runs of 300 steps at e = .1 (seed 7) no more have p <= .1 and .01 than that, within 4 sigma."""
    runs, rng = 4_000, random.Random(7)
    one = law(3, _turns(0.1))
    found: dict[str, list[float]] = {"dispersion": [], "longest": [], "heaped": []}
    for _ in range(runs):
        drawn = rng.choices(range(len(one)), one, k=300)
        losing = sum(drawn)
        # The law itself, not the wider one: for k = 3 its weights are 3^l, of which 3, 9, 28 is just above.
        found["dispersion"].append(dispersion.few_contested(300, losing, sum(votes > 0 for votes in drawn), 3))
        found["longest"].append(dispersion.longest(300, losing, max(drawn), 3))
        older, newer = (sum(votes > 0 for votes in half) for half in (drawn[:150], drawn[150:]))
        found["heaped"].append(dispersion.heaped((150, newer), (150, older)))
    for p in found.values():
        for level in (0.1, 0.01):
            share = sum(one <= level for one in p) / runs
            sigma = math.sqrt(level * (1 - level) / runs)
            # Not below a third of it either: the tests are discrete, but not idle.
            assert level / 3 - 4 * sigma <= share <= level + 4 * sigma
