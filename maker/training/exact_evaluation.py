"""Reads the exact probability of every known reply off a model's logits: nothing is sampled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from maker.errors import BadInput
from maker.training.building import LoadedModel
from maker.training.dataset import GroupedReplies
from maker.training.figures import Chances

SLICE = 2048
"""Questions that are read at a time."""
TOKENS = 1 << 15
"""Tokens of a pass through the model, about."""
SHOWN = 8
FIX = "examine the model with the task that it was trained for"


class _Candidate(NamedTuple):
    """One reply to a prompt of a slice, with its end; group 0 is the right ones', each other group one vote's."""

    row: int
    group: int
    prompt: list[int]
    reply: list[int]


def evaluate_exactly(
    loaded: LoadedModel, prompts: Sequence[str], ask: Callable[[str], GroupedReplies], temperatures: Sequence[float]
) -> dict[float, Chances]:
    """Return what a model says to prompts, by temperature: probabilities of whole replies, their end token included.

    ``ask`` returns the replies to a prompt; those of few are held at a time.

    Raises:
        BadInput: The model's tokenizer cannot write a prompt or a reply.
    """
    slices = [
        _slice(loaded, [ask(prompt) for prompt in prompts[start : start + SLICE]], temperatures)
        for start in range(0, len(prompts), SLICE)
    ]
    return {
        temperature: Chances(*(np.concatenate([part[temperature][place] for part in slices]) for place in range(4)))
        for temperature in temperatures
    }


def _slice(
    loaded: LoadedModel, grouped: Sequence[GroupedReplies], temperatures: Sequence[float]
) -> dict[float, Chances]:
    candidates = _candidates(loaded, grouped)
    groups = max(2, 1 + max(one.group for one in candidates))
    masses = {temperature: torch.zeros(len(grouped), groups, dtype=torch.float64) for temperature in temperatures}
    greedy = np.zeros(len(grouped), dtype=np.bool_)
    for chunk in _chunks(candidates):
        rows, places = (torch.tensor(of) for of in zip(*((one.row, one.group) for one in chunk), strict=True))
        logits, tokens, which = _logits(loaded, chunk)
        likeliest = torch.ones(len(chunk), dtype=torch.int64)
        likeliest.scatter_reduce_(0, which, (logits.argmax(-1) == tokens).long(), "amin")
        greedy[rows[(likeliest == 1) & (places == 0)].numpy()] = True
        for temperature, mass in masses.items():
            logs = torch.log_softmax(logits.double() / temperature, -1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
            whole = torch.zeros(len(chunk), dtype=torch.float64).index_add_(0, which, logs)
            mass.index_put_((rows, places), whole.exp(), accumulate=True)
    return {
        temperature: Chances(mass[:, 0].numpy(), mass[:, 1:].sum(1).numpy(), mass[:, 1:].amax(1).numpy(), greedy)
        for temperature, mass in masses.items()
    }


def _candidates(loaded: LoadedModel, grouped: Sequence[GroupedReplies]) -> list[_Candidate]:
    """Return every reply to every prompt, the shortest sequences first."""
    prompts = _encode(loaded, [one.prompt for one in grouped])
    told = [
        (row, group, text)
        for row, one in enumerate(grouped)
        for group, texts in enumerate((one.right, *one.rivals))
        for text in texts
    ]
    end = loaded.tokenizer.eos_token_id
    replies = _encode(loaded, [text for *_, text in told])
    found = [
        _Candidate(row, group, prompts[row], [*reply, end])
        for (row, group, _), reply in zip(told, replies, strict=True)
    ]  # fmt: skip
    return sorted(found, key=lambda one: len(one.prompt) + len(one.reply))


def _encode(loaded: LoadedModel, texts: Sequence[str]) -> list[list[int]]:
    # A character that it lacks makes the tokenizer raise, or is left out.
    if unknown := sorted(set().union(*texts) - loaded.tokenizer.get_vocab().keys()):
        raise BadInput(f"the model's tokenizer has no {' '.join(map(repr, unknown[:SHOWN]))}", fix=FIX)
    found: list[list[int]] = loaded.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    # As the engine that serves it reads them back: what is lost on the tokenizer was not asked.
    for text, tokens in zip(texts, found, strict=True):
        if len(tokens) != len(text):
            raise BadInput(
                f"the model's tokenizer writes {text[:80]!r} in {len(tokens)} tokens, not one a character",
                fix=FIX,
            )
    return found


def _chunks(candidates: Sequence[_Candidate]) -> Iterator[Sequence[_Candidate]]:
    start = 0
    while start < len(candidates):
        stop, longest = start, 0
        while stop < len(candidates):
            longest = max(longest, len(candidates[stop].prompt) + len(candidates[stop].reply))
            if stop > start and longest * (stop - start + 1) > TOKENS:
                break
            stop += 1
        yield candidates[start:stop]
        start = stop


def _logits(loaded: LoadedModel, chunk: Sequence[_Candidate]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the logits before every token of every reply, these tokens, and the number of the reply of each."""
    # Padding is on the right and attention is causal: no mask is needed, any token will do.
    lines = [torch.tensor(one.prompt + one.reply[:-1]) for one in chunk]
    which = torch.tensor([number for number, one in enumerate(chunk) for _ in one.reply])
    columns = torch.tensor([len(one.prompt) - 1 + place for one in chunk for place in range(len(one.reply))])
    tokens = torch.tensor([token for one in chunk for token in one.reply])
    with torch.inference_mode():
        hidden = loaded.model.model(input_ids=torch.nn.utils.rnn.pad_sequence(lines, batch_first=True))
        return loaded.model.lm_head(hidden.last_hidden_state[which, columns]).float(), tokens, which
