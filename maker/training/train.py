"""Trains a model on a dataset: the right reply to each prompt, or a wanted distribution over the legal ones."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from transformers import LlamaForCausalLM

from maker.errors import BadInput
from maker.training.alphabet import EOS_ID, PAD_ID, Alphabet
from maker.training.dataset import HELD_OUT_OF, Basis, Dataset, Topic, draw
from maker.training.recipe import Recipe

RIVAL_SHARE = 0.25
"""Part of the examples that go on with a wrong reply, with slip: so the model also learns to finish one."""
SOFT_TEMPERATURE = 2.0
"""Training with slip also compares both distributions at this temperature, which lifts the small probabilities: at 1
alone an error of half a rival's mass hardly costs anything."""
REDRAWS = 100 * HELD_OUT_OF

OnBatch = Callable[[int, float, float], None]
"""Told after each batch: its number from 0, the loss in nats a character, the seconds since the first began."""


class Trained(NamedTuple):
    """What training took: seconds, and how many different prompts of each class that is taught whole it showed."""

    seconds: float
    shown: dict[str, int]


class EncodedExample(NamedTuple):
    """A prompt as tokens, and its replies with their wanted probabilities: the right one first, each with its end."""

    prompt: list[int]
    replies: list[tuple[list[int], float]]


class Batch(NamedTuple):
    """Padded examples.

    Attributes:
        tokens: int64 (examples, length), padded on the right.
        rows, columns: int64 (targets,): the positions that predict a reply's token.
        targets: The wanted distribution there: int64 (targets,), a token, or float32 (targets, vocabulary).
    """

    tokens: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor


def train(
    model: LlamaForCausalLM, dataset: Dataset, alphabet: Alphabet, recipe: Recipe, on_batch: OnBatch | None = None
) -> Trained:
    """Train a model in place. Raises `BadInput` for a prompt that does not fit it."""
    rng = random.Random(recipe.seed)
    examples = _Examples(rng, dataset, alphabet, recipe, model.config.max_position_embeddings)
    size = len(alphabet.vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01)
    began = time.monotonic()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate_at(step)
        batch = make_batch(rng, [next(examples) for _ in range(recipe.batch)], size if recipe.slip else 0)
        hidden = model.model(input_ids=batch.tokens).last_hidden_state
        found = loss(model.lm_head(hidden[batch.rows, batch.columns]), batch.targets)
        optimizer.zero_grad()
        found.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if on_batch is not None:
            on_batch(step, found.item(), time.monotonic() - began)
    return Trained(time.monotonic() - began, {name: len(seen) for name, seen in examples.shown.items()})


class _Examples(Iterator[EncodedExample]):
    """Draws examples of a dataset without end, none that is held out; advances ``rng``."""

    def __init__(
        self, rng: random.Random, dataset: Dataset, alphabet: Alphabet, recipe: Recipe, positions: int
    ) -> None:
        pairs = [(topic, source) for topic in dataset.topics for source in topic.sources]
        self._topics = [topic for topic, _ in pairs]
        self._prompts = draw(rng, [source for _, source in pairs])
        self._alphabet = alphabet
        self._slip = recipe.slip
        self._positions = positions
        # Of other classes there may be no end of prompts.
        self.shown: dict[str, set[int]] = {topic.name: set() for topic in dataset.topics if topic.basis is Basis.LOOKUP}

    def __next__(self) -> EncodedExample:
        topic, prompt = self._taught()
        if topic.name in self.shown:
            self.shown[topic.name].add(hash(prompt))
        texts = [(topic.truth(prompt).right[0], 1.0)]
        if self._slip and (rivals := topic.grouped(prompt).rivals):
            share = self._slip / len(rivals)
            texts = [(texts[0][0], 1.0 - self._slip), *((rival[0], share) for rival in rivals)]
        tokens = self._alphabet.encode(prompt)
        replies = [([*self._alphabet.encode(text), EOS_ID], weight) for text, weight in texts]
        if (length := len(tokens) + max(len(reply) for reply, _ in replies)) > self._positions:
            raise BadInput(
                f"a prompt of class {topic.name} takes {length:,} tokens with its reply, but the model has room for "
                f"{self._positions:,}, twice the longest of the prompts scanned first",
                fix="let the first training examples contain the longest prompts",
            )
        return EncodedExample(tokens, replies)

    def _taught(self) -> tuple[Topic, str]:
        for _ in range(REDRAWS):
            number, prompt = next(self._prompts)
            if self._topics[number].teaches(prompt):
                return self._topics[number], prompt
        raise BadInput(
            f"{REDRAWS:,} prompts in a row were all held out for the test",
            fix=f"add more prompts; one in {HELD_OUT_OF} is held out",
        )


def make_batch(rng: random.Random, examples: Sequence[EncodedExample], vocabulary: int) -> Batch:
    """Return examples with their targets; advances ``rng``.

    Targets are tokens where ``vocabulary`` is 0. Else they are the exact distributions after whatever prefix is shown,
    and some examples go on with a wrong reply.
    """
    sequences: list[list[int]] = []
    rows: list[int] = []
    columns: list[int] = []
    targets: list[Any] = []
    for row, (prompt, replies) in enumerate(examples):
        others = replies[1:]
        path = rng.choice(others)[0] if others and rng.random() < RIVAL_SHARE else replies[0][0]
        rows += [row] * len(path)
        columns += range(len(prompt) - 1, len(prompt) - 1 + len(path))
        targets += [next_weights(replies, path[:done], vocabulary) for done in range(len(path))] if vocabulary else path
        sequences.append(prompt + path[:-1])
    length = max(map(len, sequences))
    tokens = torch.tensor([tokens + [PAD_ID] * (length - len(tokens)) for tokens in sequences])
    return Batch(tokens, torch.tensor(rows), torch.tensor(columns), torch.tensor(targets))


def next_weights(replies: Sequence[tuple[list[int], float]], prefix: list[int], vocabulary: int) -> list[float]:
    """Return the wanted distribution of the token after ``prefix``, by its number."""
    weights = [0.0] * vocabulary
    for tokens, weight in replies:
        if tokens[: len(prefix)] == prefix:
            weights[tokens[len(prefix)]] += weight
    total = sum(weights)
    return [weight / total for weight in weights]


def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return how far a model is from the targets, in nats a token."""
    if targets.dtype == torch.int64:
        # One right reply is the same at every temperature: the plain cross-entropy is enough.
        return torch.nn.functional.cross_entropy(logits, targets)
    return divergence(logits, targets, 1.0) + divergence(logits, targets, SOFT_TEMPERATURE)


def divergence(logits: torch.Tensor, targets: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the mean KL(targets, model) in nats, both taken at ``temperature``."""
    powered = targets ** (1.0 / temperature)
    powered = powered / powered.sum(-1, keepdim=True)
    entropy = torch.special.entr(powered).sum(-1)
    cross = -(powered * torch.log_softmax(logits / temperature, -1)).sum(-1)
    return (cross - entropy).mean()
