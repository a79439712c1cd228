"""Find steps whose red flags hide how hard they are: votes are those of the samples that were not flagged. Pure.

Flagged samples cast no vote, so that a step which is flagged nine times of ten is heard by one vote, and one without a
valid vote is not heard at all. If flags fall on a few steps, the votes that are left make a class look easier than a
run finds it: it votes on these steps too, until enough samples are valid. Where each step has votes enough, flags hide
nothing: a race is among valid votes, as in the pilot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from scipy.special import bdtrc

from maker.stats.mixture import VoteTable

FlagTable: TypeAlias = Mapping[tuple[int, int, int], int]
"""(votes for the right answer, votes for others, flagged samples) → number of distinct steps with these."""
RARE = 0.01
"""If all steps are flagged alike, one has more flags with at most this chance."""


def worse_reading(table: FlagTable) -> VoteTable | None:
    """Return the votes with the flagged samples of silenced steps as votes against; None if no step is silenced.

    Silenced are steps with more flags than votes, and more flags than chance brings on any step of the pilot.

    298 steps of 10:0 and two of 1:0 with nine flags give the two as 1:9. 30 flags on as many steps give None, and so do
    flags on half of all samples.
    """
    cells, steps = np.array(list(table)), np.array(list(table.values()), dtype=float)
    right, wrong, flags = cells.T
    samples = right + wrong + flags
    if not flags @ steps or not (right + wrong) @ steps:
        return None
    share = float(flags @ steps / (samples @ steps))
    silenced = (2 * flags > samples) & (steps.sum() * bdtrc(flags - 1, samples, share) < RARE)
    if not silenced.any():
        return None
    found: Counter[tuple[int, int]] = Counter()
    for r, w, n in zip(right, wrong + np.where(silenced, flags, 0), table.values(), strict=True):
        found[int(r), int(w)] += n
    return found
