"""A folder is held by one process at a time, by whichever lock the system has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maker.core import locks

HOLD = """
import sys
from pathlib import Path
from maker.core import locks
if sys.argv[2] == "file":
    locks.fcntl = None
with locks.locked_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("way", ["folder", "file"])
def test_a_folder_is_held_once(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process is refused at once; the lock is free when its process is gone, and leaves no file."""
    if way == "file":
        pytest.importorskip("filelock")
        monkeypatch.setattr(locks, "fcntl", None)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), way], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError), locks.locked_folder(tmp_path):
            pass
        other.kill()
    with locks.locked_folder(tmp_path), pytest.raises(BlockingIOError), locks.locked_folder(tmp_path):
        pass
    with locks.locked_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
