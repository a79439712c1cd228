"""Distributions of losing votes, and tests of whether steps are equally hard and votes independent. Pure.

A step of first-to-ahead-by-k, of vote probability p, against one rival that gets q = 1 - p, ends with l votes for the
loser with probability M(k, l) (pq)^l (p^k + q^k); M counts the courses that come to a lead of k for the winner without
one of k for the loser (gambler's ruin: Feller 1968, An Introduction to Probability Theory I, XIV): 1, 3, 9, 27 for
k = 3. As these sum to 1, their generating function is 1 / (p^k + q^k), written in x = pq: the product of
1 / (1 - a_i x), a_i = 4 cos^2((2i-1) pi / 2k), i <= k/2. Given n steps and all their losing votes t, each way to spread
these over the steps has the weight of the product of the M(k, l_i), whatever p is: too uneven a spread shows without
knowing p, and the stopping rule, which blinds a binomial test, is part of the law.

What is tested with is a little wider: N(m, l) = m / (m+2l) C(m+2l, l) counts the courses to a lead of m whatever the
loser had before: 1, 3, 9, 28 for m = 3. Its generating function is c^m, c that of the Catalan numbers, so that n steps
have N(nm, t) ways: one race of margin nm. The smaller the margin ``m``, the more uneven a spread is allowed; m < k
allows for more than M does. A probability below is then an upper bound for steps that are less uneven.
"""

from __future__ import annotations

import math

EXACT = 1024
"""Up to this product of losing votes and m the tail is summed exactly in integers; above, it is bounded."""
THIN = 1e-16
"""A sum ends at terms below this share of it: the ratio of terms decreases, so later terms are smaller still."""
HALVINGS = 60


def log_courses(margin: int, losing: int) -> float:
    """Return the logarithm of N(m, t) = m / (m+2t) C(m+2t, t). m = 3 has 1, 3, 9, 28, 90 for t = 0 … 4."""
    if not losing:
        return 0.0
    if not margin:
        return -math.inf
    lgamma = math.lgamma
    return math.log(margin) + lgamma(margin + 2 * losing) - lgamma(losing + 1) - lgamma(margin + losing + 1)


def losing_votes(steps: int, k: int, failure: float) -> float:
    """Return the expected losing votes of steps that go wrong with probability ``failure`` < 1/2 each.

    (k (1 - 2 failure) / (2p - 1) - k) / 2 a step, (p/q)^k = (1 - failure) / failure (arXiv 2511.09030, eq. 15-17):
    failure = .05, k = 3 gives 1.47.
    """
    p = _p(k, failure)
    return steps * (k * (1 - 2 * failure) / (2 * p - 1) - k) / 2


def contested(steps: int, losing: int, m: int) -> float:
    """Return the expected steps with a losing vote, given all losing votes: n (1 - N((n-1)m, t) / N(nm, t)).

    2 steps, 2 losing votes, m = 3: 9 of the 27 ways have one in each step, 18 have both in one: 4/3.
    """
    if not losing:
        return 0.0
    return -steps * math.expm1(log_courses((steps - 1) * m, losing) - log_courses(steps * m, losing))


def few_contested(steps: int, losing: int, found: int, m: int) -> float:
    """Return P(at most ``found`` steps have a losing vote, given all losing votes), or an upper bound on it.

    Of n steps j are contested in C(n, j) A(j) of the N(nm, t) ways, A(j) being the coefficient of z^t in (c^m - 1)^j.
    By Lagrange's inversion A(j) = (mj / t) [w^(t-j)] Q^(j-1) (1+w)^(m-1+2t), wQ = (1+w)^m - 1: whole numbers, summed
    exactly where t m is up to `EXACT`. Above, A(j) <= (y^m - 1)^j (y^2 / (y-1))^t for each y in (1, 2), as a
    coefficient is no more than its series over the power; with the best y for ``found`` the terms fall
    geometrically. The bound is a factor of some ten above the truth, never below it. 1.0 at or above the mean.

    2 steps, 2 losing votes, m = 3, found = 1 gives 18/27.
    """
    if found >= contested(steps, losing, m):
        return 1.0
    if losing * m <= EXACT:
        return _few_exactly(steps, losing, found, m)
    y = _best(losing, found, m)
    rise: float = y**m - 1
    ratio = found / ((steps - found + 1) * rise)
    if ratio >= 1:
        return 1.0
    log = log_choose(steps, found) + found * math.log(rise) + losing * (2 * math.log(y) - math.log(y - 1))
    return min(1.0, math.exp(min(0.0, log - log_courses(steps * m, losing))) / (1 - ratio))


def longest(steps: int, losing: int, least: int, m: int) -> float:
    """Return how many steps with ``least`` losing votes or more are expected, given all losing votes.

    No less than the probability that there is such a step. It is n times the sum of
    N(m, j) N((n-1)m, t-j) / N(nm, t) over j from ``least`` on: 2 steps, 2 losing votes, m = 3, least = 2 gives 2/3.
    """
    others = (steps - 1) * m
    whole = log_courses(steps * m, losing)
    total = 0.0
    for j in range(least, losing + 1):
        term = math.exp(log_courses(m, j) + log_courses(others, losing - j) - whole)
        total += term
        if term < THIN * total:
            break
    return steps * total


def heaped(inside: tuple[int, int], outside: tuple[int, int]) -> float:
    """Return P(so many contested steps inside, or more), given how many there are in all.

    Each is (steps, contested ones). Where steps are alike, or differ in no order, the contested ones are drawn at
    random from all of them, by whatever law steps are contested: Fisher's exact test (1935), one-sided. (2, 2) inside
    and (2, 1) outside give 1/2.
    """
    (steps, found), (others, fewer) = inside, outside
    whole = log_choose(steps + others, found + fewer)
    tail = 0.0
    for here in range(found, min(steps, found + fewer) + 1):
        term = math.exp(log_choose(steps, here) + log_choose(others, found + fewer - here) - whole)
        tail += term
        if term < THIN * tail:
            break
    return min(1.0, tail)


def hard(steps: int, losing: int, k: int, failure: float) -> float:
    """Return P(at least ``losing`` losing votes) if each step is wrong with ``failure`` < 1/2, or an upper bound on it.

    k = 2 and 3 have one a_i: the losing votes are a negative binomial count, and the tail is summed. For greater k it
    is Chernoff's bound, the least of z^-t (G(xz) / G(x))^n over z >= 1, G the generating function of M: some ten times
    the truth. Both grow with the failure. 1.0 up to the mean.

    100 steps, 300 losing votes, k = 3, failure = .05: 3.2e-11.
    """
    if losing <= losing_votes(steps, k, failure):
        return 1.0
    shares = [4 * math.cos((2 * i - 1) * math.pi / (2 * k)) ** 2 for i in range(1, k // 2 + 1)]
    if not shares:
        # With a margin of 1 the first vote decides: there are no losing votes.
        return 0.0
    p = _p(k, failure)
    x = p * (1 - p)
    if len(shares) == 1:
        return _negative_binomial(steps, losing, shares[0] * x)
    low, high = x, 1 / shares[0]
    for _ in range(HALVINGS):
        y = (low + high) / 2
        mean = steps * sum(a * y / (1 - a * y) for a in shares)
        low, high = (y, high) if mean < losing else (low, y)
    log = -losing * math.log(low / x) + steps * sum(math.log1p(-a * x) - math.log1p(-a * low) for a in shares)
    return math.exp(min(0.0, log))


def _negative_binomial(trials: int, least: int, share: float) -> float:
    """Return P(at least ``least``) of a sum of geometric counts, each j with probability (1 - share) share^j."""
    log = math.lgamma(trials + least) - math.lgamma(trials) - math.lgamma(least + 1)
    log += least * math.log(share) + trials * math.log1p(-share)
    # Terms are relative to the first one, which may be too small for a float.
    term, tail, j = 1.0, 0.0, least
    # Above the mean the ratio of terms is below 1, and decreases.
    while term > THIN * tail:
        tail += term
        term *= (trials + j) / (j + 1) * share
        j += 1
    return math.exp(min(0.0, log + math.log(tail)))


def log_choose(n: int, k: int) -> float:
    """Return ln C(n, k), -inf where there is no way. ln C(4, 2) = ln 6."""
    if not 0 <= k <= n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _p(k: int, failure: float) -> float:
    return 1 / (1 + math.exp(math.log(failure / (1 - failure)) / k))


def _few_exactly(steps: int, losing: int, found: int, m: int) -> float:
    margin = steps * m
    whole = math.comb(margin + 2 * losing, losing) * margin // (margin + 2 * losing)
    total, choose = 0, math.comb(steps, found)
    for j in range(found, 0, -1):
        term = choose * (m * j * _coefficient(j - 1, m - 1 + 2 * losing, m, losing - j) // losing)
        total += term
        if j * term * 10**9 < total:
            # Below the mean the terms decrease with j: bound the remaining ones by this one.
            total += j * term
            break
        choose = choose * j // (steps - j + 1)
    return total / whole


def _coefficient(a: int, b: int, m: int, degree: int) -> int:
    """Return [w^degree] Q^a (1+w)^b, where Q = ((1+w)^m - 1) / w.

    f = Q^a (1+w)^b solves Q (1+w) f' = (a Q' (1+w) + b Q) f: each coefficient follows from the m before it.
    """
    q = [math.comb(m, i + 1) for i in range(m)] + [0]
    left = [q[i] + (q[i - 1] if i else 0) for i in range(m + 1)]
    right = [b * q[i] + a * ((i + 1) * q[i + 1] + i * q[i]) for i in range(m)]
    f: list[int] = [m**a]
    for d in range(degree):
        value = sum(right[i] * f[d - i] for i in range(min(m - 1, d) + 1))
        value -= sum(left[i] * (d + 1 - i) * f[d + 1 - i] for i in range(1, min(m, d) + 1))
        f.append(value // (m * (d + 1)))
    return f[degree]


def _best(losing: int, found: int, m: int) -> float:
    """Return the y in (1, 2) that gives the smallest bound on A(found); any other y gives a valid but weaker bound."""
    low, high = 1.0, 2.0
    for _ in range(HALVINGS):
        y = (low + high) / 2
        slope = found * m * y ** (m - 1) / (y**m - 1) + 2 * losing / y - losing / (y - 1)
        low, high = (y, high) if slope < 0 else (low, y)
    return (low + high) / 2
