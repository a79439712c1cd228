"""The formulas of MAKER (arXiv 2511.09030) for what a run takes and achieves. Pure.

p is the probability that one valid sample is right, r = (1-p)/p, k the margin of first-to-ahead-by-k, s the steps,
m the steps that one sample decides, t the wanted probability that the whole run is right.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

LARGEST_EXPONENT = 709.0


def step_right(p: float, k: int) -> float:
    """Return the probability that one step is decided rightly, 1 / (1 + r^k) (eq. 9).

    Exact against one rival; more rivals of the same total mass only raise it. p = .9, k = 3 gives .9986.

    Raises:
        ValueError: p is not in (0, 1], or k is below 1.
    """
    return 1.0 / (1.0 + _odds(p, k))


def run_right(p: float, k: int, steps: int, m: int = 1) -> float:
    """Return the probability that all steps are right, (1 + r^k)^(-s/m) (eq. 10-13).

    p = .9, k = 4, s = 1000 gives .859. Raises ``ValueError`` as `step_right` does.
    """
    _check_steps(steps, m)
    return math.exp(-steps / m * math.log1p(_odds(p, k)))


def least_k(p: float, steps: int, target: float, m: int = 1) -> int:
    """Return the least margin that reaches the target, ceil(ln(t^(-m/s) - 1) / ln r) (eq. 14).

    p = .99, s = 10^6, t = .95 gives 4.

    Raises:
        ValueError: p is not in (.5, 1), or the target not in (0, 1): no margin reaches it.
    """
    if not 0.5 < p < 1:
        raise ValueError(f"p = {p}: votes help against one rival only if .5 < p < 1")
    if not 0 < target < 1:
        raise ValueError(f"target = {target}: must lie between 0 and 1")
    _check_steps(steps, m)
    allowed = math.expm1(-m / steps * math.log(target))
    return max(1, math.ceil(math.log(allowed) / math.log((1 - p) / p)))


def one_rival(agreement: float) -> float | None:
    """Return the p at which two votes agree with the given chance, if all steps are equally hard and have one rival.

    Inverts p^2 + (1-p)^2: .82 gives .9. None below one half: then there are more rivals than one.
    """
    return None if agreement < 0.5 else (1 + math.sqrt(2 * agreement - 1)) / 2


def votes_per_step(p: float, k: int) -> float:
    """Return the expected valid votes of one step, (2kP - k) / (2p - 1), k^2 at p = .5 (eq. 15-17).

    p = .9, k = 3 gives 3.74. Raises ``ValueError`` as `step_right` does.
    """
    right = step_right(p, k)
    return float(k * k) if math.isclose(p, 0.5, abs_tol=1e-12) else k * (2 * right - 1) / (2 * p - 1)


def calls_per_step(p: float, k: int, valid: float = 1.0) -> float:
    """Return the expected samples of one step, if a share ``valid`` of them is not flagged (eq. 19).

    p = .99, k = 3, valid = .5 gives 6.12.

    Raises:
        ValueError: ``valid`` is not in (0, 1], or as `step_right` does.
    """
    if not 0 < valid <= 1:
        raise ValueError(f"valid = {valid}: must lie in (0, 1]")
    return votes_per_step(p, k) / valid


def block_failure(p: float, k: int, m: int) -> float:
    """Return an upper bound on the chance that a block of m steps, voted on as one, is decided wrongly.

    Each wrong block is a rival of its own: one with j wrong steps has the odds r^j against the right block, r =
    (1-p)/p. The right block loses only if a rival is ever k ahead of it, with a probability of at most r^(jk)
    (gambler's ruin). The sum is (1 + r^k)^m - 1, about m times the failure of one step; the formula for one rival would
    give r^k / (1 + r^k) only.

    p = .99, m = 10, k = 3 gives 1.03e-5, where elections come to 8.3e-6 and one rival to 1.03e-6.
    """
    if not 0.5 < p <= 1 or k < 1 or m < 1:
        raise ValueError(f"p = {p}, k = {k}, m = {m}: p must lie in (.5, 1], k and m be at least 1")
    return math.expm1(m * math.log1p(((1 - p) / p) ** k))


class Block(NamedTuple):
    """Blocks of m steps: the least k, and the expected tokens of the whole run."""

    m: int
    k: int
    tokens: float


def blocks(
    p: float, steps: int, target: float, prompt_tokens: float, step_tokens: float, sizes: Iterable[int]
) -> list[Block]:
    """Return the cost of each block size, cheapest first.

    A call costs its prompt and m times the tokens of one step's answer; p is assumed to be the same in a block. Larger
    blocks need a larger k and fail more often; they pay off only by saving prompts. Sizes whose blocks are right at
    most half of the time are left out.

    p = .99, 10^6 steps: without a prompt m = 1 is cheaper (k = 4; 4.1 tokens a step against 5.0); with a prompt of 10
    answers, m = 10.
    """
    found = []
    for m in sizes:
        whole = p**m
        if whole <= 0.5:
            continue
        allowed = -math.log(target) / math.ceil(steps / m)
        k = 1
        while block_failure(p, k, m) > -math.expm1(-allowed):
            k += 1
        tokens = math.ceil(steps / m) * votes_per_step(whole, k) * (prompt_tokens + m * step_tokens)
        found.append(Block(m, k, tokens))
    return sorted(found, key=lambda block: block.tokens)


def _check_steps(steps: int, m: int) -> None:
    if steps < 1 or m < 1:
        raise ValueError(f"steps = {steps}, m = {m}: both must be at least 1")


def _odds(p: float, k: int) -> float:
    if not 0 < p <= 1:
        raise ValueError(f"p = {p}: must lie in (0, 1]")
    if k < 1:
        raise ValueError(f"k = {k}: must be at least 1")
    if p == 1:
        return 0.0
    log_odds = k * (math.log1p(-p) - math.log(p))
    return math.exp(log_odds) if log_odds < LARGEST_EXPONENT else math.inf
