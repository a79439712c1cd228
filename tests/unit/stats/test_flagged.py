"""Flags that hide hard steps are found, and flags that fall anywhere are not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from maker.stats.difficulty import fit
from maker.stats.flagged import worse_reading
from maker.stats.mixture import Array

pytestmark = pytest.mark.plan


def heard(rng: np.random.Generator, p: Array, flagged: Array, votes: int = 10) -> Counter[tuple[int, int, int]]:
    """Draw a pilot of one step for each p, whose samples are flagged with the given chance."""
    flags = rng.binomial(votes, flagged)
    right = rng.binomial(votes - flags, p)
    return Counter((int(r), int(votes - f - r), int(f)) for r, f in zip(right, flags, strict=True))


def test_steps_that_are_nearly_all_flagged_are_not_heard_by_their_few_votes() -> None:
    reading = worse_reading({(10, 0, 0): 298, (1, 0, 9): 2})
    assert reading == {(10, 0): 298, (1, 9): 2}
    assert fit(reading).failure(200).estimate > 0.005


def test_steps_without_a_valid_vote_count() -> None:
    assert worse_reading({(10, 0, 0): 280, (9, 0, 1): 19, (0, 0, 10): 1}) == {(10, 0): 280, (9, 0): 19, (0, 10): 1}


@pytest.mark.parametrize("flagged", [0.0, 0.02, 0.3, 0.7])
@pytest.mark.parametrize("p", [0.9, 0.99, 1.0])
def test_flags_that_fall_anywhere_hide_nothing(p: float, flagged: float) -> None:
    """Of 100 pilots of 300 steps at most four have silenced steps, where one may."""
    rng = np.random.default_rng(8)
    found = [worse_reading(heard(rng, np.full(300, p), np.full(300, flagged))) for _ in range(100)]
    assert sum(one is not None for one in found) <= 4


def test_a_pilot_without_flags_or_votes_has_no_other_reading() -> None:
    assert worse_reading({(10, 0, 0): 5, (8, 2, 0): 1}) is None
    assert worse_reading({(0, 0, 10): 5}) is None
