"""Whatever a command is given, it answers with a sentence and an exit code, never with a traceback."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from maker import api
from maker.cli.app import COMMANDS, app

ODD = {
    "empty": "",
    "huge": "9" * 100_000,
    "no number": "nan",
    "not UTF-8": b"caf\xe9.toml".decode(errors="surrogateescape"),
    "folder": ".",
    "marks": "-1\n\0';\"`$(x)",
}
JOB = '[task]\ndecomposer = "hanoi"\ndisks = 2\n[model]\nkind = "simulated"\n[vote]\nk = 1\n'
SLOW = {"doctor"}
"""Commands that look at the whole machine for half a minute, whatever they are given."""
WITHOUT_JOB = {"train", "exam", "calibrate", "precompute"}
"""Commands that work for seconds on a job: theirs is missing."""


MAIN: Any = typer.main.get_command(app)
"""Built once: it takes longer than most of these commands."""


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


class Given(NamedTuple):
    """A parameter of a command."""

    command: str
    name: str
    option: str
    required: bool


def given() -> Iterator[Given]:
    """Yield every parameter of every command that takes a value."""
    for command in (name for name in COMMANDS if name not in SLOW):
        for param in MAIN.get_command(None, command).params:
            if not getattr(param, "is_flag", False) and param.name != "help":
                option = param.opts[-1] if param.opts[0].startswith("-") else ""
                yield Given(command, param.name, option, param.required)


GIVEN = list(given())


@pytest.fixture(autouse=True)
def _no_endless_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a queue's worker end as soon as it has looked at what it was given."""
    monkeypatch.setattr("maker.lifecycle.queue_worker._Worker.work", lambda *_: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a job, and with a store that holds a run of it."""
    made = tmp_path_factory.mktemp("odd")
    (made / "job.toml").write_text(JOB)
    api.run(made / "job.toml", [f"store.url=sqlite:///{made}/maker.db"])
    return made


def run(words: list[str]) -> Ended:
    """Run a command as `maker.cli.main` does, in this process; what it raises but does not handle is raised here."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace") for _ in range(2)]
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = streams
    try:
        MAIN.main(words, prog_name="maker")
        code: Any = 0
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.stdout, sys.stderr = before
    told = []
    for stream in streams:
        stream.flush()
        told.append(stream.buffer.getvalue().decode("utf-8"))  # type: ignore[attr-defined]
    return Ended(code or 0, *told)


def words_of(one: Given, value: str) -> list[str]:
    """Return a command line with one odd value; all else that the command must have is right."""
    right = {"job": "nosuch.toml" if one.command in WITHOUT_JOB else "job.toml", "run_id": "last", "kind": "map"}
    right |= {"out": "model", "folder": "model", "at": "0", "name": "approve", "value": "true", "labels": "labels.csv"}
    words = [one.command]
    for other in GIVEN:
        if other.command == one.command and other.required and other.name != one.name:
            words += [other.option, right[other.name]] if other.option else [right[other.name]]
    if one.option:
        return [*words, f"{one.option}={value}" if one.option.startswith("--") else f"{one.option}{value}"]
    return [one.command, *([] if one.required else words[1:]), "--", value, *(words[1:] if one.required else [])]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("one", GIVEN, ids=lambda one: f"{one.command}-{one.name}")
def test_an_odd_value_is_answered(
    one: Given, odd: str, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A required argument that cannot be is exit 2 and a sentence; an option may also take the value."""
    monkeypatch.chdir(folder)
    if one.command == "enqueue":
        # Others would wait for the run, which nobody takes up.
        monkeypatch.setenv("MAKER_STORE", f"sqlite:///{tmp_path}/queued.db")
    done = run(words_of(one, ODD[odd]))
    assert "Traceback" not in done.out + done.err
    assert len(done.err) < 5000
    if one.required and not one.option and one.name in ("job", "run_id"):
        assert done.code == 2
    if done.code:
        assert (done.out + done.err).strip()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("words", [["--nosuch"], ["--store"], ["a", "b", "c", "d"], ["\udcff" * 3]])
def test_what_a_command_does_not_take_is_refused(
    command: str, words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown options, options without their value, and too many words: exit 2 with how it is called."""
    monkeypatch.chdir(folder)
    done = run([command, *words])
    assert done.code == 2
    assert done.err.strip()
    assert "Traceback" not in done.err
