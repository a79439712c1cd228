"""Examines a microagent: reads its errors off its logits, class by class."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from maker.errors import BadInput, extra
from maker.training.card import CARD, FORMAT, VERSION
from maker.training.dataset import Basis, Dataset
from maker.training.figures import ClassFigures, by_kind, figures
from maker.training.recipe import TEMPERATURES


def examine(
    folder: Path, dataset: Dataset, *, temperatures: Sequence[float] = TEMPERATURES, threads: int = 1
) -> list[ClassFigures]:
    """Read the errors of a microagent off its logits, class by class. Blocks.

    Raises:
        BadInput: There is no model, it was trained on what is held out here, or torch or transformers are missing.
        TaskFailed: The task's examples or its oracle raised.
    """
    check_temperatures(temperatures)
    refuse_empty(folder)
    if card := read_card(folder):
        refuse_shown(folder, card, dataset)
    with at_work(threads):
        return read_errors(folder, dataset, temperatures)


def refuse_empty(folder: Path) -> None:
    """Raise `BadInput` where there is no model: before torch is imported, so that a mistyped name costs no time."""
    if not (folder / "config.json").is_file():
        raise BadInput(f"there is no model in {folder}", fix="name a folder that `maker train` made")


def refuse_shown(folder: Path, card: Mapping[str, Any], dataset: Dataset) -> None:
    """Raise `BadInput` where a microagent was trained on what is held out in a dataset."""
    trained = {one["class"]: one["basis"] for one in card["classes"]}
    for topic in dataset.topics:
        if topic.basis is Basis.HELD_OUT and trained.get(topic.name, topic.basis) != topic.basis:
            raise BadInput(
                f"the microagent in {folder} was trained on all prompts of class {topic.name}, also on those held out "
                "here",
                fix="use the job or file that it was trained on",
            )


def has_card(folder: Path) -> bool:
    """Say whether a folder holds a microagent with its card, of which it is known what training showed it."""
    return (folder / CARD).is_file()


def read_errors(folder: Path, dataset: Dataset, temperatures: Sequence[float]) -> list[ClassFigures]:
    """Return the figures of a model for each topic of a dataset; torch is there."""
    from maker.training.building import read_model
    from maker.training.exact_evaluation import evaluate_exactly

    loaded = read_model(folder)
    found = []
    for topic in dataset.topics:
        chances = evaluate_exactly(loaded, topic.exam, topic.grouped, temperatures)
        kinds = by_kind("", topic.kinds(topic.exam), topic.exam, chances) if topic.kind_of else []
        for name, prompts in topic.extra:
            more = evaluate_exactly(loaded, prompts, topic.grouped, temperatures)
            kinds += by_kind(name, topic.kinds(prompts), prompts, more)
        sampled = topic.basis is Basis.HELD_OUT
        one = figures(topic.name, str(topic.basis), topic.exam, chances, sampled=sampled)
        found.append(replace(one, kinds=kinds))
    return found


def check_temperatures(temperatures: Sequence[float]) -> None:
    """Raise `BadInput` for what no exam can be held at."""
    if not temperatures or any(not 0 < one < 100 for one in temperatures):
        shown = ", ".join(f"{one:g}" for one in temperatures)
        raise BadInput(f"temperatures = {shown or 'none'}: must be above 0 and below 100")


@contextmanager
def at_work(threads: int) -> Iterator[None]:
    """Import torch, and give back its threads and its random state as they were. Raises `ExtraMissing` without it."""
    with extra("train", "a microagent"):
        import torch
        import transformers
    before, bar = torch.get_num_threads(), transformers.utils.logging.is_progress_bar_enabled()
    torch.set_num_threads(threads)
    # Bars of a model that is read in a tenth of a second.
    transformers.utils.logging.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before)
        if bar:
            transformers.utils.logging.enable_progress_bar()


def read_card(folder: Path) -> dict[str, Any] | None:
    """Return a microagent's card, None where it has none. Raises `BadInput` for what is no card."""
    if not has_card(folder):
        return None
    try:
        card: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
        if card["format"] != FORMAT or card["version"] != VERSION:
            raise ValueError(f"it is {card['format']} {card['version']}")
        if not all({"class", "basis"} <= one.keys() for one in card["classes"]):
            raise ValueError("a class has no name or no basis")
        if not {"recipe", "versions", "seconds"} <= card.keys():
            raise ValueError("it does not say how the microagent was trained")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{folder / CARD} is not a microagent's card: {error}", fix="train the microagent again"
        ) from error
    return card
