"""What a choice is worth in a run whose steps are alike: red flags, blocks of steps, one greedy sample a step. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from maker.difficulty import Interval, clopper_pearson
from maker.planning import least_k, votes_per_step


class Flagged(NamedTuple):
    """Samples of a pilot that one red flag hit: what each would have voted for, had it been let through."""

    right: int
    wrong: int
    unreadable: int = 0


class Way(NamedTuple):
    """One way to run: valid share of the samples, p of the valid ones, the least k, and what a step costs in calls.

    ``k`` and ``calls_per_step`` are None where p is one half or less: no margin reaches the target.
    """

    valid: float
    p: float
    k: int | None
    calls_per_step: float | None


class FlagWorth(NamedTuple):
    """A run with a flag, and without it."""

    kept: Way
    dropped: Way

    @property
    def pays(self) -> bool:
        """Whether the flag saves calls, or makes the target reachable at all."""
        if self.kept.calls_per_step is None or self.dropped.calls_per_step is None:
            return self.kept.calls_per_step is not None
        return self.kept.calls_per_step < self.dropped.calls_per_step


def way(right: float, wrong: float, lost: float, steps: int, target: float) -> Way:
    """Return what a run takes whose samples are right, wrong, and without a vote in these proportions.

    .9506, .008 and .0414 (v = .9586, p = .99165) take k = 4 for 10^6 steps at .95, and 4.24 calls a step.
    """
    p, valid = right / (right + wrong), (right + wrong) / (right + wrong + lost)
    if p <= 0.5:
        return Way(valid, p, None, None)
    k = least_k(p, steps, target) if p < 1 else 1
    return Way(valid, p, k, votes_per_step(p, k) / valid)


def flags_worth(
    right: int, wrong: int, flags: Mapping[str, Flagged], steps: int, target: float
) -> dict[str, FlagWorth]:
    """Return what each flag buys, all others kept, in a run of so many steps.

    A flag takes samples away (1 / v more calls a vote) and errors with them. It pays where the errors it takes lower k:
    a raw error of 2 %, with flags on 60 % of the wrong and 3 % of the right samples, takes k from 5 to 4 and calls
    from 5.21 to 4.24 a step over 10^6 steps; over 10^3 steps k stays 3, and calls rise from 3.125 to 3.183.

    Args:
        right: Samples that no flag hit and that are right.
        wrong: Those that are wrong.
        flags: What each flag hit. Unreadable samples cannot vote, with the flag or without.
        steps: Of the run.
        target: Wanted probability that all of them are right.

    Raises:
        ValueError: There is no valid sample, or `maker.planning.least_k` refuses.
    """
    if right + wrong < 1:
        raise ValueError("without a valid sample nothing can be said of flags")
    lost = sum(sum(flag) for flag in flags.values())
    kept = way(right, wrong, lost, steps, target)
    return {
        name: FlagWorth(
            kept, way(right + flag.right, wrong + flag.wrong, lost - flag.right - flag.wrong, steps, target)
        )
        for name, flag in flags.items()
    }


def block_failure(p: float, k: int, m: int) -> float:
    """Return an upper bound on the chance that a block of m steps, voted on as one, is decided wrongly.

    Each way to be wrong is a rival of its own: one with j wrong steps has the odds r^j against the right block, r =
    (1-p)/p. The right block can lose only if a rival is ever k ahead of it, which has a probability of r^(jk) at most
    (gambler's ruin), so (1 + r^k)^m - 1 in all: about m times the formula for one step, where the formula for one rival
    says r^k / (1 + r^k).

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
    """Return what each block size costs, the cheapest first.

    A call costs its prompt and m times the tokens of one step's answer; p is taken to be the same in a block. Larger
    blocks need a larger k and err more often, and pay only by what a call costs before its first output token. Sizes
    are left out whose blocks are right less than half of the time.

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


class Greedy(NamedTuple):
    """A run with one greedy sample a step: P(run right), its tokens, and what to say of it."""

    right: Interval
    tokens: float
    words: str


def one_greedy(
    heard: Mapping[str, tuple[int, int]],
    steps: Mapping[str, int],
    tokens_per_call: Mapping[str, float],
    target: float,
    confidence: float = 0.95,
) -> Greedy:
    """Return whether one sample at temperature 0 a step would do as well as votes.

    A greedy answer is the same every time: a step is right or wrong for good, and P(run right) is the product over the
    classes of g^s, g being the share of distinct steps that it gets right. Bounds are Clopper and Pearson's, each end
    with ``confidence`` for all classes at once. No pilot of n steps shows more than g >= 1 - 3/n: 2,000 right of 2,000
    show P >= .86 for 100 steps, and nothing for 10,000.

    Args:
        heard: By class, how many distinct steps the greedy answer got right and wrong.
        steps: By class, the steps of the run.
        tokens_per_call: By class.
        target: Wanted probability that the whole run is right.
        confidence: Of each end.

    Raises:
        ValueError: A class has no steps heard.
    """
    low = estimate = high = 0.0
    within = 1 - 2 * (1 - confidence) / len(heard)
    for name, (right, wrong) in heard.items():
        if right + wrong < 1:
            raise ValueError(f"{name}: no greedy answer was heard")
        bounds = clopper_pearson(right / (right + wrong), right + wrong, within)
        for_class = (bounds[0], right / (right + wrong), bounds[1])
        logs = [steps[name] * math.log(g) if g > 0 else -math.inf for g in for_class]
        low, estimate, high = low + logs[0], estimate + logs[1], high + logs[2]
    found = Interval(*(math.exp(value) for value in (low, estimate, high)))
    tokens = sum(steps[name] * tokens_per_call[name] for name in heard)
    if found.low >= target:
        said = "does as well: votes buy nothing here"
    elif found.high < target:
        said = "would not do"
    else:
        said = "is not shown to do: the pilot is too small to tell"
    words = f"one greedy sample a step {said}; the run is right with {found.low:.3g} to {found.high:.3g}"
    return Greedy(found, tokens, words)
