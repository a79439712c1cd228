"""When nothing has come from the models for a while, and how many requests they have open then. Pure."""

from __future__ import annotations

from maker.swarm.messages import Report

FIRST_S = 10.0


class Quiet:
    """Says in ever longer intervals that nothing has come, while something is waited for.

    Args:
        now_s: When the work begins; times are the caller's, and must not decrease.
    """

    def __init__(self, now_s: float) -> None:
        self._news_s = now_s
        self._due_s = FIRST_S
        self._open: dict[int, int] = {}

    def note(self, worker: int, report: Report, now_s: float) -> None:
        """Take a worker's report in."""
        began = not any(self._open.values())
        self._open[worker] = report.requests
        if began or report.decided or any(usage.calls for usage in report.spent.values()):
            self._news_s, self._due_s = now_s, FIRST_S

    def lose(self, worker: int) -> None:
        """Forget what a lost worker had open."""
        self._open.pop(worker, None)

    def due(self, now_s: float) -> int:
        """Return how many requests are open, if it is time to say that nothing has come; else 0."""
        waiting = sum(self._open.values())
        if not waiting or now_s - self._news_s < self._due_s:
            return 0
        self._due_s *= 2
        return waiting
