"""The forks whose children a worker is making: reading a parent's state again for each child would be dear."""

from __future__ import annotations

from typing import Any, NamedTuple

from maker.plugin import Decomposer
from maker.types import Fork
from maker.voting.forks import opened
from maker.voting.messages import ChainAt
from maker.voting.seeds import ChainSeeds

KEPT_FORKS = 64
"""Forks whose parent's state a worker keeps at hand while it makes their children."""


class CachedFork(NamedTuple):
    """A fork whose children are being made: the parent's state, what it returned, the seeds of single steps."""

    state: Any
    fork: Fork[Any]
    seeds: ChainSeeds


class ForkCache:
    """Opens forks, and keeps those that were opened last.

    Args:
        decomposer: The task.
        seed: The run's seed.
    """

    def __init__(self, decomposer: Decomposer[Any, Any], seed: int) -> None:
        self._decomposer = decomposer
        self._seed = seed
        self._forks: dict[tuple[int, int, int], CachedFork] = {}

    def get(self, parent: ChainAt) -> CachedFork:
        """Return the fork that a parent's state asks for. Raises `TaskFailed`."""
        key = (parent.chain, parent.idx, parent.epoch)
        cached = self._forks.get(key)
        if cached is None:
            fork, state = opened(self._decomposer, parent)
            seeds = ChainSeeds(self._seed, (*parent.path, parent.idx, parent.epoch))
            self._forks[key] = cached = CachedFork(state, fork, seeds)
            if len(self._forks) > KEPT_FORKS:
                del self._forks[next(iter(self._forks))]
        return cached
