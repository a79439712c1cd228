"""The README's first result, with the embedded model on vLLM."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT, Block, marked

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


@pytest.mark.parametrize("block", marked("sh", "test: vllm"), ids=lambda block: block.where)
def test_marked_commands_run(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command that a page marks as tested with the embedded model runs from the repository, and ends well."""
    monkeypatch.setenv("MAKER_STORE", f"sqlite:///{tmp_path}/maker.db")
    for command in block.text.splitlines():
        words = shlex.split(command, comments=True)
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
