"""Train the Hanoi micro-agent: ``python train.py --out model``.

Of the form "move" it learns a distribution over moves, not only the right move: the right one
with ``1 - slip`` and the rest shared by the legal wrong moves of the state. So at temperature 1
it errs at a known rate, evenly over the states, which is what a demonstration of voting needs.

The form "move+state" (``--answer move+state --out pair_model``) is trained the ordinary way, on
the right answer alone, and briefly. Its errors are those that are left: most states have hardly
any, a few have many. See README.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import random
import shutil
import time
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from data import ALPHABET, FORMS, Example, Form, draw_forever
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

logger = logging.getLogger("hanoi_microagent")

PAD, EOS = "<pad>", "<eos>"
VOCABULARY = [PAD, EOS, *ALPHABET]
TOKEN_OF = {token: index for index, token in enumerate(VOCABULARY)}
PAD_ID, EOS_ID = TOKEN_OF[PAD], TOKEN_OF[EOS]

RIVAL_SHARE = 0.25
# Training also compares both distributions at this temperature, which lifts the small
# probabilities: at 1 alone an error of half a rival's mass hardly costs anything.
SOFT_TEMPERATURE = 2.0


class Recipe(NamedTuple):
    """How long a form is trained, and with which wanted share of wrong answers."""

    steps: int
    slip: float


RECIPES: dict[Form, Recipe] = {"move": Recipe(3500, 0.009), "move+state": Recipe(900, 0.0)}


class Batch(NamedTuple):
    """Padded training examples.

    Attributes:
        tokens: int64 (examples, length), padded on the right.
        rows, columns: int64 (targets,): the positions that predict an answer's character.
        targets: float32 (targets, vocabulary): the wanted distribution there.
    """

    tokens: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor


def encode(text: str) -> list[int]:
    """Return the token of each character."""
    return [TOKEN_OF[character] for character in text]


def wanted(example: Example, slip: float) -> list[tuple[list[int], float]]:
    """Return the answers with EOS and their wanted probabilities, the right one first; without slip it alone."""
    if not slip:
        return [([*encode(example.answer), EOS_ID], 1.0)]
    share = slip / len(example.rivals)
    answers = [(example.answer, 1.0 - slip), *((rival, share) for rival in example.rivals)]
    return [([*encode(text), EOS_ID], weight) for text, weight in answers]


def next_weights(answers: list[tuple[list[int], float]], prefix: list[int]) -> list[float]:
    """Return the wanted distribution of the token after ``prefix``, by vocabulary order."""
    weights = [0.0] * len(VOCABULARY)
    for tokens, weight in answers:
        if tokens[: len(prefix)] == prefix:
            weights[tokens[len(prefix)]] += weight
    total = sum(weights)
    return [weight / total for weight in weights]


def make_batch(rng: random.Random, examples: list[Example], *, slip: float) -> Batch:
    """Return examples with their targets; advances ``rng``.

    With slip, some examples continue with a rival, so that the model also learns to finish one;
    the wanted distributions are the exact ones after whatever prefix is shown.
    """
    sequences, rows, columns, targets = [], [], [], []
    for row, example in enumerate(examples):
        answers = wanted(example, slip)
        path = rng.choice(answers[1:] if slip and rng.random() < RIVAL_SHARE else answers[:1])[0]
        prompt = encode(example.prompt)
        for done in range(len(path)):
            rows.append(row)
            columns.append(len(prompt) + done - 1)
            targets.append(next_weights(answers, path[:done]))
        sequences.append(prompt + path[:-1])
    length = max(map(len, sequences))
    tokens = torch.tensor([tokens + [PAD_ID] * (length - len(tokens)) for tokens in sequences])
    return Batch(tokens, torch.tensor(rows), torch.tensor(columns), torch.tensor(targets))


def divergence(logits: torch.Tensor, targets: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the mean KL(targets, model) in nats, both taken at ``temperature``."""
    powered = targets ** (1.0 / temperature)
    powered = powered / powered.sum(-1, keepdim=True)
    entropy = torch.special.entr(powered).sum(-1)
    cross = -(powered * torch.log_softmax(logits / temperature, -1)).sum(-1)
    return (cross - entropy).mean()


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token a character, and nothing added before a prompt."""
    tokenizer = Tokenizer(models.WordLevel(vocab=TOKEN_OF))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        model_max_length=128,
        # Without token types, which Llama's generate refuses.
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def build_model() -> LlamaForCausalLM:
    """Return an untrained model of 642,176 parameters, from torch's random state."""
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )
    return LlamaForCausalLM(config)


def rate_at(step: int, steps: int, peak: float) -> float:
    """Return the learning rate: 100 steps of warm-up, then a cosine down to 0."""
    return peak * min((step + 1) / 100, 0.5 * (1.0 + math.cos(math.pi * step / steps)))


def train(model: LlamaForCausalLM, options: argparse.Namespace) -> None:
    """Train ``model`` in place for ``options.steps`` batches."""
    rng = random.Random(options.seed)
    examples = draw_forever(rng, options.answer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate, betas=(0.9, 0.98), weight_decay=0.01)
    started = time.monotonic()
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, options.steps, options.rate)
        batch = make_batch(rng, list(islice(examples, options.batch)), slip=options.slip)
        hidden = model.model(input_ids=batch.tokens).last_hidden_state
        logits = model.lm_head(hidden[batch.rows, batch.columns])
        hard = divergence(logits, batch.targets, 1.0)
        # One right answer is the same at every temperature: the plain cross-entropy is enough.
        soft = divergence(logits, batch.targets, SOFT_TEMPERATURE) if options.slip else torch.zeros(())
        optimizer.zero_grad()
        (hard + soft).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step + 1 == options.steps:
            seconds = time.monotonic() - started
            logger.info("step %d kl %.2e soft %.2e %.0f s", step, hard.item(), soft.item(), seconds)


def save(model: LlamaForCausalLM, out: Path) -> None:
    """Write the model in bfloat16 with its tokenizer, replacing ``out`` as a whole.

    It is written beside ``out`` and then renamed: a reader never sees half a model.
    """
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    model.to(torch.bfloat16)
    # Only the end token: sampling settings here would become every server's defaults.
    model.generation_config = GenerationConfig(eos_token_id=EOS_ID, pad_token_id=PAD_ID)
    model.save_pretrained(fresh)
    # Weights are written readable by their owner alone, which would travel into packages.
    (fresh / "model.safetensors").chmod(0o644)
    build_tokenizer().save_pretrained(fresh)
    settings = fresh / "tokenizer_config.json"
    config = json.loads(settings.read_text())
    # The name that transformers 4 and 5 both know.
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings.write_text(json.dumps(config, indent=2) + "\n")
    if out.exists():
        old = out.with_name(out.name + ".old")
        out.rename(old)
        fresh.rename(out)
        shutil.rmtree(old)
    else:
        fresh.rename(out)


def main() -> None:
    """Parse the command line, train, and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("model"), help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--answer", choices=FORMS, default="move", help="what the model writes")
    parser.add_argument("--steps", type=int, help="batches; as the form's recipe says")
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--slip", type=float, help="wanted share of wrong answers; as the form's recipe says")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    recipe = RECIPES[options.answer]
    options.steps = recipe.steps if options.steps is None else options.steps
    options.slip = recipe.slip if options.slip is None else options.slip
    if options.out.exists() and not (options.out / "config.json").is_file():
        parser.error(f"--out {options.out} exists and is no model: it would be replaced as a whole")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    model = build_model()
    train(model, options)
    save(model, options.out)


if __name__ == "__main__":
    main()
