"""Signals: a command of the command line takes them, and gives them back."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from typer.testing import CliRunner

from maker.cli.app import app
from maker.lifecycle import waits as lifecycle


def test_a_command_gives_the_signals_back() -> None:
    """A program that calls the command line's own application keeps its handlers, whether it went well or not."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    assert CliRunner().invoke(app, ["--version"]).exit_code == 0
    assert CliRunner().invoke(app, ["run", "nowhere.toml"]).exit_code == 2
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_command_runs_in_a_thread() -> None:
    """Only the main thread may handle signals: elsewhere a command leaves them to the program."""
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(CliRunner().invoke, app, ["plugins"]).result().exit_code == 0


@pytest.mark.parametrize(("interrupted", "code"), [(True, 130), (False, 1)])
def test_a_library_may_fail_as_an_interrupt_passes_through_it(
    monkeypatch: pytest.MonkeyPatch, interrupted: bool, code: int
) -> None:
    """That is still an interrupt, and no traceback; a failure of its own is one."""

    def fail(*_: object, **__: object) -> None:
        try:
            if interrupted:
                raise KeyboardInterrupt
        finally:
            raise AssertionError("left half cleaned up")

    monkeypatch.setattr(lifecycle, "waits", fail)
    ended = CliRunner().invoke(app, ["waits"])
    assert ended.exit_code == code
    assert isinstance(ended.exception, SystemExit if interrupted else AssertionError)
