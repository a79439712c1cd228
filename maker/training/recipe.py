"""How a microagent is made: its size, and how long it is trained at which rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from maker.errors import BadInput

TEMPERATURES = (0.7, 1.0, 1.4)
"""At which a microagent is examined."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a microagent is made.

    Args:
        steps: Batches.
        batch: Prompts in a batch.
        rate: Peak learning rate of AdamW: up over the first tenth, 100 batches at most, then down a cosine.
        seed: Of the weights and the draws.
        slip: Wanted share of legal wrong replies, 0 for none: the model learns to err so often, evenly over prompts.
        hidden: Width. The feed-forward part is three times as wide.
        layers: Layers.
        heads: Attention heads, of 32 numbers each.
        threads: Threads of torch, which decide in which order sums are taken.

    Raises:
        BadInput: A number is out of range.
    """

    steps: int = 2000
    batch: int = 96
    rate: float = 2e-3
    seed: int = 0
    slip: float = 0.0
    hidden: int = 128
    layers: int = 3
    heads: int = 4
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "hidden", "layers", "heads", "threads"):
            if (value := getattr(self, name)) < 1:
                raise BadInput(f"{name} = {value}: must be at least 1")
        if not 0 < self.rate < math.inf or not 0 <= self.slip < 0.5:
            raise BadInput(
                f"rate = {self.rate}, slip = {self.slip}: rate must be above 0, slip at least 0 and below 0.5"
            )
        if not 0 <= self.seed < 1 << 63:
            raise BadInput(f"seed = {self.seed}: must be in [0, 2^63)")
        if self.hidden % self.heads:
            raise BadInput(
                f"hidden = {self.hidden} cannot be divided by {self.heads} heads", fix="use a multiple of --heads"
            )

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a batch, from 0."""
        warm = min(100, max(1, self.steps // 10))
        return self.rate * min((step + 1) / warm, 0.5 * (1.0 + math.cos(math.pi * step / self.steps)))
