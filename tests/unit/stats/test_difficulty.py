"""What a pilot shows of a class: closed forms, bounds that hold, and pilots at the edge."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import betaln, expit

from maker.stats.difficulty import Mode, clopper_pearson, fit
from maker.stats.hard_steps import hard_steps
from maker.stats.mixture import beta_failure, beta_losses, beta_votes, counts_of, log_likelihood
from maker.stats.race import step_right, votes_per_step

pytestmark = pytest.mark.plan

SEED = 20261122


def heard(rng: np.random.Generator, steps: int, votes: int, p: float, rho: float) -> dict[tuple[int, int], int]:
    """Draw a pilot."""
    own = rng.beta(p * (1 / rho - 1), (1 - p) * (1 / rho - 1), steps) if rho else np.full(steps, p)
    found: dict[tuple[int, int], int] = {}
    for right in rng.binomial(votes, own):
        cell = (int(right), votes - int(right))
        found[cell] = found.get(cell, 0) + 1
    return found


class TestIntegrals:
    @pytest.mark.parametrize(("a", "b"), [(19.0, 1.0), (18.98, 0.019), (14.0, 5.0), (5.0, 9.0)])
    @pytest.mark.parametrize("k", [2, 20])
    def test_losses_where_votes_help_have_the_integral(self, a: float, b: float, k: int) -> None:
        """Beside the trapezoid rule on the positive log-odds."""
        x = np.linspace(0, 200, 2_000_001)
        density = np.exp(-a * np.logaddexp(0, -x) - b * np.logaddexp(0, x) - betaln(a, b))
        found = beta_losses(np.array([math.log(a / b)]), np.array([1 / (a + b + 1)]), k)
        assert found[0] == pytest.approx(np.trapezoid(density * expit(-k * x), x), rel=1e-6)

    def test_steps_that_are_alike_lose_races_only_where_votes_help(self) -> None:
        found = beta_losses(np.array([math.log(9), -math.log(9)]), np.zeros(2), 3)
        assert found.tolist() == pytest.approx([1 - step_right(0.9, 3), 0.0])

    @pytest.mark.parametrize("k", [1, 2, 5, 40])
    @pytest.mark.parametrize("p", [0.45, 0.6, 0.9, 0.9999])
    def test_steps_that_are_alike_have_the_closed_form(self, p: float, k: int) -> None:
        x, none = np.array([math.log(p / (1 - p))]), np.zeros(1)
        assert beta_failure(x, none, k)[0] == pytest.approx(1 - step_right(p, k), rel=1e-9, abs=1e-15)
        assert beta_votes(x, none, k)[0] == pytest.approx(votes_per_step(p, k), rel=1e-9)

    @pytest.mark.parametrize(("a", "b"), [(19.0, 1.0), (18.98, 0.019), (14.0, 5.0), (6000.0, 4000.0), (2.6, 0.4)])
    @pytest.mark.parametrize("k", [2, 4, 20])
    def test_beta_steps_have_the_integral(self, a: float, b: float, k: int) -> None:
        """Beside the plain trapezoid rule on two million points of the log-odds."""
        x = np.linspace(-60, 200, 2_000_001)
        density = np.exp(-a * np.logaddexp(0, -x) - b * np.logaddexp(0, x) - betaln(a, b))
        mean, rho = np.array([math.log(a / b)]), np.array([1 / (a + b + 1)])
        right = np.trapezoid(density * expit(-k * x), x)
        assert beta_failure(mean, rho, k)[0] == pytest.approx(right, rel=1e-6)
        assert beta_failure(-mean, rho, k)[0] == pytest.approx(1 - right, rel=1e-9)

    def test_one_vote_is_wrong_with_the_mean(self) -> None:
        assert beta_failure(np.array([math.log(9)]), np.array([0.05]), 1)[0] == pytest.approx(0.1, abs=1e-12)

    def test_what_counts_is_the_mean_of_r_to_the_k(self) -> None:
        """Beta(19, 1), s = 1000: .7317 at k = 4, where the formula at the mean p says .992; .9538 at 6, .9755 at 7."""
        x, rho = np.array([math.log(19)]), np.array([1 / 21])
        right = [(1 - beta_failure(x, rho, k)[0]) ** 1000 for k in (4, 6, 7)]
        assert right == pytest.approx([0.7317, 0.9538, 0.9755], abs=5e-5)

    def test_the_likelihood_is_the_beta_binomial_s(self) -> None:
        """3 right and 2 wrong votes, in one order: B(a + 3, b + 2) / B(a, b)."""
        p, rho = 0.7, 0.2
        a, b = p * 4, (1 - p) * 4
        found = log_likelihood(counts_of({(3, 2): 1}), np.array(p), np.array(rho))
        assert float(found) == pytest.approx(betaln(a + 3, b + 2) - betaln(a, b), abs=1e-12)


class TestIntervals:
    def test_of_single_votes_is_clopper_and_pearson_s(self) -> None:
        """90 of 100: .8238 to .9510, the textbook's figures."""
        found = fit({(1, 0): 90, (0, 1): 10})
        assert found.p == pytest.approx((0.82378, 0.9, 0.95099), abs=1e-5)
        assert found.p[::2] == pytest.approx(clopper_pearson(0.9, 100, 0.95), abs=1e-12)
        assert (found.paired, found.correlation.low, found.correlation.high) == (False, 0.0, 1.0)

    @pytest.mark.parametrize(("p", "rho"), [(0.9, 0.0), (0.9, 0.04), (0.7, 0.01), (0.99, 0.02)])
    def test_hold_as_often_as_they_say(self, p: float, rho: float) -> None:
        """200 pilots of 1,000 steps and 6 votes: each of four intervals holds in 95 %, less 4 sigma."""
        rng = np.random.default_rng(SEED)
        x, r = np.array([math.log(p / (1 - p))]), np.array([rho])
        pilots, least = 200, 0.95 - 4 * math.sqrt(0.95 * 0.05 / 200)
        held = np.zeros(4)
        for _ in range(pilots):
            one = fit(heard(rng, 1000, 6, p, rho))
            truths = (p, rho, beta_failure(x, r, 4)[0], beta_votes(x, r, 4)[0])
            for i, (interval, true) in enumerate(
                zip((one.p, one.correlation, one.failure(4), one.votes_per_step(4)), truths, strict=True)
            ):
                held[i] += interval.low - 1e-12 <= true <= interval.high + 1e-12
        assert (held / pilots >= least).all(), f"seed {SEED}: {held}"

    def test_clusters_widen_p(self) -> None:
        """100 steps of ten votes, all alike within a step, are worth 100 votes."""
        clustered = fit({(10, 0): 90, (0, 10): 10})
        low, high = clopper_pearson(0.9, 100, 0.95)
        assert clustered.p.low <= low + 0.003
        assert clustered.p.high >= high - 0.003

    def test_a_hard_share_is_seen_once_it_is_in_the_pilot(self) -> None:
        """Half a percent at p = .6, the rest at .999: no Beta fits, and the bound holds."""
        rng = np.random.default_rng(SEED)
        pilot = heard(rng, 39_800, 8, 0.999, 0.0)
        for cell, steps in heard(rng, 200, 8, 0.6, 0.0).items():
            pilot[cell] = pilot.get(cell, 0) + steps
        found = fit(pilot)
        assert found.fits < 0.002
        for k in (3, 8, 16):
            true = 0.005 * (1 - step_right(0.6, k)) + 0.995 * (1 - step_right(0.999, k))
            assert found.failure(k).low <= true <= found.failure(k).high

    @pytest.mark.parametrize("rho", [0.0, 0.03])
    def test_a_beta_that_is_true_fits(self, rho: float) -> None:
        """Of 100 pilots at most one is called a misfit at .002."""
        rng = np.random.default_rng(SEED)
        misfits = sum(fit(heard(rng, 4000, 8, 0.85, rho)).fits < 0.002 for _ in range(100))
        assert misfits <= 1, f"seed {SEED}"


EASY = {(10, 0): 271, (9, 1): 27, (8, 2): 1}
"""299 steps of p = .99, as they are to be expected."""


class TestHardSteps:
    @pytest.mark.parametrize(
        ("more", "steps"),
        [({(4, 6): 1}, 1), ({(190, 220): 1}, 1), ({(77, 133): 1, (83, 127): 1}, 2)],
    )
    def test_are_shown_beside_easy_ones(self, more: dict[tuple[int, int], int], steps: int) -> None:
        """Two of 77:133 and 83:127 were once taken for a wide Beta's: votes on other steps tell that they are not."""
        found = fit(EASY, closer=EASY | more)
        assert found.hard.shown
        assert found.hard.share * (299 + steps) == pytest.approx(steps, rel=0.02)
        assert found.failure(200).estimate > 0.6 * steps / (299 + steps)

    @pytest.mark.parametrize("more", [{}, {(6, 4): 1}, {(120, 90): 2}])
    def test_are_not_shown_where_votes_help(self, more: dict[tuple[int, int], int]) -> None:
        found = fit(EASY, closer=EASY | more)
        assert not found.hard.shown
        assert found.failure(200).estimate < 1e-4

    @pytest.mark.parametrize(("p", "rho", "steps"), [(0.95, 1 / 21, 300), (0.6, 0.05, 500)])
    def test_are_rarely_seen_in_true_betas(self, p: float, rho: float, steps: int) -> None:
        """In 10 pilots never, where one in 750 is to be expected; a Beta's own steps below 1/2 are the Beta's."""
        rng = np.random.default_rng(SEED)
        assert not any(hard_steps(heard(rng, steps, 10, p, rho)).shown for _ in range(10)), f"seed {SEED}"

    def test_a_beta_s_own_count_as_often_as_they_were_met(self) -> None:
        """Of Beta(11.4, 7.6) 18 % of the steps are below 1/2, and the pilot has met them; of Beta(19, 1) none was."""
        met = fit(heard(np.random.default_rng(SEED), 2000, 10, 0.6, 0.05))
        assert met.failure(1000).estimate == pytest.approx(0.18, abs=0.03)
        unmet = fit(heard(np.random.default_rng(SEED), 300, 10, 0.95, 1 / 21))
        assert unmet.failure(1000).estimate < 1e-5


class TestEdges:
    @pytest.mark.parametrize(
        "pilot", [{(8, 0): 2000}, {(0, 8): 2000}, {(1, 0): 1}, {(0, 1): 1}, {(5, 3): 1}, {(0, 0): 3, (2, 0): 1}]
    )
    def test_all_is_finite_and_in_order(self, pilot: dict[tuple[int, int], int]) -> None:
        found = fit(pilot)
        for interval in (found.p, found.correlation, found.failure(5), found.independent(5), found.votes_per_step(5)):
            assert all(math.isfinite(value) for value in interval)
            assert interval.low <= interval.estimate + 1e-12
            assert interval.estimate <= interval.high + 1e-12
        assert found.failure(5).low >= 0
        assert found.failure(5).high <= 1

    def test_a_clean_pilot_leaves_a_hard_share(self) -> None:
        """2,000 steps, all right: up to 3/n may be of another kind; steps like the seen ones fail ever less with k."""
        found = fit({(8, 0): 2000})
        assert found.hard_share == pytest.approx(1 - 0.05 ** (1 / 2000))
        assert found.hard_share == pytest.approx(3 / 2000, rel=0.003)
        assert found.failure(50).high < found.failure(5).high / 9

    def test_one_vote_a_step_says_nothing_of_how_steps_differ(self) -> None:
        found = fit({(1, 0): 1980, (0, 1): 20})
        assert found.failure(50).low < 1e-12
        assert found.failure(50).high > 0.009

    @pytest.mark.parametrize(
        ("pilot", "mode"),
        [({(5, 3): 500}, Mode.RIGHT), ({(3, 5): 500}, Mode.RIVAL), ({(4, 4): 500}, Mode.OPEN)],
    )
    def test_the_mode(self, pilot: dict[tuple[int, int], int], mode: Mode) -> None:
        assert fit(pilot).mode is mode

    @pytest.mark.parametrize(("pilot", "confidence"), [({}, 0.95), ({(0, 0): 5}, 0.95), ({(1, 0): 1}, 1.0)])
    def test_nonsense_is_refused(self, pilot: dict[tuple[int, int], int], confidence: float) -> None:
        with pytest.raises(ValueError, match=r"valid vote|confidence"):
            fit(pilot, confidence)
