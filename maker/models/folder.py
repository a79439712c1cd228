"""Check a model folder, and hash what identifies its model."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from maker.errors import ModelUnusable

_WHOLE_BYTES = 64 << 20
_PART_BYTES = 1 << 20
_WEIGHTS = ("*.safetensors", "*.bin")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json", "tiktoken.model")


def checked_folder(path: str) -> Path:
    """Return the model folder if it has everything that an engine needs.

    Called before an engine is imported, so that a mistyped path costs no time.

    Raises:
        ModelUnusable: No such folder, or a part of the model is missing; the message names each.
    """
    folder = Path(path).expanduser()
    if not folder.exists():
        raise ModelUnusable(
            f"there is no model folder {folder}",
            fix="set model.path to a folder with config.json, weights and a tokenizer",
            path=str(folder),
        )
    if not folder.is_dir():
        raise ModelUnusable(
            f"model.path is a file, not a folder: {folder}",
            fix="set it to the model's folder; convert single-file formats such as GGUF to safetensors first",
            path=str(folder),
        )
    missing = []
    if not (folder / "config.json").is_file():
        missing.append("config.json")
    if not _weights(folder):
        missing.append("weights (*.safetensors or *.bin)")
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        missing.append("a tokenizer (tokenizer.json or tokenizer.model)")
    if missing:
        raise ModelUnusable(
            f"the model folder {folder} lacks {', '.join(missing)}",
            fix="copy the whole model there: config.json, weights and tokenizer",
            path=str(folder),
            missing=missing,
        )
    return folder


def folder_digest(folder: Path) -> str:
    """Return a hash of the model in a folder: its configuration, tokenizer and weights, and no other file.

    Reads only name, size, beginning and end of files over 64 MiB: hashing all of a large model takes minutes.
    """
    digest = hashlib.sha256()
    named = [folder / name for name in ("config.json", *_TOKENIZERS) if (folder / name).is_file()]
    for file in sorted([*named, *_weights(folder)]):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        with file.open("rb") as content:
            if file.stat().st_size > _WHOLE_BYTES:
                digest.update(content.read(_PART_BYTES))
                content.seek(-_PART_BYTES, os.SEEK_END)
            digest.update(content.read())
    return digest.hexdigest()


def weight_bytes(folder: Path) -> int:
    """Return the size of all weight files, in bytes."""
    return sum(file.stat().st_size for file in _weights(folder))


def _weights(folder: Path) -> list[Path]:
    return [file for pattern in _WEIGHTS for file in folder.glob(pattern)]
