"""How workers under Ray are lost: whose fault it was, and what was heard last."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import ray
from ray.exceptions import ActorUnavailableError, RayError

from maker.errors import WorkerLost

LAST_WORDS = 600
LAST_LINES = 5
LAST_BYTES = 16_384
NODE_DIED = "its node has died"
RAYS_OWN = ("\tclass_name:", "\tactor_id:", "\tnamespace:")
"""Lines of Ray's errors that say nothing to a user."""


class Where(NamedTuple):
    """Where an actor runs: its node's id, and the file that its standard error goes to."""

    node: str
    errors: str


def here() -> Where:
    """Return where this actor runs."""
    node = ray.get_runtime_context().get_node_id()
    with contextlib.suppress(OSError):
        return Where(node, str(Path("/proc/self/fd/2").readlink()))
    return Where(node, "")


def node_died(error: RayError, where: Where) -> bool:
    """Say whether an actor was lost with its node: who kills nodes is not to blame the worker for it."""
    # Of a process that ends, its node tells within moments. One of which nobody tells anything has lost its node, long
    # before Ray gives the node up.
    if isinstance(error, ActorUnavailableError) or NODE_DIED in str(error):
        return True
    with losing_ray():
        return any(node["NodeID"] == where.node and not node["Alive"] for node in ray.nodes())


def last_words(error: RayError, where: Where) -> str:
    """Return what Ray says of a lost worker, in one line, and what the worker itself said last, where that is here."""
    lines = [line for line in str(error).splitlines() if not line.startswith(RAYS_OWN)]
    found = " ".join(" ".join(lines).split())[:LAST_WORDS]
    if not where.errors:
        return found
    try:
        with Path(where.errors).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return found
    # Lines that begin with a colon are Ray's own marks.
    said = [line.strip() for line in lines if line.strip() and not line.startswith(":")][-LAST_LINES:]
    return f"{found}; its last output: {' / '.join(said)[-LAST_WORDS:]}" if said else found


@contextlib.contextmanager
def losing_ray() -> Iterator[None]:
    """Turn what Ray raises here into `WorkerLost`: it is Ray itself that is lost."""
    try:
        yield
    except RayError as error:
        raise WorkerLost(
            f"Ray cannot be reached any more: {' '.join(str(error).split())[:LAST_WORDS]}",
            fix="continue with `maker resume`; committed steps are safe",
        ) from error
