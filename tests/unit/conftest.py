"""What the unit tests share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from openai_calls import Start

from maker.models.server.openai import OpenAIModel
from maker.models.settings import OpenAISettings
from maker.plugin import Codec, Decomposer, Done, Oracle, Params, Step, StepClass, Truth

# A property is about its examples, not about how fast a busy machine draws them.
settings.register_profile("unit", deadline=None, max_examples=200)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every MAKER_ variable out of the environment: a test says itself what it runs with."""
    for name in [name for name in os.environ if name.startswith("MAKER_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Return the URL of a store that does not exist yet."""
    return f"sqlite:///{tmp_path}/maker.db"


@pytest.fixture
def hanoi(store: str) -> Callable[..., dict[str, dict[str, Any]]]:
    """Return a function that makes a job: the Towers of Hanoi by a simulated model."""

    def job(disks: int = 4, **tables: dict[str, Any]) -> dict[str, dict[str, Any]]:
        base: dict[str, dict[str, Any]] = {
            "task": {"decomposer": "hanoi", "disks": disks},
            "model": {"kind": "simulated", "p": 0.9},
            "vote": {"k": 3},
            "store": {"url": store},
        }
        return base | {name: base.get(name, {}) | table for name, table in tables.items()}

    return job


class TextCodec:
    """Text is written as it is."""

    def write(self, value: str) -> str:
        """Return the text."""
        return value

    def read(self, text: str) -> str:
        """Return the text."""
        return text

    def show(self, value: str) -> str:
        """Return the text."""
        return value


class CountCodec:
    """A number is written in decimal."""

    def write(self, value: int) -> str:
        """Return its digits."""
        return str(value)

    def read(self, text: str) -> int:
        """Return the number."""
        return int(text)

    def show(self, value: int) -> int:
        """Return the number."""
        return value


def _parse_letter(text: str) -> str:
    if not text.isalpha():
        raise ValueError(f"no letter: {text!r}")
    return text


class Letters(Decomposer[int, str]):
    """Asks ``steps`` times for a letter; x is right, a and b are wrong. The state counts the steps."""

    name = "letters"
    version = 1
    Params = Params

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.state: Codec[int] = CountCodec()
        self.action: Codec[str] = TextCodec()
        self.kind: StepClass[int, str] = StepClass("letter", parse=_parse_letter, max_tokens=8)
        self.classes = (self.kind,)

    def start(self) -> int:
        """Return 0."""
        return 0

    def next(self, state: int) -> Any:
        """Ask for a letter, or end."""
        return Step(self.kind, f"letter {state}") if state < self.steps else Done({"letters": state})

    def apply(self, state: int, action: str) -> int:
        """Count the letter."""
        return state + 1

    def oracle(self) -> Oracle:
        """Return x as right, a and b as wrong."""
        return lambda prompt: Truth(("x",), ("a", "b"))


@pytest.fixture
def letters() -> type[Letters]:
    """Return the task of letters: tests make variants of it by subclassing."""
    return Letters


@pytest.fixture
def text_codec() -> TextCodec:
    """Return a codec of plain text."""
    return TextCodec()


@pytest.fixture
def working_directory(tmp_path: Path) -> Iterator[Path]:
    """Work in an empty folder."""
    before = Path.cwd()
    folder = tmp_path / "cwd"
    folder.mkdir()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture
def start() -> Iterator[Start]:
    """Open models that are closed at the end of the test."""
    opened: list[OpenAIModel] = []

    def open_model(url: str, **settings: Any) -> OpenAIModel:
        model = OpenAIModel(OpenAISettings(url=url, name="tiny", **{"retry_s": 5.0, **settings}))
        opened.append(model)
        return model

    yield open_model
    for model in opened:
        model.close()
