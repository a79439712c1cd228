"""Group commit: what several threads have to commit at the same time goes into one transaction.

The first thread that comes leads: it writes for all that wait, and they only wait. There is no thread beside them, so a
thread that is alone commits as if there were no group.

A transaction costs about as much for ten runs as for one, so the leader waits for those that are likely to come within
milliseconds: whoever came back that soon after its last commit. Nobody waits for a run whose model takes longer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

W = TypeVar("W")
SOON_S = 0.004
"""Whoever came back within so many seconds after its last commit is waited for, as long as that."""


class Member(Generic[W]):
    """One that commits by a group, one thing after another; see `GroupCommit.join`."""

    def __init__(self) -> None:
        self.quick = False
        self.returned_s = 0.0
        self.write: W | None = None
        self.written = False
        # Held but for the moment between its release by another thread and the waking of this one.
        self.woken = threading.Lock()
        self.woken.acquire()


class GroupCommit(Generic[W]):
    """Lets threads commit together.

    Args:
        write_all: Commits several things in one transaction: all of them, or none where it raises.
    """

    def __init__(self, write_all: Callable[[Sequence[W]], None]) -> None:
        self._write_all = write_all
        self._lock = threading.Lock()
        self._members: set[Member[W]] = set()
        self._waiting: list[Member[W]] = []
        self._missing: set[Member[W]] = set()
        self._leader: Member[W] | None = None
        self._gathers = False

    def join(self) -> Member[W]:
        """Return a new member."""
        member = Member[W]()
        with self._lock:
            self._members.add(member)
        return member

    def leave(self, member: Member[W]) -> None:
        """Wait for a member no more; it commits nothing more. Leaving again does nothing."""
        with self._lock:
            self._members.discard(member)
            self._note(member)

    def commit(self, member: Member[W], write: W) -> bool:
        """Commit something with what others have; returns whether it is committed. Blocks.

        If not, the reason is not told, which may be another's: let each commit alone then, in its own thread.
        """
        member.write, member.written = write, False
        if self._leads(member):
            self._lead(member)
        member.returned_s = time.monotonic()
        return member.written

    def _leads(self, member: Member[W]) -> bool:
        """Wait until a thing is committed, or tried; returns whether its thread is to lead instead."""
        now = time.monotonic()
        with self._lock:
            member.quick = now - member.returned_s < SOON_S
            self._waiting.append(member)
            self._note(member)
            if self._leader is None:
                self._leader = member
                return True
        member.woken.acquire()
        return self._leader is member

    def _note(self, member: Member[W]) -> None:
        """Note that a member need not be waited for. The lock is held."""
        self._missing.discard(member)
        if self._gathers and not self._missing and self._leader is not None:
            self._gathers = False
            self._leader.woken.release()

    def _lead(self, leader: Member[W]) -> None:
        batch: Sequence[Member[W]] = ()
        try:
            batch = self._gather(leader)
            # Each tries alone then, and meets the error if it is its own.
            with suppress(Exception):
                self._write_all([one.write for one in batch if one.write is not None])
                for one in batch:
                    one.written = True
        finally:
            self._hand_over(leader, batch)

    def _gather(self, leader: Member[W]) -> Sequence[Member[W]]:
        """Wait for those that will come soon; returns all that have come."""
        now = time.monotonic()
        with self._lock:
            here = set(self._waiting)
            soon = [one for one in self._members if one.quick and one not in here and now - one.returned_s < SOON_S]
            self._missing = set(soon)
            self._gathers = bool(soon)
        if soon and not leader.woken.acquire(timeout=max(one.returned_s for one in soon) + SOON_S - now):
            with self._lock:
                late, self._gathers = not self._gathers, False
            if late:
                # It was released after the time was up.
                leader.woken.acquire()
        with self._lock:
            batch, self._waiting = self._waiting, []
        return batch

    def _hand_over(self, leader: Member[W], batch: Sequence[Member[W]]) -> None:
        """Wake those whose things were tried, and let the next one lead that has come meanwhile."""
        with self._lock:
            following = self._leader = self._waiting[0] if self._waiting else None
        for one in batch:
            one.write = None
            if one is not leader:
                one.woken.release()
        if following is not None:
            following.woken.release()
