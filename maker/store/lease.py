"""Who works on a run. A lease says it for a while; the fence makes sure of it in every transaction."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import NamedTuple

LEASE_S = 15.0
"""How long a holder that gives no sign of life keeps its run. It renews after a third of that."""


class Lease(NamedTuple):
    """The right to write to one run: valid as long as the run's fence is this one.

    ``batch`` is how many transactions its journals had written when it was taken.
    """

    run: int
    fence: int
    batch: int = 0


def this_process() -> str:
    """Return this process's name: machine, process-id namespace, process id, start time."""
    return f"{_machine()} {os.getpid()} {_started(os.getpid())}"


def alive(holder: str, lease_until: float) -> bool:
    """Say whether a lease holds: not run out, and its process not known to be gone.

    A dead process of this machine is seen at once, so that nobody waits for its lease to run out.
    """
    if not holder or lease_until < time.time():
        return False
    machine, pid, started = holder.rsplit(" ", 2)
    return machine != _machine() or _started(int(pid)) == started


def describe(holder: str) -> str:
    """Return a holder in words."""
    machine, pid, _ = holder.rsplit(" ", 2)
    return f"process {pid} on {machine.split(' ')[0]}"


def _machine() -> str:
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - no file, a kernel name
    except OSError:
        return f"{socket.gethostname()} -"


def _started(pid: int) -> str:
    """Return a process's start time in clock ticks, "" where it is gone, "?" where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _signalled(pid)
    # A zombie has ended; it only waits for its parent to notice.
    return "" if fields[0] == "Z" else fields[19]


def _signalled(pid: int) -> str:
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "?"
