"""Workers as Ray actors, each with its own model in its own process."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import RayError

from maker.errors import MakerError, ModelUnusable, WorkerLost
from maker.registry import FILE_MODULE
from maker.swarm.door import FromWorker, Gone, News, Swarm
from maker.swarm.worker import YOUNG_OBJECTS, Orders, Report, Worker, WorkerSpec

QUEUED = 2
"""Calls in flight per actor: while a report travels the next slice runs. With one, 2.2 ms pass idle; with two, .75."""
OPEN_S = 600.0
PATIENCE = 3
"""So many actors in one place may be lost one after another without a step decided; then the place is retired."""
LAST_WORDS = 600
GROW_S = 5.0
"""How often it is looked whether the cluster has room for one more worker."""
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


class _Replica:
    """One place in the swarm for a worker: the actor that fills it now, and how the ones before it fared.

    ``failures`` counts the actors that were lost one after another without having decided a step.
    """

    def __init__(self) -> None:
        self.worker = -1
        self.actor: Any = None
        self.opening: Any = None
        self.since = 0.0
        self.failures = 0
        self.orders: deque[Orders] = deque()
        self.calls: deque[Any] = deque()


class RaySwarm(Swarm):
    """Runs workers as Ray actors, each in a process of its own, and starts another one for one that is lost.

    Uses the Ray that is running in this process, or the cluster at ``address``, or starts one here that ends with this
    process, however it ends. Returns once one worker is ready; the others follow.

    Args:
        spec: What each worker is built from.
        replicas: How many workers, each with its own copy of the model; None for as many as the GPUs allow.
        most: How many there may be, where there is work for more.
        cpus: Cores that each worker reserves.
        gpus: GPUs that each worker reserves; None for one where the cluster has any.
        address: The cluster's address; else RAY_ADDRESS says, or a Ray is started here.

    Raises:
        ModelUnusable: The model cannot be opened, or the cluster has not what a worker needs.
        WorkerLost: Ray cannot be reached, or no worker's process lives to open the model.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        *,
        replicas: int | None,
        most: int,
        cpus: float,
        gpus: float | None,
        address: str = "",
    ) -> None:
        self._replicas: list[_Replica] = []
        self._closed = False
        _ray.acquire(address)
        try:
            _ship_sources()
            there = ray.cluster_resources()
            if gpus is None:
                gpus = min(1.0, there.get("GPU", 0.0))
            if replicas is None:
                replicas = int(there.get("GPU", 0.0) / gpus) if gpus else 1
            self._needs = {"CPU": cpus, "GPU": gpus}
            _check_resources(there, self._needs, replicas)
            # Zero restarts: the engine decides what becomes of a dead worker's chains, from what is committed.
            self._actor = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0)(_RayWorker)
            self._spec = ray.put(spec)
            self._most = max(replicas, most)
            self._grow_at = 0.0
            self._numbers = count()
            for _ in range(replicas):
                self._add()
            while not self.ready:
                self.collect(OPEN_S)
        except BaseException:
            self.close()
            raise

    @property
    def ready(self) -> list[int]:
        """The workers whose models are open."""
        return [one.worker for one in self._replicas if one.opening is None]

    def give(self, worker: int, orders: Orders) -> None:
        """Queue orders for a worker's next slice; what is given to one that is lost is lost with it."""
        for one in self._replicas:
            if one.worker == worker:
                one.orders.append(orders)

    def collect(self, wait_s: float) -> list[News]:
        """Keep every actor supplied with calls, and return what has come in."""
        for one in self._replicas:
            if one.opening is None:
                while len(one.calls) < QUEUED:
                    one.calls.append(one.actor.advance.remote(one.orders.popleft() if one.orders else Orders()))
        # An actor answers its calls in order, so the oldest call of each is the one to wait for.
        waiting = {one.calls[0] if one.opening is None else one.opening: one for one in self._replicas}
        with _told():
            done, _ = ray.wait(list(waiting), num_returns=1, timeout=wait_s)
            if done and len(waiting) > 1:
                done, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        found: list[News] = []
        for call in done:
            found += self._opened(waiting[call]) if waiting[call].opening is not None else self._heard(waiting[call])
        for one in self._replicas:
            if one.opening is not None and time.monotonic() - one.since > OPEN_S:
                found += self._lose(one, f"it was not ready within {OPEN_S:g} s")
        return found

    def grow(self) -> None:
        """Start one more worker, if there may be more, all are ready, and the cluster has room for it."""
        now_s = time.monotonic()
        opening = any(one.opening is not None for one in self._replicas)
        if len(self._replicas) >= self._most or opening or now_s < self._grow_at:
            return
        self._grow_at = now_s + GROW_S
        free = ray.available_resources()
        if all(free.get(name, 0.0) >= needed for name, needed in self._needs.items()):
            self._add()

    def close(self) -> None:
        """End the actors, and Ray where this swarm started it."""
        if self._closed:
            return
        self._closed = True
        for one in self._replicas:
            with contextlib.suppress(RayError):
                ray.kill(one.actor)
        _ray.release()

    def _add(self) -> None:
        self._replicas.append(_Replica())
        self._start(self._replicas[-1])

    def _start(self, one: _Replica) -> None:
        """Start an actor in a replica's place, under a new number."""
        one.worker, one.since = next(self._numbers), time.monotonic()
        one.orders.clear()
        one.calls.clear()
        one.actor = self._actor.remote()
        one.opening = one.actor.open.remote(self._spec)

    def _opened(self, one: _Replica) -> list[News]:
        try:
            outcome: MakerError | None = ray.get(one.opening)
        except RayError as error:
            return self._lose(one, _last_words(error))
        if outcome is not None:
            raise outcome
        one.opening = None
        return []

    def _heard(self, one: _Replica) -> list[News]:
        try:
            outcome: Report | MakerError = ray.get(one.calls.popleft())
        except RayError as error:
            return self._lose(one, _last_words(error))
        if isinstance(outcome, MakerError):
            raise outcome
        if outcome.decided:
            one.failures = 0
        return [FromWorker(one.worker, outcome)]

    def _lose(self, one: _Replica, reason: str) -> list[News]:
        """Start another actor for one that is lost, or retire its place where that has failed too often."""
        lost = one.worker
        with contextlib.suppress(RayError):
            ray.kill(one.actor)
        one.failures += 1
        replaced = one.failures < PATIENCE
        if replaced:
            self._start(one)
        else:
            self._replicas.remove(one)
        if not self._replicas:
            raise WorkerLost(
                f"a worker's process was lost {PATIENCE} times without a step decided; the last: {reason}",
                fix="what was committed is safe; `maker resume` goes on from there",
            )
        return [Gone(lost, reason, replaced)]


def _last_words(error: RayError) -> str:
    """Return what Ray says of a lost worker, in one line."""
    return " ".join(str(error).split())[:LAST_WORDS]


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except RayError as error:
        raise WorkerLost(
            f"Ray cannot be reached any more: {_last_words(error)}",
            fix="what was committed is safe; `maker resume` goes on from there",
        ) from error


def _check_resources(there: Mapping[str, float], needs: Mapping[str, float], replicas: int) -> None:
    """Refuse what the cluster does not have: Ray itself would wait for it without a word."""
    for name, one in needs.items():
        if one * replicas > there.get(name, 0.0):
            raise ModelUnusable(
                f"{replicas} workers need {one * replicas:g} {name}, Ray has {there.get(name, 0.0):g}"
                if replicas > 1
                else f"a worker needs {one:g} {name}, Ray has {there.get(name, 0.0):g}",
                fix=f"lower swarm.{name.lower()}s{' or swarm.replicas' if replicas > 1 else ''}",
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

    def acquire(self, address: str) -> None:
        with self._lock:
            if not ray.is_initialized():
                _start_ray(address or os.environ.get("RAY_ADDRESS", ""))
                self._mine = True
            self._users += 1

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._mine:
                ray.shutdown()
                self._mine = False


_ray = _SharedRay()


def _start_ray(address: str) -> None:
    """Join the cluster at an address, or without one start a Ray that ends with this process, however it ends."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
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
