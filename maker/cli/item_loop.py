"""A loop through items, one at a time, for a person: shows each, and takes a key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

from maker.cli.advice import completed
from maker.cli.keys import read_key
from maker.cli.output import print
from maker.errors import BadInput

T = TypeVar("T")
REST = "s skip, b back, q quit: "
SHOWN_FIRST, SHOWN_LAST = 1200, 400
"""So many characters of a longer text are shown, from its beginning and its end: a question may follow the text."""


class ItemLoop(ABC, Generic[T]):
    """Goes through items; what is skipped comes again with the key b.

    Args:
        items: In their order; the next one is taken when it is to be shown.
    """

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._next: list[T] = []
        self._skipped: list[T] = []
        self.seen = 0
        self.decided = 0

    @abstractmethod
    def page(self, item: T) -> str:
        """Return what a person sees of an item."""

    @abstractmethod
    def keys(self, item: T) -> str:
        """Return in words the keys that decide an item, with a comma after them."""

    @abstractmethod
    def decide(self, item: T, key: str) -> bool | None:
        """Treat a key; returns whether it has decided the item, None where it is none of the keys.

        Raises:
            BadInput: The decision is refused; with the fact ``over``, because somebody else has made it.
        """

    @property
    def skipped(self) -> int:
        """How many items are left for later."""
        return len(self._skipped)

    def run(self) -> None:
        """Go through the items until they are over, or the person quits. Raises as `read_key` does."""
        while (item := self._next.pop() if self._next else next(self._items, None)) is not None:
            self.seen += 1
            print(self.page(item), flush=True)
            while True:
                key = read_key(f"{self.keys(item)}{REST}")
                if key == "q":
                    return
                if self._moved(item, key) or self._is_over(item, key):
                    break

    def _moved(self, item: T, key: str) -> bool:
        if key == "s":
            self._skipped.append(item)
        elif key == "b" and self._skipped:
            self._next += [item, self._skipped.pop()]
        else:
            return False
        return True

    def _is_over(self, item: T, key: str) -> bool:
        if key == "b":
            print("  no item was skipped before this one")
            return False
        try:
            done = self.decide(item, key)
        except BadInput as error:
            print(*(f"  {line}" for line in completed(str(error)).splitlines()), sep="\n")
            return bool(error.facts.get("over"))
        if done is None:
            print(f"  {key[:20]!r} is none of the keys")
        self.decided += done is True
        return done is True


def shown(text: str) -> str:
    """Return as much of a text as is shown, its further lines indented: none can pass for one of ours."""
    if (left := len(text) - SHOWN_FIRST - SHOWN_LAST) > 0:
        text = f"{text[:SHOWN_FIRST]}… ({left:,} more characters) …{text[-SHOWN_LAST:]}"
    return text.replace("\r\n", "\n").replace("\n", "\n      ")
