"""What margin a run of unlike states needs: the microagents' checker against the formula for like ones."""

from __future__ import annotations

import importlib.util
import itertools
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

from maker.stats.race import least_k, run_right, votes_per_step

FILE = Path(__file__).parents[3] / "examples" / "hanoi_microagent" / "margins.py"


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    """Return the module of the example that works margins out."""
    if not FILE.is_file():
        pytest.skip("the example is not here")
    spec = importlib.util.spec_from_file_location("hanoi_microagent_margins", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("valid", [1.0, 0.6])
def test_states_that_are_alike_need_what_the_mean_says(checker: ModuleType, valid: float) -> None:
    """With 1,000 equal steps both ways agree with the closed form; flagged samples cost samples alone."""
    found = checker.margins(10, 1.0, chances=[(0.9 * valid, 0.1 * valid)] * 500, meant=[2.0] * 500)
    assert found.by_mean == found.by_states == least_k(0.9, 1000, 0.95)
    assert found.mean_error == pytest.approx(0.1)
    assert found.kept == pytest.approx(found.promised) == pytest.approx(run_right(0.9, found.by_mean, 1000))
    assert found.votes == pytest.approx(votes_per_step(0.9, found.by_states))
    assert found.samples == pytest.approx(found.most_samples) == pytest.approx(found.votes / valid)
    assert found.wrong_steps[1] == pytest.approx(100)
    assert found.disputed_steps[3] == pytest.approx(1000 * (1 - 0.9**3 - 0.1**3))


def test_one_bad_state_asks_for_more_than_the_mean(checker: ModuleType) -> None:
    """One step of a thousand with odds .8 is the worked example: k = 2 by the mean, 14 by the state."""
    found = checker.margins(10, 1.0, chances=[(1.0, 0.0)] * 999 + [(1 / 1.8, 0.8 / 1.8)], meant=[1.0] * 1000)
    assert (found.by_mean, found.by_states) == (2, 14)
    assert found.promised > 0.95
    assert found.kept == pytest.approx(1 / 1.64)
    assert found.right == pytest.approx(1 / (1 + 0.8**14))
    assert found.most_samples == pytest.approx(votes_per_step(1 / 1.8, 14))
    assert found.samples == pytest.approx((999 * 14 + found.most_samples) / 1000)


def test_a_state_that_is_wrong_by_likelihood_has_no_margin(checker: ModuleType) -> None:
    """Where the likeliest answer is wrong no margin helps; the states that stand for no step do not count."""
    states = [(1 - 1e-9, 1e-9)] * 999 + [(0.4, 0.6)]
    assert checker.margins(10, 1.0, chances=states, meant=[1.0] * 1000).by_states is None
    assert checker.margins(10, 1.0, chances=states, meant=[1.0] * 999 + [0.0]).by_states == 1
    hopeless = checker.margins(10, 1.0, chances=[(1e-200, 1.0)] * 9, meant=[1.0] * 9)
    assert (hopeless.by_mean, hopeless.by_states) == (None, None)
    assert hopeless.wrong_steps[20] == pytest.approx(9)
    assert "none" in checker.table([hopeless])


def test_races_go_wrong_as_often_as_the_states_say(checker: ModuleType) -> None:
    """20,000 races for a lead of 3 in each of two states: one rival within 4 sigma, two not above that bound."""
    states = [(0.7, 0.3), (0.6, 0.2, 0.2)]
    draw, lost = random.Random(0), [0, 0]
    for state, _ in itertools.product(range(2), range(20_000)):
        counts = [0] * len(states[state])
        while max(counts) - sorted(counts)[-2] < 3:
            counts[draw.choices(range(len(counts)), states[state])[0]] += 1
        lost[state] += counts.index(max(counts)) != 0
    bounds = [checker.margins(10, 1.0, chances=[state], meant=[1.0]).wrong_steps[3] for state in states]
    sigmas = [(bound * (1 - bound) / 20_000) ** 0.5 for bound in bounds]
    assert abs(lost[0] / 20_000 - bounds[0]) < 4 * sigmas[0]
    assert lost[1] / 20_000 < bounds[1] + 4 * sigmas[1]
