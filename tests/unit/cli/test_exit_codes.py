"""Exit codes: each way in which a run can end or rest has a number of its own, which help and documents state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from row_tasks import job, write_rows
from typer.testing import CliRunner

from maker import api
from maker.calibration.calibrate import calibrate
from maker.cli.app import app
from maker.cli.exit_codes import MEANINGS, ExitCode, error_code, exit_code, help_text
from maker.engine.causes import Cause, cause_of
from maker.errors import BadInput, ModelFailed, PilotPaused
from maker.lifecycle import queries
from maker.lifecycle.events import RunStarted

Job = Callable[..., dict[str, dict[str, Any]]]


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("limit max_calls = 21: 21 spent or reserved; the next request may take 3", Cause.LIMIT),
        ("alarm of the vote monitor on steps of class move (drift): so many", Cause.LIMIT),
        ("interrupted", Cause.REQUEST),
        ("stopped", Cause.REQUEST),
        ("reached the limit of 1,000 steps", Cause.REQUEST),
        ("not started yet", Cause.REQUEST),
        ("step 3 (move) is undecided: max_votes = 12: no valid vote", Cause.UNDECIDED),
        ("chain 0~1.17/5.3: step 3 (a class) is undecided: max_votes (and 3 more)", Cause.UNDECIDED),
        ("step 3: http://x/v1 failed 5 tries", Cause.FAULT),
        ("its process is gone; continue with `maker resume r`", Cause.FAULT),
    ],
)
def test_a_reason_tells_its_cause(reason: str, cause: Cause) -> None:
    """Old stores hold such reasons as well: what they begin with stays."""
    assert cause_of(reason) is cause


def test_help_and_documents_state_every_code() -> None:
    """The table of the documentation is that of the code."""
    page = (Path(__file__).parents[3] / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert MEANINGS.keys() == set(ExitCode)
    for code, meaning in MEANINGS.items():
        assert f"| {code.value} | {meaning} |" in page
        assert f"{code.value:3}  {meaning}" in help_text()


def test_runs_end_and_rest_with_their_codes(hanoi: Job, store: str, tmp_path: Path) -> None:
    """Done, done without some rows, at a limit, as asked, undecided."""
    assert exit_code(api.run(hanoi(2))) is ExitCode.DONE
    assert exit_code(api.run(hanoi(4), limit_steps=2)) is ExitCode.REQUEST
    assert exit_code(api.run(hanoi(4, limits={"max_calls": 6}))) is ExitCode.LIMIT
    stuck = api.run(hanoi(4, model={"p": 0.5}, vote={"k": 9, "max_votes": 9}))
    assert exit_code(stuck) is ExitCode.UNDECIDED
    assert exit_code(queries.show("last", store=store)) is ExitCode.UNDECIDED
    write_rows(tmp_path / "rows.csv", range(30))
    missing = api.run(job(tmp_path, vote={"k": 3, "max_votes": 3}))
    assert exit_code(missing) is ExitCode.MISSING
    assert missing.missing == 30 - missing.result["decided"] > 0


@pytest.mark.plan
def test_a_paused_pilot_has_the_code_of_any_paused_run(hanoi: Job) -> None:
    """Other errors have their own."""
    with pytest.raises(PilotPaused) as paused:
        calibrate(hanoi(4, limits={"max_calls": 6}), steps=5, votes=2)
    assert error_code(paused.value) is ExitCode.LIMIT
    assert error_code(PilotPaused("there are no steps for a pilot")) == 1
    assert error_code(BadInput("no")) == ExitCode.BAD_INPUT


def test_a_fault_that_pauses_a_pilot_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With what to do then; a fault before there is a run has the code of its error."""
    job_file = tmp_path / "job.toml"
    job_file.write_text('[task]\ndecomposer = "hanoi"\ndisks = 3\n[model]\nkind = "simulated"\np = 0.9\n')

    def failing(begun: bool) -> Callable[..., Any]:
        def fail(*_: Any, on_event: Callable[[Any], None], **__: Any) -> None:
            if begun:
                on_event(RunStarted("20261130-000000-abcdef", False, 0, None))
            raise ModelFailed("the server is gone")

        return fail

    for command in ("calibrate", "precompute"):
        monkeypatch.setattr(f"maker.cli.commands.{command}.{command}", failing(True))
        done = CliRunner().invoke(app, [command, str(job_file)])
        assert done.exit_code == ExitCode.FAULT
        assert "run 20261130-000000-abcdef is paused; give the same command again to continue it" in done.stderr
        monkeypatch.setattr(f"maker.cli.commands.{command}.{command}", failing(False))
        assert CliRunner().invoke(app, [command, str(job_file)]).exit_code == ExitCode.FAILED
    monkeypatch.setattr("maker.cli.commands.run.find_margins", failing(True))
    done = CliRunner().invoke(app, ["run", str(job_file)])
    assert done.exit_code == ExitCode.FAULT
    assert "give the same command again" in done.stderr
