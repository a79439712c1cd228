"""How races of votes end: the exact laws that tell alike, independent steps from ones that are not. Pure.

A step of first-to-ahead-by-k with vote probability p and one rival that gets q = 1 - p ends with l votes for the loser
with probability N(k, l) (pq)^l (p^k + q^k), where N(m, t) = m / (m+2t) C(m+2t, t) counts the courses of a race of
margin m (Feller 1968, An Introduction to Probability Theory I, XIV: the ballot problem). The generating function of
N(m, .) is c^m, c that of the Catalan numbers; so n steps together have t losing votes with probability
N(nk, t) (pq)^t (p^k + q^k)^n: they are one race of margin nk. Given n and t, how the losing votes are spread over the
steps is free of p: each way has the weight of the product of the N(k, l_i), out of N(nk, t). Over-dispersion is tested
so without knowing p, whatever the stopping rule does to a binomial test.

``k`` below is the margin that the weights are taken with. A smaller one allows for more dispersion, as `maker.monitor`
does.
"""

from __future__ import annotations

import math

EXACT = 512
"""Up to so many losing votes the number of contested steps is counted in whole numbers; above, it is bounded."""
THIN = 1e-16
"""Terms below this part of a sum are left out, where those after them are smaller still."""
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


def contested(steps: int, losing: int, k: int) -> float:
    """Return how many steps are expected to have a losing vote, n (1 - N((n-1)k, t) / N(nk, t)), given all losing votes.

    2 steps, 2 losing votes, k = 3: 9 of the 27 ways have one in each step, 18 have both in one: 4/3.
    """
    if not losing:
        return 0.0
    return -steps * math.expm1(log_courses((steps - 1) * k, losing) - log_courses(steps * k, losing))


def few_contested(steps: int, losing: int, found: int, k: int) -> float:
    """Return P(at most ``found`` steps have a losing vote, given all losing votes), or an upper bound on it.

    Of n steps j are contested in C(n, j) A(j) of the N(nk, t) ways, A(j) being the coefficient of z^t in (c^k - 1)^j.
    By Lagrange's inversion A(j) = (kj / t) [w^(t-j)] Q^(j-1) (1+w)^(k-1+2t), wQ = (1+w)^k - 1: whole numbers, summed
    exactly up to `EXACT` losing votes. Above, A(j) <= (y^k - 1)^j (y^2 / (y-1))^t for each y in (1, 2), as a
    coefficient is no more than its series over the power; with the best y for ``found`` the terms fall
    geometrically. The bound is a factor of some ten above the truth, never below it. 1.0 at or above the mean.

    2 steps, 2 losing votes, k = 3, found = 1 gives 18/27.
    """
    if found >= contested(steps, losing, k):
        return 1.0
    if losing <= EXACT:
        return _few_exactly(steps, losing, found, k)
    y = _best(losing, found, k)
    rise: float = y**k - 1
    ratio = found / ((steps - found + 1) * rise)
    if ratio >= 1:
        return 1.0
    # The binomial coefficient is a ratio of factorials as well: C(a, b) with a = n, b = found.
    choose = math.lgamma(steps + 1) - math.lgamma(found + 1) - math.lgamma(steps - found + 1)
    log = choose + found * math.log(rise) + losing * (2 * math.log(y) - math.log(y - 1))
    return min(1.0, math.exp(min(0.0, log - log_courses(steps * k, losing))) / (1 - ratio))


def longest(steps: int, losing: int, least: int, k: int) -> float:
    """Return how many steps with ``least`` losing votes or more are expected, given all losing votes.

    No less than the probability that there is such a step. It is n times the sum of
    N(k, j) N((n-1)k, t-j) / N(nk, t) over j from ``least`` on: 2 steps, 2 losing votes, k = 3, least = 2 gives 2/3.
    """
    others = (steps - 1) * k
    whole = log_courses(steps * k, losing)
    total = 0.0
    for j in range(least, losing + 1):
        term = math.exp(log_courses(k, j) + log_courses(others, losing - j) - whole)
        total += term
        # Where steps have several losing votes each, one that has most of them all may be likelier than a middling one.
        if term < THIN * total and losing < steps:
            break
    return steps * total


def halves(older: tuple[int, int], newer: tuple[int, int], k: int) -> float:
    """Return how likely losing votes are to be shared between older and newer steps as they are, or less evenly.

    Each is (steps, losing votes). Given both sums, t of the newer steps has the weight
    N(n_new k, t) N(n_old k, t_all - t), out of N((n_new + n_old) k, t_all). Twice the smaller tail.

    (1, 0), (1, 2), k = 3 gives 2 * 9/27.
    """
    (before, few), (after, many) = older, newer
    total = few + many
    if many * before < few * after:
        # The tail is that of the part with more than its share.
        before, few, after, many = after, many, before, few
    if not before or not after or not total:
        return 1.0
    whole = log_courses((before + after) * k, total)
    tail = 0.0
    for t in range(many, total + 1):
        term = math.exp(log_courses(after * k, t) + log_courses(before * k, total - t) - whole)
        tail += term
        if term < THIN * tail and total < before + after:
            break
    return min(1.0, 2 * tail)


def hard(steps: int, losing: int, k: int, failure: float) -> float:
    """Return P(at least so many losing votes) of steps that go wrong with probability ``failure`` < 1/2 each.

    The sum of N(nk, t) (pq)^t (p^k + q^k)^n from t = ``losing`` on; it grows with the failure. 1.0 up to the mean.
    1 step, 1 losing vote, k = 1 gives 0: a margin of 1 is reached with the first vote.
    """
    if k == 1:
        return float(not losing)
    if losing <= losing_votes(steps, k, failure):
        return 1.0
    p = _p(k, failure)
    x, at_once = p * (1 - p), p**k + (1 - p) ** k
    margin, t = steps * k, losing
    term = math.exp(log_courses(margin, t) + t * math.log(x) + steps * math.log(at_once))
    total = 0.0
    while True:
        total += term
        ratio = (margin + 2 * t) * (margin + 2 * t + 1) / ((t + 1) * (margin + t + 1)) * x
        # Ratios tend to 4x < 1, and rise towards it at the most once they are below it.
        if (worst := max(ratio, 4 * x)) < 1 and term * worst / (1 - worst) < THIN * total:
            return min(1.0, total)
        term *= ratio
        t += 1


def _p(k: int, failure: float) -> float:
    return 1 / (1 + math.exp(math.log(failure / (1 - failure)) / k))


def _few_exactly(steps: int, losing: int, found: int, k: int) -> float:
    margin = steps * k
    whole = math.comb(margin + 2 * losing, losing) * margin // (margin + 2 * losing)
    total, choose = 0, math.comb(steps, found)
    for j in range(found, 0, -1):
        term = choose * (k * j * _coefficient(j - 1, k - 1 + 2 * losing, k, losing - j) // losing)
        total += term
        if j * term * 10**9 < total:
            # Below the mean the terms fall with j: those that are left are no more than as many of this one.
            total += j * term
            break
        choose = choose * j // (steps - j + 1)
    return total / whole


def _coefficient(a: int, b: int, k: int, degree: int) -> int:
    """Return [w^degree] Q^a (1+w)^b, where Q = ((1+w)^k - 1) / w.

    f = Q^a (1+w)^b solves Q (1+w) f' = (a Q' (1+w) + b Q) f: each coefficient follows from the k before it.
    """
    q = [math.comb(k, i + 1) for i in range(k)] + [0]
    left = [q[i] + (q[i - 1] if i else 0) for i in range(k + 1)]
    right = [b * q[i] + a * ((i + 1) * q[i + 1] + i * q[i]) for i in range(k)]
    f: list[int] = [k**a]
    for m in range(degree):
        value = sum(right[i] * f[m - i] for i in range(min(k - 1, m) + 1))
        value -= sum(left[i] * (m + 1 - i) * f[m + 1 - i] for i in range(1, min(k, m) + 1))
        f.append(value // (k * (m + 1)))
    return f[degree]


def _best(losing: int, found: int, k: int) -> float:
    """Return the y in (1, 2) at which the bound on A(found) is least. Any other would do, with a weaker bound."""
    low, high = 1.0, 2.0
    for _ in range(HALVINGS):
        y = (low + high) / 2
        slope = found * k * y ** (k - 1) / (y**k - 1) + 2 * losing / y - losing / (y - 1)
        low, high = (y, high) if slope < 0 else (low, y)
    return (low + high) / 2
