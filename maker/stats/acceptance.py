"""Choose which rows of a finite table to accept, so that few of them are wrong, from labels of a random sample. Pure.

Rules are sets of decided rows, each within the next, from strict to loose; they are ordered by what the log says of the
rows, before anybody looks at a label. A rule of A rows is good if at most e A of them are wrong.

**One test.** If a rule is not good, it holds W = floor(e A) + 1 wrong rows or more. The labelled rows are drawn at
random, so the wrong ones of the rule among them are hypergeometric: that no more than x of these W are drawn has the
chance `maker.stats.bounds.chance_of_few`. Only the draw is random. The table is as it is: rows may repeat one another,
share errors or be wrong in whole blocks, and the chance stays the same. How many of the labelled rows fall under the
rule does not enter, so what can be shown at all is known before the labels.

**Several tests.** Fixed-sequence testing (Maurer, Hothorn and Lehmacher 1995; for risks of predictors: Angelopoulos et
al., "Learn then test", arXiv 2110.01052): rules are tested in their order, each at the whole risk, up to the first that
fails; the last that passed is taken. To take a rule that is not good, the first tested one that is not good must pass.
Which one that is does not depend on the labels, so it happens with at most the risk, however many rules there are.

**Where it begins.** The first rules are so strict that the labels could not show them to be good even if none is wrong;
a sequence that begins there ends there. It begins at the strictest rule that `SPARE` wrong labels would not rule out,
if that leaves room for looser ones (`ROOM`), else at that for one fewer. Sizes alone decide this.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple, TypeAlias

from maker.stats.bounds import SAFE, Labelled, allocate, chance_of_few
from maker.stats.dispersion import log_choose

SPARE = 3
"""In simulated tables of 2,000 rows with 300 labels, rules with 67 % of the best possible rows were chosen with 3, 66 %
with 2 and 59 % with 0; with more it rises no further."""
ROOM = 0.75
"""The sequence begins at a rule with at most this share of the rows, unless no wrong label at all is to spare."""
MOST_RULES = 60
"""More rules than this are thinned out: between two wrong labels they say the same."""
ROUNDING = 1e-9
Score: TypeAlias = tuple[float, ...]
"""How unsure a row is: rules accept the smallest scores first."""


class AcceptRule(NamedTuple):
    """A rule: how many rows it accepts, and how many of them count as wrong in the sample."""

    rows: int
    wrong: int


class Order(NamedTuple):
    """Rules from strict to loose; each accepts the rows with scores up to its own.

    Args:
        scores: The largest score that each rule accepts.
        rules: The rules.
        sampled: How many rows of the sample each has.
        rank: For every score the number of the first rule that accepts it.
    """

    scores: list[Score]
    rules: list[AcceptRule]
    sampled: list[int]
    rank: Mapping[Score, int]


class FixedSequence(NamedTuple):
    """Rules that were tested: those from ``first`` on, with the chance of each test. ``last`` passed; None: no rule.

    Nothing is tested where the labels are too few to show any rule.
    """

    first: int
    chances: tuple[float, ...]
    last: int | None


def allowed(rows: int, error: float) -> int:
    """Return how many of so many rows may be wrong, for an error below 1: floor(e A). 29 of 2,900 at .01."""
    return min(math.floor(rows * error + ROUNDING), rows - 1)


def labels_needed(strata: Sequence[int], error: float, confidence: float, *, wrong: int = 0) -> int:
    """Return how many labels of rows drawn in proportion can show that all rows together are good.

    ``wrong`` of the labels may be wrong. At .95 and .01, of a billion rows: 299 with none wrong, 473 with one and 628
    with two; of 2,000 rows 265 with none.

    Args:
        strata: The decided rows by stratum; a single number for a sample without strata.
        error: The largest share of wrong rows.
        confidence: That of the test.
        wrong: How many of the labels are wrong.

    Raises:
        ValueError: So many wrong rows are too many, if all rows are labelled.
    """
    rows = sum(strata)

    def suffice(labels: int) -> bool:
        drawn = allocate(strata, labels)
        found = [Labelled(one, n, 0) for one, n in zip(strata, drawn, strict=True)]
        return _passes(chance_of_few(wrong, allowed(rows, error) + 1, found), confidence)

    if not suffice(rows):
        raise ValueError(f"{wrong} wrong of {rows} rows exceed {error:g}")
    low, high = 0, rows
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffice(middle) else (middle, high)
    return high


def order_of(rows: Mapping[Score, int], sample: Iterable[tuple[Score, bool]]) -> Order:
    """Return the rules that the scores of all decided rows allow, `thinned`, with what labels say of each.

    Args:
        rows: How many rows have each score.
        sample: Of each row of the random sample its score, and whether a label calls it right.
    """
    scores = sorted(rows)
    sizes = list(accumulate(rows[one] for one in scores))
    kept = thinned(sizes)
    rank = {one: bisect_left(kept, place) for place, one in enumerate(scores)}
    sampled, wrong = Counter[int](), Counter[int]()
    for one, right in sample:
        sampled[rank[one]] += 1
        wrong[rank[one]] += not right
    numbers = range(len(kept))
    rules = map(AcceptRule, (sizes[one] for one in kept), accumulate(wrong[number] for number in numbers))
    under = accumulate(sampled[number] for number in numbers)
    return Order([scores[one] for one in kept], list(rules), list(under), rank)


def first_rule(sizes: Sequence[int], sample: Sequence[Labelled], error: float, confidence: float) -> int | None:
    """Return the number of the rule that is tested first, by the sizes alone; None if the labels can show no rule."""
    for wrong in range(SPARE, -1, -1):
        chances = (chance_of_few(wrong, allowed(rows, error) + 1, sample) for rows in sizes)
        found = next((number for number, chance in enumerate(chances) if _passes(chance, confidence)), None)
        if found is not None and (not wrong or sizes[found] <= ROOM * sizes[-1]):
            return found
    return None


def choose(rules: Sequence[AcceptRule], sample: Sequence[Labelled], error: float, confidence: float) -> FixedSequence:
    """Return the loosest rule that is shown to be good, with all tests on the way.

    2,000 rows of which 300 are labelled, .05 at .95: a rule of 1,000 rows passes with 3 wrong ones, and not with 4.

    Args:
        rules: From strict to loose, each within the next.
        sample: The decided rows, and how many of them are labelled, by stratum.
        error: The largest share of wrong rows among accepted ones.
        confidence: With which at most that share is wrong.
    """
    first = first_rule([one.rows for one in rules], sample, error, confidence)
    if first is None:
        return FixedSequence(0, (), None)
    chances: list[float] = []
    last = None
    for number in range(first, len(rules)):
        rows, wrong = rules[number]
        chances.append(chance_of_few(wrong, allowed(rows, error) + 1, sample))
        if not _passes(chances[-1], confidence):
            break
        last = number
    return FixedSequence(first, tuple(chances), last)


def thinned(sizes: Sequence[int]) -> list[int]:
    """Return the numbers of the rules that stand for all: at most `MOST_RULES`, spread evenly over the rows."""
    if len(sizes) <= MOST_RULES:
        return list(range(len(sizes)))
    found, part = list[int](), 1
    for number, rows in enumerate(sizes):
        if rows * MOST_RULES >= part * sizes[-1]:
            found.append(number)
            part = rows * MOST_RULES // sizes[-1] + 1
    return found


def estimated_wrong(rules: Sequence[AcceptRule], labelled: Sequence[int]) -> list[float]:
    """Return about how many rows of each rule are wrong: A (x + 1/2) / (n + 1), n labelled under it; never falling."""
    found: list[float] = []
    for (rows, wrong), n in zip(rules, labelled, strict=True):
        found.append(max([rows * min(1.0, (wrong + 0.5) / (n + 1)), *found[-1:]]))
    return found


def expected_rows(
    sizes: Sequence[int], wrong: Sequence[float], sample: Sequence[Labelled], error: float, confidence: float
) -> float:
    """Return how many rows the sequence accepts on average over samples, if so many rows of each rule are wrong.

    Wrong rows are drawn independently of one another, each with the share of rows that are labelled: near enough for
    a forecast. Followed rule by rule over the number of wrong labels so far.
    """
    first = first_rule(sizes, sample, error, confidence)
    if first is None:
        return 0.0
    share = sum(one.labelled for one in sample) / sum(one.rows for one in sample)
    seen, before, expected = [1.0], 0.0, 0.0
    for number in range(first, len(sizes)):
        most = _most_passing(sizes[number], sample, error, confidence)
        seen = _added(seen, round(wrong[number] - before), share, most)
        before = wrong[number]
        expected += sum(seen) * (sizes[number] - (sizes[number - 1] if number > first else 0))
    return expected


def _passes(chance: float, confidence: float) -> bool:
    return chance <= max(0.0, 1 - confidence - SAFE)


def _most_passing(rows: int, sample: Sequence[Labelled], error: float, confidence: float) -> int:
    """Return with how many wrong labels a rule passes at most; -1 if with none."""
    top = allowed(rows, error) + 1
    fails = bisect_left(range(top + 1), True, key=lambda x: not _passes(chance_of_few(x, top, sample), confidence))
    return fails - 1


def _added(seen: Sequence[float], rows: int, share: float, most: int) -> list[float]:
    """Return the chances of 0 to ``most`` wrong labels, after so many more wrong rows that are labelled by chance."""
    found = [0.0] * (most + 1)
    for more in range(min(rows, most) + 1):
        chance = math.exp(_log_binomial(more, rows, share)) if share < 1 else float(more == rows)
        for before, mass in enumerate(seen[: most + 1 - more]):
            found[before + more] += mass * chance
    return found


def _log_binomial(x: int, trials: int, p: float) -> float:
    return log_choose(trials, x) + (x * math.log(p) if x else 0.0) + (trials - x) * math.log1p(-p)
