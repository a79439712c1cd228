"""What the members of a pool get wrong together, beside numbers worked out by hand and simulated pools."""

from __future__ import annotations

import random

import pytest

from maker.stats.paired import share_within
from maker.stats.shared_errors import all_wrong, effective_votes


def test_rows_that_no_member_is_right_on() -> None:
    """They are counted, and bounded as Clopper and Pearson do."""
    right = [(True, False), (False, False), (False, True), (False, False)] * 25
    found = all_wrong(right, 0.95)
    assert (found.found, found.of) == (50, 100)
    assert (found.low, found.high) == share_within(50, 100, 0.95)
    # 0 of 300: 1 - .025^(1/300).
    assert all_wrong([(True, False)] * 300, 0.95).high == pytest.approx(1 - 0.025 ** (1 / 300), abs=1e-6)


def test_pairs_do_not_show_it() -> None:
    """Any two of three members err as if by chance; all three are wrong together on a quarter of the rows, or never."""
    errors = [(0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)]
    often = [tuple(not one for one in row) for row in errors] * 50
    never = [tuple(bool(one) for one in row) for row in errors] * 50
    for rows, share in ((often, 50), (never, 0)):
        assert all_wrong(rows, 0.95).found == share
        votes = effective_votes(rows, 0.95)
        assert votes is not None
        assert votes.estimate == pytest.approx(3)


@pytest.mark.parametrize(("votes", "rho"), [(9, 0.4), (5, 0.5), (3, 0.0)])
def test_votes_that_hang_together_count_less(votes: int, rho: float) -> None:
    """9 at .4 are 2.1, 5 at .5 are 1.7: a row's errors are one draw with the chance that two of them are alike."""
    rng = random.Random(8)
    rows = []
    for _ in range(20_000):
        common = rng.random() < 0.3
        # Each follows the row's own draw with the root of rho, so that two are correlated by rho.
        rows.append(tuple(not (common if rng.random() < rho**0.5 else rng.random() < 0.3) for _ in range(votes)))
    # One seed: at 4 sigma.
    found = effective_votes(rows, 0.99994)
    assert found is not None
    expected = votes / (1 + (votes - 1) * rho)
    assert found.estimate == pytest.approx(expected, rel=0.05)
    assert found.low < expected < found.high
    assert found.high - found.low < 0.2 * expected


def test_members_that_are_one() -> None:
    """Members who err on the same rows count as one; without an error nothing is known."""
    found = effective_votes([(True, True)] * 80 + [(False, False)] * 20, 0.95)
    assert found is not None
    assert found.estimate == pytest.approx(1)
    assert found.low == pytest.approx(1)
    assert found.high < 1.3
    assert effective_votes([(True, True)] * 80, 0.95) is None


@pytest.mark.parametrize("error", [0.03, 0.2])
def test_an_interval_of_effective_votes_covers(error: float) -> None:
    """With few errors too: of 200 pools of three independent members so many hold 3, within 4 sigma."""
    rng, covered = random.Random(f"covers {error}"), 0
    for _ in range(200):
        found = effective_votes([tuple(rng.random() >= error for _ in range(3)) for _ in range(150)], 0.95)
        covered += found is None or found.low <= 3 <= found.high
    assert covered >= 200 * 0.95 - 4 * (200 * 0.95 * 0.05) ** 0.5
