"""Plugins: found by name, file or module; ambiguous, shadowed and broken ones told apart."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from decomposers.hanoi import Hanoi
from maker.core.plugins import DECOMPOSERS, VOTERS, find_plugin, list_plugins, near
from maker.core.user_code import FILE_MODULE
from maker.errors import PluginError
from voters.majority import Majority

EXECUTED: list[int] = []
"""What a file does when it is executed."""
TASK = """\
from maker.plugin import Decomposer, Params


class Task(Decomposer):
    name = "mine"
    version = 1
    Params = Params
"""


def distribution(folder: Path, name: str, version: str, group: str, line: str) -> None:
    """Write what an installed distribution leaves behind that offers one plugin."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{line}\n")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder on the path: what is put there is installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


# --- by name ---


def test_the_shipped_plugins_are_found() -> None:
    """Names lead to classes, with their file and distribution; an installed plugin has no source to compare."""
    task, voter = find_plugin(DECOMPOSERS, "hanoi", Path()), find_plugin(VOTERS, "majority", Path())
    assert (task.object, voter.object) == (Hanoi, Majority)
    assert (task.name, task.source) == ("hanoi", "")
    assert Path(task.file).parts[-2:] == ("hanoi", "task.py")
    assert task.distribution.startswith("maker-executor ")


@pytest.mark.parametrize(
    ("group", "name", "message", "fix"),
    [
        (DECOMPOSERS, "hanio", "there is no decomposer 'hanio'", "did you mean 'hanoi'?"),
        (VOTERS, "first-to-ahead", "there is no voter 'first-to-ahead'", "did you mean 'first-to-ahead-by-k'"),
        (
            VOTERS,
            "zzz",
            "there is no voter 'zzz'",
            "known: bayes, certificate, first-to-ahead-by-k, first-to-k, majority, sprt",
        ),
        (DECOMPOSERS, "bayes", "there is no decomposer 'bayes'", "known: "),
        (DECOMPOSERS, "", "there is no decomposer ''", "known: "),
    ],
)
def test_an_unknown_name_is_told_with_near_ones(group: str, name: str, message: str, fix: str) -> None:
    """A wrong name is answered with those that are near, or with all, and with the other way to name a plugin."""
    with pytest.raises(PluginError, match=message) as caught:
        find_plugin(group, name, Path())
    assert caught.value.fix.startswith(fix)
    assert "path/file.py:Name" in caught.value.fix
    assert caught.value.facts == {"name": name}


def test_near_names() -> None:
    """Near names are quoted; without any, all are listed, or it is said that there are none."""
    assert near("vote", ["votes", "model"]) == "did you mean 'votes'?"
    assert near("x", ["votes", "model"]) == "known: votes, model"
    assert near("x", []) == "known: none"


def test_two_distributions_may_not_offer_one_name(installed: Path) -> None:
    """A name that two distributions offer is refused, and both are named with what they offer."""
    (installed / "mine.py").write_text(TASK)
    distribution(installed, "one", "1.0", DECOMPOSERS, "same = mine:Task")
    distribution(installed, "two", "2.0", DECOMPOSERS, "same = mine:Task")
    with pytest.raises(PluginError, match=r"one 1\.0 \(mine:Task\) and two 2\.0 \(mine:Task\)") as caught:
        find_plugin(DECOMPOSERS, "same", Path())
    assert "uninstall" in caught.value.fix


def test_a_name_of_ours_may_not_be_taken(installed: Path) -> None:
    """Another distribution cannot quietly take the place of a plugin that comes with maker."""
    (installed / "mine.py").write_text(TASK)
    distribution(installed, "other", "1.0", DECOMPOSERS, "hanoi = mine:Task")
    with pytest.raises(PluginError, match=r"maker-executor .* and other 1\.0"):
        find_plugin(DECOMPOSERS, "hanoi", Path())


@pytest.mark.parametrize(
    "content",
    [
        None,
        "import nothing_of_that_name",
        "Other = 1",
        ("def broken(:"),
        ("1 / 0"),
    ],
    ids=["no module", "an import that fails", "no such name", "not a Python", "an error"],
)
def test_a_broken_plugin_is_told_and_hides_no_other(installed: Path, content: str | None) -> None:
    """A plugin that cannot be loaded is an error with its distribution; the list of plugins holds it as such."""
    name = f"broken_{abs(hash(content))}"
    if content is not None:
        (installed / f"{name}.py").write_text(content)
    distribution(installed, "faulty", "1.0", DECOMPOSERS, f"faulty = {name}:Task")
    with pytest.raises(PluginError, match=r"'faulty' of faulty 1\.0 cannot be loaded"):
        find_plugin(DECOMPOSERS, "faulty", Path())
    listed = list_plugins(DECOMPOSERS)
    assert [type(plugin).__name__ for plugin in listed].count("PluginError") == 1
    assert Hanoi in [getattr(plugin, "object", None) for plugin in listed]


def test_plugins_are_listed_by_name() -> None:
    """Every installed plugin of a group is listed once, in order."""
    assert [getattr(plugin, "name", "?") for plugin in list_plugins(VOTERS)] == [
        "bayes", "certificate", "first-to-ahead-by-k", "first-to-k", "majority", "sprt", "weighted",
    ]  # fmt: skip


def test_a_folder_that_shadows_ours_is_named(tmp_path: Path) -> None:
    """A stray ``voters`` folder beside a script takes the place of ours: the error says which one won."""
    (tmp_path / "voters").mkdir()
    (tmp_path / "voters" / "__init__.py").write_text("")
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from maker.errors import PluginError\n"
        "from maker.core.plugins import VOTERS, find_plugin\n"
        "try:\n    find_plugin(VOTERS, 'majority', Path())\nexcept PluginError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert "cannot be loaded" in done.stdout, done.stderr
    assert str(tmp_path / "voters" / "__init__.py") in done.stdout
    assert "rename the file that hides it" in done.stdout


# --- by file ---


def test_a_plugin_in_a_file(tmp_path: Path) -> None:
    """A file's class is found from a base folder or by its whole path, and its source is told by its hash."""
    path = tmp_path / "tasks" / "mine.py"
    path.parent.mkdir()
    path.write_text(TASK)
    by_base = find_plugin(DECOMPOSERS, "tasks/mine.py:Task", tmp_path)
    by_path = find_plugin(DECOMPOSERS, f"{path}:Task", Path("/nowhere"))
    assert by_base == by_path
    assert by_base.object.name == "mine"
    assert (by_base.name, by_base.file, by_base.distribution) == (f"{path}:Task", str(path), "")
    assert len(by_base.source) == 64


def test_a_changed_file_is_another_plugin(tmp_path: Path) -> None:
    """A file that was edited is loaded anew, and its source differs."""
    path = tmp_path / "mine.py"
    path.write_text(TASK)
    before = find_plugin(DECOMPOSERS, "mine.py:Task", tmp_path)
    path.write_text(TASK.replace('"mine"', '"yours"'))
    after = find_plugin(DECOMPOSERS, "mine.py:Task", tmp_path)
    assert (before.object.name, after.object.name) == ("mine", "yours")
    assert before.source != after.source


def test_two_files_of_one_name_are_two_plugins(tmp_path: Path) -> None:
    """Files of the same name in two folders do not stand for each other."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(TASK.replace('"mine"', f'"{folder}"'))
    assert [find_plugin(DECOMPOSERS, f"{folder}/mine.py:Task", tmp_path).object.name for folder in "ab"] == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def broken(:", r"mine\.py cannot be loaded: SyntaxError"),
        ("1 / 0", r"mine\.py cannot be loaded: ZeroDivisionError"),
        ("import nothing_of_that_name", r"mine\.py cannot be loaded: ModuleNotFoundError"),
        ("Tusk = 1", r"mine\.py has no 'Task'"),
    ],
)
def test_a_broken_file_says_why(tmp_path: Path, content: str, message: str) -> None:
    """What is wrong with a file is told, and the second try tells the same."""
    (tmp_path / "mine.py").write_text(content)
    for _ in range(2):
        with pytest.raises(PluginError, match=message):
            find_plugin(DECOMPOSERS, "mine.py:Task", tmp_path)


def test_a_wrong_name_in_a_file_is_told_with_near_ones(tmp_path: Path) -> None:
    """The names that a file does hold are told."""
    (tmp_path / "mine.py").write_text(TASK)
    with pytest.raises(PluginError) as caught:
        find_plugin(DECOMPOSERS, "mine.py:Tsak", tmp_path)
    assert "'Task'" in caught.value.fix


def test_a_missing_file_is_told_with_its_whole_path(tmp_path: Path) -> None:
    """It is said where was looked."""
    with pytest.raises(PluginError, match=f"there is no file {tmp_path}/nowhere.py"):
        find_plugin(DECOMPOSERS, "nowhere.py:Task", tmp_path)


def test_a_file_is_whole_for_every_thread(tmp_path: Path) -> None:
    """Threads that ask for one file while it is being executed all get its names, and it is executed once."""
    (tmp_path / "mine.py").write_text(
        "import time\nfrom test_plugins import EXECUTED\nEXECUTED.append(1)\ntime.sleep(0.2)\n" + TASK
    )
    EXECUTED.clear()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: find_plugin(DECOMPOSERS, "mine.py:Task", tmp_path).object, range(8)))
    assert len({id(one) for one in found}) == len(EXECUTED) == 1


def test_a_file_with_dots_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.v2.py").write_text(TASK)
    assert find_plugin(DECOMPOSERS, "mine.v2.py:Task", tmp_path).object.name == "mine"


def test_files_that_load_one_another(tmp_path: Path) -> None:
    """A plugin may load another one; in a circle, from two threads, nobody waits for ever, and both end whole."""
    load = (
        "import time\ntime.sleep(0.1)\nfrom pathlib import Path\n"
        "from maker.core.plugins import DECOMPOSERS, find_plugin\n"
        "def other():\n    return find_plugin(DECOMPOSERS, '{}.py:here', Path(__file__).parent)\n"
        "here = '{}'\nother()\n"
    )
    (tmp_path / "a.py").write_text(load.format("b", "a"))
    (tmp_path / "b.py").write_text(load.format("a", "b"))
    with ThreadPoolExecutor(2) as threads:
        futures = [threads.submit(find_plugin, DECOMPOSERS, f"{name}.py:here", tmp_path) for name in "ab"]
        assert [future.result(timeout=20).object for future in futures] == ["a", "b"]


@pytest.mark.parametrize("end", ["1 / 0", "raise SystemExit(3)"])
def test_a_file_that_fails_halfway_leaves_no_half_module(tmp_path: Path, end: str) -> None:
    """What it had defined is not there for the next one who asks; leaving the program is a failure like others."""
    (tmp_path / "mine.py").write_text(f"{TASK}\n{end}\n")
    for _ in range(2):
        with pytest.raises(PluginError, match=r"mine\.py cannot be loaded: (ZeroDivisionError|SystemExit)"):
            find_plugin(DECOMPOSERS, "mine.py:Task", tmp_path)
    source = hashlib.sha256((tmp_path / "mine.py").read_bytes()).hexdigest()
    assert f"{FILE_MODULE}mine_{source[:12]}" not in sys.modules


def test_what_is_executed_is_what_the_hash_is_of(tmp_path: Path) -> None:
    """An edit of the same length within the file system's clock is not hidden by a cache of the code before it."""
    path = tmp_path / "mine.py"
    for name in ("mine", "yours"[:4]):
        path.write_text(TASK.replace('"mine"', f'"{name}"'))
        os.utime(path, (1_000_000_000, 1_000_000_000))
        found = find_plugin(DECOMPOSERS, "mine.py:Task", tmp_path)
        assert (found.object.name, found.source) == (name, hashlib.sha256(path.read_bytes()).hexdigest())


# --- by module ---


def test_a_plugin_in_a_module() -> None:
    """``module:Name`` needs no entry point."""
    found = find_plugin(DECOMPOSERS, "decomposers.hanoi:Hanoi", Path())
    assert (found.object, found.name) == (Hanoi, "decomposers.hanoi:Hanoi")
    assert found.source == hashlib.sha256(Path(found.file).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing_of_that_name:Task", "module 'nothing_of_that_name' cannot be imported"),
        ("decomposers.hanio:Hanoi", "module 'decomposers.hanio' cannot be imported"),
        ("decomposers.hanoi:Hanio", "decomposers.hanoi has no 'Hanio'"),
        ("decomposers.hanoi:", "decomposers.hanoi has no ''"),
        (":Hanoi", "cannot be imported"),
        (".hanoi:Hanoi", "cannot be imported"),
    ],
)
def test_a_module_that_is_none(name: str, message: str) -> None:
    """Modules and names that there are not are told apart."""
    with pytest.raises(PluginError, match=message):
        find_plugin(DECOMPOSERS, name, Path())


def test_a_broken_module_says_why(installed: Path) -> None:
    """A module that raises is told as a broken file is."""
    (installed / "broken_module.py").write_text("1 / 0")
    with pytest.raises(PluginError, match="ZeroDivisionError"):
        find_plugin(DECOMPOSERS, "broken_module:Task", Path())
    assert "broken_module" not in sys.modules
