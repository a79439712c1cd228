"""Test whether votes of one request, or of one time, are wrong together. Pure; draws come from a fixed seed.

A plan counts the votes of a step as independent, given how hard the step is. A pilot asks each step in several
requests, in two rounds one after the other, and what it hears tests that:

- If a request's replies share a fate, two votes of one request agree more often than two votes of different requests
  on the same step. `shared_fate` permutes each step's votes over its requests.
- If the model changes over time, the second round's votes are wrong more often than the first's on the same steps, or
  the other way round: `change`. Bad minutes do the same to a stretch of steps asked one after another. Under no change
  the sign of each step's difference is a coin flip. That holds with shared fates too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import comb
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maker.stats.difficulty import Interval
from maker.stats.request_votes import RequestVotes

SEED = 20_251
DRAWS = 4999
"""Permutations of a test: its p-value is at least 1 / (DRAWS + 1)."""
COUNTED = 60
"""Of a step with so many votes at most the ways to permute them are counted."""
AT_ONCE = 100_000
"""Random numbers that are drawn together, for the memory's sake."""
RESAMPLES = 2000
UNSEEN = 3
"""So many steps may be of a kind that was not seen, at 95 %, whatever the number of steps: the rule of three."""
BLOCKS = 1024
"""A stretch is looked for among so many blocks of steps, one after another, at most."""
SHORTEST = 8
"""Blocks of the shortest stretch that is looked for."""
Floats: TypeAlias = NDArray[np.float64]


class SharedFate(NamedTuple):
    """How much more votes of one request agree than votes of different requests on the same step.

    Args:
        steps: Steps whose votes differ, once for each model whose votes do: the others say nothing of it.
        correlation: The intra-class correlation within a request, given the step, with its 95 % interval: 0 if votes of
            one request are independent, 1 if all of them are the same.
        chance: The p-value of independent votes, one-sided.
    """

    steps: int
    correlation: Interval
    chance: float


class Change(NamedTuple):
    """How the votes of one stretch of steps changed between two rounds.

    Args:
        start: The first step of the stretch, in the order in which they were asked, 0-based.
        stop: The step after its last.
        before: The share of votes against the steps' answers in the first round.
        after: The same in the second round.
        chance: The p-value of no change, of this stretch or any other that was looked at.
    """

    start: int
    stop: int
    before: float
    after: float
    chance: float


class _Pattern(NamedTuple):
    """A step's requests, by their valid votes and those against.

    ``within`` are the pairs of votes of one request that differ. ``due`` are those to expect, by the pairs of votes of
    different requests that differ.
    """

    votes: tuple[int, ...]
    against: tuple[int, ...]
    within: float
    due: float


def shared_fate(steps: Iterable[Sequence[RequestVotes]]) -> SharedFate | None:
    """Return how votes of one request hang together; None if no step has two votes of one request, and another request.

    Requests for a step are compared that ask the same model: models of a pool are right at different rates.
    The correlation is 1 - D / D', where D counts the differing pairs within requests, and D' what pairs of different
    requests predict for them. Its interval is a bootstrap over the steps. The upper end takes in `UNSEEN` more steps,
    on which the votes of one request are all wrong and the others right: so it is near 1 where few votes differ.

    With two requests of five a step: one vote of ten wrong in each of 150 steps gives 0 [0 to .19], and as many steps
    with one request all wrong 1.
    """
    counts: Counter[tuple[tuple[int, ...], tuple[int, ...]]] = Counter()
    for requests in steps:
        for model in {one.model for one in requests}:
            heard = sorted((one.votes, one.against) for one in requests if one.votes and one.model == model)
            counts[tuple(votes for votes, _ in heard), tuple(against for _, against in heard)] += 1
    table = {_pattern(*key): n for key, n in counts.items() if len(key[0]) > 1 and max(key[0]) > 1}
    if not table:
        return None
    mixed = {one: n for one, n in table.items() if 0 < sum(one.against) < sum(one.votes)}
    sizes: Counter[tuple[int, ...]] = Counter()
    for one, n in table.items():
        sizes[one.votes] += n
    usual = sizes.most_common(1)[0][0]
    fated = _pattern(usual, (*(0 for _ in usual[1:]), usual[-1]))
    rng = np.random.default_rng(SEED)
    low = _resampled(mixed, rng, 0.025) if mixed else 0.0
    high = _resampled(mixed | {fated: mixed.get(fated, 0) + UNSEEN}, rng, 0.975)
    estimate = _correlation(mixed) if mixed else 0.0
    return SharedFate(
        steps=sum(mixed.values()),
        correlation=Interval(min(max(low, 0.0), max(estimate, 0.0)), max(estimate, 0.0), max(high, estimate, 0.0)),
        chance=_chance_of_fate(mixed, rng),
    )


def _pattern(votes: tuple[int, ...], against: tuple[int, ...]) -> _Pattern:
    """Return a step's requests with what they say; every one has a vote, and one of them two."""
    n, m = sum(votes), sum(against)
    within_pairs = sum(size * (size - 1) // 2 for size in votes)
    between_pairs = n * (n - 1) // 2 - within_pairs
    within = sum(wrong * (size - wrong) for size, wrong in zip(votes, against, strict=True))
    between = m * (n - m) - within
    return _Pattern(votes, against, within, between * within_pairs / between_pairs)


def _correlation(table: Mapping[_Pattern, int]) -> float:
    return 1 - sum(n * one.within for one, n in table.items()) / sum(n * one.due for one, n in table.items())


def _resampled(table: Mapping[_Pattern, int], rng: np.random.Generator, quantile: float) -> float:
    """Return a quantile of the correlation, by the bootstrap over steps."""
    counts = np.array(list(table.values()))
    drawn = rng.multinomial(counts.sum(), counts / counts.sum(), RESAMPLES)
    within, due = (drawn @ np.array(parts) for parts in zip(*((one.within, one.due) for one in table), strict=True))
    return float(np.quantile(1 - within / due, quantile))


def _chance_of_fate(mixed: Mapping[_Pattern, int], rng: np.random.Generator) -> float:
    """Return how often votes permuted over the requests of their steps differ as little within requests as these."""
    found, drawn = 0.0, np.zeros(DRAWS)
    for one, steps in mixed.items():
        found += steps * one.within
        values, chances = _permuted(one.votes, sum(one.against), rng)
        drawn += rng.multinomial(steps, chances, DRAWS) @ values
    return float(1 + np.count_nonzero(drawn <= found)) / (DRAWS + 1)


def _permuted(sizes: Sequence[int], against: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return how many pairs within requests may differ when a step's votes are permuted over them, and the chances.

    The votes against in each request are multivariate hypergeometric. Two requests of five, two votes against: 8 pairs
    differ with 5/9, 6 with 4/9. Of more than `COUNTED` votes the chances are drawn: there are too many ways.
    """
    if sum(sizes) > COUNTED:
        drawn = rng.multivariate_hypergeometric(sizes, against, DRAWS, method="marginals")
        values, times = np.unique((drawn * (np.array(sizes) - drawn)).sum(axis=1), return_counts=True)
        return values.astype(float), times / DRAWS
    ways: dict[tuple[int, int], int] = {(0, 0): 1}
    for size in sizes:
        more: Counter[tuple[int, int]] = Counter()
        for (placed, differ), n in ways.items():
            for wrong in range(min(size, against - placed) + 1):
                more[placed + wrong, differ + wrong * (size - wrong)] += n * comb(size, wrong)
        ways = dict(more)
    ended = {differ: n for (placed, differ), n in ways.items() if placed == against}
    total = sum(ended.values())
    return np.array([*ended], dtype=float), np.array([n / total for n in ended.values()])


def change(steps: Sequence[Sequence[RequestVotes]]) -> Change | None:
    """Return the change between the two rounds over all steps; None if no step has votes in both that differ."""
    halves = _by_round(steps)
    differences = _differences(halves)
    if not differences.any():
        return None
    found = abs(differences.sum())
    reached = sum(
        int(np.count_nonzero(abs(signed.sum(axis=1)) >= found - 1e-9)) for signed in _flipped(_blocks(differences))
    )
    return _told(halves, 0, len(steps), (1 + reached) / (DRAWS + 1))


def worst_stretch(steps: Sequence[Sequence[RequestVotes]]) -> Change | None:
    """Return the stretch of steps, asked one after another, whose votes changed most between the two rounds.

    Stretches are `SHORTEST` blocks of steps long, twice as many, and so on, up to half of the steps. The largest
    |sum d| / sqrt(sum d^2) of a stretch is compared with the largest under random signs (a scan statistic), so
    ``chance`` takes all of them into account. None if there are too few steps, or no step's votes changed.
    """
    halves = _by_round(steps)
    blocks = _blocks(_differences(halves))
    stretches = _stretches(len(blocks))
    if not (stretches.size and blocks.any()):
        return None
    spread = np.sqrt(_sums(blocks**2, stretches))
    # Sums of floats leave traces of what was taken off again.
    scale = np.where(spread > 1e-6, spread, np.inf)
    found = abs(_sums(blocks, stretches)) / scale
    place = int(found.argmax())
    reached = sum(
        int(np.count_nonzero((abs(_sums(signed, stretches)) / scale).max(axis=1) >= found[place] - 1e-9))
        for signed in _flipped(blocks)
    )
    bounds = np.linspace(0, len(steps), len(blocks) + 1).astype(int)
    start, stop = (int(bounds[end]) for end in stretches[place])
    return _told(halves, start, stop, (1 + reached) / (DRAWS + 1))


def _by_round(steps: Sequence[Sequence[RequestVotes]]) -> Floats:
    """Return each step's votes and those against, of the first round and of the second: shape (steps, 4)."""
    halves = np.zeros((len(steps), 4))
    for row, requests in zip(halves, steps, strict=True):
        for one in requests:
            row[2 * one.round] += one.votes
            row[2 * one.round + 1] += one.against
    return halves


def _differences(halves: Floats) -> Floats:
    """Return by how much the share against a step's answer rose; 0 for a step without a vote in one of the rounds."""
    first, wrong, second, wrong_again = halves.T
    both = (first > 0) & (second > 0)
    return np.where(both, wrong_again / np.maximum(second, 1) - wrong / np.maximum(first, 1), 0.0)


def _blocks(differences: Floats) -> Floats:
    """Return the differences, those of neighbouring steps added up if there are more than `BLOCKS`."""
    most = min(BLOCKS, len(differences))
    return np.add.reduceat(differences, np.linspace(0, len(differences), most + 1).astype(int)[:-1])


def _flipped(blocks: Floats) -> Iterable[Floats]:
    """Yield `DRAWS` copies of the blocks with random signs, some at a time."""
    rng = np.random.default_rng(SEED)
    for begun in range(0, DRAWS, per := max(1, AT_ONCE // len(blocks))):
        yield blocks * rng.choice((-1.0, 1.0), (min(per, DRAWS - begun), len(blocks)))


def _stretches(blocks: int) -> NDArray[np.int64]:
    """Return the stretches that are looked at, half of each in the next one: shape (stretches, 2)."""
    found, length = [], SHORTEST
    while 2 * length <= blocks:
        found += [(start, start + length) for start in range(0, blocks - length + 1, length // 2)]
        length *= 2
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _sums(blocks: Floats, stretches: NDArray[np.int64]) -> Floats:
    """Return the sums over stretches of the blocks, along the last axis."""
    summed = np.concatenate([np.zeros((*blocks.shape[:-1], 1)), blocks.cumsum(axis=-1)], axis=-1)
    return np.asarray(summed[..., stretches[:, 1]] - summed[..., stretches[:, 0]])


def _told(halves: Floats, start: int, stop: int, chance: float) -> Change:
    first, wrong, second, wrong_again = halves[start:stop].sum(axis=0)
    return Change(start, stop, float(wrong / max(first, 1)), float(wrong_again / max(second, 1)), chance)
