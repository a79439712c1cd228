"""Tiny models of the Llama architecture with a tokenizer of characters: made, written, read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from maker.errors import BadInput
from maker.training.alphabet import EOS, EOS_ID, PAD, PAD_ID, Alphabet
from maker.training.recipe import Recipe

HEAD_SIZE = 32
"""The smallest that vLLM's attention takes."""
FIX = "name a folder that `maker train` made"


def new_model(recipe: Recipe, alphabet: Alphabet, positions: int) -> LlamaForCausalLM:
    """Return an untrained model, from torch's random state."""
    config = LlamaConfig(
        vocab_size=len(alphabet.vocabulary),
        hidden_size=recipe.hidden,
        intermediate_size=3 * recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        head_dim=HEAD_SIZE,
        max_position_embeddings=positions,
        # Far smaller ones, as large models have, soon make all characters alike: with tied weights every reply pushes
        # those that it is not the same way, which drowns what tells them apart, and equal ones are never seen.
        initializer_range=recipe.hidden**-0.5,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )
    return LlamaForCausalLM(config)


def trained_model(folder: Path, recipe: Recipe, alphabet: Alphabet, positions: int) -> LlamaForCausalLM:
    """Return a model to train on, in float32, with room for so many tokens at least.

    Raises `BadInput` where it has another size, or other characters.
    """
    model, tokenizer = read_model(folder)
    if tokenizer.get_vocab() != alphabet.vocabulary:
        raise BadInput(f"the model in {folder} writes other characters than the examples have", fix="leave --from out")
    config = model.config
    size = {
        "hidden": config.hidden_size, "layers": config.num_hidden_layers, "heads": config.num_attention_heads,
    }  # fmt: skip
    if size != {name: getattr(recipe, name) for name in size}:
        flags = " ".join(f"--{name} {n}" for name, n in size.items())
        raise BadInput(f"the model in {folder} has another size", fix=f"give {flags}")
    # No weight depends on it, and a server refuses longer prompts.
    config.max_position_embeddings = max(positions, config.max_position_embeddings)
    found: LlamaForCausalLM = model.float().train()
    return found


def write_model(model: LlamaForCausalLM, alphabet: Alphabet, folder: Path) -> None:
    """Write a model in bfloat16, which it is turned into, and its tokenizer."""
    model.to(torch.bfloat16)
    # Only the end token: sampling settings here would become every server's defaults.
    model.generation_config = GenerationConfig(eos_token_id=EOS_ID, pad_token_id=PAD_ID)
    model.save_pretrained(folder)
    # Weights are written readable by their owner alone, which would travel into packages.
    (folder / "model.safetensors").chmod(0o644)
    _tokenizer(alphabet, model.config.max_position_embeddings).save_pretrained(folder)
    settings = folder / "tokenizer_config.json"
    config = json.loads(settings.read_text())
    # The name that transformers 4 and 5 both know.
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings.write_text(json.dumps(config, indent=2) + "\n")


class LoadedModel(NamedTuple):
    """A model as it is served: in the type that its weights are saved in."""

    model: Any
    tokenizer: Any


def read_model(folder: Path) -> LoadedModel:
    """Read a model folder. Raises `BadInput` where it holds none that can be read."""
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", local_files_only=True).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        said = str(error).splitlines()[0]
        raise BadInput(f"no model can be read from {folder}: {said}", fix=FIX) from error
    if not isinstance(model, LlamaForCausalLM) or tokenizer.eos_token_id is None:
        what = type(model).__name__ if tokenizer.eos_token_id is not None else "tokenizer without an end token"
        raise BadInput(f"{folder} holds a {what}, which this command cannot examine", fix=FIX)
    return LoadedModel(model, tokenizer)


def _tokenizer(alphabet: Alphabet, positions: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token a character, and nothing added before a prompt."""
    tokenizer = Tokenizer(models.WordLevel(vocab=alphabet.vocabulary))
    # A dot would leave out line ends.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        model_max_length=positions,
        # Without token types, which Llama's generate refuses.
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
