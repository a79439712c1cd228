"""What losing votes say of p: against closed forms, and against laws that are followed vote by vote."""

from __future__ import annotations

import math
from collections import defaultdict

import pytest

from maker.reporting.fit import FAR, Fit, Range, all_right, fit, losing_law, tails, wrong
from maker.stats.race import run_right, step_right, votes_per_step

CONFIDENCE = 0.95


class Course:
    """Races to a lead of k, followed vote by vote, as far as ``most`` votes: their ends, and those that are cut off.

    ``wrong`` is the mass of races that a rival wins, ``losing`` the mean of votes for the lesser of the two foremost
    candidates, the races that were cut off among them, and ``decided`` the mass of those that were not.
    """

    def __init__(self, masses: tuple[float, ...], k: int, most: int | None = None) -> None:
        self.wrong = self.losing = self.decided = 0.0
        alive = {(0,) * len(masses): 1.0}
        votes, alike = 0, len(set(masses[1:])) == 1
        while alive:
            going: dict[tuple[int, ...], float] = defaultdict(float)
            for counts, mass in alive.items():
                first, second, *_ = sorted(counts, reverse=True)
                if first - second >= k:
                    self.decided += mass
                    self.wrong += mass if counts[0] < first else 0.0
                    self.losing += mass * second
                elif votes == most:
                    self.losing += mass * second
                elif mass > 1e-11:
                    for at, share in enumerate(masses):
                        after = (*counts[:at], counts[at] + 1, *counts[at + 1 :])
                        # Rivals that are alike need not be told apart.
                        going[(after[0], *sorted(after[1:])) if alike else after] += mass * share
            alive = going
            votes += 1


def fitted(steps: int, losing: float, k: int) -> Fit:
    found = fit(steps, round(losing), k, CONFIDENCE)
    assert found is not None
    return found


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


@pytest.mark.parametrize("k", [2, 3, 4, 5, 10])
@pytest.mark.parametrize("p", [0.999, 0.9, 0.6])
def test_what_is_expected_gives_p_back(k: int, p: float) -> None:
    """At the mean of losing votes the estimate is p, and a step's failure that of the paper."""
    steps = 10**6
    found = fitted(steps, steps * (votes_per_step(p, k) - k) / 2, k)
    assert found.p.value == pytest.approx(p, abs=1e-4)
    assert found.p.low < found.p.value < found.p.high
    assert 1 - found.failure.value == pytest.approx(step_right(found.p.value, k), abs=1e-9)
    assert found.failure.low < found.failure.value < found.failure.high
    assert found.exact == (k in (2, 3))


@pytest.mark.parametrize("k", [2, 3, 4, 5, 9])
@pytest.mark.parametrize("p", [0.97, 0.85, 0.65])
def test_intervals_hold(k: int, p: float) -> None:
    """Of all sums of losing votes that 20 steps can have, those with the true p in the interval have .95 or more.

    Exact: the law of the sum is the law of one step, convolved.
    """
    steps = 20
    law = [chance for chance in losing_law(k, p) if chance > 1e-8]
    whole = [1.0]
    for _ in range(steps):
        found = [0.0] * (len(whole) + len(law) - 1)
        for a, mass in enumerate(whole):
            for b, chance in enumerate(law):
                found[a + b] += mass * chance
        whole = found[: max(a for a, mass in enumerate(found) if mass > 1e-8) + 1]
    ranges = [fitted(steps, losing, k).p for losing in range(len(whole))]
    missed = 1 - math.fsum(m for m, one in zip(whole, ranges, strict=True) if one.low - 1e-9 <= p <= one.high + 1e-9)
    print(f"k = {k}, p = {p}: {missed:.4f} missed")
    assert missed <= 0.05
    # Nor is it idle: an interval that held everything would miss nothing.
    assert min(one.high - one.low for one in ranges) < 0.2


def test_without_a_losing_vote() -> None:
    """Nothing is lost: p = 1 by the estimate, and its lower bound by p^(kn) + … = .025."""
    found = fitted(1000, 0, 4)
    assert found.p.value == found.p.high == 1
    assert (found.p.low**4 + (1 - found.p.low) ** 4) ** 1000 == pytest.approx(0.025, rel=1e-6)
    assert found.failure.low == found.failure.value == 0


def test_votes_that_settle_nothing() -> None:
    """More losing votes than p = .5 has leave p at one half."""
    assert fitted(100, 4000, 3).p == Range(0.5, 0.5, 0.5)
    assert fitted(100, 4000, 5).failure == Range(0.5, 0.5, 0.5)


def test_a_first_vote_says_nothing() -> None:
    """With k = 1 there is no losing vote, whatever p is; and nothing can be fitted to no step."""
    assert fit(100, 0, 1, CONFIDENCE) is None
    with pytest.raises(ValueError, match="nothing to fit"):
        fit(0, 0, 3, CONFIDENCE)


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize(
    "masses",
    [(0.9, 0.05, 0.05), (0.8, 0.18, 0.02), (0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (0.6, 0.1, 0.1, 0.1, 0.1),
     (0.5, 0.3, 0.2), (0.95, 0.04, 0.01)],
)  # fmt: skip
def test_several_rivals_are_judged_with_care(k: int, masses: tuple[float, ...]) -> None:
    """With several rivals the failure that the strongest one's votes suggest is above the true one."""
    course = Course(masses, k)
    found = fitted(10**6, 10**6 * course.losing, k)
    print(f"k = {k}, {masses}: {found.failure.value:.3g} estimated, {course.wrong:.3g} true")
    assert found.failure.value >= course.wrong


@pytest.mark.parametrize(("k", "most"), [(2, 4), (3, 7), (3, 12), (4, 10), (5, 20)])
@pytest.mark.parametrize("p", [0.9, 0.7])
def test_races_that_are_cut_off(k: int, most: int, p: float) -> None:
    """Their losing votes, without themselves among the steps, leave p where it is, or lower."""
    course, steps = Course((p, 1 - p), k, most), 10**6
    found = fitted(round(steps * course.decided), steps * course.losing, k)
    print(f"k = {k}, {most} votes, p = {p}: {found.p.value:.4f}, {1 - course.decided:.3f} cut off")
    assert found.p.value <= p + 1e-4
    assert found.failure.value >= 0.999 * (1 - step_right(p, k))


def test_steps_that_are_not_alike() -> None:
    """The mean p hides the hard ones, as docs/report.md says by figures: and the tails show it."""
    k, steps, mixed = 3, 1000, (0.99, 0.75)
    losing = steps * math.fsum((votes_per_step(p, k) - k) / 2 for p in mixed) / 2
    found = fitted(steps, losing, k)
    assert steps * found.failure.value == pytest.approx(6.4, abs=0.05)
    assert steps * math.fsum(1 - step_right(p, k) for p in mixed) / 2 == pytest.approx(17.9, abs=0.05)
    there = [500 * (a + b) for a, b in zip(*(tails(losing_law(k, p))[:8] for p in mixed), strict=True)]
    expected = [steps * chance for chance in tails(losing_law(k, found.p.value))[:8]]
    assert [round(n) for n in there] == [1000, 296, 159, 89, 50, 28, 16, 9]
    assert [round(n) for n in expected] == [1000, 397, 158, 63, 25, 10, 4, 2]


def test_the_whole_run() -> None:
    """Classes multiply, and one class gives what the paper's formula does."""
    one, other = fitted(1000, 370, 3), fitted(500, 20, 4)
    assert all_right([one]).value == pytest.approx(run_right(one.p.value, 3, 1000), rel=1e-9)
    assert all_right([one, other]).value == pytest.approx(all_right([one]).value * all_right([other]).value)
    both = all_right([one, other])
    assert both.low < both.value < both.high
    assert wrong([one, other]).value == pytest.approx(1000 * one.failure.value + 500 * other.failure.value)
