"""What the exact probabilities of an examined class come to: errors of samples, and of elections. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from maker.stats.bounds import mean_at_most, share_at_most
from maker.stats.race import step_right

MARGINS = (1, 2, 3, 4, 6)
CONFIDENCE = 0.95

Floats = npt.NDArray[np.float64]


class Chances(NamedTuple):
    """What a model says to each prompt of an exam: arrays of one number a prompt.

    ``right`` is the probability of a right reply, ``rivals`` of all legal wrong ones that the oracle knows, ``rival``
    of the strongest of them. ``greedy`` says whether the likeliest token, one after the other, makes a right reply.
    """

    right: Floats
    rivals: Floats
    rival: Floats
    greedy: npt.NDArray[np.bool_]

    def of(self, prompts: Sequence[int]) -> Chances:
        """Return those of some prompts, by their numbers."""
        chosen = np.array(prompts)
        return Chances(self.right[chosen], self.rivals[chosen], self.rival[chosen], self.greedy[chosen])


@dataclass(frozen=True, slots=True)
class Heat:
    """The figures of one class at one temperature; means are over prompts, each counting the same.

    ``error`` is the share of samples that are not right, before flags; ``wrong`` those that are a known legal wrong
    reply, ``rival`` the strongest of them, ``other`` all that is neither. ``worst`` is the largest error, that of
    ``worst_prompt``.
    ``spread`` is the variance of the error after flags among prompts, over mean (1 - mean): 0 where all prompts err
    alike, 1 where each is always right or always wrong. ``step_wrong[k]`` is the chance that a step is decided wrongly
    by first-to-ahead-by-k; ``alike[k]`` what it would be if every prompt had the mean error; ``other_votes[k]`` what it
    is if all that is neither right nor known were votes for one and the same rival.
    """

    temperature: float
    error: float
    wrong: float
    rival: float
    other: float
    worst: float
    worst_prompt: str
    spread: float
    step_wrong: Mapping[int, float]
    alike: Mapping[int, float]
    other_votes: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class AtMost:
    """Upper bounds on the means over all prompts that the held-out ones stand for, each by itself with confidence.

    ``confidence`` is .95. They take the examined prompts for independent draws.
    """

    confidence: float
    greedy_wrong: float
    error: Mapping[float, float]
    step_wrong: Mapping[float, Mapping[int, float]]


@dataclass(frozen=True, slots=True)
class KindFigures:
    """The figures of one kind of prompts; ``exam`` names the extra exam that they stand in, "" for the class's own."""

    exam: str
    kind: str
    prompts: int
    greedy_right: int
    heats: Sequence[Heat]


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """The figures of one class. ``at_most`` is None where all prompts that there are were examined.

    ``kinds`` has those of each kind, exam by exam; nothing where a class has one kind and no extra exam.
    """

    name: str
    basis: str
    prompts: int
    greedy_right: int
    heats: Sequence[Heat]
    at_most: AtMost | None
    kinds: Sequence[KindFigures] = ()


def figures(
    name: str, basis: str, prompts: Sequence[str], chances: Mapping[float, Chances], *, sampled: bool
) -> ClassFigures:
    """Return the figures of a class.

    Args:
        name: The class.
        basis: What the exam rests on.
        prompts: Those examined.
        chances: What the model says to them, by temperature.
        sampled: Whether the prompts stand for others.
    """
    heats = [_heat(temperature, found, prompts) for temperature, found in chances.items()]
    right = int(next(iter(chances.values())).greedy.sum())
    return ClassFigures(
        name, basis, len(prompts), right, heats, _at_most(len(prompts), right, heats) if sampled else None
    )


def by_kind(
    exam: str, kinds: Sequence[str], prompts: Sequence[str], chances: Mapping[float, Chances]
) -> list[KindFigures]:
    """Return the figures of each kind of an exam's prompts, by its name; ``kinds`` has that of each prompt."""
    numbers: dict[str, list[int]] = {}
    for number, kind in enumerate(kinds):
        numbers.setdefault(kind, []).append(number)
    found = []
    for kind, chosen in sorted(numbers.items()):
        asked = [prompts[number] for number in chosen]
        heats = [_heat(temperature, one.of(chosen), asked) for temperature, one in chances.items()]
        right = int(next(iter(chances.values())).of(chosen).greedy.sum())
        found.append(KindFigures(exam, kind, len(asked), right, heats))
    return found


def _heat(temperature: float, found: Chances, prompts: Sequence[str]) -> Heat:
    right, rivals, rival, _ = found
    error = 1.0 - right
    # Rounding can make the parts a little more than the whole.
    other = np.maximum(0.0, error - rivals)
    after = step_wrong(right, rivals, 1)
    mean = float(after.mean())
    worst = int(error.argmax())
    return Heat(
        temperature=temperature,
        error=float(error.mean()),
        wrong=float(rivals.mean()),
        rival=float(rival.mean()),
        other=float(other.mean()),
        worst=float(error[worst]),
        worst_prompt=prompts[worst],
        spread=float(after.var()) / (mean * (1 - mean)) if 0 < mean < 1 else 0.0,
        step_wrong={k: float(step_wrong(right, rivals, k).mean()) for k in MARGINS},
        alike={k: 1.0 - step_right(1 - mean, k) if mean < 1 else 1.0 for k in MARGINS},
        other_votes={k: float(step_wrong(right, rivals + other, k).mean()) for k in MARGINS},
    )


def step_wrong(right: Floats, wrong: Floats, k: int) -> Floats:
    """Return the chance that first-to-ahead-by-k decides wrongly, r^k / (1 + r^k) with r = wrong / right.

    Gambler's ruin against one rival that has all the wrong mass (arXiv 2511.09030, eq. 9): exact with one rival, an
    upper bound where several share it; too low where the right mass is that of several votes, which compete. 1 where
    neither is ever said. .99 and .01, k = 3: 1.03e-6.
    """
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        # As 1 / (1 + (right / wrong)^k): nothing is lost where the right mass is nearly all.
        found: Floats = 1.0 / (1.0 + (right / wrong) ** k)
    return np.nan_to_num(found, nan=1.0)


def _at_most(prompts: int, right: int, heats: Sequence[Heat]) -> AtMost:
    def bound(mean: float) -> float:
        return mean_at_most(min(1.0, max(0.0, mean)), prompts, CONFIDENCE)

    return AtMost(
        CONFIDENCE,
        share_at_most(prompts - right, prompts, CONFIDENCE),
        {one.temperature: bound(one.error) for one in heats},
        {one.temperature: {k: bound(mean) for k, mean in one.step_wrong.items()} for one in heats},
    )


def to_json(found: ClassFigures) -> dict[str, Any]:
    """Return the figures as JSON; the step class is called ``class``."""
    told = asdict(found)
    return {"class": told.pop("name")} | told
