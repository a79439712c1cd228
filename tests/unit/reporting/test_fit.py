"""What losing votes say of p: against closed forms, integrals, simulation, and laws that are followed vote by vote."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path

import pytest
from scipy.integrate import quad
from scipy.stats import beta

from maker.reporting.fit import FAR, Fit, all_right, expected_law, fit, losing_law, tails, wrong
from maker.stats.race import step_right, votes_per_step

pytestmark = pytest.mark.plan

CONFIDENCE = 0.95
DOCS = Path(__file__).parents[3] / "docs" / "report.md"


class Course:
    """Races to a lead of k, followed vote by vote, as far as ``most`` votes: their ends, and those that are cut off.

    ``wrong`` is the mass of races that a rival wins; ``decided`` and ``cut`` are the masses by votes for the lesser of
    the two foremost candidates.
    """

    def __init__(self, masses: tuple[float, ...], k: int, most: int | None = None) -> None:
        self.wrong = 0.0
        self.decided: dict[int, float] = defaultdict(float)
        self.cut: dict[int, float] = defaultdict(float)
        alive = {(0,) * len(masses): 1.0}
        votes, alike = 0, len(set(masses[1:])) == 1
        while alive:
            going: dict[tuple[int, ...], float] = defaultdict(float)
            for counts, mass in alive.items():
                first, second, *_ = sorted(counts, reverse=True)
                if first - second >= k:
                    self.wrong += mass if counts[0] < first else 0.0
                    self.decided[second] += mass
                elif votes == most:
                    self.cut[second] += mass
                elif mass > 1e-11:
                    for at, share in enumerate(masses):
                        after = (*counts[:at], counts[at] + 1, *counts[at + 1 :])
                        # Rivals that are alike need not be told apart.
                        going[(after[0], *sorted(after[1:])) if alike else after] += mass * share
            alive = going
            votes += 1


def counts(law: Mapping[int, float], steps: int) -> dict[int, int]:
    return {losing: round(steps * mass) for losing, mass in law.items() if round(steps * mass)}


def fitted(decided: Mapping[int, int], k: int, cut: Mapping[int, int] | None = None) -> Fit:
    found = fit(decided, cut or {}, k, CONFIDENCE)
    assert found is not None
    return found


def race(rng: random.Random, p: float, k: int) -> tuple[int, bool]:
    """Hold a race; return its losing votes, and whether the wrong answer won."""
    lead = votes = 0
    while abs(lead) < k:
        lead += 1 if rng.random() < p else -1
        votes += 1
    return (votes - k) // 2, lead < 0


@pytest.mark.parametrize("k", [2, 3, 4, 5, 8, 31])
@pytest.mark.parametrize("p", [0.99, 0.9, 0.7, 0.55])
def test_the_law_of_losing_votes(k: int, p: float) -> None:
    """It sums to 1, begins with p^k + q^k, and its mean is that of the paper: (votes - k) / 2."""
    law = losing_law(k, p)
    assert math.fsum(law) == pytest.approx(1, abs=1e-9)
    assert law[0] == pytest.approx(p**k + (1 - p) ** k)
    assert math.fsum(n * chance for n, chance in enumerate(law)) == pytest.approx((votes_per_step(p, k) - k) / 2, 1e-6)
    assert tails(law)[0] == pytest.approx(1, abs=1e-9)
    assert tails(law)[1] == pytest.approx(1 - law[0], abs=1e-9)


def test_the_law_counts_courses() -> None:
    """For k = 3 it is M(3, l) (pq)^l (p^3 + q^3) with M = 1, 3, 9, 27."""
    p, q = 0.8, 0.2
    expected = [courses * (p * q) ** n * (p**3 + q**3) for n, courses in enumerate((1, 3, 9, 27))]
    assert losing_law(3, p)[:4] == pytest.approx(expected)


def test_a_law_that_goes_on_ends_somewhere() -> None:
    """A race to a great margin at p = .5 goes on for ever so long; the law stops at so many losing votes."""
    assert len(losing_law(200, 0.5)) == FAR


@pytest.mark.parametrize(("k", "p"), [(2, 0.9), (3, 0.999), (3, 0.9), (4, 0.6), (10, 0.9)])
def test_steps_that_are_alike_give_p_back(k: int, p: float) -> None:
    """By their own law the estimate is p with no correlation, and a step's failure is that of the paper."""
    found = fitted(counts(dict(enumerate(losing_law(k, p))), 10**7), k)
    assert found.p.value == pytest.approx(p, abs=2e-3)
    assert found.p.low < found.p.value < found.p.high
    assert found.rho.value == pytest.approx(0, abs=2e-3)
    assert found.failure.value == pytest.approx(1 - step_right(p, k), rel=0.05)
    assert sum(expected_law(found)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("a", "b", "k"), [(19, 1, 3), (9, 1, 2), (8, 3, 5)])
def test_steps_that_differ_give_their_distribution_back(a: float, b: float, k: int) -> None:
    """By the law of a Beta mixture the estimate is its mean, its correlation, and the failure taken by an integral."""
    courses = [chance / 0.25**losing for losing, chance in enumerate(losing_law(k, 0.5)[:40])]
    law = {losing: ways * _either(a, b, k, losing) for losing, ways in enumerate(courses)}
    whole = sum(law.values())
    found = fitted(counts({losing: mass / whole for losing, mass in law.items()}, 10**6), k)
    density = beta(a, b).pdf
    lost: float = quad(lambda p: density(p) * (1 - step_right(max(p, 1 - p), k)), 0, 1)[0]
    likelier: float = quad(lambda p: density(p) * max(p, 1 - p), 0, 1)[0]
    assert found.p.value == pytest.approx(likelier, abs=5e-3)
    assert found.rho.value == pytest.approx(1 / (a + b + 1), rel=0.06)
    assert found.failure.value == pytest.approx(lost, rel=0.1)
    assert expected_law(found)[:4] == pytest.approx([law[losing] / whole for losing in range(4)], rel=0.02)


def test_intervals_hold_and_numbers_come_true() -> None:
    """Of 150 runs of 100 steps with p ~ Beta(19, 1) at k = 3 as many are right as reports say, within 4 sigma (seed 1).

    And intervals hold the chance by the true distribution, given the votes, in 90 % or more.
    """
    rng, runs, right, said, held = random.Random(1), 150, 0, 0.0, 0
    for _ in range(runs):
        races = [race(rng, rng.betavariate(19, 1), 3) for _ in range(100)]
        found = fitted(Counter(losing for losing, _ in races), 3)
        right += not any(lost for _, lost in races)
        said += found.right.value
        # One side's part of what both come to.
        shares = (_moment(19, 1, losing, losing + 3) / _either(19, 1, 3, losing) for losing, _ in races)
        held += found.right.low <= math.exp(math.fsum(map(math.log1p, (-one for one in shares)))) <= found.right.high
    print(f"{right} of {runs} right, {said:.1f} said, {held} held")
    assert abs(right - said) <= 4 * math.sqrt(runs / 4)
    assert held >= 0.9 * runs


def _moment(a: float, b: float, right: int, wrong: int) -> float:
    """Return E[p^r q^w] of Beta(a, b)."""
    lgamma = math.lgamma
    return math.exp(
        lgamma(a + right) + lgamma(b + wrong) - lgamma(a + b + right + wrong) - lgamma(a) - lgamma(b) + lgamma(a + b)
    )


def _either(a: float, b: float, k: int, losing: int) -> float:
    return _moment(a, b, k + losing, losing) + _moment(a, b, losing, k + losing)


def test_without_a_losing_vote() -> None:
    """Nothing is lost: p = 1 by the estimate, and how much steps may differ shows in the lower bound alone."""
    found = fitted({0: 1000}, 4)
    assert found.p.value == pytest.approx(1, abs=1e-6)
    assert found.rho.value == found.rho.low == 0
    assert found.rho.high > 0.9
    assert 0.9 < found.right.low < 0.99 < found.right.value


def test_votes_that_settle_nothing() -> None:
    """More losing votes than p = .5 has leave p at one half."""
    assert fitted({40: 100}, 3).p.value == 0.5
    assert fitted({40: 100}, 5).failure.value == pytest.approx(0.5)


def test_a_first_vote_says_nothing() -> None:
    """With k = 1 there is no losing vote, whatever p is; and nothing can be fitted to no step."""
    assert fit({0: 100}, {}, 1, CONFIDENCE) is None
    with pytest.raises(ValueError, match="nothing to fit"):
        fit({}, {3: 1}, 3, CONFIDENCE)


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize(
    "masses",
    [(0.9, 0.05, 0.05), (0.8, 0.18, 0.02), (0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (0.6, 0.1, 0.1, 0.1, 0.1),
     (0.5, 0.3, 0.2), (0.95, 0.04, 0.01)],
)  # fmt: skip
def test_several_rivals_are_judged_with_care(k: int, masses: tuple[float, ...]) -> None:
    """With several rivals the failure that the strongest one's votes suggest is above the true one."""
    course = Course(masses, k)
    found = fitted(counts(course.decided, 10**6), k)
    print(f"k = {k}, {masses}: {found.failure.value:.3g} estimated, {course.wrong:.3g} true")
    assert found.failure.value >= course.wrong


@pytest.mark.parametrize(
    ("masses", "k"),
    [((0.9, 0.1), 3), ((0.8, 0.1, 0.1), 3), ((0.6, 0.1, 0.1, 0.1, 0.1), 3), ((0.5, 0.3, 0.2), 5)],
)
def test_the_documented_table_is_exact(masses: tuple[float, ...], k: int) -> None:
    """Each row of docs/report.md: races followed vote by vote, and the estimate from a million of them."""
    course = Course(masses, k)
    found = (course.wrong, fitted(counts(course.decided, 10**6), k).failure.value)
    cells = [", ".join(f"{share:g}" for share in masses), f"{k}", *(f"{chance:.3g}" for chance in found)]
    row = f"| {' | '.join(cells)} |".replace("0.", ".")
    print(row)
    assert row in DOCS.read_text().splitlines()


@pytest.mark.parametrize(("k", "most"), [(2, 4), (3, 7), (3, 12), (4, 10), (5, 20)])
@pytest.mark.parametrize("p", [0.9, 0.7])
def test_races_that_are_cut_off(k: int, most: int, p: float) -> None:
    """Their losing votes leave p where it is, or lower."""
    course, steps = Course((p, 1 - p), k, most), 10**6
    found = fitted(counts(course.decided, steps), k, counts(course.cut, steps))
    print(f"k = {k}, {most} votes, p = {p}: {found.p.value:.4f}, {sum(course.cut.values()):.3f} cut off")
    assert found.p.value <= p + 2e-3
    assert found.failure.value >= 0.98 * (1 - step_right(p, k))


def test_steps_of_two_kinds() -> None:
    """No Beta distribution has half of the steps at .99 and half at .75: docs/report.md has what is said of them."""
    k, steps = 3, 1000
    law = [(one + other) / 2 for one, other in zip_longest(losing_law(k, 0.99), losing_law(k, 0.75), fillvalue=0)]
    found = fitted(counts(dict(enumerate(law)), steps), k)
    true = steps * math.fsum(1 - step_right(p, k) for p in (0.99, 0.75)) / 2
    print(f"{true:.1f} wrong, {steps * found.failure.value:.1f} by the estimate")
    assert true == pytest.approx(17.9, abs=0.05)
    assert steps * found.failure.value == pytest.approx(35.8, abs=0.2)
    told = " ".join(DOCS.read_text().split())
    assert f"have {true:.1f} wrong ones; the estimate says {steps * found.failure.value:.1f}" in told
    there = [round(500 * (a + b)) for a, b in zip(*(tails(losing_law(k, p))[:8] for p in (0.99, 0.75)), strict=True)]
    assert there == [1000, 296, 159, 89, 50, 28, 16, 9]
    expected = [steps * chance for chance in tails(expected_law(found))[:5]]
    assert expected == pytest.approx([1000, 300, 145, 82, 50], abs=1)
    assert f"| steps expected by the fit | {' | '.join(f'{number:,.0f}' for number in expected)} |" in told
    assert f"| steps observed | {' | '.join(f'{number:,}' for number in there[:5])} |" in told


def test_the_whole_run() -> None:
    """Classes multiply; of steps alike, one class gives what the paper's formula does."""
    one = fitted(counts(dict(enumerate(losing_law(3, 0.9))), 10_000), 3)
    other = fitted(counts(dict(enumerate(losing_law(4, 0.95))), 500), 4)
    assert 1 - one.failure.value == pytest.approx(step_right(0.9, 3), abs=2e-4)
    both = all_right([one, other])
    assert both.value == pytest.approx(all_right([one]).value * all_right([other]).value)
    assert both.low < both.value < both.high
    assert wrong([one, other]).value == pytest.approx(one.steps * one.failure.value + other.steps * other.failure.value)
