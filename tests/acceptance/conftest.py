"""What the acceptance tests share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Commands

ROOT = Path(__file__).parents[2]


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[Commands]:
    """Return the command line in an empty folder; what it leaves running is ended after the test."""
    commands = Commands(tmp_path)
    yield commands
    commands.end()


@pytest.fixture
def examples(maker: Commands) -> Commands:
    """Return a folder with a copy of the examples, models left out."""
    left_out = shutil.ignore_patterns("hanoi_microagent", "__pycache__", "*.db*")
    shutil.copytree(ROOT / "examples", maker.folder / "examples", ignore=left_out)
    return maker
