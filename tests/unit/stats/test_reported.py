"""The test of votes that weigh log-odds: what a step counts, what it must find, and what it must not find."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence

import pytest

from maker.plugin import Ballots, More
from maker.stats.losing_votes import Histogram
from maker.stats.monitor import ALPHA, FIRST_LOOK, Alarm, Monitor, rule_of
from maker.stats.reported import DIFFER, HALF, WAGERS, Agreement, Odds, surprise
from maker.stats.vote_tests import Rule, Statistic
from voters.bayes import Bayes
from voters.weighted import Weighted, WeightedParams

Votes = Sequence[tuple[str, float]]
Stop = Callable[[Votes], bool]
SURE = math.log(0.9)
UNANIMOUS = surprise([("a", SURE)] * 3)
IN_WORK = 256
VOTER = Weighted(WeightedParams())


# --- what a step counts ---


@pytest.mark.parametrize(
    ("votes", "chance"),
    [
        ([("a", 0.9)] * 3, 0.73),
        ([("a", 0.9), ("a", 0.6)], 0.58),
        ([("a", 0.9), ("b", 0.6)], None),
        ([("a", 0.9), ("b", 0.4), ("a", 0.9)], 0.82),
        ([("a", 0.4), ("b", 0.5)], 1.0),
        ([("a", 0.9)], 1.0),
        ([("a", 1.0), ("a", 0.9)], 0.9),
        ([("a", 1.0), ("b", 1.0)], None),
        ([], 1.0),
    ],
)
def test_how_likely_votes_agree(votes: list[tuple[str, float]], chance: float | None) -> None:
    """All right, or all wrong for one rival; reports of one half or less do not count."""
    found = surprise([(answer, math.log(told)) for answer, told in votes])
    assert found == DIFFER if chance is None else math.exp(-found) == pytest.approx(chance, abs=1e-12)


def test_reports_beyond_what_numbers_hold() -> None:
    """A logarithm rounded to above 0 is a certain reply; thousands of unsure ones that agree are no overflow."""
    assert surprise([("a", 1e-15), ("a", SURE)]) == pytest.approx(-SURE)
    seen = Agreement()
    for _ in range(3):
        seen.add(surprise([("a", math.log(0.6))] * 2000))
    found = seen.finding(IN_WORK)
    assert (found.p, seen.expected) == (0.0, 3.0)
    for _ in range(100_000):
        seen.add(DIFFER)
    assert seen.finding(IN_WORK).p == 1.0


# --- its mean ---


def outcomes(told: Sequence[float], rivals: Sequence[float], stop: Stop) -> Iterator[tuple[float, Votes]]:
    """Yield every course of votes that are right as often as they report, with its chance; ``rivals`` share the rest.

    It stops by the votes that weigh.
    """
    going: list[tuple[float, list[tuple[str, float]]]] = [(1.0, [])]
    while going:
        chance, votes = going.pop()
        if len(votes) == len(told) or stop([one for one in votes if one[1] > HALF]):
            yield chance, votes
            continue
        c = told[len(votes)]
        shares = {"right": c} | {str(rival): (1 - c) * share for rival, share in enumerate(rivals)}
        going += [(chance * share, [*votes, (answer, math.log(c))]) for answer, share in shares.items()]


def weighted_stop(votes: Votes) -> bool:
    """Stop where the voter does."""
    voter = Weighted(WeightedParams(error=0.1, most=0.85))
    weights: dict[str, int] = {}
    for answer, logprob in votes:
        weights[answer] = weights.get(answer, 0) + voter.weigh(logprob)
    return not isinstance(voter.decide(Ballots(dict.fromkeys(weights, 1), weights)), More)


STOPS: dict[str, Stop] = {
    "never": lambda votes: False,
    "as the voter": weighted_stop,
    "at a difference": lambda votes: len({answer for answer, _ in votes}) > 1,
    "once two agree": lambda votes: len(votes) == 2 and votes[0][0] == votes[1][0],
    "in gain": lambda votes: surprise(votes) > 0.4,
}
TOLD = [(0.9, 0.9, 0.9, 0.9), (0.6, 0.6, 0.6, 0.6, 0.6), (0.51, 0.99, 0.8, 0.3, 0.7), (0.95, 0.2, 0.5, 0.95)]


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("rivals", [(1.0,), (0.7, 0.3), (0.25,) * 4], ids=str)
def test_a_step_counts_one_in_the_mean_at_most(told: Sequence[float], rivals: Sequence[float], stop: str) -> None:
    """Of every course, whatever stops it; exactly 1 where one rival gets all wrong votes."""
    mean = math.fsum(chance * math.exp(surprise(votes)) for chance, votes in outcomes(told, rivals, STOPS[stop]))
    assert mean <= 1 + 1e-12
    assert (mean == pytest.approx(1, abs=1e-12)) == (len(rivals) == 1)


def test_it_holds_where_reports_are_drawn_too() -> None:
    """Each reply draws what it reports: the mean over all of them, two rivals."""
    kinds = {0.95: 0.5, 0.7: 0.3, 0.4: 0.2}
    mean = 0.0
    for told in itertools.product(kinds, repeat=4):
        share = math.prod(kinds[one] for one in told)
        mean += share * math.fsum(
            chance * math.exp(surprise(votes)) for chance, votes in outcomes(told, (0.9, 0.1), weighted_stop)
        )
    assert 0.9 < mean < 1


def test_what_a_wager_comes_to() -> None:
    """Two steps that agree with .73 and one that differs, by hand; each step in work is taken for lost."""
    seen = Agreement()
    for one in (UNANIMOUS, DIFFER, UNANIMOUS):
        seen.add(one)
    assert (seen.steps, seen.differ, seen.expected) == (3, 1, pytest.approx(0.54))
    assert seen.finding(2).p == 1.0
    lucky = Agreement()
    for _ in range(30):
        lucky.add(UNANIMOUS)
    stakes = [(1 - w) ** 2 * (1 - w + w / 0.73) ** 30 for w in WAGERS]
    assert lucky.finding(2).p == pytest.approx(3 / sum(stakes), rel=1e-9)


# --- what it finds ---


def feed(monitor: Monitor, surprises: Sequence[float], kind: int = 0) -> list[Alarm]:
    found = []
    for one in surprises:
        monitor.observe_reported(kind, one)
        found += monitor.look()
    return found


@pytest.mark.parametrize(("in_work", "steps"), [(1, 64), (16, 128), (IN_WORK, 896)])
def test_votes_that_never_differ_are_found(in_work: int, steps: int) -> None:
    """Replies report .9: at the first look of a chain by itself, later where more steps are in work."""
    (first, *_) = feed(Monitor([Odds()], in_work), [UNANIMOUS] * 1000)
    assert (first.kind, first.statistic, first.steps, first.found) == (0, Statistic.CONFIDENCE, steps, 0)
    assert first.expected == pytest.approx(0.27 * steps)
    assert first.p <= first.level == ALPHA


def test_a_run_that_ends_is_looked_at() -> None:
    """40 rows with 256 in work: nothing while it may go on, an alarm once no step is in work."""
    monitor = Monitor([Odds()], IN_WORK)
    assert not feed(monitor, [UNANIMOUS] * 39 + [DIFFER])
    assert not monitor.rest((), ended=False)
    (alarm,) = monitor.rest((), ended=True)
    assert alarm.text == (
        "votes that weigh differ on 1 of 40 steps; by the probabilities that replies report, they should differ on 11"
        " or more. Votes agree more than these allow: they say little of a single step, so do not rely on the bound"
        " `error`"
    )


def race(rng: random.Random, told: Sequence[float], right: Callable[[float], bool]) -> tuple[float, int]:
    """Hold a race of the voter; return its surprise and how many requests it took."""
    votes: list[tuple[str, float]] = []
    counts: dict[str, int] = {}
    weights: dict[str, int] = {}
    requests = 0
    while isinstance(verdict := VOTER.decide(Ballots(counts, weights)), More):
        requests += 1
        for _ in range(verdict.n):
            c = rng.choice(told)
            answer = "right" if right(c) else rng.choice("xxxy")
            votes.append((answer, math.log(c)))
            counts[answer] = counts.get(answer, 0) + 1
            weights[answer] = weights.get(answer, 0) + VOTER.weigh(math.log(c))
    return surprise(votes), requests


def shown(monitor: Monitor, steps: Sequence[tuple[float, int]]) -> list[Alarm]:
    """Show steps in the order in which they end: `IN_WORK` are in work, and each request takes a round of them all."""
    order = sorted(range(len(steps)), key=lambda place: place + IN_WORK * steps[place][1])
    return feed(monitor, [steps[place][0] for place in order]) + monitor.rest((), ended=True)


@pytest.mark.parametrize("told", [(0.9,), (0.99, 0.7, 0.4)], ids=str)
def test_calibrated_steps_raise_no_alarm(told: Sequence[float]) -> None:
    """None of 200 runs of 1,000 steps does, 256 of them in work, though those that agree end first."""
    rng = random.Random(f"calibrated {told}")
    for _ in range(200):
        steps = [race(rng, told, lambda c: rng.random() < c) for _ in range(1000)]
        assert not shown(Monitor([Odds()], IN_WORK), steps)


def test_steps_in_work_have_to_be_counted() -> None:
    """The same steps shown to a monitor that knows of none in work mislead it each time: those that agree end first."""
    rng = random.Random("in work")
    for _ in range(10):
        assert shown(Monitor([Odds()]), [race(rng, (0.9,), lambda c: rng.random() < c) for _ in range(1000)])


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_steps_that_are_right_or_wrong_throughout_are_found(share: float) -> None:
    """Replies report .95 and .85, .02 of them differ from the rest of their row; all of 20 runs alarm by their end."""
    rng = random.Random(f"wrong throughout {share}")
    for _ in range(20):
        steps = []
        for _ in range(1000):
            wrong = rng.random() < share
            steps.append(race(rng, (0.95, 0.85), lambda _, wrong=wrong: (rng.random() < 0.02) == wrong))
        (alarm, *_) = shown(Monitor([Odds()], IN_WORK), steps)
        assert alarm.statistic is Statistic.CONFIDENCE


# --- beside other classes, and what is kept ---


def test_each_class_has_its_part_of_alpha() -> None:
    """Two watched classes have half each; the one that races has its five tests and looks as before."""
    monitor = Monitor([Rule(3), None, Odds()])
    (first, *_) = feed(monitor, [UNANIMOUS] * 64, kind=2)
    assert (first.kind, first.level) == (2, ALPHA / 2)
    for place in range(FIRST_LOOK):
        monitor.observe(0, 33, 30, place)
        monitor.observe(2, 33, 30, place)
        monitor.observe_reported(0, UNANIMOUS)
        monitor.observe_reported(1, UNANIMOUS)
    found = monitor.look()
    assert {alarm.kind for alarm in found} == {0}
    assert [alarm.level for alarm in found] == pytest.approx([ALPHA / 2 / 4 / 2 / 5] * len(found))


def test_a_state_goes_on_as_if_nothing_had_been() -> None:
    """Written and read after any step: the same alarms, the same state, which does not grow."""
    rng = random.Random(6)
    rules = (Rule(3), Odds())
    steps = [surprise([("a", math.log(rng.uniform(0.5, 1)))] * 3) if rng.random() < 0.9 else DIFFER for _ in range(700)]
    whole, parts = Monitor(rules), Monitor(rules)
    found = []
    for number, one in enumerate(steps):
        whole.observe_reported(1, one)
        parts.observe_reported(1, one)
        if number % 37 == 0:
            found += parts.look()
            parts = Monitor.from_json(parts.to_json(), rules)
    expected = whole.look()
    assert expected == found + parts.look()
    assert expected
    assert whole.to_json() == parts.to_json()
    assert len(whole.to_json()) < 250


def test_the_state_of_an_earlier_version_goes_on() -> None:
    """It had no statistic for log-odds: such a class is begun, the others go on; other wagers begin anew."""
    old = '{"rules":[[3,1],null],"classes":{"0":[2,[60,4],[6,1,0]]}}'
    monitor = Monitor.from_json(old, [Rule(3), Odds()])
    assert monitor.histogram(0) == Histogram((66, 5))
    assert len(feed(monitor, [UNANIMOUS] * 64, kind=1)) == 1
    assert json.loads(monitor.to_json())["agreements"]["1"][:2] == [64, 0]
    for held in ('{"rules":[[3,1]],"classes":{}}', '{"rules":[[3,1],[[0.5]]],"classes":{},"agreements":{}}'):
        with pytest.raises(ValueError, match="start a new monitor"):
            Monitor.from_json(held, [Rule(3), Odds()])


def test_a_class_that_is_begun_anew_forgets() -> None:
    """Its votes are asked otherwise now, by whatever rule."""
    monitor = Monitor([Odds()])
    feed(monitor, [UNANIMOUS] * 60)
    monitor.restart(0, Odds())
    assert not feed(monitor, [UNANIMOUS] * 20)
    assert not monitor.rest((), ended=True)
    monitor.restart(0, None)
    assert not feed(monitor, [UNANIMOUS] * 100)


def test_which_voters_are_watched_so() -> None:
    """Those that say so, whatever the rotation; votes on parts of answers are not."""
    voter = Weighted(WeightedParams())
    assert rule_of(voter) == rule_of(voter, 7) == Odds()
    assert "parts of answers" in str(rule_of(voter, by_parts=True))
    assert "no statistic for the voter bayes" in str(rule_of(Bayes(Bayes.Params())))
