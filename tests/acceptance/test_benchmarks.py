"""Every benchmark still runs: each is started as its users start it, with tiny sizes and nothing judged."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from argparse import Namespace
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.shared.yardsticks.database import Commits
from benchmarks.structure import figures
from benchmarks.tasks import prompts
from maker.types import Sample

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "benchmarks" / "shared"
NOT_INSTALLED = 77
"""How a benchmark exits that needs a package that is not installed."""
SMOKE_S = 300.0


def found() -> list[str]:
    """Return every module of benchmarks/ outside of shared/: a new one is a benchmark too, and has a smoke mode."""
    files = sorted((ROOT / "benchmarks").rglob("*.py"))
    own = [file for file in files if file.stem != "__init__" and HELPERS not in file.parents]
    return [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in own]


def run(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a benchmark to its end, from the root of the checkout."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=SMOKE_S, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("module", found())
def test_a_benchmark_runs(module: str) -> None:
    """A smoke run ends well and prints figures."""
    done = run(module, "--smoke")
    if done.returncode == NOT_INSTALLED:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-5000:]}"
    assert any(character.isdigit() for character in done.stdout)


def test_counting_commits_gives_up_no_lock(tmp_path: Path) -> None:
    """Commits are counted from outside, and another process still sees that this one has the database open."""
    database = tmp_path / "counted.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as connection, closing(Commits(database)) as commits:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE kept (number)")
        before = commits.count()
        for number in range(3):
            connection.execute("INSERT INTO kept VALUES (?)", (number,))
        assert commits.count() == before + 3
        # SQLite's byte 128 of the index: whoever can lock it takes the database for one that nobody uses.
        lock = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 128)"
        other = subprocess.run(
            [sys.executable, "-c", lock, f"{database}-shm"], capture_output=True, text=True, check=False
        )
        assert "BlockingIOError" in other.stderr
    assert not Path(f"{database}-shm").exists()


def test_samples_of_a_prompt_are_counted() -> None:
    """Of seven replies three are right, two more legal, one is no move and one is empty."""
    case = next(one for one in prompts.hanoi(Namespace()) if one[:2] == ("3 disks after 0 moves", "plain"))
    step = case.task.next(case.at)
    samples = [Sample(text, 3) for text in ("1AC", "1AC", "1AC", "1AB", "1AB", "no move", "")]
    flags = Counter({"format": 1, "empty": 1})
    assert prompts.counted(case, step, samples) == prompts.Counted(3, 5, flags)
    # Where no reply is named as right, every legal one is.
    assert prompts.counted(case._replace(right=()), step, samples) == prompts.Counted(5, 5, flags)


def test_structure_of_a_made_up_checkout(tmp_path: Path) -> None:
    """Files, layers, circles, long functions, docstrings, comments and words are counted as they were put there."""
    for name, text in {
        "maker/__init__.py": '"""Exports."""\nfrom maker.high.one import run\n',
        "maker/high/__init__.py": "",
        "maker/high/one.py": "from maker.low import two\n\n\ndef run():\n    '''Documented.'''\n"
        + "    two.go()\n" * 50,
        "maker/low/__init__.py": "",
        "maker/low/two.py": "# Why so.\ndef go():\n    from ..high.one import run  # noqa: X\n    run()\n",
        "docs/architecture.md": "You know that which is here.\n\n```sh\nyou do not count\n```\n",
        "pyproject.toml": '[[tool.importlinter.contracts]]\ntype = "layers"\nlayers = ["high", "low"]\n',
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = figures(tmp_path)
    assert found["files"] == "5"
    assert found["fullest flat folder"] in ("1 (maker/high)", "1 (maker/low)")
    assert found["layers in the import contract"] == "2"
    assert found["import circles between packages"] == "1"
    assert found["functions over 40 lines"] == "1 of 2"
    assert found["public definitions with a docstring"] == "50.0%"
    assert found["comments per 1,000 lines"] == "16.4"
    assert found["words of docs/architecture.md"] == "6"
    assert found['"you" per 1,000 words of them'] == "166.7"
    assert found['"that", "which" per 1,000 words'] == "333.3"
