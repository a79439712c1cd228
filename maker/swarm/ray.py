"""Workers as Ray actors, each with its own model in its own process."""

from __future__ import annotations

import contextlib
import gc
import time
from collections import deque
from collections.abc import Mapping
from itertools import count
from typing import Any

import ray
from ray.exceptions import RayError

from maker.errors import MakerError, ModelFailed, ModelUnusable, WorkerLost
from maker.swarm import cluster
from maker.swarm.interface import FromWorker, Gone, News, Swarm, Waiting
from maker.swarm.losses import Where, here, last_words, losing_ray, node_died
from maker.swarm.messages import Orders, Report, WorkerSpec
from maker.swarm.worker import YOUNG_OBJECTS, Worker

QUEUED = 2
"""Calls in flight per actor: while a report travels the next slice runs. With one, 2.2 ms pass idle; with two, .75."""
OPEN_S = 600.0
"""How long a worker may take to open its model, and how long a run goes on in which no worker finds a place."""
PATIENCE = 3
"""So many actors in one place may be lost one after another without a step decided; then the place is retired."""
GROW_S = 5.0
"""How often it is looked whether the cluster has room for one more worker."""
NODE_WAIT_S = 5.0
"""After so long without a place for a worker it is looked whether any node of Ray lives."""
REPORT_WAIT_S = 15.0
"""After so long it is reported that a worker has not been started: starting a process takes a few seconds."""


class _RayWorker:
    """The actor: a `Worker` behind Ray. Errors come back as values, so that they arrive as they were raised."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def where(self) -> Where:
        return here()

    def open(self, spec: WorkerSpec) -> MakerError | None:
        gc.set_threshold(YOUNG_OBJECTS)
        try:
            self._worker = Worker(spec)
        except MakerError as error:
            return error
        return None

    def advance(self, orders: Orders) -> Report | MakerError:
        assert self._worker is not None  # noqa: S101 - open comes first
        try:
            return self._worker.advance(orders)
        except MakerError as error:
            return error

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()


class _Replica:
    """One place in the swarm for a worker: the actor that fills it now, and how the ones before it fared.

    ``placing`` is there until the actor's process runs, then ``opening`` until its model is open. ``failures`` counts
    the actors that were lost one after another without having decided a step, but not those that went with their node.
    One that is ``extra`` is there because of `RaySwarm.grow`, and not waited for.
    """

    def __init__(self, *, extra: bool) -> None:
        self.extra = extra
        self.worker = -1
        self.actor: Any = None
        self.placing: Any = None
        self.opening: Any = None
        self.where = Where("", "")
        self.since = 0.0
        self.reported = False
        self.failures = 0
        self.orders: deque[Orders] = deque()
        self.calls: deque[Any] = deque()

    @property
    def ready(self) -> bool:
        """Whether its model is open."""
        return self.placing is None and self.opening is None

    @property
    def next(self) -> Any:
        """The call to wait for: an actor answers in order, so of its calls it is the oldest."""
        return self.placing or self.opening or self.calls[0]


class RaySwarm(Swarm):
    """Runs workers as Ray actors, each in a process of its own, and starts another one for one that is lost.

    Uses the Ray that is running in this process, or the cluster at ``address``, or starts one here that ends with this
    process, however it ends. Returns before a worker is ready.

    Args:
        spec: What each worker is built from.
        replicas: How many workers, each with its own copy of the model; None for as many as the GPUs allow.
        most: How many there may be, where there is work for more.
        cpus: Cores that each worker reserves.
        gpus: GPUs that each worker reserves; None for one where the cluster has any.
        resources: What else each worker reserves, by Ray's names.
        address: The cluster's address; else RAY_ADDRESS says, or a Ray is started here.

    Raises:
        ModelUnusable: The cluster has not what a worker needs.
        WorkerLost: Ray cannot be reached.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        *,
        replicas: int | None,
        most: int,
        cpus: float,
        gpus: float | None,
        resources: Mapping[str, float],
        address: str = "",
    ) -> None:
        self._replicas: list[_Replica] = []
        self._closed = False
        cluster.RAY.acquire(address)
        try:
            cluster.ship_sources()
            if gpus is None:
                gpus = min(1.0, ray.cluster_resources().get("GPU", 0.0))
            self._needs = {"CPU": cpus, "GPU": gpus, **resources}
            if replicas is None:
                replicas = max(1, cluster.auto_replicas(gpus))
            cluster.check_room(self._needs, replicas)
            # Zero restarts: the engine decides what becomes of a dead worker's chains, from what is committed.
            options = {"num_cpus": cpus, "num_gpus": gpus, "resources": dict(resources), "max_restarts": 0}
            self._actor = ray.remote(**options)(_RayWorker)
            self._spec = spec
            self._most = max(replicas, most)
            self._grow_at = 0.0
            self._opened = False
            self._numbers = count()
            for _ in range(replicas):
                self._add(extra=False)
        except BaseException:
            self.close()
            raise

    @property
    def ready(self) -> list[int]:
        """The workers whose models are open."""
        return [one.worker for one in self._replicas if one.ready]

    def give(self, worker: int, orders: Orders) -> None:
        """Queue orders for a worker's next slice; what is given to one that is lost is lost with it."""
        for one in self._replicas:
            if one.worker == worker:
                one.orders.append(orders)

    def collect(self, wait_s: float) -> list[News]:
        """Keep every actor supplied with calls, and return what has come in."""
        for one in self._replicas:
            while one.ready and len(one.calls) < QUEUED:
                one.calls.append(one.actor.advance.remote(one.orders.popleft() if one.orders else Orders()))
        waiting = {one.next: one for one in self._replicas}
        with losing_ray():
            done, _ = ray.wait(list(waiting), num_returns=1, timeout=wait_s)
            if done and len(waiting) > 1:
                done, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        found: list[News] = []
        for call in done:
            found += self._heard(waiting[call])
        return found + self._look_at_late()

    def grow(self) -> None:
        """Start one more worker, if there may be more, all are ready, and the cluster has room for it."""
        now_s = time.monotonic()
        starting = not all(one.ready for one in self._replicas)
        if len(self._replicas) >= self._most or starting or now_s < self._grow_at:
            return
        self._grow_at = now_s + GROW_S
        with losing_ray():
            room = cluster.has_room(self._needs)
        if room:
            self._add(extra=True)

    def close(self) -> None:
        """End the actors, and Ray where this swarm started it."""
        if self._closed:
            return
        self._closed = True
        for one in self._replicas:
            with contextlib.suppress(RayError):
                ray.kill(one.actor)
        cluster.RAY.release()

    def _add(self, *, extra: bool) -> None:
        self._replicas.append(_Replica(extra=extra))
        self._start(self._replicas[-1])

    def _start(self, one: _Replica) -> None:
        """Start an actor in a replica's place, under a new number."""
        one.worker, one.since, one.reported = next(self._numbers), time.monotonic(), False
        one.where = Where("", "")
        one.orders.clear()
        one.calls.clear()
        one.actor = self._actor.remote()
        one.placing = one.actor.where.remote()
        one.opening = one.actor.open.remote(self._spec)

    def _heard(self, one: _Replica) -> list[News]:
        """Take in the answer to a replica's oldest call."""
        call = one.next
        if one.ready:
            one.calls.popleft()
        try:
            outcome: Where | Report | MakerError | None = ray.get(call)
        except RayError as error:
            return self._lose(one, last_words(error, one.where), blamed=not node_died(error, one.where))
        if one.placing is not None:
            assert isinstance(outcome, Where)  # noqa: S101 - for the type checker
            one.where, one.placing, one.since = outcome, None, time.monotonic()
            return []
        if isinstance(outcome, ModelFailed) or (isinstance(outcome, ModelUnusable) and self._opened):
            # The engine within an actor, or a model that can be opened elsewhere, is that worker's own loss.
            return self._lose(one, str(outcome))
        if isinstance(outcome, MakerError):
            raise outcome
        if isinstance(outcome, Report):
            if outcome.decided:
                one.failures = 0
            return [FromWorker(one.worker, outcome)]
        one.opening = None
        self._opened = True
        return []

    def _look_at_late(self) -> list[News]:
        """Tell of workers for which there is no room, and give up those whose models do not get open."""
        found: list[News] = []
        for one in [one for one in self._replicas if not one.ready]:
            late_s = time.monotonic() - one.since
            if one.placing is not None and late_s > NODE_WAIT_S:
                with losing_ray():
                    cluster.require_nodes()
            if one.placing is None and late_s > OPEN_S:
                found += self._lose(one, f"it was not ready within {OPEN_S:g} s")
            elif one.placing is not None and late_s > REPORT_WAIT_S and not one.reported:
                found += self._report_wait(one)
        if all(one.placing is not None and time.monotonic() - one.since > OPEN_S for one in self._replicas):
            raise WorkerLost(
                f"the cluster had no room for a worker for {OPEN_S:g} s: {cluster.shortage(self._needs)}",
                fix="free resources in the cluster, then continue with `maker resume`; committed steps are safe",
            )
        return found

    def _report_wait(self, one: _Replica) -> list[News]:
        if one.extra and len(self._replicas) > 1:
            # What it was to have is in use: a worker that can be done without is not waited for.
            self._end(one)
            self._replicas.remove(one)
            return []
        one.reported = True
        with losing_ray():
            return [Waiting(one.worker, cluster.shortage(self._needs))]

    def _lose(self, one: _Replica, reason: str, *, blamed: bool = True) -> list[News]:
        """Start another actor for one that is lost, or retire its place where that was its own fault too often."""
        lost = one.worker
        self._end(one)
        one.failures += blamed
        replaced = one.failures < PATIENCE
        if replaced:
            self._start(one)
        else:
            self._replicas.remove(one)
            self._most -= 1
        if not self._replicas:
            raise WorkerLost(
                f"a worker's process died {PATIENCE} times without deciding a step; the last time: {reason}",
                fix="fix the cause, then continue with `maker resume`; committed steps are safe",
            )
        return [Gone(lost, reason, replaced)]

    def _end(self, one: _Replica) -> None:
        with contextlib.suppress(RayError):
            ray.kill(one.actor)
