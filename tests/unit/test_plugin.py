"""What a decomposer or voter builds on: the default codec, parameters, and who leads a ballot."""

from __future__ import annotations

import json
import pickle
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from decomposers.hanoi import Hanoi, HanoiParams
from maker import plugin
from maker.plugin import Ballots, Decomposer, ExampleSet, Params, PydanticCodec
from maker.types import Allowance, Prices, Standing, Usage


class Point(BaseModel):
    """A state as a task may have it."""

    y: int
    x: float = 0.0
    tags: dict[str, list[str]] = {}


class Pair(NamedTuple):
    """An action as a task may have it."""

    left: int
    right: str


POINTS = st.builds(
    Point,
    y=st.integers(),
    x=st.floats(allow_nan=False, allow_infinity=False),
    tags=st.dictionaries(st.text(max_size=5), st.lists(st.text(max_size=5), max_size=3), max_size=3),
)


@given(POINTS)
def test_the_default_codec_round_trips(point: Point) -> None:
    """Any value of the type is written, and read back equal."""
    codec: PydanticCodec[Point] = PydanticCodec(Point)
    assert codec.read(codec.write(point)) == point
    assert json.loads(codec.write(point)) == codec.show(point)


@given(st.permutations(["b", "a", "ä", "c"]))
def test_the_default_codec_is_canonical(keys: list[str]) -> None:
    """Equal values are written alike, whatever the order of their keys: no blanks, and letters as they are."""
    codec: PydanticCodec[dict[str, int]] = PydanticCodec(dict[str, int])
    assert codec.write(dict.fromkeys(keys, 1)) == '{"a":1,"b":1,"c":1,"ä":1}'


@pytest.mark.parametrize("text", ["", "{", "{}", '{"y":"x"}', "null", "[1]"])
def test_the_default_codec_refuses_what_it_did_not_write(text: str) -> None:
    """What cannot be read is a ``ValueError``, so that a parser may use the codec as it is."""
    with pytest.raises(ValueError, match="validation error"):
        PydanticCodec(Point).read(text)


def test_the_default_codec_travels() -> None:
    """A codec goes to the workers with its decomposer."""
    codec: PydanticCodec[Pair] = pickle.loads(pickle.dumps(PydanticCodec(Pair)))  # noqa: S301
    assert codec.read(codec.write(Pair(1, "a"))) == Pair(1, "a")


def test_parameters_refuse_what_they_do_not_know() -> None:
    """A misspelt parameter is an error, and parameters do not change."""

    class Mine(Params):
        k: int = 3

    with pytest.raises(ValidationError):
        Mine(kk=4)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        Mine().k = 4  # type: ignore[misc]


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 9), max_size=6))
def test_who_leads(counts: dict[str, int]) -> None:
    """The leader has the most votes, the earlier one of equals leads, and the rival is the strongest other."""
    standing = Ballots(counts).standing()
    if not counts:
        assert standing is None
        return
    leader = max(counts, key=lambda key: counts[key])
    rival = max((n for key, n in counts.items() if key != leader), default=0)
    assert standing == Standing(leader, counts[leader], rival)


def test_the_one_interface_is_whole() -> None:
    """Every name of the plugin interface is there."""
    assert [name for name in plugin.__all__ if not hasattr(plugin, name)] == []


def test_accounts_add_up() -> None:
    """Usage, allowances and prices are sums."""
    assert Usage(1, 2, 3, 4).plus(Usage(10, 20, 30, 40)) == Usage(11, 22, 33, 44)
    assert Usage(1, 2, 3, 4).tokens == 5
    assert Allowance(5, 6, 7.0).plus(Allowance(1, 2, 3.0), -1) == Allowance(4, 4, 4.0)
    assert Prices(0.5, 2.0).of(10, 3) == 11.0


@pytest.mark.parametrize("need", [(6, 1, 1.0), (1, 6, 1.0), (1, 1, 6.0)])
def test_an_allowance_covers_all_or_nothing(need: Any) -> None:
    """One of calls, tokens and money that does not suffice is enough to refuse."""
    assert Allowance(5, 5, 5.0).covers(Allowance(5, 5, 5.0))
    assert not Allowance(5, 5, 5.0).covers(Allowance(*need))


class Old(Decomposer[Any, Any]):
    """A task written before examples had their name; never made, as nothing else of it is needed."""

    def lessons(self) -> list[plugin.Lesson]:
        return [plugin.Lesson("sum", 3, str)]


class Older(Hanoi):
    """One that goes on from a task of ours."""

    def lessons(self) -> tuple[plugin.Lesson, ...]:
        return (*super().lessons(), plugin.Lesson("move", 3, str))


class New(Hanoi):
    """One that says it in the new words."""

    def examples(self) -> tuple[ExampleSet, ...]:
        return super().examples()[:1]


def test_a_task_that_has_lessons_is_heard() -> None:
    """`lessons` and `Lesson` are the old names of `examples` and `ExampleSet`: either may be overridden, or asked."""
    assert plugin.Lesson is ExampleSet
    assert Old.examples is Old.lessons
    params = HanoiParams(disks=3)
    older, new = Older(params), New(params)
    assert [one.size for one in older.examples()] == [24, 81, 3]
    assert [one.size for one in new.lessons()] == [24]
    assert [one.size for one in Hanoi(params).lessons()] == [24, 81]
