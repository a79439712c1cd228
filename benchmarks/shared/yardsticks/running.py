"""Runs a yardstick in a process of its own and reads what it prints."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.shared.checkout import environment, program
from benchmarks.shared.yardsticks.outcome import Outcome


class Missing(Exception):
    """What a yardstick needs is not installed."""


def run(name: str, module: str, *words: str, folder: Path, cut_off_s: float) -> Outcome:
    """Run a module of `yardsticks` to its end, or kill it at the cut-off: then the outcome is that of the last tenth.

    Raises:
        Missing: It is not installed.
        RuntimeError: It failed.
    """
    command = program(f"shared.yardsticks.{module}", "--folder", str(folder), *words)
    options: dict[str, Any] = {"cwd": folder, "env": environment(), "stdin": subprocess.DEVNULL, "capture_output": True}
    try:
        done = subprocess.run(command, timeout=cut_off_s, check=False, **options)
    except subprocess.TimeoutExpired as cut:
        return _read(name, cut.stdout or b"", f"cut off after {cut_off_s:.0f} s")
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr.decode()[-2000:]}")
    return _read(name, done.stdout, "")


def _read(name: str, printed: bytes, note: str) -> Outcome:
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith(b"{") and line.endswith(b"}")]
    laps = [line for line in lines if "done" in line]
    tenths = tuple(line["seconds"] for line in laps)
    last = lines[-1] if lines else {}
    if "missing" in last:
        raise Missing(f"{last['missing']} is not installed; the extra `bench` brings it")
    if "journal" in last:
        return Outcome(name=name, tenths=tenths, **last)
    if not laps:
        return Outcome(name, 0, 0.0, note=f"{note} before a tenth was done")
    return Outcome(name, laps[-1]["done"], laps[-1]["seconds"], tenths=tenths, note=note)
