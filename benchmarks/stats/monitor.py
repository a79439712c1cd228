"""The correlation monitor on simulated runs: how often it alarms where nothing is the matter, and where something is.

    python -m benchmarks.stats.monitor [--runs 500] [--seed 20261122]

Each run has 10^4 steps of k = 3, e = 1 - p = .02, no labels and no pilot, if its name does not say otherwise. Races are
drawn whole, from their law or vote by vote; every step goes through `Monitor.observe`, with a look after each 100 and
one when the run ends. The last column counts the runs in which each test alarmed. At the end: what observing and
looking cost.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import islice
from typing import NamedTuple

from benchmarks.shared.comparing import Goal, judged, print_goals, table
from benchmarks.shared.options import make_parser, read_options
from maker.stats.monitor import Monitor
from maker.stats.vote_tests import PilotSteps, Rule, Statistic

K = 3
THIN = 1e-18
STEPS, PILOTED = 10_000, 300
BATCH = 100
E = 0.02
ENGINE_STEP_US = 40.0
"""Microseconds of a step of the engine with a simulated model, of which the monitor may take 3 %."""

Stream = Iterable[tuple[int, int]]
"""For each step its class and its losing votes, in the order in which the steps stand."""
Ended = Iterable[tuple[int, int, int]]
"""The same with each step's place, in the order in which the steps end."""


class Scenario(NamedTuple):
    """A way in which runs vote: ``steps`` draws one; ``rules`` are those of its classes.

    ``ending`` says in which order steps end where that is not the order in which they stand. ``pilot`` is e of
    the `PILOTED` steps of a pilot, where there was one.
    """

    name: str
    steps: Callable[[random.Random], Stream]
    rules: Sequence[Rule] = (Rule(K),)
    in_work: int = 1
    ending: Callable[[Stream, random.Random], Ended] | None = None
    pilot: float | None = None

    def asked(self, rng: random.Random) -> dict[int, PilotSteps]:
        """Draw the pilot, by class: a race without a losing vote is one whose first k votes are alike."""
        if self.pilot is None:
            return {}
        contested = sum(losing(rng, 1 - self.pilot) > 0 for _ in range(PILOTED))
        return {0: PilotSteps(PILOTED, contested)}

    def draw(self, rng: random.Random) -> Ended:
        """Draw a run."""
        steps = self.steps(rng)
        if self.ending is not None:
            return self.ending(steps, rng)
        return ((kind, votes, place) for place, (kind, votes) in enumerate(steps))


def losing(rng: random.Random, p: float) -> int:
    """Draw a race against one rival from its law, which for k = 3 is (3pq)^l (p^3 + q^3)."""
    x, left = p * (1 - p), rng.random()
    term, votes = p**K + (1 - p) ** K, 0
    while left >= term > THIN:
        left -= term
        term *= 3 * x
        votes += 1
    return votes


def by_votes(errs: Callable[[int], bool]) -> int:
    """Hold a race vote by vote: ``errs`` says whether vote i is wrong."""
    right = wrong = 0
    while -K < right - wrong < K:
        if errs(right + wrong):
            wrong += 1
        else:
            right += 1
    return min(right, wrong)


def alike(e: float = E, steps: int = STEPS) -> Callable[[random.Random], Stream]:
    """All steps have the same e."""

    def draw(rng: random.Random) -> Stream:
        law = [(1 - 3 * e * (1 - e)) * (3 * e * (1 - e)) ** votes for votes in range(40)]
        return ((0, votes) for votes in rng.choices(range(len(law)), law, k=steps))

    return draw


def classes(errors: Sequence[float], shares: Sequence[float]) -> Callable[[random.Random], Stream]:
    """Classes of steps, each with its own e and its share of the run."""

    def draw(rng: random.Random) -> Iterator[tuple[int, int]]:
        for kind in rng.choices(range(len(errors)), shares, k=STEPS):
            yield kind, losing(rng, 1 - errors[kind])

    return draw


def rotation(*errors: float) -> Callable[[random.Random], Stream]:
    """Vote i is wrong with the error of the model whose turn it is."""

    def draw(rng: random.Random) -> Iterator[tuple[int, int]]:
        for _ in range(STEPS):
            yield 0, by_votes(lambda vote: rng.random() < errors[vote % len(errors)])

    return draw


def first_greedy(first: float) -> Callable[[random.Random], Stream]:
    """The first vote is drawn at temperature 0: wrong on a share of the steps of its own."""

    def draw(rng: random.Random) -> Iterator[tuple[int, int]]:
        for _ in range(STEPS):
            yield 0, by_votes(lambda vote: rng.random() < (E if vote else first))

    return draw


def flagged(share: float) -> Callable[[random.Random], Stream]:
    """A share of the samples is flagged, whatever they say, and another is drawn."""

    def draw(rng: random.Random) -> Iterator[tuple[int, int]]:
        def errs(_: int) -> bool:
            while True:
                wrong = rng.random() < E
                if rng.random() >= share:
                    return wrong

        for _ in range(STEPS):
            yield 0, by_votes(errs)

    return draw


def rivals(number: int, e: float) -> Callable[[random.Random], Stream]:
    """Several wrong answers share the error evenly; the strongest one's votes count."""

    def draw(rng: random.Random) -> Iterator[tuple[int, int]]:
        for _ in range(STEPS):
            counts = [0] * (number + 1)
            while True:
                counts[rng.randrange(1, number + 1) if rng.random() < e else 0] += 1
                second, first = sorted(counts)[-2:]
                if first - second >= K:
                    break
            yield 0, second

    return draw


def copies(c: float) -> Callable[[random.Random], Stream]:
    """Each later vote copies the step's first one with probability c."""

    def draw(rng: random.Random) -> Iterator[tuple[int, int]]:
        for _ in range(STEPS):
            first = rng.random() < E
            e = c * first + (1 - c) * E

            def errs(vote: int, first: bool = first, e: float = e) -> bool:
                return rng.random() < e if vote else first

            yield 0, by_votes(errs)

    return draw


def each(p: Callable[[random.Random, int], float]) -> Callable[[random.Random], Stream]:
    """Each step has a p of its own."""

    def draw(rng: random.Random) -> Iterator[tuple[int, int]]:
        for step in range(STEPS):
            yield 0, losing(rng, p(rng, step))

    return draw


def side_by_side(chains: int, even: bool) -> Callable[[Stream, random.Random], Ended]:
    """So many steps are in work at once, and count when they end: a losing vote costs a round, each as long or not."""

    def end(steps: Stream, rng: random.Random) -> Ended:
        ends: list[tuple[float, int, int, int]] = []
        now = 0.0
        for place, (kind, votes) in enumerate(steps):
            if place >= chains:
                now, *ended = heappop(ends)
                yield ended[0], ended[1], ended[2]
            rounds = (1.0 if even else rng.expovariate(1) for _ in range(votes + 1))
            heappush(ends, (now + sum(rounds), kind, votes, place))
        yield from ((kind, votes, place) for _, kind, votes, place in sorted(ends))

    return end


FIVE = (Rule(K),) * 5
POOL = (Rule(K, 2),)
QUIET = (
    Scenario("homogeneous", alike()),
    Scenario("five classes, e = .002 to .1", classes((0.002, 0.01, 0.02, 0.05, 0.1), (4, 2, 2, 1, 1)), FIVE),
    Scenario("temperature-0 first votes, as good as the rest", first_greedy(E)),
    Scenario("temperature-0 first votes, never wrong", first_greedy(0.0)),
    Scenario("two-model pool, e = .01 and .03", rotation(0.01, 0.03), POOL),
    Scenario("two-model pool, e = .01 and .04", rotation(0.01, 0.04), POOL),
    Scenario("10 % random flags", flagged(0.1)),
    Scenario("three-model pool, e = .01, .02 and .04", rotation(0.01, 0.02, 0.04), (Rule(K, 3),)),
    Scenario("six rivals, e = .1", rivals(6, 0.1)),
    Scenario("1,000 steps in work at once", alike(), in_work=1000, ending=side_by_side(1000, even=True)),
    Scenario(
        "1,000 at once, e = .1, rounds of any length", alike(0.1), in_work=1000, ending=side_by_side(1000, even=False)
    ),
    Scenario("10^5 steps looked at every 100", alike(steps=100_000)),
    Scenario("homogeneous, after a pilot of 300 steps", alike(), pilot=E),
)
WRONG = (
    Scenario("1 % of the steps at e = .5", each(lambda rng, _: 0.5 if rng.random() < 0.01 else 1 - E)),
    Scenario("later votes copy the first, c = .3", copies(0.3)),
    Scenario("p ~ Beta(19,1)", each(lambda rng, _: rng.betavariate(19, 1))),
    Scenario("p drifts .99 to .9", each(lambda _, step: 0.99 - 0.09 * step / STEPS)),
    Scenario("one class of five at p = .45", classes((0.55, E, E, E, E), (1, 1, 1, 1, 1)), FIVE),
    Scenario("the same, with 2 % of the steps", classes((0.55, E, E, E, E), (2, 24, 24, 25, 25)), FIVE),
    Scenario("e = .06 after a pilot at .02", alike(0.06), pilot=E),
)


def alarms(scenario: Scenario, runs: int, seed: int) -> tuple[int, Counter[Statistic]]:
    """Return in how many runs anything alarmed, and in how many each test did."""
    rng = random.Random(f"{seed} {scenario.name}")
    alarmed, by = 0, Counter[Statistic]()
    for _ in range(runs):
        monitor, found = Monitor(scenario.rules, scenario.in_work, scenario.asked(rng)), set[Statistic]()
        stream = iter(scenario.draw(rng))
        while batch := list(islice(stream, BATCH)):
            for kind, votes, place in batch:
                monitor.observe(kind, votes + K, votes, place)
            found.update(alarm.statistic for alarm in monitor.look())
        found.update(alarm.statistic for alarm in monitor.rest((), ended=True))
        alarmed += bool(found)
        by.update(found)
    return alarmed, by


def cost_us(seed: int, steps: int) -> tuple[float, float]:
    """Return the microseconds a step of observing alone, and of the looks, over so many steps."""
    drawn = [(place, votes) for place, (_, votes) in enumerate(alike(steps=steps)(random.Random(seed)))]
    monitor = Monitor((Rule(K),))
    began = time.perf_counter()
    for _place, _votes in drawn:
        pass
    loop = time.perf_counter() - began
    began = time.perf_counter()
    for place, votes in drawn:
        monitor.observe(0, votes + K, votes, place)
    observing = time.perf_counter() - began - loop
    began = time.perf_counter()
    monitor.look()
    monitor.rest((), ended=True)
    looking = time.perf_counter() - began
    print(f"state after {steps:,} steps: {len(monitor.to_json())} bytes", file=sys.stderr)
    return observing / steps * 1e6, looking / steps * 1e6


def main() -> int:
    """Run all scenarios; print alarms beside their goals, and the cost."""
    parser = make_parser(__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--cost-steps", type=int, default=1_000_000, help="over which the cost is taken")
    parser.add_argument("--seed", type=int, default=20261122)
    options = read_options(parser, runs=1, cost_steps=10_000)
    print(f"{options.runs} runs each, seed {options.seed}")
    rows = []
    for scenarios, share, least in ((QUIET, 0.01, False), (WRONG, 0.95, True)):
        for scenario in scenarios:
            began = time.perf_counter()
            alarmed, by = alarms(scenario, options.runs, options.seed)
            print(f"{scenario.name}: {alarmed} ({time.perf_counter() - began:.0f} s)", file=sys.stderr)
            tests = ", ".join(f"{one} {by[one]}" for one in Statistic if by[one])
            (goal,) = judged([Goal(scenario.name, share * options.runs, alarmed, least=least)], options)
            rows.append((*goal.row(), tests))
    table("runs with an alarm", ("", "goal", "runs", "", "by"), rows)
    observing, looking = cost_us(options.seed, options.cost_steps)
    costs = [
        Goal("observe, a step", None, observing, " us"),
        Goal("looks, spread over the steps", None, looking, " us"),
        Goal("both, of the engine's 40 us", 3, (observing + looking) / ENGINE_STEP_US * 100, " %", least=False),
    ]
    print_goals(costs, options, title=f"cost over {options.cost_steps:,} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
