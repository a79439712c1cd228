"""A run's progress: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from maker.lifecycle.events import (
    AlarmRaised,
    Event,
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


class Progress:
    """Shows steps, steps/s, votes a step, flags, disputed steps and the time left.

    The work itself is told with `tell`, in the writer's thread; who only watches a run says with `begin` and `stand`
    how it stands. The display itself is drawn by Rich's own thread.

    Args:
        stream: Where it is shown.
        waiting: What the run does before its first step.
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
        self._live = Live(get_renderable=self._render, console=self._console, transient=True, refresh_per_second=4)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def tell(self, event: Event) -> None:
        """Take an event in."""
        if isinstance(event, RunStarted):
            said = f"goes on after {event.steps:,} steps" if event.resumed else "started"
            self.begin(event.run_id, said, expected=event.expected_steps, start=event.steps)
        elif isinstance(event, StepsDecided):
            self.stand(
                steps=self._steps + event.steps,
                votes=self._votes + event.votes,
                red_flags=self._flags + event.red_flags,
                disputed=self._disputed + event.disputed,
            )
        elif isinstance(event, StepsAsked):
            self.stand(
                steps=self._steps + event.steps,
                votes=self._votes + event.votes,
                red_flags=self._flags + event.red_flags,
                disputed=0,
            )
        elif isinstance(event, WorkerGone):
            then = "another one is started" if event.replaced else "its place is given up"
            self._console.print(
                f"worker {event.worker} is lost, {then}; {event.chains:,} chains go on from what is committed: "
                f"{event.reason}",
                markup=False, highlight=False, soft_wrap=True,
            )  # fmt: skip
        elif isinstance(event, WorkerWaiting):
            said = f"worker {event.worker} has not started yet: {event.reason}"
            self._console.print(said, markup=False, highlight=False, soft_wrap=True)
        elif isinstance(event, ModelAway):
            self._console.print(
                f"worker {event.worker} cannot ask {event.model} any more, its votes pass on to the others: "
                f"{event.reason}",
                markup=False, highlight=False, soft_wrap=True,
            )  # fmt: skip
        elif isinstance(event, AlarmRaised):
            said = f"alarm: steps of class {event.step_class} ({event.statistic}): {event.text}"
            self._console.print(said, markup=False, highlight=False, soft_wrap=True)
        elif isinstance(event, VotesDecorrelated):
            ways = [f"of {', '.join(event.models)}", f"in {event.wordings} wordings"]
            ways += [f"at temperature {one:g} too" for one in event.temperatures]
            said = f"votes on steps of class {event.step_class} are asked for in turns from now on: {', '.join(ways)}"
            self._console.print(said, markup=False, highlight=False, soft_wrap=True)

    def begin(self, run_id: str, said: str, *, expected: int | None, start: int = 0) -> None:
        """Show a run; ``said`` tells in words what happens to it, ``start`` steps are not counted below."""
        self.run_id, self._start, self._expected = run_id, start, expected
        if not self._console.is_terminal:
            print(f"run {run_id} {said}", file=self._console.file, flush=True)

    def stand(self, *, steps: int, votes: int, red_flags: int, disputed: int) -> None:
        """Take in how many there are now of each."""
        self._steps, self._votes, self._flags, self._disputed = steps, votes, red_flags, disputed
        now = time.monotonic()
        if not self._recent:
            self._printed = now
        self._recent.append((now, steps))
        # Two are kept however old they are: there is no speed in one.
        while len(self._recent) > 2 and self._recent[0][0] < now - WINDOW_S:
            self._recent.pop(0)
        if not self._console.is_terminal and now - self._printed >= PLAIN_EVERY_S:
            self._printed = now
            print(self._line(), file=self._console.file, flush=True)

    def _render(self) -> Table:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(Text(f"run {self.run_id}" if self.run_id else "starting", style="bold"))
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
        of = f" of {self._expected:,}" if self._expected else ""
        parts = [f"{done:,}{of} steps", f"{self._speed():,.0f} steps/s"]
        parts.append(f"{self._votes / max(1, self._steps):.2f} votes a step")
        parts.append(f"{self._flags:,} flags")
        parts.append(f"{self._disputed:,} disputed")
        if self._expected and (speed := self._speed()) > 0:
            parts.append(f"{_duration((self._expected - done) / speed)} left")
        return ", ".join(parts)

    def _speed(self) -> float:
        if len(self._recent) < 2:
            return 0.0
        (first, before), (last, after) = self._recent[0], self._recent[-1]
        # Steps that are cut, to be decided anew, are no speed.
        return max(0.0, (after - before) / (last - first)) if last > first else 0.0


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
