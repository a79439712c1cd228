"""How far a map is: a bar in a terminal, a line that changes in a notebook, nothing elsewhere."""

from __future__ import annotations

import contextvars
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from maker.lifecycle.events import Event, RunStarted, StepsDecided
from maker.lifecycle.session import OnEvent, ignore

EVERY_S = 0.25
CELLS = 40


class _Shown(Protocol):
    def update(self, done: int, rows: int) -> None:
        """Show that so many rows of so many are decided."""


class Progress:
    """Shows how many rows are decided. Told of events in the thread that writes."""

    def __init__(self, shown: _Shown | None, rows: int) -> None:
        self._shown, self._rows, self._before, self._done, self._at = shown, rows, 0, 0, 0.0

    def after(self, rows: int) -> OnEvent:
        """Return what is told of the events of a run that other runs have decided so many rows before."""
        self._before = self._done = rows
        return ignore if self._shown is None else self._handle

    def show(self) -> None:
        """Show how far it is."""
        if self._shown is not None:
            self._at = time.monotonic()
            self._shown.update(min(self._done, self._rows), self._rows)

    def _handle(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._done = self._before + event.steps
        elif isinstance(event, StepsDecided):
            self._done += event.steps
        if time.monotonic() - self._at >= EVERY_S:
            self.show()


@contextmanager
def shown_progress(rows: int, *, wanted: bool | None) -> Iterator[Progress]:
    """Give what shows how far a map of so many rows is.

    Args:
        rows: How many there are.
        wanted: False shows nothing, True a line in a file too; None what a terminal or a notebook can show.
    """
    with _display(wanted) as shown:
        progress = Progress(shown, rows)
        try:
            yield progress
        finally:
            progress.show()


@contextmanager
def _display(wanted: bool | None) -> Iterator[_Shown | None]:
    if wanted is False:
        yield None
    elif _in_notebook():
        yield _Notebook()
    elif wanted or sys.stderr.isatty():
        with _terminal() as shown:
            yield shown
    else:
        yield None


def _in_notebook() -> bool:
    """Say whether this is a kernel of Jupyter's; loads nothing."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class _Notebook:
    """A line below the cell, which changes. It needs no widgets."""

    def __init__(self) -> None:
        from IPython.display import DisplayHandle

        self._handle = DisplayHandle()
        self._handle.display({"text/plain": "starting"}, raw=True)
        # Messages go to the cell that the context names: the thread that writes has another one.
        self._context = contextvars.copy_context()

    def update(self, done: int, rows: int) -> None:
        filled = CELLS * done // rows
        line = f"{'━' * filled}{'╌' * (CELLS - filled)} {done:,} of {rows:,} rows decided"
        # A copy: no two threads may be in one context.
        self._context.copy().run(self._handle.update, {"text/plain": line}, raw=True)


@contextmanager
def _terminal() -> Iterator[_Shown]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("rows decided"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task: Any = bar.add_task("", total=None)

        class Shown:
            def update(self, done: int, rows: int) -> None:
                bar.update(task, completed=done, total=rows)

        yield Shown()
