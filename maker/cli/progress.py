"""A run's progress: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from maker.cli.output import as_text, print, writing
from maker.lifecycle.events import (
    AlarmRaised,
    Event,
    FileChanged,
    ModelAway,
    RunStarted,
    StepsAsked,
    StepsDecided,
    VotesDecorrelated,
    WorkerGone,
    WorkerWaiting,
)

PLAIN_EVERY_S = 10.0
WINDOW_S = 30.0
BAR_COLUMNS = 60
QUIET_S = 30.0
"""After so many seconds without anything new the display says so; a plain one says it once in twice the time."""


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
        self._console = Console(file=stream)
        self._began = time.monotonic()
        self._printed = self._began
        self._start = 0
        self._expected: int | None = None
        self._steps = self._votes = self._flags = self._disputed = 0
        self._recent: list[tuple[float, int]] = []
        self._news = self._began
        self._over = threading.Event()
        self._live = Live(get_renderable=self._render, console=self._console, transient=True, refresh_per_second=4)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        else:
            threading.Thread(target=self._tell_quiet, name="maker-progress", daemon=True).start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._live.stop()

    def handle(self, event: Event) -> None:
        """Show what an event of the run changes."""
        if isinstance(event, RunStarted):
            status = f"continues after {event.steps:,} steps" if event.resumed else "started"
            self.begin(event.run_id, status, expected=event.expected_steps, start=event.steps)
        elif isinstance(event, StepsDecided):
            self.update(
                steps=self._steps + event.steps,
                votes=self._votes + event.votes,
                red_flags=self._flags + event.red_flags,
                disputed=self._disputed + event.disputed,
            )
        elif isinstance(event, StepsAsked):
            self.update(
                steps=self._steps + event.steps,
                votes=self._votes + event.votes,
                red_flags=self._flags + event.red_flags,
                disputed=0,
            )
        elif isinstance(event, WorkerGone):
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
        elif isinstance(event, FileChanged):
            self._print(
                f"{event.file} has changed since the run began; the run goes on with the text that it was started with "
                f"(task.{event.parameter}). To use the new one, start a new run with `maker run`: it asks everything "
                "again, for decisions on the old text answer another question"
            )
        elif isinstance(event, AlarmRaised):
            self._print(f"alarm: steps of class {event.step_class} ({event.statistic}): {event.text}")
        elif isinstance(event, VotesDecorrelated):
            variants = [f"models {', '.join(event.models)}", f"{event.wordings} prompt variants"]
            variants += [f"temperature {one:g} as well" for one in event.temperatures]
            self._print(f"votes on steps of class {event.step_class} are now decorrelated over {', '.join(variants)}")

    def begin(self, run_id: str, status: str, *, expected: int | None, start: int = 0) -> None:
        """Show a run; ``status`` completes "run ID …". `update` does not count the ``start`` steps decided before."""
        self.run_id, self._start, self._expected = run_id, start, expected
        if not self._console.is_terminal:
            print(f"run {run_id} {status}", file=self._console.file, flush=True)

    def update(self, *, steps: int, votes: int, red_flags: int, disputed: int) -> None:
        """Show new totals: steps, votes, red flags and disputed steps since `begin`."""
        now = time.monotonic()
        if (steps, red_flags) != (self._steps, self._flags):
            self._news = now
        self._steps, self._votes, self._flags, self._disputed = steps, votes, red_flags, disputed
        if not self._recent:
            self._printed = now
        self._recent.append((now, steps))
        # Two are kept however old they are: one alone gives no speed.
        while len(self._recent) > 2 and self._recent[0][0] < now - WINDOW_S:
            self._recent.pop(0)
        if not self._console.is_terminal and now - self._printed >= PLAIN_EVERY_S:
            self._printed = now
            print(self._line(), file=self._console.file, flush=True)

    def _tell_quiet(self) -> None:
        """Say on a plain stream that nothing has come for a while, in ever longer intervals."""
        due_s = 2 * QUIET_S
        while not self._over.wait(1.0):
            quiet_s = self._quiet_s()
            if quiet_s < QUIET_S:
                due_s = 2 * QUIET_S
            elif quiet_s >= due_s and self.run_id:
                due_s *= 2
                with writing(self._console.file):
                    print(f"nothing new for {_duration(quiet_s)}", file=self._console.file, flush=True)

    def _quiet_s(self) -> float:
        return time.monotonic() - self._news

    def _print(self, line: str) -> None:
        with writing(self._console.file):
            self._console.print(Text(as_text(line)), soft_wrap=True)

    def _render(self) -> Table:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(Text(f"run {as_text(self.run_id)}" if self.run_id else "starting", style="bold"))
        if self._steps or self._start:
            if self._expected:
                grid.add_row(Text(self._bar()))
            grid.add_row(Text(self._line()))
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
        quiet_s, speed = self._quiet_s(), self._speed()
        parts = [
            f"{done:,}{of} steps",
            f"{speed:,.0f} steps/s" if speed >= 1 or not speed else f"{60 * speed:,.1f} steps/min",
        ]
        parts.append(f"{self._votes / max(1, self._steps):.2f} votes a step")
        parts.append(f"{self._flags:,} flags")
        parts.append(f"{self._disputed:,} disputed")
        if quiet_s >= QUIET_S:
            parts.append(f"nothing new for {_duration(quiet_s)}")
        elif expected and speed > 0:
            parts.append(f"{_duration((expected - done) / speed)} left")
        return ", ".join(parts)

    def _speed(self) -> float:
        if len(self._recent) < 2:
            return 0.0
        (first, before), (last, after) = self._recent[0], self._recent[-1]
        # A retry cuts steps off to decide them again; the count falls, and a negative speed would be nonsense.
        return max(0.0, (after - before) / (last - first)) if last > first else 0.0


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
