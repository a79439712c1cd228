"""Whether votes of one request, or of one time, hang together: what is found, and that nothing is where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from maker.stats.dependence import change, shared_fate, worst_stretch
from maker.stats.request_votes import RequestVotes, effective_votes

pytestmark = pytest.mark.plan

CHANCE = 0.001
Steps = list[tuple[RequestVotes, ...]]


def drawn(seed: int, steps: int, wrong: float, *, fate: float = 0.0, sizes: tuple[int, ...] = (5, 5)) -> Steps:
    """Return a pilot's votes, each wrong with the same chance; all replies of a share ``fate`` of requests are one."""
    rng = np.random.default_rng(seed)
    return [
        tuple(
            RequestVotes(
                round_, votes, votes * rng.binomial(1, wrong) if rng.random() < fate else rng.binomial(votes, wrong)
            )
            for round_, votes in enumerate(sizes)
        )
        for _ in range(steps)
    ]


def changed(steps: Steps, start: int, stop: int, wrong: float) -> Steps:
    """Return the votes with those of the second round of a stretch drawn anew."""
    rng = np.random.default_rng(1)
    return [
        (first, second._replace(against=int(rng.binomial(second.votes, wrong))) if start <= place < stop else second)
        for place, (first, second) in enumerate(steps)
    ]


def test_effective_votes_are_those_of_the_formula() -> None:
    """Golden: nine votes at .4 are 2.1, five at .5 are 1.7; ten at 1 are one, and at 0 ten."""
    found = [effective_votes(votes, rho) for votes, rho in ((9, 0.4), (5, 0.5), (10, 1.0), (10, 0.0))]
    assert found == pytest.approx([9 / 4.2, 5 / 3, 1, 10])


@pytest.mark.parametrize(("fate", "wrong"), [(0.3, 0.1), (0.3, 0.5), (1.0, 0.03)])
def test_a_shared_fate_is_found_and_measured(fate: float, wrong: float) -> None:
    """The correlation is the share of requests with one reply, whatever a vote's chance of being right is."""
    found = shared_fate(drawn(3, 600, wrong, fate=fate))
    assert found is not None
    assert found.chance < CHANCE
    low, estimate, high = found.correlation
    assert low - 0.05 < fate < high + 0.05
    assert estimate == pytest.approx(fate, abs=0.12)


@pytest.mark.parametrize("wrong", [0.003, 0.1, 0.5])
def test_independent_votes_are_no_shared_fate(wrong: float) -> None:
    """Of 100 pilots five or so have a chance below .05; none is found, and 0 is in every interval."""
    found = [shared_fate(drawn(seed, 100, wrong)) for seed in range(100)]
    measured = [one for one in found if one is not None]
    assert len(measured) == 100
    assert sum(one.chance <= 0.05 for one in measured) <= 11
    assert not any(one.chance < CHANCE for one in measured)


def test_steps_that_are_unlike_are_no_shared_fate() -> None:
    """Some steps are wrong half of the time, and most never: votes of one request agree no more than those of two."""
    found = shared_fate(drawn(1, 500, 0.0) + drawn(2, 100, 0.5))
    assert found is not None
    assert (found.steps, found.chance > 0.05) == (100, True)


def test_models_that_are_unlike_are_no_shared_fate() -> None:
    """A poor model beside a good one: only requests to the same model are compared."""
    good, poor = drawn(1, 300, 0.05), drawn(2, 300, 0.5)
    found = shared_fate(
        [(*one, *(two._replace(model=1) for two in other)) for one, other in zip(good, poor, strict=True)]
    )
    assert found is not None
    assert found.chance > 0.05


def test_few_differing_votes_show_little() -> None:
    """The upper end stays near 1 where next to nothing was seen, and comes down with the steps that differ."""
    lone = (RequestVotes(0, 5, 1), RequestVotes(1, 5, 0))
    ends = [shared_fate([lone] * steps) for steps in (1, 30, 1000)]
    assert [round(one.correlation.high, 2) for one in ends if one] == [1.0, 0.57, 0.03]
    none = shared_fate(drawn(1, 50, 0.0))
    assert none is not None
    assert (none.steps, tuple(none.correlation), none.chance) == (0, (0.0, 0.0, 1.0), 1.0)


def test_one_request_a_step_says_nothing() -> None:
    """Nor do requests for one vote each: there is nothing to compare."""
    assert shared_fate(drawn(1, 50, 0.3, sizes=(10,))) is None
    assert shared_fate(drawn(1, 50, 0.3, sizes=(1, 1))) is None
    assert shared_fate([]) is None


def test_large_requests_are_compared_too() -> None:
    """Of more votes than can be counted out, the permutations are drawn."""
    shared, fair = (shared_fate(drawn(2, 40, 0.4, fate=fate, sizes=(100, 100))) for fate in (0.5, 0.0))
    assert shared is not None and fair is not None
    assert shared.chance < CHANCE < 0.05 < fair.chance


def test_a_drift_is_found() -> None:
    """The second round is wrong three times as often: the change is told with both shares."""
    found = change(changed(drawn(1, 300, 0.03), 0, 300, 0.09))
    assert found is not None
    assert (found.start, found.stop, found.chance < CHANCE) == (0, 300, True)
    assert (found.before, found.after) == (pytest.approx(0.03, abs=0.015), pytest.approx(0.09, abs=0.025))


def test_bad_minutes_are_found_where_they_were() -> None:
    """Forty steps asked one after another are half wrong, once: the stretch overlaps them."""
    found = worst_stretch(changed(drawn(1, 400, 0.03), 100, 140, 0.5))
    assert found is not None
    assert found.chance < CHANCE
    assert found.start < 140 and found.stop > 100 and found.stop - found.start <= 128
    assert found.after > 4 * found.before


@pytest.mark.parametrize("fate", [0.0, 1.0])
def test_what_does_not_change_is_found_to_be_so(fate: float) -> None:
    """Also where votes of one request share a fate: requests are flipped as a whole."""
    pilots = [drawn(seed, 100, 0.1, fate=fate) for seed in range(40)]
    for test in (change, worst_stretch):
        found = [one.chance for pilot in pilots if (one := test(pilot)) is not None]
        assert len(found) == 40
        assert sum(chance <= 0.05 for chance in found) <= 6
        assert min(found) >= CHANCE


def test_nothing_differs_nothing_changes() -> None:
    """Nor in a pilot of one round, nor in one too short for a stretch."""
    assert change(drawn(1, 50, 0.0)) is None
    assert worst_stretch(drawn(1, 50, 0.0)) is None
    assert change(drawn(1, 50, 0.3, sizes=(10,))) is None
    assert worst_stretch(drawn(1, 10, 0.5)) is None
