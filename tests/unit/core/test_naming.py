"""Objects are named as a job file would name them, and found again by their names."""

from __future__ import annotations

import functools
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from needs import Late

import tests.unit.workflow_tasks
from decomposers.function import Question, questions
from decomposers.hanoi import Hanoi
from maker.core.naming import plugin_of
from maker.core.plugins import DECOMPOSERS, LIVE, VOTERS, find_named, find_plugin
from maker.errors import PluginError
from voters.majority import Majority

cloudpickle = Late("ray.cloudpickle")

HERE = Path(__file__).resolve()
ASKED = questions("asked", [Question("first", "How many {things}?", int)])


def plain(row: Any, answer: Any) -> None:
    """Allow all."""


@functools.lru_cache
def wrapped() -> int:
    """Return one."""
    return 1


unnamed = lambda text: text  # noqa: E731


def module_of(path: Path, name: str, content: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Write a module beside the script, import it, and forget it after the test."""
    path.write_text(content)
    monkeypatch.syspath_prepend(str(path.parent))
    module = __import__(name)
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, name, module)
    return module


@pytest.mark.parametrize(
    ("found", "group", "name"),
    [
        (Hanoi, DECOMPOSERS, "hanoi"),
        (Majority, VOTERS, "majority"),
        (Hanoi, "", "decomposers.hanoi.task:Hanoi"),
        (tests.unit.workflow_tasks.ticket, DECOMPOSERS, "tests.unit.workflow_tasks:ticket"),
        (plain, "", f"{HERE}:plain"),
        (wrapped, "", f"{HERE}:wrapped"),
        (unnamed, "", f"{HERE}:unnamed"),
        (ASKED, DECOMPOSERS, f"{HERE}:ASKED"),
        (int, "", "builtins:int"),
    ],
)
def test_an_object_is_named_as_a_job_names_it(found: Any, group: str, name: str) -> None:
    """By its entry point, its file or its module; and the name leads back to the very object, with the same source."""
    plugin = plugin_of(found, group)
    assert (plugin.name, plugin.object) == (name, found)
    again = find_plugin(group or DECOMPOSERS, name, Path()) if ":" not in name else find_named(name, Path())
    assert again == plugin
    assert again.object is found


def test_a_file_has_the_source_that_its_name_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a run of the object and a run of the name have one fingerprint."""
    module = module_of(tmp_path / "mine_one.py", "mine_one", "def check(row, answer): ...\n", monkeypatch)
    by_name = find_named("mine_one.py:check", tmp_path)
    by_object = plugin_of(module.check)
    assert by_object.object is module.check is not by_name.object
    assert by_object._replace(object=None) == by_name._replace(object=None)


def test_a_changed_file_is_loaded_and_what_is_held_is_not_mixed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object keeps the source that it had when it was first named; by its name the file's new code is found."""
    path = tmp_path / "mine_two.py"
    module = module_of(path, "mine_two", "def check(row, answer): return 'old'\n", monkeypatch)
    before = plugin_of(module.check)
    path.write_text("def check(row, answer): return 'new'\n")
    assert plugin_of(module.check) == before
    now = find_named(before.name, Path())
    assert now.object(0, 0) == "new"
    assert now.source != before.source
    path.write_text("def check(row, answer): return 'old'\n")
    assert find_named(before.name, Path()) == before


def test_another_object_of_the_name_is_another_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that was reloaded has new objects and new source; its old objects have lost their name."""
    path = tmp_path / "mine_three.py"
    module = module_of(path, "mine_three", "def check(row, answer): return 'old'\n", monkeypatch)
    old, before = module.check, plugin_of(module.check)
    path.write_text("def check(row, answer): return 'new'  # and longer\n")
    exec(path.read_text(), vars(module))  # noqa: S102 - what a reload does
    now = plugin_of(module.check)
    assert (now.object(0, 0), now.name) == ("new", before.name)
    assert now.source != before.source
    assert LIVE[now.name] == now
    with pytest.raises(PluginError, match="nothing at the top level of mine_three is this object"):
        plugin_of(old)


def test_workers_get_what_stands_in_a_file_by_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They cannot import a module that stands beside a script."""
    module = module_of(tmp_path / "mine_four.py", "mine_four", "def check(row, answer): return 'sent'\n", monkeypatch)
    plugin_of(module.check)
    Late("maker.swarm.cluster").ship_sources()
    sent = cloudpickle.dumps(module.check)
    cloudpickle.unregister_pickle_by_value(module)
    monkeypatch.delitem(sys.modules, "mine_four")
    monkeypatch.setattr(sys, "path", [])
    assert cloudpickle.loads(sent)(0, 0) == "sent"


def test_what_has_no_name_is_refused() -> None:
    """With what it is, why, and what to do."""

    def local() -> None: ...

    class Local:
        """A class of a function."""

    for found, message in (
        (local, r"local cannot be found again by a name: it is local to a function"),
        (Local, r"Local cannot be found again by a name: it is local to a function"),
        (lambda text: text, r"cannot be found again by a name: it is local to a function"),
        (functools.partial(plain, 1), r"nothing at the top level of functools is this object"),
        (Path.exists, r"nothing at the top level of pathlib\S* is this object"),
    ):
        with pytest.raises(PluginError, match=message) as caught:
            plugin_of(found)
        assert "top level of a module" in caught.value.fix


def ran(*arguments: str, cwd: Path, code: str | None = None) -> list[str]:
    """Return the lines that a process of its own prints."""
    done = subprocess.run(
        [sys.executable, *arguments], input=code, capture_output=True, text=True, check=False, cwd=cwd,
        env={"PYTHONPATH": str(HERE.parents[3]), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


SCRIPT = """\
import sys
from pathlib import Path
from maker.core.naming import plugin_of
from maker.core.plugins import find_named

def check(row, answer): ...

def test(name):
    found = find_named(name, Path())
    print(name)
    print(found.object is check, found == plugin_of(check), __name__)

print("running")
test(sys.argv[1] if len(sys.argv) > 1 else plugin_of(check).name)
"""


@pytest.mark.parametrize("arguments", [("mine.py",), ("-m", "mine"), ("mine.py", "mine.py:check")])
def test_a_script_is_not_run_twice(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """What it defines is found in itself, also by who has never named it: a resume in the script, say."""
    (tmp_path / "mine.py").write_text(SCRIPT)
    name = arguments[1] if arguments[0] == "mine.py" and len(arguments) > 1 else f"{tmp_path.resolve()}/mine.py:check"
    assert ran(*arguments, cwd=tmp_path) == ["running", name, "True True __main__"]


def test_a_module_of_a_package_is_not_run_twice(tmp_path: Path) -> None:
    """`python -m` runs it under another name than the one that it is found by."""
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "mine.py").write_text(SCRIPT)
    assert ran("-m", "pack.mine", cwd=tmp_path) == ["running", "pack.mine:check", "True True __main__"]


CELL = """\
import linecache

def cell(source):
    linecache.cache["<cell>"] = (len(source), None, source.splitlines(True), "<cell>")
    exec(compile(source, "<cell>", "exec"), globals())

from maker.core.naming import plugin_of
from maker.core.plugins import find_named
from pathlib import Path
cell("def check(row, answer):\\n    return None\\n")
first = plugin_of(check)
print(first.name, first.object is check, len(first.source), find_named("__main__:check", Path()) == first)
cell("def check(row, answer):\\n    return 'no'\\n")
print(plugin_of(check).source == first.source)
cell("class Rules:\\n    def check(self): ...\\n")
print(plugin_of(Rules).name, len(plugin_of(Rules).source))
"""


def test_a_notebook(tmp_path: Path) -> None:
    """What a cell defines is found in the session; its source is the cell's, so that a changed cell is noticed."""
    assert ran("-", cwd=tmp_path, code=CELL) == ["__main__:check True 64 True", "False", "__main__:Rules 64"]


@pytest.mark.parametrize("arguments", [("-",), ("mine.py",)])
def test_a_notebook_is_not_found_elsewhere(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """It is said what it was, and what to do."""
    code = "from maker.core.plugins import find_named\nfrom pathlib import Path\nfind_named('__main__:check', Path())"
    (tmp_path / "mine.py").write_text(code)
    done = subprocess.run(
        [sys.executable, *arguments], input=code, capture_output=True, text=True, check=False, cwd=tmp_path,
        env={"PYTHONPATH": str(HERE.parents[3]), "PATH": ""},
    )  # fmt: skip
    assert "'check' was defined in a notebook or an interactive session" in done.stderr
    assert "put it into a file to resume anywhere" in done.stderr
