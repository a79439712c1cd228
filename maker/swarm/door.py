"""The swarm door: workers by number, orders in, reports out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from maker.swarm.worker import Orders, Report


class FromWorker(NamedTuple):
    """A report, and the number of the worker that sends it."""

    worker: int
    report: Report


class Swarm(ABC):
    """A pool of workers. One thread drives it."""

    size: int

    @abstractmethod
    def give(self, worker: int, orders: Orders) -> None:
        """Queue orders for a worker's next slice (0-based worker numbers). Does not block."""

    @abstractmethod
    def collect(self, wait_s: float) -> list[FromWorker]:
        """Return the next reports, waiting ``wait_s`` seconds at most. Raises `WorkerLost`."""

    @abstractmethod
    def close(self) -> None:
        """End the workers and their models. May be called again."""
