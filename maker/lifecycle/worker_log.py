"""What the log of a run tells of its workers: what went otherwise than it should. No step and no vote is in it.

Workers log nothing themselves: what is to be told of them is in their reports, wherever they are, and the driver's
process logs it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from maker.core.logs import logger
from maker.engine.scheduler import KnownChain, Scheduler
from maker.errors import OWN_FAULT
from maker.lifecycle.events import Event, StepsDecided
from maker.store.entry import Entry
from maker.swarm.interface import FromWorker
from maker.voting.messages import ChainRef

RETRIES_EVERY_S = 60.0
"""A server that fails for hours is logged once in so many seconds, by worker and model, and not for each request."""


class WorkLog:
    """Logs what reports tell of workers, chains and models.

    What becomes of a child that its fork can do without is logged at the level DEBUG: a map has its outcomes for that.

    Args:
        run_id: The run, which every record names.
        models: The models' names, by number.
    """

    def __init__(self, run_id: str, models: Sequence[str]) -> None:
        self._log = logger("maker").bind(run_id=run_id)
        self._models = models
        self._retried: dict[tuple[int, int], int] = {}
        self._logged_at: dict[tuple[int, int], float] = {}

    def report(self, message: FromWorker, _entry: Entry, scheduler: Scheduler) -> None:
        """Take a report in."""
        worker, report = message
        if report.place:
            self._log.info("worker_started", worker=worker, place=report.place, opened_s=round(report.opened_s, 3))
        for ref, stuck in (one for one in report.stuck if one.stuck.deferred is None):
            facts = {"step": stuck.idx, "step_class": stuck.kind, "reason": stuck.reason}
            self._log_chain("step_undecided", worker, ref, facts, scheduler.known(ref))
        for ref, error, _, _ in report.errors:
            facts = {"step": error.facts.get("step"), "error": error.message, "error_kind": type(error).__name__}
            known = scheduler.known(ref)
            if not isinstance(error, OWN_FAULT):
                known = known._replace(spared=False)
            self._log_chain("chain_stopped", worker, ref, facts, known)
        for account, usage in report.spent.items():
            if usage.retries:
                key = (worker, account.model)
                self._retried[key] = self._retried.get(key, 0) + usage.retries
                self._log_retries(key)

    def close(self) -> None:
        """Log what has been counted and not logged."""
        self._logged_at.clear()
        for key in list(self._retried):
            self._log_retries(key)

    def _log_chain(self, event: str, worker: int, ref: ChainRef, facts: dict[str, Any], known: KnownChain) -> None:
        # A child of a fork of single steps is shown as a chain of its own, whose only step is 0.
        shown = facts if ref.child is None else facts | {"step": 0}
        shown = {key: value for key, value in shown.items() if value is not None}
        level = logging.DEBUG if known.spared else logging.WARNING
        self._log.log(level, event, worker=worker, chain=known.name, **shown)

    def _log_retries(self, key: tuple[int, int]) -> None:
        now_s = time.monotonic()
        if key not in self._logged_at or now_s - self._logged_at[key] >= RETRIES_EVERY_S:
            self._logged_at[key] = now_s
            worker, model = key
            self._log.warning(
                "request_retried", worker=worker, model=self._models[model], retries=self._retried.pop(key)
            )


def logging_steps(on_event: Callable[[Event], None] | None) -> Callable[[Event], None] | None:
    """Return what logs every step too, where the level DEBUG is on: it takes about as long as to decide them."""
    if not logging.getLogger("maker").isEnabledFor(logging.DEBUG):
        return on_event

    def tell(event: Event) -> None:
        if isinstance(event, StepsDecided):
            _log_steps(event)
        if on_event is not None:
            on_event(event)

    return tell


def _log_steps(event: StepsDecided) -> None:
    said = logger("maker").bind(run_id=event.run_id)
    for step in event.records():
        votes = sum(step.votes.values())
        said.debug(
            "step_decided", chain=step.chain, step=step.step, step_class=step.kind, votes=votes, margin=step.margin
        )
