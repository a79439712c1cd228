"""The Ray of this process: joined or started, told what is needed of it, and left as it was found."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import ray
from ray import cloudpickle

from maker.core.logs import logger
from maker.core.user_code import FILE_MODULE, OWN_MODULES
from maker.errors import ModelUnusable, WorkerLost

log = logger("maker.swarm")

OBJECT_STORE_BYTES = 100_000_000
ANSWER_S = 5.0
"""How long the head of a cluster may take to answer. Ray itself tries for two minutes or more, and then ends the
process."""
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""What an HTTP/2 client says first, with settings that are empty: the head of a cluster speaks gRPC."""
SETTINGS = 4
"""The type of the frame that an HTTP/2 server answers with; it is the fourth byte."""
INLINE_BYTES = 64 << 20
SYSTEM = {
    # The head would hold the events of the last 100,000 calls to workers, hundreds of MB of them.
    "task_events_report_interval_ms": 0,
    # Calls and answers carry their values themselves. One that lies in Ray's object store, which lives in the node's
    # process, ends this process too if it is needed after the node has died: Ray leaves no time to say anything.
    "max_direct_call_object_size": INLINE_BYTES,
    "task_rpc_inlined_bytes_limit": INLINE_BYTES,
}
"""What a Ray that is started here does otherwise. `ray list tasks` and `ray timeline` show nothing of it."""
PACKAGES = ("maker", "decomposers", "voters")
NO_SOURCES = ["**/__pycache__", "**/*.pyc"]


class SharedRay:
    """The Ray of this process: started by the first swarm that finds none, ended by the last one that uses it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._mine = False
        self._said: Any = None

    def acquire(self, address: str) -> None:
        """Use the Ray that runs in this process, or else join the cluster at an address, or else start one here.

        Raises:
            WorkerLost: There is no cluster at the address, or Ray does not start.
        """
        with self._lock:
            if not ray.is_initialized():
                _start(address or os.environ.get("RAY_ADDRESS", ""))
                self._mine = True
                # It would print what it hears of raylets to standard output, amid what a program says there.
                self._said, ray._private.worker.print_to_stdstream = ray._private.worker.print_to_stdstream, _log
            self._users += 1

    def release(self) -> None:
        """Have no more use for it."""
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._mine:
                ray.shutdown()
                self._mine = False
                ray._private.worker.print_to_stdstream = self._said


RAY = SharedRay()


def ship_sources() -> None:
    """Send plugins that were loaded from a file by value: no worker could import them by name."""
    for name, module in list(sys.modules.items()):
        if name.startswith(FILE_MODULE) or name in OWN_MODULES:
            cloudpickle.register_pickle_by_value(module)


def auto_replicas(gpus: float) -> int:
    """Return how many workers all GPUs are enough for, where each takes so many of one node; 1 without GPUs."""
    return _room({"GPU": gpus}) if gpus else 1


def check_room(needs: Mapping[str, float], replicas: int) -> None:
    """Refuse what the cluster does not have: Ray itself would wait for it without a word.

    Raises:
        ModelUnusable: It has too little in all, or no node has all that one worker needs.
    """
    there = ray.cluster_resources()
    several = f"{replicas} workers need" if replicas > 1 else "a worker needs"
    for name, one in needs.items():
        if one * replicas > there.get(name, 0.0):
            raise ModelUnusable(
                f"{several} {one * replicas:g} {name}, but Ray has {there.get(name, 0.0):g}",
                fix=f"lower {_setting(name)}{' or swarm.replicas' if replicas > 1 else ''}",
            )
    if (room := _room(needs)) < replicas:
        raise ModelUnusable(
            f"{several} {words(needs)}{' each' if replicas > 1 else ''}, on one node; the {len(_nodes())} nodes of the "
            f"cluster have room for {room}",
            fix="lower a worker's reservation or swarm.replicas; `ray status` shows what each node has",
        )


def has_room(needs: Mapping[str, float]) -> bool:
    """Say whether so much is free now, on all nodes together."""
    free = ray.available_resources()
    return all(free.get(name, 0.0) >= needed for name, needed in needs.items())


def shortage(needs: Mapping[str, float]) -> str:
    """Say what a worker needs, what Ray has of it, and what of that is free."""
    there, free = ray.cluster_resources(), ray.available_resources()
    has = ", ".join(f"{there.get(name, 0.0):g} {name} ({free.get(name, 0.0):g} free)" for name in _wanted(needs))
    return f"a worker needs {words(needs)}; the {len(_nodes())} nodes of Ray that live have {has}"


def words(needs: Mapping[str, float]) -> str:
    """Return resources as words."""
    return ", ".join(f"{amount:g} {name}" for name, amount in _wanted(needs).items()) or "nothing"


def packages() -> dict[str, Any]:
    """Return a Ray runtime environment that carries this very maker, decomposers and voters to every node.

    Whatever version a node has: the workers must read what this process writes. Nothing else is in it, for it is
    written to the disk of each node.
    """
    specs = [find_spec(name) for name in PACKAGES]
    folders = [folder for spec in specs for folder in (spec and spec.submodule_search_locations) or ()]
    return {"py_modules": folders, "excludes": NO_SOURCES}


def require_nodes() -> None:
    """Raise `WorkerLost` if no node of Ray lives any more: no worker will ever find a place."""
    if not _nodes():
        raise WorkerLost(
            "Ray has no node left: the process of its node, or an agent beside it, has died",
            fix="continue with `maker resume`, which starts Ray again or joins its cluster; committed steps are safe",
        )


def _setting(name: str) -> str:
    return {"CPU": "swarm.cpus", "GPU": "swarm.gpus"}.get(name, f"swarm.resources.{name}")


def _wanted(needs: Mapping[str, float]) -> dict[str, float]:
    return {name: amount for name, amount in needs.items() if amount}


def _nodes() -> Sequence[Mapping[str, float]]:
    """Return what each node that lives has."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _room(needs: Mapping[str, float]) -> int:
    """Return how many workers the cluster has room for, empty as it may be: each has all it needs from one node."""
    wanted = _wanted(needs)
    if not wanted:
        return sys.maxsize
    return sum(min(int(node.get(name, 0.0) / one + 1e-9) for name, one in wanted.items()) for node in _nodes())


def _start(address: str) -> None:
    """Join the cluster at an address, or without one start a Ray that ends with this process, however it ends."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    here: dict[str, Any] = {
        "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES, "_system_config": SYSTEM,
    }  # fmt: skip
    options = {"runtime_env": packages()} if address else here
    try:
        if address:
            _see_that_it_answers(address)
        with _as_it_was():
            ray.init(address=address or "local", log_to_driver=False, configure_logging=False, **options)
    except (RuntimeError, ConnectionError, OSError, ValueError) as error:
        raise WorkerLost(
            f"Ray cannot be {'reached at ' + address if address else 'started'}: {error}",
            fix="start a cluster with `ray start --head` and use the address that it prints, or leave the address out "
            "to start Ray on this machine"
            if address
            else 'check this machine with `maker doctor`, or set swarm.kind = "local", which needs no Ray',
        ) from error


def _see_that_it_answers(address: str) -> None:
    """Raise ``OSError`` or ``ValueError`` where no head of a cluster answers at an address."""
    if address in ("auto", "local"):
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise ValueError("an address must be HOST:PORT, or auto for a cluster on this machine")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S) as line:
        if os.environ.get("RAY_USE_TLS", "0") in ("1", "true"):
            return
        line.sendall(GREETING)
        answer = line.recv(64)
    if answer[3:4] != bytes((SETTINGS,)):
        raise ConnectionError("something else than a Ray cluster answers there")


def _log(data: Mapping[str, Any], ignore_prefix: bool = False) -> None:
    log.warning("ray_said", lines=[str(line)[:200] for line in data["lines"]])


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Undo what Ray's start does to the program around it: a handler on SIGTERM, and warnings of its own defaults."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if main else None
    warners = [logging.getLogger(f"ray._private.{name}") for name in ("authentication", "worker")]
    levels = [warner.level for warner in warners]
    for warner in warners:
        warner.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for warner, level in zip(warners, levels, strict=True):
            warner.setLevel(level)
        if main and handler is not None:
            signal.signal(signal.SIGTERM, handler)
