"""Calling user-written code: what it raises is the task's failure, but for what ends the program."""

from __future__ import annotations

import signal
import sys
from functools import partial
from typing import Any

import pytest

from maker.core.user_code import FIX, FIX_PARSE, call_for_text, call_user_code, shown
from maker.errors import BadInput, TaskFailed


def raising(error: BaseException) -> Any:
    def call() -> Any:
        raise error

    return call


@pytest.mark.parametrize("error", [KeyError("x"), SystemExit(3), GeneratorExit(), RecursionError(), StopIteration()])
def test_whatever_it_raises_is_the_tasks_failure(error: BaseException) -> None:
    """Exceptions that are no ``Exception`` too: one chain must not end the program."""
    with pytest.raises(TaskFailed, match=rf"step 3: next raised {type(error).__name__}") as caught:
        call_user_code("step 3: next", raising(error), step=3)
    assert caught.value.facts == {"step": 3}
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BadInput("the file has changed")])
def test_an_interrupt_and_makers_own_errors_pass(error: BaseException) -> None:
    """They are nobody's fault here."""
    with pytest.raises(type(error)) as caught:
        call_user_code("next", raising(error))
    assert caught.value is error


class Program:
    """A program that leaves when it is told to."""

    def leave(self, *_: Any) -> None:
        sys.exit(7)

    def __call__(self, *_: Any) -> None:
        sys.exit(7)


@pytest.mark.parametrize(
    "handler", [Program().leave, Program(), partial(Program.leave, Program()), lambda *_: sys.exit(7)]
)
def test_a_program_may_leave_by_a_signal(handler: Any) -> None:
    """A handler that exits is the program's own, though it runs amid the task's code."""

    def end() -> None:
        signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(SystemExit, match="7"):
            call_user_code("next", end)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_text_is_what_a_store_takes() -> None:
    """Half a surrogate pair and a NUL no database takes."""
    assert call_for_text("write", lambda: "ü \n") == "ü \n"
    for value, told in (
        (None, "that is NoneType, not text"),
        (b"x", "that is bytes, not text"),
        ("\ud83d", "not valid Unicode"),
        ("\0", "it contains a NUL character"),
    ):
        with pytest.raises(TaskFailed, match=told):
            call_for_text("write", lambda value=value: value)


def test_values_are_shown_shortly_and_the_same_in_every_run() -> None:
    """An address tells nobody anything, and a repr may fail."""

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert [shown(object()), shown(Broken()), shown("x")] == ["an object of object", "an object of Broken", "'x'"]
    assert len(shown("x" * 1000)) == 81


def test_the_caller_says_what_to_do() -> None:
    """The advice is the caller's, whatever words stand in the place that it names."""
    for options, fix in (({}, FIX), ({"fix": FIX_PARSE}, FIX_PARSE)):
        with pytest.raises(TaskFailed) as found:
            call_user_code("class parse: its text: x", {}.__getitem__, 1, **options)
        assert found.value.fix == fix
