"""The progress line: what it says where steps are slow, more than were expected, or do not come."""

from __future__ import annotations

import io

import pytest

from maker.cli import progress as module
from maker.cli.progress import Progress
from maker.lifecycle.events import ConcurrencyChanged, RepliesAwaited, RunStarted, StepsAsked


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


def test_fewer_requests_at_once_are_told_once_and_stay_in_the_line(clock: list[float]) -> None:
    """A fall has a line of its own, a rise shows in the progress line only; workers' numbers add up."""
    progress = Progress(stream := io.StringIO())
    progress.begin("r", "started", expected=10)
    for event in (
        ConcurrencyChanged("r", 0, "m", 4, 64, "replies take 95.2 s of 120 s (timeout_s)", 120.0),
        ConcurrencyChanged("r", 0, "m", 8, 4, "", 120.0),
        ConcurrencyChanged("r", 1, "m", 1, 2, "no reply within 120 s", 120.0),
    ):
        progress.handle(event)
    slow, silent = stream.getvalue().splitlines()[1:]
    assert slow.startswith("model m gets 4 requests at once on worker 0 instead of 64, and more again")
    assert slow.endswith("answers faster: replies take 95.2 s of 120 s (timeout_s)")
    assert silent.startswith("model m gets 1 request at a time on worker 1 instead of 2, and more again")
    assert "9 requests at once" in progress._line()


def test_silence_is_told(clock: list[float]) -> None:
    """Where nothing has come for a while, that is said in place of a time that nobody knows."""
    line = shown(clock, 100, 10, 20, every_s=1.0, quiet_s=45.0)
    assert line.endswith("no new step for 45 s")
    assert "left" not in line


def test_what_is_waited_for_is_told(clock: list[float]) -> None:
    """The run's own event says how many requests are open; a new step ends the silence."""
    progress = Progress(io.StringIO())
    progress.handle(RunStarted("r", False, 0, 7))
    progress.handle(RepliesAwaited("r", 8))
    clock[0] += 40
    assert progress._line().endswith("no new step for 40 s; waiting for replies to 8 requests")
    progress.update(steps=1, votes=3, red_flags=0, disputed=0)
    clock[0] += 12
    assert progress._line().endswith("no new step for 12 s")


def test_a_second_run_begins_at_its_own_steps(clock: list[float]) -> None:
    """A pilot's two runs are shown one after the other: the steps of the first are no steps of the second."""
    progress = Progress(io.StringIO())
    for run in ("first", "second"):
        progress.handle(RunStarted(run, False, 0, 300))
        clock[0] += 1
        progress.update(steps=207, votes=0, red_flags=0, disputed=0)
        progress.handle(StepsAsked(run, 1, 4, 0))
        assert progress._line().startswith("208 of 300 steps")
    progress.handle(RunStarted("third", False, 0, 300))
    assert progress._line().startswith("0 of 300 steps")


def test_a_watched_run_keeps_its_speed_between_steps(clock: list[float]) -> None:
    """A watcher looks every second: looks that find nothing new must not make the speed of slow steps nought."""
    progress = Progress(io.StringIO())
    progress.begin("r", "is running", expected=10)
    for look in range(300):
        progress.update(steps=look // 90, votes=0, red_flags=0, disputed=0)
        clock[0] += 1
    assert progress._line() == "3 of 10 steps, 40.0 steps/h, 0.00 votes a step, 0 flags, 0 disputed, 10:30 left"


def test_a_speed_that_is_not_known_is_left_out(clock: list[float]) -> None:
    """One look gives no speed: "0 steps/s" would be wrong."""
    assert shown(clock, 10, 1, every_s=1.0) == "1 of 10 steps, 3.00 votes a step, 0 flags, 0 disputed"


def test_steps_that_are_cut_off_give_no_negative_time(clock: list[float]) -> None:
    """A retry cuts steps off: the count falls, and there is neither a speed nor a time left."""
    line = shown(clock, 10, 8, 2, every_s=1.0)
    assert line == "2 of 10 steps, 3.00 votes a step, 0 flags, 0 disputed"
