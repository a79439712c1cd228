"""Runs that are killed and resumed, and the logs of runs compared to the last vote.

A kill is simulated by what it leaves: a copy of the database as it stands after some commit, held by a process that is
no more. The copy is resumed; the process that it was taken from is thrown away.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from maker import api
from maker.lifecycle import queries, session
from maker.lifecycle.events import StepsDecided
from maker.store.backend.database import open_database
from maker.store.chains import root_chain
from maker.store.entry import Entry
from maker.store.journal import Journal, Waited
from maker.store.lease import this_process
from maker.store.runs import find_run
from maker.store.tree import PlacedStep, walk_steps
from maker.voting.paths import chain_name

DEAD = f"{this_process().rsplit(' ', 2)[0]} {2**22 + 1} 1"
SAME = ("status", "steps", "decided_votes", "decided_flags", "disputed", "digest", "result")


# --- logs, compared ---


class Log(NamedTuple):
    """All that a run left behind and that is no matter of chance: its rows with every vote and digest, its report."""

    rows: list[PlacedStep]
    report: dict[str, Any]


def log_of(url: str, report: queries.RunReport) -> Log:
    """Read a run that is done, and see that its log verifies."""
    assert report.status == "done", report.reason
    found = queries.verify("last", store=url)
    assert (found.problem, found.whole) == ("", True)
    assert (found.digest, found.steps) == (report.digest, report.steps)
    database = open_database(url, create=False)
    rows = list(walk_steps(database, root_chain(database, find_run(database, "last").key)))
    database.close()
    return Log(rows, {name: getattr(report, name) for name in SAME})


def assert_same(found: Log, expected: Log) -> None:
    """Compare two logs to the last vote."""
    for one, other in zip(found.rows, expected.rows, strict=False):
        assert one == other, f"chain {chain_name(other.path)}, step {other.step.idx} is another"
    assert found == expected


# --- kills ---


class Killed(Exception):
    """The process is no more."""


class Life(NamedTuple):
    """One process's life: its settings, how its work is cut up, and what ends it: a kill, a stop, a limit, a cap."""

    chains: int = 256
    durability: str = "group"
    groups: tuple[int, ...] = (64,)
    slice_steps: int = 2000
    join_every: int = 5000
    kept: int = 64
    page: int = 1000
    kill_after: int | None = None
    max_votes: int = 1000
    limit_steps: int | None = None
    max_calls: int = 1_000_000
    stop_after: int | None = None

    def overrides(self) -> list[str]:
        """Return the settings that a resume takes."""
        return [
            f"swarm.chains={self.chains}",
            f"store.durability={self.durability}",
            f"vote.max_votes={self.max_votes}",
            f"limits.max_calls={self.max_calls}",
        ]


def mortal(life: Life, copy: Path) -> type[Journal]:
    """Return a journal that commits as many entries at a time as a life says, and dies when its time has come."""
    groups, commits = itertools.cycle(life.groups), itertools.count(1)

    class Mortal(Journal):
        def _take(self) -> Waited:
            taken: list[Entry] = []
            for place in range(next(groups)):
                try:
                    entry = self._queue.get(timeout=0.001 if place else 5.0)
                except queue.Empty:
                    break
                if entry is None:
                    return Waited(taken, last=True)
                taken.append(entry)
            return Waited(taken, last=False)

        def _commit(self, entries: list[Entry]) -> list[Entry]:
            committed = super()._commit(entries)
            if next(commits) == life.kill_after:
                source, target = sqlite3.connect(self._database.shown), sqlite3.connect(copy)
                with closing(source), closing(target), target:
                    source.backup(target)
                    target.execute("UPDATE maker_run SET holder = ?", (DEAD,))
                raise Killed
            return committed

    return Mortal


@contextmanager
def living(life: Life, copy: Path) -> Iterator[None]:
    """Let what is run in this block be a life: its reports, pages and batches are as large as that says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "Journal", mortal(life, copy))
        patch.setattr("maker.swarm.worker.SLICE_STEPS", life.slice_steps)
        patch.setattr("maker.swarm.fork_cache.KEPT_FORKS", life.kept)
        patch.setattr("maker.engine.open_fork.AHEAD", life.page)
        patch.setattr("maker.engine.scheduler.RESTORED_AT_ONCE", life.kept)
        patch.setattr("maker.engine.open_fork.JOIN_EVERY", life.join_every)
        patch.setattr("maker.engine.join.AT_ONCE", life.join_every)
        patch.setattr("maker.store.chains.PAGE", life.page)
        patch.setattr("maker.store.log.PAGE", life.page)
        yield


def stopping(life: Life) -> dict[str, Any]:
    """Return the arguments that stop a run once it has told of steps so often."""
    stop, told = threading.Event(), itertools.count(1)

    def on_event(event: Any) -> None:
        if isinstance(event, StepsDecided) and next(told) == life.stop_after:
            stop.set()

    return {"stop": stop, "on_event": on_event}


def through(lives: list[Life], folder: Path, tables: dict[str, dict[str, Any]], last: Life | None = None) -> Log:
    """Run a job through lives that are killed or paused, and a last one that is not; return its log."""
    url, begun = f"sqlite:///{folder}/maker.db", False
    for number, life in enumerate((*lives, last or Life())):
        copy = folder / f"{number}.db"
        told = stopping(life)
        with living(life, copy), contextlib.suppress(Killed):
            if begun:
                report = queries.show("last", store=url)
                if report.status != "done":
                    report = api.resume("last", life.overrides(), store=url, limit_steps=life.limit_steps, **told)
            else:
                first = tables | {"store": tables["store"] | {"url": url}}
                report = api.run(api.load_job(first, life.overrides()), limit_steps=life.limit_steps, **told)
            if report.status == "done":
                return log_of(url, report)
        begun, url = True, f"sqlite:///{copy}" if copy.exists() else url
    raise AssertionError(f"the last life ends with the run: {report.reason}")
