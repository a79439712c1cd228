"""Odd and damaged files of every kind, made anew each time: what is read is what stands there, or is refused."""

from __future__ import annotations

import random

import pytest

fuzz_files = pytest.importorskip("benchmarks.recovery.fuzz_files")


def test_files_of_all_kinds() -> None:
    """The seed is printed, and makes the file again: `python -m benchmarks.recovery.fuzz_files --seed N`."""
    first = random.SystemRandom().randrange(1 << 40)
    count, problem = fuzz_files.fuzz(first, 3.0)
    print(f"{count} files from seed {first}")
    assert not problem, problem
