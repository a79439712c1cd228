"""Makes a microagent: trains it, reads its errors off, and writes it with its card. Examines one that is there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from maker.atomic import replacing_folder, telling_unwritable
from maker.errors import BadInput, TaskFailed
from maker.foundry.alphabet import Alphabet, alphabet_of
from maker.foundry.card import CARD, FORMAT, PAGE, VERSION, page
from maker.foundry.course import Basis, Course, Topic, draw
from maker.foundry.figures import ClassFigures, figures, to_json
from maker.foundry.recipe import TEMPERATURES, Recipe

if TYPE_CHECKING:
    from maker.foundry.training import OnBatch

SCANNED = 1 << 15
"""So many prompts of each class are drawn to find the alphabet and the length of prompts."""
ROUND = 64
SHOWN = 2
FIX = "pip install 'maker-executor[train]'"


class Made(NamedTuple):
    """A microagent that was made: its card as JSON, and its figures by class."""

    card: Mapping[str, Any]
    found: Sequence[ClassFigures]


class _Survey(NamedTuple):
    """What a model for a course needs: an alphabet, and room for so many tokens."""

    alphabet: Alphabet
    positions: int


def make(
    course: Course,
    recipe: Recipe,
    out: Path,
    *,
    temperatures: Sequence[float] = TEMPERATURES,
    force: bool = False,
    on_batch: OnBatch | None = None,
) -> Made:
    """Train a microagent, examine it, and write it as a folder that vLLM serves, with its card. Blocks.

    The folder takes its name when all of it is there; what ends before leaves nothing.

    Args:
        course: What it is taught and examined on.
        recipe: Its size, and how it is trained.
        out: The folder.
        temperatures: At which it is examined.
        force: Replace a microagent that is there; another folder never is.
        on_batch: Told of each batch of the training.

    Raises:
        BadInput: The folder is there already or cannot be made, torch or transformers are missing, or what the course
            teaches is not fit for such a model.
        MakerError: The disk is full.
        TaskFailed: The task's lessons or its oracle raised.
    """
    _refuse_taken(out, force=force)
    if recipe.slip and course.by_run:
        raise BadInput(
            "slip = 0 alone is possible with a run's lessons: of most prompts they know no legal wrong reply",
            fix="train on a task with an oracle, or leave --slip out",
        )
    _check_temperatures(temperatures)
    with _at_work(recipe.threads):
        import torch

        from maker.foundry.building import new_model, write_model
        from maker.foundry.training import train

        survey = _survey(course)
        torch.manual_seed(recipe.seed)
        model = new_model(recipe, survey.alphabet, survey.positions)
        taught = train(model, course, survey.alphabet, recipe, on_batch)
        told = _header(course, recipe) | {
            "parameters": model.num_parameters(),
            "characters": "".join(survey.alphabet.characters),
            "positions": survey.positions,
            "seconds": round(taught.seconds, 1),
        }
        with telling_unwritable(out), replacing_folder(out, lambda: _refuse_taken(out, force=force)) as fresh:
            write_model(model, survey.alphabet, fresh)
            made = _examined(fresh, course, told, taught.shown, temperatures)
            _write_card(fresh, course, made)
        return made


def examine(
    folder: Path, course: Course, *, temperatures: Sequence[float] = TEMPERATURES, threads: int = 1
) -> list[ClassFigures]:
    """Read the errors of a microagent off its logits, class by class. Blocks.

    Raises:
        BadInput: There is no model, it was trained on what is held out here, or torch or transformers are missing.
        TaskFailed: The task's lessons or its oracle raised.
    """
    _check_temperatures(temperatures)
    if not (folder / "config.json").is_file():
        # Before torch is imported: a mistyped name costs no time.
        raise BadInput(f"there is no model in {folder}", fix="name a folder that `maker train` made")
    trained = _trained(folder)
    for topic in course.topics:
        if topic.basis is Basis.HELD_OUT and trained.get(topic.name, topic.basis) != topic.basis:
            raise BadInput(
                f"the microagent in {folder} was trained on all prompts of class {topic.name}: an exam on those that "
                "are held out here would say nothing",
                fix="examine it with what it was trained on",
            )
    with _at_work(threads):
        return _examine(folder, course, temperatures)


def has_card(folder: Path) -> bool:
    """Say whether a folder holds a microagent with its card, of which it is known what training showed it."""
    return (folder / CARD).is_file()


def _examined(
    folder: Path, course: Course, told: Mapping[str, Any], shown: Mapping[str, int], temperatures: Sequence[float]
) -> Made:
    """Return a microagent's card; ``shown`` is how many prompts of each lookup its training showed."""
    found = _examine(folder, course, temperatures)
    classes = [to_json(one) | ({"shown": shown[one.name]} if one.name in shown else {}) for one in found]
    size = (folder / "model.safetensors").stat().st_size
    return Made(dict(told) | {"bytes": size, "classes": classes}, found)


def _write_card(folder: Path, course: Course, made: Made) -> None:
    examples = {topic.name: [_example(topic, prompt) for prompt in topic.exam[:SHOWN]] for topic in course.topics}
    text = json.dumps(made.card, indent=2, ensure_ascii=False) + "\n"
    (folder / CARD).write_text(text, encoding="utf-8")
    (folder / PAGE).write_text(page(made.card, made.found, examples), encoding="utf-8")


def _examine(folder: Path, course: Course, temperatures: Sequence[float]) -> list[ClassFigures]:
    from maker.foundry.building import read_model
    from maker.foundry.reading_off import read_off

    loaded = read_model(folder)
    found = []
    for topic in course.topics:
        chances = read_off(loaded, topic.exam, topic.grouped, temperatures)
        sampled = topic.basis is Basis.HELD_OUT
        found.append(figures(topic.name, str(topic.basis), topic.exam, chances, sampled=sampled))
    return found


@contextmanager
def _at_work(threads: int) -> Iterator[None]:
    """Import torch, and give back its threads and its random state as they were. Raises `BadInput` without it."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise BadInput(f"a microagent needs torch and transformers: {error}".splitlines()[0], fix=FIX) from error
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


def _survey(course: Course) -> _Survey:
    """Look through prompts of every class for the alphabet, and for how long they are."""
    longest = 0
    endless = any(topic.basis is Basis.HELD_OUT for topic in course.topics)

    def texts() -> Iterator[str]:
        nonlocal longest
        for topic in course.topics:
            known = set(topic.exam) if topic.basis is Basis.LOOKUP else None
            drawn = (prompt for _, prompt in islice(draw(Random(0), topic.sources), SCANNED))
            for prompt in chain(topic.exam, drawn):
                if known is not None and prompt not in known:
                    raise TaskFailed(
                        f"class {topic.name} has a whole lesson, and another one with the prompt {prompt!r}, which is "
                        "not in it",
                        fix="leave whole=True out, or let that lesson hold all prompts that there are",
                    )
                right, wrong = topic.truth(prompt)
                replies = (*right, *wrong)
                longest = max(longest, len(prompt) + max(topic.most_tokens, 1 + max(map(len, replies))))
                yield prompt
                yield from replies

    alphabet = alphabet_of(texts())
    # Where not all prompts were seen, longer ones may come.
    need = 2 * longest if endless else longest
    return _Survey(alphabet, -(-need // ROUND) * ROUND)


def _example(topic: Topic, prompt: str) -> tuple[str, str]:
    return prompt, topic.truth(prompt).right[0]


def _header(course: Course, recipe: Recipe) -> dict[str, Any]:
    import platform

    import torch
    import transformers

    return {
        "format": FORMAT,
        "version": VERSION,
        "origin": dict(course.origin),
        "judged_by": "run" if course.by_run else "oracle",
        "recipe": asdict(recipe),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "machine": platform.machine(),
        },
    }


def _trained(folder: Path) -> dict[str, str]:
    """Return what the exam of each class rested on that a microagent was taught; nothing where it has no card."""
    if not has_card(folder):
        return {}
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        if card["format"] != FORMAT or card["version"] != VERSION:
            raise ValueError(f"it is {card['format']} {card['version']}")
        return {one["class"]: one["basis"] for one in card["classes"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{folder / CARD} is no card of a microagent: {error}", fix="make the microagent again"
        ) from error


def _refuse_taken(out: Path, *, force: bool) -> None:
    """Raise `BadInput` for a folder that is there and not to be replaced, or that cannot be made."""
    if not out.parent.is_dir():
        raise BadInput(f"there is no folder {out.parent} for {out.name}")
    if not out.exists():
        return
    if not has_card(out):
        raise BadInput(f"{out} is there and holds no microagent: it would be replaced as a whole", fix="name another")
    if not force:
        raise BadInput(f"{out} is there already", fix="--out FOLDER names another, --force replaces it")


def _check_temperatures(temperatures: Sequence[float]) -> None:
    if not temperatures or any(not 0 < one < 100 for one in temperatures):
        shown = ", ".join(f"{one:g}" for one in temperatures)
        raise BadInput(f"temperatures = {shown or 'none'}: must be above 0 and below 100")
