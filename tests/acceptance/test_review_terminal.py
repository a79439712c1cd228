"""`maker review` at a terminal: single keys, Ctrl-C, and a process that is killed between two decisions."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from processes import Commands

TASK = """\
from maker.plugin import Truth


def truth(prompt):
    return Truth(("even",), ("odd", "neither"))
"""
JOB = """\
[task]
decomposer = "map"
truth = "task.py:truth"
input = "rows.csv"
template = "Is {{number}} even or odd?"
id_column = "number"
output = "out"
[model]
kind = "simulated"
p = 0.5
rivals = 2
[vote]
k = 3
max_votes = 4
"""


class Terminal:
    """A terminal at which a command runs."""

    def __init__(self, ours: int, process: subprocess.Popen[str]) -> None:
        self._ours = ours
        self.process = process
        self.shown = ""

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def wait_for(self, text: str) -> str:
        """Wait until a text is shown that has not been waited for; return what was shown up to it."""
        until = time.monotonic() + 30
        while text not in self.shown:
            assert time.monotonic() < until, self.shown
            ready, _, _ = select.select([self._ours], [], [], 0.2)
            try:
                self.shown += os.read(self._ours, 65536).decode() if ready else ""
            except OSError as error:
                # The other end is closed: Linux says so with an input/output error.
                raise AssertionError(self.shown) from error
        before, _, self.shown = self.shown.partition(text)
        return before


@contextmanager
def at_terminal(maker: Commands, *words: str) -> Iterator[Terminal]:
    """Run a command at a terminal of its own."""
    ours, theirs = pty.openpty()
    maker.env |= {"TERM": "xterm", "COLUMNS": "150"}
    # Ctrl-C is for whom the terminal controls.
    program = ("-c", "import fcntl, termios, runpy, sys; fcntl.ioctl(0, termios.TIOCSCTTY, 0); sys.argv[0] = 'maker';"
               " runpy.run_module('maker', run_name='__main__')")  # fmt: skip
    process = maker.start(*words, program=program, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        yield Terminal(ours, process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.fixture
def undecided(maker: Commands) -> list[str]:
    """Run a map in which many rows stay undecided; return their ids."""
    maker.write("task.py", TASK)
    maker.write("rows.csv", "number\n" + "".join(f"{number}\n" for number in range(20)))
    maker.write("job.toml", JOB)
    assert maker.run("run", "job.toml").returncode == 3
    return left(maker)


def left(maker: Commands) -> list[str]:
    """Return the ids of rows without a decision."""
    return [line.split(":")[0] for line in maker.good("results", "last").splitlines() if ": UNDECIDED" in line]


def test_single_keys(maker: Commands, undecided: list[str]) -> None:
    """No key waits for Enter; what is typed is a line."""
    assert len(undecided) > 4
    with at_terminal(maker, "review", "last", "--by", "ann") as terminal:
        terminal.wait_for("q quit: ")
        terminal.press("1")
        assert f"{undecided[1]} (undecided)" in terminal.wait_for("q quit: ")
        terminal.press("t")
        terminal.wait_for("would be: ")
        terminal.press("even\n")
        assert f"{undecided[2]} (undecided)" in terminal.wait_for("q quit: ")
        terminal.press("q")
        terminal.wait_for("2 decided; go on with `maker resume ")
        assert terminal.process.wait(timeout=60) == 0
    assert left(maker) == undecided[2:]
    assert maker.good("results", "last").count("reviewed by ann") == 2


def test_a_key_that_is_pressed_ahead_ends_it_too(maker: Commands, undecided: list[str]) -> None:
    """A Ctrl-D that comes while no key is read is another character for the kernel."""
    with at_terminal(maker, "review", "last") as terminal:
        terminal.press("\x04")
        terminal.wait_for("q quit: ")
        assert terminal.process.wait(timeout=60) == 130
    assert left(maker) == undecided


@pytest.mark.parametrize("how", ["\x03", "\x04", signal.SIGTERM], ids=["Ctrl-C", "Ctrl-D", "SIGTERM"])
def test_an_interrupt_leaves_what_is_decided(maker: Commands, undecided: list[str], how: str | signal.Signals) -> None:
    """The exit code is that of an interrupt, and the terminal is told what was done."""
    with at_terminal(maker, "review", "last") as terminal:
        terminal.wait_for("q quit: ")
        terminal.press("1")
        terminal.wait_for("q quit: ")
        if isinstance(how, str):
            terminal.press(how)
        else:
            terminal.process.send_signal(how)
        terminal.wait_for("1 decided; go on with")
        assert terminal.process.wait(timeout=60) == 130
    assert left(maker) == undecided[1:]


def test_killed_between_two_decisions(maker: Commands, undecided: list[str]) -> None:
    """Killed with -9 after each decision: each is kept, none is asked twice, and the files hold all rows at the end."""
    for name in undecided:
        with at_terminal(maker, "review", "last") as terminal:
            assert terminal.wait_for(" (undecided)").strip() == name
            terminal.wait_for("q quit: ")
            terminal.press("1")
            if name != undecided[-1]:
                # The next row is shown when the decision is stored.
                terminal.wait_for("q quit: ")
            else:
                terminal.wait_for("1 decided; ")
            terminal.process.kill()
            terminal.process.wait()
    assert left(maker) == []
    maker.good("resume", "last")
    (file,) = (maker.folder / "out").glob("rows-*.jsonl")
    assert len(file.read_text().splitlines()) == 20
    maker.good("verify", "last")
