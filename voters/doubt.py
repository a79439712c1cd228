"""What votes for two candidates say about the share of the first among them, in whole numbers: no rounding."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb
from typing import NamedTuple


class Lead(NamedTuple):
    """A leader's ``votes`` against its strongest rival's b, with what is known of its share among votes for the two.

    Args:
        votes: The leader's votes, more than b.
        doubt: Of ``whole``, the part of a uniform prior that is left on shares of at most one half. With m one more
            than the votes for the two, it is the sum of C(m, j) over j = 0 … b: the regularised incomplete beta
            function I_{1/2}(votes + 1, b + 1), times 2^m.
        whole: 2^m.
        ways: C(m, b).
    """

    votes: int
    doubt: int
    whole: int
    ways: int


def leads(rival: int) -> Iterator[Lead]:
    """Yield what each lead over a rival's votes says, from one vote upwards. The doubt's share of the whole falls."""
    m = 2 * rival + 2
    # Pascal's triangle is symmetric: what lies below its middle is half of all but the middle.
    doubt, ways = ((1 << m) - comb(m, rival + 1)) // 2, comb(m, rival)
    while True:
        yield Lead(m - 1 - rival, doubt, 1 << m, ways)
        # C(m+1, j) = C(m, j) + C(m, j-1), summed: each step costs a few operations, however many votes there are.
        doubt, ways, m = 2 * doubt - ways, ways * (m + 1) // (m + 1 - rival), m + 1
