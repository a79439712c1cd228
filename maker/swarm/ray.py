"""Workers as Ray actors, each with its own model in its own process."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import RayError

from maker.errors import MakerError, ModelUnusable, WorkerLost
from maker.registry import FILE_MODULE
from maker.swarm.door import FromWorker, Swarm
from maker.swarm.worker import YOUNG_OBJECTS, Orders, Report, Worker, WorkerSpec

QUEUED = 2
"""Calls in flight per actor: while a report travels the next slice runs. With one, 2.2 ms pass idle; with two, .75."""
OPEN_S = 600.0
OBJECT_STORE_BYTES = 100_000_000


class _RayWorker:
    """The actor: a `Worker` behind Ray. Errors come back as values, so that they arrive as they were raised."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

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


class RaySwarm(Swarm):
    """Runs ``replicas`` workers as Ray actors.

    Uses the Ray that is running in this process, or the cluster that RAY_ADDRESS names, or starts one here that ends
    with this process, however it ends.

    Args:
        spec: What each worker is built from.
        replicas: How many workers, each with its own copy of the model.
        cpus: Cores that each worker reserves.
        gpus: GPUs that each worker reserves; None for one where the cluster has any.

    Raises:
        ModelUnusable: The model cannot be opened.
        WorkerLost: A worker's process ended while it opened the model.
    """

    def __init__(self, spec: WorkerSpec, *, replicas: int, cpus: float, gpus: float | None) -> None:
        self.size = replicas
        self._actors: list[Any] = []
        self._orders: list[deque[Orders]] = [deque() for _ in range(replicas)]
        self._ready: list[deque[Any]] = [deque() for _ in range(replicas)]
        self._closed = False
        _ray.acquire()
        try:
            _ship_sources()
            if gpus is None:
                gpus = min(1.0, ray.cluster_resources().get("GPU", 0.0))
            _check_resources(replicas, cpus, gpus)
            # Zero restarts: the engine decides what becomes of a dead worker's chains, from what is committed.
            actor = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0)(_RayWorker)
            self._actors = [actor.remote() for _ in range(replicas)]
            self._open(spec)
        except BaseException:
            self.close()
            raise

    def give(self, worker: int, orders: Orders) -> None:
        """Queue orders for a worker's next slice."""
        self._orders[worker].append(orders)

    def collect(self, wait_s: float) -> list[FromWorker]:
        """Keep every actor supplied with calls, and return the reports that have come in, each worker's in order."""
        for worker in range(self.size):
            self._supply(worker)
        # An actor answers its calls in order, so the oldest call of each is the one to wait for.
        oldest = {calls[0]: worker for worker, calls in enumerate(self._ready) if calls}
        with _told():
            done, _ = ray.wait(list(oldest), num_returns=1, timeout=wait_s)
            return [FromWorker(oldest[call], self._report(oldest[call])) for call in done]

    def close(self) -> None:
        """End the actors, and Ray where this swarm started it."""
        if self._closed:
            return
        self._closed = True
        for actor in self._actors:
            with contextlib.suppress(RayError):
                ray.kill(actor)
        _ray.release()

    def _open(self, spec: WorkerSpec) -> None:
        with _told():
            for outcome in ray.get([actor.open.remote(spec) for actor in self._actors], timeout=OPEN_S):
                if outcome is not None:
                    raise outcome

    def _supply(self, worker: int) -> None:
        calls = self._ready[worker]
        while len(calls) < QUEUED:
            orders = self._orders[worker].popleft() if self._orders[worker] else Orders()
            calls.append(self._actors[worker].advance.remote(orders))

    def _report(self, worker: int) -> Report:
        outcome: Report | MakerError = ray.get(self._ready[worker].popleft())
        if isinstance(outcome, MakerError):
            raise outcome
        return outcome


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except RayError as error:
        lines = str(error).strip().splitlines() or [""]
        raise WorkerLost(
            f"a worker's process was lost: {lines[0][:300]}",
            fix="what was committed is safe; `maker resume` goes on from there",
        ) from error


def _check_resources(replicas: int, cpus: float, gpus: float) -> None:
    """Refuse what the cluster does not have: Ray itself would wait for it without a word."""
    there = ray.cluster_resources()
    for name, needed in (("CPU", cpus * replicas), ("GPU", gpus * replicas)):
        if needed > there.get(name, 0.0):
            raise ModelUnusable(
                f"the swarm needs {needed:g} {name}, Ray has {there.get(name, 0.0):g}",
                fix=f"lower swarm.{name.lower()}s",
            )


def _ship_sources() -> None:
    """Send plugins that were loaded from a file by value: no worker could import them by name."""
    for name, module in list(sys.modules.items()):
        if name.startswith(FILE_MODULE):
            cloudpickle.register_pickle_by_value(module)


class _SharedRay:
    """The Ray of this process: started by the first swarm that finds none, ended by the last one that uses it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._mine = False

    def acquire(self) -> None:
        with self._lock:
            if not ray.is_initialized():
                _start_ray()
                self._mine = True
            self._users += 1

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._mine:
                ray.shutdown()
                self._mine = False


_ray = _SharedRay()


def _start_ray() -> None:
    """Join the cluster that RAY_ADDRESS names, or start a Ray that ends with this process, however it ends."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {} if address else {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        with _as_it_was():
            ray.init(address=address or "local", log_to_driver=False, configure_logging=False, **options)
    except (RuntimeError, ConnectionError, OSError, ValueError) as error:
        raise WorkerLost(
            f"Ray cannot be {'reached at ' + address if address else 'started'}: {error}",
            fix='`maker doctor` looks at this machine; swarm.kind = "local" needs no Ray',
        ) from error


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Undo what Ray's start does to the program around it: a handler on SIGTERM, and a warning of its own defaults."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if main else None
    warner = logging.getLogger("ray._private.authentication")
    level = warner.level
    warner.setLevel(logging.ERROR)
    try:
        yield
    finally:
        warner.setLevel(level)
        if main and handler is not None:
            signal.signal(signal.SIGTERM, handler)
