"""Leases: one process works on a run at a time. The run's fence enforces it in every transaction."""

from __future__ import annotations

import os
import socket
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

LEASE_S = 15.0
"""How long a silent holder keeps its run, in seconds. A holder renews its lease after a third of that."""


class Lease(NamedTuple):
    """The right to write to one run, valid as long as the run has this fence.

    ``batch`` is how many transactions the run's journals had written when the lease was taken.
    """

    run: int
    fence: int
    batch: int = 0


def this_process() -> str:
    """Return this process's identity: machine, process id, start time."""
    return f"{_machine()} {os.getpid()} {_started(os.getpid())}"


def alive(holder: str, lease_until: float) -> bool:
    """Say whether a lease is valid: it has not expired, and its process is not known to be dead.

    A dead process of this machine is noticed at once, so that no one waits for its lease to expire.
    """
    if not holder or lease_until < time.time():
        return False
    machine, pid, started = holder.rsplit(" ", 2)
    return machine != _machine() or _started(int(pid)) in (started, "?")


def describe(holder: str) -> str:
    """Return a holder as text, for messages."""
    machine, pid, _ = holder.rsplit(" ", 2)
    host = machine.split(" ")[0]
    elsewhere = host == socket.gethostname() and machine != _machine()
    return f"process {pid} on {host}{', another machine or container of that name,' if elsewhere else ''}"


@cache
def _machine() -> str:
    """Return what no other machine has: host name, number of the kernel's boot, process-id namespace.

    Containers and copied machines share host names, and the first namespace of every kernel has the same number: a
    process of another machine would look like a dead one of this.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - a kernel's name
    except OSError:
        return f"{socket.gethostname()} -"


def _started(pid: int) -> str:
    """Return a process's start time in clock ticks, "" if it is dead, "?" if the system does not give it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _signalled(pid)
    # A zombie is dead; only its parent has not noticed yet.
    return "" if fields[0] == "Z" else fields[19]


def _signalled(pid: int) -> str:
    if os.name == "nt":
        # There a signal 0 is Ctrl-C. Whether a process lives is not known: its lease runs out.
        return "?"
    # Where processes of other users are hidden, a living one has no line in /proc.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "?"
