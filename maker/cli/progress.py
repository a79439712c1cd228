"""A run's progress: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from maker.cli.advice import completed
from maker.cli.known import known
from maker.cli.output import as_text, print, writing
from maker.cli.silence import Silence, clock, lasting
from maker.lifecycle.events import (
    AlarmRaised,
    BatchChanged,
    CodeChanged,
    ConcurrencyChanged,
    EffectInDoubt,
    EndpointChanged,
    Event,
    FileChanged,
    LimitAwaited,
    ModelAway,
    RepliesAwaited,
    RunStarted,
    StepsAsked,
    StepsDecided,
    UnmadeTest,
    VotesAllocated,
    VotesDecorrelated,
    WorkerGone,
    WorkerWaiting,
)

PLAIN_EVERY_S = 10.0
WINDOW_S = 30.0
BAR_COLUMNS = 60
QUIET_S = 10.0
"""After so many seconds without anything new a live display says so, or after twice as long as a step takes."""
PLAIN_QUIET_S = 60.0
"""After so many seconds a plain one does: each time is a line in a file."""


class Progress:
    """Shows steps, steps/s, votes a step, flags, disputed steps and the time left.

    A command that works on a run passes `handle` as the run's event callback; it is called in the writer's thread. A
    command that only watches a run calls `begin` and `update`. Rich draws the display in a thread of its own.

    Args:
        stream: The terminal or file to write to.
        waiting: What to show before the first step, in words.
    """

    def __init__(self, stream: TextIO, *, waiting: str = "opening the model") -> None:
        self.run_id = ""
        self._waiting = waiting
        # Here: another thread tells of events, which does not know what the command is about.
        self._about = known()
        self._console = Console(file=stream)
        self._began = time.monotonic()
        self._printed = self._began
        self._start = 0
        self._expected: int | None = None
        self._steps = self._votes = self._flags = self._disputed = 0
        self._recent: list[tuple[float, int]] = []
        # How many requests at once a worker sends a model, once that has fallen.
        self._at_once: dict[tuple[int, str], int] = {}
        self._news = self._began
        self._requests = 0
        self._silence = Silence(stream, first_s=PLAIN_QUIET_S, told=self._told)
        self._shown = ExitStack()
        self._live = Live(get_renderable=self._render, console=self._console, transient=True, refresh_per_second=4)

    def __enter__(self) -> Progress:
        self._shown.enter_context(self._live if self._console.is_terminal else self._silence)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._shown.close()

    def handle(self, event: Event) -> None:
        """Show what an event of the run changes."""
        if isinstance(event, RunStarted):
            status = f"continues after {event.steps:,} steps" if event.resumed else "started"
            self.begin(event.run_id, status, expected=event.expected_steps, start=event.steps)
        elif isinstance(event, StepsDecided | StepsAsked):
            self.update(
                steps=self._steps + event.steps,
                votes=self._votes + event.votes,
                red_flags=self._flags + event.red_flags,
                disputed=self._disputed + event.disputed if isinstance(event, StepsDecided) else 0,
            )
        elif isinstance(event, RepliesAwaited):
            self._requests = event.requests
        else:
            self._tell(event)

    def _tell(self, event: Event) -> None:
        """Print a line for what happens seldom."""
        if isinstance(event, WorkerGone):
            then = "a new one is starting" if event.replaced else "it is not replaced"
            self._print(
                f"worker {event.worker} was lost and {then}; {event.chains:,} chains continue from their last "
                f"committed step: {event.reason}"
            )
        elif isinstance(event, WorkerWaiting):
            self._print(f"worker {event.worker} has not started yet: {event.reason}")
        elif isinstance(event, ModelAway):
            self._print(
                f"model {event.model} is unavailable on worker {event.worker}; other models take its votes: "
                f"{event.reason}"
            )
        elif isinstance(event, ConcurrencyChanged):
            self._at_once[event.worker, event.model] = event.concurrency
            if event.concurrency < event.before:
                self._print(_slowed(event))
        elif isinstance(event, EndpointChanged):
            why = f"; {event.before} is not asked for a while: {event.reason}" if event.reason else " again"
            self._print(f"model {event.model} is answered by {event.url} on worker {event.worker}{why}")
        elif line := _LINES.get(type(event)):
            self._print(line(event))
        elif isinstance(event, EffectInDoubt):
            self._print(completed(_doubtful(event), **self._about | {"run_id": event.run_id}))
        elif isinstance(event, AlarmRaised | UnmadeTest):
            what = "alarm: steps" if isinstance(event, AlarmRaised) else "the vote monitor did not test steps"
            self._print(f"{what} of class {event.step_class} ({event.statistic}): {event.text}")
        elif isinstance(event, VotesDecorrelated):
            variants = [f"models {', '.join(event.models)}", f"{event.wordings} prompt variants"]
            variants += [f"temperature {one:g} as well" for one in event.temperatures]
            self._print(f"votes on steps of class {event.step_class} are now decorrelated over {', '.join(variants)}")

    def begin(self, run_id: str, status: str, *, expected: int | None, start: int = 0) -> None:
        """Show a run; ``status`` completes "run ID …". `update` does not count the ``start`` steps decided before.

        A run that was shown before is done with: a pilot may be several, one after another, and each counts its own.
        """
        self.run_id, self._start, self._expected = run_id, start, expected
        self._steps = self._votes = self._flags = self._disputed = self._requests = 0
        self._recent.clear()
        if not self._console.is_terminal:
            print(f"run {run_id} {status}", file=self._console.file, flush=True)

    def update(self, *, steps: int, votes: int, red_flags: int, disputed: int) -> None:
        """Show new totals: steps, votes, red flags and disputed steps since `begin`."""
        now = time.monotonic()
        if (steps, red_flags) != (self._steps, self._flags):
            self._news, self._requests = now, 0
            self._silence.end()
        if not self._recent:
            self._printed = now
        if steps != self._steps or not self._recent:
            self._recent.append((now, steps))
        self._steps, self._votes, self._flags, self._disputed = steps, votes, red_flags, disputed
        # Two are kept however old they are: one alone gives no speed.
        while len(self._recent) > 2 and self._recent[0][0] < now - WINDOW_S:
            self._recent.pop(0)
        if not self._console.is_terminal and now - self._printed >= PLAIN_EVERY_S:
            self._printed = now
            print(self._line(), file=self._console.file, flush=True)

    def _told(self, quiet_s: float) -> str | None:
        """Return in words that there was no new step for a while, and what is waited for as far as that is known."""
        if not self.run_id:
            return None
        requests = "1 request" if self._requests == 1 else f"{self._requests:,} requests"
        waits = f"; waiting for replies to {requests}" if self._requests else ""
        return f"no new step for {lasting(quiet_s)}{waits}"

    def _print(self, line: str) -> None:
        with writing(self._console.file):
            self._console.print(Text(as_text(line)), soft_wrap=True)

    def _render(self) -> Table:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(Text(f"run {as_text(self.run_id)}" if self.run_id else "starting", style="bold"))
        if self._steps or self._start or self._flags:
            if self._expected:
                grid.add_row(Text(self._bar()))
            grid.add_row(Text(self._line()))
        elif self._requests:
            grid.add_row(Text(self._told(self._quiet_s()) or ""))
        elif self.run_id:
            grid.add_row(Text(f"{self._waiting} … {time.monotonic() - self._began:.0f} s"))
        return grid

    def _bar(self) -> str:
        filled = round(BAR_COLUMNS * min(1.0, (self._start + self._steps) / (self._expected or 1)))
        return "━" * filled + "╌" * (BAR_COLUMNS - filled)

    def _line(self) -> str:
        done = self._start + self._steps
        # Where there are more than were expected, nobody knows how many are to come.
        expected = self._expected if self._expected and done <= self._expected else None
        of = f" of {expected:,}" if expected else ""
        speed = self._speed()
        parts = [f"{done:,}{of} steps"]
        if speed:
            parts.append(_rate(speed))
        parts.append(f"{self._votes / max(1, self._steps):.2f} votes a step")
        parts.append(f"{self._flags:,} flags")
        parts.append(f"{self._disputed:,} disputed")
        if self._at_once:
            parts.append(_requests(sum(self._at_once.values())))
        # A step that takes its usual time is no silence.
        quiet_s = self._quiet_s()
        if quiet_s >= max(QUIET_S, 2 / speed if speed else 0.0) and (told := self._told(quiet_s)):
            parts.append(told)
        elif expected and speed:
            parts.append(f"{clock((expected - done) / speed)} left")
        return ", ".join(parts)

    def _quiet_s(self) -> float:
        return time.monotonic() - self._news

    def _speed(self) -> float:
        if len(self._recent) < 2:
            return 0.0
        (first, before), (last, after) = self._recent[0], self._recent[-1]
        # A retry cuts steps off to decide them again; the count falls, and a negative speed would be nonsense.
        return max(0.0, (after - before) / (last - first)) if last > first else 0.0


def _rate(speed: float) -> str:
    """Return steps a second in the unit in which there is at least one."""
    if speed >= 1:
        return f"{speed:,.0f} steps/s"
    return f"{60 * speed:.1f} steps/min" if 60 * speed >= 1 else f"{3600 * speed:.1f} steps/h"


def _changed(event: CodeChanged | FileChanged) -> str:
    if isinstance(event, CodeChanged):
        return f"the run goes on with other code from step {event.step} on: {event.changed}"
    return (
        f"{event.file} has changed since the run began; the run goes on with the text that it was started with "
        f"(task.{event.parameter}). To use the new one, start a new run with `maker run`: it asks everything "
        "again, for decisions on the old text answer another question"
    )


def _doubtful(event: EffectInDoubt) -> str:
    return (
        f"effect {event.name} at step {event.at} is in doubt: it {event.reason}. Look whether it was done;"
        f" `maker effect RUN {event.at} --again` calls it again, and --done takes what it returned instead"
    )


def _batch(event: BatchChanged) -> str:
    which = f"batch {event.batch} with {event.requests:,} requests"
    if event.answered is not None:
        return f"{which} is over ({event.status}): {event.answered:,} were answered"
    if event.state == "void":
        return f"{which} was refused as a whole"
    return f"{which} is out ({event.status}). No process need wait for it: Ctrl-C, and `maker resume` looks again"


def _slowed(event: ConcurrencyChanged) -> str:
    now = f"{_requests(event.concurrency)} on worker {event.worker} instead of {event.before:,}"
    return f"model {event.model} gets {now}, and more again when it answers faster: {event.reason}"


def _awaited(event: LimitAwaited) -> str:
    """Say what a worker waits for of a shared limit."""
    if event.lacks == "pause":
        return f"worker {event.worker} waits as long as the server of the shared limit {event.key} has asked all to"
    return f"worker {event.worker} waits: of the shared limit {event.key}, {event.lacks} is used up for now"


def _allocated(event: VotesAllocated) -> str:
    asked = f"{event.rows:,} of {event.open:,} open rows get {event.votes:,} more votes"
    return f"{asked}; {event.left:,} are left"


def _requests(number: int) -> str:
    return "1 request at a time" if number == 1 else f"{number:,} requests at once"


_LINES: dict[type[Event], Callable[[Any], str]] = {
    BatchChanged: _batch,
    CodeChanged: _changed,
    FileChanged: _changed,
    LimitAwaited: _awaited,
    VotesAllocated: _allocated,
}
"""What is printed of events that are told in one line."""
