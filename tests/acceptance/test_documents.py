"""The documents hold: their commands and programs run, their links lead somewhere, and the short pages stay short."""

from __future__ import annotations

import pydoc
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from documents import PAGES, ROOT, Block, anchors, blocks, links, marked, names
from processes import Commands

README = ROOT / "README.md"
MARKS = ("test", "test: vllm")
"""Marks of blocks that run: here, and in tests/integration/test_documents_vllm.py."""


@pytest.mark.parametrize("block", marked("sh", "test"), ids=lambda block: block.where)
def test_marked_commands_run(examples: Commands, block: Block) -> None:
    """Each block of commands that a page marks as tested runs, line after line.

    --limit-steps ends in exit 5, and ``|| test $? = 8`` says what another command ends in.
    """
    folder = examples.folder
    for line in block.text.splitlines():
        command, *said = line.partition("#")[0].split("|| test $? = ")
        first, *words = shlex.split(command)
        if first == "cd":
            folder = folder / words[0]
            continue
        program = [sys.executable, *(["-m", "maker"] if first == "maker" else []), *words]
        assert first in ("maker", "python"), f"{block.where}: {command}"
        done = subprocess.run(
            program, cwd=folder, env=examples.env, capture_output=True, text=True, timeout=300, check=False
        )
        expected = int(said[0]) if said else 5 if "--limit-steps" in words else 0
        assert done.returncode == expected, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("block", marked("python", "test"), ids=lambda block: block.where)
def test_marked_programs_run(examples: Commands, block: Block) -> None:
    """Each Python program that a page marks as tested runs as it stands, in a folder of its own, without a warning."""
    (examples.folder / "program.py").write_text(block.text)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=examples.folder, env=examples.env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{block.where}\n{done.stdout}\n{done.stderr}"
    assert "Warning" not in done.stderr


def test_every_command_and_program_of_the_readme_is_run() -> None:
    """No block of the README is left unmarked; what only installs says that it is not run, and why."""
    code = [block for block in blocks(README) if block.kind in ("sh", "python")]
    assert {block.mark for block in code} >= set(MARKS)
    odd = [block.where for block in code if block.mark not in MARKS and not block.mark.startswith("not run: ")]
    assert odd == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link within the repository names a file that is there, and a heading in it where it names one."""
    dead = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_names_are_there(page: Path) -> None:
    """Each name of a module of maker, or of what is in one, that a page gives can be imported."""
    assert [name for name in sorted(names(page)) if pydoc.locate(name) is None] == []


def test_every_page_is_in_the_index() -> None:
    """A reader who starts at docs/index.md finds each page of docs."""
    listed = {link.partition("#")[0] for link in links(ROOT / "docs" / "index.md")}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"} - listed == set()


def test_the_layers_are_those_of_the_contract() -> None:
    """docs/architecture.md has a row for each package of maker, with the layer that the import contract gives it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    wanted = {name.strip(): number for number, row in enumerate(reversed(layers), 1) for name in row.split("|")}
    page = (ROOT / "docs" / "architecture.md").read_text()
    found = {
        name.removesuffix(".py"): int(number)
        for number, packages in re.findall(r"^\| (\d+) \| ([^|]+) \|", page, re.MULTILINE)
        for name in re.findall(r"`([\w.]+)`", packages)
    }
    assert found == wanted


def test_the_recording_is_of_a_run_that_verifies() -> None:
    """The README's picture is well-formed, holds its commands, and ends with a log that verifies."""
    svg = ElementTree.parse(ROOT / "docs" / "images" / "run.svg").getroot()  # noqa: S314 - it is our own
    *_, last = svg.iter("{http://www.w3.org/2000/svg}g")
    shown = [line.text or "" for line in last.iter("{http://www.w3.org/2000/svg}text")]
    assert [line for line in shown if line.startswith("$ ")] == [
        "$ maker run examples/hanoi.toml task.disks=8", "$ maker steps last --disputed", "$ maker verify last",
    ]  # fmt: skip
    assert "verifies: 255 steps" in shown[-1]


@pytest.mark.parametrize(("name", "most"), [("README.md", 900), ("docs/architecture.md", 2500)])
def test_short_pages_stay_short(name: str, most: int) -> None:
    """What is read first is read through: its words are counted."""
    assert len((ROOT / name).read_text(encoding="utf-8").split()) < most
