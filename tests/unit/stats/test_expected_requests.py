"""In how many requests a step's votes are asked for: by hand, and as a run makes them."""

from __future__ import annotations

import random

import pytest

from maker.stats.expected_requests import requests_per_step
from maker.stats.race import votes_per_step

pytestmark = pytest.mark.plan


def once(samples: int) -> int:
    return 1


def test_known_by_hand() -> None:
    assert requests_per_step(1, 1, 0.8, once) == pytest.approx(1 / 0.8)
    assert requests_per_step(5, 5, 1.0, once) == pytest.approx(1)
    # Of two models each is asked by itself.
    assert requests_per_step(5, 5, 1.0, lambda samples: min(samples, 2)) == pytest.approx(2)
    # Two votes that differ leave a race to 2 where it was.
    assert requests_per_step(votes_per_step(0.8, 2), 2, 1.0, once) == pytest.approx(1 / (1 - 2 * 0.8 * 0.2))


@pytest.mark.parametrize(("p", "k", "valid"), [(0.7, 4, 0.9), (0.55, 3, 1.0), (0.95, 8, 0.5)])
def test_as_races_make_them(p: float, k: int, valid: float) -> None:
    rng, races, requests = random.Random(3), 4000, []
    for _ in range(races):
        lead = asked = 0
        while abs(lead) < k:
            asked += 1
            for _ in range(k - abs(lead)):
                if rng.random() < valid:
                    lead += 1 if rng.random() < p else -1
        requests.append(asked)
    mean = sum(requests) / races
    error = (sum((n - mean) ** 2 for n in requests) / races**2) ** 0.5
    assert requests_per_step(votes_per_step(p, k), k, valid, once) == pytest.approx(mean, abs=4 * error)
