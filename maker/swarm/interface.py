"""The swarm interface: workers by number, orders in, reports out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from maker.swarm.messages import Orders, Report


class FromWorker(NamedTuple):
    """A report, and the number of the worker that sends it."""

    worker: int
    report: Report


class Gone(NamedTuple):
    """A worker is gone, with all that it held and had not reported; ``reason`` is the last that was heard of it.

    ``replaced`` says whether another one is being started in its place.
    """

    worker: int
    reason: str
    replaced: bool


class Waiting(NamedTuple):
    """A worker has not been started for a while; ``reason`` is what it needs and what there is."""

    worker: int
    reason: str


News: TypeAlias = FromWorker | Gone | Waiting


class Swarm(ABC):
    """A pool of workers. One thread drives it. Workers come and go; a number is never given twice."""

    @property
    @abstractmethod
    def ready(self) -> Sequence[int]:
        """The workers that take orders now."""

    @abstractmethod
    def give(self, worker: int, orders: Orders) -> None:
        """Queue orders for a worker's next slice. Does not block."""

    @abstractmethod
    def collect(self, wait_s: float) -> list[News]:
        """Return what has come in, each worker's reports in order; waits ``wait_s`` seconds at most.

        Raises:
            WorkerLost: No worker is left, and none can be started.
            ModelUnusable: The model cannot be opened.
        """

    def grow(self) -> None:
        """Start one more worker, if there may be more and there is room for it: there is work for it."""
        return

    @abstractmethod
    def close(self) -> None:
        """End the workers and their models. May be called again."""
