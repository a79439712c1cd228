"""Stores that were written before maker's modules moved into rooms: all that is in them is read, and gone on with.

What they hold, and how they were made, is told in ``tests/fixtures/before_rooms/make.py``. Here maker is known by its
top-level names and its commands alone, so that these tests say the same whatever moves beneath.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from processes import Commands

import maker
from maker.lifecycle.queries import RunReport

HERE = Path(__file__).parents[1] / "fixtures" / "before_rooms"
EXPECTED: dict[str, Any] = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
RUNS: dict[str, dict[str, Any]] = EXPECTED["runs"]
IDS = {found["name"]: run for run, found in RUNS.items()}
COMMANDS = {
    "show": ["--json"], "steps": ["--json"], "export": [], "verify": ["--json"], "report": ["--json"],
}  # fmt: skip
CAME = [name for name, found in EXPECTED["came"].items() if "status" in found]
MOVED = ("maker.planning", "maker.testing_voters", "decomposers.recursive_prompts")
"""Old paths that ``jobs/old_paths.py`` imports; ``decomposers.function``, which it imports too, has not moved."""

spec = importlib.util.spec_from_file_location("before_rooms_make", HERE / "make.py")
assert spec is not None
assert spec.loader is not None
making = importlib.util.module_from_spec(spec)
spec.loader.exec_module(making)


def named(run: str) -> str:
    return f"{RUNS[run]['name']}-{run[-6:]}"


every_run = pytest.mark.parametrize("run", RUNS, ids=named)
every_paused_run = pytest.mark.parametrize("run", [run for run, one in RUNS.items() if "resumed" in one], ids=named)


def unpack(folder: Path) -> str:
    """Write the store and its jobs to a folder; returns the store's URL."""
    shutil.copytree(HERE / "jobs", folder / "jobs", ignore=shutil.ignore_patterns("__pycache__"))
    with closing(sqlite3.connect(folder / "maker.db")) as base:
        base.executescript((HERE / "store.sql").read_text(encoding="utf-8").replace("@FOLDER@", str(folder)))
    return f"sqlite:///{folder}/maker.db"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAKER_STORE", "MAKER_RUN_SEED"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path: Path) -> str:
    return unpack(tmp_path)


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a store that no test changes."""
    folder = tmp_path_factory.mktemp("before")
    unpack(folder)
    return folder


@pytest.fixture
def kept(read_only: Path) -> str:
    return f"sqlite:///{read_only}/maker.db"


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(tmp_path)
    yield commands
    commands.end()


@pytest.fixture
def look(read_only: Path) -> Iterator[Commands]:
    commands = Commands(read_only)
    yield commands
    commands.end()


def lines(commands: Commands, *words: str) -> list[Any]:
    """Return the JSON lines that a command prints."""
    ran = commands.run(*words)
    assert ran.returncode != 2, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def stands(report: RunReport) -> dict[str, Any]:
    """Return how a run stands as it was told then: votes and flags were those of decided steps alone."""
    assert report.votes >= report.decided_votes
    assert report.red_flags >= report.decided_flags
    found: dict[str, Any] = making.stands(replace(report, votes=report.decided_votes, red_flags=report.decided_flags))
    return found


def test_runs_stand_as_they_stood(kept: str) -> None:
    """All runs are listed, newest first, as the maker that wrote them listed them."""
    found = maker.runs(store=kept)
    assert [report.run_id for report in found] == [*RUNS][::-1]
    for report in found:
        then = RUNS[report.run_id]
        now = stands(report)
        assert now == {name: then[name] for name in now}, report.name


def test_no_fingerprint_names_a_folder(read_only: Path) -> None:
    """Stored settings alone name files by their whole paths, so that a run's task may lie elsewhere than it did."""
    with closing(sqlite3.connect(read_only / "maker.db")) as base:
        rows = base.execute("SELECT settings, fingerprint FROM maker_run").fetchall()
    assert sum(str(read_only) in settings for settings, _ in rows) > 10
    assert not any(str(read_only) in fingerprint for _, fingerprint in rows)


@every_run
def test_a_run_verifies(kept: str, run: str) -> None:
    """A log of then is right by the code of now, to its last digest."""
    verified = maker.verify(run, store=kept)
    assert verified.problem == ""
    assert {name: getattr(verified, name) for name in RUNS[run]["verify"]} == RUNS[run]["verify"]


@every_run
def test_a_run_is_reported(kept: str, run: str) -> None:
    """A report counts what it counted then."""
    told = maker.report(run, store=kept).to_json()
    found = {name: told[name] for name in RUNS[run]["report"] if name != "steps"} | {"steps": told["whole"]["steps"]}
    assert found == RUNS[run]["report"]


@every_paused_run
def test_a_paused_run_goes_on(store: str, run: str) -> None:
    """A resumed run ends where the code of then would have led it, and verifies."""
    expected = dict(RUNS[run]["resumed"])
    ended = maker.resume(run, expected.pop("words"), store=store)
    assert stands(ended) == expected
    assert maker.verify(run, store=store).problem == ""


@pytest.mark.parametrize("name", CAME)
def test_a_job_finds_what_the_store_holds(command: Commands, store: str, name: str) -> None:
    """Memo, foresight, calibration and pilots of then serve a job of now; rows and steps are asked again as then."""
    expected = dict(EXPECTED["came"][name])
    told = lines(command, *expected.pop("words"), "--json")[0]
    assert len(maker.runs(store=store)) == expected.pop("runs")
    assert told["settings"]["vote"].get("k") == expected.pop("k")
    told |= {"votes": told["decided_votes"], "red_flags": told["decided_flags"]}
    assert {key: told[key] for key in expected} == expected
    assert maker.verify(told["run_id"], store=store).problem == ""


def test_a_calibration_is_found(command: Commands, store: str) -> None:
    """The same pilot asked for again is taken from the store, and no run is added."""
    expected = EXPECTED["came"]["calibrated again"]
    told = lines(command, *expected["words"], "--json")[0]
    assert (len(maker.runs(store=store)), told["runs"]) == (expected["runs"], expected["by"])
    assert expected["runs"] == len(RUNS)


def test_files_of_a_map_are_written_again(store: str, tmp_path: Path) -> None:
    """A map that is done writes the files that are missing, as they were; why samples got no vote has come since."""
    maker.resume(IDS["round"], store=store)
    files = sorted((tmp_path / "jobs" / "out").iterdir())
    texts = {file.name: file.read_text() for file in files}
    rows = [json.loads(line) for line in texts["review.jsonl"].splitlines()]
    assert all(row.pop("flagged") for row in rows)
    texts["review.jsonl"] = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    assert {name: making.digest(text) for name, text in texts.items()} == EXPECTED["came"]["files"]


@pytest.mark.parametrize("name", EXPECTED["said"])
def test_a_command_says_what_it_said(look: Commands, name: str) -> None:
    """A step's samples, results, samples for an audit, plans, scores by another rule and lessons are those of then."""
    words = EXPECTED["said"][name]["words"]
    if words[0] == "audit":
        words = [*words, "--force"]
    told = lines(look, *words, *([] if words[0] == "export" else ["--json"]))
    known, found = set(EXPECTED["keys"].get(name, [])), set(keys(told))
    assert known <= found
    # With keys that are new it says more than it said; that no other has changed is then for their own tests.
    if not known or known == found:
        steady = told if words[0] == "export" else making.steady(told)
        assert making.digest(json.dumps(steady, sort_keys=True)) == EXPECTED["said"][name]["digest"]


def keys(told: list[Any]) -> Iterator[str]:
    for line in told:
        yield from making.paths(line)


def test_runs_are_listed_with_every_key(look: Commands) -> None:
    """No key of what `maker ls --json` said is gone."""
    assert set(EXPECTED["keys"]["ls"]) <= set(keys(lines(look, "ls", "--json")))


@pytest.mark.parametrize("name", COMMANDS)
def test_no_key_is_gone(look: Commands, name: str) -> None:
    """What read a command's JSON then can read it now: there may be more keys, and none is gone."""
    found = {key for run in EXPECTED["looked_at"] for key in keys(lines(look, name, run, *COMMANDS[name]))}
    assert set(EXPECTED["keys"][name]) - found == set()


def test_old_paths_lead_to_what_they_led_to() -> None:
    """A plugin that imports modules where they were has their functions, and they do what they did."""
    place = importlib.util.spec_from_file_location("old_paths_by_itself", HERE / "jobs" / "old_paths.py")
    assert place is not None
    assert place.loader is not None
    plugin = importlib.util.module_from_spec(place)
    sys.modules[place.name] = plugin
    place.loader.exec_module(plugin)
    assert (plugin.ENOUGH, round(plugin.SURE, 4)) == (4, 0.9998)
    assert plugin.holds()


@pytest.mark.parametrize("name", ["old_tally", "old_letters"])
def test_an_old_path_is_told_once(store: str, tmp_path: Path, name: str) -> None:
    """A run whose plugin imports modules where they were warns once for each, naming where it is now, and goes on."""
    program = f"import maker; print(maker.resume({IDS[name]!r}, store={store!r}).digest)"
    ran = subprocess.run(
        [sys.executable, "-W", "always", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == RUNS[IDS[name]]["resumed"]["digest"]
    warnings = re.findall(r"(?:Deprecation|Future)Warning: (.*)", ran.stderr)
    assert len(warnings) == len(MOVED)
    for old in MOVED:
        about = [said for said in warnings if re.search(rf"(?<![\w.]){re.escape(old)}\b", said)]
        assert len(about) == 1, (old, ran.stderr)
        modules = set(re.findall(r"\b(?:maker|decomposers|voters)(?:\.\w+)+", about[0]))
        assert modules - {old}, f"it does not say where {old} is now: {about[0]}"
