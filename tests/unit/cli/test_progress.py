"""The progress line: what it says where steps are slow, more than were expected, or do not come."""

from __future__ import annotations

import io

import pytest

from maker.cli import progress as module
from maker.cli.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time that a progress display reads, to be set."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def shown(clock: list[float], expected: int | None, *steps: int, every_s: float, quiet_s: float = 0.0) -> str:
    """Return the line after steps were told every few seconds, and then nothing for a while."""
    progress = Progress(io.StringIO())
    progress.begin("r", "started", expected=expected)
    for count in steps:
        progress.update(steps=count, votes=3 * count, red_flags=0, disputed=0)
        clock[0] += every_s
    clock[0] += quiet_s - every_s
    return progress._line()


def test_slow_steps_are_told_by_the_minute(clock: list[float]) -> None:
    assert shown(clock, 10, 1, 2, every_s=10.0).startswith("2 of 10 steps, 6.0 steps/min, 3.00 votes")
    assert shown(clock, 10, 2, 4, every_s=1.0).startswith("4 of 10 steps, 2 steps/s, 3.00 votes")


def test_no_time_is_left_of_what_was_not_expected(clock: list[float]) -> None:
    """A document may take more steps than it was thought to: the line must not go below zero."""
    line = shown(clock, 1084, 1000, 1100, every_s=1.0)
    assert line.startswith("1,100 steps, 100 steps/s")
    assert "left" not in line
    assert shown(clock, 1200, 1000, 1100, every_s=1.0).endswith("0:01 left")


def test_silence_is_told(clock: list[float]) -> None:
    """Where nothing has come for a while, that is said in place of a time that nobody knows."""
    line = shown(clock, 100, 10, 20, every_s=1.0, quiet_s=45.0)
    assert line.endswith("nothing new for 0:45")
    assert "left" not in line
