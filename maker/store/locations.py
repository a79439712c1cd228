"""Find a chain's path by its key, and whether a step is still live."""

from __future__ import annotations

from sqlalchemy import select

from maker.store.backend import schema
from maker.store.backend.database import Database
from maker.store.chains import read_fork
from maker.store.log import live_places, read_cuts
from maker.voting.paths import ROOT, Path

_chain = schema.chain.c


def path_of(database: Database, chain: int) -> Path | None:
    """Return a chain's path, None if there is no such chain."""
    path: Path = ROOT
    while True:
        rows = database.fetch(
            select(_chain.parent, _chain.at, _chain.fork_epoch, _chain.number).where(_chain.id == chain)
        )
        if not rows:
            return None
        parent, at, epoch, number = rows[0]
        if parent is None:
            return path
        fork = read_fork(database, parent, at, epoch)
        here = (at, epoch) if fork is not None and fork.single else (at, epoch, number)
        chain, path = parent, (*here, *path)


def is_live(database: Database, chain: int, idx: int, epoch: int) -> bool:
    """Say whether no cut has superseded a step, neither in its own chain nor in those above it."""
    while True:
        rows = database.fetch(select(_chain.parent, _chain.at, _chain.fork_epoch).where(_chain.id == chain))
        if not rows:
            return False
        parent, at, fork_epoch = rows[0]
        fork = None if parent is None else read_fork(database, parent, at, fork_epoch)
        cuts = read_cuts(database, chain)
        if not live_places(cuts, single=fork is not None and bool(fork.single))(idx, epoch):
            return False
        if parent is None:
            return True
        chain, idx, epoch = parent, at, fork_epoch
