"""The import contracts hold for modules that nobody has listed: what is planted anywhere is caught."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
LAYERS = [
    layer.split(" | ")
    for contract in SETTINGS["contracts"]
    if contract.get("containers") == ["maker"]
    for layer in contract["layers"]
]
PACKAGES = [package for layer in LAYERS for package in layer if (ROOT / "maker" / package).is_dir()]
PROTECTED = {
    module: contract["allowed_importers"]
    for contract in SETTINGS["contracts"]
    if contract["type"] == "protected"
    for module in contract["protected_modules"]
}
"""Libraries that some packages alone may import."""


def forbidden(package: str) -> list[str]:
    """Return what a new module of a package of maker must not import: libraries, and what stands above it."""
    libraries = [module for module, importers in PROTECTED.items() if f"maker.{package}" not in importers]
    level = next(number for number, layer in enumerate(LAYERS) if package in layer)
    return [*libraries, *(f"maker.{above}" for layer in LAYERS[:level] for above in layer), "decomposers", "voters"]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of a copy."""
    pytest.importorskip("importlinter")
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {program}", "--no-cache"]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={"COLUMNS": "300", "PATH": ""}
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of all that the contracts are about."""
    for name in ("maker", "decomposers", "voters"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_at_most_twelve_layers_and_every_package_is_on_one() -> None:
    """The layers name every package and module of maker once."""
    assert len(LAYERS) <= 12
    named = [name for layer in LAYERS for name in layer]
    there = [path.stem for path in (ROOT / "maker").iterdir() if not path.name.startswith("__")]
    assert sorted(named) == sorted({*there} - {"py"})


def test_what_is_planted_is_caught(copy: Path) -> None:
    """A forbidden import in a new module of any package, and a module that stands on no layer, break the contracts."""
    for package in PACKAGES:
        lines = "".join(f"import {name}\n" for name in forbidden(package))
        (copy / "maker" / package / "planted.py").write_text(lines)
    hidden = ("maker.store.log", "maker.core.plugins", "maker.types")
    for plugins in ("decomposers", "voters"):
        (copy / plugins / "planted.py").write_text("".join(f"import {name}\n" for name in hidden))
    (copy / "maker" / "models" / "dialects" / "planted.py").write_text("import httpx\nimport maker.models.server\n")
    (copy / "maker" / "models" / "server" / "planted.py").write_text("import maker.models.batch\n")
    (copy / "maker" / "nowhere.py").write_text("")
    (copy / "maker" / "attic").mkdir()
    (copy / "maker" / "attic" / "__init__.py").write_text("")
    found = lint(copy)
    assert found.returncode == 1, found.stderr
    missed = [
        f"maker.{package}.planted -> {name}"
        for package in PACKAGES
        for name in forbidden(package)
        if f"maker.{package}.planted -> {name}" not in found.stdout
        and f"maker.{package}.planted -> maker.{name}" not in found.stdout
    ]
    assert missed == []
    for plugins in ("decomposers", "voters"):
        for name in hidden:
            assert f"{plugins}.planted -> {name}" in found.stdout
    for pair in ("dialects.planted -> httpx", "dialects.planted -> maker.models.server"):
        assert f"maker.models.{pair}" in found.stdout
    assert "maker.models.server.planted -> maker.models.batch" in found.stdout
    assert "maker.nowhere" in found.stdout
    assert "maker.attic" in found.stdout


def test_nothing_is_planted_yet(copy: Path) -> None:
    """The copy by itself keeps every contract, so that what is caught above is what was planted."""
    found = lint(copy)
    assert found.returncode == 0, found.stdout
