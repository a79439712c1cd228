"""The errors: complete, telling, and fit to travel between processes."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Iterator

import pytest

from maker import errors
from maker.errors import BadInput, MakerError


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
