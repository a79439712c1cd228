"""The correlation monitor: when it looks, what it keeps, what it finds, and what it must not find."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterable
from heapq import heapreplace

import pytest

from maker.stats.losing_votes import MOST_LOSING, PARTS, Histogram, Neighbours, Stretches
from maker.stats.monitor import ALPHA, FIRST_LOOK, Alarm, Monitor, Undecided, rule_of
from maker.stats.vote_tests import Rule, Statistic
from voters.bayes import Bayes
from voters.first_to_ahead_by_k import FirstToAheadByK
from voters.sprt import SPRT

K = 3
Draw = Callable[[random.Random, int], int]


def losing(rng: random.Random, p: float) -> int:
    """Draw the losing votes of a race to 3: (3pq)^l (1 - 3pq)."""
    votes = 0
    while rng.random() < 3 * p * (1 - p):
        votes += 1
    return votes


def copied(rng: random.Random, c: float, e: float) -> int:
    """Hold a race whose later votes copy the first with probability c."""
    wrong = int(rng.random() < e)
    right, rate = 1 - wrong, c * wrong + (1 - c) * e
    while abs(right - wrong) < K:
        if rng.random() < rate:
            wrong += 1
        else:
            right += 1
    return min(right, wrong)


def feed(monitor: Monitor, votes: Iterable[int], kind: int = 0) -> list[Alarm]:
    """Show steps to a monitor, in the order in which they stand; return what its looks at fixed counts find."""
    found, before = [], monitor.histogram(kind).steps
    for place, one in enumerate(votes, before):
        monitor.observe(kind, one + K, one, place)
        found += monitor.look()
    return found


SCENARIOS: list[tuple[str, Draw, set[Statistic]]] = [
    ("homogeneous", lambda rng, _: losing(rng, 0.98), set()),
    ("homogeneous, e = .2", lambda rng, _: losing(rng, 0.8), set()),
    ("a share at e = .5", lambda rng, _: losing(rng, 0.5 if rng.random() < 0.01 else 0.98), {Statistic.DISPERSION}),
    ("copies", lambda rng, _: copied(rng, 0.3, 0.02), {Statistic.DISPERSION}),
    ("Beta(19,1)", lambda rng, _: losing(rng, rng.betavariate(19, 1)), {Statistic.DISPERSION}),
    ("drift", lambda _, step: losing(_, 0.99 - 0.09 * step / 10_000), {Statistic.DRIFT}),
    ("adversarial", lambda rng, _: losing(rng, 0.45), {Statistic.HARD}),
]


@pytest.mark.parametrize(("name", "draw", "expected"), SCENARIOS, ids=[one[0] for one in SCENARIOS])
def test_what_alarms(name: str, draw: Draw, expected: set[Statistic]) -> None:
    """Of 20 runs of 10^4 steps (seed in the name) all find what is there; where nothing is, at most one does."""
    rng = random.Random(f"1 {name}")
    alarmed = 0
    for _ in range(20):
        monitor = Monitor([Rule(K)])
        for step in range(10_000):
            votes = draw(rng, step)
            monitor.observe(0, votes + K, votes, step)
        found = {alarm.statistic for alarm in monitor.look()}
        alarmed += bool(found & expected) if expected else bool(found)
    assert alarmed == 20 if expected else alarmed <= 1


def test_one_step_that_does_not_end_is_found() -> None:
    """500 steps with 12 losing votes, and one with 15 (18 for the winner): it alone alarms, as longest."""
    votes = [1] * 12 + [15] + [0] * 499
    (alarm, *_) = found = feed(Monitor([Rule(K)]), votes)
    assert {one.statistic for one in found} >= {Statistic.LONGEST}
    longest = next(one for one in found if one.statistic is Statistic.LONGEST)
    assert (longest.kind, longest.found) == (0, 15)
    assert longest.p <= longest.level
    assert "a step has 15 losing votes" in longest.text
    assert alarm.steps == FIRST_LOOK


def test_an_alarm_says_what_it_rests_on() -> None:
    """64 steps with 300 losing votes: 94 are expected of a class that goes wrong in .05 of its steps."""
    found = feed(Monitor([Rule(K)]), [5] * 36 + [4] * 28 + [5] * 8)
    (alarm,) = (one for one in found if one.statistic is Statistic.HARD)
    assert (alarm.steps, alarm.found) == (64, 292)
    assert alarm.expected == pytest.approx(94.0, abs=0.1)
    assert alarm.p < alarm.level == pytest.approx(ALPHA / 4 / 2 / 5)
    assert alarm.text.startswith("64 steps have 292 losing votes; 94 are expected if voting fails on 5% of them")


def test_looks_are_at_fixed_counts_whoever_asks() -> None:
    """A look after each step, after each 1,000, or at the end alone find the same."""
    rng = random.Random(3)
    votes = [losing(rng, 0.5 if rng.random() < 0.05 else 0.98) for _ in range(5_000)]
    often, seldom, last = Monitor([Rule(K)]), Monitor([Rule(K)]), Monitor([Rule(K)])
    expected = feed(often, votes)
    found = []
    for step, one in enumerate(votes, 1):
        seldom.observe(0, one + K, one, step)
        last.observe(0, one + K, one, step)
        if step % 1_000 == 0:
            found += seldom.look()
    assert expected
    assert found == last.look() == expected
    assert {alarm.steps for alarm in expected} <= {FIRST_LOOK << look for look in range(8)}
    assert not often.look()


def test_a_state_goes_on_as_if_nothing_had_been() -> None:
    """Written and read after any step: the same alarms, the same state."""
    rng = random.Random(4)
    rules = (Rule(K), None, Rule(4, 2))
    votes = [(rng.choice((0, 1, 2)), losing(rng, 0.9)) for _ in range(2_000)]
    whole, parts = Monitor(rules), Monitor(rules)
    found = []
    for number, (kind, one) in enumerate(votes):
        whole.observe(kind, one + K, one, number)
        parts.observe(kind, one + K, one, number)
        if number % 97 == 0:
            found += parts.look()
            parts = Monitor.from_json(parts.to_json(), rules)
    assert whole.look() == found + parts.look()
    assert whole.rest((), ended=True) == parts.rest((), ended=True)
    assert whole.to_json() == parts.to_json()
    assert len(whole.to_json()) < 800
    assert whole.histogram(0).steps + whole.histogram(2).steps == sum(kind != 1 for kind, _ in votes)
    assert whole.histogram(1) == Histogram()


def test_merging_is_observing_in_sequence() -> None:
    """Histograms of two parts make that of the whole, in either order; looks split and merge them."""
    rng = random.Random(5)
    votes = [losing(rng, 0.8) for _ in range(300)]
    parts = []
    for some in (votes[:60], votes[60:], votes):
        monitor = Monitor([Rule(K)])
        feed(monitor, some)
        parts.append(monitor.histogram(0))
    first, second, whole = parts
    assert first.merged(second) == second.merged(first) == whole == whole.merged(Histogram())
    assert (whole.steps, whole.losing, whole.longest) == (300, sum(votes), max(votes))
    assert whole.contested == sum(one > 0 for one in votes)


def test_what_is_counted() -> None:
    """The lesser of the two foremost candidates' votes, whoever was elected, up to 63."""
    monitor = Monitor([Rule(K)])
    for winner, rival in ((3, 0), (5, 2), (1, 4), (2_000, 1_997)):
        monitor.observe(0, winner, rival, 0)
    counts = monitor.histogram(0).counts
    assert [votes for votes, steps in enumerate(counts) for _ in range(steps)] == [0, 1, 2, MOST_LOSING]


def test_steps_that_end_late_are_no_drift() -> None:
    """Of 1,000 in work those with dissent end last: the first steps seen lack none, the last ones all of theirs."""
    steps = [(place, int(place % 10 == 0)) for place in range(3_000)]
    ended = sorted(steps, key=lambda step: step[0] + 1_000 * step[1])
    for in_work, expected in ((1, {Statistic.DRIFT}), (10, {Statistic.DRIFT}), (1_000, set())):
        monitor = Monitor([Rule(K)], in_work)
        for place, votes in ended:
            monitor.observe(0, votes + K, votes, place)
        assert {one.statistic for one in monitor.look()} == expected
        assert not monitor.rest((), ended=True)


def test_alpha_is_spent_once() -> None:
    """The levels of all tests that a run can ever make sum to .005: 1/(j(j+1)) over looks, evenly over the rest.

    A quarter of it is for looks at fixed counts, a quarter for those at pauses, half for the one at the end.
    """
    assert ALPHA == 0.005
    rules = [Rule(K), None, Rule(K)]
    monitor = Monitor(rules)
    found = feed(monitor, [30] * (FIRST_LOOK << 6)) + feed(monitor, [30] * (FIRST_LOOK << 3), kind=2)
    levels = {(one.kind, one.steps): one.level for one in found}
    assert len(levels) == 7 + 4
    assert sum(levels[0, FIRST_LOOK << look] for look in range(7)) == pytest.approx(ALPHA / 2 / 4 / 5 * 7 / 8)
    assert levels[2, FIRST_LOOK] == levels[0, FIRST_LOOK]
    rests = []
    for _ in range(5):
        monitor.observe(0, 33, 30, 0)
        rests.append(next(one.level for one in monitor.rest((), ended=False) if one.kind == 0))
    assert sum(rests) == pytest.approx(ALPHA / 2 / 4 / 5 * 5 / 6)
    ends = {one.level for one in monitor.rest((), ended=True)}
    assert list(ends) == pytest.approx([ALPHA / 2 / 2 / 5])


def test_steps_that_end_after_the_last_look_are_seen_at_the_end() -> None:
    """1,000 rows, 1 in 50 at p = .5; those end last. No look at a fixed count sees them, the last one does."""
    rng, alarmed = random.Random(11), 0
    for _ in range(30):
        steps = [(place, losing(rng, 0.5 if place % 50 == 7 else 0.98)) for place in range(1_000)]
        monitor = Monitor([Rule(K)], in_work=1_000)
        for place, votes in sorted(steps, key=lambda step: step[1]):
            monitor.observe(0, votes + K, votes, place)
        assert not monitor.look()
        alarmed += bool(monitor.rest((), ended=True))
    assert alarmed == 30


def test_a_rest_looks_at_steps_without_a_decision() -> None:
    """They are seen with the losing votes they have, and not counted; without a new step there is no other look."""
    monitor = Monitor([Rule(K), Rule(K)])
    feed(monitor, [0] * 40)
    assert not monitor.rest((), ended=False)
    found = monitor.rest([Undecided(0, 21, 20, 40)], ended=False)
    assert [(one.statistic, one.steps) for one in found] == [(Statistic.DISPERSION, 41), (Statistic.LONGEST, 41)]
    assert monitor.histogram(0).steps == 40
    assert monitor.rest((), ended=True) == []


@pytest.mark.parametrize(
    ("name", "p"),
    [
        ("drift .97 to .80", lambda place: 0.97 - 0.17 * place / 1_000),
        ("better after its first third", lambda place: 0.8 if place < 333 else 0.97),
        ("50 rows at one half", lambda place: 0.5 if 600 <= place < 650 else 0.97),
    ],
)
def test_a_stretch_that_is_worse_is_found(name: str, p: Callable[[int], float]) -> None:
    """1,000 rows at k = 3: 28 of 30 runs alarm at the latest at their end, in whatever order the rows end."""
    rng, alarmed = random.Random(name), 0
    for _ in range(30):
        steps = [(place, losing(rng, p(place))) for place in range(1_000)]
        rng.shuffle(steps)
        monitor = Monitor([Rule(K)])
        for place, votes in steps:
            monitor.observe(0, votes + K, votes, place)
        found = monitor.look() + monitor.rest((), ended=True)
        alarmed += Statistic.DRIFT in {one.statistic for one in found}
    assert alarmed >= 28


def test_hard_steps_here_and_there_are_no_drift() -> None:
    """Half of the steps at p = .6, in no order: dispersion says so, and where it stands says nothing."""
    rng = random.Random(12)
    monitor = Monitor([Rule(K)])
    found = feed(monitor, [losing(rng, rng.choice((0.6, 0.99))) for _ in range(5_000)])
    assert {one.statistic for one in found + monitor.rest((), ended=True)} >= {Statistic.DISPERSION}
    assert Statistic.DRIFT not in {one.statistic for one in found}


@pytest.mark.plan
def test_short_times_at_which_the_model_is_worse_are_found() -> None:
    """1,000 rows at k = 3, 256 in work, and 5 minutes of 10 rows at p = .5 each: 18 of 20 runs alarm at their end."""
    rng, alarmed = random.Random(13), 0
    for _ in range(20):
        bad = {minute * 10 + row for minute in rng.sample(range(100), 5) for row in range(10)}
        steps = [(place, losing(rng, 0.5 if place in bad else 0.97)) for place in range(1_000)]
        monitor = Monitor([Rule(K)], in_work=256)
        for place, votes in sorted(steps, key=lambda step: step[0] + 256 * min(2, step[1])):
            monitor.observe(0, votes + K, votes, place)
        found = monitor.look() + monitor.rest((), ended=True)
        alarmed += bool({Statistic.BURSTS, Statistic.DRIFT} & {one.statistic for one in found})
    assert alarmed >= 18


def test_neighbours_are_seen_in_whatever_order_they_end() -> None:
    """Within the window the order does not matter, nor where a state is read anew; what comes later is left out."""
    rng = random.Random(14)
    hot = [int(place % 7 in (1, 2, 5)) for place in range(400)]
    late = sorted(range(400), key=lambda place: place + rng.randrange(50))
    inline, mixed = Neighbours(1), Neighbours(64)
    for place in range(400):
        inline.add([100 + place], [100 + place][: hot[place]])
    for place in late:
        mixed.add([100 + place], [100 + place][: hot[place]])
        mixed = Neighbours(64, json.loads(mixed.to_json()))
    one, other = inline.all_in_order(), mixed.all_in_order()
    pairs = sum(hot[place] * sum(hot[place + 1 : place + 5]) for place in range(400))
    assert (one.steps, one.contested, one.pairs) == (400, sum(hot), pairs)
    assert (other.steps, other.contested, other.pairs) == (400, sum(hot), pairs)
    inline.add([100], [100])
    assert inline.all_in_order().steps == 400


@pytest.mark.parametrize("in_work", [1000, 3000])
def test_many_in_work_that_end_late_are_no_burst(in_work: int) -> None:
    """A losing vote costs a round: of a thousand steps in work the contested ones end behind those begun after them."""
    rng = random.Random(in_work)
    for _ in range(6):
        monitor, in_turn, ended = Monitor([Rule(K)], in_work), [0] * in_work, []
        for place in range(8_000):
            votes = losing(rng, 0.98)
            ended.append((heapreplace(in_turn, in_turn[0] + votes + 1) + votes + 1, votes, place))
        for _, votes, place in sorted(ended):
            monitor.observe(0, votes + K, votes, place)
        assert monitor.look() + monitor.rest((), ended=True) == []


def test_neighbours_of_an_earlier_version_are_counted_anew() -> None:
    """Its state tells of runs, not of pairs; what it counted besides is kept."""
    kept = '{"rules":[[3,1]],"classes":{"0":[1,0,0,[3,1],[0,0,[4],[1]],[0,0,0,4,1,1,0]]}}'
    monitor = Monitor.from_json(kept, [Rule(K)])
    feed(monitor, [1, 1])
    seen = monitor._classes[0].seen(0)
    assert (seen.votes.counts, seen.neighbours.steps, seen.neighbours.pairs) == ((3, 3), 2, 1)


def test_a_drift_names_its_stretch() -> None:
    """The text says where: 3 of 5 contested steps are in one part of 31."""
    votes = [3 * int(place % 50 == 0 or 512 <= place < 544) for place in range(1_000)]
    monitor = Monitor([Rule(K)])
    feed(monitor, votes)
    found = next(one for one in monitor.rest((), ended=True) if one.statistic is Statistic.DRIFT)
    assert found.text.startswith(
        "32 of the 32 steps from 512 to 543 have losing votes; 2 were expected, as 52 of all 1,000 have"
    )


def test_a_drift_at_the_end_names_no_step_that_is_not_there() -> None:
    """Parts of 32 steps reach to 1,023; the run has 1,000."""
    monitor = Monitor([Rule(K)])
    feed(monitor, [3 * int(place % 50 == 0 or place >= 960) for place in range(1_000)])
    found = next(one for one in monitor.rest((), ended=True) if one.statistic is Statistic.DRIFT)
    assert found.text.startswith(
        "40 of the 40 steps from 960 on have losing votes; 2 were expected, as 60 of all 1,000"
    )


def test_parts_double_as_the_run_grows() -> None:
    """Whatever the places, and their order, no more than 32 parts are kept, and nothing is lost."""
    stretches = Stretches()
    for place in (5_000, 4_000, *range(5_000, 9_000), 70_000, 3):
        stretches.add([place], [place])
    whole, every = stretches.whole(), list(itertools.chain(*stretches.by_length()))
    assert (whole.first <= 3, whole.end > 70_000, whole.steps, whole.contested) == (True, True, 4_004, 4_004)
    assert len(every) < 2 * PARTS
    parts = [one for one in every if one.end - one.first == 4_096]
    assert (sum(one.steps for one in parts), len(parts)) == (4_004, 18)
    assert Stretches(json.loads(stretches.to_json())).by_length() == stretches.by_length()


def test_the_state_of_an_earlier_version_goes_on() -> None:
    """It has what came before the last look and since, and no places."""
    old = '{"rules":[[3,1]],"classes":{"0":[2,[60,4],[6,1,0]]},"due":[]}'
    monitor = Monitor.from_json(old, [Rule(K)])
    assert monitor.histogram(0) == Histogram((66, 5))
    assert not feed(monitor, [0] * 57)
    state = json.loads(monitor.to_json())["classes"]["0"]
    assert (state[0], state[3]) == (3, [123, 5])


def test_a_state_of_other_rules_is_refused() -> None:
    """What steps of another margin left says nothing of these."""
    state = Monitor([Rule(3), None]).to_json()
    assert json.loads(state)["rules"] == [[3, 1], None]
    with pytest.raises(ValueError, match="start a new monitor"):
        Monitor.from_json(state, [Rule(4), None])


def test_far_tails_end() -> None:
    """Evidence beyond what a number can hold is a probability of 0, found at once."""
    found = feed(Monitor([Rule(K)]), [MOST_LOSING, 20] * (FIRST_LOOK << 8))
    assert min(one.p for one in found if one.statistic is Statistic.HARD) == 0.0


def test_which_voters_are_watched() -> None:
    """Margins of two and more, asked of up to three models in turn; of others it says that there is no statistic."""
    by_three = FirstToAheadByK(FirstToAheadByK.Params(k=3))
    assert rule_of(by_three) == Rule(3)
    assert rule_of(SPRT(SPRT.Params(p=0.9, error=1.4e-3)), 2) == Rule(3, 2)
    assert [Rule(k, turns).allowed for k, turns in ((2, 1), (3, 1), (9, 1), (2, 2), (9, 2), (9, 3))] == [
        1,
        2,
        8,
        1,
        2,
        1,
    ]
    for voter, turns in (
        (Bayes(Bayes.Params()), 1),
        (FirstToAheadByK(FirstToAheadByK.Params(k=1)), 1),
        (FirstToAheadByK(FirstToAheadByK.Params(k=2)), 3),
        (FirstToAheadByK(FirstToAheadByK.Params(k=9)), 4),
    ):
        assert "no statistic" in str(rule_of(voter, turns))


def test_steps_that_end_late_are_no_burst() -> None:
    """The first 32 steps are asked to their end, while of the others those have ended that three votes decide."""

    def ended(draw: random.Random) -> tuple[int, int]:
        votes = [0, 0]
        while abs(votes[0] - votes[1]) < 3:
            votes[draw.random() < 0.25] += 1
        return max(votes), min(votes)

    for seed in range(40):
        draw, monitor = random.Random(seed), Monitor([Rule(3)], 400)
        steps = [(*ended(draw), place) for place in range(400)]
        early, late = (
            [one for one in steps if not one[1] or one[2] < 32],
            [one for one in steps if one[1] and one[2] >= 32],
        )
        alarms = []
        for winner, rival, place in early + late:
            monitor.observe(0, winner, rival, place)
            alarms += monitor.look()
        alarms += monitor.rest((), ended=True)
        assert Statistic.BURSTS not in {alarm.statistic for alarm in alarms}, seed
