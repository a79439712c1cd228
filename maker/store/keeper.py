"""Keep a lease from running out while its holder is busy: it reads a long log, or waits for a slow listener."""

from __future__ import annotations

import threading
from contextlib import suppress

from maker.errors import MakerError
from maker.store.backend.database import Database
from maker.store.lease import LEASE_S, Lease
from maker.store.runs import renew


class LeaseKeeper:
    """Renews a lease from a thread of its own, until it is closed or the run is no longer this process's.

    The journal renews it with every commit, so there is seldom anything to do. That the lease is lost, or the store
    cannot be reached, is for the holder's next write to tell.
    """

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="maker-lease", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; what it has begun may still take place."""
        self._over.set()
        # Not for ever: it may wait for a server that is gone.
        self._thread.join(timeout=1.0)

    def _work(self) -> None:
        while not self._over.wait(LEASE_S / 3):
            with suppress(MakerError):
                renew(self._database, self._lease)
