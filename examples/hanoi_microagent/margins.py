"""Which margin k a run needs: by the probabilities of each state, and by their mean as if all states were alike.

Both use first-to-ahead-by-k against one rival that has all the legal wrong mass (arXiv 2511.09030,
eq. 9): an upper bound where two rivals share it. A state with odds r = wrong / right mass is decided
rightly with 1 / (1 + r**k). Over states that differ, the mean of r**k is far above the k-th power of
a mean r, so the margin that suits the mean leaves the worst states to chance. Worked: 999 steps with r = 0
and one with r = .8 have a mean error of 4e-4, for which k = 2 seems to do; the one step alone then
goes wrong with .39.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from maker.stats.race import least_k, run_right, votes_per_step

TARGET = 0.95
LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 20)
MOST = 200
LARGEST_EXPONENT = 700.0
COLUMNS = (
    *("disks", "T", "mean error after flags", "k for .95 by the mean", "run right, by the mean", "by the states"),
    *("k for .95 by the states", "run right", "votes a step", "samples a step", "samples, worst state"),
)


@dataclass(frozen=True, slots=True)
class Margins:
    """The margins for one tower size at one temperature.

    ``by_mean`` is the least k for ``TARGET`` if every step had the mean error; with it the run is right
    with ``promised`` by the same formula, with ``kept`` by the states. ``by_states`` is the least k by
    the states, None if no k up to ``MOST`` does; ``right``, ``votes`` and ``samples`` (a step) go with it, and
    ``most_samples``, expected in the state that takes most.
    ``wrong_steps[k]`` and ``disputed_steps[k]`` are expected numbers in a whole run: of steps decided
    wrongly, and of steps whose first k valid votes do not agree.
    """

    disks: int
    temperature: float
    mean_error: float
    by_mean: int | None
    promised: float | None
    kept: float | None
    by_states: int | None
    right: float | None
    votes: float | None
    samples: float | None
    most_samples: float | None
    wrong_steps: dict[int, float]
    disputed_steps: dict[int, float]


class Chances(NamedTuple):
    """What the votes on one state come to: right and wrong valid votes, and how often a sample is valid.

    ``votes`` are the shares of the legal answers among the valid samples, the right one first; ``meant``
    is the number of the run's steps that the state stands for.
    """

    meant: float
    valid: float
    votes: tuple[float, ...]

    def odds(self, k: int) -> float:
        """Return r**k, the odds that margin k decides wrongly."""
        wrong = sum(self.votes[1:])
        return math.exp(min(k * math.log(wrong / self.votes[0]), LARGEST_EXPONENT)) if wrong > 0 else 0.0


def margins(disks: int, temperature: float, *, chances: Sequence[Sequence[float]], meant: Sequence[float]) -> Margins:
    """Return the margins for a run whose states are read off.

    Args:
        disks: The tower's size.
        temperature: The one that ``chances`` are taken at.
        chances: For each state the probability of each legal answer, the right one first.
        meant: The steps of the run that each state stands for; states that stand for none are left out.
    """
    states = [
        Chances(steps, sum(row), tuple(chance / sum(row) for chance in row))
        for row, steps in zip(chances, meant, strict=True)
        if steps > 0
    ]
    steps = round(sum(state.meant for state in states))
    error = sum(state.meant * sum(state.votes[1:]) for state in states) / steps
    # No margin helps a mean that is wrong more often than not.
    naive = least_k(1 - error, steps, TARGET) if 0 < error < 0.5 else None
    needed = next((k for k in range(1, MOST + 1) if _right(states, k) >= TARGET), None)
    votes = [] if needed is None else [votes_per_step(state.votes[0], needed) for state in states]
    samples = [count / state.valid for count, state in zip(votes, states, strict=bool(votes))]
    return Margins(
        disks=disks,
        temperature=temperature,
        mean_error=error,
        by_mean=naive,
        promised=naive and run_right(1 - error, naive, steps),
        kept=naive and _right(states, naive),
        by_states=needed,
        right=needed and _right(states, needed),
        votes=needed and _mean(votes, states),
        samples=needed and _mean(samples, states),
        most_samples=needed and max(samples),
        wrong_steps={k: sum(state.meant * _share(state.odds(k)) for state in states) for k in LADDER},
        disputed_steps={k: sum(state.meant * _disputed(state, k) for state in states) for k in LADDER},
    )


def _right(states: list[Chances], k: int) -> float:
    return math.exp(-sum(state.meant * math.log1p(state.odds(k)) for state in states))


def _mean(values: list[float], states: list[Chances]) -> float:
    """Return the mean over the steps of the run."""
    total = sum(value * state.meant for value, state in zip(values, states, strict=True))
    return total / sum(state.meant for state in states)


def _share(odds: float) -> float:
    return odds / (1 + odds)


def _disputed(state: Chances, k: int) -> float:
    return 1 - sum(share**k for share in state.votes) if k > 1 else 0.0


def table(found: list[Margins]) -> str:
    """Return the margins, and what goes wrong by k, as two tables in Markdown."""
    margin_rows = [
        [
            *(str(row.disks), f"{row.temperature:g}", f"{row.mean_error:.2e}"),
            *(_cell(row.by_mean, "d"), _cell(row.promised, ".3f"), _cell(row.kept, ".3f")),
            *(_cell(row.by_states, "d"), _cell(row.right, ".3f"), _cell(row.votes, ".2f")),
            *(_cell(row.samples, ".2f"), _cell(row.most_samples, ".0f")),
        ]
        for row in found
    ]
    step_rows = [
        [str(row.disks), f"{row.temperature:g}", what, *(f"{by_k[k]:.3g}" for k in LADDER)]
        for row in found
        for what, by_k in (("wrong", row.wrong_steps), ("disputed", row.disputed_steps))
    ]
    heads = ("disks", "T", "expected steps", *(f"k={k}" for k in LADDER))
    return "\n\n".join(_markdown(*content) for content in ((COLUMNS, margin_rows), (heads, step_rows)))


def _cell(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)


def _markdown(heads: Sequence[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
