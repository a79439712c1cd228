"""The formulas, against the gambler's ruin solved directly, exact arithmetic, and the numbers of the paper."""

from __future__ import annotations

import math
import random
from collections import Counter
from decimal import Decimal, getcontext
from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maker.stats.race import block_failure, blocks, calls_per_step, least_k, run_right, step_right, votes_per_step

getcontext().prec = 60
EXACT = 1e-9
PS = [Fraction(n, 100) for n in (10, 40, 45, 50, 51, 60, 70, 80, 90, 95, 99)]
KS = [1, 2, 3, 4, 5, 8, 13]


class Ruin(NamedTuple):
    """A walk from 0 that ends at +k or -k: its chance to end at +k, and its mean length."""

    right: Fraction
    votes: Fraction


def ruin(p: Fraction, k: int) -> Ruin:
    """Solve the walk's linear equations, u(i) = p u(i+1) + q u(i-1) + c, by elimination: no closed form is used."""
    places = range(-k + 1, k)
    right = _solve([Fraction(0)] * len(places), p, last=Fraction(1))
    votes = _solve([Fraction(1)] * len(places), p, last=Fraction(0))
    return Ruin(right[k - 1], votes[k - 1])


def _solve(constant: list[Fraction], p: Fraction, last: Fraction) -> list[Fraction]:
    # Forward: u(i) = a(i) u(i+1) + b(i), beginning from u(-k) = 0. Backward from u(k) = last.
    a, b = Fraction(0), Fraction(0)
    factors = []
    for c in constant:
        below = 1 - (1 - p) * a
        a, b = p / below, ((1 - p) * b + c) / below
        factors.append((a, b))
    values, value = [], last
    for a, b in reversed(factors):
        value = a * value + b
        values.append(value)
    return values[::-1]


@pytest.mark.parametrize("p", PS)
@pytest.mark.parametrize("k", KS)
def test_one_step_is_the_gamblers_ruin(p: Fraction, k: int) -> None:
    """The chance and the mean votes of one step are those of the walk, solved exactly."""
    truth = ruin(p, k)
    assert step_right(float(p), k) == pytest.approx(float(truth.right), rel=EXACT)
    assert votes_per_step(float(p), k) == pytest.approx(float(truth.votes), rel=EXACT)


@pytest.mark.parametrize("p", PS)
@pytest.mark.parametrize("k", KS)
def test_a_wrong_step_is_known_as_exactly(p: Fraction, k: int) -> None:
    """The chance that a run of one step is wrong is the walk's, to nine digits or 1e-15."""
    right = ruin(p, k).right
    truth = -math.log1p(-float(1 - right)) if right > Fraction(1, 2) else -math.log(right)
    assert -math.log(run_right(float(p), k, 1, 1)) == pytest.approx(truth, rel=EXACT, abs=1e-15)


@pytest.mark.parametrize(
    ("p", "k", "right", "votes"),
    [
        (0.6, 2, ".6923", "3.85"), (0.6, 3, ".7714", "8.14"), (0.6, 5, ".8836", "19.18"),
        (0.9, 2, ".9878", "2.44"), (0.9, 3, ".9986", "3.74"), (0.9, 4, ".9998", "5.00"), (0.99, 3, "1.0000", "3.06"),
    ],
)  # fmt: skip
def test_golden_steps(p: float, k: int, right: str, votes: str) -> None:
    """Chance and mean votes of one step, as published."""
    assert f"{step_right(p, k):.4f}".removeprefix("0") == right
    # 8.1428... and 19.1803... are published cut, the others rounded; both agree to two digits here.
    assert f"{votes_per_step(p, k):.2f}" == votes


def test_golden_worked_numbers() -> None:
    """The numbers that the documentation works out."""
    assert round(step_right(0.9, 4), 5) == 0.99985
    assert round(run_right(0.9, 5, 1000), 3) == 0.983
    assert round(run_right(0.9, 4, 1000), 3) == 0.859
    assert round(votes_per_step(0.9, 3), 2) == 3.74
    assert round(calls_per_step(0.99, 3, 0.5), 2) == 6.12
    assert least_k(0.99, 10**6, 0.95) == 4
    assert (round(step_right(0.45, 3), 3), round(step_right(0.45, 9), 3)) == (0.354, 0.141)
    assert f"{1 - step_right(0.9, 4):.1e}" == "1.5e-04"
    assert f"{1 - step_right(0.99, 3):.1e}" == "1.0e-06"


@pytest.mark.parametrize("p", [Fraction(6, 10), Fraction(9, 10), Fraction(99, 100), Fraction(4, 10)])
@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize(("steps", "m"), [(1, 1), (1000, 1), (1000, 10), (2**20 - 1, 1), (7, 2)])
def test_a_whole_run(p: Fraction, k: int, steps: int, m: int) -> None:
    """The chance of a whole run is that of one step to the power s/m, in sixty digits."""
    r = (1 - p) / p
    one = 1 / (1 + (Decimal(r.numerator) / Decimal(r.denominator)) ** k)
    truth = one ** (Decimal(steps) / Decimal(m))
    assert run_right(float(p), k, steps, m) == pytest.approx(float(truth), rel=EXACT, abs=1e-300)


@pytest.mark.parametrize(
    ("error", "k"),
    [(0.3571, 29), (0.0040, 4), (0.0022, 3), (0.0018, 3), (0.1839, 12), (0.0358, 6), (0.2342, 15), (0.0569, 6),
     (0.0393, 6)],
)  # fmt: skip
def test_golden_margins_of_the_papers_models(error: float, k: int) -> None:
    """The paper's own table: the margin that each model's error rate needs for 20 disks at t = .95."""
    assert least_k(1 - error, 2**20 - 1, 0.95) == k


@pytest.mark.parametrize(
    ("p", "margins"),
    [(0.6, (13, 19, 25, 42)), (0.8, (4, 6, 8, 13)), (0.9, (3, 4, 5, 8)), (0.99, (2, 2, 3, 4))],
)
def test_golden_margins_by_length(p: float, margins: tuple[int, ...]) -> None:
    """The margin grows with the logarithm of the length: 10, 100, 1,000 and 10^6 steps at t = .95."""
    assert tuple(least_k(p, steps, 0.95) for steps in (10, 100, 1000, 10**6)) == margins


@given(st.floats(0.51, 0.9999), st.integers(1, 10**7), st.floats(0.01, 0.999), st.sampled_from([1, 2, 10]))
def test_the_least_margin_is_the_least(p: float, steps: int, target: float, m: int) -> None:
    """The margin reaches the target and the one below does not, but for ties within the last digits of a float."""
    k = least_k(p, steps, target, m)
    slack = 1e-12
    assert run_right(p, k, steps, m) >= target * (1 - slack)
    assert k == 1 or run_right(p, k - 1, steps, m) < target * (1 + slack)


def test_red_flags_pay_where_they_cross_a_margin() -> None:
    """Flags on 60 % of wrong and 3 % of right samples: v = .9586, p = .99165; at 10^6 steps 5.21 calls become 4.24."""
    error, hit_wrong, hit_right = 0.02, 0.6, 0.03
    valid = 1 - error * hit_wrong - (1 - error) * hit_right
    p = (1 - error) * (1 - hit_right) / valid
    assert (round(valid, 4), round(p, 5)) == (0.9586, 0.99165)
    before, after = least_k(1 - error, 10**6, 0.95), least_k(p, 10**6, 0.95)
    assert (before, after) == (5, 4)
    assert round(calls_per_step(1 - error, before), 2) == 5.21
    assert round(calls_per_step(p, after, valid), 2) == 4.24
    assert least_k(1 - error, 1000, 0.95) == least_k(p, 1000, 0.95) == 3
    assert round(calls_per_step(1 - error, 3), 3) == 3.125
    assert round(calls_per_step(p, 3, valid), 3) == 3.183


@pytest.mark.parametrize(("k", "formula", "truth"), [(4, 0.992, 0.7317), (6, None, 0.9538), (7, None, 0.9755)])
def test_hard_steps_cost_more_than_the_mean_says(k: int, formula: float | None, truth: float) -> None:
    """With p ~ Beta(19, 1) over 1,000 steps the formula at the mean p = .95 promises what the run does not keep."""
    if formula is not None:
        assert round(run_right(0.95, k, 1000), 3) == formula
    # Simpson's rule over the density 19 p^18.
    n = 20_000
    total = 0.0
    for i in range(n + 1):
        p = i / n
        weight = 1 if i in (0, n) else 4 if i % 2 else 2
        total += weight * 19 * p**18 * (step_right(p, k) if p > 0 else 0.0)
    assert round((total / (3 * n)) ** 1000, 4) == pytest.approx(truth, abs=1.01e-4)


def test_margins_by_difficulty() -> None:
    """900 steps at .99 and 100 at .7: k = (3, 9) gives .9515 for 5,003 votes, where k = 9 for all takes 10,513."""

    def plan(easy: int, hard: int) -> tuple[float, float]:
        right = run_right(0.99, easy, 900) * run_right(0.7, hard, 100)
        return right, 900 * votes_per_step(0.99, easy) + 100 * votes_per_step(0.7, hard)

    assert [(round(right, 4), round(votes)) for right, votes in (plan(3, 9), plan(9, 9))] == [
        (0.9515, 5003), (0.9524, 10513),
    ]  # fmt: skip
    right, votes = plan(4, 4)
    assert (round(right, 3), round(votes)) == (0.036, 4608)


def test_flags_divide() -> None:
    """Calls are votes over the share that is valid."""
    assert calls_per_step(0.9, 3, 0.8) == pytest.approx(votes_per_step(0.9, 3) / 0.8, rel=EXACT)
    assert calls_per_step(0.9, 3) == votes_per_step(0.9, 3)


def test_the_edges() -> None:
    """A model that never errs takes k votes and is right; a fair coin takes k^2 and is right half of the time."""
    assert (step_right(1.0, 5), votes_per_step(1.0, 5), run_right(1.0, 5, 10**9)) == (1.0, 5.0, 1.0)
    assert (step_right(0.5, 5), votes_per_step(0.5, 5)) == (0.5, 25.0)
    assert (step_right(0.3, 1), votes_per_step(0.3, 1)) == (pytest.approx(0.3), pytest.approx(1.0))
    assert least_k(0.99, 1, 0.5) == 1


@pytest.mark.parametrize("p", [0.0, -0.1, 1.1, math.nan])
def test_a_p_that_is_no_probability_is_refused(p: float) -> None:
    """P must lie in (0, 1]."""
    for call in (lambda: step_right(p, 3), lambda: run_right(p, 3, 10), lambda: votes_per_step(p, 3)):
        with pytest.raises(ValueError, match="p = "):
            call()


@pytest.mark.parametrize("k", [0, -1])
def test_a_margin_below_one_is_refused(k: int) -> None:
    """K is at least 1."""
    for call in (lambda: step_right(0.9, k), lambda: run_right(0.9, k, 10), lambda: calls_per_step(0.9, k)):
        with pytest.raises(ValueError, match=f"k = {k}"):
            call()


@pytest.mark.parametrize("p", [0.5, 0.4, 0.0, 1.0, math.nan])
def test_no_margin_helps_a_coin(p: float) -> None:
    """Against one rival, votes help only where .5 < p; at p = 1 there is nothing to plan."""
    with pytest.raises(ValueError, match="votes help against one rival only if"):
        least_k(p, 100, 0.95)


@pytest.mark.parametrize("target", [0.0, 1.0, -1.0, 2.0, math.nan])
def test_a_target_must_be_a_probability(target: float) -> None:
    """No margin makes a run certain."""
    with pytest.raises(ValueError, match="target = "):
        least_k(0.9, 100, target)


@pytest.mark.parametrize("valid", [0.0, -0.5, 1.5, math.nan])
def test_a_share_must_be_one(valid: float) -> None:
    """The valid share lies in (0, 1]."""
    with pytest.raises(ValueError, match="valid = "):
        calls_per_step(0.9, 3, valid)


@pytest.mark.parametrize("steps", [0, -5])
def test_a_run_has_steps(steps: int) -> None:
    """A run without a step, or an answer that decides none, is refused rather than divided by."""
    with pytest.raises(ValueError, match="steps"):
        least_k(0.9, steps, 0.95)


def test_a_hopeless_race_has_a_chance_of_nothing() -> None:
    """R^k beyond the largest float is a chance of 0, not an error of arithmetic: k may be 1,000."""
    assert step_right(0.1, 1000) == 0.0
    assert run_right(0.1, 1000, 10) == 0.0
    assert votes_per_step(0.1, 1000) == pytest.approx(1250.0)


def test_votes_near_a_coin() -> None:
    """A hair from p = .5 the mean votes are still k^2 to nine digits: nothing cancels."""
    for p in (Fraction(1, 2) + Fraction(1, 10**n) for n in range(3, 14)):
        truth = float(ruin(p, 3).votes)
        assert votes_per_step(float(p), 3) == pytest.approx(truth, rel=EXACT)


def test_flags_pay_where_they_cross_a_k() -> None:
    """A raw error of 2 %, flags on 60 % of the wrong and 3 % of the right samples."""
    right, wrong = 0.98 * 0.97, 0.02 * 0.4
    valid, p = right + wrong, right / (right + wrong)
    assert (round(valid, 4), round(p, 5)) == (0.9586, 0.99165)
    far, near = 10**6, 10**3
    assert (least_k(0.98, far, 0.95), least_k(p, far, 0.95)) == (5, 4)
    assert (calls_per_step(0.98, 5), calls_per_step(p, 4, valid)) == pytest.approx((5.2083, 4.2436), abs=1e-4)
    assert (least_k(0.98, near, 0.95), least_k(p, near, 0.95)) == (3, 3)
    assert (calls_per_step(0.98, 3), calls_per_step(p, 3, valid)) == pytest.approx((3.125, 3.1827), abs=1e-4)


def test_blocks_have_many_rivals() -> None:
    """P = .95, m = 5, k = 2, 40,000 elections: wrong below the bound, and far above one rival's formula."""
    p, k, m, n, seed = 0.95, 2, 5, 40_000, 11
    rng = random.Random(seed)
    wrong = 0
    for _ in range(n):
        votes: Counter[int] = Counter()
        while True:
            votes[sum((rng.random() >= p) << step for step in range(m))] += 1
            (leader, most), *others = votes.most_common(2)
            if most - (others[0][1] if others else 0) >= k:
                break
        wrong += leader != 0
    bound = block_failure(p, k, m)
    assert wrong / n <= bound + 4 * math.sqrt(bound / n), f"seed {seed}"
    assert wrong / n >= bound / 2, f"seed {seed}"
    assert wrong / n > 2 * (0.05 / 0.95) ** k, f"seed {seed}"


def test_the_golden_block() -> None:
    """P = .99, m = 10, k = 3: at most 1.03e-5 a block, ten times the 1.03e-6 of one rival."""
    assert block_failure(0.99, 3, 10) == pytest.approx(10 * (0.01 / 0.99) ** 3, rel=1e-5)
    assert block_failure(0.99, 3, 1) == pytest.approx((0.01 / 0.99) ** 3, rel=1e-9)


def test_blocks_pay_by_their_prompts_alone() -> None:
    found = blocks(0.99, 10**6, 0.95, 0, 1, (1, 10))
    assert [(one.m, one.k) for one in found] == [(1, 4), (10, 4)]
    assert [one.m for one in blocks(0.99, 10**6, 0.95, 10, 1, (1, 10))] == [10, 1]
