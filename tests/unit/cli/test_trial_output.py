"""What ``maker try`` prints while replies come, and when it is interrupted."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from maker import api
from maker.cli.silence import Silence, clock, lasting
from maker.cli.trial import print_trial
from maker.job.job import Job
from maker.types import Flag, RedFlag, Sample
from maker.voting.election import HeardSample
from maker.voting.messages import KeptVotes, OpenStep

HEARD = (
    HeardSample(0, Sample("1AC", 3), "1AC"),
    HeardSample(1, Sample("9XY", 3), RedFlag(Flag.FORMAT, "not a move")),
)


@pytest.fixture
def job(hanoi: Callable[..., Any]) -> Job:
    """Return a job whose steps are tried."""
    return api.load_job(hanoi(3))


def opened(count: int, *, awaited: int = 0, early: dict[int, Sample] | None = None) -> OpenStep:
    """Return step 4 with so many of the replies heard."""
    return OpenStep(4, "move", KeptVotes("system\n", "prompt", HEARD[:count]), early or {}, awaited)


def interrupted(*steps: OpenStep) -> Iterator[OpenStep]:
    """Yield steps, and then be interrupted, as by Ctrl-C while replies are waited for."""
    yield from steps
    raise KeyboardInterrupt


def test_each_reply_is_printed_as_it_comes(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    """The prompt comes first, then each reply once, with what became of it."""
    printed = []

    def coming() -> Iterator[OpenStep]:
        for step in (opened(0), opened(0), opened(1), opened(1), opened(2)):
            yield step
            printed.append(capsys.readouterr().out)

    assert not print_trial(coming(), job, as_json=False)
    first, *rest = printed
    assert first.splitlines()[0].startswith("── step 4 · move ──")
    assert first.splitlines()[1:] == ["  prompt   system", "           prompt"]
    assert rest == [
        "",
        "  sample 0 1AC\n           vote for 1AC\n",
        "",
        "  sample 1 9XY\n           red flag, format: not a move\n",
    ]


def test_a_reply_before_its_turn_is_printed_at_once(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    """Its text is printed once, and what it counts as when those before it are in."""
    early = {1: HEARD[1].sample}
    print_trial(iter([opened(0, early=early), opened(0, early=early), opened(2)]), job, as_json=False)
    assert capsys.readouterr().out.splitlines()[3:] == [
        "  sample 1 9XY",
        "           counts once the replies before it are in",
        "  sample 0 1AC",
        "           vote for 1AC",
        "  sample 1 (above)",
        "           red flag, format: not a move",
    ]


def test_an_early_reply_may_count_under_a_lower_number(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    """A vote before it is lost: the reply is named by the number that it was printed under, and no other is hidden."""
    first, early, last = (Sample(text, 3) for text in ("1AC", "2AB", "1CB"))
    heard = tuple(HeardSample(vote, sample, sample.text) for vote, sample in enumerate((first, early, last)))
    step = opened(0, early={2: early})
    print_trial(iter([step, step._replace(heard=step.heard._replace(samples=heard), early={})]), job, as_json=False)
    said = [line for line in capsys.readouterr().out.splitlines() if "sample" in line]
    assert said == ["  sample 2 2AB", "  sample 0 1AC", "  sample 1 (above, as 2)", "  sample 2 1CB"]


def test_an_interrupt_keeps_what_had_come(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    """What was printed stays, a total follows, and the interrupt goes on to the command's exit code."""
    with pytest.raises(KeyboardInterrupt):
        print_trial(interrupted(opened(0, awaited=3), opened(2, awaited=1)), job, as_json=False)
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if "sample" in line] == ["  sample 0 1AC", "  sample 1 9XY"]
    assert out.endswith("  INTERRUPTED\n")
    assert err == (
        "interrupted: 0 steps decided, 2 replies in all; 1 more had been asked for and may be billed; "
        "nothing is stored\n"
    )


def test_an_interrupt_is_told_as_json(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    """The step that was open is one more object, with the replies that had come."""
    with pytest.raises(KeyboardInterrupt):
        print_trial(interrupted(opened(1, awaited=2, early={2: Sample("1AB", 3)})), job, as_json=True)
    (told,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (told["step"], told["class"], told["failed"]) == (4, "move", "interrupted")
    assert [one["text"] for one in told["samples"]] == ["1AC", "1AB"]
    assert [one["candidate"] for one in told["samples"]] == ["1AC", None]


def test_silence_is_told_in_ever_longer_intervals() -> None:
    """Each line comes after twice the time of the one before; none comes after the end."""
    stream, said = io.StringIO(), []

    def told(quiet_s: float) -> str:
        said.append(quiet_s)
        return "silent"

    with Silence(stream, first_s=0.02, told=told):
        while len(said) < 3:
            time.sleep(0.01)
    count = len(said)
    assert all(quiet_s >= 0.02 * 2**number for number, quiet_s in enumerate(said))
    time.sleep(0.05)
    assert stream.getvalue() == "silent\n" * count


def test_no_silence_is_told_after_the_end() -> None:
    """A line that is on its way when the command goes on is written before, and not between what comes then."""
    stream, began = io.StringIO(), threading.Event()

    def told(_quiet_s: float) -> str:
        began.set()
        time.sleep(0.1)
        return "silent"

    with Silence(stream, first_s=0.01, told=told):
        assert began.wait(10)
    assert stream.getvalue() == "silent\n"


def test_lengths_of_time() -> None:
    """Seconds stay seconds up to a minute; then they are shown as on a clock."""
    assert [lasting(seconds) for seconds in (0, 9.6, 40, 59.6, 75, 7200)] == [
        "0 s", "10 s", "40 s", "1:00", "1:15", "2:00:00",
    ]  # fmt: skip
    assert [clock(seconds) for seconds in (4, 273600)] == ["0:04", "3 d 4 h"]
