"""Makes a microagent: trains it, has it examined, and writes it with its card."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from maker.core.atomic import replacing, replacing_folder, write_errors
from maker.errors import BadInput, TaskFailed
from maker.training.alphabet import Alphabet, alphabet_of
from maker.training.card import CARD, FORMAT, PAGE, VERSION, page
from maker.training.dataset import Basis, Dataset, Topic, draw
from maker.training.examine import (
    at_work,
    check_temperatures,
    has_card,
    read_card,
    read_errors,
    refuse_empty,
    refuse_shown,
)
from maker.training.figures import ClassFigures, to_json
from maker.training.recipe import TEMPERATURES, Recipe

if TYPE_CHECKING:
    from maker.training.train import OnBatch

SCANNED = 1 << 15
"""So many prompts of each class are drawn to find the alphabet and the length of prompts."""
ROUND = 64
SHOWN = 2


class Made(NamedTuple):
    """A microagent that was made: its card as JSON, and its figures by class."""

    card: Mapping[str, Any]
    found: Sequence[ClassFigures]


class _Survey(NamedTuple):
    """What a model for a dataset needs: an alphabet, and room for so many tokens."""

    alphabet: Alphabet
    positions: int


def make(
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    *,
    temperatures: Sequence[float] = TEMPERATURES,
    force: bool = False,
    begun: Path | None = None,
    on_batch: OnBatch | None = None,
) -> Made:
    """Train a microagent, examine it, and write it as a folder that vLLM serves, with its card. Blocks.

    The folder takes its name when all of it is there; what ends before leaves nothing.

    Args:
        dataset: What it is taught and examined on.
        recipe: Its size, and how it is trained.
        out: The folder.
        temperatures: At which it is examined.
        force: Replace a microagent that is there; another folder never is.
        begun: A microagent to train on, of the recipe's size; without it the weights are fresh.
        on_batch: Told of each batch of the training.

    Raises:
        BadInput: The folder is there already or cannot be made, ``begun`` cannot be read or is of another size, torch
            or transformers are missing, or what the dataset teaches is not fit for such a model.
        MakerError: The disk is full.
        TaskFailed: The task's examples or its oracle raised.
    """
    _refuse_taken(out, force=force)
    if recipe.slip and dataset.by_run:
        raise BadInput(
            "--slip needs wrong but legal replies, and a run's export has none for most prompts",
            fix="train on a task with an oracle, or leave --slip out",
        )
    check_temperatures(temperatures)
    before = [] if begun is None else _trainings(begun, dataset)
    with at_work(recipe.threads):
        import torch

        from maker.training.building import new_model, trained_model, write_model
        from maker.training.train import train

        survey = _survey(dataset)
        torch.manual_seed(recipe.seed)
        if begun is None:
            model = new_model(recipe, survey.alphabet, survey.positions)
        else:
            model = trained_model(begun, recipe, survey.alphabet, survey.positions)
        taught = train(model, dataset, survey.alphabet, recipe, on_batch)
        told = _header(dataset, recipe) | {
            "parameters": model.num_parameters(),
            "characters": "".join(survey.alphabet.characters),
            "positions": model.config.max_position_embeddings,
            "seconds": round(taught.seconds, 1),
        }
        if before:
            told["before"] = before
        with write_errors(out), replacing_folder(out, lambda: _refuse_taken(out, force=force)) as fresh:
            write_model(model, survey.alphabet, fresh)
            told["bytes"] = (fresh / "model.safetensors").stat().st_size
            made = _with_figures(told, read_errors(fresh, dataset, temperatures), taught.shown)
            _write_card(fresh, dataset, made)
        return made


def _trainings(folder: Path, dataset: Dataset) -> list[dict[str, Any]]:
    """Return what a microagent's card says of how it was trained, each training in turn.

    Raises `BadInput` where nobody knows what it was shown, or it was shown what the dataset holds out.
    """
    refuse_empty(folder)
    card = read_card(folder)
    if card is None:
        raise BadInput(
            f"{folder} has no {CARD}, so nobody knows what it was shown", fix="name a folder that `maker train` made"
        )
    refuse_shown(folder, card, dataset)
    return [*card.get("before", ()), {name: card[name] for name in ("recipe", "versions", "seconds")}]


def renew_card(folder: Path, dataset: Dataset, found: Sequence[ClassFigures]) -> None:
    """Write what an exam found into the card of a microagent; what it says of the training stays.

    Raises:
        BadInput: There is no card, it is no microagent's, or it is of other classes.
        MakerError: It cannot be written.
    """
    card = read_card(folder)
    if card is None:
        raise BadInput(f"{folder} has no {CARD}", fix="leave --card out")
    shown = {one["class"]: one["shown"] for one in card["classes"] if "shown" in one}
    was, now = [one["class"] for one in card["classes"]], [one.name for one in found]
    if was != now:
        raise BadInput(
            f"the card of {folder} is of class {', '.join(was)}, and the exam of class {', '.join(now)}",
            fix="examine it with the job that it was trained on, or leave --card out",
        )
    with write_errors(folder):
        _write_card(folder, dataset, _with_figures(card, found, shown))


def _with_figures(card: Mapping[str, Any], found: Sequence[ClassFigures], shown: Mapping[str, int]) -> Made:
    """Return a card with these figures; ``shown`` is how many prompts of each lookup its training showed."""
    classes = [to_json(one) | ({"shown": shown[one.name]} if one.name in shown else {}) for one in found]
    return Made(dict(card) | {"classes": classes}, found)


def _write_card(folder: Path, dataset: Dataset, made: Made) -> None:
    examples = {topic.name: [_example(topic, prompt) for prompt in topic.exam[:SHOWN]] for topic in dataset.topics}
    text = json.dumps(made.card, indent=2, ensure_ascii=False) + "\n"
    for name, written in ((CARD, text), (PAGE, page(made.card, made.found, examples))):
        with replacing(folder / name) as file:
            file.write(written.encode())


def _survey(dataset: Dataset) -> _Survey:
    """Look through prompts of every class for the alphabet, and for how long they are.

    The truth and the kind of all that is examined are looked up too, so that a task's fault there ends no training
    after an hour.
    """
    longest = 0
    endless = any(topic.basis is Basis.HELD_OUT for topic in dataset.topics)

    def texts() -> Iterator[str]:
        nonlocal longest
        for topic in dataset.topics:
            for prompt in _looked_at(topic):
                topic.kinds([prompt])
                right, wrong = topic.truth(prompt)
                replies = (*right, *wrong)
                longest = max(longest, len(prompt) + max(topic.most_tokens, 1 + max(map(len, replies))))
                yield prompt
                yield from replies

    alphabet = alphabet_of(texts())
    # Where not all prompts were seen, longer ones may come.
    need = 2 * longest if endless else longest
    return _Survey(alphabet, -(-need // ROUND) * ROUND)


def _looked_at(topic: Topic) -> Iterator[str]:
    """Yield all prompts that are examined, and many that are taught. Raises `TaskFailed` for one that an exam lacks."""
    yield from topic.exam
    for one in topic.extra:
        yield from one.prompts
    known = set(topic.exam) if topic.basis is Basis.LOOKUP else None
    for _, prompt in islice(draw(Random(0), topic.sources), SCANNED):
        if known is not None and prompt not in known:
            raise TaskFailed(
                f"class {topic.name} has a set of examples with whole=True, but another set has the prompt "
                f"{prompt!r}, which it lacks",
                fix="leave whole=True out, or put every prompt into that set",
            )
        yield prompt


def _example(topic: Topic, prompt: str) -> tuple[str, str]:
    return prompt, topic.truth(prompt).right[0]


def _header(dataset: Dataset, recipe: Recipe) -> dict[str, Any]:
    import platform

    import torch
    import transformers

    return {
        "format": FORMAT,
        "version": VERSION,
        "origin": dict(dataset.origin),
        "judged_by": "run" if dataset.by_run else "oracle",
        "recipe": asdict(recipe),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "machine": platform.machine(),
        },
    }


def _refuse_taken(out: Path, *, force: bool) -> None:
    """Raise `BadInput` for a folder that is there and not to be replaced, or that cannot be made."""
    if not out.parent.is_dir():
        raise BadInput(f"the folder {out.parent} for {out.name} does not exist", fix="create it, or name another one")
    if not out.exists():
        return
    if not has_card(out):
        raise BadInput(
            f"{out} exists and is not a microagent; training would replace the whole folder", fix="name another folder"
        )
    if not force:
        raise BadInput(f"{out} exists already", fix="name another folder with --out FOLDER, or replace it with --force")
