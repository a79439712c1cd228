"""The errors: complete, telling, and fit to travel between processes."""

from __future__ import annotations

import copy
import pickle
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from maker import errors
from maker.errors import BadInput, ExtraMissing, MakerError, extra


def descendants(cls: type[MakerError]) -> Iterator[type[MakerError]]:
    """Yield a class and all that derive from it."""
    yield cls
    for child in cls.__subclasses__():
        yield from descendants(child)


ALL = [cls for cls in descendants(MakerError) if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", ALL)
def test_an_error_travels(cls: type[MakerError]) -> None:
    """Class, message, fix and facts survive pickling and copying: Ray carries them between processes."""
    error = cls("step 3: lost", fix="look again", step=3, run_id="x", path={"a": [1]})
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301
        assert type(twin) is cls
        assert (twin.message, twin.fix, twin.facts) == ("step 3: lost", "look again", error.facts)
        assert str(twin) == "step 3: lost\nlook again"
        assert twin.args == error.args


def test_the_fix_stands_under_the_message() -> None:
    """Without a fix the text is the message alone."""
    assert str(MakerError("lost")) == "lost"
    assert str(MakerError("lost", fix="look")) == "lost\nlook"


def test_the_tree_in_the_documentation_is_the_real_one() -> None:
    """Every class stands in the module's docstring, under its base, and nothing else does."""
    assert errors.__doc__ is not None
    above: list[str] = []
    drawn = {}
    for line in errors.__doc__.splitlines():
        if match := re.match(r"([│├└─ ]*)([A-Z]\w+)\s{2,}\S", line):
            depth = len(match[1]) // 4
            above[depth:] = [match[2]]
            drawn[match[2]] = above[depth - 1] if depth else "Exception"
    real = {cls.__name__: cls.__mro__[1].__name__ for cls in ALL}
    assert drawn == real


@pytest.mark.parametrize("cls", ALL)
def test_exit_codes(cls: type[MakerError]) -> None:
    """Bad input ends a program with 2, everything else with 1."""
    assert cls.exit_code == (2 if issubclass(cls, BadInput) else 1)


@pytest.mark.parametrize("cls", ALL)
def test_every_error_says_what_it_means(cls: type[MakerError]) -> None:
    """Each class has a docstring of its own."""
    assert cls.__doc__
    assert cls.__doc__ != MakerError.__doc__ or cls is MakerError


def test_a_missing_package_names_its_extra() -> None:
    """The message says what needs which package, the fix is the command that brings it."""
    with pytest.raises(ExtraMissing) as caught, extra("plan", "a plan"):
        import no_such_package.part  # noqa: F401
    assert caught.value.message == "a plan needs the package no_such_package, which is not installed"
    assert caught.value.fix == "pip install 'maker-executor[plan]'"
    assert caught.value.facts == {"extra": "plan"}


def test_a_broken_package_is_told_as_such() -> None:
    """One that is there and cannot be imported says itself why, in one line."""
    with pytest.raises(ExtraMissing) as caught, extra("plan", "a plan"):
        raise ImportError("libm.so.6: version not found\nand much more", name="scipy")
    assert caught.value.message == "a plan needs the extra plan: libm.so.6: version not found"


def test_other_errors_pass_an_import_of_an_extra() -> None:
    """What a package raises as it is imported is not told as missing."""
    with pytest.raises(ValueError, match="broken"), extra("plan", "a plan"):
        raise ValueError("broken")


def test_the_extras_that_errors_name_are_those_of_the_distribution() -> None:
    """Every name that the code gives `extra` stands in pyproject.toml."""
    root = Path(errors.__file__).parents[1]
    known = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    code = "".join(file.read_text() for file in (root / "maker").rglob("*.py"))
    named = {name for first in re.findall(r"with extra\((.*?), ", code) for name in re.findall(r'"(\w+)"', first)}
    assert named >= {"plan", "postgres", "ray", "vllm", "parquet", "zstd", "train"}
    assert named <= known.keys()
