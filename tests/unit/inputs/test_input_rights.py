"""Inputs that this user may not read are told, each by its path, and never passed over."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from decomposers.map import Map, MapParams
from maker.errors import BadInput
from maker.inputs.handle import Input

NOBODY = 65534


@contextmanager
def _without_rights() -> Iterator[None]:
    """Be no superuser, whom nothing is forbidden."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if before == 0:
            os.seteuid(before)


@pytest.fixture
def folder() -> Iterator[str]:
    """Return a folder that may be read, of which some things under it may not."""
    # Not tmp_path: its parents are closed to other users.
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o755)
        for file in ("open/a.csv", "open/deep/b.csv", "closed/c.csv", "file/d.csv"):
            (home / file).parent.mkdir(parents=True, exist_ok=True)
            (home / file).write_text("x\n1\n")
        shut = [home / "open" / "deep", home / "closed", home / "file" / "d.csv"]
        for path in shut:
            path.chmod(0)
        yield name
        for path in shut:
            path.chmod(0o700)


@pytest.mark.posix
@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("closed", "closed"),
        ("closed/c.csv", "closed/c.csv"),
        ("closed/*.csv", "closed/"),
        ("file/d.csv", "file/d.csv"),
        ("file", "file/d.csv"),
        ("open", "open/deep"),
        ("open/**/*.csv", "open/deep"),
    ],
)
def test_what_may_not_be_read_is_named(folder: str, where: str, named: str) -> None:
    """The error names the path and what to do, also where only a folder within the input is closed."""
    told = pytest.raises(BadInput, match=r"may not be read: Permission denied(.|\n)*chmod")
    with told as caught, _without_rights():
        Input(f"{folder}/{where}").scan()
    assert f"{folder}/{named}" in str(caught.value)


@pytest.mark.posix
def test_what_is_open_is_read(folder: str) -> None:
    """A pattern that leaves the closed folder out is read."""
    with _without_rights():
        (part,) = Input(f"{folder}/open/*.csv").scan()
    assert part.name == "a.csv"


@pytest.mark.posix
@pytest.mark.parametrize("where", ["closed/c.csv", "closed/*.csv"])
def test_a_map_tells_it_too(folder: str, where: str) -> None:
    """To look whether the input would read the output fails no other way."""
    params = {"input": f"{folder}/{where}", "template": "{{x}}", "output": f"{folder}/out"}
    task = Map(MapParams.model_validate(params))
    with pytest.raises(BadInput, match="may not be read"), _without_rights():
        task.parts()
