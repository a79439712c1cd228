"""What exact probabilities come to, against closed forms, and the bounds that held-out prompts allow."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from maker.stats.bounds import mean_at_most, share_at_most
from maker.stats.race import step_right
from maker.training.card import basis_words, bound_rows, kind_rows, rows
from maker.training.figures import MARGINS, Chances, ClassFigures, by_kind, figures, step_wrong

pytestmark = pytest.mark.plan


def chances(right: list[float], *rivals: list[float]) -> Chances:
    array = np.array(right)
    wrong = np.array(rivals or [[0.0] * len(right)])
    return Chances(array, wrong.sum(0), wrong.max(0), array > wrong.max(0))


def judged(found: Chances, *, sampled: bool = False) -> ClassFigures:
    prompts = [f"prompt {i}" for i in range(len(found.right))]
    return figures("sum", "held out" if sampled else "lookup", prompts, {1.0: found}, sampled=sampled)


def test_kinds_are_told_apart() -> None:
    """Of two kinds each has its own prompts, mean, worst one and elections, whatever their order."""
    found = chances([0.9, 0.2, 0.9, 0.4], [0.1, 0.8, 0.1, 0.6])
    kinds = by_kind("all", ["easy", "hard", "easy", "hard"], ["a", "b", "c", "d"], {1.0: found})
    assert [(one.exam, one.kind, one.prompts, one.greedy_right) for one in kinds] == [
        ("all", "easy", 2, 2), ("all", "hard", 2, 0),
    ]  # fmt: skip
    (easy,), (hard,) = (one.heats for one in kinds)
    assert (easy.error, hard.error) == pytest.approx((0.1, 0.7))
    assert (hard.worst, hard.worst_prompt) == (pytest.approx(0.8), "b")
    assert easy.step_wrong[3] == pytest.approx(1 - step_right(0.9, 3))
    (first, _) = kind_rows([replace(judged(found), kinds=kinds)])
    assert first[:6] == ("sum", "all", "easy", "1", "2/2", "1.00e-01")


def test_prompts_that_are_alike() -> None:
    """Then all is as the formula for one p says, flagged replies count for nothing, and there is no spread."""
    (heat,) = judged(chances([0.72] * 50, [0.05] * 50, [0.03] * 50)).heats
    assert heat.error == pytest.approx(0.28)
    assert (heat.wrong, heat.rival, heat.other) == pytest.approx((0.08, 0.05, 0.2))
    assert heat.spread == pytest.approx(0.0, abs=1e-12)
    for k in MARGINS:
        assert heat.step_wrong[k] == pytest.approx(1 - step_right(0.9, k))
        assert heat.alike[k] == pytest.approx(heat.step_wrong[k])
        assert heat.other_votes[k] == pytest.approx(1 - step_right(0.72, k))


def test_one_prompt_that_is_always_wrong() -> None:
    """No margin helps it: the mean error promises far too much, and the prompt is named."""
    found = judged(chances([1.0] * 99 + [0.0], [0.0] * 99 + [1.0]))
    (heat,) = found.heats
    assert (found.greedy_right, found.prompts) == (99, 100)
    assert (heat.worst, heat.worst_prompt) == (1.0, "prompt 99")
    assert heat.spread == pytest.approx(1.0)
    assert all(heat.step_wrong[k] == pytest.approx(0.01) for k in MARGINS)
    assert heat.alike[6] == pytest.approx((0.01 / 0.99) ** 6, rel=1e-3)


@pytest.mark.parametrize(
    ("right", "wrong", "expected"), [(0.0, 0.0, 1.0), (0.0, 0.1, 1.0), (0.1, 0.0, 0.0), (1e-300, 1.0, 1.0)]
)
def test_what_is_never_said(right: float, wrong: float, expected: float) -> None:
    """Nothing is divided by zero: a prompt to which no reply is known counts as wrong."""
    for k in MARGINS:
        assert float(step_wrong(np.array([right]), np.array([wrong]), k)[0]) == expected


def test_races_go_wrong_as_often() -> None:
    """20,000 races for a lead of 3 in each of two states: one rival within 4 sigma, two not above the bound."""
    states = [(0.7, 0.3), (0.6, 0.2, 0.2)]
    draws, lost = random.Random(0), [0, 0]
    for state, _ in itertools.product(range(2), range(20_000)):
        counts = [0] * len(states[state])
        while max(counts) - sorted(counts)[-2] < 3:
            counts[draws.choices(range(len(counts)), states[state])[0]] += 1
        lost[state] += counts.index(max(counts)) != 0
    bounds = [float(step_wrong(np.array([right]), np.array([sum(wrong)]), 3)[0]) for right, *wrong in states]
    sigmas = [(bound * (1 - bound) / 20_000) ** 0.5 for bound in bounds]
    assert abs(lost[0] / 20_000 - bounds[0]) < 4 * sigmas[0]
    assert lost[1] / 20_000 < bounds[1] + 4 * sigmas[1]


def test_held_out_prompts_bound_the_others() -> None:
    """A lookup needs no bound; what was sampled shows no less than 3 over the number of prompts."""
    even = chances([0.99] * 300, [0.01] * 300)
    assert judged(even).at_most is None
    bounds = judged(even, sampled=True).at_most
    assert bounds is not None
    assert bounds.greedy_wrong == share_at_most(0, 300, 0.95) == pytest.approx(0.00994, rel=1e-3)
    assert bounds.error[1.0] == mean_at_most(1 - 0.99, 300, 0.95)
    assert all(bounds.step_wrong[1.0][k] > 0.0099 for k in MARGINS)


def test_a_bound_on_a_mean() -> None:
    """It is the binomial one where nothing was seen, never below it, and 1 where all may be wrong."""
    assert mean_at_most(0.0, 300, 0.95) == pytest.approx(share_at_most(0, 300, 0.95))
    assert mean_at_most(0.01, 300, 0.95) == pytest.approx(0.0311, abs=5e-5)
    assert all(mean_at_most(x / 40, 40, 0.95) >= share_at_most(x, 40, 0.95) - 1e-8 for x in range(41))
    assert mean_at_most(1.0, 300, 0.95) == mean_at_most(0.0, 0, 0.95) == 1.0
    for wrong in ((-0.1, 3, 0.95), (1.1, 3, 0.95), (0.5, 3, 1.0)):
        with pytest.raises(ValueError, match="must lie"):
            mean_at_most(*wrong)


@pytest.mark.parametrize("beta", [(0.5, 9.5), (0.05, 0.95), (20.0, 180.0)])
def test_the_bound_on_a_mean_covers_it(beta: tuple[float, float]) -> None:
    """Of 2,000 samples of 60 values the bound is below the mean in 5 % at the most, within 4 sigma."""
    values = np.random.default_rng(0).beta(*beta, (2000, 60))
    missed = sum(mean_at_most(float(mean), 60, 0.95) < beta[0] / sum(beta) for mean in values.mean(1))
    assert missed <= 100 + 4 * (2000 * 0.05 * 0.95) ** 0.5


def test_what_a_table_says() -> None:
    """Cells go with their heads; classes that are lookups say so, and have no bounds."""
    lookup, sampled = (judged(chances([0.9] * 20, [0.1] * 20), sampled=sampled) for sampled in (False, True))
    ((name, temperature, greedy, error, *_),) = rows([lookup])
    assert (name, temperature, greedy, error) == ("sum", "1", "20/20", "1.00e-01")
    assert bound_rows([lookup]) == []
    assert len(bound_rows([lookup, sampled])) == 1

    def words(one: ClassFigures, **known: Any) -> str:
        return basis_words(one, by_run=False, **known)

    assert "a lookup, examined on all 20 prompts" in words(lookup)
    assert "can have: its training set is its whole domain" in words(lookup, shown=20)
    assert "of which training showed 19: none was kept from training" in words(lookup, shown=19)
    assert "can have: none was kept from training" in words(lookup)
    assert "can have. Judged" in words(lookup, known=False)
    assert "that training never showed" in words(sampled)
    assert "of which training may have shown some" in words(sampled, known=False)
    assert "the run's own decisions, which may be wrong" in basis_words(sampled, by_run=True)
