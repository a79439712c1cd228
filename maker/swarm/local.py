"""One worker in the driver's own thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from maker.swarm.interface import FromWorker, News, Swarm
from maker.swarm.messages import Orders, WorkerSpec
from maker.swarm.worker import Worker


class LocalSwarm(Swarm):
    """Runs a worker's slices in `collect`. Raises `ModelUnusable` where the model cannot be opened."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._worker = Worker(spec)
        self._orders: deque[Orders] = deque()

    @property
    def ready(self) -> Sequence[int]:
        """The one worker, number 0."""
        return (0,)

    def give(self, worker: int, orders: Orders) -> None:
        """Queue orders for the next slice."""
        self._orders.append(orders)

    def collect(self, wait_s: float) -> list[News]:
        """Work for one slice. A slice never waits longer than it is, so ``wait_s`` does not matter."""
        orders = self._orders.popleft() if self._orders else Orders()
        return [FromWorker(0, self._worker.advance(orders))]

    def close(self) -> None:
        """Close the model."""
        self._worker.close()
