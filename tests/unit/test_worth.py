"""What flags, blocks and greedy samples are worth: the golden numbers, and elections beside the bound."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from maker.worth import Flagged, block_failure, blocks, flags_worth, one_greedy

RAW = {"right": 9506, "wrong": 80, "flags": {"format": Flagged(right=294, wrong=120)}}
"""A raw error of 2 % in 10,000 samples; the flag hits 60 % of the wrong and 3 % of the right ones."""


def test_flags_pay_where_they_cross_a_k() -> None:
    """10^6 steps: k 5 → 4, 5.21 → 4.24 calls a step; 10^3: k stays 3, 3.125 → 3.183."""
    far = flags_worth(RAW["right"], RAW["wrong"], RAW["flags"], 10**6, 0.95)["format"]  # type: ignore[arg-type]
    assert (far.kept.valid, round(far.kept.p, 5)) == (0.9586, 0.99165)
    assert (far.dropped.k, far.kept.k, far.pays) == (5, 4, True)
    assert (far.dropped.calls_per_step, far.kept.calls_per_step) == pytest.approx((5.2083, 4.2436), abs=1e-4)
    near = flags_worth(RAW["right"], RAW["wrong"], RAW["flags"], 10**3, 0.95)["format"]  # type: ignore[arg-type]
    assert (near.dropped.k, near.kept.k, near.pays) == (3, 3, False)
    assert (near.dropped.calls_per_step, near.kept.calls_per_step) == pytest.approx((3.125, 3.1827), abs=1e-4)


def test_a_flag_can_be_what_makes_a_run_possible() -> None:
    """Without it p is below one half."""
    found = flags_worth(60, 40, {"length": Flagged(right=10, wrong=60)}, 10, 0.9)["length"]
    assert found.dropped.k is None
    assert found.pays


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


def test_a_clean_greedy_pilot_shows_little() -> None:
    """2,000 of 2,000 right show .86 for 100 steps, nothing for 10,000; 1,990 of 2,000 show that 1,000 would fail."""
    few = one_greedy({"a": (2000, 0)}, {"a": 100}, {"a": 7.0}, 0.95)
    assert few.right == pytest.approx((0.05 ** (100 / 2000), 1.0, 1.0))
    assert "not shown" in few.words
    assert few.tokens == 700
    assert one_greedy({"a": (2000, 0)}, {"a": 10_000}, {"a": 7.0}, 0.95).right.low < 1e-6
    assert "would not do" in one_greedy({"a": (1990, 10)}, {"a": 1000}, {"a": 7.0}, 0.95).words
    assert "does as well" in one_greedy({"a": (100_000, 0)}, {"a": 100}, {"a": 7.0}, 0.95).words
