"""What the members of a pool get wrong together: the share of rows that none is right on, and votes that count. Pure.

Pairs of members do not show it: three may be right on half of the rows each, any two of them as if by chance, and all
wrong together on a quarter of the rows or on none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

from maker.stats.paired import share_within


class AllWrong(NamedTuple):
    """The rows on which every member is wrong, and their share, with the interval of Clopper and Pearson.

    With b for the share, no vote, router or judge that chooses among these answers is right on more than 1 - b of the
    rows (arXiv 2606.27288).
    """

    found: int
    of: int
    low: float
    high: float


class EffectiveVotes(NamedTuple):
    """How many independent votes the members' votes are worth, with an interval."""

    low: float
    estimate: float
    high: float


def all_wrong(right: Sequence[Sequence[bool]], confidence: float) -> AllWrong:
    """Return on how many rows every member is wrong; ``right`` has a line per row, and a value per member."""
    found = sum(not any(row) for row in right)
    return AllWrong(found, len(right), *share_within(found, len(right), confidence))


def effective_votes(right: Sequence[Sequence[bool]], confidence: float) -> EffectiveVotes | None:
    """Return how many independent votes n members are worth: n / (1 + (n - 1) rho); None where nobody ever errs.

    rho is the mean covariance of two members' errors over their mean variance, so that this is by how much voting
    lessens the variance of errors: 9 votes at rho = .4 count as 2.1 (Kish 1965; arXiv 2605.29800).

    The interval is that of the estimate's logarithm, by its influence function. Few errors say little, and less than
    such an interval takes them to: its lower end is that with one row more on which all are wrong, its upper end that
    with one row more for each member on which this one alone is. In simulations of 100 and 300 rows it covered in
    96 % or more of the cases, at a confidence of .95, and without these rows in as few as 51 %.

    Args:
        right: A line per row, and a value per member: two members at least.
        confidence: Of the interval, between 0 and 1.
    """
    wrong = Counter(tuple(not one for one in row) for row in right)
    members = len(next(iter(wrong)))
    found = _log(wrong)
    if found is None:
        return None
    one_each = Counter(tuple(place == number for place in range(members)) for number in range(members))
    together, apart = _log(wrong + Counter([(True,) * members])), _log(wrong + one_each)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    low = math.exp(together.mean - z * together.deviation) if together else 1.0
    high = math.exp(apart.mean + z * apart.deviation) if apart else float(members)
    estimate = math.exp(found.mean)
    return EffectiveVotes(max(1.0, min(low, estimate)), estimate, max(high, estimate))


class _Log(NamedTuple):
    """The logarithm of an estimate, and its standard deviation."""

    mean: float
    deviation: float


def _log(wrong: Counter[tuple[bool, ...]]) -> _Log | None:
    """Return the logarithm of effective votes by how often each pattern of errors was; None without any difference."""
    rows, members = wrong.total(), len(next(iter(wrong)))
    shares = [sum(n for row, n in wrong.items() if row[number]) / rows for number in range(members)]
    mean = sum(shares) / members
    alone = sum(share * (1 - share) for share in shares) / members
    together = sum(n * (sum(row) / members - mean) ** 2 for row, n in wrong.items()) / rows
    if not alone or not together:
        return None

    def influence(row: tuple[bool, ...]) -> float:
        of_one = sum((one - share) ** 2 for one, share in zip(row, shares, strict=True)) / members
        return of_one / alone - (sum(row) / members - mean) ** 2 / together

    spread = sum(n * influence(row) ** 2 for row, n in wrong.items()) / max(1, rows - 1)
    return _Log(math.log(alone / together), math.sqrt(spread / rows))
