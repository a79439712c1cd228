"""A program as a user writes it: it runs, and type checkers know all that it uses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "tests" / "typing" / "program.py"
PYRIGHT = shutil.which("basedpyright") or shutil.which("basedpyright", path=str(Path(sys.executable).parent))


def ran(command: list[str], cwd: Path) -> str:
    """Return what a process of its own prints, which must end well."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env={"PYTHONPATH": str(ROOT), "PATH": ""}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.plan
def test_it_runs(tmp_path: Path) -> None:
    """Types that are right of a program that does not run would say little."""
    (tmp_path / "rows.csv").write_text("text\na\nb\n")
    lines = ran([sys.executable, str(PROGRAM), "rows.csv"], tmp_path).splitlines()
    assert lines[0] == "Kind.BUG [3, 7, 3, 7]"
    assert lines[1] == "['bug', 'glad', 'a', 'a', 'b', '13', 'False']"
    assert lines[2] == "True"
    assert lines[3] == "{'rows': 2, 'decided': 2}"
    assert lines[4] == "['good', 'good'] 0"
    assert lines[-1] == "done"


@pytest.mark.slow
def test_mypy_finds_what_is_wrong_and_nothing_else() -> None:
    """In strict mode; an error that it does not find is an unused ``type: ignore``."""
    pytest.importorskip("mypy")
    ran([sys.executable, "-m", "mypy", "--strict", str(PROGRAM)], ROOT)


@pytest.mark.slow
@pytest.mark.skipif(PYRIGHT is None, reason="needs basedpyright")
def test_pyright_finds_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    """In strict mode as well: editors complete by what it knows."""
    settings = {
        "include": [str(PROGRAM)], "extraPaths": [str(ROOT)], "typeCheckingMode": "strict", "pythonVersion": "3.11",
        "enableTypeIgnoreComments": True, "reportUnnecessaryTypeIgnoreComment": "error",
    }  # fmt: skip
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    assert PYRIGHT is not None
    ran([PYRIGHT, "--project", str(tmp_path), "--pythonpath", sys.executable], tmp_path)
