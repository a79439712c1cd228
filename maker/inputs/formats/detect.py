"""Which format a file is in, by the end of its name."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from maker.errors import BadInput
from maker.inputs.encoding import Encoding
from maker.inputs.failures import redacted
from maker.inputs.formats.delimited import Delimited
from maker.inputs.formats.interface import Format
from maker.inputs.formats.jsonlines import JsonLines
from maker.inputs.formats.parquet import Parquet
from maker.inputs.formats.slices import Slices
from maker.inputs.formats.texts import Texts
from maker.inputs.sites import Found

_ENDINGS = {
    ".csv": "CSV",
    ".tsv": "TSV",
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
    ".parquet": "Parquet",
    ".txt": "text",
    ".md": "text",
    ".text": "text",
}
_MADE: dict[str, Callable[[Encoding], Format]] = {
    "CSV": lambda encoding: Delimited(encoding, ","),
    "TSV": lambda encoding: Delimited(encoding, "\t"),
    "JSON lines": JsonLines,
    "Parquet": lambda _: Parquet(),
    "text": Texts,
}


def word_of(found: Found) -> tuple[str, list[str]]:
    """Return which format the files of an input are in, in words, and their names.

    What a folder holds beside them, in no format that is known, is passed over.

    Raises:
        BadInput: There is none, there are two formats, a file that was asked for is in none, or a name is no UTF-8.
    """
    words = {name: _ENDINGS.get(posixpath.splitext(name)[1].lower(), "") for name in found.names}
    names = [name for name in found.names if words[name]]
    if (len(names) < len(found.names) and not found.folder) or not names:
        odd = next(name for name in found.names if not words[name])
        raise BadInput(f"{redacted(odd)} is in no known format", fix=f"use files that end with {', '.join(_ENDINGS)}")
    if wrong := next((name for name in names if not _is_text(name)), ""):
        raise BadInput(f"the name of the file {redacted(wrong)} is not UTF-8", fix="rename it")
    word = words[names[0]]
    if other := next((name for name in names if words[name] != word), ""):
        raise BadInput(
            f"the input mixes formats: {names[0]} is {word}, {other} is {words[other]}",
            fix="use a pattern that matches files of one format, e.g. data/*.csv",
        )
    return word, names


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def make_format(word: str, encoding: Encoding, slice: int = 0) -> Format:
    """Return a format by the word that `word_of` gave; of text in slices of so many characters, where there are any.

    Raises `BadInput` for slices of anything else.
    """
    if not slice:
        return _MADE[word](encoding)
    if word != "text":
        raise BadInput(f"the input is {word}; only text can be read in slices", fix="use a .txt, .md or .text file")
    return Slices(encoding, slice)
