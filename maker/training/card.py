"""A microagent's card: what it is, what it was taught, and what the exact checker found. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from maker.training.dataset import HELD_OUT_OF, Basis
from maker.training.figures import MARGINS, ClassFigures

FORMAT = "maker-microagent"
VERSION = 1
CARD = "card.json"
PAGE = "README.md"
HEADS = (
    "class",
    "T",
    "greedy right",
    "error",
    "rival",
    "other",
    "worst",
    "spread",
    *(f"wrong, k={k}" for k in MARGINS),
)

EXPLAINED = (
    "*error*: share of samples that are not right, before flags; *rival*: the strongest legal wrong reply; *other*: "
    "neither right nor a wrong reply that is known, mostly a red flag; *worst*: the largest error of a prompt; "
    "*spread*: variance of the error among prompts over mean (1 - mean), 0 if all have the same error; *wrong, k*: "
    "chance that a step is decided wrongly by first-to-ahead-by-k with exactly these probabilities, if all wrong mass "
    "is one rival's and all right mass one vote's (arXiv 2511.09030, eq. 9), and samples are independent."
)
SAME = (
    "The same seed, thread count and library versions on the same kind of CPU give the same weights; elsewhere expect "
    "the same figures, not the same bits. Samples err independently only where their random numbers are independent: "
    "requests that share a seed share their errors."
)


def rows(found: Sequence[ClassFigures]) -> list[tuple[str, ...]]:
    """Return the figures as cells under `HEADS`, a row a class and temperature."""
    return [
        (
            one.name,
            f"{heat.temperature:g}",
            f"{one.greedy_right:,}/{one.prompts:,}",
            *(f"{share:.2e}" for share in (heat.error, heat.rival, heat.other)),
            f"{heat.worst:.3f}",
            f"{heat.spread:.3f}",
            *(f"{heat.step_wrong[k]:.2e}" for k in MARGINS),
        )
        for one in found
        for heat in one.heats
    ]


def bound_rows(found: Sequence[ClassFigures]) -> list[tuple[str, ...]]:
    """Return the upper bounds of classes that were examined on held-out prompts."""
    return [
        (
            one.name,
            f"{temperature:g}",
            f"{one.at_most.greedy_wrong:.2e}",
            f"{error:.2e}",
            *(f"{one.at_most.step_wrong[temperature][k]:.2e}" for k in MARGINS),
        )
        for one in found
        if one.at_most is not None
        for temperature, error in one.at_most.error.items()
    ]


BOUND_HEADS = ("class", "T", "greedy wrong", "error", *(f"wrong, k={k}" for k in MARGINS))


KIND_MARGINS = MARGINS[::2]
KIND_HEADS = (
    "class",
    "prompts of",
    "kind",
    "T",
    "greedy right",
    "error",
    "worst",
    *(f"wrong, k={k}" for k in KIND_MARGINS),
)
KINDS_EXPLAINED = (
    "Each kind by itself: a mean over all prompts hides one that is always wrong. *its exam* is the one above; any "
    "other set is asked in full, whatever training showed of it."
)


def kind_rows(found: Sequence[ClassFigures]) -> list[tuple[str, ...]]:
    """Return the figures by kind as cells under `KIND_HEADS`."""
    return [
        (
            one.name,
            kind.exam or "its exam",
            kind.kind or "all",
            f"{heat.temperature:g}",
            f"{kind.greedy_right:,}/{kind.prompts:,}",
            f"{heat.error:.2e}",
            f"{heat.worst:.3f}",
            *(f"{heat.step_wrong[k]:.2e}" for k in KIND_MARGINS),
        )
        for one in found
        for kind in one.kinds
        for heat in kind.heats
    ]


def basis_words(one: ClassFigures, shown: int | None = None, *, by_run: bool, known: bool = True) -> str:
    """Say what the figures of a class rest on.

    ``shown`` is how many of its prompts training showed, where that was counted; ``known`` is false of a model without
    a card, of which nobody knows what it was shown.
    """
    judge = "the run's own decisions, which may be wrong" if by_run else "the task's oracle"
    if one.basis == Basis.LOOKUP:
        what = f"a lookup, examined on all {one.prompts:,} prompts that steps of the class can have"
        if shown == one.prompts:
            what += ": its training set is its whole domain"
        elif known:
            seen = "" if shown is None else f", of which training showed {shown:,}"
            what += f"{seen}: none was kept from training"
    else:
        never = "that training never showed" if known else "of which training may have shown some"
        what = f"examined on {one.prompts:,} prompts {never}: one in {HELD_OUT_OF} is held out, by its BLAKE2b hash"
    return f"{one.name}: {what}. Judged by {judge}."


def page(
    card: Mapping[str, Any], found: Sequence[ClassFigures], examples: Mapping[str, Sequence[tuple[str, str]]]
) -> str:
    """Return the card to read, in Markdown; ``examples`` are a few prompts with their right reply by class."""
    recipe, by_run = card["recipe"], card["judged_by"] == "run"
    shown = {one["class"]: one.get("shown") for one in card["classes"]}
    parts = [
        "# Microagent: " + ", ".join(one.name for one in found),
        f"A language model of {card['parameters']:,} parameters ({card['bytes'] / 1e6:.2f} MB of weights), made by "
        f"`maker train`. It answers steps of class {', '.join(one.name for one in found)}, and nothing else. "
        f"Architecture: Llama, {recipe['layers']} layers, hidden size {recipe['hidden']}, {recipe['heads']} heads of "
        f"32, tied embeddings, bfloat16; {len(card['characters']) + 2} tokens, one a character.",
        "Made from: `" + json.dumps(card["origin"], ensure_ascii=False) + "`",
        "## Input and output",
        "The prompt as it is, no chat template; no top-k or top-p. A reply ends with the end token; red-flag every "
        "reply that is not legal, and draw again.",
        _table(
            ("class", "prompt", "right reply"),
            [(name, _code(prompt), _code(reply)) for name, pairs in examples.items() for prompt, reply in pairs],
        ),
        '    [model]\n    kind = "vllm"\n    path = "<this folder>"\n    temperature = 1.0',
        "## Figures",
        "Computed from the saved weights' logits, nothing sampled (`maker exam` prints them again). Means are over "
        "prompts, each counting the same.",
        *("- " + basis_words(one, shown.get(one.name), by_run=by_run) for one in found),
        _table(HEADS, rows(found)),
        EXPLAINED,
        *_bounds(found),
        *_kinds(found),
        "## How it was trained",
        _training(card),
        SAME,
    ]
    return "\n\n".join(parts).replace("\n\n- ", "\n- ") + "\n"


def _bounds(found: Sequence[ClassFigures]) -> list[str]:
    cells = bound_rows(found)
    if not cells:
        return []
    return [
        "Upper bounds for all prompts that the examined ones represent (each with 95 % confidence on its own, by "
        "Clopper and Pearson and by Hoeffding, if the examined prompts are independent draws):",
        _table(BOUND_HEADS, cells),
    ]


def _kinds(found: Sequence[ClassFigures]) -> list[str]:
    cells = kind_rows(found)
    return ["### By kind of step", _table(KIND_HEADS, cells), KINDS_EXPLAINED] if cells else []


def _training(card: Mapping[str, Any]) -> str:
    *before, told = [_taught(one) for one in (*card.get("before", ()), card)]
    if before:
        told = f"First {' Then '.join(before)} Then, from these weights on, with the examples of now: {told}"
    slip = card["recipe"]["slip"]
    if not slip:
        return told + " Each prompt with one right reply."
    return told + (
        f" **Its mistakes are trained in:** the target of every prompt is the right reply with probability "
        f"{1 - slip:g}, and the legal wrong ones share {slip:g}. So at temperature 1 it is to err "
        "at about that rate, nearly evenly over prompts: the error rate is chosen, not found, and says nothing about "
        "how well a model of this size could do."
    )


def _taught(training: Mapping[str, Any]) -> str:
    """Say how one training went."""
    recipe, versions = training["recipe"], training["versions"]
    return (
        f"{recipe['steps']:,} batches of {recipe['batch']}, AdamW, peak rate {recipe['rate']:g}, cosine, seed "
        f"{recipe['seed']}, float32, saved as bfloat16; {training['seconds']:,.0f} s on a CPU, {recipe['threads']} "
        f"thread(s); torch {versions['torch']}, transformers {versions['transformers']}."
    )


def _table(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, ["---"] * len(heads), *cells))


def _code(text: str) -> str:
    # As JSON: white space is seen, and a line end does not end the row.
    return "`" + json.dumps(text, ensure_ascii=False).replace("|", "\\|").replace("`", "'") + "`"
