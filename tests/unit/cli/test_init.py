"""``maker init``: what it writes runs as it is, and it writes over nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from maker.api import load_job
from maker.cli.app import app
from maker.cli.commands.init import KINDS, TEMPLATES, write_job

LONGEST_README = 11


def maker(*words: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        ("map", {"rows": 8, "decided": 8}),
        ("function", {"minutes": 45, "lost": False, "severity": "major", "tell": "customers"}),
        ("chain", {"holds": 216}),
    ],
)
def test_every_command_of_what_is_written_runs(kind: str, result: object, working_directory: Path) -> None:
    """Those that its README names, in their order; the first is a rehearsal, which ends right."""
    assert maker("init", kind).exit_code == 0
    readme = (working_directory / "README.md").read_text()
    assert len(readme.splitlines()) <= LONGEST_README
    commands = re.findall(r"`maker ([^`]*)`", readme)
    assert commands[0] == "run job.toml"
    for command in commands:
        done = maker(*command.split())
        assert done.exit_code == (5 if "--limit-steps" in command else 0), f"{command}: {done.output}"
        if command == "run job.toml":
            shown = json.loads(maker("show", "last", "--json").output)
            assert (shown["status"], shown["result"]) == ("done", result)
            assert shown["red_flags"] > 0
            assert json.loads(maker("verify", "last", "--json").output)["right"]


def test_the_rehearsed_answers_are_the_known_ones(working_directory: Path) -> None:
    """Voting and the check have mended all that the simulated model got wrong."""
    maker("init", "map", "mine")
    maker("run", "mine/job.toml")
    (file,) = (working_directory / "mine" / "out").glob("rows-*.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    topics = ["delivery", "payment", "product", "other", "delivery", "payment", "product", "other"]
    assert [(row["id"], row["topic"]) for row in rows] == [(f"m{n}", topic) for n, topic in enumerate(topics, 1)]
    assert all(row["quote"] in row["text"] for row in rows)


def test_a_rehearsal_of_other_rows_says_what_to_do(working_directory: Path) -> None:
    """The simulated model knows the rows that it came with; for others a real one is to be named."""
    maker("init", "map")
    (working_directory / "messages.csv").write_text("id,text\na,Where is my refund?\n")
    done = maker("try", "job.toml")
    assert done.exit_code == 1
    assert "set a real model in job.toml" in done.output


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_written_as_it_is_kept(kind: str, tmp_path: Path) -> None:
    """Every file of it, into a folder that is made."""
    written = write_job(kind, tmp_path / "a" / "b")
    kept = {file.name: file.read_text() for file in (TEMPLATES / kind).iterdir() if file.is_file()}
    assert {path.name: path.read_text() for path in written} == kept
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == set(kept) >= {"job.toml", "README.md"}


def test_what_is_written_passes_ruff(tmp_path: Path) -> None:
    """By ruff's own defaults and by ours."""
    pytest.importorskip("ruff")
    for kind in KINDS:
        write_job(kind, tmp_path / kind)
    ours = f"--config={Path(__file__).parents[3] / 'pyproject.toml'}"
    for settings in ("--isolated", ours):
        line = [sys.executable, "-m", "ruff", "check", "--no-cache", settings, str(tmp_path)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.posix
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["init"], "Missing argument 'KIND'"),
        (["init", "mpa"], "there is no kind of job 'mpa'\n  did you mean 'map'?"),
        (["init", "zzz"], "known: map, function, chain"),
        (["init", "map", "full"], "full already holds job.toml, rules.py; nothing was overwritten"),
        (["init", "map", "file"], "file is not a folder"),
        (["init", "map", "file/under"], "file/under cannot be written: Not a directory"),
    ],
)
def test_what_cannot_be_written_is_told(words: list[str], told: str, working_directory: Path) -> None:
    """In words, with exit code 2, and nothing is changed; a link that leads nowhere is a file too."""
    (working_directory / "full").mkdir()
    (working_directory / "full" / "job.toml").write_text("mine")
    (working_directory / "full" / "rules.py").symlink_to("nowhere")
    (working_directory / "file").write_text("mine")
    before = sorted(working_directory.rglob("*"))
    done = maker(*words)
    assert done.exit_code == 2
    assert told in done.stderr
    assert sorted(working_directory.rglob("*")) == before
    assert (working_directory / "full" / "job.toml").read_text() == "mine"


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_folder_that_one_may_not_write_to_is_told(mode: int, tmp_path: Path) -> None:
    """Also for root, who may write anywhere and so gives that up for a while."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=mode)
    before = os.geteuid()
    tmp_path.parent.chmod(0o755)
    tmp_path.chmod(0o755)
    if before == 0:
        os.seteuid(65534)
    try:
        told = [maker("init", "map", folder) for folder in (locked, locked / "under")]
    finally:
        os.seteuid(before)
        locked.chmod(0o755)
    assert [(done.exit_code, "cannot be written: Permission denied" in done.stderr) for done in told] == [(2, True)] * 2
    assert not list(locked.iterdir())


def test_a_full_disk_leaves_no_half_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was begun is taken away again."""
    opened = Path.open

    def failing(self: Path, *args: object, **options: object) -> object:
        if self == tmp_path / "mine" / "prompt.txt":
            raise OSError(28, "No space left on device", str(self))
        return opened(self, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", failing)
    done = maker("init", "map", tmp_path / "mine")
    assert (done.exit_code, "prompt.txt cannot be written: No space left on device" in done.stderr) == (2, True)
    assert list((tmp_path / "mine").iterdir()) == []


def test_the_example_of_a_map_is_a_right_answer(working_directory: Path) -> None:
    """What the prompt shows follows the schema and passes the check, so a model that copies its form is not flagged."""
    maker("init", "map")
    prompt = (working_directory / "prompt.txt").read_text()
    (message,) = re.findall('To the message "(.*?)"', prompt)
    (example,) = re.findall(r'^\{".*\}$', prompt, re.MULTILINE)
    kind = load_job(working_directory / "job.toml").decomposer.classes[0]
    answer = kind.parse(example)
    assert answer.keys() == {"topic", "urgent", "quote"}
    assert answer["quote"] in message
