"""Texts as tokens, one a character."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from maker.errors import BadInput

PAD, EOS = "<pad>", "<eos>"
PAD_ID, EOS_ID = 0, 1
MOST = 4096
"""A tiny model has no room for more characters."""


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The characters that a model knows, in order; before them come the tokens for padding and for the end."""

    characters: tuple[str, ...]
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_numbers", {character: n for n, character in enumerate(self.characters, EOS_ID + 1)})

    @property
    def vocabulary(self) -> dict[str, int]:
        """Every token with its number."""
        return {PAD: PAD_ID, EOS: EOS_ID} | self._numbers

    def encode(self, text: str) -> list[int]:
        """Return the token of each character. Raises `BadInput` for one that is not in the alphabet."""
        try:
            return [self._numbers[character] for character in text]
        except KeyError as error:
            raise BadInput(
                f"{text[:80]!r} contains {error.args[0]!r}, which is not in the model's alphabet: no prompt or reply "
                "that was scanned for it has the character",
                fix="let the first training examples contain every character",
            ) from error


def alphabet_of(texts: Iterable[str]) -> Alphabet:
    """Return the alphabet of some texts. Raises `BadInput` for characters that no tokenizer takes, or too many."""
    found: set[str] = set()
    for text in texts:
        found.update(text)
    if unfit := sorted(character for character in found if "\ud800" <= character <= "\udfff"):
        raise BadInput(f"{unfit[0]!r} is half a character, and no tokenizer takes it", fix="leave such texts out")
    if len(found) > MOST:
        raise BadInput(
            f"the prompts and replies use {len(found):,} different characters; at most {MOST:,} are allowed",
            fix="train on a task whose prompts use fewer characters",
        )
    return Alphabet(tuple(sorted(found)))
