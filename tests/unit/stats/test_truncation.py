"""How many races the most votes of a step cut short."""

from __future__ import annotations

import numpy as np
import pytest

from maker.stats.difficulty import fit
from maker.stats.mixture import Array
from maker.stats.truncation import share_unsettled, unsettled

pytestmark = pytest.mark.plan


def walked(p: float, k: int, votes: int) -> float:
    """Return the same by going through all votes."""
    at = {0: 1.0}
    for _ in range(votes):
        after: dict[int, float] = {}
        for lead, chance in at.items():
            for step, share in ((1, p), (-1, 1 - p)):
                if abs(lead + step) < k:
                    after[lead + step] = after.get(lead + step, 0.0) + chance * share
        at = after
    return sum(at.values())


@pytest.mark.parametrize("k", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("votes", [0, 1, 2, 5, 20, 31, 100])
@pytest.mark.parametrize("p", [0.5, 0.4, 0.6, 0.9, 0.999, 1.0])
def test_it_is_what_a_walk_says(p: float, k: int, votes: int) -> None:
    assert unsettled(np.array([p]), k, votes)[0] == pytest.approx(walked(p, k, votes), abs=1e-9)


def test_steps_that_are_alike_are_one_p() -> None:
    alike = fit({(12, 8): 500, (11, 9): 250, (13, 7): 250})
    assert alike.correlation.estimate == pytest.approx(0, abs=1e-9)
    assert share_unsettled(alike, 5, 40) == pytest.approx(walked(0.6, 5, 40), abs=1e-9)


def test_steps_that_are_not_alike_are_gone_through() -> None:
    """The likeliest Beta of a pilot, drawn from and walked: the share is the mean over the draws."""
    heard = {(10, 0): 700, (9, 1): 150, (7, 3): 80, (5, 5): 50, (3, 7): 20}
    difficulty = fit(heard)
    mean, rho = difficulty.p.estimate, difficulty.correlation.estimate
    assert rho > 0.1
    draws: Array = np.random.default_rng(20261122).beta(mean * (1 / rho - 1), (1 - mean) * (1 / rho - 1), 200_000)
    expected = unsettled(draws, 6, 30)
    error = float(expected.std()) / len(draws) ** 0.5
    assert share_unsettled(difficulty, 6, 30) == pytest.approx(float(expected.mean()), abs=4 * error + 1e-4)
