"""How wrong votes are split among rivals: laws by closed forms, unbiased pairs by enumeration."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from maker.stats.shares import agreeing, at_points, most_against_rivals, share_laws, split_alike

pytestmark = pytest.mark.plan

POINTS = np.linspace(-9.2, 0.0, 185)


def expected(p: float, rivals: Sequence[float], votes: int, steps: int) -> dict[tuple[int, tuple[int, ...]], int]:
    """Return a pilot that heard just what was to be expected."""
    found = Counter[tuple[int, tuple[int, ...]]]()
    chances = [p, *rivals]
    for counts in itertools.product(range(votes + 1), repeat=len(chances)):
        if sum(counts) == votes:
            orders = math.factorial(votes) / math.prod(map(math.factorial, counts))
            chance = orders * math.prod(one**n for one, n in zip(chances, counts, strict=True))
            found[counts[0], tuple(sorted((n for n in counts[1:] if n), reverse=True))] += round(steps * chance)
    return {cell: n for cell, n in found.items() if n}


def test_the_chances_of_pairs_and_threes_are_the_moments_of_the_share() -> None:
    """Two wrong votes agree with (c+1) / (K+c), three with that times (1+2c) / (K+2c); the others are what is left."""
    splits = {(0, (2,)): 30, (0, (1, 1)): 90, (0, (3,)): 12, (0, (2, 1)): 40, (0, (1, 1, 1)): 60}
    laws = share_laws(splits, 20.0)
    k, c = laws.rivals, laws.spread
    two, three = (c + 1) / (k + c), (1 + 2 * c) / (k + 2 * c)
    # That one of three stands apart is one of three ways in which two of them agree.
    apart = two * (1 - three)
    log = 30 * np.log(two) + 90 * np.log(1 - two) + 12 * np.log(two * three)
    log += 40 * np.log(apart) + 60 * np.log(1 - two * three - 3 * apart)
    assert len(laws.rivals) > 20
    assert laws.deviance == pytest.approx(2 * (log.max() - log), abs=1e-8)
    assert laws.deviance[0] == 0
    assert laws.weight.sum() == pytest.approx(1)


def test_masses_are_those_of_the_share_of_a_wrong_votes_rival() -> None:
    laws = share_laws({(0, (2, 2, 1)): 20, (0, (3, 1, 1)): 20, (0, (1, 1, 1, 1, 1)): 10}, 10.0)
    k, c, share = laws.rivals, laws.spread, np.exp(POINTS)
    mass = laws.masses(POINTS)
    assert mass.sum(axis=1) == pytest.approx(np.ones(len(k)))
    assert mass @ share == pytest.approx(laws.agreement, rel=0.02)
    assert mass @ share**2 == pytest.approx(laws.agreement * (1 + 2 * c) / (k + 2 * c), rel=0.03)


def test_one_rival_is_one_as_long_as_all_wrong_votes_agree() -> None:
    laws = share_laws({(0, (6,)): 300}, 3.84)
    assert laws.rivals[0] == 1
    assert laws.agreement[0] == 1
    assert share_laws({(0, (6,)): 299, (0, (5, 1)): 1}, 3.84).rivals.min() > 1


def test_equal_rivals_are_found_and_their_number_bounded() -> None:
    """Six equal rivals: 3,000 steps know the agreement to a hundredth, 300 to two."""
    many, few = (share_laws(expected(0.4, [0.1] * 6, 6, steps), 3.84).agreement for steps in (300_000, 3000))
    assert many[0] == pytest.approx(1 / 6, abs=1e-3)
    assert (many.max() - many.min()) < (few.max() - few.min()) < 0.03


def test_without_two_wrong_votes_on_a_step_any_law_will_do() -> None:
    laws = share_laws({(9, (1,)): 100, (10, ()): 200}, 3.84)
    assert laws.deviance.max() == 0
    assert (laws.agreement.min(), laws.agreement.max()) == (pytest.approx(1e-4, rel=0.01), 1)


def test_pairs_are_counted_without_favour() -> None:
    """By enumeration: of votes on one step the expected pairs that agree are just the sum of the squared shares."""
    assert agreeing({(0, (2, 1, 1)): 1}) == (6, pytest.approx(1 / 6))
    chances, pairs, same = [0.4, 0.3, 0.2, 0.1], 0.0, 0.0
    for drawn in itertools.product(range(4), repeat=4):
        parts = tuple(n for answer, n in Counter(drawn).items() if answer)
        found = agreeing({(drawn.count(0), parts): 1})
        chance = math.prod(chances[answer] for answer in drawn)
        pairs, same = pairs + chance * found.pairs, same + chance * found.pairs * found.share
    assert same / pairs == pytest.approx(0.25 + 1 / 9 + 1 / 36)
    assert agreeing({(3, (1,)): 5}) == (0, 0)


@pytest.mark.parametrize(
    ("p", "rivals", "share"),
    [(0.3, [0.175] * 4, 0.21 / 0.3325), (0.45, [0.55], 0.45), (0.2, [0.4, 0.4], 1 / 3), (0.4, [0.5, 0.1], 0.48)],
)
def test_p_against_the_strongest_rival_is_bounded_by_pairs(p: float, rivals: list[float], share: float) -> None:
    """The share is no less than p / (p + r) of the strongest rival, and the same where rivals are equal."""
    assert share >= p / (p + max(rivals)) - 1e-9
    for steps, within in ((300_000, 0.003), (3000, 0.02)):
        most = most_against_rivals(expected(p, rivals, 4, steps), 0.975)
        assert share < most < share + within
    assert most_against_rivals({(1, (3,)): 1}, 0.975) == 1
    assert most_against_rivals({(1, ()): 50}, 0.975) == 1


def test_votes_that_agree_more_on_hard_steps_are_told() -> None:
    alike = expected(0.4, [0.2, 0.2, 0.2], 6, 1000)
    assert split_alike(alike) > 0.05
    # On every tenth step all the wrong votes are one rival's.
    mixed = Counter(expected(0.4, [0.2, 0.2, 0.2], 6, 900)) + Counter(expected(0.2, [0.8], 6, 100))
    assert split_alike(mixed) < 1e-6
    # On easy steps it is no matter.
    assert split_alike(Counter(alike) + Counter(expected(0.9, [0.1], 6, 1000))) == 1
    assert split_alike({(6, ()): 10}) == 1


def test_points_share_a_mass_between_them() -> None:
    found = at_points(np.array([-1.0, 0.25, 9.0]), np.array([0.0, 1.0, 2.0]))
    assert found.tolist() == [[1, 0, 0], [0.75, 0.25, 0], [0, 0, 1]]
