"""Where things are in this checkout, and how its programs are started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
HANOI_MODEL = EXAMPLES / "hanoi_microagent" / "model"
TASKS = Path(__file__).parent / "tasks"
TOWERS = f"{TASKS / 'towers.py'}:Towers"


def program(module: str, *words: str) -> list[str]:
    """Return the command that runs a module of ``benchmarks`` in a process of its own, with `environment`."""
    return [sys.executable, "-m", f"benchmarks.{module}", *words]


def environment() -> dict[str, str]:
    """Return this process's environment, in which Python finds this checkout before any that is installed."""
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
