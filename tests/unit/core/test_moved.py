"""Old module paths: each is the module that has moved, and warns once with the new path."""

from __future__ import annotations

import ast
import importlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from maker.core.moved import MOVED

ROOT = Path(__file__).parents[3]
LIGHT = {old: new for old, new in MOVED.items() if not new.startswith("maker.training.")}
"""Modules that need neither torch nor transformers."""


@pytest.mark.plan
def test_every_old_path_is_the_moved_module() -> None:
    """Each path of the table imports the very module that stands at its new path, and warns once."""
    program = (
        "import importlib, json, sys, warnings\n"
        "from maker.core.moved import MOVED\n"
        "for old, new in json.load(sys.stdin).items():\n"
        "    module = importlib.import_module(new)\n"
        "    with warnings.catch_warnings(record=True) as seen:\n"
        "        warnings.simplefilter('always')\n"
        "        assert importlib.import_module(old) is module, old\n"
        "        importlib.import_module(old)\n"
        "    said = [str(one.message) for one in seen]\n"
        "    assert said == [f'{old} has moved: import {new} instead'], said\n"
        "    assert module.__name__ == module.__spec__.name == new, module.__spec__\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(LIGHT), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_table_entry_stands_in_the_way_of_a_module() -> None:
    """No old path is the path of a module that there is, and every new one is."""
    for old, new in MOVED.items():
        assert not (ROOT / f"{old.replace('.', '/')}.py").exists(), old
        places = ROOT / f"{new.replace('.', '/')}.py", ROOT / new.replace(".", "/") / "__init__.py"
        assert any(place.exists() for place in places), new


def test_a_pickle_by_an_old_path_is_read() -> None:
    """What was pickled by the old path of a module is found at the new one."""
    with pytest.warns(FutureWarning, match=r"maker\.stats\.bounds"):
        sys.modules.pop("maker.bounds", None)
        found = pickle.loads(b"cmaker.bounds\nshare_at_most\n.")  # noqa: S301 - written here
    assert found is importlib.import_module("maker.stats.bounds").share_at_most


@pytest.mark.parametrize(
    ("module", "name", "home"),
    [
        ("maker.job", "Job", "maker.job.job"),
        ("maker.calibration", "Calibration", "maker.calibration.observations"),
        ("maker", "Engine", "maker.Service"),
    ],
)
def test_a_module_that_became_a_package_has_its_old_names(module: str, name: str, home: str) -> None:
    """An old name of a package that was a module is there, with a warning that says where it is now."""
    package = importlib.import_module(module)
    with pytest.warns(FutureWarning, match=home.replace(".", r"\.")):
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError):
        _ = package.no_such_name


@pytest.mark.plan
def test_importing_a_package_that_was_a_module_is_quiet() -> None:
    """Nobody who imports what is there is warned."""
    program = "import maker.job.settings, maker.calibration.plan, decomposers.map, maker.api, maker.testing"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_nothing_here_imports_an_old_path() -> None:
    """Our own code, tests, benchmarks and examples name modules by the paths that they have."""
    found = []
    for file in (path for folder in ("maker", "decomposers", "voters", "tests", "benchmarks", "examples")
                 for path in (ROOT / folder).rglob("*.py") if "before_rooms" not in str(path)):  # fmt: skip
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            found += [f"{file.relative_to(ROOT)}: {name}" for name in names if name in MOVED]
    assert found == []


def test_the_warning_is_shown_where_python_hides_deprecations() -> None:
    """A user of somebody's plugin sees the warning without any flag."""
    done = subprocess.run(
        [sys.executable, "-c", "import maker.planning"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "maker.planning has moved: import maker.stats.race instead" in done.stderr


def test_a_function_that_has_an_old_modules_path_can_be_called_all_the_same() -> None:
    """``maker.results`` once was a module: after an import of it, it is one again, and the function as well."""
    code = (
        "import warnings\nwarnings.simplefilter('ignore')\nimport maker\nimport maker.results\n"
        "from maker.lifecycle import rows\nassert maker.results is rows\n"
        "try:\n    next(maker.results('last', store='sqlite:///nothing.db'))\n"
        "except maker.MakerError as error:\n    print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "StoreMissing\n", done.stderr
