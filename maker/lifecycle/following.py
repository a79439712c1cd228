"""Follow a run that another process works on, or none yet, by looking at the store."""

from __future__ import annotations

import threading
from contextlib import closing

from maker.lifecycle.events import Event, RunEnded, RunStarted, StepsDecided, stored_event
from maker.lifecycle.queries import RunReport, whole_report
from maker.lifecycle.session import OnEvent, ignore
from maker.store.backend.database import Database, open_database
from maker.store.queued import LEFT
from maker.store.runs import ACTIVE, PENDING

LOOK_S = 0.5
"""Seconds between two looks at a run."""


class Follower:
    """Tells what has become of a run since the last look, as events.

    `StepsDecided` counts what was committed in between, and has no records: the store keeps no order of steps over all
    chains.

    Attributes:
        report: How the run stood at the last look.
    """

    def __init__(self, database: Database, run_id: str) -> None:
        self._database = database
        self.report = whole_report(database, run_id)

    @property
    def over(self) -> bool:
        """Whether the run rests: nobody works on it, and no worker will."""
        waits = self.report.queue is not None and self.report.queue["state"] != LEFT
        return self.report.status not in (ACTIVE, PENDING) and not waits

    def begin(self) -> RunStarted:
        """Return the event that following begins with."""
        return RunStarted(self.report.run_id, True, self.report.steps, None)

    def look(self) -> list[Event]:
        """Look again; return what is new, and the run's end if it rests. Raises `RunNotFound` if it was deleted."""
        before, now = self.report, whole_report(self._database, self.report.run_id)
        self.report = now
        events: list[Event] = []
        for stored in now.events[len(before.events) :]:
            facts = {name: fact for name, fact in stored.items() if name not in ("at", "kind")}
            if (event := stored_event(now.run_id, stored["kind"], facts)) is not None:
                events.append(event)
        steps, votes, flags, disputed = (
            getattr(now, name) - getattr(before, name) for name in ("steps", "decided_votes", "red_flags", "disputed")
        )
        if steps or votes or flags or disputed:
            events.append(StepsDecided(now.run_id, steps, votes, flags, disputed, (), (), None))
        return [*events, self.end()] if self.over else events

    def end(self) -> RunEnded:
        """Return the event of the run's end."""
        return RunEnded(self.report.run_id, self.report.status, self.report.reason, self.report.result)


def follow(
    run_id: str, *, store: str, on_event: OnEvent | None = None, stop: threading.Event | None = None
) -> RunReport:
    """Follow a run until it rests, or ``stop`` is set, which does not stop the run; returns its report. Blocks."""
    notify, over = on_event or ignore, stop or threading.Event()
    with closing(open_database(store, create=False)) as database:
        follower = Follower(database, run_id)
        notify(follower.begin())
        while not follower.over and not over.wait(LOOK_S):
            for event in follower.look():
                if not isinstance(event, RunEnded):
                    notify(event)
        notify(follower.end())
        return follower.report
