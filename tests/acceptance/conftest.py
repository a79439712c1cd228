"""What the acceptance tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Commands


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[Commands]:
    """Return the command line in an empty folder; what it leaves running is ended after the test."""
    commands = Commands(tmp_path)
    yield commands
    commands.end()
