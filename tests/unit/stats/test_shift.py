"""Whether a run's steps are contested more often than its pilot's: the test, and where it is made."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from maker.stats.losing_votes import Histogram, Neighbours, Stretches
from maker.stats.monitor import ALPHA, AT_END, EARLIER, Alarm, Monitor
from maker.stats.vote_tests import Finding, PilotSteps, Rule, Seen, Statistic, findings

K = 3


def losing(rng: random.Random, p: float) -> int:
    """Draw the losing votes of a race to 3: (3pq)^l (1 - 3pq)."""
    votes = 0
    while rng.random() < 3 * p * (1 - p):
        votes += 1
    return votes


def pilot_of(rng: random.Random, p: float, steps: int) -> PilotSteps:
    """Draw a pilot: a race has no losing vote where its first three votes are alike."""
    return PilotSteps(steps, sum(losing(rng, p) > 0 for _ in range(steps)))


def shift(steps: int, contested: int, pilot: PilotSteps) -> Finding:
    """Return what the test finds of so many steps of a run."""
    seen = Seen(Histogram((steps - contested, contested)), Stretches().copied(), Neighbours(1).all_in_order())
    return findings(seen, Rule(K), pilot)[-1]


def watched(votes: Iterable[int], pilot: PilotSteps | None) -> list[Alarm]:
    """Return the alarms of a whole run."""
    monitor = Monitor([Rule(K)], pilot={0: pilot} if pilot else None)
    for place, one in enumerate(votes):
        monitor.observe(0, one + K, one, place)
    return monitor.look() + monitor.rest((), ended=True)


@pytest.mark.parametrize(
    ("run", "pilot", "p"),
    [
        # Of the 20 ways to have three contested steps among six, one has all three in the run.
        ((3, 3), (3, 0), 1 / 20),
        # C(4, 3) C(4, 1) + C(4, 4) C(4, 0) of C(8, 4) ways.
        ((4, 3), (4, 1), 17 / 70),
        ((4, 0), (4, 4), 1.0),
        ((1000, 0), (300, 0), 1.0),
    ],
)
def test_it_is_fishers(run: tuple[int, int], pilot: tuple[int, int], p: float) -> None:
    """By hand; that the run is easier than its pilot is no finding."""
    found = shift(*run, PilotSteps(*pilot))
    assert (found.statistic, found.found) == (Statistic.SHIFT, run[1])
    assert found.p == pytest.approx(p)


def test_it_says_what_was_expected() -> None:
    found = shift(1000, 80, PilotSteps(300, 12))
    assert found.expected == pytest.approx(40)
    assert found.text.startswith(
        "80 of 1,000 steps have losing votes; 40 were expected, as 12 of the pilot's 300 steps would have. The model is"
    )


def test_first_votes_say_which_steps_are_contested() -> None:
    """Steps with two, three and ten votes alike: at 3 one is contested, at 5 those with three votes are too."""
    alike = {2: 1, 3: 4, 10: 5}
    assert [PilotSteps.of(alike, k) for k in (2, 3, 5, 10)] == [(10, 0), (10, 1), (10, 5), (10, 5)]
    # With no vote more than there are any step of a run could be the pilot's.
    assert PilotSteps.of(alike, 11) is None
    assert PilotSteps.of({}, 3) is None


def test_a_run_like_its_pilot_is_quiet() -> None:
    """Of 400 runs of 500 steps at p = .95, with pilots of 200, none alarms by it (seed 1; two are allowed)."""
    rng = random.Random(1)
    alarmed = 0
    for _ in range(400):
        found = watched([losing(rng, 0.95) for _ in range(500)], pilot_of(rng, 0.95, 200))
        alarmed += Statistic.SHIFT in {one.statistic for one in found}
    assert alarmed == 0


def test_pilot_rows_that_are_the_run_s_leave_room() -> None:
    """A tenth of the rows is hard, and the pilot asks some of the run's own: fewer p are below .05 than that, not 0."""
    rng, low = random.Random(2), 0
    for _ in range(1000):
        p = [0.7 if rng.random() < 0.1 else 0.999 for _ in range(400)]
        asked = [losing(rng, one) > 0 for one in rng.sample(p, 150)]
        low += shift(400, sum(losing(rng, one) > 0 for one in p), PilotSteps(150, sum(asked))).p <= 0.05
    assert 0 < low <= 50


def test_a_model_that_is_worse_since_the_pilot_is_found() -> None:
    """A p of .97 in the pilot and of .9 in the run, which is as even as any: no other test sees it."""
    rng = random.Random(3)
    for _ in range(20):
        votes, pilot = [losing(rng, 0.9) for _ in range(1000)], pilot_of(rng, 0.97, 300)
        assert {one.statistic for one in watched(votes, pilot)} == {Statistic.SHIFT}
        assert watched(votes, None) == []


def test_levels_are_shared_by_the_tests_that_are_made() -> None:
    """Five without a pilot, six with one."""
    votes = [30] * 80
    for pilot, tests in ((None, 5), (PilotSteps(300, 12), 6)):
        found = watched(votes, pilot)
        assert [one.steps for one in found] == [64] * (tests - 4) + [80] * (tests - 4)
        levels = {64: ALPHA * EARLIER / 2 / tests, 80: ALPHA * AT_END / tests}
        assert all(one.level == pytest.approx(levels[one.steps]) for one in found)


def test_a_state_that_is_read_again_goes_on_with_the_pilot() -> None:
    """One of an earlier version too, which was of the same rules: it holds none of a pilot."""
    rng, pilot = random.Random(4), {0: PilotSteps(300, 20)}
    whole, parts = Monitor([Rule(K)], pilot=pilot), Monitor([Rule(K)])
    for place in range(1000):
        votes = losing(rng, 0.9)
        for monitor in (whole, parts):
            monitor.observe(0, votes + K, votes, place)
        if place == 50:
            parts = Monitor.from_json(parts.to_json(), [Rule(K)], pilot=pilot)
    found = parts.look() + parts.rest((), ended=True)
    assert found == whole.look() + whole.rest((), ended=True)
    assert {one.statistic for one in found} == {Statistic.SHIFT}


def test_votes_that_are_asked_in_other_ways_have_no_pilot() -> None:
    """A class that begins anew is compared with nothing; another goes on."""
    monitor = Monitor([Rule(K), Rule(K)], pilot={0: PilotSteps(300, 0), 1: PilotSteps(300, 0)})
    monitor.restart(0, Rule(K, 2))
    for place in range(64):
        for kind in (0, 1):
            monitor.observe(kind, K + 1, 1, place)
    shifted = {one.kind for one in monitor.rest((), ended=True) if one.statistic is Statistic.SHIFT}
    assert shifted == {1}
